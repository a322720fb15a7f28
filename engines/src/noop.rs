//! Accepts everything and stores nothing.
//!
//! What a run over [`Noop`] costs is the cost of the caller: choosing operations, making keys and values, taking the time. Every
//! other engine's figures contain that cost too, so it is measured instead of guessed. All methods are empty, no state is shared
//! between threads, and a session takes no memory.

use std::time::Duration;

use crate::{
    Capabilities, Direction, Durability, Engine, Metrics, OperationKind, Result, Session, Visit,
    WriteBatch,
};

/// An engine that does nothing: gets find no key, scans visit none.
#[derive(Debug)]
pub struct Noop {
    capabilities: Capabilities,
}

impl Noop {
    /// A store that will stay empty.
    pub fn new() -> Self {
        let capabilities = Capabilities {
            operations: vec![
                OperationKind::Get,
                OperationKind::MultiGet,
                OperationKind::Put,
                OperationKind::PutExpiring,
                OperationKind::Delete,
                OperationKind::DeleteRange,
                OperationKind::Write,
                OperationKind::ScanForward,
                OperationKind::ScanReverse,
            ],
            durability: Durability::ALL.to_vec(),
            key_bytes_max: usize::MAX,
            value_bytes_max: usize::MAX,
            persistent: false,
            stores_data: false,
        };
        Self { capabilities }
    }
}

impl Default for Noop {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine for Noop {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(NoopSession))
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

struct NoopSession;

impl Session for NoopSession {
    fn get(&mut self, _key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        Ok(false)
    }

    fn multi_get(
        &mut self,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        for index in 0..keys.len() {
            visit(index, None);
        }
        Ok(())
    }

    fn put(&mut self, _key: &[u8], _value: &[u8]) -> Result<()> {
        Ok(())
    }

    fn put_expiring(&mut self, _key: &[u8], _value: &[u8], _ttl: Duration) -> Result<()> {
        Ok(())
    }

    fn delete(&mut self, _key: &[u8]) -> Result<()> {
        Ok(())
    }

    fn delete_range(&mut self, _start: &[u8], _end: &[u8]) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, _batch: &WriteBatch) -> Result<()> {
        Ok(())
    }

    fn scan(
        &mut self,
        _start: &[u8],
        _direction: Direction,
        _limit: usize,
        _visit: &mut Visit<'_>,
    ) -> Result<usize> {
        Ok(0)
    }
}
