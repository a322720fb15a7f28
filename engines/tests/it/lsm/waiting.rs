//! Who waits for whom: a read for nobody who waits for the device.

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use kvdyno_engines::lsm::{Background, KeyRange, Lsm, Options};
use kvdyno_engines::{Direction, Durability, Engine};

use super::{Map, fill, key, small};
use crate::gated::{Gated, Held, PATIENCE};

const KEYS: u32 = 60;

/// A store with threads, on which all of `KEYS` are, some in a table, some in the memtable. It is not compacted before it is asked to be.
fn open(storage: &Gated, durability: Durability) -> Lsm<Gated> {
    let options = Options {
        background: Background::Threads,
        l0_tables_compact: 30,
        l0_tables_slow: 40,
        l0_tables_stop: 50,
        ..small(durability)
    };
    let store = Lsm::open(storage.clone(), "/store", options).unwrap();
    fill(&store, &mut Map::new(), 0..KEYS, 1);
    store.flush().unwrap();
    fill(&store, &mut Map::new(), 0..KEYS / 2, 2);
    store
}

/// Every way to read, and to ask for figures.
fn read_in_every_way(store: &Lsm<Gated>) {
    let (mut value, all) = (Vec::new(), KEYS as usize);
    assert!(store.get(&key(1), &mut value).unwrap());
    assert!(!store.get(b"absent", &mut value).unwrap());
    let mut found = 0;
    let keys: Vec<_> = (0..2 * KEYS).map(key).collect();
    store.multi_get(&keys, |_, value| found += usize::from(value.is_some())).unwrap();
    assert_eq!(found, all);
    assert_eq!(store.iter(..).count(), all);
    assert_eq!(store.iter(KeyRange::prefix("user")).rev().count(), all);
    let snapshot = store.snapshot();
    let mut cursor = snapshot.cursor(..);
    assert_eq!(cursor.seek_back(&key(7)).unwrap().unwrap().0, key(7));
    assert_eq!(cursor.move_next().unwrap().unwrap().0, key(8));
    assert!(snapshot.approximate_bytes(..).unwrap() > 0);
    let everything = &mut |_: &[u8], _: &[u8]| ControlFlow::Continue(());
    let mut session = store.session().unwrap();
    assert!(session.get(&key(2), &mut value).unwrap());
    assert_eq!(session.scan(b"", Direction::Reverse, usize::MAX, everything).unwrap(), all);
    let metrics = store.metrics();
    assert!(metrics.counters["snapshots_alive"] > 0.0);
}

/// Reads in every way while `held` is under way, which `work` or the store's threads do.
fn reads_go_on_while(durability: Durability, held: Held, work: impl FnOnce(&Lsm<Gated>) + Send) {
    let storage = Gated::default();
    let store = open(&storage, durability);
    storage.reads_go_on_while(held, || work(&store), || read_in_every_way(&store));
}

/// Overwrites until some memtables are full.
fn overwrite(store: &Lsm<Gated>) {
    for version in 3..10 {
        fill(store, &mut Map::new(), 0..KEYS, version);
    }
}

#[test]
fn reads_go_on_while_a_writer_begins_a_log() {
    reads_go_on_while(Durability::Os, Held::CreateLog, overwrite);
}

#[test]
fn reads_go_on_while_a_writer_makes_the_names_of_logs_durable() {
    reads_go_on_while(Durability::Os, Held::SyncFolder, overwrite);
}

#[test]
fn reads_go_on_while_a_write_waits_for_its_sync() {
    reads_go_on_while(Durability::Sync, Held::Sync("log"), overwrite);
}

#[test]
fn reads_go_on_through_a_flush_and_a_compaction() {
    let flush = |store: &Lsm<Gated>| store.flush().unwrap();
    let compact = |store: &Lsm<Gated>| store.compact().unwrap();
    for held in [Held::CreateOutput, Held::Sync("table"), Held::Sync("manifest")] {
        reads_go_on_while(Durability::Os, held, flush);
        reads_go_on_while(Durability::Os, held, |store| {
            flush(store);
            compact(store);
        });
    }
    // Nothing is left to be flushed, so that what is held up is the compaction.
    for held in [Held::CreateOutput, Held::Sync("table"), Held::Sync("manifest")] {
        let storage = Gated::default();
        let store = open(&storage, Durability::Os);
        flush(&store);
        storage.reads_go_on_while(held, || compact(&store), || read_in_every_way(&store));
    }
}

/// To let go of tables and memtables takes milliseconds: not those of a reader who happened to be at work when they were replaced.
#[test]
fn a_reader_does_not_remove_what_has_been_replaced_meanwhile() {
    let storage = Gated::default();
    let store = open(&storage, Durability::Os);
    let tables = || {
        let paths = storage.disk.files().into_keys();
        paths.filter(|path| path.extension().is_some_and(|name| name == "table")).count() as u64
    };
    let (removed_before, mut replaced) = (storage.gate.removers().len(), false);
    let visit = &mut |_: &[u8], _: &[u8]| {
        if !std::mem::replace(&mut replaced, true) {
            // Another thread, as this one is the reader.
            thread::scope(|scope| scope.spawn(|| store.compact().unwrap()).join().unwrap());
            let live: u64 = store.metrics().levels.iter().map(|level| level.files).sum();
            assert!(tables() > live, "the scan needs what has been replaced");
        }
        ControlFlow::Continue(())
    };
    let mut session = store.session().unwrap();
    let scanned = session.scan(b"", Direction::Forward, usize::MAX, visit).unwrap();
    assert_eq!(scanned, KEYS as usize);
    let start = Instant::now();
    let live: u64 = store.metrics().levels.iter().map(|level| level.files).sum();
    while tables() > live {
        assert!(start.elapsed() < PATIENCE, "what nobody needs stays");
        thread::sleep(Duration::from_millis(5));
    }
    let (removers, reader) = (storage.gate.removers().split_off(removed_before), thread::current());
    assert!(!removers.iter().any(|name| Some(&name[..]) == reader.name()), "{removers:?}");
    assert!(removers.iter().any(|name| name.starts_with("lsm-")), "{removers:?}");
}
