//! Connections: listening, connecting, and the handshake.

use super::{Cluster as _, ClusterClient, ClusterServer, Error, Hello, Identity, Payload};
use crate::env::shutdown::Shutdown;
use crate::env::spawn;
use crate::limits::{
    RPC_CALLS_PER_CONNECTION_MAX, RPC_CONNECT_MS_MAX, RPC_CONNECTIONS_MAX, RPC_FRAME_BYTES_MAX,
};
use crate::types::NodeId;
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(RPC_FRAME_BYTES_MAX).new_codec()
}

/// Serves the `cluster` service on `listener` until the shutdown begins.
pub async fn serve(listener: TcpListener, service: ClusterServer, mut shutdown: Shutdown) {
    let room = Arc::new(Semaphore::new(RPC_CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Out of descriptors, most likely: breathe, or this loop would spin.
                tracing::warn!(%error, "cannot accept a node's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(
                bound = RPC_CONNECTIONS_MAX,
                "too many connections of nodes; one was refused"
            );
            continue;
        };
        let service = service.clone();
        let mut shutdown = shutdown.clone();
        spawn::spawn("rpc connection", async move {
            let _place = place;
            tokio::select! {
                () = shutdown.wait() => {}
                () = serve_connection(socket, service) => {}
            }
        });
    }
}

async fn serve_connection(socket: TcpStream, service: ClusterServer) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let framed = codec_framed(socket);
    let transport = tarpc::serde_transport::new(framed, Bincode::default());
    let config = tarpc::server::Config { pending_response_buffer: RPC_CALLS_PER_CONNECTION_MAX };
    let calls = BaseChannel::new(config, transport)
        .max_concurrent_requests(RPC_CALLS_PER_CONNECTION_MAX)
        .execute(service.serve());
    calls.for_each_concurrent(RPC_CALLS_PER_CONNECTION_MAX, |call| call).await;
}

type Framed = tarpc::tokio_util::codec::Framed<TcpStream, LengthDelimitedCodec>;

fn codec_framed(socket: TcpStream) -> Framed {
    tarpc::tokio_util::codec::Framed::new(socket, codec())
}

/// Connects to a node and asks who it is. `wanted` is the node that should be there, if the caller
/// knows.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::OtherCluster`], [`Error::OtherNode`], [`Error::Version`] and
/// [`Error::Malformed`].
pub async fn connect(
    address: &str,
    own: &Identity,
    wanted: Option<NodeId>,
) -> Result<(ClusterClient, Identity), Error> {
    let patience = Duration::from_millis(RPC_CONNECT_MS_MAX);
    match tokio::time::timeout(patience, connect_now(address, own)).await {
        Ok(connected) => {
            let (client, identity) = connected?;
            check(address, own, wanted, &identity)?;
            Ok((client, identity))
        }
        Err(_) => Err(Error::Unreachable {
            address: address.to_owned(),
            reason: format!("no answer within {RPC_CONNECT_MS_MAX} ms"),
        }),
    }
}

async fn connect_now(address: &str, own: &Identity) -> Result<(ClusterClient, Identity), Error> {
    let unreachable = |reason: String| Error::Unreachable { address: address.to_owned(), reason };
    let socket = TcpStream::connect(address).await.map_err(|e| unreachable(e.to_string()))?;
    socket.set_nodelay(true).map_err(|e| unreachable(e.to_string()))?;
    let transport = tarpc::serde_transport::new(codec_framed(socket), Bincode::default());
    let mut config = tarpc::client::Config::default();
    config.max_in_flight_requests = RPC_CALLS_PER_CONNECTION_MAX;
    config.pending_request_buffer = RPC_CALLS_PER_CONNECTION_MAX;
    let tarpc::client::NewClient { client, dispatch } = ClusterClient::new(config, transport);
    spawn::spawn("rpc dispatch", async move {
        if let Err(error) = dispatch.await {
            tracing::debug!(%error, "connection to a node ended");
        }
    });
    let hello = Payload::encode(&Hello { from: own.clone() });
    let answer = client
        .identify(tarpc::context::current(), hello)
        .await
        .map_err(|e| unreachable(e.to_string()))?;
    Ok((client, answer.decode()?))
}

fn check(
    address: &str,
    own: &Identity,
    wanted: Option<NodeId>,
    found: &Identity,
) -> Result<(), Error> {
    if found.cluster_id != own.cluster_id {
        return Err(Error::OtherCluster {
            address: address.to_owned(),
            theirs: found.cluster_id,
            ours: own.cluster_id,
        });
    }
    match wanted {
        Some(wanted) if wanted != found.node_id => {
            Err(Error::OtherNode { address: address.to_owned(), found: found.node_id, wanted })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::shutdown;
    use crate::types::{ClusterId, IncarnationId};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn identity(cluster: u8, node: i32) -> Identity {
        Identity {
            cluster_id: ClusterId([cluster; 16]),
            node_id: NodeId(node),
            incarnation: IncarnationId([9; 16]),
            version: "test".to_owned(),
        }
    }

    async fn node() -> (String, shutdown::Trigger) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        let (trigger, shutdown) = shutdown::channel();
        spawn::spawn("test", serve(listener, ClusterServer::new(identity(1, 1)), shutdown));
        (address, trigger)
    }

    #[tokio::test]
    async fn the_handshake_tells_clusters_and_nodes_apart() {
        let (address, _trigger) = node().await;
        let (_, found) =
            connect(&address, &identity(1, 2), Some(NodeId(1))).await.expect("the same cluster");
        assert_eq!(found, identity(1, 1));
        let other = connect(&address, &identity(2, 2), None).await.map(|_| ());
        assert!(matches!(other, Err(Error::OtherCluster { .. })), "{other:?}");
        let other = connect(&address, &identity(1, 2), Some(NodeId(3))).await.map(|_| ());
        assert!(matches!(other, Err(Error::OtherNode { .. })), "{other:?}");
    }

    #[tokio::test]
    async fn an_oversized_frame_closes_its_connection_alone() {
        let (address, _trigger) = node().await;
        let mut hostile = TcpStream::connect(&address).await.expect("connects");
        hostile.write_all(&u32::MAX.to_be_bytes()).await.expect("written");
        let mut rest = Vec::new();
        assert_eq!(hostile.read_to_end(&mut rest).await.unwrap_or(0), 0);
        connect(&address, &identity(1, 2), None).await.map(|_| ()).expect("others go on");
    }
}
