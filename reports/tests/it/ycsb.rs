//! Text as YCSB prints it, and Markdown.

use kvdyno_reports::{ResultFile, RunStatus, markdown_report, ycsb_text};

use crate::sample;

/// What a script written for YCSB takes from a line: `[READ], Operations, 100`.
fn figure(text: &str, section: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let mut parts = line.split(", ");
        let matches = parts.next() == Some(section) && parts.next() == Some(name);
        matches.then(|| parts.next().unwrap().parse().unwrap())
    })
}

fn one(result: ResultFile, engine: &str, workload: &str) -> ResultFile {
    let mut result = result;
    result.cells.retain(|cell| {
        cell.engine == engine
            && cell.workload == workload
            && cell.trial == 1
            && cell.recovery.is_none()
    });
    assert_eq!(result.cells.len(), 1);
    result
}

#[test]
fn scripts_written_for_ycsb_find_their_figures() {
    let result = one(sample::quick(), "lsm", "ycsb-f");
    let text = ycsb_text(&result);
    let measurement = result.cells[0].measurement.as_ref().unwrap();
    assert_eq!(
        figure(&text, "[OVERALL]", "Throughput(ops/sec)"),
        Some(measurement.throughput_ops_per_s)
    );
    let runtime = figure(&text, "[OVERALL]", "RunTime(ms)").unwrap();
    assert!((runtime - measurement.duration_s * 1e3).abs() <= 0.5);
    for (section, stats) in ["[READ]", "[READ-MODIFY-WRITE]"].iter().zip(&measurement.operations) {
        let told = |name| figure(&text, section, name).unwrap();
        let us = |ns: u64| ns as f64 / 1e3;
        assert_eq!(told("Operations") as u64, stats.operations);
        assert_eq!(told("Return=OK") as u64, stats.operations);
        assert_eq!(told("MinLatency(us)"), us(stats.service.min_ns));
        assert_eq!(told("MaxLatency(us)"), us(stats.service.max_ns));
        assert_eq!(told("50thPercentileLatency(us)"), us(stats.service.p50_ns));
        assert_eq!(told("95thPercentileLatency(us)"), us(stats.service.p95_ns.unwrap()));
        assert_eq!(told("99thPercentileLatency(us)"), us(stats.service.p99_ns.unwrap()));
        assert!((told("AverageLatency(us)") - stats.service.mean_ns / 1e3).abs() < 0.001);
    }
    assert!(!text.contains("[ALL]") && !text.contains("Intended"));
}

#[test]
fn reads_of_what_is_not_there_have_the_status_that_ycsb_gives_them() {
    let mut result = one(sample::quick(), "lsm", "ycsb-c");
    let measurement = result.cells[0].measurement.as_mut().unwrap();
    measurement.operations[0].kind = "read_absent".to_owned();
    let stats = measurement.operations[0].clone();
    let text = ycsb_text(&result);
    let count = stats.operations as f64;
    assert_eq!(figure(&text, "[READ]", "Return=NOT_FOUND"), Some(count));
    assert_eq!(figure(&text, "[READ-NOT_FOUND]", "Operations"), Some(count));
    let p50 = figure(&text, "[READ-NOT_FOUND]", "50thPercentileLatency(us)");
    assert_eq!(p50, Some(stats.service.p50_ns as f64 / 1e3));
    assert!(!text.contains("Return=OK") && !text.contains("ERROR"), "{text}");
}

#[test]
fn response_times_are_the_intended_ones() {
    let result = one(sample::at_rate(), "lsm", "ycsb-a");
    let text = ycsb_text(&result);
    let response = result.cells[0].measurement.as_ref().unwrap().operations[0].response.clone();
    let told = figure(&text, "[Intended-READ]", "99thPercentileLatency(us)").unwrap();
    assert_eq!(told, response.unwrap().p99_ns.unwrap() as f64 / 1e3);
}

#[test]
fn cells_are_headed_and_those_without_figures_say_why() {
    let text = ycsb_text(&sample::quick());
    assert!(
        text.contains("# lsm ycsb-a run (class os, 1 thread, 100,000 records of 1,000 B) trial 2")
    );
    assert!(text.contains("# not measured: bitcask has no range scans"));
    assert!(text.lines().all(|line| line.starts_with(['#', '['])));
}

#[test]
fn markdown_holds_verdict_and_tables_and_no_foreign_markup() {
    let mut result = sample::at_rate();
    result.engines[1].name = "l|s<b>m".to_owned();
    for cell in result.cells.iter_mut().filter(|cell| cell.engine == "lsm") {
        cell.engine = "l|s<b>m".to_owned();
    }
    let text = markdown_report(&[result, sample::recoveries()]).unwrap();
    assert!(text.starts_with("### kvdyno: "), "{text:.80}");
    assert!(text.contains("| engine | rate | ops/s | resp p50 | resp p99 |"), "{text}");
    assert!(text.contains("target not reached"));
    assert!(text.contains("kill -9, hints removed, warm cache"));
    assert!(text.contains("l\\|s&lt;b&gt;m") && !text.contains("<b>"));
    assert!(markdown_report(&[]).is_err());
}

#[test]
fn markdown_tells_of_a_run_that_did_not_end() {
    let mut result = sample::quick();
    assert!(!markdown_report(&[result.clone()]).unwrap().contains("planned cells"));
    result.run.status = RunStatus::Running;
    let text = markdown_report(&[result]).unwrap();
    assert!(
        text.contains("\n- unfinished: ") && text.contains(" planned cells finished"),
        "{text}"
    );
}
