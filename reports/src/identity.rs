//! What a cell is: the conditions under which its figures mean what they mean.
//!
//! Cells of the same identity are trials of one another. Figures of different identities never stand in one
//! chart, one ratio or one sum.

use std::fmt;

use crate::format;
use crate::result::{
    Cell, Durability, LogSize, PageCache, Phase, RecoveryEnding, RecoveryScenario, ResultFile,
};

/// A rate at which operations were due, as a part of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferedRate(u64);

impl OfferedRate {
    /// The rate of a cell; none in a closed loop. Rates that cannot be are refused when a file is read.
    pub fn of(cell: &Cell) -> Option<Self> {
        // Bits of positive numbers are in the order of the numbers.
        cell.offered_ops_per_s.map(|rate| Self(rate.max(0.0).to_bits()))
    }

    /// Operations due per second, over all threads.
    pub fn ops_per_s(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// What identifies a cell over its trials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellKey {
    /// Name of the workload.
    pub workload: String,
    /// Phase measured.
    pub phase: Phase,
    /// Name of the engine.
    pub engine: String,
    /// Durability class.
    pub durability: Durability,
    /// Client threads.
    pub threads: u32,
    /// Records in the store.
    pub records: u64,
    /// Bytes of one value.
    pub value_bytes: u64,
    /// Rate at which operations were due; none in a closed loop.
    pub offered: Option<OfferedRate>,
    /// What was done to the store, in recovery cells.
    pub scenario: Option<RecoveryScenario>,
}

impl CellKey {
    /// The identity of a cell.
    pub fn of(cell: &Cell) -> Self {
        Self {
            workload: cell.workload.clone(),
            phase: cell.phase,
            engine: cell.engine.clone(),
            durability: cell.durability,
            threads: cell.threads,
            records: cell.records,
            value_bytes: cell.value_bytes,
            offered: OfferedRate::of(cell),
            scenario: cell.scenario,
        }
    }
}

impl fmt::Display for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} (class {}, {}, {} of {} B",
            self.engine,
            self.workload,
            phase_name(self.phase),
            durability_name(self.durability),
            format::plural(self.threads.into(), "thread"),
            format::plural(self.records, "record"),
            format::count(self.value_bytes),
        )?;
        if let Some(rate) = self.offered {
            write!(f, ", {} ops/s offered", format::rate(rate.ops_per_s()))?;
        }
        if let Some(scenario) = self.scenario {
            write!(f, ", {}", scenario_name(scenario))?;
        }
        f.write_str(")")
    }
}

/// A name for each result: its run's, with a number behind it where an earlier one has the same.
pub(crate) fn run_names(results: &[ResultFile]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(results.len());
    for result in results {
        let id = &result.run.id;
        let numbered = (2_usize..).map(|number| format!("{id} ({number})"));
        let mut candidates = std::iter::once(id.clone()).chain(numbered);
        names.extend(candidates.find(|candidate| !names.contains(candidate)));
    }
    names
}

/// The class as it is written everywhere.
pub(crate) fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::Buffered => "buffered",
        Durability::Os => "os",
        Durability::Sync => "sync",
    }
}

/// The phase as it is written everywhere.
pub(crate) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Load => "load",
        Phase::Run => "run",
        Phase::Recover => "recover",
    }
}

/// For people: `kill -9, hints removed, cold cache`, and `64 MiB written` behind it where several amounts were tried.
pub(crate) fn scenario_name(scenario: RecoveryScenario) -> String {
    let ending = match scenario.ending {
        RecoveryEnding::CleanClose => "clean close",
        RecoveryEnding::Kill => "kill -9",
        RecoveryEnding::KillWithoutHints => "kill -9, hints removed",
        RecoveryEnding::KillDamagedHints => "kill -9, hints damaged",
    };
    let cache = page_cache_name(scenario.page_cache);
    let of_data = match scenario.written {
        Some(LogSize::DataPpm(_)) => " of the data",
        _ => "",
    };
    let written = scenario.written.map(|written| format!(", {written}{of_data} written"));
    format!("{ending}, {cache} cache{}", written.unwrap_or_default())
}

/// For scripts: `kill_without_hints`.
pub(crate) fn ending_word(ending: RecoveryEnding) -> &'static str {
    match ending {
        RecoveryEnding::CleanClose => "clean_close",
        RecoveryEnding::Kill => "kill",
        RecoveryEnding::KillWithoutHints => "kill_without_hints",
        RecoveryEnding::KillDamagedHints => "kill_damaged_hints",
    }
}

/// `warm` or `cold`.
pub(crate) fn page_cache_name(page_cache: PageCache) -> &'static str {
    match page_cache {
        PageCache::Warm => "warm",
        PageCache::Cold => "cold",
    }
}
