//! Chooses what to compact: a pure function of what is known about the tables. `simulation` shows what its choices cost.
//!
//! 1. What has expired goes first, if it need not be read for that: [`super::expired`].
//! 2. The store's [`Style`] says what is due: [`super::levelled`], [`super::tiered`], [`super::fifo`].
//! 3. If nothing is, a table that has many deletions, or much that has expired, is taken down a level, or written anew without them if nothing older has any of its keys, so that scans do not go on
//!    stumbling over them.
//! 4. Nothing is chosen that conflicts with a task that is under way ([`Task::conflicts`]), and nothing that would take the last thread from level 0
//!    ([`Situation::may_go_deeper`]).

use super::super::options::Options;
use super::super::table::TableMeta;
use super::super::version::{LEVELS, PerLevel};
use super::style::Style;
use super::task::{Metas, Task, is_dense, overlapping};
use super::{expired, fifo, levelled, tiered};

/// What a choice depends on, but for the options.
#[derive(Debug)]
pub(crate) struct Situation<'s> {
    pub(crate) levels: &'s Metas<'s>,
    /// For each level the key behind which its next compaction goes on.
    pub(crate) turns: &'s PerLevel<Vec<u8>>,
    /// Tasks that are under way.
    pub(crate) running: &'s [Task],
    /// Milliseconds since the Unix epoch.
    pub(crate) now_ms: u64,
}

impl Situation<'_> {
    /// Whether a table is being compacted.
    pub(crate) fn is_busy(&self, table: &TableMeta) -> bool {
        self.running.iter().any(|task| task.takes(table.number))
    }

    /// The task, unless it cannot be begun now.
    pub(crate) fn unless_conflict(&self, task: Task) -> Option<Task> {
        let conflict = self.running.iter().any(|running| running.conflicts(&task));
        (!conflict).then_some(task)
    }

    /// Whether a task may begin that takes no table out of level 0. Such tasks leave one thread free, if there are several, as it is level 0 that writers wait for.
    pub(crate) fn may_go_deeper(&self, options: &Options) -> bool {
        let deeper = self.running.iter().filter(|task| !task.empties_level_0()).count();
        deeper < options.compaction_threads.saturating_sub(1).max(1)
    }
}

/// The compaction that is most needed, if one is due that can be begun.
pub(crate) fn pick(situation: &Situation<'_>, options: &Options) -> Option<Task> {
    expired::pick(situation, options).or_else(|| match options.style {
        Style::Levelled(style) => {
            levelled::pick(situation, &style, options).or_else(|| dense(situation, options))
        }
        Style::Tiered(style) => {
            tiered::pick(situation, &style, options).or_else(|| dense(situation, options))
        }
        Style::Fifo(style) => fifo::pick(situation, &style, options),
    })
}

/// Bytes that compactions are behind by, about: what writers are slowed down for besides the tables of level 0.
pub(crate) fn debt_bytes(levels: &Metas<'_>, options: &Options) -> u64 {
    match &options.style {
        Style::Levelled(style) => levelled::debt_bytes(levels, style, options),
        // Runs that wait to be merged lie in level 0.
        Style::Tiered(_) | Style::Fifo(_) => 0,
    }
}

/// The compaction of a table that has many deletions, or much that has expired. Tables of level 0 get their turn with all others.
fn dense(situation: &Situation<'_>, options: &Options) -> Option<Task> {
    if !situation.may_go_deeper(options) {
        return None;
    }
    let levels = situation.levels;
    for level in 1..LEVELS {
        for table in &levels[level] {
            if !is_dense(table, situation.now_ms, options) || situation.is_busy(table) {
                continue;
            }
            let mut inputs = Metas::default();
            inputs[level] = vec![*table];
            // Where nothing older has its keys, this gets rid of the deletions; otherwise they go to meet it.
            let in_place = Task::new(levels, &inputs, level, situation.now_ms, options);
            let task = if in_place.drops_deletions {
                in_place
            } else {
                let below = level + 1;
                inputs[below] =
                    overlapping(&levels[below], &table.key_min, &table.key_max).to_vec();
                Task::new(levels, &inputs, below, situation.now_ms, options)
            };
            if let Some(task) = situation.unless_conflict(task) {
                return Some(task);
            }
        }
    }
    None
}
