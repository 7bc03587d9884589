//! From a frame to the handler of its API, and back to bytes.
//!
//! Invariant: a request whose API, version or body is not served is never answered by guessing:
//! the connection is closed. The one exception is ApiVersions, whose answer to a version that is
//! too new tells the client what to use instead (KIP-511).

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;

use super::budget::{Budget, Lease};
use super::connection::{Answer, Outcome, Service};
use super::context::Context;
use super::fetch_session::SessionCache;
use super::handlers;
use super::metrics::Metrics;
use super::producer_ids::ProducerIds;
use crate::limits;
use crate::protocol::header::{decode_request, encode_response};
use crate::protocol::messages::served;
use crate::protocol::{ApiKey, Reader, Request, RequestHeader, Str};

/// What all connections share.
#[derive(Debug)]
pub(super) struct Broker {
    /// The rooms below.
    pub(super) context: Context,
    /// Remembered fetches.
    pub(super) sessions: SessionCache,
    /// Pays for fetched records on their way out.
    pub(super) responses: Budget,
    /// Ids for idempotent producers.
    pub(super) producer_ids: ProducerIds,
    /// Topics that are being created because a Metadata request named them.
    pub(super) auto_creations: handlers::AutoCreations,
}

impl Broker {
    /// Shared state around a context.
    pub(super) fn new(context: Context) -> Self {
        Self {
            context,
            sessions: SessionCache::default(),
            responses: Budget::new(limits::RESPONSE_BYTES_IN_FLIGHT_MAX),
            producer_ids: ProducerIds::default(),
            auto_creations: handlers::AutoCreations::default(),
        }
    }
}

/// One request, apart from its body.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The version that the body is in, and the answer has to be in.
    pub(super) version: i16,
    /// Comes back with the answer.
    pub(super) correlation_id: i32,
    /// What the client calls itself.
    pub(super) client_id: Option<Str>,
}

impl Call {
    /// The answer to this call as it goes onto the wire.
    pub(super) fn answer<R: Request>(&self, response: &R::Response) -> Answer {
        self.paid_answer::<R>(response, None)
    }

    /// As [`Self::answer`], with the lease that pays for the records in it.
    pub(super) fn paid_answer<R: Request>(
        &self,
        response: &R::Response,
        lease: Option<Lease>,
    ) -> Answer {
        let chunks = encode_response::<R>(response, self.version, self.correlation_id);
        Answer { chunks, lease }
    }
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    broker: Arc<Broker>,
}

impl Requests {
    /// For a new connection.
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

impl Service for Requests {
    async fn call(&self, frame: Bytes) -> Outcome {
        let metrics = &self.broker.context.metrics;
        Metrics::add(&metrics.requests, 1);
        let outcome = self.dispatch(frame).await;
        if matches!(outcome, Outcome::Close(_)) {
            Metrics::add(&metrics.requests_rejected, 1);
        }
        outcome
    }
}

impl Requests {
    async fn dispatch(&self, frame: Bytes) -> Outcome {
        let mut reader = Reader::new(frame);
        let header = match RequestHeader::decode(&mut reader) {
            Ok(header) => header,
            Err(error) => return Outcome::Close(format!("request header: {error}")),
        };
        let call = Call {
            version: header.api_version,
            correlation_id: header.correlation_id,
            client_id: header.client_id,
        };
        let name = header.api_key.name();
        let Some(api) = served(header.api_key) else {
            return Outcome::Close(format!("API {name} is not served"));
        };
        if !api.versions.contains(&call.version) {
            if header.api_key == ApiKey::ApiVersions {
                return Outcome::Answer(handlers::api_versions::refuse_version(&call));
            }
            return Outcome::Close(format!("{name} version {} is not served", call.version));
        }
        self.handle(header.api_key, call, reader).await
    }

    /// Runs the handler. Each is boxed: the state of an idle connection must not be as large as
    /// the largest of them.
    async fn handle(&self, api: ApiKey, call: Call, reader: Reader) -> Outcome {
        use crate::protocol::messages as m;
        let broker = &self.broker;
        macro_rules! answer {
            ($request:ty, $handler:path) => {
                with_body::<$request, _>(call, reader, |call, request| {
                    async move {
                        let response = $handler(broker, &call, request).await;
                        Outcome::Answer(call.answer::<$request>(&response))
                    }
                    .boxed()
                })
                .await
            };
        }
        match api {
            ApiKey::Produce => {
                with_body::<m::produce::ProduceRequest, _>(call, reader, |call, request| {
                    // Nothing here waits: appends happen in the order of the requests.
                    std::future::ready(handlers::produce::handle(broker, &call, request)).boxed()
                })
                .await
            }
            ApiKey::Fetch => {
                with_body::<m::fetch::FetchRequest, _>(call, reader, |call, request| {
                    async move { handlers::fetch::handle(broker, &call, request).await }.boxed()
                })
                .await
            }
            ApiKey::ListOffsets => {
                answer!(m::list_offsets::ListOffsetsRequest, handlers::list_offsets::handle)
            }
            ApiKey::Metadata => answer!(m::metadata::MetadataRequest, handlers::metadata::handle),
            ApiKey::FindCoordinator => answer!(
                m::find_coordinator::FindCoordinatorRequest,
                handlers::find_coordinator::handle
            ),
            ApiKey::ApiVersions => {
                answer!(m::api_versions::ApiVersionsRequest, handlers::api_versions::handle)
            }
            ApiKey::CreateTopics => {
                answer!(m::create_topics::CreateTopicsRequest, handlers::create_topics::handle)
            }
            ApiKey::DeleteTopics => {
                answer!(m::delete_topics::DeleteTopicsRequest, handlers::delete_topics::handle)
            }
            ApiKey::DeleteRecords => {
                answer!(m::delete_records::DeleteRecordsRequest, handlers::delete_records::handle)
            }
            ApiKey::InitProducerId => answer!(
                m::init_producer_id::InitProducerIdRequest,
                handlers::init_producer_id::handle
            ),
            ApiKey::OffsetForLeaderEpoch => answer!(
                m::offset_for_leader_epoch::OffsetForLeaderEpochRequest,
                handlers::offset_for_leader_epoch::handle
            ),
            ApiKey::DescribeConfigs => answer!(
                m::describe_configs::DescribeConfigsRequest,
                handlers::describe_configs::handle
            ),
            ApiKey::AlterConfigs => {
                answer!(m::alter_configs::AlterConfigsRequest, handlers::alter_configs::handle)
            }
            ApiKey::IncrementalAlterConfigs => answer!(
                m::incremental_alter_configs::IncrementalAlterConfigsRequest,
                handlers::incremental_alter_configs::handle
            ),
            ApiKey::DescribeLogDirs => answer!(
                m::describe_log_dirs::DescribeLogDirsRequest,
                handlers::describe_log_dirs::handle
            ),
            ApiKey::CreatePartitions => answer!(
                m::create_partitions::CreatePartitionsRequest,
                handlers::create_partitions::handle
            ),
            ApiKey::DescribeCluster => answer!(
                m::describe_cluster::DescribeClusterRequest,
                handlers::describe_cluster::handle
            ),
            ApiKey::DescribeProducers => answer!(
                m::describe_producers::DescribeProducersRequest,
                handlers::describe_producers::handle
            ),
            ApiKey::DescribeTopicPartitions => answer!(
                m::describe_topic_partitions::DescribeTopicPartitionsRequest,
                handlers::describe_topic_partitions::handle
            ),
            ApiKey::AlterReplicaLogDirs => answer!(
                m::alter_replica_log_dirs::AlterReplicaLogDirsRequest,
                handlers::alter_replica_log_dirs::handle
            ),
            ApiKey::ListConfigResources => answer!(
                m::list_config_resources::ListConfigResourcesRequest,
                handlers::list_config_resources::handle
            ),
            ApiKey::ListPartitionReassignments => answer!(
                m::list_partition_reassignments::ListPartitionReassignmentsRequest,
                handlers::list_partition_reassignments::handle
            ),
            ApiKey::UpdateFeatures => answer!(
                m::update_features::UpdateFeaturesRequest,
                handlers::update_features::handle
            ),
            ApiKey::AlterPartitionReassignments => answer!(
                m::alter_partition_reassignments::AlterPartitionReassignmentsRequest,
                handlers::alter_partition_reassignments::handle
            ),
            ApiKey::DescribeQuorum => answer!(
                m::describe_quorum::DescribeQuorumRequest,
                handlers::describe_quorum::handle
            ),
            ApiKey::ElectLeaders => {
                answer!(m::elect_leaders::ElectLeadersRequest, handlers::elect_leaders::handle)
            }
            ApiKey::UnregisterBroker => answer!(
                m::unregister_broker::UnregisterBrokerRequest,
                handlers::unregister_broker::handle
            ),
            other => Outcome::Close(format!("API {} is not served", other.name())),
        }
    }
}

/// Decodes the body and hands it to `handler`.
async fn with_body<'a, R, H>(call: Call, mut reader: Reader, handler: H) -> Outcome
where
    R: Request,
    H: FnOnce(Call, R) -> futures::future::BoxFuture<'a, Outcome>,
{
    match decode_request::<R>(&mut reader, call.version) {
        Ok(request) => {
            drop(reader);
            handler(call, request).await
        }
        Err(error) => {
            let name = R::KEY.name();
            Outcome::Close(format!("{name} version {} does not decode: {error}", call.version))
        }
    }
}
