//! Every bound of the system, in one place: finite by default, with the relations between them
//! asserted at compile time.
//!
//! A queue, buffer, count or wait that is not bounded by a number from here (or by a setting whose
//! default is here) is a bug.

/// Bytes of one request frame on the client port (Kafka's `socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;

/// Bytes of one record batch, as sent (Kafka's default of `max.message.bytes`).
pub const BATCH_BYTES_MAX_DEFAULT: i32 = 1_048_588;

/// Bytes of one fetch response.
pub const FETCH_BYTES_MAX: usize = 55 * 1024 * 1024;

/// Bytes that one record batch may unpack to, on either side of the wire.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Entries of one array in a request (Kafka 4.4's own bound).
pub const ARRAY_ENTRIES_MAX: usize = 1_000_000;

/// Unknown tagged fields kept per structure (Kafka 4.4's own bound).
pub const TAGGED_FIELDS_MAX: usize = 10_000;

// ---- protocol ----

/// Memory that the arrays of one decoded frame may take, whatever its size.
pub const DECODED_BYTES_FREE: usize = 1024 * 1024;

/// Further memory that the arrays of one decoded frame may take, for each byte of the frame. An
/// array of empty texts takes two bytes an entry on the wire and some eighty here.
pub const DECODED_BYTES_PER_FRAME_BYTE: usize = 16;

/// Buffer that compressed records are unpacked through, piece by piece.
pub const UNPACK_BUFFER_BYTES: usize = 16 * 1024;

/// Largest window of a Zstandard frame, as a power of two: 128 MiB, what its highest level uses.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

// ---- log ----

/// Files of segments that are not written to, kept open per data directory. The segment that is
/// written to holds one more per partition.
pub const OPEN_SEGMENT_FILES_MAX: usize = 512;

/// Bytes of recent batches kept in memory per data directory, over all partitions.
pub const TAIL_CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Room on the disk that produces leave alone, so that the metadata can go on.
pub const DISK_RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes that may be appended before the room on the disk is looked at again.
pub const DISK_RECHECK_BYTES: u64 = 16 * 1024 * 1024;

/// Index entries of one segment held back, to be written together.
pub const INDEX_PENDING_ENTRIES_MAX: usize = 64;

/// Bytes read at a time when a segment is scanned.
pub const SCAN_BUFFER_BYTES: usize = 256 * 1024;

/// Batches per producer whose retry is recognised (Kafka's number).
pub const PRODUCER_BATCHES_KEPT: usize = 5;

/// Producers remembered per partition; beyond that the one that was quiet the longest is forgotten.
pub const PRODUCERS_PER_LOG_MAX: usize = 100_000;

/// Bytes before a producer snapshot that are looked through to fill the producers' windows again.
pub const PRODUCER_WINDOW_SCAN_BYTES: u64 = 1024 * 1024;

/// Completed transactions remembered until the high watermark has passed their markers.
pub const COMPLETED_TRANSACTIONS_MAX: usize = 10_000;

/// Refused records that are reported one by one, for one batch.
pub const RECORD_ERRORS_MAX: usize = 1_000;

/// Bytes of a checkpoint, properties or producer snapshot file.
pub const SMALL_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Logs waiting to be flushed from which on one `syncfs` is cheaper than syncing each.
pub const FLUSH_FILE_SYSTEM_FROM: usize = 8;

/// Milliseconds after which the measured cost of a sync of the file system counts half: one that
/// took 4 s because of others' writes is tried again after about a minute for a hundred logs.
pub const FLUSH_FILE_SYSTEM_HALF_LIFE_MS: u64 = 10_000;

// ---- partition ----

/// Produces that wait for the high watermark of one partition. Far above what the connections'
/// own in-flight bounds let through in practice.
pub const COMMIT_WAITERS_PER_PARTITION_MAX: usize = 65_536;

/// Fetches that wait for news of one partition.
pub const WATCHERS_PER_PARTITION_MAX: usize = 65_536;

/// Bytes of records in one answer to a follower.
pub const REPLICA_FETCH_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// Bytes of one partition's records in one answer to a follower.
pub const REPLICA_PARTITION_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one answer that may go to partitions in which the follower is behind, so that they do
/// not hold up those whose producers wait.
pub const REPLICA_CATCH_UP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes a second that the partitions of a node which are behind may be copied with, all together,
/// unless `follower.replication.throttled.rate` says otherwise.
pub const REPLICA_CATCH_UP_BYTES_PER_SECOND_DEFAULT: u64 = 128 * 1024 * 1024;

/// Milliseconds that a leader holds a follower's fetch when there is nothing new (Kafka's
/// `replica.fetch.wait.max.ms`).
pub const REPLICA_FETCH_WAIT_MS: u32 = 500;

/// Milliseconds that a leader holds a follower's fetch whatever it asks for.
pub const REPLICA_FETCH_WAIT_MS_MAX: u32 = 30_000;

/// Milliseconds that a moved high watermark waits for records to travel with.
pub const REPLICA_WATERMARK_DELAY_MS: i64 = 10;

/// Fetches of one follower under way at one leader: one that waits, and one that ends its wait.
pub const REPLICA_FETCHES_IN_FLIGHT_MAX: usize = 2;

/// Partitions that one fetch of a follower names; more are named by the next.
pub const REPLICA_PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Partitions of one fetch session.
pub const REPLICA_SESSION_PARTITIONS_MAX: usize = PARTITIONS_MAX;

/// Fetch sessions of followers: one per node of the largest cluster.
pub const REPLICA_SESSIONS_MAX: usize = METADATA_BROKERS_MAX;

/// Milliseconds before a follower asks again after a refusal, the first time.
pub const REPLICA_BACKOFF_MS_MIN: i64 = 10;

/// Milliseconds before a follower asks again after many refusals (Kafka's
/// `replica.fetch.backoff.ms`).
pub const REPLICA_BACKOFF_MS_MAX: i64 = 1_000;

/// Milliseconds before a follower whose disk is full tries again.
pub const REPLICA_DISK_FULL_RETRY_MS: i64 = 1_000;

/// Milliseconds that a follower waits for an answer beyond the time that the leader may hold it.
pub const REPLICA_CALL_MS_MAX: u64 = 10_000;

// ---- metadata ----

/// Registered brokers.
pub const METADATA_BROKERS_MAX: usize = 1_000;

/// Node ids that are ever given out; those of removed nodes are remembered.
pub const METADATA_NODES_EVER_MAX: usize = 100_000;

/// Partitions that may move to other replicas at one time.
pub const REASSIGNMENTS_MAX: usize = 20_000;

/// Topics of a cluster.
pub const TOPICS_MAX: usize = 100_000;

/// Partitions of a cluster, all topics together.
pub const PARTITIONS_MAX: usize = 200_000;

/// Partitions of one topic.
pub const PARTITIONS_PER_TOPIC_MAX: usize = 50_000;

/// Bytes of one config's value.
pub const CONFIG_VALUE_BYTES_MAX: usize = 16 * 1024;

/// Finalized features.
pub const FEATURES_MAX: usize = 1_000;

/// Bytes of one command in the Raft log.
pub const METADATA_ENTRY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Proposals of this node that may wait for their answers at once.
pub const METADATA_PROPOSALS_MAX: usize = 256;

/// How long a proposal waits for its answer, in milliseconds.
pub const METADATA_PROPOSAL_TIMEOUT_MS: u64 = 30_000;

/// Writes that may wait for the Raft log's thread.
pub const METADATA_LOG_QUEUE_MAX: usize = 64;

/// Milliseconds for which clients are still told the address of a broker that has just been fenced.
/// librdkafka (2.12) gives up the thread of a broker that Metadata no longer lists; when that
/// answer is the one that also moves its partitions to others, they lose their way between the two
/// threads, and stand still until its next look around, a second later.
pub const METADATA_DEPARTED_LISTED_MS: u64 = 3_000;

/// Milliseconds for which a Metadata request waits for news of a leader whose connections just
/// broke. The controller needs about 10 to find out; a client that is told too early what is no
/// longer true asks again after a second.
pub const METADATA_DOUBT_MS: i64 = 250;

/// Milliseconds between two looks of a controller for whether a quorum still answers it.
pub const METADATA_QUORUM_LOOK_MS: u64 = 250;

/// Milliseconds for which a candidate waits for votes before it stands again, at least: far longer
/// than a vote takes on a working network.
pub const RAFT_DUEL_MS_MIN: u64 = 200;

/// Milliseconds over which that wait is spread, so that two candidates do not meet again.
pub const RAFT_DUEL_SPREAD_MS: u64 = 300;

/// Milliseconds for which a member that was refused a vote for its shorter log leaves it to the
/// engine when to stand again: as long as the other needs to hear of the newer term and to stand
/// itself, a few elections' time.
pub const RAFT_OUTDONE_MS: i64 = 2_000;

/// Milliseconds between two tries of a metadata write that found the disk full.
pub const METADATA_DISK_FULL_RETRY_MS: u64 = 200;

/// Applied batches that may wait for the state store's thread.
pub const METADATA_STORE_QUEUE_MAX: usize = 64;

/// Bytes that the state store may cache.
pub const METADATA_STORE_CACHE_BYTES: u64 = 4 * 1024 * 1024;

/// Raft entries between two snapshots.
pub const METADATA_SNAPSHOT_ENTRIES: u64 = 4_096;

/// Raft entries that stay in the log behind a snapshot, for members that lag a little.
pub const METADATA_ENTRIES_KEPT: u64 = 1_024;

/// Snapshots that are kept.
pub const METADATA_SNAPSHOTS_KEPT: usize = 3;

/// Bytes of the largest snapshot.
pub const METADATA_SNAPSHOT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Bytes of Raft entries that are read at once.
pub const METADATA_READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Milliseconds between two heartbeats of the Raft group's leader.
pub const RAFT_HEARTBEAT_MS: u64 = 60;

/// Shortest and longest election time of a Raft member, in milliseconds. The longest is also its
/// lease, and silence costs lease and election time together.
pub const RAFT_ELECTION_MS_MIN: u64 = 200;
/// See [`RAFT_ELECTION_MS_MIN`].
pub const RAFT_ELECTION_MS_MAX: u64 = 400;

/// How long one append between members may take, however often the engine asks for it anew, in
/// milliseconds: the largest entry over a slow network.
pub const RAFT_APPEND_MS_MAX: u64 = 30_000;

/// Pause before a member that could not be reached is called again, in milliseconds.
pub const RAFT_BACKOFF_MS: u64 = 100;

/// Bytes of one piece of a snapshot on its way to another member.
pub const RAFT_SNAPSHOT_PIECE_BYTES: u64 = 1024 * 1024;

/// How long a member may take over one piece of a snapshot, the last one with all its syncs, in
/// milliseconds.
pub const RAFT_SNAPSHOT_PIECE_MS_MAX: u64 = 30_000;

/// Milliseconds after which a half-received snapshot that nobody goes on with is dropped.
pub const RAFT_SNAPSHOT_IDLE_MS: u64 = 60_000;

/// Elections that a member stands for at most because the leader's process is gone.
pub const RAFT_HASTE_ATTEMPTS: u32 = 4;

/// Milliseconds that such an election waits beyond the lease: clocks' grain, and members that
/// heard of the leader a little later.
pub const RAFT_HASTE_MARGIN_MS: u64 = 20;

/// Milliseconds between the elections of two members that lost the same leader: what one takes, with
/// the votes on disk.
pub const RAFT_HASTE_STAGGER_MS: u64 = 100;

/// Milliseconds that such an election gets before the same member stands again.
pub const RAFT_HASTE_RETRY_MS: u64 = 150;

/// How long the controller may take over one call other than a proposal, in milliseconds.
pub const CONTROL_CALL_MS_MAX: u64 = 2_000;

/// Pause before a call to the controller is made again, in milliseconds.
pub const CONTROL_RETRY_MS: u64 = 20;

/// Calls that may wait for the controller's task.
pub const CONTROLLER_QUEUE_MAX: usize = 4_096;

/// Milliseconds between two looks at the membership of the Raft group.
pub const MEMBERSHIP_CHECK_MS: u64 = 200;

/// How long one change of the membership may take, in milliseconds.
pub const MEMBERSHIP_CHANGE_MS_MAX: u64 = 10_000;

/// Entries that a learner may lack when it is made a voter.
pub const MEMBERSHIP_LAG_ENTRIES_MAX: u64 = 128;

/// Preferred leaders that are elected by one command.
pub const LEADER_REBALANCE_PARTITIONS_MAX: usize = 1_000;

/// Members of the Raft group that vote, as long as there are so many nodes.
pub const METADATA_VOTERS: usize = 3;

/// Milliseconds between two heartbeats of a broker to the controller.
pub const BROKER_HEARTBEAT_MS: u64 = 100;

/// Milliseconds without a heartbeat after which a broker is fenced.
pub const BROKER_SESSION_TIMEOUT_MS: u64 = 1_000;

/// Seconds between two looks at whether preferred replicas lead.
pub const LEADER_REBALANCE_INTERVAL_S: u64 = 300;

/// Producer ids that a broker takes at a time (Kafka's own block).
pub const PRODUCER_ID_BLOCK: i32 = 1_000;

// ---- rpc ----

/// Bytes of one frame on a connection for Raft or control calls: an entry of the metadata log, and
/// what goes around it.
pub const RPC_FRAME_BYTES_MAX: usize = METADATA_ENTRY_BYTES_MAX + 8 * 1024 * 1024;

/// Bytes of one frame on a connection for records: the largest batch that a client can send, and
/// what goes around it.
pub const RPC_BULK_FRAME_BYTES_MAX: usize = REQUEST_BYTES_MAX + 8 * 1024 * 1024;

/// Bytes of the hello of a connection between nodes, and of its answer.
pub const RPC_HELLO_BYTES_MAX: usize = 1024;

/// Bytes of an rpc address, as `host:port`.
pub const RPC_ADDRESS_BYTES_MAX: usize = 300;

/// Bytes of the reason of a refusal between nodes.
pub const RPC_REASON_BYTES_MAX: usize = 500;

/// Bytes that are read at once of small frames between nodes; larger frames get a buffer each.
pub const RPC_READ_CHUNK_BYTES: usize = 16 * 1024;

/// Bytes that the buffer of a large frame grows by at most beyond what has arrived, until more than
/// that has arrived.
pub const RPC_FRAME_BYTES_AHEAD_MAX: usize = 1024 * 1024;

/// Bytes of buffers that a busy connection between nodes keeps, to fill them again.
pub const RPC_KEPT_BUFFER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Record bytes of one partition that are copied out of a much larger frame, rather than keeping the
/// frame alive.
pub const RPC_COPIED_RECORD_BYTES_MAX: usize = 16 * 1024;

/// Bytes that may wait on a connection between nodes before no further message is queued.
pub const RPC_WRITE_QUEUE_BYTES_MAX: usize = 256 * 1024;

/// Pieces that are handed to the socket at once.
pub const RPC_IOVECS_MAX: usize = 64;

/// Connections from other nodes: a few per node of the largest cluster.
pub const RPC_CONNECTIONS_MAX: usize = 4 * METADATA_BROKERS_MAX;

/// Connections from one address: all nodes of a local cluster share theirs.
pub const RPC_CONNECTIONS_PER_ADDRESS_MAX: usize = 256;

/// Connections from other nodes that have not said yet who they are.
pub const RPC_HANDSHAKES_MAX: usize = 512;

/// Of them, from one address: one stranger alone cannot keep all others out.
pub const RPC_HANDSHAKES_PER_ADDRESS_MAX: usize = 64;

/// How long the first bytes of a connection may take, in milliseconds.
pub const RPC_HANDSHAKE_MS_MAX: u64 = 3_000;

/// Calls in flight on one connection between nodes.
pub const RPC_CALLS_PER_CONNECTION_MAX: usize = 256;

/// Calls in flight on one connection for records: each may hold an answer of many bytes.
pub const RPC_BULK_CALLS_PER_CONNECTION_MAX: usize = 16;

/// How long connecting to a node may take, handshake included.
pub const RPC_CONNECT_MS_MAX: u64 = 2_000;

/// How long a probe asks whether a process is there.
pub const RPC_PROBE_MS: u64 = 250;

/// The longest deadline that a call may have, in milliseconds.
pub const RPC_DEADLINE_MS_MAX: u64 = 600_000;

/// The first pause after a connection could not be made; it doubles with each further failure.
pub const RPC_BACKOFF_MS_MIN: u64 = 20;

/// The longest such pause.
pub const RPC_BACKOFF_MS_MAX: u64 = 500;

/// A connection on which nothing was said for so long gets a sign of life.
pub const RPC_PING_MS: u64 = 500;

/// A connection on which nothing was heard for so long is closed.
pub const RPC_SILENCE_MS_MAX: u64 = 3_000;

/// A connection on which nothing was taken for so long, although something waits, is closed.
pub const RPC_WRITE_STALL_MS_MAX: u64 = 5_000;

/// News of lost connections that a reader may leave unread.
pub const RPC_EVENTS_MAX: usize = 1_024;

/// Warnings about strangers on the rpc port are at least so far apart, in milliseconds.
pub const RPC_STRANGER_WARNING_MS: u64 = 10_000;

// ---- kafka ----

/// Bytes of one request frame of any API but Produce: those carry names and numbers, not records,
/// and unpack to several times their size.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of memory that one byte of a request without records is counted as, because decoded
/// structures are larger than their encoding.
pub const CONTROL_REQUEST_WEIGHT: usize = 8;

/// Bytes of a frame that are read before the frame has to be paid for out of the budgets below.
pub const FRAME_BYTES_FREE: usize = 16 * 1024;

/// Bytes that the buffer of a frame grows by at most beyond what has arrived.
pub const FRAME_BYTES_AHEAD_MAX: usize = 1024 * 1024;

/// Bytes of requests that are being read or answered, over all connections of a node.
pub const REQUEST_BYTES_IN_FLIGHT_MAX: usize = 256 * 1024 * 1024;

/// Bytes of requests that are being read or answered on one connection.
pub const CONNECTION_REQUEST_BYTES_IN_FLIGHT_MAX: usize = 128 * 1024 * 1024;

/// Requests of one connection whose answers are still to be written.
pub const CONNECTION_REQUESTS_IN_FLIGHT_MAX: usize = 128;

/// Bytes of fetched records on their way out, over all connections of a node.
pub const RESPONSE_BYTES_IN_FLIGHT_MAX: usize = 256 * 1024 * 1024;

/// Bytes of answers that may wait on one connection before no further request of it is read.
pub const CONNECTION_RESPONSE_BYTES_QUEUED_MAX: usize = 1024 * 1024;

/// Milliseconds that a frame may stand still while it arrives.
pub const FRAME_STALL_MS_MAX: u64 = 30_000;

/// Bytes a second that a frame must arrive with, once [`FRAME_STALL_MS_MAX`] have passed.
pub const FRAME_BYTES_PER_SECOND_MIN: usize = 32 * 1024;

/// Milliseconds without progress after which a reader is given up.
pub const WRITE_STALL_MS_MAX: u64 = 60_000;

/// Milliseconds that answers already owed may take once a connection is to be closed.
pub const DRAIN_MS_MAX: u64 = 5_000;

/// Fetch sessions that a node remembers (Kafka's `max.incremental.fetch.session.cache.slots`).
pub const FETCH_SESSIONS_MAX: usize = 1_000;

/// Partitions over all remembered fetch sessions of a node.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 1_000_000;

/// Milliseconds without use after which a fetch session may make room for another.
pub const FETCH_SESSION_IDLE_MS: u64 = 120_000;

/// Milliseconds that a fetch waits at most, whatever the client asks for.
pub const FETCH_WAIT_MS_MAX: i32 = 300_000;

/// Milliseconds that a produce waits at most for its commit, whatever the client asks for.
pub const PRODUCE_WAIT_MS_MAX: i32 = 300_000;

/// Milliseconds that an administrative request waits at most for its effect.
pub const ADMIN_WAIT_MS_MAX: i32 = 120_000;

/// Topics that are being created on behalf of Metadata requests at one time.
pub const AUTO_CREATIONS_IN_FLIGHT_MAX: usize = 100;

/// Partitions in one answer of DescribeTopicPartitions (Kafka's
/// `max.request.partition.size.limit`).
pub const DESCRIBE_PARTITIONS_MAX: i32 = 2_000;

// ---- client ----

/// Requests that may be open on one connection of the client.
pub const CLIENT_IN_FLIGHT_MAX: usize = 64;

/// Bytes of one response that the client accepts.
pub const CLIENT_RESPONSE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Read buffer of one connection of the client.
pub const CLIENT_READ_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes that a response's length field alone may make the client allocate.
pub const CLIENT_FRAME_TRUST_BYTES: usize = 1024 * 1024;

/// Write buffer of one connection of the client.
pub const CLIENT_WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// Brokers that the client keeps from one metadata response.
pub const CLIENT_BROKERS_MAX: usize = 10_000;

/// Batches of one idempotent producer that may be open on one partition: a broker remembers as
/// many (KIP-98).
pub const CLIENT_PARTITION_IN_FLIGHT_MAX: usize = 5;

/// Bytes of records that a producer holds before `send` waits, by default.
pub const CLIENT_BUFFER_BYTES_DEFAULT: usize = 32 * 1024 * 1024;

/// Bytes of one record that the client sends; a broker's own limit is usually lower.
pub const CLIENT_RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of records in one produce request (Kafka's `max.request.size`).
pub const CLIENT_REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// Fetched bytes that wait to be read, per consumer, before fetching pauses.
pub const CLIENT_FETCHED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that `purlin produce` reads at once.
pub const CLI_READ_BYTES: usize = 128 * 1024;

/// Records that `purlin produce` hands from its reader to its producer at once.
pub const CLI_RECORDS_PER_HANDOVER: usize = 1024;

/// Bytes of such records.
pub const CLI_BYTES_PER_HANDOVER: usize = 256 * 1024;

/// Such handovers that may wait.
pub const CLI_HANDOVERS_MAX: usize = 4;

/// Write buffer of `purlin consume`.
pub const CLI_WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// Bytes of a checkpoint, snapshot or properties file that `purlin log dump` reads.
pub const DUMP_SMALL_FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Attempts of one call that meets retriable errors, whatever the time left.
pub const CLIENT_RETRIES_MAX: u32 = 10_000;

/// Partitions whose move is asked for in one request.
pub const REASSIGNMENTS_PER_REQUEST_MAX: usize = 1_000;

/// Pages of one listing that a client asks for.
pub const CLIENT_PAGES_MAX: usize = 1_000;

// ---- node ----

/// How long a start waits for the lock of its data directory, in milliseconds.
pub const DIR_LOCK_MS_MAX: u64 = 2_000;

/// Threads of the data runtime, which serves clients: one per core, up to this.
pub const DATA_THREADS_MAX: usize = 16;

/// Threads of the data runtime that may wait for a disk at once: cold reads, look-ups by time.
pub const DATA_BLOCKING_THREADS_MAX: usize = 16;

/// Threads of the control runtime, which serves metadata, other nodes and probes.
pub const CONTROL_THREADS: usize = 2;

/// Threads of the control runtime that may wait for a disk at once.
pub const CONTROL_BLOCKING_THREADS_MAX: usize = 8;

/// Threads that sync for all logs of the node.
pub const FLUSH_THREADS: usize = 4;

/// Partitions that are opened, closed or deleted at once.
pub const PARTITION_OPENERS_MAX: usize = 8;

/// How long a stopping node waits for its clients before it closes their connections.
pub const STOP_MS_MAX: u64 = 30_000;

/// How long the start waits for the metadata group to take this node in.
pub const REGISTRATION_MS_MAX: u64 = 60_000;

/// How long a joining node asks its seeds before it gives up.
pub const JOIN_MS_MAX: u64 = 15_000;

/// How long `node init` waits for its seeds to say that they have a cluster already.
pub const FOUNDING_ANSWER_MS_MAX: u64 = 3_000;

/// How long a stopping node waits until others lead what it led.
pub const LEAVE_MS_MAX: u64 = 10_000;

/// How far two nodes' clocks may differ before that is said, in milliseconds.
pub const CLOCK_DIFFERENCE_MS_MAX: i64 = 10_000;

/// ISR changes and storage failures that go to the controller in one command.
pub const ISR_CHANGES_PER_COMMAND_MAX: usize = 10_000;

/// How long the check of the advertised address waits for a connection.
pub const ADVERTISED_CHECK_MS_MAX: u64 = 3_000;

/// Client connections on one node, unless `max.connections` says otherwise. Well above the 5,000
/// idle connections of a large consumer fleet, well below a default descriptor limit of 20,000.
pub const CLIENT_CONNECTIONS_MAX_DEFAULT: usize = 10_000;

/// Client connections from one address (`max.connections.per.ip`): one peer alone cannot keep all
/// others out.
pub const CLIENT_CONNECTIONS_PER_ADDRESS_MAX_DEFAULT: usize = 8_000;

/// Bytes that are read of a settings file.
pub const SETTINGS_FILE_BYTES_MAX: u64 = 1024 * 1024;

// ---- relations ----

const _: () = assert!(FETCH_BYTES_MAX < REQUEST_BYTES_MAX);
const _: () = assert!(REQUEST_BYTES_MAX <= CONNECTION_REQUEST_BYTES_IN_FLIGHT_MAX);
const _: () = assert!(CONNECTION_REQUEST_BYTES_IN_FLIGHT_MAX <= REQUEST_BYTES_IN_FLIGHT_MAX);
const _: () = assert!(
    CONTROL_REQUEST_BYTES_MAX * CONTROL_REQUEST_WEIGHT <= CONNECTION_REQUEST_BYTES_IN_FLIGHT_MAX
);
const _: () = assert!(FETCH_BYTES_MAX <= RESPONSE_BYTES_IN_FLIGHT_MAX);
const _: () = assert!(CLIENT_CONNECTIONS_PER_ADDRESS_MAX_DEFAULT < CLIENT_CONNECTIONS_MAX_DEFAULT);
const _: () = assert!((BATCH_BYTES_MAX_DEFAULT as usize) < FETCH_BYTES_MAX);
const _: () = assert!(FETCH_BYTES_MAX < CLIENT_RESPONSE_BYTES_MAX);
const _: () = assert!(CLIENT_PARTITION_IN_FLIGHT_MAX < CLIENT_IN_FLIGHT_MAX);
const _: () = assert!(CLIENT_REQUEST_BYTES_MAX < REQUEST_BYTES_MAX);
const _: () = assert!(PARTITIONS_PER_TOPIC_MAX <= PARTITIONS_MAX);
const _: () = assert!(METADATA_BROKERS_MAX <= METADATA_NODES_EVER_MAX);
const _: () = assert!(METADATA_ENTRIES_KEPT < METADATA_SNAPSHOT_ENTRIES);
const _: () = assert!(METADATA_SNAPSHOTS_KEPT >= 2);
const _: () = assert!(RAFT_HEARTBEAT_MS < RAFT_ELECTION_MS_MIN);
const _: () = assert!(RAFT_ELECTION_MS_MIN < RAFT_ELECTION_MS_MAX);
const _: () = assert!(RAFT_APPEND_MS_MAX <= METADATA_PROPOSAL_TIMEOUT_MS);
const _: () = assert!(RAFT_SNAPSHOT_PIECE_BYTES < METADATA_SNAPSHOT_BYTES_MAX as u64);
const _: () = assert!(RAFT_SNAPSHOT_PIECE_MS_MAX < RAFT_SNAPSHOT_IDLE_MS);
const _: () = assert!(RAFT_ELECTION_MS_MAX < BROKER_SESSION_TIMEOUT_MS);
const _: () = assert!(METADATA_VOTERS % 2 == 1);
const _: () = assert!(REPLICA_PARTITION_BYTES_MAX <= REPLICA_CATCH_UP_BYTES_MAX);
const _: () = assert!(REPLICA_CATCH_UP_BYTES_MAX < REPLICA_FETCH_BYTES_MAX as usize);
const _: () = assert!((REPLICA_FETCH_BYTES_MAX as usize) < RPC_FRAME_BYTES_MAX);
const _: () = assert!(REPLICA_FETCH_WAIT_MS <= REPLICA_FETCH_WAIT_MS_MAX);
const _: () = assert!(BROKER_HEARTBEAT_MS * 5 <= BROKER_SESSION_TIMEOUT_MS);
const _: () = assert!(CONTROL_REQUEST_BYTES_MAX <= METADATA_ENTRY_BYTES_MAX / 4);
const _: () = assert!(RPC_PING_MS * 3 <= RPC_SILENCE_MS_MAX);
const _: () = assert!(RPC_PROBE_MS * 3 < RPC_CONNECT_MS_MAX);
const _: () = assert!(METADATA_ENTRY_BYTES_MAX < RPC_FRAME_BYTES_MAX);
const _: () = assert!(REQUEST_BYTES_MAX < RPC_BULK_FRAME_BYTES_MAX);
const _: () = assert!(RPC_BULK_FRAME_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(RPC_ADDRESS_BYTES_MAX * 2 < RPC_HELLO_BYTES_MAX);
const _: () = assert!(RPC_REASON_BYTES_MAX * 2 <= RPC_HELLO_BYTES_MAX);
const _: () = assert!(RPC_BACKOFF_MS_MIN < RPC_BACKOFF_MS_MAX);
const _: () = assert!(RPC_CONNECTIONS_PER_ADDRESS_MAX < RPC_CONNECTIONS_MAX);
const _: () = assert!(RPC_HANDSHAKES_PER_ADDRESS_MAX < RPC_HANDSHAKES_MAX);
const _: () = assert!(RPC_HANDSHAKES_PER_ADDRESS_MAX < RPC_CONNECTIONS_PER_ADDRESS_MAX);
