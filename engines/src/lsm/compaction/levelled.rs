//! The levelled style: what is due.
//!
//! 1. Level 0 is due when it has as many tables as the option says and enough bytes for what they are merged with ([`Levelled::level_0_percent`]), and a deeper level when it has more bytes than its target ([`Targets`]). The level that is furthest beyond goes
//!    first; on a tie the younger one, as reads suffer most from it.
//! 2. Of level 0 all tables go, as their ranges overlap, into the first level below that is in use. Of a deeper level one goes, by [`Choice`], and those beside it that
//!    need no more tables of the next level than it does.
//! 3. With them go the tables of the next level that overlap.
//! 4. While level 0 is due and has to wait for tables of the level that it goes into, nothing else is begun there that is less urgent: otherwise one compaction after another could
//!    keep it waiting. Compactions of deeper levels leave one thread free for it.
//!
//! With dynamic sizes the largest level is the last one, and its real size decides the targets of those above: each has `level_ratio` times less, down to the base, which
//! has not less than `level_base_bytes`; level 0 goes right into the base, and what lies above it is taken down (RocksDB's `level_compaction_dynamic_level_bytes`: "Dynamic Level Size
//! for Level-Based Compaction", RocksDB blog, 2015; Dong et al., "Optimizing Space Amplification in RocksDB", CIDR 2017). RocksDB's base has at most the configured size, and
//! at least a `level_ratio`th of it: so there is one level more, which is often smaller than what comes from level 0 at once. PERFORMANCE.md says what that brings and costs.

use super::super::options::Options;
use super::super::table::TableMeta;
use super::super::version::{LEVELS, PerLevel};
use super::picker::Situation;
use super::style::{Choice, Levelled};
use super::task::{Metas, Task, hull, overlapping};

/// The deepest level.
pub(crate) const BOTTOM: usize = LEVELS - 1;

/// How urgent it is to take down what lies above the base: less than a level 0 that is well beyond its bound.
const ABOVE_BASE: f64 = 1.5;

/// How many bytes each level should have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Targets {
    /// The first level below 0 that is to be used.
    pub(crate) base: usize,
    /// From the base on.
    pub(crate) bytes: PerLevel<f64>,
}

impl Targets {
    /// The targets for levels of these sizes.
    pub(crate) fn of(level_bytes: &PerLevel<u64>, style: &Levelled, options: &Options) -> Self {
        let (least, ratio) = (options.level_base_bytes as f64, options.level_ratio as f64);
        let (mut base, mut size) = (1, least);
        if style.dynamic {
            (base, size) = (BOTTOM, level_bytes[1..].iter().copied().max().unwrap_or(0) as f64);
            while base > 1 && size / ratio >= least {
                (base, size) = (base - 1, size / ratio);
            }
            size = size.max(least);
        }
        let mut bytes = [0.0; LEVELS];
        for target in &mut bytes[base..] {
            *target = size;
            size *= ratio;
        }
        Self { base, bytes }
    }
}

/// The first level below 0 that is to be used.
pub(super) fn base(levels: &Metas<'_>, style: &Levelled, options: &Options) -> usize {
    Targets::of(&level_bytes(levels), style, options).base
}

/// The compaction that is most needed, if one is due that can be begun.
pub(crate) fn pick(situation: &Situation<'_>, style: &Levelled, options: &Options) -> Option<Task> {
    let levels = situation.levels;
    let targets = Targets::of(&level_bytes(levels), style, options);
    let mut due: Vec<(f64, usize)> = (0..BOTTOM)
        .map(|level| (fullness(situation, level, &targets, options), level))
        .filter(|(fullness, level)| match level {
            0 => *fullness >= 1.0 && has_enough(situation, &targets, style, options),
            _ => *fullness > 1.0,
        })
        .collect();
    due.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let may_go_deeper = situation.may_go_deeper(options);
    let mut kept_for_level_0 = None;
    due.into_iter().find_map(|(_, level)| match level {
        0 => {
            kept_for_level_0 = Some(level_0_output(levels, &targets));
            level_0(situation, &targets, options)
        }
        _ if !may_go_deeper || kept_for_level_0 == Some(level) => None,
        _ => one_table(situation, level, style.choice, options),
    })
}

/// Bytes that have to be written, about, until no level is above its target: what is too much in a level, and what it is merged with, level by level. Level 0 is left out: its
/// tables are counted instead.
pub(crate) fn debt_bytes(levels: &Metas<'_>, style: &Levelled, options: &Options) -> u64 {
    let bytes = level_bytes(levels);
    let targets = Targets::of(&bytes, style, options);
    let (mut debt, mut from_above) = (0.0, 0.0);
    for level in 1..BOTTOM {
        let own = bytes[level] as f64 + from_above;
        from_above = (own - targets.bytes[level]).max(0.0);
        let below = bytes[level + 1] as f64 / own.max(1.0);
        debt += from_above * (1.0 + below);
    }
    debt as u64
}

fn level_bytes(levels: &Metas<'_>) -> PerLevel<u64> {
    levels.each_ref().map(|tables| tables.iter().map(|table| table.file_bytes).sum())
}

/// How full a level is: 1 is at its target. What is being compacted is not counted.
fn fullness(situation: &Situation<'_>, level: usize, targets: &Targets, options: &Options) -> f64 {
    let idle = situation.levels[level].iter().filter(|table| !situation.is_busy(table));
    if level == 0 {
        return idle.count() as f64 / options.l0_tables_compact as f64;
    }
    let bytes = idle.map(|table| table.file_bytes).sum::<u64>() as f64;
    if level >= targets.base {
        bytes / targets.bytes[level]
    } else if bytes > 0.0 {
        ABOVE_BASE
    } else {
        0.0
    }
}

/// The level that level 0 is merged into: the first one that is in use, or to be used. It must not pass by what is older.
fn level_0_output(levels: &Metas<'_>, targets: &Targets) -> usize {
    (1..targets.base).find(|level| !levels[*level].is_empty()).unwrap_or(targets.base)
}

/// Whether level 0 need not wait until it has more bytes.
fn has_enough(
    situation: &Situation<'_>,
    targets: &Targets,
    style: &Levelled,
    options: &Options,
) -> bool {
    let levels = situation.levels;
    let bytes = |tables: &[&TableMeta]| tables.iter().map(|table| table.file_bytes).sum::<u64>();
    let (low, high) = hull(levels[0].iter().copied());
    let below = bytes(overlapping(&levels[level_0_output(levels, targets)], low, high));
    let enough = u128::from(below) * u128::from(style.level_0_percent);
    levels[0].len() >= options.l0_tables_slow / 2 || u128::from(bytes(&levels[0])) * 100 >= enough
}

/// All tables of level 0.
fn level_0(situation: &Situation<'_>, targets: &Targets, options: &Options) -> Option<Task> {
    let levels = situation.levels;
    let output = level_0_output(levels, targets);
    let mut inputs = Metas::default();
    inputs[0].clone_from(&levels[0]);
    let (low, high) = hull(levels[0].iter().copied());
    inputs[output] = overlapping(&levels[output], low, high).to_vec();
    situation.unless_conflict(Task::new(levels, &inputs, output, situation.now_ms, options))
}

/// A table of a deeper level, into the next one.
fn one_table(
    situation: &Situation<'_>,
    level: usize,
    choice: Choice,
    options: &Options,
) -> Option<Task> {
    let levels = situation.levels;
    let tables = &levels[level];
    let behind = &situation.turns[level];
    let first = tables.partition_point(|table| table.key_min <= *behind);
    let in_turn = tables[first..].iter().chain(&tables[..first]);
    let below = |table: &TableMeta| overlapping(&levels[level + 1], &table.key_min, &table.key_max);
    let mut candidates: Vec<(f64, &TableMeta)> = in_turn
        .filter(|table| !situation.is_busy(table))
        .map(|table| {
            let bytes = below(table).iter().map(|table| table.file_bytes).sum::<u64>();
            (bytes as f64 / table.file_bytes.max(1) as f64, *table)
        })
        .collect();
    if choice == Choice::LeastOverlap {
        // A stable sort: of equal ones the next in turn comes first.
        candidates.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    candidates.into_iter().find_map(|(_, table)| {
        let mut inputs: Metas<'_> = Metas::default();
        inputs[level + 1] = below(table).to_vec();
        let chosen = || inputs[level + 1].iter().copied().chain([table]);
        let (low, high) = hull(chosen());
        // What lies between the bounds of those tables needs no other ones. Their greatest key may be in none of them.
        let has_high = chosen().any(|table| !table.is_open && table.key_max == high);
        let within = |other: &&TableMeta| {
            let ends = other.ends_before(high) || has_high && other.key_max == high;
            &other.key_min[..] >= low && ends
        };
        inputs[level] = overlapping(tables, low, high).iter().copied().filter(within).collect();
        let end = inputs[level].iter().map(|table| &table.key_max).max().cloned();
        let task = Task::new(levels, &inputs, level + 1, situation.now_ms, options);
        let task = Task { turn: end.map(|end| (level, end)), ..task };
        situation.unless_conflict(task)
    })
}
