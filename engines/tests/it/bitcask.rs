//! Bitcask: what is particular to it. What all engines have in common is in `conformance` and `crash`.

mod backups;
mod basho;
mod batches;
mod beside;
mod crashes;
mod damage;
mod expiry;
mod golden;
mod iterating;
mod keydir_file;
mod merge_policy;
mod merging;
mod numbered;
mod options;
mod ordered;
mod presumed;
mod reading;
mod salvage;
mod status;
pub(crate) mod variants;
mod verify;
mod waiting;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use kvdyno_engines::bitcask::{Background, Bitcask, MergePolicy, Options, SEGMENT_BYTES_MIN};
use kvdyno_engines::conformance;
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Engine, Error, EventKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

const DIR: &str = "/store";

/// Small data files, no threads.
fn small() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES_MIN,
        background: Background::Inline,
        ..Options::default()
    }
}

/// As [`small`], and merges only on demand.
fn unmerged() -> Options {
    Options { merge: MergePolicy { automatic: false, ..MergePolicy::default() }, ..small() }
}

/// As [`small`], with eight different hashes for all keys.
fn colliding() -> Options {
    Options { hash_mask: 7, ..small() }
}

fn open(disk: &SimulatedDisk, options: &Options) -> Bitcask<SimulatedDisk> {
    Bitcask::open(disk.clone(), DIR, options.clone()).unwrap()
}

fn get<S: Storage>(store: &Bitcask<S>, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.get(key, &mut value).unwrap().then_some(value)
}

fn contents<S: Storage>(store: &Bitcask<S>) -> Map {
    let mut map = Map::new();
    let visit = |key: &[u8], value: &[u8]| {
        assert!(map.insert(key.to_vec(), value.to_vec()).is_none(), "a key is visited twice");
        ControlFlow::Continue(())
    };
    store.fold(visit).unwrap();
    assert_eq!(map.len(), store.len());
    map
}

/// A counter of the store's metrics, once it is known what puts have replaced.
fn figure<S: Storage>(store: &Bitcask<S>, name: &str) -> u64 {
    store.len();
    store.metrics().counters[name] as u64
}

/// Files of the store with this extension, oldest name first.
fn files(disk: &SimulatedDisk, extension: &str) -> Vec<PathBuf> {
    let is = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
    disk.files().into_keys().filter(is).collect()
}

/// Writes, overwrites and deletes at random, in the store and in a map.
fn churn(store: &Bitcask<SimulatedDisk>, map: &mut Map, seed: u64, steps: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    for step in 0..steps {
        let key = format!("key-{}", random.random_range(0..60)).into_bytes();
        if random.random_range(0..4) == 0 {
            assert_eq!(store.delete(&key).unwrap(), map.remove(&key).is_some());
        } else {
            let filler = random.random_range(0..200);
            let value = format!("{seed}-{step}-{:filler$}", "").into_bytes();
            store.put(&key, &value).unwrap();
            map.insert(key, value);
        }
    }
}

#[test]
fn bitcask_conforms() {
    for options in [small(), unmerged(), colliding()] {
        conformance::check(|| {
            let disk = SimulatedDisk::new();
            let options = options.clone();
            move |durability| {
                let options = Options { durability, ..options.clone() };
                Ok(Box::new(Bitcask::open(disk.clone(), DIR, options)?) as Box<dyn Engine>)
            }
        });
    }
}

#[test]
fn bitcask_conforms_on_disk() {
    conformance::check(|| {
        let dir = tempfile::tempdir().unwrap();
        move |durability| {
            let options = Options { durability, segment_bytes: 1 << 20, ..Options::default() };
            let path = dir.path().join("store");
            Ok(Box::new(Bitcask::open(Disk, path, options)?) as Box<dyn Engine>)
        }
    });
}

#[test]
fn a_record_longer_than_a_segment_gets_a_file_of_its_own() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    let value = vec![7; 3 * SEGMENT_BYTES_MIN as usize];
    store.put(b"before", b"1").unwrap();
    store.put(b"long", &value).unwrap();
    store.put(b"after", b"2").unwrap();
    drop(store);
    let store = open(&disk, &unmerged());
    assert_eq!(get(&store, b"long").unwrap(), value);
    store.merge().unwrap();
    store.delete(b"before").unwrap();
    store.merge().unwrap();
    assert_eq!(get(&store, b"long").unwrap(), value);
    assert_eq!(store.len(), 2);
}

#[test]
fn opening_again_and_again_leaves_no_files_behind() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &small());
    store.put(b"key", b"value").unwrap();
    store.close().unwrap();
    let before = disk.files();
    for _ in 0..10 {
        open(&disk, &small()).close().unwrap();
    }
    let lens = |files: &BTreeMap<PathBuf, u64>| files.values().copied().collect::<Vec<_>>();
    assert_eq!(lens(&disk.files()), lens(&before));
    for _ in 0..10 {
        drop(open(&disk, &small()));
    }
    assert!(disk.files().len() <= before.len() + 2, "{:?}", disk.files());
}

#[test]
fn a_store_that_is_open_cannot_be_opened() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &small());
    let again = Bitcask::open(disk.clone(), DIR, small());
    assert!(matches!(again, Err(Error::Locked { .. })));
    drop(store);
    open(&disk, &small());
    let dir = tempfile::tempdir().unwrap();
    let _store = Bitcask::open(Disk, dir.path(), Options::default()).unwrap();
    let again = Bitcask::open(Disk, dir.path(), Options::default());
    assert!(matches!(again, Err(Error::Locked { .. })));
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    let refused = Bitcask::open(Disk, dir.path(), Options::default());
    assert!(matches!(&refused, Err(Error::NotAStore { reason, .. }) if reason.contains("thesis")));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no lock file is left");

    let disk = SimulatedDisk::new();
    let store = open(&disk, &small());
    store.put(b"key", b"value").unwrap();
    for name in ["notes.data", "0000000099.data.bak", "99.hint"] {
        disk.write_all(&Path::new(DIR).join(name), b"mine");
    }
    store.close().unwrap();
    open(&disk, &small()).merge().unwrap();
    assert_eq!(
        disk.files().keys().filter(|path| disk.read_all(path).unwrap() == b"mine").count(),
        3
    );
}

#[test]
fn data_without_a_manifest_is_not_ours_to_remove() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &small());
    store.put(b"key", b"value").unwrap();
    store.close().unwrap();
    disk.remove(&Path::new(DIR).join("MANIFEST")).unwrap();
    let before = disk.files();
    let refused = Bitcask::open(disk.clone(), DIR, small());
    assert!(matches!(refused, Err(Error::NotAStore { .. })));
    assert_eq!(disk.files(), before);
}

#[test]
fn orphans_are_removed_and_a_missing_file_is_named() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &small());
    store.put(b"key", b"value").unwrap();
    store.close().unwrap();
    let data = files(&disk, "data").remove(0);
    for orphan in ["0000000077.data", "0000000078.hint", "MANIFEST.tmp"] {
        disk.write_all(&Path::new(DIR).join(orphan), b"left over");
    }
    let store = open(&disk, &small());
    assert_eq!(store.recovery().orphans_removed, 3);
    assert_eq!(get(&store, b"key").unwrap(), b"value");
    store.close().unwrap();
    disk.remove(&data).unwrap();
    let refused = Bitcask::open(disk.clone(), DIR, small());
    assert!(matches!(refused, Err(Error::Corrupt { file, .. }) if file == data));
}

#[test]
fn invalid_options_are_refused_by_name() {
    let refused = |options| match Bitcask::open(SimulatedDisk::new(), DIR, options) {
        Err(Error::InvalidOption { name, .. }) => name,
        _ => panic!("the options are accepted"),
    };
    assert_eq!(refused(Options { segment_bytes: 100, ..small() }), "segment_bytes");
    let merge = MergePolicy { fragmentation_trigger: 1.5, ..MergePolicy::default() };
    assert_eq!(refused(Options { merge, ..small() }), "merge.fragmentation_trigger");
}

#[test]
fn metrics_tell_what_was_written_and_kept() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &small());
    let mut map = Map::new();
    churn(&store, &mut map, 3, 1500);
    store.settle().unwrap();
    let metrics = store.metrics();
    let written = metrics.bytes_written.unwrap();
    assert!(written.log > 100_000 && written.merge > 0 && written.hint > 0 && written.manifest > 0);
    assert_eq!(metrics.keydir_entries, Some(map.len() as u64));
    assert!(metrics.fsyncs.unwrap() > 10);
    assert!(metrics.events.iter().any(|event| event.kind == EventKind::Merge));
    let appended: u64 = disk
        .trace()
        .lines()
        .filter(|line| line.contains(".data [") && line.contains("append"))
        .map(|line| {
            let range = line.split_once('[').unwrap().1.trim_end_matches(')');
            let (start, end) = range.split_once(", ").unwrap();
            end.parse::<u64>().unwrap() - start.parse::<u64>().unwrap()
        })
        .sum();
    assert_eq!(written.log + written.merge, appended);
}
