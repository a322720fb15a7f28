//! Which compactions are under way, and beginning the next one.
//!
//! Whoever works, one of the store's threads, a caller who waits for it, or with [`super::super::Background::Inline`] the writer, takes a task that conflicts with none
//! that is under way, does it without any lock, and takes it off the list. A compaction that is asked for waits until the list is empty, and keeps it so until it is done.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::super::store::Core;
use super::super::version::{PerLevel, Version};
use super::picker::{Situation, pick};
use super::task::Task;
use super::{manual, relocation, run};
use crate::Result;
use crate::storage::Storage;

/// The compactions of a store.
#[derive(Debug, Default)]
pub(crate) struct Compactions {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    running: Vec<Task>,
    /// For each level the key behind which its next compaction goes on.
    turns: PerLevel<Vec<u8>>,
    /// Compactions that are asked for and not done.
    asked_for: usize,
}

/// What came of looking for a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// One was done, or given up as the store is being closed.
    Worked,
    /// None can be begun before one that is under way has ended.
    Waits,
    /// None is due, and none is under way.
    Idle,
}

/// A task that is on the list, and comes off it however it ends.
struct Running<'c, S: Storage> {
    core: &'c Core<S>,
    task: Task,
}

impl<S: Storage> Running<'_, S> {
    /// Does the task, which was chosen for this version.
    fn run(&self, version: Arc<Version<S>>) -> Result<()> {
        let outcome = self.core.unless_full(run::compact(self.core, &version, &self.task));
        // Before the task is off the list: when nothing is under way, the files of compacted tables are gone.
        drop(version);
        outcome.map(drop)
    }
}

impl<S: Storage> Drop for Running<'_, S> {
    fn drop(&mut self) {
        // Tasks on the list have no table in common, so no two are equal.
        self.core.compactions.list.lock().running.retain(|task| *task != self.task);
        self.core.signals.notify();
    }
}

/// A place in the row of compactions that are asked for; while there is one, no other compaction begins.
struct Asked<'c, S: Storage>(&'c Core<S>);

impl<'c, S: Storage> Asked<'c, S> {
    fn new(core: &'c Core<S>) -> Self {
        core.compactions.list.lock().asked_for += 1;
        Self(core)
    }
}

impl<S: Storage> Drop for Asked<'_, S> {
    fn drop(&mut self) {
        self.0.compactions.list.lock().asked_for -= 1;
        self.0.signals.notify();
    }
}

impl<S: Storage> Core<S> {
    /// Does the compaction that is most needed of those that can be begun.
    pub(crate) fn compact_once(&self) -> Result<Progress> {
        let due = |situation: &Situation<'_>, version: &Version<S>| {
            pick(situation, &self.options)
                .or_else(|| relocation::pick(situation, version.values.usage(), &self.options))
        };
        match self.begin(due)? {
            Progress::Idle => self.compact_for_scans(),
            other => Ok(other),
        }
    }

    /// Does the compaction that `choose` says.
    pub(super) fn begin(
        &self,
        choose: impl FnOnce(&Situation<'_>, &Version<S>) -> Option<Task>,
    ) -> Result<Progress> {
        self.check_poison()?;
        let mut list = self.compactions.list.lock();
        if list.asked_for > 0 || list.running.len() >= self.options.compaction_threads {
            return Ok(Progress::Waits);
        }
        // Whatever is not on the list any more is in the tree.
        let version = Arc::clone(&self.tree.load().version);
        let situation = Situation {
            levels: &version.metas(),
            turns: &list.turns,
            running: &list.running,
            now_ms: self.options.clock.now_ms(),
        };
        let Some(task) = choose(&situation, &version) else {
            let idle = list.running.is_empty();
            return Ok(if idle { Progress::Idle } else { Progress::Waits });
        };
        if let Some((level, key)) = &task.turn {
            list.turns[*level].clone_from(key);
        }
        list.running.push(task.clone());
        drop(list);
        Running { core: self, task }.run(version)?;
        Ok(Progress::Worked)
    }

    /// Calls `change` with the compactions that are under way, while no other is chosen.
    pub(crate) fn while_none_begins<T>(&self, change: impl FnOnce(&[Task]) -> T) -> T {
        change(&self.compactions.list.lock().running)
    }

    /// Calls `look` while no compaction is under way, once those that are have ended. None begins meanwhile.
    pub(crate) fn while_nothing_compacts<T>(&self, look: impl FnOnce() -> T) -> T {
        let _asked = Asked::new(self);
        loop {
            let seen = self.signals.changes();
            let list = self.compactions.list.lock();
            if list.running.is_empty() {
                let outcome = look();
                drop(list);
                return outcome;
            }
            drop(list);
            self.signals.wait(seen, Duration::from_secs(1));
        }
    }

    /// Merges all tables that have keys from `low` to `high`, both included, into the deepest level, once all compactions that are under way have ended.
    pub(crate) fn compact_between(&self, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<()> {
        let _asked = Asked::new(self);
        loop {
            let seen = self.signals.changes();
            self.check_poison()?;
            let mut list = self.compactions.list.lock();
            if list.running.is_empty() {
                let version = Arc::clone(&self.tree.load().version);
                let now_ms = self.options.clock.now_ms();
                let task = manual::range(&version.metas(), low, high, now_ms, &self.options);
                let Some(task) = task else { return Ok(()) };
                list.running.push(task.clone());
                drop(list);
                return Running { core: self, task }.run(version);
            }
            drop(list);
            self.signals.wait(seen, Duration::from_secs(1));
        }
    }
}
