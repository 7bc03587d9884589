//! One partition, one change at a time.

use super::*;

/// Brokers 1 to 9, and who of them is what.
#[derive(Debug, Clone, Default)]
struct World {
    down: Vec<i32>,
    stopping: Vec<i32>,
    draining: Vec<i32>,
    insync_min: Option<i32>,
    unclean: bool,
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

impl World {
    fn with_min(insync_min: i32) -> Self {
        Self { insync_min: Some(insync_min), ..Self::default() }
    }

    fn standings(&self) -> Standings {
        let standing = |id: i32| Standing {
            unfenced: !self.down.contains(&id),
            stopping: self.stopping.contains(&id),
            draining: self.draining.contains(&id),
        };
        Standings((1..=9).map(|id| (NodeId(id), standing(id))).collect())
    }

    fn partition(&self, replicas: &[i32]) -> Partition {
        new_partition(nodes(replicas), &self.standings()).expect("one is active")
    }

    fn settle_without(&self, p: &mut Partition, excluded: &[i32]) -> bool {
        self.change(p, excluded, |_| ())
    }

    fn settle(&self, p: &mut Partition) -> bool {
        self.settle_without(p, &[])
    }

    fn change(&self, p: &mut Partition, excluded: &[i32], by: impl FnOnce(&mut Partition)) -> bool {
        let standings = self.standings();
        let before = p.clone();
        by(p);
        let (insync_min, unclean) = (self.insync_min, self.unclean);
        let election = Election { standings: &standings, insync_min, unclean };
        election.settle(p, &before, &nodes(excluded))
    }
}

/// `replicas / isr / elr / leader @ leader epoch . partition epoch`
fn show(partition: &Partition) -> String {
    let list = |ids: &[NodeId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    format!(
        "{} / {} / {} / {} @ {}.{}",
        list(&partition.replicas),
        list(&partition.isr),
        list(&partition.elr),
        partition.leader.map_or("-".to_owned(), |id| id.to_string()),
        partition.leader_epoch,
        partition.partition_epoch
    )
}

#[test]
fn a_new_partition_is_led_by_its_first_active_replica_at_epoch_zero() {
    let mut world = World::default();
    assert_eq!(show(&world.partition(&[3, 1, 2])), "3,1,2 / 3,1,2 /  / 3 @ 0.0");
    world.draining = vec![3, 1];
    assert_eq!(show(&world.partition(&[3, 1, 2])), "3,1,2 / 3,1,2 /  / 2 @ 0.0");
    world.down = vec![2];
    assert_eq!(show(&world.partition(&[3, 1, 2])), "3,1,2 / 3,1 /  / 3 @ 0.0");
    assert_eq!(new_partition(nodes(&[2]), &world.standings()), None);
}

#[test]
fn replicas_lost_one_by_one_go_to_the_elr_below_the_minimum_and_come_back_by_election() {
    let mut world = World::with_min(2);
    let mut p = world.partition(&[1, 2, 3]);
    world.down = vec![1];
    assert!(world.settle(&mut p));
    assert_eq!(show(&p), "1,2,3 / 2,3 /  / 2 @ 1.1");
    world.down = vec![1, 3];
    assert!(world.settle(&mut p));
    assert_eq!(show(&p), "1,2,3 / 2 / 3 / 2 @ 1.2");
    world.down = vec![1, 2, 3];
    assert!(world.settle(&mut p));
    assert_eq!(show(&p), "1,2,3 /  / 2,3 / - @ 2.3");
    // Node 1 left when the ISR was large enough: it may lack what was committed since.
    world.down = vec![2, 3];
    assert!(!world.settle(&mut p));
    world.down = vec![2];
    assert!(world.settle(&mut p));
    assert_eq!(show(&p), "1,2,3 / 3 / 2 / 3 @ 3.4");
    // Once elected, nothing changes until something happens.
    world.down = vec![];
    assert!(!world.settle(&mut p));
}

#[test]
fn replicas_lost_together_all_held_what_was_committed() {
    let mut world = World::default();
    let mut p = world.partition(&[1, 2, 3]);
    world.down = vec![1, 2];
    world.settle(&mut p);
    assert_eq!(show(&p), "1,2,3 / 3 / 1,2 / 3 @ 1.1", "one change, one new leader");
}

#[test]
fn losing_a_replica_that_was_not_in_sync_changes_nothing() {
    let mut world = World::with_min(1);
    let mut p = world.partition(&[1, 2, 3]);
    world.change(&mut p, &[], |p| p.isr = nodes(&[1, 2]));
    let before = p.clone();
    world.down = vec![3];
    assert!(!world.settle(&mut p));
    assert_eq!(p, before);
}

#[test]
fn an_unclean_stop_takes_the_replica_out_of_the_elr_unless_it_is_the_only_one() {
    let mut world = World::with_min(2);
    let mut p = world.partition(&[1, 2]);
    world.down = vec![2];
    world.settle(&mut p);
    world.down = vec![1, 2];
    world.settle(&mut p);
    assert_eq!(show(&p), "1,2 /  / 1,2 / - @ 1.2");
    assert!(world.settle_without(&mut p, &[2]));
    assert_eq!(show(&p), "1,2 /  / 1 / - @ 1.3");
    world.down = vec![1];
    assert!(!world.settle(&mut p));

    let mut world = World::default();
    let mut single = world.partition(&[7]);
    world.down = vec![7];
    world.settle_without(&mut single, &[7]);
    assert_eq!(show(&single), "7 /  / 7 / - @ 1.1");
    world.down = vec![];
    assert!(world.settle(&mut single));
    assert_eq!(show(&single), "7 / 7 /  / 7 @ 2.2");
    assert_eq!(single.recovery, LeaderRecoveryState::Recovered);
}

#[test]
fn where_all_may_have_lost_something_who_led_last_leads_and_has_to_recover() {
    let mut world = World::with_min(2);
    let mut p = world.partition(&[1, 2, 3]);
    world.down = vec![1, 2, 3];
    world.settle(&mut p);
    for id in [3, 1] {
        world.settle_without(&mut p, &[id]);
    }
    assert_eq!(show(&p), "1,2,3 /  / 2 / - @ 1.3");
    world.down = vec![2];
    assert!(!world.settle(&mut p), "one that lost nothing may still come back");
    assert_eq!(p.leader_last_known, Some(NodeId(1)));
    assert!(world.settle_without(&mut p, &[2]));
    assert_eq!(show(&p), "1,2,3 / 1 /  / 1 @ 2.4");
    assert_eq!(p.recovery, LeaderRecoveryState::Recovering);
    assert_eq!(p.leader_last_known, None);
}

#[test]
fn anybody_leads_only_where_unclean_election_is_allowed_and_nobody_better_is_there() {
    let mut world = World::with_min(1);
    let mut p = world.partition(&[1, 2, 3]);
    world.change(&mut p, &[], |p| p.isr = nodes(&[1]));
    world.down = vec![1];
    world.settle(&mut p);
    assert_eq!(show(&p), "1,2,3 /  / 1 / - @ 1.2");
    let mut allowed = p.clone();
    world.unclean = true;
    assert!(world.settle(&mut allowed));
    assert_eq!(show(&allowed), "1,2,3 / 2 /  / 2 @ 2.3");
    assert_eq!(allowed.recovery, LeaderRecoveryState::Recovering);
    world.down = vec![];
    assert!(world.settle(&mut p));
    assert_eq!(show(&p), "1,2,3 / 1 /  / 1 @ 2.3");
    assert_eq!(p.recovery, LeaderRecoveryState::Recovered);
}

#[test]
fn who_stops_hands_over_or_leads_to_its_end() {
    let mut world = World::default();
    let mut p = world.partition(&[1, 2]);
    world.stopping = vec![1];
    world.settle(&mut p);
    assert_eq!(show(&p), "1,2 / 2 /  / 2 @ 1.1");
    world.stopping = vec![1, 2];
    assert!(!world.settle(&mut p), "2 is the only one in sync");
    world.down = vec![2];
    world.settle(&mut p);
    assert_eq!(show(&p), "1,2 /  / 2 / - @ 2.2");
    // Once another is in sync, who stops can go.
    let mut world = World { stopping: vec![1], ..World::default() };
    let mut p = World::default().partition(&[1, 2]);
    p.isr = nodes(&[1]);
    assert!(!world.settle(&mut p));
    assert!(world.change(&mut p, &[], |p| p.isr = nodes(&[1, 2])));
    assert_eq!(show(&p), "1,2 / 2 /  / 2 @ 1.1");
    world.stopping.clear();
    assert!(!world.settle(&mut p));
}

#[test]
fn who_is_drained_leads_only_where_nobody_else_can() {
    let mut world = World::default();
    let mut p = world.partition(&[1, 2, 3]);
    world.draining = vec![1, 2];
    world.settle(&mut p);
    assert_eq!(show(&p), "1,2,3 / 1,2,3 /  / 3 @ 1.1", "it stays in sync");
    world.down = vec![3];
    world.settle(&mut p);
    assert_eq!(show(&p), "1,2,3 / 1,2 /  / 1 @ 2.2");
    world.down = vec![];
    assert!(!world.settle(&mut p));
    world.change(&mut p, &[], |p| p.isr = nodes(&[1, 2, 3]));
    assert_eq!(show(&p), "1,2,3 / 1,2,3 /  / 3 @ 3.3");
}

#[test]
fn a_replica_without_storage_leads_nothing_and_is_not_eligible() {
    let world = World::with_min(2);
    let mut p = world.partition(&[1, 2]);
    world.change(&mut p, &[1], |p| p.offline = nodes(&[1]));
    assert_eq!(show(&p), "1,2 / 2 /  / 2 @ 1.1");
    world.change(&mut p, &[2], |p| p.offline = nodes(&[1, 2]));
    assert_eq!(show(&p), "1,2 /  /  / - @ 2.2");
    assert_eq!(p.leader_last_known, Some(NodeId(2)));
    let unclean = World { unclean: true, ..world.clone() };
    assert!(!unclean.settle(&mut p), "not even uncleanly");
    world.change(&mut p, &[], |p| p.offline.clear());
    assert_eq!(show(&p), "1,2 / 2 /  / 2 @ 3.3");
    assert_eq!(p.recovery, LeaderRecoveryState::Recovering);
}

#[test]
fn a_reassignment_ends_when_what_it_adds_is_in_sync_and_enough_stay() {
    let world = World::default();
    let moving = |isr: &[i32], replicas: &[i32], adding: &[i32], removing: &[i32]| {
        let mut p = world.partition(replicas);
        world.change(&mut p, &[], |p| {
            p.isr = nodes(isr);
            p.adding = nodes(adding);
            p.removing = nodes(removing);
        });
        p
    };
    let p = moving(&[1, 2], &[2, 3, 1], &[3], &[1]);
    assert_eq!(show(&p), "2,3,1 / 2,1 /  / 2 @ 0.1");
    let p = moving(&[1, 2, 3], &[2, 3, 1], &[3], &[1]);
    assert_eq!(show(&p), "2,3 / 2,3 /  / 2 @ 1.1", "a replica is gone: a new leader epoch");
    let p = moving(&[1, 3], &[1, 2, 3], &[], &[3]);
    assert!(p.is_reassigning(), "3 is one of two copies, and 2 is not in sync");
    let p = moving(&[1, 2], &[1, 2, 3], &[], &[3]);
    assert_eq!(show(&p), "1,2 / 1,2 /  / 1 @ 1.1");
    let p = moving(&[1, 4], &[1, 2, 4, 3], &[4], &[3]);
    assert_eq!(show(&p), "1,2,4 / 1,4 /  / 1 @ 1.1", "2 is down, and nothing depends on 3");
    let p = moving(&[1], &[1, 2, 3], &[2, 3], &[]);
    assert!(p.is_reassigning());
    assert_eq!(insync_min(None, &p), 1, "those that are added cannot be asked for yet");
    assert_eq!(insync_min(Some(2), &p), 1);
}

#[test]
fn the_minimum_never_asks_for_more_replicas_than_there_are() {
    assert_eq!(insync_min_of(Some(2), 1), 1);
    assert_eq!(insync_min_of(Some(2), 3), 2);
    assert_eq!(insync_min_of(Some(-5), 3), 1);
    assert_eq!(insync_min_of(Some(1), 0), 1);
    for (replicas, expected) in [(0, 1), (1, 1), (2, 1), (3, 2), (5, 2)] {
        assert_eq!(insync_min_of(None, replicas), expected);
    }
}
