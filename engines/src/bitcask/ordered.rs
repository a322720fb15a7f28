//! The ordered view: all keys, sorted, for scans on an index that has no order.
//!
//! 1. A scan begins a moment (`iter.rs`), and with it learns the generation of the key set: a number that changes whenever a key is added or removed.
//! 2. If the keys that were sorted last are of another generation, the keys of the moment are read, sorted, and kept for the scans that follow.
//! 3. The scan walks the sorted keys, and looks each one up in the moment. So keys and values are those of one point in time, whatever is written meanwhile,
//!    though the sorted keys may be older: the key set has been the same since.
//!
//! The key set is that of the index: a key whose value has expired belongs to it until a merge drops its record, is sorted with the others, and passed over by scans while
//! it is gone. Else putting it again, which replaces an entry and adds none, would go unnoticed.
//!
//! Cost: a rebuild reads and verifies every record and sorts all keys, O(n log n); memory for all keys and 16 bytes for each, and while the keys are being collected up to twice that. A scan
//! that finds the view up to date costs a search and one look-up and read for each key.

use std::cmp::Ordering as Comparison;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::iter::Moment;
use super::store::Store;
use crate::storage::Storage;
use crate::{Direction, Error, OperationKind, Result, Visit};

/// The keys that were sorted last, and what sorting has cost so far.
#[derive(Default)]
pub(crate) struct OrderedView {
    latest: Mutex<Option<Arc<SortedKeys>>>,
    /// Held while keys are collected and sorted.
    rebuilding: Mutex<()>,
    rebuilds: AtomicU64,
    rebuild_nanos: AtomicU64,
}

impl OrderedView {
    /// Counters for the store's metrics.
    pub(crate) fn figures(&self) -> [(String, f64); 2] {
        let seconds = Duration::from_nanos(self.rebuild_nanos.load(Ordering::Relaxed));
        let rebuilds = self.rebuilds.load(Ordering::Relaxed);
        [
            ("ordered_view_rebuilds".to_owned(), rebuilds as f64),
            ("ordered_view_rebuild_seconds".to_owned(), seconds.as_secs_f64()),
        ]
    }

    fn of_generation(&self, generation: u64) -> Option<Arc<SortedKeys>> {
        self.latest.lock().clone().filter(|keys| keys.generation == generation)
    }

    /// Sorts the keys of a moment, and keeps them. Those that were kept go first, for the sake of memory.
    fn rebuild<S: Storage>(&self, moment: &Moment<'_, S>) -> Result<Arc<SortedKeys>> {
        let start = Instant::now();
        *self.latest.lock() = None;
        let keys = Arc::new(SortedKeys::of(moment)?);
        *self.latest.lock() = Some(Arc::clone(&keys));
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
        self.rebuild_nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Ok(keys)
    }
}

/// All keys of one generation of the key set.
struct SortedKeys {
    generation: u64,
    /// The keys' bytes, in the order in which they were read.
    bytes: Vec<u8>,
    /// Where each key lies in `bytes`, in the order of the keys.
    ranges: Vec<Range>,
}

/// A key's place.
#[derive(Clone, Copy)]
struct Range {
    start: usize,
    len: u32,
}

impl Range {
    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..self.start + self.len as usize]
    }
}

impl SortedKeys {
    fn of<S: Storage>(moment: &Moment<'_, S>) -> Result<Self> {
        let generation = moment.snapshot.generation;
        let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
        moment.indexed_keys(|key| {
            ranges.push(Range { start: bytes.len(), len: key.len() as u32 });
            bytes.extend_from_slice(key);
        })?;
        bytes.shrink_to_fit();
        ranges.shrink_to_fit();
        ranges.sort_unstable_by(|a, b| a.of(&bytes).cmp(b.of(&bytes)));
        Ok(Self { generation, bytes, ranges })
    }

    /// The keys from `start` on, in the order of a scan.
    fn from<'k>(
        &'k self,
        start: &[u8],
        direction: Direction,
    ) -> Box<dyn Iterator<Item = &'k [u8]> + 'k> {
        let below = |wanted: Comparison| {
            self.ranges.partition_point(|range| range.of(&self.bytes).cmp(start) < wanted)
        };
        let key = |range: &Range| range.of(&self.bytes);
        match direction {
            Direction::Forward => {
                let first = below(Comparison::Equal);
                Box::new(self.ranges[first..].iter().map(key))
            }
            Direction::Reverse => {
                let end =
                    if start.is_empty() { self.ranges.len() } else { below(Comparison::Greater) };
                Box::new(self.ranges[..end].iter().rev().map(key))
            }
        }
    }
}

impl<S: Storage> Store<S> {
    /// [`crate::Session::scan`].
    pub(crate) fn scan(
        &self,
        start: &[u8],
        direction: Direction,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<usize> {
        if !self.options.ordered_scans {
            return Err(Error::Unsupported(match direction {
                Direction::Forward => OperationKind::ScanForward,
                Direction::Reverse => OperationKind::ScanReverse,
            }));
        }
        if limit == 0 {
            return Ok(0);
        }
        let (moment, keys) = self.ordered_moment()?;
        let mut visited = 0;
        for key in keys.from(start, direction) {
            // A key whose value has expired is passed over.
            if let Some(flow) = moment.get(key, &mut *visit)? {
                visited += 1;
                if visited == limit || flow.is_break() {
                    break;
                }
            }
        }
        Ok(visited)
    }

    /// This moment, with all its keys.
    fn whole_moment(&self) -> Result<Moment<'_, S>> {
        let (moment, error) = Moment::begin(self);
        error.map_or(Ok(moment), Err)
    }

    /// This moment, and its keys.
    fn ordered_moment(&self) -> Result<(Moment<'_, S>, Arc<SortedKeys>)> {
        let view = &self.ordered;
        let moment = self.whole_moment()?;
        if let Some(keys) = view.of_generation(moment.snapshot.generation) {
            return Ok((moment, keys));
        }
        // Writers should not preserve anything for as long as this waits for others, who may sort the very keys that it needs.
        drop(moment);
        let _one_at_a_time = view.rebuilding.lock();
        let moment = self.whole_moment()?;
        let keys = match view.of_generation(moment.snapshot.generation) {
            Some(keys) => keys,
            None => view.rebuild(&moment)?,
        };
        Ok((moment, keys))
    }
}
