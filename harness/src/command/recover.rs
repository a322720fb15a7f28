//! `kvdyno recover`: leaves stores by a clean close or kill -9, reopens them, takes the times, and looks for every acknowledged write.

use kvdyno_engines::Durability;
use kvdyno_reports::{LogSize, RecoveryScenario};
use kvdyno_workloads::WorkloadSpec;

use super::run::{Printed, begin, measure};
use crate::cli::RecoverArguments;
use crate::failure::{ExitStatus, Failure, Result};
use crate::registry::Registry;
use crate::run::data_set::{COUNT_MAX, DataSet, at_most};
use crate::run::plan::{Conditions, Plan, Settings};
use crate::run::recovery::Written;
use crate::run::schedule::recovery::{Scenes, why_not_recoverable};

/// The workload whose records are loaded and overwritten.
const RECORDS_OF: &str = "ycsb-c";
/// The least that is written by default: as much as the engines' memtables and log segments hold.
const WRITTEN_BYTES_MIN: u64 = 64 << 20;

/// Plans, does it, writes and prints.
pub(crate) fn main(
    arguments: &RecoverArguments,
    registry: &Registry,
    command_line: Vec<String>,
) -> Result<ExitStatus> {
    let printed = Printed { quiet: arguments.quiet, json: arguments.json, format: None };
    measure(printed, registry, || {
        let plan = resolve(arguments, registry)?;
        check_any_recovers(&plan)?;
        begin(plan, arguments.dir.as_deref(), arguments.out.as_deref(), true, command_line)
    })
}

/// What was typed, as a plan.
fn resolve<'a>(arguments: &RecoverArguments, registry: &'a Registry) -> Result<Plan<'a>> {
    let engines = registry.named_or_persistent(&arguments.engine, &arguments.set)?;
    refuse_repeated("--records", &arguments.records, u64::to_string)?;
    refuse_repeated("--scenario", &arguments.scenario, name_of)?;
    refuse_repeated("--cache", &arguments.cache, name_of)?;
    refuse_repeated("--written", &arguments.written, LogSize::to_string)?;
    let durability = arguments.durability.into();
    let data_sets = arguments
        .records
        .iter()
        .map(|records| data_set(arguments, *records))
        .collect::<Result<Vec<_>>>()?;
    let scenes = scenes(arguments, durability);
    Ok(Plan {
        suite: "recover".into(),
        engines,
        data_sets,
        conditions: vec![Conditions { durability, threads: arguments.threads }],
        settings: Settings::of_recovery(arguments.trials, arguments.seed),
        scenes,
        check_durability: false,
        cell_timeout: arguments.cell_timeout,
        keep_stores: false,
        inputs: Vec::new(),
        warnings: Vec::new(),
    })
}

/// Ways to leave a store × page caches × amounts written. One amount alone is not told with each scenario.
fn scenes(arguments: &RecoverArguments, durability: Durability) -> Scenes {
    let (written, amounts): (_, Vec<Option<LogSize>>) = match arguments.written.as_slice() {
        [] => (Some(usual(durability)), vec![None]),
        [one] => (Some((*one).into()), vec![None]),
        several => (None, several.iter().copied().map(Some).collect()),
    };
    let mut scenarios = Vec::new();
    for ending in &arguments.scenario {
        for cache in &arguments.cache {
            scenarios.extend(amounts.iter().map(|written| RecoveryScenario {
                ending: (*ending).into(),
                page_cache: (*cache).into(),
                written: *written,
            }));
        }
    }
    Scenes { scenarios, written, reads_wait: Some(arguments.reads_wait) }
}

/// Refuses a plan in which no engine can do any of the experiments.
fn check_any_recovers(plan: &Plan<'_>) -> Result<()> {
    let reasons = plan.engines.iter().map(|engine| {
        let reason = why_not_recoverable(plan, engine)?;
        Some(format!("{}: {reason}", engine.label))
    });
    // None as soon as one of them can do something.
    match reasons.collect::<Option<Vec<String>>>() {
        None => Ok(()),
        Some(reasons) if reasons.is_empty() => {
            Err(Failure::usage("no engine of this build stores anything that could be recovered"))
        }
        Some(reasons) => Err(Failure::usage(format!(
            "none of the engines can do any of this: {} ('kvdyno list engines' shows what there is)",
            reasons.join("; ")
        ))),
    }
}

/// The records of one size.
fn data_set(arguments: &RecoverArguments, records: u64) -> Result<DataSet> {
    let mut spec = WorkloadSpec::builtin(RECORDS_OF)
        .ok_or_else(|| Failure::failed(format!("there is no workload {RECORDS_OF}")))?;
    spec.records = at_most(COUNT_MAX, "--records", records)?;
    let bytes = arguments.value_size;
    spec.set_value_bytes(bytes)
        .map_err(|error| Failure::usage(format!("--value-size {bytes}: {error}")))?;
    spec.validate().map_err(|error| Failure::usage(error.to_string()))?;
    if arguments.threads > spec.streams {
        return Err(Failure::usage(format!(
            "--threads {}: at most {} are possible",
            arguments.threads, spec.streams
        )));
    }
    Ok(DataSet {
        load_name: "load".into(),
        workloads: vec![spec],
        runs_workloads: false,
        recovery: true,
    })
}

/// What is written unless said: memtables and logs are full then. In class `sync` each write waits for the device, so that there is no least amount.
fn usual(durability: Durability) -> Written {
    let bytes_min = if durability == Durability::Sync { 0 } else { WRITTEN_BYTES_MIN };
    Written::Share { of_data: 1.0 / 3.0, bytes_min }
}

fn refuse_repeated<T: PartialEq>(
    flag: &str,
    values: &[T],
    name: impl Fn(&T) -> String,
) -> Result<()> {
    for (index, value) in values.iter().enumerate() {
        if values[..index].contains(value) {
            return Err(Failure::usage(format!("{flag} names '{}' twice", name(value))));
        }
    }
    Ok(())
}

fn name_of<T: clap::ValueEnum>(value: &T) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_amount_fills_memtables_and_grows_with_the_data() {
        let mut spec = WorkloadSpec::builtin(RECORDS_OF).unwrap();
        spec.set_value_bytes(100).unwrap();
        let record_bytes = spec.key_bytes_max() + 100;
        let usual_bytes = |spec: &WorkloadSpec, class| usual(class).writes(spec) * record_bytes;
        spec.records = 1000;
        assert!(usual_bytes(&spec, Durability::Os) >= WRITTEN_BYTES_MIN);
        assert!(usual_bytes(&spec, Durability::Sync) < WRITTEN_BYTES_MIN);
        assert_eq!(Written::Share { of_data: 0.5, bytes_min: 0 }.writes(&spec), 500);
        assert_eq!(Written::Bytes(1).writes(&spec), 1);
        spec.records = 100_000_000;
        assert!(usual_bytes(&spec, Durability::Os) > 30_000_000 * record_bytes);
    }
}
