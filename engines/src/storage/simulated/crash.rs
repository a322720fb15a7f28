//! What is left after a crash.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::image::{Change, Content, Image, Inode, Pending};
use super::{NameChange, Names, SECTOR_BYTES, SimulatedDisk, State};
use crate::random::Random;

/// Which of the changes that no sync has covered are there after a crash. What was synced always is.
///
/// A change is an append, a change of a file's length, or a creation, renaming or removal of a name. Those of files are named by
/// the number of the operation that made them ([`SimulatedDisk::operations`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crash {
    /// The process died and the machine lives on: all changes are there and *still not durable*; of a growing file that was not finished a
    /// prefix is there, chosen by the seed.
    Killed(u64),
    /// All changes are lost.
    SyncedOnly,
    /// All changes are there.
    Everything,
    /// The changes of operations before this one are there.
    Before(u64),
    /// All changes but that of one operation are there.
    Without(u64),
    /// All changes are lost but that of one operation.
    Only(u64),
    /// Any subset of names, lengths and sectors, chosen by the seed. A sector is there as it was at some time since it was synced.
    Sectors(u64),
    /// All changes but of the last append are there, and of that one the first bytes, this many.
    Torn(u64),
    /// Names and lengths are there, and zeros where the bytes should be.
    Zeroed,
    /// Contents are there; creations, renamings and removals are not.
    NamesLost,
    /// Creations, renamings and removals are there; contents are not.
    DataLost,
}

impl Crash {
    /// Whether the change of a name by operation `number` is there.
    fn keeps_name(self, number: u64) -> bool {
        match self {
            Self::SyncedOnly | Self::NamesLost => false,
            Self::Before(end) => number < end,
            Self::Without(lost) => number != lost,
            Self::Only(kept) => number == kept,
            Self::Sectors(seed) => Random::of(seed, &[number]).below(2) == 0,
            _ => true,
        }
    }

    /// What a file holds; `last_append` is the number of the last append to any file.
    fn image(self, inode: u64, content: &Content, last_append: u64) -> Image {
        let mut image = content.durable.clone();
        for Pending { number, change } in &content.pending {
            let kept = match self {
                Self::SyncedOnly | Self::DataLost => false,
                Self::Before(end) => *number < end,
                Self::Without(lost) => *number != lost,
                Self::Only(kept) => *number == kept,
                _ => true,
            };
            match (self, change) {
                _ if !kept => {}
                (Self::Zeroed, Change::Write { offset, bytes }) => {
                    image.set_len(image.len().max(offset + bytes.len() as u64));
                }
                (Self::Sectors(seed), Change::SetLen(len)) => {
                    if Random::of(seed, &[inode, *number]).below(2) == 0 {
                        image.set_len(*len);
                    }
                }
                (Self::Sectors(seed), Change::Write { offset, bytes }) => {
                    for (offset, piece) in sectors(*offset, bytes) {
                        let sector = offset / SECTOR_BYTES;
                        if *number < written_back(seed, inode, sector, &content.pending) {
                            image.write(offset, piece);
                        }
                    }
                }
                (Self::Torn(kept), Change::Write { offset, bytes }) if *number == last_append => {
                    image.write(*offset, &bytes[..bytes.len().min(kept as usize)]);
                }
                (_, Change::Write { offset, bytes }) => image.write(*offset, bytes),
                (_, Change::SetLen(len)) => image.set_len(*len),
            }
        }
        image
    }
}

/// Cuts a write where sectors begin.
fn sectors(mut offset: u64, mut bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let room = (SECTOR_BYTES - offset % SECTOR_BYTES) as usize;
        let (piece, rest) = bytes.split_at(room.min(bytes.len()));
        let at = offset;
        offset += piece.len() as u64;
        bytes = rest;
        (!piece.is_empty()).then_some((at, piece))
    })
}

/// The number of the first operation that a sector does not show: never written back, written back after all of them, or in between.
fn written_back(seed: u64, inode: u64, sector: u64, pending: &[Pending]) -> u64 {
    let mut random = Random::of(seed, &[inode, sector, 1]);
    match random.below(3) {
        0 => 0,
        1 => u64::MAX,
        _ => pending[random.below(pending.len() as u64) as usize].number,
    }
}

impl SimulatedDisk {
    /// The disk as it comes back after a crash at this moment: a new disk, powered, without locks or faults. This one is left as it
    /// is, so that every crash can be tried on it. Operations of the new disk are numbered from 0, but after [`Crash::Killed`] from where they were.
    #[must_use]
    pub fn survivor(&self, crash: Crash) -> Self {
        let state = self.state.lock();
        let mut survivor =
            State { folders: state.folders.clone(), next_inode: state.next_inode, ..State::new() };
        let last_append = state.last_append().map_or(u64::MAX, |(number, _)| number);
        let mut moved = BTreeMap::new();
        let mut inode = |old: &Arc<Inode>| {
            let new = || Inode::new(old.id, content_after(crash, old, last_append));
            Arc::clone(moved.entry(old.id).or_insert_with(new))
        };
        let map = |names: &Names, inode: &mut dyn FnMut(&Arc<Inode>) -> Arc<Inode>| -> Names {
            names.iter().map(|(path, old)| (path.clone(), inode(old))).collect()
        };
        survivor.durable_names = map(&state.durable_names, &mut inode);
        if let Crash::Killed(_) = crash {
            survivor.trace.clone_from(&state.trace);
            survivor.names = map(&state.names, &mut inode);
            for (number, change) in &state.pending_names {
                survivor.pending_names.push((*number, change.map(&mut inode)));
            }
        } else {
            for (number, change) in &state.pending_names {
                if crash.keeps_name(*number) {
                    change.map(&mut inode).apply(&mut survivor.durable_names);
                }
            }
            survivor.names = survivor.durable_names.clone();
        }
        Self::with(survivor)
    }

    /// The crashes that can leave different disks behind at this moment: each family once, and of the families that have a member for
    /// each change (or any number of seeds) at most `each`, chosen by `seed`. [`Crash::Killed`] is not among them, as it is not a loss of power.
    pub fn crashes(&self, seed: u64, each: usize) -> Vec<Crash> {
        let state = self.state.lock();
        let mut numbers: Vec<u64> = state.pending_names.iter().map(|(number, _)| *number).collect();
        for inode in state.inodes() {
            numbers.extend(inode.content.lock().pending.iter().map(|pending| pending.number));
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut crashes = vec![Crash::SyncedOnly];
        if numbers.is_empty() {
            return crashes;
        }
        crashes.extend([Crash::Everything, Crash::Zeroed, Crash::NamesLost, Crash::DataLost]);
        let mut random = Random::new(seed);
        crashes.extend(sample(&numbers[1..], each, &mut random).map(Crash::Before));
        crashes.extend(sample(&numbers, each, &mut random).map(Crash::Without));
        if numbers.len() > 2 {
            crashes.extend(sample(&numbers, each, &mut random).map(Crash::Only));
        }
        if let Some((_, len)) = state.last_append() {
            let cuts: Vec<u64> =
                (1..len.div_ceil(SECTOR_BYTES)).map(|n| n * SECTOR_BYTES).collect();
            crashes.extend(sample(&cuts, each, &mut random).map(Crash::Torn));
            crashes.extend((0..each.min(3)).map(|_| Crash::Torn(random.below(len))));
        }
        crashes.extend((0..each).map(|_| Crash::Sectors(random.next())));
        crashes
    }
}

/// At most `count` of `items`, each at most once.
fn sample<T: Copy>(items: &[T], count: usize, random: &mut Random) -> impl Iterator<Item = T> {
    let mut items = items.to_vec();
    for chosen in 0..count.min(items.len()) {
        let other = chosen + random.below((items.len() - chosen) as u64) as usize;
        items.swap(chosen, other);
    }
    items.into_iter().take(count)
}

fn content_after(crash: Crash, inode: &Inode, last_append: u64) -> Content {
    let content = inode.content.lock();
    if let Crash::Killed(seed) = crash {
        let mut content = content.clone();
        if content.buffered {
            let kept = Random::of(seed, &[inode.id]).below(content.current.len() + 1);
            content.forget_above(kept);
        }
        return content;
    }
    let image = crash.image(inode.id, &content, last_append);
    Content { current: image.clone(), durable: image, ..Content::default() }
}

impl State {
    /// The files that may be there after a crash, or are there now.
    fn inodes(&self) -> impl Iterator<Item = &Arc<Inode>> {
        let all = self.names.values().chain(self.durable_names.values());
        all.map(|inode| (inode.id, inode)).collect::<BTreeMap<_, _>>().into_values()
    }

    /// Number and length in bytes of the last append that no sync has covered.
    fn last_append(&self) -> Option<(u64, u64)> {
        let appends = self.inodes().filter_map(|inode| {
            let content = inode.content.lock();
            let append = |pending: &Pending| match &pending.change {
                Change::Write { bytes, .. } => Some((pending.number, bytes.len() as u64)),
                Change::SetLen(_) => None,
            };
            content.pending.iter().rev().find_map(append)
        });
        appends.max()
    }
}

impl NameChange {
    /// The same change of other inodes.
    fn map(&self, inode: &mut dyn FnMut(&Arc<Inode>) -> Arc<Inode>) -> Self {
        match self {
            Self::Create { path, inode: old } => {
                Self::Create { path: path.clone(), inode: inode(old) }
            }
            Self::Rename { from, to, inode: old } => {
                Self::Rename { from: from.clone(), to: to.clone(), inode: inode(old) }
            }
            Self::Remove { path, inode: old } => {
                Self::Remove { path: path.clone(), inode: inode(old) }
            }
        }
    }

    /// Changes `names`; a name that has come to mean another file is left alone.
    pub(super) fn apply(self, names: &mut Names) {
        let mut remove = |path: &Path, inode: &Arc<Inode>| {
            if names.get(path).is_some_and(|present| present.id == inode.id) {
                names.remove(path);
            }
        };
        match self {
            Self::Create { path, inode } => drop(names.insert(path, inode)),
            Self::Rename { from, to, inode } => {
                remove(&from, &inode);
                names.insert(to, inode);
            }
            Self::Remove { path, inode } => remove(&path, &inode),
        }
    }
}
