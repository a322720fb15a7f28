//! `noop`: accepts everything and stores nothing; what is measured on it is the harness itself.
//!
//! | class | call |
//! |---|---|
//! | all | none: nothing is stored |

use kvdyno_engines::noop::Noop;
use kvdyno_engines::{Capabilities, Durability, Engine, Result};

use crate::registry::OpenRequest;

/// The adapter.
pub(crate) struct Adapter;

impl crate::registry::Adapter for Adapter {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn description(&self) -> &'static str {
        "does nothing: the harness's own cost"
    }

    fn durability_call(&self, _durability: Durability) -> Option<&'static str> {
        Some("none: nothing is stored")
    }

    fn capabilities(&self) -> Capabilities {
        Noop::default().capabilities().clone()
    }

    fn open(&self, _request: &OpenRequest<'_>) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Noop::default()))
    }
}
