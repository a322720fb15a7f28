//! Deleted ranges of keys: what others have got wrong, each by name, and what only the LSM tree has.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};

use kvdyno_engines::lsm::{
    Fifo, KEY_BYTES_MAX, KeyRange, Levelled, Lsm, LsmReader, Options, Place, Style, Tiered,
    inspect, records, salvage, verify,
};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::{Durability, Engine, Error, WriteBatch, WriteOperation};

use super::{Map, contents, fill, key, open, small};

fn put(store: &Lsm<SimulatedDisk>, keys: &str) {
    for key in keys.split_whitespace() {
        store.put(key.as_bytes(), format!("value of {key}").as_bytes()).unwrap();
    }
}

/// The keys of a store, read in every way, separated by spaces.
fn keys<S: kvdyno_engines::storage::Storage>(store: &Lsm<S>) -> String {
    let keys: Vec<_> = contents(store).unwrap().into_keys().collect();
    let iterated: Vec<_> = store.iter(..).map(|entry| entry.unwrap().0).collect();
    assert_eq!(iterated, keys);
    String::from_utf8(keys.join(&b' ')).unwrap()
}

/// Nothing happens by itself.
fn quiet() -> Options {
    Options {
        l0_tables_compact: 90,
        l0_tables_slow: 95,
        l0_tables_stop: 99,
        ..small(Durability::Os)
    }
}

fn quiet_store(disk: &SimulatedDisk) -> Lsm<SimulatedDisk> {
    Lsm::open(disk.clone(), "/store", quiet()).unwrap()
}

#[test]
fn a_range_hides_what_is_older_and_nothing_that_is_younger() {
    let disk = SimulatedDisk::new();
    let store = quiet_store(&disk);
    put(&store, "a b c d e f");
    store.flush().unwrap();
    put(&store, "b1 d1");
    store.delete_range("b".."e").unwrap();
    put(&store, "c");
    assert_eq!(keys(&store), "a c e f");
    store.flush().unwrap();
    assert_eq!(keys(&store), "a c e f");
    store.compact().unwrap();
    assert_eq!(keys(&store), "a c e f");
    drop(store);
    assert_eq!(keys(&quiet_store(&disk)), "a c e f");
}

#[test]
fn every_kind_of_bound_is_obeyed() {
    type Keys = (Bound<&'static str>, Bound<&'static str>);
    let cases: [(Keys, &str); 8] = [
        ((Bound::Included("b"), Bound::Excluded("d")), "a d e"),
        ((Bound::Included("b"), Bound::Included("d")), "a e"),
        ((Bound::Excluded("b"), Bound::Excluded("d")), "a b d e"),
        ((Bound::Excluded("b"), Bound::Unbounded), "a b"),
        ((Bound::Unbounded, Bound::Included("b")), "c d e"),
        ((Bound::Unbounded, Bound::Unbounded), ""),
        ((Bound::Included("d"), Bound::Excluded("b")), "a b c d e"),
        ((Bound::Included("c"), Bound::Excluded("c")), "a b c d e"),
    ];
    for flushed in [false, true] {
        for ((lower, upper), left) in cases {
            let store = quiet_store(&SimulatedDisk::new());
            put(&store, "a b c d e");
            if flushed {
                store.flush().unwrap();
            }
            store.delete_range((lower, upper)).unwrap();
            assert_eq!(keys(&store), left, "{lower:?} {upper:?}");
            store.compact().unwrap();
            assert_eq!(keys(&store), left, "{lower:?} {upper:?}");
        }
    }
}

#[test]
fn keys_of_the_greatest_length_are_in_ranges_without_an_end() {
    let store = quiet_store(&SimulatedDisk::new());
    let long = [&vec![b'k'; KEY_BYTES_MAX - 1][..], b"\xff"].concat();
    store.put(&long, b"").unwrap();
    store.put(b"a", b"").unwrap();
    store.delete_range("b"..).unwrap();
    assert_eq!(keys(&store), "a");
    store.put(&long, b"").unwrap();
    store.delete_range(&b"b"[..]..=&long[..]).unwrap();
    assert_eq!(keys(&store), "a");
    let too_long = vec![b'k'; KEY_BYTES_MAX + 1];
    let refused = store.delete_range(&b"b"[..]..&too_long[..]);
    assert!(matches!(refused, Err(Error::KeyTooLong { .. })), "{refused:?}");
    // Nothing could be written as the end behind it.
    store.put(&vec![0xff; KEY_BYTES_MAX], b"").unwrap();
    let refused = store.delete_range("b"..);
    assert!(matches!(refused, Err(Error::KeyTooLong { .. })), "{refused:?}");
}

#[test]
fn a_batch_with_a_range_appears_as_a_whole_and_in_order() {
    let store = quiet_store(&SimulatedDisk::new());
    put(&store, "a b c d");
    let before = store.snapshot();
    let op = |key: &str| WriteOperation::Put { key: key.into(), value: b"new".to_vec() };
    let range = |start: &str, end: &str| WriteOperation::DeleteRange {
        start: start.into(),
        end: end.into(),
    };
    let operations = vec![op("b1"), range("b", "d"), op("c"), range("x", "y"), range("z", "y")];
    store.write(&WriteBatch { operations }).unwrap();
    assert_eq!(keys(&store), "a c d");
    assert_eq!(before.iter(..).count(), 4);
    let mut value = Vec::new();
    assert!(before.get(b"b", &mut value).unwrap() && !store.get(b"b", &mut value).unwrap());
    // A batch that does nothing is none.
    store.write(&WriteBatch { operations: vec![range("b", "b")] }).unwrap();
    assert_eq!(keys(&store), "a c d");
}

/// RocksDB: a range was cut at the bounds of a file, and what lay between two files came back.
#[test]
fn nothing_comes_back_between_the_tables_that_a_range_is_cut_into() {
    for subcompactions_max in [1, 3] {
        let options = Options { subcompactions_max, table_bytes: 600, ..quiet() };
        let disk = SimulatedDisk::new();
        let store = Lsm::open(disk, "/store", options).unwrap();
        let mut model = Map::new();
        fill(&store, &mut model, 0..200, 1);
        store.compact().unwrap();
        // A range over everything, with younger keys in it, so that the compaction writes many tables; what is above a bottom that does not take part keeps it.
        store.delete_range(key(20)..key(180)).unwrap();
        for i in (0..200).step_by(3) {
            store.put(&key(i), b"younger, and long enough for a table of few").unwrap();
        }
        store.flush().unwrap();
        let kept = contents(&store).unwrap();
        assert_eq!(kept.len(), 93);
        for _ in 0..3 {
            store.settle().unwrap();
            store.compact_range(Some(&key(50)), Some(&key(60))).unwrap();
            assert_eq!(contents(&store).unwrap(), kept);
        }
        store.compact().unwrap();
        assert_eq!(contents(&store).unwrap(), kept);
    }
}

/// A range and what it hides take no room once they have met at the last level, and a table that has no ranges has no part for them.
#[test]
fn ranges_and_what_they_hide_are_gone_after_the_last_level() {
    let styles = [
        Style::default(),
        Style::Levelled(Levelled { dynamic: false, ..Levelled::default() }),
        Style::Tiered(Tiered::default()),
    ];
    for style in styles {
        let disk = SimulatedDisk::new();
        let store = Lsm::open(disk.clone(), "/store", Options { style, ..quiet() }).unwrap();
        let mut model = Map::new();
        fill(&store, &mut model, 0..300, 1);
        store.compact().unwrap();
        store.delete_range(key(10)..).unwrap();
        store.flush().unwrap();
        let ranges = |disk: &SimulatedDisk| {
            let report = verify(disk, "/store").unwrap();
            assert!(report.damage.is_empty(), "{:?}", report.damage);
            let ranges: u64 = report.tables().map(|table| table.range_deletions).sum();
            (ranges, report.tables().map(|table| table.entries).sum::<u64>())
        };
        assert_eq!(ranges(&disk), (1, 301), "{style:?}");
        store.compact().unwrap();
        assert_eq!(ranges(&disk), (0, 10), "{style:?}");
        assert_eq!(contents(&store).unwrap().len(), 10);
    }
}

#[test]
fn ranges_that_hide_nothing_are_not_flushed() {
    let disk = SimulatedDisk::new();
    let store = quiet_store(&disk);
    put(&store, "b c");
    store.flush().unwrap();
    put(&store, "x1 x2");
    store.delete_range("x".."z").unwrap();
    store.delete_range("b".."c").unwrap();
    store.flush().unwrap();
    let report = inspect(&disk, "/store").unwrap();
    assert_eq!(report.tables().map(|table| table.range_deletions).sum::<u64>(), 1);
    assert_eq!(keys(&store), "c");
    store.delete_range("x".."z").unwrap();
    store.flush().unwrap();
    assert_eq!(inspect(&disk, "/store").unwrap().tables().count(), 2);
}

/// RocksDB: a snapshot saw a range that was younger than itself once it had been flushed, or what it hid was compacted away.
#[test]
fn snapshots_see_what_was_there_before_a_range() {
    let store = quiet_store(&SimulatedDisk::new());
    put(&store, "a b c");
    store.flush().unwrap();
    put(&store, "b1");
    let first = store.snapshot();
    store.delete_range("b".."c").unwrap();
    let second = store.snapshot();
    put(&store, "b2");
    store.delete_range("a".."z").unwrap();
    put(&store, "d");
    let seen = |snapshot: &kvdyno_engines::lsm::Snapshot<'_, SimulatedDisk>| {
        let keys: Vec<_> = snapshot.iter(..).map(|entry| entry.unwrap().0).collect();
        let back: Vec<_> = snapshot.iter(..).rev().map(|entry| entry.unwrap().0).collect();
        assert!(back.iter().rev().eq(&keys));
        let mut value = Vec::new();
        for key in ["a", "b", "b1", "b2", "c", "d"] {
            let found = snapshot.get(key.as_bytes(), &mut value).unwrap();
            assert_eq!(found, keys.contains(&key.as_bytes().to_vec()), "{key}");
        }
        String::from_utf8(keys.join(&b' ')).unwrap()
    };
    for _ in 0..3 {
        assert_eq!((seen(&first), seen(&second)), ("a b b1 c".to_owned(), "a c".to_owned()));
        assert_eq!(keys(&store), "d");
        store.flush().unwrap();
        store.compact().unwrap();
    }
}

/// RocksDB: tables that were moved, and ranges whose keys they held.
#[test]
fn a_range_in_a_moved_table_goes_on_hiding() {
    let disk = SimulatedDisk::new();
    let store = quiet_store(&disk);
    put(&store, "k1 k2 k3");
    store.compact().unwrap();
    drop(store);
    // The younger table is alone in its level, and on its way down it overlaps nothing but what it hides.
    let style =
        Style::Levelled(Levelled { dynamic: false, level_0_percent: 0, ..Levelled::default() });
    let options =
        Options { style, l0_tables_compact: 1, l0_tables_slow: 2, l0_tables_stop: 3, ..quiet() };
    let store = Lsm::open(disk.clone(), "/store", options).unwrap();
    store.delete_range("k1".."k3").unwrap();
    put(&store, "a");
    store.flush().unwrap();
    store.settle().unwrap();
    assert_eq!(keys(&store), "a k3");
    store.compact().unwrap();
    assert_eq!(keys(&store), "a k3");
}

#[test]
fn the_oldest_tables_are_dropped_with_their_ranges() {
    let style = Style::Fifo(Fifo { bytes_max: Some(3_000), ttl: None });
    let store =
        Lsm::open(SimulatedDisk::new(), "/store", Options { style, ..small(Durability::Os) })
            .unwrap();
    for round in 0..30_u32 {
        for i in 0..10 {
            store.put(&key(round * 10 + i), &[b'v'; 40]).unwrap();
        }
        store.delete_range(key(round * 10)..key(round * 10 + 5)).unwrap();
        store.flush().unwrap();
        store.settle().unwrap();
        let held = contents(&store).unwrap();
        assert!(held.keys().all(|key| key.last() >= Some(&b'5')), "{held:?}");
    }
}

#[test]
fn many_ranges_cost_a_read_a_search_and_a_scan_none_of_what_they_hide() {
    let options = Options { memtable_bytes: 4 << 20, ..quiet() };
    let store = Lsm::open(SimulatedDisk::new(), "/store", options).unwrap();
    let number = |i: u32| i.to_be_bytes();
    for i in 0..20_000 {
        store.put(&number(i), b"v").unwrap();
    }
    store.flush().unwrap();
    for i in (0..20_000).step_by(2) {
        store.delete_range(number(i)..number(i + 1)).unwrap();
    }
    for flushed in [false, true] {
        if flushed {
            store.flush().unwrap();
        }
        let odd = store.iter(..).map(|entry| entry.unwrap().0);
        assert!(odd.eq((1..20_000).step_by(2).map(|i| number(i).to_vec())));
        let mut value = Vec::new();
        for i in 0..2_000 {
            assert_eq!(store.get(&number(i), &mut value).unwrap(), i % 2 == 1);
        }
    }
    // One that hides all but the ends: the blocks between are not read.
    store.delete_range(number(100)..number(19_900)).unwrap();
    store.flush().unwrap();
    let seen: Vec<_> = store.iter(..).rev().map(|entry| entry.unwrap().0).collect();
    assert_eq!(seen.len(), 100);
}

#[test]
fn readers_beside_the_store_obey_ranges() {
    let disk = SimulatedDisk::new();
    let store = quiet_store(&disk);
    put(&store, "a b c");
    store.flush().unwrap();
    store.delete_range("b".."c").unwrap();
    let reader = LsmReader::open(&disk, "/store").unwrap();
    let mut value = Vec::new();
    assert!(!reader.get(b"b", &mut value).unwrap() && reader.get(b"c", &mut value).unwrap());
    store.checkpoint("/copy").unwrap();
    let copy = Lsm::open(disk.clone(), "/copy", quiet()).unwrap();
    assert_eq!(keys(&copy), "a c");
}

#[test]
fn records_and_figures_show_ranges() {
    let disk = SimulatedDisk::new();
    let store = quiet_store(&disk);
    put(&store, "a b c d");
    store.flush().unwrap();
    store.delete_range("b".."c").unwrap();
    store.flush().unwrap();
    store.delete_range("c"..="c").unwrap();
    store.sync().unwrap();
    let mut shown = Vec::new();
    let damage = records(&disk, "/store", None, |record| {
        if let Some(end) = record.range_end {
            let is_in_log = matches!(record.place, Place::Log { .. });
            assert!(record.value.is_none());
            shown.push((is_in_log, record.key.to_vec(), end.to_vec()));
        }
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(damage.unwrap(), []);
    let expected = [(false, b"b".to_vec(), b"c".to_vec()), (true, b"c".to_vec(), b"c\0".to_vec())];
    assert_eq!(shown, expected);
    let report = verify(&disk, "/store").unwrap();
    assert!(report.is_complete());
    assert_eq!(report.levels()[0].range_deletions, 1);
    let logs: u64 = report.files.iter().filter_map(|f| f.log).map(|log| log.range_deletions).sum();
    assert_eq!(logs, 1);
    let with_range = report.tables().find(|table| table.range_deletions == 1).unwrap();
    assert_eq!((&with_range.key_min[..], &with_range.key_max[..]), (&b"b"[..], &b"c"[..]));
}

#[test]
fn a_salvage_keeps_what_ranges_hide_hidden() {
    let disk = SimulatedDisk::new();
    let store = quiet_store(&disk);
    put(&store, "a b c d e");
    store.flush().unwrap();
    store.delete_range("b".."d").unwrap();
    put(&store, "b2");
    store.flush().unwrap();
    store.delete_range("e"..).unwrap();
    put(&store, "f");
    store.close().unwrap();
    let report = salvage(&disk, "/store", "/saved", quiet()).unwrap();
    assert!(report.is_complete(), "{report:?}");
    let saved = Lsm::open(disk, "/saved", quiet()).unwrap();
    assert_eq!(keys(&saved), "a b2 d f");
}

/// Damage to the ranges of a table would bring keys back, so it is an error, and named.
#[test]
fn damaged_ranges_are_refused() {
    let disk = SimulatedDisk::new();
    let store = quiet_store(&disk);
    put(&store, "a range-1 range-2");
    store.flush().unwrap();
    store.delete_range("range-1".."range-3").unwrap();
    store.flush().unwrap();
    store.close().unwrap();
    let path = disk
        .files()
        .into_keys()
        .filter(|path| path.extension().is_some_and(|e| e == "table"))
        .max()
        .unwrap();
    let whole = disk.read_all(&path).unwrap();
    // The end of the range stands in its block alone, and in the properties behind it.
    let at = whole.windows(7).position(|bytes| bytes == b"range-3").unwrap();
    let mut damaged = whole.clone();
    damaged[at + 6] = b'2';
    disk.write_all(&path, &damaged);
    let outcome = Lsm::open(disk.clone(), "/store", quiet());
    assert!(matches!(outcome, Err(Error::Corrupt { file, .. }) if file == path));
    let report = verify(&disk, "/store").unwrap();
    assert!(report.damage.iter().any(|damage| damage.file == path), "{:?}", report.damage);
    let report = salvage(&disk, "/store", "/saved", quiet()).unwrap();
    assert!(!report.is_complete() && report.deleted_may_return);
}

#[test]
fn a_store_of_another_version_says_what_to_do() {
    let disk = SimulatedDisk::new();
    quiet_store(&disk).close().unwrap();
    let path = disk
        .files()
        .into_keys()
        .find(|path| path.extension().is_some_and(|e| e == "manifest"))
        .unwrap();
    let mut bytes = disk.read_all(&path).unwrap();
    // Header of the frame, tag, magic: then the version; the checksum covers what follows it.
    bytes[12 + 9] = 2;
    let payload = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize & 0x7fff_ffff;
    let id: u32 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let mut crc = crc32fast::Hasher::new_with_initial(id);
    crc.update(&bytes[4..12 + payload]);
    let crc = crc.finalize().to_le_bytes();
    bytes[..4].copy_from_slice(&crc);
    disk.write_all(&path, &bytes);
    let error = Lsm::open(disk, "/store", quiet()).err().unwrap().to_string();
    assert!(
        error.contains("version 2") && error.contains("open it with the build that wrote it"),
        "{error}"
    );
}

/// What a reader sees of a range and of what is put in it in the same batch is all or nothing, while a writer goes on.
#[test]
fn readers_see_a_range_and_what_replaces_it_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { memtable_bytes: 64 << 10, ..Options::default() };
    let store = Lsm::open(kvdyno_engines::storage::Disk, folder.path(), options).unwrap();
    let members = 0..8_u8;
    let batch = |round: u32| {
        let range = WriteOperation::DeleteRange { start: vec![b'k'], end: vec![b'l'] };
        let put = |member: u8| WriteOperation::Put {
            // Other keys each time: only the range removes those of the round before.
            key: [b"k", &round.to_be_bytes()[..], &[member]].concat(),
            value: round.to_be_bytes().to_vec(),
        };
        WriteBatch { operations: [range].into_iter().chain(members.clone().map(put)).collect() }
    };
    store.write(&batch(0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..6_000).for_each(|round| store.write(&batch(round)).unwrap());
            done.store(true, Ordering::Relaxed);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    let rounds: Vec<_> =
                        store.iter(KeyRange::prefix("k")).map(|entry| entry.unwrap().1).collect();
                    assert_eq!(rounds.len(), 8, "after round {seen}: {rounds:?}");
                    assert!(rounds.iter().all(|round| *round == rounds[0]));
                    let round = u32::from_be_bytes(rounds[0][..].try_into().unwrap());
                    assert!(round >= seen);
                    seen = round;
                }
            });
        }
    });
    store.settle().unwrap();
    assert_eq!(store.iter(..).count(), 8);
    Box::new(store).close().unwrap();
}

/// Logs that a crash has left replay ranges in the order of the writes.
#[test]
fn ranges_are_replayed() {
    let disk = SimulatedDisk::new();
    let store = open(&disk).unwrap();
    put(&store, "a b c");
    store.delete_range("b"..).unwrap();
    put(&store, "d");
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(store.recovery().writes, 5);
    assert_eq!(keys(&store), "a d");
}
