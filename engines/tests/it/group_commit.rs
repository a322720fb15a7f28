//! Group commit, with threads of the system. `tests/schedules` goes through the orders in which they may run.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use kvdyno_engines::Error;
use kvdyno_engines::log::GroupCommit;

#[test]
fn writers_share_a_sync() {
    let commit = GroupCommit::default();
    let (written, syncs) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let ticket = written.fetch_add(1, Ordering::SeqCst) + 1;
                    let sync = || {
                        let covered = written.load(Ordering::SeqCst);
                        syncs.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_micros(50));
                        Ok(covered)
                    };
                    commit.wait(ticket, sync).unwrap();
                }
            });
        }
    });
    assert!(syncs.into_inner() < 800, "eight writers never shared a sync");
}

#[test]
fn a_failed_sync_poisons_for_good() {
    let commit = GroupCommit::default();
    assert!(commit.wait(1, || Err(Error::PowerLost)).is_err());
    let later = commit.wait(2, || panic!("a failed sync is not tried again"));
    assert!(matches!(later, Err(Error::Poisoned { .. })));
}

#[test]
fn what_was_synced_before_a_failure_stays_acknowledged() {
    let commit = GroupCommit::default();
    commit.wait(1, || Ok(5)).unwrap();
    assert!(commit.wait(6, || Err(Error::PowerLost)).is_err());
    commit.wait(5, || panic!("ticket 5 is covered")).unwrap();
    assert!(matches!(commit.wait(6, || Ok(6)), Err(Error::Poisoned { .. })));
}

/// Those who wait are told, rather than wait for one who will never come back; so are those who come later.
#[test]
fn a_sync_that_panics_has_failed() {
    let commit = GroupCommit::default();
    let (began, others) = (Barrier::new(2), Barrier::new(4));
    std::thread::scope(|scope| {
        let (commit, began, others) = (&commit, &began, &others);
        let leader = scope.spawn(move || {
            commit.wait(1, || {
                began.wait();
                others.wait();
                std::thread::sleep(std::time::Duration::from_millis(20));
                panic!("the sync goes wrong")
            })
        });
        began.wait();
        let waiting: Vec<_> = (2..5)
            .map(|ticket| {
                scope.spawn(move || {
                    others.wait();
                    commit.wait(ticket, || panic!("another sync is tried"))
                })
            })
            .collect();
        assert!(leader.join().is_err(), "the panic reaches the caller");
        for waiting in waiting {
            assert!(matches!(waiting.join().unwrap(), Err(Error::Poisoned { .. })));
        }
    });
    assert!(matches!(commit.check(), Err(Error::Poisoned { cause }) if cause.contains("panic")));
}
