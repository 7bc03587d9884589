//! The bulk path between nodes against a plain TCP copy of the same bytes.
//!
//! `cargo test --release --test rpc_bulk -- --nocapture` prints MB/s and CPU seconds per GB of both,
//! measured in turns within one run, and their ratio. The plain test run moves less, and asserts
//! what must always hold: the bytes arrive unchanged, and in one buffer per answer.
//!
//! `PURLIN_BULK_MIB` moves another amount per round; `PURLIN_BULK_ROUNDS` makes more rounds.

use bytes::Bytes;
use purlin::env::shutdown;
use purlin::rpc::replica::{
    FetchPartition, FetchRequest, FetchResponse, Fetched, FetchedPartition, ReplicaError, Report,
    ReportResponse,
};
use purlin::rpc::{
    BulkPeer, Caller, ControlHandler, Declined, Handlers, Own, Payload, Pool, RaftHandler,
    ReplicaHandler, Server,
};
use purlin::types::{
    BrokerEpoch, ClusterId, IncarnationId, LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId,
};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

const MIB: usize = 1024 * 1024;
const LONG: Duration = Duration::from_secs(60);
/// Fetches of this many bytes, as the issue asks.
const FETCH_BYTES: usize = MIB;
/// Fetches that are open at once.
const DEPTHS: [usize; 2] = [1, 4];

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The records of a leader: as many batches as a tail cache of 64 MiB holds.
fn batches() -> Vec<Bytes> {
    let batch = |number: usize| -> Bytes {
        (0..FETCH_BYTES).map(|at| (at.wrapping_mul(31) ^ number.wrapping_mul(97)) as u8).collect()
    };
    (0..32).map(batch).collect()
}

/// A leader that answers a fetch with the batch that the wanted offset names.
struct Leader(Vec<Bytes>);

impl ReplicaHandler for Leader {
    async fn fetch(&self, _: Caller, request: FetchRequest) -> FetchResponse {
        let Some(wanted) = request.partitions.first() else {
            return FetchResponse::refused(ReplicaError::Busy);
        };
        let records = self.0[wanted.end.0 as usize % self.0.len()].clone();
        let fetched = Fetched {
            high_watermark: wanted.end,
            log_start: Offset::ZERO,
            record_bytes: records.len() as u32,
            diverging: None,
            spared_above: None,
        };
        FetchResponse {
            error: None,
            session_id: 1,
            session_epoch: 1,
            partitions: vec![FetchedPartition {
                topic_id: wanted.topic_id,
                partition: wanted.partition,
                outcome: Ok(fetched),
            }],
            // In the pieces that a cache of smaller batches would give.
            records: records.chunks(FETCH_BYTES / 4).map(|p| records.slice_ref(p)).collect(),
        }
    }

    async fn report(&self, _: Caller, _: Report) -> ReportResponse {
        ReportResponse::default()
    }
}

struct Nothing;

fn declined() -> Result<Payload, Declined> {
    Err(Declined("not here".to_owned()))
}

impl RaftHandler for Nothing {
    async fn append_entries(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }
    async fn vote(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }
    async fn install_snapshot(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }
}

impl ControlHandler for Nothing {
    async fn control(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }
    async fn admit(&self, _: Caller, _: Payload) -> Result<Payload, Declined> {
        declined()
    }
}

fn own(node: i32, rpc: String) -> Own {
    Own {
        cluster_id: ClusterId([1; 16]),
        node_id: NodeId(node),
        incarnation: IncarnationId([node as u8; 16]),
        rpc,
    }
}

/// Both servers, on a runtime of one thread: what a connection can do, without help of more cores.
struct Servers {
    _runtime: Runtime,
    rpc: SocketAddr,
    plain: SocketAddr,
    _shutdown: shutdown::Trigger,
}

fn one_thread(name: &str) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn servers(batches: &[Bytes]) -> Servers {
    let runtime = one_thread("leader");
    let (shutdown, stop) = shutdown::channel();
    let (rpc, plain) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let rpc = listener.local_addr().expect("bound");
        let handlers = Handlers {
            raft: Arc::new(Nothing),
            control: Arc::new(Nothing),
            replica: Arc::new(Leader(batches.to_vec())),
        };
        let server = Server::new(Pool::new(own(1, rpc.to_string())), handlers);
        purlin::env::spawn::spawn("rpc port", server.serve(listener, stop));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let plain = listener.local_addr().expect("bound");
        let batches = batches.to_vec();
        purlin::env::spawn::spawn("plain port", async move {
            while let Ok((socket, _)) = listener.accept().await {
                purlin::env::spawn::spawn(
                    "plain connection",
                    plain_server(socket, batches.clone()),
                );
            }
        });
        (rpc, plain)
    });
    Servers { _runtime: runtime, rpc, plain, _shutdown: shutdown }
}

/// A length and the bytes, in one vectored write: the least that any protocol has to do.
async fn plain_server(mut socket: TcpStream, batches: Vec<Bytes>) {
    socket.set_nodelay(true).expect("no delay");
    while let Ok(number) = socket.read_u64().await {
        let batch = &batches[number as usize % batches.len()];
        let length = (batch.len() as u32).to_be_bytes();
        let mut sent = 0;
        while sent < 4 + batch.len() {
            let head = length.get(sent..).unwrap_or_default();
            let body = &batch[sent.saturating_sub(4)..];
            let slices = [IoSlice::new(head), IoSlice::new(body)];
            match socket.write_vectored(&slices).await {
                Ok(count) if count > 0 => sent += count,
                _ => return,
            }
        }
    }
}

/// Reads `count` answers, keeping `depth` requests open, into one buffer that is used again.
async fn plain_copy(address: SocketAddr, count: usize, depth: usize) {
    let mut buffer = vec![0; FETCH_BYTES];
    let mut socket = TcpStream::connect(address).await.expect("connects");
    socket.set_nodelay(true).expect("no delay");
    for number in 0..depth.min(count) {
        socket.write_u64(number as u64).await.expect("asked");
    }
    for number in 0..count {
        let length = socket.read_u32().await.expect("answered") as usize;
        socket.read_exact(&mut buffer[..length]).await.expect("complete");
        if number + depth < count {
            socket.write_u64((number + depth) as u64).await.expect("asked");
        }
    }
}

fn request(number: usize) -> FetchRequest {
    FetchRequest {
        replica: NodeId(2),
        broker_epoch: BrokerEpoch(1),
        session_id: 1,
        session_epoch: 1,
        bytes_max: FETCH_BYTES as u32,
        wait_ms_max: 500,
        partitions: vec![FetchPartition {
            topic_id: TopicId([7; 16]),
            partition: PartitionIndex(0),
            leader_epoch: LeaderEpoch(1),
            end: Offset(number as i64),
            last_epoch: LeaderEpoch(1),
            flushed: Offset(number as i64),
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
        }],
        forgotten: Vec::new(),
    }
}

/// Fetches `count` times over the replica service, keeping `depth` fetches open.
async fn rpc_copy(peer: BulkPeer, count: usize, depth: usize) {
    let peer = &peer;
    let fetch = |first: usize| async move {
        for number in (first..count).step_by(depth) {
            let answer = peer.fetch(&request(number), LONG).await.expect("answered");
            let parts = answer.into_partitions().expect("complete");
            assert_eq!(parts[0].1.len(), FETCH_BYTES);
        }
    };
    futures::future::join_all((0..depth).map(fetch)).await;
}

/// Nanoseconds that the threads of this process were on a core.
fn cpu_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is needed to count CPU time");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// MB/s and CPU seconds per GB of one round.
#[derive(Debug, Clone, Copy)]
struct Rate {
    mb_per_s: f64,
    cpu_s_per_gb: f64,
}

fn measure(bytes: usize, round: impl FnOnce()) -> Rate {
    let (begun, cpu) = (Instant::now(), cpu_ns());
    round();
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_ns() - cpu);
    Rate { mb_per_s: bytes as f64 / 1e6 / seconds, cpu_s_per_gb: cpu as f64 / bytes as f64 }
}

/// Runs one round on the runtime's own thread, as the fetcher would.
fn run(runtime: &Runtime, round: impl Future<Output = ()> + Send + 'static) {
    let _inside = runtime.enter();
    let round = purlin::env::spawn::spawn("round", round);
    runtime.block_on(round).expect("joined").expect("no panic");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn the_bulk_path_keeps_up_with_a_plain_copy() {
    let release = !cfg!(debug_assertions);
    let fetches = setting("PURLIN_BULK_MIB", if release { 2_048 } else { 64 });
    let rounds = setting("PURLIN_BULK_ROUNDS", if release { 7 } else { 1 });
    let batches = batches();
    let servers = servers(&batches);
    let client = one_thread("follower");
    let pool = Pool::new(own(2, "127.0.0.1:1".to_owned()));
    let peer = pool.bulk(NodeId(1), &servers.rpc.to_string());

    // First that it is right, which also touches all memory once.
    client.block_on(async {
        for (number, batch) in batches.iter().enumerate() {
            let answer = peer.fetch(&request(number), LONG).await.expect("answered");
            assert_eq!(answer.records.len(), 1, "one buffer");
            assert_eq!(answer.records[0], batch, "the bytes arrive unchanged");
        }
    });

    let bytes = fetches * FETCH_BYTES;
    println!("{fetches} fetches of 1 MiB in each of {rounds} rounds, in turns:");
    for depth in DEPTHS {
        let (mut plain, mut rpc) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            plain.push(measure(bytes, || run(&client, plain_copy(servers.plain, fetches, depth))));
            rpc.push(measure(bytes, || run(&client, rpc_copy(peer.clone(), fetches, depth))));
        }
        let of = |rates: &[Rate], what: fn(&Rate) -> f64| median(rates.iter().map(what).collect());
        let (plain_mb, rpc_mb) = (of(&plain, |r| r.mb_per_s), of(&rpc, |r| r.mb_per_s));
        let (plain_cpu, rpc_cpu) = (of(&plain, |r| r.cpu_s_per_gb), of(&rpc, |r| r.cpu_s_per_gb));
        println!(
            "{depth} open, median: plain {plain_mb:.0} MB/s, {plain_cpu:.2} CPU s/GB; \
             replica service {rpc_mb:.0} MB/s, {rpc_cpu:.2} CPU s/GB; ratio {:.2}",
            rpc_mb / plain_mb
        );
        // Whatever else the machine does only ever makes a round slower.
        let best = |rates: &[Rate]| rates.iter().map(|r| r.mb_per_s).fold(0.0, f64::max);
        let (plain, rpc) = (best(&plain), best(&rpc));
        println!(
            "{depth} open, best: plain {plain:.0} MB/s; replica service {rpc:.0} MB/s; ratio {:.2}",
            rpc / plain
        );
    }
    drop(servers);
}
