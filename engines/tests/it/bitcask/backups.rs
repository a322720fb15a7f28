//! Checkpoints and backups of a store that is written and merged meanwhile: on the real disk, with threads.

use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use kvdyno_engines::WriteOperation;
use kvdyno_engines::bitcask::{BackupReport, Bitcask, Options, verify};
use kvdyno_engines::storage::Disk;

use super::numbered::{batch, batches_of, count_key};
use super::{Map, contents, get};

const WRITERS: usize = 2;
/// Each makes a checkpoint and a backup.
const ROUNDS: usize = 6;

/// What the writers have come to.
#[derive(Default)]
struct Progress {
    /// Batches, by writer.
    acknowledged: [AtomicU64; WRITERS],
    stop: AtomicBool,
}

impl Progress {
    fn acknowledged(&self) -> [u64; WRITERS] {
        [0, 1].map(|writer| self.acknowledged[writer].load(Ordering::Acquire))
    }
}

/// Ends the writers also where a check has failed.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn options() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::default() }
}

/// Where a writer leaves what it knew of the other one when it began its last batch.
fn saw_key(writer: usize) -> Vec<u8> {
    format!("{writer} has seen").into_bytes()
}

fn write(store: &Bitcask, writer: usize, progress: &Progress) {
    let _stop = StopAtEnd(&progress.stop);
    for number in 1.. {
        let mut batch = batch(writer as u64, number);
        let saw = progress.acknowledged()[1 - writer].to_string().into_bytes();
        batch.operations.push(WriteOperation::Put { key: saw_key(writer), value: saw });
        store.write(&batch).unwrap();
        progress.acknowledged[writer].store(number, Ordering::Release);
        if progress.stop.load(Ordering::Relaxed) {
            break;
        }
    }
}

/// The content must be what some number of batches of each writer has left behind, all that a batch had seen among them.
fn is_a_state(mut found: Map, possible: [RangeInclusive<u64>; WRITERS]) {
    let saw: [u64; WRITERS] = [0, 1].map(|writer| {
        let saw = found.remove(&saw_key(writer));
        saw.map_or(0, |saw| String::from_utf8(saw).unwrap().parse().unwrap())
    });
    let batches = batches_of::<WRITERS>(&found);
    for (writer, possible) in possible.into_iter().enumerate() {
        assert!(possible.contains(&batches[writer]), "{} of {possible:?}", batches[writer]);
        assert!(saw[writer] <= batches[1 - writer], "{saw:?} were seen, {batches:?} are there");
    }
}

/// Every byte of a store that was closed is whole.
fn is_whole(dir: &Path) -> BackupReport {
    let report = verify(&Disk, dir).unwrap();
    assert_eq!(report.damage, []);
    assert!(report.every_byte && report.is_complete());
    let data: Vec<_> = report.files.iter().filter_map(|file| file.data).collect();
    assert!(data.iter().all(|data| data.torn_bytes == 0));
    BackupReport { files: data.len() as u64, bytes: data.iter().map(|data| data.used_bytes).sum() }
}

fn links(dir: &Path) -> Vec<u64> {
    let data = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let data = data.filter(|entry| entry.file_name().to_string_lossy().ends_with(".data"));
    data.map(|entry| entry.metadata().unwrap().nlink()).collect()
}

/// Writes to a copy of the store, and merges it; returns what is in it then.
fn go_on(dir: &Path, round: usize) -> Map {
    let copy = Bitcask::open(Disk, dir, options()).unwrap();
    assert!(copy.recovery().is_clean());
    let mut map = contents(&copy);
    let own = format!("of the copy of round {round}").into_bytes();
    for key in [b"own".to_vec(), count_key(1)] {
        copy.put(&key, &own).unwrap();
        map.insert(key, own.clone());
    }
    assert!(copy.delete(&count_key(0)).unwrap());
    map.remove(&count_key(0));
    assert!(copy.merge().unwrap().records_reclaimed > 0);
    assert_eq!(contents(&copy), map);
    copy.close().unwrap();
    map
}

/// Makes a checkpoint or a backup while the writers go on, and checks it; returns what it holds after it has been written to.
fn copy(store: &Bitcask, to: &Path, round: usize, is_linked: bool, progress: &Progress) -> Map {
    let before = progress.acknowledged();
    let report = if is_linked { store.checkpoint(to) } else { store.backup(to) };
    let after = progress.acknowledged();
    assert_eq!(is_whole(to), report.unwrap());
    assert!(is_linked || links(to).iter().all(|links| *links == 1), "a backup shares a file");
    let found = contents(&Bitcask::open(Disk, to, options()).unwrap());
    // One batch of each may have been written and not yet counted.
    is_a_state(found, [0, 1].map(|writer| before[writer]..=after[writer] + 1));
    let map = go_on(to, round);
    assert_eq!(get(store, b"own"), None, "what is written to a copy shows in the store");
    map
}

#[test]
fn copies_of_a_store_that_is_written_and_merged_are_states_that_it_was_in() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("store");
    let store = Bitcask::open(Disk, &dir, options()).unwrap();
    let progress = Progress::default();
    let mut copies: Vec<(PathBuf, Map)> = Vec::new();
    thread::scope(|scope| {
        let _stop = StopAtEnd(&progress.stop);
        for writer in 0..WRITERS {
            let (store, progress) = (&store, &progress);
            scope.spawn(move || write(store, writer, progress));
        }
        scope.spawn(|| {
            while !progress.stop.load(Ordering::Relaxed) {
                store.merge().unwrap();
            }
        });
        let merged = || store.metrics().bytes_written.unwrap().merge;
        while progress.acknowledged().contains(&0) && !progress.stop.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let (before, merged_before) = (progress.acknowledged(), merged());
        for round in 0..ROUNDS {
            for is_linked in [true, false] {
                let to = folder.path().join(format!("{round}-{is_linked}"));
                let map = copy(&store, &to, round, is_linked, &progress);
                copies.push((to, map));
            }
        }
        let after = progress.acknowledged();
        assert!(after[0] > before[0] && after[1] > before[1], "the writers have stood still");
        assert!(merged() > merged_before, "nothing was merged meanwhile");
    });
    let end = progress.acknowledged();
    is_a_state(contents(&store), end.map(|batches| batches..=batches));
    store.close().unwrap();
    is_whole(&dir);
    is_a_state(
        contents(&Bitcask::open(Disk, &dir, options()).unwrap()),
        end.map(|batches| batches..=batches),
    );
    for (to, map) in copies {
        is_whole(&to);
        assert_eq!(contents(&Bitcask::open(Disk, &to, options()).unwrap()), map);
    }
}
