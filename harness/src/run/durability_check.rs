//! Checks, from outside the engine's process, that a durability class is what it says. The cells are not measured.
//!
//! | class | check |
//! |---|---|
//! | `buffered` | records are overwritten, the store closed and opened again: every acknowledged write is there |
//! | `os` | records are overwritten until the process is killed with SIGKILL: every acknowledged write is there |
//! | `sync` | records are put one after the other while the process's system calls are traced: between the beginning of each put and its acknowledgement a call has made data durable (see [`super::tracer`]) |
//!
//! Beside the last one stand the flushes that the block device finished meanwhile. They are told and not judged: the device is shared, and one without a volatile cache needs none.

use std::ops::Range;
use std::time::Duration;

use kvdyno_engines::Durability;
use kvdyno_reports::{CellStatus, DurabilityCheck, PageCache, RecoveryEnding, RecoveryScenario};
use kvdyno_workloads::WorkloadSpec;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::child_process::ChildProcess;
use super::interrupt::Interrupt;
use super::recovery::{Amount, Experiment};
use super::stores::Stores;
use super::tracer::{Seen, Tracer};
use crate::cell::job::{Job, Outcome, Task, Verify};
use crate::cell::observe::Device;
use crate::failure::{Failure, Result};
use crate::registry::ResolvedEngine;

/// Puts that are traced.
const PUTS: u64 = 300;
/// Records that are overwritten.
const RECORDS: u64 = 1_000;
/// Writes of a round, drawn anew for each.
const WRITES: Range<u64> = 1_000..8_000;
const VALUE_BYTES: u64 = 100;
const SEED: u64 = 42;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What was seen agrees with the class.
    Kept,
    /// It does not.
    Broken,
    /// It could not be seen.
    Unknown,
    /// There is nothing to see: the engine stores nothing, or has no such class.
    Skipped,
}

/// Where and how checks are made.
pub(crate) struct Checks<'a> {
    /// Where stores live.
    pub(crate) stores: &'a Stores,
    /// The user's wish to stop.
    pub(crate) interrupt: &'a Interrupt,
    /// Longest time for each process.
    pub(crate) timeout: Duration,
    /// How often a store is closed or killed, and reopened.
    pub(crate) rounds: u32,
}

impl Checks<'_> {
    /// Checks one class of one engine. Takes a second or two.
    ///
    /// # Errors
    /// If processes cannot be started, or stores not be made; what the engine does is in the verdict.
    pub(crate) fn check(
        &self,
        engine: &ResolvedEngine<'_>,
        durability: Durability,
    ) -> Result<(Verdict, DurabilityCheck)> {
        let name = &engine.label;
        if !engine.adapter.capabilities().persistent {
            return Ok(skipped(format!("{name} stores nothing")));
        }
        if engine.adapter.durability_call(durability).is_none() {
            return Ok(skipped(format!("{name} has no class {durability}")));
        }
        match durability {
            Durability::Sync => self.on_a_new_store(engine, durability, |job| self.trace(job)),
            Durability::Os => self.rounds(engine, durability, RecoveryEnding::Kill),
            Durability::Buffered => self.rounds(engine, durability, RecoveryEnding::CleanClose),
        }
    }

    fn on_a_new_store(
        &self,
        engine: &ResolvedEngine<'_>,
        durability: Durability,
        check: impl FnOnce(Job) -> Result<(Verdict, DurabilityCheck)>,
    ) -> Result<(Verdict, DurabilityCheck)> {
        let store = self.stores.create("durability-check")?;
        let checked = check(Job {
            parent: std::process::id(),
            engine: engine.adapter.name().into(),
            options: engine.options.clone(),
            durability,
            threads: 1,
            seed: SEED,
            spec: spec()?,
            store: store.clone(),
            loaded_bytes: 0,
            verify: Verify::None,
            page_cache: PageCache::Warm,
            memory_limit_bytes: None,
            task: Task::Load,
        });
        self.stores.remove(&store);
        checked
    }

    /// Classes `buffered` and `os`: one new store after the other, until one has lost something.
    fn rounds(
        &self,
        engine: &ResolvedEngine<'_>,
        durability: Durability,
        ending: RecoveryEnding,
    ) -> Result<(Verdict, DurabilityCheck)> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let mut acknowledgements = 0;
        let mut round = 0;
        loop {
            round += 1;
            let writes = random.random_range(WRITES);
            let reopen = |job| self.reopen(job, ending, writes);
            let (verdict, check) = self.on_a_new_store(engine, durability, reopen)?;
            acknowledgements += check.acknowledgements;
            if verdict == Verdict::Kept && round < self.rounds {
                continue;
            }
            let note = match verdict {
                Verdict::Kept => format!("{acknowledgements} acknowledged writes, none lost"),
                _ => check.note,
            };
            return Ok((verdict, DurabilityCheck { acknowledgements, note, ..check }));
        }
    }

    /// Overwrites, leaves, reopens.
    fn reopen(
        &self,
        job: Job,
        ending: RecoveryEnding,
        writes: u64,
    ) -> Result<(Verdict, DurabilityCheck)> {
        let method = match ending {
            RecoveryEnding::CleanClose => "closed, reopened, every acknowledged write looked up",
            _ => "killed while overwriting, reopened, every acknowledged write looked up",
        };
        let loaded = ChildProcess::start(&job)?.wait(self.interrupt, self.timeout, |_| {});
        if loaded.status != CellStatus::Ok {
            return Ok(unknown(method, failure_of(&loaded)));
        }
        let memory = self.stores.create("acknowledgements")?;
        let experiment = Experiment {
            job,
            hint_files: &[],
            amount: Amount::Writes(writes),
            scenario: RecoveryScenario { ending, page_cache: PageCache::Warm, written: None },
            reads_wait: None,
            memory: &memory,
            interrupt: self.interrupt,
            timeout: self.timeout,
        };
        let outcome = experiment.run(|_| {});
        self.stores.remove(&memory);
        Ok(judge_reopened(method, &outcome?))
    }

    /// Class `sync`: puts under a tracer.
    fn trace(&self, job: Job) -> Result<(Verdict, DurabilityCheck)> {
        const METHOD: &str =
            "system calls traced between the beginning of each put and its acknowledgement";
        let device = Device::below(&job.store);
        let flushes = || device.as_ref()?.usage()?.flushes;
        let job = Job { task: Task::MarkedPuts { puts: PUTS }, ..job };
        let mut child = ChildProcess::spawn(job.memory_limit_bytes)?;
        let tracer = match Tracer::attach(child.id()) {
            Ok(tracer) => tracer,
            Err(error) => {
                child.kill();
                let note = format!(
                    "the kernel does not let this process trace its child (ptrace: {error})"
                );
                return Ok(unknown(METHOD, note));
            }
        };
        let before = flushes();
        child.send(&job)?;
        let seen = tracer.watch(self.interrupt, self.timeout);
        let device_flushes =
            before.zip(flushes()).map(|(before, after)| after.saturating_sub(before));
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                let note = format!("system calls cannot be seen on this machine (ptrace: {error})");
                return Ok(unknown(METHOD, note));
            }
        };
        let outcome = child.wait(self.interrupt, self.timeout, |_| {});
        if outcome.status != CellStatus::Ok {
            return Ok(unknown(METHOD, failure_of(&outcome)));
        }
        let (verdict, check) = judge_traced(METHOD, seen);
        Ok((verdict, DurabilityCheck { device_flushes, ..check }))
    }
}

fn spec() -> Result<WorkloadSpec> {
    let mut spec = WorkloadSpec::builtin("ycsb-a")
        .ok_or_else(|| Failure::failed("there is no workload ycsb-a"))?;
    spec.records = RECORDS;
    spec.set_value_bytes(VALUE_BYTES).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(spec)
}

fn failure_of(outcome: &Outcome) -> String {
    let error = outcome.error.as_deref().unwrap_or("the cell's process ended early");
    format!("the check could not be done: {error}")
}

fn skipped(note: String) -> (Verdict, DurabilityCheck) {
    (
        Verdict::Skipped,
        DurabilityCheck { method: "none".into(), note, ..DurabilityCheck::default() },
    )
}

fn unknown(method: &str, note: String) -> (Verdict, DurabilityCheck) {
    (
        Verdict::Unknown,
        DurabilityCheck { method: method.into(), note, ..DurabilityCheck::default() },
    )
}

fn judge_reopened(method: &str, outcome: &Outcome) -> (Verdict, DurabilityCheck) {
    let Some(recovery) = &outcome.recovery else {
        return unknown(method, failure_of(outcome));
    };
    let kept = outcome.status == CellStatus::Ok;
    let check = DurabilityCheck {
        method: method.into(),
        acknowledgements: recovery.acknowledged_writes,
        sync_calls: None,
        device_flushes: None,
        kept: Some(kept),
        note: outcome.error.clone().unwrap_or_default(),
    };
    (if kept { Verdict::Kept } else { Verdict::Broken }, check)
}

fn judge_traced(method: &str, seen: Seen) -> (Verdict, DurabilityCheck) {
    let Seen { acknowledged, covered, sync_calls, unseen } = seen;
    let bare = acknowledged - covered;
    let (verdict, note) = if acknowledged == 0 {
        (Verdict::Unknown, "no acknowledgement was seen".to_owned())
    } else if bare == 0 {
        let note =
            format!("before each of {acknowledged} acknowledgements a call made data durable");
        (Verdict::Kept, note)
    } else if unseen {
        let note = format!(
            "before {bare} of {acknowledged} acknowledgements no call was seen that makes data durable, but the engine submits calls that cannot be seen (io_uring, io_submit)"
        );
        (Verdict::Unknown, note)
    } else {
        let note = format!(
            "before {bare} of {acknowledged} acknowledgements no call made data durable (fsync, fdatasync, msync, or a write to a file opened for it)"
        );
        (Verdict::Broken, note)
    };
    let kept = match verdict {
        Verdict::Kept => Some(true),
        Verdict::Broken => Some(false),
        Verdict::Unknown | Verdict::Skipped => None,
    };
    let check = DurabilityCheck {
        method: method.into(),
        acknowledgements: acknowledged,
        sync_calls: Some(sync_calls),
        device_flushes: None,
        kept,
        note,
    };
    (verdict, check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_never_taken_for_kept() {
        let seen = |acknowledged, covered, unseen| Seen {
            acknowledged,
            covered,
            sync_calls: covered,
            unseen,
        };
        let kept = |seen| judge_traced("", seen).1.kept;
        assert_eq!(kept(seen(300, 300, false)), Some(true));
        assert_eq!(kept(seen(300, 300, true)), Some(true));
        assert_eq!(kept(seen(300, 299, false)), Some(false));
        assert_eq!(kept(seen(300, 0, true)), None);
        assert_eq!(kept(seen(0, 0, false)), None);
    }
}
