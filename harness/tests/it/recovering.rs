//! `kvdyno recover` and `kvdyno check` on real engines: real kills, real files.

use std::path::Path;

use kvdyno_reports::{Cell, CellStatus, LogSize, PageCache, Phase, RecoveryEnding, RunStatus};

use crate::program::{errors_of, expect_status, output_of, result_in};

const FOUR: &str = "bitcask,lsm,fjall,lmdb";

/// The recovery cells of a run that ended well.
fn recoveries(dir: &Path, arguments: &[&str]) -> (Vec<Cell>, Vec<String>) {
    let arguments: Vec<&str> = ["recover", "--out", "out", "--quiet", "--reads-wait", "1s"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    expect_status(dir, &arguments, 0);
    let result = result_in(&dir.join("out"));
    assert_eq!(result.run.status, RunStatus::Complete);
    assert_eq!(result.cells.len() as u64, result.run.cells_planned);
    let cells = result.cells.into_iter().filter(|cell| cell.phase == Phase::Recover).collect();
    (cells, result.run.warnings)
}

#[test]
fn killed_stores_are_recovered_cold_with_hints_missing_and_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["--engine", "bitcask,lsm", "--records", "20k", "--written", "30%"];
    arguments.extend(["--set", "bitcask.segment_mib=1", "--cache", "cold"]);
    arguments.extend(["--scenario", "kill,hints-missing,hints-damaged"]);
    let (cells, warnings) = recoveries(dir.path(), &arguments);
    assert_eq!(cells.len(), 6);
    for cell in &cells {
        let scenario = cell.scenario.unwrap();
        assert_eq!(scenario.page_cache, PageCache::Cold);
        if cell.engine == "lsm" && scenario.ending != RecoveryEnding::Kill {
            assert_eq!(
                cell.status,
                CellStatus::Unsupported,
                "hints that are not there were damaged"
            );
            assert!(cell.error.as_ref().unwrap().contains("lsm has no hint files"), "{cell:?}");
            continue;
        }
        assert_eq!(cell.status, CellStatus::Ok, "{scenario:?}: {:?}", cell.error);
        let recovery = cell.recovery.as_ref().unwrap();
        assert_eq!((recovery.records_verified, recovery.records_lost), (20_000, 0));
        assert!(recovery.written_bytes.unwrap() >= 600_000, "{recovery:?}");
        assert!(recovery.acknowledged_writes > 6000 && recovery.written_s > 0.0);
        assert!(recovery.open_ms > 0.0 && recovery.first_read_ms >= recovery.open_ms);
        assert!(recovery.reads_before_ops_per_s.unwrap() > 0.0);
        assert!(recovery.to_90_percent_ms.is_none_or(|ms| ms >= recovery.first_read_ms));
        let resident = recovery.resident_share_before.unwrap();
        let in_memory = warnings.iter().any(|warning| warning.contains("the stores lie in memory"));
        if in_memory {
            eprintln!("skipped: pages of {} cannot be dropped", dir.path().display());
        } else {
            assert!(resident < 0.05, "{resident} of the store was in memory: {scenario:?}");
            assert!(recovery.device_bytes_read.is_none_or(|bytes| bytes > 0), "{recovery:?}");
        }
    }
}

#[test]
fn cleanly_closed_stores_are_reopened_at_every_size() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["--engine", "fjall,lmdb,memory", "--records", "500,1k"];
    arguments.extend(["--written", "50%", "--threads", "2", "--durability", "sync"]);
    arguments.extend(["--cache", "warm", "--scenario", "clean"]);
    let (cells, _) = recoveries(dir.path(), &arguments);
    assert_eq!(cells.len(), 6);
    for cell in cells {
        if cell.engine == "memory" {
            assert_eq!(cell.status, CellStatus::Unsupported);
            continue;
        }
        assert_eq!(cell.status, CellStatus::Ok, "{:?}", cell.error);
        let recovery = cell.recovery.as_ref().unwrap();
        assert_eq!(recovery.records_verified, cell.records);
        assert!(recovery.acknowledged_writes >= cell.records / 2, "{recovery:?}");
    }
}

#[test]
fn recovery_is_measured_over_the_size_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["--engine", "lsm", "--records", "2k", "--written", "50%,64KiB,300%"];
    arguments.extend(["--scenario", "clean", "--cache", "warm"]);
    let (cells, _) = recoveries(dir.path(), &arguments);
    let amounts =
        [LogSize::DataPpm(500_000), LogSize::Bytes(64 << 10), LogSize::DataPpm(3_000_000)];
    assert_eq!(cells.len(), 3);
    let record_bytes = 2000 * 100;
    for (cell, (amount, least)) in
        cells.iter().zip(amounts.into_iter().zip([record_bytes / 2, 64 << 10, record_bytes * 3]))
    {
        assert_eq!(cell.status, CellStatus::Ok, "{:?}", cell.error);
        assert_eq!(cell.scenario.unwrap().written, Some(amount));
        let written = cell.recovery.as_ref().unwrap().written_bytes.unwrap();
        assert!(written >= least && written < least * 2, "{written} written for {amount}");
    }
    let twice = ["recover", "--engine", "lsm", "--written", "1MiB,1024KiB", "--out", "twice"];
    let errors = errors_of(&expect_status(dir.path(), &twice, 2));
    assert!(errors.contains("--written names '1 MiB' twice"), "{errors}");
}

#[test]
fn pages_that_stay_in_memory_are_told() {
    let memory = Path::new("/dev/shm");
    let Ok(stores) = tempfile::Builder::new().prefix("kvdyno-test-").tempdir_in(memory) else {
        eprintln!("skipped: {} cannot be written", memory.display());
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["--engine", "lmdb", "--records", "1k", "--written", "64KiB"];
    arguments.extend(["--cache", "cold", "--scenario", "clean"]);
    arguments.extend(["--dir", stores.path().to_str().unwrap()]);
    let (cells, warnings) = recoveries(dir.path(), &arguments);
    let resident = cells[0].recovery.as_ref().unwrap().resident_share_before.unwrap();
    let told = warnings.iter().any(|warning| warning.contains("not cold"));
    assert_eq!(told, resident > 0.05, "{resident}: {warnings:?}");
    assert!(resident > 0.9, "a file system in memory lost its pages");
}

#[test]
fn acknowledged_writes_survive_one_kill_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["check", "--engine", FOUR, "--durability", "os", "--rounds", "3", "--json"];
    let output = expect_status(dir.path(), &arguments, 0);
    let checks: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = checks.as_array().unwrap();
    assert_eq!(checks.len(), 4);
    for check in checks {
        assert_eq!(check["check"]["kept"], true, "{check}");
        assert!(check["check"]["acknowledgements"].as_u64().unwrap() >= 3000, "{check}");
    }
}

#[test]
fn every_engine_of_class_sync_syncs_before_it_acknowledges() {
    let dir = tempfile::tempdir().unwrap();
    let output = output_of(dir.path(), &["check", "--engine", FOUR, "--durability", "sync"]);
    let printed = String::from_utf8_lossy(&output.stdout);
    if printed.contains("(ptrace: ") {
        eprintln!("skipped: {printed}");
        assert_eq!(output.status.code(), Some(1), "what could not be checked passed");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{printed}{}", errors_of(&output));
    let kept = printed.lines().filter(|line| line.contains("before each of 300 acknowledgements"));
    assert_eq!(kept.count(), 4, "{printed}");
}

#[test]
fn what_no_engine_can_recover_from_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], said: &str| {
        let errors = errors_of(&expect_status(dir.path(), arguments, 2));
        assert!(errors.contains(said), "{errors}");
        assert!(!dir.path().join("kvdyno-out").exists(), "results of nothing were written");
    };
    refused(&["recover", "--engine", "memory"], "memory: nothing is stored");
    let both = "memory: nothing is stored; noop: nothing is stored";
    refused(&["recover", "--engine", "memory,noop"], both);
    let hints = ["recover", "--engine", "lsm,lmdb", "--scenario", "hints-missing,hints-damaged"];
    refused(&hints, "lsm: lsm has no hint files; lmdb: lmdb has no hint files");
}

#[test]
fn engines_that_store_nothing_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let output = expect_status(dir.path(), &["check", "--engine", "memory,noop"], 0);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed.matches("skipped").count(), 6, "{printed}");
}

#[test]
fn a_run_that_checks_its_class_says_what_it_saw() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "ycsb-c", "--engine", "bitcask,lsm", "--check-durability"];
    arguments.extend(["--records", "1k", "--operations", "1k", "--out", "out", "--quiet"]);
    expect_status(dir.path(), &arguments, 0);
    for engine in result_in(&dir.path().join("out")).engines {
        let check = engine.durability_check.unwrap();
        assert_eq!(check.kept, Some(true), "{}: {}", engine.name, check.note);
    }
}
