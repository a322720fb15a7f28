//! The time of day, for values that expire; injected, so that tests turn the hands themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(any(feature = "bitcask", feature = "lsm"))]
use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where an engine learns what time it is.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// Milliseconds since the Unix epoch, set by whoever holds the other end.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// Milliseconds since the Unix epoch; 0 if the system's clock is set before it.
    pub fn now_ms(&self) -> u64 {
        match self {
            Self::System => {
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
            }
            Self::Manual(now) => now.load(Ordering::Relaxed),
        }
    }
}

/// When a value is gone that is stored at `now_ms` for a time, in milliseconds since the Unix epoch. Rounded up: a short time is not none.
#[cfg(any(feature = "bitcask", feature = "lsm"))]
pub(crate) fn deadline_ms(now_ms: u64, ttl: Duration) -> u64 {
    let ttl_ms = ttl.as_nanos().div_ceil(1_000_000);
    now_ms.saturating_add(u64::try_from(ttl_ms).unwrap_or(u64::MAX))
}

impl PartialEq for Clock {
    /// Two clocks are equal if they always show the same time.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::System, Self::System) => true,
            (Self::Manual(one), Self::Manual(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}
