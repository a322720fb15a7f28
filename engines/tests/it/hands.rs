//! A clock whose hands a test turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvdyno_engines::Clock;

/// A noon, long after 1970.
pub(crate) const NOON_MS: u64 = 1_000_000 * 3_600_000 * 24 + 12 * 3_600_000;

/// See the module's header.
#[derive(Clone)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn at(now_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now_ms)))
    }

    pub(crate) fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The clock with these hands.
    pub(crate) fn clock(&self) -> Clock {
        Clock::Manual(Arc::clone(&self.0))
    }
}
