//! Two processes with one node id are never both listened to.

use super::*;
use crate::rpc::{Class, Error};

async fn calls(pool: &Pool, server: &TestNode) -> Result<Payload, Error> {
    let raft = pool.raft(server.pool.own().node_id, &server.address);
    raft.append_entries(Payload::encode(&1u64), LONG).await
}

#[tokio::test]
async fn a_second_process_with_a_living_ones_id_is_refused_and_gets_in_when_that_is_gone() {
    let server = node(1, 1).await;
    let first = node(2, 2).await;
    calls(&first.pool, &server).await.expect("the first one is let in");
    let second = node(2, 3).await;
    let error = calls(&second.pool, &server).await.expect_err("two of them");
    assert!(matches!(&error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains(&first.address), "{error}");
    calls(&first.pool, &server).await.expect("the first one goes on");

    // It no longer answers at its address, though its connection is still there.
    first.shutdown.begin();
    let until = tokio::time::Instant::now() + LONG;
    while let Err(error) = calls(&second.pool, &server).await {
        assert!(tokio::time::Instant::now() < until, "{error}");
    }
}

#[tokio::test]
async fn a_restart_at_the_same_address_takes_over_at_once() {
    let server = node(1, 1).await;
    let old = caller(2, 2);
    calls(&old, &server).await.expect("let in");
    let mut news = server.pool.disconnections();
    // The new process serves where the old one said that it is reached: nothing, here.
    let new = caller(2, 3);
    calls(&new, &server).await.expect("let in");
    // The old one's connection is closed by this side, which is no news.
    assert!(news.try_recv().is_err());
    assert!(!server.pool.live_incarnations().contains(&(NodeId(2), IncarnationId([2; 16]))));
    assert!(server.pool.live_incarnations().contains(&(NodeId(2), IncarnationId([3; 16]))));
}

#[tokio::test]
async fn a_process_with_this_nodes_own_id_is_refused_but_this_process_is_not() {
    let server = node(1, 1).await;
    let error = calls(&caller(1, 9), &server).await.expect_err("a second node 1");
    assert!(matches!(&error, Error::Refused { .. }), "{error}");
    calls(&server.pool, &server).await.expect("a node may call itself");
}

#[tokio::test]
async fn both_sides_hear_of_a_connection_that_the_other_closed() {
    let server = node(1, 1).await;
    let client = caller(2, 2);
    calls(&client, &server).await.expect("answered");
    let mut news = server.pool.disconnections();
    client.forget(NodeId(1));
    let event = news.recv().await.expect("told");
    assert_eq!((event.node, event.class), (NodeId(2), Class::Raft));
    assert_eq!(event.incarnation, IncarnationId([2; 16]));
    until("the table is empty", || server.pool.live_incarnations().is_empty()).await;
}

#[tokio::test]
async fn a_node_that_moved_is_called_at_its_new_address() {
    let old = node(1, 1).await;
    let client = caller(2, 2);
    calls(&client, &old).await.expect("answered");
    let new = node(1, 4).await;
    calls(&client, &new).await.expect("answered at the new address");
    assert_eq!(new.answering.calls.load(Ordering::SeqCst), 1);
    until("one process is left", || {
        client.live_incarnations() == [(NodeId(1), IncarnationId([4; 16]))]
    })
    .await;
    until("the old one's connection is closed", || old.pool.live_incarnations().is_empty()).await;
}
