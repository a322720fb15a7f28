//! What went wrong in Basho's Bitcask, one test for each, by the numbers of its reports.
//!
//! Folders that are not synced are in [`crate::teeth`].

use std::fs;
use std::path::{Path, PathBuf};

use kvdyno_engines::Error;
use kvdyno_engines::bitcask::{Bitcask, BitcaskReader, FileState, Options};
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::{DIR, Map, churn, colliding, contents, files, get, open, small, unmerged};
use crate::leaks::{held_open, held_open_of_removed};
use crate::replay::case;

/// #82, #102, #128, #148, #156: a key that was deleted comes back after some order of merges, crashes and openings.
#[test]
fn deleted_keys_stay_deleted_in_any_order_of_merge_crash_and_reopening() {
    for seed in 0..60 {
        let options = [unmerged(), small(), colliding()][seed as usize % 3].clone();
        case(seed, String::new, || delete_merge_crash_reopen(seed, &options));
    }
}

fn delete_merge_crash_reopen(seed: u64, options: &Options) {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut disk, mut map) = (SimulatedDisk::new(), Map::new());
    for life in 0..8 {
        let store = open(&disk, options);
        assert_eq!(contents(&store), map, "in life {life}");
        for round in 0..random.random_range(1..4) {
            let steps = random.random_range(1..80);
            churn(&store, &mut map, seed * 1_000 + life * 10 + round, steps);
            // Everything that there is goes, or what has been there longest, or nothing.
            let doomed: Vec<_> = map.keys().cloned().collect();
            let doomed = &doomed[..[0, doomed.len() / 2, doomed.len()][random.random_range(0..3)]];
            for key in doomed {
                assert!(store.delete(key).unwrap());
                map.remove(key);
            }
            match random.random_range(0..3) {
                0 => drop(store.merge().unwrap()),
                1 => store.settle().unwrap(),
                _ => {}
            }
            assert_eq!(contents(&store), map);
        }
        match random.random_range(0..4) {
            0 => store.close().unwrap(),
            1 => drop(store),
            _ => {
                // In the middle of a merge, sometimes.
                store.sync().unwrap();
                disk.power_off_at(disk.operations() + random.random_range(0..20));
                let _ = store.merge();
                drop(store);
                let crashes = disk.crashes(seed, 2);
                disk = disk.survivor(*crashes.choose(&mut random).unwrap());
            }
        }
        if random.random_range(0..4) == 0 {
            forget_keydir(&disk);
            for hint in files(&disk, "hint") {
                disk.remove(&hint).unwrap();
            }
        }
    }
    assert_eq!(contents(&open(&disk, options)), map);
}

/// A closed store with some data files and their hints.
fn closed() -> (SimulatedDisk, Map) {
    let (disk, mut map) = (SimulatedDisk::new(), Map::new());
    let store = open(&disk, &unmerged());
    churn(&store, &mut map, 7, 200);
    store.close().unwrap();
    (disk, map)
}

/// Removes what spares an opening the hints.
fn forget_keydir(disk: &SimulatedDisk) {
    let keydir = Path::new(DIR).join("KEYDIR");
    if disk.files().contains_key(&keydir) {
        disk.remove(&keydir).unwrap();
    }
}

/// #171: the end of a hint that was cut is taken for an entry.
#[test]
fn a_hint_cut_anywhere_is_passed_over() {
    let (disk, map) = closed();
    forget_keydir(&disk);
    let hint = files(&disk, "hint").remove(0);
    let whole = disk.read_all(&hint).unwrap();
    for len in 0..whole.len() {
        disk.write_all(&hint, &whole[..len]);
        let store = open(&disk, &unmerged());
        assert_eq!(store.recovery().hints_rejected, 1, "cut to {len} bytes");
        assert_eq!(contents(&store), map, "cut to {len} bytes");
        // Dropped, so that the hint is not written anew; the file of this life goes with the next opening.
    }
}

/// #212: a scan of data whose checksums are wrong stops the store from starting, or is believed.
#[test]
fn a_scan_of_damaged_data_names_the_damage() {
    let (disk, _) = closed();
    forget_keydir(&disk);
    for hint in files(&disk, "hint") {
        disk.remove(&hint).unwrap();
    }
    let damaged = files(&disk, "data").remove(0);
    let middle = disk.files()[&damaged] / 2;
    disk.flip(&damaged, middle, 1).unwrap();
    let refused = Bitcask::open(disk, DIR, unmerged());
    assert!(matches!(refused, Err(Error::Corrupt { file, .. }) if file == damaged));
}

/// #136: the newest data file is empty, as after a crash that came before its first byte, and no key can be put.
#[test]
fn an_empty_newest_data_file_does_not_keep_the_store_from_writing() {
    let (disk, mut map) = closed();
    drop(open(&disk, &unmerged()));
    let newest = files(&disk, "data").pop().unwrap();
    disk.write_all(&newest, b"");
    let store = open(&disk, &unmerged());
    assert_eq!(contents(&store), map);
    store.put(b"new", b"life").unwrap();
    map.insert(b"new".to_vec(), b"life".to_vec());
    drop(store);
    assert_eq!(contents(&open(&disk, &unmerged())), map);
}

/// #163: a lock file without content, or with that of somebody else, locks a store for ever.
#[test]
fn a_lock_file_left_behind_is_no_obstacle_whatever_is_in_it() {
    for content in [&b""[..], b"4711 /store/0000000001.data", &[0xff; 600]] {
        let (disk, map) = closed();
        let lock = disk.files().into_keys().find(|path| path.ends_with("LOCK")).unwrap();
        disk.write_all(&lock, content);
        assert_eq!(contents(&open(&disk, &unmerged())), map);
    }
}

/// #107: hints are not written when a store is closed, nor ever after, so that every opening reads all data.
#[test]
fn hints_are_written_at_close_and_rebuilt_when_they_are_missing() {
    let (disk, map) = closed();
    let count = files(&disk, "data").len();
    assert_eq!(files(&disk, "hint").len(), count, "every data file has a hint after a close");
    forget_keydir(&disk);
    for hint in files(&disk, "hint") {
        disk.remove(&hint).unwrap();
    }
    let store = open(&disk, &unmerged());
    store.settle().unwrap();
    store.close().unwrap();
    forget_keydir(&disk);
    let store = open(&disk, &unmerged());
    assert_eq!(store.recovery().hints_used, count as u64);
    assert_eq!(contents(&store), map);
}

/// A hint is durable before the data that it is about, and power is lost in between.
#[test]
fn a_hint_that_survives_its_data_is_not_believed() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    let mut map = Map::new();
    churn(&store, &mut map, 9, 120);
    store.close().unwrap();
    // Every hint, next to data of which every record may be missing.
    let (hints, whole) = (files(&disk, "hint"), files(&disk, "data"));
    for (hint, data) in hints.iter().zip(&whole) {
        let lost = SimulatedDisk::new();
        let store = open(&lost, &unmerged());
        store.put(b"other", b"life").unwrap();
        drop(store);
        lost.write_all(hint, &disk.read_all(hint).unwrap());
        let store = open(&lost, &unmerged());
        assert_eq!(contents(&store), Map::from([(b"other".to_vec(), b"life".to_vec())]));
        drop(store);
        // And the file itself, cut short under its hint: what is missing was promised, and that is said.
        let bytes = disk.read_all(data).unwrap();
        disk.write_all(data, &bytes[..bytes.len() / 2]);
        let refused = Bitcask::open(disk.clone(), DIR, unmerged());
        assert!(matches!(refused, Err(Error::Corrupt { file, .. }) if file == *data));
        disk.write_all(data, &bytes);
    }
}

/// The folder is not synced: files that were synced themselves are not there after power loss.
#[test]
fn the_names_of_files_are_as_durable_as_what_is_in_them() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    let mut map = Map::new();
    churn(&store, &mut map, 11, 150);
    store.sync().unwrap();
    assert!(files(&disk, "data").len() > 2);
    for crash in [Crash::NamesLost, Crash::SyncedOnly] {
        assert_eq!(contents(&open(&disk.survivor(crash), &unmerged())), map);
    }
}

/// Records are appended behind a torn tail, where no recovery finds them.
#[test]
fn what_is_written_after_a_torn_tail_is_found() {
    let disk = SimulatedDisk::new();
    let store = open(&disk, &unmerged());
    store.put(b"whole", b"1").unwrap();
    store.sync().unwrap();
    store.put(b"torn", &[7; 500]).unwrap();
    drop(store);
    for cut in [1, 13, 100, 511] {
        let torn = disk.survivor(Crash::Torn(cut));
        for life in 0..3 {
            let store = open(&torn, &unmerged());
            assert_eq!(get(&store, b"torn"), None);
            assert_eq!(get(&store, b"whole").unwrap(), b"1");
            assert_eq!(store.len(), 1 + life);
            store.put(format!("life {life}").as_bytes(), b"found").unwrap();
        }
        assert_eq!(open(&torn, &unmerged()).len(), 4);
    }
}

/// How often something is done that might leave a descriptor behind.
const TIMES: usize = 20;

/// A closed store on the real disk, of several data files.
fn closed_on_disk() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = on_disk(folder.path()).unwrap();
    for i in 0..200_u32 {
        store.put(&i.to_be_bytes(), &[7; 100]).unwrap();
    }
    store.close().unwrap();
    assert!(paths(folder.path(), "data").len() > 3);
    assert_eq!(held_open(folder.path()), 0);
    folder
}

fn on_disk(folder: &Path) -> kvdyno_engines::Result<Bitcask> {
    Bitcask::open(Disk, folder, unmerged())
}

fn paths(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    paths.sort();
    paths
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn remove(folder: &Path, end: &str) {
    for path in paths(folder, end) {
        fs::remove_file(path).unwrap();
    }
}

/// #61: each opening leaves descriptors behind, though nothing goes wrong.
#[test]
fn openings_and_readers_give_their_descriptors_back() {
    let folder = closed_on_disk();
    let folder = folder.path();
    for life in 0..TIMES {
        let store = on_disk(folder).unwrap();
        assert_eq!(contents(&store).len(), 200);
        let held = held_open(folder);
        let mut reader = BitcaskReader::open(&Disk, folder, unmerged()).unwrap();
        assert!(held_open(folder) > held, "what is held open is not counted");
        reader.refresh().unwrap();
        assert_eq!(reader.keys().unwrap().len(), 200);
        drop(reader);
        assert_eq!(held_open(folder), held, "a reader leaves something open");
        if life % 2 == 0 {
            store.close().unwrap();
        } else {
            drop(store);
        }
        assert_eq!(held_open(folder), 0, "a store leaves something open");
    }
}

/// What is done to the folder of a store.
type Harm<'a> = &'a dyn Fn(&Path);

/// #249: an opening that fails keeps what it has opened until then.
#[test]
fn openings_that_fail_give_their_descriptors_back() {
    let without_aids = |folder: &Path| {
        remove(folder, "hint");
        remove(folder, "KEYDIR");
    };
    let break_it: [(&str, Harm<'_>); 5] = [
        ("damaged data", &|folder| {
            without_aids(folder);
            damage(paths(folder, "data").last().unwrap());
        }),
        ("a missing data file", &|folder| {
            fs::remove_file(paths(folder, "data").last().unwrap()).unwrap();
        }),
        ("a data file that was cut off", &|folder| {
            fs::write(paths(folder, "data").last().unwrap(), b"short").unwrap();
        }),
        ("a damaged manifest", &|folder| damage(&folder.join("MANIFEST"))),
        ("no manifest", &|folder| remove(folder, "MANIFEST")),
    ];
    for (what, break_it) in break_it {
        let folder = closed_on_disk();
        let folder = folder.path();
        break_it(folder);
        for _ in 0..TIMES {
            assert!(on_disk(folder).is_err(), "a store with {what} is opened");
            assert_eq!(held_open(folder), 0, "{what}");
        }
        assert!(BitcaskReader::open(&Disk, folder, unmerged()).is_err());
        assert_eq!(held_open(folder), 0, "{what}, for a reader");
    }
    let folder = closed_on_disk();
    let store = on_disk(folder.path()).unwrap();
    let held = held_open(folder.path());
    for _ in 0..3 {
        assert!(matches!(on_disk(folder.path()), Err(Error::Locked { .. })));
        assert_eq!(held_open(folder.path()), held, "a store that is locked");
    }
    drop(store);
    assert_eq!(held_open(folder.path()), 0);
}

/// #227: a hint that is looked at and found wanting stays open.
#[test]
fn hints_that_are_rejected_give_their_descriptors_back() {
    let folder = closed_on_disk();
    let folder = folder.path();
    remove(folder, "KEYDIR");
    let hints = paths(folder, "hint");
    let store = on_disk(folder).unwrap();
    assert_eq!(store.recovery().hints_used, hints.len() as u64);
    let with_hints = held_open(folder);
    drop(store);
    for hint in &hints {
        damage(hint);
    }
    for _ in 0..TIMES {
        let store = on_disk(folder).unwrap();
        assert_eq!(store.recovery().hints_rejected, hints.len() as u64);
        assert_eq!(held_open(folder), with_hints - hints.len(), "rejected hints are held open");
        drop(store);
        assert_eq!(held_open(folder), 0);
    }
    // They are written anew, and the damaged ones not held on to.
    let store = on_disk(folder).unwrap();
    store.settle().unwrap();
    assert_eq!(held_open(folder), with_hints);
    store.close().unwrap();
    assert_eq!(held_open(folder), 0);
}

/// #113: a merge keeps the files open that it has removed, or, if it fails, those that it has begun.
#[test]
fn merges_give_their_descriptors_back_whether_they_fail_or_not() {
    let folder = closed_on_disk();
    let folder = folder.path();
    let store = on_disk(folder).unwrap();
    for round in 0..TIMES {
        for i in (0..200_u32).step_by(1 + round % 2) {
            store.put(&i.to_be_bytes(), &[round as u8; 100]).unwrap();
        }
        let iteration = store.iter();
        let report = store.merge().unwrap();
        assert!(report.files_before > 3, "{report:?}");
        assert!(held_open_of_removed(folder) > 0, "what an iteration needs is not counted");
        drop(iteration);
        assert_eq!(held_open_of_removed(folder), 0, "after merge {round}");
    }
    drop(store);
    assert_eq!(held_open(folder), 0);

    let folder = closed_on_disk();
    let folder = folder.path();
    damage(paths(folder, "data").last().unwrap());
    let store = on_disk(folder).unwrap();
    let files = store.files();
    let sealed = files.iter().filter(|file| file.state == FileState::Sealed);
    let sealed: Vec<_> = sealed.map(|file| file.id).collect();
    // What is whole is copied to a new file, which is then given up.
    let last_two = &sealed[sealed.len() - 2..];
    let (held, there) = (held_open(folder), paths(folder, "").len());
    for _ in 0..TIMES {
        let failed = store.merge_files(last_two);
        assert!(matches!(failed, Err(Error::Corrupt { .. })), "{failed:?}");
        assert_eq!((held_open(folder), paths(folder, "").len()), (held, there));
    }
    drop(store);
    assert_eq!(held_open(folder), 0);
}
