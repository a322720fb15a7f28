//! Bitcask's merges: what is stale goes, what is alive stays, and nothing comes back.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvdyno_engines::EventKind;
use kvdyno_engines::bitcask::{
    Background, Bitcask, FileState, MergePolicy, Options, SEGMENT_BYTES_MIN, records,
};
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{DIR, Map, churn, colliding, contents, figure, files, get, open, small, unmerged};

/// What the merge accounts for is what a recovery finds: live bytes are counted in two independent ways.
#[test]
fn usage_is_the_same_after_reopening() {
    for options in [unmerged(), Options { merge: unmerged().merge, ..colliding() }] {
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        let store = open(&disk, &options);
        churn(&store, &mut map, 1, 500);
        store.merge().unwrap();
        churn(&store, &mut map, 2, 500);
        let before = (figure(&store, "live_bytes"), figure(&store, "tombstone_bytes"));
        store.close().unwrap();
        let store = open(&disk, &options);
        assert_eq!((figure(&store, "live_bytes"), figure(&store, "tombstone_bytes")), before);
        let store_bytes: u64 = map.iter().map(|(k, v)| (15 + k.len() + v.len()) as u64).sum();
        assert!(before.0 >= store_bytes && before.0 <= store_bytes + 8 * 60);
    }
}

/// How many records there are in the store's data files, live or not.
fn records_in(disk: &SimulatedDisk) -> u64 {
    let mut count = 0;
    let damage = records(disk, DIR, None, |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(damage.unwrap(), []);
    count
}

/// Basho's bitcask #82, #102, #128, #148, #156.
#[test]
fn deleted_keys_stay_deleted_after_partial_merges_and_reopening() {
    for seed in 0..30 {
        let options = if seed % 2 == 0 { small() } else { colliding() };
        let (disk, mut map) = (SimulatedDisk::new(), Map::new());
        for life in 0..6 {
            let store = open(&disk, &options);
            churn(&store, &mut map, seed * 100 + life, 250);
            store.settle().unwrap();
            assert_eq!(contents(&store), map);
            if life % 2 == 0 {
                store.close().unwrap();
            }
            if life == 3 {
                for hint in files(&disk, "hint") {
                    disk.remove(&hint).unwrap();
                }
            }
        }
        assert_eq!(contents(&open(&disk, &options)), map);
    }
}

#[test]
fn a_tombstone_is_kept_while_an_older_file_may_hold_a_value() {
    let policy =
        MergePolicy { small_file_bytes: 0, tombstones_trigger: 1.0, ..MergePolicy::basho() };
    let options = Options { merge: policy, ..small() };
    let disk = SimulatedDisk::new();
    let store = open(&disk, &options);
    store.put(b"victim", b"alive").unwrap();
    for i in 0..3 {
        store.put(&[b'o', i], &[0; 1200]).unwrap();
    }
    // The first file is alive for the most part and stays; the second holds the tombstone, and dies.
    assert!(store.delete(b"victim").unwrap());
    for i in 0..8 {
        store.put(b"often", &[i; 1200]).unwrap();
    }
    store.settle().unwrap();
    let merges = store.metrics().events.iter().filter(|e| e.kind == EventKind::Merge).count();
    assert!(merges > 0 && figure(&store, "tombstone_bytes") > 0);
    store.close().unwrap();
    let store = open(&disk, &options);
    assert_eq!(get(&store, b"victim"), None);
    let stored = records_in(&disk);
    let report = store.merge().unwrap();
    assert_eq!((report.records_kept, report.records_reclaimed), (4, stored - 4), "{report:?}");
    assert!(report.bytes_reclaimed > 0, "{report:?}");
    assert_eq!((figure(&store, "tombstone_bytes"), records_in(&disk)), (0, 4));
    store.close().unwrap();
    let store = open(&disk, &options);
    assert_eq!((get(&store, b"victim"), store.len()), (None, 4));
}

/// Merging takes a record away because of a newer one, which must then survive power loss.
#[test]
fn a_merge_does_not_outlive_the_writes_that_justified_it() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.put(b"key", b"old").unwrap();
    store.sync().unwrap();
    store.put(b"key", b"new").unwrap();
    store.merge().unwrap();
    drop(store);
    let survivor = disk.survivor(Crash::SyncedOnly);
    assert_eq!(get(&open(&survivor, &unmerged()), b"key").unwrap(), b"new");
}

#[test]
fn merging_reclaims_everything_that_is_stale_and_nothing_else() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &unmerged());
    churn(&store, &mut map, 1, 2000);
    let live = figure(&store, "live_bytes");
    let stored = records_in(&disk);
    let report = store.merge().unwrap();
    assert_eq!(report.records_kept, map.len() as u64);
    assert_eq!(report.records_reclaimed, stored - map.len() as u64);
    assert_eq!((contents(&store), records_in(&disk)), (map.clone(), map.len() as u64));
    assert_eq!((figure(&store, "live_bytes"), figure(&store, "sealed_dead_bytes")), (live, 0));
    assert_eq!(store.metrics().bytes_written.unwrap().merge, report.bytes_written);
    let again = store.merge().unwrap();
    assert_eq!(
        (again.records_reclaimed, again.bytes_written),
        (0, 0),
        "there is nothing left to do"
    );
    store.close().unwrap();
    assert_eq!(contents(&open(&disk, &unmerged())), map);
    let on_disk: u64 = disk.files().values().sum();
    assert!(on_disk < 2 * live + 4 * SEGMENT_BYTES_MIN, "{on_disk} bytes for {live}");
}

/// Keeps files, threads and all: reads and writes go on while files are merged, and reads see what was acknowledged.
#[test]
fn reads_and_writes_go_on_during_merges() {
    const KEYS: u32 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, hash_mask: 0xffff, ..Options::default() };
    let store = Bitcask::open(Disk, dir.path(), options.clone()).unwrap();
    let value =
        |key: u32, version: u32| [key.to_le_bytes(), version.to_le_bytes()].concat().repeat(8);
    for key in 0..KEYS {
        store.put(&key.to_le_bytes(), &value(key, 0)).unwrap();
    }
    let stop = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u32)
            .map(|writer| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    let mut versions = vec![0; KEYS as usize];
                    let mut random = StdRng::seed_from_u64(u64::from(writer));
                    for version in 1.. {
                        let key = random.random_range(0..KEYS / 2) * 2 + writer;
                        store.put(&key.to_le_bytes(), &value(key, version)).unwrap();
                        versions[key as usize] = version;
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    versions
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|seed| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed + 10);
                    let mut seen = vec![0; KEYS as usize];
                    while !stop.load(Ordering::Relaxed) {
                        let key = random.random_range(0..KEYS);
                        let found = get(store, &key.to_le_bytes()).expect("the key is there");
                        let version = u32::from_le_bytes(found[4..8].try_into().unwrap());
                        assert_eq!(found, value(key, version));
                        assert!(version >= seen[key as usize], "a read goes back in time");
                        seen[key as usize] = version;
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.settle().unwrap();
            }
        });
        for _ in 0..10 {
            store.merge().unwrap();
            assert_eq!(store.len(), KEYS as usize);
            assert_eq!(store.keys().unwrap().len(), KEYS as usize);
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    let check = |store: &Bitcask| {
        for key in 0..KEYS {
            let version = last[key as usize % 2][key as usize];
            assert_eq!(get(store, &key.to_le_bytes()), Some(value(key, version)));
        }
    };
    check(&store);
    store.settle().unwrap();
    store.close().unwrap();
    let store = Bitcask::open(Disk, dir.path(), options.clone()).unwrap();
    check(&store);
    drop(store);
    check(&Bitcask::open(Disk, dir.path(), options).unwrap());
}

/// Short files are full sooner than they can be sealed: writers wait for that, so that there are never many for a recovery to read.
#[test]
fn writers_do_not_leave_the_sealing_far_behind() {
    const FULL_FILES_MAX: usize = 64;
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { segment_bytes: SEGMENT_BYTES_MIN, background: Background::Threads, ..unmerged() };
    let store = Bitcask::open(Disk, dir.path(), options).unwrap();
    for round in 0..24_u8 {
        for key in 0..20_u8 {
            store.put(&[key], &[round; 1_000]).unwrap();
        }
        let unsealed = store.files().iter().filter(|file| file.state == FileState::Full).count();
        assert!(unsealed <= FULL_FILES_MAX, "{unsealed} files wait to be sealed");
    }
    store.settle().unwrap();
    assert!(store.files().iter().filter(|file| file.state == FileState::Sealed).count() > 100);
}

/// A record that is longer than a data file needs one of its own length, in the place of the one that is prepared; others may be first to take it.
#[test]
fn long_and_short_records_of_several_threads_keep_their_order() {
    const KEYS: u32 = 24;
    const VERSIONS: u32 = 10;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 2 * SEGMENT_BYTES_MIN, ..Options::default() };
    let value = |key: u32, version: u32| {
        let len = if (key + version).is_multiple_of(5) { 12_000 } else { 300 };
        [key.to_le_bytes(), version.to_le_bytes()].concat().repeat(len / 8)
    };
    for life in 0..3 {
        let store = Bitcask::open(Disk, dir.path(), options.clone()).unwrap();
        let first = life * VERSIONS;
        std::thread::scope(|scope| {
            for writer in 0..3 {
                let store = &store;
                scope.spawn(move || {
                    for version in first..first + VERSIONS {
                        for key in (writer..KEYS).step_by(3) {
                            store.put(&key.to_le_bytes(), &value(key, version)).unwrap();
                        }
                    }
                });
            }
        });
        let check = |store: &Bitcask| {
            for key in 0..KEYS {
                let newest = value(key, first + VERSIONS - 1);
                assert!(get(store, &key.to_le_bytes()).unwrap() == newest, "key {key}");
            }
            assert_eq!(store.len(), KEYS as usize);
        };
        check(&store);
        drop(store);
        let store = Bitcask::open(Disk, dir.path(), options.clone()).unwrap();
        assert!(store.recovery().is_clean());
        check(&store);
        if life == 1 {
            store.close().unwrap();
        }
    }
}

/// A closed store of some data files, the first of which is damaged in the middle of its first record, and what was in it.
fn damaged(keys: u32) -> (SimulatedDisk, Map) {
    damaged_at(keys, 100, 1)
}

/// The same with other bits of the first file flipped.
fn damaged_at(keys: u32, offset: u64, mask: u8) -> (SimulatedDisk, Map) {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &unmerged());
    for i in 0..keys {
        let (key, value) = (i.to_be_bytes().to_vec(), vec![i as u8; 100]);
        store.put(&key, &value).unwrap();
        map.insert(key, value);
    }
    store.close().unwrap();
    disk.flip(&files(&disk, "data")[0], offset, mask).unwrap();
    (disk, map)
}

#[test]
fn a_damaged_file_that_nothing_is_needed_of_is_removed_unread() {
    let (disk, mut map) = damaged(200);
    let store = open(&disk, &unmerged());
    for (key, value) in &mut map {
        value.fill(7);
        store.put(key, value).unwrap();
    }
    let report = store.merge().unwrap();
    assert_eq!((report.records_reclaimed, report.records_kept), (200, 0), "{report:?}");
    assert_eq!(contents(&store), map);
    store.close().unwrap();
    assert!(open(&disk, &unmerged()).verify().unwrap().damage.is_empty());
}

/// Hints are removed behind the back of a store that needs none to open; so its merge has to read what it drops.
#[test]
fn records_of_dead_files_without_hints_are_counted_as_far_as_they_can_be_read() {
    for is_damaged in [false, true] {
        let (disk, mut map) = damaged(200);
        let first = files(&disk, "data").remove(0);
        if !is_damaged {
            disk.flip(&first, 100, 1).unwrap();
        }
        let count = files(&disk, "data").len() as u64;
        for hint in files(&disk, "hint") {
            disk.remove(&hint).unwrap();
        }
        let store = open(&disk, &unmerged());
        assert!(store.recovery().keydir_used);
        for (key, value) in &mut map {
            value.fill(7);
            store.put(key, value).unwrap();
        }
        let report = store.merge().unwrap();
        let reclaimed = if is_damaged { 199 } else { 200 };
        assert_eq!((report.records_reclaimed, report.records_kept), (reclaimed, 0), "{report:?}");
        assert_eq!((report.files_before, report.files_after), (count, 0));
        assert_eq!(contents(&store), map);
    }
}

#[test]
fn a_value_in_a_file_with_a_record_of_a_wrong_length_is_not_taken_for_dead() {
    // The first record says that it is longer than the file.
    let (disk, map) = damaged_at(200, 45, 0x10);
    let (kept, store) = (1_u32.to_be_bytes(), open(&disk, &unmerged()));
    for key in map.keys().filter(|key| ***key != kept) {
        store.put(key, b"another value").unwrap();
    }
    assert_eq!(store.files()[0].live_records, 1);
    assert!(store.merge().is_err(), "the file cannot be read, and one of its values is needed");
    assert_eq!(get(&store, &kept), map.get(&kept[..]).cloned());
    store.close().unwrap();
    let store = open(&disk, &unmerged());
    assert_eq!(get(&store, &kept), map.get(&kept[..]).cloned());
    assert_eq!(store.len(), 200);
}

#[test]
fn a_tombstone_whose_key_may_have_a_damaged_record_is_kept() {
    let (disk, filler) = (SimulatedDisk::new(), |number: u32| number.to_be_bytes());
    let store = open(&disk, &unmerged());
    let mut numbers = 0..;
    let mut fill = |store: &Bitcask<SimulatedDisk>| {
        let files = store.files().len();
        while store.files().len() == files {
            store.put(&filler(numbers.next().unwrap()), &[1; 100]).unwrap();
        }
    };
    store.put(b"the key", b"old").unwrap();
    fill(&store);
    store.delete(b"the key").unwrap();
    fill(&store);
    store.put(b"the key", b"new").unwrap();
    fill(&store);
    store.close().unwrap();
    let third = &files(&disk, "data")[2];
    let bytes = disk.read_all(third).unwrap();
    let key_at = bytes.windows(7).position(|window| window == b"the key").unwrap();
    // The length in the frame's header, which lies before the record's header and the key.
    let length_at = key_at as u64 - 15 + 4;
    disk.flip(third, length_at, bytes[length_at as usize]).unwrap();
    let store = open(&disk, &unmerged());
    let report = store.merge_files(&[2]).unwrap();
    assert_eq!(report.files_after, 1);
    assert!(store.get(b"the key", &mut Vec::new()).is_err(), "the old value is back");
}

#[test]
fn a_damaged_file_without_a_hint_does_not_keep_a_store_from_being_closed_and_opened() {
    let (disk, map) = damaged(200);
    disk.remove(&files(&disk, "hint")[0]).unwrap();
    for _ in 0..2 {
        let store = open(&disk, &unmerged());
        for (key, value) in map.iter().skip(1) {
            assert_eq!(get(&store, key).as_ref(), Some(value));
        }
        assert!(store.get(&0_u32.to_be_bytes(), &mut Vec::new()).is_err());
        store.close().unwrap();
    }
}

#[test]
fn a_damaged_file_does_not_keep_others_from_being_merged() {
    let (disk, mut map) = damaged(200);
    let store = open(&disk, &small());
    let (mut refused, mut bytes) = (0, Vec::new());
    let mut random = StdRng::seed_from_u64(8);
    for round in 0..60_u8 {
        for _ in 0..100 {
            // All but the key of the damaged record, and two of its neighbours.
            let key = random.random_range(3..200_u32).to_be_bytes();
            store.put(&key, &[round; 100]).unwrap();
            map.insert(key.to_vec(), vec![round; 100]);
        }
        refused += usize::from(store.settle().is_err());
        bytes.push(disk.files().values().sum::<u64>());
    }
    assert!((1..3).contains(&refused), "it is told when it is found, and not each time: {refused}");
    assert!(bytes[59] < bytes[0] * 2, "the store grows: {bytes:?}");
    for (key, value) in map.iter().skip(1) {
        assert_eq!(get(&store, key).as_ref(), Some(value));
    }
    assert!(store.get(&0_u32.to_be_bytes(), &mut Vec::new()).is_err(), "the damage is not hidden");
}

#[test]
fn a_merge_that_failed_in_the_background_is_told_by_the_status_until_settling_tells_it() {
    let (disk, _) = damaged(200);
    let store = open(&disk, &Options { background: Background::Threads, ..small() });
    let began = Instant::now();
    for round in 0_u8.. {
        for key in 3..200_u32 {
            store.put(&key.to_be_bytes(), &[round; 100]).unwrap();
        }
        if store.status().background_error.is_some() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "nothing is told");
    }
    let told = store.status().background_error.unwrap();
    assert!(told.contains("is corrupt at byte"), "{told}");
    assert_eq!(store.settle().unwrap_err().to_string(), told);
    assert_eq!(store.status().background_error, None);
}

#[test]
fn merging_everything_makes_room_on_a_full_disk() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    for round in 0..20_u8 {
        for i in 0..50_u32 {
            store.put(&i.to_be_bytes(), &[round; 100]).unwrap();
        }
    }
    let before = files(&disk, "data").len();
    disk.limit_to(disk.files().values().sum::<u64>() + 1_000);
    let _ = store.merge();
    assert!(files(&disk, "data").len() < before / 2, "of {before} files");
    for i in 0..50_u32 {
        assert_eq!(get(&store, &i.to_be_bytes()).unwrap(), [19; 100]);
        store.put(&i.to_be_bytes(), b"there is room again").unwrap();
    }
}
