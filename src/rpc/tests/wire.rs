//! The bytes on the wire, pinned. docs/FORMAT.md draws them.

use super::*;
use crate::rpc::frame::{Frame, FrameReader, FrameWriter, Kind};
use crate::rpc::handshake::{Class, Hello, Reason, Refusal, VERSIONS, Welcome, hello_bytes};
use crate::rpc::handshake::{read_answer, read_hello, write_answer};
use crate::rpc::replica::ReplicaError;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn written(frame: Frame) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    writer.push(frame);
    let waker = futures::task::noop_waker();
    let mut out = std::io::Cursor::new(Vec::new());
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(writer.poll_write(&mut out, &mut cx).is_ready());
    out.into_inner()
}

#[tokio::test]
async fn golden_hello() {
    let hello = Hello {
        cluster_id: Some(ClusterId([0xaa; 16])),
        node_id: Some(NodeId(2)),
        incarnation: IncarnationId([0xbb; 16]),
        rpc: "h:1".to_owned(),
        release: "0.1.0".to_owned(),
        versions: (1, 3),
        wanted: None,
    };
    let bytes = hello_bytes(Class::Bulk, &hello);
    let expected = [
        "50524c4e",
        "01",
        "03",
        "0044",
        "01",
        "01",
        &"aa".repeat(16),
        "01",
        "02000000",
        &"bb".repeat(16),
        "0300000000000000",
        "683a31",
        "0500000000000000",
        "302e312e30",
        "0100",
        "0300",
        "00",
    ];
    assert_eq!(hex(&bytes), expected.concat());
    let read = read_hello(&mut bytes.as_slice()).await.expect("reads");
    assert_eq!(read, (Class::Bulk, hello));
}

#[tokio::test]
async fn golden_welcome_and_refusal() {
    let identity = super::super::Identity {
        cluster_id: ClusterId([0xaa; 16]),
        node_id: NodeId(2),
        incarnation: IncarnationId([0xbb; 16]),
        version: "0".to_owned(),
    };
    let who = [&"aa".repeat(16), "02000000", &"bb".repeat(16), "0100000000000000", "30"].concat();
    let welcome = Ok(Welcome { identity: identity.clone(), version: 1 });
    let mut bytes = Vec::new();
    write_answer(&mut bytes, &welcome).await.expect("written");
    assert_eq!(hex(&bytes), format!("50524c4e010000{:02x}01{who}0100", 1 + 45 + 2));
    assert_eq!(read_answer(&mut bytes.as_slice()).await.expect("reads"), welcome);

    let refusal = Err(Refusal::new(identity, Reason::Duplicate, "no"));
    let mut bytes = Vec::new();
    write_answer(&mut bytes, &refusal).await.expect("written");
    let tail = "040002000000000000006e6f01000100";
    assert_eq!(hex(&bytes), format!("50524c4e010100{:02x}01{who}{tail}", 1 + 45 + 16));
    assert_eq!(read_answer(&mut bytes.as_slice()).await.expect("reads"), refusal);
    assert_eq!(VERSIONS, (1, 1));
}

#[test]
fn golden_frames() {
    let request = Frame {
        kind: Kind::Request,
        call: 2,
        id: 0x0102,
        deadline_ms: 500,
        head: Bytes::from_static(&[1, 9]),
        raw: vec![Bytes::from_static(b"abc"), Bytes::from_static(b"d")],
    };
    let bytes = written(request.clone());
    assert_eq!(hex(&bytes), "0000001801020000000000000102000001f400000002010961626364");
    let mut reader = FrameReader::new(1024);
    assert_eq!(reader.feed(&bytes), bytes.len());
    let read = reader.next_frame().expect("sound").expect("whole");
    assert_eq!(read, Frame { raw: vec![Bytes::from_static(b"abcd")], ..request });
    assert_eq!(
        hex(&written(Frame::ping())),
        "0000001205000000000000000000000000000000".to_owned() + "0000"
    );
}

#[test]
fn golden_replica_payloads() {
    let request = fetch_request(1);
    let (head, _) = request.encode().into_parts();
    let partition = [
        &"07".repeat(16),
        "00000000",
        "03000000",
        "e803000000000000",
        "02000000",
        "de03000000000000",
        "0a00000000000000",
        "d403000000000000",
    ];
    let expected = [
        "01",
        "02000000",
        "1100000000000000",
        "04000000",
        "01000000",
        "00001000",
        "f4010000",
        "0100000000000000",
        &partition.concat(),
        "0100000000000000",
        &"08".repeat(16),
        "05000000",
    ];
    assert_eq!(hex(&head), expected.concat());

    let response = FetchResponse {
        error: None,
        session_id: 4,
        session_epoch: 1,
        partitions: vec![
            FetchedPartition {
                topic_id: TopicId([7; 16]),
                partition: PartitionIndex(0),
                outcome: Ok(Fetched {
                    high_watermark: Offset(5),
                    log_start: Offset(1),
                    record_bytes: 3,
                    diverging: Some((LeaderEpoch(2), Offset(4))),
                    spared_above: Some(Offset(6)),
                }),
            },
            FetchedPartition {
                topic_id: TopicId([7; 16]),
                partition: PartitionIndex(1),
                outcome: Err(ReplicaError::NotLeader),
            },
        ],
        records: vec![Bytes::from_static(b"abc")],
    };
    let payload = response.clone().encode();
    let expected = [
        "01",
        "00",
        "04000000",
        "01000000",
        "0200000000000000",
        &"07".repeat(16),
        "00000000",
        "00000000",
        "0500000000000000",
        "0100000000000000",
        "03000000",
        "01",
        "02000000",
        "0400000000000000",
        "01",
        "0600000000000000",
        &"07".repeat(16),
        "01000000",
        "01000000",
        "02000000",
    ];
    let (head, raw) = payload.clone().into_parts();
    assert_eq!(hex(&head), expected.concat());
    assert_eq!(raw, [Bytes::from_static(b"abc")]);
    assert_eq!(FetchResponse::decode(payload).expect("decodes"), response);
}

#[test]
fn record_bytes_must_be_as_many_as_were_named() {
    let answer = |record_bytes: &[u32], records: Vec<Bytes>| FetchResponse {
        error: None,
        session_id: 0,
        session_epoch: 0,
        partitions: record_bytes
            .iter()
            .map(|&record_bytes| FetchedPartition {
                topic_id: TopicId([7; 16]),
                partition: PartitionIndex(0),
                outcome: Ok(Fetched {
                    high_watermark: Offset(0),
                    log_start: Offset(0),
                    record_bytes,
                    diverging: None,
                    spared_above: None,
                }),
            })
            .collect(),
        records,
    };
    let piece = Bytes::from_static(b"abcdef");
    let wrong = answer(&[5, 2], vec![piece.clone()]).encode();
    assert!(FetchResponse::decode(wrong).is_err());
    let overflow = answer(&[u32::MAX, u32::MAX], vec![piece.clone()]);
    assert!(overflow.into_partitions().is_err());
    // Pieces may be cut anywhere.
    let pieces = vec![piece.slice(..1), piece.slice(1..4), Bytes::new(), piece.slice(4..)];
    let parts = answer(&[0, 5, 0, 1], pieces).into_partitions().expect("complete");
    let bytes: Vec<&[u8]> = parts.iter().map(|(_, bytes)| &bytes[..]).collect();
    assert_eq!(bytes, [&b""[..], b"abcde", b"", b"f"]);
}
