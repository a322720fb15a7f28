//! All threads of a cell at work: from one start to the limit, a fault, or the user's wish.
//!
//! The calling thread looks on: it collects what the threads recorded once a second, samples the machine, tells the parent how far it is, and ends the phase.
//!
//! In an open loop with a time limit the threads do all operations that were due within it, however late. Those of a rate far beyond what the
//! engine can do would take for ever: a tenth of the time later, or a second, the phase ends, and the rate counts as not reached.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvdyno_reports::{Arrivals, MachineNoise, OpenLoop};
use kvdyno_workloads::LastWrites;

use super::clock::{Clock, Ticks};
use super::collector::Collector;
use super::driver::{Driver, Fault, ThreadEnd};
use super::job::Limit;
use super::observe::Memory;
use super::pace::Pace;
use super::phase::Phase;
use super::recorder::{INTERVAL_NS, Slot};
use super::sampler::{Sample, Sampler};
use crate::failure::Result;

/// Short enough to notice the end of a short phase, long enough to cost nothing.
const NAP: Duration = Duration::from_millis(5);
/// Throughput is steady when it has stayed so near to its mean for so many seconds.
const STEADY_WITHIN: f64 = 0.05;
const STEADY_SECONDS: usize = 5;

/// What the threads are to do.
#[derive(Clone, Copy)]
pub(crate) struct Drive<'a> {
    /// What the user is told.
    pub(crate) stage: &'a str,
    /// Histograms that are needed.
    pub(crate) slots: &'a [Slot],
    /// When it ends.
    pub(crate) limit: Limit,
    /// Whether it also ends when throughput is steady.
    pub(crate) until_steady: bool,
    /// Operations per second over all threads, and how they are spaced; none in a closed loop.
    pub(crate) pace: Option<(f64, Arrivals)>,
    /// Key and value bytes of live records at the start.
    pub(crate) live_bytes: u64,
    /// What reads may return, where that is checked.
    pub(crate) versions: Option<&'a LastWrites>,
}

/// What threads did together.
pub(crate) struct Driven {
    /// What they recorded.
    pub(crate) collector: Collector,
    /// When they began.
    pub(crate) began: Instant,
    /// From the first operation's start to the last one's end; in an open loop at least as long as the operations were offered.
    pub(crate) duration_s: f64,
    /// What ended it before its time.
    pub(crate) fault: Option<Fault>,
    /// How the rate was kept, in an open loop.
    pub(crate) open_loop: Option<OpenLoop>,
    /// When throughput had become steady, where that was waited for.
    pub(crate) steady_after: Option<Duration>,
    /// What was seen once a second.
    pub(crate) samples: Vec<Sample>,
    /// What the machine did.
    pub(crate) noise: MachineNoise,
    /// Largest anonymous memory seen.
    pub(crate) rss_anon_peak_bytes: Option<u64>,
    /// Largest ratio of allocated to live bytes seen.
    pub(crate) space_peak: f64,
}

/// What the looking-on thread has seen.
struct Watched {
    began: Instant,
    space_peak: f64,
    steady_after: Option<Duration>,
}

impl Phase<'_> {
    /// Lets all threads work on their part.
    pub(crate) fn drive<P: Send>(
        &self,
        drive: Drive<'_>,
        parts: &mut [P],
        work: impl Fn(Driver<'_>, &mut P, &AtomicBool) -> ThreadEnd + Sync,
    ) -> Result<Driven> {
        let clock = Clock::new();
        let (mut collector, drivers) = self.drivers(&drive, &clock)?;
        let stop = AtomicBool::new(false);
        let ready = Barrier::new(parts.len() + 1);
        let mut sampler = Sampler::new(self.engine, &self.job.store);
        let (ends, watched) = std::thread::scope(|scope| {
            let handles: Vec<_> = parts
                .iter_mut()
                .zip(drivers)
                .map(|(part, driver)| {
                    let (ready, stop, work) = (&ready, &stop, &work);
                    scope.spawn(move || {
                        ready.wait();
                        let end = work(driver, part, stop);
                        if end.result.is_err() {
                            stop.store(true, Ordering::Relaxed);
                        }
                        end
                    })
                })
                .collect();
            ready.wait();
            let finished = || handles.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let watched = self.watch(&drive, &mut collector, &mut sampler, &stop, &finished);
            let ends: Vec<_> =
                handles.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            (ends, watched)
        });
        collector.collect();
        let ends: Vec<ThreadEnd> = ends
            .into_iter()
            .map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        let span_s = span_s(&clock, &ends);
        let due: u64 = ends.iter().map(|end| end.due).sum();
        // What was due takes as long as it was offered, however soon the last operation was done.
        let offered_s = drive
            .pace
            .filter(|_| collector.operations() >= due)
            .map_or(0.0, |(ops_per_s, _)| due as f64 / ops_per_s);
        let duration_s = span_s.max(offered_s);
        let open_loop =
            drive.pace.map(|pace| open_loop(pace, due, &ends, collector.operations(), duration_s));
        let (samples, noise) = sampler.finish();
        let last_rss = Memory::now().anon_bytes;
        Ok(Driven {
            collector,
            began: watched.began,
            duration_s,
            fault: ends.into_iter().find_map(|end| end.result.err()),
            open_loop,
            steady_after: watched.steady_after,
            rss_anon_peak_bytes: samples
                .iter()
                .map(|sample| sample.rss_anon_bytes)
                .chain([last_rss])
                .flatten()
                .max(),
            samples,
            noise,
            space_peak: watched.space_peak,
        })
    }

    /// A driver for each thread, and the collector of what they record.
    fn drivers<'b>(
        &'b self,
        drive: &Drive<'b>,
        clock: &Clock,
    ) -> Result<(Collector, Vec<Driver<'b>>)> {
        let threads = self.job.threads;
        let (collector, recorders) =
            Collector::new(clock, drive.slots, threads, drive.pace.is_some());
        let duration = match drive.limit {
            Limit::Duration(duration) => Some(duration),
            Limit::Operations(_) => None,
        };
        let stores_data = self.engine.capabilities().stores_data;
        let drivers = (0..threads)
            .zip(recorders)
            .map(|(thread, recorder)| {
                let session = self.engine.session()?;
                let pace = drive.pace.map(|(ops_per_s, arrivals)| {
                    Pace::new(ops_per_s, arrivals, (thread, threads), duration, self.job.seed)
                });
                let verify = self.job.verify;
                Ok(Driver::new(session, self.workload, clock, recorder, verify, stores_data)
                    .with(pace, drive.versions))
            })
            .collect::<Result<_>>()?;
        Ok((collector, drivers))
    }

    /// Looks on until all threads have finished, and stops them when it is time.
    fn watch(
        &self,
        drive: &Drive<'_>,
        collector: &mut Collector,
        sampler: &mut Sampler<'_>,
        stop: &AtomicBool,
        finished: &dyn Fn() -> bool,
    ) -> Watched {
        let second = Duration::from_nanos(INTERVAL_NS);
        let mut watched = Watched { began: Instant::now(), space_peak: 0.0, steady_after: None };
        let mut next_second = watched.began + second;
        while !finished() {
            let left = time_left(drive, watched.began);
            sampler.sleep(NAP.min(left).max(Duration::from_millis(1)));
            if self.interrupted.load(Ordering::Relaxed) || left.is_zero() {
                stop.store(true, Ordering::Relaxed);
            }
            if Instant::now() < next_second {
                continue;
            }
            next_second += second;
            collector.collect();
            let sample = sampler.sample();
            let live = collector.counts().live_bytes(drive.live_bytes);
            if let Some(allocated) = sample.allocated_bytes.filter(|_| live > 0) {
                watched.space_peak = watched.space_peak.max(allocated as f64 / live as f64);
            }
            let elapsed = watched.began.elapsed();
            if drive.until_steady && is_steady(&collector.operations_by_second(elapsed.as_secs())) {
                watched.steady_after.get_or_insert(elapsed);
                stop.store(true, Ordering::Relaxed);
            }
            let done = match drive.limit {
                Limit::Operations(total) => collector.operations() as f64 / total.max(1) as f64,
                Limit::Duration(total) => elapsed.as_secs_f64() / total.as_secs_f64(),
            };
            self.progress(drive.stage, collector.latest_second(), Some(done));
        }
        watched
    }
}

/// From the first operation's start to the last one's end.
fn span_s(clock: &Clock, ends: &[ThreadEnd]) -> f64 {
    let first: Option<Ticks> = ends.iter().map(|end| end.first).min();
    let last = ends.iter().map(|end| end.last).max();
    first.zip(last).map_or(0.0, |(first, last)| clock.seconds_between(first, last))
}

fn open_loop(
    (offered_ops_per_s, arrivals): (f64, Arrivals),
    due: u64,
    ends: &[ThreadEnd],
    operations: u64,
    duration_s: f64,
) -> OpenLoop {
    let backlog_end_s = ends.iter().map(|end| end.late_ns).max().unwrap_or(0) as f64 / 1e9;
    let reached = operations >= due && backlog_end_s <= OpenLoop::backlog_s_max(duration_s);
    OpenLoop { offered_ops_per_s, arrivals, due, reached, backlog_end_s }
}

/// Time until the threads are to be stopped.
fn time_left(drive: &Drive<'_>, began: Instant) -> Duration {
    let Limit::Duration(total) = drive.limit else { return Duration::MAX };
    // Threads with a pace end by themselves, if they keep up.
    let grace = drive.pace.map_or(Duration::ZERO, |_| (total / 10).max(Duration::from_secs(1)));
    (total + grace).saturating_sub(began.elapsed())
}

/// Whether the newest seconds differ little from their mean.
fn is_steady(operations: &[u64]) -> bool {
    let Some(newest) = operations.len().checked_sub(STEADY_SECONDS).map(|at| &operations[at..])
    else {
        return false;
    };
    let mean = newest.iter().sum::<u64>() as f64 / newest.len() as f64;
    mean > 0.0 && newest.iter().all(|second| (*second as f64 / mean - 1.0).abs() <= STEADY_WITHIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_steady_when_the_newest_seconds_agree() {
        assert!(!is_steady(&[100; 4]), "four seconds are too few");
        assert!(is_steady(&[10, 50, 100, 101, 99, 102, 98]));
        assert!(!is_steady(&[100, 100, 100, 100, 90]));
        assert!(!is_steady(&[0; 9]), "nothing happens");
    }
}
