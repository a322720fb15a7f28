//! Every engine passes the conformance suite, and a wrong one does not.

use kvdyno_engines::conformance::{self, Plan};
use kvdyno_engines::memory::Memory;
use kvdyno_engines::noop::Noop;
use kvdyno_engines::{Capabilities, Engine, Metrics, OperationKind, Result, Session};

/// Less than by default: each write in class `sync` waits for a device.
#[cfg(any(feature = "bitcask", feature = "lsm"))]
fn on_disk() -> Plan {
    Plan { cases: 3, steps: 300, ..Plan::default() }
}

#[test]
fn memory_conforms() {
    conformance::check(|| |_| Ok(Box::new(Memory::new()) as Box<dyn Engine>));
}

#[test]
fn noop_conforms() {
    conformance::check(|| |_| Ok(Box::new(Noop::new()) as Box<dyn Engine>));
}

/// On the real disk, with threads of its own; on the simulated one its own tests ask the same.
#[cfg(feature = "bitcask")]
#[test]
fn bitcask_conforms_on_disk() {
    use kvdyno_engines::bitcask::{Bitcask, Options};
    use kvdyno_engines::storage::Disk;
    conformance::run(&on_disk(), || {
        let folder = tempfile::tempdir().unwrap();
        move |durability| {
            let options = Options { durability, segment_bytes: 16 << 10, ..Options::default() };
            Ok(Box::new(Bitcask::open(Disk, folder.path(), options)?) as Box<dyn Engine>)
        }
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

/// As above.
#[cfg(feature = "lsm")]
#[test]
fn lsm_conforms_on_disk() {
    use kvdyno_engines::lsm::{Lsm, Options};
    use kvdyno_engines::storage::Disk;
    conformance::run(&on_disk(), || {
        let folder = tempfile::tempdir().unwrap();
        move |durability| {
            let options = Options {
                durability,
                memtable_bytes: 16 << 10,
                table_bytes: 8 << 10,
                block_bytes: 512,
                level_base_bytes: 32 << 10,
                level_ratio: 3,
                ..Options::default()
            };
            Ok(Box::new(Lsm::open(Disk, folder.path(), options)?) as Box<dyn Engine>)
        }
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

/// Does not delete the key that consists of a zero byte.
struct Forgetful {
    memory: Memory,
    capabilities: Capabilities,
}

struct ForgetfulSession<'a>(Box<dyn Session + 'a>);

impl Engine for Forgetful {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(ForgetfulSession(self.memory.session()?)))
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Session for ForgetfulSession<'_> {
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        self.0.get(key, value)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.put(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        if key == [0] { Ok(()) } else { self.0.delete(key) }
    }
}

#[test]
fn a_wrong_engine_is_found_out_and_its_history_shrunk() {
    let plan = Plan { cases: 20, steps: 1000, ..Plan::default() };
    let failure = conformance::run(&plan, || {
        |_| {
            let memory = Memory::new();
            let mut capabilities = memory.capabilities().clone();
            capabilities.operations =
                vec![OperationKind::Get, OperationKind::Put, OperationKind::Delete];
            Ok(Box::new(Forgetful { memory, capabilities }) as Box<dyn Engine>)
        }
    })
    .unwrap_err();
    assert!(failure.contains("check model in class buffered"), "{failure}");
    assert!(failure.contains("2 of 1000 steps are needed"), "{failure}");
    assert!(failure.contains(r#"delete "\x00""#), "{failure}");
}
