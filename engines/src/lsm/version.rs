//! The tables of the tree at one moment, and the whole tree as a reader sees it.

use std::cell::OnceCell;
use std::sync::Arc;

use super::files::FileNumber;
use super::memtable::{Lookup, Memtable, View};
use super::stats::Probes;
use super::table::{Table, TableMeta, filter};
use super::value_log::{ValueFile, ValueFiles};
use crate::Result;
use crate::storage::Storage;

/// Levels of tables.
pub(crate) const LEVELS: usize = 7;

/// Something for each level.
pub(crate) type PerLevel<T> = [T; LEVELS];

/// The tables at one moment. In level 0 the newest comes first, and key ranges may overlap; the others are in the order of their
/// keys, without overlap. A level is younger than the next.
pub(crate) struct Version<S: Storage> {
    pub(crate) levels: PerLevel<Vec<Arc<Table<S>>>>,
    /// Levels of which some table deletes ranges of keys.
    pub(crate) deletes_ranges: PerLevel<bool>,
    /// Some table has values that expire.
    pub(crate) expires: bool,
    /// Those that the tables point to.
    pub(crate) values: Arc<ValueFiles<S>>,
}

impl<S: Storage> Clone for Version<S> {
    fn clone(&self) -> Self {
        let (deletes_ranges, expires) = (self.deletes_ranges, self.expires);
        let values = Arc::clone(&self.values);
        Self { levels: self.levels.clone(), deletes_ranges, expires, values }
    }
}

impl<S: Storage> Version<S> {
    /// A version of these tables, in any order, and those of these files of values that they point to. They are read from now on in the way that suits so many bytes ([`Table::outgrow`]).
    pub(crate) fn new(
        mut levels: PerLevel<Vec<Arc<Table<S>>>>,
        values: impl IntoIterator<Item = Arc<ValueFile<S>>>,
    ) -> Self {
        for (level, tables) in levels.iter_mut().enumerate() {
            sort_level(level, tables, |table| &table.meta);
        }
        let deletes =
            |tables: &Vec<Arc<Table<S>>>| tables.iter().any(|table| table.deletes_ranges());
        let deletes_ranges = levels.each_ref().map(deletes);
        let metas = || levels.iter().flatten().map(|table| &table.meta);
        let expires = metas().any(|meta| meta.expiring.entries > 0);
        let values = Arc::new(ValueFiles::of(values, metas()));
        let of_tables = metas().map(|meta| meta.file_bytes).sum::<u64>();
        let bytes = of_tables + values.usage().map(|file| file.bytes).sum::<u64>();
        levels.iter().flatten().for_each(|table| table.outgrow(bytes));
        values.iter().for_each(|file| file.outgrow(bytes));
        Self { levels, deletes_ranges, expires, values }
    }

    /// Reads the value of `key`, whose [`filter::hash`] is `hash`, into `value`, which is empty, and tells whether there is one.
    #[inline]
    pub(crate) fn get(
        &self,
        key: &[u8],
        hash: u64,
        value: &mut Vec<u8>,
        probes: &mut Probes,
        now_ms: impl Fn() -> u64,
    ) -> Result<bool> {
        for table in &self.levels[0] {
            if table.meta.overlaps(key, key) {
                let found = table.get(key, hash, value, probes)?;
                if found != Lookup::Absent {
                    return self.resolved(found, key, value, now_ms);
                }
            }
        }
        // Most have no tables.
        for tables in self.levels[1..].iter().filter(|tables| !tables.is_empty()) {
            let at = tables.partition_point(|table| table.meta.ends_before(key));
            if let Some(table) = tables.get(at)
                && &table.meta.key_min[..] <= key
            {
                let found = table.get(key, hash, value, probes)?;
                if found != Lookup::Absent {
                    return self.resolved(found, key, value, now_ms);
                }
            }
        }
        Ok(false)
    }

    /// Whether there is a value, by what a table has shown; reads it where that is a pointer.
    #[inline]
    fn resolved(
        &self,
        found: Lookup,
        key: &[u8],
        value: &mut Vec<u8>,
        now_ms: impl Fn() -> u64,
    ) -> Result<bool> {
        let found = match found {
            Lookup::Found => return Ok(true),
            Lookup::PointerExpiring(expires_ms) if expires_ms <= now_ms() => Lookup::Deleted,
            Lookup::Pointer | Lookup::PointerExpiring(_) => {
                self.values.resolve(key, value)?;
                return Ok(true);
            }
            found => found,
        };
        Ok(found.is_there(value, now_ms))
    }

    /// The table with this number.
    pub(crate) fn table(&self, number: FileNumber) -> Option<&Arc<Table<S>>> {
        self.levels.iter().flatten().find(|table| table.meta.number == number)
    }

    /// What is known about the tables of each level.
    pub(crate) fn metas(&self) -> PerLevel<Vec<&TableMeta>> {
        self.levels.each_ref().map(|tables| tables.iter().map(|table| &table.meta).collect())
    }

    /// This version with the tables `removed` taken out, and the tables `added` and the files `values`, that they may point to, put in.
    pub(crate) fn with(
        &self,
        removed: &[FileNumber],
        added: impl IntoIterator<Item = (usize, Arc<Table<S>>)>,
        values: &[Arc<ValueFile<S>>],
    ) -> Self {
        let mut levels = self.levels.clone();
        for tables in &mut levels {
            tables.retain(|table| !removed.contains(&table.meta.number));
        }
        for (level, table) in added {
            levels[level].push(table);
        }
        Self::new(levels, self.values.iter().chain(values).cloned())
    }
}

/// Puts the tables of a level into its order.
pub(crate) fn sort_level<T>(level: usize, tables: &mut [T], meta: impl Fn(&T) -> &TableMeta) {
    if level == 0 {
        tables.sort_by_key(|table| std::cmp::Reverse(meta(table).sequence_max));
    } else {
        tables.sort_by(|a, b| meta(a).key_min.cmp(&meta(b).key_min));
    }
}

/// Everything that a reader needs, fixed at one moment but for the writes that still go into the active memtable.
pub(crate) struct Tree<S: Storage> {
    pub(crate) active: Arc<Memtable<S::File>>,
    /// Memtables that wait to be flushed, newest first.
    pub(crate) waiting: Vec<Arc<Memtable<S::File>>>,
    pub(crate) version: Arc<Version<S>>,
}

impl<S: Storage> Tree<S> {
    /// Whether any value that can be seen may expire.
    pub(crate) fn expires(&self) -> bool {
        let mut memtables = self.waiting.iter().chain([&self.active]);
        self.version.expires || memtables.any(|memtable| memtable.expires())
    }

    /// Reads the newest value of `key` into `value`, replacing what is there, and tells whether there is one. What time it is is asked for only where a value may have expired.
    #[inline]
    pub(crate) fn get(
        &self,
        key: &[u8],
        value: &mut Vec<u8>,
        probes: &mut Probes,
        now_ms: impl Fn() -> u64,
    ) -> Result<bool> {
        self.get_at(&self.active.view(), key, value, probes, now_ms)
    }

    /// The same, where what is seen of the active memtable is `active`.
    #[inline]
    pub(crate) fn get_at(
        &self,
        active: &View<'_, S::File>,
        key: &[u8],
        value: &mut Vec<u8>,
        probes: &mut Probes,
        now_ms: impl Fn() -> u64,
    ) -> Result<bool> {
        value.clear();
        let hash = filter::hash(key);
        match active.get(key, hash, value)? {
            Lookup::Absent => {}
            found => return Ok(found.is_there(value, now_ms)),
        }
        for memtable in &self.waiting {
            match memtable.view().get(key, hash, value)? {
                Lookup::Absent => {}
                found => return Ok(found.is_there(value, now_ms)),
            }
        }
        self.version.get(key, hash, value, probes, now_ms)
    }

    /// Calls `visit` with the index and the value of each key, all at one moment. Values are read into `value`.
    pub(crate) fn multi_get<'k>(
        &self,
        active: &View<'_, S::File>,
        keys: impl IntoIterator<Item = &'k [u8]>,
        value: &mut Vec<u8>,
        probes: &mut Probes,
        now_ms: impl Fn() -> u64,
        visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let now = OnceCell::new();
        let now_ms = || *now.get_or_init(&now_ms);
        for (index, key) in keys.into_iter().enumerate() {
            let found = self.get_at(active, key, value, probes, now_ms)?;
            visit(index, found.then_some(&value[..]));
        }
        Ok(())
    }
}
