//! Closed stores that have records and files of every kind.

use std::fmt;
use std::path::{Path, PathBuf};

use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Engine, WriteOperation};

use super::{is, is_aid};
use crate::history::{GONE, LASTING, Map, Open, Write, apply, change, supported};
use crate::subjects::{COMPRESSED_ABOVE_BYTES, DIR};

/// Keys that are written in turn; the two behind them are that of a long value and that of one that expires.
const IN_TURN: u32 = 14;
/// Keys of a fixture.
pub(super) const KEYS: u32 = IN_TURN + 3;

/// What the engine is told of what it could do without: that decides by which way it finds out what is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aids {
    All,
    /// Without an index that was written down at the close.
    NoKeydir,
    /// Without hints, too.
    None,
}

pub(super) fn key(number: u32) -> Vec<u8> {
    format!("key{number:02}").into_bytes()
}

/// A store that was closed: with files of all kinds, merged and not; with short and long values, batches, values that expire, and tombstones that hide something.
pub(crate) struct Fixture {
    pub(crate) class: Durability,
    pub(crate) aids: Aids,
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    pub(super) map: Map,
    /// Earlier states of files.
    pub(super) earlier: Vec<(PathBuf, Vec<u8>)>,
}

impl fmt::Display for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.class, self.aids)
    }
}

impl Fixture {
    /// The stores that an engine leaves behind in the classes in which the promises about damage are worth testing, with all its aids and without some. What these classes
    /// promise is the same; `buffered` takes the path of `os`.
    pub(crate) fn all(open: Open<'_>, value_bytes: usize) -> Vec<Self> {
        let mut fixtures = Vec::new();
        for class in [Durability::Os, Durability::Sync] {
            let whole = Self::new(open, class, value_bytes);
            for aids in [Aids::None, Aids::NoKeydir] {
                let less = whole.with(aids);
                // An engine may have nothing that it could do without.
                if less.files.len() < whole.files.len() {
                    fixtures.push(less);
                }
            }
            fixtures.push(whole);
        }
        fixtures
    }

    fn new(open: Open<'_>, class: Durability, value_bytes: usize) -> Self {
        let (disk, mut map, mut earlier) = (SimulatedDisk::new(), Map::new(), Vec::new());
        for life in 0..3 {
            let engine = open(disk.clone(), class).unwrap();
            live(&*engine, &mut map, life, value_bytes);
            if life == 1 {
                engine.settle().unwrap();
                write(&*engine, &mut map, &vec![put(key(1), b"newest".to_vec())]);
            }
            engine.close().unwrap();
            if life < 2 {
                earlier.extend(files(&disk));
            }
        }
        Self { class, aids: Aids::All, files: files(&disk), map, earlier }
    }

    /// The same store with these aids alone.
    fn with(&self, aids: Aids) -> Self {
        let stays = |path: &Path| match aids {
            Aids::All => true,
            Aids::NoKeydir => !is(path, "keydir"),
            Aids::None => !is_aid(path) || is(path, "lock"),
        };
        let files = self.files.iter().filter(|(path, _)| stays(path)).cloned().collect();
        let (map, earlier) = (self.map.clone(), self.earlier.clone());
        Self { class: self.class, aids, files, map, earlier }
    }

    /// The files of the store on a disk of their own.
    pub(crate) fn disk(&self) -> SimulatedDisk {
        let disk = SimulatedDisk::new();
        disk.create_dir(Path::new(DIR)).unwrap();
        for (path, bytes) in &self.files {
            disk.write_all(path, bytes);
        }
        disk
    }
}

/// What is written between an opening and a close.
fn live(engine: &dyn Engine, map: &mut Map, life: u32, value_bytes: usize) {
    let value = |number| format!("{life}/{number}{:value_bytes$}", "").into_bytes();
    let key_of = |number| key((number + life * 3) % IN_TURN);
    for number in 0..8 {
        write(engine, map, &vec![put(key_of(number), value(number))]);
    }
    let delete = |number| WriteOperation::Delete { key: key_of(number) };
    write(engine, map, &vec![delete(2)]);
    write(engine, map, &vec![put(key_of(3), value(8)), delete(4), put(key_of(0), value(9))]);
    let (start, end) = (key_of(6), [&key_of(6)[..], b"\0"].concat());
    write(engine, map, &vec![WriteOperation::DeleteRange { start, end }]);
    let long = format!("{life}/long{:1$}", "", COMPRESSED_ABOVE_BYTES).into_bytes();
    write(engine, map, &vec![put(key(IN_TURN), long)]);
    // Long enough for a value log.
    let value = format!("session {life}{:30}", "").into_bytes();
    for (number, ttl) in [(IN_TURN + 1, LASTING), (IN_TURN + 2, GONE)] {
        let (key, value) = (key(number), value.clone());
        write(engine, map, &vec![WriteOperation::PutExpiring { key, value, ttl }]);
    }
}

fn put(key: Vec<u8>, value: Vec<u8>) -> WriteOperation {
    WriteOperation::Put { key, value }
}

fn write(engine: &dyn Engine, map: &mut Map, write: &Write) {
    apply(engine, write).unwrap();
    change(map, &supported(engine, write));
}

/// All files of a disk with what is in them.
pub(super) fn files(disk: &SimulatedDisk) -> Vec<(PathBuf, Vec<u8>)> {
    disk.files().into_keys().map(|path| (path.clone(), disk.read_all(&path).unwrap())).collect()
}
