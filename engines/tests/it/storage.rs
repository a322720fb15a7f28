//! The contract of the storage seam, which the disk and the simulated disk keep alike.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kvdyno_engines::storage::{Appender, DirEntry, Disk, File, SimulatedDisk, Storage};
use kvdyno_engines::{Error, Result};

/// Runs a check on both disks, each time in an empty folder.
macro_rules! on_both_disks {
    ($($check:ident),+ $(,)?) => {
        mod disk {
            $(#[test] fn $check() {
                let folder = tempfile::tempdir().unwrap();
                super::$check(&super::Disk, folder.path());
            })+
        }
        mod simulated {
            $(#[test] fn $check() {
                super::$check(&super::fresh(), super::Path::new("/store"));
            })+
        }
    };
}

on_both_disks!(
    a_log_is_read_while_it_is_written,
    a_full_log_takes_no_more_and_stays_whole,
    room_that_was_set_aside_reads_as_zeros_after_reopening,
    a_growing_file_is_read_when_it_is_finished,
    a_handle_keeps_the_length_it_was_opened_with,
    reads_past_the_end_are_corruption,
    files_are_created_once,
    empty_files_are_files,
    a_rename_replaces,
    a_removed_file_stays_readable,
    truncation_cuts,
    a_link_is_a_second_name_of_one_file,
    a_link_does_not_replace,
    a_copy_stays_as_it_was,
    what_is_written_again_is_what_was_there,
    folders_are_listed_by_name,
    what_is_missing_is_not_found,
    a_lock_has_one_holder,
);

fn fresh() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_dir(Path::new("/store")).unwrap();
    disk
}

fn write<S: Storage>(storage: &S, path: &Path, bytes: &[u8]) {
    let mut file = storage.create(path, None).unwrap();
    file.append(&[bytes]).unwrap();
    file.finish().unwrap().sync().unwrap();
}

fn read<S: Storage>(storage: &S, path: &Path) -> Vec<u8> {
    let file = storage.open(path).unwrap();
    file.read(0, file.len() as usize).unwrap().to_vec()
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Err(Error::Io { source, .. }) => source.kind(),
        Err(other) => panic!("this should be an error of the operating system: {other}"),
        Ok(_) => panic!("this should be an error of the operating system"),
    }
}

fn a_log_is_read_while_it_is_written<S: Storage>(storage: &S, dir: &Path) {
    let mut log = storage.create(&dir.join("log"), Some(100)).unwrap();
    let file = log.file();
    assert_eq!((log.is_empty(), log.room(), file.is_empty()), (true, 100, true));
    assert_eq!(log.append(&[b"one", b"", b"two"]).unwrap(), 0);
    assert_eq!(log.append(&[b"three"]).unwrap(), 6);
    assert_eq!((log.len(), log.room(), file.len()), (11, 89, 11));
    assert_eq!(&*file.read(3, 8).unwrap(), b"twothree");
    file.sync().unwrap();
    let finished = log.finish().unwrap();
    assert_eq!((finished.len(), finished.path()), (11, &*dir.join("log")));
    assert_eq!(&*file.read(0, 3).unwrap(), b"one", "handles outlive the writing");
    assert_eq!(read(storage, &dir.join("log")), b"onetwothree");
}

fn a_full_log_takes_no_more_and_stays_whole<S: Storage>(storage: &S, dir: &Path) {
    let mut log = storage.create(&dir.join("log"), Some(10)).unwrap();
    log.append(&[b"12345"]).unwrap();
    assert!(log.append(&[b"678", b"901"]).unwrap_err().is_disk_full());
    assert_eq!((log.len(), log.room()), (5, 5), "all or nothing");
    assert_eq!(log.append(&[b"67890"]).unwrap(), 5);
    assert!(log.append(&[b"1"]).unwrap_err().is_disk_full());
    assert_eq!(&*log.finish().unwrap().read(0, 10).unwrap(), b"1234567890");
}

fn room_that_was_set_aside_reads_as_zeros_after_reopening<S: Storage>(storage: &S, dir: &Path) {
    let mut log = storage.create(&dir.join("log"), Some(8)).unwrap();
    log.append(&[b"abc"]).unwrap();
    drop(log);
    assert_eq!(read(storage, &dir.join("log")), b"abc\0\0\0\0\0");
}

fn a_growing_file_is_read_when_it_is_finished<S: Storage>(storage: &S, dir: &Path) {
    let mut file = storage.create(&dir.join("table"), None).unwrap();
    let block: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
    for number in 0..5 {
        assert_eq!(file.append(&[&block]).unwrap(), number * 100_000);
    }
    let file = file.finish().unwrap();
    file.sync().unwrap();
    assert_eq!(file.len(), 500_000);
    assert_eq!(*file.read(300_000, 100_000).unwrap(), *block);
    assert_eq!(read(storage, &dir.join("table")), block.repeat(5));
}

fn a_handle_keeps_the_length_it_was_opened_with<S: Storage>(storage: &S, dir: &Path) {
    let mut log = storage.create(&dir.join("log"), Some(8)).unwrap();
    let opened = storage.open(&dir.join("log")).unwrap();
    log.append(&[b"abc"]).unwrap();
    assert_eq!(opened.len(), 8);
    assert_eq!(log.file().len(), 3);
}

fn reads_past_the_end_are_corruption<S: Storage>(storage: &S, dir: &Path) {
    write(storage, &dir.join("file"), b"12345");
    let file = storage.open(&dir.join("file")).unwrap();
    assert!(file.read(5, 0).unwrap().is_empty());
    for (offset, len) in
        [(5, 1), (0, 6), (6, 0), (u64::MAX, 1), (1, usize::MAX), (u64::MAX, usize::MAX)]
    {
        let result = file.read(offset, len);
        let Err(Error::Corrupt { file, offset: at, .. }) = result.map(drop) else {
            panic!("a read of {len} bytes at {offset} is possible");
        };
        assert_eq!((file, at), (dir.join("file"), offset));
    }
}

fn files_are_created_once<S: Storage>(storage: &S, dir: &Path) {
    write(storage, &dir.join("file"), b"first");
    assert_eq!(kind(storage.create(&dir.join("file"), None)), ErrorKind::AlreadyExists);
    assert_eq!(kind(storage.create(&dir.join("file"), Some(10))), ErrorKind::AlreadyExists);
    assert_eq!(read(storage, &dir.join("file")), b"first");
}

fn empty_files_are_files<S: Storage>(storage: &S, dir: &Path) {
    for (name, capacity) in [("log", Some(100)), ("table", None)] {
        let file = storage.create(&dir.join(name), capacity).unwrap().finish().unwrap();
        file.sync().unwrap();
        assert!(file.is_empty() && file.read(0, 0).unwrap().is_empty());
        assert_eq!(read(storage, &dir.join(name)), b"");
    }
}

fn a_rename_replaces<S: Storage>(storage: &S, dir: &Path) {
    write(storage, &dir.join("old"), b"old");
    write(storage, &dir.join("new"), b"new");
    let old = storage.open(&dir.join("old")).unwrap();
    storage.rename(&dir.join("new"), &dir.join("old")).unwrap();
    storage.sync_dir(dir).unwrap();
    assert_eq!(read(storage, &dir.join("old")), b"new");
    assert_eq!(&*old.read(0, 3).unwrap(), b"old", "a handle stays with its file");
    assert_eq!(storage.list(dir).unwrap().len(), 1);
}

fn a_removed_file_stays_readable<S: Storage>(storage: &S, dir: &Path) {
    write(storage, &dir.join("file"), b"bytes");
    let file = storage.open(&dir.join("file")).unwrap();
    storage.remove(&dir.join("file")).unwrap();
    assert_eq!(&*file.read(0, 5).unwrap(), b"bytes");
    assert!(storage.list(dir).unwrap().is_empty());
    write(storage, &dir.join("file"), b"again");
    assert_eq!(&*file.read(0, 5).unwrap(), b"bytes");
}

fn truncation_cuts<S: Storage>(storage: &S, dir: &Path) {
    write(storage, &dir.join("file"), b"12345");
    storage.truncate(&dir.join("file"), 2).unwrap();
    assert_eq!(read(storage, &dir.join("file")), b"12");
    storage.truncate(&dir.join("file"), 0).unwrap();
    assert_eq!(read(storage, &dir.join("file")), b"");
}

fn a_link_is_a_second_name_of_one_file<S: Storage>(storage: &S, dir: &Path) {
    let (first, second) = (dir.join("file"), dir.join("other/second"));
    write(storage, &first, b"12345");
    storage.create_dir(&dir.join("other")).unwrap();
    storage.link(&first, &second).unwrap();
    storage.sync_dir(&dir.join("other")).unwrap();
    assert_eq!(read(storage, &second), b"12345");
    storage.truncate(&first, 3).unwrap();
    assert_eq!(read(storage, &second), b"123", "it is a copy");
    let opened = storage.open(&second).unwrap();
    assert_eq!(opened.path(), second);
    storage.remove(&first).unwrap();
    assert_eq!(kind(storage.open(&first).map(drop)), ErrorKind::NotFound);
    assert_eq!(read(storage, &second), b"123", "the file goes with its last name");
    write(storage, &first, b"another");
    assert_eq!((read(storage, &first), read(storage, &second)), (b"another".into(), b"123".into()));
    storage.remove(&second).unwrap();
    assert_eq!(&*opened.read(0, 3).unwrap(), b"123");
    assert!(storage.list(&dir.join("other")).unwrap().is_empty());
}

fn a_link_does_not_replace<S: Storage>(storage: &S, dir: &Path) {
    let [one, other, missing] = ["one", "other", "missing"].map(|name| dir.join(name));
    write(storage, &one, b"one");
    write(storage, &other, b"other");
    assert_eq!(kind(storage.link(&one, &other)), ErrorKind::AlreadyExists);
    assert_eq!(kind(storage.link(&one, &one)), ErrorKind::AlreadyExists);
    assert_eq!(kind(storage.link(&missing, &dir.join("new"))), ErrorKind::NotFound);
    assert_eq!(kind(storage.link(&one, &missing.join("new"))), ErrorKind::NotFound);
    assert_eq!((read(storage, &one), read(storage, &other)), (b"one".into(), b"other".into()));
    assert_eq!(storage.list(dir).unwrap().len(), 2);
}

/// Also one that is longer than what is copied at a time, and has zeros in the middle.
fn a_copy_stays_as_it_was<S: Storage>(storage: &S, dir: &Path) {
    let path = dir.join("log");
    let mut log = storage.create(&path, Some(300_001)).unwrap();
    log.append(&[b"one"]).unwrap();
    let copy = storage.open_copy(&path).unwrap();
    assert_eq!((copy.len(), copy.path()), (300_001, &*path), "room that was set aside included");
    let (zeros, sevens) = (vec![0; 200_000], vec![7; 99_995]);
    log.append(&[b"two", &zeros, &sevens]).unwrap();
    let later = storage.open_copy(&path).unwrap();
    let mut first = b"one".to_vec();
    first.resize(300_001, 0);
    let second = [b"onetwo", &zeros[..], &sevens].concat();
    let holds = |file: &S::File, bytes: &[u8]| *file.read(0, 300_001).unwrap() == *bytes;
    assert!(holds(&copy, &first) && holds(&later, &second));
    drop(log);
    storage.truncate(&path, 1).unwrap();
    storage.remove(&path).unwrap();
    assert!(holds(&copy, &first) && holds(&later, &second), "a copy goes with its file");
    assert!(matches!(copy.read(300_000, 2).map(drop), Err(Error::Corrupt { .. })));
    write(storage, &path, b"");
    let empty = storage.open_copy(&path).unwrap();
    assert!(empty.is_empty() && empty.read(0, 0).unwrap().is_empty());
    assert_eq!(kind(storage.open_copy(&dir.join("missing")).map(drop)), ErrorKind::NotFound);
}

/// Also of a file that is longer than what is written at a time.
fn what_is_written_again_is_what_was_there<S: Storage>(storage: &S, dir: &Path) {
    let path = dir.join("file");
    let bytes: Vec<u8> = (0..2_500_000_u32).map(|at| (at % 251) as u8).collect();
    write(storage, &path, &bytes);
    let file = storage.open(&path).unwrap();
    for (offset, len) in [(0, 2_500_000), (7, 1), (1_048_575, 1_048_578), (2_499_999, 1), (5, 0)] {
        file.rewrite(offset, len).unwrap();
        file.sync().unwrap();
        assert!(*file.read(0, bytes.len()).unwrap() == bytes, "{len} bytes at {offset}");
    }
    assert_eq!(file.len(), 2_500_000);
    assert!(read(storage, &path) == bytes);
}

fn folders_are_listed_by_name<S: Storage>(storage: &S, dir: &Path) {
    storage.create_dir(&dir.join("m/deep")).unwrap();
    storage.create_dir(&dir.join("m")).unwrap();
    write(storage, &dir.join("z"), b"123");
    write(storage, &dir.join("a"), b"");
    let entry = |name: &str, is_file, len| DirEntry { name: name.into(), is_file, len };
    let mut entries = storage.list(dir).unwrap();
    entries.iter_mut().filter(|entry| !entry.is_file).for_each(|entry| entry.len = 0);
    assert_eq!(entries, [entry("a", true, 0), entry("m", false, 0), entry("z", true, 3)]);
    assert_eq!(storage.list(&dir.join("m")).unwrap().len(), 1);
}

fn what_is_missing_is_not_found<S: Storage>(storage: &S, dir: &Path) {
    let missing: PathBuf = dir.join("missing");
    assert_eq!(kind(storage.open(&missing).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(storage.list(&missing)), ErrorKind::NotFound);
    assert_eq!(kind(storage.remove(&missing)), ErrorKind::NotFound);
    assert_eq!(kind(storage.rename(&missing, &dir.join("other"))), ErrorKind::NotFound);
    assert_eq!(kind(storage.truncate(&missing, 0)), ErrorKind::NotFound);
    assert_eq!(kind(storage.sync_dir(&missing)), ErrorKind::NotFound);
    assert_eq!(kind(storage.create(&missing.join("file"), None)), ErrorKind::NotFound);
    assert_eq!(kind(storage.lock(&missing.join("LOCK"))), ErrorKind::NotFound);
}

fn a_lock_has_one_holder<S: Storage>(storage: &S, dir: &Path) {
    let path = dir.join("LOCK");
    let lock = storage.lock(&path).unwrap();
    assert!(matches!(storage.lock(&path), Err(Error::Locked { path: at }) if at == path));
    drop(lock);
    drop(storage.lock(&path).unwrap());
    assert!(storage.lock(&path).is_ok(), "a lock file left behind is no obstacle");
}
