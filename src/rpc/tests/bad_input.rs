//! Garbage, half frames, huge lengths and floods: the connection ends, others go on.

use super::*;
use crate::env::rng::Seeded;
use crate::limits::RPC_HANDSHAKES_PER_ADDRESS_MAX;
use crate::rpc::frame::{Frame, FrameReader, Kind};
use crate::rpc::handshake::Class;
use crate::rpc::{dial, frame_bytes_max, handshake};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const CLASSES: [Class; 3] = [Class::Raft, Class::Control, Class::Bulk];

async fn let_in(server: &TestNode, class: Class) -> TcpStream {
    let hello = dial::hello_of(&own(1, 9, 9, "127.0.0.1:1"), None);
    dial::dial(&server.address, class, &hello).await.expect("let in").0
}

/// Everything that the server still says, until it closes.
async fn closes(mut socket: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut some = [0; 4096];
    loop {
        match tokio::time::timeout(LONG, socket.read(&mut some)).await.expect("it closes") {
            Ok(0) | Err(_) => return rest,
            Ok(count) => rest.extend_from_slice(&some[..count]),
        }
    }
}

async fn goes_on(server: &TestNode) {
    let raft = caller(2, 2).raft(NodeId(1), &server.address);
    let answer = raft.append_entries(Payload::encode(&1u64), LONG).await.expect("others go on");
    assert_eq!(number(&answer), 2);
}

fn frame(kind: u8, call: u8, deadline_ms: u32, head_length: u32, rest: &[u8]) -> Vec<u8> {
    let mut bytes = (18 + rest.len() as u32).to_be_bytes().to_vec();
    bytes.extend([kind, call]);
    bytes.extend(1u64.to_be_bytes());
    bytes.extend(deadline_ms.to_be_bytes());
    bytes.extend(head_length.to_be_bytes());
    bytes.extend(rest);
    bytes
}

#[tokio::test]
async fn broken_frames_end_their_connection_alone() {
    let server = node(1, 1).await;
    let before = spawn::panics_caught();
    let cases: [(&str, Vec<u8>); 9] = [
        ("a huge length", u32::MAX.to_be_bytes().to_vec()),
        ("a length below the header's", vec![0, 0, 0, 17]),
        ("zeros", vec![0; 64]),
        ("an unknown kind", frame(77, 1, 1_000, 0, b"")),
        ("an unknown call", frame(1, 99, 1_000, 5, b"\x01\x01\0\0\0")),
        ("a head longer than the frame", frame(1, 1, 1_000, u32::MAX, b"\x01")),
        ("an answer to a server", frame(3, 1, 0, 1, b"\x01")),
        ("a decline to a server", frame(4, 1, 0, 1, b"x")),
        ("a ping with something in it", frame(5, 0, 0, 1, b"x")),
    ];
    for class in CLASSES {
        for (what, bytes) in &cases {
            let mut socket = let_in(&server, class).await;
            socket.write_all(bytes).await.expect("written");
            assert!(closes(socket).await.len() < 200, "{what} on {class:?}");
        }
    }
    goes_on(&server).await;
    assert_eq!(spawn::panics_caught(), before);
}

#[tokio::test]
async fn payloads_and_deadlines_that_make_no_sense_are_declined() {
    let server = node(1, 1).await;
    let before = spawn::panics_caught();
    let hostile: [&[u8]; 4] = [b"", b"\x01", b"\x07\0\0\0\0\0\0\0\0", b"\x01\xff"];
    for (class, call) in [(Class::Raft, 1), (Class::Control, 2), (Class::Bulk, 1), (Class::Bulk, 2)]
    {
        for head in hostile {
            let mut socket = let_in(&server, class).await;
            // The longest deadline there is must not overflow anything.
            let request = frame(1, call, u32::MAX, head.len() as u32, head);
            socket.write_all(&request).await.expect("written");
            let mut reader = FrameReader::new(frame_bytes_max(class));
            let answer = loop {
                if let Some(frame) = reader.next_frame().expect("a frame") {
                    if frame.kind != Kind::Ping {
                        break frame;
                    }
                    continue;
                }
                let mut some = [0; 4096];
                let count = socket.read(&mut some).await.expect("readable");
                assert!(count > 0, "closed on {head:?}");
                assert_eq!(reader.feed(&some[..count]), count);
            };
            assert_eq!((answer.kind, answer.id), (Kind::Declined, 1), "{head:?} on {class:?}");
        }
    }
    goes_on(&server).await;
    assert_eq!(spawn::panics_caught(), before);
}

#[tokio::test]
async fn a_repeated_id_and_cancels_of_nothing_hurt_nobody() {
    let server = node(1, 1).await;
    let mut socket = let_in(&server, Class::Raft).await;
    let before = spawn::panics_caught();
    let head = Payload::encode(&99u64).into_parts().0;
    for _ in 0..3 {
        socket.write_all(&frame(1, 1, 60_000, 9, &head)).await.expect("written");
        socket.write_all(&frame(2, 0, 0, 0, b"")).await.expect("written");
        socket.write_all(&frame(2, 0, 0, 0, b"")).await.expect("written");
    }
    socket.write_all(&frame(1, 1, 60_000, 9, &head)).await.expect("written");
    socket.write_all(&frame(1, 1, 60_000, 9, &head)).await.expect("written");
    goes_on(&server).await;
    drop(socket);
    let dropped = Arc::clone(&server.answering.dropped);
    until("all handlers ended", || dropped.load(Ordering::SeqCst) >= 1).await;
    assert_eq!(spawn::panics_caught(), before);
}

#[tokio::test]
async fn answers_that_nobody_asked_for_do_not_hurt_the_caller() {
    // A server that answers every request with the wrong call, then with garbage.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    spawn::spawn("test", async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = handshake::read_hello(&mut socket).await.expect("a hello");
            let identity = Pool::new(own(1, 1, 1, "x")).identity();
            let welcome = handshake::Welcome { identity, version: 1 };
            handshake::write_answer(&mut socket, &Ok(welcome)).await.expect("written");
            let mut some = [0; 4096];
            let _ = socket.read(&mut some).await;
            let mut id = some[6..14].to_vec();
            let mut answer = vec![0, 0, 0, 19, 3, 2];
            answer.append(&mut id);
            answer.extend([0, 0, 0, 0, 0, 0, 0, 1, 1]);
            let _ = socket.write_all(&answer).await;
            let _ = socket.write_all(b"and now garbage").await;
            let _ = socket.read(&mut some).await;
        }
    });
    let before = spawn::panics_caught();
    let raft = caller(2, 2).raft(NodeId(1), &address);
    for _ in 0..3 {
        let answer = raft.append_entries(Payload::encode(&1u64), LONG).await;
        let error = answer.expect_err("a vote is no answer to entries");
        assert!(!error.is_certainly_not_done(), "{error}");
    }
    assert_eq!(spawn::panics_caught(), before);
}

#[tokio::test]
async fn garbage_instead_of_a_hello_is_turned_away() {
    let server = node(1, 1).await;
    let before = spawn::panics_caught();
    let mut seeded = Seeded::new(11);
    let mut garbage: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\x00\x00\x00\x14\x00\x12\x00\x03\x00\x00\x00\x01\x00\x04kcat".to_vec(),
        b"PRLN".to_vec(),
        b"PRLN\x01\x01\xff\xff".to_vec(),
        b"PRLN\x01\x01\x00\x00".to_vec(),
        b"PRLN\x01\x02\x00\x04\x01\xff\xff\xff".to_vec(),
    ];
    garbage.extend((0..30).map(|length| (0..length).map(|_| seeded.next_u64() as u8).collect()));
    for bytes in garbage {
        let mut socket = TcpStream::connect(&server.address).await.expect("connects");
        socket.write_all(&bytes).await.expect("written");
        socket.shutdown().await.expect("half closed");
        let said = closes(socket).await;
        assert!(said.is_empty() || said.starts_with(b"PRLN"), "{bytes:?}");
    }
    goes_on(&server).await;
    assert_eq!(spawn::panics_caught(), before);
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    let server = node(1, 1).await;
    let mut sockets = Vec::new();
    for _ in 0..RPC_HANDSHAKES_PER_ADDRESS_MAX + 20 {
        sockets.push(TcpStream::connect(&server.address).await.expect("connects"));
    }
    // Those above the bound are closed without being listened to.
    let last = sockets.pop().expect("there are some");
    let said = closes(last).await;
    assert!(said.is_empty() || said.starts_with(b"PRLN\x01\x01"), "{said:?}");
    // Another address is not touched by that.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("binds");
    let mut socket = socket.connect(server.address.parse().expect("one")).await.expect("connects");
    let hello = dial::hello_of(&own(1, 9, 9, "127.0.0.1:1"), None);
    socket.write_all(&handshake::hello_bytes(Class::Raft, &hello)).await.expect("written");
    handshake::read_answer(&mut socket).await.expect("answered").expect("let in");
    drop(sockets);
    let raft = caller(2, 2).raft(NodeId(1), &server.address);
    let until = tokio::time::Instant::now() + LONG;
    while let Err(error) = raft.append_entries(Payload::encode(&1u64), LONG).await {
        assert!(tokio::time::Instant::now() < until, "{error}");
    }
}

#[test]
fn memory_follows_the_bytes_that_arrive() {
    let mut reader = FrameReader::new(100 << 20);
    // 100 MiB are announced, and almost nothing comes.
    let announced = (100u32 << 20).to_be_bytes();
    assert_eq!(reader.feed(&announced), 4);
    assert_eq!(reader.next_frame(), Ok(None));
    assert!(reader.held() <= 2 << 20, "{} held", reader.held());
    let piece = vec![1; 64 * 1024];
    let mut arrived = 4;
    while arrived < 20 << 20 {
        arrived += reader.feed(&piece);
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(reader.held() <= 2 * arrived + (2 << 20), "{} for {arrived}", reader.held());
    }
}

#[test]
fn a_buffer_is_used_again_when_nobody_looks_at_it_any_more() {
    let large = |size: usize| {
        let mut bytes = frame(3, 1, 0, 0, &vec![9; size]);
        bytes[0..4].copy_from_slice(&(18 + size as u32).to_be_bytes());
        bytes
    };
    let mut reader = FrameReader::new(100 << 20);
    let mut next = |size: usize| {
        let wire = large(size);
        let mut at = 0;
        loop {
            at += reader.feed(&wire[at..]);
            if let Some(frame) = reader.next_frame().expect("sound") {
                return (frame, reader.held());
            }
        }
    };
    let (first, _) = next(500_000);
    let slice = first.raw[0].slice(100_000..);
    let at = first.raw[0].as_ptr();
    drop(first);
    // A slice is still looked at, so the next frame lies elsewhere.
    let (second, _) = next(500_000);
    assert_ne!(second.raw[0].as_ptr(), at);
    assert!(slice.iter().all(|byte| *byte == 9));
    drop(slice);
    let (third, _) = next(500_000);
    assert_eq!(third.raw[0].as_ptr(), at, "the buffer came back");
    // A much smaller frame does not hold on to a large buffer.
    drop((second, third));
    let (small, _) = next(50_000);
    assert_ne!(small.raw[0].as_ptr(), at);
    // And there is a bound to what is kept.
    let many: Vec<_> = (0..40).map(|_| next(1_000_000).0).collect();
    drop(many);
    let (_, held) = next(10);
    assert!(held <= 9 << 20, "{held} held");
}

#[test]
fn frames_come_out_as_they_went_in_however_they_are_cut() {
    use crate::rpc::frame::FrameWriter;
    let mut seeded = Seeded::new(5);
    let mut frames = Vec::new();
    let mut wire = Vec::new();
    for id in 0..200u64 {
        let size = [0, 10, 5_000, 20_000, 200_000][seeded.below(5) as usize];
        let raw = Bytes::from(vec![id as u8; size]);
        let head = Bytes::from(vec![7; seeded.below(6_000) as usize]);
        let raw = if size == 0 { vec![] } else { vec![raw] };
        let frame = Frame { kind: Kind::Answer, call: 1, id, deadline_ms: 0, head, raw };
        let mut writer = FrameWriter::default();
        writer.push(frame.clone());
        let waker = futures::task::noop_waker();
        let mut cx = std::task::Context::from_waker(&waker);
        let mut out = std::io::Cursor::new(Vec::new());
        assert!(writer.poll_write(&mut out, &mut cx).is_ready());
        wire.extend(out.into_inner());
        frames.push(frame);
    }
    let mut reader = FrameReader::new(1 << 20);
    let (mut at, mut found) = (0, Vec::new());
    while at < wire.len() {
        let piece = 1 + seeded.below(30_000) as usize;
        let end = (at + piece).min(wire.len());
        at += reader.feed(&wire[at..end]);
        while let Some(frame) = reader.next_frame().expect("sound") {
            found.push(frame);
        }
    }
    assert_eq!(found, frames);
}

#[tokio::test]
async fn a_follower_that_asks_and_never_reads_is_closed() {
    let records = vec![Bytes::from(vec![1; 4 << 20])];
    let answering = Answering { records, ..Answering::default() };
    let server = node_with(1, 1, 1, "127.0.0.1:0", answering).await;
    let mut news = server.pool.disconnections();
    let mut socket = let_in(&server, Class::Bulk).await;
    let (head, _) = fetch_request(1).encode().into_parts();
    for id in 0..500u64 {
        let mut request = frame(1, 1, 600_000, head.len() as u32, &head);
        request[6..14].copy_from_slice(&id.to_be_bytes());
        if socket.write_all(&request).await.is_err() {
            break;
        }
    }
    // Its signs of life go on, so it is not silence that ends it.
    let pings = spawn::spawn("test", async move {
        let ping = [0, 0, 0, 18, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        while socket.write_all(&ping).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let gone = tokio::time::timeout(LONG, news.recv()).await.expect("closed").expect("told");
    assert_eq!((gone.node, gone.class), (NodeId(9), Class::Bulk));
    pings.abort();
    goes_on(&server).await;
}
