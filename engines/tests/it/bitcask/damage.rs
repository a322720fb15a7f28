//! Bitcask with files that are damaged: what is told apart by its own rules. What all engines are asked is in [`crate::damage`].

use std::ops::ControlFlow;
use std::path::Path;

use kvdyno_engines::Error;
use kvdyno_engines::bitcask::{Bitcask, DataFigures, Options, StoredRecord, records, verify};
use kvdyno_engines::storage::{SimulatedDisk, Storage};

use super::{DIR, Map, churn, colliding, contents, files, open, small, unmerged};
use crate::damage::fixture::{Aids, Fixture};
use crate::history::Open;
use crate::subjects::{self, Subject};

/// What the suite over all engines damages: records of every kind, found in each of the three ways in which an opening can find out what is there.
#[test]
fn the_stores_that_are_damaged_hold_everything_and_are_opened_in_every_way() {
    let open: Open<'_> = &subjects::Bitcask::simulated_compressing;
    let mut ways = Vec::new();
    for fixture in Fixture::all(open, 9) {
        let disk = fixture.disk();
        let report = verify(&disk, DIR).unwrap();
        assert!(report.damage.is_empty());
        let files: Vec<_> = report.files.iter().filter_map(|file| file.data).collect();
        let sum = |figure: fn(&DataFigures) -> u64| files.iter().map(figure).sum::<u64>();
        assert!(files.len() >= 2 && sum(|data| data.expiring_values) >= 2);
        assert!(sum(|data| data.compressed_values.unwrap_or(0)) >= 2);
        assert!(sum(|data| data.tombstones) >= 2 && sum(|data| data.live_records) >= 10);
        let mut in_batches = 0;
        let count = |record: &StoredRecord<'_>| {
            in_batches += u64::from(record.continues);
            ControlFlow::Continue(())
        };
        records(&disk, DIR, None, count).unwrap();
        assert!(in_batches >= 2);
        let store = super::open(&disk, &small());
        let (recovery, files) = (store.recovery(), files.len() as u64);
        match fixture.aids {
            Aids::All => assert!(recovery.keydir_used),
            Aids::NoKeydir => assert!(!recovery.keydir_used && recovery.hints_used == files),
            Aids::None => assert!(!recovery.keydir_used && recovery.hints_used == 0),
        }
        ways.push((fixture.class, fixture.aids));
    }
    assert_eq!(ways.len(), 6, "{ways:?}");
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
