//! The operations of one logical stream, one after another.

use std::sync::Arc;

use crate::error::ValueFault;
use crate::inserts::{Fate, OwnInserts, SharedInserts};
use crate::operation::Operation;
use crate::series_stream::SeriesStream;
use crate::workload::{Data, Resolved};
use crate::ycsb_stream::YcsbStream;

/// The operations of one logical stream: endless, the same for the same spec, seed and index,
/// whatever thread asks for them (but for [`InsertCounter::Shared`](crate::InsertCounter::Shared)).
/// Operations are lent from buffers of the stream; after the first few nothing is allocated.
///
/// Each operation counts as acknowledged when the next one is asked for, or when the driver says
/// [`acknowledge`](Self::acknowledge), unless it says [`failed`](Self::failed) in between.
#[derive(Debug, Clone)]
pub struct OperationStream {
    resolved: Arc<Resolved>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Ycsb(YcsbStream<OwnInserts>),
    YcsbShared(YcsbStream<SharedInserts>),
    Series(SeriesStream),
}

impl OperationStream {
    pub(crate) fn new(resolved: Arc<Resolved>, seed: u64, index: u32) -> Self {
        let shared = Arc::clone(&resolved);
        let source = match &resolved.data {
            Data::Ycsb(data) => match &data.shared_counter {
                None => {
                    let inserts = OwnInserts::new(&resolved.spec, index, data.expires);
                    Source::Ycsb(YcsbStream::new(shared, data, seed, index, inserts))
                }
                Some(counter) => {
                    let inserts = SharedInserts::new(Arc::clone(counter));
                    Source::YcsbShared(YcsbStream::new(shared, data, seed, index, inserts))
                }
            },
            Data::Series(data) => Source::Series(SeriesStream::new(shared, data, seed, index)),
        };
        Self { resolved, source }
    }

    /// The next operation: [`advance`](Self::advance) and [`operation`](Self::operation) in one.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "it lends, which an iterator cannot")]
    pub fn next(&mut self) -> Operation<'_> {
        self.advance();
        self.operation()
    }

    /// Makes the next operation. Constant time but for the size of the value and the number of keys.
    #[inline]
    pub fn advance(&mut self) {
        match (&mut self.source, &self.resolved.data) {
            (Source::Ycsb(stream), Data::Ycsb(data)) => stream.advance(data),
            (Source::YcsbShared(stream), Data::Ycsb(data)) => stream.advance(data),
            (Source::Series(stream), Data::Series(data)) => stream.advance(data),
            _ => unreachable!("a stream is made for the data of its workload"),
        }
    }

    /// The operation that the last [`advance`](Self::advance) made. It is lent while the stream is only
    /// looked at, so that its record, version and checks can be asked for beside it.
    #[inline]
    pub fn operation(&self) -> Operation<'_> {
        match (&self.source, &self.resolved.data) {
            (Source::Ycsb(stream), Data::Ycsb(data)) => stream.operation(data),
            (Source::YcsbShared(stream), Data::Ycsb(data)) => stream.operation(data),
            (Source::Series(stream), _) => stream.operation(),
            _ => unreachable!("a stream is made for the data of its workload"),
        }
    }

    /// Says that the last operation was acknowledged, before the next is asked for. Only needed after an
    /// insert from a shared counter, which other streams are waiting for; saying it twice does nothing.
    pub fn acknowledge(&mut self) {
        match &mut self.source {
            Source::Ycsb(stream) => stream.acknowledge(),
            Source::YcsbShared(stream) => stream.acknowledge(),
            Source::Series(stream) => stream.acknowledge(),
        }
    }

    /// Says that the last operation was not acknowledged. A record whose insert or delete failed is not
    /// picked by later operations, and the next insert or delete tries it again.
    pub fn failed(&mut self) {
        match &mut self.source {
            Source::Ycsb(stream) => stream.failed(),
            Source::YcsbShared(stream) => stream.failed(),
            Source::Series(stream) => stream.failed(),
        }
    }

    /// How many inserts of this stream are acknowledged, those with expiry apart, and those included
    /// that were deleted since. The last operation counts if it was an insert and has not been said to
    /// have failed.
    pub fn inserted(&self) -> u64 {
        match &self.source {
            Source::Ycsb(stream) => stream.inserts().inserted(),
            Source::YcsbShared(stream) => stream.inserts().inserted(),
            Source::Series(stream) => stream.inserted(),
        }
    }

    /// The record number of this stream's `i`-th insert (from 0), whether it has been made or not.
    ///
    /// # Panics
    ///
    /// When the counter is shared and `i` is not below [`inserted`](Self::inserted): nobody knows then.
    pub fn inserted_record(&self, i: u64) -> u64 {
        match (&self.source, &self.resolved.data) {
            (Source::Series(stream), Data::Series(data)) => stream.inserted_record(data, i),
            (Source::Ycsb(stream), _) => stream.inserts().record_of(i),
            (Source::YcsbShared(stream), _) => stream.inserts().record_of(i),
            _ => unreachable!("a stream is made for the data of its workload"),
        }
    }

    /// How many inserts with expiry of this stream are acknowledged, counted as
    /// [`inserted`](Self::inserted) does.
    pub fn inserted_expiring(&self) -> u64 {
        match &self.source {
            Source::Ycsb(stream) => stream.inserts().expiring(),
            Source::YcsbShared(_) | Source::Series(_) => 0,
        }
    }

    /// The record number of this stream's `i`-th insert with expiry (from 0); `None` when its workload
    /// has none.
    pub fn expiring_record(&self, i: u64) -> Option<u64> {
        match (&self.source, &self.resolved.data) {
            (Source::Ycsb(stream), Data::Ycsb(data)) if data.expires => {
                Some(stream.inserts().expiring_record_of(i))
            }
            _ => None,
        }
    }

    /// Whether a record must be found at this moment: one that this stream has inserted, or a loaded one
    /// that is its own ([`Workload::owner_of_loaded`](crate::Workload::owner_of_loaded)). What other
    /// streams own is unknown to it.
    pub fn fate(&self, record: u64) -> Fate {
        match (&self.source, &self.resolved.data) {
            (Source::Series(stream), Data::Series(data)) => stream.fate(&data.codec, record),
            (Source::Ycsb(stream), _) => stream.inserts().fate(record),
            (Source::YcsbShared(stream), _) => stream.inserts().fate(record),
            _ => unreachable!("a stream is made for the data of its workload"),
        }
    }

    /// Key and value bytes of what the last operation removed, as it was inserted; 0 unless it is a
    /// delete or a range delete.
    pub fn removed_bytes(&self) -> u64 {
        match (&self.source, &self.resolved.data) {
            (Source::Series(stream), Data::Series(data)) => stream.removed_bytes(data),
            (Source::Ycsb(stream), Data::Ycsb(data)) => stream.removed_bytes(data),
            _ => 0,
        }
    }

    /// Key and value bytes that this stream has added to those of the loaded records: what it has
    /// inserted, less what it has removed (so that it can be negative). Records with expiry do not count.
    /// Linear in the inserts that live, or in the series.
    pub fn added_bytes(&self) -> i64 {
        match (&self.source, &self.resolved.data) {
            (Source::Series(stream), Data::Series(data)) => stream.added_bytes(data),
            (Source::Ycsb(stream), Data::Ycsb(data)) => stream.live_bytes(data) as i64,
            (Source::YcsbShared(stream), Data::Ycsb(data)) => stream.live_bytes(data) as i64,
            _ => unreachable!("a stream is made for the data of its workload"),
        }
    }

    /// The record number of the last operation; of a scan, that of its start key; of a multi-get, that of
    /// its last key. Of a time series, the last insert's.
    pub fn last_record(&self) -> u64 {
        match &self.source {
            Source::Ycsb(stream) => stream.record(),
            Source::YcsbShared(stream) => stream.record(),
            Source::Series(stream) => stream.record(),
        }
    }

    /// The version that the last write of this stream carries: 0 for inserts. Together with
    /// [`last_record`](Self::last_record) it names what was written; versions of different streams
    /// differ, but do not say which came first.
    pub fn last_version(&self) -> u64 {
        match &self.source {
            Source::Ycsb(stream) => stream.version(),
            Source::YcsbShared(stream) => stream.version(),
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
