//! One budget for memtables, tables and cache: what they take together stays below it, and writers are held back for that, first a little, then altogether.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvdyno_engines::lsm::{Background, Io, Lsm, Options, Style, Tiered, verify};
use kvdyno_engines::storage::{Access, Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Error, WriteBatch, WriteOperation};

use super::{Map, contents, copy, fill, key, small};
use crate::gated::{Gated, Held, PATIENCE};

/// Memory by part, in bytes.
#[derive(Debug)]
struct Memory {
    all: u64,
    charged: u64,
    memtables: u64,
    tables: u64,
    cache: u64,
}

fn memory<S: Storage>(store: &Lsm<S>) -> Memory {
    let counters = store.metrics().counters;
    let count = |name: &str| counters[name] as u64;
    Memory {
        all: count("memory_bytes"),
        charged: count("memory_charged_bytes"),
        memtables: count("memtable_bytes") + count("memtable_log_bytes"),
        tables: count("table_memory_bytes"),
        cache: count("cache_bytes"),
    }
}

/// Memtables of a quarter of a MiB, two of them, in 3 MiB.
fn tight(background: Background) -> Options {
    Options {
        memtable_bytes: 256 << 10,
        memtables_waiting_max: 1,
        memory_bytes: 3 << 20,
        io: Io::Calls,
        cache_bytes: 2 << 20,
        table_bytes: 256 << 10,
        level_base_bytes: 1 << 20,
        block_bytes: 2 << 10,
        value_log_min_bytes: None,
        background,
        ..small(Durability::Os)
    }
}

/// Writes with two threads, and reads with one, while the sums are looked at; `value_bytes` to a key of `key_bytes`.
fn load_and_look(key_bytes: usize, value_bytes: usize, writes: u64) -> (Memory, Vec<Memory>) {
    let folder = tempfile::tempdir().unwrap();
    let options = tight(Background::Threads);
    let budget = options.memory_bytes;
    let store = Lsm::open(Disk, folder.path(), options).unwrap();
    let (store, done) = (&store, &AtomicBool::new(false));
    let key = |number: u64| {
        let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{number:0key_bytes$}").into_bytes()
    };
    let value = vec![7; value_bytes];
    let seen = thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|thread| {
                let value = &value;
                scope.spawn(move || {
                    for i in 0..writes {
                        store.put(&key(2 * i + thread), value).unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let (mut number, mut value) = (0, Vec::new());
            while !done.load(Ordering::Relaxed) {
                store.get(&key(number % (2 * writes)), &mut value).unwrap();
                number += 977;
            }
        });
        let mut seen = Vec::new();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            seen.push(memory(store));
            thread::sleep(Duration::from_micros(300));
        }
        done.store(true, Ordering::Relaxed);
        seen
    });
    assert!(seen.len() > 100, "{}", seen.len());
    for memory in &seen {
        assert!(memory.charged <= budget, "{memory:?}");
    }
    store.settle().unwrap();
    (memory(store), seen)
}

#[test]
fn the_sum_stays_below_the_budget_under_load() {
    let (_, seen) = load_and_look(24, 100, 60_000);
    assert!(seen.iter().any(|memory| memory.cache > 64 << 10), "blocks were cached");
    assert!(seen.iter().any(|memory| memory.tables > 0), "filters and indexes were held");
    assert!(seen.iter().any(|memory| memory.memtables > 300 << 10), "more than one memtable");
    assert!(seen.iter().all(|memory| memory.all <= 3 << 20));
}

#[test]
fn the_sum_stays_below_the_budget_where_the_index_is_most_of_a_memtable() {
    let (_, seen) = load_and_look(20, 0, 100_000);
    assert!(seen.iter().all(|memory| memory.all <= 3 << 20));
}

/// Entries that take nine bytes of the log each, in batches: the index over them is several times as large.
#[test]
fn a_memtable_is_full_when_the_index_over_it_is() {
    let options =
        Options { memtable_bytes: 8 << 20, memory_bytes: 64 << 20, ..tight(Background::Inline) };
    let store = Lsm::open(SimulatedDisk::new(), "/store", options).unwrap();
    let (mut flushed, mut index_max, mut number) = (0, 0, 0_u32);
    while flushed == 0 {
        let operations = (0..400).map(|_| {
            number += 1;
            WriteOperation::Put { key: number.to_be_bytes()[1..].to_vec(), value: Vec::new() }
        });
        store.write(&WriteBatch { operations: operations.collect() }).unwrap();
        let metrics = store.metrics();
        index_max = index_max.max(metrics.counters["memtable_bytes"] as u64);
        flushed = metrics.bytes_written.unwrap().flush;
        assert!(memory(&store).all <= memory(&store).charged);
        assert!(number < 800_000, "the log is full");
    }
    assert!((1 << 20..=2 << 20).contains(&index_max), "{index_max}: not a quarter of 8 MiB");
}

#[test]
fn a_budget_without_room_for_the_memtables_is_refused() {
    let options = Options { memory_bytes: 1 << 20, ..Options::default() };
    let error = Lsm::open(SimulatedDisk::new(), "/store", options).err().unwrap();
    assert!(matches!(error, Error::InvalidOption { name: "memory_bytes", .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("memtable_bytes") && text.contains("raise memory_bytes"), "{text}");
}

#[test]
fn tables_for_which_there_is_no_room_are_used_where_the_file_has_them() {
    let disk = SimulatedDisk::new();
    let options = Options {
        memtable_bytes: 4 << 10,
        // Room for the memtables, and 40 KiB.
        memory_bytes: 2 * ((4 << 10) + (512 << 10)) + (40 << 10),
        memtables_waiting_max: 1,
        filter_bits_per_key: 60,
        ..tight(Background::Inline)
    };
    let store = Lsm::open(disk.clone(), "/store", options.clone()).unwrap();
    let mut model = Map::new();
    fill(&store, &mut model, 0..6_000, 1);
    store.compact().unwrap();
    let few = memory(&store);
    assert!((10 << 10..=30 << 10).contains(&few.tables), "{few:?}");
    assert_eq!(contents(&store).unwrap(), model);
    store.close().unwrap();
    let more = Options { memory_bytes: 8 << 20, ..options };
    let store = Lsm::open(disk, "/store", more).unwrap();
    assert!(memory(&store).tables > 45 << 10, "{:?}", memory(&store));
    assert_eq!(contents(&store).unwrap(), model);
}

/// Writes until somebody has to wait for a flush that does not come; `pauses` tells how often writers have paused before.
#[test]
fn writers_are_slowed_down_before_they_are_stopped() {
    let storage = Gated::default();
    let options = tight(Background::Threads);
    let memtable_bytes = options.memtable_bytes;
    let store = Lsm::open(storage.clone(), "/store", options).unwrap();
    storage.gate.close(Held::CreateOutput);
    let (store, written) = (&store, &AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(move || {
            for i in 0..2_200 {
                store.put(&key(i), &[7; 300]).unwrap();
            }
            written.store(true, Ordering::Relaxed);
        });
        storage.gate.wait();
        let logs = || store.metrics().counters["memtable_log_bytes"] as u64;
        let (start, mut pauses_before) = (Instant::now(), 0);
        while logs() < 2 * memtable_bytes - 1_000 {
            assert!(start.elapsed() < PATIENCE, "{} bytes are written", logs());
            pauses_before = store.metrics().stalls.unwrap().count;
            thread::sleep(Duration::from_millis(1));
        }
        assert!(pauses_before > 0, "nobody was slowed down");
        thread::sleep(Duration::from_millis(100));
        assert!(!written.load(Ordering::Relaxed) && logs() <= 2 * memtable_bytes);
        storage.gate.open();
        while !written.load(Ordering::Relaxed) {
            assert!(start.elapsed() < PATIENCE, "a flush lets writers go on");
            thread::sleep(Duration::from_millis(1));
        }
    });
    store.settle().unwrap();
    assert_eq!(contents(store).unwrap().len(), 2_200);
}

/// A process that was killed while many memtables waited, before one that may have fewer.
#[test]
fn an_opening_that_finds_many_logs_flushes_them_before_it_takes_more_memory() {
    let storage = Gated::default();
    let many = Options {
        memtables_waiting_max: 6,
        memtable_bytes: 16 << 10,
        memory_bytes: 8 << 20,
        ..tight(Background::Threads)
    };
    let mut model = Map::new();
    storage.gate.close(Held::CreateOutput);
    let store = Lsm::open(storage.clone(), "/store", many.clone()).unwrap();
    fill(&store, &mut model, 0..900, 1);
    let killed = copy(&storage.disk);
    storage.gate.open();
    drop(store);
    let few = Options { memtables_waiting_max: 1, background: Background::Inline, ..many };
    let store = Lsm::open(killed, "/store", few).unwrap();
    let waiting = || store.metrics().counters["memtables_waiting"] as u64;
    assert!(waiting() > 2, "{}", waiting());
    fill(&store, &mut model, 0..1, 2);
    assert!(waiting() <= 1, "{}", waiting());
    assert_eq!(contents(&store).unwrap(), model);
}

#[test]
fn what_snapshots_keep_is_counted_and_keeps_no_writer_waiting_for_them() {
    let store = Lsm::open(SimulatedDisk::new(), "/store", tight(Background::Inline)).unwrap();
    let mut model = Map::new();
    let (mut snapshots, mut first) = (Vec::new(), 0);
    for round in 0..20 {
        fill(&store, &mut model, 0..2_000, round);
        snapshots.push(store.snapshot());
        if round == 0 {
            first = memory(&store).charged;
        }
    }
    let kept = memory(&store);
    assert!(kept.charged > first + (1 << 20) && kept.charged > kept.all + (1 << 20), "{kept:?}");
    assert_eq!(kept.cache, 0, "the cache has given its room");
    drop(snapshots);
    let charged = memory(&store).charged;
    assert!(charged < 3 << 20, "{charged}");
    assert_eq!(contents(&store).unwrap(), model);
    assert!(memory(&store).cache > 0);
}

/// Where a bit for each key costs little, there are five more of them.
#[test]
fn filters_of_all_levels_but_the_last_are_sharper() {
    for (style, bits_above) in [(Style::default(), 15.0), (Style::Tiered(Tiered::default()), 10.0)]
    {
        let disk = SimulatedDisk::new();
        let options = Options {
            style,
            memtable_bytes: 1 << 20,
            table_bytes: 1 << 20,
            l0_tables_compact: 4,
            ..tight(Background::Inline)
        };
        let store = Lsm::open(disk.clone(), "/store", Options { memory_bytes: 8 << 20, ..options });
        let store = store.unwrap();
        let mut model = Map::new();
        for round in 0..2 {
            fill(&store, &mut model, 0..4_000, round);
            store.flush().unwrap();
        }
        store.compact().unwrap();
        fill(&store, &mut model, 0..4_000, 3);
        store.flush().unwrap();
        store.close().unwrap();
        let levels = verify(&disk, "/store").unwrap().levels();
        let bits: Vec<_> = levels
            .iter()
            .filter(|level| level.tables > 0)
            .map(|level| level.filter_bytes as f64 * 8.0 / level.entries as f64)
            .collect();
        let (first, last) = (bits[0], bits[bits.len() - 1]);
        assert!((first - bits_above).abs() < 0.3 && (last - 10.0).abs() < 0.3, "{bits:?}");
    }
}

fn holds_data(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "table" || kind == "values")
}

/// Tables and files of values of which was said, since this was asked last, that they are read by calls.
fn called(storage: &Gated) -> Vec<PathBuf> {
    let advice = storage.gate.take_advice().into_iter();
    let called = advice.filter(|(path, access)| holds_data(path) && *access == Access::Calls);
    let mut called: Vec<_> = called.map(|(path, _)| path).collect();
    called.sort();
    called
}

#[test]
fn files_are_read_by_calls_once_they_are_much_for_the_memory() {
    let storage = Gated::default();
    let options = || Options { mapped_bytes_max: None, ..small(Durability::Os) };
    let files = || {
        let files = storage.disk.files();
        files.into_iter().filter(|(path, _)| holds_data(path)).collect::<BTreeMap<_, _>>()
    };
    let mut model = Map::new();
    storage.gate.set_memory_bytes(1 << 30);
    let store = Lsm::open(storage.clone(), "/store", options()).unwrap();
    fill(&store, &mut model, 0..400, 1);
    store.compact().unwrap();
    assert_eq!((called(&storage), store.metrics().read_calls), (vec![], None));
    store.close().unwrap();

    // Just enough, until more is written.
    let before = files();
    assert!(before.len() > 3, "{before:?}");
    let bytes: u64 = before.values().sum();
    storage.gate.set_memory_bytes(2 * bytes);
    let store = Lsm::open(storage.clone(), "/store", options()).unwrap();
    assert_eq!((called(&storage), store.metrics().read_calls), (vec![], None));
    fill(&store, &mut model, (0..400).step_by(3), 2);
    store.flush().unwrap();
    let advised = called(&storage);
    assert!(before.keys().all(|file| advised.contains(file)), "those that were open: {advised:?}");
    assert!(files().keys().all(|file| advised.contains(file)), "{advised:?}");
    assert!(advised.is_sorted_by(|a, b| a < b), "a file was advised twice: {advised:?}");
    let calls = store.metrics().read_calls.unwrap();
    assert_eq!(contents(&store).unwrap(), model);
    assert!(store.metrics().read_calls.unwrap() > calls);
    store.compact().unwrap();
    assert_eq!(contents(&store).unwrap(), model);
    store.close().unwrap();

    // From the opening on: filters and indexes are in memory.
    called(&storage);
    storage.gate.set_memory_bytes(1 << 10);
    let store = Lsm::open(storage.clone(), "/store", options()).unwrap();
    assert_eq!(called(&storage), files().into_keys().collect::<Vec<_>>());
    assert!(memory(&store).tables > 0);
    assert_eq!(contents(&store).unwrap(), model);
}
