//! The configs that decide about replicas: all nodes must read the same value from them.
//!
//! Who is eligible to lead is worked out by the group with `min.insync.replicas`, and
//! acknowledgements are counted by the leader with it. Were the two to differ, a record could be
//! acknowledged that an eligible replica lacks. So these configs are set for a topic, or for the
//! whole cluster, never for one broker (KIP-966), and settings of a process do not count.

use super::super::model::ConfigMap;

/// These configs, in broker and topic scope alike.
pub(super) const SHARED: &[&str] = &[MIN_ISR, UNCLEAN, WRITE_CACHING];

pub(super) const MIN_ISR: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";
const WRITE_CACHING: &str = "write.caching";

/// Their values for one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedConfig {
    /// `min.insync.replicas`, where it is set anywhere; else it follows the number of replicas.
    pub insync_replicas_min: Option<i32>,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election: bool,
    /// `write.caching`
    pub write_caching: bool,
}

impl SharedConfig {
    /// The values, given what is set for the topic and for all brokers.
    #[must_use]
    pub fn of(topic: Option<&ConfigMap>, broker_default: Option<&ConfigMap>) -> Self {
        let get = |name: &str| {
            let own = topic.and_then(|map| map.get(name));
            own.or_else(|| broker_default.and_then(|map| map.get(name)))
        };
        let flag = |name| get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        Self {
            // What is stored was checked.
            insync_replicas_min: get(MIN_ISR).and_then(|value| value.trim().parse().ok()),
            unclean_leader_election: flag(UNCLEAN),
            write_caching: flag(WRITE_CACHING),
        }
    }
}
