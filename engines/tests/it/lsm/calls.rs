//! Tables and values that are read by calls, with a cache of blocks: what is read is the same, a block that is needed again is read once, and nobody who finds what he needs waits for somebody who reads.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use kvdyno_engines::conformance;
use kvdyno_engines::lsm::{Io, Lsm, Options};
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Direction, Durability, Engine, Error, Result};

use super::{Map, contents, fill, key, remove, small};
use crate::gated::{Gated, Held, PATIENCE};

/// All values in the tables.
fn by_calls(cache_bytes: u64) -> Options {
    Options { io: Io::Calls, cache_bytes, value_log_min_bytes: None, ..small(Durability::Os) }
}

/// Those of at least 35 bytes, which [`fill`] writes to keys from 10 on, in the value log.
fn by_calls_with_values(cache_bytes: u64) -> Options {
    Options { value_log_min_bytes: Some(35), ..by_calls(cache_bytes) }
}

fn open<S: Storage>(storage: &S, cache_bytes: u64) -> Lsm<S> {
    Lsm::open(storage.clone(), "/store", by_calls(cache_bytes)).unwrap()
}

/// A store with tables in several levels, and an empty cache.
fn filled<S: Storage>(storage: &S, cache_bytes: u64) -> (Lsm<S>, Map) {
    let mut model = Map::new();
    let store = open(storage, cache_bytes);
    fill(&store, &mut model, 0..400, 1);
    store.compact().unwrap();
    fill(&store, &mut model, (0..400).step_by(9), 2);
    remove(&store, &mut model, (0..400).step_by(11));
    store.flush().unwrap();
    store.close().unwrap();
    (open(storage, cache_bytes), model)
}

/// Hits and misses of the cache.
fn cache<S: Storage>(store: &Lsm<S>) -> (u64, u64) {
    let metrics = store.metrics();
    (metrics.cache_hits.unwrap(), metrics.cache_misses.unwrap())
}

fn get<S: Storage>(store: &Lsm<S>, i: u32) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(&key(i), &mut value).unwrap().then_some(value)
}

fn scan_all<S: Storage>(store: &Lsm<S>) -> usize {
    store.scan(b"", Direction::Forward, usize::MAX, &mut |_, _| ControlFlow::Continue(())).unwrap()
}

#[test]
fn a_store_that_is_read_by_calls_conforms() {
    for cache_bytes in [0, 1 << 10, 1 << 20] {
        conformance::check(|| {
            let disk = SimulatedDisk::new();
            move |durability| -> Result<Box<dyn Engine>> {
                let options = Options { durability, ..by_calls_with_values(cache_bytes) };
                Ok(Box::new(Lsm::open(disk.clone(), "/store", options)?))
            }
        });
    }
}

#[test]
fn a_value_in_the_value_log_costs_one_call_each_time() {
    let disk = SimulatedDisk::new();
    let mut model = Map::new();
    let options = Options { value_log_lz4: true, ..by_calls_with_values(1 << 20) };
    let store = Lsm::open(disk.clone(), "/store", options).unwrap();
    fill(&store, &mut model, 0..200, 1);
    store.compact().unwrap();
    let calls = || store.metrics().read_calls.unwrap();
    for i in [5, 100] {
        assert_eq!(get(&store, i).as_ref(), model.get(&key(i)));
    }
    let (before, misses) = (calls(), cache(&store).1);
    for round in 1..=5 {
        assert_eq!(get(&store, 100).as_ref(), model.get(&key(100)));
        assert_eq!(calls() - before, round, "the block that points to it is in the cache");
        assert_eq!(get(&store, 5).as_ref(), model.get(&key(5)));
        assert_eq!(calls() - before, round, "this one lies in a block");
    }
    assert_eq!(cache(&store).1, misses);
    assert_eq!(contents(&store).unwrap(), model);
}

/// Who is shown a value may ask for others.
#[test]
fn values_are_read_while_others_are_looked_at() {
    let mut model = Map::new();
    let store = Lsm::open(SimulatedDisk::new(), "/store", by_calls_with_values(4 << 10)).unwrap();
    fill(&store, &mut model, 0..100, 1);
    store.compact().unwrap();
    let mut seen = Map::new();
    let mut visit = |at: &[u8], value: &[u8]| {
        let mut again = Vec::new();
        assert!(store.get(at, &mut again).unwrap() && again == value);
        assert_eq!(get(&store, 50).as_ref(), model.get(&key(50)));
        seen.insert(at.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    };
    store.scan(b"", Direction::Forward, usize::MAX, &mut visit).unwrap();
    assert_eq!(seen, model);
}

#[test]
fn a_block_is_read_once_and_then_found_in_the_cache() {
    let (store, model) = filled(&SimulatedDisk::new(), 1 << 20);
    let opening = store.metrics().read_calls.unwrap();
    let found = get(&store, 100);
    assert_eq!(found.as_ref(), model.get(&key(100)));
    let (_, missed) = cache(&store);
    assert!(missed > 0);
    assert_eq!(store.metrics().read_calls.unwrap() - opening, missed);
    for round in 1..=5 {
        assert_eq!(get(&store, 100), found);
        assert_eq!(cache(&store), (round * missed, missed));
    }
    assert_eq!(contents(&store).unwrap(), model);
    let (_, all) = cache(&store);
    assert_eq!(contents(&store).unwrap(), model);
    assert_eq!(cache(&store).1, all, "everything has room");
    let counters = store.metrics().counters;
    assert_eq!(counters["cache_blocks"] as u64, all);
    assert!((1..=1 << 20).contains(&(counters["cache_bytes"] as u64)));
    let calls = store.metrics().read_calls.unwrap() - opening;
    assert!((missed..all).contains(&calls), "{calls} calls: those who walk read several at a time");
}

#[test]
fn mapped_tables_have_no_cache_to_tell_of() {
    let disk = SimulatedDisk::new();
    let store = Lsm::open(disk, "/store", small(Durability::Os)).unwrap();
    fill(&store, &mut Map::new(), 0..100, 1);
    store.compact().unwrap();
    get(&store, 1);
    let metrics = store.metrics();
    let told = [metrics.cache_hits, metrics.cache_misses, metrics.bytes_read, metrics.read_calls];
    assert_eq!(told, [None; 4]);
    assert_eq!(metrics.counters["cache_bytes"] as u64, 0);
}

#[test]
fn without_room_for_blocks_all_is_read_each_time() {
    let (store, model) = filled(&SimulatedDisk::new(), 0);
    for _ in 0..2 {
        assert_eq!(contents(&store).unwrap(), model);
    }
    assert_eq!(cache(&store).0, 0);
}

#[test]
fn a_scan_reads_more_at_a_time_the_longer_it_goes_on() {
    const BLOCK_BYTES: usize = 1 << 10;
    let options = Options {
        block_bytes: BLOCK_BYTES,
        memtable_bytes: 1 << 20,
        table_bytes: 4 << 20,
        level_base_bytes: 8 << 20,
        l0_tables_compact: 8,
        ..by_calls(0)
    };
    let mut model = Map::new();
    let store = Lsm::open(SimulatedDisk::new(), "/store", options).unwrap();
    fill(&store, &mut model, 0..20_000, 1);
    store.compact().unwrap();
    let metrics = store.metrics();
    let tables: Vec<_> = metrics.levels.iter().filter(|level| level.files > 0).collect();
    assert!(tables.len() == 1 && tables[0].files < 3 && tables[0].bytes > 900 << 10, "{tables:?}");
    for direction in [Direction::Forward, Direction::Reverse] {
        let read_by = |limit| {
            let before = store.metrics();
            let mut seen = Vec::new();
            let mut visit = |key: &[u8], value: &[u8]| {
                seen.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            };
            store.scan(b"", direction, limit, &mut visit).unwrap();
            let mut expected: Vec<_> = model.clone().into_iter().collect();
            if direction == Direction::Reverse {
                expected.reverse();
            }
            assert!(seen[..] == expected[..limit.min(expected.len())]);
            let after = store.metrics();
            let calls = after.read_calls.unwrap() - before.read_calls.unwrap();
            (calls, after.bytes_read.unwrap() - before.bytes_read.unwrap())
        };
        let (calls, bytes) = read_by(5);
        assert!(calls == 1 && bytes < 2 * BLOCK_BYTES as u64, "{calls} calls, {bytes} bytes");
        // More than the first block, and less than that and four more.
        let (calls, bytes) = read_by(60);
        assert!(calls == 2 && bytes < 6 * BLOCK_BYTES as u64, "{calls} calls, {bytes} bytes");
        let (calls, bytes) = read_by(usize::MAX);
        assert!(calls < 20, "{calls} calls");
        assert!(bytes < tables[0].bytes + calls * 2 * BLOCK_BYTES as u64, "{bytes} bytes");
    }
}

#[test]
fn neither_scans_nor_compactions_push_out_what_gets_need() {
    let disk = SimulatedDisk::new();
    let mut model = Map::new();
    let options = Options { table_bytes: 8 << 10, block_bytes: 1 << 10, ..by_calls(40 << 10) };
    let store = Lsm::open(disk, "/store", options).unwrap();
    fill(&store, &mut model, 0..4_000, 1);
    store.compact().unwrap();
    let used = || (0..200).filter(|i| get(&store, *i) == model.get(&key(*i)).cloned()).count();
    for _ in 0..3 {
        assert_eq!(used(), 200);
        scan_all(&store);
    }
    let misses = |work: &dyn Fn()| {
        let before = cache(&store).1;
        work();
        cache(&store).1 - before
    };
    assert_eq!(misses(&|| assert_eq!(used(), 200)), 0, "scans have passed");
    let compacted = store.metrics().bytes_written.unwrap().compaction;
    let calls = store.metrics().read_calls.unwrap();
    for i in 2_000..4_000 {
        store.put(&key(i), b"another value").unwrap();
    }
    assert_eq!(misses(&|| store.compact_range(Some(&key(2_000)), None).unwrap()), 0);
    assert!(store.metrics().bytes_written.unwrap().compaction > compacted + (40 << 10));
    assert!(store.metrics().read_calls.unwrap() > calls);
    assert_eq!(misses(&|| assert_eq!(used(), 200)), 0, "a compaction has passed");
}

#[test]
fn nobody_waits_for_a_block_that_somebody_else_reads() {
    let storage = Gated::default();
    let (store, model) = filled(&storage, 1 << 20);
    let warm = get(&store, 7);
    let cold = 300;
    let read = || assert_eq!(get(&store, cold), model.get(&key(cold)).cloned());
    storage.reads_go_on_while(Held::ReadTable, read, || {
        for _ in 0..3 {
            assert_eq!(get(&store, 7), warm, "it is in the cache");
        }
        store.put(&key(1_000), b"a write").unwrap();
        assert_eq!(get(&store, 1_000).as_deref(), Some(&b"a write"[..]));
        let figures = store.metrics();
        assert!(figures.cache_hits.unwrap() > 0);
    });
    assert_eq!(contents(&store).unwrap().len(), model.len() + 1);
}

#[test]
fn two_who_miss_one_block_both_read_it_and_see_the_same() {
    let storage = Gated::default();
    let (store, model) = filled(&storage, 1 << 20);
    let (store, model) = (&store, &model);
    storage.gate.close(Held::ReadTable);
    std::thread::scope(|scope| {
        let (done, outcomes) = mpsc::channel();
        for _ in 0..2 {
            let done = done.clone();
            scope.spawn(move || done.send(get(store, 100)).unwrap());
        }
        storage.gate.wait();
        storage.gate.open();
        for _ in 0..2 {
            let seen = outcomes.recv_timeout(PATIENCE).unwrap();
            assert_eq!(seen.as_ref(), model.get(&key(100)));
        }
    });
    let blocks = store.metrics().counters["cache_blocks"] as u64;
    assert!(blocks <= cache(store).1, "of two copies of a block one is kept");
    let misses = cache(store).1;
    get(store, 100);
    assert_eq!(cache(store).1, misses);
}

/// The files of this kind of a store on the real disk.
fn files_in(dir: &Path, wanted: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == wanted)).collect()
}

#[test]
fn a_table_that_somebody_truncates_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { table_bytes: 1 << 20, ..by_calls(64 << 10) };
    let store = Lsm::open(Disk, folder.path(), options).unwrap();
    let mut model = Map::new();
    fill(&store, &mut model, 0..2_000, 1);
    store.compact().unwrap();
    let early = get(&store, 0);
    assert!(early.is_some());
    let tables = files_in(folder.path(), "table");
    for table in &tables {
        std::fs::OpenOptions::new().write(true).open(table).unwrap().set_len(10).unwrap();
    }
    assert_eq!(get(&store, 0), early, "that block is in memory");
    let mut value = Vec::new();
    match store.get(&key(1_999), &mut value) {
        Err(Error::Corrupt { file, .. }) => assert!(tables.contains(&file), "{}", file.display()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_of_values_that_somebody_truncates_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    let store = Lsm::open(Disk, folder.path(), by_calls_with_values(64 << 10)).unwrap();
    let mut model = Map::new();
    fill(&store, &mut model, 0..500, 1);
    store.compact().unwrap();
    let files = files_in(folder.path(), "values");
    assert!(!files.is_empty());
    for file in &files {
        std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(10).unwrap();
    }
    assert_eq!(get(&store, 5).as_ref(), model.get(&key(5)), "that one lies in a table");
    match store.get(&key(400), &mut Vec::new()) {
        Err(Error::Corrupt { file, .. }) => assert!(files.contains(&file), "{}", file.display()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_that_changes_on_the_device_is_noticed_when_it_is_read_again() {
    let disk = SimulatedDisk::new();
    let (store, model) = filled(&disk, 0);
    assert_eq!(contents(&store).unwrap(), model);
    let tables = disk.files().into_keys();
    for table in tables.filter(|path| path.extension().is_some_and(|kind| kind == "table")) {
        disk.flip(&table, 30, 1).unwrap();
    }
    assert!(matches!(contents(&store), Err(Error::Corrupt { offset: 0, .. })));
}

#[test]
fn many_threads_read_through_a_small_cache_while_everything_moves() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { background: kvdyno_engines::lsm::Background::Threads, ..by_calls(8 << 10) };
    let store = Lsm::open(Disk, folder.path(), options).unwrap();
    let mut model = Map::new();
    fill(&store, &mut model, 0..600, 1);
    store.compact().unwrap();
    std::thread::scope(|scope| {
        let (store, model) = (&store, &model);
        let readers: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn(move || {
                    for i in 0..6_000_u32 {
                        let i = (i * 7 + thread * 13) % 600;
                        assert_eq!(get(store, i).as_ref(), model.get(&key(i)));
                    }
                })
            })
            .collect();
        let mut others = Map::new();
        let mut round = 0;
        while readers.iter().any(|reader| !reader.is_finished()) {
            fill(store, &mut others, 1_000..1_200, round);
            round += 1;
        }
    });
    store.settle().unwrap();
    let bytes = store.metrics().counters["cache_bytes"] as u64;
    assert!(bytes <= 8 << 10, "{bytes}");
    assert!(cache(&store).0 > 0 && cache(&store).1 > 0);
}
