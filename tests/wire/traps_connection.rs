//! Section 1: connection, versions, framing.

use crate::harness::{Client, batch, fetch_request, produce_request};
use bytes::Bytes;
use purlin::protocol::header::decode_response;
use purlin::protocol::messages::SERVED;
use purlin::protocol::messages::api_versions::ApiVersionsRequest;
use purlin::protocol::messages::find_coordinator::FindCoordinatorRequest;
use purlin::protocol::messages::metadata::MetadataRequest;
use purlin::protocol::messages::produce::ProduceRequest;
use purlin::protocol::{ApiKey, ErrorCode, Str};

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: Str::from_static("wire-test"),
        client_software_version: Str::from_static("1.0"),
        ..Default::default()
    }
}

/// A frame with a header of version 1 and a body.
fn frame(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&7i32.to_be_bytes());
    frame.extend_from_slice(&(-1i16).to_be_bytes());
    frame.extend_from_slice(body);
    let length = i32::try_from(frame.len() - 4).expect("short");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

#[test]
fn trap_1_versions_api_versions_above_our_max() {
    let mut client = Client::shared();
    // The body is nothing that any version knows.
    client.send_raw(&frame(18, 99, b"\x00what is this"));
    let frame = client.receive_frame().expect("an answer");
    let (header, response) =
        decode_response::<ApiVersionsRequest>(frame, 0).expect("the layout of version 0");
    assert_eq!(header.correlation_id, 7);
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion);
    assert_eq!(response.api_keys.len(), 1);
    // The same connection goes on.
    let again = client.call(&api_versions(), 4);
    assert_eq!(again.error_code, ErrorCode::None);
    assert_eq!(again.api_keys.len(), SERVED.len());
}

#[test]
fn trap_1_versions_flexible_api_versions_response_header() {
    let mut client = Client::shared();
    for version in 0..=4 {
        // `call` decodes a header without tagged fields, and fails on any byte too many.
        let response = client.call(&api_versions(), version);
        assert_eq!(response.error_code, ErrorCode::None);
        let produce = response.api_keys.iter().find(|row| row.api_key == 0).expect("Produce");
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
    }
}

#[test]
fn trap_1_versions_unknown_finalized_features() {
    let mut client = Client::shared();
    let response = client.call(&api_versions(), 4);
    // Clients that know no feature of ours must not stumble over one: there is none, and the
    // epoch says "ignore".
    if response.finalized_features.is_empty() {
        assert_eq!(response.finalized_features_epoch, -1);
    }
}

#[test]
fn trap_1_versions_client_software_fields_are_validated_on_the_wire() {
    let mut client = Client::shared();
    let bad = ApiVersionsRequest {
        client_software_name: Str::from_static("no spaces allowed"),
        ..api_versions()
    };
    let response = client.call(&bad, 3);
    assert_eq!(response.error_code, ErrorCode::InvalidRequest);
    assert!(response.api_keys.is_empty());
    // librdkafka then tries version 0 on the same connection.
    assert_eq!(client.call(&bad, 0).error_code, ErrorCode::None);
}

#[test]
fn trap_1_framing_unknown_key_bad_version_undecodable_body() {
    let unknown_api = frame(999, 0, b"");
    let negative_api = frame(-1, 0, b"");
    let unserved_api = frame(ApiKey::LeaderAndIsr.to_i16(), 0, b"");
    let old_produce = frame(0, 2, &[0; 40]);
    let new_metadata = frame(3, 99, &[0; 40]);
    let negative_version = frame(3, -3, &[0; 40]);
    let cut_body = frame(3, 1, &[0, 0]);
    for bytes in [
        unknown_api,
        negative_api,
        unserved_api,
        old_produce,
        new_metadata,
        negative_version,
        cut_body,
    ] {
        let mut client = Client::shared();
        client.send_raw(&bytes);
        assert!(client.is_closed(), "{bytes:?}");
    }
}

#[test]
fn trap_1_versions_half_supported_ranges() {
    // Every version of what can be asked without arguments is answered, in its own layout.
    let mut client = Client::shared();
    for version in 0..=13 {
        let response = client.call(&MetadataRequest::default(), version);
        assert_eq!(response.brokers.len(), 1, "version {version}");
    }
    for version in 0..=6 {
        let request = FindCoordinatorRequest {
            key: Str::from_static("g"),
            coordinator_keys: vec![Str::from_static("g"), Str::from_static("h")],
            ..Default::default()
        };
        let response = client.call(&request, version);
        if version < 4 {
            assert_eq!(response.error_code, ErrorCode::CoordinatorNotAvailable);
        } else {
            let keys: Vec<&str> = response.coordinators.iter().map(|row| &*row.key).collect();
            assert_eq!(keys, ["g", "h"]);
            let codes = response.coordinators.iter().map(|row| row.error_code);
            assert!(codes.into_iter().all(|code| code == ErrorCode::CoordinatorNotAvailable));
        }
    }
    let topic = client.create("ranges", 1, &[]);
    for version in 3..=13 {
        let row = client.produce_as(&topic, batch(&["x"]), version, -1);
        assert_eq!(row.error_code, ErrorCode::None, "Produce {version}: {row:?}");
    }
    for version in 4..=18 {
        let response = client.call(&fetch_request(&topic, 0), version);
        let row = crate::harness::row_of(&response);
        assert_eq!(row.error_code, ErrorCode::None, "Fetch {version}");
        assert!(!row.records.expect("never null").is_empty(), "Fetch {version}");
    }
}

#[test]
fn trap_1_framing_acks_0_answers_nothing_and_closes_on_error() {
    let mut client = Client::shared();
    let topic = client.create("acks0", 1, &[]);
    client.send(&produce_request(&topic, Some(batch(&["a"])), 0), 9);
    client.send(&produce_request(&topic, Some(batch(&["b"])), 0), 9);
    let row = client.produce(&topic, batch(&["c"]));
    assert_eq!(row.base_offset.0, 2, "the two before it were appended, without answers");

    let unknown = crate::harness::Topic { name: Str::from_static("no-such-topic-acks0"), ..topic };
    client.send(&produce_request(&unknown, Some(batch(&["a"])), 0), 9);
    assert!(client.is_closed());
}

#[test]
fn trap_1_framing_pipelined_appends_keep_their_order() {
    let mut client = Client::shared();
    let topic = client.create("pipeline", 1, &[]);
    let id = client.producer_id();
    let sent: Vec<i32> = (0..50)
        .map(|n| {
            let batch = crate::harness::idempotent(id, 0, n * 2, 2);
            client.send(&produce_request(&topic, Some(batch), -1), 9)
        })
        .collect();
    for (n, correlation_id) in (0i64..).zip(sent) {
        let (answered, response) = client.receive::<ProduceRequest>(9);
        assert_eq!(answered, correlation_id);
        let row = &response.responses[0].partition_responses[0];
        assert_eq!((row.error_code, row.base_offset.0), (ErrorCode::None, n * 2));
    }
}

#[test]
fn trap_1_versions_init_producer_id_is_advertised_and_served() {
    let mut client = Client::shared();
    let (a, b) = (client.producer_id(), Client::shared().producer_id());
    assert!(a.0 >= 0 && b.0 >= 0 && a != b);
}

#[test]
fn trap_1_framing_flexible_request_header() {
    // Header version 2: the client id keeps its two-byte length, then one byte of no tags.
    let mut bytes = frame(3, 9, b"");
    bytes.truncate(12);
    bytes.extend_from_slice(&[0, 2, b'm', b'e', 0]);
    // No topics (an empty list, not null), then three flags and no tags.
    bytes.extend_from_slice(&[1, 0, 0, 0, 0]);
    let length = i32::try_from(bytes.len() - 4).expect("short");
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    let mut client = Client::shared();
    client.send_raw(&bytes);
    let frame: Bytes = client.receive_frame().expect("an answer");
    let (_, response) = decode_response::<MetadataRequest>(frame, 9).expect("decodes");
    assert!(response.topics.is_empty());
}

#[test]
fn trap_1_listeners_wrong_advertised_endpoint() {
    let mut client = Client::shared();
    let response = client.call(&MetadataRequest::default(), 12);
    let broker = &response.brokers[0];
    let real = crate::harness::shared();
    assert_eq!(broker.port, i32::from(real.port()), "the port that was really bound");
    assert_eq!(&*broker.host, real.ip().to_string());
}
