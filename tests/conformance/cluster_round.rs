//! Every client on three nodes: it writes through one of them, it and its neighbour read through
//! another, and the third is killed while all of them write.

use crate::clients::{CLIENTS, CODECS, Client, Setup, offsets};
use crate::common::cluster::Cluster;
use crate::common::data;
use crate::common::{now_ms, scratch, setting};
use crate::round::{
    Content, compare_with_input, compare_with_reference, create, for_every, topic_of, write_inputs,
};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// The codec that a client writes here: each another one.
fn codec_of(client: Client) -> &'static str {
    let place = CLIENTS.iter().position(|known| *known == client).expect("one of them");
    CODECS[place]
}

/// Idempotent producers: nothing is lost, nothing is there twice, and the order is kept.
pub fn every_client_goes_on_while_a_node_is_killed() {
    let count = setting("PURLIN_CONFORMANCE_RECORDS", 100_000);
    let count = usize::try_from(count).expect("fits");
    let seed = setting("PURLIN_SEED", 20_261_122);
    println!("PURLIN_SEED={seed} PURLIN_CONFORMANCE_RECORDS={count}");
    for client in CLIENTS {
        client.install().unwrap_or_else(|error| panic!("{} can't be had: {error}", client.name()));
    }
    let mut cluster = Cluster::start(3);
    let folder = scratch("inputs-");
    let records = data::access_log(seed, count, now_ms());
    write_inputs(folder.path(), &records);
    let topics: Vec<String> =
        CLIENTS.iter().map(|client| topic_of(*client, codec_of(*client))).collect();
    create(cluster.nodes()[1].bootstrap(), &topics, PARTITIONS, 3);
    cluster.wait_in_sync(PATIENCE);

    let (writing, reading) =
        (cluster.nodes()[0].bootstrap().to_owned(), cluster.nodes()[1].bootstrap().to_owned());
    let setup = |bootstrap| Setup { bootstrap, records: &records, folder: folder.path() };
    // Clocks of client and test are the same; a second of grace is for rounding.
    let from = now_ms() - 1000;
    let failed = write_and_kill(&mut cluster, &setup(&writing), &reading, &topics);
    assert!(failed.is_empty(), "writers failed:\n{}\n{}", failed.join("\n"), cluster.logs());
    cluster.wait_in_sync(PATIENCE);
    let failed = compare(&setup(&reading), (from, now_ms() + 1000));
    assert!(failed.is_empty(), "not what was sent:\n{}\n{}", failed.join("\n"), cluster.logs());
    cluster.assert_alive();
}

/// Lets everybody write; kills the third node in the middle, and starts it again.
fn write_and_kill(
    cluster: &mut Cluster,
    setup: &Setup<'_>,
    looking: &str,
    topics: &[String],
) -> Vec<String> {
    let wanted = i64::try_from(setup.records.len() * topics.len()).expect("fits");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers = scope.spawn(|| {
            let failed = for_every(&CLIENTS, |client| {
                let topic = topic_of(client, codec_of(client));
                let written = client.write(setup, &topic, codec_of(client));
                let tell = |error| format!("{} cannot write: {error}", client.name());
                written.map_err(tell).err().into_iter().collect()
            });
            done.store(true, Ordering::Release);
            failed
        });
        while written(looking, topics) < wanted / 10 {
            assert!(!done.load(Ordering::Acquire), "all was written before the node was killed");
        }
        cluster.nodes_mut()[2].kill_nine();
        assert!(!done.load(Ordering::Acquire), "all was written before the node was killed");
        println!("killed after {} of {wanted} records", written(looking, topics));
        std::thread::sleep(Duration::from_secs(3));
        cluster.nodes_mut()[2].restart();
        writers.join().expect("the writers end")
    })
}

/// How many records the topics hold.
fn written(bootstrap: &str, topics: &[String]) -> i64 {
    let ends = topics.iter().filter_map(|topic| offsets(bootstrap, topic).ok()).flatten();
    ends.map(|(_, _, high)| high).sum()
}

fn compare(setup: &Setup<'_>, span: (i64, i64)) -> Vec<String> {
    let contents: Mutex<BTreeMap<String, Content>> = Mutex::new(BTreeMap::new());
    let mut failed = for_every(&CLIENTS, |client| {
        match compare_with_input(setup, client, codec_of(client), span) {
            Ok(content) => {
                let topic = topic_of(client, codec_of(client));
                contents.lock().expect("whole").insert(topic, content);
                Vec::new()
            }
            Err(error) => vec![error],
        }
    });
    if !failed.is_empty() {
        return failed;
    }
    let contents = contents.into_inner().expect("whole");
    failed.extend(for_every(&CLIENTS, |reader| {
        let place = CLIENTS.iter().position(|client| *client == reader).expect("one of them");
        let neighbour = CLIENTS[(place + 1) % CLIENTS.len()];
        let read = |writer: Client| {
            let topic = topic_of(writer, codec_of(writer));
            match reader.read(setup, &topic) {
                Ok(lines) => compare_with_reference(reader, &topic, &lines, &contents[&topic]),
                Err(error) => Some(format!("{topic}: {} cannot read it: {error}", reader.name())),
            }
        };
        [reader, neighbour].into_iter().filter_map(read).collect()
    }));
    failed
}
