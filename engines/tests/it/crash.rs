//! Crash sweeps: lose power at every operation of a script, bring the disk back in every way, and ask the engine what it still knows.
//!
//! The oracle is that of [`crate::history`]: a prefix of the history, with all that was promised. Beyond that, recovering again changes nothing, nor does a
//! crash during recovery take away what was promised; a scan shows what gets show; the store takes new writes; and files do not pile up.

use std::ops::AddAssign;

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
    /// Of so many crashes, one is followed by a second life, which ends in another crash.
    pub(crate) second_life_of: u64,
}

/// How many disks a sweep has recovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// As the first crash had left them: each operation under each crash is one.
    pub(crate) first: u64,
    /// As a crash in the life after the first one had left them.
    pub(crate) second: u64,
}

impl AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.first += other.first;
        self.second += other.second;
    }
}

/// Tries every operation of the script of `sweep` under every crash.
///
/// # Panics
/// If a store breaks a promise, with everything that is needed to see it again.
pub(crate) fn sweep(open: Open<'_>, class: Durability, sweep: Sweep) -> Swept {
    let script = script(sweep.seed, sweep.steps);
    let mut swept = Swept::default();
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
            let goes_on = random.random_range(0..sweep.second_life_of) == 0;
            let check = || {
                let survivor = disk.survivor(crash);
                let operations = recover_and_go_on(&survivor, open, class, &history, crash);
                if goes_on {
                    // Power is lost once more, in the middle of recovery or of a second life.
                    let cut = (share * (operations + 20) as f64) as u64;
                    let seed = sweep.seed ^ operation;
                    second_life(&second, open, class, &history, crash, cut, seed)
                } else {
                    0
                }
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
            if let Some(second) = case(id, context, check) {
                swept.first += 1;
                swept.second += second;
            }
        }
        if finished {
            break;
        }
    }
    swept
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

/// Sweeps over histories in all classes, one seed after the other from that of `plan` on, until `at_least` disks were recovered, not counting those of second lives.
fn sweep_all(open: Open<'_>, plan: Sweep, at_least: u64) {
    let mut swept = Swept::default();
    for seed in plan.seed..plan.seed + SEEDS_MAX {
        for class in Durability::ALL {
            swept += sweep(open, class, Sweep { seed, ..plan });
        }
        if swept.first >= at_least {
            break;
        }
    }
    assert_count("disks recovered after a second crash", swept.second, at_least / 5);
    assert_count("disks recovered after a first crash", swept.first, at_least);
}

/// More than are needed. (A case that is run alone is not counted.)
const SEEDS_MAX: u64 = 100;

for_each_engine!(
    every_crash_leaves_a_prefix,
    every_crash_leaves_a_prefix_where_everything_is_merged,
    a_recovery_that_crashes_again_and_again_leaves_a_prefix,
    #[ignore = "takes many minutes"]
    every_crash_leaves_a_prefix_long,
);

const PLAN: Sweep = Sweep { seed: 1, steps: 24, each: 2, second_life_of: 8 };

fn every_crash_leaves_a_prefix<E: Subject>() {
    sweep_all(&E::simulated, PLAN, 10_000 / E::SHARE);
}

fn every_crash_leaves_a_prefix_where_everything_is_merged<E: Subject>() {
    sweep_all(&E::simulated_eager, Sweep { seed: 101, ..PLAN }, 10_000 / E::SHARE);
}

fn every_crash_leaves_a_prefix_long<E: Subject>() {
    let plan = Sweep { seed: 1_000, steps: 120, second_life_of: 1, ..PLAN };
    sweep_all(&E::simulated, plan, 1_000_000);
    sweep_all(&E::simulated_eager, Sweep { seed: 2_000, ..plan }, 1_000_000);
}

#[cfg(feature = "bitcask")]
#[test]
fn every_crash_leaves_a_prefix_when_hashes_collide() {
    let plan = Sweep { seed: 2, steps: 22, each: 1, ..PLAN };
    sweep_all(&crate::subjects::colliding_bitcask, plan, 3_000);
}

/// Power is lost in a life, in its recovery, and in the recovery of that: at every operation of each, and with the same promise in the end.
fn a_recovery_that_crashes_again_and_again_leaves_a_prefix<E: Subject>() {
    let (open, mut recovered): (Open<'_>, _) = (&E::simulated_eager, 0);
    for seed in 0..4 {
        let class = Durability::ALL[seed as usize % 3];
        let script = script(seed, 30);
        for operation in (seed..).step_by(17 * E::SHARE as usize) {
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
    assert_count("disks recovered after a crash in recovery", recovered, 2_000 / E::SHARE);
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
