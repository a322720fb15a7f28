//! What is read in place of a log of which a sync has failed.
//!
//! After a failed sync nobody knows what the log's pages show: what was written, what was stored before, or one after the other, as they leave the cache (Rebello et al., "Can
//! Applications Recover from fsync Failures?", USENIX ATC 2020). Reads go on all the same, and must not show what nobody has written:
//!
//! 1. The memtable is marked first. Who has read in it meanwhile looks at the mark afterwards, and reads again.
//! 2. The log is copied into memory of our own, where it cannot change any more, and read anew into a memtable, every checksum verified.
//! 3. If all writes that could be seen are there, that memtable stands in for this one. If not, reads that come to this one return an error: an acknowledged write is lost, and
//!    whose it was cannot be told.
//!
//! Offsets are the same in both, so a view of one moment stays that.

use std::sync::atomic::Ordering;

use super::super::replay::replay_log;
use super::{Memtable, View};
use crate::log::{Expected, replay};
use crate::storage::{File, Storage};
use crate::{Error, Result};

/// Why nothing stands in for a memtable.
#[derive(Debug)]
pub(super) struct Lost {
    offset: u64,
    reason: String,
}

impl<F: File> Memtable<F> {
    /// A sync of the log has failed: from now on a copy of it is read. Nobody writes to it any more. Costs a read of the log, and memory for it.
    pub(crate) fn distrust<S: Storage<File = F>>(&self, storage: &S) {
        self.suspect.store(true, Ordering::Release);
        let copied = storage.open_copy(self.file().path()).and_then(|copy| {
            let copied = replay_log(&copy, self.log, Expected::Torn)?;
            let (found, needed) = (copied.tail.len, self.log_bytes());
            if found < needed {
                let reason = format!(
                    "a sync of this log failed, and of its {needed} bytes only these are what was written"
                );
                return Err(Error::corrupt(self.file().path(), found, reason));
            }
            Ok(Box::new(copied.memtable))
        });
        // Whoever comes second brings the same.
        let _ = self.stand_in.set(copied.map_err(|error| match error {
            Error::Corrupt { offset, reason, .. } => Lost { offset, reason },
            other => Lost {
                offset: 0,
                reason: format!("a sync of this log failed, and it cannot be read: {other}"),
            },
        }));
    }

    /// Whether something else is to be read in place of this memtable.
    #[inline]
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// The memtable to read: this one, or what stands in for it, for which the first reads after a failed sync wait.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there is nothing to be trusted.
    #[inline]
    pub(crate) fn trusted(&self) -> Result<&Self> {
        if self.is_suspect() { self.stand_in() } else { Ok(self) }
    }

    #[cold]
    fn stand_in(&self) -> Result<&Self> {
        match self.stand_in.wait() {
            Ok(memtable) => Ok(memtable),
            Err(Lost { offset, reason }) => {
                Err(Error::corrupt(self.file().path(), *offset, reason.clone()))
            }
        }
    }

    /// Makes sure that what was read of the log, up to where it can be seen, was what had been written: pages that show something else once do so for ever. Costs a read of the
    /// log.
    pub(crate) fn verify(&self) -> Result<()> {
        let whole = Expected::Exactly(self.log_bytes());
        replay(self.file(), self.log, 0, whole, |_, _| Ok(())).map(drop)
    }
}

impl<'m, F: File> View<'m, F> {
    /// The same moment of the memtable that is to be read.
    #[inline]
    pub(super) fn trusted(self) -> Result<View<'m, F>> {
        Ok(View { memtable: self.memtable.trusted()?, moment: self.moment })
    }
}
