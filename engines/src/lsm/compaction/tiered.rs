//! The size-tiered style: what is due.
//!
//! 1. The tree is a row of sorted runs, youngest first: each table of level 0 is one, and each deeper level that is not empty.
//! 2. If the younger runs together have too many bytes in proportion to the oldest one, everything is merged into the last level.
//! 3. Else, if level 0 has enough runs, and none overlaps another, as with ascending keys, they are moved to a deeper level.
//! 4. Else, from the youngest on, the first row of enough neighbours that are similar in size is merged, and with them further ones that are similar to them.
//! 5. Else, if there are too many runs, the neighbours with the fewest bytes are merged that bring the number down.
//! 6. The result goes right above the next older run: into the deepest level that is still empty, or into level 0, then as a single table. So the order of the runs stays the
//!    order of age, which is what reads go by: in level 0 by the youngest write in a table, and each level before the next.
//!
//! Sources: RocksDB's universal compaction (rules 2 and 5, and the levels as places for large runs); Cassandra's `SizeTieredCompactionStrategy` (rule 4).

use super::super::options::Options;
use super::super::table::TableMeta;
use super::super::version::LEVELS;
use super::levelled::BOTTOM;
use super::picker::Situation;
use super::style::Tiered;
use super::task::{Action, Metas, Task};

/// A sorted run.
struct Run<'s> {
    level: usize,
    tables: Vec<&'s TableMeta>,
    bytes: u64,
    busy: bool,
}

/// The runs of the tree, youngest first.
fn runs<'s>(situation: &Situation<'s>) -> Vec<Run<'s>> {
    let run = |level, tables: Vec<&'s TableMeta>| Run {
        level,
        bytes: tables.iter().map(|table| table.file_bytes).sum(),
        busy: tables.iter().any(|table| situation.is_busy(table)),
        tables,
    };
    let of_0 = situation.levels[0].iter().map(|table| run(0, vec![*table]));
    let deeper = (1..LEVELS).filter(|level| !situation.levels[*level].is_empty());
    of_0.chain(deeper.map(|level| run(level, situation.levels[level].clone()))).collect()
}

/// The compaction that is most needed, if one is due that can be begun.
pub(crate) fn pick(situation: &Situation<'_>, style: &Tiered, options: &Options) -> Option<Task> {
    let runs = runs(situation);
    if takes_too_much_room(&runs, style) && !runs.iter().any(|run| run.busy) {
        return task(situation, &runs, 0, runs.len(), options);
    }
    let of_0 = runs.iter().take_while(|run| run.level == 0 && !run.busy).count();
    if of_0 >= style.width
        && let Some(task) = task(situation, &runs, 0, of_0, options)
        && task.action == Action::Move
    {
        return Some(task);
    }
    let (at, len) = similar(&runs, style).or_else(|| too_many(&runs, style))?;
    task(situation, &runs, at, len, options)
}

fn takes_too_much_room(runs: &[Run<'_>], style: &Tiered) -> bool {
    let Some((oldest, younger)) = runs.split_last() else { return false };
    let younger: u64 = younger.iter().map(|run| run.bytes).sum();
    younger > 0
        && u128::from(younger) * 100 > u128::from(oldest.bytes) * u128::from(style.space_percent)
}

/// The place and length of the first row of enough similar runs, the oldest run not among them: that one is merged for the sake of room alone.
fn similar(runs: &[Run<'_>], style: &Tiered) -> Option<(usize, usize)> {
    let younger = &runs[..runs.len().saturating_sub(1)];
    (0..younger.len()).find_map(|at| {
        let mut bytes = 0;
        let mut len = 0;
        for run in &younger[at..] {
            let mean_percent = u128::from(bytes) * u128::from(style.similar_percent);
            let is_similar = u128::from(run.bytes) * 100 * len as u128 <= mean_percent;
            if run.busy || len > 0 && !is_similar {
                break;
            }
            bytes += run.bytes;
            len += 1;
        }
        (len >= style.width).then_some((at, len))
    })
}

/// The neighbours with the fewest bytes that bring the number of runs down to what it may be.
fn too_many(runs: &[Run<'_>], style: &Tiered) -> Option<(usize, usize)> {
    // Each task that is under way will make one run of its inputs; those are counted as they are until then, and have their turn to end.
    let len = (runs.len() + 1).checked_sub(style.runs_max)?.max(2);
    if runs.len() <= style.runs_max {
        return None;
    }
    let windows =
        runs.windows(len).enumerate().filter(|(_, runs)| !runs.iter().any(|run| run.busy));
    let bytes = |runs: &[Run<'_>]| runs.iter().map(|run| run.bytes).sum::<u64>();
    windows.min_by_key(|(_, runs)| bytes(runs)).map(|(at, _)| (at, len))
}

/// The merge of `len` runs from the one at `at` on.
fn task(
    situation: &Situation<'_>,
    runs: &[Run<'_>],
    at: usize,
    len: usize,
    options: &Options,
) -> Option<Task> {
    let output = runs.get(at + len).map_or(BOTTOM, |older| older.level.saturating_sub(1));
    let mut inputs = Metas::default();
    for run in &runs[at..at + len] {
        inputs[run.level].extend(&run.tables);
    }
    let task = Task::new(situation.levels, &inputs, output, situation.now_ms, options);
    situation.unless_conflict(task)
}
