//! Group commit under a scheduler that decides which thread goes on at each lock: exhaustively for two writers, and in many random orders for more. It is the
//! source file of the library that runs here, with the checker's locks in the place of the real ones. A failure prints the schedule that repeats it.
//!
//! `SCHEDULES=1000000 cargo test --release -p kvdyno-engines --test schedules` goes deeper than the thousands of CI.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[allow(unreachable_pub, reason = "in the library it is public")]
#[path = "../../src/log/group_commit.rs"]
mod group_commit;
mod sync;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use group_commit::GroupCommit;
use kvdyno_engines::{Error, Result};
use shuttle::thread;

/// How many orders are tried.
fn schedules() -> usize {
    std::env::var("SCHEDULES").map_or(3_000, |count| count.parse().unwrap())
}

/// Runs a scenario in many orders: at random, and with few changes of thread at the worst moments (Burckhardt et al., ASPLOS 2010).
fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario.clone(), schedules());
    shuttle::check_pct(scenario, schedules(), 4);
}

/// Runs a scenario in every order there is.
fn check_all(scenario: impl Fn() + Send + Sync + 'static) {
    /// Far more than there are: so many mean that the scenario is too large.
    const ORDERS_MAX: usize = 1_000_000;
    let tried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tried);
    let counted = move || {
        count.fetch_add(1, Ordering::Relaxed);
        scenario();
    };
    shuttle::check_dfs(counted, Some(ORDERS_MAX));
    let tried = tried.load(Ordering::Relaxed);
    assert!(tried > 100 && tried < ORDERS_MAX, "{tried} orders");
}

/// A log, and the device under it, whose locks are no concern of the scheduler: each is taken for a moment.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<Device>,
    commit: GroupCommit,
    /// The number of the sync that fails.
    fails_at: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Device {
    written: u64,
    durable: u64,
    syncs: u64,
    syncing: bool,
    failed: bool,
}

impl Log {
    fn failing_at(fails_at: u64) -> Arc<Self> {
        Arc::new(Self { fails_at: Some(fails_at), ..Self::default() })
    }

    /// A sync makes durable what was written before it began, and takes a while.
    fn sync(&self) -> Result<u64> {
        let (covered, number) = {
            let mut device = self.state.lock().unwrap();
            assert!(!device.syncing, "two syncs at once");
            assert!(!device.failed, "a sync is tried after one has failed");
            device.syncing = true;
            device.syncs += 1;
            (device.written, device.syncs)
        };
        thread::yield_now();
        let mut device = self.state.lock().unwrap();
        device.syncing = false;
        if self.fails_at == Some(number) {
            device.failed = true;
            return Err(Error::PowerLost);
        }
        device.durable = covered;
        Ok(covered)
    }

    /// Writes, and waits until that is durable.
    fn write(&self) -> Result<()> {
        let ticket = {
            let mut device = self.state.lock().unwrap();
            device.written += 1;
            device.written
        };
        let outcome = self.commit.wait(ticket, || self.sync());
        let device = *self.state.lock().unwrap();
        match &outcome {
            Ok(()) => assert!(device.durable >= ticket, "acknowledged and not durable: {device:?}"),
            Err(_) => assert!(device.failed || self.fails_at.is_none()),
        }
        outcome
    }
}

/// So many writers, each with so many writes; returns what each of them was told.
fn write(log: &Arc<Log>, writers: usize, writes: usize) -> Vec<Result<()>> {
    let writer = |_| {
        let log = Arc::clone(log);
        thread::spawn(move || (0..writes).map(|_| log.write()).collect::<Vec<_>>())
    };
    let threads: Vec<_> = (0..writers).map(writer).collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

fn all_are_acknowledged(writers: usize, writes: usize) {
    let log = Arc::new(Log::default());
    assert!(write(&log, writers, writes).iter().all(Result::is_ok));
    let device = *log.state.lock().unwrap();
    let count = (writers * writes) as u64;
    assert_eq!((device.written, device.durable), (count, count));
    assert!(device.syncs <= count);
    assert!(log.commit.is_covered(count) && !log.commit.is_covered(count + 1));
}

#[test]
fn what_is_acknowledged_is_durable_and_nobody_waits_for_ever() {
    check(|| all_are_acknowledged(4, 2));
}

#[test]
fn two_writers_are_right_in_every_order() {
    check_all(|| all_are_acknowledged(2, 1));
}

fn a_sync_fails(writers: usize, writes: usize, fails_at: u64) {
    let log = Log::failing_at(fails_at);
    let outcomes = write(&log, writers, writes);
    let device = *log.state.lock().unwrap();
    let count = |told: fn(&Result<()>) -> bool| outcomes.iter().filter(|o| told(o)).count();
    let acknowledged = count(Result::is_ok) as u64;
    assert_eq!(acknowledged, device.durable, "those that are durable, and no others");
    if device.failed {
        assert_eq!(count(|told| matches!(told, Err(Error::PowerLost))), 1, "one has seen it");
        assert!(matches!(log.commit.check(), Err(Error::Poisoned { .. })));
        assert!(matches!(log.write(), Err(Error::Poisoned { .. })));
    } else {
        assert_eq!(acknowledged, device.written);
    }
}

#[test]
fn after_a_failed_sync_only_what_was_durable_before_is_acknowledged() {
    for fails_at in 1..4 {
        check(move || a_sync_fails(3, 2, fails_at));
    }
}

#[test]
fn two_writers_and_a_failed_sync_are_right_in_every_order() {
    check_all(|| a_sync_fails(2, 1, 1));
}

/// A writer whose sync panics is gone; the others are told, in every order.
#[test]
fn nobody_waits_for_a_writer_whose_sync_panics() {
    fn scenario(writers: u64) {
        let commit = Arc::new(GroupCommit::default());
        let panicked = Arc::new(AtomicUsize::new(0));
        let writer = |ticket| {
            let (commit, panicked) = (Arc::clone(&commit), Arc::clone(&panicked));
            thread::spawn(move || {
                let sync = || {
                    panicked.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                    // Without the message that a panic prints.
                    resume_unwind(Box::new("the sync goes wrong"))
                };
                catch_unwind(AssertUnwindSafe(|| commit.wait(ticket, sync)))
            })
        };
        let threads: Vec<_> = (1..=writers).map(writer).collect();
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let told = outcomes.iter().filter(|o| matches!(o, Ok(Err(Error::Poisoned { .. })))).count();
        assert_eq!((panicked.load(Ordering::Relaxed), told as u64), (1, writers - 1));
    }
    check_all(|| scenario(2));
    check(|| scenario(4));
}

/// What fails elsewhere refuses those who wait as well, and lets none of them wait for ever.
#[test]
fn whoever_waits_is_told_of_a_failure_elsewhere() {
    check(|| {
        let log = Arc::new(Log::default());
        let other = Arc::clone(&log);
        let poisoner = thread::spawn(move || other.commit.poison(&Error::PowerLost));
        let outcomes = write(&log, 3, 1);
        poisoner.join().unwrap();
        let told = |told: &Result<()>| matches!(told, Ok(()) | Err(Error::Poisoned { .. }));
        assert!(outcomes.iter().all(told), "{outcomes:?}");
        assert!(matches!(log.write(), Err(Error::Poisoned { .. })));
    });
}
