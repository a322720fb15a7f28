//! The proof that the suites have teeth: with each bug of a [`Sloppy`] storage below it, a careful engine fails them; without one, it passes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::SyncFailure;
use kvdyno_engines::{Durability, Engine, Error, Result};

use crate::crash::{Sweep, sweep};
use crate::damage::flip_bits;
use crate::faults::{operations_that_fail, syncs_that_fail};
use crate::history::Open;
use crate::sloppy::{Bug, Sloppy};
use crate::subjects::{DIR, Settling, Subject, for_each_engine};

for_each_engine!(
    every_bug_of_the_storage_is_caught,
    a_folder_sync_left_out_is_caught_where_it_matters
);

fn opener<E: Subject>(bug: Bug) -> impl Fn(SimulatedDisk, Durability) -> Result<Box<dyn Engine>> {
    move |disk, class| E::open(Sloppy::new(disk, bug), Path::new(DIR), class, Settling::Everything)
}

/// What the suites ask, in small: a lock that excludes, crashes at every operation, operations and syncs that fail, damage.
fn hunt<E: Subject>(bug: Bug) {
    let open: Open<'_> = &opener::<E>(bug);
    let disk = SimulatedDisk::new();
    let engine = open(disk.clone(), Durability::Os).unwrap();
    let second = open(disk, Durability::Os).map(drop);
    assert!(matches!(second, Err(Error::Locked { .. })), "a store is open twice: {second:?}");
    drop(engine);
    operations_that_fail(open, 1..2);
    syncs_that_fail(open, 0..3, &[SyncFailure::Cached]);
    for (seed, class) in [(3, Durability::Sync), (4, Durability::Os)] {
        sweep(open, class, Sweep { seed, steps: 14, each: 1 });
    }
    flip_bits(open, |at| if at % 3 == 0 { vec![1 << (at % 8)] } else { Vec::new() });
}

fn every_bug_of_the_storage_is_caught<E: Subject>() {
    hunt::<E>(Bug::None);
    let bugs: Vec<_> =
        Bug::ALL.into_iter().filter(|bug| E::RENAMES || !bug.needs_rename()).collect();
    let missed: Vec<_> = bugs
        .iter()
        .filter(|bug| catch_unwind(AssertUnwindSafe(|| hunt::<E>(**bug))).is_ok())
        .collect();
    assert!(missed.is_empty(), "of {} bugs go unnoticed: {missed:?}", bugs.len());
    assert!(bugs.len() >= 15);
}

/// The LSM tree does not write anything again yet.
#[cfg(feature = "bitcask")]
#[test]
fn trust_in_what_may_be_in_the_cache_alone_is_caught() {
    use crate::subjects::Bitcask;
    crate::faults::lives_after_failed_syncs(&opener::<Bitcask>(Bug::None), 0..1);
    let trusting = opener::<Bitcask>(Bug::SkipsRewrite);
    let lived =
        catch_unwind(AssertUnwindSafe(|| crate::faults::lives_after_failed_syncs(&trusting, 0..3)));
    assert!(lived.is_err(), "what was never stored is acknowledged, and nobody notices");
}

/// Leaves out each sync of a folder in turn, counted from each opening of the store. Some are made twice for safety's sake, by a recovery for instance, and
/// nothing depends on one of the two; the rest must be missed.
fn a_folder_sync_left_out_is_caught_where_it_matters<E: Subject>() {
    let plan = Sweep { seed: 5, steps: 14, each: 1 };
    let (mut caught, mut harmless) = (Vec::new(), Vec::new());
    for number in 0.. {
        let left_out = Arc::new(AtomicU64::new(0));
        let open = |disk, class| {
            let bug = Bug::SkipsFolderSync(number);
            let storage = Sloppy::counting(disk, bug, &left_out);
            E::open(storage, Path::new(DIR), class, Settling::Everything)
        };
        let swept = catch_unwind(AssertUnwindSafe(|| sweep(&open, Durability::Sync, plan)));
        match swept {
            Err(_) => caught.push(number),
            Ok(_) if left_out.load(Ordering::Relaxed) > 0 => harmless.push(number),
            Ok(_) => break,
        }
    }
    println!("syncs of folders that are missed: {caught:?}, and not: {harmless:?}");
    assert!(caught.len() >= 3 && caught.len() > harmless.len(), "{caught:?}, {harmless:?}");
}
