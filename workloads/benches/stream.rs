//! Nanoseconds that a stream takes for one operation: what a driver pays before it calls an engine.

#![allow(clippy::expect_used, reason = "a bench without its workload may stop")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use kvdyno_workloads::{Workload, WorkloadSpec};

fn bench_stream(criterion: &mut Criterion, name: &str, value_bytes: u64) {
    let mut spec = WorkloadSpec::builtin(name).expect("a built-in workload");
    spec.set_value_bytes(value_bytes).expect("an opaque value");
    let workload = Workload::new(spec, 1).expect("a valid spec");
    let mut stream = workload.stream(0);
    criterion.bench_function(&format!("stream/{name}/{value_bytes}B"), |bencher| {
        bencher.iter(|| {
            black_box(stream.next());
        });
    });
}

fn bench_streams(criterion: &mut Criterion) {
    for name in ["ycsb-a", "ycsb-c", "ycsb-d", "ycsb-e", "ycsb-f"] {
        bench_stream(criterion, name, 100);
    }
    bench_stream(criterion, "ycsb-a", 1_000);
    for name in ["multi-get", "session-churn", "session-expiry", "absent"] {
        bench_stream(criterion, name, 100);
    }
    bench_stream(criterion, "ts-mixed", 16);
    bench_stream(criterion, "ts-retention", 16);
}

criterion_group!(benches, bench_streams);
criterion_main!(benches);
