//! One map in memory, and what can be wrong with an engine around it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kvdyno_engines::memory::Memory;
use kvdyno_engines::{
    BytesWritten, Capabilities, Direction, Durability, Engine, Error, Metrics, Result, Session,
    Visit,
};
use kvdyno_harness::{Adapter, OpenRequest, OptionInfo, Registry, registry as whole_registry};

/// Bytes that `amplifier` says it writes for each byte that it is given.
pub(crate) const AMPLIFICATION: u64 = 3;

/// What an engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// Panics at the n-th write.
    Panic,
    /// Ends the process at the n-th write.
    Abort,
    /// Sleeps for ever at the n-th write.
    Hang,
    /// Finds the device full at the n-th write.
    Full,
    /// Forgets to write every n-th write.
    Lie,
    /// Sleeps for `stall_ms` at the n-th operation, once.
    Stall,
}

/// An adapter for [`Memory`] with a fault.
struct Faulty {
    name: &'static str,
    fault: Fault,
}

/// The engines of the tests, beside two good ones.
pub(crate) fn registry() -> Registry {
    let faults = [
        ("amplifier", Fault::None),
        ("panics", Fault::Panic),
        ("aborts", Fault::Abort),
        ("hangs", Fault::Hang),
        ("full", Fault::Full),
        ("lies", Fault::Lie),
        ("stalls", Fault::Stall),
    ];
    faults.into_iter().fold(whole_registry(), |registry, (name, fault)| {
        registry.with(Box::new(Faulty { name, fault }))
    })
}

const OPTIONS: &[OptionInfo] = &[
    OptionInfo::number(
        "at",
        1500,
        1,
        u64::MAX,
        "number of the write, or for 'stalls' of the operation, at which it goes wrong",
    ),
    OptionInfo::number("stall_ms", 1000, 0, 60_000, "length of the stall"),
];

impl Adapter for Faulty {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> &'static str {
        "0"
    }

    fn description(&self) -> &'static str {
        "for tests"
    }

    fn options(&self) -> &'static [OptionInfo] {
        OPTIONS
    }

    fn durability_call(&self, _durability: Durability) -> Option<&'static str> {
        Some("none")
    }

    fn capabilities(&self) -> Capabilities {
        Memory::new().capabilities().clone()
    }

    fn open(&self, request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        Ok(Box::new(FaultyEngine {
            memory: Memory::new(),
            fault: self.fault,
            at: request.options.get("at"),
            stall: Duration::from_millis(request.options.get("stall_ms")),
            operations: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            user_bytes: AtomicU64::new(0),
        }))
    }
}

struct FaultyEngine {
    memory: Memory,
    fault: Fault,
    at: u64,
    stall: Duration,
    operations: AtomicU64,
    writes: AtomicU64,
    user_bytes: AtomicU64,
}

impl FaultyEngine {
    /// Counts an operation, and stalls at the one that is due.
    fn operation(&self) {
        let number = self.operations.fetch_add(1, Ordering::Relaxed) + 1;
        if self.fault == Fault::Stall && number == self.at {
            std::thread::sleep(self.stall);
        }
    }

    /// Counts a write, does what is wrong with it, and tells whether it takes place.
    fn write(&self, bytes: usize) -> Result<bool> {
        self.user_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let number = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fault {
            Fault::Panic if number == self.at => panic!("the engine's own words"),
            Fault::Abort if number == self.at => std::process::abort(),
            Fault::Hang if number == self.at => loop {
                std::thread::sleep(Duration::from_hours(1));
            },
            Fault::Full if number >= self.at => {
                let full = std::io::ErrorKind::StorageFull.into();
                Err(Error::io("append to", "log".as_ref())(full))
            }
            Fault::Lie if number.is_multiple_of(self.at) => Ok(false),
            _ => Ok(true),
        }
    }
}

impl Engine for FaultyEngine {
    fn capabilities(&self) -> &Capabilities {
        self.memory.capabilities()
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(FaultySession { engine: self, memory: self.memory.session()? }))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let log = AMPLIFICATION * self.user_bytes.load(Ordering::Relaxed);
        Metrics {
            bytes_written: Some(BytesWritten { log, ..BytesWritten::default() }),
            ..Metrics::default()
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct FaultySession<'a> {
    engine: &'a FaultyEngine,
    memory: Box<dyn Session + 'a>,
}

impl Session for FaultySession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        self.engine.operation();
        self.memory.get(key, value)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.engine.operation();
        if self.engine.write(key.len() + value.len())? {
            self.memory.put(key, value)
        } else {
            Ok(())
        }
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.engine.operation();
        self.memory.delete(key)
    }

    fn scan(
        &mut self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        self.engine.operation();
        let mut visited = |key: &[u8], value: &[u8]| -> ControlFlow<()> { visit(key, value) };
        self.memory.scan(start, direction, limit, &mut visited)
    }
}
