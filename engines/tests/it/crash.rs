//! Crash sweeps: lose power at every operation of a script, bring the disk back in every way, and ask the engine what it still knows.
//!
//! The oracle is the history's prefixes. Writes are numbered as they are issued. After a crash the store must hold exactly what the first `j` writes
//! leave behind, for some `j` from the last write that was promised to survive up to the last that was issued:
//!
//! - after power loss, promised are the writes acknowledged before the last successful `sync`; in class `sync` all that were acknowledged;
//! - after a kill, also those acknowledged in class `os`; in class `buffered`, those before the last clean close or `sync`.
//!
//! Beyond that, recovering again changes nothing, nor does a crash during recovery take away what was promised; a scan shows what gets show; the store
//! takes new writes; and files do not pile up.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::Crash;
use kvdyno_engines::{
    Direction, Durability, Engine, OperationKind, Result, WriteBatch, WriteOperation,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Opens, or opens again, the store on a disk; with small segments, memtables and tables, so that much happens in few writes.
pub(crate) type Open<'a> = &'a dyn Fn(SimulatedDisk, Durability) -> Result<Box<dyn Engine>>;

/// How much of the space of crashes is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    /// Seed of the script and of the crashes.
    pub(crate) seed: u64,
    /// Steps of the script.
    pub(crate) steps: usize,
    /// Members of each large family of crashes that are tried at each operation.
    pub(crate) each: usize,
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// One write: keys with their new values, or none where they are deleted. More than one key is an atomic batch.
type Write = Vec<(Vec<u8>, Option<Vec<u8>>)>;

enum Step {
    Write(Write),
    Sync,
    Settle,
    Close,
    Drop,
    PowerOff,
}

/// What was asked of a store, and what it promised.
#[derive(Clone, Default)]
struct History {
    issued: Vec<Write>,
    /// So many writes survive power loss.
    synced: usize,
    /// So many writes survive a kill.
    kept: usize,
}

impl History {
    fn state(&self, writes: usize) -> Map {
        let mut map = Map::new();
        for (key, value) in self.issued[..writes].iter().flatten() {
            match value {
                Some(value) => drop(map.insert(key.clone(), value.clone())),
                None => drop(map.remove(key)),
            }
        }
        map
    }

    /// What is promised after a crash.
    fn crash(&mut self, crash: Crash) {
        if !matches!(crash, Crash::Killed(_)) {
            self.kept = self.synced;
        }
    }

    /// What was recovered is what was written, from now on.
    fn resume(&mut self, recovered: &Map) {
        self.issued.truncate(self.prefix(recovered, self.kept));
        self.kept = self.issued.len();
    }

    /// The longest prefix that leaves `map` behind and keeps the first `promised` writes.
    fn prefix(&self, map: &Map, promised: usize) -> usize {
        let mut prefixes = (promised..=self.issued.len()).rev();
        prefixes.find(|writes| self.state(*writes) == *map).unwrap_or_else(|| {
            let any = (0..promised).rev().find(|writes| self.state(*writes) == *map);
            let what =
                any.map_or("no prefix".to_owned(), |any| format!("only the first {any} writes"));
            panic!(
                "the store holds {what} of the history; promised were {promised}, issued {}\n\
                 recovered: {}\npromised:  {}\nissued:    {}",
                self.issued.len(),
                brief(map),
                brief(&self.state(promised)),
                brief(&self.state(self.issued.len())),
            )
        })
    }
}

/// Tries every operation of the script of `sweep` under every crash, and returns how many disks were recovered.
///
/// # Panics
/// If a store breaks a promise, with everything that is needed to see it again.
pub(crate) fn sweep(open: Open<'_>, class: Durability, sweep: Sweep) -> u64 {
    let script = script(sweep.seed, sweep.steps);
    let mut recovered = 0;
    for operation in 0.. {
        let mut random = StdRng::seed_from_u64(sweep.seed << 32 ^ operation);
        let disk = SimulatedDisk::new();
        disk.power_off_at(operation);
        let mut history = History::default();
        let finished = live(&disk, open, class, &script, &mut history);
        let mut crashes = disk.crashes(random.random(), sweep.each);
        crashes.push(Crash::Killed(random.random()));
        for crash in crashes {
            let (mut cut, second) = (None, disk.survivor(crash));
            let check = AssertUnwindSafe(|| {
                let operations = verify(&disk.survivor(crash), open, class, &history, crash);
                // Power is lost once more, in the middle of recovery or of a second life.
                let script = self::script(sweep.seed ^ operation, 12);
                cut = Some(random.random_range(0..=operations + 20));
                second_life(&second, open, class, &history, crash, cut, &script)
            });
            recovered += catch_unwind(check).unwrap_or_else(|panic| {
                eprintln!(
                    "class {class}, seed {}, power lost at operation {operation}, {crash:?}, and again {cut:?} operations later; \
                     operations before the first crash:\n{}and from then to the second:\n{}",
                    sweep.seed,
                    disk.trace(),
                    second.trace()
                );
                resume_unwind(panic)
            });
        }
        if finished {
            break;
        }
    }
    recovered
}

/// Lets a script run on a disk until power is lost. Tells whether it came to its end.
fn live(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    script: &[Step],
    history: &mut History,
) -> bool {
    let ends_life = |step: &Step| matches!(step, Step::Close | Step::Drop | Step::PowerOff);
    for steps in script.split_inclusive(ends_life) {
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
    let batches = engine.capabilities().supports(OperationKind::Write);
    for step in steps {
        match step {
            Step::Write(write) => {
                let write = if batches { write } else { &write[..1] };
                history.issued.push(write.to_vec());
                apply(&*engine, write)?;
                if class >= Durability::Os {
                    history.kept = history.issued.len();
                }
                if class == Durability::Sync {
                    history.synced = history.issued.len();
                }
            }
            Step::Sync => {
                engine.sync()?;
                history.kept = history.issued.len();
                history.synced = history.issued.len();
            }
            Step::Settle => engine.settle()?,
            Step::Close => {
                engine.close()?;
                history.kept = history.issued.len();
                return Ok(false);
            }
            Step::Drop => {
                drop(engine);
                if !disk.is_off() {
                    history.kept = history.issued.len();
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

fn apply(engine: &dyn Engine, write: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<()> {
    let mut session = engine.session()?;
    match write {
        [(key, Some(value))] => session.put(key, value),
        [(key, None)] => session.delete(key),
        _ => {
            let operation = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| match value.clone() {
                Some(value) => WriteOperation::Put { key: key.clone(), value },
                None => WriteOperation::Delete { key: key.clone() },
            };
            session.write(&WriteBatch { operations: write.iter().map(operation).collect() })
        }
    }
}

/// Recovers a store, checks it against the history, and returns how many operations the recovery took.
fn verify(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    history: &History,
    crash: Crash,
) -> u64 {
    let mut history = history.clone();
    history.crash(crash);
    let open = || open(disk.clone(), class).expect("a store opens after a crash");
    let read = |engine: &dyn Engine| contents(engine).expect("a recovered store can be read");
    let before = disk.operations();
    let engine = open();
    let operations = disk.operations() - before;
    let map = read(&*engine);
    history.prefix(&map, history.kept);
    drop(engine);

    let engine = open();
    assert_eq!(brief(&read(&*engine)), brief(&map), "recovering again changes something");
    engine.settle().expect("a recovered store settles");
    assert_eq!(brief(&read(&*engine)), brief(&map), "settling changes something");
    engine.close().expect("a recovered store closes");
    let files = disk.files().len();

    let engine = open();
    assert_eq!(brief(&read(&*engine)), brief(&map), "closing changes something");
    apply(&*engine, &[(b"new".to_vec(), Some(b"life".to_vec()))]).expect("it takes new writes");
    engine.close().expect("a recovered store closes");
    let engine = open();
    assert_eq!(read(&*engine).remove(&b"new"[..]).as_deref(), Some(&b"life"[..]));
    engine.close().expect("a recovered store closes");
    let names: Vec<_> = disk.files().into_keys().collect();
    assert!(names.len() <= files + 2, "{files} files became more without need: {names:?}");
    operations
}

/// Recovers a store and goes on with it, until power is lost again; checks what is left then. Returns how many disks were recovered.
fn second_life(
    disk: &SimulatedDisk,
    open: Open<'_>,
    class: Durability,
    history: &History,
    crash: Crash,
    cut: Option<u64>,
    script: &[Step],
) -> u64 {
    let mut history = history.clone();
    history.crash(crash);
    disk.power_off_at(disk.operations() + cut.unwrap_or(0));
    live(disk, open, class, script, &mut history);
    let crashes = disk.crashes(cut.unwrap_or(0), 1);
    for crash in &crashes {
        verify(&disk.survivor(*crash), open, class, &history, *crash);
    }
    1 + crashes.len() as u64
}

/// Everything in a store, read by gets, and by scans where there are any.
fn contents(engine: &dyn Engine) -> Result<Map> {
    let mut session = engine.session()?;
    let mut map = Map::new();
    let mut value = Vec::new();
    for key in KEYS.iter().copied().chain([&b"new"[..]]) {
        if session.get(key, &mut value)? {
            map.insert(key.to_vec(), value.clone());
        }
    }
    for (kind, direction) in [
        (OperationKind::ScanForward, Direction::Forward),
        (OperationKind::ScanReverse, Direction::Reverse),
    ] {
        if engine.capabilities().supports(kind) {
            let mut scanned = Map::new();
            session.scan(b"", direction, usize::MAX, &mut |key, value| {
                scanned.insert(key.to_vec(), value.to_vec());
                ControlFlow::Continue(())
            })?;
            assert_eq!(brief(&scanned), brief(&map), "a scan shows what gets show");
        }
    }
    Ok(map)
}

const KEYS: [&[u8]; 6] =
    [b"a", b"b", b"c", b"\x00", b"\xff", b"long enough to be no prefix of others"];

/// Writes to few keys, each value another, with everything in between that a store may be asked to do.
fn script(seed: u64, steps: usize) -> Vec<Step> {
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
                    (key, (random.random_range(0..5) != 0).then(|| value.into_bytes()))
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

/// A map for messages: values by their version.
fn brief(map: &Map) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let entry = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        format!("{}={}:{}", key.escape_ascii(), text(value), value.len())
    };
    map.iter().map(entry).collect::<Vec<_>>().join(" ")
}
