//! The recovery cells of a run: the phase `recovery` of suites, and what `kvdyno recover` goes through.

use std::collections::HashMap;
use std::time::Duration;

use kvdyno_engines::OperationKind as EngineOperation;
use kvdyno_reports::{
    Cell, CellStatus, PageCache, Phase, RecoveryEnding, RecoveryScenario, ResultFile, RunStatus,
};
use kvdyno_workloads::WorkloadSpec;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::super::plan::DataSet;
use super::super::recovery::{Amount, Experiment};
use super::super::suite::RECOVERY;
use super::{Schedule, Template, label, with_outcome};
use crate::cell::job::Task;
use crate::failure::Result;
use crate::registry::ResolvedEngine;

/// The scenario of the phase `recovery`.
const KILLED: RecoveryScenario =
    RecoveryScenario { ending: RecoveryEnding::Kill, page_cache: PageCache::Warm };
/// Share of a store that may stay in memory when its pages are dropped, before the user is told.
const RESIDENT_SHARE_MAX: f64 = 0.05;

/// What one recovery cell does.
struct Scene<'a> {
    spec: &'a WorkloadSpec,
    trial: u32,
    scenario: RecoveryScenario,
    amount: Amount,
    reads_wait: Option<Duration>,
}

/// What `kvdyno recover` goes through for each data set.
pub(crate) struct Scenes {
    /// How stores are left, and with which page cache they are reopened.
    pub(crate) scenarios: Vec<RecoveryScenario>,
    /// Writes before the store is left, for each data set of the plan.
    pub(crate) writes: Vec<u64>,
    /// How long reads may take to come at the rate that they had before.
    pub(crate) reads_wait: Duration,
}

/// A scenario in a few words.
pub(super) fn in_short(scenario: RecoveryScenario) -> String {
    let ending = match scenario.ending {
        RecoveryEnding::CleanClose => "clean close",
        RecoveryEnding::Kill => "kill -9",
        RecoveryEnding::KillWithoutHints => "kill -9, hints missing",
        RecoveryEnding::KillDamagedHints => "kill -9, hints damaged",
    };
    let cache = match scenario.page_cache {
        PageCache::Warm => "warm",
        PageCache::Cold => "cold",
    };
    format!("{ending}, {cache}")
}

impl Schedule<'_> {
    /// Loads every data set into every engine, and leaves and reopens copies of it by every scenario.
    ///
    /// # Errors
    /// Only if results cannot be written any more; what an engine does costs its cell alone.
    pub(crate) fn run_recoveries(mut self, scenes: &Scenes) -> Result<ResultFile> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.plan.settings.seed);
        let plan = self.plan;
        for trial in 1..=plan.settings.trials {
            for (data_set, writes) in plan.data_sets.iter().zip(&scenes.writes) {
                if !self.interrupt.requested() {
                    self.recoveries(data_set, trial, scenes, *writes, &mut random)?;
                }
            }
        }
        self.result.run.status =
            if self.interrupt.requested() { RunStatus::Interrupted } else { RunStatus::Complete };
        self.write()?;
        self.progress.finish();
        Ok(self.result)
    }

    fn recoveries(
        &mut self,
        data_set: &DataSet,
        trial: u32,
        scenes: &Scenes,
        writes: u64,
        random: &mut Xoshiro256PlusPlus,
    ) -> Result<()> {
        let spec = &data_set.workloads[0];
        if trial == 1 {
            self.noop(&data_set.load_name, spec, Phase::Load)?;
        }
        let mut engines: Vec<&ResolvedEngine<'_>> = self.plan.engines.iter().collect();
        engines.shuffle(random);
        let mut templates: HashMap<&str, Template> = HashMap::new();
        for engine in &engines {
            if let Some(template) = self.load(engine, data_set, trial)? {
                templates.insert(&engine.label, template);
            }
        }
        for scenario in scenes.scenarios.iter().copied() {
            engines.shuffle(random);
            for engine in &engines {
                // Kills at different points of what an engine does again and again, such as filling a memtable.
                let amount = Amount::Writes(random.random_range(writes..=writes + writes / 10));
                let reads_wait = Some(scenes.reads_wait);
                let scene = Scene { spec, trial, scenario, amount, reads_wait };
                self.scene(engine, &scene, templates.get(engine.label.as_str()))?;
            }
        }
        for template in templates.into_values() {
            self.stores.remove(&template.store);
        }
        Ok(())
    }

    /// The phase `recovery` of suites: killed after writing for some time.
    pub(super) fn recovery(
        &mut self,
        engine: &ResolvedEngine<'_>,
        spec: &WorkloadSpec,
        trial: u32,
        template: Option<&Template>,
        written: Duration,
    ) -> Result<()> {
        let amount = Amount::Time(written);
        let scene = Scene { spec, trial, scenario: KILLED, amount, reads_wait: None };
        self.scene(engine, &scene, template)
    }

    fn scene(
        &mut self,
        engine: &ResolvedEngine<'_>,
        scene: &Scene<'_>,
        template: Option<&Template>,
    ) -> Result<()> {
        // Cells that never began leave no trace, whether they would have been possible or not.
        if self.interrupt.requested() {
            return Ok(());
        }
        let Scene { spec, scenario, .. } = *scene;
        let mut cell = self.cell(engine, RECOVERY, spec, scene.trial, Phase::Recover);
        cell.scenario = Some(scenario);
        if let Some(reason) = self.not_recoverable(engine, spec, scenario.ending) {
            return self.record_unsupported(cell, reason);
        }
        let Some(template) = template else { return self.record_unloaded(cell) };
        let name = format!("{}-recovery", engine.label);
        let Some(store) = self.prepare(&cell, |stores| stores.copy(&template.store, &name))? else {
            return Ok(());
        };
        let memory = self.stores.create("acknowledgements")?;
        let label = label(&cell);
        self.progress.begin(&label);
        let experiment = Experiment {
            job: self.job(engine, spec, store.clone(), template.loaded_bytes, Task::Load),
            hint_files: engine.adapter.hint_files(),
            amount: scene.amount,
            scenario,
            reads_wait: scene.reads_wait,
            memory: &memory,
            interrupt: &self.interrupt,
            timeout: self.cell_timeout,
        };
        let outcome = experiment.run(|message| self.progress.update(&label, message))?;
        self.stores.remove(&store);
        self.stores.remove(&memory);
        let cell = with_outcome(cell, outcome).0;
        self.warn_of_warm_pages(&cell);
        self.record(cell)
    }

    fn not_recoverable(
        &self,
        engine: &ResolvedEngine<'_>,
        spec: &WorkloadSpec,
        ending: RecoveryEnding,
    ) -> Option<String> {
        if !engine.adapter.capabilities().persistent {
            return Some("nothing is stored".into());
        }
        let needs = [EngineOperation::Put, EngineOperation::Get];
        if let Some(reason) = self.not_supported(engine, spec, &needs) {
            return Some(reason);
        }
        let meddles = match ending {
            RecoveryEnding::CleanClose | RecoveryEnding::Kill => false,
            RecoveryEnding::KillWithoutHints | RecoveryEnding::KillDamagedHints => true,
        };
        (meddles && engine.adapter.hint_files().is_empty())
            .then(|| format!("{} has no hint files", engine.adapter.name()))
    }

    /// Cold figures of a store that stayed in memory are none, and the reader has to know.
    fn warn_of_warm_pages(&mut self, cell: &Cell) {
        let Some(share) = cell.recovery.as_ref().and_then(|found| found.resident_share_before)
        else {
            return;
        };
        let cold = cell.scenario.is_some_and(|scenario| scenario.page_cache == PageCache::Cold);
        if cold && share > RESIDENT_SHARE_MAX && cell.status == CellStatus::Ok {
            let warning = format!(
                "{}: {:.0} % of the store stayed in memory though its pages were dropped: not cold",
                label(cell),
                100.0 * share
            );
            self.progress.note(&format!("note: {warning}"));
            self.result.run.warnings.push(warning);
        }
    }
}
