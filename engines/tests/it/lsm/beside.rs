//! Reading a store without a lock, beside a writer or beside nobody.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kvdyno_engines::lsm::{Background, Lsm, LsmReader};
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Direction, Durability, Error, WriteBatch, WriteOperation};

use super::{Map, contents, copy, fill, fixture, key, open, remove, small};

/// Everything that a reader sees, by scans in both directions and by gets.
pub(super) fn seen<S: Storage>(reader: &LsmReader<S>) -> Map {
    let mut map = Map::new();
    reader
        .scan(b"", Direction::Forward, usize::MAX, &mut |key, value| {
            map.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    let count =
        reader.scan(b"", Direction::Reverse, usize::MAX, &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(count.unwrap(), map.len());
    let mut value = Vec::new();
    for (key, expected) in &map {
        assert!(reader.get(key, &mut value).unwrap());
        assert_eq!(&value, expected);
    }
    map
}

#[test]
fn a_reader_changes_nothing_and_needs_no_lock() {
    let (disk, model) = fixture();
    let (before, operations) = (disk.files(), disk.operations());
    assert_eq!(seen(&LsmReader::open(&disk, "/store").unwrap()), model);
    assert_eq!((disk.files(), disk.operations()), (before, operations));
    let store = open(&disk).unwrap();
    assert_eq!(seen(&LsmReader::open(&disk, "/store").unwrap()), model);
    drop(store);
}

#[test]
fn a_reader_sees_one_moment_until_it_looks_again() {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk).unwrap();
    let mut reader = LsmReader::open(&disk, "/store").unwrap();
    assert!(seen(&reader).is_empty());
    for round in 0..6 {
        let then = seen(&reader);
        fill(&store, &mut model, round * 20..round * 20 + 60, round);
        remove(&store, &mut model, [round * 20 + 3]);
        if round % 2 == 1 {
            store.compact().unwrap();
        }
        assert_eq!(seen(&reader), then);
        reader.refresh().unwrap();
        assert_eq!(seen(&reader), model);
        assert_eq!(reader.recovery().logs_dropped, 0);
    }
}

#[test]
fn a_reader_sees_after_a_crash_what_an_opening_would() {
    for cut in (0..400).step_by(7) {
        let disk = SimulatedDisk::new();
        disk.power_off_at(cut);
        if let Ok(store) = open(&disk) {
            for i in 0..200 {
                if store.put(&key(i % 70), &[i as u8; 60]).is_err() {
                    break;
                }
            }
        }
        for crash in disk.crashes(cut, 1).into_iter().chain([Crash::Killed(cut)]) {
            let survivor = disk.survivor(crash);
            let read = LsmReader::open(&survivor, "/store").map(|reader| seen(&reader));
            let opened = contents(&open(&survivor).unwrap()).unwrap();
            match read {
                Ok(read) => assert_eq!(read, opened, "{cut} {crash:?}"),
                Err(error) => assert!(opened.is_empty(), "{cut} {crash:?}: {error}"),
            }
        }
    }
}

#[test]
fn what_is_no_store_is_no_store_for_readers() {
    let disk = SimulatedDisk::new();
    disk.create_dir(Path::new("/store")).unwrap();
    assert!(matches!(LsmReader::open(&disk, "/store"), Err(Error::NotAStore { .. })));
    disk.write_all(Path::new("/store/thesis.txt"), b"years of work");
    assert!(matches!(LsmReader::open(&disk, "/store"), Err(Error::NotAStore { .. })));
    assert!(matches!(LsmReader::open(&disk, "/nowhere"), Err(Error::Io { .. })));
    let (disk, _) = fixture();
    for missing in disk.files().into_keys().filter(|path| !path.ends_with("lock")) {
        let damaged = copy(&disk);
        damaged.remove(&missing).unwrap();
        let refused = LsmReader::open(&damaged, "/store");
        assert!(refused.is_err(), "without {}", missing.display());
    }
}

#[test]
fn readers_see_whole_batches_beside_a_writer() {
    const KEYS: u32 = 20;
    let folder = tempfile::tempdir().unwrap();
    let (background, memtable_bytes) = (Background::Threads, 64 << 10);
    let options = super::Options { background, memtable_bytes, ..small(Durability::Os) };
    let store = Lsm::open(Disk, folder.path(), options).unwrap();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1_u64.. {
                let put = |i| {
                    let value = [&round.to_le_bytes()[..], &[b'v'; 40]].concat();
                    WriteOperation::Put { key: key(i), value }
                };
                store.write(&WriteBatch { operations: (0..KEYS).map(put).collect() }).unwrap();
                acknowledged.store(round, Ordering::Release);
                // A store of so small memtables would otherwise change faster than anybody can open it.
                std::thread::sleep(std::time::Duration::from_micros(300));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut newest = 0;
        for _ in 0..60 {
            let before = acknowledged.load(Ordering::Acquire);
            let map = seen(&LsmReader::open(&Disk, folder.path()).unwrap());
            let rounds: Vec<_> = map
                .into_values()
                .map(|value| u64::from_le_bytes(*value.first_chunk().unwrap()))
                .collect();
            assert!(rounds.iter().all(|round| *round == rounds[0]), "half a batch: {rounds:?}");
            newest = rounds.first().copied().unwrap_or(0);
            assert!(newest >= before, "{newest} is seen after {before} was acknowledged");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(newest > 0);
    });
}
