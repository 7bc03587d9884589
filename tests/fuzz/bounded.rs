//! The fuzz harness over a bounded number of seeded inputs, in every plain test run; and the same
//! decoders under an allocator that counts.
//!
//! `PURLIN_FUZZ_SEED` and `PURLIN_FUZZ_INPUTS` choose other inputs, and more of them.

mod allocator;
mod harness;
mod hostile;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A small generator (xorshift64*), so that a seed means the same inputs everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() >> 33) as usize % end.max(1)
    }

    /// Bytes: even ones, or such as lengths and counts are made of.
    pub fn bytes(&mut self, length_max: usize) -> Vec<u8> {
        const COMMON: [u8; 16] = [0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 8, 16, 0x7f, 0x80, 0xff, 0xff];
        let length = self.below(length_max + 1);
        let common = self.below(3);
        let mut byte = || match self.below(4) {
            choice if choice < common => COMMON[self.below(COMMON.len())],
            _ => self.draw() as u8,
        };
        (0..length).map(|_| byte()).collect()
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a harness function; a failure prints what it was given.
fn run(target: fn(&[u8]), inputs: u64, mut input: impl FnMut(&mut Random) -> Vec<u8>) {
    let seed = setting("PURLIN_FUZZ_SEED", 1);
    let inputs = setting("PURLIN_FUZZ_INPUTS", inputs);
    let mut random = Random::new(seed);
    for number in 0..inputs {
        let data = input(&mut random);
        if catch_unwind(AssertUnwindSafe(|| target(&data))).is_err() {
            panic!("PURLIN_FUZZ_SEED={seed}, input {number}: {data:?}");
        }
    }
}

#[test]
fn request_frames() {
    run(harness::request_frame, 20_000, |random| {
        let mut data = random.bytes(300);
        if let [_, key, _, version, ..] = data.as_mut_slice() {
            (*key, *version) = (*key % 76, *version % 19);
            data[0] = 0;
            data[2] = 0;
        }
        data
    });
}

#[test]
fn request_bodies() {
    run(harness::request_body, 40_000, |random| random.bytes(300));
}

#[test]
fn response_bodies() {
    run(harness::response_body, 40_000, |random| random.bytes(300));
}

#[test]
fn damaged_messages() {
    run(harness::damaged_message, 20_000, |random| random.bytes(600));
}

#[test]
fn record_batches() {
    run(harness::record_batch, 20_000, |random| {
        let mut batch = vec![0; 61];
        let body = random.bytes(200);
        batch[11] = (49 + body.len()) as u8;
        batch[16] = 2;
        batch[22] = random.below(8) as u8;
        batch[60] = random.below(6) as u8;
        batch.extend_from_slice(&body);
        let damage = random.bytes(6);
        harness::mutate(&batch, &damage).to_vec()
    });
}

#[test]
fn built_batches_damaged() {
    use purlin::protocol::records::{BatchBuilder, Compression};
    use purlin::types::TimestampMs;
    run(harness::record_batch, 5_000, |random| {
        let codec = Compression::from_bits(random.below(5) as u8).expect("below 5");
        let mut builder = BatchBuilder::new(codec);
        for _ in 0..random.below(20) {
            let (key, value) = (random.bytes(20), random.bytes(200));
            builder.append(TimestampMs(random.draw() as i64), Some(&key), Some(&value), &[]);
        }
        let damage = random.bytes(9);
        harness::mutate(&builder.build(), &damage).to_vec()
    });
}

#[test]
fn records_in_every_codec() {
    run(harness::packed_records, 2_000, |random| {
        let mut data = vec![random.below(4) as u8];
        for _ in 0..data[0] {
            let body = random.bytes(40);
            data.push((body.len() * 2) as u8);
            data.extend(body);
        }
        data
    });
}

#[test]
fn packed_bytes() {
    use purlin::protocol::records::{Compression, codec};
    run(harness::codec, 5_000, |random| {
        let which = random.below(5) as u8;
        let codec = Compression::from_bits(which).expect("below 5");
        let plain = random.bytes(2000);
        let packed = if random.below(4) == 0 { plain } else { codec::compress(codec, &plain) };
        let damage = random.bytes(9);
        let mut data = vec![which];
        data.extend_from_slice(&harness::mutate(&packed, &damage));
        data
    });
}

#[test]
fn frames_between_nodes() {
    run(harness::rpc_frame, 20_000, |random| {
        let mut data = vec![random.draw() as u8];
        for _ in 0..random.below(6) {
            // Lengths that are right, and sometimes not.
            let body = random.bytes(120);
            let wrong = if random.below(8) == 0 { random.below(1 << 20) } else { 0 };
            data.extend((18 + body.len() as u32 + wrong as u32).to_be_bytes());
            data.extend([1 + random.below(5) as u8, random.below(4) as u8]);
            data.extend(random.draw().to_be_bytes());
            data.extend((random.draw() as u32).to_be_bytes());
            data.extend((random.below(body.len() + 2) as u32).to_be_bytes());
            data.extend(body);
        }
        let damage = random.bytes(6);
        harness::mutate(&data, &damage).to_vec()
    });
}

#[test]
fn hellos_between_nodes() {
    use purlin::rpc::handshake::{Class, Hello, hello_bytes};
    use purlin::types::{ClusterId, IncarnationId, NodeId};
    run(harness::rpc_hello, 20_000, |random| {
        let text = |random: &mut Random| String::from_utf8_lossy(&random.bytes(20)).into_owned();
        let hello = Hello {
            cluster_id: (random.below(3) > 0).then_some(ClusterId([4; 16])),
            node_id: (random.below(3) > 0).then_some(NodeId(random.draw() as i32)),
            incarnation: IncarnationId([5; 16]),
            rpc: text(random),
            release: text(random),
            versions: (random.draw() as u16, random.draw() as u16),
            wanted: (random.below(3) > 0).then_some(NodeId(random.draw() as i32)),
        };
        let class = [Class::Raft, Class::Control, Class::Bulk, Class::Probe][random.below(4)];
        let damage = random.bytes(6);
        harness::mutate(&hello_bytes(class, &hello), &damage).to_vec()
    });
}

#[test]
fn replica_payloads() {
    run(harness::rpc_payload, 40_000, |random| {
        let mut data = random.bytes(300);
        if let [_, version, ..] = data.as_mut_slice() {
            *version = 1;
        }
        data
    });
}

#[test]
fn damaged_fetches() {
    run(harness::damaged_fetch, 20_000, |random| random.bytes(120));
}
