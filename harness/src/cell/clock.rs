//! The clock that times operations.
//!
//! Where the processor has an invariant time-stamp counter, a reading is one instruction (about 10 ns); elsewhere it is the system's
//! monotonic clock. Readings are raw ticks; only differences are turned into nanoseconds.

use std::time::{Duration, Instant};

/// Times operations. Cloning is cheap, and clones agree with each other.
#[derive(Clone, Debug)]
pub(crate) struct Clock(quanta::Clock);

/// A reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(u64);

/// What a reading costs, and how fine it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    /// Mean cost of one reading.
    pub(crate) read_ns: f64,
    /// Smallest difference between two readings that differ.
    pub(crate) step_ns: f64,
}

impl Clock {
    /// Calibrates the clock against the system's; takes up to a fifth of a second the first time in a process.
    pub(crate) fn new() -> Self {
        Self(quanta::Clock::new())
    }

    /// Reads the clock.
    #[inline]
    pub(crate) fn now(&self) -> Ticks {
        Ticks(self.0.raw())
    }

    /// Time between two readings, in nanoseconds; 0 if they are in the wrong order.
    #[inline]
    pub(crate) fn nanos_between(&self, start: Ticks, end: Ticks) -> u64 {
        self.0.delta_as_nanos(start.0, end.0)
    }

    /// Seconds between two readings.
    pub(crate) fn seconds_between(&self, start: Ticks, end: Ticks) -> f64 {
        Duration::from_nanos(self.nanos_between(start, end)).as_secs_f64()
    }

    /// Measures the clock itself, for about 20 ms.
    pub(crate) fn quality(&self) -> Quality {
        const READS: u32 = 500_000;
        let mut step = u64::MAX;
        let mut last = self.now();
        let begin = Instant::now();
        for _ in 0..READS {
            let now = self.now();
            if now > last {
                step = step.min(self.nanos_between(last, now).max(1));
            }
            last = now;
        }
        let read_ns = begin.elapsed().as_nanos() as f64 / f64::from(READS);
        Quality { read_ns, step_ns: step as f64 }
    }
}

/// The kind of clock that this machine gives: `tsc` or `monotonic`.
pub(crate) fn kind() -> &'static str {
    let invariant = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
        let flags = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        flags.contains(" constant_tsc") && flags.contains(" nonstop_tsc")
    });
    if invariant { "tsc" } else { "monotonic" }
}
