//! Every short history, lost at every operation (after Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018: three
//! operations on a fresh file system find most bugs).
//!
//! A history shares the operations of its beginning with the shorter history that it extends, so power is lost only during and after its last step.

use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::{Durability, WriteOperation};

use crate::history::{GONE, History, Open, Step, live, recover};
use crate::replay::{assert_count, case};
use crate::subjects::{Subject, for_each_engine};

const STEPS: usize = 8;

for_each_engine!(
    every_history_of_three_steps_survives_every_crash,
    #[ignore = "takes minutes"]
    every_history_of_four_steps_survives_every_crash,
);

fn every_history_of_three_steps_survives_every_crash<E: Subject>() {
    // Class `buffered` takes the path of class `os`, and promises less.
    let classes = [Durability::Os, Durability::Sync];
    assert_count("histories", every_history::<E>(3, &classes), 2 * 584);
}

fn every_history_of_four_steps_survives_every_crash<E: Subject>() {
    assert_count("histories", every_history::<E>(4, &Durability::ALL), 3 * (584 + 4096));
}

/// Tries all histories of up to `longest` steps in each of the classes, and returns how many that were.
fn every_history<E: Subject>(longest: usize, classes: &[Durability]) -> u64 {
    let (mut histories, mut disks) = (0, 0);
    for len in 1..=longest {
        for number in 0..STEPS.pow(len as u32) {
            for class in classes {
                disks += history::<E>(len, number, *class);
                histories += 1;
            }
        }
    }
    println!("{disks} disks recovered");
    histories
}

/// The steps of the history with this number, in base 8.
fn steps(len: usize, number: usize) -> Vec<Step> {
    (0..len).map(|at| step(number / STEPS.pow((len - 1 - at) as u32) % STEPS, at)).collect()
}

fn step(kind: usize, at: usize) -> Step {
    let value = |key: &str| {
        let value = format!("{at}{:300}", "").into_bytes();
        WriteOperation::Put { key: key.into(), value }
    };
    let gone = |key: &str| match (at % 2, value(key)) {
        (1, WriteOperation::Put { key, value }) => {
            WriteOperation::PutExpiring { key, value, ttl: GONE }
        }
        _ => WriteOperation::Delete { key: key.into() },
    };
    // Where there are no such deletions, it is one of `a` alone.
    let range = WriteOperation::DeleteRange { start: "a".into(), end: "c".into() };
    match kind {
        0 => Step::Write(vec![value("a")]),
        1 => Step::Write(vec![value("b")]),
        2 => Step::Write(vec![gone("a")]),
        3 => Step::Write(vec![value("b"), range, value("c")]),
        4 => Step::Sync,
        5 => Step::Settle,
        6 => Step::Close,
        _ => Step::Drop,
    }
}

/// Loses power at every operation of the last step, and after it. Returns how many disks were recovered.
fn history<E: Subject>(len: usize, number: usize, class: Durability) -> u64 {
    let open: Open<'_> = &E::simulated_eager;
    let steps = steps(len, number);
    let run = |steps: &[Step], off_at: u64| {
        let disk = SimulatedDisk::new();
        disk.power_off_at(off_at);
        let mut history = History::default();
        live(&disk, open, class, &[steps, &[Step::PowerOff]].concat(), &mut history);
        (disk, history)
    };
    let first = if len == 1 { 0 } else { run(&steps[..len - 1], u64::MAX).0.operations() };
    let last = run(&steps, u64::MAX).0.operations();
    let mut disks = 0;
    for operation in first..=last {
        let (disk, history) = run(&steps, operation);
        // Each class sees other members of the large families.
        let mut crashes = disk.crashes((number * 3) as u64 + class as u64, 1);
        crashes.push(Crash::Killed(operation));
        for crash in crashes {
            let id = format!("{class}:{len}:{number}:{operation}:{crash:?}");
            let context = || {
                format!(
                    "class {class}, steps {steps:?}, power lost at operation {operation} of\n{}",
                    disk.trace()
                )
            };
            let check = || recover(&disk.survivor(crash), open, class, &history, crash);
            disks += u64::from(case(id, context, check).is_some());
        }
    }
    disks
}
