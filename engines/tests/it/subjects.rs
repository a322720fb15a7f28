//! The engines that the suites are run on: with small files, so that much happens in few writes, and without threads, so that it happens the same each time.

use std::path::Path;

use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Capabilities, Durability, Engine, Metrics, Result, Session};

/// Where the stores of simulated disks lie.
pub(crate) const DIR: &str = "/store";

/// Longer than the values of the suites about crashes: their files should fill.
pub(crate) const COMPRESSED_ABOVE_BYTES: usize = 800;

/// What [`Engine::settle`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settling {
    /// What is due.
    Due,
    /// Everything that can be done: all files are merged.
    Everything,
}

/// An engine under test.
pub(crate) trait Subject {
    /// Whether the manifest is replaced by renaming a new one.
    const RENAMES: bool;

    /// Of the cases of the larger suites one in so many is run: all, but for an engine that is another one with an option.
    const SHARE: u64 = 1;

    /// Syncs of folders that nobody misses if they are left out, as [`crate::sloppy`] tells them, and why.
    const FOLDER_SYNCS_NOT_MISSED: &[(&str, &str)];

    /// Opens, or opens again, the store in `dir`.
    fn open<S: Storage>(
        storage: S,
        dir: &Path,
        class: Durability,
        settling: Settling,
    ) -> Result<Box<dyn Engine>>;

    /// Opens the store with one of many sets of options; they repeat after a while.
    fn open_variant<S: Storage>(storage: S, dir: &Path, variant: usize) -> Result<Box<dyn Engine>>;

    /// Opens the store as it would be opened for use, but for shorter files.
    fn open_threaded<S: Storage>(
        storage: S,
        dir: &Path,
        class: Durability,
    ) -> Result<Box<dyn Engine>>;

    /// As [`Subject::open`], and settling merges everything; values longer than [`COMPRESSED_ABOVE_BYTES`] are compressed if the engine can do that, and what can be read by calls is.
    fn open_compressing<S: Storage>(
        storage: S,
        dir: &Path,
        class: Durability,
    ) -> Result<Box<dyn Engine>> {
        Self::open(storage, dir, class, Settling::Everything)
    }

    /// Opens the store on a simulated disk.
    fn simulated(disk: SimulatedDisk, class: Durability) -> Result<Box<dyn Engine>> {
        Self::open(disk, Path::new(DIR), class, Settling::Due)
    }

    /// As [`Subject::simulated`]; settling merges everything.
    fn simulated_eager(disk: SimulatedDisk, class: Durability) -> Result<Box<dyn Engine>> {
        Self::open(disk, Path::new(DIR), class, Settling::Everything)
    }

    /// As [`Subject::open_compressing`], on a simulated disk.
    fn simulated_compressing(disk: SimulatedDisk, class: Durability) -> Result<Box<dyn Engine>> {
        Self::open_compressing(disk, Path::new(DIR), class)
    }
}

/// Makes a test of each generic check, for each engine.
macro_rules! for_each_engine {
    ($($(#[$attribute:meta])* $check:ident),+ $(,)?) => {
        #[cfg(feature = "bitcask")]
        mod bitcask {
            $($(#[$attribute])* #[test] fn $check() {
                super::$check::<crate::subjects::Bitcask>();
            })+
        }
        #[cfg(feature = "lsm")]
        mod lsm {
            $($(#[$attribute])* #[test] fn $check() {
                super::$check::<crate::subjects::Lsm>();
            })+
        }
        #[cfg(feature = "lsm")]
        mod lsm_values {
            $($(#[$attribute])* #[test] fn $check() {
                super::$check::<crate::subjects::LsmValues>();
            })+
        }
    };
}
pub(crate) use for_each_engine;

/// An engine whose settling does everything that can be done.
struct Eager<E> {
    engine: E,
    merge: fn(&E) -> Result<()>,
}

impl<E: Engine> Engine for Eager<E> {
    fn capabilities(&self) -> &Capabilities {
        self.engine.capabilities()
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        self.engine.session()
    }

    fn sync(&self) -> Result<()> {
        self.engine.sync()
    }

    fn settle(&self) -> Result<()> {
        self.engine.settle()?;
        (self.merge)(&self.engine)
    }

    fn metrics(&self) -> Metrics {
        self.engine.metrics()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Box::new(self.engine).close()
    }
}

fn boxed<E: Engine + 'static>(
    engine: E,
    settling: Settling,
    merge: fn(&E) -> Result<()>,
) -> Box<dyn Engine> {
    match settling {
        Settling::Due => Box::new(engine),
        Settling::Everything => Box::new(Eager { engine, merge }),
    }
}

#[cfg(feature = "bitcask")]
pub(crate) use of_bitcask::{Bitcask, colliding_bitcask};
#[cfg(feature = "lsm")]
pub(crate) use of_lsm::{Lsm, LsmValues};

#[cfg(feature = "bitcask")]
mod of_bitcask {
    use kvdyno_engines::bitcask::{self, Background, Options, SEGMENT_BYTES_MIN};

    use super::{
        COMPRESSED_ABOVE_BYTES, DIR, Durability, Engine, Path, Result, Settling, SimulatedDisk,
        Storage, Subject, boxed,
    };

    /// Bitcask, with data files of 4 KiB.
    pub(crate) struct Bitcask;

    fn small() -> Options {
        Options {
            segment_bytes: SEGMENT_BYTES_MIN,
            background: Background::Inline,
            // So that the suites see what the index holds besides what gets find.
            ordered_scans: true,
            ..Options::default()
        }
    }

    fn open<S: Storage>(
        storage: S,
        dir: &Path,
        options: Options,
        settling: Settling,
    ) -> Result<Box<dyn Engine>> {
        let store = bitcask::Bitcask::open(storage, dir, options)?;
        Ok(boxed(store, settling, |store| store.merge().map(drop)))
    }

    impl Subject for Bitcask {
        const RENAMES: bool = true;
        const FOLDER_SYNCS_NOT_MISSED: &[(&str, &str)] = &[
            ("/: ", "the simulated disk keeps a new folder's name without it"),
            ("/store: ", "makes nothing durable but removals: what comes back is removed again"),
            (
                "/store: create hint, rename MANIFEST",
                "says that a full file is sealed: else it is read as one that was being written, and hints are aids",
            ),
        ];

        fn open<S: Storage>(
            storage: S,
            dir: &Path,
            durability: Durability,
            settling: Settling,
        ) -> Result<Box<dyn Engine>> {
            open(storage, dir, Options { durability, ..small() }, settling)
        }

        fn open_compressing<S: Storage>(
            storage: S,
            dir: &Path,
            durability: Durability,
        ) -> Result<Box<dyn Engine>> {
            let compress_above_bytes = Some(COMPRESSED_ABOVE_BYTES);
            let options = Options { durability, compress_above_bytes, ..small() };
            open(storage, dir, options, Settling::Everything)
        }

        fn open_variant<S: Storage>(
            storage: S,
            dir: &Path,
            variant: usize,
        ) -> Result<Box<dyn Engine>> {
            let (options, settling) = crate::bitcask::variants::variant(variant);
            open(storage, dir, options, settling)
        }

        fn open_threaded<S: Storage>(
            storage: S,
            dir: &Path,
            durability: Durability,
        ) -> Result<Box<dyn Engine>> {
            let options = Options { durability, segment_bytes: 1 << 20, ..Options::default() };
            open(storage, dir, options, Settling::Due)
        }
    }

    /// Bitcask on a simulated disk, with two different hashes for all keys.
    pub(crate) fn colliding_bitcask(
        disk: SimulatedDisk,
        durability: Durability,
    ) -> Result<Box<dyn Engine>> {
        let options = Options { durability, hash_mask: 1, ..small() };
        open(disk, Path::new(DIR), options, Settling::Due)
    }
}

#[cfg(feature = "lsm")]
mod of_lsm {
    use kvdyno_engines::lsm::{
        self, Background, Compression, Fifo, Io, Levelled, Options, Style, Tiered,
    };

    use super::{Durability, Engine, Path, Result, Settling, Storage, Subject, boxed};

    /// The LSM tree, with memtables of 4 KiB and early compactions; with or without a value log, whose files are short and emptied early.
    pub(crate) struct LsmWith<const VALUES: bool>;

    pub(crate) type Lsm = LsmWith<false>;
    pub(crate) type LsmValues = LsmWith<true>;

    const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

    fn small<const VALUES: bool>() -> Options {
        Options {
            value_log_min_bytes: VALUES.then_some(32),
            value_log_dead_percent: 20,
            memtable_bytes: 4 << 10,
            l0_tables_compact: 2,
            level_base_bytes: 4 << 10,
            level_ratio: 2,
            table_bytes: 2 << 10,
            block_bytes: 256,
            background: Background::Inline,
            mapped_bytes_max: Some(u64::MAX),
            ..Options::default()
        }
    }

    fn open<S: Storage>(
        storage: S,
        dir: &Path,
        options: Options,
        settling: Settling,
    ) -> Result<Box<dyn Engine>> {
        Ok(boxed(lsm::Lsm::open(storage, dir, options)?, settling, lsm::Lsm::compact))
    }

    impl<const VALUES: bool> Subject for LsmWith<VALUES> {
        const RENAMES: bool = false;
        const SHARE: u64 = if VALUES { 4 } else { 1 };
        const FOLDER_SYNCS_NOT_MISSED: &[(&str, &str)] =
            &[("/store: ", "makes nothing durable but removals: what comes back is removed again")];

        fn open<S: Storage>(
            storage: S,
            dir: &Path,
            durability: Durability,
            settling: Settling,
        ) -> Result<Box<dyn Engine>> {
            open(storage, dir, Options { durability, ..small::<VALUES>() }, settling)
        }

        fn open_compressing<S: Storage>(
            storage: S,
            dir: &Path,
            durability: Durability,
        ) -> Result<Box<dyn Engine>> {
            let options = Options {
                durability,
                value_log_lz4: VALUES,
                compression: Compression::Lz4,
                compression_last: Compression::Zstd,
                io: Io::Calls,
                cache_bytes: 4 << 10,
                ..small::<VALUES>()
            };
            open(storage, dir, options, Settling::Everything)
        }

        fn open_variant<S: Storage>(
            storage: S,
            dir: &Path,
            variant: usize,
        ) -> Result<Box<dyn Engine>> {
            let options = Options {
                durability: Durability::ALL[variant / 2 % 3],
                memtable_bytes: (4 << 10) << (variant % 4),
                l0_tables_compact: 1 + variant % 5,
                level_base_bytes: (4 << 10) << (variant / 2 % 4),
                level_ratio: 2 + variant as u64 % 7,
                table_bytes: (1 << 10) << (variant % 6),
                block_bytes: [256, 1, 4096][variant % 3],
                filter_bits_per_key: [10, 0, 1, 20][variant % 4],
                style: [
                    Style::default(),
                    Style::Tiered(Tiered { width: 2 + variant % 3, ..Tiered::default() }),
                    Style::Levelled(Levelled { dynamic: false, ..Levelled::default() }),
                    Style::Fifo(Fifo::default()),
                    Style::Tiered(Tiered { space_percent: 25, ..Tiered::default() }),
                ][variant % 5],
                deletions_percent: [50, 0, 10][variant % 3],
                subcompactions_max: 1 + variant % 3,
                value_log_min_bytes: [Some(32), None, Some(300), Some(60)][variant / 3 % 4]
                    .filter(|_| VALUES),
                value_log_dead_percent: [1, 20, 50, 100][variant / 2 % 4],
                value_log_lz4: variant % 2 == 1,
                compression: COMPRESSIONS[variant % 3],
                compression_last: COMPRESSIONS[variant / 2 % 3],
                io: [Io::Calls, Io::Mapped][variant / 3 % 2],
                cache_bytes: [64 << 10, 0, 2 << 10][variant % 3],
                ..small::<VALUES>()
            };
            let settling = [Settling::Due, Settling::Everything][variant / 4 % 2];
            open(storage, dir, options, settling)
        }

        fn open_threaded<S: Storage>(
            storage: S,
            dir: &Path,
            durability: Durability,
        ) -> Result<Box<dyn Engine>> {
            let options = Options {
                durability,
                memtable_bytes: 1 << 20,
                level_base_bytes: 4 << 20,
                table_bytes: 1 << 20,
                value_log_min_bytes: VALUES.then_some(60),
                mapped_bytes_max: Some(u64::MAX),
                ..Options::default()
            };
            open(storage, dir, options, Settling::Due)
        }
    }
}
