//! Operations on several records at once, and those that end a record's life.

use std::collections::VecDeque;
use std::time::Duration;

use kvdyno_workloads::{KeyBatch, OperationKind};

use super::{Driver, Fault, Ticks, Verify, wrong};

/// Bytes of records that expire, by when they do: what has expired is live no longer.
#[derive(Default)]
pub(super) struct Expiring {
    /// Until when, in nanoseconds after the first one, and how many bytes; in order.
    due: VecDeque<(u64, u64)>,
    /// When the first record was inserted.
    origin: Option<Ticks>,
}

/// Records that expire within so many nanoseconds are counted together.
const EXPIRY_STEP_NS: u64 = 100_000_000;

impl Driver<'_> {
    /// Gets several records at once; returns when it ended.
    pub(super) fn multi_get(&mut self, keys: KeyBatch<'_>) -> Result<Ticks, Fault> {
        self.items.clear();
        self.found.clear();
        let (items, found, clock, session) =
            (&mut self.items, &mut self.found, &self.clock, &mut self.session);
        let keep = self.verify != Verify::None;
        let (begin, end) = self.slices.with(keys, |slices| {
            let begin = clock.now();
            session.multi_get(slices, &mut |index, value| {
                if let (Some(value), Some(key)) = (value, slices.get(index)) {
                    items.take(key, value, keep);
                    found.push(index);
                }
            })?;
            Ok::<_, Fault>((begin, clock.now()))
        })?;
        self.record(OperationKind::MultiGet, begin, end);
        if self.check_is_due() {
            let began = self.clock.now();
            for (key, value) in self.items.iter() {
                self.workload
                    .check_value(key, value)
                    .map_err(|fault| wrong(key, true, &fault.to_string()))?;
            }
            self.checked_since(began);
        }
        if keep {
            self.check_all_found(keys)?;
        }
        self.took_items();
        Ok(end)
    }

    /// Streams only ask for keys that are there: each must have been answered, and once.
    fn check_all_found(&mut self, keys: KeyBatch<'_>) -> Result<(), Fault> {
        self.found.sort_unstable();
        let answers = self.found.iter().copied();
        if answers.eq(0..keys.len()) {
            return Ok(());
        }
        for (index, key) in keys.iter().enumerate() {
            if self.found.binary_search(&index).is_err() {
                return Err(wrong(key, false, ""));
            }
        }
        let (asked, answered) = (keys.len(), self.found.len());
        Err(Fault::WrongData(format!("a multi-get of {asked} keys was given {answered} values")))
    }

    /// Deletes a record of which `removed` key and value bytes are stored; returns when it ended.
    pub(super) fn delete(&mut self, key: &[u8], removed: u64) -> Result<Ticks, Fault> {
        let begin = self.clock.now();
        self.session.delete(key)?;
        let end = self.clock.now();
        self.record(OperationKind::Delete, begin, end);
        self.recorder.counts.user_bytes_written += key.len() as u64;
        self.recorder.counts.removed_bytes += removed;
        Ok(end)
    }

    /// Deletes a range in which `removed` key and value bytes are stored; returns when it ended.
    pub(super) fn delete_range(
        &mut self,
        start: &[u8],
        bound: &[u8],
        removed: u64,
    ) -> Result<Ticks, Fault> {
        let begin = self.clock.now();
        self.session.delete_range(start, bound)?;
        let end = self.clock.now();
        self.record(OperationKind::DeleteRange, begin, end);
        self.recorder.counts.user_bytes_written += (start.len() + bound.len()) as u64;
        self.recorder.counts.removed_bytes += removed;
        Ok(end)
    }

    /// Inserts a record that expires; returns when it ended.
    pub(super) fn insert_expiring(
        &mut self,
        key: &[u8],
        value: &[u8],
        ttl: Duration,
    ) -> Result<Ticks, Fault> {
        let begin = self.clock.now();
        self.session.put_expiring(key, value, ttl)?;
        let end = self.clock.now();
        self.record(OperationKind::InsertExpiring, begin, end);
        let bytes = (key.len() + value.len()) as u64;
        self.recorder.counts.user_bytes_written += bytes;
        self.recorder.counts.inserted_bytes += bytes;
        let origin = *self.expiring.origin.get_or_insert(end);
        let now_ns = self.clock.nanos_between(origin, end);
        self.recorder.counts.removed_bytes += self.expiring.insert(bytes, now_ns, ttl);
        Ok(end)
    }
}

impl Expiring {
    /// Takes in bytes that expire after `ttl`; returns those that have expired since the last call.
    fn insert(&mut self, bytes: u64, now_ns: u64, ttl: Duration) -> u64 {
        let ttl_ns = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        let due = now_ns.saturating_add(ttl_ns);
        match self.due.back_mut() {
            Some((last, sum)) if due < last.saturating_add(EXPIRY_STEP_NS) => *sum += bytes,
            _ => self.due.push_back((due, bytes)),
        }
        let mut expired = 0;
        while let Some((_, bytes)) = self.due.pop_front_if(|(due, _)| *due <= now_ns) {
            expired += bytes;
        }
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_is_told_once() {
        let mut expiring = Expiring::default();
        let ttl = Duration::from_secs(1);
        let second = 1_000_000_000;
        assert_eq!(expiring.insert(10, 0, ttl), 0);
        assert_eq!(expiring.insert(5, second / 2, ttl), 0);
        assert_eq!(expiring.insert(1, second - 1, ttl), 0);
        assert_eq!(expiring.insert(2, second, ttl), 10);
        assert_eq!(expiring.insert(0, 3 * second, ttl), 8);
        assert_eq!(expiring.due.len(), 1);
    }
}
