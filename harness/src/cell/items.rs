//! What a scan returned.

use kvdyno_engines::Direction;
use kvdyno_workloads::Workload;

use super::driver::{Fault, wrong};

/// What a scan returned, kept for checking after its time has been taken.
#[derive(Default)]
pub(super) struct Items {
    bytes: Vec<u8>,
    lengths: Vec<(usize, usize)>,
    /// Items visited.
    pub(super) seen: u64,
    /// Their keys and values.
    pub(super) bytes_seen: u64,
}

impl Items {
    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        self.seen = 0;
        self.bytes_seen = 0;
    }

    /// Takes an item in: copied, or only looked at.
    #[inline]
    pub(super) fn take(&mut self, key: &[u8], value: &[u8], keep: bool) {
        self.seen += 1;
        self.bytes_seen += (key.len() + value.len()) as u64;
        if keep {
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(value);
            self.lengths.push((key.len(), value.len()));
        } else {
            // Whoever scans looks at what is found: an engine that postpones reading must not gain by it.
            std::hint::black_box((key.first(), value.first(), value.last()));
        }
    }

    /// Those that were copied.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.lengths.iter().map(move |(key, value)| {
            let (head, tail) = rest.split_at(key + value);
            rest = tail;
            head.split_at(*key)
        })
    }

    /// Keys begin with the start itself, which exists, and are in order; each value belongs to its key.
    pub(super) fn check_scan(
        &self,
        workload: &Workload,
        start: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<(), Fault> {
        let mut last: Option<&[u8]> = None;
        for (key, value) in self.iter() {
            let in_order = last.map_or(key == start, |last| match direction {
                Direction::Forward => key > last,
                Direction::Reverse => key < last,
            });
            if !in_order {
                let (key, start) = (key.escape_ascii(), start.escape_ascii());
                return Err(Fault::WrongData(format!(
                    "a scan from {start} returned {key} out of order"
                )));
            }
            workload
                .check_value(key, value)
                .map_err(|fault| wrong(key, true, &fault.to_string()))?;
            last = Some(key);
        }
        if last.is_none() && limit > 0 {
            return Err(wrong(start, false, ""));
        }
        Ok(())
    }
}
