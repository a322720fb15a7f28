//! The smallest store over the storage seam: a map and one log, rewritten when it is opened. Each of its possible mistakes must be found by the
//! crash sweep, which is the proof that the sweep has teeth.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use kvdyno_engines::log::{Expected, LogWriter, replay};
use kvdyno_engines::storage::{File, SimulatedDisk, Storage};
use kvdyno_engines::{
    Capabilities, Direction, Durability, Engine, Error, Metrics, OperationKind, Result, Session,
    Visit, WriteBatch, WriteOperation,
};
use parking_lot::Mutex;

use crate::crash::{Sweep, Swept, sweep};

const DIR: &str = "/store";
const ID: u32 = 7;

/// What the author of the store forgot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// A write in class `sync` is acknowledged before it is synced.
    AcknowledgesEarly,
    /// The new log takes its name before its content is synced.
    RenamesEarly,
    /// The new log's name is not synced.
    ForgetsFolder,
    /// Sync does nothing.
    NeverSyncs,
    /// The parts of a batch are separate frames.
    TearsBatches,
    /// The log of an earlier life is left lying about.
    LeavesFiles,
}

struct Toy {
    state: Mutex<State>,
    class: Durability,
    mistake: Mistake,
    capabilities: Capabilities,
    _lock: <SimulatedDisk as Storage>::Lock,
}

struct State {
    log: LogWriter<<SimulatedDisk as Storage>::Appender>,
    map: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Toy {
    fn open(
        disk: &SimulatedDisk,
        class: Durability,
        mistake: Mistake,
        log_bytes: u64,
    ) -> Result<Self> {
        let dir = Path::new(DIR);
        let (old, new) = (dir.join("log"), dir.join("new"));
        disk.create_dir(dir)?;
        let lock = disk.lock(&dir.join("LOCK"))?;
        let has = |name: &str| {
            disk.list(dir).map(|entries| entries.iter().any(|entry| entry.name == name))
        };
        let mut map = BTreeMap::new();
        if has("log")? {
            let file = disk.open(&old)?;
            replay(&file, ID, 0, Expected::Torn, |_, payload| {
                for operation in decode(payload) {
                    apply(&mut map, operation);
                }
                Ok(())
            })?;
        }
        if has("new")? {
            disk.remove(&new)?;
        }
        if mistake == Mistake::LeavesFiles {
            let next = disk.list(dir)?.len();
            drop(disk.create(&dir.join(next.to_string()), None)?);
        }
        let mut log = LogWriter::new(disk.create(&new, Some(log_bytes))?, ID);
        for (key, value) in &map {
            let put = WriteOperation::Put { key: key.clone(), value: value.clone() };
            log.append(&[&encode(&[put])])?;
        }
        if mistake != Mistake::RenamesEarly {
            log.file().sync()?;
            log.advance_watermark(log.len());
        }
        disk.rename(&new, &old)?;
        if mistake != Mistake::ForgetsFolder {
            disk.sync_dir(dir)?;
        }
        let capabilities = Capabilities {
            operations: vec![
                OperationKind::Get,
                OperationKind::Put,
                OperationKind::Delete,
                OperationKind::Write,
                OperationKind::ScanForward,
            ],
            durability: Durability::ALL.to_vec(),
            key_bytes_max: 255,
            value_bytes_max: 1 << 15,
            persistent: true,
            stores_data: true,
        };
        let state = Mutex::new(State { log, map });
        Ok(Self { state, class, mistake, capabilities, _lock: lock })
    }

    fn write(&self, operations: &[WriteOperation]) -> Result<()> {
        for operation in operations {
            match operation {
                WriteOperation::Put { key, value } => self.capabilities.check_sizes(key, value)?,
                WriteOperation::Delete { key } => self.capabilities.check_sizes(key, &[])?,
                WriteOperation::PutExpiring { .. } => return Err(NO_EXPIRY),
                WriteOperation::DeleteRange { .. } => return Err(NO_RANGES),
            }
        }
        let mut state = self.state.lock();
        if self.mistake == Mistake::TearsBatches {
            for operation in operations {
                state.log.append(&[&encode(std::slice::from_ref(operation))])?;
            }
        } else {
            state.log.append(&[&encode(operations)])?;
        }
        if self.class == Durability::Sync && self.mistake != Mistake::AcknowledgesEarly {
            self.sync_log(&mut state)?;
        }
        for operation in operations {
            apply(&mut state.map, operation.clone());
        }
        Ok(())
    }

    fn sync_log(&self, state: &mut State) -> Result<()> {
        if self.mistake != Mistake::NeverSyncs {
            state.log.file().sync()?;
            state.log.advance_watermark(state.log.len());
        }
        Ok(())
    }
}

const NO_EXPIRY: Error = Error::Unsupported(OperationKind::PutExpiring);
const NO_RANGES: Error = Error::Unsupported(OperationKind::DeleteRange);

fn apply(map: &mut BTreeMap<Vec<u8>, Vec<u8>>, operation: WriteOperation) {
    match operation {
        WriteOperation::Put { key, value } => drop(map.insert(key, value)),
        WriteOperation::Delete { key } => drop(map.remove(&key)),
        WriteOperation::PutExpiring { .. } | WriteOperation::DeleteRange { .. } => {
            unreachable!("it was refused")
        }
    }
}

/// The number of operations, then of each: tag, key length, value length in two bytes, key, value.
fn encode(operations: &[WriteOperation]) -> Vec<u8> {
    let mut bytes = vec![operations.len() as u8];
    for operation in operations {
        let (tag, key, value): (u8, &[u8], &[u8]) = match operation {
            WriteOperation::Put { key, value } => (1, key, value),
            WriteOperation::Delete { key } => (0, key, &[]),
            WriteOperation::PutExpiring { .. } | WriteOperation::DeleteRange { .. } => {
                unreachable!("it was refused")
            }
        };
        bytes.extend([tag, key.len() as u8]);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend([key, value].concat());
    }
    bytes
}

fn decode(payload: &[u8]) -> Vec<WriteOperation> {
    let mut rest = &payload[1..];
    let mut operations = Vec::new();
    while let [tag, key_len, low, high, tail @ ..] = rest {
        let (key, tail) = tail.split_at(usize::from(*key_len));
        let (value, tail) = tail.split_at(usize::from(u16::from_le_bytes([*low, *high])));
        let (key, value) = (key.to_vec(), value.to_vec());
        let put = *tag == 1;
        operations.push(if put {
            WriteOperation::Put { key, value }
        } else {
            WriteOperation::Delete { key }
        });
        rest = tail;
    }
    operations
}

impl Engine for Toy {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(ToySession(self)))
    }

    fn sync(&self) -> Result<()> {
        self.sync_log(&mut self.state.lock())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}

struct ToySession<'a>(&'a Toy);

impl Session for ToySession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        let state = self.0.state.lock();
        *value = state.map.get(key).cloned().unwrap_or_default();
        Ok(state.map.contains_key(key))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.write(&[WriteOperation::Put { key: key.to_vec(), value: value.to_vec() }])
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.0.write(&[WriteOperation::Delete { key: key.to_vec() }])
    }

    fn write(&mut self, batch: &WriteBatch) -> Result<()> {
        self.0.write(&batch.operations)
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        if direction == Direction::Reverse {
            return Err(Error::Unsupported(OperationKind::ScanReverse));
        }
        let mut visited = 0;
        for (key, value) in self.0.state.lock().map.range(start.to_vec()..).take(limit) {
            visited += 1;
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(visited)
    }
}

fn sweep_with(mistake: Mistake, class: Durability) -> Swept {
    let open = move |disk: SimulatedDisk, class| {
        Toy::open(&disk, class, mistake, 64 << 10).map(|toy| Box::new(toy) as Box<dyn Engine>)
    };
    let plan = |seed| Sweep { seed, steps: 22, each: 1, second_life_of: 1 };
    let mut swept = sweep(&open, class, plan(0));
    swept += sweep(&open, class, plan(1));
    swept
}

#[test]
fn a_right_store_passes_the_sweep() {
    for class in Durability::ALL {
        let swept = sweep_with(Mistake::None, class);
        println!("class {class}: {swept:?}");
        assert!(swept.first + swept.second > 1_000);
    }
}

#[test]
fn the_sweep_finds_every_mistake() {
    for (mistake, class) in [
        (Mistake::AcknowledgesEarly, Durability::Sync),
        (Mistake::RenamesEarly, Durability::Os),
        (Mistake::ForgetsFolder, Durability::Sync),
        (Mistake::NeverSyncs, Durability::Os),
        (Mistake::TearsBatches, Durability::Os),
        (Mistake::LeavesFiles, Durability::Os),
    ] {
        let outcome = catch_unwind(AssertUnwindSafe(|| sweep_with(mistake, class)));
        assert!(outcome.is_err(), "{mistake:?} goes unnoticed");
    }
}

#[test]
fn the_toy_conforms() {
    kvdyno_engines::conformance::check(|| {
        let disk = SimulatedDisk::new();
        move |class| {
            Toy::open(&disk, class, Mistake::None, 4 << 20)
                .map(|toy| Box::new(toy) as Box<dyn Engine>)
        }
    });
}
