//! The LSM tree's values that expire: gone when their time has come, in every kind of read, and never anything older in their place.

mod dropping;
mod model;
mod outside;

use std::ops::ControlFlow;
use std::time::Duration;

use kvdyno_engines::lsm::{
    Background, Io, Lsm, LsmReader, Options, StoredRecord, VALUE_BYTES_MAX, WriteOptions, records,
};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::{
    Direction, Durability, Engine, Error, OperationKind, WriteBatch, WriteOperation,
};

use super::{Map, beside, contents, open_with, small};
use crate::hands::{Hands, NOON_MS};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Nothing is compacted by itself, and the clock has these hands.
fn quiet(hands: &Hands) -> Options {
    Options {
        memtable_bytes: 64 << 10,
        l0_tables_compact: 50,
        l0_tables_slow: 60,
        l0_tables_stop: 70,
        deletions_percent: 0,
        clock: hands.clock(),
        ..small(Durability::Os)
    }
}

/// A value that lies in its table, or in the value log.
fn value(text: &str, big: bool) -> Vec<u8> {
    format!("{text}{:1$}", "", if big { 100 } else { 0 }).into_bytes()
}

fn get(store: &Lsm<SimulatedDisk>, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = vec![b'?'];
    let found = store.get(key, &mut value).unwrap();
    assert!(found || value.is_empty(), "what is not there leaves no value behind");
    found.then_some(value)
}

/// What is in the tables and logs of a store: key, whether there is a value, and when it expires.
type Stored = (Vec<u8>, bool, Option<u64>);

fn stored(disk: &SimulatedDisk) -> Vec<Stored> {
    let mut stored = Vec::new();
    let mut visit = |record: &StoredRecord<'_>| {
        stored.push((record.key.to_vec(), record.value.is_some(), record.expires_ms));
        ControlFlow::Continue(())
    };
    assert!(records(disk, "/store", None, &mut visit).unwrap().is_empty());
    stored
}

/// Every kind of read sees these keys of `all`, and no others.
fn check_reads(store: &Lsm<SimulatedDisk>, all: &[&[u8]], expected: &Map) {
    assert_eq!(&contents(store).unwrap(), expected);
    for key in all {
        assert_eq!(get(store, key).as_ref(), expected.get(*key));
    }
    let mut found = Map::new();
    let mut visit = |at: usize, value: Option<&[u8]>| {
        found.extend(value.map(|value| (all[at].to_vec(), value.to_vec())));
    };
    store.multi_get(all, &mut visit).unwrap();
    assert_eq!(&found, expected);
    let mut session = store.session().unwrap();
    found.clear();
    session
        .multi_get(all, &mut |at, value| {
            found.extend(value.map(|value| (all[at].to_vec(), value.to_vec())));
        })
        .unwrap();
    assert_eq!(&found, expected);
    let forward: Vec<_> = store.iter(..).collect::<Result<_, _>>().unwrap();
    let mut back: Vec<_> = store.iter(..).rev().collect::<Result<_, _>>().unwrap();
    back.reverse();
    assert!(forward == back && forward.iter().cloned().eq(expected.clone()));
    let mut cursor = store.cursor(..);
    for (key, value) in expected {
        assert_eq!(cursor.move_next().unwrap(), Some((&key[..], &value[..])));
    }
    assert_eq!(cursor.move_next().unwrap(), None);
    for key in all {
        let at_or_behind = expected.range(key.to_vec()..).next();
        let shown = cursor.seek(key).unwrap();
        assert_eq!(shown, at_or_behind.map(|(key, value)| (&key[..], &value[..])));
    }
}

#[test]
fn a_value_is_gone_when_its_time_has_come_in_every_kind_of_read() {
    const ALL: [&[u8]; 4] = [b"a short", b"ever", b"long", b"short"];
    for (big, io) in [(false, Io::Mapped), (true, Io::Mapped), (true, Io::Calls)] {
        for place in 0..4 {
            let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
            let options = Options { io, ..quiet(&hands) };
            let mut store = open_with(&disk, options.clone()).unwrap();
            for (key, ttl) in [("a short", 100), ("short", 100), ("long", 101)] {
                store.put_expiring(key.as_bytes(), &value(key, big), ms(ttl)).unwrap();
            }
            store.put(b"ever", &value("ever", big)).unwrap();
            match place {
                0 => {}
                1 => store.flush().unwrap(),
                2 => store.compact().unwrap(),
                _ => {
                    store.close().unwrap();
                    store = open_with(&disk, options.clone()).unwrap();
                }
            }
            let mut expected: Map =
                ALL.map(|key| (key.to_vec(), value(std::str::from_utf8(key).unwrap(), big))).into();
            for (time, gone) in [(99, &[][..]), (100, &[ALL[0], ALL[3]][..]), (101, &[ALL[2]])] {
                hands.set(NOON_MS + time);
                expected.retain(|key, _| !gone.contains(&&key[..]));
                check_reads(&store, &ALL, &expected);
                let reader = LsmReader::open(&disk, "/store").unwrap().with_clock(hands.clock());
                assert_eq!(beside::seen(&reader), expected);
            }
            hands.set(NOON_MS);
            assert_eq!(contents(&store).unwrap().len(), 4, "nothing has met them meanwhile");
        }
    }
}

#[test]
fn a_reader_beside_the_store_lets_values_expire_and_keeps_its_clock() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let store = open_with(&disk, quiet(&hands)).unwrap();
    store.put_expiring(b"key", b"value", ms(100)).unwrap();
    let mut reader = LsmReader::open(&disk, "/store").unwrap().with_clock(hands.clock());
    assert_eq!(beside::seen(&reader).len(), 1);
    hands.set(NOON_MS + 100);
    assert_eq!(beside::seen(&reader).len(), 0);
    store.put_expiring(b"key", b"value", ms(100)).unwrap();
    reader.refresh().unwrap();
    assert_eq!(beside::seen(&reader).len(), 1);
    hands.set(NOON_MS + 200);
    assert_eq!(beside::seen(&reader).len(), 0);
}

#[test]
fn a_snapshot_stays_with_its_time() {
    for big in [false, true] {
        let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
        let store = open_with(&disk, quiet(&hands)).unwrap();
        store.put(b"in the tree", &value("older", big)).unwrap();
        store.compact().unwrap();
        store.put_expiring(b"in the tree", &value("newer", big), ms(100)).unwrap();
        store.flush().unwrap();
        store.put_expiring(b"in the memtable", &value("young", big), ms(100)).unwrap();
        let before = contents(&store).unwrap();
        let snapshot = store.snapshot();
        let (mut iter, mut cursor) = (store.iter(..), store.cursor(..));
        assert!(iter.next().is_some() && cursor.move_next().unwrap().is_some());
        let scanned = |snapshot: &kvdyno_engines::lsm::Snapshot<'_, SimulatedDisk>| {
            let mut map = Map::new();
            let mut visit = |key: &[u8], value: &[u8]| {
                map.insert(key.to_vec(), value.to_vec());
                ControlFlow::Continue(())
            };
            snapshot.scan(b"", Direction::Reverse, usize::MAX, &mut visit).unwrap();
            map
        };
        for round in 0..3 {
            hands.set(NOON_MS + 100 + round);
            assert_eq!(scanned(&snapshot), before);
            assert_eq!(scanned(&snapshot.clone()), before);
            let entries: Map = snapshot.iter(..).collect::<Result<_, _>>().unwrap();
            assert_eq!(entries, before);
            let (mut value, mut found) = (Vec::new(), 0);
            for key in before.keys() {
                assert!(snapshot.get(key, &mut value).unwrap());
                assert_eq!(&value, &before[key]);
            }
            let keys: Vec<_> = before.keys().collect();
            snapshot.multi_get(&keys, |_, value| found += usize::from(value.is_some())).unwrap();
            assert_eq!(found, before.len());
            assert_eq!(contents(&store).unwrap(), Map::new());
            assert_eq!(scanned(&store.snapshot()), Map::new());
            store.compact().unwrap();
        }
        assert!(iter.next().is_some() && cursor.move_next().unwrap().is_some());
        assert!(iter.next().is_none() && cursor.move_next().unwrap().is_none());
        // One that was begun when nothing could expire sees nothing that came later.
        drop((snapshot, iter, cursor));
        let store = open_with(&SimulatedDisk::new(), quiet(&hands)).unwrap();
        let snapshot = store.snapshot();
        store.put_expiring(b"later", b"value", ms(100)).unwrap();
        assert_eq!(scanned(&snapshot), Map::new());
    }
}

#[test]
fn writing_again_lifts_a_time() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let store = open_with(&disk, quiet(&hands)).unwrap();
    for key in [b"put", b"ttl"] {
        store.put_expiring(key, b"old", ms(100)).unwrap();
    }
    store.flush().unwrap();
    store.put(b"put", b"new").unwrap();
    store.put_expiring(b"ttl", b"new", ms(1000)).unwrap();
    // And after the time has come as well.
    store.put_expiring(b"late", b"old", ms(100)).unwrap();
    hands.set(NOON_MS + 100);
    assert_eq!(get(&store, b"late"), None);
    store.put(b"late", b"new").unwrap();
    let expected: Map = [b"put", b"ttl"].map(|key| (key.to_vec(), b"new".to_vec())).into();
    let expected: Map = expected.into_iter().chain([(b"late".to_vec(), b"new".to_vec())]).collect();
    assert_eq!(contents(&store).unwrap(), expected);
    store.compact().unwrap();
    assert_eq!(contents(&store).unwrap(), expected);
    store.close().unwrap();
    assert_eq!(contents(&open_with(&disk, quiet(&hands)).unwrap()).unwrap(), expected);
}

#[test]
fn the_shortest_time_is_over_at_once_and_the_longest_does_not_overflow() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let store = open_with(&disk, quiet(&hands)).unwrap();
    store.put_expiring(b"longest", b"value", Duration::MAX).unwrap();
    store.put_expiring(b"none", b"value", Duration::ZERO).unwrap();
    store.put_expiring(b"rounded up", b"value", Duration::from_nanos(1)).unwrap();
    assert_eq!(get(&store, b"none"), None);
    assert!(get(&store, b"rounded up").is_some());
    hands.set(NOON_MS + 1);
    assert!(get(&store, b"rounded up").is_none());
    hands.set(u64::MAX - 1);
    assert_eq!(get(&store, b"longest").unwrap(), b"value");
    store.compact().unwrap();
    assert_eq!(contents(&store).unwrap().len(), 1);
    assert_eq!(stored(&disk), [(b"longest".to_vec(), true, Some(u64::MAX))]);
}

#[test]
fn sizes_are_bounded_as_those_of_other_values() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let store = open_with(&disk, quiet(&hands)).unwrap();
    let put = |key: &[u8], value: &[u8]| store.put_expiring(key, value, ms(100));
    assert!(matches!(put(b"", b"value"), Err(Error::EmptyKey)));
    assert!(matches!(put(&vec![b'k'; (64 << 10) + 1], b""), Err(Error::KeyTooLong { .. })));
    let mut biggest = vec![b'v'; VALUE_BYTES_MAX];
    put(b"biggest", &biggest).unwrap();
    put(b"empty", b"").unwrap();
    assert_eq!(
        (get(&store, b"biggest").unwrap(), get(&store, b"empty")),
        (biggest.clone(), Some(vec![]))
    );
    store.compact().unwrap();
    assert_eq!(
        (get(&store, b"biggest").unwrap(), get(&store, b"empty")),
        (biggest.clone(), Some(vec![]))
    );
    biggest.push(b'v');
    assert!(matches!(put(b"bigger", &biggest), Err(Error::ValueTooLong { .. })));
    assert!(store.capabilities().supports(OperationKind::PutExpiring));
}

#[test]
fn what_a_batch_stores_for_one_time_is_gone_at_one_instant() {
    let disk = SimulatedDisk::new();
    let options = Options { clock: kvdyno_engines::Clock::System, ..small(Durability::Os) };
    let store = open_with(&disk, options).unwrap();
    let put = |number: u32| WriteOperation::PutExpiring {
        key: number.to_be_bytes().to_vec(),
        value: vec![b'v'; 2_000],
        ttl: Duration::from_hours(1),
    };
    let mut operations: Vec<_> = (0..500).map(put).collect();
    let (start, end) = (400_u32.to_be_bytes().to_vec(), 401_u32.to_be_bytes().to_vec());
    operations.push(WriteOperation::DeleteRange { start, end });
    operations.push(WriteOperation::Delete { key: 7_u32.to_be_bytes().to_vec() });
    store.write(&WriteBatch { operations }).unwrap();
    assert_eq!(contents(&store).unwrap().len(), 498);
    let mut times: Vec<_> = stored(&disk).into_iter().filter_map(|(.., time)| time).collect();
    times.dedup();
    assert_eq!(times.len(), 1);
}

#[test]
fn a_write_is_as_durable_as_its_class_and_its_time_survives() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let store = open_with(&disk, quiet(&hands)).unwrap();
    store.put(b"key", b"older").unwrap();
    let syncs = store.metrics().fsyncs;
    store.put_expiring(b"other", b"value", ms(100)).unwrap();
    assert_eq!(store.metrics().fsyncs, syncs);
    let durable = WriteOptions::durable(Durability::Sync);
    store.put_expiring_with(b"key", b"newer", ms(100), durable).unwrap();
    disk.power_off();
    drop(store);
    let disk = disk.survivor(Crash::SyncedOnly);
    let store = open_with(&disk, quiet(&hands)).unwrap();
    assert_eq!(contents(&store).unwrap().len(), 2);
    hands.set(NOON_MS + 100);
    assert_eq!(contents(&store).unwrap(), Map::new());
}

#[test]
fn sessions_read_and_write_while_values_expire_below_them() {
    let folder = tempfile::tempdir().unwrap();
    let hands = Hands::at(NOON_MS);
    let options =
        Options { background: Background::Threads, clock: hands.clock(), ..small(Durability::Os) };
    let store = Lsm::open(kvdyno_engines::storage::Disk, folder.path(), options).unwrap();
    // Every key has an older value for ever, which must never show again.
    let key = |i: u32| format!("user{:03}", i % 200).into_bytes();
    for i in 0..200 {
        store.put(&key(i), b"for ever").unwrap();
    }
    for i in 0..200 {
        store.put_expiring(&key(i), &[b'x'; 60], ms(1)).unwrap();
    }
    std::thread::scope(|scope| {
        let (store, hands) = (&store, &hands);
        scope.spawn(move || {
            for i in 0..3_000 {
                store.put_expiring(&key(i * 7), &[b'x'; 60], ms(u64::from(i) % 50)).unwrap();
                hands.set(hands.now_ms() + u64::from(i % 10 == 0));
            }
        });
        for direction in [Direction::Forward, Direction::Reverse] {
            scope.spawn(move || {
                for _ in 0..100 {
                    let mut visit = |_: &[u8], value: &[u8]| {
                        assert_ne!(value, b"for ever");
                        ControlFlow::Continue(())
                    };
                    store.scan(b"", direction, usize::MAX, &mut visit).unwrap();
                }
            });
        }
    });
    hands.set(u64::MAX);
    store.compact().unwrap();
    assert_eq!(contents(&store).unwrap(), Map::new());
    assert_eq!(store.metrics().levels.iter().map(|level| level.files).sum::<u64>(), 0);
}
