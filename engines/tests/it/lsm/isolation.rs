//! What readers see while threads write: batches whole, moments that stand still, and none earlier than the one before.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kvdyno_engines::lsm::{Background, KeyRange, Lsm, Options, Snapshot};
use kvdyno_engines::storage::Disk;
use kvdyno_engines::{Durability, Engine, WriteBatch, WriteOperation};

use super::small;
use crate::gated::PATIENCE;

/// Keys of each writer.
const KEYS: u32 = 24;
const WRITERS: u8 = 2;
const ROUNDS: u64 = 400;

fn key(writer: u8, i: u32) -> Vec<u8> {
    format!("writer{writer}/{i:04}").into_bytes()
}

/// Ends other threads when it goes out of scope, by a failed assertion as well.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Gives all keys of a writer the number of the round, in one batch; in every third round the odd ones are deleted instead.
fn write(store: &Lsm, writer: u8, acknowledged: &AtomicU64) {
    for round in 1..=ROUNDS {
        let operation = |i| {
            let key = key(writer, i);
            if round.is_multiple_of(3) && i % 2 == 1 {
                return WriteOperation::Delete { key };
            }
            WriteOperation::Put { key, value: [&round.to_le_bytes()[..], &[b'v'; 30]].concat() }
        };
        store.write(&WriteBatch { operations: (0..KEYS).map(operation).collect() }).unwrap();
        acknowledged.store(round, Ordering::Release);
    }
}

/// The round that the entries of a writer show, which must be those of one round; 0 if there are none.
fn round_of(values: &[Option<Vec<u8>>]) -> u64 {
    let number = |value: &Vec<u8>| u64::from_le_bytes(value[..8].try_into().unwrap());
    let round = values[0].as_ref().map_or(0, number);
    for (i, value) in values.iter().enumerate() {
        let expected = (round > 0 && (!round.is_multiple_of(3) || i % 2 == 0)).then_some(round);
        assert_eq!(value.as_ref().map(number), expected, "key {i} beside round {round}");
    }
    round
}

/// Reads a writer's keys of a snapshot in one of several ways.
fn read(snapshot: &Snapshot<'_, Disk>, writer: u8, way: u64) -> Vec<Option<Vec<u8>>> {
    let mut values = vec![None; KEYS as usize];
    let index = |key: &[u8]| -> usize { std::str::from_utf8(&key[8..]).unwrap().parse().unwrap() };
    let range = KeyRange::prefix(format!("writer{writer}/"));
    match way % 5 {
        0 => {
            for entry in snapshot.iter(range) {
                let (key, value) = entry.unwrap();
                values[index(&key)] = Some(value);
            }
        }
        1 => {
            let mut iter = snapshot.iter(range);
            while let Some(entry) =
                iter.next_back_with(|key, value| values[index(key)] = Some(value.to_vec()))
            {
                entry.unwrap();
            }
        }
        2 => {
            let mut cursor = snapshot.cursor(range);
            cursor.seek(&key(writer, KEYS / 2)).unwrap();
            while cursor.move_prev().unwrap().is_some() {}
            while let Some((key, value)) = cursor.move_next().unwrap() {
                values[index(key)] = Some(value.to_vec());
            }
        }
        3 => {
            let keys: Vec<_> = (0..KEYS).map(|i| key(writer, i)).collect();
            let visit = |i: usize, value: Option<&[u8]>| values[i] = value.map(<[u8]>::to_vec);
            snapshot.multi_get(&keys, visit).unwrap();
        }
        _ => {
            let mut value = Vec::new();
            for i in 0..KEYS {
                let found = snapshot.get(&key(writer, i), &mut value).unwrap();
                values[i as usize] = found.then(|| value.clone());
            }
        }
    }
    values
}

#[test]
fn snapshots_see_batches_whole_and_do_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { background: Background::Threads, ..small(Durability::Os) };
    let store = &Lsm::open(Disk, folder.path(), options).unwrap();
    let acknowledged = &[AtomicU64::new(0), AtomicU64::new(0)];
    let done = &AtomicBool::new(false);
    let checked = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            scope.spawn(move || {
                let mut earlier = [0; WRITERS as usize];
                let mut kept: Vec<(Snapshot<'_, Disk>, [u64; WRITERS as usize])> = Vec::new();
                let mut way = reader;
                while !done.load(Ordering::Relaxed) {
                    let known = acknowledged.each_ref().map(|round| round.load(Ordering::Acquire));
                    let snapshot = store.snapshot();
                    let rounds = [0, 1]
                        .map(|writer| round_of(&read(&snapshot, writer, way + u64::from(writer))));
                    for ((round, known), earlier) in rounds.iter().zip(&known).zip(&earlier) {
                        assert!(round >= known, "an acknowledged batch is missed");
                        assert!(round >= earlier, "a later snapshot sees less");
                    }
                    earlier = rounds;
                    kept.push((snapshot, rounds));
                    if kept.len() > 6 {
                        kept.remove(way as usize % 7);
                    }
                    way += 1;
                    for (snapshot, rounds) in &kept {
                        let writer = (way % 2) as u8;
                        let again = round_of(&read(snapshot, writer, way));
                        assert_eq!(again, rounds[usize::from(writer)], "a snapshot has changed");
                    }
                    checked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(move || {
            let keys: Vec<_> = (0..KEYS).map(|i| key(1, i)).collect();
            let slices: Vec<_> = keys.iter().map(Vec::as_slice).collect();
            let mut session = store.session().unwrap();
            let mut earlier = 0;
            while !done.load(Ordering::Relaxed) {
                let mut values = vec![None; KEYS as usize];
                let visit = &mut |i: usize, value: Option<&[u8]>| {
                    values[i] = value.map(<[u8]>::to_vec);
                };
                session.multi_get(&slices, visit).unwrap();
                let round = round_of(&values);
                assert!(round >= earlier, "a later multi-get sees less");
                earlier = round;
            }
        });
        let _stop = Stop(done);
        std::thread::scope(|writers| {
            for writer in 0..WRITERS {
                let acknowledged = &acknowledged[usize::from(writer)];
                writers.spawn(move || write(store, writer, acknowledged));
            }
        });
    });
    assert!(checked.load(Ordering::Relaxed) > 3);
    store.settle().unwrap();
    let metrics = store.metrics();
    assert!(metrics.bytes_written.unwrap().compaction > 0);
    assert_eq!(metrics.counters["snapshots_alive"] as u64, 0);
    // Lock, manifest, log, tables and values: what snapshots have kept goes soon.
    let tables: u64 = metrics.levels.iter().map(|level| level.files).sum();
    let values = metrics.counters["value_log_files"] as u64;
    let (start, files) = (Instant::now(), || std::fs::read_dir(folder.path()).unwrap().count());
    while files() as u64 > tables + values + 3 {
        assert!(start.elapsed() < PATIENCE, "what snapshots have kept stays");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Keys that each round writes, and rounds after which they are deleted.
const WINDOW_KEYS: u64 = 8;
const WINDOW_ROUNDS: u64 = 40;
/// Rounds; on a busy machine more, until readers have seen enough.
const SLIDES: u64 = 6_000;
const SLIDES_MAX: u64 = 60_000;

/// Writes new keys all over the key space, deletes those of some rounds ago, and says in the first key which round this is. `checked` is how often that was read.
fn slide(store: &Lsm, checked: &AtomicU64) {
    // An odd number of 24 bits: the products of neighbours lie far from each other, and none twice.
    let key = |i: u64| format!("{:06x}", i.wrapping_mul(0x9e_3779) & 0xff_ffff).into_bytes();
    for round in 1..=SLIDES_MAX {
        if round > SLIDES && checked.load(Ordering::Relaxed) > 20 {
            break;
        }
        let value = round.to_le_bytes().to_vec();
        let put = |key| WriteOperation::Put { key, value: value.clone() };
        let mut operations = vec![put(b"!".to_vec())];
        let of = |round: u64| (round * WINDOW_KEYS..(round + 1) * WINDOW_KEYS).map(key);
        operations.extend(of(round).map(put));
        if let Some(old) = round.checked_sub(WINDOW_ROUNDS).filter(|old| *old > 0) {
            operations.extend(of(old).map(|key| WriteOperation::Delete { key }));
        }
        store.write(&WriteBatch { operations }).unwrap();
    }
}

/// Reads everything, from one end or from both, and tells which round is seen: the first key says so, and of all keys of the last rounds none is missed, and no other one seen.
fn seen(snapshot: &Snapshot<'_, Disk>, way: u64) -> u64 {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    let mut iter = snapshot.iter(..);
    for step in 0.. {
        let from_front = way.is_multiple_of(3) || way % 3 == 1 && step % 2 == 0;
        let next = if from_front { iter.next() } else { iter.next_back() };
        let Some(entry) = next else { break };
        if from_front { &mut front } else { &mut back }.push(entry.unwrap());
    }
    front.extend(back.into_iter().rev());
    assert!(front.is_sorted_by(|a, b| a.0 < b.0), "not in order");
    let mut rounds =
        front.iter().map(|(_, value)| u64::from_le_bytes(value[..].try_into().unwrap()));
    let Some(round) = rounds.next() else { return 0 };
    let mut counts = [0; WINDOW_ROUNDS as usize];
    for of in rounds {
        let age = round.checked_sub(of).expect("a key of a later round is seen");
        counts[usize::try_from(age).unwrap()] += 1;
    }
    for (age, count) in counts.into_iter().enumerate() {
        let there = (age as u64) < round;
        assert_eq!(count, if there { WINDOW_KEYS } else { 0 }, "age {age} of round {round}");
    }
    round
}

/// New keys split the nodes of a memtable below the feet of who walks over it, and deletions lie all about.
#[test]
fn walks_over_a_memtable_that_grows_see_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        background: Background::Threads,
        memtable_bytes: 256 << 10,
        ..small(Durability::Os)
    };
    let store = &Lsm::open(Disk, folder.path(), options).unwrap();
    let (done, checked) = (&AtomicBool::new(false), &AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..2 {
            scope.spawn(move || {
                let (mut earlier, mut way) = (0, reader);
                let mut kept: Option<(Snapshot<'_, Disk>, u64)> = None;
                while !done.load(Ordering::Relaxed) {
                    let snapshot = store.snapshot();
                    let round = seen(&snapshot, way);
                    assert!(round >= earlier, "a later snapshot sees less");
                    if let Some((snapshot, then)) = &kept {
                        assert_eq!(seen(snapshot, way + 1), *then, "a snapshot has changed");
                    }
                    // Kept for a while: the older it is, the more lies between what it shows.
                    if way % 16 < 2 {
                        kept = Some((snapshot, round));
                    }
                    (earlier, way) = (round, way + 1);
                    checked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = Stop(done);
        slide(store, checked);
    });
    assert!(checked.load(Ordering::Relaxed) > 20);
    let written = store.metrics().bytes_written.unwrap();
    assert!(written.flush > 0 && written.compaction > 0, "{written:?}");
}
