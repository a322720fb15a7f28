//! One writer, many readers, and the writer in another process: while it writes, seals and merges, and after it was killed.
//!
//! As in `killed.rs`, this test binary starts itself. The child writes batches with numbers and tells each acknowledgement through a pipe.

use std::fs;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvdyno_engines::Error;
use kvdyno_engines::bitcask::{Bitcask, BitcaskReader, Options};
use kvdyno_engines::storage::Disk;

use super::numbered::{batch, batches_of};
use super::{Map, contents};
use crate::child;

/// Tells the child its first batch and its folder.
const VARIABLE: &str = "KVDYNO_BITCASK_WRITER";
/// How often the writer is killed.
const LIVES: u64 = 6;
/// How often each of two threads opens the store beside each of them.
const OPENINGS: u64 = 12;

fn options() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::default() }
}

/// Writes batches until it is killed.
#[test]
#[ignore = "is the process that the test below starts and kills"]
fn the_writer() {
    let Ok(orders) = std::env::var(VARIABLE) else { return };
    let (first, dir) = orders.split_once(' ').unwrap();
    let first: u64 = first.parse().unwrap();
    let store = Bitcask::open(Disk, dir, options()).unwrap();
    let mut out = child::begin();
    for number in first.. {
        store.write(&batch(0, number)).unwrap();
        // So that readers meet frames that know what was synced.
        if number % 50 == 0 {
            store.sync().unwrap();
        }
        out.write_all(&number.to_le_bytes()).unwrap();
        out.flush().unwrap();
    }
}

/// The other process. It dies with this handle at the latest.
struct Writer {
    child: Child,
    /// The last batch of which it has said that it is written.
    acknowledged: Arc<AtomicU64>,
    listener: Option<thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts one that goes on behind batch `written`, and waits until it has the store open.
    fn start(dir: &Path, written: u64) -> Self {
        let orders = format!("{} {}", written + 1, dir.display());
        let (child, mut pipe) = child::start(VARIABLE, &orders);
        let acknowledged = Arc::new(AtomicU64::new(written));
        let told = Arc::clone(&acknowledged);
        let listener = thread::spawn(move || {
            let mut number = [0; 8];
            while pipe.read_exact(&mut number).is_ok() {
                told.store(u64::from_le_bytes(number), Ordering::Release);
            }
        });
        Self { child, acknowledged, listener: Some(listener) }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Kills it; returns the last batch that it had acknowledged.
    fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.listener.take().unwrap().join().unwrap();
        self.acknowledged()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(dir: &Path) -> BitcaskReader {
    BitcaskReader::open(&Disk, dir, options()).unwrap()
}

/// How many batches a reader sees, all of them whole.
fn seen(reader: &BitcaskReader) -> u64 {
    let mut found: Map = Map::new();
    for record in reader {
        let (key, value) = record.unwrap();
        assert!(reader.get_with(&key, |again| *again == value).unwrap().unwrap());
        assert!(found.insert(key, value).is_none(), "a key is visited twice");
    }
    assert_eq!(reader.len(), found.len());
    let [batches] = batches_of(&found);
    batches
}

/// Opens the store again and again beside the writer, and keeps one reader for long; returns what was seen last.
fn read_beside(dir: &Path, writer: &Writer) -> u64 {
    let mut kept = reader(dir);
    let mut kept_batches = seen(&kept);
    let mut newest = kept_batches;
    for opening in 1..=OPENINGS {
        let before = writer.acknowledged();
        let batches = seen(&reader(dir));
        assert!(batches >= before, "{before} were acknowledged, {batches} are seen");
        assert!(batches >= newest, "{newest} were seen, and now {batches}");
        newest = batches;
        assert_eq!(seen(&kept), kept_batches, "a reader sees what was written later");
        if opening % 5 == 0 {
            kept.refresh().unwrap();
            kept_batches = seen(&kept);
            assert!(kept_batches >= newest);
        }
    }
    newest.max(kept_batches)
}

fn listing(dir: &Path) -> Vec<(String, u64)> {
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
    };
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| file(entry.unwrap())).collect();
    files.sort();
    files
}

/// The kernel takes a moment to release the lock of a process that was killed while it was in a system call.
fn open_when_free(dir: &Path) -> Bitcask {
    for _ in 0..1_000 {
        match Bitcask::open(Disk, dir, options()) {
            Err(Error::Locked { .. }) => thread::sleep(Duration::from_millis(1)),
            outcome => return outcome.expect("a store opens after its process was killed"),
        }
    }
    panic!("the lock of a process that was killed stays")
}

#[test]
fn readers_beside_a_writer_of_another_process_see_what_it_has_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (mut written, began) = (0, Instant::now());
    for life in 0..LIVES {
        let writer = Writer::start(dir, written);
        let refused = Bitcask::open(Disk, dir, options()).map(drop);
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        let newest = thread::scope(|scope| {
            let other = scope.spawn(|| read_beside(dir, &writer));
            read_beside(dir, &writer).max(other.join().unwrap())
        });
        assert!(newest > written, "the writer has stood still");
        // The first life lasts until there has been a merge.
        let first = dir.join("0000000001.data");
        while first.exists() {
            assert!(began.elapsed() < Duration::from_mins(1), "nothing is merged");
            read_beside(dir, &writer);
        }
        let acknowledged = writer.kill();
        assert!(acknowledged + 1 >= newest, "{newest} were seen, {acknowledged} acknowledged");

        let before = listing(dir);
        let left = seen(&reader(dir));
        assert!((acknowledged..=acknowledged + 1).contains(&left), "{left} of {acknowledged}");
        assert_eq!(listing(dir), before, "a reader changes something");
        let store = open_when_free(dir);
        assert_eq!(batches_of(&contents(&store)), [left], "a recovery finds what a reader found");
        written = left;
        if life % 2 == 0 {
            store.close().unwrap();
            assert_eq!(seen(&reader(dir)), left);
        }
    }
}
