//! The numbers that `/metrics` shows, in Prometheus's text format.
//!
//! Base units, low cardinality: what exists per partition is summed per topic.

use super::admin::Vitals;
use crate::env::disk::{Disk as _, OpenMode, RealDisk};
use crate::env::spawn;
use crate::kafka;
use crate::types::NodeId;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::path::Path;

/// Collects samples and writes them as text.
#[derive(Debug, Default)]
struct Exposition(String);

impl Exposition {
    /// Begins a metric. Its samples follow.
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        if !labels.is_empty() {
            let pairs: Vec<String> = labels
                .iter()
                .map(|(label, text)| {
                    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                    format!("{label}=\"{text}\"")
                })
                .collect();
            let _ = write!(self.0, "{{{}}}", pairs.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.begin(name, "gauge", help);
        self.sample(name, &[], value);
    }
}

/// Everything, as text.
pub(super) fn render(vitals: &Vitals) -> String {
    let mut out = Exposition::default();
    process(&mut out, vitals);
    clients(&mut out, &vitals.kafka);
    partitions(&mut out, vitals);
    replication(&mut out, vitals);
    metadata(&mut out, vitals);
    out.0
}

fn process(out: &mut Exposition, vitals: &Vitals) {
    out.begin("purlin_build_info", "gauge", "The release that runs.");
    out.sample("purlin_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.gauge("purlin_ready", "Whether the node serves clients.", u8::from(vitals.is_ready()));
    let uptime = vitals.started.elapsed().as_secs_f64();
    out.gauge("purlin_uptime_seconds", "Time since the start of the process.", uptime);
    out.counter(
        "purlin_panics_caught_total",
        "Panics that ended a task. Anything above zero is a bug.",
        spawn::panics_caught(),
    );
    if let Some(bytes) = resident_bytes() {
        out.gauge("process_resident_memory_bytes", "Resident memory of the process.", bytes);
    }
}

fn clients(out: &mut Exposition, kafka: &kafka::Metrics) {
    let get = kafka::Metrics::get;
    out.gauge(
        "purlin_kafka_connections",
        "Client connections that are open.",
        get(&kafka.connections_open),
    );
    out.counter(
        "purlin_kafka_connections_refused_total",
        "Client connections refused because a cap was reached.",
        get(&kafka.connections_refused),
    );
    out.counter("purlin_kafka_requests_total", "Requests handled.", get(&kafka.requests));
    out.counter(
        "purlin_kafka_requests_rejected_total",
        "Connections closed because a request made no sense.",
        get(&kafka.requests_rejected),
    );
    out.counter(
        "purlin_kafka_produce_bytes_total",
        "Bytes of record batches taken in.",
        get(&kafka.produce_bytes),
    );
    out.counter(
        "purlin_kafka_fetch_bytes_total",
        "Bytes of record batches handed out.",
        get(&kafka.fetch_bytes),
    );
    out.gauge(
        "purlin_kafka_fetch_sessions",
        "Fetch sessions that are remembered.",
        get(&kafka.fetch_sessions),
    );
}

fn partitions(out: &mut Exposition, vitals: &Vitals) {
    let all = vitals.reconciler.table.all();
    let count = |what: &dyn Fn(&crate::partition::Partition) -> bool| {
        all.iter().filter(|partition| what(partition)).count()
    };
    out.gauge("purlin_partitions", "Partition replicas on this node.", all.len());
    out.gauge(
        "purlin_partitions_led",
        "Partitions that this node leads.",
        count(&|partition| partition.is_leader()),
    );
    out.gauge(
        "purlin_partitions_under_replicated",
        "Led partitions with fewer in-sync replicas than replicas.",
        count(&|partition| partition.is_under_replicated()),
    );
    let failed = vitals.reconciler.failed_count() + count(&|p| p.failure().is_some());
    out.gauge(
        "purlin_partitions_failed",
        "Partition replicas that are stopped because their storage failed.",
        failed,
    );
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for partition in &all {
        let topic = partition.topic_partition().topic.to_string();
        *sizes.entry(topic).or_default() += partition.size_bytes();
    }
    out.begin("purlin_log_size_bytes", "gauge", "Bytes of segment files on this node, by topic.");
    for (topic, bytes) in &sizes {
        out.sample("purlin_log_size_bytes", &[("topic", topic)], bytes);
    }
}

/// What this node is to its cluster, and how far its copies are.
fn replication(out: &mut Exposition, vitals: &Vitals) {
    let standing = vitals.broker.standing().borrow().clone();
    out.gauge(
        "purlin_broker_fenced",
        "Whether the controller keeps this node from leading.",
        u8::from(!standing.unfenced),
    );
    out.gauge("purlin_broker_epoch", "The registration of this node.", vitals.broker.epoch().0);
    let counts = &vitals.reconciler.petitions.counts;
    out.counter(
        "purlin_isr_shrinks_total",
        "ISRs that this node, as leader, made smaller.",
        counts.isr_shrinks.get(),
    );
    out.counter(
        "purlin_isr_expands_total",
        "ISRs that this node, as leader, made larger.",
        counts.isr_expands.get(),
    );
    out.counter(
        "purlin_isr_refused_total",
        "ISR changes that the controller refused.",
        counts.isr_refused.get(),
    );
    out.counter(
        "purlin_leader_elections_total",
        "Leaderships of partitions that began on this node.",
        counts.leaderships.get(),
    );
    let image = vitals.metadata.image();
    let offline = image.topics().flat_map(|topic| topic.partitions());
    let offline = offline.filter(|(_, partition)| partition.leader.is_none()).count();
    out.gauge("purlin_partitions_offline", "Partitions of the cluster without a leader.", offline);
    let mut lags: BTreeMap<NodeId, i64> = BTreeMap::new();
    for partition in vitals.reconciler.table.all() {
        for (follower, lag) in partition.follower_lags() {
            *lags.entry(follower).or_default() += lag;
        }
    }
    out.begin(
        "purlin_replica_lag_offsets",
        "gauge",
        "Offsets that a follower is behind the partitions that this node leads, all together.",
    );
    for (follower, lag) in &lags {
        out.sample("purlin_replica_lag_offsets", &[("follower", &follower.to_string())], lag);
    }
    out.gauge(
        "purlin_partitions_catching_up",
        "Partitions that this node copies, and is far behind in.",
        vitals.reconciler.fetchers.behind_count(),
    );
}

fn metadata(out: &mut Exposition, vitals: &Vitals) {
    let status = vitals.metadata.status();
    out.gauge(
        "purlin_metadata_is_controller",
        "Whether this node leads the metadata group.",
        u8::from(status.controller == Some(status.node_id)),
    );
    out.gauge("purlin_metadata_term", "Term of the metadata group.", status.term);
    out.gauge("purlin_metadata_voters", "Voting nodes of the metadata group.", status.voters.len());
    if let Some(index) = status.last_applied_index {
        out.gauge("purlin_metadata_applied_index", "Last metadata entry applied here.", index);
    }
    let image = vitals.metadata.image();
    out.gauge("purlin_topics", "Topics of the cluster.", image.state().topic_count());
    out.gauge(
        "purlin_brokers_alive",
        "Brokers that are not fenced.",
        image.brokers_alive().count(),
    );
}

/// Resident bytes of this process, where the system tells.
fn resident_bytes() -> Option<u64> {
    const PAGE_BYTES: u64 = 4096;
    let file = RealDisk.open(Path::new("/proc/self/statm"), OpenMode::Read).ok()?;
    let mut bytes = [0; 128];
    let filled = file.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(bytes.get(..filled)?).ok()?;
    text.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut out = Exposition::default();
        out.counter("a_total", "All of a.", 3);
        out.begin("b", "gauge", "By topic.");
        out.sample("b", &[("topic", "x\"y\\z")], 1.5);
        let expected = "# HELP a_total All of a.\n# TYPE a_total counter\na_total 3\n\
                        # HELP b By topic.\n# TYPE b gauge\nb{topic=\"x\\\"y\\\\z\"} 1.5\n";
        assert_eq!(out.0, expected);
    }

    #[test]
    fn the_resident_memory_of_a_process_is_known_and_plausible() {
        let bytes = resident_bytes().expect("Linux tells");
        assert!((1_000_000..1_000_000_000_000).contains(&bytes), "{bytes}");
    }
}
