//! What an engine does wrong costs its own cell: it is told, the others are measured, and the exit status tells.

use kvdyno_reports::{CellStatus, Phase, ResultFile, RunStatus};

use crate::engines::AMPLIFICATION;
use crate::program::{Test, cell, expect_status, result_in};

pub(crate) const TESTS: &[Test] = &[
    ("what_an_engine_does_wrong_costs_its_own_cell", what_an_engine_does_wrong_costs_its_own_cell),
    ("wrong_data_is_found_and_gives_its_own_exit_status", wrong_data_is_found),
    (
        "a_known_write_amplification_comes_out_exactly",
        a_known_write_amplification_comes_out_exactly,
    ),
    ("a_stall_is_the_longest_service_time", a_stall_is_the_longest_service_time),
];

const SMALL: [&str; 8] =
    ["--records", "1000", "--operations", "1000", "--value-size", "100", "--out", "out"];

/// Runs `ycsb-a` on engines, and returns the result.
fn run(engines: &str, more: &[&str], status: i32) -> (tempfile::TempDir, ResultFile) {
    let dir = tempfile::tempdir().unwrap();
    let arguments = [&["run", "ycsb-a", "--engine", engines, "--quiet"], &SMALL[..], more].concat();
    expect_status(dir.path(), &arguments, status);
    let result = result_in(dir.path());
    assert_eq!(result.run.status, RunStatus::Complete);
    assert_eq!(result.cells.len() as u64, result.run.cells_planned);
    (dir, result)
}

fn what_an_engine_does_wrong_costs_its_own_cell() {
    // They load 1,000 records in both phases, as nothing is stored between them, and go wrong in the second one's own writes.
    let set = ["panics", "aborts", "hangs", "full"].map(|engine| format!("{engine}.at=1100"));
    let mut more = vec!["--cell-timeout", "4s"];
    more.extend(set.iter().flat_map(|set| ["--set", set.as_str()]));
    let (dir, result) = run("bitcask,panics,aborts,lsm,hangs,full", &more, 1);
    for engine in ["panics", "aborts", "hangs", "full", "bitcask", "lsm"] {
        assert_eq!(cell(&result, engine, Phase::Load).status, CellStatus::Ok, "{engine}");
    }
    for engine in ["bitcask", "lsm"] {
        assert_eq!(cell(&result, engine, Phase::Run).status, CellStatus::Ok, "{engine}");
    }
    let told = [
        ("panics", CellStatus::Failed, "the engine's own words"),
        ("aborts", CellStatus::Failed, "signal 6"),
        ("hangs", CellStatus::Timeout, "longer than 4s"),
        ("full", CellStatus::Failed, "cannot append to log: no storage space"),
    ];
    let page = std::fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    for (engine, status, words) in told {
        let cell = cell(&result, engine, Phase::Run);
        assert_eq!(cell.status, status, "{engine}");
        let error = cell.error.as_ref().unwrap();
        assert!(error.contains(words), "{engine}: {error}");
        let words = words.replace('\'', "&#39;");
        assert!(
            page.contains(&words) || page.contains(&words.replace("&#39;", "'")),
            "the report does not say '{words}'"
        );
    }
}

fn wrong_data_is_found() {
    let (_dir, result) = run("lies,panics,bitcask", &["--set", "lies.at=400"], 4);
    let lie = cell(&result, "lies", Phase::Load);
    assert_eq!(lie.status, CellStatus::WrongData);
    assert!(lie.error.as_ref().unwrap().contains("2 were missing"), "{:?}", lie.error);
    let after = cell(&result, "lies", Phase::Run);
    assert_eq!(after.status, CellStatus::Failed);
    assert!(after.error.as_ref().unwrap().contains("load before it failed"), "{:?}", after.error);
    assert_eq!(cell(&result, "bitcask", Phase::Run).status, CellStatus::Ok);
}

fn a_known_write_amplification_comes_out_exactly() {
    let (_dir, result) = run("amplifier", &["--threads", "2"], 0);
    for phase in [Phase::Load, Phase::Run] {
        let figures = cell(&result, "amplifier", phase).measurement.as_ref().unwrap();
        let user = figures.io.user_bytes_written;
        assert!(user > 0);
        let written = figures.io.engine_bytes_written_settled.as_ref().unwrap();
        assert_eq!(written["log"], AMPLIFICATION * user, "{phase:?}");
        assert_eq!(figures.amplification.write_end, Some(AMPLIFICATION as f64), "{phase:?}");
        assert_eq!(figures.amplification.write_settled, Some(AMPLIFICATION as f64), "{phase:?}");
    }
}

fn a_stall_is_the_longest_service_time() {
    // Past the load of 1,000 and the warm-up of 100 operations.
    let set = ["--set", "stalls.at=1600", "--set", "stalls.stall_ms=300"];
    let (_dir, result) = run("stalls", &set, 0);
    let figures = cell(&result, "stalls", Phase::Run).measurement.as_ref().unwrap();
    let all = figures.operations.last().unwrap();
    assert!((300_000_000..2_000_000_000).contains(&all.service.max_ns), "{}", all.service.max_ns);
    assert!(figures.duration_s >= 0.3);
}
