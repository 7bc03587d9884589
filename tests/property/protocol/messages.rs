//! Every message, in every version, in both directions.

use crate::debug_tree::{Tree, assert_same};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};
use proptest::prelude::*;
use purlin::protocol::messages as ours;
use purlin::protocol::sample::Tape;
use purlin::protocol::{ApiKey, Message, Reader, Request, SERVED, Writer};
use std::fmt::Debug;
use std::ops::RangeInclusive;

/// Checks one message of one version, ours through theirs and back.
fn check<O, T>(tape: &[u8], version: i16)
where
    O: Message + Debug + PartialEq,
    T: Decodable + Encodable + Debug,
{
    let message = O::sample(&mut Tape::new(tape), version);
    let bytes = encode(&message, version);
    assert_eq!(decode::<O>(&bytes, version), message, "version {version}, ours and back");

    let mut rest = bytes.clone();
    let seen = T::decode(&mut rest, version)
        .unwrap_or_else(|error| panic!("version {version}: {error:#} in {message:?}"));
    assert!(rest.is_empty(), "version {version}: {} bytes left of {message:?}", rest.len());
    assert_same(&Tree::of(&message), &Tree::of(&seen), &format!("v{version}"));

    let mut back = BytesMut::new();
    seen.encode(&mut back, version).expect("what was decoded can be encoded");
    assert_eq!(back.freeze(), bytes, "version {version} of {message:?}");
}

fn encode(message: &impl Message, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version);
    let length = writer.len();
    let bytes = writer.into_bytes();
    assert_eq!(length, bytes.len());
    bytes
}

fn decode<M: Message>(bytes: &Bytes, version: i16) -> M {
    let mut reader = Reader::new(bytes.clone());
    let message = M::decode(&mut reader, version).expect("what was encoded can be decoded");
    reader.finish().expect("nothing follows the message");
    message
}

/// The versions that both know.
fn shared_versions<O: Request, T: TheirMessage>() -> RangeInclusive<i16> {
    let theirs = T::VERSIONS;
    *O::VERSIONS.start().max(&theirs.min)..=*O::VERSIONS.end().min(&theirs.max)
}

macro_rules! every_api {
    ($($test:ident: $module:ident::$request:ident, $response:ident;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
            $(#[test]
            fn $test(tape in proptest::collection::vec(any::<u8>(), 0..600)) {
                type Ours = ours::$module::$request;
                for version in shared_versions::<Ours, theirs::$request>() {
                    check::<Ours, theirs::$request>(&tape, version);
                    check::<<Ours as Request>::Response, theirs::$response>(&tape, version);
                }
            })*
        }

        /// The APIs and versions that the tests above cover.
        fn covered() -> Vec<(ApiKey, RangeInclusive<i16>)> {
            vec![$((
                ours::$module::$request::KEY,
                shared_versions::<ours::$module::$request, theirs::$request>(),
            ),)*]
        }
    };
}

every_api! {
    produce: produce::ProduceRequest, ProduceResponse;
    fetch: fetch::FetchRequest, FetchResponse;
    list_offsets: list_offsets::ListOffsetsRequest, ListOffsetsResponse;
    metadata: metadata::MetadataRequest, MetadataResponse;
    find_coordinator: find_coordinator::FindCoordinatorRequest, FindCoordinatorResponse;
    api_versions: api_versions::ApiVersionsRequest, ApiVersionsResponse;
    create_topics: create_topics::CreateTopicsRequest, CreateTopicsResponse;
    delete_topics: delete_topics::DeleteTopicsRequest, DeleteTopicsResponse;
    delete_records: delete_records::DeleteRecordsRequest, DeleteRecordsResponse;
    init_producer_id: init_producer_id::InitProducerIdRequest, InitProducerIdResponse;
    offset_for_leader_epoch:
        offset_for_leader_epoch::OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    describe_configs: describe_configs::DescribeConfigsRequest, DescribeConfigsResponse;
    alter_configs: alter_configs::AlterConfigsRequest, AlterConfigsResponse;
    describe_log_dirs: describe_log_dirs::DescribeLogDirsRequest, DescribeLogDirsResponse;
    create_partitions: create_partitions::CreatePartitionsRequest, CreatePartitionsResponse;
    incremental_alter_configs:
        incremental_alter_configs::IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    describe_cluster: describe_cluster::DescribeClusterRequest, DescribeClusterResponse;
    describe_producers: describe_producers::DescribeProducersRequest, DescribeProducersResponse;
    describe_topic_partitions:
        describe_topic_partitions::DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    alter_partition_reassignments: alter_partition_reassignments::AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse;
    alter_replica_log_dirs: alter_replica_log_dirs::AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse;
    describe_quorum: describe_quorum::DescribeQuorumRequest, DescribeQuorumResponse;
    elect_leaders: elect_leaders::ElectLeadersRequest, ElectLeadersResponse;
    list_config_resources: list_config_resources::ListConfigResourcesRequest, ListConfigResourcesResponse;
    list_partition_reassignments: list_partition_reassignments::ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse;
    unregister_broker: unregister_broker::UnregisterBrokerRequest, UnregisterBrokerResponse;
    update_features: update_features::UpdateFeaturesRequest, UpdateFeaturesResponse;
}

#[test]
fn trap_1_versions_half_supported_ranges() {
    // Every version that is served is covered above, but for those that the witness does not know;
    // for these, see `golden`.
    let covered = covered();
    let mut without_witness = Vec::new();
    for api in &SERVED {
        let (_, versions) =
            covered.iter().find(|(key, _)| *key == api.key).expect("every served API is covered");
        let missing = api.versions.clone().filter(|version| !versions.contains(version));
        without_witness.extend(missing.map(|version| (api.key, version)));
    }
    assert_eq!(without_witness, [(ApiKey::ListOffsets, 11), (ApiKey::DescribeLogDirs, 5)]);
    assert_eq!(covered.len(), SERVED.len());
}
