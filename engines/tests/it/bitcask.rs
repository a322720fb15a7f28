//! Bitcask: what is particular to it. What all engines have in common is in `conformance` and `crash`.

use kvdyno_engines::bitcask::{Background, Bitcask, MergePolicy, Options, SEGMENT_BYTES_MIN};
use kvdyno_engines::conformance;
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Engine, Result};

use crate::crash::{Sweep, sweep};

/// Small data files, early merges, no threads.
fn small(durability: Durability) -> Options {
    Options {
        durability,
        segment_bytes: SEGMENT_BYTES_MIN,
        background: Background::Inline,
        ..Options::default()
    }
}

fn open_small(disk: SimulatedDisk, durability: Durability) -> Result<Box<dyn Engine>> {
    Ok(Box::new(Bitcask::open(disk, "/store", small(durability))?))
}

#[test]
fn bitcask_conforms() {
    conformance::check(|| {
        let disk = SimulatedDisk::new();
        move |durability| open_small(disk.clone(), durability)
    });
}

#[test]
fn every_crash_leaves_a_prefix() {
    for class in Durability::ALL {
        sweep(&open_small, class, Sweep { seed: 1, steps: 40, each: 3 });
    }
}
