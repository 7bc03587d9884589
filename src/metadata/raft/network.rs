//! How members of the group reach each other: the calling side.
//!
//! What the payloads hold (docs/FORMAT.md): openraft's requests one way; [`SnapshotAnswer`] and
//! openraft's responses the other.
//!
//! The engine gives up on an append after one heartbeat, and asks again. An entry may be larger
//! than a heartbeat's time allows, or the other disk slower; so the call goes on here, and the same
//! question asked again gets the answer to the first. Else such an entry would be sent for ever.
//!
//! Must never: hand an answer to another request than the one it belongs to.

use super::super::peers::{Peers, RaftCall};
use super::super::wire;
use super::log_store::LogView;
use super::types::{LogId, Peer, TypeConfig, Vote, node_id};
use crate::env::clock::Clock;
use crate::env::spawn;
use crate::limits::{RAFT_APPEND_MS_MAX, RAFT_BACKOFF_MS, RAFT_OUTDONE_MS};
use crate::rpc::{self, Payload};
use crate::types::TimestampMs;
use openraft::error::{
    InstallSnapshotError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The answer to a piece of a snapshot.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SnapshotAnswer {
    /// It was taken; with the vote of the other side.
    Taken(InstallSnapshotResponse<u64>),
    /// It does not follow what came before: begin again.
    Mismatch(SnapshotMismatch),
}

/// Examples of what travels, for the test of its bytes.
#[cfg(test)]
pub(in crate::metadata) mod samples {
    use super::*;
    use openraft::CommittedLeaderId;

    pub(in crate::metadata) fn append() -> impl Serialize {
        let id = |index| LogId::new(CommittedLeaderId::new(5, 2), index);
        AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new_committed(5, 2),
            prev_log_id: Some(id(8)),
            entries: Vec::new(),
            leader_commit: Some(id(7)),
        }
    }

    pub(in crate::metadata) fn snapshot_answer() -> impl Serialize {
        SnapshotAnswer::Taken(InstallSnapshotResponse { vote: Vote::new_committed(5, 2) })
    }
}

/// What is known of other members from their calls and answers.
#[derive(Debug, Default)]
pub(in crate::metadata) struct Contacts {
    /// When members were last heard of, for people. Kept by the leader; the wall clock's time.
    heard: Mutex<BTreeMap<u64, Contact>>,
    /// Where members say that they are reached, in the handshakes of their own connections. A
    /// leader that lost its followers to new addresses finds them so: it can't commit those
    /// without them.
    ways: Mutex<BTreeMap<u64, Way>>,
    /// The end of the log for which another member refused its vote last, and when that was
    /// (monotonic milliseconds).
    outdone: Mutex<Option<(LogId, i64)>>,
}

/// Where a member says that it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    address: String,
    /// Whether to go there rather than where the membership says: that failed last.
    preferred: bool,
}

/// When one member was last heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::metadata) struct Contact {
    /// It last answered a call.
    pub(in crate::metadata) answered: TimestampMs,
    /// It last had everything that the leader had.
    pub(in crate::metadata) caught_up: Option<TimestampMs>,
}

impl Contacts {
    fn note(&self, member: u64, now: TimestampMs, caught_up: bool) {
        let mut contacts = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let contact = contacts.entry(member).or_insert(Contact { answered: now, caught_up: None });
        contact.answered = now;
        if caught_up {
            contact.caught_up = Some(now);
        }
    }

    /// When this member was last heard of.
    pub(in crate::metadata) fn of(&self, member: u64) -> Option<Contact> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&member).copied()
    }

    /// A member called, and says that it is reached there.
    pub(in crate::metadata) fn heard_from(&self, member: u64, address: &str) {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if ways.get(&member).is_none_or(|way| way.address != address) {
            ways.insert(member, Way { address: address.to_owned(), preferred: false });
        }
    }

    /// A member refused its vote, because its log is longer, with this end.
    fn outdone_by(&self, last: LogId, now_ms: i64) {
        *self.outdone.lock().unwrap_or_else(PoisonError::into_inner) = Some((last, now_ms));
    }

    /// Whether another member has more than `own_last`, as it said not long ago. Whoever stands
    /// for election all the same can't win, and keeps the other from it: with each term that it
    /// begins, the other's is too old.
    pub(in crate::metadata) fn is_outdone(&self, own_last: Option<LogId>, now_ms: i64) -> bool {
        let outdone = *self.outdone.lock().unwrap_or_else(PoisonError::into_inner);
        outdone.is_some_and(|(last, at_ms)| {
            Some(last) > own_last && now_ms.saturating_sub(at_ms) <= RAFT_OUTDONE_MS
        })
    }

    /// Where to try to reach a member that the membership has at `known`.
    fn address(&self, member: u64, known: &str) -> String {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let way = ways.get(&member).filter(|way| way.preferred);
        way.map_or_else(|| known.to_owned(), |way| way.address.clone())
    }

    /// The member was not reached where it was tried: the other way is next.
    fn missed(&self, member: u64) {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = ways.get_mut(&member) {
            way.preferred = !way.preferred;
        }
    }
}

/// Makes connections to other members.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) peers: Arc<dyn Peers>,
    pub(super) log: LogView,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) contacts: Arc<Contacts>,
}

/// The way to one member.
pub(super) struct Connection {
    target: u64,
    peer: Peer,
    network: Network,
    /// An append that the engine has given up on, or is about to.
    waiting: Option<Waiting>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("target", &self.target).finish_non_exhaustive()
    }
}

/// An append under way.
struct Waiting {
    vote: Vote,
    prev: Option<LogId>,
    last: LogId,
    answer: JoinHandle<Option<Result<Payload, rpc::Error>>>,
}

type CallError<E = openraft::error::Infallible> = RPCError<u64, Peer, RaftError<u64, E>>;
type Appended = AppendEntriesResponse<u64>;

/// The engine pauses only after `Unreachable`. After any other error it asks again at once, and
/// would spin when errors come quickly. What only takes long ends as the engine's own timeout.
fn call_error<E: std::error::Error>(error: &rpc::Error) -> CallError<E> {
    RPCError::Unreachable(Unreachable::new(error))
}

#[expect(clippy::result_large_err, reason = "the engine's own error type")]
fn decode<T: serde::de::DeserializeOwned, E: std::error::Error>(
    answer: Result<Payload, rpc::Error>,
) -> Result<T, CallError<E>> {
    answer.and_then(|payload| wire::unpack(&payload)).map_err(|error| call_error(&error))
}

impl Connection {
    fn call(&self, call: RaftCall, within: Duration) -> super::super::peers::Answer {
        let (contacts, target) = (Arc::clone(&self.network.contacts), self.target);
        let address = contacts.address(target, &self.peer.rpc);
        let answer = self.network.peers.raft(node_id(target), &address, call, within);
        Box::pin(async move {
            let answer = answer.await;
            if matches!(answer, Err(rpc::Error::Unreachable { .. })) {
                contacts.missed(target);
            }
            answer
        })
    }

    /// Sends entries, or waits on for the answer to the same ones. Gives the last of the entries
    /// that the answer is about.
    async fn send_entries(
        &mut self,
        rpc: &AppendEntriesRequest<TypeConfig>,
        last: LogId,
    ) -> Result<(Appended, LogId), CallError> {
        // More may have been appended since; what was sent first is still the beginning of it.
        let same = |waiting: &Waiting| {
            waiting.vote == rpc.vote && waiting.prev == rpc.prev_log_id && waiting.last <= last
        };
        if !self.waiting.as_ref().is_some_and(same) {
            if let Some(other) = self.waiting.take() {
                other.answer.abort();
            }
            let within = Duration::from_millis(RAFT_APPEND_MS_MAX);
            let answer = self.call(RaftCall::Append(wire::pack(rpc)), within);
            let answer = spawn::spawn("raft append", answer);
            let (vote, prev) = (rpc.vote, rpc.prev_log_id);
            self.waiting = Some(Waiting { vote, prev, last, answer });
        }
        let waiting = self.waiting.as_mut().expect("invariant: it was put there just now");
        let sent = waiting.last;
        // Should the engine give up during this wait, the call stays in `self.waiting`.
        let answer = (&mut waiting.answer).await;
        self.waiting = None;
        let lost = || rpc::Error::Unknown {
            address: self.peer.rpc.clone(),
            reason: "the call was dropped".to_owned(),
        };
        Ok((decode(answer.ok().flatten().unwrap_or_else(|| Err(lost())))?, sent))
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Connection {
        Connection { target, peer: node.clone(), network: self.clone(), waiting: None }
    }
}

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<Appended, CallError> {
        let own_last = self.network.log.last();
        let (answer, matched) = match rpc.entries.last().map(|entry| entry.log_id) {
            Some(last) => {
                let (answer, sent) = self.send_entries(&rpc, last).await?;
                match answer {
                    AppendEntriesResponse::Success if sent != last => {
                        (AppendEntriesResponse::PartialSuccess(Some(sent)), Some(sent))
                    }
                    answer => (answer, Some(sent)),
                }
            }
            None => {
                let call = RaftCall::Append(wire::pack(&rpc));
                (decode(self.call(call, option.hard_ttl()).await)?, rpc.prev_log_id)
            }
        };
        let caught_up = answer.is_success() && matched == own_last;
        self.network.contacts.note(self.target, self.network.clock.now(), caught_up);
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, CallError<InstallSnapshotError>> {
        let call = RaftCall::Snapshot(wire::pack(&rpc));
        let answer = decode(self.call(call, option.hard_ttl()).await)?;
        self.network.contacts.note(self.target, self.network.clock.now(), false);
        match answer {
            SnapshotAnswer::Taken(response) => Ok(response),
            SnapshotAnswer::Mismatch(mismatch) => {
                let source = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
                Err(RPCError::RemoteError(RemoteError::new(self.target, source)))
            }
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        let answer: VoteResponse<u64> =
            decode(self.call(RaftCall::Vote(wire::pack(&rpc)), option.hard_ttl()).await)?;
        if let Some(last) = answer.last_log_id
            && !answer.vote_granted
            && Some(last) > rpc.last_log_id
        {
            self.network.contacts.outdone_by(last, self.network.clock.monotonic_ms());
        }
        Ok(answer)
    }

    /// A killed process is often back within moments, and waits for its leader.
    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(Duration::from_millis(RAFT_BACKOFF_MS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::CommittedLeaderId;

    fn entry(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term, 1), index)
    }

    /// One with a shorter log kept beginning terms faster than the other could follow: two voters
    /// of three elected nobody for half a minute.
    #[test]
    fn who_was_refused_for_a_shorter_log_leaves_the_election_to_the_other_for_a_while() {
        let contacts = Contacts::default();
        assert!(!contacts.is_outdone(None, 0));
        contacts.outdone_by(entry(2, 9), 1_000);
        assert!(contacts.is_outdone(None, 1_000));
        assert!(contacts.is_outdone(Some(entry(2, 8)), 1_000 + RAFT_OUTDONE_MS));
        assert!(!contacts.is_outdone(Some(entry(2, 8)), 1_001 + RAFT_OUTDONE_MS), "the other died");
        assert!(!contacts.is_outdone(Some(entry(2, 9)), 1_001), "it has all of it by now");
        assert!(!contacts.is_outdone(Some(entry(3, 1)), 1_001));
    }
}
