//! Histories: what is asked of a store, what it promised, and whether what it holds later is legal.
//!
//! Writes are numbered as they are issued. After a crash the store must hold exactly what the first `j` writes leave behind, for some `j` from the last
//! write that was promised to survive up to the last that was issued:
//!
//! - after power loss, promised are the writes acknowledged before the last successful `sync`; in class `sync` all that were acknowledged;
//! - after a kill, also those acknowledged in class `os`; in class `buffered`, those before the last clean close or `sync`.
//!
//! Where operations fail instead, a write that was refused may have taken place or not: [`Possible`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::{
    Direction, Durability, Engine, Error, OperationKind, Result, Session, WriteBatch,
    WriteOperation,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Opens, or opens again, the store on a disk; with small segments, memtables and tables, so that much happens in few writes.
pub(crate) type Open<'a> = &'a dyn Fn(SimulatedDisk, Durability) -> Result<Box<dyn Engine>>;

pub(crate) type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// One write. More than one operation is an atomic batch.
pub(crate) type Write = Vec<WriteOperation>;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Write(Write),
    Sync,
    Settle,
    Close,
    Drop,
    PowerOff,
}

impl Step {
    fn ends_life(&self) -> bool {
        matches!(self, Self::Close | Self::Drop | Self::PowerOff)
    }
}

/// What was asked of a store, and what it promised.
#[derive(Clone, Default)]
pub(crate) struct History {
    issued: Vec<Write>,
    /// So many writes survive power loss.
    synced: usize,
    /// So many writes survive a kill.
    kept: usize,
}

impl History {
    fn state(&self, writes: usize) -> Map {
        let mut map = Map::new();
        for write in &self.issued[..writes] {
            change(&mut map, write);
        }
        map
    }

    /// What is promised after a crash.
    pub(crate) fn crash(&mut self, crash: Crash) {
        if !matches!(crash, Crash::Killed(_)) {
            self.kept = self.synced;
        }
    }

    /// What was recovered is what was written, from now on.
    pub(crate) fn resume(&mut self, recovered: &Map) {
        self.issued.truncate(self.check(recovered));
        self.kept = self.issued.len();
    }

    /// Notes that a write is asked for.
    pub(crate) fn issue(&mut self, write: &[WriteOperation]) {
        self.issued.push(write.to_vec());
    }

    /// Whether all that was issued survives power loss.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced == self.issued.len()
    }

    /// Notes that the last write has not taken place.
    pub(crate) fn retract(&mut self) {
        self.issued.pop();
    }

    /// Notes that the issued writes are acknowledged by a store of this class.
    pub(crate) fn acknowledge(&mut self, class: Durability) {
        if class >= Durability::Os {
            self.kept = self.issued.len();
        }
        if class == Durability::Sync {
            self.synced = self.issued.len();
        }
    }

    /// The longest prefix that leaves `map` behind and keeps what was promised.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn check(&self, map: &Map) -> usize {
        let (promised, issued) = (self.kept, self.issued.len());
        let (mut state, mut found, mut lost) = (Map::new(), None, None);
        for writes in 0..=issued {
            if writes > 0 {
                change(&mut state, &self.issued[writes - 1]);
            }
            if state == *map {
                *(if writes < promised { &mut lost } else { &mut found }) = Some(writes);
            }
        }
        found.unwrap_or_else(|| {
            let what =
                lost.map_or("no prefix".to_owned(), |any| format!("only the first {any} writes"));
            panic!(
                "the store holds {what} of the history; promised were {promised}, issued {issued}\n\
                 recovered: {}\npromised:  {}\nissued:    {}",
                brief(map),
                brief(&self.state(promised)),
                brief(&state),
            )
        })
    }
}

/// Does to a map what a write does to a store. What is put for a time is gone at once or stays for longer than any test.
pub(crate) fn change(map: &mut Map, write: &[WriteOperation]) {
    for operation in write {
        match operation {
            WriteOperation::PutExpiring { key, ttl, .. } if ttl.is_zero() => drop(map.remove(key)),
            WriteOperation::Put { key, value } | WriteOperation::PutExpiring { key, value, .. } => {
                map.insert(key.clone(), value.clone());
            }
            WriteOperation::Delete { key } => drop(map.remove(key)),
            WriteOperation::DeleteRange { start, end } => {
                map.retain(|key, _| key < start || key >= end);
            }
        }
    }
}

/// Lets a script run on a disk until power is lost. Tells whether it came to its end.
pub(crate) fn live(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    script: &[Step],
    history: &mut History,
) -> bool {
    for steps in script.split_inclusive(Step::ends_life) {
        match live_once(disk, open, class, steps, history) {
            Ok(finished) if finished => return true,
            Ok(_) => {}
            Err(error) => {
                assert!(disk.is_off(), "the engine fails on a disk that works: {error}");
                return false;
            }
        }
    }
    false
}

/// The steps between open and close. Tells whether power lasted until it was cut at the end of the script.
fn live_once(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    steps: &[Step],
    history: &mut History,
) -> Result<bool> {
    let engine = open(disk.clone(), class)?;
    history.resume(&contents(&*engine)?);
    for step in steps {
        match step {
            Step::Write(write) => {
                history.issue(&supported(&*engine, write));
                apply(&*engine, write)?;
                history.acknowledge(class);
            }
            Step::Sync => {
                engine.sync()?;
                history.acknowledge(Durability::Sync);
            }
            Step::Settle => engine.settle()?,
            Step::Close => {
                engine.close()?;
                history.acknowledge(Durability::Os);
                return Ok(false);
            }
            Step::Drop => {
                drop(engine);
                if !disk.is_off() {
                    history.acknowledge(Durability::Os);
                }
                return Ok(false);
            }
            Step::PowerOff => {
                let lasted = !disk.is_off();
                disk.power_off();
                return Ok(lasted);
            }
        }
    }
    Ok(false)
}

/// What of a write an engine takes: without batches, the first operation alone; without deletions of ranges, that of the first key; without values that expire, those that are gone at once are deleted, and the others
/// stay. So it is where expired values are counted among the keys.
pub(crate) fn supported(engine: &dyn Engine, write: &[WriteOperation]) -> Write {
    let capabilities = engine.capabilities();
    let taken = if capabilities.supports(OperationKind::Write) { write } else { &write[..1] };
    let ranges = capabilities.supports(OperationKind::DeleteRange);
    let expiry = capabilities.supports(OperationKind::PutExpiring);
    let counts_keys = || engine.metrics().keydir_entries.is_some();
    let taken = taken.iter().map(|operation| match operation {
        WriteOperation::PutExpiring { key, ttl, .. }
            if ttl.is_zero() && (!expiry || counts_keys()) =>
        {
            WriteOperation::Delete { key: key.clone() }
        }
        WriteOperation::PutExpiring { key, value, .. } if !expiry => {
            WriteOperation::Put { key: key.clone(), value: value.clone() }
        }
        WriteOperation::DeleteRange { start, .. } if !ranges => {
            WriteOperation::Delete { key: start.clone() }
        }
        operation => operation.clone(),
    });
    taken.collect()
}

/// Does a write, or what of it the engine takes.
pub(crate) fn apply(engine: &dyn Engine, write: &[WriteOperation]) -> Result<()> {
    let mut session = engine.session()?;
    let operations = supported(engine, write);
    match &operations[..] {
        [WriteOperation::Put { key, value }] => session.put(key, value),
        [WriteOperation::PutExpiring { key, value, ttl }] => session.put_expiring(key, value, *ttl),
        [WriteOperation::Delete { key }] => session.delete(key),
        [WriteOperation::DeleteRange { start, end }] => session.delete_range(start, end),
        _ => session.write(&WriteBatch { operations }),
    }
}

/// Puts one value.
pub(crate) fn put(engine: &dyn Engine, key: &[u8], value: &[u8]) -> Result<()> {
    engine.session()?.put(key, value)
}

/// Recovers a store twice, checks it against the history, and returns what it holds and how many operations the first recovery took.
pub(crate) fn recover(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    history: &History,
    crash: Crash,
) -> (Map, u64) {
    let mut history = history.clone();
    history.crash(crash);
    let before = disk.operations();
    let engine = open(disk.clone(), class).expect("a store opens after a crash");
    let operations = disk.operations() - before;
    let map = read(&*engine);
    history.check(&map);
    drop(engine);
    let engine = open(disk.clone(), class).expect("a store opens a second time after a crash");
    assert_eq!(brief(&read(&*engine)), brief(&map), "recovering again changes something");
    (map, operations)
}

/// As [`recover`]; and the store must go on: settle, close, take new writes, without files piling up.
pub(crate) fn recover_and_go_on(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    history: &History,
    crash: Crash,
) -> u64 {
    let (map, operations) = recover(disk, open, class, history, crash);
    let open = || open(disk.clone(), class).expect("a store opens after a crash");
    let engine = open();
    engine.settle().expect("a recovered store settles");
    assert_eq!(brief(&read(&*engine)), brief(&map), "settling changes something");
    engine.close().expect("a recovered store closes");
    let files = disk.files().len();
    let engine = open();
    assert_eq!(brief(&read(&*engine)), brief(&map), "closing changes something");
    put(&*engine, b"new", b"life").expect("it takes new writes");
    engine.close().expect("a recovered store closes");
    let engine = open();
    assert_eq!(read(&*engine).remove(&b"new"[..]).as_deref(), Some(&b"life"[..]));
    engine.close().expect("a recovered store closes");
    let names: Vec<_> = disk.files().into_keys().collect();
    assert!(names.len() <= files + 2, "{files} files became more without need: {names:?}");
    operations
}

fn read(engine: &dyn Engine) -> Map {
    contents(engine).expect("a recovered store can be read")
}

/// Everything in a store, read by gets; scans, where there are any, show the same, in order and each key once, and so does the number of keys in a hash index.
pub(crate) fn contents(engine: &dyn Engine) -> Result<Map> {
    contents_of(engine, KEYS.iter().copied().chain([&b"new"[..]]))
}

/// As [`contents`], of a store with these keys.
pub(crate) fn contents_of<'a>(
    engine: &dyn Engine,
    keys: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Map> {
    let mut session = engine.session()?;
    let mut map = Map::new();
    let mut value = Vec::new();
    for key in keys {
        if session.get(key, &mut value)? {
            map.insert(key.to_vec(), value.clone());
        }
    }
    for (kind, direction) in [
        (OperationKind::ScanForward, Direction::Forward),
        (OperationKind::ScanReverse, Direction::Reverse),
    ] {
        if engine.capabilities().supports(kind) {
            let mut scanned = scan(&mut *session, direction)?;
            if direction == Direction::Reverse {
                scanned.reverse();
            }
            let scanned = || scanned.iter().map(|(key, value)| (key, value));
            assert!(scanned().eq(&map), "scan: {}\ngets: {}", list(scanned()), brief(&map));
        }
    }
    // An index that counts its keys counts those: none twice, and none that no key leads to.
    if let Some(entries) = engine.metrics().keydir_entries {
        assert_eq!(entries, map.len() as u64, "keys are counted that are not there, or not all");
    }
    Ok(map)
}

/// Keys and values in the order in which a scan visits them, each as often as it does.
fn scan(session: &mut dyn Session, direction: Direction) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut scanned = Vec::new();
    let visited = session.scan(b"", direction, usize::MAX, &mut |key, value| {
        scanned.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    assert_eq!(visited, scanned.len(), "a scan says that it has visited another number of keys");
    Ok(scanned)
}

pub(crate) const KEYS: [&[u8]; 6] =
    [b"a", b"b", b"c", b"\x00", b"\xff", b"long enough to be no prefix of others"];

/// For how long values are put: those of the first kind are gone at once, those of the second stay.
pub(crate) const GONE: Duration = Duration::ZERO;
pub(crate) const LASTING: Duration = Duration::from_hours(1);

/// Writes to few keys, each value another, with everything in between that a store may be asked to do.
pub(crate) fn script(seed: u64, steps: usize) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut version = 0;
    let mut script: Vec<Step> = (0..steps)
        .map(|_| match random.random_range(0..100) {
            0..80 => {
                let count = if random.random_range(0..5) == 0 { 3 } else { 1 };
                let mut change = || {
                    let key = KEYS[random.random_range(0..KEYS.len())].to_vec();
                    version += 1;
                    let filler = [0, 20, 300, 700][random.random_range(0..4)];
                    let value = format!("{version}{:filler$}", "");
                    match random.random_range(0..5) {
                        0 if version % 3 == 0 => {
                            let other = KEYS[version / 3 % KEYS.len()].to_vec();
                            let (start, end) = (key.clone().min(other.clone()), key.max(other));
                            WriteOperation::DeleteRange { start, end }
                        }
                        0 => WriteOperation::Delete { key },
                        _ if version % 5 == 0 => {
                            let ttl = if version % 2 == 0 { GONE } else { LASTING };
                            WriteOperation::PutExpiring { key, value: value.into_bytes(), ttl }
                        }
                        _ => WriteOperation::Put { key, value: value.into_bytes() },
                    }
                };
                Step::Write((0..count).map(|_| change()).collect())
            }
            80..88 => Step::Sync,
            88..93 => Step::Settle,
            93..97 => Step::Close,
            _ => Step::Drop,
        })
        .collect();
    script.push(Step::PowerOff);
    script
}

/// What a store may hold when some of its writes were refused by an operating system in trouble: those that were acknowledged, in order, and of those that
/// were refused any. What was refused because of an *earlier* failure must not have taken place.
#[derive(Clone)]
pub(crate) struct Possible {
    maps: BTreeSet<Map>,
    /// Writes that were refused, apart from those for an earlier failure.
    pub(crate) refused: usize,
}

impl Possible {
    pub(crate) fn new() -> Self {
        Self { maps: BTreeSet::from([Map::new()]), refused: 0 }
    }

    /// Takes account of a write and its outcome.
    pub(crate) fn write(&mut self, write: &[WriteOperation], outcome: &Result<()>) {
        if matches!(outcome, Err(Error::Poisoned { .. })) {
            return;
        }
        let before = std::mem::take(&mut self.maps);
        for mut map in before {
            if outcome.is_err() {
                self.maps.insert(map.clone());
            }
            change(&mut map, write);
            self.maps.insert(map);
        }
        self.refused += usize::from(outcome.is_err());
    }

    /// What the store holds is one of the possibilities; from now on it is the only one.
    pub(crate) fn check(&mut self, map: &Map) {
        let text = || self.maps.iter().map(brief).collect::<Vec<_>>().join("\n  or ");
        assert!(
            self.maps.contains(map),
            "the store holds {}\nwhere there should be {}",
            brief(map),
            text()
        );
    }
}

/// Whether an error is one that an engine may return when the operating system fails it.
pub(crate) fn is_due(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::Poisoned { .. })
}

/// A map for messages: values by their version.
pub(crate) fn brief(map: &Map) -> String {
    list(map.iter())
}

fn list<'a>(entries: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let entry = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        format!("{}={}:{}", key.escape_ascii(), text(value), value.len())
    };
    entries.map(entry).collect::<Vec<_>>().join(" ")
}
