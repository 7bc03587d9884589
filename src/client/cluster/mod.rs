//! The client's picture of the cluster: brokers, topics, leaders, and a connection to each.
//!
//! Starts from a bootstrap list, follows what metadata says, and goes back to the list when no
//! broker it knows can be reached (KIP-899).

mod metadata;
mod reach;

pub use metadata::{BrokerInfo, PartitionInfo, Snapshot, TopicInfo};

use super::connection::{Connection, ConnectionOptions};
use super::{Address, Error};
use crate::limits;
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use crate::protocol::{ErrorCode, Request, Str};
use crate::types::{LeaderEpoch, NodeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Settings that producer, consumer and admin share.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Where to begin.
    pub bootstrap: Vec<Address>,
    /// What brokers show in their logs and quotas.
    pub client_id: String,
    /// How long to look for any broker that answers.
    pub reach_timeout_ms: u64,
    /// For one connection.
    pub connect_timeout_ms: u64,
    /// For one request.
    pub request_timeout_ms: u64,
    /// Between two attempts at first; doubles up to ten times as much.
    pub retry_backoff_ms: u64,
    /// After this long metadata is asked for again without a reason.
    pub metadata_age_ms_max: u64,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            bootstrap: vec![Address::new("127.0.0.1", Address::PORT_DEFAULT)],
            client_id: "purlin".to_owned(),
            reach_timeout_ms: 3_000,
            connect_timeout_ms: 3_000,
            request_timeout_ms: 30_000,
            retry_backoff_ms: 100,
            metadata_age_ms_max: 300_000,
        }
    }
}

/// What a connection is for: a fetch that waits must not hold up a produce behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    Control,
    Produce,
    Fetch,
}

/// The shared picture. Hold it in an `Arc`; producer, consumer and admin may share one.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Snapshot,
    refreshed: Option<Instant>,
    slots: HashMap<(NodeId, Purpose), Arc<OnceCell<Connection>>>,
    /// Some connection that works, for what any broker can answer.
    any: Option<Connection>,
}

impl Cluster {
    /// Reaches some broker of the bootstrap list and learns who the others are.
    ///
    /// # Errors
    /// [`Error::Unreachable`] after `reach_timeout_ms`.
    pub async fn connect(options: ClusterOptions) -> Result<Arc<Self>, Error> {
        if options.bootstrap.is_empty() {
            return Err(Error::Settings("the bootstrap list is empty".to_owned()));
        }
        let cluster = Arc::new(Self { options, state: Mutex::default() });
        cluster.refresh(Some(&[])).await?;
        Ok(cluster)
    }

    /// The settings.
    #[must_use]
    pub fn options(&self) -> &ClusterOptions {
        &self.options
    }

    /// All that is known at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot.clone()
    }

    /// What is known of one topic, without asking.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Arc<TopicInfo>> {
        self.lock().snapshot.topics.get(name).cloned()
    }

    /// The leader of a partition and its epoch, as far as known.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> Option<(NodeId, LeaderEpoch)> {
        let info = self.topic(topic)?;
        let partition = info.partition(partition)?;
        Some((partition.leader?, partition.leader_epoch))
    }

    /// Takes a broker's word for who leads a partition by now (KIP-951). Gives whether there is
    /// somebody to go to by that, rather than by asking for metadata.
    pub(crate) fn learn_leader(
        &self,
        topic: &str,
        partition: i32,
        leader: (NodeId, LeaderEpoch),
        address: Option<Address>,
    ) -> bool {
        self.lock().snapshot.learn_leader(topic, partition, leader, address)
    }

    /// How long ago metadata was last read.
    #[must_use]
    pub(crate) fn is_stale(&self) -> bool {
        let age_max = Duration::from_millis(self.options.metadata_age_ms_max);
        self.lock().refreshed.is_none_or(|at| at.elapsed() > age_max)
    }

    /// Asks a broker for metadata: of these topics, or of all with `None`. An empty list asks
    /// for brokers alone.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Protocol`], [`Error::Unsupported`].
    pub async fn refresh(&self, topics: Option<&[&str]>) -> Result<(), Error> {
        self.request_metadata(topics, false).await.map(drop)
    }

    /// Metadata of one topic that must exist.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`] with the names that do exist; [`Error::Refused`]; those of
    /// [`Self::refresh`].
    pub async fn require_topic(&self, name: &str) -> Result<Arc<TopicInfo>, Error> {
        self.find_topic(name, false).await
    }

    /// Metadata of one topic, which the broker may create by its defaults.
    ///
    /// # Errors
    /// Those of [`Self::require_topic`]: also when the broker does not create topics by itself.
    pub async fn require_or_create_topic(&self, name: &str) -> Result<Arc<TopicInfo>, Error> {
        self.find_topic(name, true).await
    }

    async fn find_topic(&self, name: &str, create: bool) -> Result<Arc<TopicInfo>, Error> {
        // A topic that was created a moment ago may not be known to this broker yet; one that a
        // broker creates on demand is there only at a later question.
        let attempts = if create { 50 } else { 3 };
        let mut backoff = self.backoff();
        for _ in 0..attempts {
            let answer = self.request_metadata(Some(&[name]), create).await?;
            let topic = answer.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
            match topic.map(|topic| topic.error_code) {
                Some(ErrorCode::None) => {
                    if let Some(topic) = self.topic(name)
                        && !topic.partitions.is_empty()
                    {
                        return Ok(topic);
                    }
                }
                Some(code) if !code.is_retriable() => {
                    return Err(Error::refused(format!("topic '{name}'"), code, None));
                }
                _ => {}
            }
            backoff.wait().await;
        }
        self.refresh(None).await?;
        let known = self.lock().snapshot.topics.keys().cloned().collect();
        Err(Error::UnknownTopic { topic: name.to_owned(), known })
    }

    async fn request_metadata(
        &self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<MetadataResponse, Error> {
        let request = MetadataRequest {
            topics: topics.map(|names| {
                let entry = |name: &&str| MetadataRequestTopic {
                    name: Some(Str::from(*name)),
                    ..MetadataRequestTopic::default()
                };
                names.iter().map(entry).collect()
            }),
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        let answer = self.ask_any(&request).await?;
        let mut state = self.lock();
        state.snapshot.absorb(&answer, topics);
        state.refreshed = Some(Instant::now());
        Ok(answer)
    }

    /// Asks any broker a question that may be repeated, until one answers or time is up.
    ///
    /// # Errors
    /// [`Error::Unreachable`], and what asking again cannot help.
    pub async fn ask_any<R: Request>(&self, request: &R) -> Result<R::Response, Error> {
        let mut last = None;
        for _ in 0..3 {
            let connection = self.any_connection().await?;
            match connection.call(request).await {
                Err(error) if error.is_retriable() => {
                    self.forget(&connection);
                    last = Some(error);
                }
                answer => return answer,
            }
        }
        Err(last.unwrap_or(Error::Closed))
    }

    /// A connection to the controller, or to any broker when no controller is known.
    ///
    /// # Errors
    /// Those of opening a connection.
    pub async fn controller(&self) -> Result<Connection, Error> {
        let controller = self.lock().snapshot.controller;
        match controller {
            Some(node) => self.connection(node, Purpose::Control).await,
            None => self.any_connection().await,
        }
    }

    /// A connection to one broker, opened when there is none.
    ///
    /// # Errors
    /// Those of [`Connection::open`]; [`Error::Closed`] when the broker is not in the metadata.
    pub async fn broker(&self, node: NodeId) -> Result<Connection, Error> {
        self.connection(node, Purpose::Control).await
    }

    pub(crate) async fn connection(
        &self,
        node: NodeId,
        purpose: Purpose,
    ) -> Result<Connection, Error> {
        let (cell, address) = {
            let mut state = self.lock();
            let Some(address) = state.snapshot.brokers.get(&node).map(|b| b.address.clone()) else {
                return Err(Error::Refused {
                    what: format!("broker {node}"),
                    code: ErrorCode::BrokerNotAvailable,
                    message: Some("it is not in the cluster's metadata".to_owned()),
                });
            };
            let cell = state.slots.entry((node, purpose)).or_default();
            // A broker that came back may have another address.
            if cell.get().is_some_and(|open| open.is_closed() || *open.address() != address) {
                *cell = Arc::default();
            }
            (cell.clone(), address)
        };
        let options = self.connection_options();
        cell.get_or_try_init(|| Connection::open(&address, &options)).await.cloned()
    }

    /// An open connection to a broker, if there is one at this moment.
    pub(crate) fn open_connection(&self, node: NodeId, purpose: Purpose) -> Option<Connection> {
        let state = self.lock();
        let connection = state.slots.get(&(node, purpose))?.get()?;
        (!connection.is_closed()).then(|| connection.clone())
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.options.retry_backoff_ms)
    }

    fn connection_options(&self) -> ConnectionOptions {
        ConnectionOptions {
            client_id: self.options.client_id.clone(),
            connect_timeout_ms: self.options.connect_timeout_ms,
            request_timeout_ms: self.options.request_timeout_ms,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("invariant: nothing panics under this lock")
    }
}

/// Waits that double, up to ten times the first.
#[derive(Debug)]
pub(crate) struct Backoff {
    next_ms: u64,
    ms_max: u64,
    pub(crate) attempts: u32,
}

impl Backoff {
    pub(crate) fn new(first_ms: u64) -> Self {
        Self { next_ms: first_ms, ms_max: first_ms.saturating_mul(10), attempts: 0 }
    }

    /// The next wait.
    pub(crate) fn step(&mut self) -> Duration {
        let wait = Duration::from_millis(self.next_ms);
        self.next_ms = self.next_ms.saturating_mul(2).min(self.ms_max);
        self.attempts = self.attempts.saturating_add(1).min(limits::CLIENT_RETRIES_MAX);
        wait
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.step()).await;
    }
}
