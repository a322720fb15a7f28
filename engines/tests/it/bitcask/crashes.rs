//! Bitcask when power is lost, when operations fail, and when the disk is full.

use kvdyno_engines::bitcask::{Bitcask, Options};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::{Fault, Repeat};
use kvdyno_engines::{Durability, Engine, Error, Result};

use super::{DIR, Map, churn, contents, get, open, small, unmerged};
use crate::crash::{Sweep, sweep};

fn sweep_all(options: &Options, plan: Sweep) {
    let open = |disk: SimulatedDisk, durability| -> Result<Box<dyn Engine>> {
        let options = Options { durability, ..options.clone() };
        Ok(Box::new(Bitcask::open(disk, DIR, options)?))
    };
    for class in Durability::ALL {
        sweep(&open, class, plan);
    }
}

#[test]
fn every_crash_leaves_a_prefix() {
    sweep_all(&small(), Sweep { seed: 1, steps: 40, each: 2 });
}

#[test]
fn every_crash_leaves_a_prefix_when_hashes_collide() {
    sweep_all(&Options { hash_mask: 1, ..small() }, Sweep { seed: 2, steps: 40, each: 1 });
}

/// Run by hand.
#[test]
#[ignore = "takes many minutes"]
fn every_crash_leaves_a_prefix_long() {
    for seed in 0..40 {
        let mask = if seed % 2 == 0 { u64::MAX } else { 1 };
        let options = Options { hash_mask: mask, ..small() };
        sweep_all(&options, Sweep { seed, steps: 100, each: 2 });
    }
}

/// An error at every operation in turn, once and for good: no panic, no wrong value, and after reopening a state that the history had, with everything
/// that was acknowledged before a sync that succeeded.
#[test]
fn every_operation_may_fail() {
    for (fault, repeat) in [
        (Fault::Io, Repeat::Once),
        (Fault::Io, Repeat::ForGood),
        (Fault::DiskFull, Repeat::Once),
        (Fault::DiskFull, Repeat::ForGood),
    ] {
        for operation in 0.. {
            let disk = SimulatedDisk::new();
            disk.fail_at(operation, fault, repeat);
            let acknowledged = filled_until_failure(&disk);
            let finished = disk.operations() <= operation;
            disk.heal();
            let store = open(&disk, &small());
            let found = contents(&store);
            for (key, value) in &acknowledged {
                let found = found.get(key).unwrap_or_else(|| panic!("{key:?} is lost"));
                assert!(found >= value, "operation {operation}: {key:?} went back");
            }
            store.put(b"new", b"life").unwrap();
            store.close().unwrap();
            assert_eq!(get(&open(&disk, &small()), b"new").unwrap(), b"life");
            if finished {
                break;
            }
        }
    }
}

/// Versions of a few keys, with merges; returns what was acknowledged.
fn filled_until_failure(disk: &SimulatedDisk) -> Map {
    let mut acknowledged = Map::new();
    let Ok(store) = Bitcask::open(disk.clone(), DIR, small()) else { return acknowledged };
    for version in 0..40_u8 {
        let key = vec![b'k', version % 5];
        let value = vec![version; 400];
        if store.put(&key, &value).is_ok() {
            acknowledged.insert(key.clone(), value);
        }
        let mut found = Vec::new();
        if let Some(value) = acknowledged.get(&key) {
            assert!(store.get(&key, &mut found).unwrap() && found >= *value);
        }
        if version % 13 == 12 {
            let _ = store.sync();
            let _ = store.settle();
        }
    }
    let _ = store.close();
    acknowledged
}

#[test]
fn a_full_disk_is_a_clean_error_and_passes() {
    for room in (0..20).map(|step| step * 1024) {
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        let store = open(&disk, &small());
        churn(&store, &mut map, 1, 100);
        let used: u64 = disk.files().values().sum();
        disk.limit_to(used + room);
        let refused = (0..500_u32).find_map(|i| {
            let (key, value) = (b"filler".to_vec(), vec![i as u8; 300]);
            match store.put(&key, &value) {
                Ok(()) => map.insert(key, value).and(None),
                Err(error) => Some(error),
            }
        });
        if let Some(error) = refused {
            assert!(error.is_disk_full(), "{error}");
            assert_eq!(contents(&store), map);
        }
        disk.limit_to(u64::MAX);
        store.put(b"room", b"again").unwrap();
        map.insert(b"room".to_vec(), b"again".to_vec());
        let _ = store.settle();
        store.settle().unwrap();
        store.close().unwrap();
        assert_eq!(contents(&open(&disk, &small())), map);
    }
}

#[test]
fn a_failed_sync_poisons_writes_and_reads_go_on() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.put(b"key", b"value").unwrap();
    disk.fail_at(disk.operations(), Fault::Io, Repeat::Once);
    assert!(matches!(store.sync(), Err(Error::Io { .. })));
    assert!(matches!(store.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(store.put(b"key", b"other"), Err(Error::Poisoned { .. })));
    assert!(matches!(store.delete(b"key"), Err(Error::Poisoned { .. })));
    assert!(matches!(store.merge(), Err(Error::Poisoned { .. })));
    assert_eq!(get(&store, b"key").unwrap(), b"value");
    assert!(store.close().is_err());
}

#[test]
fn a_failed_append_poisons_writes_and_reads_go_on() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.put(b"key", b"value").unwrap();
    disk.fail_at(disk.operations(), Fault::Io, Repeat::Once);
    assert!(matches!(store.put(b"key", b"other"), Err(Error::Io { .. })));
    assert!(matches!(store.put(b"key", b"other"), Err(Error::Poisoned { .. })));
    assert_eq!(get(&store, b"key").unwrap(), b"value");
}
