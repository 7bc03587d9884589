//! DescribeCluster: brokers or controllers, for admin clients (KIP-700, KIP-919, KIP-1073).
//!
//! Every node serves everything on its one port, so a client that was given controllers to begin
//! with (`bootstrap.controllers`) is served like any other. The controllers are the nodes that vote.

use crate::kafka::dispatch::{Broker, Call};
use crate::kafka::view::View;
use crate::metadata::state;
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::protocol::{ErrorCode, Str};
use crate::types::NodeId;

use super::common;

/// Endpoints of brokers.
const BROKERS: i8 = 1;
/// Endpoints of the nodes that vote.
const CONTROLLERS: i8 = 2;

/// Answers the request.
pub(in crate::kafka) async fn handle(
    broker: &Broker,
    _: &Call,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let image = broker.context.metadata.image();
    let view = View::of(&broker.context, &image);
    match request.endpoint_type {
        CONTROLLERS => {
            let voters = broker.context.metadata.status().voters;
            describe(view, &request, Some(&voters))
        }
        _ => describe(view, &request, None),
    }
}

/// The answer; with the voters if those were asked for.
fn describe(
    view: View<'_>,
    request: &DescribeClusterRequest,
    voters: Option<&[NodeId]>,
) -> DescribeClusterResponse {
    let refuse = |error_code: ErrorCode, message: String| DescribeClusterResponse {
        error_code,
        error_message: Some(Str::from(message)),
        endpoint_type: request.endpoint_type,
        cluster_id: Str::from(view.image.cluster_id().to_string()),
        ..Default::default()
    };
    let (brokers, controller_id) = match (request.endpoint_type, voters) {
        (BROKERS, _) => {
            let mut brokers = view.brokers();
            if request.include_fenced_brokers {
                let known = view.image.brokers().map(|known| &**known);
                let missing: Vec<&state::Broker> =
                    known.filter(|known| brokers.iter().all(|row| row.id != known.id)).collect();
                brokers.extend(missing);
                brokers.sort_by_key(|known| known.id);
            }
            (brokers, view.controller())
        }
        (CONTROLLERS, Some(voters)) if !voters.contains(&view.here) => {
            let names: Vec<String> = voters.iter().map(ToString::to_string).collect();
            return refuse(
                ErrorCode::MismatchedEndpointType,
                format!("node {} does not vote; ask one of {}", view.here, names.join(", ")),
            );
        }
        (CONTROLLERS, Some(voters)) => {
            let known = voters.iter().filter_map(|id| view.image.broker(*id));
            let brokers = known.map(|broker| &**broker).collect();
            (brokers, view.image.controller().unwrap_or(NodeId::NONE))
        }
        (other, _) => {
            let message = format!("there is no endpoint type {other}: 1 is brokers, 2 controllers");
            return refuse(ErrorCode::UnsupportedEndpointType, message);
        }
    };
    let rows = brokers.into_iter().filter_map(|known| {
        let address = view.address(known)?;
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
        endpoint_type: request.endpoint_type,
        brokers: rows.collect(),
        controller_id,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            common::CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        cluster_id: Str::from(view.image.cluster_id().to_string()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::testing::Cluster;

    fn asked(endpoint_type: i8, include_fenced_brokers: bool) -> DescribeClusterRequest {
        DescribeClusterRequest { endpoint_type, include_fenced_brokers, ..Default::default() }
    }

    fn ids(response: &DescribeClusterResponse) -> Vec<(i32, bool)> {
        response.brokers.iter().map(|row| (row.broker_id.0, row.is_fenced)).collect()
    }

    #[test]
    fn trap_9_routing_endpoint_types_and_their_codes() {
        let mut cluster = Cluster::with_brokers(4);
        cluster.set_controller(Some(2));
        let voters = [1, 2, 3].map(NodeId);
        let image = cluster.image();
        let view = cluster.view(&image, 1);
        let brokers = describe(view, &asked(BROKERS, false), None);
        assert_eq!(brokers.brokers.len(), 4);
        let controllers = describe(view, &asked(CONTROLLERS, false), Some(&voters));
        assert_eq!(controllers.error_code, ErrorCode::None);
        assert_eq!(ids(&controllers), [(1, false), (2, false), (3, false)]);
        assert_eq!((controllers.endpoint_type, controllers.controller_id.0), (2, 2));
        // A node that does not vote is no controller.
        let learner = cluster.view(&image, 4);
        let refused = describe(learner, &asked(CONTROLLERS, false), Some(&voters));
        assert_eq!(refused.error_code, ErrorCode::MismatchedEndpointType);
        for unknown in [0, 3, -1] {
            let refused = describe(view, &asked(unknown, false), None);
            assert_eq!(refused.error_code, ErrorCode::UnsupportedEndpointType);
            assert!(refused.brokers.is_empty());
        }
    }

    #[test]
    fn fenced_brokers_are_listed_on_request_and_marked() {
        let mut cluster = Cluster::with_brokers(3);
        cluster.fence(2);
        let image = cluster.image();
        let view = cluster.view(&image, 1);
        assert_eq!(ids(&describe(view, &asked(BROKERS, false), None)), [(1, false), (3, false)]);
        let all = describe(view, &asked(BROKERS, true), None);
        assert_eq!(ids(&all), [(1, false), (2, true), (3, false)]);
        let by_itself = describe(cluster.view(&image, 2), &asked(BROKERS, true), None);
        assert_eq!(ids(&by_itself), ids(&all), "a fenced broker lists itself too");
    }
}
