//! DescribeCluster: the brokers, the controller and the cluster id. KIP-700, KIP-919 (controllers).

use crate::protocol::schema::{request, schema};
use crate::protocol::{ErrorCode, Str};
use crate::types::NodeId;

request!(DescribeClusterRequest => DescribeClusterResponse, DescribeCluster, 0..=2, flexible 0);

schema! {
    /// Asks for the cluster.
    struct DescribeClusterRequest {
        /// Whether to say what the client may do to the cluster.
        include_cluster_authorized_operations: bool, 0..;
        /// 1: brokers; 2: controllers.
        endpoint_type: i8, 1.., default 1;
        /// Whether to list fenced brokers too.
        include_fenced_brokers: bool, 2..;
    }

    /// The cluster.
    struct DescribeClusterResponse {
        /// Milliseconds that the client should stay silent for, by a quota; 0 for none.
        throttle_time_ms: i32, 0..;
        /// What went wrong, if anything.
        error_code: ErrorCode, 0..;
        /// More about the error, for people.
        error_message: Option<Str>, 0.., nullable 0..;
        /// 1: brokers; 2: controllers.
        endpoint_type: i8, 1.., default 1;
        /// The cluster's id.
        cluster_id: Str, 0..;
        /// The controller, or -1.
        controller_id: NodeId, 0.., default NodeId::NONE;
        /// The live brokers.
        brokers: Vec<DescribeClusterBroker>, 0..;
        /// Bits of what the client may do, or -2147483648 if not asked for.
        cluster_authorized_operations: i32, 0.., default i32::MIN;
    }

    /// A broker, or a controller if those were asked for.
    struct DescribeClusterBroker {
        /// The broker.
        broker_id: NodeId, 0..;
        /// Its host.
        host: Str, 0..;
        /// Its port.
        port: i32, 0..;
        /// Its rack, if it has one.
        rack: Option<Str>, 0.., nullable 0..;
        /// Whether it is fenced.
        is_fenced: bool, 2..;
    }
}
