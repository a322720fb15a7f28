//! Bitcask's values that expire: gone when their time has come, and never anything older in their place.

mod model;

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use kvdyno_engines::bitcask::{Bitcask, MergePolicy, MergeWindow, Options};
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{WriteBatch, WriteOperation};

use super::{DIR, Map, figure, files, get, open, small, unmerged};
use crate::hands::{Hands, NOON_MS};

/// The options, with a clock that has these hands.
fn in_options(hands: &Hands, options: Options) -> Options {
    Options { clock: hands.clock(), ..options }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Keys and values that a fold visits. Unlike `contents`, nothing is said about how many keys the store counts.
fn visible(store: &Bitcask<SimulatedDisk>) -> Map {
    let mut map = Map::new();
    let visit = |key: &[u8], value: &[u8]| {
        assert!(map.insert(key.to_vec(), value.to_vec()).is_none(), "a key is visited twice");
        ControlFlow::Continue(())
    };
    store.fold(visit).unwrap();
    map
}

#[test]
fn a_value_is_gone_when_its_time_has_come_in_every_kind_of_read() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = in_options(&hands, unmerged());
    let store = open(&disk, &options);
    store.put_expiring(b"short", b"1", ms(100)).unwrap();
    store.put_expiring(b"long", b"2", ms(101)).unwrap();
    store.put(b"ever", b"3").unwrap();
    let seen = |store: &Bitcask<SimulatedDisk>, expected: &[&[u8]]| {
        for key in [&b"short"[..], b"long", b"ever"] {
            let is_there = expected.contains(&key);
            assert_eq!(get(store, key).is_some(), is_there);
            assert_eq!(store.contains(key).unwrap(), is_there);
            assert_eq!(store.get_with(key, <[u8]>::len).unwrap(), is_there.then_some(1));
        }
        assert_eq!(visible(store).len(), expected.len());
        assert_eq!(store.keys().unwrap().len(), expected.len());
    };
    hands.set(NOON_MS + 99);
    seen(&store, &[b"short", b"long", b"ever"]);
    hands.set(NOON_MS + 100);
    seen(&store, &[b"long", b"ever"]);
    assert_eq!(store.len(), 3, "what has expired counts until a merge has dropped it");
    drop(store);
    let store = open(&disk, &options);
    seen(&store, &[b"long", b"ever"]);
    store.close().unwrap();
    let store = open(&disk, &options);
    seen(&store, &[b"long", b"ever"]);
    store.merge().unwrap();
    assert_eq!(store.len(), 2);
    hands.set(u64::MAX);
    seen(&store, &[b"ever"]);
}

#[test]
fn a_store_gives_its_values_a_time_unless_they_bring_their_own() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = in_options(&hands, Options { ttl: Some(ms(1000)), ..unmerged() });
    let store = open(&disk, &options);
    store.put(b"put", b"1").unwrap();
    store.put_expiring(b"own, shorter", b"2", ms(10)).unwrap();
    store.put_expiring(b"own, longer", b"3", ms(5000)).unwrap();
    let write = WriteOperation::Put { key: b"batch".to_vec(), value: b"4".to_vec() };
    store.write(&WriteBatch { operations: vec![write] }).unwrap();
    for (time, left) in [(9, 4), (10, 3), (999, 3), (1000, 1), (4999, 1), (5000, 0)] {
        hands.set(NOON_MS + time);
        assert_eq!(visible(&store).len(), left, "after {time} ms");
    }
    hands.set(NOON_MS);
    store.close().unwrap();
    // The option is about what is written from now on.
    let store = open(&disk, &Options { ttl: None, ..options });
    store.put(b"ever", b"5").unwrap();
    hands.set(NOON_MS + 5000);
    assert_eq!(visible(&store), Map::from([(b"ever".to_vec(), b"5".to_vec())]));
}

#[test]
fn values_of_a_batch_may_have_times_of_their_own() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = in_options(&hands, Options { ttl: Some(ms(1000)), ..unmerged() });
    let store = open(&disk, &options);
    let put = |key: &[u8], ttl| WriteOperation::PutExpiring {
        key: key.to_vec(),
        value: b"value".to_vec(),
        ttl: ms(ttl),
    };
    let plain = WriteOperation::Put { key: b"of the store".to_vec(), value: Vec::new() };
    store.write(&WriteBatch { operations: vec![put(b"a", 10), put(b"b", 2000), plain] }).unwrap();
    for (time, left) in [(9, 3), (10, 2), (999, 2), (1000, 1), (1999, 1), (2000, 0)] {
        hands.set(NOON_MS + time);
        assert_eq!(visible(&store).len(), left, "after {time} ms");
    }
}

#[test]
fn the_longest_time_to_live_does_not_overflow() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let store = open(&disk, &in_options(&hands, unmerged()));
    store.put_expiring(b"key", b"value", Duration::MAX).unwrap();
    hands.set(u64::MAX - 1);
    assert_eq!(get(&store, b"key").unwrap(), b"value");
    store.merge().unwrap();
    assert_eq!(get(&store, b"key").unwrap(), b"value");
}

#[test]
fn writing_again_lifts_a_time() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = in_options(&hands, unmerged());
    let store = open(&disk, &options);
    for key in [b"put", b"ttl"] {
        store.put_expiring(key, b"old", ms(100)).unwrap();
    }
    store.put(b"put", b"new").unwrap();
    store.put_expiring(b"ttl", b"new", ms(1000)).unwrap();
    // And after the time has come as well.
    store.put_expiring(b"late", b"old", ms(100)).unwrap();
    hands.set(NOON_MS + 100);
    assert_eq!(get(&store, b"late"), None);
    store.put(b"late", b"new").unwrap();
    let expected = Map::from(
        [b"put".to_vec(), b"ttl".to_vec(), b"late".to_vec()].map(|key| (key, b"new".to_vec())),
    );
    assert_eq!(visible(&store), expected);
    store.merge().unwrap();
    assert_eq!(visible(&store), expected);
    store.close().unwrap();
    assert_eq!(visible(&open(&disk, &options)), expected);
}

#[test]
fn deleting_what_has_expired_finds_nothing_and_holds_when_the_clock_goes_back() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = in_options(&hands, unmerged());
    let store = open(&disk, &options);
    for key in [b"a", b"b"] {
        store.put_expiring(key, b"value", ms(100)).unwrap();
    }
    assert!(store.delete(b"a").unwrap());
    hands.set(NOON_MS + 100);
    assert!(!store.delete(b"b").unwrap());
    hands.set(NOON_MS);
    assert_eq!((get(&store, b"a"), get(&store, b"b")), (None, None));
    drop(store);
    for clean in [false, true, true] {
        let store = open(&disk, &options);
        assert_eq!((get(&store, b"a"), get(&store, b"b"), store.len()), (None, None, 0));
        if clean {
            store.merge().unwrap();
            store.close().unwrap();
        }
    }
}

/// Basho's bitcask #140: a clock that jumps.
#[test]
fn a_clock_that_jumps_neither_loses_what_never_expires_nor_brings_back_what_was_deleted() {
    for jump in [0, 1, NOON_MS - 1, NOON_MS + 1, NOON_MS * 2, u64::MAX] {
        let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
        let options = in_options(&hands, small());
        let mut expected = Map::new();
        let mut store = open(&disk, &options);
        for round in 0..6_u8 {
            hands.set(if round % 2 == 0 { NOON_MS } else { jump });
            for i in 0..40_u8 {
                let value = vec![round; 100];
                store.put(&[b'k', i], &value).unwrap();
                expected.insert(vec![b'k', i], value);
                store.put_expiring(&[b'x', i], b"expires", ms(50)).unwrap();
                if i % 3 == round % 3 {
                    assert!(store.delete(&[b'k', i]).unwrap());
                    expected.remove(&[b'k', i][..]);
                    store.delete(&[b'x', i]).unwrap();
                }
            }
            hands.set(if round % 2 == 0 { jump } else { NOON_MS });
            match round % 3 {
                0 => store.settle().unwrap(),
                1 => drop(store.merge().unwrap()),
                _ => {}
            }
            if round % 2 == 0 {
                drop(store);
            } else {
                store.close().unwrap();
            }
            store = open(&disk, &options);
            let mut found = visible(&store);
            found.retain(|key, _| key[0] == b'k');
            assert_eq!(found, expected, "round {round}, jump to {jump}");
            for i in (0..40).filter(|i| i % 3 == round % 3) {
                assert_eq!(get(&store, &[b'x', i]), None, "round {round}, jump to {jump}");
            }
        }
    }
}

/// Basho's bitcask #152: a file lives as long as the newest of its values does.
#[test]
fn a_file_goes_when_all_its_values_have_expired_and_not_before() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = in_options(&hands, small());
    let store = open(&disk, &options);
    // The longest-lived value comes neither first nor last.
    for i in 0..30_u8 {
        let ttl = if i == 7 { 5000 } else { 1000 };
        store.put_expiring(&[b'k', i], &[i; 100], ms(ttl)).unwrap();
    }
    store.close().unwrap();
    for with_keydir in [true, false] {
        if !with_keydir {
            disk.remove(&Path::new(DIR).join("KEYDIR")).unwrap();
        }
        let store = open(&disk, &options);
        assert_eq!(store.recovery().keydir_used, with_keydir);
        hands.set(NOON_MS + 1000);
        store.settle().unwrap();
        assert_eq!((visible(&store).len(), store.len()), (1, 30), "nothing has been dropped");
        assert_eq!(figure(&store, "segments"), 2);
        assert_eq!(get(&store, &[b'k', 7]).unwrap(), [7; 100]);
        hands.set(NOON_MS);
        store.close().unwrap();
    }
    let store = open(&disk, &options);
    hands.set(NOON_MS + 5000);
    store.settle().unwrap();
    assert_eq!((store.len(), figure(&store, "segments"), figure(&store, "live_bytes")), (0, 1, 0));
    store.close().unwrap();
    assert_eq!(files(&disk, "data"), Vec::<std::path::PathBuf>::new());
}

/// As above, but the file is not the oldest: what it hid must stay hidden.
#[test]
fn a_file_that_expires_in_the_middle_leaves_what_it_hid_hidden() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let merge =
        MergePolicy { tombstones_trigger: 1.0, small_file_bytes: 0, ..MergePolicy::basho() };
    let options = in_options(&hands, Options { merge, ..small() });
    let store = open(&disk, &options);
    store.put(b"hidden", b"older").unwrap();
    for i in 0..6_u8 {
        store.put(&[b'o', i], &[0; 600]).unwrap();
    }
    store.close().unwrap();
    let store = open(&disk, &options);
    store.put_expiring(b"hidden", b"newer", ms(100)).unwrap();
    for i in 0..6_u8 {
        store.put_expiring(&[b'e', i], &[0; 600], ms(100)).unwrap();
    }
    store.close().unwrap();
    let store = open(&disk, &options);
    hands.set(NOON_MS + 100);
    store.settle().unwrap();
    assert_eq!(store.len(), 6, "the values that have expired are gone");
    assert!(figure(&store, "tombstone_bytes") > 0, "and something hides what they hid");
    drop(store);
    for path in files(&disk, "hint") {
        disk.remove(&path).unwrap();
    }
    hands.set(NOON_MS);
    let store = open(&disk, &options);
    assert_eq!(get(&store, b"hidden"), None);
    store.merge().unwrap();
    assert_eq!((store.len(), figure(&store, "tombstone_bytes")), (6, 0));
}

#[test]
fn outside_its_window_nothing_is_merged_by_itself() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let merge = MergePolicy {
        window: Some(MergeWindow { from_hour: 22, to_hour: 6 }),
        ..MergePolicy::default()
    };
    let options = in_options(&hands, Options { merge, ..small() });
    let store = open(&disk, &options);
    for i in 0..200_u8 {
        store.put(b"often", &[i; 200]).unwrap();
        store.put_expiring(&[i], b"", ms(1)).unwrap();
    }
    store.settle().unwrap();
    let before = figure(&store, "segments");
    assert!(before > 8 && store.metrics().bytes_written.unwrap().merge == 0);
    hands.set(NOON_MS + 10 * 3_600_000 - 1);
    store.settle().unwrap();
    assert_eq!(figure(&store, "segments"), before, "one millisecond before 22 o'clock");
    hands.set(NOON_MS + 10 * 3_600_000);
    store.settle().unwrap();
    assert!(figure(&store, "segments") <= 3, "22 o'clock");
    assert_eq!(visible(&store).len(), 1);
}
