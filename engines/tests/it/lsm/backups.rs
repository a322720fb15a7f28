//! Checkpoints and backups: they hold one moment, whole, and are no store before they are complete.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use kvdyno_engines::lsm::{Background, Lsm, LsmReader};
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{Disk, SimulatedDisk};
use kvdyno_engines::{Durability, Error, WriteBatch, WriteOperation};

use super::beside::seen;
use super::{Map, contents, fill, key, open, remove, small};

fn open_in(disk: &SimulatedDisk, dir: &str) -> Lsm<SimulatedDisk> {
    Lsm::open(disk.clone(), dir, small(Durability::Os)).unwrap()
}

/// A store with tables in several levels, memtables and deletions.
fn store(disk: &SimulatedDisk, model: &mut Map) -> Lsm<SimulatedDisk> {
    let store = open(disk).unwrap();
    fill(&store, model, 0..200, 1);
    store.compact().unwrap();
    fill(&store, model, 100..150, 2);
    remove(&store, model, (0..200).step_by(7));
    store
}

#[test]
fn checkpoints_and_backups_hold_what_was_acknowledged_and_go_their_own_way() {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    let store = store(&disk, &mut model);
    let linked = store.checkpoint("/linked").unwrap();
    let copied = store.backup("/copied").unwrap();
    assert_eq!(linked, copied);
    assert!(linked.files > 3 && linked.bytes > 4096, "{linked:?}");
    let then = model.clone();
    fill(&store, &mut model, 0..300, 3);
    store.compact().unwrap();
    for dir in ["/linked", "/copied"] {
        let copy = open_in(&disk, dir);
        assert!(copy.recovery().clean, "{:?}", copy.recovery());
        assert_eq!(contents(&copy).unwrap(), then);
        let mut own = then.clone();
        fill(&copy, &mut own, 50..120, 4);
        copy.compact().unwrap();
        copy.close().unwrap();
        assert_eq!(contents(&open_in(&disk, dir)).unwrap(), own);
    }
    assert_eq!(contents(&store).unwrap(), model);
    for taken in ["/copied", "/store"] {
        assert!(matches!(store.backup(taken), Err(Error::NotEmpty { .. })), "{taken}");
    }
}

#[test]
fn what_was_found_at_open_is_in_a_backup() {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    drop(store(&disk, &mut model));
    let store = open(&disk).unwrap();
    assert!(store.recovery().writes > 0);
    store.backup("/copied").unwrap();
    assert_eq!(contents(&open_in(&disk.survivor(Crash::SyncedOnly), "/copied")).unwrap(), model);
}

#[test]
fn an_empty_store_has_a_backup() {
    let disk = SimulatedDisk::new();
    let report = open(&disk).unwrap().backup("/copied").unwrap();
    assert_eq!((report.files, report.bytes), (0, 0));
    assert!(contents(&open_in(&disk, "/copied")).unwrap().is_empty());
}

/// A backup in which a byte of a log is missing says so: it has been whole.
#[test]
fn a_backup_that_loses_the_end_of_a_log_is_corrupt() {
    let (disk, mut model) = (SimulatedDisk::new(), Map::new());
    store(&disk, &mut model).backup("/copied").unwrap();
    let is_log = |path: &Path| path.starts_with("/copied") && path.extension().unwrap() == "log";
    let log = disk.files().into_keys().find(|path| is_log(path)).unwrap();
    let bytes = disk.read_all(&log).unwrap();
    disk.write_all(&log, &bytes[..bytes.len() - 20]);
    let refused = Lsm::open(disk, "/copied", small(Durability::Os)).err();
    assert!(matches!(refused, Some(Error::Corrupt { file, .. }) if file == log));
}

/// Power is lost at every operation of a backup: the store is whole, and the backup is whole or no store.
#[test]
fn a_backup_that_is_cut_short_is_no_store() {
    for copies in [false, true] {
        for cut in 0.. {
            let (disk, mut model) = (SimulatedDisk::new(), Map::new());
            let store = open(&disk).unwrap();
            fill(&store, &mut model, 0..80, 1);
            remove(&store, &mut model, 3..9);
            store.sync().unwrap();
            disk.power_off_at(disk.operations() + cut);
            let backed_up = if copies { store.backup("/b") } else { store.checkpoint("/b") };
            drop(store);
            for crash in disk.crashes(cut, 1) {
                let survivor = disk.survivor(crash);
                assert_eq!(contents(&open(&survivor).unwrap()).unwrap(), model, "{cut} {crash:?}");
                match LsmReader::open(&survivor, "/b") {
                    Ok(backup) => assert_eq!(seen(&backup), model, "{cut} {crash:?}"),
                    Err(_) => assert!(backed_up.is_err(), "{cut} {crash:?}"),
                }
            }
            if backed_up.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn backups_hold_whole_batches_while_everything_moves() {
    const KEYS: u32 = 30;
    let folder = tempfile::tempdir().unwrap();
    let options = super::Options { background: Background::Threads, ..small(Durability::Os) };
    let store = Lsm::open(Disk, folder.path().join("store"), options.clone()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let put = |i| {
                    let value = [&round.to_le_bytes()[..], &[b'v'; 40]].concat();
                    WriteOperation::Put { key: key(i), value }
                };
                store.write(&WriteBatch { operations: (0..KEYS).map(put).collect() }).unwrap();
            }
        });
        let mut last = 0;
        for number in 0..12 {
            let to = folder.path().join(number.to_string());
            let backed_up = if number % 2 == 0 { store.checkpoint(&to) } else { store.backup(&to) };
            backed_up.unwrap();
            let copy = Lsm::open(Disk, &to, options.clone()).unwrap();
            let rounds: Vec<_> = contents(&copy)
                .unwrap()
                .into_values()
                .map(|value| u64::from_le_bytes(*value.first_chunk().unwrap()))
                .collect();
            assert!(rounds.is_empty() && number == 0 || rounds.len() as u32 == KEYS);
            assert!(rounds.iter().all(|round| *round == rounds[0]), "{rounds:?}");
            let round = rounds.first().copied().unwrap_or(0);
            assert!(round >= last, "a later backup holds an earlier moment");
            last = round;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(last > 0);
    });
}
