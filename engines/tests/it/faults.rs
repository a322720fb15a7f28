//! The operating system refuses an operation: any operation, in any way, once or for good.
//!
//! Afterwards every operation works or returns an error that says so; nothing that was acknowledged is lost; reads go on; nothing panics; and when the trouble
//! is over and the store is opened anew, it holds what was acknowledged, and of what was refused all or nothing of each write. After a failed sync, no
//! later write and no later sync is acknowledged.

use std::ops::Range;

use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::{Crash, Fault, Repeat, SyncFailure};
use kvdyno_engines::{Durability, Engine, Error, Result};

use crate::history::{
    History, Open, Possible, Step, apply, contents, is_due, live, put, recover, script,
    supported,
};
use crate::replay::{assert_count, case};
use crate::subjects::{Subject, for_each_engine};

for_each_engine!(any_operation_may_fail, any_sync_may_fail);

/// Refused writes after which a script is broken off, so that not too much is possible.
const REFUSED_MAX: usize = 5;

/// The operations of a whole run of a script, as the trace tells them.
fn operations(open: Open<'_>, class: Durability, script: &[Step]) -> Vec<String> {
    let disk = SimulatedDisk::new();
    live(&disk, open, class, script, &mut History::default());
    disk.trace().lines().map(|line| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).to_owned()).collect()
}

fn any_operation_may_fail<E: Subject>() {
    assert_count("operations failed", operations_that_fail(&E::simulated_eager, 0..12), 3_000);
}

/// Fails every operation of the scripts of some seeds in every way; returns how many that were.
pub(crate) fn operations_that_fail(open: Open<'_>, seeds: Range<u64>) -> u64 {
    let mut failed = 0;
    for seed in seeds {
        let class = Durability::ALL[seed as usize % 3];
        let script = script(seed, 16);
        for (operation, what) in operations(open, class, &script).iter().enumerate() {
            for fault in [Fault::Io, Fault::DiskFull, Fault::ShortWrite, Fault::Interrupted] {
                let needs_room = what.starts_with("append") || what.starts_with("create /");
                let concerned = match fault {
                    Fault::Io | Fault::Interrupted => true,
                    Fault::DiskFull => needs_room,
                    Fault::ShortWrite => what.starts_with("append"),
                };
                for repeat in [Repeat::Once, Repeat::ForGood].into_iter().filter(|_| concerned) {
                    let disk = SimulatedDisk::new();
                    disk.fail_at(operation as u64, fault, repeat);
                    let id = format!("{seed}:{operation}:{fault:?}:{repeat:?}");
                    let context = || format!("class {class}; operations:\n{}", disk.trace());
                    let check = || live_through_failure(&disk, open, class, &script);
                    failed += u64::from(case(id, context, check).is_some());
                }
            }
        }
    }
    failed
}

/// Lets a script run on a disk where something fails, heals it, and looks what is there.
fn live_through_failure(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    script: &[Step],
) {
    let mut possible = Possible::new();
    for steps in script.split_inclusive(|step| matches!(step, Step::Close | Step::Drop)) {
        match open(disk.clone(), class) {
            Ok(engine) => live_once(engine, steps, &mut possible),
            Err(error) => assert!(is_due(&error), "the store does not open: {error}"),
        }
        if possible.refused > REFUSED_MAX {
            break;
        }
    }
    disk.heal();
    reopen(disk, open, class, &mut possible);
}

/// A store on a disk that works again holds what it may, twice, and takes new writes.
fn reopen(disk: &SimulatedDisk, open: Open<'_>, class: Durability, possible: &mut Possible) {
    let open = || open(disk.clone(), class).expect("the store opens when the trouble is over");
    let engine = open();
    let map = contents(&*engine).expect("the store can be read when the trouble is over");
    possible.check(&map);
    drop(engine);
    let engine = open();
    assert_eq!(contents(&*engine).unwrap(), map, "opening again changes something");
    put(&*engine, b"new", b"life").expect("it takes new writes");
    engine.close().expect("it closes");
    let mut map = contents(&*open()).unwrap();
    assert_eq!(map.remove(&b"new"[..]).as_deref(), Some(&b"life"[..]));
    possible.check(&map);
}

fn live_once(engine: Box<dyn Engine>, steps: &[Step], possible: &mut Possible) {
    for step in steps {
        let outcome = match step {
            Step::Write(write) => {
                let outcome = apply(&*engine, write);
                possible.write(supported(&*engine, write), &outcome);
                outcome
            }
            Step::Sync => engine.sync(),
            Step::Settle => engine.settle(),
            Step::Close => {
                let closed = engine.close();
                return expect_due(closed);
            }
            Step::Drop => return,
            Step::PowerOff => Ok(()),
        };
        let failed = outcome.is_err();
        expect_due(outcome);
        // Reads go on, and find what was acknowledged.
        if failed {
            let map = contents(&*engine).expect("reads go on");
            possible.clone().check(&map);
        }
        if possible.refused > REFUSED_MAX {
            return;
        }
    }
}

fn expect_due(outcome: Result<()>) {
    if let Err(error) = outcome {
        assert!(is_due(&error), "this error has no cause: {error}");
    }
}

fn any_sync_may_fail<E: Subject>() {
    let models = &SyncFailure::ALL;
    assert_count("syncs failed", syncs_that_fail(&E::simulated_eager, 0..12, models), 500);
}

/// Fails every sync of the scripts of some seeds, of files and of folders, in every model; returns how many that were.
pub(crate) fn syncs_that_fail(open: Open<'_>, seeds: Range<u64>, models: &[SyncFailure]) -> u64 {
    let mut failed = 0;
    for seed in seeds {
        let class = [Durability::Sync, Durability::Os, Durability::Sync][seed as usize % 3];
        let script = script(seed, 16);
        for (operation, what) in operations(open, class, &script).iter().enumerate() {
            for model in models.iter().copied().filter(|_| what.starts_with("sync ")) {
                let disk = SimulatedDisk::new();
                disk.set_sync_failure(model);
                disk.fail_at(operation as u64, Fault::Io, Repeat::Once);
                let id = format!("{seed}:{operation}:{model:?}");
                let context = || format!("class {class}; operations:\n{}", disk.trace());
                let check = || {
                    let failing = operation as u64;
                    live_until_a_sync_fails(&disk, open, class, &script, failing, model);
                };
                failed += u64::from(case(id, context, check).is_some());
            }
        }
    }
    failed
}

/// Lets a script run until a sync fails, makes sure that nothing is acknowledged from then on, and looks what is there: now, and after power loss.
fn live_until_a_sync_fails(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    script: &[Step],
    failing: u64,
    model: SyncFailure,
) {
    let mut history = History::default();
    for steps in script.split_inclusive(|step| matches!(step, Step::Close | Step::Drop)) {
        let Ok(engine) = open(disk.clone(), class) else { break };
        history.resume(&contents(&*engine).expect("a store that opens can be read"));
        live_to_the_failure(engine, class, steps, disk, (failing, model), &mut history);
        if disk.operations() > failing {
            break;
        }
    }
    disk.heal();
    for crash in [Crash::SyncedOnly, Crash::Everything, Crash::Killed(failing)] {
        // What readers saw in the cache survives the process; where it has left the cache, only what an earlier sync stored is there.
        let cached = model == SyncFailure::Cached && matches!(crash, Crash::Killed(_));
        let promise = if cached { crash } else { Crash::SyncedOnly };
        recover(&disk.survivor(crash), open, class, &history, promise);
    }
}

fn live_to_the_failure(
    engine: Box<dyn Engine>,
    class: Durability,
    steps: &[Step],
    disk: &SimulatedDisk,
    (failing, model): (u64, SyncFailure),
    history: &mut History,
) {
    let may_be_gone = model != SyncFailure::Cached;
    for step in steps {
        let has_failed = disk.operations() > failing;
        let outcome = match step {
            Step::Write(write) => {
                history.issue(supported(&*engine, write));
                apply(&*engine, write)
            }
            Step::Sync => engine.sync(),
            Step::Settle => engine.settle(),
            Step::Close => {
                let closed = engine.close();
                if closed.is_ok() {
                    history.acknowledge(Durability::Os);
                }
                return expect_due(closed);
            }
            Step::Drop => {
                if !has_failed {
                    history.acknowledge(Durability::Os);
                }
                return;
            }
            Step::PowerOff => Ok(()),
        };
        match (step, &outcome) {
            (Step::Write(_) | Step::Sync, Ok(())) => {
                assert!(!has_failed, "{step:?} is acknowledged after a sync that failed");
                let is_sync = matches!(step, Step::Sync);
                history.acknowledge(if is_sync { Durability::Sync } else { class });
            }
            // A write looks at what it replaces.
            (_, Err(Error::Corrupt { .. })) if has_failed && may_be_gone => {}
            _ => expect_due(outcome),
        }
        match contents(&*engine) {
            Ok(map) => drop(history.check(&map)),
            // What has left the cache cannot be read; that must be said.
            Err(Error::Corrupt { .. }) if disk.operations() > failing && may_be_gone => {}
            Err(error) => panic!("reads do not go on: {error}"),
        }
    }
}
