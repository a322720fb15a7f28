//! The styles of compaction of the LSM tree, on the suites that every engine passes, and what is particular to each.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kvdyno_engines::conformance::{self, Plan};
use kvdyno_engines::lsm::{Background, Choice, Fifo, Levelled, Lsm, Options, Style, Tiered};
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{Disk, SimulatedDisk, Storage};
use kvdyno_engines::{Clock, Direction, Durability, Engine, Error, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::crash::{Sweep, Swept, sweep};
use crate::history::{History, live, recover_and_go_on, script};
use crate::replay::{assert_count, case};
use crate::subjects::DIR;

const FIXED: Style =
    Style::Levelled(Levelled { dynamic: false, choice: Choice::InTurn, level_0_percent: 0 });
const TIERS: Tiered = Tiered { width: 2, similar_percent: 150, runs_max: 4, space_percent: 200 };

/// Styles that keep everything.
const STYLES: [Style; 4] = [
    Style::Levelled(Levelled { dynamic: true, choice: Choice::LeastOverlap, level_0_percent: 30 }),
    FIXED,
    Style::Tiered(TIERS),
    Style::Fifo(Fifo { bytes_max: None, ttl: None }),
];

/// Small memtables and tables, early compactions in several pieces, no threads.
fn small(style: Style) -> Options {
    Options {
        style,
        memtable_bytes: 4 << 10,
        l0_tables_compact: 2,
        level_base_bytes: 4 << 10,
        level_ratio: 2,
        table_bytes: 1 << 10,
        block_bytes: 256,
        subcompactions_max: 3,
        background: Background::Inline,
        mapped_bytes_max: Some(u64::MAX),
        ..Options::default()
    }
}

/// With a value log, if wanted, whose files are emptied early.
fn with_values(options: Options, wanted: bool) -> Options {
    Options { value_log_min_bytes: wanted.then_some(100), value_log_dead_percent: 20, ..options }
}

fn open<S: Storage>(disk: &S, options: &Options) -> Lsm<S> {
    Lsm::open(disk.clone(), DIR, options.clone()).unwrap()
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Everything in a store, by a scan.
fn contents<S: Storage>(store: &Lsm<S>) -> Map {
    let mut map = Map::new();
    store
        .scan(b"", Direction::Forward, usize::MAX, &mut |key, value| {
            map.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    map
}

fn key(i: u32) -> Vec<u8> {
    format!("user{i:08}").into_bytes()
}

/// Writes `keys` with values that say `version`.
fn fill<S: Storage>(
    store: &Lsm<S>,
    model: &mut Map,
    keys: impl IntoIterator<Item = u32>,
    version: u32,
) {
    for i in keys {
        let value = format!("{version}/{i}/{:30}", "");
        store.put(&key(i), value.as_bytes()).unwrap();
        model.insert(key(i), value.into_bytes());
    }
}

/// The numbers below `below`, in no order.
fn scattered(below: u32) -> impl Iterator<Item = u32> {
    (0..below).map(move |i| (u64::from(i) * 7_919 % u64::from(below)) as u32)
}

fn tables<S: Storage>(store: &Lsm<S>) -> Vec<u64> {
    store.metrics().levels.iter().map(|level| level.files).collect()
}

fn compacted_bytes<S: Storage>(store: &Lsm<S>) -> u64 {
    store.metrics().bytes_written.unwrap().compaction
}

#[test]
fn every_style_conforms() {
    for style in STYLES {
        let plan = Plan { cases: 6, steps: 300, ..Plan::default() };
        conformance::run(&plan, || {
            let disk = SimulatedDisk::new();
            move |durability| {
                let options = Options { durability, ..small(style) };
                Ok(Box::new(Lsm::open(disk.clone(), DIR, options)?) as Box<dyn Engine>)
            }
        })
        .unwrap_or_else(|failure| panic!("{style:?}: {failure}"));
    }
}

/// Crash sweeps over each style, whose scripts are long enough for flushes and compactions; tells how many disks were recovered, and checks that as many files were removed in
/// the lives that came to their end as only compactions bring about.
fn sweep_styles(seeds: std::ops::Range<u64>, steps: usize) -> u64 {
    let mut swept = Swept::default();
    for style in STYLES {
        let mut compacted = 0;
        for seed in seeds.clone() {
            let open = |disk: SimulatedDisk, durability| -> Result<Box<dyn Engine>> {
                let options = Options { durability, ..with_values(small(style), seed % 2 == 0) };
                Ok(Box::new(Lsm::open(disk, DIR, options)?))
            };
            let class = Durability::ALL[seed as usize % 3];
            swept += sweep(&open, class, Sweep { seed, steps, each: 1, second_life_of: 8 });
            let (disk, mut history) = (SimulatedDisk::new(), History::default());
            assert!(live(&disk, &open, class, &script(seed, steps), &mut history));
            compacted += tables_removed(&disk);
        }
        let keeps_all = matches!(style, Style::Fifo(_));
        assert_eq!(compacted == 0, keeps_all, "{style:?}: {compacted} tables were compacted");
    }
    swept.first
}

/// Tables that were removed from a disk: what compactions have merged.
fn tables_removed(disk: &SimulatedDisk) -> usize {
    disk.trace().lines().filter(|line| line.contains("remove") && line.contains(".table")).count()
}

#[test]
fn every_style_survives_every_crash() {
    assert_count("disks recovered", sweep_styles(3..5, 40), 5_000);
}

#[test]
#[ignore = "takes many minutes"]
fn every_style_survives_every_crash_long() {
    assert_count("disks recovered", sweep_styles(200..230, 120), 500_000);
}

/// Flushes and several compactions are really under way at once when power is lost, so no two runs are alike: a failure shows what had been done.
fn sweep_threads(lives: u64) -> (u64, usize) {
    let (mut recovered, mut compacted) = (0, 0);
    for (style, life) in STYLES.into_iter().cycle().zip(0..lives) {
        let class = Durability::ALL[life as usize / 4 % 3];
        let open = |disk: SimulatedDisk, durability| -> Result<Box<dyn Engine>> {
            let background = Background::Threads;
            let (compaction_threads, subcompactions_max) = (3, 2);
            let style = with_values(small(style), life / 12 % 2 == 1);
            let options =
                Options { durability, background, compaction_threads, subcompactions_max, ..style };
            Ok(Box::new(Lsm::open(disk, DIR, options)?))
        };
        let mut random = StdRng::seed_from_u64(life);
        let disk = SimulatedDisk::new();
        disk.power_off_at(random.random_range(0..800));
        let mut history = History::default();
        live(&disk, &open, class, &script(life, 150), &mut history);
        compacted += tables_removed(&disk);
        let crashes = [
            Crash::SyncedOnly,
            Crash::Everything,
            Crash::Sectors(random.random()),
            Crash::Killed(random.random()),
        ];
        for crash in crashes {
            let check = || recover_and_go_on(&disk.survivor(crash), &open, class, &history, crash);
            let context = || format!("{style:?}, class {class}, {crash:?}:\n{}", disk.trace());
            recovered += u64::from(case(format!("{life}:{crash:?}"), context, check).is_some());
        }
    }
    (recovered, compacted)
}

#[test]
fn crashes_with_compactions_side_by_side_leave_a_prefix() {
    let (recovered, compacted) = sweep_threads(240);
    assert_count("disks recovered", recovered, 900);
    assert_count("tables compacted", compacted as u64, 1_000);
}

#[test]
#[ignore = "takes many minutes"]
fn crashes_with_compactions_side_by_side_leave_a_prefix_long() {
    let (recovered, _) = sweep_threads(20_000);
    assert_count("disks recovered", recovered, 80_000);
}

/// Keys ascend, so what is left must be one row of them, with the youngest that was acknowledged.
#[test]
fn a_crash_while_the_oldest_tables_are_dropped_leaves_the_younger_ones() {
    let (mut recovered, mut dropped) = (0, 0);
    let style = Style::Fifo(Fifo { bytes_max: Some(12 << 10), ttl: None });
    let options = Options { durability: Durability::Sync, ..small(style) };
    for operation in 0.. {
        let disk = SimulatedDisk::new();
        disk.power_off_at(operation);
        let mut acknowledged = 0;
        if let Ok(store) = Lsm::open(disk.clone(), DIR, options.clone()) {
            while acknowledged < 80 && store.put(&key(acknowledged), &[7; 600]).is_ok() {
                acknowledged += 1;
            }
        }
        for crash in [Crash::SyncedOnly, Crash::Everything, Crash::Sectors(operation)] {
            let disk = disk.survivor(crash);
            let store = open(&disk, &options);
            let left: Vec<Vec<u8>> = contents(&store).into_keys().collect();
            store.settle().unwrap();
            assert!(contents(&store).len() <= left.len());
            let issued = acknowledged + u32::from(acknowledged < 80);
            let row = (0..=issued).any(|end| {
                let first = end.saturating_sub(left.len() as u32);
                end >= acknowledged && (first..end).map(key).eq(left.iter().cloned())
            });
            assert!(row, "{acknowledged} acknowledged, {} left, {crash:?}", left.len());
            dropped += usize::from(left.len() < acknowledged as usize);
            recovered += 1;
        }
        if acknowledged == 80 {
            break;
        }
    }
    assert_count("disks recovered", recovered, 1_000);
    assert_count("of them after tables were dropped", dropped as u64, 100);
}

/// The same store under one style after the other, with crashes between them.
#[test]
fn a_store_may_be_opened_with_another_style_each_time() {
    for start in 0..STYLES.len() {
        let mut disk = SimulatedDisk::new();
        let mut model = Map::new();
        for round in 0..12_u32 {
            let style = STYLES[(start + round as usize * (1 + start % 3)) % STYLES.len()];
            let store = open(&disk, &small(style));
            assert_eq!(contents(&store), model, "{style:?}");
            fill(&store, &mut model, scattered(200).skip(round as usize * 7).take(120), round);
            for i in (round..200).step_by(9) {
                store.delete(&key(i)).unwrap();
                model.remove(&key(i));
            }
            store.settle().unwrap();
            assert_eq!(contents(&store), model, "{style:?}");
            let mut value = Vec::new();
            for i in 0..200 {
                let found = store.get(&key(i), &mut value).unwrap();
                assert_eq!(found.then_some(&value), model.get(&key(i)), "{style:?}, {i}");
            }
            if round % 2 == 0 {
                store.close().unwrap();
            } else {
                store.sync().unwrap();
                drop(store);
                disk = disk.survivor(Crash::SyncedOnly);
            }
        }
    }
}

#[test]
fn pieces_of_a_compaction_bring_what_the_whole_brings() {
    let contents_with = |subcompactions_max, background| {
        let disk = SimulatedDisk::new();
        let options = Options {
            subcompactions_max,
            background,
            ..small(Style::Levelled(Levelled::default()))
        };
        let store = open(&disk, &options);
        let mut model = Map::new();
        for version in 0..4 {
            fill(&store, &mut model, scattered(600).skip(version as usize * 50), version);
        }
        for i in (0..600).step_by(5) {
            store.delete(&key(i)).unwrap();
            model.remove(&key(i));
        }
        store.compact().unwrap();
        assert_eq!(contents(&store), model);
        let trace = disk.trace().replace(|c: char| c.is_ascii_digit(), "");
        (tables(&store), trace)
    };
    let (whole, _) = contents_with(1, Background::Inline);
    let (pieces, trace) = contents_with(4, Background::Inline);
    assert!(pieces[6] > whole[6], "each piece ends with a table of its own: {pieces:?} {whole:?}");
    assert_eq!(contents_with(4, Background::Inline), (pieces, trace), "the same each time");
    contents_with(4, Background::Threads);
}

#[test]
fn compactions_run_side_by_side() {
    for style in [Style::Levelled(Levelled::default()), FIXED, Style::Tiered(TIERS)] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            compaction_threads: 3,
            subcompactions_max: 2,
            background: Background::Threads,
            ..small(style)
        };
        let store = Lsm::open(Disk, folder.path(), options.clone()).unwrap();
        let mut model = Map::new();
        for version in 0..12 {
            fill(&store, &mut model, scattered(700).skip(version as usize * 30), version);
            if version % 5 == 4 {
                store.compact_range(Some(&key(100)), Some(&key(300))).unwrap();
            }
        }
        store.settle().unwrap();
        assert_eq!(contents(&store), model, "{style:?}");
        store.close().unwrap();
        assert_eq!(contents(&Lsm::open(Disk, folder.path(), options).unwrap()), model);
    }
}

#[test]
fn ascending_keys_are_not_written_again() {
    for style in [STYLES[0], STYLES[1], STYLES[2]] {
        let store = open(&SimulatedDisk::new(), &small(style));
        let mut model = Map::new();
        fill(&store, &mut model, 0..2_000, 1);
        store.flush().unwrap();
        store.settle().unwrap();
        let levels = tables(&store);
        assert!(levels[1..].iter().sum::<u64>() > 10, "{style:?}: {levels:?}");
        assert_eq!(compacted_bytes(&store), 0, "{style:?}");
        assert_eq!(contents(&store), model);
    }
}

/// What is deleted lies in the last level, and what deletes it comes to lie in one that is not full.
#[test]
fn tables_with_many_deletions_are_compacted_early() {
    let tables_left = |deletions_percent| {
        let disk = SimulatedDisk::new();
        let options = Options { deletions_percent, l0_tables_compact: 1, ..small(STYLES[0]) };
        let store = open(&disk, &options);
        let mut model = Map::new();
        fill(&store, &mut model, 0..300, 1);
        store.compact().unwrap();
        let last = tables(&store)[6];
        // Of fixed sizes, level 1 has room for all of this.
        drop(store);
        let options = Options { style: FIXED, level_base_bytes: 1 << 20, ..options };
        let store = open(&disk, &options);
        for i in 0..300 {
            store.delete(&key(i)).unwrap();
        }
        store.flush().unwrap();
        store.settle().unwrap();
        assert!(contents(&store).is_empty());
        (last, tables(&store))
    };
    let (last, never) = tables_left(0);
    assert!(last > 0 && never[6] == last && never[1] > 0, "{never:?}");
    assert_eq!(tables_left(50), (last, vec![0; 7]));
}

#[test]
fn a_range_that_is_compacted_is_one_run_without_deletions() {
    for style in [STYLES[0], STYLES[1], STYLES[2]] {
        let store = open(&SimulatedDisk::new(), &small(style));
        let mut model = Map::new();
        for version in 0..6 {
            fill(&store, &mut model, scattered(500).skip(version as usize * 40), version);
        }
        let all = store.metrics().levels;
        store.compact_range(Some(&key(100)), Some(&key(150))).unwrap();
        assert_eq!(contents(&store), model, "{style:?}");
        let bytes = compacted_bytes(&store);
        store.compact_range(Some(&key(100)), Some(&key(150))).unwrap();
        assert_eq!(compacted_bytes(&store), bytes, "{style:?}: there is nothing left to do");
        for i in 100..=150 {
            store.delete(&key(i)).unwrap();
            model.remove(&key(i));
        }
        store.compact_range(Some(&key(100)), Some(&key(150))).unwrap();
        assert_eq!(contents(&store), model, "{style:?}");
        store.compact_range(None, None).unwrap();
        assert_eq!(contents(&store), model, "{style:?}");
        let levels = tables(&store);
        assert_eq!(levels.iter().filter(|files| **files > 0).count(), 1, "{levels:?} of {all:?}");
        for bounds in [(None, Some(key(20))), (Some(key(400)), None), (Some(key(7)), Some(key(3)))]
        {
            store.compact_range(bounds.0.as_deref(), bounds.1.as_deref()).unwrap();
            assert_eq!(contents(&store), model, "{style:?}");
        }
    }
}

#[test]
fn the_oldest_tables_go_when_there_is_too_much() {
    let bytes_max = Some(20 << 10);
    let options = small(Style::Fifo(Fifo { bytes_max, ttl: None }));
    let disk = SimulatedDisk::new();
    let store = open(&disk, &options);
    let mut model = Map::new();
    fill(&store, &mut model, 0..2_000, 1);
    let check = |store: &Lsm<SimulatedDisk>| {
        let left = contents(store);
        let bytes: u64 = store.metrics().levels.iter().map(|level| level.bytes).sum();
        assert!((10 << 10..=20 << 10).contains(&bytes), "{bytes}");
        assert!(left.len() > 100 && left.len() < 1_000, "{}", left.len());
        let youngest: Map = model.clone().into_iter().skip(2_000 - left.len()).collect();
        assert_eq!(left, youngest);
        left
    };
    let left = check(&store);
    assert_eq!(compacted_bytes(&store), 0);
    store.close().unwrap();
    let store = open(&disk, &options);
    assert_eq!(check(&store), left);
    let files =
        disk.files().into_keys().filter(|path| path.extension().is_some_and(|e| e == "table"));
    assert_eq!(files.count() as u64, tables(&store)[0], "the files of dropped tables are gone");
}

#[test]
fn tables_expire_and_their_age_is_known_after_reopening() {
    let time = Arc::new(AtomicU64::new(1_000_000));
    let ttl = Some(Duration::from_mins(1));
    let options = Options {
        clock: Clock::Manual(Arc::clone(&time)),
        ..small(Style::Fifo(Fifo { bytes_max: None, ttl }))
    };
    let disk = SimulatedDisk::new();
    let store = open(&disk, &options);
    let mut model = Map::new();
    fill(&store, &mut model, 0..100, 1);
    store.flush().unwrap();
    time.fetch_add(40_000, Ordering::Relaxed);
    let mut younger = Map::new();
    fill(&store, &mut younger, 50..150, 2);
    store.flush().unwrap();
    model.extend(younger.clone());
    store.settle().unwrap();
    assert_eq!(contents(&store), model);
    store.close().unwrap();
    time.fetch_add(19_999, Ordering::Relaxed);
    let store = open(&disk, &options);
    store.settle().unwrap();
    assert_eq!(contents(&store), model);
    time.fetch_add(1, Ordering::Relaxed);
    store.settle().unwrap();
    assert_eq!(contents(&store), younger);
    time.fetch_add(40_000, Ordering::Relaxed);
    store.settle().unwrap();
    assert!(contents(&store).is_empty());
}

#[test]
fn writers_do_not_wait_for_tables_that_nobody_merges() {
    let options = Options {
        l0_tables_slow: 3,
        l0_tables_stop: 4,
        background: Background::Threads,
        ..small(STYLES[3])
    };
    let store = open(&SimulatedDisk::new(), &options);
    let mut model = Map::new();
    fill(&store, &mut model, scattered(2_000), 1);
    store.compact().unwrap();
    assert!(tables(&store)[0] > 10);
    assert_eq!(contents(&store), model);
}

#[test]
fn impossible_styles_are_refused() {
    let refuse = |options: Options, expected: &str| {
        let refused = Lsm::open(SimulatedDisk::new(), Path::new(DIR), options).err().unwrap();
        assert!(matches!(refused, Error::InvalidOption { .. }));
        assert_eq!(refused.to_string(), expected);
    };
    let tiered = |tiered| small(Style::Tiered(tiered));
    refuse(
        tiered(Tiered { width: 1, ..Tiered::default() }),
        "option style.width is 1: expected at least 2",
    );
    refuse(
        tiered(Tiered { runs_max: 4, ..Tiered::default() }),
        "option style.runs_max is 4: expected more than style.width",
    );
    refuse(
        tiered(Tiered { runs_max: 21, ..Tiered::default() }),
        "option style.runs_max is 21: expected at most l0_tables_slow",
    );
    refuse(
        tiered(Tiered { space_percent: 0, ..Tiered::default() }),
        "option style.space_percent is 0: expected at least 1",
    );
    refuse(
        Options { subcompactions_max: 0, ..small(FIXED) },
        "option subcompactions_max is 0: expected 1 to 64",
    );
}
