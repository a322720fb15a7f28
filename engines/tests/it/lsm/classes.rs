//! Durability of single writes: each is as durable as it was asked to be, whatever the class of the store.

use kvdyno_engines::lsm::{Lsm, WriteOptions};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::{Durability, Result, WriteBatch, WriteOperation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Map, contents, key, open_with, small};
use crate::replay::assert_count;

fn batch(operations: &[(u32, Option<Vec<u8>>)]) -> WriteBatch {
    let operation = |(i, value): &(u32, Option<Vec<u8>>)| match value.clone() {
        Some(value) => WriteOperation::Put { key: key(*i), value },
        None => WriteOperation::Delete { key: key(*i) },
    };
    WriteBatch { operations: operations.iter().map(operation).collect() }
}

#[test]
fn a_write_costs_the_syncs_of_its_own_class() {
    for of_store in Durability::ALL {
        let store = open_with(&SimulatedDisk::new(), small(of_store)).unwrap();
        store.put(&key(0), b"first").unwrap();
        store.sync().unwrap();
        let syncs = || store.metrics().fsyncs.unwrap();
        for of_write in Durability::ALL {
            let options = WriteOptions::durable(of_write);
            let writes: [&dyn Fn() -> Result<()>; 3] = [
                &|| store.put_with(&key(1), b"value", options),
                &|| store.delete_with(&key(2), options),
                &|| store.write_with(&batch(&[(3, None), (4, Some(vec![1]))]), options),
            ];
            for write in writes {
                let before = syncs();
                write().unwrap();
                let expected = u64::from(of_write == Durability::Sync);
                assert_eq!(syncs() - before, expected, "{of_write} in a store of {of_store}");
            }
        }
        let before = syncs();
        store.put(&key(1), b"again").unwrap();
        assert_eq!(syncs() - before, u64::from(of_store == Durability::Sync));
    }
}

/// Power is lost at operations all over histories of writes in all classes: what was acknowledged in class `sync` is there, and all before it.
#[test]
fn power_loss_takes_no_write_of_class_sync_and_none_before_it() {
    let mut recovered = 0;
    for seed in 0..60_u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let (disk, of_store) = (SimulatedDisk::new(), Durability::ALL[seed as usize % 3]);
        disk.power_off_at(random.random_range(10..250));
        let (mut states, mut durable) = (vec![Map::new()], 0);
        if let Ok(store) = open_with(&disk, small(of_store)) {
            for version in 0..200 {
                let mut map = states[states.len() - 1].clone();
                let mut changes = Vec::new();
                for _ in 0..random.random_range(1..3) {
                    let i = random.random_range(0..12);
                    let value = format!("{version}{:1$}", "", random.random_range(0..300));
                    let value = (random.random_range(0..4) > 0).then(|| value.into_bytes());
                    match value.clone() {
                        Some(value) => drop(map.insert(key(i), value)),
                        None => drop(map.remove(&key(i))),
                    }
                    changes.push((i, value));
                }
                states.push(map);
                let durability = match random.random_range(0..9) {
                    class @ 0..3 => Some(Durability::ALL[class]),
                    _ => None,
                };
                if write(&store, &changes, WriteOptions { durability }).is_err() {
                    break;
                }
                if durability.unwrap_or(of_store) == Durability::Sync {
                    durable = states.len() - 1;
                }
            }
        }
        let crashes = [Crash::SyncedOnly, Crash::Everything, Crash::Sectors(seed)];
        for crash in crashes {
            let survivor = disk.survivor(crash);
            let found = contents(&open_with(&survivor, small(of_store)).unwrap()).unwrap();
            let legal = states[durable..].contains(&found);
            assert!(legal, "seed {seed}, {crash:?}: {durable} writes are to be there: {found:?}");
            recovered += 1;
        }
    }
    assert_count("disks recovered", recovered, 180);
}

fn write(
    store: &Lsm<SimulatedDisk>,
    changes: &[(u32, Option<Vec<u8>>)],
    options: WriteOptions,
) -> Result<()> {
    match changes {
        [(i, Some(value))] => store.put_with(&key(*i), value, options),
        [(i, None)] => store.delete_with(&key(*i), options),
        _ => store.write_with(&batch(changes), options),
    }
}
