//! What is done to an input, once for each family of decoders. Shared by the fuzz targets and by
//! the bounded run.
//!
//! An input may be refused, but it must not panic; and what is accepted must come out the same
//! when it is written and read again.

use bytes::Bytes;
use purlin::limits::{RPC_BULK_FRAME_BYTES_MAX, RPC_FRAME_BYTES_AHEAD_MAX};
use purlin::protocol::header::decode_request;
use purlin::protocol::messages::{
    alter_configs, api_versions, create_partitions, create_topics, delete_records, delete_topics,
    describe_cluster, describe_configs, describe_log_dirs, describe_producers,
    describe_topic_partitions, fetch, find_coordinator, incremental_alter_configs,
    init_producer_id, list_offsets, metadata, offset_for_leader_epoch, produce,
};
use purlin::protocol::records::{
    BatchError, BatchHeader, BatchIter, Compression, ControlRecord, Record, codec, decode_records,
    scan_records,
};
use purlin::protocol::sample::Tape;
use purlin::protocol::{
    ApiKey, DecodeError, Message, Reader, Request, RequestHeader, ResponseHeader, SERVED, Writer,
};
use purlin::rpc::frame::FrameReader;
use purlin::rpc::{Payload, handshake, replica};
use purlin::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// Bytes that a batch may unpack to here.
pub const UNPACKED_BYTES_MAX: usize = 1 << 20;

/// Something to do with the request type of one API.
trait Visitor {
    type Output;
    fn visit<R: Request>(self) -> Self::Output;
}

macro_rules! visit {
    ($key:expr, $visitor:expr, [$($module:ident::$request:ident,)*]) => {
        match $key {
            $($module::$request::KEY => Some($visitor.visit::<$module::$request>()),)*
            _ => None,
        }
    };
}

fn visit<V: Visitor>(key: ApiKey, visitor: V) -> Option<V::Output> {
    visit!(
        key,
        visitor,
        [
            alter_configs::AlterConfigsRequest,
            api_versions::ApiVersionsRequest,
            create_partitions::CreatePartitionsRequest,
            create_topics::CreateTopicsRequest,
            delete_records::DeleteRecordsRequest,
            delete_topics::DeleteTopicsRequest,
            describe_cluster::DescribeClusterRequest,
            describe_configs::DescribeConfigsRequest,
            describe_log_dirs::DescribeLogDirsRequest,
            describe_producers::DescribeProducersRequest,
            describe_topic_partitions::DescribeTopicPartitionsRequest,
            fetch::FetchRequest,
            find_coordinator::FindCoordinatorRequest,
            incremental_alter_configs::IncrementalAlterConfigsRequest,
            init_producer_id::InitProducerIdRequest,
            list_offsets::ListOffsetsRequest,
            metadata::MetadataRequest,
            offset_for_leader_epoch::OffsetForLeaderEpochRequest,
            produce::ProduceRequest,
        ]
    )
}

/// The API and version that the first two bytes choose, and the rest.
fn choose(data: &[u8]) -> Option<(ApiKey, i16, &[u8])> {
    let [api, version, rest @ ..] = data else { return None };
    let api = &SERVED[usize::from(*api) % SERVED.len()];
    let count = api.versions.end() - api.versions.start() + 1;
    Some((api.key, api.versions.start() + i16::from(*version) % count, rest))
}

fn encode(message: &impl Message, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    writer.into_bytes()
}

/// Reads a message; if there is one, what it is written as must be read and written the same.
fn read_and_write<M: Message>(bytes: &Bytes, version: i16) -> Result<(), DecodeError> {
    let message = M::decode(&mut Reader::new(bytes.clone()), version)?;
    let once = encode(&message, version);
    let mut reader = Reader::new(once.clone());
    let again = M::decode(&mut reader, version).expect("what was written can be read");
    assert_eq!(reader.left(), 0, "version {version}");
    assert_eq!(encode(&again, version), once, "version {version}");
    Ok(())
}

/// A frame from a connection: header, then the body that it announces.
pub fn request_frame(data: &[u8]) {
    struct Body(Reader, i16);
    impl Visitor for Body {
        type Output = ();
        fn visit<R: Request>(mut self) {
            let _ = decode_request::<R>(&mut self.0, self.1);
        }
    }
    let mut reader = Reader::new(Bytes::copy_from_slice(data));
    if let Ok(header) = RequestHeader::decode(&mut reader) {
        let mut writer = Writer::new();
        header.encode(&mut writer);
        let back = RequestHeader::decode(&mut Reader::new(writer.into_bytes()));
        let back = back.expect("what was written can be read");
        assert_eq!((back.api_key, back.client_id), (header.api_key, header.client_id));
        visit(header.api_key, Body(reader, header.api_version));
    }
}

/// A request's body; the first two bytes choose API and version.
pub fn request_body(data: &[u8]) {
    struct Body(Bytes, i16);
    impl Visitor for Body {
        type Output = ();
        fn visit<R: Request>(self) {
            let _ = read_and_write::<R>(&self.0, self.1);
        }
    }
    if let Some((key, version, rest)) = choose(data) {
        visit(key, Body(Bytes::copy_from_slice(rest), version));
    }
}

/// A response with its header; the first two bytes choose API and version.
pub fn response_body(data: &[u8]) {
    struct Body(Bytes, i16);
    impl Visitor for Body {
        type Output = ();
        fn visit<R: Request>(self) {
            let mut reader = Reader::new(self.0);
            if ResponseHeader::decode(&mut reader, R::KEY, self.1).is_ok() {
                let _ = read_and_write::<R::Response>(&reader.take_rest(), self.1);
            }
        }
    }
    if let Some((key, version, rest)) = choose(data) {
        visit(key, Body(Bytes::copy_from_slice(rest), version));
    }
}

/// A proper message, made up from the second half of the input and damaged as the first half says:
/// gets deep into the decoders.
pub fn damaged_message(data: &[u8]) {
    struct Made<'a>(&'a [u8], i16);
    impl Visitor for Made<'_> {
        type Output = (Bytes, Bytes);
        fn visit<R: Request>(self) -> (Bytes, Bytes) {
            let request = R::sample(&mut Tape::new(self.0), self.1);
            let response = R::Response::sample(&mut Tape::new(self.0), self.1);
            let made = (encode(&request, self.1), encode(&response, self.1));
            read_and_write::<R>(&made.0, self.1).expect("a proper request is read");
            read_and_write::<R::Response>(&made.1, self.1).expect("a proper response is read");
            made
        }
    }
    struct Damaged(Bytes, Bytes, i16);
    impl Visitor for Damaged {
        type Output = ();
        fn visit<R: Request>(self) {
            let _ = read_and_write::<R>(&self.0, self.2);
            let _ = read_and_write::<R::Response>(&self.1, self.2);
        }
    }
    let Some((key, version, rest)) = choose(data) else { return };
    let (damage, tape) = rest.split_at(rest.len().min(12));
    if let Some((request, response)) = visit(key, Made(tape, version)) {
        visit(key, Damaged(mutate(&request, damage), mutate(&response, damage), version));
    }
}

/// Overwrites, inserts, removes or cuts, as three bytes each say.
pub fn mutate(bytes: &[u8], damage: &[u8]) -> Bytes {
    const EDGES: [u8; 8] = [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff, 0x02, 0x0f];
    let mut bytes = bytes.to_vec();
    for step in damage.chunks_exact(3) {
        let at = usize::from(step[1]) * 7 % (bytes.len() + 1);
        let byte = EDGES[usize::from(step[2]) % EDGES.len()];
        match step[0] % 5 {
            0 | 1 if at < bytes.len() => bytes[at] = byte,
            2 if at < bytes.len() => bytes[at] ^= step[2],
            3 => bytes.insert(at, byte),
            4 => bytes.truncate(at),
            _ => {}
        }
    }
    Bytes::from(bytes)
}

/// Record batches, one after another, as in a produce request or a fetch response.
pub fn record_batch(data: &[u8]) {
    let shared = Bytes::copy_from_slice(data);
    let _ = BatchHeader::parse_checked(&shared);
    let mut passed = 0;
    for batch in BatchIter::new(&shared).flatten() {
        let (header, bytes) = batch;
        assert_eq!(bytes.len(), header.total_bytes());
        assert_eq!(header.encode()[..], bytes[..BatchHeader::SIZE]);
        passed += bytes.len();
        let _ = (header.last_offset(), header.next_offset(), header.last_sequence());
        let _ = records_both_ways(&shared.slice_ref(bytes));
    }
    assert!(passed <= data.len());
}

/// Scans and decodes a batch: both must come to the same end.
fn records_both_ways(batch: &Bytes) -> Result<Vec<Record>, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let mut metas = Vec::new();
    let scanned = scan_records(batch, UNPACKED_BYTES_MAX, |meta| {
        if metas.len() < 10_000 {
            metas.push(meta);
        }
    });
    let decoded = decode_records(batch, UNPACKED_BYTES_MAX)
        .and_then(|records| records.take(10_000).collect::<Result<Vec<_>, _>>());
    if scanned.is_ok() {
        let records = decoded.as_ref().expect("what can be scanned can be decoded");
        assert_eq!(records.len(), metas.len());
        for (meta, record) in metas.iter().zip(records) {
            assert_eq!(meta.offset_delta, record.offset_delta);
            assert_eq!(meta.timestamp_delta, record.timestamp_delta);
            assert_eq!(meta.key_bytes, record.key.as_ref().map(Bytes::len));
            assert_eq!(meta.value_bytes, record.value.as_ref().map(Bytes::len));
            assert_eq!(meta.header_count, record.headers.len());
            let _ = header.record_timestamp(record.timestamp_delta);
            let _ = ControlRecord::parse(record.key.as_deref(), record.value.as_deref());
        }
    } else if header.record_count < 10_000 {
        assert!(decoded.is_err(), "what cannot be scanned cannot be decoded");
    }
    decoded
}

/// The records of a batch before compression: in every codec they must mean the same.
pub fn packed_records(data: &[u8]) {
    let [count, body @ ..] = data else { return };
    let batch = |codec: Compression| {
        let packed = codec::compress(codec, body);
        let mut header = BatchHeader::parse(&[2; BatchHeader::SIZE]).expect("any header");
        header.batch_length =
            (BatchHeader::SIZE - BatchHeader::LENGTH_PREFIX + packed.len()) as i32;
        header.attributes = codec.bits();
        header.record_count = i32::from(*count);
        let mut batch = [&header.encode()[..], &packed].concat();
        let crc = crc32c::crc32c(&batch[BatchHeader::CRC_COVERS_FROM..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        BatchHeader::parse_checked(&batch).expect("a proper batch");
        Bytes::from(batch)
    };
    let plain = records_both_ways(&batch(Compression::None));
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for codec in codecs {
        let records = records_both_ways(&batch(codec));
        assert_eq!(records.is_ok(), plain.is_ok(), "{codec:?}");
        if let (Ok(records), Ok(plain)) = (&records, &plain) {
            assert_eq!(records, plain, "{codec:?}");
        }
    }
}

/// Packed bytes; the first byte chooses the codec.
pub fn codec(data: &[u8]) {
    let [which, packed @ ..] = data else { return };
    let codec = Compression::from_bits(which % 5).expect("below 5");
    for bytes_max in [0, 100, UNPACKED_BYTES_MAX] {
        if let Ok(plain) = codec::decompress(codec, packed, bytes_max) {
            assert!(plain.len() <= bytes_max);
        }
    }
    let again = codec::compress(codec, packed);
    assert_eq!(codec::decompress(codec, &again, packed.len()).as_deref(), Ok(packed));
}

/// Frames between nodes, in pieces of a size that the first byte says.
pub fn rpc_frame(data: &[u8]) {
    let [step, wire @ ..] = data else { return };
    let mut reader = FrameReader::new(RPC_BULK_FRAME_BYTES_MAX);
    let (mut fed, mut held) = (0, 0);
    for piece in wire.chunks(usize::from(*step) + 1) {
        let mut rest = piece;
        while !rest.is_empty() {
            let taken = reader.feed(rest);
            assert!(taken > 0, "a reader without a whole frame takes more");
            (fed, rest) = (fed + taken, &rest[taken..]);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => held += 4 + frame.length(),
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
            assert!(held <= fed, "no more comes out than went in");
            assert!(reader.held() <= 3 * fed + 2 * RPC_FRAME_BYTES_AHEAD_MAX);
        }
    }
}

/// The first bytes of a connection between nodes, from either side.
pub fn rpc_hello(data: &[u8]) {
    let read = futures::executor::block_on(async {
        let _ = handshake::read_answer(&mut &data[..]).await;
        handshake::read_hello(&mut &data[..]).await
    });
    if let Ok((class, hello)) = read {
        let bytes = handshake::hello_bytes(class, &hello);
        assert_eq!(&bytes, &data[..bytes.len()]);
    }
}

/// The values of the replica service.
pub fn rpc_payload(data: &[u8]) {
    let [cut, rest @ ..] = data else { return };
    let (head, raw) = rest.split_at(usize::from(*cut).min(rest.len()));
    let (head, raw) = (Bytes::copy_from_slice(head), Bytes::copy_from_slice(raw));
    let payload = Payload::from_parts(head.clone(), vec![raw]);
    if let Ok(request) = payload.decode::<replica::FetchRequest>() {
        assert_eq!(request.encode().into_parts().0, head);
    }
    if let Ok(report) = payload.decode::<replica::Report>() {
        assert_eq!(Payload::encode(&report).into_parts().0, head);
    }
    if let Ok(response) = replica::FetchResponse::decode(payload) {
        assert_eq!(response.clone().encode().into_parts().0, head);
        response.into_partitions().expect("as many bytes as were named");
    }
}

/// A proper fetch, damaged.
pub fn damaged_fetch(data: &[u8]) {
    let (damage, tape) = data.split_at(data.len().min(9));
    let number = |at: usize| i64::from(tape.get(at).copied().unwrap_or(0));
    let partition = |at: usize| replica::FetchedPartition {
        topic_id: TopicId([number(at) as u8; 16]),
        partition: PartitionIndex(number(at + 1) as i32),
        outcome: match number(at + 2) {
            0 => Err(replica::ReplicaError::Busy),
            bytes => Ok(replica::Fetched {
                high_watermark: Offset(number(at + 3)),
                log_start: Offset(number(at + 4)),
                record_bytes: bytes as u32,
                diverging: (bytes > 200).then(|| (LeaderEpoch(1), Offset(number(at + 5)))),
                spared_above: (bytes > 100).then(|| Offset(number(at + 5))),
            }),
        },
    };
    let partitions: Vec<_> = (0..tape.len() / 6).map(|at| partition(at * 6)).collect();
    let named = |p: &replica::FetchedPartition| p.outcome.as_ref().map_or(0, |f| f.record_bytes);
    let bytes: usize = partitions.iter().map(|p| named(p) as usize).sum();
    let response = replica::FetchResponse {
        error: None,
        session_id: 1,
        session_epoch: 2,
        partitions,
        records: vec![Bytes::from(vec![3; bytes])],
    };
    let (head, raw) = response.encode().into_parts();
    let payload = Payload::from_parts(mutate(&head, damage), raw);
    if let Ok(response) = replica::FetchResponse::decode(payload) {
        response.into_partitions().expect("as many bytes as were named");
    }
}
