//! Readers beside a writer, and stores made from stores.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use kvdyno_engines::bitcask::{Bitcask, BitcaskReader, Options};
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{Disk, SimulatedDisk};
use kvdyno_engines::{Error, WriteBatch, WriteOperation};

use super::{DIR, Map, churn, contents, get, open, small, unmerged};

fn reader(disk: &SimulatedDisk) -> BitcaskReader<SimulatedDisk> {
    BitcaskReader::open(disk, DIR, small()).unwrap()
}

fn seen(reader: &BitcaskReader<SimulatedDisk>) -> Map {
    let mut map = Map::new();
    reader
        .fold(|key, value| {
            map.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut value = Vec::new();
    for (key, expected) in &map {
        assert!(reader.get(key, &mut value).unwrap() && value == *expected);
    }
    let mut keys = reader.keys().unwrap();
    keys.sort();
    assert!(keys.iter().eq(map.keys()), "{keys:?}");
    let mut visited = 0;
    let visit = |key: &[u8]| {
        assert!(map.contains_key(key));
        visited += 1;
        if visited < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    reader.fold_keys(visit).unwrap();
    assert_eq!(visited, map.len().min(3));
    map
}

#[test]
fn a_reader_sees_one_moment_and_changes_nothing() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &small());
    let mut readers = Vec::new();
    for round in 0..6 {
        churn(&store, &mut map, round, 150);
        let operations = disk.operations();
        let reader = reader(&disk);
        assert_eq!(disk.operations(), operations, "a reader changes something");
        readers.push((reader, map.clone()));
        store.merge().unwrap();
    }
    for (mut reader, then) in readers {
        assert_eq!(seen(&reader), then);
        reader.refresh().unwrap();
        assert_eq!(seen(&reader), map);
        assert_eq!(reader.len(), map.len());
    }
    store.close().unwrap();
    let closed = reader(&disk);
    assert!(closed.recovery().keydir_used);
    assert_eq!(seen(&closed), map);
}

#[test]
fn a_reader_of_a_store_that_crashed_leaves_the_recovery_to_the_writer() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &small());
    churn(&store, &mut map, 1, 300);
    drop(store);
    let before = disk.files();
    assert_eq!(seen(&reader(&disk)), map);
    assert_eq!(disk.files(), before);
    assert_eq!(contents(&open(&disk, &small())), map);
}

#[test]
fn there_is_nothing_to_read_where_no_store_is() {
    let disk = SimulatedDisk::new();
    disk.write_all(std::path::Path::new("/store/x"), b"");
    assert!(BitcaskReader::open(&disk, "/nowhere", small()).is_err());
    let dir = tempfile::tempdir().unwrap();
    let refused = BitcaskReader::open(&Disk, dir.path(), Options::default());
    assert!(matches!(refused, Err(Error::NotAStore { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// On the real disk, with threads: whatever a reader finds was there once, and newer each time.
#[test]
fn readers_open_while_a_writer_writes_and_merges() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 256 << 10, ..Options::default() };
    let store = Bitcask::open(Disk, dir.path(), options.clone()).unwrap();
    let (one, other) = (b"one".to_vec(), b"other".to_vec());
    let batch = |version: u64| WriteBatch {
        operations: [&one, &other]
            .map(|key| WriteOperation::Put {
                key: key.clone(),
                value: version.to_le_bytes().repeat(30),
            })
            .to_vec(),
    };
    store.write(&batch(0)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut version = 0;
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                store.write(&batch(version)).unwrap();
                store.put(&(version % 500).to_le_bytes(), &[7; 100]).unwrap();
                if version % 7 == 0 {
                    store.sync().unwrap();
                }
            }
        });
        let mut newest = 0;
        for _ in 0..60 {
            let reader = BitcaskReader::open(&Disk, dir.path(), options.clone()).unwrap();
            let mut found = [Vec::new(), Vec::new()];
            assert!(reader.get(&one, &mut found[0]).unwrap());
            assert!(reader.get(&other, &mut found[1]).unwrap());
            assert_eq!(found[0], found[1], "half a batch");
            let version = u64::from_le_bytes(*found[0].first_chunk().unwrap());
            assert!(version >= newest, "a later reader sees an earlier state");
            newest = version;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(newest > 0);
    });
}

#[test]
fn checkpoints_and_backups_hold_what_was_acknowledged_and_go_their_own_way() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &small());
    churn(&store, &mut map, 1, 300);
    let linked = store.checkpoint("/linked").unwrap();
    let copied = store.backup("/copied").unwrap();
    assert_eq!(linked, copied);
    assert!(linked.files > 1 && linked.bytes > 4096);
    let then = map.clone();
    churn(&store, &mut map, 2, 300);
    store.merge().unwrap();
    for dir in ["/linked", "/copied"] {
        let copy = Bitcask::open(disk.clone(), dir, small()).unwrap();
        assert_eq!(contents(&copy), then);
        let mut own = then.clone();
        churn(&copy, &mut own, 3, 200);
        copy.merge().unwrap();
        copy.close().unwrap();
        assert_eq!(contents(&Bitcask::open(disk.clone(), dir, small()).unwrap()), own);
    }
    assert_eq!(contents(&store), map);
    assert!(matches!(store.backup("/copied"), Err(Error::NotEmpty { .. })));
}

/// Power is lost at every operation of a backup: the store is whole, and the backup is whole or no store.
#[test]
fn a_backup_that_is_cut_short_is_no_store() {
    for copies in [false, true] {
        for cut in 0.. {
            let (disk, mut map) = (SimulatedDisk::new(), Map::new());
            let store = open(&disk, &unmerged());
            churn(&store, &mut map, 1, 25);
            store.sync().unwrap();
            disk.power_off_at(disk.operations() + cut);
            let backed_up = if copies { store.backup("/b") } else { store.checkpoint("/b") };
            drop(store);
            for crash in disk.crashes(cut, 1) {
                let survivor = disk.survivor(crash);
                assert_eq!(contents(&open(&survivor, &unmerged())), map, "{cut} {crash:?}");
                match BitcaskReader::open(&survivor, "/b", small()) {
                    Ok(backup) => assert_eq!(seen(&backup), map, "{cut} {crash:?}"),
                    Err(_) => assert!(backed_up.is_err(), "{cut} {crash:?}"),
                }
            }
            if backed_up.is_ok() {
                break;
            }
        }
    }
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.put(b"key", b"value").unwrap();
    store.backup("/b").unwrap();
    let survivor = disk.survivor(Crash::SyncedOnly);
    assert_eq!(get(&Bitcask::open(survivor, "/b", small()).unwrap(), b"key").unwrap(), b"value");
}
