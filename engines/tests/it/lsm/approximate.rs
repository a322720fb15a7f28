//! How many bytes a range is said to take.

use kvdyno_engines::Durability;
use kvdyno_engines::lsm::{KeyRange, Lsm, Options};
use kvdyno_engines::storage::SimulatedDisk;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::{key, small};

const RECORDS: u32 = 4_000;
const VALUE_BYTES: usize = 100;

/// A store whose records are all in the memtable, in order or not.
fn loaded(ascending: bool) -> Lsm<SimulatedDisk> {
    let options = Options {
        memtable_bytes: 4 << 20,
        level_base_bytes: 1 << 20,
        table_bytes: 64 << 10,
        block_bytes: 1 << 10,
        // Values that lie apart are shared out over the blocks: `values.rs`.
        value_log_min_bytes: None,
        ..small(Durability::Os)
    };
    let store = Lsm::open(SimulatedDisk::new(), "/store", options).unwrap();
    let mut keys: Vec<_> = (0..RECORDS).collect();
    if !ascending {
        keys.shuffle(&mut StdRng::seed_from_u64(1));
    }
    for i in keys {
        store.put(&key(i), &[b'v'; VALUE_BYTES]).unwrap();
    }
    store
}

/// The size of each range is told within `tolerance` bytes and a tenth, if a record takes `record_bytes`.
fn expect_sizes(store: &Lsm<SimulatedDisk>, record_bytes: f64, tolerance: f64) {
    let random = &mut StdRng::seed_from_u64(2);
    let mut ranges = vec![(0, RECORDS), (0, 0), (7, 8), (0, RECORDS / 2), (RECORDS / 2, RECORDS)];
    ranges.extend((0..100).map(|_| {
        let from = random.random_range(0..RECORDS);
        (from, random.random_range(from..=RECORDS))
    }));
    for (from, to) in ranges {
        let told = store.approximate_bytes(key(from)..key(to)).unwrap() as f64;
        let right = record_bytes * f64::from(to - from);
        let wrong = (told - right).abs();
        assert!(wrong <= tolerance + right / 10.0, "{from}..{to}: {told} instead of {right}");
    }
}

#[test]
fn sizes_in_tables_are_right_to_a_few_blocks() {
    let store = loaded(false);
    store.flush().unwrap();
    // A table that overlaps no other is not written anew, and so not cut.
    store.put(&key(7), &[b'v'; VALUE_BYTES]).unwrap();
    store.compact().unwrap();
    let levels = store.metrics().levels;
    let (files, bytes) = levels
        .iter()
        .fold((0, 0), |(files, bytes), level| (files + level.files, bytes + level.bytes));
    assert!(files > 4, "{levels:?}");
    assert_eq!(store.approximate_bytes(..).unwrap(), bytes, "whole files count whole");
    expect_sizes(&store, bytes as f64 / f64::from(RECORDS), 3.0 * 1024.0);
}

#[test]
fn sizes_in_memtables_are_about_right() {
    for ascending in [true, false] {
        let store = loaded(ascending);
        let logs = store.metrics().counters["memtable_log_bytes"];
        let all = store.approximate_bytes(..).unwrap() as f64;
        assert!(logs - all < 200.0, "{all} of {logs}");
        expect_sizes(&store, all / f64::from(RECORDS), all / 20.0);
    }
}

#[test]
fn what_is_written_later_is_not_in_the_size_of_a_snapshot() {
    let store = loaded(true);
    let snapshot = store.snapshot();
    let before = snapshot.approximate_bytes(..).unwrap();
    store.put(b"user", &vec![b'x'; 100_000]).unwrap();
    assert!(store.approximate_bytes(..).unwrap() > before + 100_000);
    store.compact().unwrap();
    assert_eq!(snapshot.approximate_bytes(..).unwrap(), before);
    assert_eq!(store.approximate_bytes(KeyRange::prefix("nobody")).unwrap(), 0);
    assert!(store.approximate_bytes("user"..="user").unwrap() > 100_000);
}
