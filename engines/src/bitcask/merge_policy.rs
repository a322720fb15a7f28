//! Which data files are merged.
//!
//! 1. A merge starts when some file is mostly dead, has many dead bytes ([`MergePolicy`]'s triggers), or nothing but values that have expired. It then takes in all files that are worth it, and small ones.
//! 2. What is taken in is merged in runs of neighbours, because the order of the files is the order of age.
//! 3. A tombstone is dead weight only in a run that begins at the oldest file; elsewhere it must be kept. When tombstones make up a good part of
//!    everything, everything is merged.

use std::ops::Range;

use super::options::MergePolicy;
use super::record::PREFACE_FRAME_BYTES;
use super::segment::Segment;

/// How much of a sealed data file is still needed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileUsage {
    pub(crate) len: u64,
    pub(crate) live: u64,
    pub(crate) tombstones: u64,
    /// All its values have expired.
    pub(crate) expired: bool,
}

impl FileUsage {
    /// The usage of a segment of `len` bytes, at a time in milliseconds since the Unix epoch.
    pub(crate) fn of<F>(segment: &Segment<F>, len: u64, now_ms: u64) -> Self {
        let usage = &segment.usage;
        let (live, tombstones) = (usage.live_bytes(), usage.tombstone_bytes());
        Self { len, live, tombstones, expired: live > 0 && usage.gone_by_ms() <= now_ms }
    }

    /// Bytes of its records.
    pub(crate) fn body(&self) -> u64 {
        self.len.saturating_sub(PREFACE_FRAME_BYTES)
    }

    /// The fraction of it that is dead, if `dead` bytes are. A file without any record is all dead.
    pub(crate) fn fragmentation(&self, dead: u64) -> f64 {
        if self.body() == 0 { 1.0 } else { dead as f64 / self.body() as f64 }
    }

    /// Bytes that a merge can drop, not counting tombstones.
    pub(crate) fn dead(&self) -> u64 {
        let live = if self.expired { 0 } else { self.live };
        self.body().saturating_sub(live + self.tombstones)
    }
}

/// What starts a merge. Files are told by their place in the order of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Tombstones,
    Expired(usize),
    Fragmentation(usize),
    DeadBytes(usize),
}

/// What is to be merged, and why.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// None: nothing is due.
    pub(crate) cause: Option<Cause>,
    pub(crate) runs: Vec<Range<usize>>,
}

/// Chooses runs of neighbours among the sealed files, oldest first. Nothing is chosen unless it can be made smaller, so merging ends.
pub(crate) fn choose(policy: &MergePolicy, segment_bytes: u64, files: &[FileUsage]) -> Choice {
    let total: u64 = files.iter().map(FileUsage::body).sum();
    let tombstones: u64 = files.iter().map(|file| file.tombstones).sum();
    if tombstones > 0 && tombstones as f64 >= total as f64 * policy.tombstones_trigger {
        let runs = std::iter::once(0..files.len()).collect();
        return Choice { cause: Some(Cause::Tombstones), runs };
    }
    let small = policy.small_file_bytes.min(segment_bytes / 4);
    let mut cause = None;
    let mut from_oldest = true;
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, file) in files.iter().enumerate() {
        let dead = file.dead() + if from_oldest { file.tombstones } else { 0 };
        let fragmentation = file.fragmentation(dead);
        if fragmentation >= policy.fragmentation_trigger && fragmentation > 0.0 {
            let why = if file.expired { Cause::Expired(i) } else { Cause::Fragmentation(i) };
            cause.get_or_insert(why);
        } else if dead >= policy.dead_bytes_trigger {
            cause.get_or_insert(Cause::DeadBytes(i));
        }
        let included = fragmentation >= policy.fragmentation_included
            || dead >= policy.dead_bytes_included
            || file.len < small;
        from_oldest &= included;
        match runs.last_mut() {
            Some(run) if included && run.end == i => run.end += 1,
            _ if included => runs.push(i..i + 1),
            _ => {}
        }
    }
    let useful = |run: &Range<usize>| {
        run.len() > 1
            || files[run.start].dead() > 0
            || files[run.start].body() == 0
            || run.start == 0
    };
    runs.retain(useful);
    match cause {
        Some(_) if !runs.is_empty() => Choice { cause, runs },
        _ => Choice::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 64 << 20;

    fn file(live: u64, tombstones: u64) -> FileUsage {
        FileUsage {
            len: SEGMENT,
            live: SEGMENT * live / 100,
            tombstones: SEGMENT * tombstones / 100,
            expired: false,
        }
    }

    fn chosen(files: &[FileUsage]) -> Vec<Range<usize>> {
        let choice = choose(&MergePolicy::default(), SEGMENT, files);
        assert_eq!(choice.cause.is_some(), !choice.runs.is_empty());
        choice.runs
    }

    #[test]
    fn nothing_is_merged_before_a_file_is_mostly_dead() {
        assert!(chosen(&[]).is_empty());
        assert!(chosen(&[file(50, 0), file(45, 0), file(100, 0)]).is_empty());
    }

    #[test]
    fn why_a_merge_starts_is_told() {
        let cause = |files: &[FileUsage]| choose(&MergePolicy::default(), SEGMENT, files).cause;
        let expired = FileUsage { expired: true, ..file(100, 0) };
        assert_eq!(cause(&[file(100, 0), file(90, 0)]), None);
        assert_eq!(cause(&[file(100, 0), file(30, 0)]), Some(Cause::Fragmentation(1)));
        assert_eq!(cause(&[file(100, 0), expired]), Some(Cause::Expired(1)));
        assert_eq!(cause(&[file(50, 0), file(20, 80)]), Some(Cause::Tombstones));
        let long = FileUsage { len: 2 << 30, live: 1 << 30, tombstones: 0, expired: false };
        assert_eq!(cause(&[file(100, 0), long]), Some(Cause::DeadBytes(1)));
    }

    #[test]
    fn a_merge_takes_in_what_is_worth_it_in_runs_of_neighbours() {
        let files = [file(50, 0), file(100, 0), file(30, 0), file(55, 0), file(90, 0), file(10, 0)];
        assert_eq!(chosen(&files), [0..1, 2..4, 5..6]);
    }

    #[test]
    fn tombstones_count_as_dead_only_where_they_can_be_dropped() {
        assert_eq!(chosen(&[file(35, 25), file(100, 0), file(100, 0)]), vec![0..1]);
        assert!(chosen(&[file(100, 0), file(35, 25), file(100, 0)]).is_empty());
    }

    #[test]
    fn a_third_of_tombstones_merges_everything() {
        assert_eq!(chosen(&[file(100, 0), file(35, 65)]), vec![0..2]);
    }

    #[test]
    fn a_live_file_alone_is_not_rewritten() {
        let small = FileUsage { len: 1 << 20, live: (1 << 20) - PREFACE_FRAME_BYTES, ..file(0, 0) };
        assert_eq!(chosen(&[file(10, 0), file(100, 0), small]), vec![0..1]);
        assert_eq!(chosen(&[file(10, 0), small, small]), vec![0..3]);
    }

    #[test]
    fn a_file_whose_values_have_all_expired_goes() {
        let expired = FileUsage { expired: true, ..file(100, 0) };
        assert_eq!(chosen(&[file(100, 0), expired, file(100, 0)]), vec![1..2]);
    }

    #[test]
    fn a_file_without_records_goes() {
        let empty = FileUsage { len: PREFACE_FRAME_BYTES, ..file(0, 0) };
        assert_eq!(chosen(&[file(100, 0), empty]), vec![1..2]);
    }
}
