//! Suite files: what they may hold, by the program and by the JSON Schema alike, and what comes of them.

use std::collections::BTreeSet;
use std::fs;

use kvdyno_reports::{CellStatus, Durability, Phase, ResultFile, StoreUse};

use crate::program::{errors_of, expect_status, output_of, result_in};

/// Whether the schema takes the file.
fn schema_takes(text: &str) -> bool {
    let schema = include_str!("../../schema/suite.schema.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let Ok(table) = toml::from_str::<toml::Value>(text) else { return false };
    validator.is_valid(&serde_json::to_value(table).unwrap())
}

/// What the program says to the file: its errors, nothing if it takes it. It never gets as far as running: the room for a store is refused last.
fn refusal(text: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine.toml"), text).unwrap();
    fs::write(dir.path().join("workloadx"), "recordcount=10\nreadproportion=1\n").unwrap();
    fs::write(dir.path().join("theirs"), "in the way").unwrap();
    let output = output_of(dir.path(), &["run", "mine.toml", "--dir", "theirs"]);
    assert_eq!(output.status.code(), Some(2), "{}", errors_of(&output));
    let errors = errors_of(&output);
    assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
    (!errors.contains("--dir theirs")).then_some(errors)
}

/// The example of the documentation.
fn documented() -> String {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/suites.md")).unwrap();
    let (_, example) = text.split_once("```toml\n").unwrap();
    example.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_program_and_the_schema_take_the_same_files() {
    let workloads = "workloads = [\"ycsb-a\"]\n";
    let good = [
        documented().replace("\"1M\", \"10M\"", "1000"),
        workloads.to_owned(),
        format!("{workloads}engines = [\"all\"]\nrecords = 5\nvalue_size = [0, 10]\nthreads = \"2\""),
        format!("{workloads}warm_up = 0\nduration = 1.5\nseed = 0\ncell_timeout = \"2m\""),
        format!("{workloads}rate = 0.5\narrivals = \"constant\"\nmemory_limit = 4096"),
        format!("{workloads}slo = \"max<50ms\"\nwarm_up = \"steady\"\nverify = \"none\""),
        "workloads = [\"workloadx\", \"ycsb-d\", \"recovery\"]".to_owned(),
        "workloads = [\"ycsb-a\", \"reload\", \"ycsb-e\"]\nstores = \"chain\"".to_owned(),
        "workloads = [\"x\"]\n[workload.x]\nbase = \"workloadx\"\ndistribution = \"latest\"\nrecords = 7".to_owned(),
    ];
    for text in &good {
        assert_eq!(refusal(text), None, "{text}");
        assert!(schema_takes(text), "the schema refuses {text}");
    }
    for name in ["quick", "ycsb", "ycsb-chain", "timeseries", "bitcask-vs-lsm", "full"] {
        let dir = tempfile::tempdir().unwrap();
        let printed = expect_status(dir.path(), &["list", "suites", name], 0).stdout;
        let also = expect_status(dir.path(), &["run", name, "--print-suite"], 0).stdout;
        assert_eq!(printed, also);
        assert!(schema_takes(&String::from_utf8(printed).unwrap()), "{name}");
    }
}

#[test]
fn the_suite_of_everything_names_every_built_in_workload() {
    let suite: toml::Table = toml::from_str(include_str!("../../suites/full.toml")).unwrap();
    let named: BTreeSet<&str> =
        suite["workloads"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
    let builtins = kvdyno_workloads::WorkloadSpec::builtins();
    let all = builtins.iter().map(|spec| spec.name.as_str()).chain(["recovery"]);
    assert_eq!(named, all.collect::<BTreeSet<_>>());
}

#[test]
fn what_is_wrong_in_a_suite_file_is_refused_by_line_and_key_and_by_the_schema() {
    let after = |text: &str| format!("workloads = [\"ycsb-a\"]\n{text}\n");
    let hot = |text: &str| format!("workloads = [\"hot\"]\n[workload.hot]\n{text}\n");
    let bad: &[(String, &[&str])] = &[
        (after("recrods = 5"), &["mine.toml:2", "did you mean 'records'"]),
        (after("records = -5"), &["mine.toml:2", "records = -5", "not negative"]),
        (after("records = []"), &["mine.toml:2", "records", "empty"]),
        (after("records = [5, true]"), &["mine.toml:2", "records", "boolean"]),
        (after("threads = 0"), &["mine.toml:2", "threads", "at least 1"]),
        (after("threads = 1.5"), &["mine.toml:2", "threads", "whole number"]),
        (after("durability = \"syn\""), &["mine.toml:2", "durability", "did you mean 'sync'"]),
        (after("verify = 3"), &["mine.toml:2", "verify", "none, sample, content"]),
        (after("operations = 5\nduration = 3"), &["mine.toml:2", "operations", "duration"]),
        (after("rate = 5\nslo = \"p99<1ms\""), &["mine.toml:2", "rate", "slo"]),
        (after("name = \"a/b\""), &["mine.toml:2", "name"]),
        (after("keep_stores = \"yes\""), &["mine.toml:2", "keep_stores", "boolean"]),
        (
            after("[engine.lsm]\nwrite_buffer_mib = 1"),
            &["mine.toml:3", "write_buffer_mib", "options"],
        ),
        (after("[variant.small.options]\nwrite_buffer_mib = 1"), &["mine.toml:2", "lsm@small"]),
        ("workloads = []".to_owned(), &["mine.toml:1", "workloads", "empty"]),
        ("workloads = \"ycsb-a\"".to_owned(), &["mine.toml:1", "workloads", "list"]),
        ("workloads = [\"ycsb-a\"".to_owned(), &["mine.toml:1", "unclosed"]),
        (after("engines = [\"lsm\", \"lsm\"]"), &["mine.toml:2", "engines", "'lsm' twice"]),
        (hot("theta = 1.0"), &["mine.toml:2", "base"]),
        (hot("base = \"ycsb-a\"\ntheta = -1.0"), &["mine.toml:3", "theta"]),
        (
            hot("base = \"ycsb-a\"\ntheta = 1.0\ndistribution = \"uniform\""),
            &["mine.toml:5", "distribution"],
        ),
        (
            hot("base = \"ycsb-a\"\ndistribution = \"zipfan\""),
            &["mine.toml:4", "zipfan", "zipfian"],
        ),
        (
            hot("base = \"ycsb-a\"\nscan_length = { kind = \"uniform\", min = 5 }"),
            &["mine.toml:4", "max"],
        ),
    ];
    for (text, said) in bad {
        let errors = refusal(text).unwrap_or_else(|| panic!("the program takes {text}"));
        for words in *said {
            assert!(errors.contains(words), "'{words}' is missing in: {errors}");
        }
        assert!(!schema_takes(text), "the schema takes {text}");
    }
}

#[test]
fn names_that_only_the_program_can_know_are_refused_by_line() {
    let bad: &[(&str, &[&str])] = &[
        ("\nworkloads = [\"ycbs-a\"]", &["mine.toml:2", "did you mean 'ycsb-a'"]),
        ("workloads = [\"quick\"]", &["mine.toml:1", "'quick' is a suite"]),
        ("workloads = [\"ycsb-a\",\n\"ycsb-a\"]", &["mine.toml:2: ", "ycsb-a", "twice"]),
        ("workloads = [\"ycsb-a\",\n\"reload\", \"ycsb-b\"]", &["mine.toml:2: ", "--chain"]),
        (
            "stores = \"chain\"\nworkloads = [\"ycsb-a\",\n\"reload\"]",
            &["mine.toml:3: ", "'reload' stands between"],
        ),
        (
            "stores = \"chain\"\nworkloads = [\"ycsb-a\",\n\n\"recovery\"]",
            &["mine.toml:4: ", "'recovery' needs"],
        ),
        (
            "stores = \"chain\"\nworkloads = [\"ycsb-d\",\n\"ycsb-e\"]",
            &["mine.toml:3: ", "'ycsb-e' inserts records that 'ycsb-d'"],
        ),
        (
            "workloads = [\"ycsb-a\"]\nengines = [\"lsm\",\n \"lsn\"]",
            &["mine.toml:3", "did you mean 'lsm'"],
        ),
        ("workloads = [\"ycsb-a\"]\nthreads = [1, 100]", &["mine.toml:2", "threads 100", "64"]),
        ("workloads = [\"ycsb-a\"]\nrecords = \"9999G\"", &["mine.toml:2", "records", "at most"]),
        ("workloads = [\"ycsb-a\"]\ntrials = 100000", &["cells", "at most 10000"]),
        (
            "workloads = [\"ycsb-a\"]\n[engine.lsm.options]\nwrite_bufer_mib = 1",
            &["mine.toml:3", "did you mean 'write_buffer_mib'"],
        ),
        (
            "workloads = [\"ycsb-a\"]\n[variant.\"lsmm@x\".options]\n",
            &["mine.toml:2", "did you mean 'lsm'"],
        ),
        (
            "workloads = [\"hot\"]\n[workload.hot]\nbase = \"ycsb-a\"\nmix = { raed = 1 }",
            &["mine.toml:4", "did you mean 'read'"],
        ),
        ("workloads = [\"hot\"]\n[workload.hot]\nbase = \"nowhere\"", &["mine.toml:3", "nowhere"]),
        (
            "workloads = [\"ycsb-a\"]\n[workload.recovery]\nbase = \"ycsb-a\"",
            &["mine.toml:2", "another name"],
        ),
        (
            "workloads = [\"gone\", \"ycsb-c\"]\nstores = \"chain\"\n[workload.gone]\nbase = \"ycsb-a\"\nmix = { delete = 1 }",
            &["mine.toml:1: ", "'gone' removes records", "put 'reload' after it"],
        ),
    ];
    for (text, said) in bad {
        let errors = refusal(text).unwrap_or_else(|| panic!("the program takes {text}"));
        for words in *said {
            assert!(errors.contains(words), "'{words}' is missing in: {errors}");
        }
    }
}

#[test]
fn a_matrix_is_run_whole_and_each_size_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let suite = "engines = [\"bitcask\", \"lsm@small\"]\nworkloads = [\"hot\", \"ts-mixed\"]\n\
                 records = [2000, 3000]\nvalue_size = [50, 100]\nthreads = [1, 2]\ndurability = [\"os\", \"sync\"]\n\
                 operations = 300\n[variant.\"lsm@small\".options]\nwrite_buffer_mib = 1\n\
                 [workload.hot]\nbase = \"ycsb-a\"\ntheta = 1.2\nmix = { read = 0.9, update = 0.1 }\n";
    fs::write(dir.path().join("mine.toml"), suite).unwrap();
    let arguments =
        ["run", "mine.toml", "--quiet", "--out", "out", "--durability", "os", "--records", "2k,4k"];
    expect_status(dir.path(), &arguments, 0);
    let result = result_in(&dir.path().join("out"));
    assert_eq!(result.run.suite, "mine");
    assert_eq!(result.cells.len() as u64, result.run.cells_planned);
    let points: BTreeSet<_> = result
        .cells
        .iter()
        .filter(|cell| {
            cell.phase == Phase::Run && cell.engine == "lsm@small" && cell.workload == "hot"
        })
        .map(|cell| (cell.durability, cell.threads, cell.records, cell.value_bytes))
        .collect();
    assert_eq!(points.len(), 8, "{points:?}");
    assert!(points.iter().all(|(durability, _, records, _)| {
        *durability == Durability::Os && [2000, 4000].contains(records)
    }));
    assert_eq!(result.workloads.len(), 8, "two workloads in four sizes");
    for cell in result.cells.iter().filter(|cell| cell.phase == Phase::Run) {
        assert_eq!(result.workloads.iter().filter(|info| info.is_of(cell)).count(), 1);
    }
    let small = result.engines.iter().find(|engine| engine.name == "lsm@small").unwrap();
    assert_eq!(small.options["write_buffer_mib"], "1");
    expect_status(dir.path(), &["compare", "out", "out", "--threshold", "5"], 0);
}

/// Live bytes of a cell.
fn live_bytes(result: &ResultFile, workload: &str) -> u64 {
    let cell =
        result.cells.iter().find(|cell| cell.workload == workload && cell.engine == "bitcask");
    cell.unwrap().measurement.as_ref().unwrap().amplification.live_bytes
}

#[test]
fn a_chain_goes_on_with_the_store_that_the_workload_before_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments =
        vec!["run", "ycsb-d", "ycsb-c", "reload", "ycsb-b", "ycsb-e", "--chain", "--quiet"];
    arguments.extend(["--engine", "bitcask", "--records", "1000", "--operations", "2000"]);
    arguments.extend(["--value-size", "100", "--out", "out"]);
    expect_status(dir.path(), &arguments, 0);
    let result = result_in(&dir.path().join("out"));
    assert_eq!(result.run.stores, StoreUse::Chain);
    let of_engine = result.cells.iter().filter(|cell| cell.engine == "bitcask");
    let order: Vec<_> = of_engine.map(|cell| (cell.workload.as_str(), cell.status)).collect();
    let ok = CellStatus::Ok;
    assert_eq!(
        order,
        [
            ("load-ycsb-d", ok),
            ("ycsb-d", ok),
            ("ycsb-c", ok),
            ("load-ycsb-b", ok),
            ("ycsb-b", ok),
            ("ycsb-e", CellStatus::Unsupported)
        ]
    );
    let loaded = live_bytes(&result, "load-ycsb-d");
    assert!(live_bytes(&result, "ycsb-d") > loaded, "what was inserted does not count");
    assert_eq!(live_bytes(&result, "ycsb-c"), live_bytes(&result, "ycsb-d"));
    assert_eq!(live_bytes(&result, "ycsb-b"), loaded, "the store was not loaded again");
}

#[test]
fn kept_stores_are_told_and_left_alone_by_later_runs() {
    let dir = tempfile::tempdir().unwrap();
    let run = |out: &str, more: &[&str], status: i32| {
        let mut arguments =
            vec!["run", "ycsb-a", "ycsb-c", "--engine", "bitcask", "--records", "1000"];
        arguments.extend(["--operations", "500", "--dir", "stores", "--out", out]);
        arguments.extend(more);
        String::from_utf8(expect_status(dir.path(), &arguments, status).stdout).unwrap()
    };
    let printed = run("first", &["--keep-stores"], 0);
    assert!(printed.contains("Stores: stores/kept-custom-"), "{printed}");
    let warnings = result_in(&dir.path().join("first")).run.warnings;
    assert!(warnings.iter().any(|warning| warning.contains("stores/kept-custom-")), "{warnings:?}");
    let kept = || {
        let folder = fs::read_dir(dir.path().join("stores")).unwrap().flatten();
        let folder = folder.map(|entry| entry.path()).find(|path| path.is_dir()).unwrap();
        let names = fs::read_dir(folder).unwrap().flatten();
        names.map(|entry| entry.file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    let stores = kept();
    assert_eq!(stores.len(), 2, "the template and the copy of ycsb-a: {stores:?}");
    run("second", &[], 0);
    assert_eq!(kept(), stores, "a later run touched stores that were kept");
}

#[test]
fn the_time_left_is_told_once_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut arguments = vec!["run", "ycsb-c", "--engine", "bitcask", "--records", "1000"];
    arguments.extend(["--operations", "500", "--trials", "3", "--out", "out"]);
    let errors = errors_of(&expect_status(dir.path(), &arguments, 0));
    let first = errors.lines().find(|line| line.starts_with("[1/")).unwrap();
    assert!(first.contains("estimating"), "{first}");
    let sixth = errors.lines().find(|line| line.starts_with("[6/")).unwrap();
    assert!(sixth.contains("about ") && sixth.contains(" left"), "{sixth}");
}
