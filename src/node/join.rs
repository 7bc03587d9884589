//! Asking a cluster to be let in.

use super::Error;
use super::data_dir::DataDir;
use crate::config::HostPort;
use crate::limits::JOIN_MS_MAX;
use crate::metadata::{self, Admission, Admitted};
use crate::rpc;
use crate::types::{IncarnationId, NodeId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two rounds over the seeds.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one seed may take over its answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What a joiner has to say for itself.
pub(super) struct Joiner<'a> {
    pub(super) incarnation: IncarnationId,
    /// Where other nodes reach this one, as `host:port`.
    pub(super) rpc: &'a str,
    /// The id that it would like to have.
    pub(super) wanted: Option<NodeId>,
}

/// What came of asking one seed.
enum Asked {
    Admitted(Admitted),
    /// Asking again, there or elsewhere, may help.
    NotNow(String),
    /// No other answer is to be expected.
    Never(Error),
}

/// Asks the seeds, over and over for a while, until the cluster has let the directory in; then
/// writes down as what. Asking again for a directory that was let in before changes nothing, but
/// for the address that other nodes reach it at.
pub(super) async fn ask_in(dir: &mut DataDir, joiner: &Joiner<'_>) -> Result<(), Error> {
    let joining = dir.joining().expect("invariant: only a joining node asks to be let in").clone();
    let known = dir.has_identity().then(|| dir.identity().clone());
    let admission = Admission {
        directory: joining.directory_id,
        wanted: known.as_ref().map(|known| known.node_id).or(joiner.wanted),
        rpc: joiner.rpc.to_owned(),
    };
    let begun = Instant::now();
    let mut tried: BTreeMap<String, String> = BTreeMap::new();
    loop {
        for seed in &joining.seeds {
            match ask(seed, joiner, &admission).await {
                Asked::Admitted(admitted) => {
                    if let Some(known) = &known {
                        // Half a join is with a cluster already; these seeds are another's.
                        if known.cluster_id != admitted.cluster_id {
                            return Err(Error::OtherClusterSeed {
                                dir: dir.root().to_owned(),
                                seed: seed.to_string(),
                                ours: known.cluster_id,
                                theirs: admitted.cluster_id,
                            });
                        }
                    }
                    dir.admitted(admitted.node_id, admitted.cluster_id)?;
                    tracing::info!(
                        node = %admitted.node_id, cluster = %admitted.cluster_id, %seed,
                        "admitted to the cluster"
                    );
                    return Ok(());
                }
                Asked::NotNow(reason) => {
                    if tried.insert(seed.to_string(), reason.clone()).is_none() {
                        tracing::info!(%seed, reason, "the seed does not let this node in yet");
                    }
                }
                Asked::Never(error) => return Err(error),
            }
        }
        if begun.elapsed() >= Duration::from_millis(JOIN_MS_MAX) {
            let tried: Vec<String> =
                tried.into_iter().map(|(seed, reason)| format!("{seed}: {reason}")).collect();
            return Err(Error::NoSeedAnswers {
                tried: tried.join("; "),
                waited_s: begun.elapsed().as_secs(),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The refusal for a seed of a release that this one cannot talk to.
pub(super) fn other_protocol(error: &rpc::Error, ours_is_older: bool) -> Error {
    let advice = if ours_is_older {
        "upgrade purlin on this machine to the release of that node"
    } else {
        "upgrade that node and the rest of its cluster first, or use their release here"
    };
    Error::OtherProtocol { cause: error.to_string(), advice }
}

async fn ask(seed: &HostPort, joiner: &Joiner<'_>, admission: &Admission) -> Asked {
    let call = metadata::admission_call(admission);
    let address = seed.to_string();
    let answer = rpc::admit(&address, joiner.incarnation, joiner.rpc, call, ANSWER).await;
    let (_, payload) = match answer {
        Ok(answer) => answer,
        Err(error @ rpc::Error::NotANode { .. }) => {
            return Asked::Never(Error::BadSeed(error.to_string()));
        }
        Err(error @ rpc::Error::ProtocolVersion { ours_is_older, .. }) => {
            return Asked::Never(other_protocol(&error, ours_is_older));
        }
        // The answer's version is newer than what this release knows.
        Err(error @ rpc::Error::Version { .. }) => {
            return Asked::Never(other_protocol(&error, true));
        }
        Err(rpc::Error::Refused { reason, .. }) => {
            return Asked::Never(Error::NotAdmitted { seed: address, reason });
        }
        Err(error) => return Asked::NotNow(error.to_string()),
    };
    match metadata::admission_answer(&payload) {
        Ok(Ok(admitted)) => Asked::Admitted(admitted),
        Ok(Err(refusal)) => {
            Asked::Never(Error::NotAdmitted { seed: address, reason: refusal.message })
        }
        Err(error) => Asked::NotNow(error.to_string()),
    }
}
