//! When one thread's operations are due in an open loop.
//!
//! Each thread gets an equal part of the rate. With constant arrivals the threads' ticks interleave evenly; with Poisson arrivals each thread draws its gaps from a generator of
//! its own, so that all threads together are a Poisson process again. No tick is ever skipped: a thread that is late begins the next operation at once,
//! and its response time counts from when it was due.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kvdyno_reports::Arrivals;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::clock::{Clock, Ticks};

/// Shorter waits are spun away, because a sleeping thread wakes up to tens of microseconds late.
const SPIN_NS: u64 = 100_000;
/// Longest sleep before looking whether the phase has been stopped.
const SLEEP_MAX: Duration = Duration::from_millis(20);
/// Gaps of Poisson arrivals that are drawn only to be counted, at most: a tenth of a second's work or less.
const DRAWN_MAX: u64 = 1 << 22;

/// The due times of one thread.
#[derive(Debug)]
pub(crate) struct Pace {
    gap_ns: f64,
    /// None where gaps are equal.
    random: Option<Xoshiro256PlusPlus>,
    /// When the next operation is due, from the start of the phase.
    next_ns: f64,
    /// Operations that are due at this time or later belong to no phase.
    end_ns: f64,
    /// When the operation under way was due.
    due_ns: u64,
    /// How late it began.
    late_ns: u64,
    issued: u64,
}

impl Pace {
    /// The pace of thread `thread` of `threads` under a rate over all of them, until `duration` if there is one.
    pub(crate) fn new(
        ops_per_s: f64,
        arrivals: Arrivals,
        (thread, threads): (u32, u32),
        duration: Option<Duration>,
        seed: u64,
    ) -> Self {
        let gap_ns = f64::from(threads) * 1e9 / ops_per_s;
        let random = matches!(arrivals, Arrivals::Poisson).then(|| {
            Xoshiro256PlusPlus::seed_from_u64(seed ^ (u64::from(thread) + 1).rotate_left(32))
        });
        let mut pace = Self {
            gap_ns,
            random,
            next_ns: gap_ns * f64::from(thread) / f64::from(threads),
            end_ns: duration.map_or(f64::INFINITY, |duration| duration.as_nanos() as f64),
            due_ns: 0,
            late_ns: 0,
            issued: 0,
        };
        if pace.random.is_some() {
            pace.next_ns = pace.gap();
        }
        pace
    }

    fn gap(&mut self) -> f64 {
        match &mut self.random {
            None => self.gap_ns,
            // Inverse of the exponential distribution; 1 − u is never 0.
            Some(random) => -(1.0 - random.random::<f64>()).ln() * self.gap_ns,
        }
    }

    /// Waits until the next operation is due. Returns false if there is none any more, or `stop` was set meanwhile.
    #[inline]
    pub(crate) fn wait(&mut self, clock: &Clock, start: Ticks, stop: &AtomicBool) -> bool {
        if self.next_ns >= self.end_ns {
            return false;
        }
        self.due_ns = self.next_ns as u64;
        loop {
            let elapsed = clock.nanos_between(start, clock.now());
            if elapsed >= self.due_ns {
                self.late_ns = elapsed - self.due_ns;
                break;
            }
            if stop.load(Ordering::Relaxed) {
                return false;
            }
            let left = self.due_ns - elapsed;
            if left > SPIN_NS {
                std::thread::sleep(Duration::from_nanos(left - SPIN_NS).min(SLEEP_MAX));
            } else {
                std::hint::spin_loop();
            }
        }
        self.issued += 1;
        self.next_ns += self.gap();
        true
    }

    /// When the operation under way was due, in nanoseconds from the start of the phase.
    #[inline]
    pub(crate) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// How late the newest operation began.
    pub(crate) fn late_ns(&self) -> u64 {
        self.late_ns
    }

    /// Operations that were due until the end, whether they have been issued or not. Without an end, those issued.
    ///
    /// Of Poisson arrivals millions that were never issued are counted one by one; for those beyond, whose number
    /// differs from its mean by less than a thousandth, the mean is taken.
    pub(crate) fn due_in_all(mut self) -> u64 {
        if self.end_ns.is_infinite() {
            return self.issued;
        }
        let mut due = self.issued;
        if self.random.is_some() {
            let drawn_max = due + DRAWN_MAX;
            while self.next_ns < self.end_ns && due < drawn_max {
                due += 1;
                self.next_ns += self.gap();
            }
        }
        let left_ns = (self.end_ns - self.next_ns).max(0.0);
        due + (left_ns / self.gap_ns).ceil() as u64
    }
}

/// Lets sleeping threads of this thread's kind wake as near to their time as the kernel can. What does not work is no harm: waits end by spinning.
pub(crate) fn wake_precisely() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_times(arrivals: Arrivals, threads: u32, duration: Duration) -> Vec<f64> {
        let mut all = Vec::new();
        for thread in 0..threads {
            let mut pace = Pace::new(10_000.0, arrivals, (thread, threads), Some(duration), 7);
            while pace.next_ns < pace.end_ns {
                all.push(pace.next_ns);
                pace.next_ns += pace.gap();
            }
        }
        all.sort_by(f64::total_cmp);
        all
    }

    #[test]
    fn constant_arrivals_interleave_over_threads() {
        let times = due_times(Arrivals::Constant, 3, Duration::from_secs(1));
        assert_eq!(times.len(), 10_000);
        for (i, time) in times.iter().enumerate() {
            assert!((time - i as f64 * 100_000.0).abs() < 1.0, "operation {i} is due at {time}");
        }
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_the_exponential_distribution() {
        for threads in [1, 4] {
            let times = due_times(Arrivals::Poisson, threads, Duration::from_secs(20));
            let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let n = gaps.len() as f64;
            let mean = gaps.iter().sum::<f64>() / n;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n;
            assert!((mean / 100_000.0 - 1.0).abs() < 0.02, "mean {mean}");
            assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "deviation {}", variance.sqrt());
        }
    }

    #[test]
    fn what_was_due_is_counted_even_if_it_was_never_issued() {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let all = due_times(arrivals, 1, Duration::from_secs(1)).len() as u64;
            let pace = Pace::new(10_000.0, arrivals, (0, 1), Some(Duration::from_secs(1)), 7);
            assert_eq!(pace.due_in_all(), all);
        }
    }

    #[test]
    fn billions_that_were_never_issued_are_counted_at_once() {
        let (ops_per_s, duration) = (1e9, Duration::from_secs(30));
        for thread in 0..2 {
            let pace = |arrivals| Pace::new(ops_per_s, arrivals, (thread, 2), Some(duration), 7);
            assert_eq!(pace(Arrivals::Constant).due_in_all(), 15_000_000_000);
            let due = pace(Arrivals::Poisson).due_in_all() as f64;
            assert!((due / 15e9 - 1.0).abs() < 1e-3, "{due} were due");
        }
    }
}
