//! Which partition a record goes to.

use crate::types::PartitionIndex;

/// How a record without an explicit partition finds its one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// By the key's murmur2 hash, exactly as the Java client; records without a key fill one
    /// partition's batch after the other (KIP-480).
    #[default]
    Murmur2,
    /// By the key's CRC-32, as librdkafka's `consistent_random`; without a key as above.
    Crc32,
    /// One after the other, whatever the key.
    RoundRobin,
}

impl Partitioner {
    /// The partition of `count` for a key; `None` when the key has no say.
    ///
    /// # Panics
    /// When `count` is zero: a topic without partitions does not exist.
    #[must_use]
    pub fn by_key(self, key: Option<&[u8]>, count: usize) -> Option<PartitionIndex> {
        assert!(count > 0, "a topic has at least one partition");
        let hash = match (self, key?) {
            (Self::Murmur2, key) => murmur2(key) & 0x7fff_ffff,
            (Self::Crc32, key) => crc32(key),
            (Self::RoundRobin, _) => return None,
        };
        // The remainder is below `count`, and Kafka numbers partitions by 31 bits.
        Some(PartitionIndex((hash as usize % count) as i32))
    }
}

/// MurmurHash2 in 32 bits with the seed of the Java client's default partitioner.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        k ^= k >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0, |tail, byte| (tail << 8) | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_the_java_clients_values() {
        // The vectors of Apache Kafka's own test of its hash.
        let vectors: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, expected) in vectors {
            assert_eq!(murmur2(key) as i32, expected, "{key:?}");
        }
    }

    #[test]
    fn crc32_gives_librdkafkas_values() {
        // The check value of CRC-32 (ISO-HDLC), which librdkafka's partitioner uses.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn keys_decide_and_absent_keys_do_not() {
        assert_eq!(Partitioner::Murmur2.by_key(None, 3), None);
        assert_eq!(Partitioner::RoundRobin.by_key(Some(b"abc"), 3), None);
        let expected = (479_470_107 & 0x7fff_ffff) % 12;
        assert_eq!(Partitioner::Murmur2.by_key(Some(b"abc"), 12), Some(PartitionIndex(expected)));
        assert_eq!(Partitioner::Murmur2.by_key(Some(b""), 1), Some(PartitionIndex(0)));
    }
}
