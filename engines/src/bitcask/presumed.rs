//! Presumptions: puts that have replaced an entry of the keydir without having looked whose it was.
//!
//! An entry has 34 bits of its key's hash, so the one entry with the tag of a key that is put is nearly always that key's, but not always. In a store that is larger than memory, to make sure is to wait for a
//! page of a hint. Such a put *presumes* that the entry is its key's, replaces it, and the old entry waits here until somebody verifies whose it was (`verdict.rs`): it is dead, or goes back to the keydir.
//!
//! 1. A presumption belongs to a *bucket*: a shard of the keydir, and a tag in it. It has the 128 bits that stand for the key that was put, and the old entry. All of a bucket are for one and the same key.
//! 2. A put presumes only if its bucket has exactly one entry, and no presumption for another key.
//! 3. Presumptions of a shard lie in a hash table behind a lock that is held for a few cache lines, never during I/O. What moves an entry between keydir and presumptions holds it over both steps; so who holds it sees both as they
//!    were at one moment, and finds an entry exactly once.
//!
//! Invariant. For each bucket, at each moment at which its lock is free:
//!
//! - (a) An entry in the keydir is the newest of its key, and no two are of one key.
//! - (b) The old entry of a presumption is either a dead one of the key that was put, or the newest of *another* key, which then has none in the keydir and is no other presumption's.
//! - (c) The newest entry of each key that is there is in the keydir or is the old entry of a presumption.
//! - (d) The segment of an entry in either is in the segment table.
//!
//! What follows, and who relies on it:
//!
//! - An entry in the keydir whose key is equal is the one that is looked for, whatever is presumed (a): puts to hot keys verify nothing.
//! - That no entry in the keydir has the key says nothing while there is a presumption (c). A *read* then tries the old entry as well, unless the presumption was made for the very key that is read: then the old
//!   entry is not its value (b). A *write* verifies what is presumed first, and begins anew. Without that, (a) would break: a second entry of a key would come up when the old one goes back.
//! - Presuming keeps the invariant: by (b), no presumption for a key has the key's own entry, so by (c) the one entry in the keydir is the key's, if the key has one. Writers alone presume, under the writer's lock.
//! - A *merge* takes old entries for needed and swings them to their new places (`Keydir::is_needed`, `Keydir::swing`), as it does those of the keydir.
//! - Whatever looks at all entries (iterations, counting, figures, closing) first keeps puts from presuming ([`Presumptions::hold`], under the writer's lock, where puts decide) and verifies everything.
//!
//! `ever` is set before the first entry is out of sight, and stays set: who has not found a key looks at it after the keydir, whose lock makes sure that he sees it. It cannot go by the number that wait: an entry may have gone back between
//! his look into the keydir and that at the number.
//!
//! Memory: 25 bytes a place, of which 44 to 88 % are taken, for at most [`PRESUMPTIONS_MAX`]: 26 MB; 24 bytes for each while a batch is verified; and 40 KiB. Lock order: presumptions of a shard, list of snapshots, shard of the keydir.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

use super::entry::Entry;
use super::fingerprint::Fingerprint;
use super::keydir::{Keydir, SHARDS};

/// So many may wait; puts that find more make sure at once. 768 in each shard, on average, fit into tables of 1,024 places.
pub(crate) const PRESUMPTIONS_MAX: usize = 768 * SHARDS;

/// A put that has replaced an entry without having looked whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presumption {
    /// Stands for the key that was put.
    pub(crate) print: Fingerprint,
    /// The entry that was replaced.
    pub(crate) old: Entry,
}

/// See the module's header.
pub(crate) struct Presumptions {
    shards: Box<[Mutex<HashTable<Presumption>>]>,
    /// There has been one.
    ever: AtomicBool,
    len: AtomicUsize,
    /// Of those who want none to be made.
    holds: AtomicUsize,
}

impl Default for Presumptions {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            ever: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            holds: AtomicUsize::new(0),
        }
    }
}

impl Presumptions {
    /// Whether one was ever made. Must be asked after the keydir.
    #[inline]
    pub(crate) fn were_made(&self) -> bool {
        self.ever.load(Ordering::Relaxed)
    }

    /// How many wait. Under the writer's lock it does not grow, and what has gone from here is where it belongs.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory. Takes every shard's lock, one after the other.
    pub(crate) fn bytes(&self) -> usize {
        let waiting = |shard: &Mutex<HashTable<Presumption>>| shard.lock().allocation_size();
        let tables: usize = self.shards.iter().map(waiting).sum();
        tables + size_of_val(&*self.shards)
    }

    /// Whether no more can be made at present.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // Relaxed: whom it matters to holds the writer's lock, as those do who close.
        self.holds.load(Ordering::Relaxed) != 0
            || self.len.load(Ordering::Relaxed) >= PRESUMPTIONS_MAX
    }

    /// Lets nobody presume until the guard goes. The writer's lock must be held meanwhile: a put that has decided to presume has then done so.
    pub(crate) fn hold(&self) -> Hold<'_> {
        self.holds.fetch_add(1, Ordering::Relaxed);
        Hold(self)
    }

    /// One for the bucket of `hash`. Under the writer's lock, where there is none there will be none.
    pub(crate) fn of(&self, hash: u64) -> Option<Presumption> {
        if self.is_empty() {
            return None;
        }
        self.lock(hash).of(hash).next()
    }

    /// All whose old entries are wanted. Takes every shard's lock, one after the other.
    pub(crate) fn gather(&self, wanted: impl Fn(Entry) -> bool) -> Vec<Presumption> {
        let mut gathered = Vec::new();
        for shard in &self.shards {
            gathered.extend(shard.lock().iter().filter(|waiting| wanted(waiting.old)));
        }
        gathered
    }

    pub(crate) fn lock(&self, hash: u64) -> Waiting<'_> {
        Waiting { shard: self.shards[Keydir::shard_of(hash)].lock(), len: &self.len }
    }
}

/// Nobody presumes while this lives.
pub(crate) struct Hold<'a>(&'a Presumptions);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The presumptions of a shard, locked.
pub(crate) struct Waiting<'a> {
    shard: MutexGuard<'a, HashTable<Presumption>>,
    len: &'a AtomicUsize,
}

impl Waiting<'_> {
    /// Those for the bucket of `hash`, in no order.
    pub(crate) fn of(&self, hash: u64) -> impl Iterator<Item = Presumption> {
        let tag = Entry::new(hash, 0).tag();
        let of_tag = self.shard.iter_hash(spread(tag)).copied();
        of_tag.filter(move |waiting| waiting.old.has_tag_of(hash))
    }

    /// Whether none for the bucket of `hash` is for another key than that with this fingerprint.
    #[inline]
    pub(crate) fn are_for(&self, hash: u64, print: impl FnOnce() -> Fingerprint) -> bool {
        self.of(hash).next().is_none_or(|waiting| waiting.print == print())
    }

    /// Whether this very one is there.
    pub(crate) fn has(&self, presumption: Presumption) -> bool {
        let hash = spread(presumption.old.tag());
        self.shard.find(hash, |waiting| *waiting == presumption).is_some()
    }

    fn add(&mut self, presumption: Presumption) {
        let hash = spread(presumption.old.tag());
        self.shard.insert_unique(hash, presumption, |its| spread(its.old.tag()));
    }

    /// Removes this very one, if it is there.
    pub(crate) fn remove(&mut self, presumption: Presumption) {
        let hash = spread(presumption.old.tag());
        let Ok(found) = self.shard.find_entry(hash, |its| *its == presumption) else { return };
        found.remove();
        if self.shard.is_empty() {
            *self.shard = HashTable::new();
        }
        // Release: who sees that it is gone from here sees where it went.
        self.len.fetch_sub(1, Ordering::Release);
    }
}

/// A tag's 24 bits, which are good ones, where the table looks for them: it takes the place from the low bits and the byte that it compares first from the high ones.
fn spread(tag: u64) -> u64 {
    tag << 40 | tag
}

impl Keydir {
    /// What `look_up` finds in the keydir, and what `among` makes of the presumptions, both of one moment.
    #[inline]
    pub(crate) fn with_presumptions<R, P>(
        &self,
        hash: u64,
        look_up: impl FnOnce() -> R,
        among: impl FnOnce(&Waiting<'_>) -> P,
    ) -> (R, P) {
        let waiting = self.presumed.lock(hash);
        (look_up(), among(&waiting))
    }

    /// Puts `new` in the place of the one entry in the bucket, and presumes that this was the same key's; false, with nothing done, if there is not exactly one, or a presumption for another key. The writer's
    /// lock must be held.
    pub(crate) fn presume(&self, print: Fingerprint, new: Entry) -> bool {
        let mut waiting = self.presumed.lock(print.hash);
        if !waiting.are_for(print.hash, || print) {
            return false;
        }
        // Both before the entry is out of sight.
        self.presumed.ever.store(true, Ordering::Relaxed);
        self.presumed.len.fetch_add(1, Ordering::Relaxed);
        let only = || self.candidates(print.hash, || ()).and_then(|(found, ())| found.only());
        while let Some(old) = only() {
            // Fails if a merge has just moved it.
            if self.replace(print.hash, old, new) {
                waiting.add(Presumption { print, old });
                return true;
            }
        }
        self.presumed.len.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Whether an entry is there, or was replaced by a put that only presumed that it may be.
    pub(crate) fn is_needed(&self, hash: u64, entry: Entry) -> bool {
        self.contains(hash, entry)
            || self.presumed.were_made() && {
                let waiting = self.presumed.lock(hash);
                self.contains(hash, entry) || waiting.of(hash).any(|its| its.old == entry)
            }
    }

    /// Calls `visit` with every entry that [`Keydir::is_needed`]. Takes every shard's locks, one after the other.
    pub(crate) fn visit_needed(&self, mut visit: impl FnMut(Entry)) {
        for (shard, waiting) in self.presumed.shards.iter().enumerate() {
            let waiting = waiting.lock();
            self.table(shard).iter().for_each(&mut visit);
            waiting.iter().for_each(|presumption| visit(presumption.old));
        }
    }

    /// Lets an entry that [`Keydir::is_needed`] point to `to`, where a merge has put its record; false if it is not needed any more.
    pub(crate) fn swing(&self, hash: u64, from: Entry, to: Entry) -> bool {
        if self.replace(hash, from, to) {
            return true;
        }
        if !self.presumed.were_made() {
            return false;
        }
        let mut waiting = self.presumed.lock(hash);
        if self.replace(hash, from, to) {
            return true;
        }
        let its = waiting.shard.find_mut(spread(from.tag()), |its| its.old == from);
        its.map(|its| its.old = to).is_some()
    }

    /// Removes the entry of a value that has expired and that a merge has left out, if it [`Keydir::is_needed`].
    pub(crate) fn remove_expired(&self, hash: u64, entry: Entry) {
        if self.remove(hash, entry) || !self.presumed.were_made() {
            return;
        }
        let mut waiting = self.presumed.lock(hash);
        // Whosever it was: it is dead.
        if !self.remove(hash, entry) {
            let its = waiting.of(hash).find(|its| its.old == entry);
            if let Some(its) = its {
                waiting.remove(its);
            }
        }
    }
}
