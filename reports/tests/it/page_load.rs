//! What the page tells of offered rates, recovery over sizes, the machine, and the durability classes.

use kvdyno_reports::{Cell, Phase, ResultFile};

use crate::page::{page, section};
use crate::sample;

#[test]
fn under_a_rate_response_time_stands_beside_service_time_and_a_missed_target_is_said() {
    let html = page(&[sample::at_rate()]);
    let offered = section(&html, "offered");
    assert!(offered.contains("ycsb-a at 300 k/s"));
    assert!(offered.contains("operations due at random gaps"));
    assert_eq!(offered.matches("<small>response</small>").count(), 5);
    assert_eq!(offered.matches("<small>service</small>").count(), 5);
    assert!(offered.contains("never done") && offered.contains("<td>0</td>"));
    let missed = |html: &str| html.matches("target not reached").count();
    assert!(missed(offered) > 0);
    let scores = section(&html, "scores");
    assert!(missed(scores) > 0 && scores.contains("p99 of the response time"));
    assert!(html.contains("id=\"ycsb-a-at-300-k-s-percentiles\""));
    assert!(html.contains("id=\"ycsb-a-at-300-k-s-service-percentiles\""));
    assert!(html.contains("memory limit: 4.29 GB a process"));
    assert!(html.contains("workloads follow one another on one store, in this order: ycsb-a"));
}

#[test]
fn closed_and_open_loops_share_neither_chart_nor_ratio() {
    let mut rated = sample::at_rate();
    let mut result = sample::quick();
    let runs = |cell: &Cell| cell.phase == Phase::Run && cell.workload == "ycsb-a";
    rated.cells.retain(runs);
    result.cells.retain(|cell| runs(cell) && cell.engine == "lsm");
    result.cells.extend(rated.cells.into_iter().filter(|cell| cell.engine == "bitcask"));
    let html = page(&[result]);
    let scores = section(&html, "scores");
    assert!(scores.contains(">ycsb-a</th>") && scores.contains(">ycsb-a at 300 k/s</th>"));
    assert!(html.contains("without a rival"), "nobody is faster than the other");
    let chart = |name: &str| {
        let start = html.find(&format!("id=\"{name}\"")).unwrap_or_else(|| panic!("no {name}"));
        let rest = &html[start..];
        rest[..rest.find("</svg>").unwrap()].to_owned()
    };
    assert!(!chart("ycsb-a-percentiles").contains("bitcask"));
    assert!(!chart("ycsb-a-at-300-k-s-percentiles").contains("lsm"));
}

#[test]
fn sweep_has_a_curve_and_says_how_far_the_bound_holds() {
    let html = page(&[sample::sweep()]);
    assert!(html.contains("id=\"ycsb-a-rates\""));
    let offered = section(&html, "offered");
    assert!(offered.contains("holds p99&lt;1ms up to "), "{offered}");
    assert!(offered.contains(" ops/s; breaks it at "));
    assert!(html.contains("not reached</td>"));
    assert!(html.contains("p99 of the response time"));
}

#[test]
fn recovery_is_told_over_sizes_with_its_slope() {
    let html = page(&[sample::recoveries()]);
    let study = section(&html, "study");
    for words in [
        "clean close, warm cache",
        "kill -9, cold cache",
        "kill -9, hints removed, warm cache",
        "kill -9, hints damaged, warm cache",
        "not supported: no files that make recovery faster",
        "10,000,000",
        "to 90 %",
    ] {
        assert!(study.contains(words), "{words}");
    }
    assert_eq!(study.matches("<svg").count(), 5, "a chart a scenario");
    assert!(html.contains("id=\"recovery-over-size-kill-9-warm-cache\""));
    assert!(html.contains("A GiB more costs "));
}

#[test]
fn recovery_is_told_over_the_size_of_the_log() {
    let html = page(&[sample::log_sizes()]);
    assert!(html.contains(
        "<h1>Recovery of lmdb and lsm was measured in 1 scenario at 1 size and 3 log sizes.</h1>"
    ));
    let study = section(&html, "study");
    assert!(study.contains("kill -9, warm cache, 12.5 % of the data written"));
    assert_eq!(study.matches("<svg").count(), 1, "one size has no curve over sizes");
    let name = "recovery-over-log-kill-9-warm-cache-1-000-000-records";
    assert!(html.contains(&format!("id=\"{name}\"")));
    assert!(html.contains("A GiB more written costs 1.02 s on lsm and nothing on lmdb."));
    let plain = kvdyno_reports::TerminalOptions { width: 120, color: false };
    let text = kvdyno_reports::terminal_table(&sample::log_sizes(), plain);
    assert!(text.contains("lsm: a GiB more written costs 1.02 s until the first read"), "{text}");
}

#[test]
fn writes_lost_under_a_scenario_are_said_first() {
    let mut result = sample::recoveries();
    assert!(page(&[result.clone()]).contains(
        "<h1>Recovery of bitcask, lmdb and lsm was measured in 5 scenarios at 3 sizes.</h1>"
    ));
    let cell = result.cells.iter_mut().find(|cell| cell.engine == "lsm").unwrap();
    cell.status = kvdyno_reports::CellStatus::LostWrite;
    cell.error = Some("2 of 33,333 records older than acknowledged".to_owned());
    let html = page(&[result]);
    assert!(
        html.contains("<h1>Wrong or lost data on lsm."),
        "{:.300}",
        &html[html.find("<h1>").unwrap()..]
    );
    assert!(section(&html, "study").contains("lost writes: 2 of 33,333 records"));
}

#[test]
fn plain_recoveries_and_studies_are_kept_apart() {
    let mut result = sample::quick();
    result.cells.extend(sample::recoveries().cells);
    let html = page(&[result]);
    assert!(section(&html, "recoveries").contains("after kill -9"));
    assert!(!section(&html, "recoveries").contains("clean close, warm cache"));
    assert!(section(&html, "study").contains("clean close, warm cache"));
}

#[test]
fn machine_and_conditions_are_told() {
    let html = page(&[sample::quick()]);
    let environment = section(&html, "environment");
    for words in [
        "97.0 to 97.0 % of a store's bytes were in memory",
        "9.80 µs a page, 310 ns when touched again",
        "a sleeping thread woke up to 3.20 ms too late",
        "content, which costs 14 ns an operation outside the timed section",
        "of it timed",
        "none: all of the machine",
        "each workload that writes starts from a fresh copy",
    ] {
        assert!(environment.contains(words), "{words}\n{environment}");
    }
    assert!(html.contains("machine stood still"));
}

#[test]
fn durability_checks_are_told_as_kept_broken_or_impossible() {
    let html = page(&[sample::quick()]);
    let fairness = section(&html, "fairness");
    assert_eq!(fairness.matches("✓ kept").count(), 2);
    assert!(fairness.contains("✗ broken</strong>: 7 of 20,000 acknowledged writes were gone."));
    assert!(fairness.contains("could not be checked</strong>: system calls cannot be traced"));
    assert!(fairness.contains("3 sync calls and 2 device flushes"));
    assert!(fairness.contains("not checked"));
    assert!(html.contains("✗ durability class broken on fjall</li>"));
}

#[test]
fn stalls_that_nobody_tells_are_not_zero() {
    let mut result = sample::quick();
    result.cells.retain(|cell| cell.workload == "ycsb-a");
    let html = page(&[result]);
    let details = section(&html, "details");
    let row = |engine: &str| {
        let start = details.find(&format!(">{engine}</span>")).unwrap();
        details[start..].split("</tr>").next().unwrap().to_owned()
    };
    let cells = |engine: &str| row(engine).split("<td>").map(str::to_owned).collect::<Vec<_>>();
    let stalls = cells("lsm").iter().position(|cell| cell.starts_with("1 <small>")).unwrap();
    assert!(cells("lmdb")[stalls].contains("n/a"), "{}", cells("lmdb")[stalls]);
}

#[test]
fn nine_engines_are_told_apart_and_variants_are_engines() {
    let result: ResultFile = sample::many();
    let html = page(&[result]);
    assert!(html.len() < 1_500_000, "{} bytes", html.len());
    assert!(section(&html, "scores").contains(">rocksdb@mmap</span>"));
    let marks: std::collections::BTreeSet<&str> = section(&html, "fairness")
        .split("<span class=\"engine ")
        .skip(1)
        .map(|rest| rest.split('>').next().unwrap())
        .collect();
    assert_eq!(marks.len(), 9, "colour and shape tell each from the others: {marks:?}");
}
