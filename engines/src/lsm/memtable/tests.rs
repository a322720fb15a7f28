use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::log::LogWriter;
use crate::lsm::store::{begin_log, create_log};
use crate::lsm::wal::{self, Kind, LogHeader};
use crate::storage::{Disk, DiskAppender, DiskFile};
use crate::{Direction, Durability};

type Log = LogWriter<DiskAppender>;

fn memtable(bytes: u64) -> (tempfile::TempDir, Log, Memtable<DiskFile>) {
    let dir = tempfile::tempdir().unwrap();
    let header = LogHeader {
        number: 1,
        sequence: 0,
        previous: 0,
        previous_bytes: 0,
        previous_synced: false,
        previous_found: false,
    };
    let (log, memtable) =
        begin_log(create_log(&Disk, dir.path(), 1, bytes, Durability::Os).unwrap(), &header, bytes)
            .unwrap();
    (dir, log, memtable)
}

fn write(log: &mut Log, memtable: &Memtable<DiskFile>, kind: Kind, key: &[u8], value: &[u8]) {
    let header = wal::operation_header(kind, key.len(), value.len());
    let at = log.append(&[&header, key, value]).unwrap();
    memtable.insert(first_operation(at), key).unwrap();
    memtable.publish(log.len());
}

fn delete_range(log: &mut Log, memtable: &Memtable<DiskFile>, start: &[u8], end: &[u8]) {
    let header = wal::operation_header(Kind::DeleteRange, start.len(), end.len());
    let payload = [&header, start, end].concat();
    let at = log.append(&[&payload]).unwrap();
    let corrupt = |reason: &str| panic!("{reason}");
    memtable.insert_all(first_operation(at), &payload, log.len(), corrupt).unwrap();
    memtable.publish(log.len());
}

fn entries(
    view: View<'_, DiskFile>,
    start: &[u8],
    direction: Direction,
) -> Vec<(Vec<u8>, bool, Vec<u8>)> {
    let mut cursor = Cursor::seek(view, start, direction).unwrap();
    let mut entries = Vec::new();
    while let Some((key, kind, value)) = cursor.current() {
        let deleted = kind == Kind::Delete;
        entries.push((key.to_vec(), deleted, value.to_vec()));
        cursor.advance().unwrap();
    }
    entries
}

/// Keys of all shapes: long common prefixes, zeros at the end, one byte.
fn random_key(random: &mut impl RngExt) -> Vec<u8> {
    let number: u32 = random.random_range(0..3_000);
    match number % 5 {
        0 => format!("user{number:020}").into_bytes(),
        1 => vec![b'a'; number as usize % 70 + 1],
        2 => number.to_be_bytes().to_vec(),
        3 => vec![0; number as usize % 40 + 1],
        _ => format!("{number}").into_bytes(),
    }
}

#[test]
fn it_agrees_with_a_map_at_every_moment() {
    let (_dir, mut log, memtable) = memtable(8 << 20);
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut model = BTreeMap::new();
    let (mut deleted, mut moments) = (Vec::new(), Vec::new());
    for i in 0..20_000_u32 {
        let key = random_key(&mut random);
        if i % 50 == 0 {
            let other = random_key(&mut random);
            if key < other {
                delete_range(&mut log, &memtable, &key, &other);
                model.retain(|at, _| !(&key..&other).contains(&at));
                deleted.push((i, key, other));
            }
            continue;
        }
        let is_deletion = random.random_range(0..5) == 0;
        let (kind, value) = if is_deletion {
            (Kind::Delete, vec![])
        } else {
            (Kind::Put, i.to_le_bytes().to_vec())
        };
        write(&mut log, &memtable, kind, &key, &value);
        model.insert(key, (is_deletion, value));
        if i % 4_000 == 0 {
            moments.push((i, memtable.view(), model.clone()));
        }
    }
    moments.push((u32::MAX, memtable.view(), model.clone()));
    for (moment, view, model) in moments {
        let expected: Vec<_> = model
            .iter()
            .map(|(key, (deleted, value))| (key.clone(), *deleted, value.clone()))
            .collect();
        assert_eq!(entries(view.clone(), b"", Direction::Forward), expected);
        let reversed: Vec<_> = expected.iter().rev().cloned().collect();
        assert_eq!(entries(view.clone(), b"", Direction::Reverse), reversed);
        for _ in 0..300 {
            let start = random_key(&mut random);
            let from: Vec<_> = expected.iter().filter(|entry| entry.0 >= start).cloned().collect();
            assert_eq!(entries(view.clone(), &start, Direction::Forward), from);
            let from: Vec<_> = reversed.iter().filter(|entry| entry.0 <= start).cloned().collect();
            assert_eq!(entries(view.clone(), &start, Direction::Reverse), from);
            let mut value = Vec::new();
            let found = view.get(&start, filter::hash(&start), &mut value).unwrap();
            let expected = match model.get(&start) {
                // Though it may be in older places.
                None if deleted
                    .iter()
                    .any(|(at, from, to)| *at <= moment && (from..to).contains(&&start)) =>
                {
                    Lookup::Deleted
                }
                None => Lookup::Absent,
                Some((true, _)) => Lookup::Deleted,
                Some((false, expected)) => {
                    assert_eq!(&value, expected);
                    Lookup::Found
                }
            };
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn readers_see_whole_prefixes_while_a_writer_writes() {
    const WRITES: u64 = 60_000;
    let (_dir, mut log, memtable) = memtable(16 << 20);
    let (memtable, done) = (&memtable, &AtomicBool::new(false));
    let key = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).to_be_bytes();
    std::thread::scope(|scope| {
        for reader in 0..2_u64 {
            scope.spawn(move || {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(reader);
                let mut value = Vec::new();
                while !done.load(Ordering::Acquire) {
                    let before = memtable.writes();
                    let view = memtable.view();
                    let direction =
                        if reader == 0 { Direction::Forward } else { Direction::Reverse };
                    let seen = entries(view, b"", direction);
                    assert!(seen.len() as u64 >= before, "{} of {before}", seen.len());
                    let sorted = seen.is_sorted_by(|a, b| match direction {
                        Direction::Forward => a.0 < b.0,
                        Direction::Reverse => a.0 > b.0,
                    });
                    assert!(sorted);
                    let mut numbers: Vec<u64> = seen
                        .iter()
                        .map(|entry| u64::from_le_bytes(entry.2[..].try_into().unwrap()))
                        .collect();
                    numbers.sort_unstable();
                    assert!(numbers.iter().enumerate().all(|(i, number)| i as u64 == *number));
                    for _ in 0..before.min(500) {
                        let i = random.random_range(0..before);
                        value.clear();
                        let hash = filter::hash(&key(i));
                        let found = memtable.view().get(&key(i), hash, &mut value).unwrap();
                        assert_eq!((found, &value[..]), (Lookup::Found, &i.to_le_bytes()[..]));
                    }
                }
            });
        }
        for i in 0..WRITES {
            write(&mut log, memtable, Kind::Put, &key(i), &i.to_le_bytes());
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(memtable.entries(), WRITES);
}

/// Bytes of nodes for each key, if keys arrive in the order of `keys`.
fn node_bytes_per_key(keys: impl IntoIterator<Item = u64>) -> f64 {
    let (_dir, mut log, memtable) = memtable(8 << 20);
    let mut model = BTreeSet::new();
    for key in keys {
        write(&mut log, &memtable, Kind::Put, &key.to_be_bytes(), b"");
        model.insert(key.to_be_bytes().to_vec());
    }
    let found = entries(memtable.view(), b"", Direction::Forward);
    assert!(found.iter().map(|(key, ..)| key).eq(&model));
    memtable.tree.memory_bytes() as f64 / model.len() as f64
}

#[test]
fn keys_that_arrive_in_order_fill_their_nodes() {
    let random = (0..60_000_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let random = node_bytes_per_key(random);
    assert!((23.0..32.0).contains(&random), "{random}");
    let ascending = node_bytes_per_key(0..60_000);
    assert!(ascending < 21.0, "{ascending}");
    // A hundred series side by side.
    let series = (0..600).flat_map(|time| (0..100).map(move |series| series << 32 | time));
    let series = node_bytes_per_key(series);
    assert!(series < 22.0, "{series}");
}

/// Nodes are set aside for as many entries as a log can hold, a quarter of a node's in each.
#[test]
fn no_order_of_keys_takes_more_nodes_than_are_set_aside() {
    const MOST: f64 = (size_of::<node::Node>() * 4 / node::WIDTH) as f64;
    for run in 1..=40_u64 {
        // Short runs, each before the one before it, or behind every other one.
        let run_of = |start: u64| (0..run).map(move |i| start + i);
        let falling = (1..40_000 / run).rev().flat_map(|at| run_of(at << 8));
        let falling = node_bytes_per_key(falling);
        let between = (0..40_000 / run).flat_map(|at| run_of(((at % 2) << 40) | (at << 8)));
        let between = node_bytes_per_key(between);
        assert!(falling < MOST && between < MOST, "runs of {run}: {falling}, {between}");
    }
}
