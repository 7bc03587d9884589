//! Consumers that read from followers (KIP-392).

use super::*;
use crate::replica::FetchClaim;

impl Fixture {
    /// This node copies from another one, in this epoch.
    fn follow(&self, leader: i32, epoch: i32) {
        self.partition.assign(
            ME,
            Assignment {
                leader: NodeId(leader),
                leader_epoch: LeaderEpoch(epoch),
                partition_epoch: PartitionEpoch(epoch),
                replicas: vec![(ME, Some(BrokerEpoch(1))), (NodeId(leader), Some(BrokerEpoch(2)))],
                isr: BTreeSet::from([ME, NodeId(leader)]),
                elr: BTreeSet::new(),
            },
        );
    }

    fn read_nearby(&self, offset: i64) -> Result<ReadAnswer, Error> {
        self.partition.read_from_any(request(offset))
    }
}

#[tokio::test]
async fn scenario_47_a_follower_above_its_high_watermark_says_not_available() {
    let fixture = Fixture::led();
    fixture.append(Acks::All, &["a", "b", "c", "d"]).expect("taken");
    fixture.flusher.flush_waiting();
    fixture.append(Acks::All, &["not committed"]).expect("taken");
    fixture.follow(2, 4);
    let offsets = fixture.offsets();
    assert_eq!((offsets.high_watermark, offsets.log_end), (Offset(4), Offset(5)));

    let answer = fixture.read_nearby(0).expect("committed records");
    let Records::Ready(bytes) = answer.records else { panic!("they are in the cache") };
    let batches: Vec<_> = BatchIter::new(&bytes).collect();
    assert_eq!(batches.len(), 1, "what is not committed is not shown");
    assert!(fixture.read_nearby(4).expect("the end of what is committed").records.is_empty());
    // It has an offset 5 and has not heard of an offset 6; the leader may well have both.
    for ahead in [5, 6, 100] {
        assert!(matches!(fixture.read_nearby(ahead), Err(Error::OffsetNotAvailable)), "{ahead}");
    }
    assert!(matches!(fixture.read_nearby(-1), Err(Error::OffsetOutOfRange { .. })));
    assert!(matches!(fixture.read(0), Err(Error::NotLeader)), "only where a follower may answer");
}

#[tokio::test]
async fn trap_05_rack_a_follower_checks_epochs_as_a_leader_does() {
    let fixture = Fixture::led();
    fixture.append(Acks::All, &["a"]).expect("taken");
    fixture.flusher.flush_waiting();
    fixture.follow(2, 4);
    let read = |epoch| {
        let current_leader_epoch = LeaderEpoch(epoch);
        fixture.partition.read_from_any(ReadRequest { current_leader_epoch, ..request(0) })
    };
    assert!(read(4).is_ok());
    assert!(matches!(read(3), Err(Error::FencedEpoch)));
    assert!(matches!(read(5), Err(Error::UnknownEpoch)));
    let end = |epoch| fixture.partition.epoch_end_offset_from_any(NO_CHECK, LeaderEpoch(epoch));
    assert_eq!(end(3).expect("known"), (LeaderEpoch(3), Offset(1)));
}

#[tokio::test]
async fn trap_05_rack_only_in_sync_followers_that_have_the_offset_are_named() {
    let fixture = Fixture::idle();
    let replicas = [1, 2, 3].map(|id| (NodeId(id), Some(BrokerEpoch(i64::from(id)))));
    fixture.partition.assign(
        ME,
        Assignment {
            leader: ME,
            leader_epoch: LeaderEpoch(3),
            partition_epoch: PartitionEpoch(3),
            replicas: replicas.to_vec(),
            isr: BTreeSet::from([ME, NodeId(2)]),
            elr: BTreeSet::new(),
        },
    );
    fixture.append(Acks::Leader, &["a", "b"]).expect("taken");
    let racks = [1, 2, 3].map(|id| (NodeId(id), format!("rack-{id}"))).into();
    let preferred =
        |rack, offset| fixture.partition.preferred_read_replica(rack, &racks, Offset(offset));
    assert_eq!(preferred("rack-2", 0), None, "it has not fetched yet");
    for (follower, end) in [(2, 0), (3, 0)] {
        let claim = FetchClaim {
            follower: NodeId(follower),
            broker_epoch: BrokerEpoch(i64::from(follower)),
            leader_epoch: LeaderEpoch(3),
            end: Offset(end),
            last_epoch: LeaderEpoch::NONE,
        };
        let fetch = ReplicaFetch {
            log_start: Offset(0),
            claim,
            flushed: Offset(end),
            bytes_max: 1 << 20,
            at_least_one: true,
            fresh: true,
        };
        fixture.partition.fetch_as_replica(&fetch).expect("served");
    }
    assert_eq!(preferred("rack-2", 0), Some(NodeId(2)));
    assert_eq!(preferred("rack-2", 1), None, "it does not have that");
    assert_eq!(preferred("rack-3", 0), None, "it is not in sync");
    assert_eq!(preferred("rack-1", 0), None, "the leader is there");
    assert_eq!(preferred("rack-9", 0), None);
    assert_eq!(preferred("", 0), None, "no rack is none");
}

#[tokio::test]
async fn trap_09_delete_records_the_low_watermark_waits_for_every_replica() {
    let fixture = Fixture::idle();
    let replicas = [1, 2].map(|id| (NodeId(id), Some(BrokerEpoch(i64::from(id)))));
    fixture.partition.assign(
        ME,
        Assignment {
            leader: ME,
            leader_epoch: LeaderEpoch(3),
            partition_epoch: PartitionEpoch(3),
            replicas: replicas.to_vec(),
            isr: BTreeSet::from([ME, NodeId(2)]),
            elr: BTreeSet::new(),
        },
    );
    fixture.append(Acks::Leader, &["a", "b"]).expect("taken");
    fixture.flusher.flush_waiting();
    let fetch = |log_start| {
        let claim = FetchClaim {
            follower: NodeId(2),
            broker_epoch: BrokerEpoch(2),
            leader_epoch: LeaderEpoch(3),
            end: Offset(2),
            last_epoch: LeaderEpoch(3),
        };
        let fetch = ReplicaFetch {
            claim,
            flushed: Offset(2),
            log_start: Offset(log_start),
            bytes_max: 1 << 20,
            at_least_one: true,
            fresh: true,
        };
        fixture.partition.fetch_as_replica(&fetch).expect("served");
    };
    fetch(0);
    assert_eq!(fixture.partition.delete_records(Offset(2)).await.expect("committed"), Offset(2));
    let everywhere = || fixture.partition.low_watermark(&[ME, NodeId(2)]).expect("leads");
    assert_eq!(everywhere(), Offset(0));
    assert_eq!(fixture.partition.low_watermark(&[ME]).expect("leads"), Offset(2), "it is gone");
    fetch(2);
    assert_eq!(everywhere(), Offset(2));
}
