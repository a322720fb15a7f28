//! Sets of options, under all of which a store must give the same answers.

use std::collections::BTreeSet;
use std::time::Duration;

use kvdyno_engines::Durability;
use kvdyno_engines::bitcask::{Background, MergePolicy, Options, SEGMENT_BYTES_MIN};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::small;
use crate::subjects::Settling;

/// Where the drawing begins: one of the numbers from which the first sixteen sets have every value.
const SEED: u64 = 2_000;

/// One of many sets of options, drawn by its number. None changes what is read.
pub(crate) fn variant(number: usize) -> (Options, Settling) {
    let mut random = StdRng::seed_from_u64(SEED + number as u64);
    let mut one_of = |count: usize| random.random_range(0..count);
    let (store_dead_trigger, store_dead_target) =
        [(0.35, 0.27), (1.0, 1.0), (0.1, 0.0), (0.6, 0.6)][one_of(4)];
    let merge = MergePolicy {
        automatic: one_of(4) != 0,
        poll_interval: [Duration::from_mins(3), Duration::from_millis(1)][one_of(2)],
        store_dead_trigger,
        store_dead_target,
        fragmentation_trigger: [1.0, 0.1, 0.6][one_of(3)],
        dead_bytes_trigger: [u64::MAX, 2 << 10][one_of(2)],
        fragmentation_included: [0.0, 0.4, 0.9][one_of(3)],
        dead_bytes_included: [u64::MAX, 1 << 10][one_of(2)],
        small_file_bytes: [10 << 20, 0][one_of(2)],
        tombstones_trigger: [0.3, 1.0, 0.05][one_of(3)],
        ..MergePolicy::default()
    };
    let options = Options {
        durability: Durability::ALL[one_of(3)],
        segment_bytes: SEGMENT_BYTES_MIN << one_of(5),
        merge,
        checksums: one_of(3) != 0,
        compress_above_bytes: [None, Some(0), Some(100)][one_of(3)],
        // Longer than a test.
        ttl: [None, Some(Duration::from_hours(1))][one_of(2)],
        sync_interval: [None, Some(Duration::from_millis(1))][one_of(2)],
        background: [Background::Inline, Background::Threads][one_of(2)],
        ordered_scans: one_of(2) == 0,
        hash_mask: [u64::MAX, 0xff, 7][one_of(3)],
        ..small()
    };
    (options, [Settling::Due, Settling::Everything][one_of(2)])
}

/// The short run of the suite over all variants has each value of each option, and each trigger of merges alone.
#[test]
fn sixteen_sets_of_options_have_every_value_of_each() {
    let all: Vec<Options> = (0..16).map(|number| variant(number).0).collect();
    let has = |what: &str, count: usize, value: &dyn Fn(&Options) -> String| {
        let values: BTreeSet<String> = all.iter().map(value).collect();
        assert_eq!(values.len(), count, "{what}: {values:?}");
    };
    has("durability", 3, &|one| one.durability.to_string());
    has("segment_bytes", 5, &|one| one.segment_bytes.to_string());
    has("checksums", 2, &|one| one.checksums.to_string());
    has("compress_above_bytes", 3, &|one| format!("{:?}", one.compress_above_bytes));
    has("ttl", 2, &|one| format!("{:?}", one.ttl));
    has("sync_interval", 2, &|one| format!("{:?}", one.sync_interval));
    has("background", 2, &|one| format!("{:?}", one.background));
    has("ordered_scans", 2, &|one| one.ordered_scans.to_string());
    has("hash_mask", 3, &|one| one.hash_mask.to_string());
    has("merge.automatic", 2, &|one| one.merge.automatic.to_string());
    has("merge.small_file_bytes", 2, &|one| one.merge.small_file_bytes.to_string());
    // What makes automatic merges begin.
    let is = |fraction: f64, wanted: f64| (fraction - wanted).abs() < 1e-9;
    let acts = |what: &str, acts: &dyn Fn(&MergePolicy) -> bool| {
        assert!(all.iter().any(|one| one.merge.automatic && acts(&one.merge)), "{what}");
    };
    for trigger in [0.1, 0.35, 0.6] {
        let what = format!("store_dead_trigger {trigger}");
        acts(&what, &|merge| is(merge.store_dead_trigger, trigger));
    }
    for trigger in [0.1, 0.6] {
        let what = format!("fragmentation_trigger {trigger}, and no other of dead bytes");
        acts(&what, &|merge| {
            is(merge.fragmentation_trigger, trigger)
                && is(merge.store_dead_trigger, 1.0)
                && merge.dead_bytes_trigger == u64::MAX
        });
    }
    acts("dead_bytes_trigger", &|merge| merge.dead_bytes_trigger == 2 << 10);
    acts("tombstones_trigger", &|merge| is(merge.tombstones_trigger, 0.05));
}
