//! Bitcask's options: compression, checksums, syncs in the background, and what changing them from one opening to the next does.

use std::path::Path;
use std::time::Duration;

use kvdyno_engines::bitcask::{Background, Bitcask, Options, verify};
use kvdyno_engines::storage::simulated::{Crash, Fault, Repeat};
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Error, WriteBatch, WriteOperation};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::patience::wait_until;

use super::{DIR, Map, churn, contents, figure, files, get, open, small, unmerged};

fn compressing() -> Options {
    Options { compress_above_bytes: Some(64), ..unmerged() }
}

fn unchecked() -> Options {
    Options { checksums: false, ..unmerged() }
}

/// Bytes of all data files.
fn data_bytes(disk: &SimulatedDisk) -> u64 {
    files(disk, "data").iter().map(|path| disk.files()[path]).sum()
}

/// Values around the limit, some of which become shorter, some not.
fn mixed_values(seed: u64) -> Map {
    let mut random = StdRng::seed_from_u64(seed);
    let mut map = Map::new();
    for i in 0..120_u8 {
        let len = [0, 1, 63, 64, 65, 100, 1000, 5000][random.random_range(0..8)];
        let mut value = vec![i; len];
        match i % 3 {
            0 => random.fill_bytes(&mut value),
            1 => value.chunks_mut(7).for_each(|chunk| chunk[0] = random.random()),
            _ => {}
        }
        map.insert(vec![b'v', i], value);
    }
    map
}

#[test]
fn compressed_values_come_back_in_every_kind_of_read() {
    for background in [Background::Inline, Background::Threads] {
        let (disk, map) = (SimulatedDisk::new(), mixed_values(1));
        let options = Options { background, ..compressing() };
        let store = open(&disk, &options);
        for (key, value) in &map {
            store.put(key, value).unwrap();
        }
        let check = |store: &Bitcask<SimulatedDisk>| {
            assert_eq!(contents(store), map);
            for (key, value) in &map {
                assert_eq!(get(store, key).as_ref(), Some(value));
                assert_eq!(store.get_with(key, <[u8]>::to_vec).unwrap().as_ref(), Some(value));
            }
        };
        check(&store);
        drop(store);
        let store = open(&disk, &options);
        check(&store);
        store.merge().unwrap();
        check(&store);
        store.close().unwrap();
        check(&open(&disk, &options));
    }
}

#[test]
fn only_what_is_longer_than_the_limit_and_becomes_shorter_is_compressed() {
    let bytes_of = |options: &Options, value: &[u8]| {
        let disk = SimulatedDisk::new();
        let store = open(&disk, options);
        store.put(b"key", value).unwrap();
        assert_eq!(get(&store, b"key").unwrap(), value);
        figure(&store, "live_bytes")
    };
    let mut noise = vec![0; 1000];
    StdRng::seed_from_u64(1).fill_bytes(&mut noise);
    let plain = |value: &[u8]| bytes_of(&unmerged(), value);
    assert_eq!(bytes_of(&compressing(), &[7; 64]), plain(&[7; 64]));
    assert_eq!(bytes_of(&compressing(), &noise), plain(&noise));
    assert!(bytes_of(&compressing(), &[7; 65]) < plain(&[7; 65]));
    assert!(bytes_of(&compressing(), &[7; 1000]) < plain(&[7; 1000]) / 10);
}

#[test]
fn batches_are_compressed_like_puts() {
    let (disk, map) = (SimulatedDisk::new(), mixed_values(2));
    let store = open(&disk, &compressing());
    let put = |(key, value): (&Vec<u8>, &Vec<u8>)| WriteOperation::Put {
        key: key.clone(),
        value: value.clone(),
    };
    store.write(&WriteBatch { operations: map.iter().map(put).collect() }).unwrap();
    let in_a_batch = figure(&store, "live_bytes");
    assert_eq!(contents(&store), map);
    for (key, value) in &map {
        store.put(key, value).unwrap();
    }
    assert_eq!((figure(&store, "live_bytes"), contents(&store)), (in_a_batch, map));
}

#[test]
fn a_merge_copies_values_as_they_are_stored() {
    for written_with in [compressing(), unmerged()] {
        let (disk, map) = (SimulatedDisk::new(), mixed_values(3));
        let store = open(&disk, &written_with);
        for (key, value) in &map {
            store.put(key, b"old").unwrap();
            store.put(key, value).unwrap();
        }
        let live = figure(&store, "live_bytes");
        store.close().unwrap();
        // Whatever is done with values from now on, a merge does not do it to those that are there.
        for merged_with in
            [unmerged(), compressing(), Options { compress_above_bytes: Some(0), ..unmerged() }]
        {
            let store = open(&disk, &merged_with);
            store.put(&[b'v', 0], map.values().next().unwrap()).unwrap();
            store.merge().unwrap();
            let now = figure(&store, "live_bytes");
            assert!(now.abs_diff(live) <= 5100, "one value was written anew: {live} became {now}");
            assert_eq!(contents(&store), map);
            store.close().unwrap();
        }
    }
}

/// What stands for a long run of bytes in the data file of a store that holds it compressed.
#[test]
fn a_compressed_value_that_is_damaged_is_corrupt() {
    for checksums in [true, false] {
        let disk = SimulatedDisk::new();
        let options = Options { checksums, ..compressing() };
        let store = open(&disk, &options);
        store.put(b"key", &b"abcdefgh".repeat(100)).unwrap();
        store.put(b"other", b"value").unwrap();
        drop(store);
        let path = files(&disk, "data").remove(0);
        let bytes = disk.read_all(&path).unwrap();
        let at = bytes.windows(3).position(|window| window == b"key").unwrap() + 3;
        let stored = bytes[at..].windows(8).position(|window| window == b"abcdefgh").unwrap();
        assert!(stored < 12, "the value begins with its length");
        let store = open(&disk, &options);
        // The length of the value; then where the match points.
        for (offset, mask) in [(0, 1), (3, 0x80), (stored + 9, 0xff)] {
            disk.flip(&path, (at + offset) as u64, mask).unwrap();
            let damaged = store.get(b"key", &mut Vec::new());
            let named = matches!(&damaged, Err(Error::Corrupt { file, .. }) if *file == path);
            assert!(named, "checksums {checksums}, byte {offset}: {damaged:?}");
            assert_eq!(get(&store, b"other").unwrap(), b"value");
            disk.flip(&path, (at + offset) as u64, mask).unwrap();
        }
        assert_eq!(get(&store, b"key").unwrap(), b"abcdefgh".repeat(100));
    }
}

#[test]
fn without_checksums_a_kill_loses_nothing_that_was_acknowledged() {
    for seed in 0..10 {
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        for life in 0..4 {
            let store = open(&disk, &Options { checksums: false, ..small() });
            assert_eq!(contents(&store), map, "seed {seed}, life {life}");
            churn(&store, &mut map, seed * 10 + life, 200);
            if life == 2 {
                store.settle().unwrap();
                store.merge().unwrap();
            }
            drop(store);
        }
        let killed = disk.survivor(Crash::Killed(seed));
        assert_eq!(contents(&open(&killed, &unchecked())), map);
    }
}

#[test]
fn without_checksums_what_was_synced_survives_power_loss() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &unchecked());
    churn(&store, &mut map, 1, 300);
    store.sync().unwrap();
    drop(store);
    let survivor = disk.survivor(Crash::SyncedOnly);
    assert_eq!(contents(&open(&survivor, &unchecked())), map);
}

/// The end may be anything; that it was never synced is known all the same.
#[test]
fn without_checksums_a_loss_of_power_keeps_no_store_from_opening() {
    let mut recovered = 0;
    for cut in 0..60 {
        let disk = SimulatedDisk::new();
        let store = open(&disk, &unchecked());
        for key in 0..10_u8 {
            store.put(&[b's', key], &[key; 200]).unwrap();
        }
        store.sync().unwrap();
        disk.power_off_at(disk.operations() + cut);
        for key in 0..30_u8 {
            if store.put(&[b'u', key], &[key; 700]).is_err() {
                break;
            }
        }
        drop(store);
        for crash in disk.crashes(cut, 4) {
            let survivor = disk.survivor(crash);
            let store = Bitcask::open(survivor.clone(), DIR, unchecked())
                .unwrap_or_else(|error| panic!("{crash:?} after {cut} operations: {error}"));
            for key in 0..10_u8 {
                assert_eq!(get(&store, &[b's', key]).unwrap(), [key; 200], "{crash:?}");
            }
            store.put(b"new", b"life").unwrap();
            store.close().unwrap();
            assert_eq!(get(&open(&survivor, &unchecked()), b"new").unwrap(), b"life");
            recovered += 1;
        }
    }
    assert!(recovered > 1_000, "{recovered} disks recovered");
}

#[test]
fn without_checksums_what_is_no_record_is_torn_unless_it_was_synced() {
    let key = b"torn";
    for synced_after in [false, true] {
        let disk = SimulatedDisk::new();
        let store = open(&disk, &unchecked());
        store.put(b"before", b"value").unwrap();
        store.sync().unwrap();
        store.put(key, b"whose header alone was stored").unwrap();
        if synced_after {
            store.sync().unwrap();
            store.put(b"after", b"knows that it was synced").unwrap();
        }
        drop(store);
        let path = files(&disk, "data").remove(0);
        let mut bytes = disk.read_all(&path).unwrap();
        let at = bytes.windows(key.len()).position(|window| window == key).unwrap() - 3;
        bytes[at..at + 36].fill(0);
        disk.write_all(&path, &bytes);
        let opened = Bitcask::open(disk.clone(), DIR, unchecked());
        let damage = verify(&disk, DIR).unwrap().damage;
        if synced_after {
            assert!(matches!(opened, Err(Error::Corrupt { .. })));
            assert_eq!(damage.len(), 1);
        } else {
            let store = opened.unwrap();
            assert!(store.recovery().torn_bytes > 0 && damage.is_empty(), "{damage:?}");
            assert_eq!(
                (get(&store, key), get(&store, b"before").unwrap()),
                (None, b"value".into())
            );
        }
    }
}

#[test]
fn without_checksums_a_flipped_byte_of_a_value_is_read_as_it_is_and_one_of_a_length_is_noticed() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unchecked());
    store.put(b"first", b"1").unwrap();
    store.put(b"key", b"value").unwrap();
    drop(store);
    let path = files(&disk, "data").remove(0);
    let bytes = disk.read_all(&path).unwrap();
    let value_at = bytes.windows(8).position(|window| window == b"keyvalue").unwrap() as u64 + 3;
    let frame_at = value_at - 3 - 3 - 12;
    let store = open(&disk.survivor(Crash::Killed(0)), &unchecked());
    assert_eq!(get(&store, b"key").unwrap(), b"value");

    let flipped = disk.survivor(Crash::Killed(0));
    flipped.flip(&path, value_at, 0x20).unwrap();
    let store = open(&flipped, &unchecked());
    assert_eq!(get(&store, b"key").unwrap(), b"Value", "nobody has looked");
    // In the header every bit counts.
    for bit in 0..12 * 8 {
        let flipped = disk.survivor(Crash::Killed(0));
        let store = open(&flipped, &unchecked());
        flipped.flip(&path, frame_at + bit / 8, 1 << (bit % 8)).unwrap();
        let read = store.get(b"key", &mut Vec::new());
        assert!(matches!(read, Err(Error::Corrupt { .. })), "bit {bit}: {read:?}");
    }
}

#[test]
fn options_may_change_from_one_opening_to_the_next() {
    for seed in 0..15 {
        let mut random = StdRng::seed_from_u64(seed);
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        for life in 0..8 {
            let options = Options {
                durability: Durability::ALL[random.random_range(0..3)],
                segment_bytes: [4 << 10, 6 << 10, 1 << 20][random.random_range(0..3)],
                checksums: random.random(),
                compress_above_bytes: [None, Some(0), Some(50)][random.random_range(0..3)],
                ttl: random.random_bool(0.3).then_some(Duration::from_hours(24)),
                background: [Background::Inline, Background::Threads][random.random_range(0..2)],
                hash_mask: [u64::MAX, 15][random.random_range(0..2)],
                ..if random.random() { small() } else { unmerged() }
            };
            let store = open(&disk, &options);
            assert_eq!(contents(&store), map, "seed {seed}, life {life}, {options:?}");
            churn(&store, &mut map, seed * 10 + life, 150);
            if random.random() {
                store.merge().unwrap();
            }
            assert_eq!(contents(&store), map, "seed {seed}, life {life}, {options:?}");
            if random.random() {
                store.close().unwrap();
            } else {
                drop(store);
            }
            if random.random_bool(0.3) {
                for aid in files(&disk, "hint").into_iter().chain([Path::new(DIR).join("KEYDIR")]) {
                    let _ = disk.remove(&aid);
                }
            }
        }
    }
}

/// Writes that replace a value look at hints instead of records. With few bits of the hash that count, most of what they find there belongs to other keys.
#[test]
fn writes_that_know_old_values_by_hints_alone_keep_the_contents_right() {
    for hash_mask in [0, 1, 7, u64::MAX] {
        let options = Options { hash_mask, ..unmerged() };
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        for life in 0..6 {
            let store = open(&disk, &options);
            churn(&store, &mut map, life, 250);
            store.settle().unwrap();
            churn(&store, &mut map, life + 100, 60);
            assert_eq!(contents(&store), map);
            if life % 3 == 2 {
                store.merge().unwrap();
            }
            let live = figure(&store, "live_bytes");
            store.close().unwrap();
            if life % 2 == 0 {
                disk.remove(&Path::new(DIR).join("KEYDIR")).unwrap();
            }
            let store = open(&disk, &options);
            assert_eq!((contents(&store), figure(&store, "live_bytes")), (map.clone(), live));
            store.close().unwrap();
        }
        assert!(data_bytes(&disk) > 0);
    }
}

fn syncing(every: Duration) -> Options {
    Options { sync_interval: Some(every), background: Background::Threads, ..unmerged() }
}

#[test]
fn with_an_interval_writes_become_durable_by_themselves() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &syncing(Duration::from_millis(5)));
    for i in 0..3_u8 {
        store.put(&[b'k', i], b"value").unwrap();
        wait_until("what was written survives power loss", || {
            let survivor = disk.survivor(Crash::SyncedOnly);
            get(&open(&survivor, &unmerged()), &[b'k', i]).is_some()
        });
    }
    let never = SimulatedDisk::new();
    let store = open(&never, &Options { sync_interval: None, ..syncing(Duration::from_millis(5)) });
    store.put(b"key", b"value").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let survivor = never.survivor(Crash::SyncedOnly);
    assert_eq!(get(&open(&survivor, &unmerged()), b"key"), None);
}

#[test]
fn with_an_interval_the_disk_is_synced_when_there_is_something_to_sync() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        sync_interval: Some(Duration::from_millis(5)),
        segment_bytes: 1 << 20,
        ..Options::default()
    };
    let store = Bitcask::open(Disk, dir.path(), options).unwrap();
    let fsyncs = || store.metrics().fsyncs.unwrap();
    for i in 0..3_u8 {
        let before = fsyncs();
        store.put(&[i], b"value").unwrap();
        wait_until("a write is synced", || fsyncs() > before);
    }
    std::thread::sleep(Duration::from_millis(50));
    let before = fsyncs();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(fsyncs(), before, "nothing was written");
}

#[test]
fn a_sync_in_the_background_that_fails_is_told() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &syncing(Duration::from_millis(5)));
    disk.fail_at(disk.operations() + 1, Fault::Io, Repeat::ForGood);
    store.put(b"key", b"value").unwrap();
    wait_until("later writes are refused", || {
        matches!(store.put(b"key", b"other"), Err(Error::Poisoned { .. } | Error::Io { .. }))
    });
    wait_until("the failure is told", || store.settle().is_err());
    assert_eq!(get(&store, b"key").unwrap(), b"value");
}
