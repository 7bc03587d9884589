//! Hostile input: each costs its sender an error or a closed connection, and honest clients
//! nothing.

use crate::harness::{Client, TestNode, batch, fetch_request, produce_request, row_of};
use bytes::Bytes;
use purlin::protocol::messages::SERVED;
use purlin::protocol::messages::metadata::MetadataRequest;
use purlin::protocol::{ApiKey, ErrorCode};
use std::net::TcpStream;

/// Deterministic noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// Memory of this process now, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("always there");
    let kib: u64 =
        line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number");
    kib * 1024
}

fn header(key: ApiKey, version: i16, flexible: bool) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&key.to_i16().to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&1i32.to_be_bytes());
    bytes.extend_from_slice(&(-1i16).to_be_bytes());
    if flexible {
        bytes.push(0);
    }
    bytes
}

fn framed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(bytes.len() - 4).expect("short");
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn honest_works(client: &mut Client) {
    let response = client.call(&MetadataRequest::default(), 9);
    assert_eq!(response.brokers.len(), 1);
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let mut honest = Client::shared();
    let seed = 0x5eed_u64;
    println!("seed {seed}");
    let mut noise = Noise(seed);
    for _ in 0..200 {
        let mut client = Client::shared();
        let count = (noise.next() % 2000) as usize;
        client.try_send_raw(&noise.bytes(count));
        drop(client);
        // The same as the body of a frame with an honest length.
        let mut client = Client::shared();
        let bytes = framed([vec![0; 4], noise.bytes(count + 8)].concat());
        client.try_send_raw(&bytes);
    }
    for line in
        ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0", "SSH-2.0-x\r\n"]
    {
        let mut client = Client::shared();
        client.send_raw(line.as_bytes());
        assert!(client.is_closed(), "{line:?}");
    }
    honest_works(&mut honest);
}

#[test]
fn a_length_of_two_gib_and_other_lengths() {
    let mut honest = Client::shared();
    for length in [i32::MAX, i32::MIN, -1, 0, 1, 104_857_601] {
        let mut client = Client::shared();
        client.send_raw(&[&length.to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 0]].concat());
        assert!(client.is_closed(), "length {length}");
    }
    honest_works(&mut honest);
}

#[test]
fn counts_of_int_max_in_every_api_and_version() {
    let mut honest = Client::shared();
    let before = resident_bytes();
    for api in &SERVED {
        for version in api.versions.clone() {
            let flexible = version >= api.flexible_from;
            // Bodies in which, wherever a count is read, it is as large as can be.
            let bodies = [
                [0x7f, 0xff, 0xff, 0xff].repeat(16),
                [0xff, 0xff, 0xff, 0xff, 0x07].repeat(16),
                [vec![0; 2], [0x7f, 0xff, 0xff, 0xff].repeat(8)].concat(),
                [vec![0xff; 2], vec![0, 1, 0, 0, 0x10, 0], vec![0x7f, 0xff, 0xff, 0xff]].concat(),
                [vec![0; 21], vec![0x7f, 0xff, 0xff, 0xff]].concat(),
            ];
            for body in bodies {
                let mut client = Client::shared();
                client.try_send_raw(&framed([header(api.key, version, flexible), body].concat()));
                // An answer or a closed connection; never silence. Some of these mean something:
                // a fetch that waits for days ends when its client leaves.
                client.finish_sending();
                while client.receive_frame().is_some() {}
            }
        }
    }
    honest_works(&mut honest);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 256 << 20, "{grown} bytes more than before");
}

#[test]
fn half_frames_cost_nothing() {
    let mut honest = Client::shared();
    let topic = honest.create("half", 1, &[]);
    let request = produce_request(&topic, Some(batch(&["x"])), -1);
    let whole = purlin::protocol::header::encode_request(&request, 9, 1, None).concat();
    for cut in 0..whole.len() {
        let mut client = Client::shared();
        client.try_send_raw(&whole[..cut]);
    }
    assert_eq!(honest.fetch(&topic, 0).high_watermark.0, 0, "nothing was appended");
    honest_works(&mut honest);
}

#[test]
fn wrong_checksums_and_flipped_bits_in_a_batch() {
    let mut client = Client::shared();
    let topic = client.create("flips", 1, &[]);
    let good = batch(&["some value", "another value"]);
    let mut stored = 0;
    for bit in 0..good.len() * 8 {
        let mut flipped = good.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let row = client.produce(&topic, Bytes::from(flipped));
        // The leader epoch is outside of the checksum, and is the broker's to write.
        let is_epoch = (12..16).contains(&(bit / 8));
        assert_eq!(row.error_code == ErrorCode::None, is_epoch, "bit {bit}: {row:?}");
        stored += i64::from(is_epoch) * 2;
    }
    assert_eq!(client.fetch(&topic, 0).high_watermark.0, stored);
}

#[test]
fn a_compression_bomb_is_refused_or_stored_without_unpacking_it_whole() {
    use purlin::protocol::records::{Compression, codec};
    let mut client = Client::shared();
    let topic = client.create("bomb", 1, &[]);
    let before = resident_bytes();
    let zeros = vec![0u8; 300 << 20];
    let plain = batch(&["x"]);
    let packed = codec::compress(Compression::Gzip, &zeros);
    drop(zeros);
    let mut bomb = [&plain[..61], &packed].concat();
    let length = i32::try_from(bomb.len() - 12).expect("short");
    bomb[8..12].copy_from_slice(&length.to_be_bytes());
    let bomb = crate::harness::patched(&Bytes::from(bomb), 21, &1i16.to_be_bytes());
    let row = client.produce(&topic, bomb);
    assert_ne!(row.error_code, ErrorCode::None);
    honest_works(&mut client);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 400 << 20, "{grown} bytes more than before");
}

#[test]
fn idle_connections_by_the_thousand_and_slow_ones_among_them() {
    const IDLE: usize = 5_000;
    let node = TestNode::start(&[]);
    let mut honest = node.client();
    let topic = honest.create_named("honest", 1, &[]);
    let before = resident_bytes();
    let crowd: Vec<TcpStream> = (0..IDLE)
        .map(|n| {
            let stream = TcpStream::connect(node.address()).unwrap_or_else(|error| {
                panic!("connection {n}: {error}; this test needs 12,000 open files (ulimit -n)")
            });
            if n % 5 == 0 {
                // The start of a request of 100 MiB that never goes on.
                use std::io::Write as _;
                (&stream).write_all(&[6, 64, 0, 0, 0, 0, 0, 9, 0]).expect("sent");
            }
            stream
        })
        .collect();
    for n in 0..50 {
        let row = honest.produce(&topic, batch(&["still here"]));
        assert_eq!((row.error_code, row.base_offset.0), (ErrorCode::None, n));
        let mut newcomer = node.client();
        let row = row_of(&newcomer.call(&fetch_request(&topic, 0), 12));
        assert_eq!(row.high_watermark.0, n + 1);
    }
    let grown = resident_bytes().saturating_sub(before);
    println!("{IDLE} connections took {} KiB each", grown / IDLE as u64 / 1024);
    assert!(grown < 200 << 20, "{grown} bytes for {IDLE} connections");
    drop(crowd);
}

#[test]
fn connections_over_the_caps_are_closed() {
    let node = TestNode::start(&[("max.connections.per.ip", "3")]);
    // The node itself may just be looking whether it can be reached, and take a place for that.
    let admitted = || {
        let mut client = node.client();
        client.send(&MetadataRequest::default(), 9);
        client.receive_frame().map(|_| client)
    };
    let mut crowd: Vec<Client> = (0..3).map(|_| crate::harness::eventually(admitted)).collect();
    assert!(node.client().is_closed());
    honest_works(&mut crowd[0]);
    drop(crowd);
    crate::harness::eventually(admitted);
}

#[test]
fn a_flood_of_requests_without_reading_answers_is_held_back() {
    let mut honest = Client::shared();
    let topic = honest.create("flood", 1, &[]);
    honest.produce(&topic, batch(&[&"x".repeat(900_000)]));
    let before = resident_bytes();
    let mut flooders: Vec<Client> = (0..8).map(|_| Client::shared()).collect();
    for flooder in &mut flooders {
        // 100 answers of 900 KB each are asked for, and none is read.
        for _ in 0..100 {
            flooder.send(&fetch_request(&topic, 0), 12);
        }
    }
    honest_works(&mut honest);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 300 << 20, "{grown} bytes more than before");
    // Who reads after all gets every answer, in order.
    let patient = &mut flooders[0];
    for _ in 0..100 {
        let (_, response) = patient.receive::<purlin::protocol::messages::fetch::FetchRequest>(12);
        assert!(row_of(&response).records.expect("never null").len() > 900_000);
    }
}
