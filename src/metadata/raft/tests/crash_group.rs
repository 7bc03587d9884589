//! Power cuts under a whole group of one: what was answered is there after the next start, and the
//! state is the one that a model of the commands gives, whatever became of the state store.

use super::super::super::state::tests::{admission, registration};
use super::super::super::state::{ChangeFencing, Delta, FencingChange, State, apply};
use super::super::super::{Command, Response};
use super::group::{Node, copy_dir, replace_dir, topic};
use super::*;
use crate::types::BrokerEpoch;

/// What to propose as number `step`: deletes among creations, so that order matters.
fn command(step: u64) -> Command {
    use super::super::super::state::{DeleteTopics, TopicSelector};
    if step % 4 == 3 {
        let name = TopicSelector::Name(format!("topic-{}", step - 2));
        return Command::DeleteTopics(DeleteTopics { topics: vec![name] });
    }
    topic(step)
}

/// The topics, in words: broker epochs differ from run to run with the entries of Raft's own.
fn topics(state: &State) -> Vec<String> {
    state.topics().map(|topic| format!("{topic:?}")).collect()
}

/// The topics after the first so many commands.
fn model(steps: u64) -> Vec<String> {
    let mut state = State::default();
    let mut run = |index, command| apply(&mut state, index, command, &mut Delta::default());
    run(0, Command::AdmitNode(admission(1)));
    run(1, Command::RegisterBroker(registration(1, 1, true)));
    let broker_epoch = BrokerEpoch(1);
    let change = FencingChange {
        node_id: NodeId(1),
        broker_epoch,
        fenced: false,
        in_controlled_shutdown: false,
    };
    run(2, Command::ChangeFencing(ChangeFencing { changes: vec![change] }));
    for step in 0..steps {
        run(3 + step, command(step));
    }
    topics(&state)
}

/// Registers the one broker if it isn't there, and unfences it.
async fn prepare(handle: &super::super::super::Handle) -> Result<(), super::super::super::Error> {
    handle.propose(Command::AdmitNode(admission(1))).await?;
    let response = handle.propose(Command::RegisterBroker(registration(1, 1, true))).await?;
    let Response::RegisterBroker(Ok(broker_epoch)) = response else { panic!("{response:?}") };
    let change = FencingChange {
        node_id: NodeId(1),
        broker_epoch,
        fenced: false,
        in_controlled_shutdown: false,
    };
    handle.propose(Command::ChangeFencing(ChangeFencing { changes: vec![change] })).await?;
    Ok(())
}

/// Starts, and proposes commands from `answered` on until the power is gone or `steps` are done.
/// Gives how many were answered.
async fn live(node: &Node, mut answered: u64, steps: u64) -> u64 {
    let Ok(handle) = node.start().await else { return answered };
    if prepare(&handle).await.is_ok() {
        while answered < steps {
            if handle.propose(command(answered)).await.is_err() {
                break;
            }
            answered += 1;
            if answered.is_multiple_of(5) && handle.trigger_snapshot().await.is_err() {
                break;
            }
        }
    }
    // Writes nothing any more when the power is gone; the store's thread must let go of its files.
    let _ = handle.shutdown().await;
    answered
}

/// Starts again, and says how many commands the state holds: all that were answered, and perhaps
/// the one that was not answered any more.
async fn check(node: &Node, answered: u64) -> u64 {
    let handle = node.start().await.expect("what a power cut leaves always starts");
    let found = topics(handle.image().state());
    handle.shutdown().await.expect("stops");
    if found == model(answered) {
        return answered;
    }
    assert_eq!(found, model(answered + 1), "after {answered} answers");
    answered + 1
}

#[tokio::test]
async fn answered_commands_survive_power_cuts_whatever_becomes_of_the_state_store() {
    const STEPS: u64 = 12;
    const NAME: &str = "answered_commands_survive_power_cuts";
    for seed in seeds(1) {
        let _say = SaySeed(seed, NAME);
        let mut dice = Dice(seed);
        let whole = Node::new();
        assert_eq!(live(&whole, 0, STEPS).await, STEPS);
        assert_eq!(check(&whole, STEPS).await, STEPS);
        let changes = whole.disk.changes();
        let mut cut = 0;
        while cut < changes {
            let node = Node::new();
            let old = tempfile::tempdir().expect("a directory");
            let mut answered = 0;
            for _life in 0..3 {
                node.disk.cut_power_at(node.disk.changes() + cut % changes);
                answered = live(&node, answered, STEPS).await;
                node.disk.crash(dice.next());
                match dice.below(4) {
                    0 if node.state_dir.exists() => {
                        std::fs::remove_dir_all(&node.state_dir).expect("removed");
                    }
                    1 if old.path().join("state").exists() => {
                        replace_dir(&old.path().join("state"), &node.state_dir);
                    }
                    2 if node.state_dir.exists() => {
                        let copy = old.path().join("state");
                        if !copy.exists() {
                            copy_dir(&node.state_dir, &copy);
                        }
                    }
                    _ => {}
                }
                answered = check(&node, answered).await;
                cut += 1;
            }
        }
    }
}
