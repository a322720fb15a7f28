//! Data sets: records to load, and the workloads that run on them.
//!
//! 1. Each workload is taken once in each size of the matrix.
//! 2. On fresh copies, workloads that load the same bytes share a data set: it is loaded once, and each of them starts from it.
//! 3. In a chain, a data set is a stretch of workloads that follow one another on one store, up to a `reload`.

use kvdyno_reports::StoreUse;
use kvdyno_workloads::{OperationKind, WorkloadSpec};
use serde::{Deserialize, Serialize};

use super::suite::{RECOVERY, RELOAD, Suite};
use super::workloads::{NamedStep, NamedWorkload, Step};
use crate::failure::{Failure, Result};

/// More records or operations than this are taken for a slip of the finger.
pub(crate) const COUNT_MAX: u64 = 1_000_000_000_000;

/// Records to load, and the workloads that run on them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DataSet {
    /// Name of the load in tables: `load`, or `load-ycsb` where a run has several data sets of one size.
    pub(crate) load_name: String,
    /// Workloads, in the order in which they were named. The first one loads for all.
    pub(crate) workloads: Vec<WorkloadSpec>,
    /// Whether some workload was named, or the data set is there only for recovery.
    pub(crate) runs_workloads: bool,
    /// Whether the recovery experiment runs on it.
    pub(crate) recovery: bool,
}

impl DataSet {
    /// The workloads that run.
    pub(crate) fn running(&self) -> &[WorkloadSpec] {
        if self.runs_workloads { &self.workloads } else { &[] }
    }
}

/// A size of the matrix: records and bytes of a value, where the suite or a flag says them.
#[derive(Clone, Copy, Debug)]
struct Size {
    records: Option<u64>,
    value_bytes: Option<u64>,
}

/// Puts steps into data sets, in every size.
///
/// # Errors
/// If a workload is named twice, cannot have a size, or cannot follow another one on its store.
pub(crate) fn data_sets(
    mut steps: Vec<NamedStep>,
    suite: &Suite,
    stores: StoreUse,
    seed: u64,
) -> Result<Vec<DataSet>> {
    check_steps(&steps, stores)?;
    let recovery = steps.iter().any(|named| matches!(named.step, Step::Recovery));
    let runs_workloads = steps.iter().any(|named| matches!(named.step, Step::Workload(_)));
    if !runs_workloads && let Some(spec) = WorkloadSpec::builtin("ycsb-a") {
        let workload = NamedWorkload { spec, own_records: false, own_value_bytes: false };
        steps.push(NamedStep { step: Step::Workload(Box::new(workload)), place: String::new() });
    }
    let mut all: Vec<DataSet> = Vec::new();
    for size in sizes(suite) {
        let mut stretches: Vec<Vec<WorkloadSpec>> = vec![Vec::new()];
        for NamedStep { step, place } in &steps {
            match step {
                Step::Recovery => {}
                Step::Reload => stretches.push(Vec::new()),
                Step::Workload(named) => {
                    let spec = sized(named, size, suite)?;
                    spec.validate().map_err(|error| Failure::usage(format!("{place}{error}")))?;
                    // A workload that says its own size has it in every size of the matrix, and runs once.
                    let known =
                        all.iter().flat_map(|set| &set.workloads).any(|known| *known == spec);
                    if let Some(stretch) = stretches.last_mut().filter(|_| !known) {
                        stretch.push(spec);
                    }
                }
            }
        }
        let mut sets = Vec::new();
        for stretch in stretches {
            sets.extend(by_loaded_bytes(stretch, seed));
        }
        if stores == StoreUse::Chain {
            sets.iter().try_for_each(|set| check_chain(set, &steps))?;
        }
        all.extend(named(sets, runs_workloads, recovery));
    }
    Ok(all)
}

fn sizes(suite: &Suite) -> Vec<Size> {
    let each = |values: &Option<Vec<u64>>| match values {
        Some(values) => values.iter().copied().map(Some).collect(),
        None => vec![None],
    };
    let (records, value_bytes) = (each(&suite.records), each(&suite.value_size));
    let with = |records: Option<u64>| {
        value_bytes.iter().map(move |value_bytes| Size { records, value_bytes: *value_bytes })
    };
    records.into_iter().flat_map(with).collect()
}

/// What cannot be said, whatever the size.
fn check_steps(steps: &[NamedStep], stores: StoreUse) -> Result<()> {
    for (index, NamedStep { step, place }) in steps.iter().enumerate() {
        let refused = |reason: String| Err(Failure::usage(format!("{place}{reason}")));
        match step {
            Step::Workload(named) => {
                let name = named.spec.name.as_str();
                let same = |other: &NamedStep| matches!(&other.step, Step::Workload(other) if other.spec.name == name);
                if steps[..index].iter().any(same) {
                    return refused(format!(
                        "workload '{name}' is named twice: its results could not be told apart"
                    ));
                }
            }
            Step::Recovery if stores == StoreUse::Chain => {
                return refused(format!(
                    "'{RECOVERY}' needs a store that has just been loaded, and a chain has none left: run it by itself"
                ));
            }
            Step::Reload if stores == StoreUse::Copies => {
                return refused(format!(
                    "'{RELOAD}' has a meaning only where workloads follow one another on one store: add --chain, or stores = \"chain\" to the suite"
                ));
            }
            Step::Reload => {
                let before = index.checked_sub(1).and_then(|before| steps.get(before));
                let is_workload = |named: Option<&NamedStep>| {
                    named.is_some_and(|named| matches!(named.step, Step::Workload(_)))
                };
                if !is_workload(before) || !is_workload(steps.get(index + 1)) {
                    return refused(format!(
                        "'{RELOAD}' stands between two workloads: before the first one the store is loaded anyway"
                    ));
                }
            }
            Step::Recovery => {}
        }
    }
    Ok(())
}

/// A workload in a size of the matrix. A flag wins over the workload's own definition, which wins over the suite.
fn sized(named: &NamedWorkload, size: Size, suite: &Suite) -> Result<WorkloadSpec> {
    let mut spec = named.spec.clone();
    if let Some(records) = size.records
        && (suite.is_flag("records") || !named.own_records)
    {
        spec.records = at_most(COUNT_MAX, &suite.place_of("records"), records)?;
    }
    if let Some(operations) = suite.operations {
        spec.operations = at_most(COUNT_MAX, &suite.place_of("operations"), operations)?;
    }
    // A suite's size is for workloads whose values have a free size; what a flag asks for must work.
    if let Some(bytes) = size.value_bytes
        && (suite.is_flag("value_size") || !named.own_value_bytes)
        && let Err(error) = spec.set_value_bytes(bytes)
        && (suite.is_flag("value_size") || suite.origin.path.is_some())
    {
        let place = suite.place_of("value_size");
        return Err(Failure::usage(format!("{place} {bytes}: {error}")));
    }
    Ok(spec)
}

pub(crate) fn at_most(max: u64, place: &str, value: u64) -> Result<u64> {
    if value > max {
        return Err(Failure::usage(format!("{place} {value}: at most {max} is possible")));
    }
    Ok(value)
}

/// Puts workloads that load the same bytes together.
fn by_loaded_bytes(specs: Vec<WorkloadSpec>, seed: u64) -> Vec<Vec<WorkloadSpec>> {
    let mut sets: Vec<(String, Vec<WorkloadSpec>)> = Vec::new();
    for spec in specs {
        let digest = spec.dataset_digest(seed);
        match sets.iter_mut().find(|(known, _)| *known == digest) {
            Some((_, workloads)) => workloads.push(spec),
            None => sets.push((digest, vec![spec])),
        }
    }
    sets.into_iter().map(|(_, workloads)| workloads).collect()
}

/// Workloads that follow one another must find the records that they expect.
fn check_chain(workloads: &[WorkloadSpec], steps: &[NamedStep]) -> Result<()> {
    let does = |spec: &WorkloadSpec, kinds: &[OperationKind]| {
        spec.operation_kinds().iter().any(|kind| kinds.contains(kind))
    };
    let inserts =
        |spec: &&WorkloadSpec| does(spec, &[OperationKind::Insert, OperationKind::InsertExpiring]);
    let removes =
        |spec: &&WorkloadSpec| does(spec, &[OperationKind::Delete, OperationKind::DeleteRange]);
    let mut inserting = workloads.iter().filter(inserts);
    if let (Some(first), Some(second)) = (inserting.next(), inserting.next()) {
        return Err(Failure::usage(format!(
            "{}'{}' inserts records that '{}' has inserted before on the same store: put '{RELOAD}' between them",
            place_of(second, steps),
            second.name,
            first.name
        )));
    }
    let before_last = &workloads[..workloads.len().saturating_sub(1)];
    if let Some(spec) = before_last.iter().find(removes) {
        return Err(Failure::usage(format!(
            "{}'{}' removes records that the workloads after it expect on the same store: put '{RELOAD}' after it",
            place_of(spec, steps),
            spec.name
        )));
    }
    Ok(())
}

/// Where a workload was named.
fn place_of<'a>(spec: &WorkloadSpec, steps: &'a [NamedStep]) -> &'a str {
    let named = steps
        .iter()
        .find(|named| matches!(&named.step, Step::Workload(named) if named.spec.name == spec.name));
    named.map_or("", |named| &named.place)
}

/// Gives the data sets of one size their names.
fn named(sets: Vec<Vec<WorkloadSpec>>, runs_workloads: bool, recovery: bool) -> Vec<DataSet> {
    let several = sets.len() > 1;
    let names: Vec<String> = sets.iter().map(|workloads| common_name(workloads)).collect();
    let unique = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    let all_unique = names.iter().all(unique);
    sets.into_iter()
        .enumerate()
        .map(|(index, workloads)| {
            let name = if all_unique { &names[index] } else { &workloads[0].name };
            let load_name = if several { format!("load-{name}") } else { "load".into() };
            DataSet { load_name, workloads, runs_workloads, recovery: recovery && index == 0 }
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
