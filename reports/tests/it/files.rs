//! Reading and writing result files.

use std::fs;

use kvdyno_reports::{Error, ResultFile};

use crate::sample;

fn error_of(text: &str) -> (Error, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    fs::write(&path, text).unwrap();
    let error = ResultFile::read(&path).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("result.json"), "{message}");
    assert!(message.contains("kvdyno.result/1"), "{message}");
    (error, message)
}

#[test]
fn result_survives_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    let result = sample::quick();
    result.write(&path).unwrap();
    assert_eq!(ResultFile::read(&path).unwrap(), result);
    assert_eq!(ResultFile::read(dir.path()).unwrap(), result, "a folder means its result.json");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["result.json"], "no temporary file stays behind");
}

#[test]
fn rewriting_replaces_the_file_and_keeps_its_text_stable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result.json");
    sample::without_cells().write(&path).unwrap();
    sample::quick().write(&path).unwrap();
    let read = ResultFile::read(&path).unwrap();
    assert_eq!(read.to_json(), fs::read_to_string(&path).unwrap());
}

#[test]
fn another_schema_is_refused_by_name() {
    let (error, message) = error_of(r#"{"schema": "kvdyno.result/9"}"#);
    assert!(matches!(error, Error::Schema { .. }));
    assert!(message.contains("kvdyno.result/9"), "{message}");
    let (error, message) = error_of(r#"{"name": "something else"}"#);
    assert!(matches!(error, Error::Schema { .. }));
    assert!(message.contains("missing"), "{message}");
}

#[test]
fn damage_is_located() {
    let text = sample::without_cells().to_json();
    let (error, _) = error_of(&text[..text.len() / 2]);
    assert!(matches!(error, Error::Malformed { line, .. } if line > 1), "{error}");
    let (error, message) = error_of(&text.replace("\"seed\": 7", "\"seed\": \"seven\""));
    let line = text.lines().position(|line| line.contains("\"seed\": 7")).unwrap() + 1;
    assert!(matches!(error, Error::Malformed { line: at, .. } if at == line), "{message}");
    let (_, message) = error_of(&text.replace("\"seed\": 7,", ""));
    assert!(message.contains("seed"), "{message}");
}

#[test]
fn missing_file_is_named() {
    let message = ResultFile::read("/nowhere/result.json".as_ref()).unwrap_err().to_string();
    assert!(message.starts_with("cannot read /nowhere/result.json"), "{message}");
}

#[test]
fn failed_write_names_the_file() {
    let error = sample::quick().write("/nowhere/result.json".as_ref()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }));
}
