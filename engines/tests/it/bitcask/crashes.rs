//! Bitcask when operations fail, and when the disk is full: what the suites over all engines do not ask.

use kvdyno_engines::Error;
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::{Fault, Repeat};

use super::{Map, churn, contents, get, open, small, unmerged};

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
