//! Joining results without loss: histograms are added bin by bin, never averaged.
//!
//! 1. All results must tell of the same machine, build, options and operations; what differs is named, and nothing is joined.
//! 2. Without further ado results are *runs after one another*: their cells stand side by side. Where a trial
//!    of a cell is there already, all trials of the later result are counted on from the highest one so far, so that they become further trials.
//! 3. With [`MergeOptions::concurrent`] results are *load generators of one run*, which had one store and worked at the same time, each with operations of its
//!    own (so their seeds may differ). Runs that were not under way at the same time are refused. Cells of the same identity and trial become one: histograms, operations, throughput, threads and offered rates are
//!    added; time lines are added interval by interval; percentiles come from the summed histograms. What each generator
//!    saw of the same thing (the device, the store's size, the machine's stalls) is not added: the largest counts.
//! 4. What cannot be computed from the parts is absent: percentiles of intervals whose histograms were not kept cost the time line.

mod measurement;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::caution::{ONE_TRIAL, shared_processors};
use crate::error::{Error, Result};
use crate::format;
use crate::identity::{CellKey, run_names};
use crate::model::base_name;
use crate::result::{
    Cell, CellStatus, EngineInfo, Environment, ResultFile, RunInfo, RunStatus, WorkloadInfo,
};

/// What was joined, or why it cannot be.
type Joined = std::result::Result<(), String>;

/// How results belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeOptions {
    /// They are load generators of one run rather than runs after one another.
    pub concurrent: bool,
    /// The command line to be told in the joined result; program name first.
    pub command: Vec<String>,
}

/// Joins results into one.
///
/// # Errors
/// [`Error::NoResults`]; [`Error::NotMergeable`] with the reason.
pub fn merge(results: &[ResultFile], options: &MergeOptions) -> Result<ResultFile> {
    let Some((first, rest)) = results.split_first() else { return Err(Error::NoResults) };
    let names = run_names(results);
    let refused = |at: usize, reason: String| Error::NotMergeable {
        runs: format!("{} and {}", names[0], names[at]),
        reason,
    };
    for (at, other) in rest.iter().enumerate() {
        check_alike(first, other, options.concurrent).map_err(|reason| refused(at + 1, reason))?;
        if options.concurrent {
            for (earlier, another) in results[..=at].iter().enumerate() {
                check_together(&another.run, &other.run).map_err(|reason| {
                    let runs = format!("{} and {}", names[earlier], names[at + 1]);
                    Error::NotMergeable { runs, reason }
                })?;
            }
        }
    }
    let mut merged = first.clone();
    for (at, other) in rest.iter().enumerate() {
        let joined = if options.concurrent {
            add_cells(&mut merged.cells, &other.cells)
        } else {
            append_cells(&mut merged.cells, other, &results[..=at])
        };
        joined.map_err(|reason| refused(at + 1, reason))?;
        join_lists(&mut merged, other);
    }
    merged.run = run(results, &names, &merged.cells, options);
    Ok(merged)
}

/// What must be equal: whoever differs measured something else.
fn check_alike(a: &ResultFile, b: &ResultFile, concurrent: bool) -> Joined {
    let mut facts = environment(&a.environment, &b.environment);
    facts.extend([
        ("the check of reads", a.run.verify.clone(), b.run.verify.clone()),
        ("the use of stores", format!("{:?}", a.run.stores), format!("{:?}", b.run.stores)),
        (
            "the memory limit",
            format!("{:?}", a.run.memory_limit_bytes),
            format!("{:?}", b.run.memory_limit_bytes),
        ),
        ("the clock", a.harness.clock.clone(), b.harness.clock.clone()),
    ]);
    if !concurrent {
        facts.push(("the seed", a.run.seed.to_string(), b.run.seed.to_string()));
    }
    if let Some((what, a, b)) = facts.into_iter().find(|(_, a, b)| a != b) {
        return Err(format!("{what} differs: {a} and {b}"));
    }
    for workload in &a.workloads {
        let same = |other: &&WorkloadInfo| other.is_same(workload);
        let Some(other) = b.workloads.iter().find(same) else { continue };
        if other.spec_digest != workload.spec_digest {
            let (a, b) = (&workload.spec_digest, &other.spec_digest);
            return Err(format!("the spec of {} differs: digests {a} and {b}", workload.name));
        }
        if !concurrent && other.stream_digest != workload.stream_digest {
            let (a, b) = (&workload.stream_digest, &other.stream_digest);
            return Err(format!("the operations of {} differ: digests {a} and {b}", workload.name));
        }
    }
    for engine in &a.engines {
        let same = |other: &&EngineInfo| other.name == engine.name;
        let Some(other) = b.engines.iter().find(same) else { continue };
        let facts = |engine: &EngineInfo| {
            (engine.version.clone(), engine.options.clone(), engine.durability_call.clone())
        };
        if facts(engine) != facts(other) {
            let name = &engine.name;
            return Err(format!("the version, options or durability call of {name} differ"));
        }
    }
    Ok(())
}

/// Load generators of one run work at the same time.
fn check_together(a: &RunInfo, b: &RunInfo) -> Joined {
    let span = |run: &RunInfo| {
        let start: Timestamp = run.started_at.parse().map_err(|_| {
            format!("'{}' is no time at which {} can have begun", run.started_at, run.id)
        })?;
        // Starts are told in whole seconds.
        let start_s = start.as_second() as f64;
        Ok::<_, String>((start_s, start_s + run.duration_s.max(1.0)))
    };
    let ((a_start, a_end), (b_start, b_end)) = (span(a)?, span(b)?);
    if a_start < b_end && b_start < a_end {
        return Ok(());
    }
    let told =
        |run: &RunInfo| format!("{} for {}", run.started_at, format::seconds(run.duration_s));
    Err(format!(
        "they did not run at the same time (from {}, and from {}), so that they are no load generators of one run: merge them without --concurrent",
        told(a),
        told(b)
    ))
}

fn environment(a: &Environment, b: &Environment) -> Vec<(&'static str, String, String)> {
    let facts = |e: &Environment| {
        [
            ("the processor", e.cpu_model.clone()),
            ("the number of processors", e.cpus.to_string()),
            ("the memory", e.memory_bytes.to_string()),
            ("the kernel", e.kernel.clone()),
            ("the file system", e.store_file_system.clone()),
            ("the device", e.store_device.clone().unwrap_or_default()),
            ("the page cache's state", e.page_cache.clone()),
            ("the compiler", e.compiler.clone()),
            ("the build profile", e.build_profile.clone()),
            ("the version of kvdyno", e.kvdyno_version.clone()),
            ("the commit", e.commit.clone().unwrap_or_default()),
        ]
    };
    let pairs = facts(a).into_iter().zip(facts(b));
    pairs.map(|((what, a), (_, b))| (what, a, b)).collect()
}

/// Cells side by side; trials of `other` are counted on where one of them is there already.
fn append_cells(cells: &mut Vec<Cell>, other: &ResultFile, earlier: &[ResultFile]) -> Joined {
    let there: std::collections::BTreeSet<_> =
        cells.iter().map(|cell| (CellKey::of(cell), cell.trial)).collect();
    let taken = other.cells.iter().find(|cell| there.contains(&(CellKey::of(cell), cell.trial)));
    let mut offset = 0;
    if let Some(cell) = taken {
        let same_run =
            |run: &RunInfo| (&run.id, &run.started_at) == (&other.run.id, &other.run.started_at);
        if earlier.iter().any(|result| same_run(&result.run)) {
            return Err(format!("both are the same run, and both hold {}", CellKey::of(cell)));
        }
        offset = cells.iter().map(|cell| cell.trial).max().unwrap_or(0);
    }
    for cell in &other.cells {
        let trial = cell.trial.checked_add(offset).ok_or("there are too many trials")?;
        cells.push(Cell { trial, ..cell.clone() });
    }
    Ok(())
}

/// Cells of the same identity and trial become one.
fn add_cells(cells: &mut Vec<Cell>, others: &[Cell]) -> Joined {
    // Threads and offered rates are added, so that the sum's identity is no longer that of its parts.
    let place = |cell: &Cell| {
        let key = CellKey { threads: 0, offered: None, ..CellKey::of(cell) };
        (key, cell.offered_ops_per_s.is_some(), cell.trial)
    };
    let at: BTreeMap<_, usize> =
        cells.iter().enumerate().map(|(at, cell)| (place(cell), at)).collect();
    for other in others {
        match at.get(&place(other)) {
            Some(at) => add_cell(&mut cells[*at], other)?,
            None => cells.push(other.clone()),
        }
    }
    Ok(())
}

fn add_cell(cell: &mut Cell, other: &Cell) -> Joined {
    let key = CellKey::of(other);
    if cell.recovery.is_some() || other.recovery.is_some() {
        return Err(format!("a recovery cannot be added to another: {key}"));
    }
    cell.threads = cell.threads.checked_add(other.threads).ok_or("there are too many threads")?;
    cell.offered_ops_per_s =
        cell.offered_ops_per_s.zip(other.offered_ops_per_s).map(|(a, b)| a + b);
    if severity(other.status) > severity(cell.status) {
        (cell.status, cell.error) = (other.status, other.error.clone());
    }
    match (&mut cell.measurement, &other.measurement) {
        (Some(measurement), Some(other)) => measurement::add(measurement, other, cell.records)
            .map_err(|reason| format!("{reason}: {key}")),
        // Part of the load is no figure of the whole.
        (measurement, _) => {
            *measurement = None;
            Ok(())
        }
    }
}

fn severity(status: CellStatus) -> u8 {
    match status {
        CellStatus::Ok => 0,
        CellStatus::Unsupported => 1,
        CellStatus::Interrupted => 2,
        CellStatus::Timeout => 3,
        CellStatus::Failed => 4,
        CellStatus::WrongData => 5,
        CellStatus::LostWrite => 6,
    }
}

/// Engines, workloads and costs of the harness that only `other` has; of a durability check, the one that says most.
fn join_lists(merged: &mut ResultFile, other: &ResultFile) {
    for engine in &other.engines {
        match merged.engines.iter_mut().find(|known| known.name == engine.name) {
            Some(known) => {
                let kept = |engine: &EngineInfo| engine.durability_check.as_ref().map(|c| c.kept);
                if kept(known).is_none() || kept(engine) == Some(Some(false)) {
                    known.durability_check.clone_from(&engine.durability_check);
                }
            }
            None => merged.engines.push(engine.clone()),
        }
    }
    for workload in &other.workloads {
        match merged.workloads.iter_mut().find(|known| known.is_same(workload)) {
            Some(known) if known.stream_digest != workload.stream_digest => {
                known.stream_digest = format!("{}+{}", known.stream_digest, workload.stream_digest);
            }
            Some(_) => {}
            None => merged.workloads.push(workload.clone()),
        }
    }
    for noop in &other.harness.noop {
        let same = |known: &crate::result::NoopCost| {
            (&known.workload, known.threads) == (&noop.workload, noop.threads)
        };
        if !merged.harness.noop.iter().any(same) {
            merged.harness.noop.push(noop.clone());
        }
    }
}

fn run(
    results: &[ResultFile],
    names: &[String],
    cells: &[Cell],
    options: &MergeOptions,
) -> RunInfo {
    let runs = || results.iter().map(|result| &result.run);
    let durations = runs().map(|run| run.duration_s);
    let any = |status| runs().any(|run| run.status == status);
    let status = [RunStatus::Interrupted, RunStatus::Running].into_iter().find(|s| any(*s));
    let planned = runs().map(|run| run.cells_planned);
    RunInfo {
        id: names.join("+"),
        suite: if runs().all(|run| run.suite == results[0].run.suite) {
            results[0].run.suite.clone()
        } else {
            "merged".to_owned()
        },
        command: if options.command.is_empty() {
            results[0].run.command.clone()
        } else {
            options.command.clone()
        },
        // RFC 3339 in UTC sorts as text.
        started_at: runs().map(|run| run.started_at.clone()).min().unwrap_or_default(),
        duration_s: if options.concurrent {
            durations.fold(0.0, f64::max)
        } else {
            durations.sum()
        },
        trials: cells.iter().map(|cell| cell.trial).max().unwrap_or(0),
        status: status.unwrap_or(RunStatus::Complete),
        cells_planned: match status {
            None => cells.len() as u64,
            Some(_) if options.concurrent => planned.max().unwrap_or(0),
            Some(_) => planned.sum(),
        },
        warnings: warnings(results, cells),
        ..results[0].run.clone()
    }
}

/// The runs' warnings, each once. Those that follow from trials and threads are derived again: joining changes both.
fn warnings(results: &[ResultFile], cells: &[Cell]) -> Vec<String> {
    let cpus = results[0].environment.cpus;
    let threads = |cells: &[Cell]| cells.iter().map(|cell| cell.threads).max().unwrap_or(0);
    let mut trials: BTreeMap<CellKey, usize> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| base_name(&cell.engine) != "noop") {
        *trials.entry(CellKey::of(cell)).or_default() += 1;
    }
    let has_one_trial = trials.values().any(|trials| *trials == 1);
    let mut warnings: Vec<String> = Vec::new();
    for result in results {
        let own = shared_processors(threads(&result.cells), cpus);
        for warning in &result.run.warnings {
            let is_over = warning == ONE_TRIAL && !has_one_trial;
            let is_derived = is_over || Some(warning) == own.as_ref();
            if !is_derived && !warnings.contains(warning) {
                warnings.push(warning.clone());
            }
        }
    }
    warnings.extend(shared_processors(threads(cells), cpus));
    warnings
}
