//! The round: each client writes each codec; each reads back its own and its neighbour's.

use crate::clients::{CLIENTS, CODECS, Client, Setup, line_of, read_with_librdkafka};
use crate::common::broker::Broker;
use crate::common::data::{self, NONE, Record, index_of, show_headers};
use crate::common::{now_ms, scratch, setting};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::Message as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

/// Partitions of each topic.
const PARTITIONS: i32 = 2;

/// Clients at work at the same time.
const CLIENTS_AT_ONCE: usize = 3;

/// What a topic holds, by partition: the hash of each canonical line, in order of offsets.
pub type Content = BTreeMap<i32, Vec<u64>>;

pub fn topic_of(client: Client, codec: &str) -> String {
    format!("access-log.{}.{codec}", client.name())
}

fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

pub fn write_inputs(folder: &Path, records: &[Record]) {
    let (mut plain, mut java, mut kcat) = (String::new(), String::new(), String::new());
    for record in records {
        let key = record.key.as_deref();
        let value = record.value.as_deref();
        let headers = show_headers(&record.headers);
        let or_none = |text: Option<&str>| text.unwrap_or(NONE).to_owned();
        writeln!(plain, "{}\t{}\t{headers}\t{}", record.timestamp, or_none(key), or_none(value))
            .expect("to memory");
        let console = if headers.is_empty() { NONE } else { &headers };
        writeln!(java, "{console}\t{}\t{}", or_none(key), or_none(value)).expect("to memory");
        writeln!(kcat, "{}\t{}", key.unwrap_or(""), value.unwrap_or("")).expect("to memory");
    }
    for (name, text) in [("records.tsv", plain), ("java.tsv", java), ("kcat.tsv", kcat)] {
        std::fs::write(folder.join(name), text).expect("the input can be written");
    }
}

fn create_topics(bootstrap: &str) {
    let names: Vec<String> =
        CLIENTS.iter().flat_map(|client| CODECS.map(|codec| topic_of(*client, codec))).collect();
    create(bootstrap, &names, PARTITIONS, 1);
}

/// Creates topics by librdkafka.
pub fn create(bootstrap: &str, names: &[String], partitions: i32, replicas: i32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("an admin client");
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(replicas)))
        .collect();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let results =
        runtime.block_on(admin.create_topics(&topics, &AdminOptions::new())).expect("created");
    for result in results {
        result.unwrap_or_else(|(topic, error)| {
            panic!("librdkafka could not create {topic}: {error}")
        });
    }
}

/// Runs `work` for every client, some at a time; the complaints, by client.
pub fn for_every(clients: &[Client], work: impl Fn(Client) -> Vec<String> + Sync) -> Vec<String> {
    let waiting = Mutex::new(clients.to_vec());
    let complaints = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("not poisoned").pop();
                    let Some(client) = next else { break };
                    let started = Instant::now();
                    let found = work(client);
                    eprintln!("  {:13} {:6.1} s", client.name(), started.elapsed().as_secs_f64());
                    complaints.lock().expect("not poisoned").extend(found);
                }
            });
        }
    });
    let mut complaints = complaints.into_inner().expect("not poisoned");
    complaints.sort();
    complaints
}

/// Compares a topic, read by librdkafka, with what its writer was given. The content, to compare
/// other readers with.
pub fn compare_with_input(
    setup: &Setup<'_>,
    client: Client,
    codec: &str,
    span: (i64, i64),
) -> Result<Content, String> {
    let topic = topic_of(client, codec);
    let mut content = Content::new();
    let mut seen = vec![false; setup.records.len()];
    let mut last: BTreeMap<i32, usize> = BTreeMap::new();
    let mut fault: Option<String> = None;
    read_with_librdkafka(setup.bootstrap, &topic, |message| {
        let line = line_of(message);
        content.entry(message.partition()).or_default().push(hash(&line));
        let found =
            compare_record(setup, client, &line, message.timestamp().to_millis(), span, &mut seen)
                .and_then(|index| match last.insert(message.partition(), index) {
                    Some(before) if before >= index => {
                        Err(format!("record {index} comes after {before}"))
                    }
                    _ => Ok(()),
                });
        if let (Err(why), None) = (found, &fault) {
            fault = Some(format!("{topic}: {why}\n    {line}"));
        }
    })?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    match seen.iter().position(|seen| !seen) {
        Some(index) => Err(format!(
            "{topic}: {} of {} records are missing, the first is {index}",
            seen.iter().filter(|seen| !**seen).count(),
            seen.len()
        )),
        None => Ok(content),
    }
}

fn compare_record(
    setup: &Setup<'_>,
    client: Client,
    line: &str,
    timestamp: Option<i64>,
    span: (i64, i64),
    seen: &mut [bool],
) -> Result<usize, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [_, _, _, key, headers, value] = fields[..] else {
        return Err("not six fields".to_owned());
    };
    let some = |text| (text != NONE).then_some(text);
    let index = index_of(some(key), some(value)).ok_or("no number in it")?;
    let record = setup.records.get(index).ok_or_else(|| format!("no record {index} was sent"))?;
    if std::mem::replace(&mut seen[index], true) {
        return Err(format!("record {index} is there twice"));
    }
    if some(key) != record.key.as_deref() || some(value) != record.value.as_deref() {
        return Err(format!("record {index} came back changed"));
    }
    let wanted = show_headers(&client.headers(record));
    if headers != wanted {
        return Err(format!("record {index} has headers {headers}, not {wanted}"));
    }
    let timestamp = timestamp.unwrap_or(-1);
    if client.sets_timestamps() && timestamp != record.timestamp {
        return Err(format!("record {index} has time {timestamp}, not {}", record.timestamp));
    }
    if !client.sets_timestamps() && !(span.0..=span.1).contains(&timestamp) {
        return Err(format!("record {index} has time {timestamp}, outside of the run {span:?}"));
    }
    Ok(index)
}

pub fn compare_with_reference(
    reader: Client,
    topic: &str,
    lines: &[String],
    reference: &Content,
) -> Option<String> {
    let mut at: BTreeMap<i32, usize> = BTreeMap::new();
    for line in lines {
        let partition: i32 =
            line.split('\t').next().and_then(|number| number.parse().ok()).unwrap_or(-1);
        let place = at.entry(partition).or_default();
        let wanted = reference.get(&partition).and_then(|hashes| hashes.get(*place));
        if wanted != Some(&hash(line)) {
            let name = reader.name();
            return Some(format!(
                "{topic}: {name} reads, as number {place} of partition {partition}:\n    {line}"
            ));
        }
        *place += 1;
    }
    let wanted: usize = reference.values().map(Vec::len).sum();
    (lines.len() != wanted)
        .then(|| format!("{topic}: {} reads {} of {wanted} records", reader.name(), lines.len()))
}

/// One number for a topic's whole content.
fn digest(content: &Content) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Show 2 of the issue: the records, keys, headers and timestamps that were written are read, by
/// the writer itself and by its neighbour in the ring.
pub fn every_client_reads_what_every_client_wrote(broker: &Broker) {
    let count = usize::try_from(setting("PURLIN_CONFORMANCE_RECORDS", 100_000)).expect("fits");
    let seed = setting("PURLIN_SEED", 20_261_122);
    println!("PURLIN_SEED={seed} PURLIN_CONFORMANCE_RECORDS={count}");
    let mut clients = CLIENTS.to_vec();
    let mut absent = Vec::new();
    clients.retain(|client| client.install().map_err(|error| absent.push(error)).is_ok());

    let folder = scratch("inputs-");
    let records = data::access_log(seed, count, now_ms());
    write_inputs(folder.path(), &records);
    let setup = Setup { bootstrap: broker.bootstrap(), records: &records, folder: folder.path() };
    create_topics(setup.bootstrap);

    eprintln!("writing {count} records in each of {CODECS:?}:");
    // Clocks of client and test are the same; a second of grace is for rounding.
    let from = now_ms() - 1000;
    let failed = for_every(&clients, |client| {
        let tell = |codec, error| format!("{} cannot write {codec}: {error}", client.name());
        let write = |codec| {
            client
                .write(&setup, &topic_of(client, codec), codec)
                .map_err(|error| tell(codec, error))
        };
        CODECS.into_iter().filter_map(|codec| write(codec).err()).collect()
    });
    assert!(failed.is_empty(), "writers failed:\n{}", failed.join("\n"));
    let span = (from, now_ms() + 1000);

    eprintln!("comparing with what was sent (librdkafka):");
    let contents: Mutex<BTreeMap<String, Content>> = Mutex::new(BTreeMap::new());
    let failed = for_every(&clients, |client| {
        let mut faults = Vec::new();
        for codec in CODECS {
            match compare_with_input(&setup, client, codec, span) {
                Ok(content) => {
                    drop(contents.lock().expect("whole").insert(topic_of(client, codec), content))
                }
                Err(error) => faults.push(error),
            }
        }
        faults
    });
    assert!(failed.is_empty(), "not what was sent:\n{}", failed.join("\n"));
    let contents = contents.into_inner().expect("whole");

    eprintln!("each reads its own and its neighbour's:");
    let failed = for_every(&clients, |reader| {
        let place = clients.iter().position(|client| *client == reader).expect("one of them");
        let neighbour = clients[(place + 1) % clients.len()];
        let mut faults = Vec::new();
        for topic in [reader, neighbour]
            .into_iter()
            .flat_map(|writer| CODECS.map(|codec| topic_of(writer, codec)))
        {
            match reader.read(&setup, &topic) {
                Ok(lines) => {
                    faults.extend(compare_with_reference(reader, &topic, &lines, &contents[&topic]))
                }
                Err(error) => {
                    faults.push(format!("{topic}: {} cannot read it: {error}", reader.name()))
                }
            }
        }
        faults
    });
    assert!(failed.is_empty(), "readers disagree:\n{}", failed.join("\n"));
    for (topic, content) in &contents {
        println!("{topic:32} {count} records  {:016x}", digest(content));
    }
    assert!(absent.is_empty(), "the others agree, but some can't be had:\n{}", absent.join("\n"));
}

/// The comparisons themselves are checked: what they exist for, they have to see.
#[test]
fn the_comparisons_see_loss_repetition_change_and_disorder() {
    let records = data::access_log(7, 300, 1_790_000_000_000);
    let setup = Setup { bootstrap: "", records: &records, folder: Path::new("") };
    let row = |record: &Record, timestamp: i64| {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        data::canonical(0, 0, timestamp, key, &show_headers(&record.headers), value)
    };
    let compare = |line: &str, timestamp: i64, seen: &mut [bool]| {
        compare_record(&setup, Client::Python, line, Some(timestamp), (0, 0), seen)
    };
    let mut seen = vec![false; records.len()];
    for record in &records {
        assert_eq!(
            compare(&row(record, record.timestamp), record.timestamp, &mut seen),
            Ok(record.index)
        );
    }
    assert!(seen.iter().all(|seen| *seen));
    let first = &records[0];
    let good = row(first, first.timestamp);
    assert!(compare(&good, first.timestamp, &mut seen).is_err(), "a repetition");
    let fresh = || vec![false; records.len()];
    assert!(compare(&good, first.timestamp + 1, &mut fresh()).is_err(), "another time");
    assert!(
        compare(&good.replace("HTTP/1.1", "HTTP/1.0"), first.timestamp, &mut fresh()).is_err(),
        "another value"
    );
    let other =
        Record { headers: vec![("site".to_owned(), "elsewhere".to_owned())], ..first.clone() };
    assert!(
        compare(&row(&other, first.timestamp), first.timestamp, &mut fresh()).is_err(),
        "other headers"
    );
    let other = Record { key: None, ..first.clone() };
    assert!(
        compare(&row(&other, first.timestamp), first.timestamp, &mut fresh()).is_err(),
        "no key"
    );

    let lines: Vec<String> = records.iter().map(|record| row(record, record.timestamp)).collect();
    let reference = Content::from([(0, lines.iter().map(|line| hash(line)).collect())]);
    let differ = |lines: &[String]| compare_with_reference(Client::Node, "t", lines, &reference);
    assert_eq!(differ(&lines), None);
    assert!(differ(&lines[..299]).is_some(), "a loss at the end");
    assert!(differ(&lines[1..]).is_some(), "a loss at the start");
    let mut swapped = lines.clone();
    swapped.swap(10, 11);
    assert!(differ(&swapped).is_some(), "disorder");
}
