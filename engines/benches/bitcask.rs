//! Bitcask on disk, component by component: 1 million records of a 24-byte key and a 100-byte value; with `--test`, a few thousand.
//!
//! `cargo bench -p kvdyno-engines --bench bitcask`. The driver's share, a key formatted and a random number drawn, is measured as `driver`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kvdyno_engines::Durability;
use kvdyno_engines::bitcask::{Bitcask, MergePolicy, Options};
use kvdyno_engines::storage::Disk;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tempfile::TempDir;

const VALUE_BYTES: usize = 100;

fn records() -> u64 {
    let smoke = std::env::args().any(|argument| argument == "--test");
    if smoke { 5_000 } else { 1_000_000 }
}

/// `user` and 20 digits, in the order of a hash.
fn key(record: u64) -> [u8; 24] {
    let mut rest = record.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (record << 32);
    let mut key = *b"user00000000000000000000";
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// A record of `records`, the low ones much more often than the high ones.
fn skewed(random: &mut Xoshiro256PlusPlus, records: u64) -> u64 {
    let unit = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    (unit * unit * unit * records as f64) as u64
}

fn uniform(random: &mut Xoshiro256PlusPlus, records: u64) -> u64 {
    random.next_u64() % records
}

/// Everything but merging, which has a measurement of its own.
fn options(durability: Durability) -> Options {
    let merge = MergePolicy { automatic: false, ..MergePolicy::default() };
    Options { durability, merge, ..Options::default() }
}

fn open(dir: &TempDir, durability: Durability) -> Bitcask {
    Bitcask::open(Disk, dir.path().join("store"), options(durability)).unwrap()
}

fn fill(store: &Bitcask, records: u64) {
    for record in 0..records {
        store.put(&key(record), &[record as u8; VALUE_BYTES]).unwrap();
    }
}

fn loads(c: &mut Criterion) {
    let records = records();
    let mut group = c.benchmark_group("bitcask/whole");
    group.sample_size(10).throughput(Throughput::Elements(records));
    let timed = |iterations: u64, work: &mut dyn FnMut() -> Duration| -> Duration {
        (0..iterations).map(|_| work()).sum()
    };
    group.bench_function("load", |b| {
        b.iter_custom(|iterations| {
            timed(iterations, &mut || {
                let dir = TempDir::new().unwrap();
                let store = open(&dir, Durability::Os);
                let start = Instant::now();
                fill(&store, records);
                start.elapsed()
            })
        });
    });
    group.bench_function("merge, half dead", |b| {
        b.iter_custom(|iterations| {
            timed(iterations, &mut || {
                let dir = TempDir::new().unwrap();
                let store = open(&dir, Durability::Os);
                fill(&store, records);
                fill(&store, records);
                store.settle().unwrap();
                let start = Instant::now();
                assert_eq!(store.merge().unwrap().records_reclaimed, records);
                start.elapsed()
            })
        });
    });
    let dir = TempDir::new().unwrap();
    let store = open(&dir, Durability::Os);
    fill(&store, records);
    store.close().unwrap();
    // What is left of hints and the keydir's file decides what a reopening has to read.
    let reopen = |gone: &[&str]| {
        for file in std::fs::read_dir(dir.path().join("store")).unwrap() {
            let path = file.unwrap().path();
            if gone.iter().any(|name| path.to_string_lossy().ends_with(name)) {
                std::fs::remove_file(path).unwrap();
            }
        }
        let start = Instant::now();
        let store = open(&dir, Durability::Os);
        let elapsed = start.elapsed();
        assert_eq!(store.len() as u64, records);
        let recovery = store.recovery();
        assert_eq!(
            (recovery.keydir_used, recovery.hints_used > 0),
            (gone.is_empty(), gone == ["KEYDIR"])
        );
        store.close().unwrap();
        elapsed
    };
    for (name, gone) in [
        ("reopen after a close", &[][..]),
        ("reopen with hints", &["KEYDIR"]),
        ("reopen without hints", &["KEYDIR", ".hint"]),
    ] {
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| timed(iterations, &mut || reopen(gone)));
        });
    }
}

fn operations(c: &mut Criterion) {
    let records = records();
    let dir = TempDir::new().unwrap();
    let store = open(&dir, Durability::Os);
    fill(&store, records);
    store.settle().unwrap();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut value = Vec::new();
    let mut group = c.benchmark_group("bitcask/operation");
    group.throughput(Throughput::Elements(1));
    group.bench_function("driver", |b| b.iter(|| black_box(key(skewed(&mut random, records)))));
    group.bench_function("get, skewed", |b| {
        b.iter(|| store.get(&key(skewed(&mut random, records)), &mut value).unwrap());
    });
    group.bench_function("get, uniform", |b| {
        b.iter(|| store.get(&key(uniform(&mut random, records)), &mut value).unwrap());
    });
    group.bench_function("get, absent", |b| {
        b.iter(|| store.get(&key(records + uniform(&mut random, records)), &mut value).unwrap());
    });
    group.bench_function("overwrite, skewed", |b| {
        b.iter(|| store.put(&key(skewed(&mut random, records)), &[7; VALUE_BYTES]).unwrap());
    });
    group.bench_function("overwrite, uniform", |b| {
        b.iter(|| store.put(&key(uniform(&mut random, records)), &[7; VALUE_BYTES]).unwrap());
    });
    drop(store);

    let dir = TempDir::new().unwrap();
    let store = open(&dir, Durability::Sync);
    group.sample_size(10);
    group.bench_function("put, class sync", |b| {
        b.iter(|| store.put(&key(skewed(&mut random, records)), &[7; VALUE_BYTES]).unwrap());
    });
}

criterion_group!(benches, operations, loads);
criterion_main!(benches);
