//! What was asked for, resolved: engines with options, data sets with the workloads that run on them, and the matrix that they are run in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kvdyno_engines::{Capabilities, Durability, OperationKind as EngineOperation};
use kvdyno_reports::{Arrivals, PageCache, StoreUse};
use kvdyno_workloads::{LastWrites, OperationKind, WorkloadSpec};
use serde::{Deserialize, Serialize};

use super::data_set::{COUNT_MAX, DataSet, at_most, data_sets};
use super::engines::engines;
use super::schedule::recovery::Scenes;
use super::suite::Suite;
use super::workloads::{Step, Steps};
use crate::cell::job::{Limit, Verify, WarmUp, durability_name};
use crate::cell::pacing::{Pacing, Rate};
use crate::cli::{ArrivalsArgument, CacheArgument, RunArguments};
use crate::failure::{Failure, Result};
use crate::registry::{Registry, ResolvedEngine};

/// A larger matrix is a slip of the finger: at ten seconds a cell it takes more than a day.
const CELLS_MAX: u128 = 10_000;
/// Longest time for a cell unless said.
const CELL_TIMEOUT: Duration = Duration::from_hours(1);
/// Seed unless said.
const SEED: u64 = 42;

/// A run, resolved.
pub(crate) struct Plan<'a> {
    /// The suite's name, or `custom`.
    pub(crate) suite: String,
    /// Engines, in the order in which they were named.
    pub(crate) engines: Vec<ResolvedEngine<'a>>,
    /// Data sets of all sizes, in the order of their first workload.
    pub(crate) data_sets: Vec<DataSet>,
    /// Conditions under which each data set is run, one after the other.
    pub(crate) conditions: Vec<Conditions>,
    /// What all cells have in common.
    pub(crate) settings: Settings,
    /// What the recovery experiments do.
    pub(crate) scenes: Scenes,
    /// Whether durability classes are checked before the first cell.
    pub(crate) check_durability: bool,
    /// Longest time for a cell.
    pub(crate) cell_timeout: Duration,
    /// Whether stores are left where they are.
    pub(crate) keep_stores: bool,
    /// Files that were read: the suite's, and property files.
    pub(crate) inputs: Vec<PathBuf>,
    /// What the user should know about the input.
    pub(crate) warnings: Vec<String>,
}

/// Conditions that cells must share to be compared, besides the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    /// Durability class.
    #[serde(with = "durability_name")]
    pub(crate) durability: Durability,
    /// Client threads.
    pub(crate) threads: u32,
}

/// A trial under certain conditions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// Number of the trial, from 1.
    pub(crate) trial: u32,
    /// Durability class.
    pub(crate) durability: Durability,
    /// Client threads.
    pub(crate) threads: u32,
}

impl Conditions {
    /// The trial of that number under these conditions.
    pub(crate) fn trial(self, trial: u32) -> Point {
        Point { trial, durability: self.durability, threads: self.threads }
    }
}

/// What all cells of a run have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Trials of each cell.
    pub(crate) trials: u32,
    /// Seed of every random choice.
    pub(crate) seed: u64,
    /// How workloads share stores.
    pub(crate) stores: StoreUse,
    /// How reads are checked while they are timed.
    pub(crate) verify: Verify,
    /// Length of the measured phase; none: as many operations as the workload says.
    limit: Option<Limit>,
    /// What goes before it; none: a tenth of it.
    warm_up: Option<WarmUp>,
    /// How operations are offered.
    pub(crate) pacing: Pacing,
    /// Whether the store's pages are in memory when a measured phase begins.
    pub(crate) page_cache: PageCache,
    /// The most memory that a cell may use, page cache included.
    pub(crate) memory_limit_bytes: Option<u64>,
}

impl Settings {
    /// What the suite says, or what is usual.
    fn of(suite: &Suite) -> Result<Self> {
        let limit = match (suite.operations, suite.duration) {
            (Some(operations), _) => {
                let place = suite.place_of("operations");
                Some(Limit::Operations(at_most(COUNT_MAX, &place, operations)?))
            }
            (None, duration) => duration.map(Limit::Duration),
        };
        Ok(Self {
            trials: suite.trials.unwrap_or(1),
            seed: suite.seed.unwrap_or(SEED),
            stores: suite.stores.map(Into::into).unwrap_or_default(),
            verify: suite.verify.unwrap_or(Verify::Sample),
            limit,
            warm_up: suite.warm_up,
            pacing: pacing(suite),
            page_cache: suite.cache.unwrap_or(CacheArgument::Warm).into(),
            memory_limit_bytes: suite.memory_limit,
        })
    }

    /// Settings of a run that consists of recovery experiments alone.
    pub(crate) fn of_recovery(trials: u32, seed: u64) -> Self {
        Self {
            trials,
            seed,
            stores: StoreUse::Copies,
            verify: Verify::Content,
            limit: None,
            warm_up: None,
            pacing: Pacing::Closed,
            page_cache: PageCache::Warm,
            memory_limit_bytes: None,
        }
    }

    /// Length of the measured phase of a workload.
    pub(crate) fn limit_of(&self, spec: &WorkloadSpec) -> Limit {
        self.limit.unwrap_or(Limit::Operations(spec.operations))
    }

    /// What goes before it, unmeasured. Unless said, a tenth of it; where the page cache is to be cold, nothing: warming up would warm it.
    pub(crate) fn warm_up_of(&self, spec: &WorkloadSpec) -> WarmUp {
        self.warm_up.unwrap_or_else(|| {
            WarmUp::Limit(match self.limit_of(spec) {
                _ if self.page_cache == PageCache::Cold => Limit::Operations(0),
                Limit::Operations(operations) => Limit::Operations(operations / 10),
                Limit::Duration(duration) => Limit::Duration(duration / 10),
            })
        })
    }
}

/// How operations are offered.
fn pacing(suite: &Suite) -> Pacing {
    let arrivals: Arrivals = suite.arrivals.unwrap_or(ArrivalsArgument::Constant).into();
    match (suite.rate, suite.slo) {
        (Some(Rate::OpsPerS(ops_per_s)), _) => Pacing::Open { ops_per_s, arrivals },
        (Some(Rate::Sweep), _) => Pacing::Sweep { arrivals },
        (None, Some(bound)) => Pacing::Search { bound, arrivals },
        (None, None) => Pacing::Closed,
    }
}

impl<'a> Plan<'a> {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// With exit status 2, naming the engine, workload, flag, file and line that is wrong.
    pub(crate) fn resolve(arguments: &RunArguments, registry: &'a Registry) -> Result<Self> {
        let (mut suite, steps) = choose(&arguments.names)?;
        suite.lay_over(arguments);
        suite.check_arrivals()?;
        let engines = engines(arguments, &suite, registry)?;
        check_size(&suite, engines.len(), &steps)?;
        let settings = Settings::of(&suite)?;
        let data_sets = data_sets(steps.named, &suite, settings.stores, settings.seed)?;
        let conditions = conditions(&suite, &data_sets)?;
        let cell_timeout = suite.cell_timeout.unwrap_or(CELL_TIMEOUT);
        check_timeout(&suite, cell_timeout)?;
        let mut warnings = steps.warnings;
        warnings.extend(check_versions(&settings, &data_sets)?);
        let mut inputs = steps.files;
        inputs.extend(suite.origin.path.clone());
        Ok(Self {
            suite: suite.name().to_owned(),
            engines,
            data_sets,
            conditions,
            settings,
            scenes: Scenes::default(),
            check_durability: suite.check_durability.unwrap_or(false),
            cell_timeout,
            keep_stores: suite.keep_stores.unwrap_or(false),
            inputs,
            warnings,
        })
    }

    /// All workloads that run, each once for each size.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &WorkloadSpec> {
        self.data_sets.iter().flat_map(DataSet::running)
    }
}

/// The suite that was named, or one that says nothing, and everything that is to run.
fn choose(names: &[String]) -> Result<(Suite, Steps)> {
    let default = ["quick".to_owned()];
    let names = if names.is_empty() { &default } else { names };
    let mut chosen: Option<(&str, Suite)> = None;
    let mut steps = Steps::default();
    for name in names {
        let suite = match Suite::built_in(name)? {
            None if Path::new(name).extension().is_some_and(|extension| extension == "toml") => {
                Some(Suite::read(Path::new(name))?)
            }
            built_in => built_in,
        };
        let Some(suite) = suite else {
            steps.add(name)?;
            continue;
        };
        if let Some((other, _)) = &chosen {
            return Err(Failure::usage(format!(
                "'{other}' and '{name}' are both suites, with sizes of their own: run them one after the other"
            )));
        }
        steps.add_suite(&suite)?;
        chosen = Some((name, suite));
    }
    if steps.named.is_empty() {
        let (name, _) = chosen.unwrap_or_default();
        return Err(Failure::usage(format!(
            "{name} names no workloads: add workloads = [\"ycsb-a\"] to it, or name them on the command line"
        )));
    }
    Ok((chosen.map(|(_, suite)| suite).unwrap_or_default(), steps))
}

/// A matrix that nobody can have meant is refused, before it is built.
fn check_size(suite: &Suite, engines: usize, steps: &Steps) -> Result<()> {
    let workloads = steps.named.iter().filter(|named| !matches!(named.step, Step::Reload)).count();
    let sizes = |values: &Option<Vec<u64>>| values.as_ref().map_or(1, Vec::len);
    let (records, values) = (sizes(&suite.records), sizes(&suite.value_size));
    let threads = suite.threads.as_ref().map_or(1, Vec::len);
    let classes = suite.durability.as_ref().map_or(1, Vec::len);
    let trials = suite.trials.unwrap_or(1) as usize;
    let factors = [engines, workloads, records, values, threads, classes, trials];
    let cells: u128 = factors.iter().map(|factor| *factor as u128).product();
    if cells > CELLS_MAX {
        return Err(Failure::usage(format!(
            "{engines} engines × {workloads} workloads × {records} × {values} sizes × {threads} numbers of threads × {classes} durability classes × \
             {trials} trials are {cells} cells, and loads besides: at most {CELLS_MAX} are possible in one run"
        )));
    }
    for (key, twice) in [
        ("records", twice(suite.records.as_ref())),
        ("value_size", twice(suite.value_size.as_ref())),
        ("threads", twice(suite.threads.as_ref())),
        ("durability", twice(suite.durability.as_ref())),
    ] {
        if let Some(value) = twice {
            return Err(Failure::usage(format!(
                "{} names {} twice: its results could not be told apart",
                suite.place_of(key),
                value.to_lowercase()
            )));
        }
    }
    Ok(())
}

/// The first value that a list holds twice, as text.
fn twice<T: PartialEq + std::fmt::Debug>(values: Option<&Vec<T>>) -> Option<String> {
    let values = values.map_or(&[][..], Vec::as_slice);
    let found = values.iter().enumerate().find(|(index, value)| values[..*index].contains(value));
    found.map(|(_, value)| format!("{value:?}"))
}

/// Durability classes × threads.
fn conditions(suite: &Suite, data_sets: &[DataSet]) -> Result<Vec<Conditions>> {
    let threads = suite.threads.clone().unwrap_or_else(|| vec![1]);
    for spec in data_sets.iter().flat_map(|set| &set.workloads) {
        if let Some(threads) = threads.iter().find(|threads| **threads > spec.streams) {
            return Err(Failure::usage(format!(
                "{} {threads}: workload '{}' has {} logical streams, and a thread needs at least one",
                suite.place_of("threads"),
                spec.name,
                spec.streams
            )));
        }
    }
    let classes: Vec<Durability> = suite.durability.as_ref().map_or_else(
        || vec![Durability::Os],
        |classes| classes.iter().copied().map(Into::into).collect(),
    );
    let with = |durability: Durability| {
        threads.iter().map(move |threads| Conditions { durability, threads: *threads })
    };
    Ok(classes.into_iter().flat_map(with).collect())
}

fn check_timeout(suite: &Suite, cell_timeout: Duration) -> Result<()> {
    let Some(duration) = suite.duration else { return Ok(()) };
    let warm_up = match suite.warm_up {
        Some(WarmUp::Limit(Limit::Duration(warm_up)) | WarmUp::Steady(warm_up)) => warm_up,
        _ => Duration::ZERO,
    };
    if duration.saturating_add(warm_up) >= cell_timeout {
        return Err(Failure::usage(format!(
            "{} and warm-up do not fit into --cell-timeout {}: give a longer one",
            suite.place_of("duration"),
            humantime::format_duration(cell_timeout)
        )));
    }
    Ok(())
}

/// Whether versions can be checked; a warning for each workload whose values hold none.
fn check_versions(settings: &Settings, data_sets: &[DataSet]) -> Result<Vec<String>> {
    if settings.verify != Verify::Versions {
        return Ok(Vec::new());
    }
    if settings.stores == StoreUse::Chain {
        return Err(Failure::usage(
            "--verify versions needs freshly loaded stores, and in a chain workloads follow one another: use --verify content",
        ));
    }
    let specs = data_sets.iter().flat_map(DataSet::running);
    let unwatched = specs.filter(|spec| !LastWrites::can_watch(spec));
    Ok(unwatched
        .map(|spec| {
            format!(
                "--verify versions: the values of {} hold no versions: their content is checked",
                spec.name
            )
        })
        .collect())
}

/// The first thing that an engine would have to do for the workload, and cannot.
pub(crate) fn lacking(capabilities: &Capabilities, spec: &WorkloadSpec) -> Option<EngineOperation> {
    let needs = spec.operation_kinds().into_iter().map(|kind| match kind {
        OperationKind::Scan | OperationKind::Window => EngineOperation::ScanForward,
        OperationKind::ScanReverse | OperationKind::Latest => EngineOperation::ScanReverse,
        OperationKind::Insert | OperationKind::Update => EngineOperation::Put,
        OperationKind::Read | OperationKind::ReadAbsent | OperationKind::ReadModifyWrite => {
            EngineOperation::Get
        }
        OperationKind::MultiGet => EngineOperation::MultiGet,
        OperationKind::Delete => EngineOperation::Delete,
        OperationKind::DeleteRange => EngineOperation::DeleteRange,
        OperationKind::InsertExpiring => EngineOperation::PutExpiring,
    });
    needs.into_iter().find(|operation| !capabilities.supports(*operation))
}
