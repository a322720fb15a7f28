//! How quickly a store is read: the rate before it was left, and the time until reads come at that rate again.
//!
//! 1. Each thread reads records spread evenly over all (every part of the store has to come back, not only the hot part), as fast as it can, and counts
//!    them by hundredths of a second.
//! 2. The rate *before* is the median over tenths of a second, the first few of which are left out as warm-up.
//! 3. *Afterwards*, the first ten hundredths in a row that reach 90 % of it end the recovery: it took until their beginning.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kvdyno_engines::Engine;
use kvdyno_workloads::Workload;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::failure::Result;

/// Length of an interval in which reads are counted.
const BIN: Duration = Duration::from_millis(10);
/// Intervals of which a rate is made.
const WINDOW_BINS: usize = 10;
/// How long the rate before is taken.
const BEFORE: Duration = Duration::from_secs(1);
/// Tenths of a second at its beginning that do not count.
const WARM_UP_WINDOWS: usize = 3;
/// Share of the rate before that counts as recovered.
const RECOVERED: f64 = 0.9;

/// Reads of an open store.
pub(crate) struct Reads<'a> {
    /// The store.
    pub(crate) engine: &'a dyn Engine,
    /// The workload whose records it holds.
    pub(crate) workload: &'a Workload,
    /// Reading threads.
    pub(crate) threads: u32,
    /// Set when the user wants the run to end.
    pub(crate) interrupted: &'a AtomicBool,
}

impl Reads<'_> {
    /// Reads per second now. Takes a second.
    pub(crate) fn per_second(&self) -> Result<f64> {
        let bins = self.count(BEFORE, &|_| false)?;
        let mut windows: Vec<u64> = bins
            .chunks_exact(WINDOW_BINS)
            .skip(WARM_UP_WINDOWS)
            .map(|window| window.iter().sum())
            .collect();
        windows.sort_unstable();
        let median = windows.get(windows.len() / 2).copied().unwrap_or(0);
        Ok(median as f64 / window_s())
    }

    /// Time from the first read until reads come at 90 % of a rate; none if they do not within `at_most`.
    pub(crate) fn time_to(&self, rate_per_s: f64, at_most: Duration) -> Result<Option<Duration>> {
        let wanted = (RECOVERED * rate_per_s * window_s()).ceil().max(1.0) as u64;
        let reached = |bins: &[u64]| first_window(bins, wanted).is_some();
        let bins = self.count(at_most, &reached)?;
        Ok(first_window(&bins, wanted).map(|first| BIN * first as u32))
    }

    /// Reads until the time is over, or what was counted is enough. Returns the whole intervals.
    fn count(&self, time: Duration, enough: &dyn Fn(&[u64]) -> bool) -> Result<Vec<u64>> {
        let bins = (time.as_nanos() / BIN.as_nanos()) as usize;
        let counts: Vec<Vec<AtomicU32>> = (0..self.threads)
            .map(|_| std::iter::repeat_with(|| AtomicU32::new(0)).take(bins).collect())
            .collect();
        let stop = AtomicBool::new(false);
        let began = Instant::now();
        let whole = |until: usize| -> Vec<u64> {
            let sum = |bin: usize| -> u64 {
                counts.iter().map(|own| u64::from(own[bin].load(Ordering::Relaxed))).sum()
            };
            (0..until.min(bins)).map(sum).collect()
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = counts
                .iter()
                .zip(0..)
                .map(|(counts, thread)| {
                    let stop = &stop;
                    scope.spawn(move || self.read(thread, counts, began, stop))
                })
                .collect();
            while began.elapsed() < time && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(BIN);
                // The interval under way does not count.
                let until = (began.elapsed().as_nanos() / BIN.as_nanos()) as usize;
                if self.interrupted.load(Ordering::Relaxed) || enough(&whole(until)) {
                    break;
                }
            }
            let until = (began.elapsed().as_nanos() / BIN.as_nanos()) as usize;
            stop.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            Ok(whole(until))
        })
    }

    fn read(
        &self,
        thread: u64,
        counts: &[AtomicU32],
        began: Instant,
        stop: &AtomicBool,
    ) -> Result<()> {
        let records = self.workload.record_count().max(1);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut read = || -> Result<()> {
            let mut session = self.engine.session()?;
            let mut random = Xoshiro256PlusPlus::seed_from_u64(thread);
            while !stop.load(Ordering::Relaxed) {
                self.workload.key_of(random.random_range(0..records), &mut key);
                session.get(&key, &mut value)?;
                let bin = (began.elapsed().as_nanos() / BIN.as_nanos()) as usize;
                let Some(count) = counts.get(bin) else { break };
                // This thread alone writes it.
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            Ok(())
        };
        let ended = read();
        if ended.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        ended
    }
}

fn window_s() -> f64 {
    BIN.as_secs_f64() * WINDOW_BINS as f64
}

/// The first interval from which on ten in a row hold as many reads as wanted.
fn first_window(bins: &[u64], wanted: u64) -> Option<usize> {
    bins.windows(WINDOW_BINS).position(|window| window.iter().sum::<u64>() >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_ends_where_the_first_quick_tenth_begins() {
        let mut bins = vec![0; 30];
        bins.extend([5; 40]);
        assert_eq!(first_window(&bins, 50), Some(30));
        assert_eq!(first_window(&bins, 45), Some(29));
        assert_eq!(first_window(&bins, 51), None);
        assert_eq!(first_window(&bins[..39], 50), None, "nine tenths of a window are none");
    }
}
