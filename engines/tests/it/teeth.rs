//! The proof that the suites have teeth: with each bug of a [`Sloppy`] storage below it, a careful engine fails them; without one, it passes.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::{Crash, SyncFailure};
use kvdyno_engines::{Durability, Engine, Error, Result};

use crate::crash::{Sweep, sweep};
use crate::damage::flip_bits;
use crate::faults::{operations_that_fail, syncs_that_fail};
use crate::history::{History, Open, Step, live, recover, script};
use crate::sloppy::{Bug, FolderSyncs, Sloppy};
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
        sweep(open, class, Sweep { seed, steps: 14, each: 1, second_life_of: 1 });
    }
    let damaged: Open<'_> = &|disk: SimulatedDisk, class| {
        E::open_compressing(Sloppy::new(disk, bug), Path::new(DIR), class)
    };
    flip_bits(damaged, |at| if at % 3 == 0 { vec![1 << (at % 8)] } else { Vec::new() });
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

/// The LSM tree writes nothing again in its place: what it finds becomes tables.
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

/// Leaves out each sync of a folder, told by what it makes durable, in turn. It must be missed, unless it is one of those of which the engine says why they are not.
fn a_folder_sync_left_out_is_caught_where_it_matters<E: Subject>() {
    let lose_names = |folder_syncs: &FolderSyncs, without: Option<&str>| {
        let open = |disk, class| {
            let storage = Sloppy::noting(disk, folder_syncs, without);
            E::open(storage, Path::new(DIR), class, Settling::Everything)
        };
        (5..9).for_each(|seed| lose_any_name(&open, &script(seed, 14)));
    };
    let all = FolderSyncs::default();
    lose_names(&all, None);
    let all = all.lock().clone();
    let is_harmless = |without: &&String| {
        let lived = || lose_names(&FolderSyncs::default(), Some(without));
        catch_unwind(AssertUnwindSafe(lived)).is_ok()
    };
    let harmless: BTreeSet<&str> = all.iter().filter(is_harmless).map(String::as_str).collect();
    println!("syncs of folders: {all:?}; of these are not missed: {harmless:?}");
    let expected = E::FOLDER_SYNCS_NOT_MISSED.iter().map(|(sync, _reason)| *sync).collect();
    assert_eq!(harmless, expected);
    assert!(all.len() >= harmless.len() + 3, "{all:?}");
}

/// Loses power at every operation of a script, and each change of names that was not durable then: alone, with all later ones, and all but it.
fn lose_any_name(open: Open<'_>, script: &[Step]) {
    let class = Durability::Sync;
    for operation in 0.. {
        let disk = SimulatedDisk::new();
        disk.power_off_at(operation);
        let mut history = History::default();
        let finished = live(&disk, open, class, script, &mut history);
        let mut crashes = disk.crashes(operation, 20);
        crashes.retain(|crash| !matches!(crash, Crash::Torn(_) | Crash::Sectors(_)));
        for crash in crashes {
            recover(&disk.survivor(crash), open, class, &history, crash);
        }
        if finished {
            return;
        }
    }
}
