//! Kill -9 in the middle of an idempotent `acks=all` stream by librdkafka, again and again: what
//! was acknowledged is there once, where it was acknowledged, and in order.
//!
//! `PURLIN_KILLS` and `PURLIN_KILL_RECORDS` change how often and how much; `PURLIN_SEED` the
//! moments. `PURLIN_TEST_AGAINST=kafka` runs the same against Apache Kafka.

#[path = "../common/mod.rs"]
mod common;

use common::broker::Broker;
use common::cluster::{block_on, quiet_admin};
use common::data::Chance;
use common::history::History;
use common::load::{Load, Plan, Start, read_all};
use common::setting;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use std::time::{Duration, Instant};

const TOPIC: &str = "payments";
const PARTITIONS: i32 = 4;

/// Records a second that are offered: more than a debug build takes, so that batches are full.
const RATE: u64 = 50_000;

/// How long the stream may stand still before the test gives up.
const STALL_LIMIT: Duration = Duration::from_secs(90);

fn create_topic(bootstrap: &str) {
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    let admin = quiet_admin(bootstrap);
    let made = block_on(admin.create_topics([&topic], &AdminOptions::new())).expect("an answer");
    made.into_iter().for_each(|one| drop(one.unwrap_or_else(|error| panic!("{error:?}"))));
}

fn plan() -> Plan {
    let settings = [
        ("linger.ms", "5"),
        ("batch.num.messages", "500"),
        ("queue.buffering.max.messages", "20000"),
        ("message.timeout.ms", "300000"),
        ("retry.backoff.ms", "50"),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Plan { rate: RATE, value_bytes: 150, settings, ..Plan::new(TOPIC, PARTITIONS) }
}

#[test]
fn what_was_acknowledged_survives_kill_nine_once_and_in_order() {
    let kills = setting("PURLIN_KILLS", 20);
    let count = setting("PURLIN_KILL_RECORDS", 200_000);
    let seed = setting("PURLIN_SEED", u64::from(std::process::id()));
    println!("PURLIN_SEED={seed} PURLIN_KILLS={kills} PURLIN_KILL_RECORDS={count}");
    let mut chance = Chance::new(seed);

    let mut broker = Broker::start();
    create_topic(broker.bootstrap());
    let started = Instant::now();
    let load = Load::start(broker.bootstrap(), plan(), Start::now());
    let step = count / (kills + 1);
    for kill in 1..=kills {
        load.wait_for_more(step - chance.below(step / 2), STALL_LIMIT);
        broker.kill_nine();
        let at = load.acknowledged();
        std::thread::sleep(Duration::from_millis(chance.below(100)));
        let down = Instant::now();
        broker.restart();
        println!(
            "kill {kill:2} at {at:7} acknowledged, ready again in {} ms",
            down.elapsed().as_millis()
        );
    }
    load.wait_for_more(step, STALL_LIMIT);
    let errors = load.errors();
    let sent = load.stop();
    println!("{kills} kills, {:.1} s", started.elapsed().as_secs_f64());
    assert!(errors.is_empty(), "librdkafka gave up on records: {errors:?}");
    assert!(sent.iter().all(|sent| sent.is_acknowledged()), "each record has one place");
    let end = read_all(broker.bootstrap(), TOPIC, PARTITIONS);
    History { sent, end, ..History::default() }.assert_faultless("kill -9");
}
