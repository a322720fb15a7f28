//! How long a run will still take, judged by the cells that have ended.
//!
//! A cell is expected to take as long as those of its kind did on average. Of its kind are, in this order: other trials of the same cell; the
//! same workload and conditions on other engines; any cell of the same phase, loads in proportion to their bytes. As long as there is
//! none of them for some cell, nothing is said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kvdyno_reports::Phase;

use super::cell_key::{CellKey, NOOP};

/// Cells that are still to come, and how long those took that have ended.
#[derive(Debug, Default)]
pub(crate) struct Estimate {
    to_come: BTreeSet<CellKey>,
    /// Seconds for each unit of weight, by kind: from the most to the least alike.
    kinds: BTreeMap<CellKey, Mean>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: f64,
}

impl Estimate {
    /// Of a run that still has these cells before it.
    pub(crate) fn new(to_come: impl IntoIterator<Item = CellKey>) -> Self {
        Self { to_come: to_come.into_iter().collect(), kinds: BTreeMap::new() }
    }

    /// A cell has ended. Its time is none if that says nothing about others, as when it was not supported.
    pub(crate) fn end(&mut self, cell: &CellKey, took: Option<Duration>) {
        self.to_come.remove(cell);
        let Some(took) = took else { return };
        for kind in kinds_of(cell) {
            let mean = self.kinds.entry(kind).or_default();
            mean.sum += took.as_secs_f64() / weight(cell);
            mean.count += 1.0;
        }
    }

    /// Time until all cells have ended; none if that is not known yet.
    pub(crate) fn left(&self) -> Option<Duration> {
        let seconds: Option<f64> = self.to_come.iter().map(|cell| self.expected_s(cell)).sum();
        seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }

    fn expected_s(&self, cell: &CellKey) -> Option<f64> {
        let mean = kinds_of(cell).into_iter().find_map(|kind| self.kinds.get(&kind))?;
        Some(mean.sum / mean.count * weight(cell))
    }
}

/// The kinds that a cell is of, from the most to the least alike. What tells the cells of a kind from each other is blanked.
fn kinds_of(cell: &CellKey) -> [CellKey; 3] {
    let same_cell = CellKey { trial: 0, ..cell.clone() };
    // The harness's own engine is no measure for others.
    let engine = if cell.engine == NOOP { NOOP } else { "" };
    let any_engine = CellKey { engine: engine.into(), ..same_cell.clone() };
    let same_phase = CellKey {
        workload: String::new(),
        durability: kvdyno_reports::Durability::Os,
        threads: 0,
        records: 0,
        value_bytes: 0,
        scenario: None,
        ..any_engine.clone()
    };
    [same_cell, any_engine, same_phase]
}

/// What a load's time is proportional to.
fn weight(cell: &CellKey) -> f64 {
    match cell.phase {
        Phase::Load => (cell.records * (cell.value_bytes + 20)).max(1) as f64,
        Phase::Run | Phase::Recover => 1.0,
    }
}

/// A time as people say it: `40 s`, `12 min`, `3 h 20 min`.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 90.0 {
        return format!("{seconds:.0} s");
    }
    let minutes = (seconds / 60.0).round() as u64;
    if minutes < 90 {
        format!("{minutes} min")
    } else {
        format!("{} h {} min", minutes / 60, minutes % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvdyno_reports::Durability;

    fn cell(engine: &str, workload: &str, trial: u32, phase: Phase) -> CellKey {
        CellKey {
            engine: engine.into(),
            workload: workload.into(),
            durability: Durability::Os,
            threads: 1,
            records: 1000,
            value_bytes: 80,
            trial,
            phase,
            scenario: None,
        }
    }

    #[test]
    fn nothing_is_said_before_something_alike_has_ended() {
        let load = cell("lsm", "load", 1, Phase::Load);
        let run = cell("lsm", "ycsb-a", 1, Phase::Run);
        let mut estimate = Estimate::new(vec![load.clone(), run.clone()]);
        assert_eq!(estimate.left(), None);
        estimate.end(&load, Some(Duration::from_secs(4)));
        assert_eq!(estimate.left(), None, "a load says nothing about a run");
        estimate.end(&run, None);
        assert_eq!(estimate.left(), Some(Duration::ZERO));
    }

    #[test]
    fn the_most_similar_cells_count() {
        let key = |engine, trial| cell(engine, "ycsb-a", trial, Phase::Run);
        let mut estimate = Estimate::new(vec![key("lsm", 2), key("lmdb", 1)]);
        estimate.end(&key("lsm", 1), Some(Duration::from_secs(10)));
        estimate.end(&key("bitcask", 1), Some(Duration::from_secs(2)));
        estimate.end(&key(NOOP, 1), Some(Duration::from_secs(100)));
        // The other trial of the same cell; the mean of the two other engines.
        assert_eq!(estimate.left(), Some(Duration::from_secs(10 + 6)));
    }

    #[test]
    fn loads_are_expected_in_proportion_to_their_bytes() {
        let small = cell("lsm", "load", 1, Phase::Load);
        let large = CellKey { records: 10_000, ..small.clone() };
        let mut estimate = Estimate::new(vec![small.clone(), large]);
        estimate.end(&small, Some(Duration::from_secs(2)));
        assert_eq!(estimate.left(), Some(Duration::from_secs(20)));
    }

    #[test]
    fn times_are_told_as_people_say_them() {
        let words = |seconds| in_words(Duration::from_secs(seconds));
        assert_eq!(
            (words(40), words(720), words(12_000)),
            ("40 s".into(), "12 min".into(), "3 h 20 min".into())
        );
    }
}
