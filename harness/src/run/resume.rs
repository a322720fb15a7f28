//! Going on with a run that was cut off: whether it may, and what is left of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use kvdyno_reports::{Cell, CellStatus, Environment, ResultFile, RunStatus};

use super::cell_key::CellKey;
use super::plan::Plan;
use super::record::RunRecord;
use crate::failure::{Failure, Result};
use crate::registry::Registry;

/// Memory of the same machine may differ by so much from one start of its kernel to the next.
const MEMORY_TOLERANCE: f64 = 0.05;

/// A run that goes on.
pub(crate) struct Resumed<'a> {
    /// What is to be done, as it was resolved when the run began.
    pub(crate) plan: Plan<'a>,
    /// What was measured before, without the cells that are to run again.
    pub(crate) result: ResultFile,
    /// Cells that have ended.
    pub(crate) ended: BTreeSet<CellKey>,
    /// Folder of the stores, where the user chose it.
    pub(crate) dir: Option<PathBuf>,
    /// The record's lock.
    pub(crate) lock: File,
}

impl<'a> Resumed<'a> {
    /// Reads the folder of an unfinished run.
    ///
    /// # Errors
    /// If it is none, the run is complete or still going on, its files are damaged, or build, engines or input have changed.
    pub(crate) fn read(dir: &Path, retry_failed: bool, registry: &'a Registry) -> Result<Self> {
        let (record, lock) = RunRecord::read(dir)?;
        let shown = dir.display();
        let mut result = ResultFile::read(dir).map_err(|error| {
            Failure::usage(format!("--resume {shown}: the results cannot be read, so that there is nothing to go on with: {error}"))
        })?;
        if result.run.id != record.run_id {
            return Err(Failure::usage(format!(
                "--resume {shown}: run.json is of the run {}, and result.json of {}: they do not belong together",
                record.run_id, result.run.id
            )));
        }
        let stores = record.dir.clone();
        let plan = record.plan(dir, registry)?;
        let planned: BTreeSet<CellKey> = plan.cells().into_iter().collect();
        if let Some(foreign) =
            result.cells.iter().find(|cell| !planned.contains(&CellKey::of(cell)))
        {
            return Err(Failure::usage(format!(
                "--resume {shown}: result.json has a cell that run.json does not plan ({} on {}): the files were changed",
                foreign.workload, foreign.engine
            )));
        }
        result.cells.retain(|cell| has_ended(cell, retry_failed));
        let ended: BTreeSet<CellKey> = result.cells.iter().map(CellKey::of).collect();
        if ended.len() == planned.len() {
            let hint = if !retry_failed && result.cells.iter().any(has_failed) {
                "; --retry-failed runs again what failed"
            } else {
                ""
            };
            // A run that was cut off after its last cell lacks only its report.
            if result.run.status == RunStatus::Complete {
                return Err(Failure::usage(format!(
                    "--resume {shown}: the run is complete, all its {} cells have ended{hint}",
                    planned.len()
                )));
            }
        }
        Ok(Self { plan, result, ended, dir: stores, lock })
    }
}

/// Whether a cell stays as it is. What the user had stopped runs again; wrong data and lost writes are never retried away.
fn has_ended(cell: &Cell, retry_failed: bool) -> bool {
    cell.status != CellStatus::Interrupted && !(retry_failed && has_failed(cell))
}

fn has_failed(cell: &Cell) -> bool {
    matches!(cell.status, CellStatus::Failed | CellStatus::Timeout)
}

/// Compares the machine with the one that the run began on, and returns what a reader must know.
///
/// # Errors
/// If processor, memory or file system are others: the cells could not be compared.
pub(crate) fn check_machine(
    dir: &Path,
    before: &Environment,
    now: &Environment,
) -> Result<Vec<String>> {
    let refused = |what: &str, before: &dyn std::fmt::Display, now: &dyn std::fmt::Display| {
        Err(Failure::usage(format!(
            "--resume {}: the run began with {what} {before}, and now it is {now}: its cells could not be compared; start the run anew",
            dir.display()
        )))
    };
    if before.cpu_model != now.cpu_model {
        return refused("the processor", &before.cpu_model, &now.cpu_model);
    }
    if before.cpus != now.cpus {
        return refused("this number of processors:", &before.cpus, &now.cpus);
    }
    let (old, new) = (before.memory_bytes as f64, now.memory_bytes as f64);
    if (old - new).abs() > MEMORY_TOLERANCE * old.max(new) {
        let gib = |bytes: f64| format!("{:.1} GiB", bytes / f64::from(1 << 30));
        return refused("this much memory:", &gib(old), &gib(new));
    }
    if before.store_file_system != now.store_file_system {
        return refused(
            "stores on the file system",
            &before.store_file_system,
            &now.store_file_system,
        );
    }
    let unknown = || "unknown".to_owned();
    let others = [
        ("kernel", before.kernel.clone(), now.kernel.clone()),
        (
            "frequency governor",
            before.cpu_governor.clone().unwrap_or_else(unknown),
            now.cpu_governor.clone().unwrap_or_else(unknown),
        ),
        (
            "device of the stores",
            before.store_device.clone().unwrap_or_else(unknown),
            now.store_device.clone().unwrap_or_else(unknown),
        ),
    ];
    Ok(others
        .into_iter()
        .filter(|(_, before, now)| before != now)
        .map(|(what, before, now)| {
            format!("the {what} changed while the run was cut off, from {before} to {now}")
        })
        .collect())
}
