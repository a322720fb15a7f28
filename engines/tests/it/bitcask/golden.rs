//! Stores that are checked in, byte for byte as they were once written: each build must read what an earlier one has stored, and refuse by name what it does not know.
//!
//! `tests/fixtures/bitcask-2` holds, in folders, a store that was closed and one whose process was killed in the middle of a write, in version 2 of the format. Between them they have every kind
//! of record and file. They were written by
//!
//! ```text
//! cargo test -p kvdyno-engines --test it -- --ignored --exact bitcask::golden::write_the_fixtures
//! ```
//!
//! which leaves alone what is there. They are not to be removed and written again, unless in a version that has never been released; a new version of the format gets a folder of its own
//! beside them.
//! `tests/fixtures/bitcask-1` was written by the last build whose format was version 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kvdyno_engines::bitcask::{Bitcask, BitcaskReader, Options, inspect, records, salvage, verify};
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Clock, Error, WriteBatch, WriteOperation};

use super::{DIR, Map, contents, files, get, open, unmerged};

/// When the fixtures were written, in milliseconds since the Unix epoch.
const WRITTEN_MS: u64 = 1_700_000_000_000;
/// Bytes of a closed store's files together, at most: fixtures are downloaded by everybody who downloads the code.
const FIXTURE_BYTES_MAX: u64 = 40_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A simulated disk with a copy of a fixture.
fn copied(name: &str) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_dir(Path::new(DIR)).unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        let copy = Path::new(DIR).join(path.file_name().unwrap());
        disk.write_all(&copy, &fs::read(&path).unwrap());
    }
    disk
}

fn at(now_ms: u64) -> Options {
    Options { clock: Clock::Manual(Arc::new(now_ms.into())), ..unmerged() }
}

fn put(key: &str, value: &[u8]) -> WriteOperation {
    WriteOperation::Put { key: key.into(), value: value.to_vec() }
}

fn delete(key: &str) -> WriteOperation {
    WriteOperation::Delete { key: key.into() }
}

fn text(number: usize) -> Vec<u8> {
    format!("{number}: there is nothing new under the sun. ").repeat(number).into_bytes()
}

/// What both stores hold while nothing has expired.
fn common() -> Map {
    let mut map: Map = (0..20).map(|i| (format!("plain {i}").into_bytes(), text(i))).collect();
    map.extend([
        (b"empty".to_vec(), Vec::new()),
        (vec![0xff; 300], b"a long key that is no text".to_vec()),
        (b"overwritten".to_vec(), b"new".to_vec()),
        (b"deleted and back".to_vec(), b"back".to_vec()),
        (b"expires in a minute".to_vec(), b"soon gone".to_vec()),
        (b"expires in a year".to_vec(), b"later gone".to_vec()),
        (b"packed".to_vec(), text(40)),
        (b"packed, expires in a year".to_vec(), text(41)),
        (b"batch 1".to_vec(), b"one".to_vec()),
        (b"batch 3".to_vec(), text(42)),
        (b"unchecked".to_vec(), b"not covered by a checksum".to_vec()),
    ]);
    map
}

/// What the store holds that was killed.
fn killed() -> Map {
    let mut map = common();
    map.insert(b"last".to_vec(), b"acknowledged".to_vec());
    map.insert(b"last batch".to_vec(), b"acknowledged, too".to_vec());
    map.remove(&b"plain 0"[..]);
    map
}

/// What is left of a map once things have expired.
fn after(mut map: Map, gone: &[&str]) -> Map {
    for key in gone {
        map.remove(key.as_bytes()).unwrap();
    }
    map
}

const MINUTE_MS: u64 = 60_000;
const YEAR_MS: u64 = 365 * 24 * 60 * MINUTE_MS;
const IN_A_MINUTE: [&str; 1] = ["expires in a minute"];
const IN_A_YEAR: [&str; 3] =
    ["expires in a minute", "expires in a year", "packed, expires in a year"];

/// Writes what [`common`] says.
fn write_common(disk: &SimulatedDisk) {
    let year = Duration::from_millis(YEAR_MS);
    let store = open(disk, &at(WRITTEN_MS));
    store.put(b"overwritten", b"old").unwrap();
    store.put(b"deleted", b"old").unwrap();
    store.put(b"deleted and back", b"old").unwrap();
    for i in 0..20 {
        store.put(format!("plain {i}").as_bytes(), &text(i)).unwrap();
    }
    store.put(b"empty", b"").unwrap();
    store.put(&[0xff; 300], b"a long key that is no text").unwrap();
    store.put(b"overwritten", b"new").unwrap();
    assert!(store.delete(b"deleted").unwrap() && store.delete(b"deleted and back").unwrap());
    store.put_expiring(b"expires in a minute", b"soon gone", year / (365 * 24 * 60)).unwrap();
    store.put_expiring(b"expires in a year", b"later gone", year).unwrap();
    // A file that a merge has written has a higher number than those that follow it in age.
    store.settle().unwrap();
    let oldest = store.files()[0].id;
    assert!(store.merge_files(&[oldest]).unwrap().records_reclaimed > 0);
    store.close().unwrap();
    let store = open(disk, &Options { compress_above_bytes: Some(100), ..at(WRITTEN_MS) });
    store.put(b"packed", &text(40)).unwrap();
    store.put_expiring(b"packed, expires in a year", &text(41), year).unwrap();
    let operations =
        vec![put("batch 1", b"one"), put("batch 2", b"two"), put("batch 3", &text(42))];
    store.write(&WriteBatch { operations }).unwrap();
    let operations = vec![delete("batch 2"), put("deleted and back", b"back")];
    store.write(&WriteBatch { operations }).unwrap();
    store.close().unwrap();
    let store = open(disk, &Options { checksums: false, ..at(WRITTEN_MS) });
    store.put(b"unchecked", b"not covered by a checksum").unwrap();
    store.close().unwrap();
}

/// Writes what [`killed`] says more, and a part of a record behind it, as it is left by power loss.
fn write_until_killed(disk: &SimulatedDisk) {
    let store = open(disk, &at(WRITTEN_MS));
    store.put(b"last", b"acknowledged").unwrap();
    store.sync().unwrap();
    let operations = vec![put("last batch", b"acknowledged, too"), delete("plain 0")];
    store.write(&WriteBatch { operations }).unwrap();
    store.put(b"torn", b"only the first half of this is there").unwrap();
    drop(store);
    let path = files(disk, "data").pop().unwrap();
    let mut bytes = disk.read_all(&path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[written - 20..].fill(0);
    disk.write_all(&path, &bytes);
}

#[test]
#[ignore = "writes fixtures that are missing"]
fn write_the_fixtures() {
    for (name, is_killed) in [("bitcask-2/closed", false), ("bitcask-2/killed", true)] {
        if fixture(name).exists() {
            continue;
        }
        let disk = SimulatedDisk::new();
        write_common(&disk);
        if is_killed {
            write_until_killed(&disk);
        }
        fs::create_dir_all(fixture(name)).unwrap();
        for path in disk.files().into_keys() {
            let target = fixture(name).join(path.file_name().unwrap());
            fs::write(target, disk.read_all(&path).unwrap()).unwrap();
        }
    }
}

/// The stores, what is in them, and the options that tell the time at which it is.
fn stores() -> impl Iterator<Item = (&'static str, Map, Options)> {
    [("bitcask-2/closed", common as fn() -> Map), ("bitcask-2/killed", killed)]
        .into_iter()
        .flat_map(|(name, map)| {
            [
                (name, map(), at(WRITTEN_MS)),
                (name, after(map(), &IN_A_MINUTE), at(WRITTEN_MS + MINUTE_MS)),
                (name, after(map(), &IN_A_YEAR), at(WRITTEN_MS + YEAR_MS)),
            ]
        })
}

#[test]
fn the_fixtures_have_every_kind_of_record_and_file() {
    for (name, open_files) in [("bitcask-2/closed", 0), ("bitcask-2/killed", 1)] {
        let report = verify(&Disk, fixture(name)).unwrap();
        assert_eq!(report.damage, []);
        let names: Vec<_> = report.files.iter().map(|file| file.name.as_str()).collect();
        assert!(names.contains(&"MANIFEST"), "{names:?}");
        assert_eq!(names.contains(&"KEYDIR"), open_files == 0, "{names:?}");
        let figures: Vec<_> = report.files.iter().filter_map(|file| file.data).collect();
        let sum = |of: fn(&kvdyno_engines::bitcask::DataFigures) -> u64| {
            figures.iter().map(of).sum::<u64>()
        };
        assert_eq!(sum(|file| u64::from(!file.has_hint)), open_files);
        assert!(sum(|file| file.tombstones) > 0 && sum(|file| file.dead_bytes) > 0);
        assert_eq!(sum(|file| file.expiring_values), 3);
        assert!(sum(|file| file.compressed_values.unwrap()) >= 3);
        assert_eq!(sum(|file| file.unchecked_frames.unwrap()), 1);
        assert_eq!(sum(|file| u64::from(file.torn_bytes > 0)), open_files);
        let by_age: Vec<_> = figures.iter().map(|file| (file.age_rank, file.id)).collect();
        assert!(!by_age.is_sorted(), "a merged file is old and has a high number: {by_age:?}");
        let mut continuing = 0;
        records(&Disk, fixture(name), None, |record| {
            continuing += usize::from(record.continues);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        assert!(continuing >= 3, "batches");
        let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
        assert!(bytes < FIXTURE_BYTES_MAX, "{name} has {bytes} bytes");
    }
}

#[test]
fn a_store_of_version_2_is_read_where_it_lies() {
    for (name, expected, options) in stores() {
        let before = contents_of_folder(&fixture(name));
        let reader = BitcaskReader::open(&Disk, fixture(name), options).unwrap();
        let found: Map = reader.iter().map(Result::unwrap).collect();
        assert_eq!(found, expected, "{name}");
        let mut value = Vec::new();
        for (key, expected) in &expected {
            assert!(reader.get(key, &mut value).unwrap() && value == *expected);
        }
        for key in ["deleted", "batch 2", "torn"] {
            assert!(!reader.contains(key.as_bytes()).unwrap(), "{key}");
        }
        assert!(contents_of_folder(&fixture(name)) == before, "reading changes {name}");
    }
}

fn contents_of_folder(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

/// With all that could help, without what was written down at the close, and without hints; and again after everything was written anew.
#[test]
fn a_store_of_version_2_is_opened_merged_and_closed() {
    for (name, expected, options) in stores() {
        for without in [&[][..], &["KEYDIR"], &["KEYDIR", "hint"]] {
            let disk = copied(name);
            for path in disk.files().into_keys() {
                if without.iter().any(|end| path.to_string_lossy().ends_with(end)) {
                    disk.remove(&path).unwrap();
                }
            }
            let store = open(&disk, &options);
            let recovery = store.recovery();
            assert_eq!(recovery.keydir_used, name.ends_with("closed") && without.is_empty());
            assert_eq!(recovery.torn_bytes > 0, name.ends_with("killed"));
            let found = |store: &Bitcask<SimulatedDisk>| -> Map {
                store.iter().map(Result::unwrap).collect()
            };
            assert_eq!(found(&store), expected, "{name} without {without:?}");
            for key in ["deleted", "batch 2", "torn"] {
                assert_eq!(get(&store, key.as_bytes()), None);
            }
            store.put(b"written today", b"beside what is old").unwrap();
            store.merge().unwrap();
            store.close().unwrap();
            let store = open(&disk, &options);
            let mut expected = expected.clone();
            expected.insert(b"written today".to_vec(), b"beside what is old".to_vec());
            assert_eq!(contents(&store), expected);
        }
    }
}

#[test]
fn a_store_of_version_2_is_salvaged_whole() {
    for (name, expected, options) in stores() {
        let disk = copied(name);
        let report = salvage(&disk, DIR, "/saved", options.clone()).unwrap();
        assert!(report.is_complete() && !report.deleted_may_return, "{report:?}");
        let saved = Bitcask::open(disk, "/saved", options).unwrap();
        assert_eq!(saved.iter().map(Result::unwrap).collect::<Map>(), expected, "{name}");
    }
}

/// The error names the file and both versions; nothing is changed; and who only looks is told the same.
fn is_refused(disk: &SimulatedDisk, file: &str, version: &str) {
    let before: Vec<_> =
        disk.files().into_keys().map(|path| (disk.read_all(&path).unwrap(), path)).collect();
    let path = Path::new(DIR).join(file);
    let check = |error: Error| {
        let message = error.to_string();
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert!(message.contains(version) && message.contains("expected 2"), "{message}");
        error
    };
    let manifest = file == "MANIFEST";
    let opened = Bitcask::open(disk.clone(), DIR, unmerged()).map(drop);
    let error = check(opened.expect_err("another version is opened"));
    assert_eq!(manifest, matches!(error, Error::NotAStore { .. }), "{error:?}");
    let read = BitcaskReader::open(disk, DIR, unmerged()).map(drop);
    check(read.expect_err("another version is read"));
    if manifest {
        check(inspect(disk, DIR).expect_err("another version is looked through"));
        check(verify(disk, DIR).expect_err("another version is verified"));
        check(salvage(disk, DIR, "/saved", unmerged()).expect_err("another version is salvaged"));
    }
    let is_lock = |path: &Path| path.ends_with("LOCK");
    let after = disk.files().into_keys().filter(|path| !is_lock(path));
    let after: Vec<_> = after.map(|path| (disk.read_all(&path).unwrap(), path)).collect();
    let before: Vec<_> = before.into_iter().filter(|(_, path)| !is_lock(path)).collect();
    assert!(after == before, "a store that is refused is changed");
}

#[test]
fn a_store_of_version_1_is_refused() {
    is_refused(&copied("bitcask-1"), "MANIFEST", "version is 1");
}

/// Gives a file another version, and a checksum that fits.
fn with_version(disk: &SimulatedDisk, file: &str, version: u32) {
    let path = Path::new(DIR).join(file);
    let mut bytes = disk.read_all(&path).unwrap();
    if file.ends_with("data") {
        // The preface is the payload of the first frame; its checksum starts from the number of the file.
        let number: u32 = file[..10].parse().unwrap();
        bytes[12 + 9..12 + 11].copy_from_slice(&(version as u16).to_le_bytes());
        let covered = if bytes[7] & 0x80 == 0 { 12 + 27 } else { 12 };
        let mut hasher = crc32fast::Hasher::new_with_initial(number);
        hasher.update(&bytes[4..covered]);
        bytes[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
    } else {
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        let body = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..body]);
        bytes[body..].copy_from_slice(&crc.to_le_bytes());
    }
    disk.write_all(&path, &bytes);
}

#[test]
fn a_manifest_of_another_version_is_refused() {
    for name in ["bitcask-2/closed", "bitcask-2/killed"] {
        for version in [1, 3, 99, u32::MAX] {
            let disk = copied(name);
            with_version(&disk, "MANIFEST", version);
            is_refused(&disk, "MANIFEST", &format!("version is {version}"));
        }
    }
}

#[test]
fn a_data_file_of_another_version_is_refused() {
    for version in [1, 3, 0xffff] {
        let disk = copied("bitcask-2/killed");
        let file = files(&disk, "data").pop().unwrap();
        let file = file.file_name().unwrap().to_str().unwrap();
        with_version(&disk, file, version);
        is_refused(&disk, file, &format!("version is {version}"));
        let damage = verify(&disk, DIR).unwrap().damage;
        assert!(damage[0].file.ends_with(file), "{damage:?}");
        assert!(damage[0].reason.contains(&format!("version is {version}")), "{damage:?}");
    }
}

/// They are aids: what this build does not know is passed over and written anew.
#[test]
fn hints_and_a_keydir_of_another_version_are_passed_over() {
    for version in [0, 1, 3, 99] {
        let disk = copied("bitcask-2/closed");
        let aids = files(&disk, "hint").into_iter().chain([Path::new(DIR).join("KEYDIR")]);
        let aids: Vec<PathBuf> = aids.collect();
        let whole: Vec<_> = aids.iter().map(|path| disk.read_all(path).unwrap()).collect();
        for path in &aids {
            // The keydir's version is 1.
            let is_keydir = path.ends_with("KEYDIR");
            let version = if is_keydir && version == 1 { 2 } else { version };
            with_version(&disk, path.file_name().unwrap().to_str().unwrap(), version);
        }
        let store = open(&disk, &at(WRITTEN_MS));
        let recovery = store.recovery();
        assert!(!recovery.keydir_used && recovery.hints_used == 0);
        assert_eq!(recovery.hints_rejected, aids.len() as u64 - 1);
        assert_eq!(contents(&store), common());
        store.close().unwrap();
        let (hints, keydir) = whole.split_at(aids.len() - 1);
        for (path, whole) in aids.iter().zip(hints) {
            assert!(disk.read_all(path).unwrap() == *whole, "{} is not renewed", path.display());
        }
        assert_eq!(disk.read_all(aids.last().unwrap()).unwrap()[8..12], keydir[0][8..12]);
    }
}
