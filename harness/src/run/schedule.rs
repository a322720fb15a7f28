//! Goes through the cells of a plan.
//!
//! In each trial, for each data set: every engine loads it into a template; then for each workload, every engine runs it, on the template if
//! the workload only reads, else on a fresh copy; then every engine recovers. The order of engines is drawn anew each time,
//! so that no engine always goes first onto cold memory or always follows the same neighbour. The templates of all engines exist
//! side by side, so that the cells that are compared lie close together in time.
//!
//! Before the first engine loads or runs, `noop` does: what that costs is the harness's own.

mod durability;
pub(crate) mod recovery;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kvdyno_engines::OperationKind as EngineOperation;
use kvdyno_reports::{Cell, CellStatus, Durability, NoopCost, Phase, ResultFile, RunStatus};
use kvdyno_workloads::WorkloadSpec;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::child_process::ChildProcess;
use super::interrupt::Interrupt;
use super::output::Output;
use super::plan::{DataSet, Plan, lacking};
use super::progress::Progress;
use super::stores::Stores;
use crate::cell::job::{Job, Limit, Outcome, Task};
use crate::cell::pacing::Pacing;
use crate::failure::Result;
use crate::options::EngineSettings;
use crate::registry::{Adapter, Registry, ResolvedEngine};

/// A child that is to be killed writes for at least this long.
const WRITES_BEFORE_KILL: Duration = Duration::from_secs(1);
/// Longest measured phase of the `noop` cell that is added to each workload.
const NOOP_LIMIT: Limit = Limit::Operations(2_000_000);

/// A loaded store, from which the cells of a trial start.
struct Template {
    store: PathBuf,
    loaded_bytes: u64,
}

/// A run under way.
pub(crate) struct Schedule<'a> {
    /// What to do.
    pub(crate) plan: &'a Plan<'a>,
    /// All engines of the build, `noop` among them.
    pub(crate) registry: &'a Registry,
    /// Where stores live.
    pub(crate) stores: &'a Stores,
    /// Where results go.
    pub(crate) output: &'a Output,
    /// What has been measured so far.
    pub(crate) result: ResultFile,
    /// Whom to tell.
    pub(crate) progress: Progress,
    /// The user's wish to stop.
    pub(crate) interrupt: Interrupt,
    /// Longest time for a cell.
    pub(crate) cell_timeout: Duration,
    /// When the run began.
    pub(crate) began: Instant,
}

impl Schedule<'_> {
    /// Runs all cells, or as many as the user lets it, and returns the result.
    ///
    /// # Errors
    /// Only if results cannot be written any more; what an engine does costs its cell alone.
    pub(crate) fn run(mut self) -> Result<ResultFile> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.plan.settings.seed);
        let plan = self.plan;
        for trial in 1..=plan.settings.trials {
            for data_set in &plan.data_sets {
                if self.interrupt.requested() {
                    break;
                }
                self.data_set(data_set, trial, &mut random)?;
            }
        }
        self.result.run.status =
            if self.interrupt.requested() { RunStatus::Interrupted } else { RunStatus::Complete };
        self.write()?;
        self.progress.finish();
        Ok(self.result)
    }

    fn data_set(
        &mut self,
        data_set: &DataSet,
        trial: u32,
        random: &mut Xoshiro256PlusPlus,
    ) -> Result<()> {
        let plan = self.plan;
        let workloads = if data_set.runs_workloads { data_set.workloads.as_slice() } else { &[] };
        if trial == 1 {
            self.noop(&data_set.load_name, &data_set.workloads[0], Phase::Load)?;
            for spec in workloads {
                self.noop(&spec.name, spec, Phase::Run)?;
            }
        }
        let mut engines: Vec<&ResolvedEngine<'_>> =
            plan.engines.iter().filter(|engine| engine.label != "noop").collect();
        let mut templates: HashMap<&str, Template> = HashMap::new();
        let mut shuffled = |engines: &mut Vec<&ResolvedEngine<'_>>| engines.shuffle(random);
        shuffled(&mut engines);
        for engine in &engines {
            if let Some(template) = self.load(engine, data_set, trial)? {
                templates.insert(&engine.label, template);
            }
        }
        for spec in workloads {
            shuffled(&mut engines);
            for engine in &engines {
                self.workload(engine, spec, trial, templates.get(engine.label.as_str()))?;
            }
        }
        if data_set.recovery {
            shuffled(&mut engines);
            for engine in &engines {
                let written = random.random_range(WRITES_BEFORE_KILL..2 * WRITES_BEFORE_KILL);
                let template = templates.get(engine.label.as_str());
                self.recovery(engine, &data_set.workloads[0], trial, template, written)?;
            }
        }
        for template in templates.into_values() {
            self.stores.remove(&template.store);
        }
        Ok(())
    }

    /// Measures the harness itself on a load or a workload.
    fn noop(&mut self, name: &str, spec: &WorkloadSpec, phase: Phase) -> Result<()> {
        let settings = &self.plan.settings;
        let engine = self.registry.resolve("noop", &EngineSettings::default())?;
        let named = self.plan.engines.iter().any(|engine| engine.label == "noop");
        let trials = if named && phase == Phase::Run { settings.trials } else { 1 };
        let limit = settings.limit_of(spec);
        let limit = if named { limit } else { shorter(limit) };
        for trial in 1..=trials {
            let task = match phase {
                Phase::Load => Task::Load,
                _ => {
                    Task::Run { limit, warm_up: settings.warm_up_of(spec), pacing: Pacing::Closed }
                }
            };
            let store = self.stores.create("noop")?;
            let cell = self.cell(&engine, name, spec, trial, phase);
            let (cell, _) = self.execute(cell, &self.job(&engine, spec, store.clone(), 0, task))?;
            self.stores.remove(&store);
            if let Some(figures) = &cell.measurement
                && trial == 1
            {
                let operations = figures.operations.last().map_or(0, |all| all.operations).max(1);
                let threads = settings.threads;
                let cost = NoopCost {
                    workload: name.to_owned(),
                    threads,
                    ns_per_operation: figures.duration_s * 1e9 * f64::from(threads)
                        / operations as f64,
                    timed_section_ns: figures.operations.last().map(|all| all.service.mean_ns),
                    rss_anon_bytes: figures.resources.rss_anon_bytes.unwrap_or(0),
                };
                self.result.harness.noop.push(cost);
            }
            self.record(cell)?;
        }
        Ok(())
    }

    /// Loads the data set into a template; none if that was not possible.
    fn load(
        &mut self,
        engine: &ResolvedEngine<'_>,
        data_set: &DataSet,
        trial: u32,
    ) -> Result<Option<Template>> {
        let spec = &data_set.workloads[0];
        let cell = self.cell(engine, &data_set.load_name, spec, trial, Phase::Load);
        if let Some(reason) = self.not_supported(engine, spec, &[EngineOperation::Put]) {
            self.record_unsupported(cell, reason)?;
            return Ok(None);
        }
        let Some(store) =
            self.prepare(&cell, |stores| stores.create(&format!("{}-template", engine.label)))?
        else {
            return Ok(None);
        };
        let job = self.job(engine, spec, store.clone(), 0, Task::Load);
        let (cell, outcome) = self.execute(cell, &job)?;
        let loaded = cell.status == CellStatus::Ok;
        self.record(cell)?;
        let Some(loaded_bytes) = outcome.loaded_bytes.filter(|_| loaded) else {
            self.stores.remove(&store);
            return Ok(None);
        };
        Ok(Some(Template { store, loaded_bytes }))
    }

    fn workload(
        &mut self,
        engine: &ResolvedEngine<'_>,
        spec: &WorkloadSpec,
        trial: u32,
        template: Option<&Template>,
    ) -> Result<()> {
        let cell = self.cell(engine, &spec.name, spec, trial, Phase::Run);
        if let Some(reason) = self.not_supported(engine, spec, &[]) {
            return self.record_unsupported(cell, reason);
        }
        let Some(template) = template else { return self.record_unloaded(cell) };
        let settings = &self.plan.settings;
        let task = Task::Run {
            limit: settings.limit_of(spec),
            warm_up: settings.warm_up_of(spec),
            pacing: settings.pacing.clone(),
        };
        let only_reads = spec.operation_kinds().iter().all(|kind| !kind.writes());
        let store = if only_reads {
            template.store.clone()
        } else {
            let name = format!("{}-run", engine.label);
            let Some(store) = self.prepare(&cell, |stores| stores.copy(&template.store, &name))?
            else {
                return Ok(());
            };
            store
        };
        let job = self.job(engine, spec, store.clone(), template.loaded_bytes, task);
        let (cell, _) = self.execute(cell, &job)?;
        if !only_reads {
            self.stores.remove(&store);
        }
        self.record(cell)
    }

    /// Runs a job in a child and puts its outcome into the cell.
    fn execute(&self, cell: Cell, job: &Job) -> Result<(Cell, Outcome)> {
        if self.interrupt.requested() {
            let outcome = Outcome::without_figures(CellStatus::Interrupted, "stopped by the user");
            return Ok(with_outcome(cell, outcome));
        }
        let label = label(&cell);
        self.progress.begin(&label);
        let child = ChildProcess::start(job)?;
        let outcome = child.wait(&self.interrupt, self.cell_timeout, |message| {
            self.progress.update(&label, message);
        });
        Ok(with_outcome(cell, outcome))
    }

    /// Makes a store ready; if that fails, it is the cell that fails, for instance because the device is full.
    fn prepare(
        &mut self,
        cell: &Cell,
        make: impl FnOnce(&Stores) -> Result<PathBuf>,
    ) -> Result<Option<PathBuf>> {
        match make(self.stores) {
            Ok(store) => Ok(Some(store)),
            Err(failure) => {
                let outcome = Outcome::without_figures(CellStatus::Failed, failure.message);
                self.record(with_outcome(cell.clone(), outcome).0)?;
                Ok(None)
            }
        }
    }

    fn job(
        &self,
        engine: &ResolvedEngine<'_>,
        spec: &WorkloadSpec,
        store: PathBuf,
        loaded_bytes: u64,
        task: Task,
    ) -> Job {
        let settings = &self.plan.settings;
        Job {
            parent: std::process::id(),
            engine: engine.label.clone(),
            options: engine.options.clone(),
            durability: settings.durability,
            threads: settings.threads,
            seed: settings.seed,
            spec: spec.clone(),
            store,
            loaded_bytes,
            verify: settings.verify,
            page_cache: settings.page_cache,
            memory_limit_bytes: settings.memory_limit_bytes,
            task,
        }
    }

    fn cell(
        &self,
        engine: &ResolvedEngine<'_>,
        workload: &str,
        spec: &WorkloadSpec,
        trial: u32,
        phase: Phase,
    ) -> Cell {
        let settings = &self.plan.settings;
        Cell {
            engine: engine.label.clone(),
            workload: workload.into(),
            durability: reported(settings.durability),
            threads: settings.threads,
            records: spec.records,
            value_bytes: spec.value_bytes(),
            offered_ops_per_s: settings.pacing.offered_ops_per_s().filter(|_| phase == Phase::Run),
            scenario: None,
            trial,
            phase,
            status: CellStatus::Ok,
            error: None,
            measurement: None,
            recovery: None,
        }
    }

    /// Why the engine cannot do the workload, or one of the operations.
    fn not_supported(
        &self,
        engine: &ResolvedEngine<'_>,
        spec: &WorkloadSpec,
        operations: &[EngineOperation],
    ) -> Option<String> {
        let adapter: &dyn Adapter = engine.adapter;
        let capabilities = adapter.capabilities();
        let durability = self.plan.settings.durability;
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

    fn record_unsupported(&mut self, cell: Cell, reason: String) -> Result<()> {
        self.record(Cell { status: CellStatus::Unsupported, error: Some(reason), ..cell })
    }

    /// Records a cell whose data set could not be loaded.
    fn record_unloaded(&mut self, cell: Cell) -> Result<()> {
        let (status, reason) = if self.interrupt.requested() {
            (CellStatus::Interrupted, "stopped by the user")
        } else {
            (CellStatus::Failed, "the load before it failed")
        };
        self.record(Cell { status, error: Some(reason.into()), ..cell })
    }

    /// Adds an ended cell to the result, and writes it. Cells that the user stopped before anything was measured leave no trace.
    fn record(&mut self, mut cell: Cell) -> Result<()> {
        if cell.status == CellStatus::Interrupted && cell.measurement.is_none() {
            return Ok(());
        }
        self.tell_memory(&mut cell);
        self.progress.end(&label(&cell), &cell);
        self.result.cells.push(cell);
        self.write()
    }

    /// Memory is told above what the harness itself takes: that of the `noop` cell of the same workload, or of any.
    fn tell_memory(&self, cell: &mut Cell) {
        let noop = &self.result.harness.noop;
        let own = noop.iter().find(|cost| cost.workload == cell.workload).or(noop.first());
        if let (Some(figures), Some(own)) = (&mut cell.measurement, own)
            && let Some(rss) = figures.resources.rss_anon_bytes
            && cell.engine != "noop"
        {
            let above = rss.saturating_sub(own.rss_anon_bytes);
            figures.resources.memory_bytes = Some(above);
            figures.resources.memory_bytes_per_record =
                Some(above as f64 / cell.records.max(1) as f64);
        }
    }

    fn write(&mut self) -> Result<()> {
        self.result.run.duration_s = self.began.elapsed().as_secs_f64();
        self.output.write(&self.result)
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

fn with_outcome(cell: Cell, outcome: Outcome) -> (Cell, Outcome) {
    let cell = Cell {
        status: outcome.status,
        error: outcome.error.clone(),
        measurement: outcome.measurement.clone(),
        recovery: outcome.recovery.clone(),
        ..cell
    };
    (cell, outcome)
}

/// A cell's name for people.
fn label(cell: &Cell) -> String {
    let scenario = cell.scenario.map_or_else(String::new, |scenario| {
        format!(" · {} records, {}", cell.records, recovery::in_short(scenario))
    });
    format!("{}{scenario} · {} · trial {}", cell.workload, cell.engine, cell.trial)
}

/// The class as the result file names it.
pub(crate) fn reported(durability: kvdyno_engines::Durability) -> Durability {
    match durability {
        kvdyno_engines::Durability::Buffered => Durability::Buffered,
        kvdyno_engines::Durability::Os => Durability::Os,
        kvdyno_engines::Durability::Sync => Durability::Sync,
    }
}
