//! How the rest of the node talks to the metadata group.

use super::Error;
use super::image::Image;
use super::state::{Command, Delta, Response};
use crate::types::NodeId;
use std::sync::Arc;

/// The metadata group, as seen from this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    // Filled in with the Raft shell.
    image: Arc<Image>,
}

/// How the metadata group is doing, for health checks and tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node_id: NodeId,
    /// Who leads the group, if known.
    pub controller: Option<NodeId>,
    /// Raft's term.
    pub term: u64,
    /// The nodes that vote.
    pub voters: Vec<NodeId>,
    /// The nodes that only follow.
    pub learners: Vec<NodeId>,
    /// Index of the last entry in the log here.
    pub last_log_index: Option<u64>,
    /// Index of the last entry applied here.
    pub last_applied_index: Option<u64>,
    /// Index that the newest snapshot reaches.
    pub snapshot_index: Option<u64>,
    /// Whether this node's part of the group still works; if not, why.
    pub failure: Option<String>,
}

/// Images as they come, with what changed since the last one taken. A reader that is slow gets
/// several changes merged into one delta, and misses nothing.
#[derive(Debug)]
pub struct Subscription {
    _private: (),
}

impl Subscription {
    /// Waits for the next change. The first call returns at once, with a delta that names
    /// everything there is. `None` when the metadata has been shut down.
    pub async fn next(&mut self) -> Option<(Arc<Image>, Delta)> {
        todo!()
    }
}

impl Handle {
    /// The newest applied metadata.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image)
    }

    /// Follows the changes.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        todo!()
    }

    /// Proposes a command and waits until it is committed and applied on this node, so that
    /// [`Self::image`] shows it.
    ///
    /// # Errors
    /// See [`Error`]: the command has certainly not been applied, or its fate is unknown.
    /// Refusals of single items are part of the response.
    pub async fn propose(&self, command: Command) -> Result<Response, Error> {
        let _ = command;
        todo!()
    }

    /// How the group is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        todo!()
    }

    /// Stops this node's part of the group, with everything written down for a fast start.
    ///
    /// # Errors
    /// When the state could not be written; the next start then rebuilds it.
    pub async fn shutdown(&self) -> Result<(), Error> {
        todo!()
    }
}
