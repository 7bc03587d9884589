//! Who may talk to whom, and what is said when not.

use super::*;
use crate::rpc::handshake::{self, Class, Hello, Identity, Reason, Refusal, Welcome};
use crate::rpc::{Alive, Error, admit, dial, identify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn call(pool: &Pool, node: i32, address: &str) -> Error {
    let raft = pool.raft(NodeId(node), address);
    let error = raft.append_entries(Payload::encode(&1u64), LONG).await.expect_err("refused");
    assert!(error.is_certainly_not_done(), "{error}");
    error
}

#[tokio::test]
async fn another_cluster_is_refused_by_name() {
    let server = node(1, 1).await;
    let pool = Pool::new(own(2, 2, 2, "127.0.0.1:1"));
    let error = call(&pool, 1, &server.address).await;
    let (theirs, ours) = (ClusterId([1; 16]), ClusterId([2; 16]));
    assert_eq!(error, Error::OtherCluster { address: server.address.clone(), theirs, ours });
    assert_eq!(server.answering.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_node_than_expected_is_refused_by_name() {
    let server = node(1, 1).await;
    let error = call(&caller(2, 2), 3, &server.address).await;
    let (found, wanted) = (NodeId(1), NodeId(3));
    assert_eq!(error, Error::OtherNode { address: server.address.clone(), found, wanted });
}

#[tokio::test]
async fn a_removed_node_is_refused_with_the_reason() {
    let answering = Answering { removed: Some(NodeId(2)), ..Answering::default() };
    let server = node_with(1, 1, 1, "127.0.0.1:0", answering).await;
    let error = call(&caller(2, 2), 1, &server.address).await;
    let reason = "node 2 was removed".to_owned();
    assert_eq!(error, Error::Removed { address: server.address.clone(), reason });
}

/// Says a hello of its own making.
async fn say(address: &str, class: Class, hello: &Hello) -> Result<Welcome, Refusal> {
    let mut socket = TcpStream::connect(address).await.expect("connects");
    socket.write_all(&handshake::hello_bytes(class, hello)).await.expect("written");
    handshake::read_answer(&mut socket).await.expect("answered")
}

#[tokio::test]
async fn the_newest_common_version_is_spoken_and_none_is_refused_by_name() {
    let server = node(1, 1).await;
    let hello = dial::hello_of(&own(1, 2, 2, "127.0.0.1:1"), Some(NodeId(1)));
    let wider = Hello { versions: (0, 9), ..hello.clone() };
    let welcome = say(&server.address, Class::Raft, &wider).await.expect("in common");
    assert_eq!(welcome.version, handshake::VERSIONS.1);
    let newer = Hello { versions: (7, 9), ..hello };
    let refusal = say(&server.address, Class::Raft, &newer).await.expect_err("none in common");
    assert_eq!(refusal.reason(), Some(Reason::Version));
    assert_eq!(refusal.versions, handshake::VERSIONS);
}

#[tokio::test]
async fn a_newer_layout_class_or_hello_gets_a_refusal_that_names_our_versions() {
    let server = node(1, 1).await;
    let hello = dial::hello_of(&own(1, 2, 2, "127.0.0.1:1"), None);
    let bytes = handshake::hello_bytes(Class::Raft, &hello);
    // The layout, the class, and the version byte of the hello.
    for (at, what) in [(4, 2), (5, 77), (8, 9)] {
        let mut bytes = bytes.clone();
        bytes[at] = what;
        let mut socket = TcpStream::connect(&server.address).await.expect("connects");
        socket.write_all(&bytes).await.expect("written");
        let refusal = handshake::read_answer(&mut socket).await.expect("answered");
        let refusal = refusal.expect_err("refused");
        assert_eq!(refusal.reason(), Some(Reason::Version), "byte {at}");
        assert_eq!(refusal.versions, handshake::VERSIONS);
    }
}

#[tokio::test]
async fn outsiders_may_ask_who_is_there_and_for_admission_but_not_for_records_or_votes() {
    let server = node(1, 1).await;
    let nobody = dial::hello_of_nobody(IncarnationId([5; 16]), "127.0.0.1:1");
    for class in [Class::Raft, Class::Bulk] {
        let refusal = say(&server.address, class, &nobody).await.expect_err("refused");
        assert_eq!(refusal.reason(), Some(Reason::NotAdmitted));
    }
    assert_eq!(identify(&server.address).await.expect("answers"), server.pool.identity());
    // On a control connection, too, only admission is answered.
    let (socket, _) = dial::dial(&server.address, Class::Control, &nobody).await.expect("let in");
    let channel = crate::rpc::peer::start(socket, Class::Control, Default::default(), None);
    let request = Payload::encode(&1u64);
    let answer = crate::rpc::peer::call_over(
        &channel,
        &server.address,
        &request,
        tokio::time::Instant::now() + LONG,
        |call| crate::rpc::service::ClusterRequest::Control { call },
        |_: crate::rpc::service::ClusterResponse| None,
    );
    let error = answer.await.expect_err("declined");
    assert!(matches!(&error, Error::Declined { .. }), "{error}");
    assert_eq!(server.answering.calls.load(Ordering::SeqCst), 0);
}

/// Accepts connections and answers every one with `bytes`, after it read a little.
async fn answers_with(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    spawn::spawn("test", async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut some = [0; 8];
            let _ = socket.read_exact(&mut some).await;
            let _ = socket.write_all(bytes).await;
        }
    });
    address
}

#[tokio::test]
async fn what_speaks_another_protocol_is_recognised() {
    let cases: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "a TLS server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server"),
        (b"220 mail ESMTP\r\n", "\"220 mail"),
        (b"PRLN\x01", "ends too early"),
    ];
    for (bytes, expected) in cases {
        let address = answers_with(bytes).await;
        match call(&caller(2, 2), 1, &address).await {
            Error::NotANode { reason, .. } => {
                assert!(reason.contains(expected), "{reason} for {expected}");
            }
            other => panic!("{other} for {expected}"),
        }
    }
}

/// A Kafka port: it closes on what it does not understand, and answers ApiVersions.
async fn kafka_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    spawn::spawn("test", async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut frame = [0; 14];
            if socket.read_exact(&mut frame).await.is_ok() && frame[..4] == [0, 0, 0, 10] {
                let mut answer = vec![0, 0, 0, 10];
                answer.extend_from_slice(&frame[8..12]);
                answer.extend_from_slice(&[0, 0, 0, 0, 0, 0]);
                let _ = socket.write_all(&answer).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_kafka_port_as_seed_is_called_one() {
    let address = kafka_port().await;
    let request = Payload::encode(&"n3".to_owned());
    let joined = admit(&address, IncarnationId([3; 16]), "127.0.0.1:1", request, LONG).await;
    let error = joined.expect_err("no node there");
    let reason = "a Kafka client port answers there".to_owned();
    assert_eq!(error, Error::NotANode { address, reason });
    assert!(error.next_step().contains("9192"), "{}", error.next_step());
}

#[tokio::test]
async fn a_peer_that_lies_about_its_version_or_identity_is_not_believed() {
    let identity = |node| Identity {
        cluster_id: ClusterId([1; 16]),
        node_id: NodeId(node),
        incarnation: IncarnationId([1; 16]),
        version: "99".to_owned(),
    };
    for (node, version) in [(1, 2), (4, 1)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        let welcome = Welcome { identity: identity(node), version };
        spawn::spawn("test", async move {
            let (mut socket, _) = listener.accept().await.expect("accepted");
            let _ = handshake::read_hello(&mut socket).await.expect("a hello");
            handshake::write_answer(&mut socket, &Ok(welcome)).await.expect("written");
        });
        match call(&caller(2, 2), 1, &address).await {
            Error::ProtocolVersion { .. } if version == 2 => {}
            Error::OtherNode { found: NodeId(4), .. } if node == 4 => {}
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_probe_tells_a_living_process_from_a_closed_port_and_from_silence() {
    let server = node(1, 1).await;
    let pool = caller(2, 2);
    assert_eq!(pool.probe(&server.address).await, Alive::Answers(server.pool.identity()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    // The kernel takes the connection; nobody answers, as with a stopped process.
    assert_eq!(pool.probe(&address).await, Alive::Unknown);
    drop(listener);
    assert_eq!(pool.probe(&address).await, Alive::Refused);
    assert_eq!(pool.probe("no-such-host.invalid:9192").await, Alive::Unknown);
    let http = answers_with(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(pool.probe(&http).await, Alive::Unknown);
}

#[test]
fn a_long_reason_is_cut_at_a_character() {
    let identity = Pool::new(own(1, 1, 1, "")).identity();
    let refusal = Refusal::new(identity, Reason::Removed, "ä".repeat(400));
    assert!(refusal.text.len() <= 500 && refusal.text.chars().all(|c| c == 'ä'));
}
