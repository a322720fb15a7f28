//! A load or run phase: warm-up, measure, settle, check.
//!
//! 1. The threads warm up; what they record is thrown away. The engine settles.
//! 2. Pending pages are written back, and the engine's, the kernel's and the device's counters are read.
//! 3. The threads measure. The main thread collects once a second, and tells the parent.
//! 4. The counters are read again (`_end`), the engine settles, and they are read once more (`_settled`). The device's figure at the end is
//!    read while the engine settles, because writing back pending pages takes time that is not the engine's.
//! 5. The data is checked, untimed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use kvdyno_engines::{Engine, Error};
use kvdyno_reports::{Amplification, CellStatus, Measurement};
use kvdyno_workloads::{LastWrites, Loader, OperationKind, OperationStream, Workload};

use super::check;
use super::drive::{Drive, Driven};
use super::driver::{Driver, Fault, ThreadEnd, Turn};
use super::figures::{
    Snapshot, counters, events_since, io_between, per_second, ratio, resources_between,
    stalls_between,
};
use super::job::{Job, Limit, Message, Outcome, Verify, WarmUp};
use super::observe::{Device, allocated_bytes};
use super::pacing::Pacing;
use super::recorder::Slot;
use crate::failure::Result;

/// What a load records.
const LOAD_SLOTS: [Slot; 1] = [Slot::Operation(OperationKind::Insert)];

fn load(driver: Driver<'_>, loader: &mut Loader, stop: &AtomicBool) -> ThreadEnd {
    driver.load(loader, stop)
}

/// Runs a thread's share of the streams.
#[allow(clippy::ptr_arg, reason = "a thread's part is a vector to those who drive it")]
pub(super) fn run(driver: Driver<'_>, turns: &mut Vec<Turn>, stop: &AtomicBool) -> ThreadEnd {
    driver.run(turns, stop)
}

fn load_drive(limit: Limit) -> Drive<'static> {
    Drive {
        stage: "loading",
        slots: &LOAD_SLOTS,
        limit,
        until_steady: false,
        pace: None,
        live_bytes: 0,
        versions: None,
    }
}

/// A cell's surroundings.
pub(crate) struct Phase<'a> {
    /// The job.
    pub(crate) job: &'a Job,
    /// The open engine.
    pub(crate) engine: &'a dyn Engine,
    /// The workload of the job.
    pub(crate) workload: &'a Workload,
    /// Set when the user wants the run to end.
    pub(crate) interrupted: &'a AtomicBool,
    /// Where to tell how far it is.
    pub(crate) tell: &'a dyn Fn(Message),
}

impl Phase<'_> {
    /// Writes all records into the empty store.
    pub(crate) fn load(&self) -> Result<Outcome> {
        let mut loaders = self.loaders();
        let limit = Limit::Operations(self.workload.record_count());
        let mut outcome = self.measure(load_drive(limit), &mut loaders, load)?;
        if outcome.status == CellStatus::Ok {
            self.check(&mut outcome, &[])?;
        }
        outcome.loaded_bytes =
            outcome.measurement.as_ref().map(|figures| figures.amplification.live_bytes);
        Ok(outcome)
    }

    fn loaders(&self) -> Vec<Loader> {
        let threads = self.job.threads;
        (0..threads).map(|thread| self.workload.loader(thread, threads)).collect()
    }

    /// Writes all records, unmeasured.
    fn fill(&self) -> Result<Driven> {
        let limit = Limit::Operations(self.workload.record_count());
        self.drive(load_drive(limit), &mut self.loaders(), load)
    }

    /// Runs the workload's operations on the loaded store.
    pub(crate) fn run(&self, limit: Limit, warm_up: WarmUp, pacing: &Pacing) -> Result<Outcome> {
        let slots = slots_of(self.workload);
        let mut turns = self.turns();
        let capabilities = self.engine.capabilities();
        if capabilities.stores_data && !capabilities.persistent {
            // Nothing was left of the load when its process ended.
            let driven = self.fill()?;
            if let Some(outcome) = self.early_end(driven.fault) {
                return Ok(outcome);
            }
        }
        let versions = (self.job.verify == Verify::Versions && capabilities.stores_data)
            .then(|| LastWrites::new(self.workload))
            .flatten();
        let versions = versions.as_ref();
        let warm_up = match self.warm_up(warm_up, &slots, versions, &mut turns)? {
            Ok(rule) => rule,
            Err(outcome) => return Ok(*outcome),
        };
        // What opening and warming up left to do in the background is not the workload's.
        self.engine.settle()?;
        let pace = match pacing {
            Pacing::Open { ops_per_s, arrivals } => Some((*ops_per_s, *arrivals)),
            _ => None,
        };
        let drive = Drive {
            stage: "measuring",
            slots: &slots,
            limit,
            until_steady: false,
            pace,
            live_bytes: self.job.loaded_bytes.saturating_add_signed(added_bytes(&turns)),
            versions,
        };
        share_out(&mut turns, limit);
        let mut outcome = self.measure(drive, &mut turns, run)?;
        if let Some(measurement) = &mut outcome.measurement {
            measurement.warm_up = warm_up;
            if outcome.status == CellStatus::Ok
                && let Some(ended) = self.rates(pacing, drive, &mut turns, measurement)?
            {
                outcome.status = ended.status;
                outcome.error = ended.error;
            }
        }
        if matches!(outcome.status, CellStatus::Ok | CellStatus::Interrupted) {
            self.check(&mut outcome, &in_order(&turns))?;
        }
        Ok(outcome)
    }

    /// The logical streams, dealt out to the threads.
    fn turns(&self) -> Vec<Vec<Turn>> {
        let (threads, streams) = (self.job.threads, self.workload.spec().streams);
        (0..threads)
            .map(|thread| {
                let of_thread = (thread..streams).step_by(threads as usize);
                of_thread
                    .map(|index| Turn { index, stream: self.workload.stream(index), left: 0 })
                    .collect()
            })
            .collect()
    }

    /// Warms up, and tells by which rule it ended; or how the phase ended there.
    fn warm_up(
        &self,
        warm_up: WarmUp,
        slots: &[Slot],
        versions: Option<&LastWrites>,
        turns: &mut [Vec<Turn>],
    ) -> Result<std::result::Result<String, Box<Outcome>>> {
        let (limit, until_steady) = match warm_up {
            WarmUp::Limit(limit) => (limit, false),
            WarmUp::Steady(at_most) => (Limit::Duration(at_most), true),
        };
        if limit.is_zero() {
            return Ok(Ok("none".into()));
        }
        share_out(turns, limit);
        let drive = Drive {
            stage: "warming up",
            slots,
            limit,
            until_steady,
            pace: None,
            live_bytes: 0,
            versions,
        };
        let driven = self.drive(drive, turns, run)?;
        if let Some(outcome) = self.early_end(driven.fault) {
            return Ok(Err(Box::new(outcome)));
        }
        Ok(Ok(match driven.steady_after {
            Some(after) => format!("steady after {:.0} s", after.as_secs_f64()),
            None if until_steady => format!("not steady after {limit}"),
            None => limit.to_string(),
        }))
    }

    /// Drives the threads with all counters read before and after, then settles.
    fn measure<P: Send>(
        &self,
        drive: Drive<'_>,
        parts: &mut [P],
        work: impl Fn(Driver<'_>, &mut P, &AtomicBool) -> ThreadEnd + Sync,
    ) -> Result<Outcome> {
        let device = Device::below(&self.job.store);
        let device_before = device.as_ref().and_then(Device::synced_use);
        let before = Snapshot::of(self.engine);
        let driven = self.drive(drive, parts, work)?;
        let end = Snapshot::of(self.engine);
        let allocated_end = allocated_bytes(&self.job.store);
        if let Some(Fault::Engine(_) | Fault::WrongData(_)) = driven.fault {
            return Ok(self
                .early_end(driven.fault)
                .unwrap_or_else(|| unreachable!("there is a fault")));
        }
        self.progress("settling", None, None);
        let settle_began = Instant::now();
        let (device_end, settled) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| device.as_ref().and_then(Device::synced_use));
            let settled = self.engine.settle().map(|()| settle_began.elapsed().as_secs_f64());
            (writer.join().unwrap_or_default(), settled)
        });
        let settle_s = settled?;
        let device_settled = device.as_ref().and_then(Device::synced_use);
        let after = Snapshot::of(self.engine);
        let allocated_settled = allocated_bytes(&self.job.store);

        let collector = &driven.collector;
        let counts = collector.counts();
        let operations = collector.operations();
        let live_bytes = counts.live_bytes(drive.live_bytes);
        let io = io_between(
            &before,
            &end,
            &after,
            [device_before, device_end, device_settled],
            collector,
        );
        let user_written = counts.user_bytes_written;
        let per_live = |bytes: u64| ratio(Some(bytes), live_bytes);
        let allocated =
            self.engine.capabilities().persistent.then_some((allocated_end, allocated_settled));
        let engine_total = |bytes: &Option<BTreeMap<String, u64>>| {
            bytes.as_ref().map(|sources| sources.values().sum::<u64>())
        };
        let amplification = Amplification {
            write_end: ratio(engine_total(&io.engine_bytes_written_end), user_written),
            write_settled: ratio(engine_total(&io.engine_bytes_written_settled), user_written),
            write_device_end: ratio(io.device_bytes_written_end, user_written),
            write_device_settled: ratio(io.device_bytes_written_settled, user_written),
            read: ratio(io.engine_bytes_read, counts.user_bytes_read),
            read_calls_per_item: ratio(io.engine_read_calls, counts.items.max(operations)),
            space_end: allocated.and_then(|(bytes, _)| per_live(bytes)),
            space_settled: allocated.and_then(|(_, bytes)| per_live(bytes)),
            space_peak: allocated
                .and_then(|(bytes, _)| per_live(bytes))
                .map(|at_end| at_end.max(driven.space_peak)),
            live_bytes,
            allocated_bytes_end: allocated.map(|(bytes, _)| bytes),
            allocated_bytes_settled: allocated.map(|(_, bytes)| bytes),
        };
        let stalls = stalls_between(&before.metrics, &after.metrics);
        let interrupted = self.interrupted.load(Ordering::Relaxed);
        let duration_s = driven.duration_s;
        let measurement = Measurement {
            warm_up: "none".into(),
            duration_s,
            settle_s,
            throughput_ops_per_s: per_second(operations, duration_s),
            throughput_settled_ops_per_s: per_second(operations, duration_s + settle_s),
            operations: collector.operation_stats(),
            timeline: collector.timeline(duration_s, &driven.samples),
            events: events_since(&after.metrics, driven.began),
            open_loop: driven.open_loop,
            rates: Vec::new(),
            slo: None,
            stall_count: stalls.map(|stalls| stalls.count),
            stall_s: stalls.map(|stalls| stalls.time.as_secs_f64()),
            machine: Some(driven.noise),
            resident_share_before: None,
            resources: resources_between(&before, &end, operations, driven.rss_anon_peak_bytes),
            io,
            amplification,
            counters: counters(&after.metrics),
            check: kvdyno_reports::DataCheck {
                reads_checked: counts.checked,
                check_ns_per_operation: (counts.checked > 0)
                    .then(|| counts.check_ns as f64 / operations.max(1) as f64),
                ..Default::default()
            },
        };
        Ok(Outcome {
            status: if interrupted { CellStatus::Interrupted } else { CellStatus::Ok },
            error: interrupted.then(|| "stopped by the user".into()),
            measurement: (operations > 0).then_some(measurement),
            recovery: None,
            loaded_bytes: None,
        })
    }

    /// The outcome if the phase cannot go on: a fault, or the user's wish.
    pub(super) fn early_end(&self, fault: Option<Fault>) -> Option<Outcome> {
        let (status, error) = match fault {
            Some(Fault::Engine(error @ Error::Unsupported(_))) => {
                (CellStatus::Unsupported, error.to_string())
            }
            Some(Fault::Engine(error)) => (CellStatus::Failed, error.to_string()),
            Some(Fault::WrongData(what)) => (CellStatus::WrongData, what),
            None if self.interrupted.load(Ordering::Relaxed) => {
                (CellStatus::Interrupted, "stopped by the user".into())
            }
            None => return None,
        };
        Some(Outcome::without_figures(status, error))
    }

    /// Looks the data up and puts the result into the outcome.
    fn check(&self, outcome: &mut Outcome, streams: &[&OperationStream]) -> Result<()> {
        let Some(measurement) = &mut outcome.measurement else { return Ok(()) };
        if !self.engine.capabilities().stores_data {
            "none".clone_into(&mut measurement.check.scope);
            return Ok(());
        }
        self.progress("checking", None, None);
        let found = check::check(self.engine, self.workload, streams)?;
        measurement.check = kvdyno_reports::DataCheck {
            reads_checked: measurement.check.reads_checked,
            check_ns_per_operation: measurement.check.check_ns_per_operation,
            ..found
        };
        if let Some(error) = check::complaint(&measurement.check) {
            outcome.status = CellStatus::WrongData;
            outcome.error = Some(error);
        }
        Ok(())
    }

    pub(super) fn progress(&self, stage: &str, operations_per_s: Option<f64>, done: Option<f64>) {
        (self.tell)(Message::Progress { stage: stage.into(), operations_per_s, done });
    }
}

/// The histograms that a workload needs.
fn slots_of(workload: &Workload) -> Vec<Slot> {
    let kinds = workload.spec().operation_kinds();
    let mut slots: Vec<Slot> = kinds.iter().copied().map(Slot::Operation).collect();
    if kinds.contains(&OperationKind::ReadModifyWrite) {
        slots.extend([Slot::InnerRead, Slot::InnerUpdate]);
    }
    slots
}

/// All streams in the order of their numbers.
fn in_order(turns: &[Vec<Turn>]) -> Vec<&OperationStream> {
    let mut turns: Vec<_> = turns.iter().flatten().collect();
    turns.sort_unstable_by_key(|turn| turn.index);
    turns.into_iter().map(|turn| &turn.stream).collect()
}

/// Key and value bytes of what the streams have inserted so far, less what they have removed.
fn added_bytes(turns: &[Vec<Turn>]) -> i64 {
    turns.iter().flatten().map(|turn| turn.stream.added_bytes()).sum()
}

/// Gives each stream its part of the operations, whichever thread has it; under a time limit, as many as it likes.
pub(super) fn share_out(turns: &mut [Vec<Turn>], limit: Limit) {
    let streams = turns.iter().map(Vec::len).sum::<usize>() as u64;
    for turn in turns.iter_mut().flatten() {
        turn.left = match limit {
            Limit::Operations(total) => {
                total / streams + u64::from(u64::from(turn.index) < total % streams)
            }
            Limit::Duration(_) => u64::MAX,
        };
    }
}

#[cfg(test)]
mod tests;
