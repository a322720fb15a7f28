//! Iterators and cursors: what they cost, how they end, and bounds that make no sense.

use std::ops::{Bound, ControlFlow};

use kvdyno_engines::lsm::{Cursor, Iter, KeyRange, Lsm, Options, Snapshot};
use kvdyno_engines::storage::{Disk, SimulatedDisk};
use kvdyno_engines::{Direction, Durability, Error};

use super::{Map, contents, copy, fill, fixture, key, open, remove, small};
use crate::hostile::allocations;

/// Keys that are shown by an iterator.
fn keys(iter: Iter<'_, SimulatedDisk>) -> Vec<Vec<u8>> {
    iter.map(|entry| entry.unwrap().0).collect()
}

/// A store with keys that begin with each other, and end in the greatest byte; some in a table, some in the memtable.
fn edges() -> Lsm<SimulatedDisk> {
    let store = open(&SimulatedDisk::new()).unwrap();
    for key in [&b"a"[..], b"a\xff", b"b", b"\xff", b"\xff\xff\xff"] {
        store.put(key, key).unwrap();
    }
    store.flush().unwrap();
    for key in [&b"\0"[..], b"a\xff\xff", b"a\xff\xffz", b"\xff\xff"] {
        store.put(key, key).unwrap();
    }
    store
}

#[test]
fn a_prefix_of_the_greatest_bytes_has_no_end() {
    let store = edges();
    let of = |prefix: &[u8]| keys(store.iter(KeyRange::prefix(prefix)));
    assert_eq!(of(b"\xff"), [&b"\xff"[..], b"\xff\xff", b"\xff\xff\xff"]);
    assert_eq!(of(b"\xff\xff\xff"), [b"\xff\xff\xff"]);
    assert!(of(b"\xff\xff\xff\xff").is_empty());
    assert_eq!(of(b"a\xff"), [&b"a\xff"[..], b"a\xff\xff", b"a\xff\xffz"]);
    assert_eq!(of(b"").len(), 9, "an empty prefix is that of all keys");
    let mut cursor = store.cursor(KeyRange::prefix(b"\xff"));
    assert_eq!(cursor.seek_last().unwrap().unwrap().0, b"\xff\xff\xff");
    assert_eq!(cursor.seek(b"a").unwrap().unwrap().0, b"\xff", "the range begins here");
    assert_eq!(cursor.seek_back(b"a").unwrap(), None);
}

#[test]
fn bounds_that_leave_nothing_give_nothing() {
    let store = edges();
    let excluded = |key: &'static [u8]| Bound::Excluded(key);
    for range in [
        KeyRange::from("b".."a"),
        KeyRange::from("b"..="a"),
        KeyRange::from("a".."a"),
        KeyRange::from(b"\xff\xff\xff\xff"..),
        KeyRange::from(.."\0"),
        KeyRange::from(..""),
        KeyRange::from(..=""),
        KeyRange::from((excluded(b"a"), excluded(b"a"))),
        KeyRange::from((excluded(b"a"), excluded(b"a\xff"))),
    ] {
        assert!(keys(store.iter(range.clone())).is_empty(), "{range:?}");
        assert_eq!(store.iter(range.clone()).rev().count(), 0, "{range:?}");
        let mut cursor = store.cursor(range.clone());
        for key in [&b""[..], b"a", b"b", b"\xff\xff\xff\xff"] {
            assert_eq!(cursor.seek(key).unwrap(), None, "{range:?}");
            assert_eq!(cursor.move_prev().unwrap(), None);
            assert_eq!(cursor.seek_back(key).unwrap(), None, "{range:?}");
            assert_eq!(cursor.move_next().unwrap(), None);
        }
        assert_eq!(store.approximate_bytes(range).unwrap() / 1000, 0);
    }
    assert_eq!(keys(store.iter(""..)).len(), 9, "no key is before the empty one");
    assert_eq!(keys(store.iter((excluded(b""), Bound::Unbounded))).len(), 9);
}

#[test]
fn a_cursor_turns_round_anywhere() {
    let store = edges();
    let mut cursor = store.cursor(&b"a"[..]..=&b"\xff"[..]);
    assert_eq!((cursor.current(), cursor.key(), cursor.value()), (None, None, None));
    assert_eq!(cursor.move_prev().unwrap(), None, "it stands before the first entry");
    assert_eq!(cursor.move_next().unwrap().unwrap().0, b"a");
    assert_eq!(cursor.move_next().unwrap().unwrap().0, b"a\xff");
    assert_eq!(cursor.move_prev().unwrap().unwrap().0, b"a");
    assert_eq!(cursor.move_prev().unwrap(), None);
    assert_eq!(cursor.move_prev().unwrap(), None);
    assert_eq!(cursor.move_next().unwrap().unwrap().0, b"a", "back from before the first");
    assert_eq!(cursor.seek_last().unwrap().unwrap().0, b"\xff");
    assert_eq!(cursor.move_next().unwrap(), None);
    assert_eq!(cursor.move_prev().unwrap().unwrap().0, b"\xff", "back from behind the last");
    assert_eq!((cursor.key(), cursor.value()), (Some(&b"\xff"[..]), Some(&b"\xff"[..])));
    assert_eq!(cursor.seek_first().unwrap().unwrap().0, b"a");
}

#[test]
fn both_ends_meet_in_the_middle() {
    let store = edges();
    let all: Vec<_> = keys(store.iter(..));
    for from_front in 0..=all.len() {
        let mut iter = store.iter(..);
        let mut seen: Vec<_> =
            iter.by_ref().take(from_front).map(|entry| entry.unwrap().0).collect();
        let mut back: Vec<_> = iter.by_ref().rev().map(|entry| entry.unwrap().0).collect();
        back.reverse();
        seen.extend(back);
        assert_eq!(seen, all);
        assert!(iter.next().is_none() && iter.next_back().is_none(), "it has ended for good");
    }
}

#[test]
fn an_iterator_outlives_its_snapshot_and_moves_between_threads() {
    fn everywhere<T: Send + Sync>() {}
    everywhere::<Snapshot<'_, Disk>>();
    everywhere::<Iter<'_, Disk>>();
    everywhere::<Cursor<'_, SimulatedDisk>>();
    let (store, mut model) = (open(&SimulatedDisk::new()).unwrap(), Map::new());
    fill(&store, &mut model, 0..200, 1);
    let mut iter = store.snapshot().iter(..);
    let first = iter.next().unwrap().unwrap();
    let before = model.clone();
    fill(&store, &mut model, 0..200, 2);
    store.compact().unwrap();
    let rest = std::thread::scope(|scope| {
        scope.spawn(move || iter.map(Result::unwrap).collect::<Vec<_>>()).join().unwrap()
    });
    assert_eq!([vec![first], rest].concat().into_iter().collect::<Map>(), before);
}

#[test]
fn steps_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { l0_tables_compact: 50, ..small(Durability::Os) };
    let options = Options {
        l0_tables_slow: 60,
        l0_tables_stop: 70,
        memtable_bytes: 1 << 20,
        table_bytes: 1 << 20,
        ..options
    };
    let (store, mut model) = (Lsm::open(Disk, folder.path(), options).unwrap(), Map::new());
    for version in 0..3 {
        fill(&store, &mut model, (version..3_000).step_by(version as usize + 1), version);
        store.flush().unwrap();
    }
    fill(&store, &mut model, (0..3_000).step_by(5), 9);
    remove(&store, &mut model, (0..3_000).step_by(7));
    let (mut iter, mut cursor) = (store.iter(..), store.cursor(..));
    let mut seen = 0;
    let begun = allocations(|| {
        iter.next_with(|_, _| ()).unwrap().unwrap();
        iter.next_back_with(|_, _| ()).unwrap().unwrap();
        cursor.seek(&key(1_000)).unwrap();
    });
    let stepped = allocations(|| {
        while let Some(visited) = iter.next_with(|_, value| value.len()) {
            assert!(visited.unwrap() > 0);
            seen += 1;
        }
        while cursor.move_next().unwrap().is_some() {}
    });
    assert_eq!(seen, model.len() - 2);
    // Keys of one length have room from the first one on.
    assert!(begun > 0 && stepped < 20, "{begun} to begin, {stepped} for {seen} items");
}

#[test]
fn an_iterator_ends_at_damage_and_a_cursor_can_seek_away_from_it() {
    let (disk, model) = fixture();
    let disk = copy(&disk);
    let is_table = |path: &std::path::Path| path.extension().is_some_and(|name| name == "table");
    let tables: Vec<_> = disk.files().into_keys().filter(|path| is_table(path)).collect();
    let sizes = |store: &Lsm<SimulatedDisk>| {
        ["user00000002".."user00000011", "user".."user00000005", "user00000009".."v"]
            .map(|range| store.approximate_bytes(range).unwrap())
    };
    let whole = open(&disk).unwrap();
    assert_eq!(contents(&whole).unwrap(), model);
    let expected = sizes(&whole);
    drop(whole);
    for table in tables {
        let mut bytes = disk.read_all(&table).unwrap();
        bytes[20] ^= 1;
        disk.write_all(&table, &bytes);
    }
    let store = open(&disk).unwrap();
    for iter in [store.iter(..), store.iter("user00000001"..)] {
        let mut iter = iter.skip_while(Result::is_ok);
        assert!(matches!(iter.next(), Some(Err(Error::Corrupt { offset: 0, .. }))));
        assert!(iter.next().is_none(), "nothing comes behind an error");
    }
    assert!(store.iter(..).rev().any(|entry| entry.is_err()));
    let mut cursor = store.cursor(..);
    assert!(cursor.seek(b"").is_err());
    assert_eq!(cursor.current(), None, "it stands nowhere");
    assert_eq!(cursor.move_next().unwrap(), None);
    assert_eq!(cursor.move_prev().unwrap(), None);
    // The tables end before this key, so that none of their blocks is read.
    assert_eq!(cursor.seek(&key(14)).unwrap().unwrap().0, key(14));
    assert_eq!(sizes(&store), expected, "sizes come from the index");
}

#[test]
fn a_scan_does_not_fail_by_what_it_need_not_read() {
    let disk = SimulatedDisk::new();
    let open = || {
        let options = Options { table_bytes: 1 << 20, ..small(Durability::Os) };
        Lsm::open(disk.clone(), "/store", options).unwrap()
    };
    let store = open();
    fill(&store, &mut Map::new(), 0..100, 1);
    store.compact().unwrap();
    store.close().unwrap();
    let is_table = |path: &std::path::PathBuf| path.extension().is_some_and(|name| name == "table");
    let table = disk.files().into_keys().find(is_table).unwrap();
    // In the first block.
    disk.flip(&table, 20, 1).unwrap();
    let store = open();
    let whole = store.iter(..).rev().take_while(Result::is_ok).count();
    assert!((50..100).contains(&whole));
    let visit = &mut |_: &[u8], _: &[u8]| ControlFlow::Continue(());
    assert_eq!(store.scan(b"", Direction::Reverse, whole, visit).unwrap(), whole);
    assert!(store.scan(b"", Direction::Reverse, whole + 1, visit).is_err());
}
