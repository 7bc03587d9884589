//! Request and response headers, and which of their versions goes with which API.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use purlin::protocol::header::{decode_response, encode_request, encode_response};
use purlin::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};
use purlin::protocol::{
    ApiKey, DecodeError, ErrorCode, Reader, RequestHeader, ResponseHeader, SERVED, Str,
    TaggedFields, Writer,
};

fn their_key(key: ApiKey) -> theirs::ApiKey {
    theirs::ApiKey::try_from(key.to_i16()).expect("the witness knows every served API")
}

#[test]
fn trap_1_framing_flexible_request_header() {
    for api in &SERVED {
        for version in api.versions.clone() {
            for client_id in [None, Some("räuber")] {
                let header = RequestHeader {
                    api_key: api.key,
                    api_version: version,
                    correlation_id: 7,
                    client_id: client_id.map(Str::from),
                    unknown_tagged_fields: TaggedFields::default(),
                };
                let mut writer = Writer::new();
                header.encode(&mut writer);
                let bytes = writer.into_bytes();

                let header_version = their_key(api.key).request_header_version(version);
                let mut theirs = BytesMut::new();
                theirs::RequestHeader::default()
                    .with_request_api_key(api.key.to_i16())
                    .with_request_api_version(version)
                    .with_correlation_id(7)
                    .with_client_id(client_id.map(StrBytes::from_static_str))
                    .encode(&mut theirs, header_version)
                    .expect("a header");
                assert_eq!(bytes, theirs, "{} {version}", api.key);

                let mut reader = Reader::new(bytes);
                assert_eq!(RequestHeader::decode(&mut reader), Ok(header));
                assert_eq!(reader.left(), 0);
            }
        }
    }
}

#[test]
fn trap_1_framing_flexible_start_looked_up() {
    for api in &SERVED {
        for version in api.versions.clone() {
            let mut writer = Writer::new();
            ResponseHeader::new(9).encode(&mut writer, api.key, version);
            let bytes = writer.into_bytes();
            let header_version = their_key(api.key).response_header_version(version);
            let mut rest = bytes.clone();
            let seen = theirs::ResponseHeader::decode(&mut rest, header_version).expect("a header");
            assert_eq!((seen.correlation_id, rest.len()), (9, 0), "{} {version}", api.key);
            let mut reader = Reader::new(bytes);
            let back = ResponseHeader::decode(&mut reader, api.key, version);
            assert_eq!(back, Ok(ResponseHeader::new(9)));
        }
    }
}

#[test]
fn trap_1_versions_flexible_api_versions_response_header() {
    for version in 0..=4 {
        let response = ApiVersionsResponse {
            api_keys: vec![ApiVersion { api_key: 18, max_version: 4, ..ApiVersion::default() }],
            ..ApiVersionsResponse::default()
        };
        let frame = encode_response::<ApiVersionsRequest>(&response, version, 0x0102_0304);
        let frame = Bytes::from(frame.concat());
        // Length, correlation id, and at once the error code: no byte for tagged fields between.
        assert_eq!(frame[..10], [0, 0, 0, frame.len() as u8 - 4, 1, 2, 3, 4, 0, 0]);
        let count = if version < 3 { vec![0, 0, 0, 1] } else { vec![2] };
        assert!(frame[10..].starts_with(&count));
        let (header, body) =
            decode_response::<ApiVersionsRequest>(frame.slice(4..), version).expect("our own");
        assert_eq!((header.correlation_id, body), (0x0102_0304, response));
    }
}

#[test]
fn trap_1_versions_api_versions_above_our_max() {
    // The header of a version that we do not know can be read, so that there is an answer; it goes
    // out in version 0.
    let mut writer = Writer::new();
    writer.put(&[0, 18, 0, 99, 0, 0, 0, 5, 0, 2, b'm', b'e', 0]);
    writer.put(b"a body of whatever layout");
    let mut reader = Reader::new(writer.into_bytes());
    let header = RequestHeader::decode(&mut reader).expect("a header");
    assert_eq!((header.api_key, header.api_version), (ApiKey::ApiVersions, 99));
    assert_eq!((header.correlation_id, header.client_id.as_deref()), (5, Some("me")));
    let answer = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: vec![ApiVersion { api_key: 18, max_version: 4, ..ApiVersion::default() }],
        ..ApiVersionsResponse::default()
    };
    let frame = encode_response::<ApiVersionsRequest>(&answer, 0, 5).concat();
    assert_eq!(
        frame,
        [0, 0, 0, 16, 0, 0, 0, 5, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4],
        "UNSUPPORTED_VERSION and one range, in the layout of version 0"
    );
}

#[test]
fn trap_1_framing_unknown_key() {
    let mut reader = Reader::new(Bytes::from_static(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]));
    assert_eq!(RequestHeader::decode(&mut reader), Err(DecodeError::UnknownApi(0x7fff)));
}

#[test]
fn trap_1_versions_produce_from_v0() {
    let produce = SERVED.iter().find(|api| api.key == ApiKey::Produce).expect("served");
    assert_eq!((produce.advertised_min, produce.versions.clone()), (0, 3..=13));
    for api in SERVED.iter().filter(|api| api.key != ApiKey::Produce) {
        assert_eq!(api.advertised_min, *api.versions.start(), "{}", api.key);
    }
}

#[test]
fn trap_1_versions_odd_maximum_and_raised_minimum() {
    // The ranges of one real release (Kafka 4.3), as a set: clients guess a broker's release from
    // them, and pick old versions without looking at our minimum.
    use ApiKey as K;
    let release = [
        (K::Produce, 0, 13),
        (K::Fetch, 4, 18),
        (K::ListOffsets, 1, 11),
        (K::Metadata, 0, 13),
        (K::FindCoordinator, 0, 6),
        (K::ApiVersions, 0, 4),
        (K::CreateTopics, 2, 7),
        (K::DeleteTopics, 1, 6),
        (K::DeleteRecords, 0, 2),
        (K::InitProducerId, 0, 5),
        (K::OffsetForLeaderEpoch, 2, 4),
        (K::DescribeConfigs, 1, 4),
        (K::AlterConfigs, 0, 2),
        (K::AlterReplicaLogDirs, 1, 2),
        (K::DescribeLogDirs, 1, 5),
        (K::CreatePartitions, 0, 3),
        (K::ElectLeaders, 0, 2),
        (K::IncrementalAlterConfigs, 0, 1),
        (K::AlterPartitionReassignments, 0, 1),
        (K::ListPartitionReassignments, 0, 0),
        (K::DescribeQuorum, 0, 2),
        (K::UpdateFeatures, 0, 2),
        (K::DescribeCluster, 0, 2),
        (K::DescribeProducers, 0, 0),
        (K::UnregisterBroker, 0, 0),
        (K::ListConfigResources, 0, 1),
        (K::DescribeTopicPartitions, 0, 0),
    ];
    let ours = SERVED.iter().map(|api| (api.key, api.advertised_min, *api.versions.end()));
    assert_eq!(ours.collect::<Vec<_>>(), release);
    // What kafkajs sends, whatever our minimum is.
    for (key, version) in [
        (K::Produce, 7),
        (K::Fetch, 11),
        (K::Metadata, 6),
        (K::ListOffsets, 3),
        (K::FindCoordinator, 2),
        (K::CreateTopics, 3),
        (K::InitProducerId, 1),
    ] {
        let api = SERVED.iter().find(|api| api.key == key).expect("served");
        assert!(api.versions.contains(&version), "{key} {version}");
    }
}

#[test]
fn a_request_frame_has_its_length_in_front() {
    let request = ApiVersionsRequest {
        client_software_name: Str::from_static("purlin"),
        client_software_version: Str::from_static("1"),
        ..ApiVersionsRequest::default()
    };
    let frame = encode_request(&request, 3, 1, Some(&Str::from_static("c"))).concat();
    let expected = [
        &[0, 0, 0, 22][..],         // length
        &[0, 18, 0, 3, 0, 0, 0, 1], // key, version, correlation id
        &[0, 1, b'c', 0],           // client id with its two-byte length, and no tagged fields
        &[7, b'p', b'u', b'r', b'l', b'i', b'n', 2, b'1', 0],
    ];
    assert_eq!(frame, expected.concat());
}
