//! Tests of whole connections: a server and a pool over loopback, and what hostile or unlucky peers
//! do to them.

mod bad_input;
mod calls;
mod handshakes;
mod incarnations;
mod wire;

use super::replica::{
    FetchPartition, FetchRequest, FetchResponse, Fetched, FetchedPartition, Report, ReportResponse,
};
use super::{
    Caller, ControlHandler, Declined, Handlers, Own, Payload, Pool, RaftHandler, ReplicaHandler,
    Server,
};
use crate::env::{shutdown, spawn};
use crate::types::{
    BrokerEpoch, ClusterId, IncarnationId, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId,
};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// Long enough for anything that is to happen, on any machine.
const LONG: Duration = Duration::from_secs(30);

/// Answers a number with the next one; says what it saw.
#[derive(Debug, Default)]
struct Answering {
    calls: AtomicU64,
    dropped: Arc<AtomicU64>,
    removed: Option<NodeId>,
    records: Vec<Bytes>,
}

struct CountDrop(Arc<AtomicU64>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Answering {
    /// Answers n with n + 1; declines 13; never answers 99.
    async fn next(&self, request: Payload) -> Result<Payload, Declined> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match request.decode::<u64>()? {
            13 => Err(Declined("thirteen is not for us".to_owned())),
            99 => {
                let _seen = CountDrop(Arc::clone(&self.dropped));
                std::future::pending().await
            }
            number => Ok(Payload::encode(&(number + 1))),
        }
    }
}

impl RaftHandler for Answering {
    async fn append_entries(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        self.next(request).await
    }

    async fn vote(&self, caller: Caller, _: Payload) -> Result<Payload, Declined> {
        Ok(Payload::encode(&(caller.node, caller.rpc)))
    }

    async fn install_snapshot(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        // The raw bytes come back as they came.
        let raw = request.raw().to_vec();
        Ok(Payload::encode(&raw.len()).with_raw(raw))
    }
}

impl ControlHandler for Answering {
    async fn control(&self, _: Caller, request: Payload) -> Result<Payload, Declined> {
        self.next(request).await
    }

    async fn admit(&self, caller: Caller, request: Payload) -> Result<Payload, Declined> {
        let name: String = request.decode()?;
        Ok(Payload::encode(&format!("{name} at {}, node {:?}", caller.rpc, caller.node)))
    }

    fn refuses(&self, node: NodeId) -> Option<String> {
        (self.removed == Some(node)).then(|| format!("node {node} was removed"))
    }
}

impl ReplicaHandler for Answering {
    async fn fetch(&self, _: Caller, request: FetchRequest) -> FetchResponse {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let answer = |partition: &FetchPartition, records: &Bytes| FetchedPartition {
            topic_id: partition.topic_id,
            partition: partition.partition,
            outcome: Ok(Fetched {
                high_watermark: partition.end,
                log_start: Offset::ZERO,
                record_bytes: records.len() as u32,
                diverging: None,
                spared_above: None,
            }),
        };
        FetchResponse {
            error: None,
            session_id: request.session_id + 1,
            session_epoch: request.session_epoch,
            partitions: request
                .partitions
                .iter()
                .zip(&self.records)
                .map(|(partition, records)| answer(partition, records))
                .collect(),
            records: self.records.clone(),
        }
    }

    async fn report(&self, _: Caller, report: Report) -> ReportResponse {
        let failed = report
            .partitions
            .iter()
            .filter(|p| p.flushed > p.end)
            .map(|p| (p.topic_id, p.partition, super::replica::ReplicaError::Storage))
            .collect();
        ReportResponse { error: None, failed }
    }
}

fn own(cluster: u8, node: i32, incarnation: u8, rpc: &str) -> Own {
    Own {
        cluster_id: ClusterId([cluster; 16]),
        node_id: NodeId(node),
        incarnation: IncarnationId([incarnation; 16]),
        rpc: rpc.to_owned(),
    }
}

/// A node that serves.
struct TestNode {
    address: String,
    pool: Pool,
    answering: Arc<Answering>,
    shutdown: shutdown::Trigger,
}

/// Starts node `node` of cluster 1, in its incarnation `incarnation`.
async fn node(node: i32, incarnation: u8) -> TestNode {
    node_with(1, node, incarnation, "127.0.0.1:0", Answering::default()).await
}

async fn node_with(
    cluster: u8,
    node: i32,
    incarnation: u8,
    listen: &str,
    answering: Answering,
) -> TestNode {
    let listener = TcpListener::bind(listen).await.expect("binds");
    let address = listener.local_addr().expect("bound").to_string();
    let pool = Pool::new(own(cluster, node, incarnation, &address));
    let answering = Arc::new(answering);
    let handlers = Handlers {
        raft: Arc::clone(&answering),
        control: Arc::clone(&answering),
        replica: Arc::clone(&answering),
    };
    let (shutdown, stop) = shutdown::channel();
    let server = Server::new(pool.clone(), handlers);
    spawn::spawn("test node", server.serve(listener, stop));
    TestNode { address, pool, answering, shutdown }
}

/// A pool of a node that does not serve.
fn caller(node: i32, incarnation: u8) -> Pool {
    Pool::new(own(1, node, incarnation, "127.0.0.1:1"))
}

fn number(payload: &Payload) -> u64 {
    payload.decode().expect("a number")
}

/// Waits until `fact` holds.
async fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !fact() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn fetch_request(partitions: i32) -> FetchRequest {
    let partition = |index| FetchPartition {
        topic_id: TopicId([7; 16]),
        partition: PartitionIndex(index),
        leader_epoch: LeaderEpoch(3),
        end: Offset(1000),
        last_epoch: LeaderEpoch(2),
        flushed: Offset(990),
        log_start: Offset(10),
        high_watermark: Offset(980),
    };
    FetchRequest {
        replica: NodeId(2),
        broker_epoch: BrokerEpoch(17),
        session_id: 4,
        session_epoch: 1,
        bytes_max: 1024 * 1024,
        wait_ms_max: 500,
        partitions: (0..partitions).map(partition).collect(),
        forgotten: vec![(TopicId([8; 16]), PartitionIndex(5))],
    }
}
