//! Two results side by side.

use kvdyno_reports::{
    CellStatus, CompareOptions, Comparison, Direction, Durability, Error, Measurement, Metric,
    ResultFile, compare,
};

use crate::sample;

fn compared(head: &ResultFile) -> Comparison {
    compare(&sample::quick(), head, &CompareOptions::default()).unwrap()
}

fn changed(change: impl Fn(&mut Measurement)) -> Comparison {
    compared(&sample::changed(change))
}

#[test]
fn result_equals_itself() {
    let comparison = compared(&sample::quick());
    assert!(!comparison.regressed());
    assert!(comparison.changes.iter().all(|change| change.direction == Direction::Same));
    let metrics: std::collections::BTreeSet<_> =
        comparison.changes.iter().map(|change| change.metric).collect();
    assert_eq!(metrics.len(), 8, "{metrics:?}");
}

#[test]
fn less_throughput_is_worse_and_more_is_better() {
    let slower = changed(|m| m.throughput_ops_per_s *= 0.8);
    assert!(slower.regressed());
    let change = slower.changes.iter().find(|change| change.metric == Metric::Throughput).unwrap();
    assert_eq!(change.direction, Direction::Worse);
    assert!((change.change_percent.unwrap() + 20.0).abs() < 1e-9);
    let faster = changed(|m| m.throughput_ops_per_s *= 1.2);
    assert!(!faster.regressed());
    let change = faster.changes.iter().find(|change| change.metric == Metric::Throughput).unwrap();
    assert_eq!((change.direction, change.beyond_threshold), (Direction::Better, true));
}

#[test]
fn more_of_any_cost_is_worse() {
    let check = |metric: Metric, change: fn(&mut Measurement)| {
        let comparison = changed(change);
        let worse: Vec<_> = comparison.changes.iter().filter(|c| c.is_regression()).collect();
        assert!(!worse.is_empty() && worse.iter().all(|c| c.metric == metric), "{metric:?}");
    };
    check(Metric::WriteAmplification, |m| {
        m.amplification.write_settled = m.amplification.write_settled.map(|ratio| ratio * 1.5);
    });
    check(Metric::Memory, |m| {
        m.resources.memory_bytes = m.resources.memory_bytes.map(|bytes| bytes * 2);
    });
    check(Metric::CpuPerOperation, |m| m.resources.cpu_us_per_op *= 1.3);
    check(Metric::ServiceP99, |m| {
        for stats in &mut m.operations {
            stats.service.p99_ns = stats.service.p99_ns.map(|ns| ns * 2);
        }
    });
}

#[test]
fn change_within_the_threshold_is_no_regression() {
    let head = sample::changed(|m| m.throughput_ops_per_s *= 0.93);
    let options = |threshold_percent| CompareOptions { threshold_percent, ..Default::default() };
    assert!(!compare(&sample::quick(), &head, &options(10.0)).unwrap().regressed());
    assert!(compare(&sample::quick(), &head, &options(5.0)).unwrap().regressed());
}

#[test]
fn wrong_lost_and_newly_failing_cells_are_regressions() {
    for status in
        [CellStatus::WrongData, CellStatus::LostWrite, CellStatus::Failed, CellStatus::Timeout]
    {
        let mut head = sample::quick();
        for cell in head.cells.iter_mut().filter(|c| c.engine == "lsm" && c.workload == "ycsb-a") {
            cell.status = status;
        }
        let comparison = compared(&head);
        assert!(comparison.regressed(), "{status:?}");
        assert_eq!(comparison.broken.len(), 2, "run and recovery");
    }
    let mut head = sample::quick();
    for cell in head.cells.iter_mut().filter(|c| c.engine == "lsm") {
        cell.status = CellStatus::Interrupted;
    }
    assert!(!compared(&head).regressed(), "what the user stopped is no regression");
}

#[test]
fn cells_of_one_side_are_listed() {
    let mut head = sample::quick();
    head.cells.retain(|cell| cell.engine != "lmdb");
    let comparison = compared(&head);
    assert_eq!(comparison.only_in_base.len(), 8);
    assert!(comparison.only_in_head.is_empty());
    assert!(!comparison.regressed());
    assert!(comparison.to_table().contains("only in base: lmdb ycsb-a run"));
}

#[test]
fn rows_of_different_conditions_can_be_told_apart() {
    let mut several = sample::quick();
    several.cells.retain(|cell| cell.workload == "ycsb-a" && cell.engine == "lsm");
    let table = compare(&several, &several, &CompareOptions::default()).unwrap().to_table();
    assert!(table.contains("  ycsb-a  ") && !table.contains("thread"), "one set of conditions");
    let mut other = several.cells.clone();
    for cell in &mut other {
        (cell.threads, cell.records) = (4, 20);
    }
    several.cells.extend(other);
    let comparison = compare(&several, &several, &CompareOptions::default()).unwrap();
    for text in [comparison.to_table(), comparison.to_markdown()] {
        assert!(text.contains("ycsb-a (1 thread, 100,000 records)"), "{text}");
        assert!(text.contains("ycsb-a (4 threads, 20 records)"), "{text}");
    }
    let recoveries = sample::log_sizes();
    let options = CompareOptions::default();
    let table = compare(&recoveries, &recoveries, &options).unwrap().to_table();
    assert!(table.contains("recovery recover (kill -9, warm cache, 64 MiB written)"), "{table}");
    assert!(table.contains("12.5 % of the data written)"), "{table}");
    let table = compare(&sample::at_rate(), &sample::at_rate(), &options).unwrap().to_table();
    assert!(table.contains("ycsb-a (at 300 k/s)"), "{table}");
}

#[test]
fn other_machine_is_noted() {
    let mut head = sample::quick();
    head.environment.kernel = "Linux 7.0".to_owned();
    let comparison = compared(&head);
    assert_eq!(comparison.notes, ["the kernel differs: Linux 6.12.41 in base, Linux 7.0 in head"]);
}

#[test]
fn what_is_not_comparable_is_an_error() {
    let error = |change: fn(&mut ResultFile)| {
        let mut head = sample::quick();
        change(&mut head);
        let error = compare(&sample::quick(), &head, &CompareOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with("not comparable: "), "{error}");
        error
    };
    let other_spec = error(|head| head.workloads[0].spec_digest = "other".to_owned());
    assert!(matches!(other_spec, Error::SpecDiffers { workload, .. } if workload == "ycsb-a"));
    let other_class =
        error(|head| head.cells.iter_mut().for_each(|cell| cell.durability = Durability::Sync));
    assert!(
        matches!(&other_class, Error::ConditionsDiffer { what: "durability class", base, head, .. } if base == "os" && head == "sync"),
        "{other_class}"
    );
    let other_values = error(|head| head.cells.iter_mut().for_each(|cell| cell.value_bytes = 10));
    assert!(matches!(other_values, Error::ConditionsDiffer { what: "value bytes", .. }));
    let other_seed = error(|head| {
        head.run.seed = 8;
        head.workloads[0].stream_digest = "other".to_owned();
    });
    let message = other_seed.to_string();
    assert!(
        matches!(&other_seed, Error::OperationsDiffer { workload, .. } if workload == "ycsb-a")
    );
    assert!(message.contains("seed 7") && message.contains("seed 8"), "{message}");
    let other_rate = error(|head| {
        head.cells.iter_mut().for_each(|cell| cell.offered_ops_per_s = Some(5e4));
    });
    assert!(
        matches!(&other_rate, Error::ConditionsDiffer { what: "offered rate", base, .. } if base == "a closed loop")
    );
    let nothing = error(|head| head.cells.clear());
    assert!(matches!(nothing, Error::NothingShared { .. }));
}

#[test]
fn markdown_tells_regressions_first_and_escapes_names() {
    let mut base = sample::quick();
    let mut head = sample::changed(|m| m.throughput_ops_per_s *= 0.5);
    for cell in base.cells.iter_mut().chain(&mut head.cells) {
        if cell.engine == "lsm" {
            cell.engine = "l|s<b>m".to_owned();
        }
    }
    let markdown = compare(&base, &head, &CompareOptions::default()).unwrap().to_markdown();
    assert!(markdown.starts_with("### kvdyno: regressed: "), "{markdown:.200}");
    assert!(markdown.find("−50.0 %").unwrap() < markdown.find("<details>").unwrap());
    assert!(markdown.contains("l\\|s&lt;b&gt;m") && !markdown.contains("<b>"));
    assert!(markdown.len() < 60_000, "{} bytes", markdown.len());
}

#[test]
fn response_times_and_highest_rates_are_compared() {
    let mut head = sample::at_rate();
    for measurement in head.cells.iter_mut().filter_map(|cell| cell.measurement.as_mut()) {
        for response in measurement.operations.iter_mut().filter_map(|s| s.response.as_mut()) {
            response.p99_ns = response.p99_ns.map(|ns| ns * 3);
        }
    }
    let comparison = compare(&sample::at_rate(), &head, &CompareOptions::default()).unwrap();
    let worse: Vec<_> = comparison.changes.iter().filter(|c| c.is_regression()).collect();
    assert!(!worse.is_empty() && worse.iter().all(|c| c.metric == Metric::ResponseP99));
    let mut head = sample::sweep();
    for measurement in head.cells.iter_mut().filter_map(|cell| cell.measurement.as_mut()) {
        measurement.slo.as_mut().unwrap().highest_ops_per_s = Some(1000.0);
    }
    let comparison = compare(&sample::sweep(), &head, &CompareOptions::default()).unwrap();
    let worse: Vec<_> = comparison.changes.iter().filter(|c| c.is_regression()).collect();
    assert!(!worse.is_empty() && worse.iter().all(|c| c.metric == Metric::HighestRate));
}
