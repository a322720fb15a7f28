//! What was typed, resolved: engines with options, and data sets with the workloads that run on them.
//!
//! Workloads that load the same bytes share a [`DataSet`]: it is loaded once per engine and trial, and each workload runs on a copy.

use std::path::Path;

use kvdyno_engines::{Capabilities, Durability, OperationKind as EngineOperation};
use kvdyno_reports::PageCache;
use kvdyno_workloads::{OperationKind, WorkloadSpec};

use super::suite::{self, DEFAULT_ENGINES, RECOVERY, Suite};
use crate::cell::job::{Limit, Verify, WarmUp};
use crate::cell::pacing::Pacing;
use crate::cli::RunArguments;
use crate::failure::{Failure, Result, nearest};
use crate::options::EngineSettings;
use crate::registry::{Adapter, Registry, ResolvedEngine};

/// A larger file is none that somebody wrote by hand.
const PROPERTY_FILE_BYTES_MAX: u64 = 1 << 20;
/// More records or operations than this are taken for a slip of the finger.
pub(crate) const COUNT_MAX: u64 = 1_000_000_000_000;

/// A run, resolved.
pub(crate) struct Plan<'a> {
    /// The suite's name, or `custom`.
    pub(crate) suite: String,
    /// Engines, in the order in which they were named.
    pub(crate) engines: Vec<ResolvedEngine<'a>>,
    /// Data sets, in the order of their first workload.
    pub(crate) data_sets: Vec<DataSet>,
    /// What all cells have in common.
    pub(crate) settings: Settings,
    /// What the user should know about the input.
    pub(crate) warnings: Vec<String>,
}

/// Records to load, and the workloads that run on them.
pub(crate) struct DataSet {
    /// Name of the load in tables: `load`, or `load-ycsb` where a run has several data sets.
    pub(crate) load_name: String,
    /// Workloads, in the order in which they were named. The first one loads for all.
    pub(crate) workloads: Vec<WorkloadSpec>,
    /// Whether some workload was named, or the data set is there only for recovery.
    pub(crate) runs_workloads: bool,
    /// Whether the recovery experiment runs on it.
    pub(crate) recovery: bool,
}

/// What all cells of a run have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Durability class.
    pub(crate) durability: Durability,
    /// Client threads.
    pub(crate) threads: u32,
    /// Trials of each cell.
    pub(crate) trials: u32,
    /// Seed of every random choice.
    pub(crate) seed: u64,
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
    /// Those of recovery experiments, which run no operations of workloads.
    pub(crate) fn of_recovery(
        durability: Durability,
        threads: u32,
        trials: u32,
        seed: u64,
    ) -> Self {
        Self {
            durability,
            threads,
            trials,
            seed,
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

    /// What goes before it, unmeasured.
    pub(crate) fn warm_up_of(&self, spec: &WorkloadSpec) -> WarmUp {
        self.warm_up.unwrap_or_else(|| {
            WarmUp::Limit(match self.limit_of(spec) {
                Limit::Operations(operations) => Limit::Operations(operations / 10),
                Limit::Duration(duration) => Limit::Duration(duration / 10),
            })
        })
    }
}

impl<'a> Plan<'a> {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// With exit status 2, naming the engine, workload, flag, file and line that is wrong.
    pub(crate) fn resolve(arguments: &RunArguments, registry: &'a Registry) -> Result<Self> {
        let mut chosen: Option<&Suite> = None;
        let mut specs = Vec::new();
        let mut recovery = false;
        let mut warnings = Vec::new();
        let default = ["quick".to_owned()];
        let names = if arguments.names.is_empty() { default.as_slice() } else { &arguments.names };
        for name in names {
            if let Some(suite) = suite::find(name) {
                if let Some(other) = chosen {
                    return Err(Failure::usage(format!(
                        "'{}' and '{name}' are both suites, with sizes of their own: run them one after the other",
                        other.name
                    )));
                }
                chosen = Some(suite);
                for workload in suite.workloads {
                    recovery |= *workload == RECOVERY;
                    specs.extend(WorkloadSpec::builtin(workload));
                }
            } else if name == RECOVERY {
                recovery = true;
            } else if let Some(spec) = WorkloadSpec::builtin(name) {
                specs.push(spec);
            } else {
                let (spec, notes) = from_file(name)?;
                warnings.extend(notes);
                specs.push(spec);
            }
        }
        let runs_workloads = !specs.is_empty();
        if !runs_workloads {
            specs.extend(WorkloadSpec::builtin("ycsb-a"));
        }
        for (index, spec) in specs.iter().enumerate() {
            if specs[..index].iter().any(|earlier| earlier.name == spec.name) {
                return Err(Failure::usage(format!(
                    "workload '{}' is named twice: its results could not be told apart",
                    spec.name
                )));
            }
        }
        let records = arguments.records.or(chosen.and_then(|suite| suite.records));
        let value_bytes = arguments.value_size.or(chosen.and_then(|suite| suite.value_bytes));
        for spec in &mut specs {
            adjust(spec, records, value_bytes, arguments)?;
        }
        let limit = match (arguments.operations, arguments.duration) {
            (Some(operations), _) => {
                Some(Limit::Operations(at_most(COUNT_MAX, "--operations", operations)?))
            }
            (None, Some(duration)) => Some(Limit::Duration(duration)),
            (None, None) => chosen.and_then(|suite| suite.limit),
        };
        if arguments.duration.is_some_and(|duration| {
            let warm_up = match arguments.warm_up {
                Some(WarmUp::Limit(Limit::Duration(warm_up)) | WarmUp::Steady(warm_up)) => warm_up,
                _ => std::time::Duration::ZERO,
            };
            duration.saturating_add(warm_up) >= arguments.cell_timeout
        }) {
            return Err(Failure::usage(format!(
                "--duration and --warm-up do not fit into --cell-timeout {}: give a longer one",
                humantime::format_duration(arguments.cell_timeout)
            )));
        }
        let own_limit = arguments.operations.is_some() || arguments.duration.is_some();
        let settings = Settings {
            durability: arguments.durability.into(),
            threads: arguments.threads,
            trials: arguments.trials.or(chosen.map(|suite| suite.trials)).unwrap_or(1),
            seed: arguments.seed,
            verify: arguments.verify,
            limit,
            warm_up: arguments.warm_up.or(chosen
                .filter(|_| !own_limit)
                .and_then(|suite| suite.warm_up.map(WarmUp::Limit))),
            pacing: arguments.pacing(),
            page_cache: arguments.cache.into(),
            memory_limit_bytes: arguments.memory_limit,
        };
        for spec in &specs {
            if settings.threads > spec.streams {
                return Err(Failure::usage(format!(
                    "--threads {}: workload '{}' has {} logical streams, and a thread needs at least one",
                    settings.threads, spec.name, spec.streams
                )));
            }
        }
        let engines = engines(arguments, chosen, registry)?;
        let data_sets = data_sets(specs, runs_workloads, recovery, settings.seed);
        let suite = chosen.map_or("custom", |suite| suite.name).to_owned();
        Ok(Self { suite, engines, data_sets, settings, warnings })
    }

    /// All workloads that run.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &WorkloadSpec> {
        self.data_sets.iter().filter(|set| set.runs_workloads).flat_map(|set| &set.workloads)
    }

    /// Cells that the plan leads to.
    pub(crate) fn cells(&self) -> u64 {
        let workloads = self.workloads().count();
        let recoveries = self.data_sets.iter().filter(|set| set.recovery).count();
        let compared = self.engines.iter().filter(|engine| engine.label != "noop").count();
        let noop = self.engines.len() - compared;
        let per_trial =
            compared * (self.data_sets.len() + workloads + recoveries) + noop * workloads;
        let noop_anyway = if noop == 0 { workloads } else { 0 };
        (per_trial * self.settings.trials as usize + noop_anyway + self.data_sets.len()) as u64
    }
}

/// The workload of a property file.
fn from_file(name: &str) -> Result<(WorkloadSpec, Vec<String>)> {
    let path = Path::new(name);
    if !path.exists() {
        let builtins = WorkloadSpec::builtins();
        let known = suite::SUITES.iter().map(|suite| suite.name).chain([RECOVERY]);
        let hint = nearest(name, known.chain(builtins.iter().map(|spec| spec.name.as_str())));
        return Err(Failure::usage(format!(
            "'{name}' is no suite, no workload and no file{hint} ('kvdyno list' shows what there is)"
        )));
    }
    let metadata = std::fs::metadata(path)
        .map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    if !metadata.is_file() || metadata.len() > PROPERTY_FILE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{} is no property file: expected a plain file of at most 1 MiB",
            name.escape_debug()
        )));
    }
    let (spec, notes) = WorkloadSpec::from_property_file(path)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let reserved = spec.name == RECOVERY || spec.name == "load" || spec.name.starts_with("load-");
    if reserved || spec.name.contains(char::is_control) {
        return Err(Failure::usage(format!(
            "{}: the file's name becomes the workload's, and this one would be mistaken for something else: rename the file",
            name.escape_debug()
        )));
    }
    Ok((spec, notes))
}

/// Lays the flags over a workload.
fn adjust(
    spec: &mut WorkloadSpec,
    records: Option<u64>,
    value_bytes: Option<u64>,
    arguments: &RunArguments,
) -> Result<()> {
    if let Some(records) = records {
        spec.records = at_most(COUNT_MAX, "--records", records)?;
    }
    if let Some(operations) = arguments.operations {
        spec.operations = operations;
    }
    // A suite's size is for workloads whose values have a free size; what the user asks for must work.
    if let Some(bytes) = value_bytes
        && let Err(error) = spec.set_value_bytes(bytes)
        && arguments.value_size.is_some()
    {
        return Err(Failure::usage(format!("--value-size {bytes}: {error}")));
    }
    spec.validate().map_err(|error| Failure::usage(error.to_string()))
}

pub(crate) fn at_most(max: u64, flag: &str, value: u64) -> Result<u64> {
    if value > max {
        return Err(Failure::usage(format!("{flag} {value}: at most {max} is possible")));
    }
    Ok(value)
}

fn engines<'a>(
    arguments: &RunArguments,
    suite: Option<&Suite>,
    registry: &'a Registry,
) -> Result<Vec<ResolvedEngine<'a>>> {
    let names: Vec<&str> = if arguments.engine.is_empty() {
        let wanted = suite.map_or(DEFAULT_ENGINES, |suite| suite.engines);
        let all = wanted.is_empty();
        registry
            .adapters()
            .map(Adapter::name)
            .filter(|name| all && *name != "noop" || wanted.contains(name))
            .collect()
    } else {
        arguments.engine.iter().map(String::as_str).collect()
    };
    let typed = EngineSettings {
        write_buffer_mib: arguments.write_buffer,
        cache_mib: arguments.engine_cache,
        set: arguments.set.iter().map(|text| text.parse()).collect::<Result<_>>()?,
    };
    registry.resolve_all(&names, &typed)
}

/// Puts workloads that load the same bytes together.
fn data_sets(
    specs: Vec<WorkloadSpec>,
    runs_workloads: bool,
    recovery: bool,
    seed: u64,
) -> Vec<DataSet> {
    let mut sets: Vec<(String, Vec<WorkloadSpec>)> = Vec::new();
    for spec in specs {
        let digest = spec.dataset_digest(seed);
        match sets.iter_mut().find(|(known, _)| *known == digest) {
            Some((_, workloads)) => workloads.push(spec),
            None => sets.push((digest, vec![spec])),
        }
    }
    let several = sets.len() > 1;
    sets.into_iter()
        .enumerate()
        .map(|(index, (_, workloads))| DataSet {
            load_name: if several {
                format!("load-{}", common_name(&workloads))
            } else {
                "load".into()
            },
            workloads,
            runs_workloads,
            recovery: recovery && index == 0,
        })
        .collect()
}

/// What the names of workloads begin with in common (`ycsb` for `ycsb-a` and `ycsb-c`), or the first one's name.
fn common_name(workloads: &[WorkloadSpec]) -> String {
    let first = workloads[0].name.as_str();
    let common = workloads.iter().skip(1).fold(first.len(), |common, spec| {
        let same = first.bytes().zip(spec.name.bytes()).take_while(|(a, b)| a == b).count();
        common.min(same)
    });
    let prefix = first.get(..common).unwrap_or(first).trim_end_matches(['-', '_']);
    if prefix.is_empty() { first.to_owned() } else { prefix.to_owned() }
}

/// The first thing that an engine would have to do for the workload, and cannot.
pub(crate) fn lacking(capabilities: &Capabilities, spec: &WorkloadSpec) -> Option<EngineOperation> {
    let needs = spec.operation_kinds().into_iter().map(|kind| match kind {
        OperationKind::Scan | OperationKind::Window => EngineOperation::ScanForward,
        OperationKind::Latest => EngineOperation::ScanReverse,
        OperationKind::Insert | OperationKind::Update => EngineOperation::Put,
        OperationKind::Read | OperationKind::ReadModifyWrite => EngineOperation::Get,
        OperationKind::MultiGet => EngineOperation::MultiGet,
        OperationKind::Delete => EngineOperation::Delete,
        OperationKind::DeleteRange => EngineOperation::DeleteRange,
        OperationKind::InsertExpiring => EngineOperation::PutExpiring,
    });
    needs.into_iter().find(|operation| !capabilities.supports(*operation))
}
