//! The operating system refuses an operation: any operation, in any way, once or for good.
//!
//! Afterwards every operation works or returns an error that says so; nothing that was acknowledged is lost; reads go on; nothing panics; and when the trouble
//! is over and the store is opened anew, it holds what was acknowledged, and of what was refused all or nothing of each write. After a failed sync, no
//! later write and no later sync is acknowledged.

use std::ops::Range;
use std::path::Path;

use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::{Crash, Fault, Repeat, SyncFailure};
use kvdyno_engines::{Durability, Engine, Error, Result};

use crate::history::{
    History, Open, Possible, Step, apply, contents, is_due, live, put, recover, script, supported,
};
use crate::replay::{assert_count, case};
use crate::subjects::{DIR, Subject, for_each_engine};

for_each_engine!(any_operation_may_fail, any_sync_may_fail);

/// Refused writes after which a script is broken off, so that not too much is possible.
const REFUSED_MAX: usize = 5;

/// The operations of a whole run of a script, as the trace tells them.
fn operations(open: Open<'_>, class: Durability, script: &[Step]) -> Vec<String> {
    let disk = SimulatedDisk::new();
    live(&disk, open, class, script, &mut History::default());
    disk.trace()
        .lines()
        .map(|line| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).to_owned())
        .collect()
}

fn any_operation_may_fail<E: Subject>() {
    let failed = operations_that_fail(&E::simulated_eager, 0..12 / E::SHARE);
    assert_count("operations failed", failed, 3_000 / E::SHARE);
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
fn live_through_failure(disk: &SimulatedDisk, open: Open<'_>, class: Durability, script: &[Step]) {
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
                possible.write(&supported(&*engine, write), &outcome);
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
    let models = &[SyncFailure::Cached];
    let failed = syncs_that_fail(&E::simulated_eager, 0..12 / E::SHARE, models);
    assert_count("syncs failed", failed, 250 / E::SHARE);
}

/// The pages that could not be stored have left the cache, and what was there before is read in their place.
#[cfg(feature = "bitcask")]
#[test]
fn a_failed_sync_of_bitcask_may_drop_pages() {
    use crate::subjects::Bitcask;
    let models = &[SyncFailure::Dropped, SyncFailure::Reverted];
    let failed = syncs_that_fail(&Bitcask::simulated_eager, 0..12, models);
    assert_count("syncs failed", failed, 500);
}

/// As above.
#[cfg(feature = "lsm")]
#[test]
fn a_failed_sync_of_the_lsm_tree_may_drop_pages() {
    use crate::subjects::{Lsm, LsmValues};
    let models = &[SyncFailure::Dropped, SyncFailure::Reverted];
    let failed = syncs_that_fail(&Lsm::simulated_eager, 0..12, models)
        + syncs_that_fail(&LsmValues::simulated_eager, 0..3, models);
    assert_count("syncs failed", failed, 600);
}

/// Pages that count as clean and were never stored are still in the cache when the store is opened again. What is acknowledged then must not depend on them.
#[cfg(feature = "bitcask")]
#[test]
fn bitcask_does_not_trust_the_cache_after_a_failed_sync() {
    a_store_opened_after_a_failed_sync_keeps_its_promises::<crate::subjects::Bitcask>();
}

/// As above, after any sync of a file or a folder, whatever it leaves behind, and with power lost anywhere in the life that follows.
#[cfg(feature = "bitcask")]
#[test]
fn bitcask_lives_on_after_a_failed_sync_as_after_a_loss_of_power() {
    let recovered = lives_after_failed_syncs(&crate::subjects::Bitcask::simulated_eager, 0..3);
    assert_count("disks recovered after a failed sync and a loss of power", recovered, 3_000);
}

/// As above.
#[cfg(feature = "lsm")]
#[test]
fn the_lsm_tree_does_not_trust_the_cache_after_a_failed_sync() {
    a_store_opened_after_a_failed_sync_keeps_its_promises::<crate::subjects::Lsm>();
}

fn a_store_opened_after_a_failed_sync_keeps_its_promises<E: Subject>() {
    let class = Durability::Sync;
    for number in 0..20_u8 {
        let disk = SimulatedDisk::new();
        let engine = E::simulated(disk.clone(), class).unwrap();
        for version in 0..number {
            put(&*engine, b"before", &[version; 100]).unwrap();
        }
        let next = disk.operations() + 1;
        disk.fail_at(next, Fault::Io, Repeat::Once);
        put(&*engine, b"refused", &[0; 100]).expect_err("the sync fails");
        drop(engine);
        let engine = E::simulated(disk.clone(), class).unwrap();
        put(&*engine, b"later", b"acknowledged").unwrap();
        drop(engine);
        let context = || format!("operations:\n{}", disk.trace());
        case(number, context, || {
            let engine = E::simulated(disk.survivor(Crash::SyncedOnly), class).unwrap();
            let (mut value, mut session) = (Vec::new(), engine.session().unwrap());
            assert!(session.get(b"later", &mut value).unwrap(), "an acknowledged write is lost");
            assert_eq!(session.get(b"before", &mut value).unwrap(), number > 0);
        });
    }
}

/// As above.
#[cfg(feature = "lsm")]
#[test]
fn the_lsm_tree_lives_on_after_a_failed_sync_as_after_a_loss_of_power() {
    let recovered = lives_after_failed_syncs(&crate::subjects::Lsm::simulated_eager, 0..3)
        + lives_after_failed_syncs(&crate::subjects::LsmValues::simulated_eager, 3..4);
    assert_count("disks recovered after a failed sync and a loss of power", recovered, 4_000);
}

/// Fails every sync of the scripts of some seeds, in every model. The process ends and the machine goes on: the store is opened again, lives through another script, and
/// loses power at every few operations. Returns how many disks were recovered after that.
pub(crate) fn lives_after_failed_syncs(open: Open<'_>, seeds: Range<u64>) -> u64 {
    let mut recovered = 0;
    for seed in seeds {
        let class = [Durability::Sync, Durability::Os, Durability::Sync][seed as usize % 3];
        let (first, second) = (script(seed, 14), script(seed + 1_000, 10));
        for (operation, what) in operations(open, class, &first).iter().enumerate() {
            for model in SyncFailure::ALL.into_iter().filter(|_| what.starts_with("sync ")) {
                let disk = SimulatedDisk::new();
                disk.set_sync_failure(model);
                disk.fail_at(operation as u64, Fault::Io, Repeat::Once);
                let mut history = History::default();
                live_to_an_error(&disk, open, class, &first, &mut history);
                let id = format!("{seed}:{operation}:{model:?}");
                let context = || format!("class {class}; operations:\n{}", disk.trace());
                let check = || die_and_live_on(&disk, open, class, &second, &history, model);
                recovered += case(id, context, check).unwrap_or(0);
            }
        }
    }
    recovered
}

/// Lets a script run until the store says that something has failed.
fn live_to_an_error(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    script: &[Step],
    history: &mut History,
) {
    for steps in script.split_inclusive(|step| matches!(step, Step::Close | Step::Drop)) {
        let Ok(engine) = open(disk.clone(), class) else { return };
        let Ok(map) = contents(&*engine) else { return };
        history.resume(&map);
        for step in steps {
            let outcome = match step {
                Step::Write(write) => {
                    history.issue(&supported(&*engine, write));
                    let outcome = apply(&*engine, write);
                    if matches!(outcome, Err(Error::Poisoned { .. })) {
                        history.retract();
                    }
                    outcome.map(|()| history.acknowledge(class))
                }
                Step::Sync => engine.sync().map(|()| history.acknowledge(Durability::Sync)),
                Step::Settle => engine.settle(),
                Step::Close | Step::Drop | Step::PowerOff => break,
            };
            if outcome.is_err() {
                return;
            }
        }
        match steps.last() {
            Some(Step::Close) if engine.close().is_ok() => history.acknowledge(Durability::Os),
            Some(Step::Drop) => history.acknowledge(Durability::Os),
            _ => return,
        }
    }
}

/// The process dies, the next one goes on with what is in the cache, and then power is lost.
fn die_and_live_on(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    script: &[Step],
    history: &History,
    model: SyncFailure,
) -> u64 {
    let killed = Crash::Killed(disk.operations());
    let mut history = history.clone();
    // What has left the cache with the failed sync is gone, unless an earlier one had stored it.
    history.crash(if model == SyncFailure::Cached { killed } else { Crash::SyncedOnly });
    let mut recovered = 0;
    for cut in (disk.operations()..).step_by(5) {
        let (second, mut history) = (disk.survivor(killed), history.clone());
        second.power_off_at(cut);
        let finished = live(&second, open, class, script, &mut history);
        for crash in [Crash::SyncedOnly, Crash::Everything, Crash::Sectors(cut)] {
            recover(&second.survivor(crash), open, class, &history, crash);
            recovered += 1;
        }
        if finished {
            break;
        }
    }
    recovered
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
                let file = Path::new(
                    what.trim_start_matches("sync the folder ").trim_start_matches("sync "),
                );
                let failure = Failure { operation: operation as u64, file, model };
                let check = || live_until_a_sync_fails(&disk, open, class, &script, failure);
                failed += u64::from(case(id, context, check).is_some());
            }
        }
    }
    failed
}

/// A sync that is to fail.
#[derive(Clone, Copy)]
struct Failure<'a> {
    operation: u64,
    /// What is to be synced.
    file: &'a Path,
    model: SyncFailure,
}

impl Failure<'_> {
    fn has_come(self, disk: &SimulatedDisk) -> bool {
        disk.operations() > self.operation
    }

    /// The file was given up, and what it held is still where it came from.
    fn is_undone(self, disk: &SimulatedDisk) -> bool {
        self.file != Path::new(DIR) && !disk.files().contains_key(self.file)
    }
}

/// Lets a script run until a sync fails, makes sure that nothing is acknowledged from then on, and looks what is there: now, and after power loss.
fn live_until_a_sync_fails(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    script: &[Step],
    failure: Failure<'_>,
) {
    let mut history = History::default();
    for steps in script.split_inclusive(|step| matches!(step, Step::Close | Step::Drop)) {
        let Ok(engine) = open(disk.clone(), class) else { break };
        history.resume(&contents(&*engine).expect("a store that opens can be read"));
        live_to_the_failure(engine, class, steps, disk, failure, &mut history);
        if failure.has_come(disk) {
            break;
        }
    }
    disk.heal();
    for crash in [Crash::SyncedOnly, Crash::Everything, Crash::Killed(failure.operation)] {
        // What readers saw in the cache survives the process; where it has left the cache, only what an earlier sync stored is there.
        let cached = failure.model == SyncFailure::Cached && matches!(crash, Crash::Killed(_));
        let promise = if cached { crash } else { Crash::SyncedOnly };
        recover(&disk.survivor(crash), open, class, &history, promise);
    }
}

fn live_to_the_failure(
    engine: Box<dyn Engine>,
    class: Durability,
    steps: &[Step],
    disk: &SimulatedDisk,
    failure: Failure<'_>,
    history: &mut History,
) {
    let may_be_gone = failure.model != SyncFailure::Cached;
    let mut unsure = false;
    for step in steps {
        let has_failed = failure.has_come(disk);
        let outcome = match step {
            Step::Write(write) => {
                history.issue(&supported(&*engine, write));
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
                // A sync promises nothing new if nothing was acknowledged since the last one.
                let nothing_new = matches!(step, Step::Sync) && (unsure || history.is_synced());
                assert!(
                    !has_failed || failure.is_undone(disk) || nothing_new,
                    "{step:?} is acknowledged after a sync that failed"
                );
                let is_sync = matches!(step, Step::Sync);
                if !unsure {
                    history.acknowledge(if is_sync { Durability::Sync } else { class });
                }
            }
            (Step::Write(_), Err(error)) => {
                // What was refused for an earlier failure has not taken place; of what failed by itself that is not known.
                match error {
                    Error::Poisoned { .. } => history.retract(),
                    _ => unsure = true,
                }
                let may_be_damaged = has_failed && may_be_gone;
                assert!(is_due(error) || may_be_damaged && matches!(error, Error::Corrupt { .. }));
            }
            (_, Err(Error::Corrupt { .. })) if has_failed && may_be_gone => {}
            _ => expect_due(outcome),
        }
        match contents(&*engine) {
            Ok(map) => drop(history.check(&map)),
            // What has left the cache cannot be read; that must be said.
            Err(Error::Corrupt { .. }) if failure.has_come(disk) && may_be_gone => {}
            Err(error) => panic!("reads do not go on: {error}"),
        }
    }
}
