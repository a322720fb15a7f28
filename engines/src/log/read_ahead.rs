//! Tells the system what a reader who goes through a file will read next.

use crate::storage::{Access, File};

/// Bytes that are told at once.
const PIECE_BYTES: u64 = 2 << 20;

/// How far ahead the system has been told. Files of records are mapped for reads here and there, which fetch one page each: whoever reads such a file from end to end without
/// this waits for the device at each page.
#[derive(Debug)]
pub struct ReadAhead {
    told: u64,
}

impl ReadAhead {
    /// For a reader who begins at this offset.
    pub fn new(offset: u64) -> Self {
        Self { told: offset }
    }

    /// The reader is at this offset.
    #[inline]
    pub fn reach<F: File>(&mut self, file: &F, offset: u64) {
        while self.told < offset + PIECE_BYTES / 2 {
            file.advise(Access::Soon { offset: self.told, len: PIECE_BYTES });
            self.told += PIECE_BYTES;
        }
    }
}
