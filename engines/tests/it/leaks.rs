//! Crash after crash, nothing piles up: files, descriptors and room come back.

use std::fs;
use std::path::Path;

use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::storage::{Disk, SimulatedDisk};
use kvdyno_engines::{Durability, Engine};

use crate::history::put;
use crate::subjects::{Subject, for_each_engine};

const CYCLES: u64 = 100;
const KEYS: u64 = 40;

for_each_engine!(
    crashes_leave_no_files_and_no_room_behind,
    lives_leave_no_descriptors_and_no_files_behind,
);

/// A life: every key is written anew, in values that come to about the same length in each life.
fn write(engine: &dyn Engine, cycle: u64) {
    for number in 0..KEYS {
        let value = format!("{cycle}{number:200}");
        put(engine, format!("key{number}").as_bytes(), value.as_bytes()).unwrap();
    }
}

fn read(engine: &dyn Engine, cycle: u64) {
    let (mut session, mut value) = (engine.session().unwrap(), Vec::new());
    for number in 0..KEYS {
        assert!(session.get(format!("key{number}").as_bytes(), &mut value).unwrap());
        assert_eq!(value, format!("{cycle}{number:200}").as_bytes());
    }
}

/// Power is lost in each life, in a different way each time.
fn crashes_leave_no_files_and_no_room_behind<E: Subject>() {
    let mut disk = SimulatedDisk::new();
    let (mut first, mut last) = ((0, 0), (0, 0));
    for cycle in 0..CYCLES {
        let engine = E::simulated(disk.clone(), Durability::Sync).unwrap();
        if cycle > 0 {
            read(&*engine, cycle - 1);
        }
        write(&*engine, cycle);
        engine.settle().unwrap();
        // In the middle of something, so that there is something to be left behind.
        disk.power_off_at(disk.operations() + cycle % 23);
        let _ = engine.session().unwrap().put(b"unfinished", &[b'x'; 5000]);
        let _ = engine.settle();
        drop(engine);
        let crash = [Crash::SyncedOnly, Crash::Everything, Crash::Sectors(cycle)];
        disk = disk.survivor(crash[cycle as usize % crash.len()]);
        last = (disk.files().len(), disk.files().values().sum::<u64>());
        if cycle == 10 {
            first = last;
        }
    }
    assert!(last.0 <= first.0 + 6 && last.1 <= first.1 * 2, "{first:?} became {last:?}");
}

/// Descriptors of this process that lead into a folder, and mappings of files in it: where they lead. At the end it says `(deleted)` of a file that was removed.
fn opened(folder: &Path) -> Vec<String> {
    let links = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let descriptors = links.filter(|target| target.starts_with(folder));
    let mut opened: Vec<_> =
        descriptors.map(|target| target.to_string_lossy().into_owned()).collect();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let inside = maps.lines().filter(|line| line.contains(&*folder.to_string_lossy()));
    opened.extend(inside.map(str::to_owned));
    opened
}

/// How many there are.
pub(crate) fn held_open(folder: &Path) -> usize {
    opened(folder).len()
}

/// How many there are of files that were removed.
pub(crate) fn held_open_of_removed(folder: &Path) -> usize {
    opened(folder).iter().filter(|target| target.ends_with("(deleted)")).count()
}

fn used(folder: &Path) -> (usize, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let blocks = |entry: fs::DirEntry| entry.metadata().unwrap().blocks() * 512;
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| blocks(entry.unwrap())).collect();
    (files.len(), files.iter().sum())
}

/// On the real disk, with threads: stores are dropped as a crash would, and closed.
fn lives_leave_no_descriptors_and_no_files_behind<E: Subject>() {
    let folder = tempfile::tempdir().unwrap();
    let mut early = (0, 0);
    for cycle in 0..CYCLES {
        let engine = E::open_threaded(Disk, folder.path(), Durability::Os).unwrap();
        if cycle > 0 {
            read(&*engine, cycle - 1);
        }
        write(&*engine, cycle);
        if cycle % 10 == 9 {
            engine.settle().unwrap();
            assert!(held_open(folder.path()) <= 4 * used(folder.path()).0);
            engine.close().unwrap();
        } else {
            drop(engine);
        }
        assert_eq!(held_open(folder.path()), 0, "descriptors or mappings are left");
        if cycle == 19 {
            early = used(folder.path());
        }
    }
    let late = used(folder.path());
    assert!(
        late.0 <= early.0 + 4 && late.1 <= early.1 * 2 + (1 << 20),
        "{early:?} became {late:?}"
    );
}
