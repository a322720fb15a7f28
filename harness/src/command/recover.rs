//! `kvdyno recover`: leaves stores by a clean close or kill -9, reopens them, takes the times, and looks for every acknowledged write.

use std::time::Instant;

use kvdyno_engines::Durability;
use kvdyno_reports::{PageCache, RecoveryScenario, ResultFile, write_report};
use kvdyno_workloads::WorkloadSpec;

use super::run::{describe, print, status_of};
use crate::cli::{RecoverArguments, Written};
use crate::failure::{ExitStatus, Failure, Result};
use crate::registry::Registry;
use crate::run::interrupt::Interrupt;
use crate::run::output::Output;
use crate::run::plan::{COUNT_MAX, DataSet, Plan, Settings, at_most};
use crate::run::progress::Progress;
use crate::run::room::check_room;
use crate::run::schedule::Schedule;
use crate::run::schedule::recovery::Scenes;
use crate::run::stores::Stores;

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
    let began = Instant::now();
    let (plan, scenes) = resolve(arguments, registry)?;
    let interrupt = Interrupt::listen()?;
    let stores = Stores::take(arguments.dir.as_deref())?;
    check_room(&plan, &stores)?;
    let started = jiff::Timestamp::now();
    let run_id = format!("{}-{}", plan.suite, started.strftime("%Y%m%d-%H%M%S"));
    let output = Output::take(arguments.out.as_deref(), &run_id)?;
    let started_at = started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let result = describe(&plan, &stores, run_id, started_at, command_line)?;
    let result = with_planned_cells(result, &plan, &scenes);
    let progress = Progress::new(result.run.cells_planned, arguments.quiet || arguments.json);
    for warning in &result.run.warnings {
        progress.note(&format!("note: {warning}"));
    }
    output.write(&result)?;
    let cell_timeout = arguments.cell_timeout;
    let schedule = Schedule {
        plan: &plan,
        registry,
        stores: &stores,
        output: &output,
        result,
        progress,
        interrupt,
        cell_timeout,
        began,
    };
    let result = schedule.run_recoveries(&scenes)?;
    drop(stores);
    let report = write_report(std::slice::from_ref(&result), output.dir());
    let written =
        report.map_err(|error| Failure::failed(format!("the results are kept, but {error}")))?;
    print(arguments.quiet, arguments.json, &result, &output, written.len())?;
    Ok(status_of(&result))
}

/// `noop` loads each size once; each engine loads each size, and goes through each scenario on it.
fn with_planned_cells(mut result: ResultFile, plan: &Plan<'_>, scenes: &Scenes) -> ResultFile {
    let per_trial = plan.engines.len() * plan.data_sets.len() * (1 + scenes.scenarios.len());
    let noop = plan.data_sets.len() as u64;
    result.run.cells_planned = per_trial as u64 * u64::from(plan.settings.trials) + noop;
    let has = |cache: PageCache| scenes.scenarios.iter().any(|scene| scene.page_cache == cache);
    let told = match (has(PageCache::Warm), has(PageCache::Cold)) {
        (true, true) => "warm and cold",
        (false, true) => "cold",
        (_, false) => "warm",
    };
    result.environment.page_cache = told.into();
    result
}

/// What was typed, as a plan.
fn resolve<'a>(arguments: &RecoverArguments, registry: &'a Registry) -> Result<(Plan<'a>, Scenes)> {
    let engines = registry.named_or_persistent(&arguments.engine, &arguments.set)?;
    refuse_repeated("--records", &arguments.records, u64::to_string)?;
    refuse_repeated("--scenario", &arguments.scenario, name_of)?;
    refuse_repeated("--cache", &arguments.cache, name_of)?;
    let durability = arguments.durability.into();
    let settings =
        Settings::of_recovery(durability, arguments.threads, arguments.trials, arguments.seed);
    let data_sets = arguments
        .records
        .iter()
        .map(|records| data_set(arguments, *records))
        .collect::<Result<Vec<_>>>()?;
    let writes = data_sets
        .iter()
        .map(|set| writes(&set.workloads[0], arguments.written, durability))
        .collect();
    let scenarios = arguments
        .scenario
        .iter()
        .flat_map(|ending| {
            let ending = (*ending).into();
            arguments
                .cache
                .iter()
                .map(move |cache| RecoveryScenario { ending, page_cache: (*cache).into() })
        })
        .collect();
    let plan = Plan { suite: "recover".into(), engines, data_sets, settings, warnings: Vec::new() };
    Ok((plan, Scenes { scenarios, writes, reads_wait: arguments.reads_wait }))
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

/// Writes that come to the wanted amount.
fn writes(spec: &WorkloadSpec, written: Option<Written>, durability: Durability) -> u64 {
    let record_bytes = spec.key_bytes_max() + spec.value_bytes();
    let data_bytes = spec.records.saturating_mul(record_bytes);
    let bytes = match written {
        Some(Written::Bytes(bytes)) => bytes,
        Some(Written::Share(share)) => (data_bytes as f64 * share) as u64,
        None if durability == Durability::Sync => data_bytes / 3,
        None => (data_bytes / 3).max(WRITTEN_BYTES_MIN),
    };
    bytes.div_ceil(record_bytes).max(1)
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
        let bytes_of =
            |spec: &WorkloadSpec, written, class| writes(spec, written, class) * record_bytes;
        spec.records = 1000;
        assert!(bytes_of(&spec, None, Durability::Os) >= WRITTEN_BYTES_MIN);
        assert!(bytes_of(&spec, None, Durability::Sync) < WRITTEN_BYTES_MIN);
        assert_eq!(writes(&spec, Some(Written::Share(0.5)), Durability::Os), 500);
        assert_eq!(writes(&spec, Some(Written::Bytes(1)), Durability::Os), 1);
        spec.records = 100_000_000;
        assert!(bytes_of(&spec, None, Durability::Os) > 30_000_000 * record_bytes);
    }
}
