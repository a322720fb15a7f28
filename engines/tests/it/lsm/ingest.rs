//! Tables outside of a store: writing, reading and merging them, and taking them in.

use std::path::{Path, PathBuf};

use kvdyno_engines::lsm::{
    Fifo, Lsm, LsmReader, Options, Style, TableEntry, TableReader, TableWriter, TableWriterOptions,
    Tiered, merge_tables, salvage, verify,
};
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Error};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Map, contents, small};

/// Writes a table of puts (`a`), deletions (`-a`) and deleted ranges (`a..b`); a value says which `version` of the key it is.
fn table(disk: &SimulatedDisk, name: &str, entries: &str, version: &str) -> PathBuf {
    let path = Path::new("/outside").join(name);
    disk.create_dir(Path::new("/outside")).unwrap();
    let options = TableWriterOptions { block_bytes: 40, ..TableWriterOptions::default() };
    let mut writer = TableWriter::create(disk, &path, options).unwrap();
    for entry in entries.split_whitespace() {
        if let Some((start, end)) = entry.split_once("..") {
            writer.delete_range(start.as_bytes(), end.as_bytes()).unwrap();
        } else if let Some(key) = entry.strip_prefix('-') {
            writer.delete(key.as_bytes()).unwrap();
        } else {
            writer.put(entry.as_bytes(), version.as_bytes()).unwrap();
        }
    }
    writer.finish().unwrap();
    path
}

fn quiet() -> Options {
    Options {
        l0_tables_compact: 90,
        l0_tables_slow: 95,
        l0_tables_stop: 99,
        ..small(Durability::Os)
    }
}

fn store(disk: &SimulatedDisk) -> Lsm<SimulatedDisk> {
    Lsm::open(disk.clone(), "/store", quiet()).unwrap()
}

fn put(store: &Lsm<SimulatedDisk>, keys: &str, version: &str) {
    for key in keys.split_whitespace() {
        store.put(key.as_bytes(), version.as_bytes()).unwrap();
    }
}

/// Keys with their versions: `a1 b2`.
fn shown(store: &Lsm<SimulatedDisk>) -> String {
    text(&contents(store).unwrap())
}

fn text(map: &Map) -> String {
    let entry = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        format!("{}{}", key.escape_ascii(), value.escape_ascii())
    };
    map.iter().map(entry).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_taken_in_is_younger_than_all_before_and_older_than_all_behind() {
    for flushed in [false, true] {
        let disk = SimulatedDisk::new();
        let path = table(&disk, "t", "b c -d f..h k", "2");
        let store = store(&disk);
        put(&store, "a b d f g h", "1");
        if flushed {
            store.flush().unwrap();
        }
        let before = store.snapshot();
        let report = store.ingest([&path]).unwrap();
        assert_eq!((report.tables, report.copied, &report.levels[..]), (1, 0, &[0][..]));
        assert_eq!(shown(&store), "a1 b2 c2 h1 k2");
        put(&store, "c f", "3");
        assert_eq!(shown(&store), "a1 b2 c3 f3 h1 k2");
        store.flush().unwrap();
        assert_eq!(shown(&store), "a1 b2 c3 f3 h1 k2");
        let then: Map = before.iter(..).map(Result::unwrap).collect();
        assert_eq!(text(&then), "a1 b1 d1 f1 g1 h1");
        drop(before);
        store.compact().unwrap();
        assert_eq!(shown(&store), "a1 b2 c3 f3 h1 k2");
        store.close().unwrap();
        assert_eq!(shown(&self::store(&disk)), "a1 b2 c3 f3 h1 k2");
        // The store has taken its own names for what is in the file, and the file is still there.
        assert!(TableReader::open(&disk, &path).is_ok());
    }
}

#[test]
fn tables_go_as_deep_as_they_overlap_nothing() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    let low = table(&disk, "low", "a b", "1");
    let high = table(&disk, "high", "x y", "1");
    assert_eq!(store.ingest([&high, &low]).unwrap().levels, [6, 6]);
    let between = table(&disk, "between", "b1 c", "2");
    let above = table(&disk, "above", "b b2", "3");
    assert_eq!(store.ingest([&between]).unwrap().levels, [6]);
    assert_eq!(store.ingest([&above]).unwrap().levels, [5]);
    put(&store, "y1", "4");
    // It has no keys between the bounds: the memtable stays.
    let end = table(&disk, "end", "z", "5");
    assert_eq!(store.ingest([&end]).unwrap().levels, [6]);
    assert!(store.metrics().counters["memtable_keys"] > 0.0);
    assert_eq!(shown(&store), "a1 b3 b12 b23 c2 x1 y1 y14 z5");
    let report = verify(&disk, "/store").unwrap();
    assert!(report.is_complete(), "{:?}", report.damage);
    store.compact().unwrap();
    assert_eq!(shown(&store), "a1 b3 b12 b23 c2 x1 y1 y14 z5");
}

/// A range in a memtable that has no other key there must not come to lie above what was taken in later.
#[test]
fn a_range_that_waits_in_a_memtable_does_not_hide_what_comes_in() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    put(&store, "a m z", "1");
    store.compact().unwrap();
    store.delete_range("b".."y").unwrap();
    let path = table(&disk, "t", "c d", "2");
    store.ingest([&path]).unwrap();
    assert_eq!(shown(&store), "a1 c2 d2 z1");
    store.flush().unwrap();
    store.compact().unwrap();
    assert_eq!(shown(&store), "a1 c2 d2 z1");
}

/// Two ingests, and flushes of single writes around them, all have their own place in the order of level 0.
#[test]
fn the_order_of_level_0_is_that_of_the_writes_and_ingests() {
    for style in [Style::default(), Style::Tiered(Tiered { width: 2, ..Tiered::default() })] {
        let disk = SimulatedDisk::new();
        let open = || Lsm::open(disk.clone(), "/store", Options { style, ..quiet() }).unwrap();
        let mut store = open();
        for version in 1..40 {
            let version = version.to_string();
            if version.ends_with(['3', '4', '7']) {
                let path = table(&disk, &version, "a k z", &version);
                store.ingest([&path]).unwrap();
            } else {
                put(&store, "k", &version);
                if version.ends_with(['2', '8']) {
                    store.flush().unwrap();
                }
            }
            if version.ends_with(['4', '5', '0']) {
                store.settle().unwrap();
            }
            if version.ends_with('6') {
                drop(store);
                store = open();
            }
            let mut value = Vec::new();
            assert!(store.get(b"k", &mut value).unwrap());
            assert_eq!(value, version.as_bytes());
        }
    }
}

#[test]
fn what_cannot_be_taken_in_is_refused_and_changes_nothing() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    put(&store, "a", "1");
    store.flush().unwrap();
    let files = disk.files().len();
    let (one, two) = (table(&disk, "one", "a c", "2"), table(&disk, "two", "b d", "2"));
    let refused = store.ingest([&one, &two]);
    assert!(
        matches!(refused, Err(Error::Overlap { first, second }) if (&first, &second) == (&one, &two))
    );
    let own = disk.files().into_keys().find(|path| path.extension().is_some_and(|e| e == "table"));
    let refused = store.ingest([own.unwrap()]);
    assert!(matches!(refused, Err(Error::NotOutside { .. })), "{refused:?}");
    let whole = disk.read_all(&one).unwrap();
    disk.remove(&one).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        disk.write_all(&one, &damaged);
        let refused = store.ingest([&one]);
        assert!(
            matches!(&refused, Err(Error::Corrupt { file, .. }) if *file == one),
            "{at}: {refused:?}"
        );
    }
    for bytes in [&b""[..], b"some text", &[0; 4096], &whole[..whole.len() - 1]] {
        disk.write_all(&one, bytes);
        assert!(matches!(store.ingest([&one]), Err(Error::Corrupt { .. })));
    }
    assert!(matches!(store.ingest(["/outside/none"]), Err(Error::Io { .. })));
    assert_eq!(store.ingest(Vec::<PathBuf>::new()).unwrap().tables, 0);
    assert_eq!((shown(&store), disk.files().len()), ("a1".to_owned(), files + 2));
}

#[test]
fn a_writer_takes_ascending_keys_alone() {
    let disk = SimulatedDisk::new();
    disk.create_dir(Path::new("/outside")).unwrap();
    let create = |name: &str| {
        TableWriter::create(&disk, Path::new("/outside").join(name), TableWriterOptions::default())
    };
    let mut writer = create("t").unwrap();
    writer.put(b"b", b"1").unwrap();
    for key in [&b"b"[..], b"a"] {
        let refused = writer.put(key, b"2");
        assert!(matches!(&refused, Err(Error::NotAscending { .. })), "{refused:?}");
    }
    assert!(matches!(writer.delete(b""), Err(Error::EmptyKey)));
    writer.put(b"c", b"").unwrap();
    let figures = writer.finish().unwrap();
    assert_eq!(
        (figures.entries, &figures.key_min[..], &figures.key_max[..]),
        (2, &b"b"[..], &b"c"[..])
    );
    assert!(matches!(create("t"), Err(Error::Io { .. })), "the file is there");
    assert!(matches!(create("empty").unwrap().finish(), Err(Error::EmptyTable { .. })));
    let mut dropped = create("dropped").unwrap();
    dropped.put(b"k", b"").unwrap();
    drop(dropped);
    let names: Vec<_> = disk.files().into_keys().collect();
    assert_eq!(names, [Path::new("/outside/t")]);
    let options = TableWriterOptions { block_bytes: 0, ..TableWriterOptions::default() };
    let refused = TableWriter::create(&disk, "/outside/x", options).err();
    assert!(matches!(refused, Some(Error::InvalidOption { name: "block_bytes", .. })));
}

#[test]
fn tables_are_read_and_merged_without_a_store() {
    let disk = SimulatedDisk::new();
    let paths = [
        table(&disk, "young", "b -c f..h z", "3"),
        table(&disk, "middle", "a c g i", "2"),
        table(&disk, "old", "a b c d e f g1 a..q", "1"),
    ];
    let readers: Vec<_> =
        paths.iter().map(|path| TableReader::open(&disk, path).unwrap()).collect();
    let mut value = Vec::new();
    let young = &readers[0];
    for (key, entry) in [
        ("b", TableEntry::Value),
        ("c", TableEntry::Deleted),
        ("g", TableEntry::Deleted),
        ("h", TableEntry::Absent),
    ] {
        assert_eq!(young.get(key.as_bytes(), &mut value).unwrap(), entry, "{key}");
    }
    assert_eq!(young.ranges().collect::<Vec<_>>(), [(&b"f"[..], &b"h"[..])]);
    young.verify().unwrap();
    let keys_of = |reader: &TableReader<SimulatedDisk>| {
        let mut keys = String::new();
        reader
            .scan(.., |key, entry, value| {
                let value = match entry {
                    TableEntry::Deleted => "-".to_owned(),
                    _ => String::from_utf8_lossy(value).into_owned(),
                };
                keys.push_str(&format!("{}{value} ", key.escape_ascii()));
                true
            })
            .unwrap();
        keys
    };
    for (drops, expected, ranges) in
        [(false, "a2 b3 c- d1 e1 i2 z3 ", 1), (true, "a2 b3 d1 e1 i2 z3 ", 0)]
    {
        let path = PathBuf::from(format!("/outside/merged-{drops}"));
        let mut writer = TableWriter::create(&disk, &path, TableWriterOptions::default()).unwrap();
        merge_tables(&readers, drops, &mut writer).unwrap();
        writer.finish().unwrap();
        let merged = TableReader::open(&disk, &path).unwrap();
        assert_eq!((keys_of(&merged), merged.ranges().count()), (expected.to_owned(), ranges));
    }
}

#[test]
fn stores_with_foreign_tables_are_copied_read_and_saved_as_others() {
    let disk = SimulatedDisk::new();
    let store = store(&disk);
    put(&store, "a b c", "1");
    store.ingest([table(&disk, "t", "b b1..d", "2")]).unwrap();
    let reader = LsmReader::open(&disk, "/store").unwrap();
    let mut value = Vec::new();
    assert!(reader.get(b"b", &mut value).unwrap() && !reader.get(b"c", &mut value).unwrap());
    store.checkpoint("/copy").unwrap();
    store.backup("/backup").unwrap();
    store.close().unwrap();
    assert!(verify(&disk, "/store").unwrap().is_complete());
    assert!(salvage(&disk, "/store", "/saved", quiet()).unwrap().is_complete());
    for dir in ["/copy", "/backup", "/saved"] {
        let store = Lsm::open(disk.clone(), dir, quiet()).unwrap();
        assert_eq!(shown(&store), "a1 b2", "{dir}");
    }
}

#[test]
fn what_is_forgotten_with_time_comes_in_at_level_0() {
    let disk = SimulatedDisk::new();
    let style = Style::Fifo(Fifo { bytes_max: Some(1 << 20), ttl: None });
    let store = Lsm::open(disk.clone(), "/store", Options { style, ..quiet() }).unwrap();
    assert_eq!(store.ingest([table(&disk, "t", "a", "1")]).unwrap().levels, [0]);
}

/// Another file system cannot be linked to.
#[test]
fn files_that_cannot_be_linked_are_copied() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir_in("/dev/shm");
    let Ok(elsewhere) = elsewhere else { return };
    let path = elsewhere.path().join("t");
    let mut writer = TableWriter::create(&Disk, &path, TableWriterOptions::default()).unwrap();
    writer.put(b"k", b"v").unwrap();
    writer.finish().unwrap();
    let store = Lsm::open(Disk, folder.path().join("store"), Options::default()).unwrap();
    let report = store.ingest([&path]).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut value = Vec::new();
    assert!(store.get(b"k", &mut value).unwrap(), "{report:?}");
}

/// Power is lost at every operation of a history with ingests: each is there as a whole or not at all, and once it is acknowledged it is there, with all that was written before it.
#[test]
fn an_ingest_survives_power_loss_at_every_operation_as_a_whole() {
    let mut disks = 0;
    for off_at in 0.. {
        let disk = SimulatedDisk::new();
        let paths = [
            table(&disk, "1", "b k z", "2"),
            table(&disk, "2", "c..l m", "3"),
            table(&disk, "3", "za", "3"),
        ];
        let first = disk.operations();
        disk.power_off_at(first + off_at);
        let (mut states, mut durable) = (vec![Map::new()], 0);
        let lived = (|| -> kvdyno_engines::Result<()> {
            let store = Lsm::open(disk.clone(), "/store", quiet())?;
            let change = |states: &mut Vec<Map>, change: &dyn Fn(&mut Map)| {
                let mut state = states.last().cloned().unwrap_or_default();
                change(&mut state);
                states.push(state);
            };
            for key in ["a", "k", "y"] {
                change(&mut states, &|map| drop(map.insert(key.into(), b"1".to_vec())));
                store.put(key.as_bytes(), b"1")?;
            }
            change(&mut states, &|map| {
                map.extend(["b", "k", "z"].map(|key| (key.into(), b"2".to_vec())));
            });
            store.ingest([&paths[0]])?;
            durable = states.len() - 1;
            change(&mut states, &|map| drop(map.insert("d".into(), b"4".to_vec())));
            store.put(b"d", b"4")?;
            change(&mut states, &|map| {
                map.retain(|key, _| &key[..] < b"c" || &key[..] >= b"l");
                map.extend(["m", "za"].map(|key| (key.into(), b"3".to_vec())));
            });
            store.ingest([&paths[1], &paths[2]])?;
            durable = states.len() - 1;
            change(&mut states, &|map| drop(map.insert("e".into(), b"5".to_vec())));
            store.put(b"e", b"5")?;
            store.flush()?;
            store.compact()?;
            durable = states.len() - 1;
            Ok(())
        })();
        let crashes = disk.crashes(off_at, 1);
        for crash in crashes.into_iter().chain([Crash::Killed(first + off_at)]) {
            let survivor = disk.survivor(crash);
            let store = Lsm::open(survivor.clone(), "/store", quiet()).unwrap();
            let found = contents(&store).unwrap();
            assert!(states[durable..].contains(&found), "power lost at {off_at}: {}", text(&found));
            let report = verify(&survivor, "/store").unwrap();
            assert!(report.damage.is_empty(), "{:?}", report.damage);
            store.compact().unwrap();
            assert_eq!(contents(&store).unwrap(), found);
            disks += 1;
        }
        if lived.is_ok() {
            break;
        }
    }
    assert!(disks > 200, "{disks} disks");
}

/// Random ingests, writes and compactions against a map.
#[test]
fn ingests_agree_with_a_map() {
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let (disk, mut model) = (SimulatedDisk::new(), Map::new());
        let style = [Style::default(), Style::Tiered(Tiered { width: 2, ..Tiered::default() })]
            [seed as usize % 2];
        let open = || {
            Lsm::open(disk.clone(), "/store", Options { style, ..small(Durability::Os) }).unwrap()
        };
        let mut store = open();
        for step in 0..120_u32 {
            let value = step.to_le_bytes();
            let any = |random: &mut StdRng| random.random_range(0..60_u8);
            match random.random_range(0..20) {
                0..9 => {
                    let key = [any(&mut random)];
                    store.put(&key, &value).unwrap();
                    model.insert(key.to_vec(), value.to_vec());
                }
                9..11 => {
                    let (start, end) = ([any(&mut random)], [any(&mut random)]);
                    store.delete_range(&start[..]..&end[..]).unwrap();
                    model.retain(|key, _| key[..] < start[..] || key[..] >= end[..]);
                }
                11 => store.flush().unwrap(),
                12 => store.compact().unwrap(),
                13 => {
                    drop(store);
                    store = open();
                }
                _ => ingest(&mut random, &disk, &store, &mut model, step),
            }
            assert_eq!(contents(&store).unwrap(), model, "seed {seed}, step {step}");
        }
    }
}

/// Takes in up to three tables that do not overlap.
fn ingest(
    random: &mut StdRng,
    disk: &SimulatedDisk,
    store: &Lsm<SimulatedDisk>,
    model: &mut Map,
    step: u32,
) {
    disk.create_dir(Path::new("/outside")).unwrap();
    let (mut from, mut paths) = (random.random_range(0..40_u8), Vec::new());
    for part in 0..random.random_range(1..4) {
        let path = PathBuf::from(format!("/outside/{step}-{part}"));
        let mut writer = TableWriter::create(disk, &path, TableWriterOptions::default()).unwrap();
        let to = from + random.random_range(1..12_u8);
        let mut last = from;
        if random.random_range(0..3) == 0 {
            writer.delete_range(&[from], &[to]).unwrap();
            model.retain(|key, _| key[..] < [from][..] || key[..] >= [to][..]);
            last = to;
        }
        for key in from..to {
            match random.random_range(0..4) {
                0 => {
                    writer.delete(&[key]).unwrap();
                    model.remove(&[key][..]);
                }
                1 => {}
                _ => {
                    writer.put(&[key], &step.to_le_bytes()).unwrap();
                    model.insert(vec![key], step.to_le_bytes().to_vec());
                }
            }
            last = last.max(key + 1);
        }
        if writer.finish().is_ok() {
            paths.push(path);
        }
        from = last;
    }
    store.ingest(&paths).unwrap();
}
