//! Writes between marks: system calls that do nothing, and that a tracer of this process recognises.
//!
//! A mark is `posix_fadvise` on standard input, a pipe, for which the kernel refuses it. Its offset and length say what it means, so nothing has to be read
//! from the process's memory.

use kvdyno_engines::Engine;
use kvdyno_workloads::Workload;
use rustix::fs::Advice;

use crate::failure::Result;

/// Offset that makes the call a mark; no file is that long.
pub(crate) const MARK: u64 = 0x006b_7664_796e_6f00;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A write begins.
    Begin = 1,
    /// It has been acknowledged.
    Acknowledged = 2,
    /// There are no more.
    Done = 3,
}

impl Mark {
    /// The mark of a call with that offset and length, if it is one.
    pub(crate) fn of(offset: u64, length: u64) -> Option<Self> {
        let marks = [Self::Begin, Self::Acknowledged, Self::Done];
        marks.into_iter().find(|mark| offset == MARK && length == *mark as u64)
    }

    fn make(self) {
        // That the call fails is what makes it harmless.
        let _ = rustix::fs::fadvise(
            std::io::stdin(),
            MARK,
            std::num::NonZeroU64::new(self as u64),
            Advice::Normal,
        );
    }
}

/// Puts so many records, one after the other, with a mark before and after each.
pub(crate) fn put_marked(engine: &dyn Engine, workload: &Workload, puts: u64) -> Result<()> {
    let mut session = engine.session()?;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for record in 0..puts {
        workload.key_of(record, &mut key);
        workload.value_of(record, 1, &mut value);
        Mark::Begin.make();
        session.put(&key, &value)?;
        Mark::Acknowledged.make();
    }
    Mark::Done.make();
    Ok(())
}
