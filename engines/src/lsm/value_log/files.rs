//! The files of values of a version.

use std::sync::Arc;

use super::super::files::{FileNumber, StoreFile};
use super::super::table::TableMeta;
use super::format::HEADER_FRAME_BYTES;
use super::{Pointer, ValueFile};
use crate::storage::Storage;
use crate::{Error, Result};

/// How much of a file of values is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) number: FileNumber,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Of these, bytes that tables point to.
    pub(crate) live_bytes: u64,
}

impl Usage {
    /// Bytes of values that no table points to. The header is not among them: every file has one, so no emptying would get rid of it.
    pub(crate) fn dead_bytes(self) -> u64 {
        self.bytes.saturating_sub(HEADER_FRAME_BYTES + self.live_bytes)
    }
}

/// The files that the tables of a version point to, by number.
pub(crate) struct ValueFiles<S: Storage> {
    files: Vec<(Arc<ValueFile<S>>, Usage)>,
}

impl<S: Storage> Default for ValueFiles<S> {
    fn default() -> Self {
        Self { files: Vec::new() }
    }
}

impl<S: Storage> ValueFiles<S> {
    /// Those of `files` that any of the `tables` points to. Costs a look at each file that each table points to.
    pub(crate) fn of<'m>(
        files: impl IntoIterator<Item = Arc<ValueFile<S>>>,
        tables: impl IntoIterator<Item = &'m TableMeta>,
    ) -> Self {
        let usage = |file: &ValueFile<S>| {
            let (number, bytes) = (file.number, file.bytes());
            Usage { number, bytes, live_bytes: 0 }
        };
        let mut files: Vec<_> =
            files.into_iter().map(|file| (Arc::clone(&file), usage(&file))).collect();
        files.sort_by_key(|(file, _)| file.number);
        for (number, bytes) in tables.into_iter().flat_map(|table| &table.values) {
            if let Ok(at) = files.binary_search_by_key(number, |(file, _)| file.number) {
                files[at].1.live_bytes += bytes;
            }
        }
        files.retain(|(_, usage)| usage.live_bytes > 0);
        Self { files }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<ValueFile<S>>> {
        self.files.iter().map(|(file, _)| file)
    }

    /// How much of each file is alive.
    pub(crate) fn usage(&self) -> impl Iterator<Item = Usage> {
        self.files.iter().map(|(_, usage)| *usage)
    }

    fn find(&self, number: FileNumber) -> Option<&Arc<ValueFile<S>>> {
        let at = self.files.binary_search_by_key(&number, |(file, _)| file.number).ok()?;
        Some(&self.files[at].0)
    }

    /// Lets those go, once the last reader does, that are not among `others`.
    pub(crate) fn set_obsolete_but(&self, others: &Self) {
        for file in self.iter().filter(|file| others.find(file.number).is_none()) {
            file.set_obsolete();
        }
    }

    /// Calls `visit` with the value of `key` to which a table points by `pointer`, which it holds in place of the value. Costs a read, and its checksum.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not there.
    #[inline]
    pub(crate) fn read<R>(
        &self,
        key: &[u8],
        pointer: &[u8],
        visit: impl FnOnce(&[u8]) -> R,
    ) -> Result<R> {
        // A table shows no pointer but one into a file that it says it points to, and these are all there.
        let found = Pointer::decode(pointer)
            .and_then(|pointer| Some((pointer, self.find(pointer.file)?)))
            .ok_or_else(|| missing(pointer))?;
        found.1.read(found.0, key, visit)
    }

    /// Replaces a pointer in `value` by the value of `key` that it leads to.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn resolve(&self, key: &[u8], value: &mut Vec<u8>) -> Result<()> {
        let pointer: [u8; Pointer::BYTES] = value[..].try_into().map_err(|_| missing(value))?;
        self.read(key, &pointer, |bytes| {
            value.clear();
            value.extend_from_slice(bytes);
        })
    }
}

#[cold]
fn missing(pointer: &[u8]) -> Error {
    let (number, offset) =
        Pointer::decode(pointer).map_or((0, 0), |pointer| (pointer.file, pointer.offset));
    let name = StoreFile::Values(number).name();
    Error::corrupt(name.as_ref(), offset, "a table points to this file, which is not there")
}
