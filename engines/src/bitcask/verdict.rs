//! Whose entry a put has replaced, where the put has only presumed it (`presumed.rs`).
//!
//! 1. The hint of the old entry's segment tells the key of its record. If that is the key that was put, the record is dead.
//! 2. If it is not, or the hint does not know the record, the record itself has the last word: a hint is an aid and never the truth.
//! 3. The verdict is carried out under the lock of the presumptions of the shard, and only if the presumption is still there, and the slot of its entry still has the segment that was read: a merge may have
//!    moved the record meanwhile, and another segment have got the slot. What a segment holds at an offset never changes, so under that lock the verdict holds.
//!
//! A record that cannot be read because it is damaged is kept: it may be another key's, of which nothing would be left. Reads that come across it say that it is damaged.
//!
//! Who verifies: writes and deletions that find a presumption in their way, one by one; a thread, in batches sorted by place, so that a page of a hint is fetched once for many; merges, iterations, figures and closing, all that
//! concern them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::entry::Entry;
use super::options::Background;
use super::presumed::{Hold, PRESUMPTIONS_MAX, Presumption};
use super::record::Record;
use super::segment::Segment;
use super::store::Store;
use super::view::View;
use crate::log::frame;
use crate::storage::Storage;
use crate::{Error, Result};

/// So many are verified without waiting for more: while they are, as many others can come. The more, the cheaper: hints of ten million records have 60,000 pages, of which a batch touches nearly all.
pub(crate) const BATCH: usize = PRESUMPTIONS_MAX / 2;
/// The same where the writer does it. Few, so that tests see batches.
pub(crate) const BATCH_INLINE: usize = 8;
/// Fewer wait so long for more.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of an entry that was replaced.
enum Verdict {
    /// It was the same key's; bytes of its record's frame.
    Dead(u64),
    /// It is another key's, or cannot be read.
    Needed,
}

impl<S: Storage> View<S> {
    /// Verifies the presumptions for the bucket of `hash`.
    pub(crate) fn verify_bucket(&self, hash: u64) -> Result<()> {
        while let Some(presumption) = self.keydir.presumed.of(hash) {
            self.verify(presumption)?;
        }
        Ok(())
    }

    /// Verifies a presumption. Afterwards it is not there any more, but one with the same record at another place may be.
    ///
    /// # Errors
    /// If neither hint nor record can be read, and not because they are damaged; then nothing has changed.
    pub(crate) fn verify(&self, presumption: Presumption) -> Result<()> {
        match self.segment_of(presumption) {
            Some(segment) => self.verify_in(presumption, &segment),
            None => Ok(()),
        }
    }

    /// Verifies all presumptions on wanted entries that are there at this moment, until `stop`.
    ///
    /// # Errors
    /// The first of [`View::verify`]; the others are verified nevertheless.
    pub(crate) fn verify_all(
        &self,
        wanted: impl Fn(Entry) -> bool,
        stop: impl Fn() -> bool,
    ) -> Result<()> {
        let layout = self.files.layout;
        let mut batch = self.keydir.presumed.gather(wanted);
        batch.sort_unstable_by_key(|presumption| presumption.old.location());
        let place = |presumption: &Presumption| layout.place(presumption.old);
        let mut outcome = Ok(());
        let of_segments = batch.chunk_by(|a, b| place(a).0 == place(b).0);
        let mut coming = of_segments.map(|these| (these, self.expect(these))).peekable();
        while let Some((these, segment)) = coming.next() {
            if stop() {
                break;
            }
            // The next hint is fetched while this one is looked at.
            coming.peek();
            // If there is none, all of these were verified by others.
            let Some(segment) = segment else { continue };
            for presumption in these {
                outcome = outcome.and(self.verify_in(*presumption, &segment));
            }
        }
        outcome
    }

    /// Says that these, sorted by place, will be verified soon. Returns the segment in which all of them are or were; None if none of them waits any more.
    fn expect(&self, these: &[Presumption]) -> Option<Arc<Segment<S::File>>> {
        let segment = these.iter().find_map(|first| self.segment_of(*first))?;
        if let Some(hint) = segment.hint() {
            // Whoever reads the hint comes across the error.
            let _ = hint.expect(these.iter().map(|its| self.files.layout.place(its.old).1));
        }
        Some(segment)
    }

    /// As [`View::verify`], for one that probably is in this segment.
    fn verify_in(&self, presumption: Presumption, segment: &Arc<Segment<S::File>>) -> Result<()> {
        let verdict = self.judge(presumption, segment)?;
        if self.carry_out(presumption, &verdict, segment) {
            return Ok(());
        }
        self.verify(presumption)
    }

    /// The segment of the old entry; None if the presumption is not there any more.
    fn segment_of(&self, presumption: Presumption) -> Option<Arc<Segment<S::File>>> {
        let hash = presumption.print.hash;
        let waiting = self.keydir.presumed.lock(hash);
        if !waiting.has(presumption) {
            return None;
        }
        let (slot, _) = self.files.layout.place(presumption.old);
        Some(Arc::clone(self.files.table().segment(slot)))
    }

    fn judge(&self, presumption: Presumption, segment: &Segment<S::File>) -> Result<Verdict> {
        let (_, offset) = self.files.layout.place(presumption.old);
        let hinted = segment.hint().map_or(Ok(None), |hint| hint.find(offset));
        match hinted {
            Ok(Some(known)) if known.print == presumption.print => {
                return Ok(Verdict::Dead(known.frame_bytes));
            }
            Ok(_) | Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        match frame::read(&segment.file, segment.id.0, offset) {
            Ok(frame) => Ok(match Record::decode(frame.payload()) {
                Some(record) if self.hasher.fingerprint(record.key) == presumption.print => {
                    Verdict::Dead(record.frame_bytes())
                }
                _ => Verdict::Needed,
            }),
            Err(Error::Corrupt { .. }) => Ok(Verdict::Needed),
            Err(error) => Err(error),
        }
    }

    /// Does what follows from a verdict, unless the presumption is gone; false if it is about another segment than the one that was read.
    fn carry_out(
        &self,
        presumption: Presumption,
        verdict: &Verdict,
        read: &Arc<Segment<S::File>>,
    ) -> bool {
        let hash = presumption.print.hash;
        let mut waiting = self.keydir.presumed.lock(hash);
        if !waiting.has(presumption) {
            return true;
        }
        let (slot, _) = self.files.layout.place(presumption.old);
        if !Arc::ptr_eq(self.files.table().segment(slot), read) {
            return false;
        }
        match verdict {
            Verdict::Dead(frame_bytes) => read.usage.remove(*frame_bytes),
            Verdict::Needed => {
                // Shard and tag of both keys are the same. The writer's lock need not be held here.
                self.keydir.before_moves();
                self.keydir.insert(hash, presumption.old);
            }
        }
        waiting.remove(presumption);
        true
    }
}

/// Every entry is where it belongs, and puts presume nothing, while this lives.
pub(crate) struct Verified<'a> {
    _hold: Hold<'a>,
    /// Why some entries are not.
    pub(crate) error: Option<Error>,
}

impl<S: Storage> Store<S> {
    /// Verifies everything that was presumed, and keeps puts from presuming more. Reads hints, in a store that is larger than memory: those of what puts have replaced in the last second or so.
    pub(crate) fn verified(&self) -> Verified<'_> {
        // Most of it while puts go on presuming; an error comes again.
        let _ = self.verify_presumed();
        let hold = {
            let _no_put_is_presuming = self.writer.lock();
            self.view.keydir.presumed.hold()
        };
        Verified { error: self.verify_rest().err(), _hold: hold }
    }

    /// Verifies everything, until there is nothing. Puts must be kept from presuming, or have ended.
    pub(crate) fn verify_rest(&self) -> Result<()> {
        while !self.view.keydir.presumed.is_empty() {
            self.view.verify_all(|_| true, || false)?;
        }
        Ok(())
    }

    /// As [`Store::verified`], for those who cannot fail: whoever waits for background work is told of it.
    pub(crate) fn verified_for_figures(&self) -> Verified<'_> {
        let mut verified = self.verified();
        if let Some(error) = verified.error.take() {
            self.background_error.lock().get_or_insert(error);
        }
        verified
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        let len = self.view.keydir.len();
        if !self.view.keydir.presumed.were_made() {
            return len;
        }
        let _verified = self.verified_for_figures();
        self.view.keydir.len()
    }

    /// Verifies what was presumed up to now; one after the other, as two batches would take twice the memory and read the same pages.
    pub(crate) fn verify_presumed(&self) -> Result<()> {
        let _one_at_a_time = self.verifying.lock();
        self.view.verify_all(|_| true, || self.stopping.load(Ordering::Relaxed))
    }

    /// Lets somebody know, now and then, that there is something to be verified. To be called after each put that has presumed.
    #[inline]
    pub(crate) fn note_presumption(&self) {
        let waiting = self.view.keydir.presumed.len();
        if waiting == 1 || waiting == BATCH {
            self.verifier.notify();
        }
    }

    /// What the background does: verifies when there is a batch, or after a pause.
    pub(crate) fn verify_batch(&self) -> Result<()> {
        let presumed = &self.view.keydir.presumed;
        if presumed.len() < BATCH {
            self.verifier.wait(Some(PAUSE));
        }
        let outcome = self.verify_presumed();
        // Others may have come meanwhile; and whoever ends the thread may have been taken for one of them.
        if !presumed.is_empty() || self.stopping.load(Ordering::Relaxed) {
            self.verifier.notify();
        }
        outcome
    }

    /// Whether the writer is to verify what was presumed.
    #[inline]
    pub(crate) fn verifies_inline(&self) -> bool {
        self.options.background == Background::Inline
            && self.view.keydir.presumed.len() >= BATCH_INLINE
    }
}
