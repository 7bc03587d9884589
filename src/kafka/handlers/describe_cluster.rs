//! DescribeCluster: brokers and controller, for admin clients (KIP-700, KIP-919, KIP-1073).

use super::common;
use crate::kafka::dispatch::{Broker, Call};
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::protocol::{ErrorCode, Str};

/// Endpoints of brokers; 2 would be those of controllers, which only a controller listener gives.
const BROKER_ENDPOINTS: i8 = 1;
const CONTROLLER_ENDPOINTS: i8 = 2;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let image = broker.context.metadata.image();
    let cluster_id = Str::from(image.cluster_id().to_string());
    let refuse = |error_code: ErrorCode, message: &'static str| DescribeClusterResponse {
        error_code,
        error_message: Some(Str::from_static(message)),
        endpoint_type: request.endpoint_type,
        cluster_id: cluster_id.clone(),
        ..Default::default()
    };
    match request.endpoint_type {
        BROKER_ENDPOINTS => {}
        CONTROLLER_ENDPOINTS => {
            return refuse(
                ErrorCode::MismatchedEndpointType,
                "this is a broker's endpoint, not a controller's",
            );
        }
        _ => {
            return refuse(ErrorCode::UnsupportedEndpointType, "there is no such endpoint type");
        }
    }
    let brokers = image
        .brokers()
        .filter(|known| !known.fenced || request.include_fenced_brokers)
        .filter_map(|known| {
            let address = common::address(known, &broker.context)?;
            Some(DescribeClusterBroker {
                broker_id: address.node_id,
                host: address.host,
                port: address.port,
                rack: address.rack,
                is_fenced: known.fenced,
                ..Default::default()
            })
        });
    DescribeClusterResponse {
        endpoint_type: BROKER_ENDPOINTS,
        brokers: brokers.collect(),
        controller_id: common::controller(&image),
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            common::CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        cluster_id,
        ..Default::default()
    }
}
