//! Requests to one node, whoever leads: to ask a paused or cut-off leader what it thinks, and to
//! try to write through it.

use bytes::Bytes;
use purlin::env::clock::{Clock as _, SystemClock};
use purlin::protocol::header::{decode_response, encode_request};
use purlin::protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use purlin::protocol::records::{BatchBuilder, Compression};
use purlin::protocol::{ErrorCode, Request, Str};
use purlin::types::PartitionIndex;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection to one node.
pub struct Direct {
    stream: TcpStream,
    correlation_id: i32,
}

impl Direct {
    /// Connects; connecting and each answer may take `patience`.
    ///
    /// # Errors
    /// When nobody listens, or not in time.
    pub fn connect(address: &str, patience: Duration) -> io::Result<Self> {
        let address: SocketAddr = address.parse().expect("an address");
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When the connection breaks or nothing comes in time: whether the request took effect is
    /// unknown then, and the connection is of no more use.
    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> io::Result<R::Response> {
        self.send(request, version)?;
        self.receive::<R>(version)
    }

    /// Sends a request without waiting, such as to a process that is stopped: the system takes it.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> io::Result<()> {
        self.correlation_id += 1;
        let client_id = Str::from_static("direct");
        let chunks = encode_request(request, version, self.correlation_id, Some(&client_id));
        self.stream.write_all(&chunks.concat())
    }

    /// The answer to the request that was sent last, when no other is open.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        self.stream.read_exact(&mut frame)?;
        let (header, response) = decode_response::<R>(Bytes::from(frame), version)
            .map_err(|error| io::Error::other(error.to_string()))?;
        assert_eq!(header.correlation_id, self.correlation_id, "answers come in order");
        Ok(response)
    }

    /// The answer to [`produce`]: the offset, or the error.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn receive_produced(&mut self) -> io::Result<Result<i64, ErrorCode>> {
        let answer = self.receive::<ProduceRequest>(PRODUCE_VERSION)?;
        let row = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let row = row.ok_or_else(|| io::Error::other("an answer without a row"))?;
        let written = row.error_code == ErrorCode::None;
        Ok(if written { Ok(row.base_offset.0) } else { Err(row.error_code) })
    }
}

/// The last version that names topics.
pub const PRODUCE_VERSION: i16 = 12;

/// A request to write one record with `acks=all`, by a producer without an id.
pub fn produce(topic: &str, partition: i32, value: &str, timeout_ms: i32) -> ProduceRequest {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(SystemClock.now(), None, Some(value.as_bytes()), &[]);
    let row = PartitionProduceData {
        index: PartitionIndex(partition),
        records: Some(batch.build()),
        ..Default::default()
    };
    ProduceRequest {
        acks: -1,
        timeout_ms,
        topic_data: vec![TopicProduceData {
            name: Str::from(topic),
            partition_data: vec![row],
            ..Default::default()
        }],
        ..Default::default()
    }
}
