//! Snapshots beside what goes wrong: lost power, a full device, a failed sync.

use kvdyno_engines::lsm::{KeyRange, Lsm, Snapshot};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::{Crash, Fault, Repeat};
use kvdyno_engines::{Durability, Error, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Map, contents, fill, key, open, small};

/// A snapshot, and what it has to show.
type Kept<'s> = Vec<(Snapshot<'s, SimulatedDisk>, Map)>;

/// Names of tables on a disk.
fn tables(disk: &SimulatedDisk) -> usize {
    let paths = disk.files().into_keys();
    paths.filter(|path| path.extension().is_some_and(|name| name == "table")).count()
}

/// Writes, compacts and takes snapshots until power is lost or `steps` are done; notes the contents after each write, that of the last one even if it failed.
fn live<'s>(
    store: &'s Lsm<SimulatedDisk>,
    random: &mut StdRng,
    states: &mut Vec<Map>,
    kept: &mut Kept<'s>,
    steps: usize,
) -> Result<()> {
    for step in 0..steps {
        let mut model = states.last().cloned().unwrap_or_default();
        let key = key(random.random_range(0..40));
        if random.random_range(0..4) == 0 {
            model.remove(&key);
            states.push(model);
            store.delete(&key)?;
        } else {
            let value = vec![step as u8; random.random_range(0..150)];
            model.insert(key.clone(), value.clone());
            states.push(model);
            store.put(&key, &value)?;
        }
        match random.random_range(0..30) {
            0 => store.compact()?,
            1..5 => kept.push((store.snapshot(), states.last().cloned().unwrap_or_default())),
            5 if !kept.is_empty() => drop(kept.remove(random.random_range(0..kept.len()))),
            _ => {}
        }
    }
    Ok(())
}

/// A reader whose device is gone is told so, and is never shown anything else than what was there.
fn expect_nothing_wrong(snapshot: &Snapshot<'_, SimulatedDisk>, then: &Map) {
    for backward in [false, true] {
        let mut iter = snapshot.iter(..);
        let mut expected: Vec<_> = then.iter().collect();
        if backward {
            expected.reverse();
        }
        for at in 0.. {
            match if backward { iter.next_back() } else { iter.next() } {
                Some(Ok((key, value))) => assert_eq!((&key, &value), expected[at]),
                Some(Err(error)) => {
                    assert!(matches!(error, Error::PowerLost), "{error}");
                    assert!(iter.next().is_none() && iter.next_back().is_none());
                    break;
                }
                None => {
                    assert_eq!(at, expected.len(), "it ends early");
                    break;
                }
            }
        }
    }
}

/// Tables that only a snapshot has kept lie about after a crash, named by no manifest any more.
#[test]
fn a_crash_takes_with_it_what_snapshots_have_kept() {
    let (mut orphans, mut lives) = (0, 0);
    for operation in (20..).step_by(13) {
        let random = &mut StdRng::seed_from_u64(operation);
        let disk = SimulatedDisk::new();
        let store = open(&disk).unwrap();
        disk.power_off_at(operation);
        let (mut states, mut kept) = (vec![Map::new()], Kept::new());
        let finished = live(&store, random, &mut states, &mut kept, 250).is_ok();
        disk.power_off();
        for (snapshot, then) in &kept {
            expect_nothing_wrong(snapshot, then);
        }
        drop(kept);
        drop(store);
        for crash in [Crash::SyncedOnly, Crash::Everything, Crash::Sectors(operation)] {
            let disk = disk.survivor(crash);
            let before = tables(&disk);
            let store = open(&disk).unwrap();
            let found = contents(&store).unwrap();
            assert!(states.contains(&found), "power lost at {operation}, {crash:?}: no prefix");
            let live: u64 = store.metrics().levels.iter().map(|level| level.files).sum();
            assert_eq!(tables(&disk), live as usize, "power lost at {operation}, {crash:?}");
            orphans += before.saturating_sub(live as usize);
            lives += 1;
        }
        if finished {
            break;
        }
    }
    assert!(lives > 60 && orphans > 60, "{orphans} tables of snapshots in {lives} lives");
}

#[test]
fn a_snapshot_that_is_dropped_makes_room_on_a_full_device() {
    let disk = SimulatedDisk::new();
    let (store, mut model) = (open(&disk).unwrap(), Map::new());
    fill(&store, &mut model, 0..200, 1);
    store.compact().unwrap();
    let (snapshot, then) = (store.snapshot(), model.clone());
    fill(&store, &mut model, 0..200, 2);
    store.compact().unwrap();
    disk.limit_to(disk.files().values().sum());
    let mut iter = snapshot.iter(KeyRange::prefix("user"));
    assert!(iter.next().is_some());
    let refused = (0..1_000).find_map(|i| {
        let refused = store.put(&key(i), b"new").err();
        if refused.is_none() {
            model.insert(key(i), b"new".to_vec());
        }
        refused
    });
    assert!(refused.unwrap().is_disk_full());
    let read: Result<Map> = snapshot.iter(..).collect();
    assert_eq!(read.unwrap(), then, "reads go on");
    assert_eq!(contents(&store).unwrap(), model);

    drop(snapshot);
    assert!(store.put(&key(0), b"again").unwrap_err().is_disk_full(), "the iterator keeps it");
    assert_eq!(iter.count(), then.len() - 1);
    fill(&store, &mut model, 0..50, 3);
    store.settle().unwrap();
    assert_eq!(contents(&store).unwrap(), model);
}

#[test]
fn a_failed_sync_stops_no_reader_and_what_it_was_to_store_is_seen() {
    let disk = SimulatedDisk::new();
    let store = Lsm::open(disk.clone(), "/store", small(Durability::Sync)).unwrap();
    let mut model = Map::new();
    fill(&store, &mut model, 0..100, 1);
    let (snapshot, then) = (store.snapshot(), model.clone());
    // An append, and the sync behind it.
    disk.fail_at(disk.operations() + 1, Fault::Io, Repeat::Once);
    assert!(store.put(&key(7), b"not durable").is_err());
    assert!(matches!(store.put(&key(8), b"refused"), Err(Error::Poisoned { .. })));
    let read: Result<Map> = snapshot.iter(..).collect();
    assert_eq!(read.unwrap(), then);
    model.insert(key(7), b"not durable".to_vec());
    assert_eq!(contents(&store).unwrap(), model);
    let read: Result<Map> = store.snapshot().iter(..).rev().collect();
    assert_eq!(read.unwrap(), model);
}
