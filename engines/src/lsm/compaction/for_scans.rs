//! Compactions that pay for themselves by making scans faster.
//!
//! A scan looks for its beginning in each run, and goes to and fro between runs whose keys lie among each other. Where nothing is due, since little is written, that stays so for ever. So scans note what they would not have paid if there
//! were a single run, and when that is as much as it costs to merge the youngest runs, that is done: whether scans go on or end here is not known, and this way both together
//! never cost more than twice what would have been best (the ski-rental problem; Karlin et al., "Competitive Snoopy Caching", Algorithmica 1988). LevelDB compacts after seeks that found nothing, and Pebble after sampled reads, for the same reason.
//!
//! 1. What a scan pays is counted by [`cost_ns`], at first by each session for itself.
//! 2. When enough has come together, and nothing is due or under way, the active memtable is flushed, if it holds enough for a table, and level 0 is merged into the first level below that is in use;
//!    if nothing is in level 0, that level into the next one. What scans have paid is forgotten.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::options::Options;
use super::super::store::Core;
use super::super::version::LEVELS;
use super::levelled;
use super::picker::Situation;
use super::schedule::Progress;
use super::style::Style;
use super::task::{Metas, Task, hull, overlapping};
use crate::Result;
use crate::storage::Storage;

/// Nanoseconds that a scan pays, about, for each run of tables beyond the first: a search that waits for memory three or four times.
const RUN_NS: u64 = 500;
/// The same for each step from one source to another: what comes next is in no cache.
const SWITCH_NS: u64 = 100;
/// Nanoseconds that a flush and a compaction take, about, for each byte that they read.
const BYTE_NS: u64 = 5;
/// The least that a compaction costs, so that stores of a few records are not compacted all the time.
const LEAST_NS: u64 = 5_000_000;
/// A session says what its scans have paid when it is so much.
pub(crate) const SHARE_NS: u64 = 1_000_000;
/// A memtable is worth a table of its own if its log has the options' length divided by this.
const MEMTABLE_PARTS: u64 = 4;

/// What a scan has paid that it would not have paid with a single run: one over so many runs of tables, that has stepped from one source to another so often.
#[inline]
pub(crate) fn cost_ns(table_runs: usize, switches: u64) -> u64 {
    table_runs.saturating_sub(1) as u64 * RUN_NS + switches * SWITCH_NS
}

/// The merge of the two youngest runs; of the tables of level 0, all. `None` if there is one run, or the style merges by other rules.
pub(super) fn pick(situation: &Situation<'_>, options: &Options) -> Option<Task> {
    let Style::Levelled(style) = &options.style else { return None };
    let levels = situation.levels;
    let mut in_use = (0..LEVELS).filter(|level| !levels[*level].is_empty());
    let upper = in_use.next()?;
    let output = match in_use.next() {
        Some(lower) => lower,
        None if levels[0].len() > 1 => levelled::base(levels, style, options),
        None => return None,
    };
    let mut inputs = Metas::default();
    inputs[upper].clone_from(&levels[upper]);
    let (low, high) = hull(levels[upper].iter().copied());
    inputs[output] = overlapping(&levels[output], low, high).to_vec();
    situation.unless_conflict(Task::new(levels, &inputs, output, situation.now_ms, options))
}

impl<S: Storage> Core<S> {
    /// Notes what scans have paid, and wakes those who compact when it has become enough.
    pub(crate) fn add_scan_cost(&self, ns: u64) {
        if !self.options.compact_for_scans {
            return;
        }
        let before = self.scan_cost_ns.fetch_add(ns, Ordering::Relaxed);
        let due = self.scan_cost_due();
        if before < due && before + ns >= due {
            self.signals.notify();
        }
    }

    /// What scans have to pay until the youngest runs are merged; the greatest number if there is one run.
    fn scan_cost_due(&self) -> u64 {
        let version = Arc::clone(&self.tree.load().version);
        let levels = version.metas();
        let situation =
            Situation { levels: &levels, turns: &Default::default(), running: &[], now_ms: 0 };
        let of_memtable = self.flushable_bytes();
        let of_tables = match pick(&situation, &self.options) {
            Some(task) => task.bytes,
            // The memtable would be merged with the only run.
            None if of_memtable > 0 => levels.iter().flatten().map(|table| table.file_bytes).sum(),
            None => return u64::MAX,
        };
        ((of_tables + of_memtable) * BYTE_NS).max(LEAST_NS)
    }

    /// Bytes of the active memtable's log, if they are enough for a table.
    fn flushable_bytes(&self) -> u64 {
        let bytes = self.tree.load().active.log_bytes();
        if bytes >= self.options.memtable_bytes / MEMTABLE_PARTS { bytes } else { 0 }
    }

    /// Merges the youngest runs, if scans have paid for it. To be called while nothing else is due.
    pub(super) fn compact_for_scans(&self) -> Result<Progress> {
        if self.scan_cost_ns.load(Ordering::Relaxed) < LEAST_NS {
            return Ok(Progress::Idle);
        }
        let due = self.scan_cost_due();
        let claim = |paid: u64| (paid >= due).then_some(0);
        let order = Ordering::Relaxed;
        if self.scan_cost_ns.fetch_update(order, order, claim).is_err() {
            return Ok(Progress::Idle);
        }
        // Who writes just now goes first.
        if self.flushable_bytes() > 0
            && let Some(mut writer) = self.try_lock_writer()
        {
            self.flush_with(&mut writer)?;
        }
        self.begin(|situation, _| pick(situation, &self.options))
    }
}
