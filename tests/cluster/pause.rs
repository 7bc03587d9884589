//! A leader that is stopped (SIGSTOP) under load, long enough to lose its leadership, and goes on as
//! if nothing had happened: what it still has to answer must not be committed, and it has to cut
//! its log and follow.
//!
//! `PURLIN_PAUSE_ROUNDS` and `PURLIN_PAUSE_MS` change how often and how long; `faults.sh` runs 20
//! rounds of 10 s. `PURLIN_PAUSE_SHORT_ROUNDS` is how often a node stands still for a moment.

#[path = "../common/mod.rs"]
mod common;

use common::cluster::{Cluster, PartitionView, View, metric};
use common::direct::{Direct, PRODUCE_VERSION, produce};
use common::history::{Id, Outcome, Sent};
use common::load::{Plan, Run, value_of};
use common::setting;
use rustix::process::Signal;
use std::time::{Duration, Instant};

const TOPIC: &str = "ledger";
const PARTITIONS: i32 = 12;
const PATIENCE: Duration = Duration::from_secs(60);

/// The producer that writes through the stopped leader.
const ZOMBIES_CLIENT: u32 = 1;

/// A request that waits in the stopped leader's socket.
struct Waiting {
    connection: Direct,
    sent: Sent,
}

fn led_by(view: &View, id: i32) -> Vec<i32> {
    let led = view.iter().filter(|(_, partition)| partition.leader == Some(id));
    led.map(|((_, partition), _)| *partition).collect()
}

/// One record to each partition that the stopped node led, over connections made while it ran.
fn send_to_stopped(connections: Vec<(i32, Direct)>, run: &Run, number: &mut u64) -> Vec<Waiting> {
    let waiting = connections.into_iter().map(|(partition, mut connection)| {
        let id = Id { producer: ZOMBIES_CLIENT, number: *number };
        *number += 1;
        let request = produce(TOPIC, partition, &value_of(id, 100), 5000);
        connection.send(&request, PRODUCE_VERSION).expect("the system takes it");
        let now = run.start.us();
        let outcome = Outcome::Unknown;
        let sent = Sent { id, partition, intended_us: now, answered_us: now, outcome };
        Waiting { connection, sent }
    });
    waiting.collect()
}

/// What the node said once it went on. A commit in its old epoch would be an offset here.
fn collect(waiting: Vec<Waiting>, run: &Run) -> Vec<Sent> {
    let answered = waiting.into_iter().map(|mut one| {
        let answer = one.connection.receive_produced();
        one.sent.answered_us = run.start.us();
        if let Ok(Ok(offset)) = answer {
            one.sent.outcome = Outcome::Acknowledged(offset);
        }
        println!("    partition {:2}: {answer:?}", one.sent.partition);
        one.sent
    });
    answered.collect()
}

#[test]
fn a_leader_that_was_paused_commits_nothing_and_follows() {
    let rounds = setting("PURLIN_PAUSE_ROUNDS", 2);
    let pause = Duration::from_millis(setting("PURLIN_PAUSE_MS", 4000));
    let mut cluster = Cluster::start(3);
    cluster.create_topic(TOPIC, PARTITIONS, 3, &[("min.insync.replicas", "2")]);
    let run = Run::start(&cluster.clients(), Plan::new(TOPIC, PARTITIONS).impatient());
    run.load.wait_for_more(1000, PATIENCE);
    let (mut zombies, mut number) = (Vec::new(), 0);
    for round in 0..rounds {
        cluster.wait_in_sync(PATIENCE);
        let ids = cluster.ids();
        let view = cluster.view().expect("answers");
        // In turn, so that a former zombie leads what another one led.
        let place = usize::try_from(round).expect("small") % ids.len();
        let in_turn = ids.iter().cycle().skip(place).take(ids.len());
        let victim = *in_turn.max_by_key(|id| led_by(&view, **id).len().min(1)).expect("nodes");
        let led = led_by(&view, victim);
        let address = cluster.node(victim).bootstrap().to_owned();
        let connect = |partition: i32| {
            (partition, Direct::connect(&address, Duration::from_secs(20)).expect("connects"))
        };
        let connections: Vec<(i32, Direct)> = led.iter().map(|one| connect(*one)).collect();
        let from_us = run.start.us();
        cluster.node(victim).signal(Signal::STOP);
        let stopped = Instant::now();
        let others = cluster.bootstrap_without(&[victim]);
        let moved = cluster.wait_until_at(&others, "other leaders", PATIENCE, |view| {
            led_by(view, victim).is_empty() && view.values().all(|one| one.leader.is_some())
        });
        let waiting = send_to_stopped(connections, &run, &mut number);
        run.load.wait_for_each(from_us, PATIENCE);
        std::thread::sleep(pause.saturating_sub(stopped.elapsed()));
        cluster.node(victim).signal(Signal::CONT);
        let begin = Instant::now();
        let answers = collect(waiting, &run);
        // The one that slept may still show what was before.
        let whole = |view: &View| view.values().all(PartitionView::is_whole);
        cluster.wait_until_at(&others, "every replica in sync", PATIENCE, whole);
        let back = begin.elapsed();
        println!(
            "round {round:2}: node {victim} led {:2}, others lead after {:5} ms, back in every ISR \
             after {:5} ms",
            led.len(),
            moved.as_millis(),
            back.as_millis()
        );
        let committed: Vec<&Sent> = answers.iter().filter(|sent| sent.is_acknowledged()).collect();
        assert!(committed.is_empty(), "the zombie committed: {committed:?}");
        zombies.extend(answers);
    }
    let errors = run.load.errors();
    let mut history = run.finish(false);
    history.sent.extend(zombies);
    history.assert_faultless("pause");
    // What was refused by the zombie must not come up later either: nobody else was sent it.
    let strays =
        history.end.seen.values().flatten().filter(|(_, id)| id.producer == ZOMBIES_CLIENT);
    assert_eq!(strays.count(), 0, "records of a zombie were committed by somebody");
    assert!(errors.is_empty(), "librdkafka gave up on records: {errors:?}");
    cluster.assert_alive();
}

/// About as long as a session: sometimes others have taken over, sometimes not yet, and logs of the
/// metadata differ by an entry. Two voters once refused each other their votes for a minute then,
/// and hundreds of terms: the one with the shorter log kept beginning new ones.
#[test]
fn short_pauses_leave_the_group_with_a_controller() {
    let rounds: u64 = setting("PURLIN_PAUSE_SHORT_ROUNDS", 8);
    let mut cluster = Cluster::start(3);
    // Leaderships that move are entries of the metadata.
    cluster.create_topic(TOPIC, 50, 3, &[("min.insync.replicas", "2")]);
    let terms = |cluster: &mut Cluster| {
        let ids = cluster.ids();
        let term = |id: i32| metric(&cluster.node(id).ready().admin, "purlin_metadata_term");
        ids.into_iter().filter_map(term).max().expect("somebody answers")
    };
    let controller = |cluster: &Cluster| {
        let started = Instant::now();
        loop {
            if let Some(id) = cluster.controller() {
                return id;
            }
            assert!(started.elapsed() < PATIENCE, "no controller\n{}", cluster.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for round in 0..rounds {
        let ids = cluster.ids();
        let place = usize::try_from(round).expect("small") % ids.len();
        let before = terms(&mut cluster);
        let victim = if round % 3 == 2 { ids[place] } else { controller(&cluster) };
        let pause = Duration::from_millis(600 + round * 397 % 1150);
        cluster.node(victim).signal(Signal::STOP);
        std::thread::sleep(pause);
        cluster.node(victim).signal(Signal::CONT);
        std::thread::sleep(Duration::from_millis(500));
        let found = controller(&cluster);
        let begun = terms(&mut cluster) - before;
        println!("node {victim} slept {pause:?}; then {found} is the controller, {begun} terms on");
        assert!(begun <= 20, "{begun} terms without a controller\n{}", cluster.logs());
    }
    cluster.wait_in_sync(PATIENCE);
    cluster.assert_alive();
}
