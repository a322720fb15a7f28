//! Bitcask's ordered view: scans in order where they were asked for, of one point in time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kvdyno_engines::bitcask::{Background, Bitcask, Options, capabilities};
use kvdyno_engines::conformance;
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::{Clock, Direction, Engine, Error, OperationKind};

use super::iterating::Stop;
use super::{DIR, Map, churn, colliding, figure, open, small, unmerged};

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn ordered(options: &Options) -> Options {
    Options { ordered_scans: true, ..options.clone() }
}

fn scan(
    store: &Bitcask<SimulatedDisk>,
    start: &[u8],
    direction: Direction,
    limit: usize,
) -> Entries {
    let mut entries = Entries::new();
    let visited = store
        .session()
        .unwrap()
        .scan(start, direction, limit, &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(visited, entries.len());
    entries
}

fn all(store: &Bitcask<SimulatedDisk>) -> Map {
    scan(store, b"", Direction::Forward, usize::MAX).into_iter().collect()
}

#[test]
fn bitcask_with_ordered_scans_conforms() {
    for options in [small(), colliding(), Options { background: Background::Threads, ..small() }] {
        conformance::check(|| {
            let disk = SimulatedDisk::new();
            let options = ordered(&options);
            move |durability| {
                let options = Options { durability, ..options.clone() };
                Ok(Box::new(Bitcask::open(disk.clone(), DIR, options)?) as Box<dyn Engine>)
            }
        });
    }
}

#[test]
fn without_the_option_a_scan_is_refused() {
    let store = open(&SimulatedDisk::new(), &small());
    store.put(b"key", b"value").unwrap();
    let mut session = store.session().unwrap();
    for (direction, kind) in [
        (Direction::Forward, OperationKind::ScanForward),
        (Direction::Reverse, OperationKind::ScanReverse),
    ] {
        let outcome = session.scan(b"", direction, 1, &mut |_, _| panic!("something is visited"));
        assert!(matches!(outcome, Err(Error::Unsupported(refused)) if refused == kind));
        assert!(!store.capabilities().supports(kind) && !capabilities().supports(kind));
        let asked_for = open(&SimulatedDisk::new(), &ordered(&small()));
        assert!(asked_for.capabilities().supports(kind));
    }
    assert!(!store.metrics().counters.contains_key("ordered_view_rebuilds"));
}

#[test]
fn keys_are_sorted_again_only_after_one_was_added_or_removed() {
    let store = open(&SimulatedDisk::new(), &ordered(&small()));
    let rebuilds = || figure(&store, "ordered_view_rebuilds");
    for key in 0..100_u8 {
        store.put(&[key], b"old").unwrap();
    }
    assert_eq!((rebuilds(), all(&store).len(), rebuilds()), (0, 100, 1));
    for key in 0..100_u8 {
        store.put(&[key], b"new").unwrap();
    }
    assert!(!store.delete(b"absent").unwrap());
    store.merge().unwrap();
    assert!(all(&store).values().all(|value| value == b"new"));
    assert_eq!(scan(&store, &[50], Direction::Reverse, 3).len(), 3);
    assert_eq!(rebuilds(), 1, "values and places have changed, but not the keys");
    store.delete(&[7]).unwrap();
    assert_eq!((all(&store).len(), rebuilds()), (99, 2));
    store.put(&[7], b"back").unwrap();
    store.put(&[200], b"more").unwrap();
    assert_eq!(scan(&store, &[7], Direction::Forward, 1), [(vec![7], b"back".to_vec())]);
    assert_eq!((all(&store).len(), rebuilds()), (101, 3));
    assert!(store.metrics().counters["ordered_view_rebuild_seconds"] > 0.0);
    assert_eq!(figure(&store, "snapshots"), 0);
}

/// The callback overwrites, deletes, adds and merges what the scan has still to visit, and scans on its own.
#[test]
fn a_scan_sees_one_point_in_time_also_of_values() {
    for options in [ordered(&unmerged()), ordered(&colliding())] {
        let store = open(&SimulatedDisk::new(), &options);
        let mut map = Map::new();
        churn(&store, &mut map, 1, 600);
        for direction in [Direction::Forward, Direction::Reverse] {
            let (before, mut seen) = (map.clone(), Entries::new());
            let mut session = store.session().unwrap();
            session
                .scan(b"", direction, usize::MAX, &mut |key, value| {
                    seen.push((key.to_vec(), value.to_vec()));
                    churn(&store, &mut map, seen.len() as u64, 20);
                    if seen.len() % 20 == 0 {
                        store.merge().unwrap();
                        assert_eq!(all(&store), map);
                    }
                    ControlFlow::Continue(())
                })
                .unwrap();
            if direction == Direction::Reverse {
                seen.reverse();
            }
            assert!(seen.into_iter().eq(before));
        }
    }
}

/// The version of each key follows that of the one before it: what a scan sees of them can be told from a mixture. Some scans sort anew, most do not.
#[test]
fn scans_of_several_threads_are_consistent_cuts() {
    const KEYS: u8 = 40;
    let options = ordered(&Options { background: Background::Threads, ..small() });
    let store = open(&SimulatedDisk::new(), &options);
    let put = |key: u8, version: u64| store.put(&[key], &version.to_be_bytes()).unwrap();
    (0..KEYS).for_each(|key| put(key, 0));
    let done = AtomicBool::new(false);
    let check = || {
        let entries = scan(&store, &[0], Direction::Forward, KEYS.into());
        assert!(entries.iter().map(|(key, _)| key[0]).eq(0..KEYS));
        let versions: Vec<_> = entries
            .into_iter()
            .map(|(_, value)| u64::from_be_bytes(value.try_into().unwrap()))
            .collect();
        let cut = versions.is_sorted_by(|a, b| a >= b);
        assert!(cut && versions[0] - versions[versions.len() - 1] <= 1, "{versions:?}");
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1.. {
                (0..KEYS).for_each(|key| put(key, version));
                if version % 5 == 0 {
                    put(KEYS, version);
                    assert!(store.delete(&[KEYS]).unwrap());
                }
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let scanning: Vec<_> =
            (0..2).map(|_| scope.spawn(|| (0..200).for_each(|_| check()))).collect();
        let _stop = Stop(&done);
        for thread in scanning {
            thread.join().unwrap();
        }
    });
    assert_eq!(figure(&store, "snapshots"), 0);
}

/// Putting a key again whose value has expired changes a value, not the key set: the sorted keys must have it although it was gone when they were sorted.
#[test]
fn a_key_that_expired_and_is_put_again_is_scanned() {
    let time = Arc::new(AtomicU64::new(1_000));
    let options = Options { clock: Clock::Manual(Arc::clone(&time)), ..ordered(&small()) };
    let store = open(&SimulatedDisk::new(), &options);
    store.put_expiring(b"b", b"short", Duration::from_millis(500)).unwrap();
    store.put(b"a", b"1").unwrap();
    store.put(b"c", b"3").unwrap();
    let keys = |limit| {
        let entries = scan(&store, b"", Direction::Forward, limit);
        entries.into_iter().map(|(key, _)| key[0]).collect::<Vec<u8>>()
    };
    time.store(1_500, Ordering::Relaxed);
    assert_eq!((keys(9), keys(2)), (b"ac".to_vec(), b"ac".to_vec()));
    store.put(b"b", b"back").unwrap();
    assert_eq!((keys(9), keys(2)), (b"abc".to_vec(), b"ab".to_vec()));
    store.put_expiring(b"b", b"short", Duration::from_millis(500)).unwrap();
    time.store(2_000, Ordering::Relaxed);
    assert_eq!(keys(9), b"ac");
    time.store(1_999, Ordering::Relaxed);
    assert_eq!(keys(9), b"abc", "the clock was set back");
    assert_eq!(figure(&store, "ordered_view_rebuilds"), 1);
    time.store(2_000, Ordering::Relaxed);
    store.merge().unwrap();
    assert_eq!((keys(9), store.len()), (b"ac".to_vec(), 2));
}
