//! The keydir that is written down when a store is closed: used when it is right, and otherwise of no consequence.

use std::path::{Path, PathBuf};

use kvdyno_engines::bitcask::{Bitcask, FileInfo, FileState, Options};
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{WriteBatch, WriteOperation};

use super::{DIR, Map, churn, colliding, contents, figure, files, get, open, small, unmerged};

fn keydir() -> PathBuf {
    Path::new(DIR).join("KEYDIR")
}

/// Closed stores of different kinds, with their options and what is in them.
fn closed_stores() -> Vec<(SimulatedDisk, Options, Map)> {
    [unmerged(), small(), Options { merge: unmerged().merge, ..colliding() }]
        .into_iter()
        .enumerate()
        .map(|(seed, options)| {
            let (disk, mut map) = (SimulatedDisk::new(), Map::new());
            let store = open(&disk, &options);
            churn(&store, &mut map, seed as u64, 400);
            store.merge().unwrap();
            churn(&store, &mut map, 10 + seed as u64, 400);
            let operations = (0..5_u8)
                .map(|i| WriteOperation::Put { key: vec![b'b', i], value: vec![i; 30] })
                .collect();
            store.write(&WriteBatch { operations }).unwrap();
            map.extend((0..5_u8).map(|i| (vec![b'b', i], vec![i; 30])));
            store.close().unwrap();
            (disk, options, map)
        })
        .collect()
}

fn used(store: &Bitcask<SimulatedDisk>) -> bool {
    store.recovery().keydir_used
}

/// What the store says about how much of its files is needed.
fn usage(store: &Bitcask<SimulatedDisk>) -> Vec<u64> {
    let names = ["live_bytes", "tombstone_bytes", "sealed_dead_bytes", "segments"];
    names.iter().map(|name| figure(store, name)).collect()
}

#[test]
fn it_is_used_once_after_a_clean_close() {
    for (disk, options, map) in closed_stores() {
        let store = open(&disk, &options);
        assert!(used(&store) && store.recovery().hints_used == 0);
        assert_eq!((contents(&store), store.recovery().records), (map.clone(), map.len() as u64));
        store.put(b"new", b"life").unwrap();
        drop(store);
        let store = open(&disk, &options);
        assert!(!used(&store), "after a kill");
        assert_eq!(store.len(), map.len() + 1);
        store.close().unwrap();
        assert!(used(&open(&disk, &options)));
    }
}

#[test]
fn it_is_not_used_after_a_kill_or_a_loss_of_power() {
    for (disk, options, map) in closed_stores() {
        let old = disk.read_all(&keydir()).unwrap();
        let store = open(&disk, &options);
        store.put(b"new", b"life").unwrap();
        store.sync().unwrap();
        drop(store);
        let mut crashes = disk.crashes(1, 3);
        crashes.push(Crash::Killed(1));
        for crash in crashes {
            for stale in [false, true] {
                let survivor = disk.survivor(crash);
                if stale {
                    // As if its removal had not survived.
                    survivor.write_all(&keydir(), &old);
                }
                let store = open(&survivor, &options);
                assert!(!used(&store), "{crash:?}");
                assert_eq!(
                    (store.len(), get(&store, b"new").unwrap()),
                    (map.len() + 1, b"life".to_vec())
                );
            }
        }
    }
}

#[test]
fn one_of_an_earlier_close_is_passed_over() {
    for (disk, options, mut map) in closed_stores() {
        let old = disk.read_all(&keydir()).unwrap();
        let store = open(&disk, &options);
        churn(&store, &mut map, 77, 50);
        store.close().unwrap();
        disk.write_all(&keydir(), &old);
        let store = open(&disk, &options);
        assert!(!used(&store));
        assert_eq!(contents(&store), map);
    }
}

#[test]
fn cut_at_every_byte_or_with_every_bit_flipped_it_is_passed_over() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &unmerged());
    churn(&store, &mut map, 5, 60);
    store.close().unwrap();
    let whole = disk.read_all(&keydir()).unwrap();
    let expected = {
        let store = open(&disk.survivor(Crash::Killed(0)), &unmerged());
        assert!(used(&store));
        (contents(&store), usage(&store))
    };
    assert_eq!(expected.0, map);
    let check = |bytes: &[u8], damage: &str| {
        let disk = disk.survivor(Crash::Killed(0));
        disk.write_all(&keydir(), bytes);
        let store = open(&disk, &unmerged());
        assert!(!used(&store), "{damage}");
        assert_eq!((contents(&store), usage(&store)), expected, "{damage}");
    };
    for kept in 0..whole.len() {
        check(&whole[..kept], &format!("cut to {kept}"));
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        check(&bytes, &format!("byte {at}"));
    }
    check(&[&whole[..], b"more"].concat(), "longer");
    check(&vec![0; whole.len()], "zeros");
}

#[test]
fn the_figures_are_the_same_whichever_way_the_store_is_opened() {
    for (disk, options, map) in closed_stores() {
        let with_keydir = open(&disk.survivor(Crash::Killed(0)), &options);
        assert!(used(&with_keydir));
        let expected = usage(&with_keydir);
        let hints = files(&disk, "hint");
        assert!(!hints.is_empty());
        for without in [hints.len(), hints.len() / 2, 0] {
            let disk = disk.survivor(Crash::Killed(0));
            disk.remove(&keydir()).unwrap();
            for hint in &hints[without..] {
                disk.remove(hint).unwrap();
            }
            let store = open(&disk, &options);
            assert_eq!(store.recovery().hints_used, without as u64);
            assert_eq!((usage(&store), contents(&store)), (expected.clone(), map.clone()));
            store.merge().unwrap();
            assert_eq!((store.len(), figure(&store, "sealed_dead_bytes")), (map.len(), 0));
        }
    }
}

#[test]
fn a_store_may_be_opened_with_other_segment_lengths() {
    for (disk, options, map) in closed_stores() {
        for segment_bytes in [1 << 20, 40 << 20, 4 << 30, 8 << 10] {
            let options = Options { segment_bytes, ..options.clone() };
            let store = open(&disk, &options);
            assert!(used(&store), "{segment_bytes}");
            assert_eq!(contents(&store), map, "{segment_bytes}");
            let before = usage(&store);
            store.close().unwrap();
            disk.remove(&keydir()).unwrap();
            let store = open(&disk, &options);
            assert_eq!((contents(&store), usage(&store)), (map.clone(), before), "{segment_bytes}");
            store.close().unwrap();
        }
    }
}

#[test]
fn with_other_bits_of_the_hash_it_is_passed_over() {
    for (disk, options, map) in closed_stores() {
        for hash_mask in [options.hash_mask, 1, 0, u64::MAX >> 7] {
            let changed = hash_mask != options.hash_mask;
            let disk = disk.survivor(Crash::Killed(0));
            let store = open(&disk, &Options { hash_mask, ..options.clone() });
            assert_eq!(used(&store), !changed);
            assert_eq!(contents(&store), map);
        }
    }
}

#[test]
fn a_disk_without_room_for_it_is_no_failure() {
    for (closed, options, mut map) in closed_stores() {
        map.insert(b"new".to_vec(), b"life".to_vec());
        let mut closed_without = 0;
        for room in (0..2000).step_by(40) {
            let disk = closed.survivor(Crash::Killed(0));
            let store = open(&disk, &options);
            store.put(b"new", b"life").unwrap();
            store.sync().unwrap();
            // Closing gives back what the data file did not need.
            let data = files(&disk, "data").pop().unwrap();
            let others: u64 = disk.files().values().sum::<u64>() - disk.files()[&data];
            disk.limit_to(others + room);
            match store.close() {
                Ok(()) => closed_without += u32::from(!disk.files().contains_key(&keydir())),
                Err(error) => assert!(error.is_disk_full(), "{error}"),
            }
            disk.limit_to(u64::MAX);
            let has_keydir = disk.files().contains_key(&keydir());
            let store = open(&disk, &options);
            assert_eq!(used(&store), has_keydir, "it is whole or not there");
            assert_eq!(contents(&store), map);
        }
        assert!(closed_without > 3, "closed {closed_without} times without it");
    }
}

/// With the keydir file, hints are not verified before they are needed: by the first write that replaces a value of their data file.
#[test]
fn a_hint_that_is_damaged_behind_the_keydir_does_not_mislead_writes() {
    for (closed, options, map) in closed_stores() {
        for damage in ["flip", "truncate", "zeros", "another file's", "missing"] {
            for before_open in [true, false] {
                let disk = closed.survivor(Crash::Killed(0));
                let mut map = map.clone();
                let damage_hints = || {
                    let hints = files(&disk, "hint");
                    let other = disk.read_all(&hints[0]).unwrap();
                    for hint in &hints {
                        let bytes = disk.read_all(hint).unwrap();
                        match damage {
                            "flip" => disk.flip(hint, bytes.len() as u64 / 2, 2).unwrap(),
                            "truncate" => disk.write_all(hint, &bytes[..bytes.len() - 24]),
                            "zeros" => disk.write_all(hint, &vec![0; bytes.len()]),
                            "missing" => disk.remove(hint).unwrap(),
                            _ => disk.write_all(hint, &other),
                        }
                    }
                };
                if before_open {
                    damage_hints();
                }
                let store = open(&disk, &options);
                assert!(used(&store));
                if !before_open && damage != "missing" {
                    damage_hints();
                }
                churn(&store, &mut map, 99, 200);
                assert_eq!(contents(&store), map, "{damage}");
                let live = figure(&store, "live_bytes");
                store.close().unwrap();
                disk.remove(&keydir()).unwrap();
                let store = open(&disk, &options);
                assert_eq!(
                    (contents(&store), figure(&store, "live_bytes")),
                    (map, live),
                    "{damage}"
                );
            }
        }
    }
}

/// Long enough for several threads, with a file that replaces what is in the one before, and within itself.
#[test]
fn long_hints_say_the_same_as_the_keydir() {
    let options = Options { segment_bytes: 8 << 20, ..unmerged() };
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    for round in 0..2_u32 {
        let store = open(&disk, &options);
        for step in 0..60_000_u32 {
            let key = (step.wrapping_mul(2_654_435_761) >> 15).to_le_bytes().to_vec();
            if step % 7 == 0 {
                assert_eq!(store.delete(&key).unwrap(), map.remove(&key).is_some());
            } else {
                let value = (round ^ step).to_le_bytes().to_vec();
                store.put(&key, &value).unwrap();
                map.insert(key, value);
            }
        }
        store.close().unwrap();
    }
    let store = open(&disk, &options);
    assert!(used(&store));
    let expected = usage(&store);
    drop(store);
    let store = open(&disk, &options);
    assert!(!used(&store) && store.recovery().hints_used == 2);
    assert_eq!(usage(&store), expected);
    assert!(contents(&store) == map);
}

/// Behind a written keydir, hints are looked at when they are needed. One that is damaged is then written anew: by the background, or at the close.
#[test]
fn a_damaged_hint_that_is_found_late_is_written_anew() {
    for by_the_close in [false, true] {
        let disk = SimulatedDisk::new();
        let store = open(&disk, &unmerged());
        for key in 0..100_u8 {
            store.put(&[key], &[key; 100]).unwrap();
        }
        store.close().unwrap();
        let hint = files(&disk, "hint").remove(0);
        let whole = disk.read_all(&hint).unwrap();
        disk.flip(&hint, whole.len() as u64 / 2, 1).unwrap();
        let store = open(&disk, &unmerged());
        assert!(used(&store));
        let is_bare = |file: &FileInfo| file.state == FileState::Sealed && !file.has_hint;
        let without_hint = || store.files().iter().filter(|file| is_bare(file)).count();
        assert_eq!(without_hint(), 0, "nobody has looked yet");
        store.put(&[0], b"overwrites what is in the oldest file").unwrap();
        assert_eq!(without_hint(), 1);
        if by_the_close {
            store.close().unwrap();
        } else {
            store.settle().unwrap();
            assert_eq!(without_hint(), 0);
            store.put(&[1], b"is counted by the new hint").unwrap();
            drop(store);
        }
        assert_eq!(disk.read_all(&hint).unwrap(), whole);
    }
}
