//! What append-only files have in common, knowing nothing of keys.
//!
//! - [`frame`]: a checksummed envelope around a payload, and its layout on disk.
//! - [`LogWriter`]: appends frames to a file.
//! - [`replay`]: reads frames back after a clean close or a crash, and tells a torn tail from corruption.
//! - [`ReadAhead`]: tells the system what a reader will read next.
//! - [`GroupCommit`]: lets many writers share one flush of the device.

pub mod frame;
mod group_commit;
mod read_ahead;
mod replay;
mod writer;

pub use group_commit::GroupCommit;
pub use read_ahead::ReadAhead;
pub use replay::{Expected, Tail, replay};
pub use writer::LogWriter;
