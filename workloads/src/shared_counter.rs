//! The counter from which all streams of a workload take the numbers of their inserts, as YCSB's
//! threads do.
//!
//! 1. [`take`](SharedCounter::take) hands out the next number.
//! 2. [`acknowledge`](SharedCounter::acknowledge) says that the record with this number is stored.
//! 3. [`limit`](SharedCounter::limit) is the first number that is not acknowledged: all below are. It
//!    advances over contiguous acknowledgements only.
//!
//! Source: `site.ycsb.generator.AcknowledgedCounterGenerator`. Deviations: numbers acknowledged out of
//! order wait in a heap rather than in a window of 2²⁰, so that no stall of one thread can overflow it;
//! and an insert that failed holds the limit back until it is tried again, where YCSB acknowledges it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct SharedCounter {
    loaded: u64,
    next: AtomicU64,
    limit: AtomicU64,
    /// Acknowledged numbers above the limit.
    early: Mutex<BinaryHeap<Reverse<u64>>>,
}

impl SharedCounter {
    /// A counter whose numbers below `loaded` are taken and acknowledged.
    pub(crate) fn new(loaded: u64) -> Self {
        Self {
            loaded,
            next: AtomicU64::new(loaded),
            limit: AtomicU64::new(loaded),
            early: Mutex::default(),
        }
    }

    /// Where it began.
    pub(crate) fn loaded(&self) -> u64 {
        self.loaded
    }

    /// The next number.
    pub(crate) fn take(&self) -> u64 {
        // Numbers only have to differ.
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The first number that is not acknowledged.
    #[inline]
    pub(crate) fn limit(&self) -> u64 {
        // Pairs with the store in `acknowledge`: whoever sees a number below the limit may read its
        // record, which was stored before.
        self.limit.load(Ordering::Acquire)
    }

    /// Says that a number that was taken is acknowledged; once for each.
    pub(crate) fn acknowledge(&self, number: u64) {
        let mut early = self.early.lock();
        let mut limit = self.limit.load(Ordering::Relaxed);
        if number != limit {
            early.push(Reverse(number));
            return;
        }
        limit += 1;
        while early.peek() == Some(&Reverse(limit)) {
            early.pop();
            limit += 1;
        }
        self.limit.store(limit, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_advances_over_contiguous_acknowledgements_only() {
        let counter = SharedCounter::new(10);
        assert_eq!(
            [counter.take(), counter.take(), counter.take(), counter.take()],
            [10, 11, 12, 13]
        );
        assert_eq!(counter.limit(), 10);
        for (number, limit) in [(11, 10), (13, 10), (10, 12), (12, 14)] {
            counter.acknowledge(number);
            assert_eq!(counter.limit(), limit, "after {number}");
        }
    }

    #[test]
    fn threads_never_share_a_number_and_never_see_one_too_early() {
        const PER_THREAD: u64 = 2_000;
        let counter = SharedCounter::new(5);
        let stored: Vec<_> = (0..5 + 4 * PER_THREAD).map(|_| AtomicU64::new(0)).collect();
        let stores = |number: u64| &stored[number as usize];
        (0..5).for_each(|loaded| stores(loaded).store(1, Ordering::Relaxed));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..PER_THREAD {
                        let number = counter.take();
                        let times = stores(number).fetch_add(1, Ordering::Relaxed);
                        assert_eq!(times, 0, "{number} was given twice");
                        counter.acknowledge(number);
                        let newest = counter.limit() - 1;
                        assert_eq!(stores(newest).load(Ordering::Relaxed), 1, "{newest}");
                    }
                });
            }
        });
        assert_eq!(counter.limit(), 5 + 4 * PER_THREAD);
    }
}
