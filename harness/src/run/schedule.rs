//! Goes through the cells of a plan.
//!
//! In each trial, for each data set, under each durability class and number of threads: every engine loads into a template; then for each workload,
//! every engine runs it, on the template if the workload only reads, else on a fresh copy; then every engine recovers. The order of engines
//! is drawn anew each time, so that no engine always goes first onto cold memory or always follows the same neighbour. The templates of all
//! engines exist side by side, so that the cells that are compared lie close together in time.
//!
//! The recovery experiments are in [`recovery`], the checks of durability classes before the first cell in `durability`, the harness's own cost in `harness_cost`.
//!
//! In a chain there are no copies: the workloads follow one another on the store that was loaded.
//!
//! Before the first engine loads or runs, `noop` does: what that costs is the harness's own.
//!
//! A run that goes on after it was cut off draws the same orders, and passes over the cells that have ended. Where cells are left that
//! need a store, it is loaded again, and in a chain the workloads before them run again; their figures are dropped, as they have been
//! measured before.

mod durability;
mod harness_cost;
pub(crate) mod recovery;
mod wording;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kvdyno_engines::OperationKind as EngineOperation;
use kvdyno_reports::{
    Cell, CellStatus, Durability, EngineInfo, Phase, ResultFile, RunStatus, StoreUse,
};
use kvdyno_workloads::WorkloadSpec;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

use wording::not_supported;

use super::cell_key::{CellKey, NOOP};
use super::child_process::ChildProcess;
use super::data_set::DataSet;
use super::interrupt::Interrupt;
use super::output::Output;
use super::plan::{Plan, Point};
use super::progress::Progress;
use super::room::writes;
use super::stores::Stores;
use crate::cell::job::{Job, Outcome, Task};
use crate::failure::Result;
use crate::registry::{Registry, ResolvedEngine};

/// A loaded store, from which the cells of a trial start; in a chain, the store itself.
struct Template {
    store: PathBuf,
    loaded_bytes: u64,
}

/// The templates of the engines at one point, by the engine's name.
type Templates = HashMap<String, Template>;

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
    /// Cells that ended before the run was cut off and went on.
    pub(crate) ended: BTreeSet<CellKey>,
    /// When the run began, or went on.
    pub(crate) began: Instant,
    /// How long it had taken before it went on.
    pub(crate) took_before: Duration,
}

impl Schedule<'_> {
    /// Runs all cells, or as many as the user lets it, and returns the result.
    ///
    /// # Errors
    /// Only if results cannot be written any more; what an engine does costs its cell alone.
    pub(crate) fn run(mut self) -> Result<ResultFile> {
        let plan = self.plan;
        let checked = |info: &EngineInfo| info.durability_check.is_some();
        if plan.check_durability && !self.result.engines.iter().any(checked) {
            self.check_durability()?;
        }
        for trial in 1..=plan.settings.trials {
            for (index, data_set) in plan.data_sets.iter().enumerate() {
                for (condition, conditions) in plan.conditions.iter().enumerate() {
                    if self.interrupt.requested() {
                        break;
                    }
                    // Drawn from the place in the plan alone, so that a run that goes on has the same orders.
                    let mut random =
                        random_at(plan.settings.seed, [trial as usize, index, condition]);
                    if trial == 1 && plan.measures_noop(*conditions) {
                        self.noops(data_set, conditions.trial(1))?;
                    }
                    self.data_set(data_set, conditions.trial(trial), &mut random)?;
                }
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
        point: Point,
        random: &mut Xoshiro256PlusPlus,
    ) -> Result<()> {
        let plan = self.plan;
        let mut engines: Vec<&ResolvedEngine<'_>> = plan.compared().collect();
        let mut templates = Templates::new();
        let mut shuffled = |engines: &mut Vec<&ResolvedEngine<'_>>| engines.shuffle(random);
        shuffled(&mut engines);
        for engine in &engines {
            if let Some(template) = self.load(engine, data_set, point)? {
                templates.insert(engine.label.clone(), template);
            }
        }
        for spec in data_set.running() {
            shuffled(&mut engines);
            for engine in &engines {
                if plan.settings.stores == StoreUse::Chain {
                    self.link(engine, spec, point, &mut templates)?;
                } else {
                    self.workload(engine, spec, point, templates.get(&engine.label))?;
                }
            }
        }
        if data_set.recovery {
            self.recoveries(data_set, point, &mut engines, &templates, random)?;
        }
        for template in templates.into_values() {
            self.stores.remove(&template.store);
        }
        Ok(())
    }

    /// Loads the data set into a template; none if that was not possible, or no cell needs it any more.
    fn load(
        &mut self,
        engine: &ResolvedEngine<'_>,
        data_set: &DataSet,
        point: Point,
    ) -> Result<Option<Template>> {
        let spec = &data_set.workloads[0];
        let cell = self.cell(engine, &data_set.load_name, spec, point, Phase::Load);
        let again = self.has_ended(&cell);
        if again {
            let left = |key: &CellKey| !self.ended.contains(key);
            let needed = self.plan.cells_of(engine, data_set, point).iter().any(left);
            if !needed || !self.has_ended_well(&cell) {
                return Ok(None);
            }
            self.progress
                .note(&format!("{}: loading again for the cells that are left", self.label(&cell)));
        } else if let Some(reason) = not_supported(engine, spec, point, &[EngineOperation::Put]) {
            self.record_unsupported(cell, reason)?;
            return Ok(None);
        }
        let Some(store) = self.prepare(&cell, |stores| stores.create(&store_name(&cell)))? else {
            return Ok(None);
        };
        let job = self.job(engine, spec, point, store.clone(), 0, Task::Load);
        let (cell, outcome) = self.execute(cell, &job)?;
        let loaded = cell.status == CellStatus::Ok;
        if again && !loaded {
            let reason = cell.error.as_deref().unwrap_or_default();
            self.progress.note(&format!("{}: loading again failed: {reason}", self.label(&cell)));
        }
        self.record(cell)?;
        let Some(loaded_bytes) = outcome.loaded_bytes.filter(|_| loaded) else {
            self.stores.remove(&store);
            return Ok(None);
        };
        Ok(Some(Template { store, loaded_bytes }))
    }

    /// Runs a workload on the template, or on a copy if it writes.
    fn workload(
        &mut self,
        engine: &ResolvedEngine<'_>,
        spec: &WorkloadSpec,
        point: Point,
        template: Option<&Template>,
    ) -> Result<()> {
        let cell = self.cell(engine, &spec.name, spec, point, Phase::Run);
        if self.has_ended(&cell) {
            return Ok(());
        }
        if let Some(reason) = not_supported(engine, spec, point, &[]) {
            return self.record_unsupported(cell, reason);
        }
        let Some(template) = template else { return self.record_unloaded(cell) };
        let store = if writes(spec) {
            let name = store_name(&cell);
            let Some(store) = self.prepare(&cell, |stores| stores.copy(&template.store, &name))?
            else {
                return Ok(());
            };
            store
        } else {
            template.store.clone()
        };
        let task = self.run_task(spec);
        let job = self.job(engine, spec, point, store.clone(), template.loaded_bytes, task);
        let (cell, _) = self.execute(cell, &job)?;
        if writes(spec) {
            self.stores.remove(&store);
        }
        self.record(cell)
    }

    /// Runs a workload on the store that the one before it has left. If that fails, those after it have no store, as nobody knows what is in it.
    fn link(
        &mut self,
        engine: &ResolvedEngine<'_>,
        spec: &WorkloadSpec,
        point: Point,
        stores: &mut Templates,
    ) -> Result<()> {
        let cell = self.cell(engine, &spec.name, spec, point, Phase::Run);
        if let Some(reason) = not_supported(engine, spec, point, &[]) {
            return self.record_unsupported(cell, reason);
        }
        if self.has_ended(&cell) && !self.has_ended_well(&cell) {
            self.give_up(engine, stores);
            return Ok(());
        }
        let Some(store) = stores.get_mut(&engine.label) else { return self.record_unloaded(cell) };
        let task = self.run_task(spec);
        let job = self.job(engine, spec, point, store.store.clone(), store.loaded_bytes, task);
        let (cell, _) = self.execute(cell, &job)?;
        let live_bytes = cell.measurement.as_ref().map(|figures| figures.amplification.live_bytes);
        match live_bytes.filter(|_| cell.status == CellStatus::Ok) {
            // What is not persistent is as it was loaded when the next process has filled it.
            Some(bytes) if engine.adapter.capabilities().persistent => store.loaded_bytes = bytes,
            Some(_) => {}
            None => self.give_up(engine, stores),
        }
        self.record(cell)
    }

    fn run_task(&self, spec: &WorkloadSpec) -> Task {
        let settings = &self.plan.settings;
        Task::Run {
            limit: settings.limit_of(spec),
            warm_up: settings.warm_up_of(spec),
            pacing: settings.pacing.clone(),
        }
    }

    /// Runs a job in a child and puts its outcome into the cell.
    fn execute(&self, cell: Cell, job: &Job) -> Result<(Cell, Outcome)> {
        if self.interrupt.requested() {
            let outcome = Outcome::without_figures(CellStatus::Interrupted, "stopped by the user");
            return Ok(with_outcome(cell, outcome));
        }
        let label = self.label(&cell);
        self.progress.begin(&label);
        let child = ChildProcess::start(job)?;
        let outcome = child.wait(&self.interrupt, self.plan.cell_timeout, |message| {
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
        point: Point,
        store: PathBuf,
        loaded_bytes: u64,
        task: Task,
    ) -> Job {
        let settings = &self.plan.settings;
        Job {
            parent: std::process::id(),
            engine: engine.adapter.name().into(),
            options: engine.options.clone(),
            durability: point.durability,
            threads: point.threads,
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
        point: Point,
        phase: Phase,
    ) -> Cell {
        let settings = &self.plan.settings;
        Cell {
            engine: engine.label.clone(),
            workload: workload.into(),
            durability: reported(point.durability),
            threads: point.threads,
            records: spec.records,
            value_bytes: spec.value_bytes(),
            // The harness's own cost is measured in a closed loop.
            offered_ops_per_s: settings
                .pacing
                .offered_ops_per_s()
                .filter(|_| phase == Phase::Run && engine.label != NOOP),
            scenario: None,
            trial: point.trial,
            phase,
            status: CellStatus::Ok,
            error: None,
            measurement: None,
            recovery: None,
        }
    }

    fn record_unsupported(&mut self, cell: Cell, reason: String) -> Result<()> {
        self.record(Cell { status: CellStatus::Unsupported, error: Some(reason), ..cell })
    }

    /// Records a cell whose data set could not be loaded.
    fn record_unloaded(&mut self, cell: Cell) -> Result<()> {
        let (status, reason) = if self.interrupt.requested() {
            (CellStatus::Interrupted, "stopped by the user")
        } else {
            (CellStatus::Failed, self.why_unloaded(&cell))
        };
        self.record(Cell { status, error: Some(reason.into()), ..cell })
    }

    /// Whether the cell ended before the run went on.
    fn has_ended(&self, cell: &Cell) -> bool {
        self.ended.contains(&CellKey::of(cell))
    }

    fn has_ended_well(&self, cell: &Cell) -> bool {
        let key = CellKey::of(cell);
        self.result
            .cells
            .iter()
            .any(|other| other.status == CellStatus::Ok && CellKey::of(other) == key)
    }

    /// Gives an engine's store up.
    fn give_up(&self, engine: &ResolvedEngine<'_>, stores: &mut Templates) {
        if let Some(broken) = stores.remove(&engine.label) {
            self.stores.remove(&broken.store);
        }
    }

    /// Adds an ended cell to the result, and writes it. Cells that the user stopped before anything was measured leave no trace.
    fn record(&mut self, mut cell: Cell) -> Result<()> {
        let unmeasured = cell.status == CellStatus::Interrupted && cell.measurement.is_none();
        // What had ended before the run went on was only done again for the sake of its store.
        if unmeasured || self.has_ended(&cell) {
            return Ok(());
        }
        self.tell_memory(&mut cell);
        self.warn_of_unsteady(&cell);
        let label = self.label(&cell);
        self.progress.end(&label, &cell);
        self.result.cells.push(cell);
        self.write()
    }

    /// Memory is told above what the harness itself takes: that of the `noop` cell of the same workload, size and threads, or of any.
    fn tell_memory(&self, cell: &mut Cell) {
        let place = |cell: &Cell| CellKey {
            engine: NOOP.into(),
            durability: Durability::Os,
            trial: 1,
            ..CellKey::of(cell)
        };
        let mut noop = self.result.cells.iter().filter(|other| other.engine == NOOP);
        let any = noop.clone().next();
        let of_cell = place(cell);
        let own = noop.find(|other| place(other) == of_cell).or(any);
        let own = own.and_then(|own| own.measurement.as_ref()?.resources.rss_anon_bytes);
        if let (Some(figures), Some(own)) = (&mut cell.measurement, own)
            && let Some(rss) = figures.resources.rss_anon_bytes
            && cell.engine != NOOP
        {
            let above = rss.saturating_sub(own);
            figures.resources.memory_bytes = Some(above);
            figures.resources.memory_bytes_per_record =
                Some(above as f64 / cell.records.max(1) as f64);
        }
    }

    /// A warm-up that was to last until throughput is steady, and gave up.
    fn warn_of_unsteady(&mut self, cell: &Cell) {
        let warm_up = cell.measurement.as_ref().map_or("", |figures| &figures.warm_up);
        if warm_up.starts_with("not steady") {
            let warning = format!("{}: throughput was {warm_up} of warming up", self.label(cell));
            self.progress.note(&format!("note: {warning}"));
            self.result.run.warnings.push(warning);
        }
    }

    fn write(&mut self) -> Result<()> {
        self.result.run.duration_s = (self.took_before + self.began.elapsed()).as_secs_f64();
        self.output.write(&self.result)
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

/// Random numbers that depend on the seed and a place in the plan alone.
fn random_at(seed: u64, place: [usize; 3]) -> Xoshiro256PlusPlus {
    let digest = place.iter().fold(seed.to_le_bytes().to_vec(), |mut bytes, part| {
        bytes.extend((*part as u64).to_le_bytes());
        bytes
    });
    Xoshiro256PlusPlus::seed_from_u64(xxhash_rust::xxh3::xxh3_64(&digest))
}

/// Name of a cell's store in the folder of stores.
fn store_name(cell: &Cell) -> String {
    let name = format!(
        "{}-{}-{}r-{}b-{:?}-{}t-{}",
        cell.engine,
        cell.workload,
        cell.records,
        cell.value_bytes,
        cell.durability,
        cell.threads,
        cell.trial
    );
    // A property file's name can hold anything.
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.@".contains(c) { c.to_ascii_lowercase() } else { '_' }
    };
    name.chars().map(plain).collect()
}

/// The class as the result file names it.
pub(crate) fn reported(durability: kvdyno_engines::Durability) -> Durability {
    match durability {
        kvdyno_engines::Durability::Buffered => Durability::Buffered,
        kvdyno_engines::Durability::Os => Durability::Os,
        kvdyno_engines::Durability::Sync => Durability::Sync,
    }
}
