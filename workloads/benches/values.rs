//! Nanoseconds to load a record and to check a value.

#![allow(clippy::expect_used, reason = "a bench without its workload may stop")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kvdyno_workloads::{Workload, WorkloadSpec};

fn workload(name: &str, value_bytes: u64) -> Workload {
    let mut spec = WorkloadSpec::builtin(name).expect("a built-in workload");
    spec.records = u64::from(u32::MAX);
    spec.set_value_bytes(value_bytes).expect("an opaque value");
    Workload::new(spec, 1).expect("a valid spec")
}

fn bench_loader(criterion: &mut Criterion) {
    for (name, value_bytes) in [("ycsb-c", 100), ("ycsb-c", 1_000), ("ts-mixed", 16)] {
        let workload = workload(name, value_bytes);
        let mut loader = workload.loader(0, 1);
        criterion.bench_function(&format!("loader/{name}/{value_bytes}B"), |bencher| {
            bencher.iter(|| {
                black_box(loader.next());
            });
        });
    }
}

fn bench_check(criterion: &mut Criterion) {
    for (name, value_bytes) in [("ycsb-c", 100), ("ycsb-c", 1_000), ("ts-mixed", 16)] {
        let workload = workload(name, value_bytes);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        workload.key_of(7, &mut key);
        workload.value_of(7, 3, &mut value);
        criterion.bench_function(&format!("check_value/{name}/{value_bytes}B"), |bencher| {
            bencher.iter(|| workload.check_value(black_box(&key), black_box(&value)));
        });
    }
}

criterion_group!(benches, bench_loader, bench_check);
criterion_main!(benches);
