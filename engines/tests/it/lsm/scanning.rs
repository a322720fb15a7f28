//! Runs that are merged because scans have paid enough for them.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use kvdyno_engines::lsm::{Background, Levelled, Lsm, Options, Style, Tiered};
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Direction, Durability, Engine};

use super::{Map, contents, fill, key, open_with, small};
use crate::gated::PATIENCE;

const KEYS: u32 = 60;
/// Scans of all keys over three overlapping runs: many times what a compaction of so little must have cost.
const SCANS: usize = 1_500;

/// A store in which nothing is due for long.
fn lazy() -> Options {
    let style = Style::Levelled(Levelled { level_0_percent: 0, ..Levelled::default() });
    Options { l0_tables_compact: 15, memtable_bytes: 64 << 10, style, ..small(Durability::Os) }
}

/// Three tables of level 0 that have all keys, and all of them once more in the memtable if that is `filled`.
fn filled(disk: &SimulatedDisk, options: Options, filled: bool) -> (Lsm<SimulatedDisk>, Map) {
    let store = open_with(disk, options).unwrap();
    let mut model = Map::new();
    for version in 0..3 {
        fill(&store, &mut model, 0..KEYS, version);
        store.flush().unwrap();
    }
    let rounds = if filled { 6 } else { 0 };
    (0..rounds).for_each(|round| fill(&store, &mut model, 0..KEYS, 3 + round));
    (store, model)
}

fn scan<S: Storage>(store: &Lsm<S>, direction: Direction, times: usize) {
    let mut session = store.session().unwrap();
    for _ in 0..times {
        let everything = &mut |_: &[u8], _: &[u8]| ControlFlow::Continue(());
        assert_eq!(session.scan(b"", direction, usize::MAX, everything).unwrap(), KEYS as usize);
    }
}

/// Tables of level 0, and of all levels below.
fn tables<S: Storage>(store: &Lsm<S>) -> (u64, u64) {
    let levels = store.metrics().levels;
    (levels[0].files, levels[1..].iter().map(|level| level.files).sum())
}

#[test]
fn runs_are_merged_when_scans_have_paid_for_it_and_not_before() {
    for direction in [Direction::Forward, Direction::Reverse] {
        let (store, model) = filled(&SimulatedDisk::new(), lazy(), false);
        scan(&store, direction, 3);
        store.settle().unwrap();
        assert_eq!(tables(&store), (3, 0), "so little pays for nothing");
        scan(&store, direction, SCANS);
        store.settle().unwrap();
        let (upper, lower) = tables(&store);
        assert!(upper == 0 && lower > 0, "{upper} {lower}");
        let written = store.metrics().bytes_written.unwrap().compaction;
        scan(&store, direction, SCANS);
        store.settle().unwrap();
        let again = store.metrics().bytes_written.unwrap().compaction;
        assert_eq!(again, written, "a single run costs scans nothing more");
        assert_eq!(contents(&store).unwrap(), model);
    }
}

#[test]
fn a_memtable_that_holds_enough_goes_with_them() {
    let (store, model) = filled(&SimulatedDisk::new(), lazy(), true);
    let flushed = store.metrics().bytes_written.unwrap().flush;
    scan(&store, Direction::Forward, SCANS);
    store.settle().unwrap();
    assert!(store.metrics().bytes_written.unwrap().flush > flushed);
    assert_eq!(tables(&store).0, 0);
    assert_eq!(contents(&store).unwrap(), model);
}

#[test]
fn the_two_youngest_runs_are_merged_and_deeper_ones_wait_for_their_turn() {
    let (store, mut model) = filled(&SimulatedDisk::new(), lazy(), false);
    store.compact_range(None, None).unwrap();
    fill(&store, &mut model, (0..KEYS).step_by(2), 9);
    store.flush().unwrap();
    let (upper, lower) = tables(&store);
    assert!(upper == 1 && lower > 0);
    scan(&store, Direction::Forward, SCANS);
    store.settle().unwrap();
    assert_eq!(tables(&store).0, 0);
    assert_eq!(contents(&store).unwrap(), model);
}

#[test]
fn nothing_is_merged_for_scans_where_that_is_not_wanted_or_the_style_has_other_rules() {
    let tiered = Style::Tiered(Tiered {
        width: 6,
        runs_max: 18,
        space_percent: 10_000,
        ..Tiered::default()
    });
    for options in
        [Options { compact_for_scans: false, ..lazy() }, Options { style: tiered, ..lazy() }]
    {
        let (store, model) = filled(&SimulatedDisk::new(), options, false);
        scan(&store, Direction::Forward, SCANS);
        store.settle().unwrap();
        assert_eq!(tables(&store), (3, 0));
        assert_eq!(contents(&store).unwrap(), model);
    }
}

#[test]
fn the_stores_threads_merge_while_scans_go_on() {
    let options = Options { background: Background::Threads, ..lazy() };
    let (store, model) = filled(&SimulatedDisk::new(), options, true);
    let start = Instant::now();
    while tables(&store).0 > 0 {
        assert!(start.elapsed() < PATIENCE, "{:?}", store.metrics().levels);
        scan(&store, Direction::Forward, 10);
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut value = Vec::new();
    assert!(store.get(&key(1), &mut value).unwrap());
    assert_eq!(contents(&store).unwrap(), model);
}
