//! kvdyno's harness: runs workloads on key-value storage engines, measures them, and has the results reported.
//!
//! This is the only crate that knows the other three. Data flows as a line:
//!
//! ```text
//! what was typed ─► Plan ─► Schedule ─► child process per cell ─► Outcome ─► result.json ─► report
//!                                          │
//!                    Workload ─► OperationStream ─► Session(engine) ─► Recorder
//! ```
//!
//! - `cli`, `command`: what can be typed, and one file for each command.
//! - `run`: the parent process: plan, schedule, stores, output.
//! - `cell`: the child process: the measuring loop and what surrounds it.
//! - `adapters`, [`Registry`]: engines.
//!
//! A program of one's own adds an engine by an [`Adapter`] and calls [`main`] with its registry.

mod adapters;
mod cell;
mod cli;
mod command;
mod failure;
mod options;
mod registry;
mod run;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub use adapters::registry;
pub use failure::{ExitStatus, Failure};
pub use options::{Assignment, EngineSettings, OptionInfo, Options};
pub use registry::{Adapter, OpenRequest, Registry, ResolvedEngine, Variant};

use cli::{Arguments, Command};
use failure::Result;

/// The program `kvdyno` over the engines of a registry: reads the command line, does what it says, and tells how that went.
pub fn main(registry: &Registry) -> ExitCode {
    let command_line: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let status = match Arguments::try_parse() {
        Ok(arguments) => dispatch(arguments, registry, command_line).unwrap_or_else(|failure| {
            let _ = writeln!(std::io::stderr().lock(), "kvdyno: {failure}");
            failure.status
        }),
        Err(error) => tell_usage(&error),
    };
    ExitCode::from(status.code())
}

fn dispatch(
    arguments: Arguments,
    registry: &Registry,
    command_line: Vec<String>,
) -> Result<ExitStatus> {
    match arguments.command {
        None => dispatch(Arguments::parse_from(["kvdyno", "run"]), registry, command_line),
        Some(Command::Run(arguments)) => command::run::main(&arguments, registry, command_line),
        Some(Command::Recover(arguments)) => {
            command::recover::main(&arguments, registry, command_line)
        }
        Some(Command::Check(arguments)) => command::check::main(&arguments, registry),
        Some(Command::List(arguments)) => command::list::main(&arguments, registry),
        Some(Command::Inspect(arguments)) => command::inspect::main(&arguments),
        Some(Command::Report(arguments)) => command::report::main(&arguments),
        Some(Command::Merge(arguments)) => command::merge::main(&arguments, command_line),
        Some(Command::Compare(arguments)) => command::compare::main(&arguments),
        Some(Command::Cell) => cell::child::main(registry).map(|()| ExitStatus::Ok),
    }
}

/// Prints to standard output. A reader that has seen enough (`| head`) is no failure; a full device is.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Help goes to standard output; what is wrong goes to standard error, in one line.
fn tell_usage(error: &clap::Error) -> ExitStatus {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitStatus::Ok;
    }
    let text = error.to_string();
    let mut said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .filter(|line| !line.is_empty())
        .collect();
    if let Some(first) = said.first_mut() {
        *first = first.trim_start_matches("error: ");
    }
    let _ = writeln!(
        std::io::stderr().lock(),
        "kvdyno: {} (--help shows what is possible)",
        said.join("; ").replace(":; ", ": ")
    );
    ExitStatus::Usage
}
