//! The child process: reads its job, does it, tells the outcome.

use std::io::{BufRead, Write};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kvdyno_engines::Engine;
use kvdyno_reports::{CellStatus, PageCache};
use kvdyno_workloads::Workload;
use rustix::process::Signal;

use super::acknowledgements::Acknowledgements;
use super::job::{Job, Message, Outcome, Task};
use super::marks;
use super::page_cache;
use super::phase::Phase;
use super::recovery;
use crate::failure::{Failure, Result};
use crate::registry::{Adapter, OpenRequest, Registry};

/// Does the job that stands on standard input, and tells on standard output.
///
/// # Errors
/// If there is no parent to tell.
pub(crate) fn main(registry: &Registry) -> Result<()> {
    let mut line = String::new();
    let stdin = std::io::stdin();
    stdin
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::failed(format!("cannot read the job: {error}")))?;
    let job: Job = serde_json::from_str(&line).map_err(|error| {
        Failure::usage(format!(
            "'cell' is for kvdyno's own use: no job on standard input ({error})"
        ))
    })?;
    die_with_parent(job.parent)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted))
        .map_err(|error| Failure::failed(format!("cannot handle signals: {error}")))?;
    let tell = |message: Message| {
        let line = serde_json::to_string(&message).unwrap_or_default();
        // Without a parent there is nobody to tell, and the process is about to be killed.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    };
    let outcome =
        std::panic::catch_unwind(AssertUnwindSafe(|| work(registry, &job, &interrupted, &tell)));
    let outcome = match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(failure)) => Outcome::without_figures(CellStatus::Failed, failure.message),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Outcome::without_figures(CellStatus::Failed, format!("panicked: {text}"))
        }
    };
    tell(Message::Ended(Box::new(outcome)));
    Ok(())
}

/// Asks the kernel to kill this process when its parent dies.
fn die_with_parent(parent: u32) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| {
            Failure::failed(format!("cannot tie this process to its parent: {error}"))
        })?;
        // The parent may have died before the call.
        let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if now != Some(parent) {
            return Err(Failure::failed("the parent process is gone"));
        }
    }
    Ok(())
}

/// Opens the job's engine.
pub(crate) fn open(job: &Job, adapter: &dyn Adapter) -> Result<Box<dyn Engine>> {
    let request = OpenRequest {
        dir: &job.store,
        durability: job.durability,
        options: &job.options,
        data_bytes: data_bytes(job),
        threads: job.threads,
    };
    adapter
        .open(&request)
        .map_err(|error| Failure::failed(format!("cannot open the store: {error}")))
}

/// Puts the store's pages into the state that the job asks for, before the engine maps any of them, and tells which share of them is in memory then.
///
/// Under a memory limit they are dropped as well: those that the parent or an earlier process brought in are not charged to this one.
fn prepare_page_cache(job: &Job) -> Result<Option<f64>> {
    let drop = job.page_cache == PageCache::Cold || job.memory_limit_bytes.is_some();
    let residency =
        if drop { page_cache::drop_pages(&job.store)? } else { page_cache::residency(&job.store)? };
    Ok(residency.share())
}

/// Key and value bytes that the store may come to hold: what is loaded, and generously what is inserted.
fn data_bytes(job: &Job) -> u64 {
    let record_bytes = job.spec.value_bytes() + job.spec.key_bytes_max();
    let inserted = job.spec.operations.max(10_000_000) * record_bytes;
    job.spec.records * record_bytes + inserted
}

fn work(
    registry: &Registry,
    job: &Job,
    interrupted: &AtomicBool,
    tell: &dyn Fn(Message),
) -> Result<Outcome> {
    let adapter = registry.get(&job.engine)?;
    let workload = Workload::new(job.spec.clone(), job.seed)
        .map_err(|error| Failure::failed(error.to_string()))?;
    match &job.task {
        Task::Load | Task::Run { .. } => {
            let resident_share = prepare_page_cache(job)?;
            let engine = open(job, adapter)?;
            let phase =
                Phase { job, engine: engine.as_ref(), workload: &workload, interrupted, tell };
            let mut outcome = match &job.task {
                Task::Run { limit, warm_up, pacing } => phase.run(*limit, *warm_up, pacing)?,
                _ => phase.load()?,
            };
            if let Some(measurement) = &mut outcome.measurement {
                measurement.resident_share_before = resident_share;
            }
            match engine.close() {
                Ok(()) => Ok(outcome),
                // What was measured before is worth more than the news that closing failed, unless all went well until here.
                Err(_) if outcome.status != CellStatus::Ok => Ok(outcome),
                Err(error) => Err(Failure::failed(format!("cannot close the store: {error}"))),
            }
        }
        Task::Overwrite { acknowledgements, writes, reads, close } => {
            let acknowledgements = &Acknowledgements::open(acknowledgements, job.threads)?;
            // What the copy has left in memory would not count against the limit.
            if job.memory_limit_bytes.is_some() {
                prepare_page_cache(job)?;
            }
            let engine = open(job, adapter)?;
            tell(Message::Progress { stage: "writing".into(), operations_per_s: None, done: None });
            let overwriting = recovery::Overwriting {
                engine: engine.as_ref(),
                workload: &workload,
                threads: job.threads,
                acknowledgements,
                interrupted,
            };
            overwriting.write(*writes, *reads)?;
            if interrupted.load(Ordering::Relaxed) {
                let stopped = "stopped by the user";
                return Ok(Outcome::without_figures(CellStatus::Interrupted, stopped));
            }
            if !close {
                overwriting.write_until_killed()?;
                return Err(Failure::failed("there are no records to overwrite"));
            }
            engine.close()?;
            Ok(Outcome::well())
        }
        Task::Reopen { acknowledgements, written_s, scenario, reads_wait } => {
            let acknowledgements = &Acknowledgements::open(acknowledgements, job.threads)?;
            let (written_s, scenario, reads_wait) = (*written_s, *scenario, *reads_wait);
            let left = recovery::Left { acknowledgements, written_s, scenario, reads_wait };
            recovery::reopen(job, adapter, &workload, &left, interrupted, tell)
        }
        Task::MarkedPuts { puts } => {
            let engine = open(job, adapter)?;
            marks::put_marked(engine.as_ref(), &workload, *puts)?;
            engine.close()?;
            Ok(Outcome::well())
        }
    }
}
