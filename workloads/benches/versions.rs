//! Nanoseconds that `--verify versions` adds to a write and to a read, without contention.

#![allow(clippy::expect_used, reason = "a bench without its workload may stop")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kvdyno_workloads::{LastWrites, Stamp, Workload, WorkloadSpec};

fn bench_versions(criterion: &mut Criterion) {
    let spec = WorkloadSpec::builtin("ycsb-a").expect("a built-in workload");
    let records = spec.records;
    let workload = Workload::new(spec, 1).expect("a valid spec");
    let table = LastWrites::new(&workload).expect("values with versions");
    // Far apart, so that the table's words come from memory as they do in a run.
    let mut record = 0;
    let mut next = move || {
        record = (record + 618_033) % records;
        record
    };
    criterion.bench_function("versions/read", |bencher| {
        bencher.iter(|| {
            let record = next();
            let seen = table.before_read(black_box(record));
            let stamp = Stamp { record: Some(record), version: Some(0) };
            table.check_read(record, &seen, b"key", stamp)
        });
    });
    let mut version = 0;
    criterion.bench_function("versions/write", |bencher| {
        bencher.iter(|| {
            version += 1;
            table.before_write(black_box(7), version);
            table.after_write(black_box(7), version);
        });
    });
}

criterion_group!(benches, bench_versions);
criterion_main!(benches);
