//! `kvdyno inspect`: what it shows of a store, whole or damaged, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvdyno_engines::bitcask::{Bitcask, MergePolicy, Options};
use kvdyno_engines::lsm::{self, Lsm};
use kvdyno_engines::storage::Disk;
use serde_json::Value;

use crate::program::{errors_of, expect_status};

/// A folder with a store in `store`: 50 keys in one data file, two of them deleted, one overwritten.
fn with_store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { compress_above_bytes: Some(200), ..Options::default() };
    let store = Bitcask::open(Disk, dir.path().join("store"), options).unwrap();
    for i in 0..50 {
        store.put(format!("key-{i:02}").as_bytes(), b"some value").unwrap();
    }
    store.put(b"key-07", &[b'x'; 300]).unwrap();
    store.put_expiring(b"\x00binary\"", b"line\n", Duration::from_hours(1)).unwrap();
    store.delete(b"key-08").unwrap();
    store.delete(b"key-09").unwrap();
    store.close().unwrap();
    dir
}

fn printed(dir: &Path, arguments: &[&str], status: i32) -> String {
    let output = expect_status(dir, arguments, status);
    String::from_utf8(output.stdout).unwrap()
}

fn data_file(dir: &Path) -> PathBuf {
    let named = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "data");
    let entries = fs::read_dir(dir.join("store")).unwrap();
    entries.map(|entry| entry.unwrap().path()).find(named).unwrap()
}

/// Flips a byte in the middle of the data file; returns its name.
fn damage(dir: &Path) -> String {
    let path = data_file(dir);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut content: Vec<_> = entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    content.sort();
    content
}

#[test]
fn a_store_is_shown_and_left_as_it_is() {
    let dir = with_store();
    let before = content(&dir.path().join("store"));
    let text = printed(dir.path(), &["inspect", "store"], 0);
    for said in ["sealed", "MANIFEST", "KEYDIR", "49 keys", "1 data file, 1 with hints", "--verify"]
    {
        assert!(text.contains(said), "'{said}' is missing in:\n{text}");
    }
    let text = printed(dir.path(), &["inspect", "store", "--verify"], 0);
    assert!(text.contains("Every byte was checked: no damage"), "{text}");
    let json: Value =
        serde_json::from_str(&printed(dir.path(), &["inspect", "store", "--verify", "--json"], 0))
            .unwrap();
    assert_eq!((&json["keys"], &json["every_byte"]), (&49.into(), &true.into()));
    let data = &json["files"][0]["data"];
    assert_eq!((&data["records"], &data["live_records"]), (&54.into(), &49.into()));
    assert_eq!((&data["expiring_values"], &data["compressed_values"]), (&1.into(), &1.into()));
    assert_eq!(json["damage"], Value::Array(Vec::new()));
    assert_eq!(content(&dir.path().join("store")), before);
}

/// Bytes that a record takes: header of the frame, kind and length of the key, key, value, and what fills the frame up to a multiple of eight.
fn record_bytes(key_bytes: u64, value_bytes: u64) -> u64 {
    (12 + 3 + key_bytes + value_bytes).next_multiple_of(8)
}

/// In one data file; each figure follows from what was written.
#[test]
fn live_and_dead_bytes_are_shown_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let store = Bitcask::open(Disk, dir.path().join("store"), Options::default()).unwrap();
    let key = |i: u64| format!("key-{i:02}").into_bytes();
    let value = |i: u64, times: u64| vec![b'v'; (i * times) as usize];
    for i in 0..60 {
        store.put(&key(i), &value(i, 3)).unwrap();
    }
    // Twenty are written again, ten of these and ten others deleted.
    (0..20).for_each(|i| store.put(&key(i), &value(i, 7)).unwrap());
    (10..30).for_each(|i| assert!(store.delete(&key(i)).unwrap()));
    store.close().unwrap();
    let first = |i: u64| record_bytes(6, 3 * i);
    let again = |i: u64| record_bytes(6, 7 * i);
    let live: u64 = (0..10).map(again).chain((30..60).map(first)).sum();
    let dead: u64 = (0..30).map(first).chain((10..20).map(again)).sum();
    let (tombstones, preface) = (20 * record_bytes(6, 0), 40);
    let used = preface + live + dead + tombstones;
    for look in [&["inspect", "store"][..], &["inspect", "store", "--verify"]] {
        let json = printed(dir.path(), &[look, &["--json"]].concat(), 0);
        let json: Value = serde_json::from_str(&json).unwrap();
        let data = &json["files"][0]["data"];
        for (name, figure) in [
            ("records", 100),
            ("values", 80),
            ("tombstones", 20),
            ("live_records", 40),
            ("live_bytes", live),
            ("dead_bytes", dead),
            ("tombstone_bytes", tombstones),
            ("used_bytes", used),
            ("torn_bytes", 0),
        ] {
            assert_eq!(data[name], figure, "{name} by {look:?}");
        }
        assert_eq!((&json["files"][0]["bytes"], &json["keys"]), (&used.into(), &40.into()));
        let text = printed(dir.path(), look, 0);
        let sums = format!("{used} bytes: {live} live, {dead} dead, {tombstones} of tombstones");
        assert!(text.contains(&format!("40 keys; 1 data file, 1 with hints; {sums}")), "{text}");
        let row = text.lines().find(|line| line.contains("sealed")).unwrap();
        let percent = (dead as f64 / (live + dead + tombstones) as f64 * 100.0).round();
        let cells: Vec<_> = row.split_whitespace().collect();
        let shown = [used, 100, 20, 40, live, dead].map(|figure| figure.to_string());
        assert_eq!(cells[2..8], shown, "{row}");
        assert_eq!(cells[8..10], [percent.to_string(), "%".to_owned()], "{row}");
    }
}

/// In several data files, before and after a merge: the bytes of all files are accounted for.
#[test]
fn live_and_dead_bytes_add_up_over_files_and_merges() {
    let dir = tempfile::tempdir().unwrap();
    let merge = MergePolicy { automatic: false, ..MergePolicy::default() };
    let options = Options { segment_bytes: 4096, merge, ..Options::default() };
    let store = Bitcask::open(Disk, dir.path().join("store"), options.clone()).unwrap();
    for round in 1..=3 {
        for i in 0..100 {
            store.put(format!("key-{i:02}").as_bytes(), &[round; 50]).unwrap();
        }
    }
    store.close().unwrap();
    let sums = || {
        let json = printed(dir.path(), &["inspect", "store", "--verify", "--json"], 0);
        let json: Value = serde_json::from_str(&json).unwrap();
        let files = json["files"].as_array().unwrap().clone();
        let data: Vec<_> = files.into_iter().filter(|file| file["data"].is_object()).collect();
        let sum = |name: &str| -> u64 {
            data.iter().map(|file| file["data"][name].as_u64().unwrap()).sum()
        };
        for file in &data {
            assert_eq!(file["bytes"], file["data"]["used_bytes"], "{file}");
        }
        (data.len() as u64, sum("used_bytes"), sum("live_bytes"), sum("dead_bytes"))
    };
    let one = record_bytes(6, 50);
    let (files, used, live, dead) = sums();
    assert!(files > 3);
    assert_eq!((live, dead, used), (100 * one, 200 * one, files * 40 + 300 * one));
    let store = Bitcask::open(Disk, dir.path().join("store"), options).unwrap();
    let report = store.merge().unwrap();
    assert_eq!((report.records_reclaimed, report.records_kept % 100), (200, 0), "{report:?}");
    store.close().unwrap();
    let (files, used, live, dead) = sums();
    assert_eq!((live, dead, used), (100 * one, 0, files * 40 + 100 * one));
}

#[test]
fn records_are_printed_escaped() {
    let dir = with_store();
    let text = printed(dir.path(), &["inspect", "store", "--records"], 0);
    assert_eq!(text.lines().count(), 54);
    let line = |part: &str| text.lines().rfind(|line| line.contains(part)).unwrap();
    assert!(line(r#""\x00binary\"" "line\n""#).contains("value"), "{text}");
    assert!(line("key-08").contains("tombstone"), "{text}");
    assert!(line("key-07").contains("compressed") && line("key-07").ends_with("… 300 bytes"));
    let lines = printed(dir.path(), &["inspect", "store", "--records", "--file", "1", "--json"], 0);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["key"], &first["offset"]), (&"key-00".into(), &40.into()));
    let output = expect_status(dir.path(), &["inspect", "store", "--records", "--file", "9"], 2);
    assert!(errors_of(&output).contains("--file 9"), "{}", errors_of(&output));
}

#[test]
fn damage_is_shown_and_what_is_whole_is_saved() {
    let dir = with_store();
    let file = damage(dir.path());
    let text = printed(dir.path(), &["inspect", "store", "--verify"], 4);
    let told = format!("{file} byte ");
    assert!(text.lines().any(|line| line.contains(&told) && line.contains("checksum")), "{text}");
    assert!(text.contains("--salvage-to"), "{text}");
    let text = printed(dir.path(), &["inspect", "store", "--salvage-to", "saved"], 4);
    assert!(text.contains("saved: 48 keys from 1 data file;"), "{text}");
    assert!(text.contains(&format!("dropped: store/{file} byte")), "{text}");
    assert!(printed(dir.path(), &["inspect", "saved", "--verify"], 0).contains("48 keys"));
    let store = Bitcask::open(Disk, dir.path().join("saved"), Options::default()).unwrap();
    assert_eq!(store.get_with(b"key-00", <[u8]>::to_vec).unwrap().unwrap(), b"some value");
}

#[test]
fn what_has_no_checksum_is_not_said_to_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { checksums: false, ..Options::default() };
    let store = Bitcask::open(Disk, dir.path().join("store"), options).unwrap();
    store.put(b"one", b"value").unwrap();
    store.put(b"two", b"value").unwrap();
    store.close().unwrap();
    let text = printed(dir.path(), &["inspect", "store", "--verify"], 0);
    let said = "2 records have no checksum; their keys and values could not be checked";
    assert!(text.contains(said) && !text.contains("Every byte was checked"), "{text}");
}

#[test]
fn whole_records_behind_a_torn_spot_are_told_before_an_open_drops_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Bitcask::open(Disk, dir.path().join("store"), Options::default()).unwrap();
    for i in 0..100 {
        store.put(format!("key-{i:02}").as_bytes(), b"some value").unwrap();
    }
    // As if the process were killed: the files stay as they are at this moment.
    fs::create_dir(dir.path().join("killed")).unwrap();
    for (path, bytes) in content(&dir.path().join("store")) {
        fs::write(dir.path().join("killed").join(path.file_name().unwrap()), bytes).unwrap();
    }
    drop(store);
    printed(dir.path(), &["inspect", "killed", "--verify"], 0);
    let path = dir.path().join("killed").join(data_file(dir.path()).file_name().unwrap());
    let mut bytes = fs::read(&path).unwrap();
    let torn = bytes.windows(6).position(|window| window == b"key-40").unwrap();
    bytes[torn] ^= 1;
    fs::write(&path, bytes).unwrap();
    for look in [&["inspect", "killed", "--verify"][..], &["inspect", "killed"]] {
        let text = printed(dir.path(), look, 4);
        let line = text.lines().find(|line| line.contains("torn bytes of file 1")).unwrap();
        assert!(line.contains("at least 59 whole records follow behind byte"), "{line}");
        assert!(text.contains("--salvage-to") && !text.contains("no damage"), "{text}");
    }
    printed(dir.path(), &["inspect", "killed", "--salvage-to", "saved"], 4);
    assert!(printed(dir.path(), &["inspect", "saved"], 0).contains("99 keys"));
    drop(Bitcask::open(Disk, dir.path().join("killed"), Options::default()).unwrap());
    assert!(printed(dir.path(), &["inspect", "killed"], 0).contains(" 40 keys"));
}

#[test]
fn aids_that_are_damaged_are_no_damaged_data() {
    let dir = with_store();
    for aid in [data_file(dir.path()).with_extension("hint"), dir.path().join("store/KEYDIR")] {
        let mut bytes = fs::read(&aid).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&aid, &bytes).unwrap();
        let text = printed(dir.path(), &["inspect", "store", "--verify"], 0);
        assert!(text.contains("No data is damaged: 1 damaged file serves"), "{text}");
        assert!(!text.contains("--salvage-to"), "{text}");
        bytes[middle] ^= 1;
        fs::write(&aid, &bytes).unwrap();
    }
    for aid in [data_file(dir.path()).with_extension("hint"), dir.path().join("store/KEYDIR")] {
        fs::write(&aid, &fs::read(&aid).unwrap()[1..]).unwrap();
    }
    let text = printed(dir.path(), &["inspect", "store", "--verify"], 0);
    assert!(text.contains("No data is damaged: 2 damaged files serve"), "{text}");
    let store = Bitcask::open(Disk, dir.path().join("store"), Options::default()).unwrap();
    assert_eq!(store.len(), 49);
    store.close().unwrap();
    let text = printed(dir.path(), &["inspect", "store", "--verify"], 0);
    assert!(text.contains("Every byte was checked: no damage"), "{text}");
}

#[test]
fn a_file_that_was_cut_off_is_told_in_one_line() {
    let dir = with_store();
    let path = data_file(dir.path());
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(10).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    for look in [&["inspect", "store"][..], &["inspect", "store", "--verify"]] {
        let text = printed(dir.path(), look, 4);
        let told: Vec<_> = text.lines().filter(|line| line.contains(" byte 0: ")).collect();
        assert!(told[0].contains(name) && told[0].contains("54 records from here"), "{text}");
        assert!(text.contains("Damaged places: 1."), "{text}");
    }
    let text = printed(dir.path(), &["inspect", "store", "--salvage-to", "saved"], 4);
    let dropped: Vec<_> = text.lines().filter(|line| line.starts_with("dropped:")).collect();
    assert!(dropped.len() == 1 && dropped[0].contains("54 records"), "{text}");
}

#[test]
fn a_lost_manifest_is_told_with_the_way_out() {
    let dir = with_store();
    fs::write(dir.path().join("store/MANIFEST"), b"kvdynoBM and nonsense").unwrap();
    let text = printed(dir.path(), &["inspect", "store"], 4);
    assert!(text.contains("MANIFEST byte") && text.contains("--salvage-to"), "{text}");
    let json = printed(dir.path(), &["inspect", "store", "--salvage-to", "saved", "--json"], 4);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["records_kept"], 49);
    assert!(json["manifest_lost"].is_string(), "{json}");
}

#[test]
fn what_is_no_store_is_refused() {
    let dir = with_store();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("thesis")).unwrap();
    fs::write(at("thesis/MANIFEST"), "years of work").unwrap();
    for (arguments, said) in [
        (&["inspect", "nowhere"][..], "there is no such folder"),
        (&["inspect", "store/MANIFEST"], "is a file"),
        (&["inspect", "empty"], "not the folder of a store"),
        (&["inspect", "thesis", "--verify"], "not the folder of a store"),
        (&["inspect", "store", "--file", "1"], "--records"),
        (&["inspect", "store", "--salvage-to", "store"], "outside of store"),
        (&["inspect", "store", "--salvage-to", "empty/../store/inside"], "outside of store"),
        (&["inspect", "store", "--salvage-to", "thesis"], "empty or missing"),
    ] {
        let output = expect_status(dir.path(), arguments, 2);
        let errors = errors_of(&output);
        assert!(errors.contains(said) && errors.lines().count() == 1, "{arguments:?}: {errors}");
    }
    assert_eq!(fs::read(at("thesis/MANIFEST")).unwrap(), b"years of work");
}

/// A folder with an LSM store in `store`: 40 keys in a table of level 1, one of them deleted in level 0, and three writes in a log.
fn with_lsm_store() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = lsm::Options { memtable_bytes: 1 << 20, ..lsm::Options::default() };
    let store = Lsm::open(Disk, dir.path().join("store"), options).unwrap();
    for i in 0..40 {
        store.put(format!("key-{i:02}").as_bytes(), b"some value").unwrap();
    }
    store.compact().unwrap();
    store.delete(b"key-08").unwrap();
    store.flush().unwrap();
    store.put(b"key-07", &[b'x'; 300]).unwrap();
    let hour = Duration::from_hours(1);
    store.put_expiring(b"\x00binary\"", b"line\n", hour).unwrap();
    store.delete(b"key-09").unwrap();
    store.close().unwrap();
    dir
}

fn table_file(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("store")).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "table")).collect();
    tables.sort();
    tables.remove(0)
}

#[test]
fn an_lsm_store_is_shown_and_left_as_it_is() {
    let dir = with_lsm_store();
    let before = content(&dir.path().join("store"));
    let text = printed(dir.path(), &["inspect", "store"], 0);
    for said in [
        "LSM tree in store: 2 tables",
        "41 entries, 1 of them deletions",
        "\"key-39\"",
        "closed log",
        "--verify",
    ] {
        assert!(text.contains(said), "'{said}' is missing in:\n{text}");
    }
    let text = printed(dir.path(), &["inspect", "store", "--verify"], 0);
    assert!(text.contains("Every byte was checked: no damage"), "{text}");
    let json = printed(dir.path(), &["inspect", "store", "--verify", "--json"], 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["engine"], &json["every_byte"]), (&"lsm".into(), &true.into()));
    assert_eq!(
        (&json["levels"][0]["deletions"], &json["levels"][6]["entries"]),
        (&1.into(), &40.into())
    );
    assert_eq!(json["files"][1]["table"]["key_min"], "key-00");
    let logs = json["files"].as_array().unwrap().iter().filter(|file| !file["log"].is_null());
    let expiring: Vec<&Value> = logs.map(|file| &file["log"]["expiring_values"]).collect();
    assert_eq!(expiring, [&Value::from(1)]);
    assert_eq!(json["damage"], Value::Array(Vec::new()));

    let text = printed(dir.path(), &["inspect", "store", "--records"], 0);
    assert_eq!(text.lines().count(), 44);
    let line = |part: &str| text.lines().rfind(|line| line.contains(part)).unwrap();
    let binary = line(r#""\x00binary\"" "line\n""#);
    assert!(binary.contains("log 42 ") && binary.contains("Z "), "no time of expiry: {text}");
    assert!(line("key-08").contains("level 0") && line("key-08").contains("deletion"), "{text}");
    assert!(line("key-07").ends_with("… 300 bytes") && line("key-01").contains("level 6"));
    let file = table_file(dir.path());
    let number = file.file_stem().unwrap().to_str().unwrap().trim_start_matches('0').to_owned();
    let lines =
        printed(dir.path(), &["inspect", "store", "--records", "--file", &number, "--json"], 0);
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["key"], &first["level"]), (&"key-00".into(), &6.into()));
    expect_status(dir.path(), &["inspect", "store", "--records", "--file", "999"], 2);
    assert_eq!(content(&dir.path().join("store")), before);
}

#[test]
fn the_value_log_of_an_lsm_store_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let options = lsm::Options { value_log_min_bytes: Some(200), ..lsm::Options::default() };
    let store = Lsm::open(Disk, dir.path().join("store"), options).unwrap();
    store.put(b"big", &[b'x'; 300]).unwrap();
    store.put(b"small", b"value").unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let text = printed(dir.path(), &["inspect", "store", "--verify"], 0);
    for said in ["1 file of values with ", "live bytes", ".values", "no damage"] {
        assert!(text.contains(said), "'{said}' is missing in:\n{text}");
    }
    let json = printed(dir.path(), &["inspect", "store", "--verify", "--json"], 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    let live = &json["levels"][6]["value_bytes"];
    let values = json["files"].as_array().unwrap().iter().find(|file| file["kind"] == "values");
    let values = &values.unwrap()["values"];
    assert_eq!((&values["values"], &values["live_bytes"]), (&1.into(), live));
    let lines = printed(dir.path(), &["inspect", "store", "--records", "--json"], 0);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&lines[0]["value_file"], &lines[1]["value_file"]),
        (&values["number"], &Value::Null)
    );
    let number = values["number"].to_string();
    let text = printed(dir.path(), &["inspect", "store", "--records", "--file", &number], 0);
    assert!(text.contains("value log") && text.contains("\"big\""), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn damage_of_an_lsm_store_is_shown_and_what_is_whole_is_saved() {
    let dir = with_lsm_store();
    let path = table_file(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = printed(dir.path(), &["inspect", "store", "--verify"], 4);
    let told = format!("{name} byte 0: ");
    assert!(text.lines().any(|line| line.contains(&told) && line.contains("checksum")), "{text}");
    assert!(text.contains("--salvage-to"), "{text}");
    let text = printed(dir.path(), &["inspect", "store", "--salvage-to", "saved"], 4);
    assert!(text.contains("saved: 2 keys from 2 tables"), "{text}");
    assert!(printed(dir.path(), &["inspect", "saved", "--verify"], 0).contains("no damage"));
    expect_status(dir.path(), &["inspect", "store", "--salvage-to", "store/inside"], 2);
}

#[test]
fn an_lsm_store_without_a_manifest_is_saved() {
    let dir = with_lsm_store();
    for (path, _) in content(&dir.path().join("store")) {
        if path.extension().is_some_and(|kind| kind == "manifest") {
            fs::write(path, "kvdLSMmf and nonsense").unwrap();
        }
    }
    let text = printed(dir.path(), &["inspect", "store"], 4);
    assert!(text.contains(".manifest byte 0") && text.contains("--salvage-to"), "{text}");
    let json = printed(dir.path(), &["inspect", "store", "--salvage-to", "saved", "--json"], 4);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["records_kept"], 39);
    assert!(json["manifest_lost"].is_string(), "{json}");
    let store = Lsm::open(Disk, dir.path().join("saved"), lsm::Options::default()).unwrap();
    assert!(!store.get(b"key-08", &mut Vec::new()).unwrap());
}
