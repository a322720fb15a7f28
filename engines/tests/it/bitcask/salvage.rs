//! Salvage: what is whole is saved, nothing is made up, and what may be wrong is said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kvdyno_engines::Error;
use kvdyno_engines::bitcask::{Options, SalvageReport, records, salvage, verify};
use kvdyno_engines::storage::{SimulatedDisk, Storage};

use super::verify::{batch, store_of_all_kinds};
use super::{Bitcask, DIR, Map, churn, contents, files, open, unmerged};

const TO: &str = "/saved";

fn saved(disk: &SimulatedDisk) -> (SalvageReport, Map) {
    let report = salvage(disk, DIR, TO, unmerged()).unwrap();
    assert_eq!(verify(disk, TO).unwrap().damage, []);
    let store = Bitcask::open(disk.clone(), TO, unmerged()).unwrap();
    let map = contents(&store);
    assert_eq!(map.len() as u64, report.records_kept);
    drop(store);
    for path in disk.files().into_keys().filter(|path| path.starts_with(TO)) {
        disk.remove(&path).unwrap();
    }
    (report, map)
}

/// All values that a key ever had in the store, as its files tell.
fn history(disk: &SimulatedDisk) -> BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> {
    let mut history: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let damage = records(disk, DIR, None, |record| {
        let values = history.entry(record.key.to_vec()).or_default();
        values.extend(record.value.map(<[u8]>::to_vec));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(damage.unwrap(), []);
    history
}

fn remove_all(disk: &SimulatedDisk, extension: &str) {
    for path in files(disk, extension) {
        disk.remove(&path).unwrap();
    }
}

#[test]
fn a_whole_store_is_saved_as_it_is() {
    let disk = store_of_all_kinds(true);
    let before = disk.files();
    let (report, map) = saved(&disk);
    assert!(report.is_complete() && report.dropped.is_empty(), "{report:?}");
    assert!(!report.deleted_may_return && !report.older_may_return);
    assert!(report.records_passed_over > 0 && report.torn_bytes == 0);
    assert_eq!(disk.files(), before, "the store is not changed");
    assert_eq!(contents(&open(&disk, &unmerged())), map);
}

/// With hints, without hints, and for the manifest too: what differs from the truth is covered by what the report says.
#[test]
fn every_flipped_byte_costs_at_most_the_record_that_it_is_in() {
    for with_hints in [true, false] {
        let disk = store_of_all_kinds(true);
        if !with_hints {
            remove_all(&disk, "hint");
        }
        let history = history(&disk);
        let (_, whole) = saved(&disk);
        for (path, len) in disk.files() {
            let is_data = path.extension().is_some_and(|extension| extension == "data");
            for offset in 0..len {
                disk.flip(&path, offset, 1 << (offset % 8)).unwrap();
                let (report, map) = saved(&disk);
                disk.flip(&path, offset, 1 << (offset % 8)).unwrap();
                let place = format!("{} byte {offset}: {report:?}", path.display());
                let mut differing = 0;
                for (key, ever) in &history {
                    let (found, right) = (map.get(key), whole.get(key));
                    differing += u64::from(found != right);
                    match (found, right) {
                        (Some(found), _) if Some(found) == right => {}
                        (Some(found), right) => {
                            assert!(ever.contains(found), "{key:?} {place}");
                            assert!(right.is_none() || report.older_may_return, "{key:?} {place}");
                            assert!(
                                right.is_some() || report.deleted_may_return,
                                "{key:?} {place}"
                            );
                            assert!(right.is_some() || !with_hints || !is_data, "{key:?} {place}");
                        }
                        (None, Some(_)) => assert!(!report.is_complete(), "{key:?} {place}"),
                        (None, None) => {}
                    }
                }
                assert!(map.keys().all(|key| history.contains_key(key)), "{place}");
                assert!(differing <= 1 || report.manifest_lost.is_some(), "{place}");
                assert!(report.dropped.len() as u64 <= u64::from(is_data), "{place}");
                if !is_data && report.manifest_lost.is_none() {
                    assert!(report.is_complete() && map == whole, "{place}");
                }
            }
        }
    }
}

#[test]
fn without_a_manifest_everything_is_read_in_the_order_of_numbers() {
    for with_hints in [true, false] {
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        let store = open(&disk, &unmerged());
        churn(&store, &mut map, 5, 600);
        store.close().unwrap();
        disk.remove(&Path::new(DIR).join("MANIFEST")).unwrap();
        if !with_hints {
            remove_all(&disk, "hint");
        }
        let (report, found) = saved(&disk);
        // Nothing was merged, so that the numbers are the order of age; but that cannot be known.
        assert_eq!(found, map);
        assert!(report.manifest_lost.is_some() && !report.is_complete());
        assert!(report.deleted_may_return && report.older_may_return);
        assert_eq!((report.dropped, report.torn_bytes), (Vec::new(), 0));
    }
}

#[test]
fn a_missing_file_costs_its_records_only() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    let key = |i: u32| format!("key-{i}").into_bytes();
    for i in 0..300 {
        store.put(&key(i), &[i as u8; 50]).unwrap();
    }
    store.close().unwrap();
    let gone = files(&disk, "data").remove(2);
    let mut lost = 0;
    let count = |_: &kvdyno_engines::bitcask::StoredRecord<'_>| {
        lost += 1;
        std::ops::ControlFlow::Continue(())
    };
    records(&disk, DIR, Some(3), count).unwrap();
    disk.remove(&gone).unwrap();
    let (report, map) = saved(&disk);
    assert_eq!(report.files_missing, [gone]);
    assert!(lost > 10 && report.deleted_may_return && !report.is_complete());
    assert_eq!(map.len(), 300 - lost);
    assert!((0..300).all(|i| map.get(&key(i)).is_none_or(|value| *value == [i as u8; 50])));
}

#[test]
fn a_torn_tail_and_an_unfinished_batch_are_dropped() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.put(b"before", b"1").unwrap();
    let before = store.files()[0].bytes;
    store.write(&batch(7)).unwrap();
    let after = store.files()[0].bytes;
    drop(store);
    let path = files(&disk, "data").remove(0);
    let bytes = disk.read_all(&path).unwrap();
    for kept in before..=after {
        disk.write_all(&path, &bytes[..kept as usize]);
        let (report, map) = saved(&disk);
        assert!(report.is_complete() && !report.deleted_may_return, "{report:?}");
        assert_eq!(map[&b"before"[..]], b"1");
        let is_whole = map.len() == 3;
        assert!(is_whole || map.len() == 1, "a batch is there as a whole or not at all: {map:?}");
        // What follows the last byte of the payload is padding.
        assert_eq!(is_whole, kept + 8 > after && bytes[kept as usize..].iter().all(|b| *b == 0));
        assert!(is_whole || kept == before || report.torn_bytes + report.batch_records_dropped > 0);
    }
}

#[test]
fn records_behind_a_torn_spot_are_saved() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    for i in 0..10_u8 {
        store.put(&[i], &[i; 20]).unwrap();
    }
    drop(store);
    let path = files(&disk, "data").remove(0);
    disk.flip(&path, 40 + 3 * 40, 1).unwrap();
    let (report, map) = saved(&disk);
    assert_eq!((map.len(), report.dropped.len()), (9, 1), "{report:?}");
    assert_eq!((report.dropped[0].offset, report.dropped[0].bytes), (160, 40));
    assert!(report.deleted_may_return && !map.contains_key(&[3][..]));
}

#[test]
fn a_value_that_holds_a_data_file_is_not_taken_for_one() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.put(b"inner", b"a record in a record").unwrap();
    let bytes = disk.read_all(&files(&disk, "data")[0]).unwrap();
    let frame = bytes[40..96].to_vec();
    store.delete(b"inner").unwrap();
    // The inner frame lies at a multiple of eight, as a frame does: 12 + 3 + 1 bytes come before the value.
    store.put(b"o", &frame).unwrap();
    store.close().unwrap();
    let path = files(&disk, "data").remove(0);
    let bytes = disk.read_all(&path).unwrap();
    let outer = bytes.windows(8).rposition(|bytes| bytes == &frame[..8]).unwrap() as u64;
    assert_eq!(outer % 8, 0);
    disk.flip(&path, outer - 1, 1).unwrap();
    let (report, map) = saved(&disk);
    assert_eq!((report.dropped.len(), map.len()), (1, 0), "{report:?} {map:?}");
}

#[test]
fn a_target_that_is_in_use_is_refused() {
    let disk = store_of_all_kinds(true);
    let before = disk.files();
    let refused = |to: &str| match salvage(&disk, DIR, to, Options::default()) {
        Err(Error::InvalidOption { name: "to", value, .. }) => assert_eq!(value, to),
        other => panic!("{to} is accepted: {other:?}"),
    };
    refused(DIR);
    refused("/store/saved");
    disk.create_dir(Path::new("/full")).unwrap();
    disk.write_all(Path::new("/full/thesis"), b"years of work");
    refused("/full");
    disk.remove(Path::new("/full/thesis")).unwrap();
    assert_eq!(disk.files(), before);
    let none = salvage(&disk, "/full", TO, Options::default());
    assert!(matches!(none, Err(Error::NotAStore { .. })));
}

#[test]
fn a_store_that_is_open_is_not_salvaged() {
    let disk = store_of_all_kinds(true);
    let store = open(&disk, &unmerged());
    let refused = salvage(&disk, DIR, TO, unmerged());
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    assert!(disk.list(Path::new(TO)).is_err(), "nothing was begun");
    drop(store);
    assert!(salvage(&disk, DIR, TO, unmerged()).is_ok());
}
