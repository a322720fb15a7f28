//! How a store's tables are kept in order: the styles of compaction, and what each can be told.

use std::time::Duration;

use crate::{Error, Result};

/// How a store's tables are kept in order. A store can be opened with another style than before; its tables then move to where the new one wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One sorted run in each level, each larger than the one above: the fewest places to look at, and the least room.
    Levelled(Levelled),
    /// Runs of similar size are merged into larger ones: fewer bytes are written, and reads look at more places.
    Tiered(Tiered),
    /// Nothing is merged, and the oldest tables are dropped, and those in which everything has expired: for time series. It forgets data.
    Fifo(Fifo),
}

impl Default for Style {
    fn default() -> Self {
        Self::Levelled(Levelled::default())
    }
}

/// The style [`Style::Levelled`]. Its sizes are [`Options::level_base_bytes`](crate::lsm::Options::level_base_bytes) and
/// [`Options::level_ratio`](crate::lsm::Options::level_ratio).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levelled {
    /// The real size of the largest level decides the targets of those above it, and levels that would be too small to be worth while stay empty (RocksDB's
    /// `level_compaction_dynamic_level_bytes`): at most about one part in `level_ratio` of the data is then overwritten and not yet gone. Otherwise level 1 holds
    /// `level_base_bytes`, and each further one `level_ratio` times its predecessor's.
    pub dynamic: bool,
    /// Which table of a level goes first.
    pub choice: Choice,
    /// Level 0 waits until it has so many per cent of the bytes that it will be merged with, as merging costs the less for each of its bytes the more there are; but not longer than until it has
    /// half of [`Options::l0_tables_slow`](crate::lsm::Options::l0_tables_slow), as reads look at each of its tables. 0: it does not wait.
    pub level_0_percent: u64,
}

impl Default for Levelled {
    fn default() -> Self {
        Self { dynamic: true, choice: Choice::LeastOverlap, level_0_percent: 30 }
    }
}

/// Which table of a level that is too large goes down first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one that has the fewest bytes below it, for each of its own; of equal ones, the next in turn (RocksDB's `kMinOverlappingRatio`).
    LeastOverlap,
    /// One after the other, in the order of their keys (LevelDB).
    InTurn,
}

/// The style [`Style::Tiered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiered {
    /// So many neighbouring runs of similar size are merged. At least 2.
    pub width: usize,
    /// A run is similar to its younger neighbours if it has at most so many per cent of their mean size. At least 100.
    pub similar_percent: u64,
    /// Runs that there may be; if there are more, neighbours are merged although they are not similar. More than `width`, and not more than
    /// [`Options::l0_tables_slow`](crate::lsm::Options::l0_tables_slow).
    pub runs_max: usize,
    /// Everything is merged once the younger runs have so many per cent of the oldest one's bytes: a bound on the room that overwritten values take. At least 1.
    pub space_percent: u64,
}

impl Default for Tiered {
    fn default() -> Self {
        Self { width: 4, similar_percent: 200, runs_max: 12, space_percent: 100 }
    }
}

/// The style [`Style::Fifo`]. Reads look at every table whose range of keys has the key, so keys should ascend with time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fifo {
    /// The oldest tables are dropped while all together, with their values in the value log, have more bytes than this. `None`: no bound.
    pub bytes_max: Option<u64>,
    /// A table is dropped when its youngest data was flushed so long ago, and all older tables are dropped as well. Looked at whenever a memtable is flushed, and once
    /// a minute. `None`: never.
    pub ttl: Option<Duration>,
}

impl Style {
    pub(crate) fn check(&self, l0_tables_slow: usize) -> Result<()> {
        let invalid =
            |name, value: String, expected| Err(Error::InvalidOption { name, value, expected });
        match self {
            Self::Tiered(tiered) if tiered.width < 2 => {
                invalid("style.width", tiered.width.to_string(), "at least 2")
            }
            Self::Tiered(tiered) if tiered.similar_percent < 100 => {
                invalid("style.similar_percent", tiered.similar_percent.to_string(), "at least 100")
            }
            Self::Tiered(tiered) if tiered.runs_max <= tiered.width => {
                invalid("style.runs_max", tiered.runs_max.to_string(), "more than style.width")
            }
            // Otherwise writers would wait for merges that are not due.
            Self::Tiered(tiered) if tiered.runs_max > l0_tables_slow => {
                invalid("style.runs_max", tiered.runs_max.to_string(), "at most l0_tables_slow")
            }
            Self::Tiered(tiered) if tiered.space_percent == 0 => {
                invalid("style.space_percent", "0".to_owned(), "at least 1")
            }
            Self::Fifo(Fifo { bytes_max: Some(0), .. }) => {
                invalid("style.bytes_max", "0".to_owned(), "at least 1")
            }
            Self::Levelled(_) | Self::Tiered(_) | Self::Fifo(_) => Ok(()),
        }
    }
}
