//! `kvdyno check`: whether the engines' durability classes are what they say.

use kvdyno_engines::Durability;
use kvdyno_reports::DurabilityCheck;

use crate::cli::CheckArguments;
use crate::failure::{ExitStatus, Failure, Result};
use crate::registry::Registry;
use crate::run::durability_check::{Checks, Verdict};
use crate::run::interrupt::Interrupt;
use crate::run::stores::Stores;

/// Checks every class of every engine, and prints a line each.
pub(crate) fn main(arguments: &CheckArguments, registry: &Registry) -> Result<ExitStatus> {
    let engines = registry.named_or_persistent(&arguments.engine, &arguments.set)?;
    let classes: Vec<Durability> = if arguments.durability.is_empty() {
        Durability::ALL.to_vec()
    } else {
        arguments.durability.iter().map(|class| (*class).into()).collect()
    };
    let interrupt = Interrupt::listen()?;
    let stores = Stores::take(arguments.dir.as_deref(), None)?;
    let timeout = arguments.cell_timeout;
    let rounds = arguments.rounds;
    let checks = Checks { stores: &stores, interrupt: &interrupt, timeout, rounds };
    let mut verdicts = Vec::new();
    let mut objects = Vec::new();
    for engine in &engines {
        for class in &classes {
            if interrupt.requested() {
                return Ok(ExitStatus::Interrupted);
            }
            let (verdict, check) = checks.check(engine, *class)?;
            if interrupt.requested() && verdict != Verdict::Broken {
                return Ok(ExitStatus::Interrupted);
            }
            verdicts.push(verdict);
            if arguments.json {
                objects.push(object(&engine.label, *class, &check)?);
            } else {
                crate::print(&line(&engine.label, *class, verdict, &check))?;
            }
        }
    }
    if arguments.json {
        crate::print(&format!("{:#}", serde_json::Value::Array(objects)))?;
    }
    Ok(status_of(&verdicts))
}

fn line(engine: &str, class: Durability, verdict: Verdict, check: &DurabilityCheck) -> String {
    let verdict = match verdict {
        Verdict::Kept => "kept",
        Verdict::Broken => "BROKEN",
        Verdict::Unknown => "unknown",
        Verdict::Skipped => "skipped",
    };
    let flushes = check
        .device_flushes
        .map_or_else(String::new, |flushes| format!("; the device finished {flushes} flushes"));
    format!("{engine:<10} {:<9} {verdict:<8} {}{flushes}", class.name(), check.note)
}

fn object(engine: &str, class: Durability, check: &DurabilityCheck) -> Result<serde_json::Value> {
    let check = serde_json::to_value(check)
        .map_err(|error| Failure::failed(format!("cannot describe a check: {error}")))?;
    Ok(serde_json::json!({ "engine": engine, "durability": class.name(), "check": check }))
}

/// A broken class comes first, then what could not be seen: a check that was asked for and not made is a failure.
fn status_of(verdicts: &[Verdict]) -> ExitStatus {
    if verdicts.contains(&Verdict::Broken) {
        ExitStatus::WrongData
    } else if verdicts.contains(&Verdict::Unknown) {
        ExitStatus::Failed
    } else {
        ExitStatus::Ok
    }
}
