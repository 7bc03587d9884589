//! How much memory hostile bytes can make a decoder take: a small multiple of what was sent,
//! whatever they claim.

use crate::Random;
use crate::allocator::peak_bytes;
use crate::harness::{UNPACKED_BYTES_MAX, mutate};
use bytes::Bytes;
use purlin::limits;
use purlin::protocol::header::decode_request;
use purlin::protocol::messages::create_topics::CreateTopicsRequest;
use purlin::protocol::messages::fetch::FetchRequest;
use purlin::protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use purlin::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use purlin::protocol::records::{
    BatchBuilder, BatchError, Compression, codec, decode_records, scan_records,
};
use purlin::protocol::sample::Tape;
use purlin::protocol::{DecodeError, Message, Reader, Request, RequestHeader, Writer};
use purlin::types::TimestampMs;

/// What decoding a frame may take: the bound that `limits` promises, and room for bookkeeping.
fn bound(frame_bytes: usize) -> usize {
    let free = limits::DECODED_BYTES_FREE.min(frame_bytes * 256);
    free + frame_bytes * limits::DECODED_BYTES_PER_FRAME_BYTE + 1024
}

fn check_bound<M: Message>(frame: &[u8], version: i16) -> Result<(), DecodeError> {
    let frame = Bytes::copy_from_slice(frame);
    let mut result = Ok(());
    let peak = peak_bytes(|| {
        let message = M::decode(&mut Reader::new(frame.clone()), version);
        result = message.as_ref().map(|_| ()).map_err(Clone::clone);
        message
    });
    assert!(peak <= bound(frame.len()), "{} bytes took {peak}", frame.len());
    result
}

#[test]
fn twenty_bytes_that_claim_two_thousand_million_entries() {
    let count = [0x7f, 0xff, 0xff, 0xff];
    let frame = [&count[..], &[0; 16]].concat();
    for version in 0..=8 {
        let refused = check_bound::<MetadataRequest>(&frame, version);
        assert!(matches!(refused, Err(DecodeError::Count { .. })), "{refused:?}");
    }
    let flexible = [&[0xff, 0xff, 0xff, 0xff, 0x07][..], &[0; 15]].concat();
    for version in 9..=13 {
        let refused = check_bound::<MetadataRequest>(&flexible, version);
        assert!(matches!(refused, Err(DecodeError::Count { .. })), "{refused:?}");
    }
    assert!(check_bound::<CreateTopicsRequest>(&frame, 2).is_err());
    assert!(check_bound::<CreateTopicsRequest>(&flexible, 7).is_err());
}

#[test]
fn as_many_entries_as_the_bytes_allow() {
    // Counts that pass the check against the bytes left, nested as deep as they go.
    for size in [100, 10_000, 1_000_000] {
        for fill in [0u8, 1, 2, 0x7f] {
            let mut frame = vec![fill; size];
            for entry_bytes in 1..40u32 {
                let count = size as u32 / entry_bytes;
                frame[..4].copy_from_slice(&count.to_be_bytes());
                let _ = check_bound::<MetadataRequest>(&frame, 0);
                let _ = check_bound::<CreateTopicsRequest>(&frame, 2);
                let _ = check_bound::<MetadataResponse>(&frame, 0);
                // The varint of `count + 1` in three bytes.
                let n = count + 1;
                let varint = [n as u8 | 0x80, (n >> 7) as u8 | 0x80, (n >> 14) as u8 & 0x7f];
                frame[..3].copy_from_slice(&varint);
                let _ = check_bound::<MetadataRequest>(&frame, 12);
                let _ = check_bound::<CreateTopicsRequest>(&frame, 7);
            }
        }
    }
}

#[test]
fn a_million_empty_texts_are_refused_for_their_memory() {
    // Two bytes a topic on the wire: within the bytes left, but thirty times that in memory.
    let topics = 900_000u32;
    let mut frame = topics.to_be_bytes().to_vec();
    frame.resize(4 + 2 * topics as usize, 0);
    let refused = check_bound::<MetadataRequest>(&frame, 0);
    assert_eq!(refused, Err(DecodeError::Memory(frame.len())));
    // Names of a usual length pass.
    let mut frame = 50_000u32.to_be_bytes().to_vec();
    for _ in 0..50_000 {
        frame.extend_from_slice(b"\x00\x0aorders-123");
    }
    assert_eq!(check_bound::<MetadataRequest>(&frame, 0), Ok(()));
}

#[test]
fn tagged_fields_without_end() {
    // As many as possible of the smallest tagged fields: more than the limit are refused.
    let mut frame = vec![1, 0, 0]; // no topics, and the two flags of version 12
    let count = 2_000_000u32;
    frame.extend([count as u8 | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8 & 0x7f]);
    for tag in 0..200u8 {
        frame.extend([tag & 0x7f, 0]);
    }
    let refused = check_bound::<MetadataRequest>(&frame, 12);
    assert_eq!(refused, Err(DecodeError::TaggedFields(2_000_000)));
    // A length beyond the frame.
    let refused = check_bound::<MetadataRequest>(&[1, 0, 0, 1, 5, 0xff, 0xff, 0x7f], 12);
    assert!(matches!(refused, Err(DecodeError::Truncated { .. })), "{refused:?}");
}

#[test]
fn records_are_not_copied_in_either_direction() {
    let records = Bytes::from(vec![7u8; 4 << 20]);
    let partition =
        PartitionProduceData { records: Some(records.clone()), ..PartitionProduceData::default() };
    let topic = TopicProduceData { partition_data: vec![partition], ..TopicProduceData::default() };
    let request = ProduceRequest { topic_data: vec![topic], ..ProduceRequest::default() };
    let mut chunks = Vec::new();
    let peak = peak_bytes(|| {
        let mut writer = Writer::framed();
        request.encode(&mut writer, 9);
        chunks = writer.into_chunks();
    });
    assert!(peak < 10_000, "encoding took {peak}");
    assert!(chunks.iter().any(|chunk| chunk.as_ptr() == records.as_ptr()), "the same bytes");
    let frame = Bytes::from(chunks.concat());
    let inside = frame.as_ptr_range();
    let peak = peak_bytes(|| {
        let mut reader = Reader::new(frame.slice(4..));
        let back: ProduceRequest = decode_request(&mut reader, 9).expect("our own");
        let bytes = back.topic_data[0].partition_data[0].records.clone().expect("records");
        assert!(inside.contains(&bytes.as_ptr()), "a slice of the frame");
        back
    });
    assert!(peak < 10_000, "decoding took {peak}");
}

#[test]
fn random_and_damaged_frames_stay_within_the_bound() {
    let mut random = Random::new(7);
    for _ in 0..20_000 {
        let data = random.bytes(400);
        let version = random.below(19) as i16;
        let _ = check_bound::<FetchRequest>(&data, version.max(4));
        let _ = check_bound::<CreateTopicsRequest>(&data, version % 6 + 2);
        let _ = check_bound::<MetadataResponse>(&data, version % 14);
        let frame = Bytes::from(data);
        let peak = peak_bytes(|| RequestHeader::decode(&mut Reader::new(frame.clone())));
        assert!(peak <= bound(frame.len()));
    }
    for _ in 0..5_000 {
        let tape = random.bytes(400);
        let version = random.below(15) as i16 + 4;
        let mut writer = Writer::new();
        FetchRequest::sample(&mut Tape::new(&tape), version).encode(&mut writer, version);
        let damaged = mutate(&writer.into_bytes(), &random.bytes(9));
        let _ = check_bound::<FetchRequest>(&damaged, version);
    }
    assert!(FetchRequest::VERSIONS.contains(&18));
}

/// A batch of one record whose value is `bytes` zeros.
fn bomb(codec: Compression, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    builder.append(TimestampMs(0), None, Some(&vec![0; bytes]), &[]);
    builder.build()
}

#[test]
fn bombs_do_not_go_off() {
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for codec in codecs {
        let bomb = bomb(codec, 32 << 20);
        // A scan never holds what it unpacks, whatever the size.
        let mut scanned = Ok(());
        let peak = peak_bytes(|| scanned = scan_records(&bomb, 64 << 20, |_| {}));
        assert_eq!(scanned, Ok(()), "{codec:?}");
        assert!(peak < 1 << 20, "{codec:?}: a scan took {peak}");
        // Whoever decodes stops at the limit.
        let mut decoded = Ok(());
        let peak = peak_bytes(|| decoded = decode_records(&bomb, UNPACKED_BYTES_MAX).map(|_| ()));
        assert_eq!(decoded, Err(BatchError::TooLarge(UNPACKED_BYTES_MAX)), "{codec:?}");
        let allowed = 3 * UNPACKED_BYTES_MAX + 2 * bomb.len();
        assert!(peak <= allowed, "{codec:?}: decoding took {peak} of {allowed}");
    }
}

#[test]
fn records_and_headers_that_are_only_claimed() {
    let mut random = Random::new(9);
    for _ in 0..10_000 {
        let mut batch = vec![0; 61];
        let body = random.bytes(400);
        batch[8..12].copy_from_slice(&(49 + body.len() as u32).to_be_bytes());
        batch[16] = 2;
        batch[57..61].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
        batch.extend_from_slice(&body);
        let batch = Bytes::from(batch);
        let peak = peak_bytes(|| {
            let last = decode_records(&batch, UNPACKED_BYTES_MAX).expect("not packed").last();
            assert!(last.is_some_and(|record| record.is_err()), "no such number of records");
        });
        assert!(peak <= 64 * batch.len(), "{} bytes took {peak}", batch.len());
        let peak = peak_bytes(|| scan_records(&batch, UNPACKED_BYTES_MAX, |_| {}));
        assert!(peak <= 1024, "a scan took {peak}");
    }
}

#[test]
fn damaged_packed_bytes_take_little() {
    let mut random = Random::new(11);
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for _ in 0..2_000 {
        for codec in codecs {
            let packed = codec::compress(codec, &random.bytes(2000));
            let damaged = mutate(&packed, &random.bytes(9));
            let peak = peak_bytes(|| codec::decompress(codec, &damaged, UNPACKED_BYTES_MAX));
            // The largest blocks and windows that the formats have, and the result twice.
            let allowed = 3 * UNPACKED_BYTES_MAX + (17 << 20);
            assert!(peak <= allowed, "{codec:?}: {} bytes took {peak}", damaged.len());
        }
    }
}

#[test]
fn calls_between_nodes_take_what_was_sent_and_no_more() {
    use purlin::rpc::{Payload, replica};
    // Counts without end, in front of as many bytes as a real call has.
    let mut random = Random::new(13);
    for size in [0, 10, 1_000, 100_000] {
        for _ in 0..200 {
            let mut head = vec![1; 37 + size];
            head[29..37].copy_from_slice(&random.draw().to_le_bytes());
            if random.below(2) == 0 {
                head[33..37].fill(0);
            }
            let payload = Payload::from_parts(Bytes::from(head), vec![]);
            let peak = peak_bytes(|| payload.decode::<replica::FetchRequest>().is_ok());
            assert!(peak <= 4 * size + (1 << 20) + 4096, "{size} bytes took {peak}");
            let peak = peak_bytes(|| payload.decode::<replica::Report>().is_ok());
            assert!(peak <= 4 * size + (1 << 20) + 4096, "{size} bytes took {peak}");
            let peak = peak_bytes(|| replica::FetchResponse::decode(payload.clone()).is_ok());
            assert!(peak <= 4 * size + (1 << 20) + 4096, "{size} bytes took {peak}");
        }
    }
}
