//! What a simulated file holds: now, for sure after power loss, and the changes in between.

use std::sync::Arc;

use parking_lot::Mutex;

use super::SyncFailure;

/// A file's content: `bytes`, then zeros up to `len`, which cost no memory (room set aside for a log).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    bytes: Vec<u8>,
    len: u64,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes `[offset, offset + len)`; zeros where nothing was written.
    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let start = (offset as usize).min(self.bytes.len());
        let end = (offset as usize + len).min(self.bytes.len());
        let mut bytes = self.bytes[start..end].to_vec();
        bytes.resize(len, 0);
        bytes
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        self.len = self.len.max(end as u64);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.bytes.truncate(len as usize);
        self.len = len;
    }
}

/// One change of a file's content.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

/// A change that no sync has covered.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Number of the operation that made it.
    pub(super) number: u64,
    pub(super) change: Change,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What readers see.
    pub(super) current: Image,
    /// What is there after power loss whatever happens.
    pub(super) durable: Image,
    /// What leads from `durable` to `current`, in the order of issue.
    pub(super) pending: Vec<Pending>,
    /// Some of it may still lie in the memory of the process: a growing file that is not finished.
    pub(super) buffered: bool,
}

impl Content {
    pub(super) fn apply(&mut self, number: u64, change: Change) {
        match &change {
            Change::Write { offset, bytes } => self.current.write(*offset, bytes),
            Change::SetLen(len) => self.current.set_len(*len),
        }
        self.pending.push(Pending { number, change });
    }

    /// What lay above `len` in the memory of the process is gone with it.
    pub(super) fn forget_above(&mut self, len: u64) {
        self.buffered = false;
        self.current.set_len(len);
        self.pending.retain_mut(|pending| match &mut pending.change {
            Change::Write { offset, bytes } => {
                bytes.truncate(len.saturating_sub(*offset) as usize);
                !bytes.is_empty()
            }
            Change::SetLen(_) => true,
        });
    }

    /// What was written below `len` becomes durable.
    pub(super) fn sync_below(&mut self, len: u64) {
        let below = |pending: &mut Pending| match &pending.change {
            Change::Write { offset, bytes } => offset + bytes.len() as u64 <= len,
            Change::SetLen(_) => true,
        };
        for Pending { change, .. } in self.pending.extract_if(.., below) {
            match change {
                Change::Write { offset, bytes } => self.durable.write(offset, &bytes),
                Change::SetLen(len) => self.durable.set_len(len),
            }
        }
    }

    /// What a sync that fails leaves behind: in any case, nothing that a later sync would store.
    pub(super) fn fail_sync(&mut self, model: SyncFailure) {
        self.pending.clear();
        match model {
            SyncFailure::Cached => {}
            SyncFailure::Dropped => {
                let len = self.current.len();
                self.current = self.durable.clone();
                self.current.set_len(len);
            }
            SyncFailure::Reverted => self.current = self.durable.clone(),
        }
    }

    /// All that was written becomes durable.
    pub(super) fn sync(&mut self) {
        self.sync_below(u64::MAX);
    }
}

/// A file, whatever its name.
#[derive(Debug)]
pub(super) struct Inode {
    /// Tells inodes apart, in the order of creation.
    pub(super) id: u64,
    pub(super) content: Mutex<Content>,
    /// Shared by all handles, to know whether there are any.
    pub(super) handles: Arc<()>,
}

impl Inode {
    pub(super) fn new(id: u64, content: Content) -> Arc<Self> {
        Arc::new(Self { id, content: Mutex::new(content), handles: Arc::default() })
    }

    pub(super) fn is_open(&self) -> bool {
        Arc::strong_count(&self.handles) > 1
    }
}
