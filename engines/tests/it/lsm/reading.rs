//! Snapshots, iterators, cursors and multi-gets against a map, over random writes, flushes, compactions and reopening.

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow, RangeBounds};

use kvdyno_engines::lsm::{Cursor, Iter, KeyRange, Lsm, Options, Snapshot};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::{Direction, Durability, Engine, WriteBatch, WriteOperation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Map, contents, open, small};
use crate::history::{GONE, LASTING};

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

/// A cursor, and where it has to be among the entries of its range: -1 is before the first, their number behind the last.
struct Beside<'s> {
    cursor: Cursor<'s, SimulatedDisk>,
    entries: Entries,
    at: isize,
}

impl Beside<'_> {
    /// Walks about.
    fn go(&mut self, random: &mut StdRng, moves: usize) {
        let shown = |entry: Option<(&[u8], &[u8])>| entry.map(|(k, v)| (k.to_vec(), v.to_vec()));
        let Self { cursor, entries, at } = self;
        let len = entries.len() as isize;
        for _ in 0..moves {
            let key = if random.random_range(0..10) == 0 { Vec::new() } else { any_key(random) };
            let before = |inclusive: bool| {
                let is_before =
                    |(k, _): &(Vec<u8>, _)| if inclusive { *k <= key } else { *k < key };
                entries.partition_point(is_before) as isize
            };
            let (entry, expected) = match random.random_range(0..12) {
                0 => (cursor.seek_first(), 0),
                1 => (cursor.seek_last(), len - 1),
                2 => (cursor.seek(&key), before(false)),
                3 => (cursor.seek_back(&key), before(true) - 1),
                4..8 => (cursor.move_next(), (*at + 1).min(len)),
                _ => (cursor.move_prev(), (*at - 1).max(-1)),
            };
            let entry = shown(entry.unwrap());
            *at = expected;
            let expected = entries.get(expected as usize).cloned();
            assert_eq!(entry, expected, "{:?}, at {at} of {len}", cursor.range());
            assert_eq!(shown(cursor.current()), entry);
        }
    }
}

/// An iterator, and what it has to show yet.
struct Remaining<'s> {
    iter: Iter<'s, SimulatedDisk>,
    entries: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl Remaining<'_> {
    /// Takes some entries from either end; false behind the last one.
    fn take(&mut self, random: &mut StdRng, entries: usize) -> bool {
        for _ in 0..entries {
            let (entry, expected) = if random.random() {
                (self.iter.next(), self.entries.pop_front())
            } else {
                (self.iter.next_back(), self.entries.pop_back())
            };
            assert_eq!(entry.map(Result::unwrap), expected);
            if expected.is_none() {
                assert!(self.iter.next().is_none() && self.iter.next_back().is_none());
                return false;
            }
        }
        true
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

        let told = snapshot.approximate_bytes(range.clone()).unwrap();
        assert!(told <= snapshot.approximate_bytes(..).unwrap(), "{range:?}");
        let (iter, cursor) = (snapshot.iter(range.clone()), snapshot.cursor(range));
        assert!(!Remaining { iter, entries: entries.clone().into() }.take(random, usize::MAX));
        Beside { cursor, entries, at: -1 }.go(random, 40);
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
    let start = if random.random_range(0..5) == 0 { Vec::new() } else { any_key(random) };
    let scanned = |direction| {
        let mut read = Entries::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            read.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        snapshot.scan(&start, direction, 10, visit).unwrap();
        read
    };
    let own = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
    let forward: Entries = model.range(start.clone()..).take(10).map(own).collect();
    assert_eq!(scanned(Direction::Forward), forward);
    let up_to = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start.clone()) };
    let back = model.range((Bound::Unbounded, up_to)).rev();
    assert_eq!(scanned(Direction::Reverse), back.take(10).map(own).collect::<Entries>());
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
                batch.operations.push(match random.random_range(0..12) {
                    0 => {
                        let (start, end) = (key.clone(), any_key(random));
                        model.retain(|key, _| *key < start || *key >= end);
                        WriteOperation::DeleteRange { start, end }
                    }
                    1 => {
                        model.remove(&key);
                        WriteOperation::PutExpiring { key, value: value(random), ttl: GONE }
                    }
                    2..5 => {
                        model.remove(&key);
                        WriteOperation::Delete { key }
                    }
                    5 => {
                        let value = value(random);
                        model.insert(key.clone(), value.clone());
                        WriteOperation::PutExpiring { key, value, ttl: LASTING }
                    }
                    _ => {
                        let value = value(random);
                        model.insert(key.clone(), value.clone());
                        WriteOperation::Put { key, value }
                    }
                });
            }
            store.write(&batch).unwrap();
        }
        8..14 => {
            let key = any_key(random);
            store.delete(&key).unwrap();
            model.remove(&key);
        }
        14 => {
            let (range, _) = any_range(random, model);
            model.retain(|key, _| !range.contains(key));
            store.delete_range(range).unwrap();
        }
        15 => {
            let (first, last) = (any_key(random), any_key(random));
            model.retain(|key, _| !(&first..=&last).contains(&key));
            store.delete_range(&first[..]..=&last[..]).unwrap();
        }
        _ => {
            let (key, value) = (any_key(random), value(random));
            store.put(&key, &value).unwrap();
            model.insert(key, value);
        }
    }
}

/// Shapes of trees that differ in where most of the keys are.
fn any_options(random: &mut StdRng) -> Options {
    let small = small(Durability::Os);
    match random.random_range(0..6) {
        // Many overlapping tables.
        0 => Options { l0_tables_compact: 30, l0_tables_slow: 40, l0_tables_stop: 50, ..small },
        // A table, or else a block, for each key, and as many levels as there are.
        1 => Options { table_bytes: 1, level_base_bytes: 1, ..small },
        2 => Options { block_bytes: 1, level_base_bytes: 1, table_bytes: 600, ..small },
        // A memtable that is never full.
        3 => Options { memtable_bytes: 1 << 20, ..small },
        4 => Options { filter_bits_per_key: 0, l0_tables_compact: 1, ..small },
        _ => small,
    }
}

/// One life of a store. Snapshots, cursors and iterators stay through what happens to it meanwhile.
fn live(random: &mut StdRng, store: &Lsm<SimulatedDisk>, model: &mut Map, steps: usize) {
    let (mut snapshots, mut cursors, mut iters) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..steps {
        change(random, store, model);
        match random.random_range(0..40) {
            0..4 => snapshots.push((store.snapshot(), model.clone())),
            4 => {
                let (range, entries) = any_range(random, model);
                cursors.push(Beside { cursor: store.cursor(range), entries, at: -1 });
            }
            5 => {
                let (range, entries) = any_range(random, model);
                iters.push(Remaining { iter: store.iter(range), entries: entries.into() });
            }
            6..11 => check(random, &store.snapshot(), model),
            _ => {}
        }
        if snapshots.len() > 3 {
            let (snapshot, then) = snapshots.remove(random.random_range(0..4));
            check(random, &snapshot, &then);
        }
        if cursors.len() > 4 {
            cursors.remove(random.random_range(0..4));
        }
        for cursor in &mut cursors {
            cursor.go(random, 1);
        }
        iters.retain_mut(|iter| iter.take(random, 1));
    }
    store.compact().unwrap();
    for (snapshot, then) in &snapshots {
        check(random, &snapshot.clone(), then);
    }
    let alive = store.metrics().counters["snapshots_alive"] as usize;
    assert_eq!(alive, snapshots.len() + cursors.len() + iters.len(), "others are gone again");
}

fn lives(seed: u64, steps: usize) {
    let random = &mut StdRng::seed_from_u64(seed);
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    for _ in 0..4 {
        let store = Lsm::open(disk.clone(), "/store", any_options(random)).unwrap();
        assert_eq!(contents(&store).unwrap(), model);
        live(random, &store, &mut model, steps);
        if random.random() {
            store.close().unwrap();
        }
    }
}

#[test]
fn every_way_of_reading_agrees_with_a_map_at_every_moment() {
    for seed in 0..8 {
        lives(seed, 250);
    }
}

#[test]
#[ignore = "the same for longer"]
fn every_way_of_reading_agrees_with_a_map_for_long() {
    for seed in 100..400 {
        lives(seed, 1_000);
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
