//! Bitcask's atomic batches: all of it or nothing, whatever happens in the middle.

use kvdyno_engines::bitcask::{Bitcask, Options, SEGMENT_BYTES_MIN};
use kvdyno_engines::storage::simulated::{Crash, Fault, Repeat};
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Error, WriteBatch, WriteOperation};

use super::{DIR, Map, churn, colliding, contents, figure, files, get, open, small, unmerged};

fn put(key: &[u8], value: &[u8]) -> WriteOperation {
    WriteOperation::Put { key: key.to_vec(), value: value.to_vec() }
}

fn delete(key: &[u8]) -> WriteOperation {
    WriteOperation::Delete { key: key.to_vec() }
}

fn batch(operations: impl Into<Vec<WriteOperation>>) -> WriteBatch {
    WriteBatch { operations: operations.into() }
}

/// A batch of every kind of write, over what `before` leaves behind.
fn mixed() -> WriteBatch {
    batch([put(b"a", b"2"), delete(b"b"), put(b"c", &[7; 30]), delete(b"absent"), put(b"d", b"")])
}

/// A store with some keys, and a batch in its open data file.
fn with_batch(options: &Options) -> (SimulatedDisk, Map, Map) {
    let disk = SimulatedDisk::new();
    let store = open(&disk, options);
    store.put(b"a", b"1").unwrap();
    store.put(b"b", b"1").unwrap();
    let before = contents(&store);
    store.write(&mixed()).unwrap();
    let after = contents(&store);
    assert_eq!(
        after,
        Map::from([
            (b"a".to_vec(), b"2".to_vec()),
            (b"c".to_vec(), vec![7; 30]),
            (b"d".to_vec(), Vec::new())
        ])
    );
    drop(store);
    (disk, before, after)
}

/// Preface, a value, a tombstone, and the value that ends the batch, each in its frame. The checksums, which start from the file's number, were computed by zlib.
#[test]
fn a_batch_is_stored_as_is_documented() {
    let golden =
        b"\x5c\xf3\x30\x9f\x1b\0\0\0\0\0\0\0\x03kvdynoBC\x02\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \xb8\x2a\x54\x9a\x07\0\0\0\0\0\0\0\x21\0\0aone\0\0\0\0\0\
        \xbe\xd6\xf1\x4a\x04\0\0\0\0\0\0\0\x22\0\0b\
        \x7c\xf8\x03\x36\x09\0\0\0\0\0\0\0\x01\0\0cthree\0\0\0";
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.write(&batch([put(b"a", b"one"), delete(b"b"), put(b"c", b"three")])).unwrap();
    drop(store);
    let data = files(&disk, "data").remove(0);
    let bytes = disk.read_all(&data).unwrap();
    assert_eq!(bytes[..golden.len()].escape_ascii().to_string(), golden.escape_ascii().to_string());
    assert!(bytes[golden.len()..].iter().all(|byte| *byte == 0), "room that was set aside");
    disk.write_all(&data, golden);
    let expected = [(b"a", &b"one"[..]), (b"c", b"three")];
    let expected = expected.map(|(key, value)| (key.to_vec(), value.to_vec())).into();
    assert_eq!(contents(&open(&disk, &unmerged())), expected);
}

/// Where the frames of a data file begin, and where the last one ends.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    while let Some(length) = bytes.get(starts[starts.len() - 1] + 4..).and_then(|b| b.first_chunk())
    {
        let payload = (u32::from_le_bytes(*length) & !(1 << 31)) as usize;
        if payload == 0 {
            break;
        }
        starts.push((starts[starts.len() - 1] + 12 + payload).next_multiple_of(8));
    }
    starts
}

#[test]
fn every_truncation_inside_a_batch_leaves_the_state_before_it() {
    for options in [unmerged(), Options { merge: unmerged().merge, ..colliding() }] {
        for checksums in [true, false] {
            let options = Options { checksums, ..options.clone() };
            let (whole, before, after) = with_batch(&options);
            let path = files(&whole, "data").remove(0);
            let bytes = whole.read_all(&path).unwrap();
            // The preface, two puts, five writes, and the end.
            let starts = frames(&bytes);
            assert_eq!(starts.len(), 9);
            let last_byte = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            for kept in starts[3]..=starts[8] {
                let disk = whole.survivor(Crash::Killed(0));
                disk.write_all(&path, &bytes[..kept]);
                let store = open(&disk, &options);
                let expected = if kept > last_byte { &after } else { &before };
                assert_eq!(contents(&store), *expected, "cut to {kept}");
                if kept <= last_byte && kept > starts[3] {
                    assert!(store.recovery().torn_bytes > 0, "cut to {kept}");
                }
                drop(store);
                assert_eq!(contents(&open(&disk, &options)), *expected, "cut to {kept}, once more");
            }
        }
    }
}

/// What stands behind a batch without an end must not make it whole.
#[test]
fn writes_after_a_torn_batch_do_not_complete_it() {
    for (clean, crash) in [(true, false), (false, false), (false, true)] {
        let (disk, before, _) = with_batch(&unmerged());
        let path = files(&disk, "data").remove(0);
        let bytes = disk.read_all(&path).unwrap();
        for cut in &frames(&bytes)[4..8] {
            let mut disk = disk.survivor(Crash::Killed(0));
            disk.write_all(&path, &bytes[..*cut]);
            let mut expected = before.clone();
            for life in 0..4_u8 {
                let store = open(&disk, &unmerged());
                assert_eq!(contents(&store), expected, "cut to {cut}, life {life}");
                store.put(b"d", &[life]).unwrap();
                store.write(&batch([put(b"e", &[life]), delete(b"a")])).unwrap();
                expected.insert(b"d".to_vec(), vec![life]);
                expected.insert(b"e".to_vec(), vec![life]);
                expected.remove(&b"a"[..]);
                if life == 2 {
                    store.merge().unwrap();
                }
                store.sync().unwrap();
                if clean {
                    store.close().unwrap();
                } else {
                    drop(store);
                }
                if crash {
                    disk = disk.survivor(Crash::SyncedOnly);
                }
            }
        }
    }
}

#[test]
fn a_batch_that_is_synced_and_damaged_is_corrupt() {
    let (disk, ..) = with_batch(&unmerged());
    let store = open(&disk, &unmerged());
    store.write(&mixed()).unwrap();
    store.sync().unwrap();
    store.put(b"later", b"knows of the sync").unwrap();
    drop(store);
    let path = files(&disk, "data").pop().unwrap();
    let start = frames(&disk.read_all(&path).unwrap())[3];
    disk.flip(&path, start as u64 + 14, 1).unwrap();
    let refused = Bitcask::open(disk, DIR, unmerged());
    assert!(matches!(refused, Err(Error::Corrupt { file, .. }) if file == path));
}

#[test]
fn a_batch_that_fails_in_the_middle_leaves_nothing_behind() {
    for failing in 0..5 {
        let disk = SimulatedDisk::new();
        let store = open(&disk, &unmerged());
        store.put(b"a", b"1").unwrap();
        store.put(b"b", b"1").unwrap();
        let before = contents(&store);
        disk.fail_at(disk.operations() + failing, Fault::Io, Repeat::Once);
        assert!(matches!(store.write(&mixed()), Err(Error::Io { .. })));
        assert!(matches!(store.put(b"a", b"3"), Err(Error::Poisoned { .. })));
        drop(store);
        assert_eq!(contents(&open(&disk, &unmerged())), before, "append {failing} fails");
    }
}

#[test]
fn an_empty_batch_writes_nothing() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    let before = disk.operations();
    store.write(&batch([])).unwrap();
    assert_eq!((disk.operations(), store.len()), (before, 0));
}

#[test]
fn of_several_writes_to_a_key_the_last_counts() {
    for options in [unmerged(), Options { merge: unmerged().merge, ..colliding() }] {
        let disk = SimulatedDisk::new();
        let store = open(&disk, &options);
        store.put(b"old", b"0").unwrap();
        store
            .write(&batch([
                put(b"put", b"1"),
                delete(b"put"),
                put(b"put", b"2"),
                put(b"put", b"3"),
                put(b"gone", b"1"),
                delete(b"gone"),
                delete(b"gone"),
                delete(b"old"),
                put(b"old", b"1"),
                delete(b"old"),
                delete(b"never there"),
            ]))
            .unwrap();
        let expected = Map::from([(b"put".to_vec(), b"3".to_vec())]);
        assert_eq!(contents(&store), expected);
        let live = figure(&store, "live_bytes");
        drop(store);
        let store = open(&disk, &options);
        assert_eq!((contents(&store), figure(&store, "live_bytes")), (expected.clone(), live));
        assert_eq!(store.merge().unwrap().records_kept, 1);
        assert_eq!(contents(&store), expected);
        store.close().unwrap();
        assert_eq!(contents(&open(&disk, &options)), expected);
    }
}

#[test]
fn a_refused_write_refuses_its_batch() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    let long = vec![0; kvdyno_engines::bitcask::KEY_BYTES_MAX + 1];
    for refused in [put(b"", b"no key"), put(&long, b""), delete(&long)] {
        assert!(store.write(&batch([put(b"fine", b"1"), refused, put(b"fine", b"2")])).is_err());
    }
    assert_eq!(store.len(), 0);
    store.put(b"key", b"value").unwrap();
    assert_eq!(get(&store, b"key").unwrap(), b"value");
}

#[test]
fn a_batch_longer_than_a_segment_gets_a_file_of_its_own() {
    let (disk, mut expected) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &small());
    store.put(b"before", b"1").unwrap();
    expected.insert(b"before".to_vec(), b"1".to_vec());
    let value = vec![7; SEGMENT_BYTES_MIN as usize / 2];
    let operations: Vec<_> = (0..9_u8).map(|i| put(&[b'k', i], &value)).collect();
    for i in 0..9_u8 {
        expected.insert(vec![b'k', i], value.clone());
    }
    store.write(&batch(operations)).unwrap();
    store.put(b"after", b"2").unwrap();
    expected.insert(b"after".to_vec(), b"2".to_vec());
    assert_eq!(contents(&store), expected);
    drop(store);
    let path = files(&disk, "data").remove(1);
    let cut = disk.survivor(Crash::Killed(0));
    // Without its last byte, and what was written behind it, the whole of it is gone.
    let bytes = cut.read_all(&path).unwrap();
    let last_byte = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(last_byte > 4 * SEGMENT_BYTES_MIN as usize);
    let store = open(&disk, &small());
    assert_eq!(contents(&store), expected);
    store.settle().unwrap();
    store.merge().unwrap();
    assert_eq!(contents(&store), expected);
    store.close().unwrap();
    assert_eq!(contents(&open(&disk, &small())), expected);
}

/// Places in a data file are addressed in a number of bits that is chosen when the store is opened.
#[test]
fn a_batch_longer_than_any_place_in_a_file_is_refused() {
    let (disk, mut expected) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &unmerged());
    store.put(b"a", b"first").unwrap();
    let value = vec![7; 12 << 20];
    let fits: Vec<_> = (0..2_u8).map(|i| put(&[b'k', i], &value)).collect();
    store.write(&batch(fits)).unwrap();
    let too_long: Vec<_> =
        (0..4_u8).map(|i| put(&[b'k', i], &[&value[..], &[i]].concat())).collect();
    let refused = store.write(&batch(too_long));
    assert!(
        matches!(&refused, Err(Error::BatchTooLong { len, max }) if *len > 48 << 20 && *max < 48 << 20),
        "{refused:?}"
    );
    expected.insert(b"a".to_vec(), b"first".to_vec());
    for i in 0..2 {
        expected.insert(vec![b'k', i], value.clone());
    }
    assert!(contents(&store) == expected);
    drop(store);
    assert!(contents(&open(&disk, &unmerged())) == expected);
}

/// A merge takes batches apart: what it has written of one no longer waits for the rest.
#[test]
fn batches_survive_merges() {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let options = unmerged();
    let store = open(&disk, &options);
    for round in 0..20_u8 {
        churn(&store, &mut map, round.into(), 20);
        let operations: Vec<_> = (0..8_u8).map(|i| put(&[b'b', i], &[round; 60])).collect();
        store.write(&batch(operations)).unwrap();
        map.extend((0..8_u8).map(|i| (vec![b'b', i], vec![round; 60])));
    }
    // The last write of the batch is dead, so the merge leaves a run of the others without an end.
    store.put(&[b'b', 7], b"newer").unwrap();
    map.insert(vec![b'b', 7], b"newer".to_vec());
    store.merge().unwrap();
    assert_eq!(contents(&store), map);
    drop(store);
    for hint in files(&disk, "hint") {
        disk.remove(&hint).unwrap();
    }
    let store = open(&disk, &options);
    assert_eq!(contents(&store), map);
    assert_eq!(store.recovery().torn_bytes, 0);
}
