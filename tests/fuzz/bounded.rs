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
