//! A load or run phase: warm-up, measure, settle, check.
//!
//! 1. The threads warm up; what they record is thrown away. The engine settles.
//! 2. Pending pages are written back, and the engine's, the kernel's and the device's counters are read.
//! 3. The threads measure. The main thread collects once a second, and tells the parent.
//! 4. The counters are read again (`_end`), the engine settles, and they are read once more (`_settled`). The device's figure at the end is
//!    read while the engine settles, because writing back pending pages takes time that is not the engine's.
//! 5. The data is checked, untimed.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvdyno_engines::{Engine, Error};
use kvdyno_reports::{Amplification, CellStatus, Measurement};
use kvdyno_workloads::{Loader, OperationKind, Workload};

use super::check;
use super::clock::{Clock, Ticks};
use super::driver::{Driver, Fault, Turn};
use super::figures::{
    Snapshot, counters, events_since, io_between, per_second, ratio, resources_between,
};
use super::job::{Job, Limit, Message, Outcome, WarmUp};
use super::observe::{Device, Memory, allocated_bytes};
use super::pacing::Pacing;
use super::recorder::{Collector, INTERVAL_NS, Slot};
use crate::failure::Result;

/// How a phase ended for one thread: when its first operation began, when its last one ended, and why it did.
type ThreadEnd = (Ticks, Ticks, std::result::Result<(), Fault>);

/// What a load records.
const LOAD_SLOTS: [Slot; 1] = [Slot::Operation(OperationKind::Insert)];

fn load(driver: Driver<'_>, loader: &mut Loader, stop: &AtomicBool) -> ThreadEnd {
    driver.load(loader, stop)
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

/// What threads did together.
struct Driven {
    collector: Collector,
    began: Instant,
    duration_s: f64,
    fault: Option<Fault>,
    rss_by_second: Vec<Option<u64>>,
    rss_anon_peak_bytes: Option<u64>,
    space_peak: f64,
}

impl Phase<'_> {
    /// Writes all records into the empty store.
    pub(crate) fn load(&self) -> Result<Outcome> {
        let mut loaders = self.loaders();
        let limit = Limit::Operations(self.workload.record_count());
        let mut outcome = self.measure(&LOAD_SLOTS, limit, 0, &mut loaders, load)?;
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
        self.drive("loading", &LOAD_SLOTS, limit, 0, &mut self.loaders(), load)
    }

    /// Runs the workload's operations on the loaded store.
    pub(crate) fn run(&self, limit: Limit, warm_up: WarmUp, _pacing: &Pacing) -> Result<Outcome> {
        let warm_up = match warm_up {
            WarmUp::Limit(limit) => limit,
            WarmUp::Steady(at_most) => Limit::Duration(at_most),
        };
        let (threads, streams) = (self.job.threads, self.workload.spec().streams);
        let slots = slots_of(self.workload);
        let mut turns: Vec<Vec<Turn>> = (0..threads)
            .map(|thread| {
                let of_thread = (thread..streams).step_by(threads as usize);
                of_thread
                    .map(|index| Turn { index, stream: self.workload.stream(index), left: 0 })
                    .collect()
            })
            .collect();
        let work =
            |driver: Driver<'_>, turns: &mut Vec<Turn>, stop: &AtomicBool| driver.run(turns, stop);
        let capabilities = self.engine.capabilities();
        if capabilities.stores_data && !capabilities.persistent {
            // Nothing was left of the load when its process ended.
            let driven = self.fill()?;
            if let Some(outcome) = self.early_end(driven.fault) {
                return Ok(outcome);
            }
        }
        if !warm_up.is_zero() {
            share_out(&mut turns, warm_up, streams);
            let driven = self.drive("warming up", &slots, warm_up, 0, &mut turns, work)?;
            if let Some(outcome) = self.early_end(driven.fault) {
                return Ok(outcome);
            }
        }
        // What opening and warming up left to do in the background is not the workload's.
        self.engine.settle()?;
        let live_bytes = self.job.loaded_bytes + self.inserted_bytes(&turns);
        share_out(&mut turns, limit, streams);
        let mut outcome = self.measure(&slots, limit, live_bytes, &mut turns, work)?;
        if let Some(measurement) = &mut outcome.measurement {
            measurement.warm_up =
                if warm_up.is_zero() { "none".into() } else { warm_up.to_string() };
        }
        let streams = turns.iter().flatten().map(|turn| &turn.stream);
        let inserted: Vec<u64> = streams
            .flat_map(|stream| (0..stream.inserted()).map(|index| stream.inserted_record(index)))
            .collect();
        self.check(&mut outcome, &inserted)?;
        Ok(outcome)
    }

    /// Key and value bytes of what the streams have inserted so far.
    fn inserted_bytes(&self, turns: &[Vec<Turn>]) -> u64 {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for stream in turns.iter().flatten().map(|turn| &turn.stream) {
            for index in 0..stream.inserted() {
                let record = stream.inserted_record(index);
                self.workload.key_of(record, &mut key);
                self.workload.value_of(record, 0, &mut value);
                bytes += (key.len() + value.len()) as u64;
            }
        }
        bytes
    }

    /// Lets all threads work on their part, from one start to the limit, a fault, or the user's wish.
    fn drive<P: Send>(
        &self,
        stage: &str,
        slots: &[Slot],
        limit: Limit,
        live_bytes: u64,
        parts: &mut [P],
        work: impl Fn(Driver<'_>, &mut P, &AtomicBool) -> ThreadEnd + Sync,
    ) -> Result<Driven> {
        let clock = Clock::new();
        let (mut collector, recorders) = Collector::new(&clock, slots, self.job.threads);
        let mut drivers = Vec::new();
        let stores_data = self.engine.capabilities().stores_data;
        for recorder in recorders {
            let session = self.engine.session()?;
            let verify = self.job.verify;
            drivers.push(Driver::new(
                session,
                self.workload,
                &clock,
                recorder,
                verify,
                stores_data,
            ));
        }
        let stop = AtomicBool::new(false);
        let ready = Barrier::new(parts.len() + 1);
        let mut rss_by_second = Vec::new();
        let mut space_peak = 0.0_f64;
        let (ends, began) = std::thread::scope(|scope| {
            let handles: Vec<_> = parts
                .iter_mut()
                .zip(drivers)
                .map(|(part, driver)| {
                    let (ready, stop, work) = (&ready, &stop, &work);
                    scope.spawn(move || {
                        ready.wait();
                        let end = work(driver, part, stop);
                        if end.2.is_err() {
                            stop.store(true, Ordering::Relaxed);
                        }
                        end
                    })
                })
                .collect();
            ready.wait();
            let began = Instant::now();
            let second = Duration::from_nanos(INTERVAL_NS);
            let mut next_second = began + second;
            while !handles.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                // Short enough to notice the end of a short phase, long enough to cost nothing.
                std::thread::sleep(Duration::from_millis(5).min(time_left(limit, began)));
                if self.interrupted.load(Ordering::Relaxed) || time_left(limit, began).is_zero() {
                    stop.store(true, Ordering::Relaxed);
                }
                if Instant::now() < next_second {
                    continue;
                }
                next_second += second;
                collector.collect();
                rss_by_second.push(Memory::now().anon_bytes);
                let live = live_bytes + collector.counts().inserted_bytes;
                if live > 0 {
                    space_peak =
                        space_peak.max(allocated_bytes(&self.job.store) as f64 / live as f64);
                }
                let done = match limit {
                    Limit::Operations(total) => collector.operations() as f64 / total.max(1) as f64,
                    Limit::Duration(total) => began.elapsed().as_secs_f64() / total.as_secs_f64(),
                };
                self.progress(stage, collector.latest_second(), Some(done));
            }
            let ends: Vec<_> =
                handles.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            (ends, began)
        });
        collector.collect();
        let mut fault = None;
        let mut span: Option<(Ticks, Ticks)> = None;
        for end in ends {
            let (start, end, result) = end.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            span =
                Some(span.map_or((start, end), |(first, last)| (first.min(start), last.max(end))));
            fault = fault.or(result.err());
        }
        let duration_s = span.map_or(0.0, |(start, end)| clock.seconds_between(start, end));
        let rss_anon_peak_bytes =
            rss_by_second.iter().copied().chain([Memory::now().anon_bytes]).flatten().max();
        Ok(Driven {
            collector,
            began,
            duration_s,
            fault,
            rss_by_second,
            rss_anon_peak_bytes,
            space_peak,
        })
    }

    /// Drives the threads with all counters read before and after, then settles.
    fn measure<P: Send>(
        &self,
        slots: &[Slot],
        limit: Limit,
        live_bytes: u64,
        parts: &mut [P],
        work: impl Fn(Driver<'_>, &mut P, &AtomicBool) -> ThreadEnd + Sync,
    ) -> Result<Outcome> {
        let device = Device::below(&self.job.store);
        let device_before = device.as_ref().and_then(Device::synced_use);
        let before = Snapshot::of(self.engine);
        let stage = if slots == LOAD_SLOTS { "loading" } else { "measuring" };
        let driven = self.drive(stage, slots, limit, live_bytes, parts, work)?;
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
        let live_bytes = live_bytes + counts.inserted_bytes;
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
        let interrupted = self.interrupted.load(Ordering::Relaxed);
        let duration_s = driven.duration_s;
        let measurement = Measurement {
            warm_up: "none".into(),
            duration_s,
            settle_s,
            throughput_ops_per_s: per_second(operations, duration_s),
            throughput_settled_ops_per_s: per_second(operations, duration_s + settle_s),
            operations: collector.operation_stats(),
            timeline: collector.timeline(duration_s, &driven.rss_by_second),
            events: events_since(&after.metrics, driven.began),
            open_loop: None,
            rates: Vec::new(),
            slo: None,
            stall_count: None,
            stall_s: None,
            machine: None,
            resident_share_before: None,
            resources: resources_between(&before, &end, operations, driven.rss_anon_peak_bytes),
            io,
            amplification,
            counters: counters(&after.metrics),
            check: kvdyno_reports::DataCheck {
                reads_checked: counts.checked,
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
    fn early_end(&self, fault: Option<Fault>) -> Option<Outcome> {
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
    fn check(&self, outcome: &mut Outcome, inserted: &[u64]) -> Result<()> {
        let Some(measurement) = &mut outcome.measurement else { return Ok(()) };
        if !self.engine.capabilities().stores_data {
            "none".clone_into(&mut measurement.check.scope);
            return Ok(());
        }
        self.progress("checking", None, None);
        let reads_checked = measurement.check.reads_checked;
        measurement.check = check::check(self.engine, self.workload, inserted.iter().copied())?;
        measurement.check.reads_checked = reads_checked;
        let (missing, wrong) = (measurement.check.records_missing, measurement.check.records_wrong);
        if missing + wrong > 0 {
            let checked = measurement.check.records_checked;
            outcome.status = CellStatus::WrongData;
            outcome.error = Some(format!(
                "of {checked} records looked up after the phase, {missing} were missing and {wrong} had a wrong value"
            ));
        }
        Ok(())
    }

    fn progress(&self, stage: &str, operations_per_s: Option<f64>, done: Option<f64>) {
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

/// Gives each stream its part of the operations, whichever thread has it; under a time limit, as many as it likes.
fn share_out(turns: &mut [Vec<Turn>], limit: Limit, streams: u32) {
    for turn in turns.iter_mut().flatten() {
        turn.left = match limit {
            Limit::Operations(total) => {
                let (all, streams) = (total / u64::from(streams), u64::from(streams));
                all + u64::from(u64::from(turn.index) < total % streams)
            }
            Limit::Duration(_) => u64::MAX,
        };
    }
}

fn time_left(limit: Limit, began: Instant) -> Duration {
    match limit {
        Limit::Operations(_) => Duration::MAX,
        Limit::Duration(total) => total.saturating_sub(began.elapsed()),
    }
}
