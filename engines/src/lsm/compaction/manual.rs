//! Compactions that are asked for.

use super::super::options::Options;
use super::super::table::TableMeta;
use super::super::version::LEVELS;
use super::levelled::BOTTOM;
use super::style::{Levelled, Style};
use super::task::{Action, Metas, Task, hull, overlapping};

/// The merge of all tables that have keys from `low` to `high`, both included, into one run in the deepest level in use; `None` for a bound means none. With the tables
/// go those that they overlap on their way down. `None` if there is nothing to gain: what is there is one run already, and has no deletions and nothing that has expired by `now_ms`, which is what time it is.
///
/// Nothing else may be under way. The style that forgets merges nothing: its tables must stay apart, so that each can be dropped in its time.
pub(crate) fn range(
    levels: &Metas<'_>,
    low: Option<&[u8]>,
    high: Option<&[u8]>,
    now_ms: u64,
    options: &Options,
) -> Option<Task> {
    let deepest = (0..LEVELS).rev().find(|level| !levels[*level].is_empty())?;
    let output = match options.style {
        Style::Fifo(_) => return None,
        Style::Levelled(Levelled { dynamic: false, .. }) => deepest.max(1),
        Style::Levelled(_) | Style::Tiered(_) => BOTTOM,
    };
    let (_, last) = hull(levels.iter().flatten().copied());
    let (mut low, mut high) = (low.unwrap_or_default().to_vec(), high.unwrap_or(last).to_vec());
    if low > high {
        return None;
    }
    let mut inputs = Metas::default();
    for level in 0..=output {
        let tables = &levels[level];
        // Of level 0 all tables go, as an older one must not stay above a younger one.
        let taken = match level {
            0 if tables.iter().any(|table| table.overlaps(&low, &high)) => &tables[..],
            0 => &[],
            _ => overlapping(tables, &low, &high),
        };
        inputs[level] = taken.to_vec();
        // What goes down meets everything that it overlaps.
        if !taken.is_empty() {
            let (first, last) = hull(taken.iter().copied());
            low = low.min(first.to_vec());
            high = high.max(last.to_vec());
        }
    }
    let taken = || inputs.iter().flatten();
    let above = inputs[..output].iter().any(|tables| !tables.is_empty());
    let has_deletions = |table: &&TableMeta| {
        table.deletions + table.range_deletions > 0 || table.expiring.any_by(now_ms)
    };
    let deletions = taken().any(has_deletions);
    if taken().next().is_none() || !above && !deletions {
        return None;
    }
    let task = Task::new(levels, &inputs, output, now_ms, options);
    // Tables that could be moved would keep the deletions in them.
    let action = if deletions { Action::Merge } else { task.action };
    Some(Task { action, ..task })
}
