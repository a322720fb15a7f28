//! Holds background writes to so many bytes per second, flushes before compactions.
//!
//! Two clocks run ahead of the time by what has been written:
//!
//! 1. A flush waits until the clock of the flushes is due, and moves both on by what its bytes take at the rate.
//! 2. A compaction waits until the clock of all is due, and moves that one on.
//!
//! So a flush waits for no compaction, while compactions get what flushes leave; together they keep the rate, but for a piece that a compaction was writing when a flush began. A clock that has fallen behind is
//! brought up to a tenth of a second before now, so that after a pause little is caught up with.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Bytes that are asked for at a time, at least.
pub(crate) const PIECE_BYTES: u64 = 64 << 10;
/// What can be caught up with after a pause.
const BURST: Duration = Duration::from_millis(100);
/// How often whoever waits looks whether the store is being closed.
const LOOK_AFTER: Duration = Duration::from_millis(20);

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    Flush,
    Compaction,
}

/// A limit to background writes.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// 0: none.
    bytes_per_s: u64,
    clocks: Mutex<Clocks>,
}

#[derive(Debug)]
struct Clocks {
    flushes: Instant,
    all: Instant,
}

impl RateLimit {
    /// A limit of so many bytes per second; 0 for none.
    pub(crate) fn new(bytes_per_s: u64) -> Self {
        let now = Instant::now();
        Self { bytes_per_s, clocks: Mutex::new(Clocks { flushes: now, all: now }) }
    }

    /// Waits until so many bytes may be written, or the store is to `stop`.
    pub(crate) fn wait(&self, writes: Writes, bytes: u64, stop: &AtomicBool) {
        if self.bytes_per_s == 0 {
            return;
        }
        while let Some(left) = self.ask(writes, bytes, Instant::now())
            && !stop.load(Ordering::Relaxed)
        {
            std::thread::sleep(left.min(LOOK_AFTER));
        }
    }

    /// Lets bytes be written `now`, or tells how long to wait before asking again.
    fn ask(&self, writes: Writes, bytes: u64, now: Instant) -> Option<Duration> {
        let mut clocks = self.clocks.lock();
        let due = match writes {
            Writes::Flush => clocks.flushes,
            Writes::Compaction => clocks.all,
        };
        let left = due.saturating_duration_since(now);
        if !left.is_zero() {
            return Some(left);
        }
        let takes = Duration::from_nanos(
            (u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_s)) as u64,
        );
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        clocks.all = clocks.all.max(earliest) + takes;
        if writes == Writes::Flush {
            clocks.flushes = clocks.flushes.max(earliest) + takes;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Seconds that it takes to write so many pieces, if time passes only by waiting; from `now` on.
    fn write(limit: &RateLimit, writes: Writes, pieces: u64, now: &mut Instant) -> f64 {
        let start = *now;
        for _ in 0..pieces {
            while let Some(left) = limit.ask(writes, PIECE_BYTES, *now) {
                *now += left;
            }
        }
        (*now - start).as_secs_f64()
    }

    #[test]
    fn bytes_take_their_time() {
        for writes in [Writes::Flush, Writes::Compaction] {
            let (limit, mut now) = (RateLimit::new(4 * MIB), Instant::now());
            let seconds = write(&limit, writes, 16 * 64, &mut now);
            assert!((15.8..16.05).contains(&seconds), "64 MiB at 4 MiB/s took {seconds} s");
            now += Duration::from_secs(1_000);
            let seconds = write(&limit, writes, 16 * 4, &mut now);
            assert!((0.8..1.0).contains(&seconds), "a pause is not caught up with: {seconds} s");
        }
    }

    #[test]
    fn a_flush_goes_before_compactions_and_they_keep_the_rate_together() {
        let (limit, mut now) = (RateLimit::new(4 * MIB), Instant::now());
        write(&limit, Writes::Compaction, 16 * 40, &mut now);
        let seconds = write(&limit, Writes::Flush, 16 * 8, &mut now);
        assert!(seconds < 2.0, "8 MiB at 4 MiB/s: {seconds} s");
        // Meanwhile no compaction could write; it waits for what the flush has taken.
        assert!(limit.ask(Writes::Compaction, 1, now).is_some());
        let (start, mut written) = (now, 0);
        while now - start < Duration::from_secs(10) {
            for (writes, share) in [(Writes::Flush, 1), (Writes::Compaction, 4)] {
                for _ in 0..share {
                    written += u64::from(limit.ask(writes, PIECE_BYTES, now).is_none());
                }
            }
            now += Duration::from_millis(3);
        }
        let rate = (written * PIECE_BYTES) as f64 / (10 * MIB) as f64;
        assert!((3.8..4.2).contains(&rate), "{rate} MiB/s");
    }

    #[test]
    fn nobody_waits_without_a_limit_or_for_a_store_that_is_being_closed() {
        let start = Instant::now();
        let (on, off) = (AtomicBool::new(true), AtomicBool::new(false));
        RateLimit::new(0).wait(Writes::Flush, u64::MAX, &off);
        let limit = RateLimit::new(1);
        limit.wait(Writes::Compaction, 1_000_000, &on);
        limit.wait(Writes::Compaction, 1_000_000, &on);
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
