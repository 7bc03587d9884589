//! Hostile input on the client port: each gets an error or a closed connection, memory stays under
//! its cap, and an honest client (librdkafka) goes on all the while.
//!
//! `PURLIN_SEED` repeats a run; `PURLIN_TEST_AGAINST=kafka` attacks Apache Kafka instead, of whose
//! memory nothing is asked.

#[path = "../common/mod.rs"]
mod common;

mod honest;
mod wire;

use common::broker::Broker;
use common::data::Chance;
use common::setting;
use honest::Honest;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use wire::{Answer, connect, frame, read_frame, request, send_all};

/// Resident memory that a node may reach under any attack here.
const RSS_BYTES_MAX: u64 = 220 * 1024 * 1024;

/// A broker with an honest client at work, and the memory it had before the attack.
struct Scene {
    broker: Broker,
    honest: Honest,
    before: Option<u64>,
}

impl Scene {
    fn open() -> Self {
        let broker = Broker::start();
        let honest = Honest::start(broker.bootstrap());
        honest.progress(20);
        let before = broker.rss_bytes();
        Self { broker, honest, before }
    }

    fn address(&self) -> &str {
        self.broker.bootstrap()
    }

    /// The node lives, the honest client gets on, and memory is within its cap.
    fn check(&mut self, after: &str) {
        self.broker.assert_alive();
        self.honest.progress(20);
        let (Some(now), Some(before)) = (self.broker.rss_bytes(), self.before) else { return };
        println!("  {after}: resident {} MiB, before {} MiB", now >> 20, before >> 20);
        assert!(now < RSS_BYTES_MAX, "{after}: resident memory is {} MiB", now >> 20);
    }

    /// No panic was caught on the way, and all honest records can be read back.
    fn close(self) {
        assert!(!self.broker.log().contains("panicked"), "a task panicked:\n{}", self.broker.log());
        self.honest.finish();
    }
}

fn seeded() -> Chance {
    let seed = setting("PURLIN_SEED", u64::from(std::process::id()));
    println!("PURLIN_SEED={seed}");
    Chance::new(seed)
}

#[test]
fn five_thousand_idle_connections_cost_little_and_stop_nobody() {
    wire::allow_descriptors(12_000);
    let mut scene = Scene::open();
    let mut idle = Vec::new();
    for number in 0..5000 {
        match TcpStream::connect(scene.address()) {
            Ok(stream) => idle.push(stream),
            Err(error) => panic!("connection {number}: {error}"),
        }
        if number % 1000 == 999 {
            scene.check(&format!("{} idle connections", number + 1));
        }
    }
    // Some of them wake up and are served.
    for stream in idle.iter_mut().step_by(500) {
        send_all(stream, &request(18, 0, 7, &[]));
        assert!(
            matches!(read_frame(stream), Answer::Frame(_)),
            "a connection that was idle is not served"
        );
    }
    drop(idle);
    scene.check("after they left");
    scene.close();
}

#[test]
fn garbage_gets_an_error_or_a_closed_connection() {
    let mut chance = seeded();
    let mut scene = Scene::open();
    for _ in 0..300 {
        let mut stream = connect(scene.address());
        let size = usize::try_from(1 + chance.below(4096)).expect("fits");
        let bytes: Vec<u8> = (0..size).map(|_| chance.next().to_be_bytes()[0]).collect();
        // The node may close while it is still being written to.
        let _ = stream.write_all(&bytes);
    }
    scene.check("300 connections of random bytes");
    // A right length in front of random bytes: read as a request, and refused.
    for _ in 0..300 {
        let mut stream = connect(scene.address());
        let size = usize::try_from(8 + chance.below(512)).expect("fits");
        let bytes: Vec<u8> = (0..size).map(|_| chance.next().to_be_bytes()[0]).collect();
        send_all(&mut stream, &frame(&bytes));
        let answer = read_frame(&mut stream);
        assert!(
            !matches!(answer, Answer::Silence),
            "random frame neither answered nor closed: {bytes:02x?}"
        );
    }
    scene.check("300 random frames");
    // A known API, a served version, and a random body.
    for key in [0_i16, 1, 2, 3, 10, 19, 20, 21, 22, 23, 32, 33, 35, 37, 44, 60, 61, 75] {
        for version in 0..=13 {
            let mut stream = connect(scene.address());
            let size = usize::try_from(chance.below(200)).expect("fits");
            let body: Vec<u8> = (0..size).map(|_| chance.next().to_be_bytes()[0]).collect();
            send_all(&mut stream, &request(key, version, 1, &body));
            // A random Produce may say acks=0, which is answered by nothing; others may wait.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
            let _ = read_frame(&mut stream);
        }
    }
    scene.check("random bodies of known requests");
    scene.close();
}

#[test]
fn half_frames_hold_no_memory() {
    let mut scene = Scene::open();
    let mut held = Vec::new();
    for _ in 0..500 {
        let mut stream = connect(scene.address());
        // Ninety megabytes are allowed to come; ten bytes do.
        send_all(&mut stream, &(90 * 1024 * 1024_i32).to_be_bytes());
        send_all(&mut stream, &[0, 3, 0, 9, 0, 0, 0, 1, 0, 4]);
        held.push(stream);
    }
    std::thread::sleep(Duration::from_millis(300));
    scene.check("500 half frames of 90 MiB each");
    drop(held);
    scene.close();
}

#[test]
fn impossible_lengths_close_the_connection() {
    let mut scene = Scene::open();
    for length in [i32::MAX, i32::MIN, -1, 100 * 1024 * 1024 + 1, 0, 1, 7] {
        let mut stream = connect(scene.address());
        send_all(&mut stream, &length.to_be_bytes());
        if (1..=7).contains(&length) {
            send_all(&mut stream, &vec![0; usize::try_from(length).expect("fits")]);
        }
        assert!(
            matches!(read_frame(&mut stream), Answer::Closed),
            "a frame of length {length} must close the connection"
        );
    }
    // Two gigabytes that really come: the node stops reading long before.
    let mut stream = connect(scene.address());
    send_all(&mut stream, &i32::MAX.to_be_bytes());
    let megabyte = vec![0x55; 1024 * 1024];
    let taken = (0..64).take_while(|_| stream.write_all(&megabyte).is_ok()).count();
    assert!(taken < 64, "the node swallows a frame of 2 GiB");
    scene.check("impossible lengths");
    scene.close();
}

#[test]
fn counts_that_promise_more_than_there_is_are_refused() {
    let mut scene = Scene::open();
    for key in [0_i16, 1, 2, 3, 10, 18, 19, 20, 21, 22, 23, 32, 33, 35, 37, 44, 60, 61, 75] {
        for version in 0..=18_i16 {
            for filling in [0x7f_u8, 0xff] {
                let mut stream = connect(scene.address());
                // Whatever field comes first, it is as large as it can be.
                let mut body = vec![filling; 24];
                body.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
                send_all(&mut stream, &request(key, version, 3, &body));
                let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
                let _ = read_frame(&mut stream);
            }
        }
    }
    scene.check("counts of INT_MAX in every API and version");
    // The classical one: twenty bytes that ask for two billion topics.
    for version in [0, 1, 4, 8] {
        let mut stream = connect(scene.address());
        send_all(&mut stream, &request(3, version, 4, &i32::MAX.to_be_bytes()));
        assert!(
            matches!(read_frame(&mut stream), Answer::Closed),
            "Metadata v{version} with INT_MAX topics must close the connection"
        );
    }
    scene.close();
}

#[test]
fn unknown_apis_and_versions_are_refused() {
    let mut scene = Scene::open();
    for (key, version) in
        [(999, 0), (-1, 0), (3, 99), (3, -1), (0, 99), (1, 99), (7, 0), (i16::MAX, i16::MAX)]
    {
        let mut stream = connect(scene.address());
        send_all(&mut stream, &request(key, version, 5, &[]));
        assert!(
            matches!(read_frame(&mut stream), Answer::Closed),
            "API {key} version {version} must close the connection"
        );
    }
    // ApiVersions alone is answered whatever the version, in the layout of version 0, and the
    // connection stays open. (The header of an unknown version is read as the newest: one tag byte.)
    let mut stream = connect(scene.address());
    send_all(&mut stream, &request(18, 99, 6, &[0]));
    let Answer::Frame(answer) = read_frame(&mut stream) else {
        panic!("ApiVersions v99 is not answered")
    };
    assert_eq!(answer[..4], 6_i32.to_be_bytes(), "the correlation id");
    assert_eq!(answer[4..6], 35_i16.to_be_bytes(), "UNSUPPORTED_VERSION");
    assert!(answer.len() > 10, "the range of ApiVersions itself is listed");
    send_all(&mut stream, &request(18, 0, 8, &[]));
    assert!(matches!(read_frame(&mut stream), Answer::Frame(_)), "the connection stays usable");
    scene.check("unknown APIs and versions");
    scene.close();
}

#[test]
fn a_wrong_checksum_is_refused_and_nothing_is_stored() {
    let mut scene = Scene::open();
    let good = wire::batch(b"203.0.113.9 - - \"GET / HTTP/1.1\" 200 512");
    for at in [17, 21, 30, 60, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let (code, offset) = wire::produce(scene.address(), "honest", 0, &bad);
        assert!(code != 0, "a batch with byte {at} changed is stored at {offset}");
        if at != 17 {
            assert!(matches!(code, 2 | 87), "a batch with byte {at} changed: error {code}");
        }
    }
    let (code, _) = wire::produce(scene.address(), "honest", 0, &good[..good.len() - 3]);
    assert!(code != 0, "a batch that is cut short is stored");
    scene.check("batches with wrong checksums");
    scene.close();
}

#[test]
fn a_decompression_bomb_is_not_unpacked_into_memory() {
    let mut scene = Scene::open();
    // 512 MiB of zeros in half a megabyte of gzip, said to be one record.
    let bomb = wire::gzip_bomb(512 * 1024 * 1024);
    assert!(bomb.len() < 1024 * 1024, "small enough to be a batch: {}", bomb.len());
    honest::create_topic(scene.address(), "bomb");
    let started = Instant::now();
    let (code, offset) = wire::produce(scene.address(), "bomb", 0, &bomb);
    println!("  the bomb: error {code}, offset {offset}, {:.1} s", started.elapsed().as_secs_f64());
    scene.check("a gzip bomb");
    scene.close();
}

#[test]
fn clients_that_do_not_read_are_bounded() {
    let mut scene = Scene::open();
    let ask = request(3, 1, 9, &(-1_i32).to_be_bytes());
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(scene.address());
        stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
        for _ in 0..20_000 {
            match stream.write_all(&ask) {
                Ok(()) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break;
                }
                Err(_) => break,
            }
        }
        deaf.push(stream);
    }
    scene.check("20 connections that ask and never read");
    // One of them reads at last: what was asked first is answered first.
    if let Some(stream) = deaf.first_mut() {
        let mut correlation = [0; 8];
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        if stream.read_exact(&mut correlation).is_ok() {
            assert_eq!(correlation[4..], 9_i32.to_be_bytes());
        }
    }
    drop(deaf);
    scene.close();
}
