//! Values that expire, looked at from outside, copied, saved, and in tables that belong to no store.

use std::path::{Path, PathBuf};

use kvdyno_engines::lsm::{
    Lsm, TableEntry, TableReader, TableWriter, TableWriterOptions, inspect, merge_tables, salvage,
    verify,
};
use kvdyno_engines::storage::{SimulatedDisk, Storage};

use super::super::{Map, contents, open_with};
use super::{get, ms, quiet, stored, value};
use crate::hands::{Hands, NOON_MS};

/// A store with values that expire in a table, in the value log and in a log, and what it holds at noon.
fn store(disk: &SimulatedDisk, hands: &Hands) -> (Lsm<SimulatedDisk>, Map) {
    let store = open_with(disk, quiet(hands)).unwrap();
    store.put(b"hidden", b"older").unwrap();
    store.compact().unwrap();
    for (at, key) in [b"a", b"b", b"c", b"d"].into_iter().enumerate() {
        store.put_expiring(key, &value("in a table", at % 2 == 0), ms(100 + at as u64)).unwrap();
    }
    store.put_expiring(b"hidden", b"newer", ms(1)).unwrap();
    store.flush().unwrap();
    store.put_expiring(b"e", b"in a log", ms(1_000)).unwrap();
    let map = contents(&store).unwrap();
    assert_eq!(map.len(), 6);
    (store, map)
}

#[test]
fn a_look_from_outside_tells_what_expires_and_when() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let (store, _) = store(&disk, &hands);
    let times = |disk: &SimulatedDisk| -> Vec<_> {
        let stored = stored(disk).into_iter();
        let text = |(key, _, time): super::Stored| (String::from_utf8(key).unwrap(), time);
        stored.map(text).map(|(key, time)| (key, time.map(|time| time - NOON_MS))).collect()
    };
    let expected = [
        ("hidden", None),
        ("a", Some(100)),
        ("b", Some(101)),
        ("c", Some(102)),
        ("d", Some(103)),
        ("hidden", Some(1)),
        ("e", Some(1_000)),
    ];
    assert_eq!(times(&disk), expected.map(|(key, time)| (key.to_owned(), time)));
    for report in [
        verify(&disk, "/store").unwrap(),
        inspect(&disk, "/store").unwrap(),
        store.verify().unwrap(),
    ] {
        assert!(report.is_complete(), "{:?}", report.damage);
        let levels: Vec<_> = report.levels().iter().map(|level| level.expiring).collect();
        assert_eq!((levels[0], levels.iter().sum::<u64>()), (5, 5));
        let table = report.tables().find(|table| table.expiring > 0).unwrap();
        assert_eq!(
            (table.expires_first_ms, table.expires_last_ms),
            (Some(NOON_MS + 1), Some(NOON_MS + 103))
        );
        let others = report.tables().filter(|table| table.expiring == 0);
        assert_eq!(others.map(|table| table.expires_last_ms).collect::<Vec<_>>(), [None]);
        let logs = report.files.iter().filter_map(|file| file.log);
        assert_eq!(logs.map(|log| (log.values, log.expiring)).collect::<Vec<_>>(), [(1, 1)]);
    }
}

#[test]
fn copies_and_what_is_saved_keep_the_times() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let (store, map) = store(&disk, &hands);
    store.checkpoint("/copy").unwrap();
    store.backup("/backup").unwrap();
    store.close().unwrap();
    // Without a manifest, too.
    disk.create_dir(Path::new("/headless")).unwrap();
    for path in disk.files().into_keys().filter(|path| path.starts_with("/store")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with("manifest") && name != "lock" {
            disk.write_all(&Path::new("/headless").join(name), &disk.read_all(&path).unwrap());
        }
    }
    assert!(salvage(&disk, "/store", "/saved", quiet(&hands)).unwrap().is_complete());
    salvage(&disk, "/headless", "/saved headless", quiet(&hands)).unwrap();
    for dir in ["/copy", "/backup", "/saved", "/saved headless"] {
        let store = Lsm::open(disk.clone(), dir, quiet(&hands)).unwrap();
        for (time, left) in [(0, 6), (1, 5), (100, 4), (103, 1), (1_000, 0)] {
            hands.set(NOON_MS + time);
            let seen = contents(&store).unwrap();
            assert_eq!(seen.len(), left, "{dir} after {time} ms");
            assert!(seen.iter().all(|(key, value)| map[key] == *value));
        }
        hands.set(NOON_MS);
    }
    // What has expired by then hides what is older in what is saved.
    hands.set(NOON_MS + 1);
    salvage(&disk, "/store", "/saved later", quiet(&hands)).unwrap();
    let store = Lsm::open(disk.clone(), "/saved later", quiet(&hands)).unwrap();
    assert_eq!((get(&store, b"hidden"), contents(&store).unwrap().len()), (None, 5));
}

/// A table of values that expire after so many milliseconds, or with 0 never.
fn table(disk: &SimulatedDisk, hands: &Hands, name: &str, entries: &[(&str, u64)]) -> PathBuf {
    let path = Path::new("/outside").join(name);
    disk.create_dir(Path::new("/outside")).unwrap();
    let options = TableWriterOptions { clock: hands.clock(), ..TableWriterOptions::default() };
    let mut writer = TableWriter::create(disk, &path, options).unwrap();
    for (key, ttl) in entries {
        match ttl {
            0 => writer.put(key.as_bytes(), name.as_bytes()).unwrap(),
            ttl => writer.put_expiring(key.as_bytes(), name.as_bytes(), ms(*ttl)).unwrap(),
        }
    }
    assert_eq!(
        writer.finish().unwrap().expiring,
        entries.iter().filter(|e| e.1 > 0).count() as u64
    );
    path
}

fn shown(reader: &TableReader<SimulatedDisk>) -> String {
    let mut text = String::new();
    reader
        .scan(.., |key, entry, value| {
            let (key, value) = (key.escape_ascii(), value.escape_ascii());
            text.push_str(&match entry {
                TableEntry::Value => format!("{key}={value} "),
                TableEntry::Expiring { expires_ms } => {
                    format!("{key}={value} until {} ", expires_ms - NOON_MS)
                }
                TableEntry::Deleted => format!("-{key} "),
                TableEntry::Absent => unreachable!("it is among those that are there"),
            });
            true
        })
        .unwrap();
    text
}

#[test]
fn tables_outside_of_a_store_hold_values_that_expire() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let old = table(&disk, &hands, "old", &[("a", 0), ("b", 0), ("c", 50), ("d", 10)]);
    let young = table(&disk, &hands, "young", &[("a", 10), ("b", 50), ("e", 10)]);
    let readers = [&young, &old].map(|path| TableReader::open(&disk, path).unwrap());
    assert_eq!(shown(&readers[0]), "a=young until 10 b=young until 50 e=young until 10 ");
    let mut value = Vec::new();
    let entry = readers[0].get(b"b", &mut value).unwrap();
    assert_eq!(
        (entry, &value[..]),
        (TableEntry::Expiring { expires_ms: NOON_MS + 50 }, &b"young"[..])
    );
    readers[0].verify().unwrap();
    hands.set(NOON_MS + 10);
    let options = || TableWriterOptions { clock: hands.clock(), ..TableWriterOptions::default() };
    for (drops, expected) in [
        (false, "-a b=young until 50 c=old until 50 -d -e "),
        (true, "b=young until 50 c=old until 50 "),
    ] {
        let path = PathBuf::from(format!("/outside/merged-{drops}"));
        let mut writer = TableWriter::create(&disk, &path, options()).unwrap();
        merge_tables(&readers, drops, &mut writer).unwrap();
        writer.finish().unwrap();
        assert_eq!(shown(&TableReader::open(&disk, &path).unwrap()), expected);
    }
    let store = open_with(&disk, quiet(&hands)).unwrap();
    store.put(b"e", b"hidden").unwrap();
    store.ingest([&old]).unwrap();
    store.ingest([&young]).unwrap();
    let keys = |store: &Lsm<SimulatedDisk>| -> Vec<u8> {
        contents(store).unwrap().into_keys().flatten().collect()
    };
    assert_eq!(keys(&store), b"bc");
    hands.set(NOON_MS + 50);
    assert_eq!(keys(&store), b"");
    store.close().unwrap();
    assert_eq!(keys(&open_with(&disk, quiet(&hands)).unwrap()), b"");
}
