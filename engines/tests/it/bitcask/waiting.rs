//! Who waits for whom: a read for nobody who waits for the device.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use kvdyno_engines::bitcask::{Bitcask, FileState, Options};
use kvdyno_engines::storage::{DirEntry, SimulatedDisk, Storage};
use kvdyno_engines::{Direction, Engine, Result};
use parking_lot::{Condvar, Mutex};

use super::{DIR, unmerged};

/// Longer than any read takes, and shorter than a deadlock.
const PATIENCE: Duration = Duration::from_secs(20);

/// An operation of the storage that takes as long as the test wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// The creation of a data file.
    Create,
    /// The replacement of the manifest.
    Rename,
}

#[derive(Default)]
struct Gate {
    held: Mutex<Option<Held>>,
    /// Calls that stand before the gate.
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self, what: Held) {
        let mut held = self.held.lock();
        while *held == Some(what) {
            *self.waiting.lock() += 1;
            self.changed.notify_all();
            self.changed.wait(&mut held);
            *self.waiting.lock() -= 1;
        }
    }

    fn close(&self, what: Held) {
        *self.held.lock() = Some(what);
    }

    fn open(&self) {
        *self.held.lock() = None;
        self.changed.notify_all();
    }

    /// Until somebody stands before the gate.
    fn wait(&self) {
        let mut held = self.held.lock();
        while *self.waiting.lock() == 0 {
            let late = self.changed.wait_for(&mut held, PATIENCE).timed_out();
            assert!(!late, "nobody needs the device");
        }
    }
}

/// A simulated disk with a gate.
#[derive(Clone)]
struct Gated {
    disk: SimulatedDisk,
    gate: Arc<Gate>,
}

impl Storage for Gated {
    type File = <SimulatedDisk as Storage>::File;
    type Appender = <SimulatedDisk as Storage>::Appender;
    type Lock = <SimulatedDisk as Storage>::Lock;

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path, capacity: Option<u64>) -> Result<Self::Appender> {
        if capacity.is_some() {
            self.gate.pass(Held::Create);
        }
        self.disk.create(path, capacity)
    }

    fn open(&self, path: &Path) -> Result<Self::File> {
        self.disk.open(path)
    }

    fn open_copy(&self, path: &Path) -> Result<Self::File> {
        self.disk.open_copy(path)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.link(from, to)
    }

    fn entropy(&self) -> u64 {
        self.disk.entropy()
    }

    fn memory_bytes(&self) -> u64 {
        self.disk.memory_bytes()
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<()> {
        self.disk.truncate(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.gate.pass(Held::Rename);
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Self::Lock> {
        self.disk.lock(path)
    }
}

/// Every way to read, and to ask for figures.
fn read_in_every_way(store: &Bitcask<Gated>, keys: usize) {
    let mut value = Vec::new();
    assert!(store.get(&[1], &mut value).unwrap() && !store.get(b"absent", &mut value).unwrap());
    assert_eq!(store.get_with(&[2], <[u8]>::to_vec).unwrap().unwrap(), [2; 100]);
    assert!(store.contains(&[3]).unwrap());
    assert_eq!((store.len(), store.keys().unwrap().len()), (keys, keys));
    assert_eq!(store.iter().count(), keys);
    let mut folded = 0;
    let count = |_: &[u8], _: &[u8]| {
        folded += 1;
        ControlFlow::Continue(())
    };
    store.fold(count).unwrap();
    assert_eq!(folded, keys);
    let mut session = store.session().unwrap();
    let everything = &mut |_: &[u8], _: &[u8]| ControlFlow::Continue(());
    let scanned = session.scan(b"", Direction::Forward, usize::MAX, everything).unwrap();
    assert_eq!(scanned, keys);
    assert_eq!(store.status().keys, keys as u64);
    assert!(!store.files().is_empty() && store.metrics().keydir_entries == Some(keys as u64));
}

/// Holds an operation up in the middle of `work`, reads in every way meanwhile, and lets it go on.
fn reads_go_on_while(held: Held, work: impl FnOnce(&Bitcask<Gated>) + Send) {
    let storage = Gated { disk: SimulatedDisk::new(), gate: Arc::default() };
    let options = Options { ordered_scans: true, ..unmerged() };
    let store = Bitcask::open(storage.clone(), DIR, options).unwrap();
    overwrite(&store);
    storage.gate.close(held);
    std::thread::scope(|scope| {
        scope.spawn(|| work(&store));
        storage.gate.wait();
        let (done, outcome) = mpsc::channel();
        scope.spawn(|| {
            read_in_every_way(&store, 30);
            done.send(()).unwrap();
            drop(done);
        });
        let outcome = outcome.recv_timeout(PATIENCE);
        storage.gate.open();
        assert!(outcome.is_ok(), "a read waits while {held:?} is under way: {outcome:?}");
    });
}

/// Overwrites until at least two data files are full.
fn overwrite(store: &Bitcask<Gated>) {
    for key in (0..30).cycle().take(100) {
        store.put(&[key], &[key; 100]).unwrap();
    }
}

#[test]
fn reads_go_on_while_a_writer_creates_a_data_file() {
    reads_go_on_while(Held::Create, overwrite);
}

#[test]
fn reads_go_on_while_a_writer_replaces_the_manifest() {
    reads_go_on_while(Held::Rename, overwrite);
}

#[test]
fn reads_go_on_while_a_merge_replaces_the_manifest() {
    reads_go_on_while(Held::Rename, |store| {
        let sealed = store.files().into_iter().filter(|file| file.state == FileState::Sealed);
        let sealed: Vec<u32> = sealed.map(|file| file.id).collect();
        assert!(store.merge_files(&sealed).unwrap().bytes_reclaimed > 0);
    });
}
