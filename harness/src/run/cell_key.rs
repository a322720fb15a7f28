//! Which cells a plan leads to, and what tells one from the others.

use kvdyno_reports::{Cell, Durability, Phase, RecoveryScenario};
use kvdyno_workloads::WorkloadSpec;

use super::data_set::DataSet;
use super::plan::{Conditions, Plan, Point};
use super::schedule::reported;
use super::suite::RECOVERY;
use crate::registry::ResolvedEngine;

/// The harness's own engine.
pub(crate) const NOOP: &str = "noop";

/// What tells a cell from all others of its run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CellKey {
    /// Name of the engine.
    pub(crate) engine: String,
    /// Name of the workload, the load, or [`RECOVERY`].
    pub(crate) workload: String,
    /// Durability class.
    pub(crate) durability: Durability,
    /// Client threads.
    pub(crate) threads: u32,
    /// Records to load.
    pub(crate) records: u64,
    /// Bytes of a value.
    pub(crate) value_bytes: u64,
    /// Number of the trial.
    pub(crate) trial: u32,
    /// What is measured.
    pub(crate) phase: Phase,
    /// What is done to the store, in a recovery.
    pub(crate) scenario: Option<RecoveryScenario>,
}

impl CellKey {
    /// Of a cell, ended or not.
    pub(crate) fn of(cell: &Cell) -> Self {
        Self {
            engine: cell.engine.clone(),
            workload: cell.workload.clone(),
            durability: cell.durability,
            threads: cell.threads,
            records: cell.records,
            value_bytes: cell.value_bytes,
            trial: cell.trial,
            phase: cell.phase,
            scenario: cell.scenario,
        }
    }

    fn new(engine: &str, workload: &str, spec: &WorkloadSpec, point: Point, phase: Phase) -> Self {
        Self {
            engine: engine.to_owned(),
            workload: workload.to_owned(),
            durability: reported(point.durability),
            threads: point.threads,
            records: spec.records,
            value_bytes: spec.value_bytes(),
            trial: point.trial,
            phase,
            scenario: None,
        }
    }
}

impl Plan<'_> {
    /// All cells, in the order of the plan; engines are shuffled when it is run.
    pub(crate) fn cells(&self) -> Vec<CellKey> {
        let mut cells = Vec::new();
        for trial in 1..=self.settings.trials {
            for data_set in &self.data_sets {
                for conditions in &self.conditions {
                    let point = conditions.trial(trial);
                    if trial == 1 && self.measures_noop(*conditions) {
                        cells.extend(self.noop_cells(data_set, point));
                    }
                    for engine in self.compared() {
                        cells.extend(self.cells_of(engine, data_set, point));
                    }
                }
            }
        }
        cells
    }

    /// The engines that are compared.
    pub(crate) fn compared(&self) -> impl Iterator<Item = &ResolvedEngine<'_>> {
        self.engines.iter().filter(|engine| engine.adapter.name() != NOOP)
    }

    /// Whether `noop` was named as an engine.
    pub(crate) fn names_noop(&self) -> bool {
        self.engines.iter().any(|engine| engine.adapter.name() == NOOP)
    }

    /// Whether `noop` runs under these conditions. What the harness costs does not depend on the durability class.
    pub(crate) fn measures_noop(&self, conditions: Conditions) -> bool {
        let first = self.conditions.first().map(|first| first.durability);
        self.names_noop() || first == Some(conditions.durability)
    }

    /// Trials of `noop`: one is enough to tell what the harness costs.
    pub(crate) fn noop_trials(&self, phase: Phase) -> u32 {
        if self.names_noop() && phase == Phase::Run { self.settings.trials } else { 1 }
    }

    fn noop_cells(&self, data_set: &DataSet, point: Point) -> Vec<CellKey> {
        let load = &data_set.workloads[0];
        let mut cells = vec![CellKey::new(NOOP, &data_set.load_name, load, point, Phase::Load)];
        for spec in data_set.running() {
            cells.extend((1..=self.noop_trials(Phase::Run)).map(|trial| {
                let point = Point { trial, ..point };
                CellKey::new(NOOP, &spec.name, spec, point, Phase::Run)
            }));
        }
        cells
    }

    /// The cells of an engine on a data set at a point of the matrix.
    pub(crate) fn cells_of(
        &self,
        engine: &ResolvedEngine<'_>,
        data_set: &DataSet,
        point: Point,
    ) -> Vec<CellKey> {
        let load = &data_set.workloads[0];
        let key = |name: &str, spec, phase| CellKey::new(&engine.label, name, spec, point, phase);
        let mut cells = vec![key(&data_set.load_name, load, Phase::Load)];
        cells.extend(data_set.running().iter().map(|spec| key(&spec.name, spec, Phase::Run)));
        if data_set.recovery {
            let scenarios = self.scenes.scenarios.iter().copied();
            cells.extend(scenarios.map(|scenario| CellKey {
                scenario: self.scenes.told(scenario),
                ..key(RECOVERY, load, Phase::Recover)
            }));
        }
        cells
    }
}
