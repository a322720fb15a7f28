//! `kvdyno run`: runs suites and workloads on engines, measures, and reports.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use kvdyno_reports::{
    CellStatus, Phase, ResultFile, RunStatus, TerminalOptions, terminal_table, write_report,
};

use crate::cli::{RunArguments, TextFormat};
use crate::failure::{ExitStatus, Failure, Result};
use crate::registry::Registry;
use crate::run::cell_key::{CellKey, NOOP};
use crate::run::describe::describe;
use crate::run::environment;
use crate::run::first_touch;
use crate::run::interrupt::Interrupt;
use crate::run::output::Output;
use crate::run::plan::Plan;
use crate::run::progress::Progress;
use crate::run::record::RunRecord;
use crate::run::resume::{Resumed, check_machine};
use crate::run::room::{bytes_needed, check_room};
use crate::run::schedule::Schedule;
use crate::run::stores::Stores;
use crate::run::suite::Suite;

/// A run that is ready to begin, or to go on.
pub(super) struct Prepared<'a> {
    plan: Plan<'a>,
    stores: Stores,
    output: Output,
    result: ResultFile,
    /// Cells that need not run again.
    ended: BTreeSet<CellKey>,
}

/// What is printed.
#[derive(Clone, Copy)]
pub(super) struct Printed {
    /// Nothing but errors.
    pub(super) quiet: bool,
    /// The result file instead of the table.
    pub(super) json: bool,
    /// This text instead of the table.
    pub(super) format: Option<TextFormat>,
}

/// Plans or goes on, measures, writes and prints.
pub(crate) fn main(
    arguments: &RunArguments,
    registry: &Registry,
    command_line: Vec<String>,
) -> Result<ExitStatus> {
    if arguments.print_suite {
        return print_suite(arguments);
    }
    let printed =
        Printed { quiet: arguments.quiet, json: arguments.json, format: arguments.format };
    measure(printed, registry, || {
        if let Some(dir) = &arguments.resume {
            return go_on(dir, arguments, registry);
        }
        let plan = Plan::resolve(arguments, registry)?;
        let (dir, out) = (arguments.dir.as_deref(), arguments.out.as_deref());
        begin(plan, dir, out, !arguments.no_room_check, command_line)
    })
}

/// Measures what was prepared, writes and prints.
pub(super) fn measure<'a>(
    printed: Printed,
    registry: &'a Registry,
    prepare: impl FnOnce() -> Result<Prepared<'a>>,
) -> Result<ExitStatus> {
    let began = Instant::now();
    let interrupt = Interrupt::listen()?;
    let prepared = prepare()?;
    let Prepared { plan, stores, output, mut result, ended } = prepared;
    let cells = plan.cells();
    let to_come: Vec<_> = cells.iter().filter(|cell| !ended.contains(cell)).cloned().collect();
    let is_left = !to_come.is_empty();
    let is_silent = printed.quiet || printed.json || printed.format.is_some();
    let progress = Progress::new(cells.len() as u64, to_come, is_silent);
    for warning in &result.run.warnings {
        progress.note(&format!("note: {warning}"));
    }
    if is_left {
        let touched = first_touch::touch(memory_wanted(&plan));
        // A run that goes on keeps the figures of its beginning.
        result.environment.first_touch = result.environment.first_touch.or(touched);
    }
    result.run.status = RunStatus::Running;
    output.write(&result)?;
    let took_before = Duration::try_from_secs_f64(result.run.duration_s).unwrap_or_default();
    let schedule = Schedule {
        plan: &plan,
        registry,
        stores: &stores,
        output: &output,
        result,
        progress,
        interrupt,
        ended,
        began,
        took_before,
    };
    let kept = |failure: Failure| {
        let message = format!(
            "{}; what was measured before is kept in {}",
            failure.message,
            output.dir().display()
        );
        Failure { message, ..failure }
    };
    let result = schedule.run().map_err(kept)?;
    let kept_stores = stores.kept().map(Path::to_owned);
    drop(stores);
    let report = write_report(std::slice::from_ref(&result), output.dir());
    let written =
        report.map_err(|error| Failure::failed(format!("the results are kept, but {error}")))?;
    print(printed, &result, &output, written.len(), kept_stores.as_deref())?;
    match (status_of(&result), why_nothing_was_done(&result)) {
        (ExitStatus::Ok, Some(reasons)) => Err(Failure::usage(format!(
            "none of the engines can do any of this: {reasons} ('kvdyno list' shows what there is)"
        ))),
        (status, _) => Ok(status),
    }
}

/// Makes a new run ready.
pub(super) fn begin<'a>(
    plan: Plan<'a>,
    dir: Option<&Path>,
    out: Option<&Path>,
    checks_room: bool,
    command_line: Vec<String>,
) -> Result<Prepared<'a>> {
    let started = jiff::Timestamp::now();
    let run_id = format!("{}-{}", plan.suite, started.strftime("%Y%m%d-%H%M%S"));
    let stores = Stores::take(dir, plan.keep_stores.then_some(run_id.as_str()))?;
    if checks_room {
        check_room(&plan, &stores)?;
    }
    let started_at = started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut result = describe(&plan, &stores, &run_id, started_at, command_line)?;
    if let Some(kept) = stores.kept() {
        result.run.warnings.push(format!("the stores are kept in {}", kept.display()));
    }
    let output = Output::take(out, &RunRecord::new(&plan, &run_id, dir)?)?;
    Ok(Prepared { plan, stores, output, result, ended: BTreeSet::new() })
}

/// Memory that the run may use, its stores in the page cache included.
fn memory_wanted(plan: &Plan<'_>) -> u64 {
    let stores = bytes_needed(plan);
    plan.settings.memory_limit_bytes.map_or(stores, |limit| stores.min(limit))
}

/// Makes a run ready to go on.
fn go_on<'a>(dir: &Path, arguments: &RunArguments, registry: &'a Registry) -> Result<Prepared<'a>> {
    let Resumed { mut plan, mut result, ended, dir: recorded, lock } =
        Resumed::read(dir, arguments.retry_failed, registry)?;
    plan.cell_timeout = arguments.cell_timeout.unwrap_or(plan.cell_timeout);
    let kept = plan.keep_stores.then_some(result.run.id.as_str());
    let stores = Stores::take(arguments.dir.as_deref().or(recorded.as_deref()), kept)?;
    let now = environment::look(stores.root());
    result.run.warnings.extend(check_machine(dir, &result.environment, &now)?);
    result.run.warnings.push(format!(
        "the run was cut off, and went on at {} after {} of {} cells",
        jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC"),
        ended.len(),
        plan.cells().len()
    ));
    Ok(Prepared { plan, stores, output: Output::again(dir, lock), result, ended })
}

/// Prints the file of the suite that was named.
fn print_suite(arguments: &RunArguments) -> Result<ExitStatus> {
    let [name] = arguments.names.as_slice() else {
        return Err(Failure::usage(
            "--print-suite: name one suite, for instance 'run quick --print-suite'",
        ));
    };
    crate::print(Suite::text_of(name)?.trim_end())?;
    Ok(ExitStatus::Ok)
}

fn print(
    printed: Printed,
    result: &ResultFile,
    output: &Output,
    files: usize,
    kept_stores: Option<&Path>,
) -> Result<()> {
    if printed.quiet {
        return Ok(());
    }
    if printed.json {
        return crate::print(&result.to_json());
    }
    if let Some(format) = printed.format {
        let text = super::report::text(std::slice::from_ref(result), format)?;
        return crate::print(text.trim_end());
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
    ))?;
    if let Some(stores) = kept_stores {
        crate::print(&format!(
            "Stores: {} (kept; remove them when you are done)",
            stores.display()
        ))?;
    }
    if result.run.status == RunStatus::Interrupted {
        crate::print(&format!("Unfinished: kvdyno run --resume {}", output.dir().display()))?;
    }
    Ok(())
}

/// Why no engine could do what was asked; None if one of them could do some of it. Loads and `noop` are there for the sake of the others.
fn why_nothing_was_done(result: &ResultFile) -> Option<String> {
    let asked: Vec<_> = result
        .cells
        .iter()
        .filter(|cell| cell.engine != NOOP && cell.phase != Phase::Load)
        .collect();
    if asked.is_empty() || asked.iter().any(|cell| cell.status != CellStatus::Unsupported) {
        return None;
    }
    let reasons: BTreeSet<_> = asked
        .iter()
        .map(|cell| {
            let reason = cell.error.as_deref().unwrap_or("not supported");
            format!("{}: {reason}", cell.engine)
        })
        .collect();
    Some(reasons.into_iter().collect::<Vec<_>>().join("; "))
}

/// Where several things went wrong, wrong data comes first, then failures.
fn status_of(result: &ResultFile) -> ExitStatus {
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
