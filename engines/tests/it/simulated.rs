//! The simulated disk keeps what was synced, and loses what a real one may lose.

use std::path::{Path, PathBuf};

use kvdyno_engines::Error;
use kvdyno_engines::storage::simulated::{Crash, Fault, Repeat, SimulatedAppender, SyncFailure};
use kvdyno_engines::storage::{Appender, File, SimulatedDisk, Storage};

const DIR: &str = "/store";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    disk.create_dir(Path::new(DIR)).unwrap();
    disk
}

fn log(disk: &SimulatedDisk, name: &str) -> SimulatedAppender {
    disk.create(&path(name), Some(4096)).unwrap()
}

/// A log with 600 synced bytes of `a` whose name is durable, and 1,000 bytes of `b` that are not.
fn half_synced() -> SimulatedDisk {
    let disk = disk();
    let mut log = log(&disk, "log");
    disk.sync_dir(Path::new(DIR)).unwrap();
    log.append(&[&[b'a'; 600]]).unwrap();
    log.file().sync().unwrap();
    log.append(&[&[b'b'; 1000]]).unwrap();
    disk
}

#[test]
fn appended_bytes_can_be_read_at_once() {
    let disk = disk();
    let mut log = log(&disk, "log");
    let file = log.file();
    assert_eq!(log.append(&[b"he", b"llo"]).unwrap(), 0);
    assert_eq!(file.read(1, 4).unwrap(), b"ello");
    assert_eq!((file.len(), log.room()), (5, 4091));
    assert!(matches!(file.read(4, 2), Err(Error::Corrupt { .. })), "zeros behind are not content");
    assert_eq!(disk.files()[&path("log")], 4096, "room is set aside from the beginning");
    let file = log.finish().unwrap();
    assert_eq!((file.len(), disk.files()[&path("log")]), (5, 5));
}

#[test]
fn power_loss_stops_everything_at_the_operation() {
    let disk = disk();
    let first = disk.operations();
    disk.power_off_at(first + 2);
    let mut log = log(&disk, "log");
    log.append(&[b"a"]).unwrap();
    assert!(matches!(log.append(&[b"b"]), Err(Error::PowerLost)));
    assert!(matches!(log.file().read(0, 1), Err(Error::PowerLost)));
    assert!(matches!(disk.open(&path("log")), Err(Error::PowerLost)));
    assert!(matches!(disk.list(Path::new(DIR)), Err(Error::PowerLost)));
    assert_eq!(disk.operations(), first + 2);
}

#[test]
fn synced_bytes_survive_every_crash() {
    let disk = half_synced();
    let crashes = disk.crashes(7, 100);
    assert!(crashes.len() > 100);
    let mut seen = std::collections::BTreeSet::new();
    for crash in crashes {
        let bytes = disk.survivor(crash).read_all(&path("log")).unwrap();
        assert!(bytes[..600].iter().all(|byte| *byte == b'a'), "{crash:?}");
        assert!(bytes[600..].iter().all(|byte| [0, b'b'].contains(byte)), "{crash:?}");
        seen.insert(bytes);
    }
    assert!(seen.len() >= 8, "three sectors are lost in every combination, and torn");
}

#[test]
fn unsynced_bytes_are_lost_as_zeros() {
    let disk = half_synced();
    let content = |crash| disk.survivor(crash).read_all(&path("log")).unwrap();
    assert_eq!(content(Crash::SyncedOnly), [[b'a'; 600].as_slice(), &[0; 3496]].concat());
    let torn = [[b'a'; 600].as_slice(), &[b'b'; 17], &[0; 3479]].concat();
    assert_eq!(content(Crash::Torn(17)), torn);
    assert_eq!(content(Crash::Zeroed), content(Crash::SyncedOnly));
    let all = [[b'a'; 600].as_slice(), &[b'b'; 1000], &[0; 2496]].concat();
    assert_eq!(content(Crash::Everything), all);
}

#[test]
fn a_synced_file_is_lost_with_its_unsynced_name() {
    let disk = disk();
    let mut log = log(&disk, "log");
    log.append(&[b"a"]).unwrap();
    log.file().sync().unwrap();
    assert!(disk.survivor(Crash::NamesLost).files().is_empty());
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(disk.survivor(Crash::NamesLost).files().len(), 1);
}

#[test]
fn a_rename_can_be_kept_without_the_data() {
    let disk = disk();
    disk.write_all(&path("current"), b"old");
    let mut new = disk.create(&path("new"), None).unwrap();
    new.append(&[b"new"]).unwrap();
    new.finish().unwrap();
    disk.rename(&path("new"), &path("current")).unwrap();
    let current = |crash| disk.survivor(crash).read_all(&path("current")).unwrap();
    assert_eq!(current(Crash::DataLost), b"");
    assert_eq!(current(Crash::Zeroed), [0; 3]);
    assert_eq!(current(Crash::NamesLost), b"old");
    assert_eq!(current(Crash::Everything), b"new");
    let files = disk.survivor(Crash::Everything).files();
    assert_eq!(files.keys().collect::<Vec<_>>(), [&path("current")]);
}

#[test]
fn a_removal_can_be_lost() {
    let disk = half_synced();
    disk.remove(&path("log")).unwrap();
    assert!(disk.files().is_empty());
    assert_eq!(disk.survivor(Crash::SyncedOnly).files().len(), 1);
    assert!(disk.survivor(Crash::Everything).files().is_empty());
}

#[test]
fn what_a_killed_process_wrote_is_there_and_still_not_durable() {
    let disk = half_synced();
    disk.create(&path("growing"), None).unwrap().append(&[&[b'c'; 100]]).unwrap();
    let lens: Vec<u64> =
        (0..20).map(|seed| disk.survivor(Crash::Killed(seed)).files()[&path("growing")]).collect();
    assert!(lens.iter().any(|len| *len != lens[0]), "some of a buffer dies with the process");
    let killed = disk.survivor(Crash::Killed(1));
    assert_eq!(killed.read_all(&path("log")).unwrap(), disk.read_all(&path("log")).unwrap());
    assert_eq!(killed.operations(), disk.operations());
    let lost = killed.survivor(Crash::SyncedOnly).read_all(&path("log")).unwrap();
    assert_eq!(lost, disk.survivor(Crash::SyncedOnly).read_all(&path("log")).unwrap());
}

#[test]
fn a_failed_sync_drops_what_it_should_have_stored() {
    let disk = half_synced();
    let file = disk.open(&path("log")).unwrap();
    disk.fail_at(disk.operations(), Fault::Io, Repeat::Once);
    assert!(matches!(file.sync(), Err(Error::Io { .. })));
    assert_eq!(*file.read(600, 1).unwrap(), *b"b", "the cache still has it");
    file.sync().unwrap();
    let survivor = disk.survivor(Crash::Everything).read_all(&path("log")).unwrap();
    assert_eq!(survivor[600], 0, "and no later sync stores it");
}

#[test]
fn what_is_written_again_after_a_failed_sync_is_stored_by_the_next() {
    let disk = half_synced();
    let file = disk.open(&path("log")).unwrap();
    disk.fail_at(disk.operations(), Fault::Io, Repeat::Once);
    assert!(file.sync().is_err());
    file.rewrite(700, 500).unwrap();
    let before = disk.survivor(Crash::SyncedOnly).read_all(&path("log")).unwrap();
    assert!(before[600..].iter().all(|byte| *byte == 0), "it is stored before it is synced");
    file.sync().unwrap();
    let stored = disk.survivor(Crash::SyncedOnly).read_all(&path("log")).unwrap();
    assert!(stored[700..1200].iter().all(|byte| *byte == b'b'));
    assert_eq!((stored[699], stored[1200]), (0, 0), "what was not written again is still lost");
}

#[test]
fn a_link_is_lost_with_its_unsynced_name_and_shares_what_is_stored() {
    let disk = half_synced();
    disk.link(&path("log"), &path("second")).unwrap();
    assert!(!disk.survivor(Crash::SyncedOnly).files().contains_key(&path("second")));
    assert!(disk.survivor(Crash::Everything).files().contains_key(&path("second")));
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.open(&path("second")).unwrap().sync().unwrap();
    let survivor = disk.survivor(Crash::SyncedOnly);
    let stored = survivor.read_all(&path("log")).unwrap();
    assert_eq!(stored[1599], b'b', "synced by its other name");
    assert_eq!(survivor.read_all(&path("second")).unwrap(), stored);
}

#[test]
fn faults_come_once_or_for_good() {
    let disk = disk();
    let mut log = log(&disk, "log");
    disk.fail_at(disk.operations(), Fault::DiskFull, Repeat::Once);
    assert!(log.append(&[b"a"]).unwrap_err().is_disk_full());
    assert_eq!(log.append(&[b"b"]).unwrap(), 0);
    disk.fail_at(disk.operations(), Fault::DiskFull, Repeat::ForGood);
    assert!(log.append(&[b"c"]).unwrap_err().is_disk_full());
    assert!(disk.create(&path("other"), None).unwrap_err().is_disk_full());
    log.file().sync().unwrap();
    disk.heal();
    assert_eq!(log.append(&[b"c"]).unwrap(), 1);
}

#[test]
fn a_full_disk_takes_part_of_an_append() {
    let disk = disk();
    disk.limit_to(100);
    assert!(disk.create(&path("log"), Some(101)).unwrap_err().is_disk_full());
    assert!(disk.files().is_empty());
    let mut growing = disk.create(&path("growing"), None).unwrap();
    growing.append(&[&[1; 80]]).unwrap();
    assert!(growing.append(&[&[2; 40]]).unwrap_err().is_disk_full());
    disk.remove(&path("growing")).unwrap();
    assert!(disk.create(&path("log"), Some(100)).is_ok());
}

#[test]
fn a_lock_is_held_once_and_vanishes_with_the_power() {
    let disk = disk();
    let lock = disk.lock(&path("LOCK")).unwrap();
    assert!(matches!(disk.lock(&path("LOCK")), Err(Error::Locked { .. })));
    let survivor = disk.survivor(Crash::Everything);
    drop(survivor.lock(&path("LOCK")).unwrap());
    drop(lock);
    drop(disk.lock(&path("LOCK")).unwrap());
}

#[test]
fn a_flipped_bit_stays_flipped() {
    let disk = half_synced();
    disk.flip(&path("log"), 3, 0x80).unwrap();
    assert_eq!(disk.read_all(&path("log")).unwrap()[3], b'a' ^ 0x80);
    let survivor = disk.survivor(Crash::SyncedOnly);
    assert_eq!(survivor.read_all(&path("log")).unwrap()[3], b'a' ^ 0x80);
    assert!(disk.flip(&path("log"), 4096, 1).is_err());
}

#[test]
#[should_panic(expected = "truncated while it is open")]
fn truncating_an_open_file_is_a_mistake() {
    let disk = half_synced();
    let _file = disk.open(&path("log")).unwrap();
    let _ = disk.truncate(&path("log"), 600);
}

#[test]
fn readers_see_what_a_failed_sync_leaves_behind() {
    for (model, seen) in [
        (SyncFailure::Cached, Some(b'b')),
        (SyncFailure::Dropped, Some(0)),
        (SyncFailure::Reverted, Some(0)),
    ] {
        let disk = half_synced();
        disk.set_sync_failure(model);
        let file = disk.open(&path("log")).unwrap();
        disk.fail_at(disk.operations(), Fault::Io, Repeat::Once);
        file.sync().unwrap_err();
        assert_eq!(file.read(700, 1).ok().map(|bytes| bytes[0]), seen, "{model:?}");
        assert_eq!(*file.read(599, 1).unwrap(), *b"a");
        file.sync().unwrap();
        let survivor = disk.survivor(Crash::Everything).read_all(&path("log")).unwrap();
        assert_eq!(survivor[700], 0, "{model:?}");
    }
}

#[test]
fn a_failed_sync_of_a_folder_may_take_names_back() {
    for (model, left) in [(SyncFailure::Cached, 1), (SyncFailure::Reverted, 0)] {
        let disk = disk();
        disk.set_sync_failure(model);
        log(&disk, "log");
        disk.fail_at(disk.operations(), Fault::Io, Repeat::Once);
        disk.sync_dir(Path::new(DIR)).unwrap_err();
        assert_eq!(disk.files().len(), left, "{model:?}");
        disk.sync_dir(Path::new(DIR)).unwrap();
        assert!(disk.survivor(Crash::Everything).files().is_empty(), "{model:?}");
    }
}

#[test]
fn a_short_write_leaves_a_prefix_and_concerns_appends_alone() {
    let disk = disk();
    disk.fail_at(disk.operations(), Fault::ShortWrite, Repeat::ForGood);
    let mut log = log(&disk, "log");
    disk.sync_dir(Path::new(DIR)).unwrap();
    log.append(&[b"123", b"456"]).unwrap_err();
    assert_eq!(&*log.file().read(0, log.len() as usize).unwrap(), b"1234");
}

#[test]
fn an_interrupted_call_has_done_nothing() {
    let disk = half_synced();
    let file = disk.open(&path("log")).unwrap();
    disk.fail_at(disk.operations(), Fault::Interrupted, Repeat::Once);
    let error = file.sync().unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::Interrupted)
    );
    file.sync().unwrap();
    let survivor = disk.survivor(Crash::SyncedOnly).read_all(&path("log")).unwrap();
    assert_eq!(survivor[700], b'b', "the next sync stores what this one has left");
}

#[test]
fn one_change_alone_can_survive() {
    let disk = disk();
    let mut log = log(&disk, "log");
    disk.sync_dir(Path::new(DIR)).unwrap();
    let second = disk.operations() + 1;
    for byte in [b'a', b'b', b'c'] {
        log.append(&[&[byte; 10]]).unwrap();
    }
    let bytes = disk.survivor(Crash::Only(second)).read_all(&path("log")).unwrap();
    assert_eq!(bytes[..20], [[0; 10], [b'b'; 10]].concat());
    assert!(bytes[20..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_sync_can_stop_half_way() {
    let disk = half_synced();
    let mut log = log(&disk, "other");
    disk.sync_dir(Path::new(DIR)).unwrap();
    log.append(&[&[1; 100]]).unwrap();
    log.append(&[&[2; 100]]).unwrap();
    disk.sync_first(&path("other"), 150).unwrap();
    let bytes = disk.survivor(Crash::SyncedOnly).read_all(&path("other")).unwrap();
    assert_eq!((bytes[99], bytes[100]), (1, 0));
}
