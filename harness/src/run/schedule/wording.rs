//! What the schedule says about cells: their names, and why some have no figures.

use kvdyno_engines::OperationKind as EngineOperation;
use kvdyno_reports::{Cell, CellStatus, Phase, StoreUse};
use kvdyno_workloads::WorkloadSpec;

use super::super::cell_key::CellKey;
use super::super::plan::{Point, lacking};
use super::{Schedule, recovery};
use crate::registry::{Adapter, ResolvedEngine};

impl Schedule<'_> {
    /// A cell's name for people: with those of its conditions that the run varies.
    pub(super) fn label(&self, cell: &Cell) -> String {
        let plan = self.plan;
        let mut label = format!("{} · {}", cell.workload, cell.engine);
        let first = plan.data_sets.first().map(|set| &set.workloads[0]);
        let varies = |of: fn(&WorkloadSpec) -> u64| {
            plan.data_sets
                .iter()
                .flat_map(|set| &set.workloads)
                .any(|spec| Some(of(spec)) != first.map(of))
        };
        if varies(|spec| spec.records) {
            label.push_str(&format!(" · {} records", cell.records));
        }
        if varies(WorkloadSpec::value_bytes) {
            label.push_str(&format!(" · {} B", cell.value_bytes));
        }
        let conditions = plan.conditions.as_slice();
        if conditions.iter().any(|other| other.durability != conditions[0].durability) {
            label.push_str(&format!(" · {}", format!("{:?}", cell.durability).to_lowercase()));
        }
        if conditions.iter().any(|other| other.threads != conditions[0].threads) {
            let plural = if cell.threads == 1 { "" } else { "s" };
            label.push_str(&format!(" · {} thread{plural}", cell.threads));
        }
        if plan.settings.trials > 1 {
            label.push_str(&format!(" · trial {}", cell.trial));
        }
        if let Some(scenario) = cell.scenario.filter(|_| plan.scenes.scenarios.len() > 1) {
            label.push_str(&format!(" · {}", recovery::in_short(scenario)));
        }
        label
    }

    /// Why there is no store for a cell.
    pub(super) fn why_unloaded(&self, cell: &Cell) -> &'static str {
        let place = |cell: &Cell| CellKey {
            workload: String::new(),
            phase: Phase::Load,
            ..CellKey::of(cell)
        };
        // The last load at the same place is the one that the cell would have started from.
        let of_cell = place(cell);
        let mut loads = self
            .result
            .cells
            .iter()
            .filter(|other| other.phase == Phase::Load && place(other) == of_cell);
        match loads.next_back() {
            Some(load) if load.status != CellStatus::Ok => "the load before it failed",
            _ if self.plan.settings.stores == StoreUse::Chain => {
                "a workload before it on the same store failed"
            }
            _ => "loading the store again failed",
        }
    }
}

/// Why the engine cannot do the workload, or one of the operations.
pub(super) fn not_supported(
    engine: &ResolvedEngine<'_>,
    spec: &WorkloadSpec,
    point: Point,
    operations: &[EngineOperation],
) -> Option<String> {
    let adapter: &dyn Adapter = engine.adapter;
    let capabilities = adapter.capabilities_with(&engine.options);
    let durability = point.durability;
    if adapter.durability_call(durability).is_none() {
        return Some(format!("{} has no class {durability}", adapter.name()));
    }
    let lacks = if operations.is_empty() {
        lacking(&capabilities, spec)
    } else {
        operations.iter().copied().find(|operation| !capabilities.supports(*operation))
    };
    if let Some(operation) = lacks {
        return Some(format!("{} has no {operation}", adapter.name()));
    }
    let (key_bytes, value_bytes) = (spec.key_bytes_max(), spec.value_bytes());
    if key_bytes > capabilities.key_bytes_max as u64
        || value_bytes > capabilities.value_bytes_max as u64
    {
        return Some(format!(
            "{} takes keys of up to {} and values of up to {} bytes",
            adapter.name(),
            capabilities.key_bytes_max,
            capabilities.value_bytes_max
        ));
    }
    None
}
