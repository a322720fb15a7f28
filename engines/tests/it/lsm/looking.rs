//! Looking a store through from outside: nothing is changed, nothing that is whole is called damaged, and every byte that is not as it was written is noticed.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use kvdyno_engines::lsm::{
    Background, FileRole, Lsm, Place, VerifyReport, inspect, records, verify,
};
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Error};

use super::{Map, contents, copy, extension, fill, fixture, key, open, small};

/// Whether something is said about a file: damage, or bytes that the next open cuts off.
fn is_noticed(report: &VerifyReport, path: &Path) -> bool {
    let torn = |name: &str| path.ends_with(name);
    report.damage.iter().any(|damage| damage.file == path)
        || report.files.iter().any(|file| torn(&file.name) && file.torn_bytes > 0)
}

#[test]
fn a_store_that_was_closed_has_no_damage_and_stays_as_it_is() {
    let (disk, model) = fixture();
    let (before, operations) = (disk.files(), disk.operations());
    let report = verify(&disk, "/store").unwrap();
    assert_eq!(report.damage, []);
    assert!(report.is_complete() && report.every_byte);
    assert_eq!((disk.files(), disk.operations()), (before, operations));
    let roles: Vec<_> = report.files.iter().map(|file| file.role).collect();
    for role in [FileRole::Manifest, FileRole::Table, FileRole::Log, FileRole::Lock] {
        assert!(roles.contains(&role), "{role:?} in {roles:?}");
    }
    assert!(!roles.contains(&FileRole::Orphan));
    let levels = report.levels();
    assert!(levels.len() > 1 && levels[0].tables > 0, "{levels:?}");
    assert!(levels[0].deletions == 2 && levels[0].filter_bytes > 0, "{levels:?}");
    let logs: Vec<_> = report.files.iter().filter_map(|file| file.log).collect();
    assert_eq!(logs.iter().map(|log| log.writes).sum::<u64>(), 6);
    assert_eq!(logs.iter().map(|log| log.deletions).sum::<u64>(), 1);
    assert!(logs.iter().filter(|log| log.writes > 0).all(|log| log.closed));
    let least = report.tables().map(|table| &table.key_min).min().unwrap();
    assert_eq!(least, &key(0));
    let mut inspected = report.files.clone();
    for values in inspected.iter_mut().filter_map(|file| file.values.as_mut()) {
        assert_eq!(values.values.take(), Some(2));
    }
    assert_eq!(inspect(&disk, "/store").unwrap().files, inspected);
    let store = open(&disk).unwrap();
    assert_eq!(contents(&store).unwrap(), model);
    let tables = store.metrics().levels;
    let found: Vec<_> = levels.iter().map(|level| (level.tables, level.bytes)).collect();
    let known: Vec<_> = tables.iter().map(|level| (level.files, level.bytes)).collect();
    assert_eq!(found[..], known[..found.len()]);
}

#[test]
fn every_flipped_byte_of_a_closed_store_is_reported_for_its_file() {
    let (disk, _) = fixture();
    let mut flipped = 0;
    for (path, _) in disk.files() {
        let bytes = disk.read_all(&path).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for at in 0..written as u64 {
            let mask = 1 << (at % 8);
            disk.flip(&path, at, mask).unwrap();
            let report = verify(&disk, "/store").unwrap();
            // Zeros may be what fills a frame up.
            let may_be_padding = extension(&path) != "table" && bytes[at as usize] == 0;
            let place = format!("{} byte {at}: {report:?}", path.display());
            assert!(is_noticed(&report, &path) || may_be_padding, "{place}");
            if extension(&path) == "table" {
                assert!(report.damage.iter().all(|damage| damage.file == path), "{place}");
            }
            disk.flip(&path, at, mask).unwrap();
            flipped += 1;
        }
    }
    assert!(flipped > 2_000, "{flipped}");
    assert_eq!(verify(&disk, "/store").unwrap().damage, []);
}

#[test]
fn every_truncation_of_a_closed_store_is_reported_for_its_file() {
    let (disk, _) = fixture();
    for (path, len) in disk.files() {
        let whole = disk.read_all(&path).unwrap();
        let written = whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for kept in (0..written.min(len as usize)).filter(|kept| kept % 3 == 0) {
            disk.write_all(&path, &whole[..kept]);
            let report = verify(&disk, "/store").unwrap();
            // A manifest may end wherever an edit does; then it says what was so once, and the files say otherwise, or it was closed later.
            let may_pass = extension(&path) == "manifest" && report.is_complete();
            let place = format!("{} cut to {kept}: {report:?}", path.display());
            assert!(is_noticed(&report, &path) || !report.damage.is_empty() || may_pass, "{place}");
        }
        disk.write_all(&path, &whole);
    }
}

#[test]
fn what_a_crash_leaves_is_no_damage() {
    for cut in (20..600).step_by(23) {
        let disk = SimulatedDisk::new();
        disk.power_off_at(cut);
        if let Ok(store) = open(&disk) {
            for i in 0..200_u32 {
                if store.put(&key(i % 70), &[i as u8; 60]).is_err()
                    || i % 40 == 39 && store.sync().is_err()
                {
                    break;
                }
            }
        }
        for crash in disk.crashes(cut, 2) {
            let survivor = disk.survivor(crash);
            match verify(&survivor, "/store") {
                Ok(report) => {
                    let mut damage = report.damage;
                    // The first manifest may not have got to its end; then there is nothing else.
                    damage.retain(|damage| extension(&damage.file) != "manifest");
                    assert_eq!(damage, [], "{cut} {crash:?}");
                }
                Err(error) => {
                    assert!(contents(&open(&survivor).unwrap()).unwrap().is_empty(), "{error}");
                }
            }
        }
    }
}

#[test]
fn missing_files_are_told() {
    let (disk, _) = fixture();
    for missing in disk.files().into_keys() {
        if extension(&missing) != "table" && extension(&missing) != "log" {
            continue;
        }
        let damaged = copy(&disk);
        damaged.remove(&missing).unwrap();
        let report = inspect(&damaged, "/store").unwrap();
        let is_empty_log = disk.read_all(&missing).unwrap().len() < 60;
        assert!(is_noticed(&report, &missing) || is_empty_log, "{}: {report:?}", missing.display());
        let name = missing.file_name().unwrap().to_str().unwrap();
        let role = report.files.iter().find(|file| file.name == name).map(|file| file.role);
        assert!(role == Some(FileRole::Missing) || is_empty_log, "{name}: {role:?}");
    }
}

#[test]
fn a_store_is_verified_while_everything_moves() {
    let folder = tempfile::tempdir().unwrap();
    let options = super::Options { background: Background::Threads, ..small(Durability::Os) };
    let store = Lsm::open(Disk, folder.path(), options).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u32.. {
                store.put(&key(round % 300), &[round as u8; 70]).unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..30 {
            let report = store.verify().unwrap();
            assert_eq!(report.damage, [], "{report:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_is_no_store_is_refused() {
    let disk = SimulatedDisk::new();
    disk.create_dir(Path::new("/empty")).unwrap();
    assert!(matches!(verify(&disk, "/empty"), Err(Error::NotAStore { .. })));
    assert!(matches!(verify(&disk, "/nowhere"), Err(Error::Io { .. })));
    let (disk, _) = fixture();
    let unknown = records(&disk, "/store", Some(9_999), |_| ControlFlow::Continue(()));
    assert!(matches!(unknown, Err(Error::NoSuchFile { id: 9_999, .. })));
}

#[test]
fn records_in_their_order_make_up_the_store() {
    let (disk, model) = fixture();
    let (mut map, mut places) = (Map::new(), Vec::new());
    let damage = records(&disk, "/store", None, |record| {
        match record.value {
            Some(value) => drop(map.insert(record.key.to_vec(), value.to_vec())),
            None => drop(map.remove(record.key)),
        }
        places.push((record.file, record.place));
        ControlFlow::Continue(())
    });
    assert_eq!((damage.unwrap(), &map), (Vec::new(), &model));
    let logs = places.iter().filter(|(_, place)| matches!(place, Place::Log { .. }));
    assert_eq!(logs.count(), 6);
    let (file, _) = places[0];
    let mut of_file = 0;
    records(&disk, "/store", Some(file), |record| {
        assert_eq!(record.file, file);
        of_file += 1;
        if of_file == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(of_file, 2);
}

#[test]
fn a_damaged_manifest_hides_nothing_that_is_there() {
    let (disk, model) = fixture();
    let well = inspect(&disk, "/store").unwrap();
    let manifest = disk.files().into_keys().find(|path| extension(path) == "manifest").unwrap();
    let bytes = disk.read_all(&manifest).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    for at in [20, written / 3, written / 2] {
        disk.flip(&manifest, at, 1).unwrap();
        let report = inspect(&disk, "/store").unwrap();
        assert!(is_noticed(&report, &manifest), "{at}: {report:?}");
        assert_eq!(report.tables().count(), well.tables().count(), "{at}");
        assert!(report.files.iter().all(|file| file.role != FileRole::Missing), "{at}: {report:?}");
        let mut keys = BTreeSet::new();
        let damage = records(&disk, "/store", None, |record| {
            keys.insert(record.key.to_vec());
            ControlFlow::Continue(())
        });
        assert!(damage.unwrap().iter().any(|damage| damage.file == manifest), "{at}");
        assert!(model.keys().all(|key| keys.contains(key)), "{at}");
        let table = report.tables().next().unwrap().number;
        let of_table = records(&disk, "/store", Some(table), |_| ControlFlow::Continue(()));
        assert_eq!(of_table.unwrap(), []);
        disk.flip(&manifest, at, 1).unwrap();
    }
}

/// Of two logs that were never synced, power loss may take the older one, if its name was lost with a sync of the folder that failed: the younger one is dropped then. A sync does not leave it at that.
#[test]
fn a_log_without_its_predecessor_counts_as_lost_if_nothing_was_synced() {
    for sync in [false, true] {
        let (disk, mut model) = (SimulatedDisk::new(), Map::new());
        let store = open(&disk).unwrap();
        fill(&store, &mut model, 0..5, 1);
        drop(store);
        let first = disk.files().into_keys().find(|path| extension(path) == "log").unwrap();
        let options = super::Options { memtable_bytes: 64 << 10, ..small(Durability::Os) };
        let store = Lsm::open(disk.clone(), "/store", options).unwrap();
        fill(&store, &mut model, 5..10, 1);
        if sync {
            store.sync().unwrap();
            fill(&store, &mut model, 10..11, 1);
        }
        drop(store);
        if sync {
            // What was found has become a table, so nobody needs that log any more.
            assert!(!disk.files().contains_key(&first));
            assert_eq!(contents(&open(&disk).unwrap()).unwrap(), model);
        } else {
            disk.remove(&first).unwrap();
            let store = open(&disk).unwrap();
            assert!(contents(&store).unwrap().is_empty());
            let recovery = store.recovery();
            assert_eq!((recovery.logs_dropped, recovery.writes_dropped), (1, 5));
        }
    }
}
