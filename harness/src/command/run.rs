//! `kvdyno run`: runs suites and workloads on engines, measures, and reports.

use std::io::IsTerminal;
use std::time::Instant;

use kvdyno_reports::{
    CellStatus, EngineInfo, HarnessInfo, ResultFile, RunInfo, RunStatus, SCHEMA, StoreUse,
    TerminalOptions, WorkloadInfo, terminal_table, write_report,
};
use kvdyno_workloads::{Workload, WorkloadSpec};

use crate::cell::clock::{self, Clock};
use crate::cli::RunArguments;
use crate::failure::{ExitStatus, Failure, Result};
use crate::registry::{Registry, ResolvedEngine};
use crate::run::environment;
use crate::run::interrupt::Interrupt;
use crate::run::output::Output;
use crate::run::plan::{Plan, lacking};
use crate::run::progress::Progress;
use crate::run::room::check_room;
use crate::run::schedule::Schedule;
use crate::run::stores::Stores;

/// Operations of each stream that the digest covers.
const DIGEST_OPERATIONS: u64 = 1000;

/// Plans, measures, writes and prints.
pub(crate) fn main(
    arguments: &RunArguments,
    registry: &Registry,
    command_line: Vec<String>,
) -> Result<ExitStatus> {
    let began = Instant::now();
    let plan = Plan::resolve(arguments, registry)?;
    let interrupt = Interrupt::listen()?;
    let stores = Stores::take(arguments.dir.as_deref())?;
    check_room(&plan, &stores)?;
    let started = jiff::Timestamp::now();
    let run_id = format!("{}-{}", plan.suite, started.strftime("%Y%m%d-%H%M%S"));
    let output = Output::take(arguments.out.as_deref(), &run_id)?;
    let progress = Progress::new(plan.cells(), arguments.quiet || arguments.json);
    let result = describe(
        &plan,
        &stores,
        run_id,
        started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        command_line,
    )?;
    for warning in &result.run.warnings {
        progress.note(&format!("note: {warning}"));
    }
    output.write(&result)?;
    let cell_timeout = arguments.cell_timeout;
    let mut schedule = Schedule {
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
    let kept = |failure: Failure| {
        let message = format!(
            "{}; what was measured before is kept in {}",
            failure.message,
            output.dir().display()
        );
        Failure { message, ..failure }
    };
    if arguments.check_durability {
        schedule.check_durability()?;
    }
    let result = schedule.run().map_err(kept)?;
    drop(stores);
    let report = write_report(std::slice::from_ref(&result), output.dir());
    let written =
        report.map_err(|error| Failure::failed(format!("the results are kept, but {error}")))?;
    print(arguments.quiet, arguments.json, &result, &output, written.len())?;
    Ok(status_of(&result))
}

/// The result file before the first cell.
pub(super) fn describe(
    plan: &Plan<'_>,
    stores: &Stores,
    id: String,
    started_at: String,
    command: Vec<String>,
) -> Result<ResultFile> {
    let settings = &plan.settings;
    let environment = environment::look(stores.root());
    let mut warnings = plan.warnings.clone();
    warnings.extend(environment::warnings(&environment, settings.threads, settings.trials));
    let quality = Clock::new().quality();
    Ok(ResultFile {
        schema: SCHEMA.into(),
        run: RunInfo {
            id,
            suite: plan.suite.clone(),
            command,
            started_at,
            duration_s: 0.0,
            seed: settings.seed,
            trials: settings.trials,
            verify: settings.verify.name().into(),
            stores: StoreUse::Copies,
            memory_limit_bytes: settings.memory_limit_bytes,
            status: RunStatus::Running,
            cells_planned: plan.cells(),
            warnings,
        },
        environment,
        harness: HarnessInfo {
            clock: clock::kind().into(),
            clock_read_ns: quality.read_ns,
            clock_step_ns: quality.step_ns,
            noop: Vec::new(),
        },
        engines: plan.engines.iter().map(|engine| engine_info(plan, engine)).collect(),
        workloads: plan
            .workloads()
            .map(|spec| workload_info(spec, settings.seed))
            .collect::<Result<_>>()?,
        cells: Vec::new(),
    })
}

fn engine_info(plan: &Plan<'_>, engine: &ResolvedEngine<'_>) -> EngineInfo {
    let capabilities = engine.adapter.capabilities();
    let mut unsupported: Vec<String> = plan
        .workloads()
        .filter_map(|spec| lacking(&capabilities, spec))
        .map(|operation| operation.name().to_owned())
        .collect();
    unsupported.sort();
    unsupported.dedup();
    let call = engine.adapter.durability_call(plan.settings.durability);
    EngineInfo {
        name: engine.label.clone(),
        version: engine.adapter.version().into(),
        description: engine.adapter.description().into(),
        options: engine.options.to_text(engine.adapter),
        durability_call: call.unwrap_or("not supported in this class").into(),
        unsupported,
        durability_check: None,
    }
}

fn workload_info(spec: &WorkloadSpec, seed: u64) -> Result<WorkloadInfo> {
    let failed = |error: kvdyno_workloads::Error| Failure::usage(error.to_string());
    let workload = Workload::new(spec.clone(), seed).map_err(failed)?;
    let skew = workload.effective_skew();
    Ok(WorkloadInfo {
        name: spec.name.clone(),
        description: spec.description.clone(),
        records: spec.records,
        value_bytes: spec.value_bytes(),
        mix: spec.mix.iter().map(|(kind, share)| (kind.name().to_owned(), *share)).collect(),
        streams: spec.streams,
        stream_digest: workload
            .digest(DIGEST_OPERATIONS)
            .unwrap_or_else(|| "none (shared insert counter)".into()),
        digest_operations: DIGEST_OPERATIONS,
        spec_digest: spec.digest(),
        spec: serde_json::to_value(spec).map_err(|error| {
            Failure::failed(format!("cannot describe workload {}: {error}", spec.name))
        })?,
        hottest_key_share: Some(skew.hottest_key_share),
        top_20_percent_share: Some(skew.top_20_percent_share),
    })
}

/// Prints the table, or the result file, or nothing.
pub(super) fn print(
    quiet: bool,
    json: bool,
    result: &ResultFile,
    output: &Output,
    files: usize,
) -> Result<()> {
    if quiet {
        return Ok(());
    }
    if json {
        return crate::print(&result.to_json());
    }
    let terminal = std::io::stdout().is_terminal();
    let width = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(110, |size| size.ws_col);
    let color = terminal && std::env::var_os("NO_COLOR").is_none();
    let table = terminal_table(result, TerminalOptions { color, width: width.max(80) });
    let report = output.dir().join("report.html");
    crate::print(&format!(
        "\n{}\n\nReport: {} ({files} files beside it)",
        table.trim_end(),
        report.display()
    ))
}

/// Where several things went wrong, wrong data comes first, then failures.
pub(super) fn status_of(result: &ResultFile) -> ExitStatus {
    let any = |wanted: &[CellStatus]| result.cells.iter().any(|cell| wanted.contains(&cell.status));
    let broken_class = result.engines.iter().any(|engine| {
        engine.durability_check.as_ref().is_some_and(|check| check.kept == Some(false))
    });
    if broken_class || any(&[CellStatus::WrongData, CellStatus::LostWrite]) {
        ExitStatus::WrongData
    } else if result.run.status == RunStatus::Interrupted {
        ExitStatus::Interrupted
    } else if any(&[CellStatus::Failed, CellStatus::Timeout]) {
        ExitStatus::Failed
    } else {
        ExitStatus::Ok
    }
}
