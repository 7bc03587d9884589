//! A broker of one topic, `t`, whose answers a test decides. What the test leaves open is answered
//! as a broker would.

use crate::client::Address;
use crate::env::spawn;
use crate::protocol::header::{decode_request, encode_response};
use crate::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use crate::protocol::{ApiKey, Reader, Request, RequestHeader, SERVED, Str};
use crate::types::{LeaderEpoch, NodeId, PartitionIndex, ProducerEpoch, ProducerId, TopicId};
use bytes::Bytes;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(super) struct Fake {
    pub(super) address: Address,
}

/// A request as it came.
pub(super) struct Asked {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    body: Reader,
}

impl Asked {
    /// The request's fields.
    pub(super) fn read<R: Request>(&mut self) -> R {
        decode_request(&mut self.body, self.version).expect("the client's requests are valid")
    }

    /// An answer to it.
    pub(super) fn answer<R: Request>(&self, response: &R::Response) -> Answer {
        self.answer_as::<R>(response, self.version)
    }

    /// An answer in the layout of another version.
    pub(super) fn answer_as<R: Request>(&self, response: &R::Response, version: i16) -> Answer {
        Answer::Frame(encode_response::<R>(response, version, self.correlation_id))
    }
}

pub(super) enum Answer {
    Frame(Vec<Bytes>),
    /// As a broker would.
    Usual,
    /// None at all.
    Silence,
}

/// What the usual answers are made of.
#[derive(Clone, Copy)]
pub(super) struct Usual {
    pub(super) partitions: i32,
    pub(super) topic_id: TopicId,
}

pub(super) const USUAL: Usual = Usual { partitions: 1, topic_id: TopicId([7; 16]) };

type Script = Arc<Mutex<dyn FnMut(&mut Asked) -> Answer + Send>>;

impl Fake {
    /// Serves until the test's process ends.
    pub(super) fn start(
        usual: Usual,
        script: impl FnMut(&mut Asked) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let script: Script = Arc::new(Mutex::new(script));
        let next_id = Arc::new(Mutex::new(100));
        spawn::thread("fake-broker", move || {
            while let Ok((stream, _)) = listener.accept() {
                let (script, next_id) = (script.clone(), next_id.clone());
                spawn::thread("fake-connection", move || {
                    // An error is the client's way to say good-bye.
                    let _ = serve(stream, port, usual, &script, &next_id);
                })
                .expect("a thread");
            }
        })
        .expect("a thread");
        Self { address: Address::new("127.0.0.1", port) }
    }
}

fn serve(
    mut stream: TcpStream,
    port: u16,
    usual: Usual,
    script: &Script,
    next_id: &Mutex<i64>,
) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame)?;
        let mut body = Reader::new(Bytes::from(frame));
        let header = RequestHeader::decode(&mut body).expect("the client's headers are valid");
        let mut asked = Asked {
            api: header.api_key,
            version: header.api_version,
            correlation_id: header.correlation_id,
            body,
        };
        let mut answer = script.lock().expect("no test panics here")(&mut asked);
        if matches!(answer, Answer::Usual) {
            answer = usual_answer(&mut asked, port, usual, next_id);
        }
        if let Answer::Frame(chunks) = answer {
            for chunk in chunks {
                stream.write_all(&chunk)?;
            }
        }
    }
}

fn usual_answer(asked: &mut Asked, port: u16, usual: Usual, next_id: &Mutex<i64>) -> Answer {
    match asked.api {
        ApiKey::ApiVersions => asked.answer::<ApiVersionsRequest>(&versions()),
        ApiKey::Metadata => asked.answer::<MetadataRequest>(&metadata(port, usual)),
        ApiKey::InitProducerId => {
            let mut next_id = next_id.lock().expect("no test panics here");
            *next_id += 1;
            let producer_id = ProducerId(*next_id);
            asked.answer::<InitProducerIdRequest>(&InitProducerIdResponse {
                producer_id,
                producer_epoch: ProducerEpoch(0),
                ..Default::default()
            })
        }
        other => panic!("the test says nothing about {}", other.name()),
    }
}

/// The served APIs, as our own broker tells them.
pub(super) fn versions() -> ApiVersionsResponse {
    let api_keys = SERVED.iter().map(|api| ApiVersion {
        api_key: api.key.to_i16(),
        min_version: api.advertised_min,
        max_version: *api.versions.end(),
        ..Default::default()
    });
    ApiVersionsResponse { api_keys: api_keys.collect(), ..Default::default() }
}

fn metadata(port: u16, usual: Usual) -> MetadataResponse {
    let partition = |index| MetadataResponsePartition {
        partition_index: PartitionIndex(index),
        leader_id: NodeId(1),
        leader_epoch: LeaderEpoch(3),
        replica_nodes: vec![NodeId(1)],
        isr_nodes: vec![NodeId(1)],
        ..Default::default()
    };
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: NodeId(1),
            host: Str::from("127.0.0.1"),
            port: i32::from(port),
            ..Default::default()
        }],
        controller_id: NodeId(1),
        topics: vec![MetadataResponseTopic {
            name: Some(Str::from("t")),
            topic_id: usual.topic_id,
            partitions: (0..usual.partitions).map(partition).collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}
