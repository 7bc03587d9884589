//! Before a cluster is founded: looking whether there is one already.
//!
//! A first machine that lost its disk and is started as at its first start would found a second
//! cluster at an address that clients know, while the other nodes belong to the first one.
//!
//! Must never: take silence for a cluster. At a true first start nobody answers.

use super::Error;
use super::join::other_protocol;
use crate::config::{HostPort, NodeConfig};
use crate::limits::FOUNDING_ANSWER_MS_MAX;
use crate::rpc;
use futures::future::join_all;
use std::time::Duration;

/// Asks the seeds, all at the same time, who they are.
///
/// # Errors
/// When one of them is a member of a cluster, or no node at all: that one could never warn.
pub(super) async fn refuse_if_there_is_a_cluster(config: &NodeConfig) -> Result<(), Error> {
    let answers = join_all(config.seeds.iter().map(|seed| look(seed, config))).await;
    answers.into_iter().collect()
}

async fn look(seed: &HostPort, config: &NodeConfig) -> Result<(), Error> {
    let address = seed.to_string();
    let patience = Duration::from_millis(FOUNDING_ANSWER_MS_MAX);
    match tokio::time::timeout(patience, rpc::identify(&address)).await {
        Ok(Ok(identity)) => Err(Error::ClusterExists {
            seed: address,
            cluster_id: identity.cluster_id,
            dir: config.data_dir.clone(),
        }),
        Ok(Err(error @ rpc::Error::NotANode { .. })) => Err(Error::BadSeed(error.to_string())),
        // A node that speaks another protocol is in a cluster, too.
        Ok(Err(error @ rpc::Error::ProtocolVersion { ours_is_older, .. })) => {
            Err(other_protocol(&error, ours_is_older))
        }
        Ok(Err(error)) => {
            tracing::info!(%seed, %error, "no cluster was found there");
            Ok(())
        }
        Err(_) => {
            tracing::info!(%seed, "no cluster was found there: no answer in time");
            Ok(())
        }
    }
}
