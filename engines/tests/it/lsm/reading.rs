//! Snapshots, iterators, cursors and multi-gets against a map, over random writes, flushes, compactions and reopening.

use std::ops::{Bound, ControlFlow, RangeBounds};

use kvdyno_engines::lsm::{KeyRange, Lsm, Snapshot};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::{Direction, Engine, WriteBatch, WriteOperation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Map, contents, open};

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A key of few letters, the least and the greatest byte among them, so that keys often begin with one another and ranges end at keys.
fn any_key(random: &mut StdRng) -> Vec<u8> {
    let letters = [0, 1, b'a', 0xff];
    (0..random.random_range(1..=4)).map(|_| letters[random.random_range(0..4)]).collect()
}

fn any_bound(random: &mut StdRng) -> Bound<Vec<u8>> {
    let key = if random.random_range(0..10) == 0 { Vec::new() } else { any_key(random) };
    match random.random_range(0..5) {
        0 => Bound::Unbounded,
        1..3 => Bound::Included(key),
        _ => Bound::Excluded(key),
    }
}

/// A range, and what a map has in it.
fn any_range(random: &mut StdRng, model: &Map) -> (KeyRange, Entries) {
    let within = |wanted: &dyn Fn(&Vec<u8>) -> bool| -> Entries {
        let entries = model.iter().filter(|(key, _)| wanted(key));
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    match random.random_range(0..8) {
        0 => (KeyRange::default(), within(&|_| true)),
        1 | 2 => {
            let mut prefix = any_key(random);
            prefix.truncate(random.random_range(0..=2));
            (KeyRange::prefix(&prefix), within(&|key| key.starts_with(&prefix)))
        }
        _ => {
            let bounds = (any_bound(random), any_bound(random));
            let entries = within(&|key| RangeBounds::<Vec<u8>>::contains(&bounds, key));
            (KeyRange::from(bounds), entries)
        }
    }
}

/// Walks about in a range, beside an index into its entries: -1 is before the first, the number of entries behind the last.
fn check_cursor(
    random: &mut StdRng,
    snapshot: &Snapshot<'_, SimulatedDisk>,
    range: &KeyRange,
    entries: &Entries,
) {
    let shown = |entry: Option<(&[u8], &[u8])>| entry.map(|(k, v)| (k.to_vec(), v.to_vec()));
    let len = entries.len() as isize;
    let (mut cursor, mut at) = (snapshot.cursor(range.clone()), -1);
    for _ in 0..40 {
        let key = if random.random_range(0..10) == 0 { Vec::new() } else { any_key(random) };
        let before = |inclusive: bool| {
            entries.partition_point(|(k, _)| if inclusive { *k <= key } else { *k < key }) as isize
        };
        let (entry, expected) = match random.random_range(0..12) {
            0 => (cursor.seek_first(), 0),
            1 => (cursor.seek_last(), len - 1),
            2 => (cursor.seek(&key), before(false)),
            3 => (cursor.seek_back(&key), before(true) - 1),
            4..8 => (cursor.move_next(), (at + 1).min(len)),
            _ => (cursor.move_prev(), (at - 1).max(-1)),
        };
        let entry = shown(entry.unwrap());
        at = expected;
        assert_eq!(entry, entries.get(at as usize).cloned(), "{range:?}, at {at} of {len}");
        assert_eq!(shown(cursor.current()), entry);
    }
}

/// A snapshot shows what a map holds, by whatever way it is read.
fn check(random: &mut StdRng, snapshot: &Snapshot<'_, SimulatedDisk>, model: &Map) {
    for _ in 0..3 {
        let (range, entries) = any_range(random, model);
        let read: Result<Entries, _> = snapshot.iter(range.clone()).collect();
        assert_eq!(read.unwrap(), entries, "{range:?}");
        let read: Result<Entries, _> = snapshot.iter(range.clone()).rev().collect();
        let reversed: Entries = entries.iter().rev().cloned().collect();
        assert_eq!(read.unwrap(), reversed, "{range:?}");

        let (mut iter, mut front, mut back) = (snapshot.iter(range.clone()), vec![], vec![]);
        loop {
            let (next, seen) = match random.random_range(0..2) {
                0 => (iter.next(), &mut front),
                _ => (iter.next_back(), &mut back),
            };
            let Some(next) = next else { break };
            seen.push(next.unwrap());
        }
        assert!(iter.next().is_none() && iter.next_back().is_none());
        front.extend(back.into_iter().rev());
        assert_eq!(front, entries, "from both ends of {range:?}");
        check_cursor(random, snapshot, &range, &entries);
    }
    let keys: Vec<_> = (0..random.random_range(0..20)).map(|_| any_key(random)).collect();
    let (mut value, mut answers) = (Vec::new(), 0);
    snapshot
        .multi_get(&keys, |index, value| {
            assert_eq!(index, answers, "keys are visited in their order");
            assert_eq!(value, model.get(&keys[index]).map(Vec::as_slice));
            answers += 1;
        })
        .unwrap();
    assert_eq!(answers, keys.len());
    for key in &keys {
        assert_eq!(snapshot.get(key, &mut value).unwrap(), model.contains_key(key));
        assert_eq!(value, model.get(key).cloned().unwrap_or_default());
    }
    let (start, mut read) = (any_key(random), Entries::new());
    let visit = &mut |key: &[u8], value: &[u8]| {
        read.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    snapshot.scan(&start, Direction::Forward, 10, visit).unwrap();
    let expected = model.range(start..).take(10);
    assert!(read.iter().map(|(key, value)| (key, value)).eq(expected));
}

/// Does something at random to a store and to a map.
fn change(random: &mut StdRng, store: &Lsm<SimulatedDisk>, model: &mut Map) {
    let value = |random: &mut StdRng| vec![random.random::<u8>(); random.random_range(0..60)];
    match random.random_range(0..40) {
        0 => store.flush().unwrap(),
        1 => store.compact().unwrap(),
        2 => store.settle().unwrap(),
        3..8 => {
            let mut batch = WriteBatch::default();
            for _ in 0..random.random_range(0..8) {
                let key = any_key(random);
                batch.operations.push(if random.random_range(0..3) == 0 {
                    model.remove(&key);
                    WriteOperation::Delete { key }
                } else {
                    let value = value(random);
                    model.insert(key.clone(), value.clone());
                    WriteOperation::Put { key, value }
                });
            }
            store.write(&batch).unwrap();
        }
        8..16 => {
            let key = any_key(random);
            store.delete(&key).unwrap();
            model.remove(&key);
        }
        _ => {
            let (key, value) = (any_key(random), value(random));
            store.put(&key, &value).unwrap();
            model.insert(key, value);
        }
    }
}

fn live(seed: u64, steps: usize) {
    let random = &mut StdRng::seed_from_u64(seed);
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    for _ in 0..4 {
        let store = open(&disk).unwrap();
        assert_eq!(contents(&store).unwrap(), model);
        {
            let mut snapshots = Vec::new();
            for _ in 0..steps {
                change(random, &store, &mut model);
                if random.random_range(0..10) == 0 {
                    snapshots.push((store.snapshot(), model.clone()));
                }
                if random.random_range(0..8) == 0 {
                    check(random, &store.snapshot(), &model);
                }
                if snapshots.len() > 3 {
                    let (snapshot, then) = snapshots.remove(random.random_range(0..4));
                    check(random, &snapshot, &then);
                }
            }
            store.compact().unwrap();
            for (snapshot, then) in &snapshots {
                check(random, &snapshot.clone(), then);
            }
            let alive = store.metrics().counters["snapshots_alive"];
            assert_eq!(alive as usize, snapshots.len(), "clones and iterators are gone again");
        }
        if random.random() {
            store.close().unwrap();
        }
    }
}

#[test]
fn every_way_of_reading_agrees_with_a_map_at_every_moment() {
    for seed in 0..6 {
        live(seed, 250);
    }
}

#[test]
#[ignore = "the same for longer"]
fn every_way_of_reading_agrees_with_a_map_for_long() {
    for seed in 100..400 {
        live(seed, 1_000);
    }
}

/// What keeping a snapshot costs: the tables that compactions have replaced stay until it is dropped, and no longer.
#[test]
fn a_snapshot_keeps_its_files_and_lets_them_go() {
    let disk = SimulatedDisk::new();
    let (store, mut model) = (open(&disk).unwrap(), Map::new());
    let tables = || {
        let name = |path: &std::path::Path| path.extension().is_some_and(|name| name == "table");
        disk.files().into_keys().filter(|path| name(path)).count()
    };
    super::fill(&store, &mut model, 0..100, 1);
    store.compact().unwrap();
    let old = tables();
    super::fill(&store, &mut model, 0..10, 2);
    let (snapshot, then) = (store.snapshot(), model.clone());
    for version in 3..6 {
        super::fill(&store, &mut model, 0..100, version);
    }
    store.compact().unwrap();
    let live: u64 = store.metrics().levels.iter().map(|level| level.files).sum();
    assert_eq!(tables(), old + live as usize);
    let read: Result<Map, _> = snapshot.iter(..).collect();
    assert_eq!(read.unwrap(), then);
    let read: Result<Map, _> = (&store).into_iter().collect();
    assert_eq!(read.unwrap(), model);
    let clone = snapshot.clone();
    drop(snapshot);
    assert_eq!(tables(), old + live as usize, "the clone keeps them");
    drop(clone);
    assert_eq!(tables(), live as usize);
}

#[test]
fn a_session_and_the_store_read_many_keys_at_once() {
    let (store, mut model) = (open(&SimulatedDisk::new()).unwrap(), Map::new());
    super::fill(&store, &mut model, 0..100, 1);
    store.compact().unwrap();
    super::fill(&store, &mut model, 50..60, 2);
    super::remove(&store, &mut model, [7]);
    let keys: Vec<_> = [3, 55, 7, 1_000, 3].into_iter().map(super::key).collect();
    let expected: Vec<_> = keys.iter().map(|key| model.get(key).cloned()).collect();
    let mut found = Vec::new();
    store.multi_get(&keys, |_, value| found.push(value.map(<[u8]>::to_vec))).unwrap();
    assert_eq!(found, expected);
    let slices: Vec<_> = keys.iter().map(Vec::as_slice).collect();
    found.clear();
    let mut session = store.session().unwrap();
    session.multi_get(&slices, &mut |_, value| found.push(value.map(<[u8]>::to_vec))).unwrap();
    assert_eq!(found, expected);
    session.multi_get(&[], &mut |_, _| panic!("there is nothing to visit")).unwrap();
}
