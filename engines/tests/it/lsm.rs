//! The LSM tree: what is particular to it. What all engines have in common is in `conformance` and `crash`.

mod approximate;
mod backups;
mod beside;
mod calls;
mod classes;
mod compressing;
mod expiry;
mod ingest;
mod isolation;
mod iterating;
mod looking;
mod memory;
mod ranges;
mod rates;
mod reading;
mod salvaging;
mod scanning;
mod snapshots;
mod values;
mod waiting;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kvdyno_engines::conformance;
use kvdyno_engines::lsm::{Background, Lsm, Options};
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Direction, Durability, Engine, Error, Result, WriteBatch, WriteOperation};

use crate::patience::wait_until;

/// Small memtables and tables, early compactions, no threads; of the values that [`fill`] writes, those of keys from 10 on lie in the value log.
fn small(durability: Durability) -> Options {
    Options {
        durability,
        memtable_bytes: 4 << 10,
        l0_tables_compact: 2,
        level_base_bytes: 4 << 10,
        level_ratio: 2,
        table_bytes: 2 << 10,
        block_bytes: 256,
        value_log_min_bytes: Some(35),
        value_log_dead_percent: 30,
        background: Background::Inline,
        mapped_bytes_max: Some(u64::MAX),
        ..Options::default()
    }
}

fn open_small(disk: SimulatedDisk, durability: Durability) -> Result<Box<dyn Engine>> {
    Ok(Box::new(Lsm::open(disk, "/store", small(durability))?))
}

fn open(disk: &SimulatedDisk) -> Result<Lsm<SimulatedDisk>> {
    open_with(disk, small(Durability::Os))
}

fn open_with(disk: &SimulatedDisk, options: Options) -> Result<Lsm<SimulatedDisk>> {
    Lsm::open(disk.clone(), "/store", options)
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Everything in a store, forward, checked to be the same backward and by gets.
fn contents<S: Storage>(store: &Lsm<S>) -> Result<Map> {
    let mut entries = Vec::new();
    store.scan(b"", Direction::Forward, usize::MAX, &mut |key, value| {
        entries.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    let mut reversed = Vec::new();
    store.scan(b"", Direction::Reverse, usize::MAX, &mut |key, value| {
        reversed.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    reversed.reverse();
    assert_eq!(entries, reversed);
    let mut value = Vec::new();
    for (key, expected) in &entries {
        assert!(store.get(key, &mut value)?, "a scan shows {key:?}, a get does not");
        assert_eq!(&value, expected);
    }
    Ok(entries.into_iter().collect())
}

fn key(i: u32) -> Vec<u8> {
    format!("user{i:08}").into_bytes()
}

/// Writes `keys` with values that say `version`.
fn fill<S: Storage>(
    store: &Lsm<S>,
    model: &mut Map,
    keys: impl IntoIterator<Item = u32>,
    version: u32,
) {
    for i in keys {
        let value = format!("{version}/{i}/{:30}", "");
        store.put(&key(i), value.as_bytes()).unwrap();
        model.insert(key(i), value.into_bytes());
    }
}

fn remove<S: Storage>(store: &Lsm<S>, model: &mut Map, keys: impl IntoIterator<Item = u32>) {
    for i in keys {
        store.delete(&key(i)).unwrap();
        model.remove(&key(i));
    }
}

#[test]
fn lsm_conforms() {
    conformance::check(|| {
        let disk = SimulatedDisk::new();
        move |durability| open_small(disk.clone(), durability)
    });
}

#[test]
fn deleted_keys_stay_deleted_through_compactions_and_reopening() {
    let disk = SimulatedDisk::new();
    let mut model = Map::new();
    let store = open(&disk).unwrap();
    fill(&store, &mut model, 0..300, 1);
    store.compact().unwrap();
    remove(&store, &mut model, (0..300).step_by(3));
    for _ in 0..3 {
        store.flush().unwrap();
        assert_eq!(contents(&store).unwrap(), model);
        store.settle().unwrap();
        assert_eq!(contents(&store).unwrap(), model);
    }
    store.close().unwrap();
    let store = open(&disk).unwrap();
    assert_eq!(contents(&store).unwrap(), model);
    store.compact().unwrap();
    assert_eq!(contents(&store).unwrap(), model);
    let levels = store.metrics().levels;
    assert_eq!(levels.iter().filter(|level| level.files > 0).count(), 1, "{levels:?}");
    remove(&store, &mut model, 0..300);
    store.compact().unwrap();
    assert_eq!(store.metrics().levels.iter().map(|level| level.files).sum::<u64>(), 0);
    assert!(contents(&store).unwrap().is_empty());
}

#[test]
fn scans_run_across_memtable_level_0_and_deeper_levels() {
    let disk = SimulatedDisk::new();
    let options = Options {
        l0_tables_compact: 50,
        l0_tables_slow: 60,
        l0_tables_stop: 70,
        ..small(Durability::Os)
    };
    let store = Lsm::open(disk, "/store", options).unwrap();
    let mut model = Map::new();
    fill(&store, &mut model, 0..400, 1);
    store.compact().unwrap();
    for version in 2..4 {
        fill(&store, &mut model, (version..400).step_by(7), version);
        store.flush().unwrap();
    }
    remove(&store, &mut model, (0..400).step_by(11));
    fill(&store, &mut model, (5..400).step_by(50), 4);
    let levels = store.metrics().levels;
    assert!(levels[0].files > 0 && levels[1..].iter().any(|level| level.files > 1), "{levels:?}");
    assert_eq!(contents(&store).unwrap(), model);
    for start in 0..400 {
        for (direction, expected) in [
            (Direction::Forward, model.range(key(start)..).take(9).collect::<Vec<_>>()),
            (Direction::Reverse, model.range(..=key(start)).rev().take(9).collect()),
        ] {
            let mut seen = Vec::new();
            let mut visit = |key: &[u8], value: &[u8]| {
                seen.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            };
            let visited = store.scan(&key(start), direction, 9, &mut visit).unwrap();
            let seen: Vec<_> = seen.iter().map(|(key, value)| (key, value)).collect();
            assert_eq!((visited, seen), (expected.len(), expected));
        }
    }
}

/// A small closed store that has files of all kinds, with tables in two levels and a log that is not empty.
fn fixture() -> (SimulatedDisk, Map) {
    let disk = SimulatedDisk::new();
    let options = Options { l0_tables_compact: 3, ..small(Durability::Os) };
    let store = Lsm::open(disk.clone(), "/store", options).unwrap();
    let mut model = Map::new();
    fill(&store, &mut model, 0..12, 1);
    store.compact().unwrap();
    fill(&store, &mut model, 5..9, 2);
    remove(&store, &mut model, 2..4);
    store.flush().unwrap();
    fill(&store, &mut model, 10..15, 3);
    remove(&store, &mut model, 0..1);
    store.close().unwrap();
    (disk, model)
}

/// What kind of file this is.
fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or("")
}

/// A disk with the files of another one.
fn copy(disk: &SimulatedDisk) -> SimulatedDisk {
    let copy = SimulatedDisk::new();
    copy.create_dir(Path::new("/store")).unwrap();
    for path in disk.files().into_keys() {
        copy.write_all(&path, &disk.read_all(&path).unwrap());
    }
    copy
}

#[test]
fn a_missing_file_is_named() {
    let (disk, _) = fixture();
    for missing in disk.files().into_keys() {
        if missing.ends_with("lock") {
            continue;
        }
        let damaged = copy(&disk);
        damaged.remove(&missing).unwrap();
        match open(&damaged).err() {
            Some(Error::Corrupt { file, .. }) => assert_eq!(file, missing),
            Some(Error::NotAStore { .. }) if missing.extension().unwrap() == "manifest" => {}
            other => panic!("without {}: {other:?}", missing.display()),
        }
    }
}

#[test]
fn foreign_folders_and_files_are_left_alone() {
    let disk = SimulatedDisk::new();
    disk.create_dir(Path::new("/store")).unwrap();
    disk.write_all(Path::new("/store/thesis.txt"), b"years of work");
    assert!(matches!(open(&disk), Err(Error::NotAStore { .. })));
    assert_eq!(disk.files().len(), 1, "nothing was created");

    let (disk, model) = fixture();
    disk.write_all(Path::new("/store/notes.txt"), b"mine");
    disk.write_all(Path::new("/store/99999999.table"), b"left behind by a crash");
    let store = open(&disk).unwrap();
    assert_eq!(store.recovery().orphans, 1);
    assert_eq!(contents(&store).unwrap(), model);
    assert!(disk.files().contains_key(Path::new("/store/notes.txt")));
}

#[test]
fn a_store_is_open_once() {
    let disk = SimulatedDisk::new();
    let store = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(Error::Locked { .. })));
    store.close().unwrap();
    open(&disk).unwrap();
}

#[test]
fn a_full_device_stops_writes_and_nothing_else() {
    let disk = SimulatedDisk::new();
    let store = open(&disk).unwrap();
    let mut model = Map::new();
    fill(&store, &mut model, 0..40, 1);
    disk.limit_to(disk.files().values().sum());
    let refused = (1_000..2_000).find_map(|i| {
        let refused = store.put(&key(i), &[b'x'; 100]).err();
        if refused.is_none() {
            model.insert(key(i), vec![b'x'; 100]);
        }
        refused
    });
    assert!(refused.unwrap().is_disk_full());
    assert_eq!(contents(&store).unwrap(), model);
    assert!(store.put(&key(1), &[b'x'; 100]).unwrap_err().is_disk_full());
    disk.limit_to(u64::MAX);
    fill(&store, &mut model, 0..200, 2);
    store.settle().unwrap();
    assert_eq!(contents(&store).unwrap(), model);
    store.close().unwrap();
    assert_eq!(contents(&open(&disk).unwrap()).unwrap(), model);
}

#[test]
fn batches_are_seen_whole_while_everything_moves() {
    const KEYS: u32 = 40;
    const ROUNDS: u64 = 800;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { background: Background::Threads, ..small(Durability::Os) };
    let store = Lsm::open(Disk, folder.path(), options).unwrap();
    let (store, round) = (&store, &AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..2 {
            scope.spawn(move || {
                let direction = if reader == 0 { Direction::Forward } else { Direction::Reverse };
                let mut value = Vec::new();
                while round.load(Ordering::Acquire) < ROUNDS {
                    let before = round.load(Ordering::Acquire);
                    let mut seen = Vec::new();
                    store
                        .scan(b"", direction, usize::MAX, &mut |_, value| {
                            seen.push(u64::from_le_bytes(value[..8].try_into().unwrap()));
                            ControlFlow::Continue(())
                        })
                        .unwrap();
                    if before > 0 {
                        assert_eq!(seen.len() as u32, KEYS);
                        assert!(seen.iter().all(|round| *round == seen[0]), "{seen:?}");
                        assert!(seen[0] >= before, "{} after {before}", seen[0]);
                        // Of two gets, the later one does not see an earlier moment.
                        let mut get = |i| {
                            assert!(store.get(&key(i), &mut value).unwrap());
                            u64::from_le_bytes(value[..8].try_into().unwrap())
                        };
                        let (first, second) = (get(0), get(KEYS - 1));
                        assert!(first <= second, "{second} after {first}");
                    }
                }
            });
        }
        for number in 1..=ROUNDS {
            let put = |i| {
                let value = [&number.to_le_bytes()[..], &[b'v'; 30]].concat();
                WriteOperation::Put { key: key(i), value }
            };
            store.write(&WriteBatch { operations: (0..KEYS).map(put).collect() }).unwrap();
            round.store(number, Ordering::Release);
        }
    });
    store.settle().unwrap();
    assert!(store.metrics().bytes_written.unwrap().compaction > 0);
    // A merge that scans have paid for may have begun meanwhile.
    wait_until("lock, manifest, log: obsolete files are gone", || {
        let metrics = store.metrics();
        let files = std::fs::read_dir(folder.path()).unwrap().count() as u64;
        let tables: u64 = metrics.levels.iter().map(|level| level.files).sum();
        let values = metrics.counters["value_log_files"] as u64;
        files == tables + values + 3
    });
}

#[test]
fn writers_in_class_sync_share_flushes_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { background: Background::Threads, ..small(Durability::Sync) };
    let store = Lsm::open(Disk, folder.path(), options.clone()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..50 {
                    store.put(&key(thread * 1_000 + i), &[b'v'; 100]).unwrap();
                }
            });
        }
    });
    drop(store);
    let store = Lsm::open(Disk, folder.path(), options).unwrap();
    assert_eq!(contents(&store).unwrap().len(), 200);
}

#[test]
fn a_value_larger_than_the_memtable_is_a_value() {
    let disk = SimulatedDisk::new();
    let store = open(&disk).unwrap();
    let big = vec![b'b'; 100 << 10];
    store.put(b"big", &big).unwrap();
    store.put(b"small", b"").unwrap();
    store.put(&vec![b'k'; 64 << 10], b"long key").unwrap();
    assert!(matches!(store.put(&vec![b'k'; (64 << 10) + 1], b""), Err(Error::KeyTooLong { .. })));
    assert!(matches!(store.put(b"", b""), Err(Error::EmptyKey)));
    store.compact().unwrap();
    let map = contents(&store).unwrap();
    assert_eq!(map.len(), 3);
    assert_eq!(map[&b"big"[..]], big);
    store.close().unwrap();
    assert_eq!(contents(&open(&disk).unwrap()).unwrap(), map);
}

/// Power is lost at each operation around the moment at which a full manifest gives way to the next one.
#[test]
fn a_manifest_that_is_full_is_followed_by_another() {
    let live = |disk: &SimulatedDisk| -> (usize, Result<()>) {
        let mut durable = 0;
        let mut write = || {
            let store = open(disk)?;
            for i in 0..60 {
                store.put(&key(i), &[b'v'; 50])?;
                store.flush()?;
                durable = i as usize + 1;
            }
            Ok(())
        };
        let outcome = write();
        (durable, outcome)
    };
    let disk = SimulatedDisk::new();
    live(&disk).1.unwrap();
    let trace = disk.trace();
    let mut created = trace
        .lines()
        .enumerate()
        .filter(|(_, operation)| operation.contains("create") && operation.ends_with(".manifest"));
    let (second, _) = created.nth(1).expect("a manifest was full");
    for operation in second as u64 - 3..second as u64 + 12 {
        let disk = SimulatedDisk::new();
        disk.power_off_at(operation);
        let (durable, _) = live(&disk);
        for crash in disk.crashes(operation, 4) {
            let survivor = disk.survivor(crash);
            for _ in 0..2 {
                let map = contents(&open(&survivor).unwrap()).unwrap();
                assert!(
                    (durable..=durable + 1).contains(&map.len()),
                    "operation {operation}, {crash:?}: {} keys, {durable} of them durable",
                    map.len()
                );
            }
        }
    }
}

#[test]
fn impossible_options_are_refused() {
    let disk = SimulatedDisk::new();
    let options = Options { level_ratio: 1, ..Options::default() };
    let refused = Lsm::open(disk.clone(), PathBuf::from("/store"), options).err().unwrap();
    assert_eq!(refused.to_string(), "option level_ratio is 1: expected at least 2");
    assert!(disk.files().is_empty());
}
