//! Names of a store's files.
//!
//! | name | what it is |
//! |---|---|
//! | `lock` | held while the store is open |
//! | `00000001.manifest` | the log of changes to the tree; the newest one that is whole counts |
//! | `00000002.log` | the write-ahead log of one memtable |
//! | `00000003.table` | a sorted table |
//! | `00000004.values` | big values that tables point to |
//!
//! One counter numbers all four kinds, so a greater number is a younger file. Anything else in the folder is somebody else's.

use std::path::{Path, PathBuf};

/// The number of a log, a table, a file of values or a manifest.
pub(crate) type FileNumber = u32;

/// No store gets to a greater number in the life of a device: one that is found is damage. A process that begins below it can count on without looking.
pub(crate) const FILE_NUMBER_MAX: FileNumber = 1 << 31;

/// A file of a store, known by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreFile {
    Lock,
    Manifest(FileNumber),
    Log(FileNumber),
    Table(FileNumber),
    Values(FileNumber),
}

impl StoreFile {
    /// What `name` says; `None` for a file that is not ours.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name == "lock" {
            return Some(Self::Lock);
        }
        let (number, kind) = name.split_once('.')?;
        let file = match (number.parse().ok()?, kind) {
            (number, "manifest") => Self::Manifest(number),
            (number, "log") => Self::Log(number),
            (number, "table") => Self::Table(number),
            (number, "values") => Self::Values(number),
            _ => return None,
        };
        (file.name() == name).then_some(file)
    }

    /// The name in the folder.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Lock => "lock".to_owned(),
            Self::Manifest(number) => format!("{number:08}.manifest"),
            Self::Log(number) => format!("{number:08}.log"),
            Self::Table(number) => format!("{number:08}.table"),
            Self::Values(number) => format!("{number:08}.values"),
        }
    }

    /// Its path in the store's folder.
    pub(crate) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_ours() {
        assert_eq!(StoreFile::parse("00000007.log"), Some(StoreFile::Log(7)));
        assert_eq!(StoreFile::parse("4294967295.table"), Some(StoreFile::Table(u32::MAX)));
        assert_eq!(StoreFile::parse("00000008.values"), Some(StoreFile::Values(8)));
        assert_eq!(StoreFile::parse("lock"), Some(StoreFile::Lock));
        for foreign in ["7.log", "+0000007.log", "00000007.log~", "notes.txt", "lock.bak", "", "."]
        {
            assert_eq!(StoreFile::parse(foreign), None, "{foreign}");
        }
    }
}
