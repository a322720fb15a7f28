//! The keys of a multi-get, lent without an allocation for each operation.

/// The keys that one multi-get asks for, in the order in which they were drawn. The same key may
/// stand in it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyBatch<'a> {
    /// All keys, one behind the other.
    bytes: &'a [u8],
    /// Where each key ends in `bytes`.
    ends: &'a [usize],
    records: &'a [u64],
}

impl<'a> KeyBatch<'a> {
    /// How many keys there are; at least one.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none, which no stream issues.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let key = &bytes[start..end];
            start = end;
            key
        })
    }

    /// The record numbers of the keys.
    pub fn records(&self) -> &'a [u64] {
        self.records
    }
}

/// The buffers behind a [`KeyBatch`].
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyBatchBuffer {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    records: Vec<u64>,
}

impl KeyBatchBuffer {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.records.clear();
    }

    pub(crate) fn push(&mut self, record: u64, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        self.records.push(record);
    }

    pub(crate) fn lend(&self) -> KeyBatch<'_> {
        KeyBatch { bytes: &self.bytes, ends: &self.ends, records: &self.records }
    }
}

/// Room for the slice of slices that a storage engine takes, kept between multi-gets.
///
/// ```
/// # use kvdyno_workloads::{KeySlices, Operation, Workload, WorkloadSpec};
/// # let spec = WorkloadSpec::builtin("multi-get").expect("a built-in name");
/// # let workload = Workload::new(spec, 1).expect("a valid spec");
/// # let mut stream = workload.stream(0);
/// let mut slices = KeySlices::default();
/// if let Operation::MultiGet { keys } = stream.next() {
///     slices.with(keys, |keys| assert_eq!(keys.len(), 10));
/// }
/// ```
#[derive(Debug, Default)]
pub struct KeySlices(Vec<&'static [u8]>);

impl KeySlices {
    /// Calls `work` with the keys as a slice of slices. Allocates only when the batch is larger than
    /// all before it.
    pub fn with<R>(&mut self, keys: KeyBatch<'_>, work: impl FnOnce(&[&[u8]]) -> R) -> R {
        let mut slices: Vec<&[u8]> = std::mem::take(&mut self.0);
        slices.extend(keys.iter());
        let result = work(&slices);
        slices.clear();
        // Collecting what a vector held into a vector of the same layout reuses its allocation; the
        // vector is empty, so that no slice outlives what it was lent from.
        self.0 = slices.into_iter().map(|_| -> &'static [u8] { &[] }).collect();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(keys: &[&[u8]]) -> KeyBatchBuffer {
        let mut buffer = KeyBatchBuffer::default();
        for (record, key) in keys.iter().enumerate() {
            buffer.push(record as u64, key);
        }
        buffer
    }

    #[test]
    fn batch_lends_its_keys_in_order() {
        let mut buffer = batch(&[b"one", b"", b"three", b"one"]);
        let keys = buffer.lend();
        assert_eq!(keys.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"three", b"one"]);
        assert_eq!((keys.len(), keys.records()), (4, &[0, 1, 2, 3][..]));
        buffer.clear();
        assert!(buffer.lend().is_empty());
    }

    #[test]
    fn slices_reuse_their_room() {
        let mut slices = KeySlices::default();
        let long = batch(&[&b"a"[..]; 100]);
        slices.with(long.lend(), |keys| assert_eq!(keys, [b"a"; 100]));
        let room = (slices.0.as_ptr(), slices.0.capacity());
        assert!(room.1 >= 100);
        let short = batch(&[b"b", b"c"]);
        slices.with(short.lend(), |keys| assert_eq!(keys, [b"b", b"c"]));
        assert_eq!((slices.0.as_ptr(), slices.0.capacity()), room);
    }
}
