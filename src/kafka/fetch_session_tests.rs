//! Tests of the fetch sessions.

use super::*;

fn key(name: &str, partition: i32) -> PartitionKey {
    (TopicRef::Name(Arc::from(name)), PartitionIndex(partition))
}

fn wanted(offset: i64) -> Wanted {
    Wanted {
        fetch_offset: Offset(offset),
        bytes_max: 1000,
        current_leader_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
    }
}

fn seen(high_watermark: i64) -> Seen {
    Seen {
        high_watermark: Offset(high_watermark),
        log_start_offset: Offset::ZERO,
        has_records: false,
        has_error: false,
        has_news: false,
    }
}

fn request(id: i32, epoch: i32, partitions: &[(PartitionKey, Wanted)]) -> SessionRequest {
    SessionRequest {
        session_id: id,
        session_epoch: epoch,
        uses_topic_ids: false,
        wanted: partitions.to_vec(),
        forgotten: Vec::new(),
    }
}

/// Runs one fetch in which every partition is answered with what `answer` says.
fn fetch(
    cache: &SessionCache,
    request: SessionRequest,
    answer: impl Fn(&PartitionKey) -> Seen,
) -> Answered<Seen> {
    let plan = cache.begin(request).expect("the session goes on");
    let answers = plan.wanted.iter().map(|(key, _)| (key.clone(), answer(key))).collect();
    cache.finish(plan, answers, |seen| *seen)
}

fn keys(answered: &Answered<Seen>) -> Vec<PartitionKey> {
    answered.partitions.iter().map(|(key, _)| key.clone()).collect()
}

#[test]
fn trap_5_sessions_incomplete_replies() {
    let cache = SessionCache::new(10, 100);
    let (a, b) = (key("t", 0), key("t", 1));
    let open = request(0, 0, &[(a.clone(), wanted(0)), (b.clone(), wanted(0))]);
    let full = fetch(&cache, open, |_| seen(5));
    assert_eq!(keys(&full), [a.clone(), b.clone()], "a full answer lists every partition");
    let id = full.session_id;
    assert!(id > 0);

    let nothing_new = fetch(&cache, request(id, 1, &[]), |_| seen(5));
    assert!(keys(&nothing_new).is_empty());
    let moved = fetch(&cache, request(id, 2, &[]), |at| seen(if *at == b { 6 } else { 5 }));
    assert_eq!(keys(&moved), [key("t", 1)], "a high watermark that moved is told");
    let start = fetch(&cache, request(id, 3, &[]), |at| Seen {
        log_start_offset: Offset(i64::from(*at == a)),
        ..seen(if *at == b { 6 } else { 5 })
    });
    assert_eq!(keys(&start), [key("t", 0)], "a log start offset that moved is told");
    let settled = |at: &PartitionKey| Seen {
        log_start_offset: Offset(i64::from(*at == key("t", 0))),
        ..seen(if at.1 == PartitionIndex(1) { 6 } else { 5 })
    };
    let news = fetch(&cache, request(id, 4, &[]), |at| Seen { has_news: *at == a, ..settled(at) });
    assert_eq!(keys(&news), [key("t", 0)], "divergence and preferred replicas are told");

    let failed =
        fetch(&cache, request(id, 5, &[]), |at| Seen { has_error: *at == a, ..settled(at) });
    assert_eq!(keys(&failed), [key("t", 0)]);
    let again = fetch(&cache, request(id, 6, &[]), settled);
    assert_eq!(keys(&again), [a], "an errored partition reappears once the error is over");
    assert!(keys(&fetch(&cache, request(id, 7, &[]), settled)).is_empty());
}

#[test]
fn trap_5_sessions_codes() {
    let cache = SessionCache::new(10, 100);
    let a = key("t", 0);
    assert_eq!(cache.begin(request(77, 1, &[])).err(), Some(SessionError::NotFound));

    let id = fetch(&cache, request(0, 0, &[(a.clone(), wanted(0))]), |_| seen(0)).session_id;
    assert_eq!(cache.begin(request(id, 2, &[])).err(), Some(SessionError::Epoch));
    let by_id = SessionRequest { uses_topic_ids: true, ..request(id, 1, &[]) };
    assert_eq!(cache.begin(by_id).err(), Some(SessionError::MixedIds));
    // A retry of an answered request has an old epoch.
    fetch(&cache, request(id, 1, &[]), |_| seen(0));
    assert_eq!(cache.begin(request(id, 1, &[])).err(), Some(SessionError::Epoch));
    // Closing: epoch -1.
    let last = fetch(&cache, request(id, -1, &[(a.clone(), wanted(0))]), |_| seen(0));
    assert_eq!(last.session_id, 0);
    assert_eq!(keys(&last), [a]);
    assert_eq!(cache.len(), 0);
    assert_eq!(cache.begin(request(id, 2, &[])).err(), Some(SessionError::NotFound));
}

#[test]
fn a_full_fetch_replaces_the_session_that_it_names() {
    let cache = SessionCache::new(10, 100);
    let a = [(key("t", 0), wanted(0))];
    let first = fetch(&cache, request(0, 0, &a), |_| seen(0)).session_id;
    let second = fetch(&cache, request(first, 0, &a), |_| seen(0)).session_id;
    assert_ne!(first, second);
    assert_eq!(cache.len(), 1);
}

#[test]
fn trap_5_sessions_duplicate_entries_and_fairness() {
    let cache = SessionCache::new(10, 100);
    let (a, b) = (key("t", 0), key("t", 1));
    let open = [(a.clone(), wanted(0)), (b.clone(), wanted(0)), (a.clone(), wanted(9))];
    let full = fetch(&cache, request(0, 0, &open), |_| seen(5));
    assert_eq!(keys(&full), [a.clone(), b.clone()], "each partition once");
    let id = full.session_id;

    // The same partition again updates its entry, its leader epoch included.
    let newer = Wanted { current_leader_epoch: LeaderEpoch(4), ..wanted(10) };
    let plan = cache.begin(request(id, 1, &[(a.clone(), newer)])).expect("goes on");
    assert_eq!(plan.wanted, [(a.clone(), newer), (b.clone(), wanted(0))]);
    let with_data = |at: &PartitionKey| Seen { has_records: *at == key("t", 0), ..seen(5) };
    let answers = plan.wanted.iter().map(|(key, _)| (key.clone(), with_data(key))).collect();
    cache.finish(plan, answers, |seen| *seen);
    // What got data is served last next time.
    let plan = cache.begin(request(id, 2, &[])).expect("goes on");
    assert_eq!(plan.wanted, [(b.clone(), wanted(0)), (a.clone(), newer)]);

    let forget = SessionRequest { forgotten: vec![a], ..request(id, 3, &[]) };
    assert_eq!(cache.begin(forget).expect("goes on").wanted, [(b.clone(), wanted(0))]);
    let forget = SessionRequest { forgotten: vec![b], ..request(id, 4, &[]) };
    assert!(cache.begin(forget).expect("answered").wanted.is_empty());
    assert_eq!(cache.len(), 0, "a session without partitions is over");
}

#[test]
fn a_session_used_twice_at_once_answers_only_the_later_request() {
    let cache = SessionCache::new(10, 100);
    let a = [(key("t", 0), wanted(0))];
    let id = fetch(&cache, request(0, 0, &a), |_| seen(0)).session_id;
    let early = cache.begin(request(id, 1, &[])).expect("goes on");
    let late = cache.begin(request(id, 2, &[])).expect("goes on");
    let answer = cache.finish(early, vec![(key("t", 0), seen(3))], |seen| *seen);
    assert_eq!(answer.error, Some(SessionError::Epoch));
    assert!(cache.finish(late, vec![(key("t", 0), seen(3))], |seen| *seen).error.is_none());
}

#[tokio::test(start_paused = true)]
async fn sessions_and_their_partitions_are_bounded() {
    let cache = SessionCache::new(2, 5);
    let one = [(key("t", 0), wanted(0))];
    let two = [(key("t", 0), wanted(0)), (key("t", 1), wanted(0))];
    let first = fetch(&cache, request(0, 0, &two), |_| seen(0)).session_id;
    let second = fetch(&cache, request(0, 0, &two), |_| seen(0)).session_id;
    assert_eq!(fetch(&cache, request(0, 0, &two), |_| seen(0)).session_id, 0, "no room");

    tokio::time::advance(Duration::from_millis(limits::FETCH_SESSION_IDLE_MS + 1)).await;
    fetch(&cache, request(second, 1, &[]), |_| seen(0));
    fetch(&cache, request(first, 1, &[]), |_| seen(0));
    assert_eq!(
        fetch(&cache, request(0, 0, &one), |_| seen(0)).session_id,
        0,
        "a smaller session does not displace larger ones that are in use"
    );
    let third = fetch(&cache, request(0, 0, &two), |_| seen(0)).session_id;
    assert_ne!(third, 0, "an old session makes room for one that is as large");
    assert_eq!(cache.len(), 2);

    // Growing over the bound ends the session instead of the memory.
    let more: Vec<_> = (0..9).map(|index| (key("u", index), wanted(0))).collect();
    assert_eq!(cache.begin(request(third, 1, &more)).err(), Some(SessionError::NotFound));
    assert_eq!(cache.len(), 1);
}

#[test]
fn trap_15_fetch_session_ids_start_again_after_a_restart() {
    let ids: std::collections::BTreeSet<i32> = (0..50)
        .map(|_| {
            let cache = SessionCache::default();
            fetch(&cache, request(0, 0, &[(key("t", 0), wanted(0))]), |_| seen(0)).session_id
        })
        .collect();
    assert!(ids.len() > 45, "fresh processes start with random ids: {ids:?}");
    assert!(ids.iter().all(|id| *id > 0));
}
