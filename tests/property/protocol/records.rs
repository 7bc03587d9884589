//! Record batches and codecs against the witness.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as theirs;
use proptest::prelude::*;
use purlin::protocol::records::{
    BatchBuilder, BatchHeader, BatchIter, Compression, Header, Record, codec, decode_records,
    record_bytes, scan_records,
};
use purlin::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// A record with a timestamp.
#[derive(Debug, Clone)]
struct Input {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn small_bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200))
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let record = (
        0..2_000_000_000_000i64,
        small_bytes(),
        small_bytes(),
        // Keys differ, because the witness keeps headers in a map.
        proptest::collection::btree_map("[a-zä]{0,6}", small_bytes(), 0..4),
    );
    let record = record.prop_map(|(timestamp, key, value, headers)| Input {
        timestamp,
        key,
        value,
        headers: headers.into_iter().collect(),
    });
    proptest::collection::vec(record, 1..40)
}

fn headers_of(input: &Input) -> Vec<Header> {
    let header = |(key, value): &(String, Option<Vec<u8>>)| Header {
        key: Bytes::from(key.clone()),
        value: value.clone().map(Bytes::from),
    };
    input.headers.iter().map(header).collect()
}

fn build(codec: Compression, inputs: &[Input], base: (i64, i16, i32)) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for input in inputs {
        let before = builder.estimated_bytes();
        let headers = headers_of(input);
        let (key, value) = (input.key.as_deref(), input.value.as_deref());
        builder.append(TimestampMs(input.timestamp), key, value, &headers);
        let grown = builder.estimated_bytes() - before;
        assert!(grown <= record_bytes(key, value, &headers), "the bound holds");
    }
    builder.set_producer(ProducerId(base.0), ProducerEpoch(base.1), Sequence(base.2));
    builder.set_transactional(base.0 % 2 == 0);
    builder.set_position(Offset(1234), LeaderEpoch(5));
    builder.build()
}

/// The records as the witness wants to have them.
fn their_records(inputs: &[Input], base: (i64, i16, i32)) -> Vec<theirs::Record> {
    let record = |(index, input): (usize, &Input)| theirs::Record {
        transactional: base.0 % 2 == 0,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 5,
        producer_id: base.0,
        producer_epoch: base.1,
        timestamp_type: theirs::TimestampType::Creation,
        offset: 1234 + index as i64,
        sequence: base.2.wrapping_add(index as i32),
        timestamp: input.timestamp,
        key: input.key.clone().map(Bytes::from),
        value: input.value.clone().map(Bytes::from),
        headers: input
            .headers
            .iter()
            .map(|(key, value)| {
                (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from))
            })
            .collect::<IndexMap<_, _>>(),
    };
    inputs.iter().enumerate().map(record).collect()
}

fn check_records(batch: &Bytes, inputs: &[Input]) {
    let header = BatchHeader::parse_checked(batch).expect("a checksum that is right");
    let records: Vec<Record> =
        decode_records(batch, 1 << 24).and_then(Iterator::collect).expect("records");
    assert_eq!(records.len(), inputs.len());
    let mut metas = Vec::new();
    scan_records(batch, 1 << 24, |meta| metas.push(meta)).expect("the scan agrees");
    assert_eq!(metas.len(), inputs.len());
    for (index, (record, input)) in records.iter().zip(inputs).enumerate() {
        assert_eq!(record.offset_delta, index as i32);
        assert_eq!(metas[index].offset_delta, index as i32);
        let timestamp = header.record_timestamp(record.timestamp_delta);
        assert_eq!(timestamp, TimestampMs(input.timestamp));
        assert_eq!(metas[index].timestamp_delta, record.timestamp_delta);
        assert_eq!(record.key.as_deref(), input.key.as_deref());
        assert_eq!(record.value.as_deref(), input.value.as_deref());
        assert_eq!(record.headers, headers_of(input));
        assert_eq!(metas[index].header_count, input.headers.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn our_batches_are_read_by_the_witness(
        inputs in inputs(), pid in 0..1000i64, epoch in 0..9i16, sequence in 0..1_000_000i32,
    ) {
        let base = (pid, epoch, sequence);
        for codec in CODECS {
            let batch = build(codec, &inputs, base);
            check_records(&batch, &inputs);
            // The witness has no codecs here: it is given ours.
            let mut rest = batch.clone();
            let set = theirs::RecordBatchDecoder::decode_with_custom_compression(
                &mut rest,
                Some(|bytes: &mut Bytes, named| {
                    let plain = codec::decompress(ours(named), bytes, 1 << 24);
                    plain.map(Bytes::from).map_err(Into::into)
                }),
            ).expect("the witness reads our batch");
            prop_assert_eq!(set.records, their_records(&inputs, base));
        }
    }

    #[test]
    fn the_witness_s_batches_are_read_by_us(
        inputs in inputs(), pid in 0..1000i64, epoch in 0..9i16, sequence in 0..1_000_000i32,
    ) {
        let base = (pid, epoch, sequence);
        let options = theirs::RecordEncodeOptions {
            version: 2,
            compression: theirs::Compression::None,
        };
        let mut bytes = BytesMut::new();
        theirs::RecordBatchEncoder::encode(&mut bytes, &their_records(&inputs, base), &options)
            .expect("the witness packs");
        let bytes = bytes.freeze();
        let batches: Vec<_> = BatchIter::new(&bytes).collect::<Result<_, _>>().expect("whole");
        prop_assert_eq!(batches.len(), 1);
        let (header, batch) = &batches[0];
        prop_assert_eq!(header.base_offset, Offset(1234));
        prop_assert_eq!(header.producer_id, ProducerId(pid));
        prop_assert_eq!(header.base_sequence, Sequence(sequence));
        check_records(&bytes.slice_ref(batch), &inputs);
    }

    #[test]
    fn codecs_give_back_what_they_packed(
        block in proptest::collection::vec(any::<u8>(), 0..3000), repeat in 1..60usize,
    ) {
        let plain = block.repeat(repeat);
        for codec in CODECS {
            let packed = codec::compress(codec, &plain);
            prop_assert_eq!(&codec::decompress(codec, &packed, plain.len()).expect("ours"), &plain);
            if let Some(less) = plain.len().checked_sub(1) {
                prop_assert!(codec::decompress(codec, &packed, less).is_err());
            }
        }
    }
}

fn ours(codec: theirs::Compression) -> Compression {
    match codec {
        theirs::Compression::None => Compression::None,
        theirs::Compression::Gzip => Compression::Gzip,
        theirs::Compression::Snappy => Compression::Snappy,
        theirs::Compression::Lz4 => Compression::Lz4,
        theirs::Compression::Zstd => Compression::Zstd,
    }
}
