//! A group over the real thing: `rpc::Pool` and `rpc::Server` on loopback ports.

use super::super::super::controller::{admission_answer, admission_call};
use super::super::super::{Admission, SnapshotOptions, StartAs, start};
use super::members::{propose_on, register};
use super::mesh::{Node, wait};
use super::*;
use crate::env::{shutdown, spawn};
use crate::rpc::replica::{FetchRequest, FetchResponse, Report, ReportResponse};
use crate::rpc::{self, Caller, Handlers, Own, Pool, ReplicaHandler, Server};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Answers no follower: there are no partitions here.
struct NoReplicas;

impl ReplicaHandler for NoReplicas {
    async fn fetch(&self, _: Caller, _: FetchRequest) -> FetchResponse {
        unreachable!("nobody follows a partition in these tests")
    }

    async fn report(&self, _: Caller, _: Report) -> ReportResponse {
        unreachable!("nobody follows a partition in these tests")
    }
}

/// A node that listens, and what ends its listening.
struct Running {
    node: Node,
    serving: Option<shutdown::Trigger>,
}

impl Running {
    async fn start_again(node: Node) -> Self {
        let address = node.address.clone();
        let listener = wait("the port", async || TcpListener::bind(&address).await.ok()).await;
        Self::start(node, listener).await
    }

    async fn start(mut node: Node, listener: TcpListener) -> Self {
        node.lives += 1;
        let pool = Pool::new(Own {
            cluster_id: CLUSTER,
            node_id: node.id,
            incarnation: node.incarnation(),
            rpc: node.address.clone(),
        });
        let start_as = match (node.member, node.id.0) {
            (true, _) => StartAs::Member,
            (false, 1) => StartAs::Founder,
            (false, _) => StartAs::Joiner,
        };
        let mut options = node.bare_options(3, start_as);
        options.peers = Arc::new(pool.clone());
        options.snapshots = SnapshotOptions::default();
        let handle = start(options).await.expect("starts");
        let handlers = Handlers {
            raft: Arc::new(handle.clone()),
            control: Arc::new(handle.clone()),
            replica: Arc::new(NoReplicas),
        };
        let (serving, stop) = shutdown::channel();
        spawn::spawn("test", Server::new(pool, handlers).serve(listener, stop));
        node.handle = Some(handle);
        Self { node, serving: Some(serving) }
    }

    async fn become_member(&mut self) {
        self.node.handle().wait_member(Duration::from_secs(20)).await.expect("becomes a member");
        self.node.member = true;
        register(&self.node).await;
    }

    /// As `kill -9`: all connections are closed by the system, unsynced bytes may be gone.
    async fn kill(&mut self, seed: u64) {
        let disk = self.node.disk.clone();
        disk.cut_power_at(disk.changes());
        self.serving = None;
        let handle = self.node.handle.take().expect("it runs");
        let _ = handle.shutdown().await;
        disk.crash(seed);
    }
}

/// A node that was not started yet, and where it will listen.
async fn new_node(id: i32) -> (Node, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let mut node = Node::new(id, SnapshotOptions::default().entries_kept);
    node.address = listener.local_addr().expect("bound").to_string();
    (node, listener)
}

/// Asks the first node, over its port, to let another one in, and starts that.
async fn join(seed: &str, id: i32) -> Running {
    let (node, listener) = new_node(id).await;
    let rpc = node.address.clone();
    let asked = Admission { directory: node.directory, wanted: None, rpc: rpc.clone() };
    let incarnation = node.incarnation();
    let within = Duration::from_secs(20);
    let (identity, answer) = rpc::admit(seed, incarnation, &rpc, admission_call(&asked), within)
        .await
        .expect("the seed answers");
    let admitted = admission_answer(&answer).expect("answered").expect("let in");
    assert_eq!((identity.cluster_id, admitted.cluster_id), (CLUSTER, CLUSTER));
    assert_eq!(admitted.node_id, node.id, "the next free one");
    let mut running = Running::start(node, listener).await;
    running.become_member().await;
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_over_loopback_survives_the_death_of_its_leaders() {
    let (first, listener) = new_node(1).await;
    let mut first = Running::start(first, listener).await;
    let own = Admission {
        directory: first.node.directory,
        wanted: Some(NodeId(1)),
        rpc: first.node.address.clone(),
    };
    first.node.handle().admit(own).await.expect("answered").expect("let in");
    first.become_member().await;
    let seed = first.node.address.clone();
    let mut group = vec![first];
    for id in 2..=5 {
        group.push(join(&seed, id).await);
    }
    wait("three voters", async || {
        let three = |running: &Running| running.node.handle().status().voters.len() == 3;
        group.iter().all(three).then_some(())
    })
    .await;
    let mut given = std::collections::BTreeSet::new();
    for round in 0..4 {
        let leader = wait("a controller", async || {
            let handle = group[0].node.handle();
            let status = handle.status();
            status.controller.filter(|id| handle.image().is_alive(*id))
        })
        .await;
        for running in &group {
            let block = propose_on(&running.node, running.node.handle()).await;
            assert!(given.insert(block), "no block twice");
        }
        let at = group.iter().position(|running| running.node.id == leader).expect("there");
        let began = Instant::now();
        group[at].kill(round).await;
        let witness = usize::from(at == 0);
        let (witness_node, killed) = (&group[witness].node, &group[at].node);
        let block = propose_on(witness_node, witness_node.handle()).await;
        let took = began.elapsed();
        println!("another controller after {} ms", took.as_millis());
        assert!(given.insert(block), "no block twice");
        assert!(took < Duration::from_secs(3), "{took:?}");
        wait("the dead one to be fenced", async || {
            (!witness_node.handle().image().is_alive(killed.id)).then_some(())
        })
        .await;
        let killed = group.remove(at);
        let back = Running::start_again(killed.node).await;
        register(&back.node).await;
        group.insert(at, back);
    }
    for running in &mut group {
        running.serving = None;
        running.node.handle().shutdown().await.expect("stops");
    }
}
