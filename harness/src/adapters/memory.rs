//! `memory`: an ordered map behind a lock; the upper bound of what a store could do, and no store itself.
//!
//! | class | call |
//! |---|---|
//! | all | none: the data is gone when the process ends |

use kvdyno_engines::memory::Memory;
use kvdyno_engines::{Capabilities, Durability, Engine, Result};

use crate::registry::OpenRequest;

/// The adapter.
pub(crate) struct Adapter;

impl crate::registry::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn description(&self) -> &'static str {
        "ordered map in memory (std BTreeMap): an upper bound, nothing is stored"
    }

    fn durability_call(&self, _durability: Durability) -> Option<&'static str> {
        Some("none: everything is gone when the process ends")
    }

    fn capabilities(&self) -> Capabilities {
        Memory::default().capabilities().clone()
    }

    fn open(&self, _request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Memory::default()))
    }
}
