//! Bitcask with files that are damaged: a wrong value is never read, and synced data is never given up in silence.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use kvdyno_engines::Error;
use kvdyno_engines::bitcask::{Bitcask, Options};
use kvdyno_engines::storage::{SimulatedDisk, Storage};

use super::{DIR, Map, churn, colliding, contents, files, open, unmerged};

/// A small closed store that has files of every kind, with and without tombstones, merged and not; and what is in it.
fn closed_store() -> (SimulatedDisk, Map) {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    for life in 0..2 {
        let store = open(&disk, &unmerged());
        for i in 0..6_u8 {
            let key = vec![b'k', i + life];
            store.put(&key, &[life; 9]).unwrap();
            map.insert(key, vec![life; 9]);
        }
        store.delete(b"k\x03").unwrap();
        map.remove(&b"k\x03"[..]);
        if life == 0 {
            store.merge().unwrap();
            store.put(b"k\x01", b"newest").unwrap();
            map.insert(b"k\x01".to_vec(), b"newest".to_vec());
        }
        store.close().unwrap();
    }
    (disk, map)
}

/// Opens a damaged store and reads everything. Values must be right; what is wrong must be said, by an error that names a file of the store.
fn check_damaged(disk: &SimulatedDisk, map: &Map, damage: &str) {
    let named = |error: Error| match error {
        Error::Corrupt { file, .. } => {
            assert!(file.starts_with(DIR), "{damage}: {}", file.display());
        }
        other => panic!("{damage}: {other}"),
    };
    let store = match Bitcask::open(disk.clone(), DIR, unmerged()) {
        Ok(store) => store,
        Err(error) => return named(error),
    };
    let mut value = Vec::new();
    for key in (0..10).map(|i| vec![b'k', i]) {
        match store.get(&key, &mut value) {
            Ok(found) => assert_eq!(found.then_some(&value), map.get(&key), "{damage}: {key:?}"),
            Err(error) => named(error),
        }
    }
    if let Err(error) = store.fold(|key, value| {
        assert_eq!(map.get(key).map(Vec::as_slice), Some(value), "{damage}: {key:?}");
        ControlFlow::Continue(())
    }) {
        named(error);
    }
}

#[test]
fn every_flipped_bit_of_a_closed_store_is_noticed_or_harmless() {
    let (disk, map) = closed_store();
    let files = disk.files();
    assert!(files.len() >= 6, "{files:?}");
    for (path, len) in files {
        let whole = disk.read_all(&path).unwrap();
        for bit in 0..len * 8 {
            disk.flip(&path, bit / 8, 1 << (bit % 8)).unwrap();
            let before = disk.files();
            check_damaged(&disk, &map, &format!("{} bit {bit}", path.display()));
            restore(&disk, &before, &path, &whole);
        }
    }
}

/// Undoes what an opening did to a store that was clean, and a damage.
fn restore(disk: &SimulatedDisk, before: &BTreeMap<PathBuf, u64>, path: &Path, whole: &[u8]) {
    let (pristine, _) = closed_store();
    for path in disk.files().into_keys().filter(|path| !before.contains_key(path)) {
        disk.remove(&path).unwrap();
    }
    for path in before.keys() {
        disk.write_all(path, &pristine.read_all(path).unwrap());
    }
    disk.write_all(path, whole);
}

#[test]
fn every_truncation_of_a_closed_store_is_noticed_or_harmless() {
    let (disk, map) = closed_store();
    for (path, len) in disk.files() {
        let whole = disk.read_all(&path).unwrap();
        for kept in 0..len {
            disk.write_all(&path, &whole[..kept as usize]);
            let before = disk.files();
            check_damaged(&disk, &map, &format!("{} cut to {kept}", path.display()));
            restore(&disk, &before, &path, &whole);
        }
    }
}

/// A process is killed, and of the file that it was writing the first `kept` bytes are there: what is recovered is a prefix.
#[test]
fn every_truncation_of_an_open_file_leaves_a_prefix() {
    let fresh = || {
        let disk = SimulatedDisk::new();
        let store = open(&disk, &unmerged());
        for i in 0..20_u8 {
            store.put(&[b'k', i], &[i; 20]).unwrap();
        }
        drop(store);
        disk
    };
    let whole = fresh();
    let path = files(&whole, "data").remove(0);
    let bytes = whole.read_all(&path).unwrap();
    let mut longest = 0;
    for kept in 0..=bytes.len().min(1200) {
        let disk = fresh();
        disk.write_all(&path, &bytes[..kept]);
        let store = open(&disk, &unmerged());
        let map = contents(&store);
        assert!(map.keys().enumerate().all(|(i, key)| *key == [b'k', i as u8]), "{map:?}");
        assert!(map.len() >= longest, "more bytes, fewer records");
        longest = map.len();
        assert_eq!(store.recovery().torn_bytes > 0 || kept == 0, !is_clean_cut(&bytes, kept));
        store.put(b"new", b"life").unwrap();
        drop(store);
        assert_eq!(contents(&open(&disk, &unmerged())).len(), longest + 1);
    }
    assert_eq!(longest, 20);
}

/// Whether a cut leaves whole frames, or frames followed by zeros only.
fn is_clean_cut(bytes: &[u8], kept: usize) -> bool {
    let mut end = 0;
    while end < kept {
        let payload = u32::from_le_bytes(bytes[end + 4..end + 8].try_into().unwrap()) as usize;
        let whole = end + 12 + payload;
        if payload == 0 {
            return true;
        }
        if whole > kept {
            return bytes[end..kept].iter().all(|byte| *byte == 0);
        }
        end = whole.next_multiple_of(8);
    }
    kept > 0
}

#[test]
fn synced_data_that_is_damaged_is_never_taken_for_a_torn_tail() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.put(b"first", b"synced").unwrap();
    store.sync().unwrap();
    store.put(b"second", b"knows that the first was synced").unwrap();
    drop(store);
    let path = files(&disk, "data").remove(0);
    disk.flip(&path, 60, 4).unwrap();
    let refused = Bitcask::open(disk, DIR, unmerged());
    assert!(matches!(refused, Err(Error::Corrupt { file, offset: 40, .. }) if file == path));
}

#[test]
fn reopening_with_damaged_or_without_hints_gives_the_same() {
    for options in [unmerged(), Options { merge: unmerged().merge, ..colliding() }] {
        for seed in 0..10 {
            let (disk, mut map) = (SimulatedDisk::new(), Map::new());
            for life in 0..3 {
                let store = open(&disk, &options);
                churn(&store, &mut map, seed * 10 + life, 300);
                if life == 1 {
                    store.merge().unwrap();
                }
                store.close().unwrap();
            }
            let forget_keydir = || disk.remove(&Path::new(DIR).join("KEYDIR")).unwrap();
            forget_keydir();
            let store = open(&disk, &options);
            let hints = files(&disk, "hint");
            assert_eq!(store.recovery().hints_used, hints.len() as u64);
            assert!(hints.len() > 5);
            assert_eq!(contents(&store), map);
            store.close().unwrap();
            forget_keydir();
            disk.flip(&hints[1], 50, 1).unwrap();
            disk.write_all(&hints[3], b"");
            disk.remove(&hints[4]).unwrap();
            let store = open(&disk, &options);
            assert_eq!(store.recovery().hints_rejected, 2);
            assert_eq!(store.recovery().hints_used, hints.len() as u64 - 3);
            assert_eq!(contents(&store), map);
            store.close().unwrap();
            forget_keydir();
            for hint in files(&disk, "hint") {
                disk.remove(&hint).unwrap();
            }
            let store = open(&disk, &options);
            assert_eq!(store.recovery().hints_used, 0);
            assert_eq!(contents(&store), map);
            store.settle().unwrap();
            drop(store);
            let store = open(&disk, &options);
            assert_eq!(store.recovery().hints_used, hints.len() as u64, "hints are written anew");
            assert_eq!(contents(&store), map);
        }
    }
}
