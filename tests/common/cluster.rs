//! Several nodes of one cluster, each a process of its own, and what they say of themselves.

use super::direct::Direct;
use super::shell::run;
use super::{Node, Place, Ready, purlin, scratch, try_http_get};
use purlin::protocol::ErrorCode;
use purlin::protocol::messages::elect_leaders::ElectLeadersRequest;
use purlin::protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long an administrative answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A cluster to be started.
pub struct Plan {
    /// Where each node runs; the first one begins the cluster.
    pub places: Vec<Place>,
    /// Arguments of every node.
    pub extra: Vec<String>,
}

/// The nodes. Dropping it kills the processes and, unless a test is failing, removes their data.
pub struct Cluster {
    nodes: Vec<Node>,
    scratch: Option<tempfile::TempDir>,
}

/// One partition as a node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// The leader's node id; none while there is none.
    pub leader: Option<i32>,
    /// The replicas' node ids.
    pub replicas: Vec<i32>,
    /// The in-sync replicas' node ids, in ascending order.
    pub isr: Vec<i32>,
}

/// Partitions by topic and number.
pub type View = BTreeMap<(String, i32), PartitionView>;

impl Cluster {
    /// `node init` and as many `node join` as it takes, on the loopback.
    pub fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[])
    }

    /// As [`Self::start`], with arguments that each node gets.
    pub fn start_with(nodes: usize, extra: &[&str]) -> Self {
        let scratch = scratch("cluster-");
        let place = |n| Place::loopback(&scratch.path().join(format!("node-{n}")));
        let plan = Plan {
            places: (1..=nodes).map(place).collect(),
            extra: extra.iter().map(|word| (*word).to_owned()).collect(),
        };
        let mut cluster = Self::start_plan(plan);
        cluster.scratch = Some(scratch);
        cluster
    }

    /// Starts what the plan says, one node after the other.
    pub fn start_plan(plan: Plan) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for place in plan.places {
            let node = match nodes.first() {
                None => Node::start_at(place, &["init"], plan.extra.clone()),
                Some(first) => {
                    let seed = first.ready().rpc.clone();
                    Node::start_at(place, &["join", "--seed", &seed], plan.extra.clone())
                }
            };
            nodes.push(node);
        }
        let cluster = Self { nodes, scratch: None };
        cluster.wait_for_voters();
        cluster
    }

    /// Three nodes outlive the loss of one as soon as three of them vote, which is a little after
    /// they are ready; until then the metadata hang on the first node alone.
    fn wait_for_voters(&self) {
        let voters = |node: &Node| metric(&node.ready().admin, "purlin_metadata_voters");
        let started = Instant::now();
        while self.nodes.len() >= 3 && !self.nodes.iter().all(|node| voters(node) >= Some(3)) {
            assert!(started.elapsed() < ANSWER_LIMIT, "three nodes do not vote\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
        if self.nodes.len() >= 3 {
            // The count has both sets while one gives way to the other, which takes a round trip.
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// These nodes, which somebody else has brought together.
    pub fn of(nodes: Vec<Node>) -> Self {
        Self { nodes, scratch: None }
    }

    /// The nodes, in the order of the plan.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes, to be killed and started.
    pub fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// The node with an id.
    pub fn node(&mut self, id: i32) -> &mut Node {
        let place = self.position(id);
        &mut self.nodes[place]
    }

    /// The node ids, in the order of the plan.
    pub fn ids(&self) -> Vec<i32> {
        self.nodes.iter().map(|node| id_of(node.ready())).collect()
    }

    fn position(&self, id: i32) -> usize {
        self.ids().iter().position(|found| *found == id).expect("a node of this cluster")
    }

    /// `HOST:PORT,…` of all nodes, for clients.
    pub fn bootstrap(&self) -> String {
        let all: Vec<&str> = self.nodes.iter().map(Node::bootstrap).collect();
        all.join(",")
    }

    /// Ids and client addresses of all nodes.
    pub fn clients(&self) -> Vec<(i32, String)> {
        let one = |node: &Node| (id_of(node.ready()), node.bootstrap().to_owned());
        self.nodes.iter().map(one).collect()
    }

    /// Fails unless every process still runs.
    pub fn assert_alive(&mut self) {
        self.nodes.iter_mut().for_each(Node::assert_alive);
    }

    /// Starts stopped nodes again, all at the same time: they may need each other to become ready.
    pub fn restart_all(&mut self) {
        std::thread::scope(|scope| {
            for node in &mut self.nodes {
                scope.spawn(move || node.restart());
            }
        });
    }

    /// Starts the stopped node with this id again.
    pub fn restart(&mut self, id: i32) {
        self.node(id).restart();
    }

    /// The node that says that it is the controller; none while nobody does, or when the one that
    /// does cannot be asked.
    pub fn controller(&self) -> Option<i32> {
        let is_controller =
            |node: &&Node| metric(&node.ready().admin, "purlin_metadata_is_controller") == Some(1);
        self.nodes.iter().find(is_controller).map(|node| id_of(node.ready()))
    }

    /// The client addresses of all nodes but these.
    pub fn bootstrap_without(&self, ids: &[i32]) -> String {
        let others = self.clients().into_iter().filter(|(id, _)| !ids.contains(id));
        others.map(|(_, address)| address).collect::<Vec<_>>().join(",")
    }

    /// What the answering node knows of all topics that are not internal.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn view(&self) -> Result<View, String> {
        Viewer::of(&self.bootstrap()).look()
    }

    /// Waits until `done` says yes to what the cluster shows. Gives the time it took.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        done: impl Fn(&View) -> bool,
    ) -> Duration {
        self.wait_until_at(&self.bootstrap(), what, limit, done)
    }

    /// As [`Self::wait_until`], asking the nodes at these addresses only. (librdkafka would not do:
    /// it learns of all nodes and asks any of them, also one that can't know.)
    pub fn wait_until_at(
        &self,
        bootstrap: &str,
        what: &str,
        limit: Duration,
        done: impl Fn(&View) -> bool,
    ) -> Duration {
        let started = Instant::now();
        let mut viewer = Viewer::of(bootstrap);
        let mut last = Err("nobody asked".to_owned());
        while started.elapsed() < limit {
            last = viewer.look();
            if last.as_ref().is_ok_and(&done) {
                return started.elapsed();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("not within {} s: {what}; last seen: {last:?}\n{}", limit.as_secs(), self.logs());
    }

    /// Waits until every partition has a leader and all its replicas in the ISR.
    pub fn wait_in_sync(&self, limit: Duration) -> Duration {
        self.wait_until("every replica in sync", limit, |view| {
            !view.is_empty() && view.values().all(PartitionView::is_whole)
        })
    }

    /// Makes a topic and waits until every replica of it is in sync.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replicas: i32,
        configs: &[(&str, &str)],
    ) {
        let client = quiet_admin(&self.bootstrap());
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in configs {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
        let results = block_on(client.create_topics([&topic], &options)).expect("an answer");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}\n{}", self.logs()));
        }
        self.wait_until(&format!("topic {name} whole"), Duration::from_secs(60), |view| {
            let mine = view.iter().filter(|((topic, _), _)| topic == name);
            let whole = mine.filter(|(_, partition)| {
                partition.is_whole() && partition.replicas.len() == replicas.unsigned_abs() as usize
            });
            whole.count() == partitions.unsigned_abs() as usize
        });
    }

    /// Moves every leadership to the first replica of its partition, and waits until it is there.
    pub fn elect_preferred(&self, limit: Duration) {
        let request = ElectLeadersRequest { timeout_ms: 10_000, ..Default::default() };
        let started = Instant::now();
        while started.elapsed() < limit {
            let asked = Direct::connect(self.nodes[0].bootstrap(), ANSWER_LIMIT)
                .and_then(|mut node| node.call(&request, 2));
            if asked.is_ok_and(|answer| answer.error_code == ErrorCode::None) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.wait_until("the first replicas lead", limit, |view| {
            let first = |one: &PartitionView| one.leader == one.replicas.first().copied();
            view.values().all(first)
        });
    }

    /// Runs `purlin WORDS… -b BOOTSTRAP` to its end and gives its standard output.
    ///
    /// # Errors
    /// When it fails; the text has what it said.
    pub fn command(&self, words: &[&str]) -> Result<String, String> {
        let mut command = purlin();
        command.args(words).args(["-b", &self.bootstrap()]);
        let output = run(&mut command, ANSWER_LIMIT)?;
        if output.success { Ok(output.text()) } else { Err(format!("{words:?}: {}", output.all())) }
    }

    /// The ends of all nodes' logs.
    pub fn logs(&self) -> String {
        let one = |node: &Node| format!("-- node {}\n{}\n", node.ready().node, node.log());
        self.nodes.iter().map(one).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() && self.nodes.len() > 1 {
            for words in [&["cluster", "health"][..], &["node", "list"], &["topic", "list"]] {
                let said = self.command(words).unwrap_or_else(|error| error);
                eprintln!("purlin {}:\n{said}", words.join(" "));
            }
        }
        if let Some(scratch) = self.scratch.take().filter(|_| std::thread::panicking()) {
            eprintln!("the nodes' data is kept in {}", scratch.keep().display());
        }
    }
}

impl PartitionView {
    /// Whether it has a leader, and each replica is in sync.
    pub fn is_whole(&self) -> bool {
        self.leader.is_some() && self.isr.len() == self.replicas.len()
    }
}

/// The node id in a ready line.
pub fn id_of(ready: &Ready) -> i32 {
    ready.node.parse().expect("a node id is a number")
}

/// A number that a node shows on its admin port; none when it does not answer or has no such line.
pub fn metric(admin: &str, name: &str) -> Option<i64> {
    let (_, text) = try_http_get(admin, "/metrics").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

/// A librdkafka client for administration that tells nobody of refused connections.
pub fn quiet_admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("log_level", "0");
    config.set("reconnect.backoff.max.ms", "200").set("socket.timeout.ms", "3000");
    config.create().expect("an admin client")
}

/// Runs a future of a client to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// Asks nodes what they know of topics: always the same one for as long as it answers.
struct Viewer {
    addresses: Vec<String>,
    /// The place of the node that is asked.
    current: usize,
    connection: Option<Direct>,
}

impl Viewer {
    /// For the nodes at these addresses, separated by commas.
    fn of(bootstrap: &str) -> Self {
        let addresses = bootstrap.split(',').map(str::to_owned).collect();
        Self { addresses, current: 0, connection: None }
    }

    /// All topics that are not internal, as the first node that answers knows them.
    ///
    /// # Errors
    /// When nobody answers.
    fn look(&mut self) -> Result<View, String> {
        let mut last = String::new();
        for _ in 0..self.addresses.len() {
            match self.ask() {
                Ok(answer) => return Ok(view_in(&answer)),
                Err(error) => last = error.to_string(),
            }
            self.connection = None;
            self.current = (self.current + 1) % self.addresses.len();
        }
        Err(last)
    }

    fn ask(&mut self) -> std::io::Result<MetadataResponse> {
        let connection = match &mut self.connection {
            Some(open) => open,
            closed => {
                let address = &self.addresses[self.current];
                closed.insert(Direct::connect(address, Duration::from_secs(3))?)
            }
        };
        connection.call(&MetadataRequest::default(), 12)
    }
}

fn view_in(answer: &MetadataResponse) -> View {
    let mut view = View::new();
    for topic in answer.topics.iter().filter(|topic| !topic.is_internal) {
        let name = topic.name.as_ref().expect("a topic has a name").to_string();
        for partition in &topic.partitions {
            let mut isr: Vec<i32> = partition.isr_nodes.iter().map(|node| node.0).collect();
            isr.sort_unstable();
            let leader = Some(partition.leader_id.0).filter(|leader| *leader >= 0);
            let replicas = partition.replica_nodes.iter().map(|node| node.0).collect();
            let shown = PartitionView { leader, replicas, isr };
            view.insert((name.clone(), partition.partition_index.0), shown);
        }
    }
    view
}
