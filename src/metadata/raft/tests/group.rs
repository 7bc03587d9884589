//! A group of one, from start to start.

use super::super::super::state::tests::{Script, admission, create_topics, registration};
use super::super::super::{Command, Error, Handle, Response, start};
use super::*;
use crate::env::disk_memory::MemoryDisk;
use crate::env::spawn;
use crate::metadata::state::State;
use std::path::PathBuf;

pub(super) struct Node {
    pub(super) disk: MemoryDisk,
    pub(super) state_dir: PathBuf,
    _guard: tempfile::TempDir,
}

impl Node {
    pub(super) fn new() -> Self {
        let guard = tempfile::tempdir().expect("a directory");
        let state_dir = guard.path().join("state");
        Self { disk: MemoryDisk::new(), state_dir, _guard: guard }
    }

    pub(super) async fn start(&self) -> Result<Handle, Error> {
        start(options(Arc::new(self.disk.clone()), &self.state_dir)).await
    }

    async fn restart(&self, handle: Handle) -> Handle {
        handle.shutdown().await.expect("stops");
        drop(handle);
        self.start().await.expect("starts")
    }
}

/// A command that creates one topic, with an id made from `number`.
pub(super) fn topic(number: u64) -> Command {
    let mut topic = Script::default().new_topic(&format!("topic-{number}"), 2, 1);
    topic.id.0[..8].copy_from_slice(&(number + 1).to_be_bytes());
    Command::CreateTopics(create_topics(vec![topic], false))
}

pub(super) async fn register(handle: &Handle) {
    handle.propose(Command::AdmitNode(admission(1))).await.expect("proposed");
    let response = handle.propose(Command::RegisterBroker(registration(1, 1, true))).await;
    let Response::RegisterBroker(Ok(broker_epoch)) = response.expect("proposed") else {
        panic!("refused")
    };
    let change = crate::metadata::state::FencingChange {
        node_id: NodeId(1),
        broker_epoch,
        fenced: false,
        in_controlled_shutdown: false,
    };
    let command = crate::metadata::state::ChangeFencing { changes: vec![change] };
    handle.propose(Command::ChangeFencing(command)).await.expect("proposed");
}

pub(super) async fn create(handle: &Handle, number: u64) {
    let response = handle.propose(topic(number)).await.expect("proposed");
    let Response::CreateTopics(results) = response else { panic!("{response:?}") };
    assert!(results[0].outcome.is_ok(), "{results:?}");
    let name = format!("topic-{number}");
    assert!(handle.image().topic_by_name(&name).is_some(), "the image shows what was answered");
}

fn state(handle: &Handle) -> State {
    handle.image().state().clone()
}

#[tokio::test]
async fn a_fresh_directory_becomes_a_group_of_one_and_comes_back_as_it_was() {
    let node = Node::new();
    let handle = node.start().await.expect("starts");
    assert_eq!(handle.image().controller(), Some(NodeId(1)));
    register(&handle).await;
    create(&handle, 1).await;
    let before = state(&handle);
    let status = handle.status();
    assert_eq!((status.voters, status.failure), (vec![NodeId(1)], None));
    let handle = node.restart(handle).await;
    assert_eq!(state(&handle), before);
    assert_eq!(handle.image().controller(), Some(NodeId(1)));
    create(&handle, 2).await;
    let before = state(&handle);
    let handle = node.restart(handle).await;
    assert_eq!(state(&handle), before);
    handle.shutdown().await.expect("stops");
    assert!(matches!(handle.propose(topic(3)).await, Err(Error::Stopped)));
    assert_eq!(handle.shutdown().await.map_err(|e| e.to_string()), Ok(()));
}

#[tokio::test]
async fn without_bootstrap_an_empty_directory_waits_to_be_asked_in() {
    let node = Node::new();
    let mut options = options(Arc::new(node.disk.clone()), &node.state_dir);
    options.start_as = StartAs::Joiner;
    let handle = start(options).await.expect("starts");
    assert_eq!(handle.image().controller(), None);
    let within = std::time::Duration::from_millis(100);
    let refused = handle.propose_within(topic(1), within).await;
    assert!(matches!(refused, Err(Error::NotController { controller: None, .. })), "{refused:?}");
    handle.shutdown().await.expect("stops");
}

#[tokio::test]
async fn the_state_store_may_vanish_be_damaged_or_be_old() {
    let node = Node::new();
    let handle = node.start().await.expect("starts");
    register(&handle).await;
    create(&handle, 1).await;
    handle.shutdown().await.expect("stops");
    drop(handle);
    let old = tempfile::tempdir().expect("a directory");
    copy_dir(&node.state_dir, old.path());

    let handle = node.start().await.expect("starts");
    for number in 2..6 {
        create(&handle, number).await;
    }
    let before = state(&handle);
    handle.shutdown().await.expect("stops");
    drop(handle);

    let check = async |what: &str| {
        let handle = node.start().await.expect(what);
        assert_eq!(state(&handle), before, "{what}");
        handle.shutdown().await.expect("stops");
    };
    check("untouched").await;
    std::fs::remove_dir_all(&node.state_dir).expect("removed");
    check("deleted").await;
    replace_dir(old.path(), &node.state_dir);
    check("old").await;
    std::fs::write(node.state_dir.join("snap.FFFFFFFFFFFFFFFF.generating"), b"half")
        .expect("written");
    check("killed while it opened").await;
    let db = node.state_dir.join("db");
    let mut bytes = std::fs::read(&db).expect("there");
    bytes.iter_mut().skip(64).step_by(97).for_each(|byte| *byte ^= 0x55);
    std::fs::write(&db, &bytes).expect("written");
    check("scribbled over").await;
    std::fs::write(&db, b"").expect("written");
    check("emptied").await;
    std::fs::remove_dir_all(&node.state_dir).expect("removed");
    std::fs::write(&node.state_dir, b"a file").expect("written");
    check("not even a directory").await;
}

#[tokio::test]
async fn a_state_store_of_another_history_is_not_believed() {
    let (one, other) = (Node::new(), Node::new());
    let mut states = Vec::new();
    for (node, numbers) in [(&one, 1..3), (&other, 11..18)] {
        let handle = node.start().await.expect("starts");
        register(&handle).await;
        for number in numbers {
            create(&handle, number).await;
        }
        states.push(state(&handle));
        handle.shutdown().await.expect("stops");
    }
    // Ahead of the log; its own cluster, node and checksums are right.
    replace_dir(&other.state_dir, &one.state_dir);
    let handle = one.start().await.expect("starts");
    assert_eq!(state(&handle), states[0]);
    handle.shutdown().await.expect("stops");
}

#[tokio::test]
async fn snapshots_cut_the_log_and_a_damaged_one_gives_way_to_the_one_before() {
    let node = Node::new();
    let handle = node.start().await.expect("starts");
    register(&handle).await;
    for number in 0..3 {
        create(&handle, number).await;
        snapshot(&handle).await;
    }
    create(&handle, 10).await;
    let before = state(&handle);
    handle.shutdown().await.expect("stops");
    drop(handle);
    std::fs::remove_dir_all(&node.state_dir).expect("removed");
    let handle = node.start().await.expect("starts from snapshot and log");
    assert_eq!(state(&handle), before);
    handle.shutdown().await.expect("stops");
    drop(handle);

    let dir = Path::new("/data/metadata/snapshots");
    let newest = node.disk.list(dir).expect("listed").pop().expect("there is one").name;
    node.disk.flip_bit(&dir.join(newest), 40, 1);
    std::fs::remove_dir_all(&node.state_dir).expect("removed");
    let handle = node.start().await.expect("starts from an older snapshot");
    assert_eq!(state(&handle), before);
    create(&handle, 11).await;
    handle.shutdown().await.expect("stops");
}

async fn snapshot(handle: &Handle) {
    let last = handle.status().last_applied_index;
    handle.trigger_snapshot().await.expect("asked");
    while handle.status().snapshot_index < last {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_command_that_is_too_large_is_refused_before_it_is_written() {
    let node = Node::new();
    let handle = node.start().await.expect("starts");
    let mut huge = Script::default().new_topic("huge", 1, 1);
    huge.configs =
        vec![("retention.ms".into(), Some("5".repeat(crate::limits::METADATA_ENTRY_BYTES_MAX)))];
    let command = Command::CreateTopics(create_topics(vec![huge], false));
    assert!(matches!(handle.propose(command).await, Err(Error::TooLarge { .. })));
    handle.shutdown().await.expect("stops");
}

#[tokio::test]
async fn a_failed_sync_stops_the_group_and_says_so() {
    let node = Node::new();
    let handle = node.start().await.expect("starts");
    register(&handle).await;
    node.disk.fail(
        crate::env::disk_memory::OpKind::SyncData,
        "/log/",
        0,
        std::io::ErrorKind::Other,
    );
    assert!(matches!(handle.propose(topic(1)).await, Err(Error::Failed(_))));
    assert!(matches!(handle.propose(topic(2)).await, Err(Error::Failed(_))));
    assert!(handle.status().failure.is_some());
    assert!(handle.shutdown().await.is_err());
}

/// Without room the group waits, changes nothing and forgets nothing; with room it goes on, and
/// nobody has to start it again. A shutdown does not wait.
#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let node = Node::new();
    let handle = node.start().await.expect("starts");
    register(&handle).await;
    for round in 0..2 {
        node.disk.set_capacity(1);
        let proposing = handle.clone();
        let waiting = spawn::spawn("test", async move { proposing.propose(topic(round)).await });
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        assert!(!waiting.is_finished(), "answered without room: {:?}", waiting.await);
        assert_eq!(handle.status().failure, None);
        assert_eq!(state(&handle).topics().count(), usize::try_from(round).expect("small"));
        node.disk.set_capacity(u64::MAX);
        let created = waiting.await.expect("ends").expect("no panic");
        created.expect("created once there was room");
    }
    node.disk.set_capacity(1);
    let proposing = handle.clone();
    let waiting = spawn::spawn("test", async move { proposing.propose(topic(9)).await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    // What could not be written for a fast start is said; the next start looks for itself.
    let _ = handle.shutdown().await;
    assert!(waiting.await.expect("ends").expect("no panic").is_err());
    drop(handle);
    node.disk.set_capacity(u64::MAX);
    let handle = node.start().await.expect("starts again");
    assert_eq!(state(&handle).topics().count(), 2);
    handle.shutdown().await.expect("stops");
}

pub(super) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

pub(super) fn replace_dir(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).expect("removed");
    }
    copy_dir(from, to);
}
