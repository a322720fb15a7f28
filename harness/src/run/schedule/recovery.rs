//! The recovery cells of a run: the phase `recovery` of suites, and what `kvdyno recover` goes through.

use std::time::Duration;

use kvdyno_engines::OperationKind as EngineOperation;
use kvdyno_reports::{Cell, CellStatus, PageCache, Phase, RecoveryEnding, RecoveryScenario};
use kvdyno_workloads::WorkloadSpec;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::super::data_set::DataSet;
use super::super::plan::{Plan, Point};
use super::super::recovery::{Amount, Experiment, Written};
use super::super::suite::RECOVERY;
use super::wording::not_supported;
use super::{Schedule, Template, Templates, store_name, with_outcome};
use crate::cell::job::Task;
use crate::failure::Result;
use crate::registry::ResolvedEngine;

/// A child that is to be killed after some time writes for at least this long.
const TIME_BEFORE_KILL: Duration = Duration::from_secs(1);
/// The scenario of the phase `recovery`.
const KILLED: RecoveryScenario =
    RecoveryScenario { ending: RecoveryEnding::Kill, page_cache: PageCache::Warm, written: None };
/// Share of a store that may stay in memory when its pages are dropped, before the user is told.
const RESIDENT_SHARE_MAX: f64 = 0.05;

/// What one recovery cell does.
struct Scene<'a> {
    spec: &'a WorkloadSpec,
    point: Point,
    scenario: RecoveryScenario,
    amount: Amount,
    reads_wait: Option<Duration>,
}

/// What the recovery experiments of a run do, on each data set that has them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Scenes {
    /// How stores are left, with which page cache they are reopened, and what is written before, where there are several amounts.
    pub(crate) scenarios: Vec<RecoveryScenario>,
    /// What is written before the store is left where the scenario does not say it; none: as much as the engine takes in a second or two.
    pub(crate) written: Option<Written>,
    /// How long reads may take to come at the rate that they had before; none: that is not looked at.
    pub(crate) reads_wait: Option<Duration>,
}

impl Scenes {
    /// The scenario as cells carry it: none in suites, which have one way to leave a store, and tell it beside loads and runs.
    pub(crate) fn told(&self, scenario: RecoveryScenario) -> Option<RecoveryScenario> {
        self.amount(scenario).map(|_| scenario)
    }

    /// What is written under a scenario; none: as much as the engine takes in a second or two.
    fn amount(&self, scenario: RecoveryScenario) -> Option<Written> {
        scenario.written.map(Written::from).or(self.written)
    }
}

impl Default for Scenes {
    /// Those of suites: killed after writing for some time.
    fn default() -> Self {
        Self { scenarios: vec![KILLED], written: None, reads_wait: None }
    }
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
    let written = scenario.written.map(|written| format!(", {written} written"));
    format!("{ending}, {cache}{}", written.unwrap_or_default())
}

impl Schedule<'_> {
    /// Leaves and reopens copies of a data set by every scenario, on every engine.
    pub(super) fn recoveries<'e>(
        &mut self,
        data_set: &DataSet,
        point: Point,
        engines: &mut [&'e ResolvedEngine<'e>],
        templates: &Templates,
        random: &mut Xoshiro256PlusPlus,
    ) -> Result<()> {
        let spec = &data_set.workloads[0];
        let scenes = &self.plan.scenes;
        for scenario in scenes.scenarios.iter().copied() {
            engines.shuffle(random);
            for engine in &*engines {
                // Kills at different points of what an engine does again and again, such as filling a memtable.
                let amount = match scenes.amount(scenario) {
                    None => {
                        Amount::Time(random.random_range(TIME_BEFORE_KILL..2 * TIME_BEFORE_KILL))
                    }
                    Some(written) => {
                        let writes = written.writes(spec);
                        Amount::Writes(random.random_range(writes..=writes + writes / 10))
                    }
                };
                let scene = Scene { spec, point, scenario, amount, reads_wait: scenes.reads_wait };
                self.scene(engine, &scene, templates.get(&engine.label))?;
            }
        }
        Ok(())
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
        let mut cell = self.cell(engine, RECOVERY, spec, scene.point, Phase::Recover);
        cell.scenario = self.plan.scenes.told(scenario);
        if self.has_ended(&cell) {
            return Ok(());
        }
        if let Some(reason) = not_recoverable(engine, spec, scene.point, scenario.ending) {
            return self.record_unsupported(cell, reason);
        }
        let Some(template) = template else { return self.record_unloaded(cell) };
        let name = store_name(&cell);
        let Some(store) = self.prepare(&cell, |stores| stores.copy(&template.store, &name))? else {
            return Ok(());
        };
        let memory = self.stores.create("acknowledgements")?;
        let label = self.label(&cell);
        self.progress.begin(&label);
        let experiment = Experiment {
            job: self.job(
                engine,
                spec,
                scene.point,
                store.clone(),
                template.loaded_bytes,
                Task::Load,
            ),
            hint_files: engine.adapter.hint_files(),
            amount: scene.amount,
            scenario,
            reads_wait: scene.reads_wait,
            memory: &memory,
            interrupt: &self.interrupt,
            timeout: self.plan.cell_timeout,
        };
        let outcome = experiment.run(|message| self.progress.update(&label, message))?;
        self.stores.remove(&store);
        self.stores.discard(&memory);
        let cell = with_outcome(cell, outcome).0;
        self.warn_of_warm_pages(&cell);
        self.record(cell)
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
                self.label(cell),
                100.0 * share
            );
            self.progress.note(&format!("note: {warning}"));
            self.result.run.warnings.push(warning);
        }
    }
}

/// Why the engine can do none of a plan's experiments; none if there is one that it can.
pub(crate) fn why_not_recoverable(plan: &Plan<'_>, engine: &ResolvedEngine<'_>) -> Option<String> {
    let mut reasons = Vec::new();
    for data_set in plan.data_sets.iter().filter(|set| set.recovery) {
        for conditions in &plan.conditions {
            for scenario in &plan.scenes.scenarios {
                let spec = &data_set.workloads[0];
                let point = conditions.trial(1);
                reasons.push(not_recoverable(engine, spec, point, scenario.ending)?);
            }
        }
    }
    reasons.into_iter().next()
}

/// Why the engine cannot take part in an experiment.
fn not_recoverable(
    engine: &ResolvedEngine<'_>,
    spec: &WorkloadSpec,
    point: Point,
    ending: RecoveryEnding,
) -> Option<String> {
    if !engine.adapter.capabilities().persistent {
        return Some("nothing is stored".into());
    }
    let needs = [EngineOperation::Put, EngineOperation::Get];
    if let Some(reason) = not_supported(engine, spec, point, &needs) {
        return Some(reason);
    }
    let meddles = match ending {
        RecoveryEnding::CleanClose | RecoveryEnding::Kill => false,
        RecoveryEnding::KillWithoutHints | RecoveryEnding::KillDamagedHints => true,
    };
    (meddles && engine.adapter.hint_files().is_empty())
        .then(|| format!("{} has no hint files", engine.adapter.name()))
}
