//! The operations of one logical stream, one after another.

use std::sync::Arc;

use crate::error::ValueFault;
use crate::operation::Operation;
use crate::series_stream::SeriesStream;
use crate::workload::{Data, Resolved};
use crate::ycsb_stream::YcsbStream;

/// The operations of one logical stream: endless, the same for the same spec, seed and index,
/// whatever thread asks for them. Operations are lent from buffers of the stream; after the first
/// few nothing is allocated.
///
/// Each operation counts as acknowledged when the next one is asked for, unless the driver says
/// [`failed`](Self::failed) in between.
#[derive(Debug, Clone)]
pub struct OperationStream {
    resolved: Arc<Resolved>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Ycsb(YcsbStream),
    Series(SeriesStream),
}

impl OperationStream {
    pub(crate) fn new(resolved: Arc<Resolved>, seed: u64, index: u32) -> Self {
        let source = match &resolved.data {
            Data::Ycsb(data) => {
                Source::Ycsb(YcsbStream::new(Arc::clone(&resolved), data, seed, index))
            }
            Data::Series(data) => {
                Source::Series(SeriesStream::new(Arc::clone(&resolved), data, seed, index))
            }
        };
        Self { resolved, source }
    }

    /// The next operation. Constant time but for the size of the value.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "it lends, which an iterator cannot")]
    pub fn next(&mut self) -> Operation<'_> {
        match (&mut self.source, &self.resolved.data) {
            (Source::Ycsb(stream), Data::Ycsb(data)) => stream.next(data),
            (Source::Series(stream), Data::Series(data)) => stream.next(data),
            _ => unreachable!("a stream is made for the data of its workload"),
        }
    }

    /// Says that the last operation was not acknowledged. A record whose insert failed is not picked
    /// by later operations, and the next insert tries it again.
    pub fn failed(&mut self) {
        match &mut self.source {
            Source::Ycsb(stream) => stream.failed(),
            Source::Series(stream) => stream.failed(),
        }
    }

    /// How many inserts of this stream are acknowledged; the last operation counts if it was an insert
    /// and has not been said to have failed.
    pub fn inserted(&self) -> u64 {
        match &self.source {
            Source::Ycsb(stream) => stream.inserted(),
            Source::Series(stream) => stream.inserted(),
        }
    }

    /// The record number of this stream's `i`-th insert (from 0), whether it has been made or not.
    pub fn inserted_record(&self, i: u64) -> u64 {
        match (&self.source, &self.resolved.data) {
            (Source::Series(stream), Data::Series(data)) => stream.inserted_record(data, i),
            (Source::Ycsb(stream), _) => stream.insert_of(i),
            _ => unreachable!("a stream is made for the data of its workload"),
        }
    }

    /// The record number of the last operation; of a scan, that of its start key. Of a time series, the
    /// last insert's.
    pub fn last_record(&self) -> u64 {
        match &self.source {
            Source::Ycsb(stream) => stream.record(),
            Source::Series(stream) => stream.record(),
        }
    }

    /// The version that the last write of this stream carries: 0 for inserts. Together with
    /// [`last_record`](Self::last_record) it names what was written; versions of different streams
    /// differ, but do not say which came first.
    pub fn last_version(&self) -> u64 {
        match &self.source {
            Source::Ycsb(stream) => stream.version(),
            Source::Series(_) => 0,
        }
    }

    /// Checks what a window returned against the points that its series has at this moment: call it
    /// before the next [`next`](Self::next). `start` and `end` are those of the
    /// [`Operation::Window`](crate::Operation::Window). A point whose insert failed may be there or not.
    /// Linear in the window.
    ///
    /// # Errors
    ///
    /// The first fault: a point missing, too many, out of order, or with a wrong value; or
    /// [`ValueFault::NotTimeSeries`].
    pub fn check_window<'a>(
        &self,
        start: &[u8],
        end: &[u8],
        items: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<(), ValueFault> {
        match (&self.source, &self.resolved.data) {
            (Source::Series(stream), Data::Series(data)) => {
                stream.check_window(&data.codec, start, end, items)
            }
            _ => Err(ValueFault::NotTimeSeries),
        }
    }

    /// Checks what the last [`Operation::Latest`](crate::Operation::Latest) returned: the key and value
    /// found, or nothing. Call it before the next [`next`](Self::next).
    ///
    /// # Errors
    ///
    /// The fault, as for [`check_window`](Self::check_window).
    pub fn check_latest(&self, item: Option<(&[u8], &[u8])>) -> Result<(), ValueFault> {
        match (&self.source, &self.resolved.data) {
            (Source::Series(stream), Data::Series(data)) => stream.check_latest(&data.codec, item),
            _ => Err(ValueFault::NotTimeSeries),
        }
    }
}
