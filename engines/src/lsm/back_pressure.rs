//! How writers are kept from outrunning flushes and compactions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::compaction::picker::debt_bytes;
use super::options::Background;
use super::store::{Core, Writer};
use super::version::{Tree, Version};
use crate::storage::Storage;
use crate::{Error, EventKind, Result};

/// Bytes that writers may write between two pauses while they are slowed down.
const BYTES_PER_PAUSE: u64 = 64 << 10;
/// The longest of these pauses: 64 KiB per 4 ms are 16 MiB/s.
const PAUSE_MAX: Duration = Duration::from_millis(4);
/// The most that writers are slowed down by: that pause, in thousandths.
const PRESSURE_MAX: u32 = 1_000;
/// Writers wait so often, so long, for readers who are about to leave a memtable that has been flushed. Those who stay, such as snapshots, are not waited for.
const MOMENTS: u32 = 300;
const MOMENT: Duration = Duration::from_micros(100);

impl<S: Storage> Core<S> {
    /// Slows writers down as far as they outrun the flush: by what they would have to wait for, if they went on like that, when the active memtable, whose log has `active_bytes`, is full.
    pub(super) fn press(&self, active_bytes: u64) {
        let tree = self.tree.load();
        let waiting: u64 = tree.waiting.iter().map(|memtable| memtable.log_bytes()).sum();
        let to_flush = waiting.saturating_sub(self.flushed_bytes.load(Ordering::Relaxed));
        let memtables_left = self.options.memtables_waiting_max + 1 - tree.waiting.len();
        let memtable_bytes = self.options.memtable_bytes;
        let room = (memtables_left as u64 * memtable_bytes).saturating_sub(active_bytes);
        let of_memory = pressure(to_flush.saturating_sub(room), 0, memtable_bytes / 2);
        let of_compaction = self.compaction_pressure.load(Ordering::Relaxed);
        self.pressure.store(of_memory.max(of_compaction), Ordering::Relaxed);
    }

    /// Notes how far the flush is: so many bytes of the log of the oldest memtable are in a table.
    pub(crate) fn set_flushed(&self, bytes: u64) {
        self.flushed_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Makes the writer pause now and then.
    #[cold]
    pub(super) fn slow_down(&self, writer: &mut Writer<S>, payload_bytes: usize, pressure: u32) {
        writer.unpaused_bytes += payload_bytes as u64;
        if writer.unpaused_bytes >= BYTES_PER_PAUSE
            && self.options.background == Background::Threads
        {
            let start = Instant::now();
            std::thread::sleep(PAUSE_MAX * pressure / PRESSURE_MAX);
            writer.unpaused_bytes = 0;
            self.stats.pause(start);
        }
    }

    /// Waits until no more than `waiting` memtables wait, and there is memory for another one of `bytes`.
    pub(super) fn wait_for_flushes(&self, waiting: usize, bytes: u64) -> Result<()> {
        let mut stalled_since = None;
        let outcome = loop {
            let seen = self.signals.changes();
            self.check_poison()?;
            let tree = self.tree.load();
            let has_room = tree.waiting.len() <= waiting
                && self.has_memory(&tree, bytes)
                && tree.version.levels[0].len() < self.options.l0_bounds().1;
            drop(tree);
            if has_room {
                break Ok(());
            }
            stalled_since.get_or_insert_with(Instant::now);
            if self.options.background == Background::Inline {
                if let Err(error) = self.work() {
                    break Err(error);
                }
            } else if let Some(obstacle) = self.signals.obstacle() {
                let source = std::io::Error::new(std::io::ErrorKind::StorageFull, obstacle);
                let path = self.dir.clone();
                break Err(Error::Io { operation: "flush memtables in", path, source });
            } else {
                self.signals.wait(seen, Duration::from_secs(1));
            }
        };
        if let Some(start) = stalled_since {
            self.stats.event(EventKind::Stall, start, 0);
        }
        outcome
    }

    /// Whether there is memory for another memtable of `bytes`, or none to be hoped for.
    fn has_memory(&self, tree: &Tree<S>, bytes: u64) -> bool {
        let has_room = || self.reading.budget.has_room_for(bytes);
        for _ in 0..MOMENTS {
            if has_room() {
                return true;
            }
            // What has been flushed, and no reader is at any more.
            self.retired.let_go();
            if has_room() {
                return true;
            }
            if !tree.waiting.is_empty() || self.flushing.is_locked() {
                return false;
            }
            std::thread::sleep(MOMENT);
        }
        true
    }

    /// Sets how much writers are slowed down: by how near level 0 is to the number of tables at which they wait, or by what compactions are behind by, whichever is more.
    pub(super) fn update_pressure(&self) {
        let version = Arc::clone(&self.tree.load().version);
        let (slow, stop) = self.options.l0_bounds();
        let of_tables = pressure(version.levels[0].len() as u64, slow as u64, stop as u64);
        let debt = self.debt_bytes(&version);
        let of_debt = pressure(debt, self.options.debt_bytes_slow, self.options.debt_bytes_max);
        let of_compaction = of_tables.max(of_debt);
        self.compaction_pressure.store(of_compaction, Ordering::Relaxed);
        // What the flush is behind by is looked at again soon.
        self.pressure.store(of_compaction, Ordering::Relaxed);
    }

    /// Bytes that compactions are behind by, about.
    pub(crate) fn debt_bytes(&self, version: &Version<S>) -> u64 {
        debt_bytes(&version.metas(), &self.options)
    }
}

/// How far `value` is on the way from `slow` to `most`, from 0 to [`PRESSURE_MAX`].
fn pressure(value: u64, slow: u64, most: u64) -> u32 {
    let share = value.saturating_sub(slow) as f64 / most.saturating_sub(slow).max(1) as f64;
    (share.min(1.0) * f64::from(PRESSURE_MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_are_slowed_down_in_proportion() {
        assert_eq!(pressure(0, 20, 36), 0);
        assert_eq!(pressure(20, 20, 36), 0);
        assert_eq!(pressure(24, 20, 36), 250);
        assert_eq!(pressure(28, 20, 36), 500);
        assert_eq!(pressure(36, 20, 36), PRESSURE_MAX);
        assert_eq!(pressure(u64::MAX, 20, 36), PRESSURE_MAX);
        assert_eq!(pressure(1 << 40, u64::MAX - 1, u64::MAX), 0);
    }
}
