//! Calls, their deadlines, and what their errors say.

use super::*;
use crate::rpc::replica::{ReplicaError, ReportPartition};
use crate::rpc::{Class, Error, admit};
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn every_service_answers_on_its_own_connection() {
    let server = node(1, 1).await;
    let pool = caller(2, 2);
    let raft = pool.raft(NodeId(1), &server.address);
    let answer = raft.append_entries(Payload::encode(&7u64), LONG).await.expect("answered");
    assert_eq!(number(&answer), 8);
    let answer = raft.vote(Payload::encode(&()), LONG).await.expect("answered");
    let (node, rpc): (Option<NodeId>, String) = answer.decode().expect("decodes");
    assert_eq!((node, rpc.as_str()), (Some(NodeId(2)), "127.0.0.1:1"));

    let control = pool.control(NodeId(1), &server.address);
    let answer = control.control(Payload::encode(&8u64), LONG).await.expect("answered");
    assert_eq!(number(&answer), 9);
    assert_eq!(control.identify(LONG).await.expect("answered"), server.pool.identity());

    let bulk = pool.bulk(NodeId(1), &server.address);
    let answer = bulk.fetch(&fetch_request(0), LONG).await.expect("answered");
    assert_eq!(answer.session_id, 5);
}

#[tokio::test]
async fn raw_bytes_arrive_unchanged_in_both_directions_whatever_their_size() {
    let server = node(1, 1).await;
    let raft = caller(2, 2).raft(NodeId(1), &server.address);
    for size in [0, 1, 4_000, 16_360, 16_384, 16_385, 100_000, 1 << 20, 5_000_001] {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
        let bytes = Bytes::from(bytes);
        let pieces: Vec<Bytes> = bytes.chunks(70_000).map(|piece| bytes.slice_ref(piece)).collect();
        let request = Payload::encode(&()).with_raw(pieces);
        let answer = raft.install_snapshot(request, LONG).await.expect("answered");
        assert_eq!(answer.raw().concat(), bytes, "{size} bytes");
        assert!(answer.raw().len() <= 1, "received in one piece");
    }
}

#[tokio::test]
async fn fetched_records_are_slices_of_the_one_frame_they_came_in() {
    let records: Vec<Bytes> =
        [300_000, 200_000, 100].map(|size| Bytes::from(vec![size as u8; size])).to_vec();
    let answering = Answering { records: records.clone(), ..Answering::default() };
    let server = node_with(1, 1, 1, "127.0.0.1:0", answering).await;
    let bulk = caller(2, 2).bulk(NodeId(1), &server.address);
    let answer = bulk.fetch(&fetch_request(3), LONG).await.expect("answered");
    let frame = answer.records[0].as_ptr_range();
    let partitions = answer.into_partitions().expect("complete");
    assert_eq!(partitions.len(), 3);
    for ((_, found), sent) in partitions.iter().zip(&records) {
        assert_eq!(found, sent);
        let inside = found.as_ptr_range();
        let sliced = frame.start <= inside.start && inside.end <= frame.end;
        // The hundred bytes would keep half a megabyte alive.
        assert_eq!(sliced, sent.len() > 100, "{} bytes", sent.len());
    }
}

#[tokio::test]
async fn reports_are_answered_with_what_was_not_accepted() {
    let server = node(1, 1).await;
    let bulk = caller(2, 2).bulk(NodeId(1), &server.address);
    let partition = |index, flushed| ReportPartition {
        topic_id: TopicId([7; 16]),
        partition: PartitionIndex(index),
        leader_epoch: LeaderEpoch(3),
        end: Offset(10),
        flushed: Offset(flushed),
    };
    let report = Report {
        replica: NodeId(2),
        broker_epoch: BrokerEpoch(17),
        partitions: vec![partition(0, 10), partition(1, 11)],
    };
    let answer = bulk.report(&report, LONG).await.expect("answered");
    let failed = (TopicId([7; 16]), PartitionIndex(1), ReplicaError::Storage);
    assert_eq!(answer, ReportResponse { error: None, failed: vec![failed] });
}

#[tokio::test]
async fn a_deadline_that_passes_is_unknown_and_ends_the_handler() {
    let server = node(1, 1).await;
    let control = caller(2, 2).control(NodeId(1), &server.address);
    let never = Payload::encode(&99u64);
    let error = control.control(never, Duration::from_millis(50)).await.expect_err("no answer");
    assert!(matches!(&error, Error::Unknown { .. }), "{error}");
    assert!(!error.is_certainly_not_done());
    let dropped = &server.answering.dropped;
    until("the handler was ended", || dropped.load(Ordering::SeqCst) == 1).await;
    let answer = control.control(Payload::encode(&1u64), LONG).await.expect("others go on");
    assert_eq!(number(&answer), 2);
}

#[tokio::test]
async fn a_declined_call_was_not_done() {
    let server = node(1, 1).await;
    let control = caller(2, 2).control(NodeId(1), &server.address);
    let error = control.control(Payload::encode(&13u64), LONG).await.expect_err("declined");
    let reason = "thirteen is not for us".to_owned();
    assert_eq!(error, Error::Declined { address: server.address.clone(), reason });
    assert!(error.is_certainly_not_done());
    // A payload that cannot be read is declined too.
    let error = control.control(Payload::encode(&1u8), LONG).await.expect_err("declined");
    assert!(matches!(error, Error::Declined { .. }), "{error}");
}

#[tokio::test]
async fn nobody_at_the_address_means_never_sent_at_bounded_attempts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let raft = caller(2, 2).raft(NodeId(1), &address);
    let begun = std::time::Instant::now();
    for _ in 0..10 {
        let error =
            raft.append_entries(Payload::encode(&1u64), LONG).await.expect_err("nobody there");
        assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
        assert!(error.is_certainly_not_done());
    }
    // Ten attempts wait for nine pauses, of which the first five at least double.
    assert!(begun.elapsed() >= Duration::from_millis(1_000), "attempts come in a storm");
}

#[tokio::test]
async fn a_lost_connection_is_made_again_by_the_next_call() {
    let server = node(1, 1).await;
    let pool = caller(2, 2);
    let raft = pool.raft(NodeId(1), &server.address);
    let mut news = pool.disconnections();
    raft.append_entries(Payload::encode(&1u64), LONG).await.expect("answered");
    let waiting = {
        let raft = raft.clone();
        spawn::spawn(
            "test",
            async move { raft.append_entries(Payload::encode(&99u64), LONG).await },
        )
    };
    until("the call arrived", || server.answering.calls.load(Ordering::SeqCst) == 2).await;
    server.shutdown.begin();
    let lost = waiting.await.expect("joined").expect("no panic").expect_err("lost");
    assert!(matches!(&lost, Error::Unknown { .. }), "{lost}");
    let event = news.recv().await.expect("told");
    assert_eq!((event.node, event.class), (NodeId(1), Class::Raft));
    assert_eq!((event.incarnation, event.rpc), (IncarnationId([1; 16]), server.address.clone()));

    let again = async {
        loop {
            // The old listener may take a moment to go.
            if let Ok(listener) = TcpListener::bind(&server.address).await {
                return listener;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let listener = tokio::time::timeout(LONG, again).await.expect("the port is free again");
    drop(listener);
    let _server = node_with(1, 1, 3, &server.address, Answering::default()).await;
    let answer = loop {
        match raft.append_entries(Payload::encode(&5u64), LONG).await {
            Ok(answer) => break answer,
            Err(error) => assert!(error.is_certainly_not_done(), "{error}"),
        }
    };
    assert_eq!(number(&answer), 6);
}

#[tokio::test]
async fn a_call_that_was_never_sent_is_told_from_one_that_may_have_been() {
    // Takes the connection and the hello, and then nothing: what is written stays in the buffers.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    spawn::spawn("test", async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let (_, _) = crate::rpc::handshake::read_hello(&mut socket).await.expect("a hello");
            let identity = Pool::new(own(1, 1, 1, "x")).identity();
            let welcome = crate::rpc::handshake::Welcome { identity, version: 1 };
            crate::rpc::handshake::write_answer(&mut socket, &Ok(welcome)).await.expect("sent");
            held.push(socket);
        }
    });
    let raft = caller(2, 2).raft(NodeId(1), &address);
    let huge = Payload::encode(&()).with_raw(vec![Bytes::from(vec![0; 30 << 20])]);
    let short = Duration::from_millis(300);
    let (first, second) = tokio::join!(raft.install_snapshot(huge, short), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        raft.append_entries(Payload::encode(&1u64), short).await
    });
    let first = first.expect_err("no answer");
    assert!(matches!(&first, Error::Unknown { .. }), "it began to be written: {first}");
    let second = second.expect_err("no answer");
    assert!(matches!(&second, Error::Unreachable { .. }), "it never left: {second}");
}

#[tokio::test]
async fn what_is_too_large_for_a_frame_is_not_sent() {
    let server = node(1, 1).await;
    let raft = caller(2, 2).raft(NodeId(1), &server.address);
    let piece = Bytes::from(vec![0; 8 << 20]);
    let huge = Payload::encode(&()).with_raw(vec![piece; 6]);
    let error = raft.install_snapshot(huge, LONG).await.expect_err("too large");
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.is_certainly_not_done());
}

#[tokio::test]
async fn many_calls_at_once_are_all_answered() {
    let server = node(1, 1).await;
    let control = caller(2, 2).control(NodeId(1), &server.address);
    let calls = (0..2_000u64).map(|n| {
        let control = control.clone();
        async move { control.control(Payload::encode(&(n + 1_000)), LONG).await }
    });
    let answers = futures::future::join_all(calls).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(number(&answer.expect("answered")), n as u64 + 1_001);
    }
}

#[tokio::test]
async fn a_process_without_a_number_may_ask_for_one_and_nothing_else() {
    let server = node(1, 1).await;
    let request = Payload::encode(&"n3".to_owned());
    let incarnation = IncarnationId([3; 16]);
    let (seed, answer) =
        admit(&server.address, incarnation, "10.0.0.3:9192", request, LONG).await.expect("let in");
    assert_eq!(seed, server.pool.identity());
    let text: String = answer.decode().expect("decodes");
    assert_eq!(text, "n3 at 10.0.0.3:9192, node None");
}

#[tokio::test]
async fn a_caller_that_listens_everywhere_is_reached_where_it_called_from() {
    let server = node(1, 1).await;
    for (listens, expected) in [("0.0.0.0:4", "127.0.0.1:4"), ("[::]:5", "127.0.0.1:5")] {
        let pool = Pool::new(own(1, 2, 2, listens));
        let raft = pool.raft(NodeId(1), &server.address);
        let answer = raft.vote(Payload::encode(&()), LONG).await.expect("answered");
        let (_, rpc): (Option<NodeId>, String) = answer.decode().expect("decodes");
        assert_eq!(rpc, expected);
    }
}

#[tokio::test]
async fn host_names_and_ipv6_addresses_work() {
    let answering = Answering::default;
    let six = node_with(1, 1, 1, "[::1]:0", answering()).await;
    assert!(six.address.starts_with("[::1]:"));
    let pool = caller(2, 2);
    let raft = pool.raft(NodeId(1), &six.address);
    raft.append_entries(Payload::encode(&1u64), LONG).await.expect("answered over IPv6");
    let four = node(1, 1).await;
    let named = four.address.replace("127.0.0.1", "localhost");
    let raft = pool.raft(NodeId(1), &named);
    raft.append_entries(Payload::encode(&1u64), LONG).await.expect("answered by name");
}

#[tokio::test]
async fn a_silent_peer_is_given_up_on_both_sides_and_a_quiet_one_is_not() {
    let server = node(1, 1).await;
    let pool = caller(2, 2);
    let mut news = pool.disconnections();
    // Quiet: no calls at all, longer than silence may be. Silent: reads and writes nothing.
    let quiet = pool.raft(NodeId(1), &server.address);
    quiet.append_entries(Payload::encode(&1u64), LONG).await.expect("answered");
    let hello = crate::rpc::dial::hello_of(&own(1, 3, 3, "127.0.0.1:1"), None);
    let (mut silent, _) =
        crate::rpc::dial::dial(&server.address, Class::Bulk, &hello).await.expect("let in");
    let mut news_of_server = server.pool.disconnections();
    let gone = news_of_server.recv().await.expect("told");
    assert_eq!((gone.node, gone.class), (NodeId(3), Class::Bulk));
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert!(!rest.is_empty(), "the server said that it lives");
    assert!(news.try_recv().is_err(), "the quiet connection is still there");
}
