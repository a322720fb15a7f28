//! The LSM tree alone, one thread, class `os`: 1 M records of 100-byte values under 24-byte keys, or 20,000 in smoke mode
//! (`cargo bench --bench lsm -- --test`).
//!
//! `load` opens an empty store for each sample; all others share a store that was loaded in random order and has settled. Figures are times
//! per operation; of a scan of 50 records per scan, of a multi-get of 10 keys per multi-get.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kvdyno_engines::lsm::{KeyRange, Lsm, Options};
use kvdyno_engines::storage::Disk;
use kvdyno_engines::{Direction, Engine, Session};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const VALUE: [u8; 100] = [b'v'; 100];

/// Writes the key of record `i`: `user` and twenty digits, in an order that has nothing to do with `i`.
fn set_key(key: &mut [u8; 24], i: u64) {
    let mut number = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..4].copy_from_slice(b"user");
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn open(dir: &tempfile::TempDir) -> Lsm {
    Lsm::open(Disk, dir.path(), Options::default()).unwrap()
}

fn load(session: &mut dyn Session, records: u64) {
    let mut key = [0; 24];
    for i in 0..records {
        set_key(&mut key, i);
        session.put(&key, &VALUE).unwrap();
    }
}

fn benches(criterion: &mut Criterion) {
    let records = if std::env::args().any(|arg| arg == "--test") { 20_000 } else { 1_000_000 };
    let mut group = criterion.benchmark_group(format!("lsm/{records}"));
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3))
        .throughput(Throughput::Elements(1));

    group.bench_function("load", |bencher| {
        bencher.iter_custom(|iterations| {
            // One sample is one whole load, whatever number of iterations is asked for; what is told is scaled to that number.
            let dir = tempfile::tempdir().unwrap();
            let store = open(&dir);
            let mut session = store.session().unwrap();
            let start = Instant::now();
            load(&mut *session, records);
            start.elapsed().mul_f64(iterations as f64 / records as f64)
        });
    });

    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut session = store.session().unwrap();
    load(&mut *session, records);
    store.settle().unwrap();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut key = [0; 24];
    let mut value = Vec::new();

    group.bench_function("get", |bencher| {
        bencher.iter(|| {
            set_key(&mut key, random.random_range(0..records));
            assert!(session.get(&key, &mut value).unwrap());
        });
    });
    group.bench_function("get_absent", |bencher| {
        bencher.iter(|| {
            set_key(&mut key, random.random_range(records..2 * records));
            assert!(!session.get(&key, &mut value).unwrap());
        });
    });
    let mut keys = [[0; 24]; 10];
    group.bench_function("multi_get_10", |bencher| {
        bencher.iter(|| {
            for key in &mut keys {
                set_key(key, random.random_range(0..records));
            }
            let slices = keys.each_ref().map(<[u8; 24]>::as_slice);
            session.multi_get(&slices, &mut |_, value| assert!(value.is_some())).unwrap();
        });
    });
    for (name, direction) in
        [("scan_50", Direction::Forward), ("scan_50_reverse", Direction::Reverse)]
    {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                set_key(&mut key, random.random_range(0..records));
                let mut visit = |key: &[u8], value: &[u8]| {
                    black_box((key, value));
                    ControlFlow::Continue(())
                };
                session.scan(&key, direction, 50, &mut visit).unwrap()
            });
        });
    }
    for (name, forward) in [("iter_50", true), ("iter_50_reverse", false)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                set_key(&mut key, random.random_range(0..records));
                let range: KeyRange =
                    if forward { (&key[..]..).into() } else { (..=&key[..]).into() };
                let mut iter = store.iter(range);
                let visit = |key: &[u8], value: &[u8]| {
                    black_box((key, value));
                };
                for _ in 0..50 {
                    let visited =
                        if forward { iter.next_with(visit) } else { iter.next_back_with(visit) };
                    if visited.transpose().unwrap().is_none() {
                        break;
                    }
                }
            });
        });
    }
    group.bench_function("overwrite", |bencher| {
        bencher.iter(|| {
            set_key(&mut key, random.random_range(0..records));
            session.put(&key, &VALUE).unwrap();
        });
    });
    group.finish();
}

criterion_group!(lsm, benches);
criterion_main!(lsm);
