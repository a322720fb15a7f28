//! Bitcask's iterations: each sees one point in time, whatever goes on meanwhile, and leaves nothing behind.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kvdyno_engines::Clock;
use kvdyno_engines::bitcask::{Background, Bitcask, Iter, Options, SEGMENT_BYTES_MIN};
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Map, churn, colliding, contents, figure, open, small, unmerged};

/// What an iteration still shows. No key may come twice.
fn rest<S: Storage>(iter: Iter<'_, S>) -> Map {
    let mut map = Map::new();
    for entry in iter {
        let (key, value) = entry.unwrap();
        assert!(map.insert(key, value).is_none(), "a key is visited twice");
    }
    map
}

/// Ends other threads when it goes out of scope, by a failed assertion as well.
pub(super) struct Stop<'a>(pub(super) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// In the middle of a fold everything is overwritten, deleted, added and merged by the fold's own callback: neither waits for the other.
#[test]
fn a_fold_sees_one_point_in_time_while_writes_and_merges_go_on() {
    for options in [unmerged(), small(), colliding()] {
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        let store = open(&disk, &options);
        churn(&store, &mut map, 1, 800);
        let (before, mut seen) = (map.clone(), Map::new());
        store
            .fold(|key, value| {
                seen.insert(key.to_vec(), value.to_vec());
                if seen.len() == before.len() / 3 {
                    for (key, _) in std::mem::take(&mut map) {
                        assert!(store.delete(&key).unwrap());
                    }
                    store.merge().unwrap();
                    churn(&store, &mut map, 2, 800);
                    store.settle().unwrap();
                    store.merge().unwrap();
                    assert_eq!(contents(&store), map, "a fold within the fold");
                }
                churn(&store, &mut map, seen.len() as u64, 3);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seen, before);
        assert_eq!(contents(&store), map);
        assert_eq!(store.keys().unwrap().len(), map.len());
        store.close().unwrap();
        assert_eq!(contents(&open(&disk, &options)), map);
    }
}

/// Basho's bitcask #177: a fold that began while changes were pending for an earlier one lost keys, or saw them twice. Here several iterations that began at
/// different moments are under way, changes are pending for all of them, and they end in another order than they began in.
#[test]
fn a_fold_against_a_pending_epoch() {
    for options in [unmerged(), colliding()] {
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        let store = open(&disk, &options);
        churn(&store, &mut map, 1, 500);
        let mut pending = Vec::new();
        for epoch in 0..6 {
            let (mut iter, expected, mut seen) = (store.iter(), map.clone(), Map::new());
            seen.extend(iter.by_ref().take(epoch * 30).map(Result::unwrap));
            pending.push((iter, expected, seen));
            churn(&store, &mut map, 10 + epoch as u64, 120);
            if epoch % 2 == 0 {
                store.merge().unwrap();
            }
            assert_eq!(contents(&store), map, "a fold that begins now");
        }
        assert_eq!(figure(&store, "snapshots"), 6);
        for index in [2, 0, 3, 1, 1, 0] {
            let (iter, expected, mut seen) = pending.remove(index);
            let before = seen.len();
            let rest = rest(iter);
            assert_eq!(before + rest.len(), expected.len());
            seen.extend(rest);
            assert_eq!(seen, expected);
            churn(&store, &mut map, 20 + index as u64, 60);
            assert_eq!(contents(&store), map);
        }
        assert_eq!((figure(&store, "snapshots"), figure(&store, "snapshot_bytes")), (0, 0));
    }
}

/// As above, with a merge of another thread under way at whatever moment a fold begins.
#[test]
fn a_fold_that_begins_during_a_merge_loses_and_doubles_nothing() {
    const KEYS: u64 = 600;
    let options = Options { background: Background::Threads, ..unmerged() };
    let store = open(&SimulatedDisk::new(), &options);
    let put = |key: u64, round: u64| {
        store.put(&key.to_le_bytes(), &round.to_le_bytes().repeat(4)).unwrap();
    };
    (0..KEYS).for_each(|key| put(key, 0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                (0..KEYS).filter(|key| key % 7 == round % 7).for_each(|key| put(key, round));
                store.merge().unwrap();
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let _stop = Stop(&done);
        for _ in 0..150 {
            let seen = rest(store.iter());
            assert_eq!(seen.len() as u64, KEYS);
            assert!((0..KEYS).all(|key| seen.contains_key(&key.to_le_bytes()[..])));
        }
    });
}

/// Random steps; now and then an iteration begins, advances, or is dropped. Each shows the map as it was when it began.
#[test]
fn iterations_are_as_the_map_was_when_they_began() {
    for seed in 0..300 {
        let options = [small(), colliding(), unmerged()][seed as usize % 3].clone();
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        let store = open(&disk, &options);
        let mut random = StdRng::seed_from_u64(seed);
        let mut iters = Vec::new();
        for step in 0..120 {
            churn(&store, &mut map, seed * 1_000 + step, 8);
            match random.random_range(0..10) {
                0 => iters.push((store.iter(), map.clone())),
                1..5 if !iters.is_empty() => {
                    let chosen = random.random_range(0..iters.len());
                    let (iter, expected) = &mut iters[chosen];
                    for _ in 0..random.random_range(0..40) {
                        if let Some(entry) = iter.next() {
                            let (key, value) = entry.unwrap();
                            assert_eq!(expected.remove(&key), Some(value), "seed {seed}");
                        } else {
                            assert!(expected.is_empty(), "seed {seed}: the iteration ends early");
                        }
                    }
                }
                5 if !iters.is_empty() => {
                    drop(iters.swap_remove(random.random_range(0..iters.len())));
                }
                6 => drop(store.merge().unwrap()),
                7 => store.settle().unwrap(),
                _ => {}
            }
        }
        assert_eq!(figure(&store, "snapshots"), iters.len() as u64);
        for (iter, expected) in iters {
            assert_eq!(rest(iter), expected, "seed {seed}");
        }
        assert_eq!((figure(&store, "snapshots"), figure(&store, "snapshot_bytes")), (0, 0));
    }
}

/// Files of the folder that this process has open or mapped although they have been removed.
fn removed_but_held(dir: &Path) -> usize {
    let dir = dir.to_str().unwrap();
    let held = |link: String| link.starts_with(dir) && link.ends_with(" (deleted)");
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    // Another test may have closed a descriptor meanwhile.
    let links = links.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let open = links.filter(|link| held(link.to_string_lossy().into_owned())).count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().filter_map(|line| line.find('/').map(|at| line[at..].to_owned()));
    open + mapped.filter(|link| held(link.clone())).count()
}

#[test]
fn iterations_that_are_dropped_early_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { background: Background::Threads, ..unmerged() };
    let store = Bitcask::open(Disk, dir.path(), options).unwrap();
    let fill = |round: u8| {
        for key in 0..200_u8 {
            store.put(&[b'k', key], &[round; 200]).unwrap();
        }
    };
    fill(0);
    let mut iters: Vec<_> = (0..3).map(|_| store.iter()).collect();
    iters[1].by_ref().take(50).for_each(|entry| drop(entry.unwrap()));
    fill(1);
    store.merge().unwrap();
    assert!(removed_but_held(dir.path()) > 0, "iterations keep the files that they have to read");
    assert_eq!(figure(&store, "snapshots"), 3);
    assert!(figure(&store, "snapshot_bytes") >= 8 * 200);
    let (key, value) = iters[1].next().unwrap().unwrap();
    assert_eq!((key[0], value), (b'k', vec![0; 200]));
    drop(iters);
    assert_eq!(removed_but_held(dir.path()), 0);
    assert_eq!((figure(&store, "snapshots"), figure(&store, "snapshot_bytes")), (0, 0));
    store.fold(|_, _| ControlFlow::Break(())).unwrap();
    assert_eq!(figure(&store, "snapshots"), 0);
    fill(2);
    store.merge().unwrap();
    assert_eq!(removed_but_held(dir.path()), 0, "nothing is held for iterations that are over");
}

#[test]
fn a_damaged_record_does_not_end_an_iteration() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    for key in 0..20_u8 {
        store.put(&[key], &[key; 100]).unwrap();
    }
    store.close().unwrap();
    let path = super::files(&disk, "data").remove(0);
    let mut bytes = disk.read_all(&path).unwrap();
    let at = bytes.windows(100).position(|window| window == [7; 100]).unwrap();
    bytes[at + 50] ^= 1;
    disk.write_all(&path, &bytes);
    let store = open(&disk, &unmerged());
    let (good, bad): (Vec<_>, Vec<_>) = store.iter().partition(Result::is_ok);
    assert_eq!((good.len(), bad.len()), (19, 1));
    let message = bad[0].as_ref().unwrap_err().to_string();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    assert!(store.keys().is_err() && store.fold(|_, _| ControlFlow::Continue(())).is_err());
}

/// Key of a writer.
fn own_key(writer: u64, index: u64) -> [u8; 16] {
    (u128::from(writer) << 64 | u128::from(index)).to_be_bytes()
}

/// Each writer gives its keys one version after the other, in the order of the keys, and keeps one token that it puts at its next place before it takes it from the last. At
/// one point in time, therefore, versions never increase from key to key, and differ by one at most; and there are one or two tokens, neighbours.
/// A value holds two accounts, between which it transfers something: their sum is constant.
#[test]
fn iterations_are_consistent_cuts_while_several_threads_write() {
    const WRITERS: u64 = 2;
    const KEYS: u64 = 50;
    const PLACES: u64 = 10;
    const SUM: u64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { segment_bytes: 4 * SEGMENT_BYTES_MIN, hash_mask: 0xfff, ..Options::default() };
    let store = Bitcask::open(Disk, dir.path(), options).unwrap();
    let value = |version: u64| [version, SUM - version].map(u64::to_be_bytes).concat();
    for writer in 0..WRITERS {
        (0..KEYS).for_each(|key| store.put(&own_key(writer, key), &value(0)).unwrap());
        store.put(&own_key(writer, KEYS), b"").unwrap();
    }
    let (done, cuts) = (AtomicBool::new(false), AtomicU64::new(0));
    let word = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    let check = || {
        let seen = rest(store.iter());
        for writer in 0..WRITERS {
            let own = seen.range(own_key(writer, 0).to_vec()..own_key(writer, KEYS).to_vec());
            let versions: Vec<u64> = own
                .map(|(_, value)| {
                    assert_eq!(word(&value[..8]) + word(&value[8..]), SUM, "a torn value");
                    word(&value[..8])
                })
                .collect();
            assert_eq!(versions.len() as u64, KEYS);
            assert!(versions.is_sorted_by(|a, b| a >= b), "{versions:?}");
            let (first, last) = (versions[0], versions[KEYS as usize - 1]);
            assert!(first - last <= 1, "{versions:?}");
            cuts.fetch_add(first - last, Ordering::Relaxed);
            let places = own_key(writer, KEYS).to_vec()..own_key(writer + 1, 0).to_vec();
            let tokens: Vec<u64> =
                seen.range(places).map(|(key, _)| word(&key[8..]) - KEYS).collect();
            let neighbours =
                tokens.len() == 2 && [1, PLACES - 1].contains(&(tokens[1] - tokens[0]));
            assert!(tokens.len() == 1 || neighbours, "{tokens:?}");
        }
    };
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                for version in 1.. {
                    for key in 0..KEYS {
                        store.put(&own_key(writer, key), &value(version)).unwrap();
                        let place = (version - 1) * KEYS + key;
                        let token = |place| own_key(writer, KEYS + place % PLACES);
                        store.put(&token(place + 1), b"").unwrap();
                        assert!(store.delete(&token(place)).unwrap());
                    }
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                store.merge().unwrap();
            }
        });
        let iterating: Vec<_> =
            (0..2).map(|_| scope.spawn(|| (0..150).for_each(|_| check()))).collect();
        let _stop = Stop(&done);
        for thread in iterating {
            thread.join().unwrap();
        }
    });
    assert!(cuts.into_inner() > 0, "no iteration began in the middle of a version");
    assert_eq!((figure(&store, "snapshots"), figure(&store, "snapshot_bytes")), (0, 0));
}

/// What an iteration shows is decided by the time of day at which it began.
#[test]
fn nothing_expires_during_an_iteration() {
    let time = Arc::new(AtomicU64::new(1_000));
    let options = Options { clock: Clock::Manual(Arc::clone(&time)), ..small() };
    let store = open(&SimulatedDisk::new(), &options);
    for key in 0..100_u8 {
        store.put_expiring(&[key], b"short", Duration::from_millis(u64::from(key) + 1)).unwrap();
    }
    let mut iter = store.iter();
    iter.by_ref().take(10).for_each(|entry| drop(entry.unwrap()));
    time.store(1_050, Ordering::Relaxed);
    let later = store.iter();
    store.merge().unwrap();
    time.store(2_000, Ordering::Relaxed);
    store.merge().unwrap();
    assert_eq!((rest(iter).len(), rest(later).len(), rest(store.iter()).len()), (90, 50, 0));
    assert_eq!(store.len(), 0);
}
