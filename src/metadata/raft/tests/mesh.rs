//! Several members in one process, with a network between them that tests can break.

use super::super::super::peers::{Answer, Peers, RaftCall};
use super::super::super::{
    Admission, ControllerOptions, Error, Handle, MetadataOptions, NoPeers, RaftTiming,
    SnapshotOptions, StartAs, start,
};
use super::{CLUSTER, Dice};
use crate::env::clock::{Clock, ManualClock};
use crate::env::disk_memory::MemoryDisk;
use crate::env::spawn;
use crate::rpc::{self, Alive, Disconnected, Identity, Payload};
use crate::types::{DirectoryId, IncarnationId, NodeId, TimestampMs};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// The network: who is where, and what is broken.
#[derive(Debug, Clone)]
pub(super) struct Mesh(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The running members, by address.
    running: BTreeMap<String, (NodeId, IncarnationId, Handle)>,
    /// News of lost connections, to each node.
    news: BTreeMap<NodeId, broadcast::Sender<Disconnected>>,
    /// Ways that nothing gets through, from and to.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Chance of a call being made twice, lost, or answered in vain; in percent.
    noise: Option<(Dice, u64)>,
    /// Raft calls with entries or pieces of snapshots take this long.
    slow_ms: u64,
    /// How many pieces of snapshots arrived.
    pieces: u64,
    /// After so many pieces of snapshots, the next is lost.
    lose_piece_after: Option<u64>,
}

impl Mesh {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            running: BTreeMap::new(),
            news: BTreeMap::new(),
            cut: BTreeSet::new(),
            noise: None,
            slow_ms: 0,
            pieces: 0,
            lose_piece_after: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls get lost, are made twice, are late, or are carried out without an answer.
    pub(super) fn make_noise(&self, seed: u64, percent: u64) {
        self.state().noise = Some((Dice(seed), percent));
    }

    pub(super) fn quiet(&self) {
        self.state().noise = None;
    }

    pub(super) fn slow(&self, ms: u64) {
        self.state().slow_ms = ms;
    }

    pub(super) fn pieces(&self) -> u64 {
        self.state().pieces
    }

    pub(super) fn lose_piece_after(&self, count: u64) {
        self.state().lose_piece_after = Some(count);
    }

    /// Cuts a node off from all others, both ways, or heals it.
    pub(super) fn isolate(&self, node: NodeId, others: &[NodeId], isolated: bool) {
        let mut state = self.state();
        for other in others.iter().filter(|other| **other != node) {
            for way in [(node, *other), (*other, node)] {
                if isolated {
                    state.cut.insert(way)
                } else {
                    state.cut.remove(&way)
                };
            }
        }
    }

    /// Takes a process off the network; all others hear that its connections were reset.
    fn remove(&self, address: &str) {
        let mut state = self.state();
        let Some((node, incarnation, _)) = state.running.remove(address) else { return };
        let lost =
            Disconnected { node, incarnation, rpc: address.to_owned(), class: rpc::Class::Raft };
        for (other, news) in &state.news {
            if *other != node {
                let _ = news.send(lost.clone());
            }
        }
    }
}

/// One node's side of the network.
#[derive(Debug, Clone)]
struct Side {
    mesh: Mesh,
    own: NodeId,
    caller: rpc::Caller,
}

/// What the network does to a call.
struct Fate {
    handle: Handle,
    before_ms: u64,
    twice: bool,
    answer_lost: bool,
}

impl Side {
    fn fate(&self, address: &str, call: Option<&RaftCall>) -> Result<Fate, rpc::Error> {
        let address = address.to_owned();
        let mut state = self.mesh.state();
        let Some((node, _, handle)) = state.running.get(&address).cloned() else {
            return Err(rpc::Error::Unreachable { address, reason: "refused".to_owned() });
        };
        if state.cut.contains(&(self.own, node)) || state.cut.contains(&(node, self.own)) {
            return Err(rpc::Error::Unknown { address, reason: "cut".to_owned() });
        }
        handle.heard_from(&self.caller);
        let mut before_ms = 0;
        if let Some(RaftCall::Snapshot(_)) = call {
            state.pieces += 1;
            if state.lose_piece_after.is_some_and(|after| state.pieces > after) {
                return Err(rpc::Error::Unknown { address, reason: "lost".to_owned() });
            }
        }
        if let Some(RaftCall::Append(_)) = call {
            before_ms = state.slow_ms;
        }
        let (mut twice, mut answer_lost) = (false, false);
        if let Some((dice, percent)) = &mut state.noise {
            let percent = *percent;
            let mut happens = || dice.below(100) < percent;
            if happens() {
                return Err(rpc::Error::Unknown { address, reason: "lost".to_owned() });
            }
            (twice, answer_lost) = (happens(), happens());
            let late = happens();
            before_ms += if late { dice.below(40) } else { 0 };
        }
        Ok(Fate { handle, before_ms, twice, answer_lost })
    }
}

/// Carries a call out. What was sent arrives, whether the caller still waits or not.
async fn deliver<F, T>(
    fate: Fate,
    address: String,
    serve: impl Fn(Handle) -> F + Send + 'static,
) -> Result<T, rpc::Error>
where
    F: Future<Output = Result<T, rpc::Declined>> + Send + 'static,
    T: Send + 'static,
{
    let answer_lost = fate.answer_lost;
    let arriving = spawn::spawn("test", async move {
        tokio::time::sleep(Duration::from_millis(fate.before_ms)).await;
        if fate.twice {
            // The second one comes whenever it comes.
            spawn::spawn("test", serve(fate.handle.clone()));
        }
        serve(fate.handle).await
    });
    let unknown =
        |reason: &str| rpc::Error::Unknown { address: address.clone(), reason: reason.to_owned() };
    match arriving.await.ok().flatten() {
        Some(_) if answer_lost => Err(unknown("the answer was lost")),
        Some(Ok(answer)) => Ok(answer),
        Some(Err(declined)) => {
            Err(rpc::Error::Declined { address: address.clone(), reason: declined.0 })
        }
        None => Err(unknown("it panicked")),
    }
}

async fn limited<T>(
    within: Duration,
    address: String,
    call: impl Future<Output = Result<T, rpc::Error>>,
) -> Result<T, rpc::Error> {
    let late = || rpc::Error::Unknown { address, reason: "late".to_owned() };
    tokio::time::timeout(within, call).await.unwrap_or_else(|_| Err(late()))
}

impl Peers for Side {
    fn raft(&self, _: NodeId, address: &str, call: RaftCall, within: Duration) -> Answer {
        let (this, address) = (self.clone(), address.to_owned());
        Box::pin(limited(within, address.clone(), async move {
            let fate = this.fate(&address, Some(&call))?;
            let serve = move |handle: Handle| {
                let call = call.clone();
                async move { handle.serve_raft(call).await }
            };
            deliver(fate, address, serve).await
        }))
    }

    fn connect(
        &self,
        _: NodeId,
        address: &str,
        _: Duration,
    ) -> BoxFuture<'static, Result<(), rpc::Error>> {
        let there = self.mesh.state().running.contains_key(address);
        let (address, reason) = (address.to_owned(), "refused".to_owned());
        let outcome = there.then_some(()).ok_or(rpc::Error::Unreachable { address, reason });
        Box::pin(async { outcome })
    }

    fn control(&self, _: NodeId, address: &str, call: Payload, within: Duration) -> Answer {
        let (this, address) = (self.clone(), address.to_owned());
        Box::pin(limited(within, address.clone(), async move {
            let mut fate = this.fate(&address, None)?;
            // One connection carries a call once; what may be lost is the answer.
            fate.twice = false;
            let serve = move |handle: Handle| {
                let call = call.clone();
                async move { handle.serve_control(&call).await }
            };
            deliver(fate, address, serve).await
        }))
    }

    fn probe(&self, address: &str) -> BoxFuture<'static, Alive> {
        let (this, address) = (self.clone(), address.to_owned());
        Box::pin(async move {
            let state = this.mesh.state();
            match state.running.get(&address) {
                None => Alive::Refused,
                Some((node, ..)) if state.cut.contains(&(this.own, *node)) => Alive::Unknown,
                Some((node_id, incarnation, _)) => Alive::Answers(Identity {
                    cluster_id: CLUSTER,
                    node_id: *node_id,
                    incarnation: *incarnation,
                    version: "test".to_owned(),
                }),
            }
        })
    }

    fn disconnections(&self) -> Option<broadcast::Receiver<Disconnected>> {
        let mut state = self.mesh.state();
        let news = state.news.entry(self.own).or_insert_with(|| broadcast::Sender::new(64));
        Some(news.subscribe())
    }
}

/// A node of the group: what stays of it between its lives.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) address: String,
    pub(super) disk: MemoryDisk,
    pub(super) clock: ManualClock,
    pub(super) directory: DirectoryId,
    state_dir: tempfile::TempDir,
    pub(super) lives: u8,
    /// Whether it was a member before.
    pub(super) member: bool,
    /// Entries that stay in its log behind a snapshot.
    entries_kept: u64,
    pub(super) handle: Option<Handle>,
}

/// A group, and the network between its members.
pub(super) struct Group {
    pub(super) mesh: Mesh,
    pub(super) nodes: Vec<Node>,
    pub(super) voters: usize,
    entries_kept: u64,
}

impl Node {
    pub(super) fn new(id: i32, entries_kept: u64) -> Self {
        Self {
            id: NodeId(id),
            entries_kept,
            address: format!("node{id}:9192"),
            disk: MemoryDisk::new(),
            clock: ManualClock::at(TimestampMs(1_700_000_000_000)),
            directory: DirectoryId([u8::try_from(id).expect("small"); 16]),
            state_dir: tempfile::tempdir().expect("a directory"),
            lives: 0,
            member: false,
            handle: None,
        }
    }

    pub(super) fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("it runs")
    }

    pub(super) fn incarnation(&self) -> IncarnationId {
        let mut bytes = [self.lives; 16];
        bytes[0] = u8::try_from(self.id.0).expect("small");
        IncarnationId(bytes)
    }

    /// Options without a way to others.
    pub(super) fn bare_options(&self, voters: usize, start_as: StartAs) -> MetadataOptions {
        let snapshots =
            SnapshotOptions { entries_kept: self.entries_kept, ..SnapshotOptions::default() };
        MetadataOptions {
            disk: Arc::new(self.disk.clone()),
            dir: "/data/metadata".into(),
            state_dir: self.state_dir.path().join("state"),
            cluster_id: CLUSTER,
            node_id: self.id,
            rpc: self.address.clone(),
            start_as,
            peers: Arc::new(NoPeers),
            timing: RaftTiming::default(),
            snapshots,
            controller: ControllerOptions { voters, ..ControllerOptions::default() },
            clock: Arc::new(self.clock.clone()) as Arc<dyn Clock>,
        }
    }

    /// Starts the node; the first one of all founds the group.
    pub(super) async fn start(&mut self, mesh: &Mesh, voters: usize) -> Result<(), Error> {
        self.lives += 1;
        let start_as = match (self.member, self.id.0) {
            (true, _) => StartAs::Member,
            (false, 1) => StartAs::Founder,
            (false, _) => StartAs::Joiner,
        };
        let mut options = self.bare_options(voters, start_as);
        let caller = rpc::Caller {
            node: Some(self.id),
            incarnation: self.incarnation(),
            rpc: self.address.clone(),
        };
        options.peers = Arc::new(Side { mesh: mesh.clone(), own: self.id, caller });
        let handle = start(options).await?;
        let running = (self.id, self.incarnation(), handle.clone());
        mesh.state().running.insert(self.address.clone(), running);
        self.handle = Some(handle);
        Ok(())
    }

    /// As `kill -9`, and with `seed` also as a power cut: what was not synced may be gone.
    pub(super) async fn kill(&mut self, mesh: &Mesh, seed: Option<u64>) {
        self.disk.cut_power_at(self.disk.changes());
        mesh.remove(&self.address);
        if let Some(handle) = self.handle.take() {
            // Writes nothing any more; its threads must let go of their files.
            let _ = handle.shutdown().await;
        }
        self.disk.crash(seed.unwrap_or(0));
    }
}

impl Group {
    /// A group of so many nodes, that many of them voters, all of them up to date.
    pub(super) async fn new(nodes: i32, voters: usize) -> Self {
        let entries_kept = SnapshotOptions::default().entries_kept;
        Self::with_entries_kept(nodes, voters, entries_kept).await
    }

    /// As [`Self::new`], with so many entries in the log behind a snapshot.
    pub(super) async fn with_entries_kept(nodes: i32, voters: usize, entries_kept: u64) -> Self {
        let mut this = Self { mesh: Mesh::new(), nodes: Vec::new(), voters, entries_kept };
        for id in 1..=nodes {
            this.join(id).await;
        }
        this.settle().await;
        this
    }

    /// A node comes, is admitted, becomes a learner and says that it lives.
    pub(super) async fn join(&mut self, id: i32) {
        let mut node = Node::new(id, self.entries_kept);
        let asked = Admission {
            directory: node.directory,
            wanted: Some(node.id),
            rpc: node.address.clone(),
        };
        if let Some(first) = self.nodes.first() {
            admit(first.handle(), asked).await;
            node.start(&self.mesh, self.voters).await.expect("starts");
        } else {
            node.start(&self.mesh, self.voters).await.expect("starts");
            admit(node.handle(), asked).await;
        }
        node.handle().wait_member(Duration::from_secs(20)).await.expect("becomes a member");
        node.member = true;
        self.nodes.push(node);
        super::members::register(self.nodes.last().expect("there")).await;
    }

    pub(super) fn node(&self, id: i32) -> &Node {
        self.nodes.iter().find(|node| node.id.0 == id).expect("a node of the group")
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// The nodes that run.
    pub(super) fn alive(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.handle.is_some())
    }

    pub(super) async fn kill(&mut self, id: NodeId, seed: Option<u64>) {
        let mesh = self.mesh.clone();
        let node = self.nodes.iter_mut().find(|node| node.id == id).expect("a node of the group");
        node.kill(&mesh, seed).await;
    }

    pub(super) async fn restart(&mut self, id: NodeId) {
        let (mesh, voters) = (self.mesh.clone(), self.voters);
        let node = self.nodes.iter_mut().find(|node| node.id == id).expect("a node of the group");
        node.start(&mesh, voters).await.expect("starts again");
    }

    /// Waits until every running node knows one running controller, of the same term, that knows
    /// it is one; gives it.
    pub(super) async fn controller(&self) -> NodeId {
        wait("a controller", async || {
            let statuses: Vec<_> = self.alive().map(|node| node.handle().status()).collect();
            let first = statuses.first()?;
            let agreed = statuses
                .iter()
                .all(|status| (status.controller, status.term) == (first.controller, first.term));
            let controller = first.controller.filter(|_| agreed)?;
            self.alive().any(|node| node.id == controller).then_some(controller)
        })
        .await
    }

    /// Waits until as many vote as should, and everybody has applied the same.
    pub(super) async fn settle(&self) {
        let nodes = self.nodes.len();
        let voters = if nodes >= self.voters { self.voters } else { (nodes - 1) / 2 * 2 + 1 };
        wait("the voters", async || {
            let counts = |node: &Node| node.handle().status().voters.len();
            self.alive().all(|node| counts(node) == voters).then_some(())
        })
        .await;
        self.agree().await;
    }

    /// Waits until everybody has applied the same, and holds the same.
    pub(super) async fn agree(&self) {
        wait("one state", async || {
            let images: Vec<_> = self.alive().map(|node| node.handle().image()).collect();
            let counts: BTreeSet<u64> = images.iter().map(|image| image.applied_count()).collect();
            if counts.len() > 1 {
                return None;
            }
            let first = images.first()?;
            assert!(images.iter().all(|image| image.state() == first.state()), "states differ");
            Some(())
        })
        .await;
    }

    pub(super) async fn stop(mut self) {
        for node in &mut self.nodes {
            self.mesh.remove(&node.address);
            if let Some(handle) = node.handle.take() {
                handle.shutdown().await.expect("stops");
            }
        }
    }
}

async fn admit(handle: &Handle, admission: Admission) {
    let wanted = admission.wanted;
    let admitted = handle.admit(admission).await.expect("answered").expect("let in");
    assert_eq!(Some(admitted.node_id), wanted);
}

/// Looks again and again, for as long as a test may take at all.
pub(super) async fn wait<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..24_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain for {what}");
}
