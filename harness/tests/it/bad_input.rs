//! What is wrong on the command line, in files and in folders: one line that says what and what to do, and the right exit status.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::program::{errors_of, expect_status};

/// The program refuses, in one line of its own that contains all of `said`.
fn refuses(arguments: &[&str], status: i32, said: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("syntax"), "recordcount=10\nthis line is no property\u{1}\n=5\n")
        .unwrap();
    fs::write(dir.path().join("number"), "recordcount=ten\n").unwrap();
    fs::write(dir.path().join("negative"), "recordcount=100\noperationcount=-4\n").unwrap();
    fs::write(dir.path().join("nothing"), "readproportion=0\nupdateproportion=0\n").unwrap();
    fs::write(dir.path().join("binary"), [0xff, 0xfe, 0x00, 0x80]).unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    fs::write(dir.path().join("folder/precious"), "theirs").unwrap();
    let output = expect_status(dir.path(), arguments, status);
    let errors = errors_of(&output);
    assert_eq!(
        errors.trim_end().lines().count(),
        1,
        "{arguments:?} is not told in one line:\n{errors}"
    );
    assert!(errors.starts_with("kvdyno: "), "{errors}");
    for words in said {
        assert!(errors.contains(words), "{arguments:?}: '{words}' is missing in: {errors}");
    }
    assert_eq!(fs::read(dir.path().join("folder/precious")).unwrap(), b"theirs");
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    refuses(&["run", "--engine", "bitkask"], 2, &["bitkask", "did you mean 'bitcask'"]);
    refuses(&["run", "--engine", "lms"], 2, &["lms", "did you mean 'lsm'"]);
    refuses(&["run", "ycbs-a"], 2, &["ycbs-a", "did you mean 'ycsb-a'"]);
    refuses(&["run", "nowhere/workloada"], 2, &["nowhere/workloada", "no file"]);
    refuses(&["run", "--recrods", "5"], 2, &["--recrods", "--records"]);
    refuses(&["rnu"], 2, &["rnu"]);
    refuses(&["run", "ycsb-a", "--durability", "fsync"], 2, &["fsync", "buffered, os, sync"]);
    refuses(
        &["run", "--set", "lsm.write_buffer_mb=1"],
        2,
        &["lsm.write_buffer_mb", "did you mean 'write_buffer_mib'"],
    );
    refuses(
        &["run", "--set", "lsm.write_buffer_mib=big"],
        2,
        &["lsm.write_buffer_mib=big", "whole number"],
    );
    refuses(&["run", "--set", "write_buffer_mib=1"], 2, &["engine.option=value"]);
    refuses(&["run", "--set", "lsm.write_buffer_mib=17592186044417"], 2, &["from 1 to 4096"]);
    refuses(&["run", "--set", "bitcask.segment_mib=0"], 2, &["from 1 to 8192"]);
    refuses(&["run", "--duration", "2s", "--cell-timeout", "1s"], 2, &["--cell-timeout 1s"]);
    refuses(
        &["run", "--engine", "lsm", "--set", "fjall.cache_mib=1"],
        2,
        &["fjall", "does not take part"],
    );
    refuses(&["run", "--engine", "lsm@nofliter"], 2, &["'lsm'", "did you mean 'nofilter'"]);
    refuses(&["run", "--engine", "memory@fast"], 2, &["'memory'", "it has none"]);
    refuses(&["run", "--engine", "lsm,lsm@nofilter,lsm"], 2, &["'lsm' twice"]);
    refuses(
        &["run", "--engine", "lsm", "--set", "lsm@nofilter.level_ratio=5"],
        2,
        &["'lsm@nofilter' does not take part"],
    );
    refuses(&["run", "--write-buffer", "9999"], 2, &["--write-buffer 9999 for lsm", "1 to 4096"]);
}

#[test]
fn counts_that_make_no_sense_are_refused() {
    refuses(&["run", "--records", "-5"], 2, &["--records", "-5", "whole number"]);
    refuses(&["run", "--records", "0"], 2, &["--records", "at least 1"]);
    refuses(&["run", "--operations", "99999999999999999999"], 2, &["--operations", "at most"]);
    refuses(&["run", "ycsb-a", "--records", "999G"], 1, &["GiB free", "--records"]);
    refuses(&["run", "ycsb-a", "--records", "9999G"], 2, &["--records", "at most"]);
    refuses(&["run", "--threads", "0"], 2, &["--threads", "at least 1"]);
    refuses(&["run", "--threads", "1000"], 2, &["--threads 1000", "64 logical streams"]);
    refuses(&["run", "--duration", "-3s"], 2, &["--duration", "not negative"]);
    refuses(&["run", "--operations", "5", "--duration", "3s"], 2, &["--operations", "--duration"]);
    refuses(&["run", "quick", "ycsb"], 2, &["both suites"]);
    refuses(&["run", "ycsb-a", "ycsb-a"], 2, &["named twice"]);
    refuses(&["run", "--engine", "lsm,lsm"], 2, &["twice"]);
    refuses(&["run", "--threads", "1,2,1"], 2, &["--threads names 1 twice"]);
    refuses(&["run", "--records", "1k,1000"], 2, &["--records names 1000 twice"]);
    refuses(&["run", "--threads", "1,"], 2, &["--threads", "whole number"]);
    refuses(&["run", "--durability", "os,fsync"], 2, &["fsync", "buffered, os, sync"]);
    refuses(&["run", "quick", "--trials", "1M"], 2, &["20000000 cells", "at most 10000"]);
    refuses(&["run", "ycsb-a", "ycsb-c", "reload"], 2, &["reload", "--chain"]);
    refuses(&["run", "reload", "ycsb-a", "--chain"], 2, &["reload", "between two workloads"]);
    refuses(&["run", "ycsb-d", "ycsb-e", "--chain"], 2, &["ycsb-e", "ycsb-d", "put 'reload'"]);
    refuses(&["run", "ycsb-a", "recovery", "--chain"], 2, &["recovery", "run it by itself"]);
    refuses(&["run", "--resume", "folder"], 2, &["--resume folder", "run.json"]);
    refuses(&["run", "--resume", "folder", "--threads", "2"], 2, &["--resume", "--threads"]);
    refuses(&["run", "--retry-failed"], 2, &["--resume"]);
    refuses(
        &["run", "quick", "--print-suite", "--records", "5"],
        2,
        &["--print-suite", "--records"],
    );
    refuses(&["run", "quick", "--print-suite", "--json"], 2, &["--print-suite", "--json"]);
    refuses(&["run", "--resume", "folder", "--print-suite"], 2, &["--resume", "--print-suite"]);
    refuses(&["run", "--resume", "folder", "--trials", "5"], 2, &["--resume", "--trials"]);
    refuses(&["run", "quick", "--resume", "folder"], 2, &["--resume", "SUITE"]);
    refuses(&["run", "quik", "--print-suite"], 2, &["quik", "did you mean 'quick'"]);
    refuses(&["list", "suites", "quik"], 2, &["quik", "did you mean 'quick'"]);
    refuses(&["list", "workloads", "ycsb-a"], 2, &["only suites and engines"]);
    refuses(&["list", "engines", "lsn"], 2, &["lsn"]);
    refuses(&["compare", "a", "b", "--threshold", "-1"], 2, &["--threshold", "not negative"]);
}

#[test]
fn recoveries_and_checks_that_make_no_sense_are_refused() {
    refuses(&["recover", "--records", "0"], 2, &["--records", "at least 1"]);
    refuses(&["recover", "--records", "1k,1000"], 2, &["--records", "1000", "twice"]);
    refuses(&["recover", "--written", "0"], 2, &["--written", "64MiB"]);
    refuses(&["recover", "--written", "-5%"], 2, &["--written", "50%"]);
    refuses(&["recover", "--written", "much"], 2, &["--written", "share of the data"]);
    refuses(&["recover", "--scenario", "crash"], 2, &["--scenario", "crash", "hints-missing"]);
    refuses(&["recover", "--scenario", "kill,kill"], 2, &["--scenario", "kill", "twice"]);
    refuses(&["recover", "--cache", "tepid"], 2, &["--cache", "tepid", "warm, cold"]);
    refuses(&["recover", "--engine", "bitkask"], 2, &["did you mean 'bitcask'"]);
    refuses(&["recover", "--threads", "1000"], 2, &["--threads 1000", "64"]);
    refuses(&["recover", "--value-size", "99999999999"], 2, &["--value-size"]);
    refuses(&["recover", "--records", "999G"], 1, &["GiB free", "--records"]);
    refuses(
        &["recover", "--set", "lsm.write_bufer_mib=1"],
        2,
        &["did you mean 'write_buffer_mib'"],
    );
    refuses(&["recover", "--out", "folder"], 2, &["--out folder", "not empty"]);
    refuses(&["check", "--durability", "fsync"], 2, &["fsync", "buffered, os, sync"]);
    refuses(&["check", "--rounds", "0"], 2, &["--rounds", "at least 1"]);
    refuses(&["check", "--engine", "lsm,lsm"], 2, &["twice"]);
    refuses(&["check", "--dir", "folder"], 2, &["--dir folder", "did not make"]);
}

#[test]
fn property_files_are_refused_by_line_and_key() {
    refuses(&["run", "syntax"], 2, &["syntax:3"]);
    refuses(&["run", "number"], 2, &["number:1", "recordcount", "ten"]);
    refuses(&["run", "negative"], 2, &["negative:2", "operationcount", "-4"]);
    refuses(&["run", "nothing"], 2, &["nothing"]);
    refuses(&["run", "binary"], 2, &["binary"]);
    refuses(&["run", "folder"], 2, &["folder"]);
}

#[test]
fn folders_that_cannot_be_used_are_refused() {
    // Few records, so that it is not the room on the disk that is told.
    let refuses_run = |option, folder, said: &[&str]| {
        refuses(&["run", "ycsb-a", "--records", "100", option, folder], 2, said);
    };
    refuses_run("--dir", "folder", &["--dir folder", "did not make"]);
    refuses_run("--out", "folder", &["--out folder", "not empty"]);
    refuses_run("--dir", "number", &["--dir number"]);
    refuses_run("--out", "number/below", &["--out number/below"]);
    refuses_run("--dir", "/proc/nowhere", &["--dir /proc/nowhere"]);
    refuses(&["report", "folder", "-o", "report"], 2, &["folder"]);
    refuses(&["report", "number", "-o", "report"], 2, &["number"]);
}

#[test]
fn a_folder_without_write_permission_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let locked = dir.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), b"").is_ok() {
        return; // Permissions do not bind the superuser; there is nothing to see.
    }
    let arguments = ["run", "ycsb-a", "--records", "100", "--out", "locked/below"];
    let output = expect_status(dir.path(), &arguments, 2);
    assert!(errors_of(&output).contains("locked/below"), "{}", errors_of(&output));
}
