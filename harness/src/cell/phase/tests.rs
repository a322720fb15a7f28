//! Phases on an engine that stalls, and on one that forgets.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kvdyno_engines::{Capabilities, Durability, Metrics, Session, memory};
use kvdyno_reports::{Arrivals, PageCache, decode_histogram};
use kvdyno_workloads::WorkloadSpec;

use super::super::job::Task;
use super::*;

const STALL: Duration = Duration::from_secs(1);
const RATE_OPS_PER_S: f64 = 2_000.0;

/// The memory engine, which stands still once, when so many operations have been done; and which may keep to the first value of each key.
struct Mock {
    inner: Box<dyn Engine>,
    forgets_updates: bool,
    finds_everything: bool,
    stall_at: u64,
    operations: AtomicU64,
}

struct MockSession<'a>(Box<dyn Session + 'a>, &'a Mock);

impl Engine for Mock {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }
    fn session(&self) -> kvdyno_engines::Result<Box<dyn Session + '_>> {
        Ok(Box::new(MockSession(self.inner.session()?, self)))
    }
    fn sync(&self) -> kvdyno_engines::Result<()> {
        self.inner.sync()
    }
    fn settle(&self) -> kvdyno_engines::Result<()> {
        self.inner.settle()
    }
    fn metrics(&self) -> Metrics {
        self.inner.metrics()
    }
    fn close(self: Box<Self>) -> kvdyno_engines::Result<()> {
        self.inner.close()
    }
}

impl Session for MockSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> kvdyno_engines::Result<bool> {
        if self.1.operations.fetch_add(1, Ordering::Relaxed) == self.1.stall_at {
            std::thread::sleep(STALL);
        }
        Ok(self.0.get(key, value)? || self.1.finds_everything)
    }
    fn put(&mut self, key: &[u8], value: &[u8]) -> kvdyno_engines::Result<()> {
        if self.1.forgets_updates && self.0.get(key, &mut Vec::new())? {
            return Ok(());
        }
        self.0.put(key, value)
    }
    fn delete(&mut self, key: &[u8]) -> kvdyno_engines::Result<()> {
        self.0.delete(key)
    }
}

fn mock(stall_at: u64) -> Mock {
    let inner = Box::new(memory::Memory::new());
    let operations = AtomicU64::new(0);
    Mock { inner, forgets_updates: false, finds_everything: false, stall_at, operations }
}

/// Runs YCSB C on an engine that stalls at its `stall_at`-th read.
fn measured(stall_at: u64, limit: Limit, pacing: Pacing) -> Measurement {
    let outcome = outcome(&mock(stall_at), "ycsb-c", Verify::Content, limit, pacing);
    assert_eq!(outcome.status, CellStatus::Ok, "{:?}", outcome.error);
    outcome.measurement.unwrap()
}

fn outcome(engine: &Mock, workload: &str, verify: Verify, limit: Limit, pacing: Pacing) -> Outcome {
    let mut spec = WorkloadSpec::builtin(workload).unwrap();
    spec.records = 1_000;
    spec.set_value_bytes(16).unwrap();
    let workload = Workload::new(spec.clone(), 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let task = Task::Run { limit, warm_up: WarmUp::Limit(Limit::Operations(0)), pacing };
    let job = Job {
        parent: 0,
        engine: "stalling".into(),
        options: crate::options::Options::default(),
        durability: Durability::Os,
        threads: 1,
        seed: 1,
        spec,
        store: dir.path().to_owned(),
        loaded_bytes: 0,
        verify,
        page_cache: PageCache::Warm,
        memory_limit_bytes: None,
        task,
    };
    let Task::Run { limit, warm_up, pacing } = &job.task else { unreachable!() };
    let interrupted = AtomicBool::new(false);
    let phase =
        Phase { job: &job, engine, workload: &workload, interrupted: &interrupted, tell: &|_| {} };
    phase.run(*limit, *warm_up, pacing).unwrap()
}

fn above(latency: &kvdyno_reports::Latency, least: Duration) -> u64 {
    let histogram = decode_histogram(&latency.histogram).unwrap();
    histogram.count_between(least.as_nanos() as u64, u64::MAX)
}

#[test]
fn a_stall_is_in_the_response_times_of_all_operations_that_were_due_in_it() {
    for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
        let pacing = Pacing::Open { ops_per_s: RATE_OPS_PER_S, arrivals };
        let limit = Limit::Duration(Duration::from_secs(3));
        let measurement = measured(1_000, limit, pacing);
        let all = measurement.operations.last().unwrap();
        let open_loop = measurement.open_loop.unwrap();
        assert_eq!(open_loop.due, all.operations, "no tick is skipped");
        let due_in_half = RATE_OPS_PER_S * STALL.as_secs_f64() / 2.0;
        let late = above(all.response.as_ref().unwrap(), STALL / 2) as f64;
        assert!(late > 0.9 * due_in_half, "{late} responses of half a second or more");
        let response_max = all.response.as_ref().unwrap().max_ns;
        assert!(response_max >= STALL.as_nanos() as u64);
        // Coordinated omission: seen from the call, one operation took long.
        assert!(above(&all.service, STALL / 2) <= 3, "the stall is one service time");
        let slow_seconds = measurement
            .timeline
            .iter()
            .filter(|point| point.response_max_ns.is_some_and(|ns| ns > 500_000_000))
            .count();
        assert!((1..=3).contains(&slow_seconds), "{:?}", measurement.timeline);
    }
}

#[test]
fn a_rate_beyond_the_engine_is_told_as_not_reached() {
    // A thread that must wait a second cannot do what is due in it; at the end it is far behind.
    let pacing = Pacing::Open { ops_per_s: 1e9, arrivals: Arrivals::Constant };
    let limit = Limit::Duration(Duration::from_millis(200));
    let open_loop = measured(u64::MAX, limit, pacing).open_loop.unwrap();
    assert!(!open_loop.reached && open_loop.due >= 199_000_000, "{open_loop:?}");
}

#[test]
fn a_bound_that_always_holds_is_held_near_the_peak_and_one_that_never_does_at_no_rate() {
    let limit = Limit::Duration(Duration::from_millis(200));
    let search = |bound: &str| {
        let bound = bound.parse().unwrap();
        let pacing = Pacing::Search { bound, arrivals: Arrivals::Constant };
        let measurement = measured(u64::MAX, limit, pacing);
        assert!(measurement.rates.iter().all(|point| point.held.is_some()));
        (measurement.slo.unwrap(), measurement.throughput_ops_per_s)
    };
    let (slo, peak) = search("max<1h");
    assert!(slo.highest_ops_per_s.unwrap() > 0.1 * peak, "{slo:?}, peak {peak}");
    let (slo, _) = search("p50<1ns");
    assert_eq!(slo.highest_ops_per_s, None);
    assert!(slo.lowest_broken_ops_per_s.is_some());
}

#[test]
fn a_sweep_rises_until_the_engine_is_saturated() {
    let limit = Limit::Duration(Duration::from_millis(200));
    let measurement = measured(u64::MAX, limit, Pacing::Sweep { arrivals: Arrivals::Poisson });
    let rates: Vec<f64> = measurement.rates.iter().map(|p| p.offered_ops_per_s).collect();
    assert!(rates.len() > 1 && rates.is_sorted(), "{rates:?}");
    assert!(measurement.rates.iter().rev().skip(1).all(|point| point.reached));
}

#[test]
fn a_read_that_is_older_than_the_last_acknowledged_write_is_found_at_level_versions() {
    for workload in ["ycsb-a", "ycsb-f"] {
        let run = |verify, forgets_updates| {
            let engine = Mock { forgets_updates, ..mock(u64::MAX) };
            outcome(&engine, workload, verify, Limit::Operations(20_000), Pacing::Closed)
        };
        assert_eq!(run(Verify::Versions, false).status, CellStatus::Ok);
        assert_eq!(run(Verify::Content, true).status, CellStatus::Ok, "each value is whole");
        let found = run(Verify::Versions, true);
        assert_eq!(found.status, CellStatus::WrongData, "{workload}");
    }
}

#[test]
fn finding_what_is_not_there_is_wrong_data_and_not_finding_it_is_no_error() {
    let run = |verify, finds_everything| {
        let engine = Mock { finds_everything, ..mock(u64::MAX) };
        outcome(&engine, "absent", verify, Limit::Operations(2_000), Pacing::Closed)
    };
    for verify in [Verify::Sample, Verify::Content, Verify::Versions] {
        let found = run(verify, true);
        assert_eq!(found.status, CellStatus::WrongData);
        let error = found.error.unwrap();
        assert!(error.contains("was never written, but the engine finds a value"), "{error}");
        let measurement = run(verify, false).measurement.unwrap();
        let kinds: Vec<_> = measurement.operations.iter().map(|row| row.kind.as_str()).collect();
        assert_eq!(kinds, ["read_absent", "all"]);
        assert!(
            measurement.operations.iter().all(|row| (row.operations, row.errors) == (2_000, 0))
        );
        assert_eq!(measurement.check.reads_checked, 2_000);
        assert_eq!((measurement.io.user_bytes_read, measurement.amplification.read), (0, None));
    }
    assert_eq!(run(Verify::None, true).status, CellStatus::Ok, "nothing is checked at level none");
}

#[test]
fn counters_of_engines_that_do_not_tell_are_absent() {
    let measurement = measured(u64::MAX, Limit::Operations(1_000), Pacing::Closed);
    assert_eq!((measurement.stall_count, measurement.open_loop), (None, None));
    assert_eq!(measurement.counters, BTreeMap::new());
    assert!(measurement.check.check_ns_per_operation.unwrap() > 0.0);
}
