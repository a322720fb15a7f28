//! A walk over a range of a tree, in one direction, that keeps the tree alive itself.
//!
//! A merge borrows from the tables and memtables that it walks over. An iterator that its caller may keep and hand on has to own both.

#![allow(unsafe_code, reason = "a walk borrows from the tree that it owns a share of")]

use std::mem::MaybeUninit;
use std::ops::{Bound, Deref, DerefMut};
use std::sync::Arc;

use super::memtable::Moment;
use super::merge::Merge;
use super::range::{KeyRange, bound_key};
use super::scan::{cursors, show};
use super::version::Tree;
use super::wal::Kind;
use crate::storage::Storage;
use crate::{Direction, Result};

/// A value that may point to what is gone already. References in an argument have to stay good until the function returns, which they do not where it ends the life of a walk, and with it perhaps that
/// of the tree: those in a `MaybeUninit` have not.
struct MayDangle<T>(MaybeUninit<T>);

impl<T> MayDangle<T> {
    fn new(value: T) -> Self {
        Self(MaybeUninit::new(value))
    }
}

impl<T> Deref for MayDangle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it holds a value from `new` on until it is dropped.
        unsafe { self.0.assume_init_ref() }
    }
}

impl<T> DerefMut for MayDangle<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.0.assume_init_mut() }
    }
}

impl<T> Drop for MayDangle<T> {
    fn drop(&mut self) {
        // SAFETY: as in `deref`, and nobody uses it afterwards.
        unsafe { self.0.assume_init_drop() }
    }
}

/// A position in a range of a tree; see the module's header.
pub(crate) struct Walk<S: Storage> {
    /// Borrows from what `tree` keeps, and so is dropped before it: fields are dropped in their order.
    merge: MayDangle<Merge<'static, S>>,
    /// At an entry, that is, not at the end.
    valid: bool,
    /// The current value does not lie in the merge, but in `value`.
    is_apart: bool,
    /// The last value that was read from the value log, or that expires.
    value: Vec<u8>,
    /// What time it is.
    now_ms: u64,
    direction: Direction,
    tree: Arc<Tree<S>>,
}

impl<S: Storage> Walk<S> {
    /// At the first entry of `range` in `direction` that is not before `start`, of what could be seen at this moment of the `active` memtable, and had not expired by `now_ms`.
    pub(crate) fn seek(
        tree: &Arc<Tree<S>>,
        (active, now_ms): (&Moment, u64),
        range: &KeyRange,
        start: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Self> {
        let kept = Arc::clone(tree);
        // SAFETY: the tree lies where the `Arc` put it and does not move with it, nobody changes a tree once it is shared, and it lives at least as long as this walk, which
        // keeps its share to its end and never lets go of it before the merge. The lifetime is not as long as it says, but nothing that has it gets out: what callers
        // are given is borrowed from the walk.
        let tree: &'static Tree<S> = unsafe { &*Arc::as_ptr(&kept) };
        // No key is empty, so that nothing lies at or before the empty one. For cursors it stands for all keys.
        let nothing = range.is_empty()
            || (direction == Direction::Reverse
                && matches!(start, Bound::Included([]) | Bound::Excluded([])));
        let (start_key, far) = (bound_key(start), range.far(direction));
        let cursors = if nothing {
            Vec::new()
        } else {
            let active = tree.active.view_at(active.clone());
            let far = bound_key(far);
            cursors(tree, active, start_key.unwrap_or_default(), far, direction)?
        };
        let mut merge = Merge::new(cursors, direction);
        if let Bound::Excluded(excluded) = start
            && merge.current().is_some_and(|(key, ..)| key == excluded)
        {
            merge.advance()?;
        }
        let mut walk = Self {
            merge: MayDangle::new(merge),
            valid: false,
            is_apart: false,
            value: Vec::new(),
            now_ms,
            direction,
            tree: kept,
        };
        walk.settle(range)?;
        Ok(walk)
    }

    /// The current entry; `None` at the end.
    #[inline]
    pub(crate) fn current(&self) -> Option<(&[u8], &[u8])> {
        if !self.valid {
            return None;
        }
        let (key, _, value) = self.merge.current()?;
        Some((key, if self.is_apart { &self.value } else { value }))
    }

    pub(crate) fn direction(&self) -> Direction {
        self.direction
    }

    /// Goes to the next entry of `range`, which is the one that the walk began with. After an error, it must not be used any more.
    #[inline]
    pub(crate) fn advance(&mut self, range: &KeyRange) -> Result<()> {
        self.valid = false;
        self.merge.advance()?;
        self.settle(range)
    }

    /// Goes on to an entry that has a value, if this one has none.
    #[inline]
    fn settle(&mut self, range: &KeyRange) -> Result<()> {
        while let Some((key, kind, value)) = self.merge.current() {
            if range.is_behind(key, self.direction) {
                return Ok(());
            }
            self.is_apart = kind != Kind::Put;
            if !self.is_apart {
                self.valid = true;
                return Ok(());
            }
            let (buffer, now_ms) = (&mut self.value, self.now_ms);
            let shown = show(
                &self.tree,
                (key, kind, value),
                || now_ms,
                |value| {
                    buffer.clear();
                    buffer.extend_from_slice(value);
                },
            )?;
            if shown.is_some() {
                self.valid = true;
                return Ok(());
            }
            self.merge.advance()?;
        }
        Ok(())
    }
}
