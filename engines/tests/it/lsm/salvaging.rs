//! Salvage: what is whole is saved from what is not, and what is lost is told.

use std::path::{Path, PathBuf};

use kvdyno_engines::lsm::{
    Compression, Lsm, Options, SalvageReport, TableWriter, TableWriterOptions, salvage, verify,
};
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Error};

use super::{Map, contents, copy, extension, fill, fixture, key, open, open_with, remove, small};

fn save(disk: &SimulatedDisk) -> (SalvageReport, Map) {
    let report = salvage(disk, "/store", "/saved", small(Durability::Os)).unwrap();
    let store = Lsm::open(disk.clone(), "/saved", small(Durability::Os)).unwrap();
    let map = contents(&store).unwrap();
    assert_eq!(report.records_kept, map.len() as u64);
    (report, map)
}

#[test]
fn a_whole_store_is_saved_as_it_is() {
    let (disk, model) = fixture();
    let (report, saved) = save(&disk);
    assert!(report.is_complete() && !report.older_may_return, "{report:?}");
    assert_eq!(saved, model);
    let refused = salvage(&disk, "/store", "/saved", small(Durability::Os));
    assert!(matches!(refused, Err(Error::InvalidOption { name: "to", .. })));
    let inside = salvage(&disk, "/store", "/store/inside", small(Durability::Os));
    assert!(matches!(inside, Err(Error::InvalidOption { name: "to", .. })));
}

#[test]
fn a_store_is_saved_without_its_manifest() {
    for damaged in [false, true] {
        let (disk, model) = fixture();
        let manifests = disk.files().into_keys().filter(|path| extension(path) == "manifest");
        for manifest in manifests.collect::<Vec<_>>() {
            if damaged {
                disk.flip(&manifest, 20, 1).unwrap();
            } else {
                disk.remove(&manifest).unwrap();
            }
        }
        assert!(open(&disk).is_err());
        let report = verify(&disk, "/store").unwrap();
        assert!(!report.is_complete());
        let (report, saved) = save(&disk);
        assert!(report.manifest_lost.is_some() && report.older_may_return, "{report:?}");
        assert_eq!(saved, model, "the order of age is what the tables say");
    }
}

/// Tables of several levels, written over and over: what they say about themselves is enough, as none was moved without being merged.
#[test]
fn levels_are_told_by_the_tables_themselves() {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk).unwrap();
    for round in 0..4 {
        fill(&store, &mut model, 0..60, round);
        remove(&store, &mut model, [round * 10]);
        store.compact().unwrap();
    }
    fill(&store, &mut model, 20..30, 9);
    store.flush().unwrap();
    fill(&store, &mut model, 25..35, 10);
    store.close().unwrap();
    let manifest = disk.files().into_keys().find(|path| extension(path) == "manifest").unwrap();
    disk.remove(&manifest).unwrap();
    assert_eq!(save(&disk).1, model);
}

#[test]
fn blocks_that_are_whole_are_saved_from_damaged_tables() {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk).unwrap();
    fill(&store, &mut model, 0..30, 1);
    store.compact().unwrap();
    store.close().unwrap();
    let tables = disk.files().into_keys().filter(|path| extension(path) == "table");
    let table: PathBuf = tables.into_iter().next().unwrap();
    disk.flip(&table, 100, 4).unwrap();
    let (report, saved) = save(&disk);
    assert_eq!(report.dropped.len(), 1, "{report:?}");
    assert!(report.dropped[0].file == table && report.deleted_may_return);
    assert!(!report.is_complete());
    assert!(saved.len() < model.len() && saved.len() > 20, "{} keys", saved.len());
    assert!(saved.iter().all(|(key, value)| model[key] == *value));
}

/// A filter, the properties, the header of a log hold no records.
#[test]
fn what_serves_to_find_records_is_made_anew() {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk).unwrap();
    fill(&store, &mut model, 0..30, 1);
    store.compact().unwrap();
    fill(&store, &mut model, 30..40, 1);
    store.close().unwrap();
    let file = |kind: &str| disk.files().into_keys().find(|path| extension(path) == kind).unwrap();
    let (table, log) = (file("table"), file("log"));
    let report = verify(&disk, "/store").unwrap();
    let figures = report.tables().next().unwrap();
    // Behind the filter lie the index, and the trailers of both.
    let index = figures.file_bytes - 64 - 150 - figures.index_bytes;
    let filter = (0..index).rev().find(|at| {
        disk.flip(&table, *at, 1).unwrap();
        let report = verify(&disk, "/store").unwrap();
        let found = report.damage.iter().any(|damage| damage.reason.contains("of the filter"));
        disk.flip(&table, *at, 1).unwrap();
        found
    });
    for (path, at) in [(&table, filter.unwrap()), (&log, 20)] {
        let damaged = copy(&disk);
        damaged.flip(path, at, 1).unwrap();
        let (report, saved) = save(&damaged);
        assert!(report.is_complete() && !report.older_may_return, "{report:?}");
        assert_eq!((report.made_anew.len(), &report.made_anew[0].file), (1, path));
        assert_eq!(saved, model);
    }
}

/// The next open would drop the writes behind a torn one: they are told beforehand, and saved.
#[test]
fn whole_writes_behind_a_torn_spot_are_told_and_saved() {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk).unwrap();
    fill(&store, &mut model, 0..20, 1);
    drop(store);
    assert!(verify(&disk, "/store").unwrap().is_complete());
    let log = disk.files().into_keys().find(|path| extension(path) == "log").unwrap();
    let bytes = disk.read_all(&log).unwrap();
    let torn = bytes.windows(12).position(|window| window == key(5)).unwrap();
    disk.flip(&log, torn as u64, 1).unwrap();
    let report = verify(&disk, "/store").unwrap();
    assert_eq!(report.damage, []);
    assert!(!report.is_complete());
    assert_eq!(report.torn_off().map(|log| log.writes_behind_tear).sum::<u64>(), 14);
    let (report, saved) = save(&disk);
    assert_eq!(report.dropped.len(), 1, "{report:?}");
    model.remove(&key(5));
    assert_eq!(saved, model);
    assert_eq!(contents(&open(&disk).unwrap()).unwrap().len(), 5);
}

/// The only file of its kind.
fn only(disk: &SimulatedDisk, kind: &str) -> PathBuf {
    let mut files = disk.files().into_keys().filter(|path| extension(path) == kind);
    let file = files.next().unwrap();
    assert_eq!(files.next(), None);
    file
}

/// A closed store with one table of 60 keys in many blocks.
fn one_table(options: Options) -> (SimulatedDisk, Map) {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    let options = Options {
        memtable_bytes: 64 << 10,
        table_bytes: 1 << 20,
        value_log_min_bytes: None,
        ..options
    };
    let store = open_with(&disk, options).unwrap();
    fill(&store, &mut model, 0..60, 1);
    store.compact().unwrap();
    store.close().unwrap();
    (disk, model)
}

fn compressed() -> impl Iterator<Item = Options> {
    [Compression::None, Compression::Lz4, Compression::Zstd]
        .map(|compression| Options { compression, ..small(Durability::Os) })
        .into_iter()
}

/// What a table has behind its data blocks can be made anew from these, whichever byte of it is damaged.
#[test]
fn no_entry_is_lost_with_what_finds_it() {
    for options in compressed() {
        let (disk, model) = one_table(options);
        let table = only(&disk, "table");
        let bytes = disk.read_all(&table).unwrap().len() as u64;
        let report = verify(&disk, "/store").unwrap();
        let figures = report.tables().next().unwrap();
        assert!(figures.blocks > 4, "{figures:?}");
        // Properties with two keys of 12 bytes, the footer, and three trailers.
        let behind_blocks = figures.filter_bytes + figures.index_bytes + 122 + 80 + 3 * 5;
        for at in bytes - behind_blocks..bytes {
            let damaged = copy(&disk);
            damaged.flip(&table, at, 1 << (at % 8)).unwrap();
            let (report, saved) = save(&damaged);
            assert_eq!((saved.len(), report.entries_lost), (model.len(), 0), "{at} of {bytes}");
            assert!(saved == model && report.is_complete(), "{report:?}");
            assert!(!report.older_may_return && !report.made_anew.is_empty(), "{report:?}");
        }
    }
}

/// Of a table that was cut off, the blocks that are left are saved, and what is missing is counted by the manifest.
#[test]
fn blocks_before_a_cut_are_saved_and_the_others_are_counted() {
    for options in compressed() {
        let (disk, model) = one_table(options);
        let table = only(&disk, "table");
        let whole = disk.read_all(&table).unwrap();
        let mut before = 0;
        for kept in (0..whole.len()).step_by(7) {
            let damaged = copy(&disk);
            damaged.write_all(&table, &whole[..kept]);
            let (report, saved) = save(&damaged);
            assert_eq!(saved.len() as u64 + report.entries_lost, model.len() as u64, "{report:?}");
            assert!(!report.more_may_be_lost);
            assert_eq!(report.is_complete(), saved == model, "{kept}: {report:?}");
            assert!(saved.iter().all(|(key, value)| model[key] == *value));
            assert!(saved.len() >= before, "{kept}: {} after {before}", saved.len());
            before = saved.len();
        }
        assert_eq!(before, model.len());
    }
}

/// Neither the footer nor the index, nor one of the blocks: the blocks behind that are found.
#[test]
fn a_damaged_block_does_not_hide_those_behind_it() {
    for options in compressed() {
        let (disk, model) = one_table(options);
        let table = only(&disk, "table");
        let bytes = disk.read_all(&table).unwrap().len() as u64;
        let index_bytes = verify(&disk, "/store").unwrap().tables().next().unwrap().index_bytes;
        for (footer, index) in [(true, false), (false, true), (true, true)] {
            for block in (5..bytes / 2).step_by(31) {
                let damaged = copy(&disk);
                damaged.flip(&table, block, 4).unwrap();
                if footer {
                    damaged.flip(&table, bytes - 9, 4).unwrap();
                }
                if index {
                    // Behind it are the properties and the footer, which are longer than that, with a trailer each.
                    damaged.flip(&table, bytes - 80 - 150 - index_bytes / 2, 4).unwrap();
                }
                let (report, saved) = save(&damaged);
                let all = saved.len() as u64 + report.entries_lost;
                assert_eq!(all, model.len() as u64, "{block}: {report:?}");
                assert!(saved.len() > 45 && saved.len() < 60, "{} {report:?}", saved.len());
                assert!(saved.iter().all(|(key, value)| model[key] == *value));
                assert!(!report.dropped.is_empty() && report.older_may_return);
            }
        }
    }
}

/// Neither manifest nor footers: properties still say which table is how old.
#[test]
fn tables_tell_their_age_without_a_footer() {
    let (disk, model) = fixture();
    disk.remove(&only(&disk, "manifest")).unwrap();
    for (path, bytes) in disk.files() {
        if extension(&path) == "table" {
            disk.flip(&path, bytes - 40, 1).unwrap();
        }
    }
    let (report, saved) = save(&disk);
    assert_eq!((saved, report.entries_lost), (model, 0));
}

/// Checksums of such a table start from a number that is not that of its file.
#[test]
fn a_table_from_outside_is_saved_without_its_footer() {
    let disk = SimulatedDisk::new();
    disk.create_dir(Path::new("/outside")).unwrap();
    let path = Path::new("/outside/one");
    let options = TableWriterOptions { block_bytes: 60, ..TableWriterOptions::default() };
    let mut writer = TableWriter::create(&disk, path, options).unwrap();
    let mut model = Map::new();
    for i in 0..40 {
        writer.put(&key(i), &key(i)).unwrap();
        model.insert(key(i), key(i));
    }
    writer.finish().unwrap();
    let store = open(&disk).unwrap();
    store.ingest([path]).unwrap();
    store.close().unwrap();
    let mut tables = disk.files().into_keys().filter(|path| extension(path) == "table");
    let table = tables.next().unwrap();
    let bytes = disk.read_all(&table).unwrap().len() as u64;
    disk.flip(&table, bytes - 1, 1).unwrap();
    let (report, saved) = save(&disk);
    assert!(saved == model && report.entries_lost == 0, "{report:?}");
}

/// A manifest that was cut off names tables that have been merged since, and not what they were merged into.
#[test]
fn a_manifest_without_its_end_hides_no_table() {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk).unwrap();
    for round in 0..3 {
        fill(&store, &mut model, round * 20..round * 20 + 40, round);
        remove(&store, &mut model, [round * 20 + 3]);
        store.flush().unwrap();
        store.settle().unwrap();
    }
    fill(&store, &mut model, 0..5, 9);
    store.close().unwrap();
    let manifest = only(&disk, "manifest");
    let bytes = disk.read_all(&manifest).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut distrusted = 0;
    for kept in (0..written).step_by(5) {
        let damaged = copy(&disk);
        damaged.write_all(&manifest, &bytes[..kept]);
        let (report, saved) = save(&damaged);
        assert_eq!(saved, model, "{kept} of {written}: {report:?}");
        distrusted += u32::from(report.manifest_lost.is_some());
        let seen = !verify(&damaged, "/store").unwrap().is_complete();
        assert!(seen || report.manifest_lost.is_none(), "{kept} of {written}: {report:?}");
    }
    assert!(distrusted > 10, "{distrusted}");
}

#[test]
fn a_store_that_is_open_is_not_salvaged() {
    let (disk, _) = fixture();
    let store = open(&disk).unwrap();
    let refused = salvage(&disk, "/store", "/saved", small(Durability::Os));
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    assert!(disk.list(Path::new("/saved")).is_err(), "nothing was begun");
    store.close().unwrap();
    assert!(salvage(&disk, "/store", "/saved", small(Durability::Os)).is_ok());
}
