//! What the harness itself costs: the engine `noop` on each load and workload, before the first engine has its turn.

use kvdyno_reports::{Cell, NoopCost, Phase};
use kvdyno_workloads::WorkloadSpec;

use super::super::cell_key::NOOP;
use super::super::data_set::DataSet;
use super::super::plan::Point;
use super::Schedule;
use crate::cell::job::{Limit, Task};
use crate::cell::pacing::Pacing;
use crate::failure::Result;
use crate::options::Options;
use crate::registry::ResolvedEngine;

/// Longest measured phase of the `noop` cell that is added to each workload.
const NOOP_LIMIT: Limit = Limit::Operations(2_000_000);

impl Schedule<'_> {
    /// Measures the harness itself on a data set.
    pub(super) fn noops(&mut self, data_set: &DataSet, point: Point) -> Result<()> {
        self.noop(&data_set.load_name, &data_set.workloads[0], point, Phase::Load)?;
        for spec in data_set.running() {
            self.noop(&spec.name, spec, point, Phase::Run)?;
        }
        Ok(())
    }

    /// Measures the harness itself on a load or a workload.
    fn noop(&mut self, name: &str, spec: &WorkloadSpec, point: Point, phase: Phase) -> Result<()> {
        let settings = &self.plan.settings;
        let adapter = self.registry.get(NOOP)?;
        let engine = ResolvedEngine { label: NOOP.into(), adapter, options: Options::default() };
        let limit = settings.limit_of(spec);
        let limit = if self.plan.names_noop() { limit } else { shorter(limit) };
        for trial in 1..=self.plan.noop_trials(phase) {
            let point = Point { trial, ..point };
            let task = match phase {
                Phase::Load => Task::Load,
                _ => {
                    Task::Run { limit, warm_up: settings.warm_up_of(spec), pacing: Pacing::Closed }
                }
            };
            let cell = self.cell(&engine, name, spec, point, phase);
            if self.has_ended(&cell) {
                continue;
            }
            let store = self.stores.create(NOOP)?;
            let job = self.job(&engine, spec, point, store.clone(), 0, task);
            let (cell, _) = self.execute(cell, &job)?;
            self.stores.discard(&store);
            self.tell_noop_cost(&cell);
            self.record(cell)?;
        }
        Ok(())
    }

    /// Notes what the harness costs by a cell of `noop`: once for each workload and number of threads, in the first size.
    fn tell_noop_cost(&mut self, cell: &Cell) {
        let told = &mut self.result.harness.noop;
        let known =
            |cost: &NoopCost| cost.workload == cell.workload && cost.threads == cell.threads;
        let Some(figures) = cell.measurement.as_ref().filter(|_| !told.iter().any(known)) else {
            return;
        };
        let operations = figures.operations.last().map_or(0, |all| all.operations).max(1);
        told.push(NoopCost {
            workload: cell.workload.clone(),
            threads: cell.threads,
            ns_per_operation: figures.duration_s * 1e9 * f64::from(cell.threads)
                / operations as f64,
            timed_section_ns: figures.operations.last().map(|all| all.service.mean_ns),
            rss_anon_bytes: figures.resources.rss_anon_bytes.unwrap_or(0),
        });
    }
}

fn shorter(limit: Limit) -> Limit {
    match (limit, NOOP_LIMIT) {
        (Limit::Operations(operations), Limit::Operations(most)) => {
            Limit::Operations(operations.min(most))
        }
        _ => NOOP_LIMIT,
    }
}
