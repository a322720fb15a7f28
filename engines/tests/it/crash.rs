//! Crash sweeps: lose power at every operation of a script, bring the disk back in every way, and ask the engine what it still knows.
//!
//! The oracle is that of [`crate::history`]: a prefix of the history, with all that was promised. Beyond that, recovering again changes nothing, nor does a
//! crash during recovery take away what was promised; a scan shows what gets show; the store takes new writes; and files do not pile up.

use kvdyno_engines::Durability;
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::Crash;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history::{History, Open, live, recover, recover_and_go_on, script};
use crate::replay::{assert_count, case};
use crate::subjects::{Subject, for_each_engine};

/// How much of the space of crashes is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    /// Seed of the script and of the crashes.
    pub(crate) seed: u64,
    /// Steps of the script.
    pub(crate) steps: usize,
    /// Members of each large family of crashes that are tried at each operation.
    pub(crate) each: usize,
}

/// Tries every operation of the script of `sweep` under every crash, and returns how many disks were recovered.
///
/// # Panics
/// If a store breaks a promise, with everything that is needed to see it again.
pub(crate) fn sweep(open: Open<'_>, class: Durability, sweep: Sweep) -> u64 {
    let script = script(sweep.seed, sweep.steps);
    let mut recovered = 0;
    for operation in 0.. {
        let mut random = StdRng::seed_from_u64(sweep.seed << 32 ^ operation);
        let disk = SimulatedDisk::new();
        disk.power_off_at(operation);
        let mut history = History::default();
        let finished = live(&disk, open, class, &script, &mut history);
        let mut crashes = disk.crashes(random.random(), sweep.each);
        crashes.push(Crash::Killed(random.random()));
        for crash in crashes {
            let second = disk.survivor(crash);
            let share: f64 = random.random();
            let check = || {
                let survivor = disk.survivor(crash);
                let operations = recover_and_go_on(&survivor, open, class, &history, crash);
                // Power is lost once more, in the middle of recovery or of a second life.
                let cut = (share * (operations + 20) as f64) as u64;
                1 + second_life(&second, open, class, &history, crash, cut, sweep.seed ^ operation)
            };
            let context = || {
                format!(
                    "class {class}, seed {}, power lost at operation {operation}, {crash:?}; operations before the first crash:\n{}\
                     and from then to the second:\n{}",
                    sweep.seed,
                    disk.trace(),
                    second.trace()
                )
            };
            let id = format!("{class}:{}:{operation}:{crash:?}", sweep.seed);
            recovered += case(id, context, check).unwrap_or(0);
        }
        if finished {
            break;
        }
    }
    recovered
}

/// Recovers a store and goes on with it, until power is lost again; checks what is left then. Returns how many disks were recovered.
fn second_life(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    history: &History,
    crash: Crash,
    cut: u64,
    seed: u64,
) -> u64 {
    let mut history = history.clone();
    history.crash(crash);
    disk.power_off_at(disk.operations() + cut);
    live(disk, open, class, &script(seed, 12), &mut history);
    // The families that leave most behind and least, and one by chance.
    let crashes = [Crash::SyncedOnly, Crash::Everything, Crash::Sectors(seed ^ cut)];
    for crash in crashes {
        recover(&disk.survivor(crash), open, class, &history, crash);
    }
    crashes.len() as u64
}

/// Sweeps over histories in all classes.
fn sweep_all(open: Open<'_>, seeds: impl Iterator<Item = u64>, steps: usize, each: usize) -> u64 {
    let seeds: Vec<_> = seeds.collect();
    let all = |class| {
        let one = |seed: &u64| sweep(open, class, Sweep { seed: *seed, steps, each });
        seeds.iter().map(one).sum::<u64>()
    };
    Durability::ALL.into_iter().map(all).sum()
}

for_each_engine!(
    every_crash_leaves_a_prefix,
    a_recovery_that_crashes_again_and_again_leaves_a_prefix,
    #[ignore = "takes many minutes"]
    every_crash_leaves_a_prefix_long,
);

fn every_crash_leaves_a_prefix<E: Subject>() {
    let recovered =
        sweep_all(&E::simulated, 1..2, 24, 1) + sweep_all(&E::simulated_eager, 2..3, 24, 1);
    assert_count("disks recovered", recovered, 20_000);
}

fn every_crash_leaves_a_prefix_long<E: Subject>() {
    let recovered = sweep_all(&E::simulated, 100..130, 120, 2)
        + sweep_all(&E::simulated_eager, 130..160, 120, 2);
    assert_count("disks recovered", recovered, 2_000_000);
}

#[cfg(feature = "bitcask")]
#[test]
fn every_crash_leaves_a_prefix_when_hashes_collide() {
    let recovered = sweep_all(&crate::subjects::colliding_bitcask, 2..3, 22, 1);
    assert_count("disks recovered", recovered, 5_000);
}

/// Power is lost in a life, in its recovery, and in the recovery of that: at every operation of each, and with the same promise in the end.
fn a_recovery_that_crashes_again_and_again_leaves_a_prefix<E: Subject>() {
    let (open, mut recovered): (Open<'_>, _) = (&E::simulated_eager, 0);
    for seed in 0..4 {
        let class = Durability::ALL[seed as usize % 3];
        let script = script(seed, 30);
        for operation in (seed..).step_by(17) {
            let disk = SimulatedDisk::new();
            disk.power_off_at(operation);
            let mut history = History::default();
            let finished = live(&disk, open, class, &script, &mut history);
            for crash in [Crash::Everything, Crash::SyncedOnly, Crash::Sectors(operation)] {
                let mut history = history.clone();
                history.crash(crash);
                let id = format!("{class}:{seed}:{operation}:{crash:?}");
                let context = || format!("operations before the first crash:\n{}", disk.trace());
                let check =
                    || recover_cut_short(&disk.survivor(crash), open, class, &history, operation);
                recovered += case(id, context, check).unwrap_or(0);
            }
            if finished {
                break;
            }
        }
    }
    assert_count("disks recovered after a crash in recovery", recovered, 2_000);
}

/// Cuts the recovery of `disk` short at every operation, and so the recovery of what is then left at one of them.
fn recover_cut_short(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    history: &History,
    seed: u64,
) -> u64 {
    let mut recovered = 0;
    let mut random = StdRng::seed_from_u64(seed);
    for cut in 0.. {
        // The same disk again, as only a survivor can be had of one.
        let first = disk.survivor(Crash::SyncedOnly);
        first.power_off_at(cut);
        let whole = open(first.clone(), class).is_ok();
        let again = Crash::Sectors(random.random());
        for crash in [Crash::SyncedOnly, again] {
            let second = first.survivor(crash);
            second.power_off_at(random.random_range(0..=cut));
            drop(open(second.clone(), class));
            let third = second.survivor(Crash::Sectors(random.random()));
            recover(&third, open, class, history, crash);
            recovered += 1;
        }
        if whole {
            return recovered;
        }
    }
    recovered
}
