//! A node to test against, and a client without manners of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use purlin::config::{HostPort, NodeConfig, StartMode};
use purlin::node::{self, RunningNode};
use purlin::protocol::header::{decode_response, encode_request};
use purlin::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use purlin::protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use purlin::protocol::messages::init_producer_id::InitProducerIdRequest;
use purlin::protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use purlin::protocol::records::{BatchBuilder, Compression};
use purlin::protocol::{ErrorCode, Request, Str};
use purlin::types::{
    LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicId,
};

/// How long a test waits for an answer before it counts as none.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node of its own, in a directory of its own.
pub(crate) struct TestNode {
    node: Option<RunningNode>,
    directory: tempfile::TempDir,
}

impl TestNode {
    /// A new node with settings under Kafka's names.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let node = start(StartMode::Init, directory.path(), settings);
        Self { node: Some(node), directory }
    }

    /// Stops and starts again on the same directory.
    pub(crate) fn restart(&mut self) {
        self.node.take().expect("running").stop().expect("a clean stop");
        self.node = Some(start(StartMode::Start, self.directory.path(), &[]));
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.node.as_ref().expect("running").kafka_address()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            // A failed test is told already.
            let _ = node.stop();
        }
    }
}

fn start(mode: StartMode, directory: &std::path::Path, settings: &[(&str, &str)]) -> RunningNode {
    let mut config = NodeConfig::new(mode, directory.to_owned());
    let any_port = || HostPort { host: "127.0.0.1".to_owned(), port: 0 };
    (config.kafka, config.rpc, config.admin) = (any_port(), any_port(), any_port());
    for (name, value) in settings {
        config.broker.set(name, value);
    }
    node::start(config).expect("the node starts")
}

/// The node that tests share when they need nothing special.
pub(crate) fn shared() -> SocketAddr {
    static SHARED: OnceLock<SocketAddr> = OnceLock::new();
    *SHARED.get_or_init(|| {
        let node = TestNode::start(&[("num.partitions", "1")]);
        let address = node.address();
        // It lives as long as the process.
        std::mem::forget(node);
        address
    })
}

/// A topic name that no other test has.
pub(crate) fn fresh_name(stem: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A client that sends what it is told.
pub(crate) struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        stream.set_nodelay(true).expect("set");
        Self { stream, correlation_id: 0 }
    }

    /// To the shared node.
    pub(crate) fn shared() -> Self {
        Self::connect(shared())
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    /// As [`Self::send_raw`], when the node may hang up in the middle.
    pub(crate) fn try_send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Tells the node that nothing more comes.
    pub(crate) fn finish_sending(&mut self) {
        // The node may have hung up already.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Sends a request without waiting for its answer. Returns its correlation id.
    pub(crate) fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        self.correlation_id += 1;
        let client_id = Str::from_static("wire-test");
        let chunks = encode_request(request, version, self.correlation_id, Some(&client_id));
        // A node that hung up shows in the answer that does not come.
        self.try_send_raw(&chunks.concat());
        self.correlation_id
    }

    /// One frame, without its length; nothing when the node hung up.
    pub(crate) fn receive_frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no answer in {PATIENCE:?}")
            }
            Err(_) => return None,
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        self.stream.read_exact(&mut frame).expect("the whole frame");
        Some(Bytes::from(frame))
    }

    /// The answer to the request that was sent longest ago.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let frame = self.receive_frame().expect("an answer, not a closed connection");
        let (header, response) =
            decode_response::<R>(frame, version).expect("an answer that decodes");
        (header.correlation_id, response)
    }

    /// Sends and waits for the answer.
    pub(crate) fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let sent = self.send(request, version);
        let (correlation_id, response) = self.receive::<R>(version);
        assert_eq!(correlation_id, sent);
        response
    }

    /// Whether the node hung up, without a byte more.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Creates a topic and checks that it worked.
    pub(crate) fn create(
        &mut self,
        stem: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Topic {
        let name = fresh_name(stem);
        self.create_named(&name, partitions, configs)
    }

    pub(crate) fn create_named(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Topic {
        let request = create_request(name, partitions, configs);
        let response = self.call(&request, 7);
        let row = &response.topics[0];
        assert_eq!(row.error_code, ErrorCode::None, "{row:?}");
        Topic { name: Str::from(name), id: row.topic_id }
    }

    /// Produces one batch with acks=all, and returns its row.
    pub(crate) fn produce(&mut self, topic: &Topic, batch: Bytes) -> PartitionProduceResponse {
        self.produce_as(topic, batch, 9, -1)
    }

    pub(crate) fn produce_as(
        &mut self,
        topic: &Topic,
        batch: Bytes,
        version: i16,
        acks: i16,
    ) -> PartitionProduceResponse {
        let response = self.call(&produce_request(topic, Some(batch), acks), version);
        response.responses[0].partition_responses[0].clone()
    }

    /// Fetches partition 0 from an offset, without waiting, by name.
    pub(crate) fn fetch(&mut self, topic: &Topic, offset: i64) -> PartitionData {
        let response = self.call(&fetch_request(topic, offset), 11);
        row_of(&response)
    }

    /// A new producer id.
    pub(crate) fn producer_id(&mut self) -> ProducerId {
        let response = self.call(&InitProducerIdRequest::default(), 4);
        assert_eq!(response.error_code, ErrorCode::None, "{response:?}");
        response.producer_id
    }
}

/// A topic by both of its handles.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: Str,
    pub(crate) id: TopicId,
}

pub(crate) fn create_request(
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> CreateTopicsRequest {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: Str::from(*name),
        value: Some(Str::from(*value)),
        ..Default::default()
    };
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: Str::from(name),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    }
}

pub(crate) fn produce_request(topic: &Topic, records: Option<Bytes>, acks: i16) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.name.clone(),
            topic_id: topic.id,
            partition_data: vec![PartitionProduceData {
                index: PartitionIndex(0),
                records,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A fetch of partition 0 that does not wait.
pub(crate) fn fetch_request(topic: &Topic, offset: i64) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 50 * 1024 * 1024,
        topics: vec![FetchTopic {
            topic: topic.name.clone(),
            topic_id: topic.id,
            partitions: vec![fetch_partition(0, offset)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn fetch_partition(index: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        partition: PartitionIndex(index),
        fetch_offset: Offset(offset),
        current_leader_epoch: LeaderEpoch::NONE,
        partition_max_bytes: 1024 * 1024,
        ..Default::default()
    }
}

/// The one row of a response.
pub(crate) fn row_of(response: &FetchResponse) -> PartitionData {
    assert_eq!(response.error_code, ErrorCode::None, "{response:?}");
    let [topic] = &response.responses[..] else { panic!("one topic: {response:?}") };
    let [row] = &topic.partitions[..] else { panic!("one partition: {response:?}") };
    row.clone()
}

/// Now, as clients stamp their records.
pub(crate) fn now() -> TimestampMs {
    use purlin::env::clock::{Clock as _, SystemClock};
    SystemClock.now()
}

/// A batch of values without keys.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_with(Compression::None, values)
}

pub(crate) fn batch_with(compression: Compression, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for value in values {
        builder.append(now(), None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}

/// A batch of an idempotent producer, with as many records as asked for.
pub(crate) fn idempotent(id: ProducerId, epoch: i16, sequence: i32, records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.set_producer(id, ProducerEpoch(epoch), Sequence(sequence));
    for record in 0..records {
        builder.append(now(), None, Some(format!("{sequence}+{record}").as_bytes()), &[]);
    }
    builder.build()
}

/// Overwrites bytes of a batch and makes its checksum right again.
pub(crate) fn patched(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut patched = batch.to_vec();
    patched[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&patched[21..]);
    patched[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(patched)
}

/// Asks again until the answer is there.
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "it did not happen in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
