//! A network of a test's own: a namespace for each node, tied together by a bridge, and packets that
//! are dropped between nodes, one way if need be.
//!
//! The test itself runs again inside new namespaces (network, mounts, processes), so that nothing
//! outside is touched, and whatever becomes of the test, the kernel clears all away with its last
//! process. Needs root, `ip`, `nft` and `unshare`; what is missing is installed where that is
//! possible, and named where it is not.

use super::shell::run_well;
use super::{Place, tools};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Set inside the namespaces.
const INSIDE: &str = "PURLIN_TEST_NETWORK";

/// How long one `ip` or `nft` may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the test `name` of this binary in namespaces of its own: `body` there, and only the start
/// of that here.
///
/// # Panics
/// When root or a program is missing, or when the test fails inside.
pub fn in_own_network(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    assert!(
        rustix::process::getuid().is_root(),
        "network namespaces need root: run this test as root (`sudo -E cargo test …`)"
    );
    for (program, package) in [("ip", "iproute2"), ("nft", "nftables"), ("unshare", "util-linux")] {
        tools::program(program, package).unwrap_or_else(|error| panic!("{error}"));
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().expect("this binary"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .status()
        .expect("`unshare` starts");
    assert!(status.success(), "{name} failed inside its namespaces ({status}); see above");
}

/// The namespaces of the nodes `1..=count`, which the test reaches over the bridge.
pub struct Network {
    count: usize,
}

fn do_it(program: &str, words: &str) {
    let mut command = Command::new(program);
    command.args(words.split(' '));
    run_well(&mut command, LIMIT).unwrap_or_else(|error| panic!("{error}"));
}

fn ip(words: &str) {
    do_it("ip", words);
}

fn address(node: usize) -> String {
    format!("10.77.0.{node}")
}

impl Network {
    /// Makes the bridge and the namespaces, each with an empty list of packets to drop.
    pub fn new(count: usize) -> Self {
        // `ip netns` keeps its names here, and the machine has names of its own.
        do_it("mount", "-t tmpfs none /run");
        ip("link set lo up");
        ip("link add hub type bridge");
        ip("addr add 10.77.0.254/24 dev hub");
        ip("link set hub up");
        let network = Self { count };
        for node in 1..=count {
            ip(&format!("netns add n{node}"));
            ip(&format!("link add v{node} type veth peer name eth0 netns n{node}"));
            ip(&format!("link set v{node} master hub up"));
            ip(&format!("-n n{node} addr add {}/24 dev eth0", address(node)));
            ip(&format!("-n n{node} link set eth0 up"));
            ip(&format!("-n n{node} link set lo up"));
            network.nft(node, "add table inet faults");
            network.nft(node, "add chain inet faults in { type filter hook input priority 0 ; }");
        }
        network
    }

    fn nft(&self, node: usize, words: &str) {
        ip(&format!("netns exec n{node} nft {words}"));
    }

    /// Where a node runs, with this data directory.
    pub fn place(&self, node: usize, data: &Path) -> Place {
        let name = format!("n{node}");
        let within = ["ip", "netns", "exec", &name].map(str::to_owned).to_vec();
        Place { data: data.to_owned(), ip: address(node), within }
    }

    /// From now on no packet of `from` reaches `to`. The other way stays as it is.
    pub fn drop_packets(&self, from: usize, to: usize) {
        assert!(from != to && from.max(to) <= self.count, "two nodes of this network");
        self.nft(to, &format!("add rule inet faults in ip saddr {} drop", address(from)));
    }

    /// No packet between the two, either way.
    pub fn cut(&self, one: usize, other: usize) {
        self.drop_packets(one, other);
        self.drop_packets(other, one);
    }

    /// From now on no packet of the test reaches the node.
    pub fn drop_packets_of_test(&self, to: usize) {
        self.nft(to, &format!("add rule inet faults in ip saddr {} drop", address(254)));
    }

    /// Every packet passes again.
    pub fn heal(&self) {
        for node in 1..=self.count {
            self.nft(node, "flush chain inet faults in");
        }
    }
}
