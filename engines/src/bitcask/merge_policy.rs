//! Which data files are merged.
//!
//! 1. A merge starts when too much of the whole store is dead, or when some file is mostly dead, has many dead bytes, or nothing but values that have expired ([`MergePolicy`]'s triggers).
//! 2. If it is the store, the deadest files are taken in until the rest would be below the target, and small ones beside them. If it is a file, all files are taken in that are worth it, and small ones.
//! 3. What is taken in is merged in runs of neighbours, because the order of the files is the order of age.
//! 4. A tombstone is dead weight only in a run that begins at the oldest file; elsewhere it must be kept. When tombstones make up a good part of
//!    everything, everything is merged.
//!
//! Why the store as a whole: the deadest files cost the least to merge, as less of them is carried over, so it pays to wait until there are enough dead ones, however
//! dead each of them is (Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured File System", section 3.5, 1992). With files that are judged one
//! by one, half-dead ones are carried over again and again.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::options::MergePolicy;
use super::record::PREFACE_FRAME_BYTES;
use super::segment::{NEVER, Segment};

/// A group's live bytes, in lengths of a data file.
const GROUP_SEGMENTS: u64 = 4;

/// How much of a sealed data file is still needed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileUsage {
    pub(crate) len: u64,
    pub(crate) live: u64,
    pub(crate) tombstones: u64,
    /// All its values have expired.
    pub(crate) expired: bool,
    /// A merge has found that it cannot be read, and something in it is needed.
    pub(crate) damaged: bool,
}

impl FileUsage {
    /// The usage of a segment of `len` bytes, at a time in milliseconds since the Unix epoch.
    pub(crate) fn of<F>(segment: &Segment<F>, len: u64, now_ms: u64) -> Self {
        let usage = &segment.usage;
        // A damaged record that was replaced may have said that it was longer than it was.
        let (live, tombstones) = (usage.live_bytes().min(len), usage.tombstone_bytes());
        let gone_by_ms = usage.gone_by_ms();
        // Whatever the clock says, what lasts for ever has not expired.
        let expired = live > 0 && gone_by_ms <= now_ms && gone_by_ms != NEVER;
        let is_needed = usage.live_records() > 0 || tombstones > 0;
        let damaged = is_needed && segment.damaged.load(Ordering::Relaxed);
        Self { len, live, tombstones, expired, damaged }
    }

    /// The same for a file before which others stay: its tombstones may hide what is in them.
    fn behind_others(self) -> Self {
        Self { live: self.live + self.tombstones, tombstones: 0, ..self }
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
    /// Of all files together too much is dead.
    Store,
}

impl Cause {
    /// The same where so many files are before those that were looked at.
    fn moved(self, by: usize) -> Self {
        match self {
            Self::Tombstones | Self::Store => self,
            Self::Expired(at) => Self::Expired(at + by),
            Self::Fragmentation(at) => Self::Fragmentation(at + by),
            Self::DeadBytes(at) => Self::DeadBytes(at + by),
        }
    }
}

/// What is to be merged, and why.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// None: nothing is due.
    pub(crate) cause: Option<Cause>,
    pub(crate) runs: Vec<Range<usize>>,
}

/// Chooses runs of neighbours among the sealed files, oldest first. Nothing is chosen unless it can be made smaller, so merging ends. A damaged file stays as it is, and does not
/// keep those before and behind it from being merged.
pub(crate) fn choose(policy: &MergePolicy, segment_bytes: u64, files: &[FileUsage]) -> Choice {
    let mut all = Choice::default();
    let mut first = 0;
    for stretch in files.split(|file| file.damaged) {
        let choice = if first == 0 {
            choose_among(policy, segment_bytes, stretch)
        } else {
            let stretch: Vec<_> = stretch.iter().map(|file| file.behind_others()).collect();
            choose_among(policy, segment_bytes, &stretch)
        };
        all.cause = all.cause.or(choice.cause.map(|cause| cause.moved(first)));
        all.runs.extend(choice.runs.into_iter().map(|run| run.start + first..run.end + first));
        first += stretch.len() + 1;
    }
    all
}

/// The same, where no file is damaged.
fn choose_among(policy: &MergePolicy, segment_bytes: u64, files: &[FileUsage]) -> Choice {
    let total: u64 = files.iter().map(FileUsage::body).sum();
    let tombstones: u64 = files.iter().map(|file| file.tombstones).sum();
    if tombstones > 0 && tombstones as f64 >= total as f64 * policy.tombstones_trigger {
        let runs = std::iter::once(0..files.len()).collect();
        return Choice { cause: Some(Cause::Tombstones), runs };
    }
    let (mut included, of_files) = worth_it(policy, segment_bytes, files);
    let (taken, of_store) = deadest(policy, segment_bytes, files);
    for (included, taken) in included.iter_mut().zip(taken) {
        *included |= taken;
    }
    let mut runs: Vec<Range<usize>> = Vec::new();
    for i in (0..files.len()).filter(|i| included[*i]) {
        match runs.last_mut() {
            Some(run) if run.end == i => run.end += 1,
            _ => runs.push(i..i + 1),
        }
    }
    let useful = |run: &Range<usize>| {
        run.len() > 1
            || files[run.start].dead() > 0
            || files[run.start].body() == 0
            || (run.start == 0 && files[0].tombstones > 0)
    };
    runs.retain(useful);
    match of_files.or(of_store) {
        cause @ Some(_) if !runs.is_empty() => Choice { cause, runs },
        _ => Choice::default(),
    }
}

/// How many files of a run are merged together, by the live bytes of each: the longer the group, the more memory for what is moved, and the more
/// room for old and new files at once. At least one, if there is one.
pub(crate) fn group_len(live: impl IntoIterator<Item = u64>, segment_bytes: u64) -> usize {
    let mut sum = 0;
    let fits = |live: &u64| {
        sum += live;
        sum <= GROUP_SEGMENTS * segment_bytes
    };
    live.into_iter().take_while(fits).count().max(1)
}

/// If a single file is reason enough: which files are worth it, and why.
fn worth_it(
    policy: &MergePolicy,
    segment_bytes: u64,
    files: &[FileUsage],
) -> (Vec<bool>, Option<Cause>) {
    let small = policy.small_file_bytes.min(segment_bytes / 4);
    let mut cause = None;
    let mut from_oldest = true;
    let mut included = Vec::with_capacity(files.len());
    for (i, file) in files.iter().enumerate() {
        let dead = file.dead() + if from_oldest { file.tombstones } else { 0 };
        let fragmentation = file.fragmentation(dead);
        if fragmentation >= policy.fragmentation_trigger && fragmentation > 0.0 {
            let why = if file.expired { Cause::Expired(i) } else { Cause::Fragmentation(i) };
            cause.get_or_insert(why);
        } else if dead >= policy.dead_bytes_trigger {
            cause.get_or_insert(Cause::DeadBytes(i));
        }
        let worth_it = fragmentation >= policy.fragmentation_included
            || dead >= policy.dead_bytes_included
            || file.len < small;
        from_oldest &= worth_it;
        included.push(worth_it);
    }
    if cause.is_none() {
        included.fill(false);
    }
    (included, cause)
}

/// If too much of all files together is dead: the deadest, until the rest is below the target, and small neighbours of theirs.
fn deadest(
    policy: &MergePolicy,
    segment_bytes: u64,
    files: &[FileUsage],
) -> (Vec<bool>, Option<Cause>) {
    let total: u64 = files.iter().map(FileUsage::body).sum();
    let mut dead: u64 = files.iter().map(FileUsage::dead).sum();
    let mut included = vec![false; files.len()];
    if dead == 0 || dead as f64 <= total as f64 * policy.store_dead_trigger {
        return (included, None);
    }
    let live = (total - dead) as f64;
    let share = |i: &usize| files[*i].fragmentation(files[*i].dead());
    let mut by_share: Vec<usize> = (0..files.len()).filter(|i| files[*i].dead() > 0).collect();
    by_share.sort_by(|a, b| share(b).total_cmp(&share(a)));
    for i in by_share {
        if dead as f64 <= (live + dead as f64) * policy.store_dead_target {
            break;
        }
        dead -= files[i].dead();
        included[i] = true;
    }
    let taken = included.clone();
    // Only short ones are worth it: all that they hold is alive, as a rule, and is written once more to have fewer files.
    for i in (0..files.len()).filter(|i| files[*i].len < segment_bytes / 4) {
        let beside = |other: Option<usize>| other.and_then(|other| taken.get(other)) == Some(&true);
        included[i] |= beside(i.checked_sub(1)) || beside(Some(i + 1));
    }
    (included, Some(Cause::Store))
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
            damaged: false,
        }
    }

    fn chosen(files: &[FileUsage]) -> Vec<Range<usize>> {
        chosen_by(&MergePolicy::basho(), files)
    }

    fn chosen_by_default(files: &[FileUsage]) -> Vec<Range<usize>> {
        chosen_by(&MergePolicy::default(), files)
    }

    fn chosen_by(policy: &MergePolicy, files: &[FileUsage]) -> Vec<Range<usize>> {
        let choice = choose(policy, SEGMENT, files);
        assert_eq!(choice.cause.is_some(), !choice.runs.is_empty());
        choice.runs
    }

    #[test]
    fn the_deadest_files_go_when_a_good_third_of_the_store_is_dead() {
        assert!(chosen_by_default(&[file(30, 0), file(80, 0), file(100, 0)]).is_empty());
        let files = [file(50, 0), file(60, 0), file(100, 0), file(45, 0), file(65, 0)];
        assert_eq!(chosen_by_default(&files), [0..1, 3..4], "that is enough for the target");
        let small = FileUsage { len: SEGMENT / 5, live: SEGMENT / 6, ..file(0, 0) };
        let files = [file(20, 0), small, file(90, 0), file(60, 0)];
        assert_eq!(
            chosen_by_default(&files),
            vec![0..2],
            "a small one beside a dead one goes along"
        );
    }

    #[test]
    fn nothing_is_merged_before_a_file_is_mostly_dead() {
        assert!(chosen(&[]).is_empty());
        assert!(chosen(&[file(50, 0), file(45, 0), file(100, 0)]).is_empty());
    }

    #[test]
    fn why_a_merge_starts_is_told() {
        let cause = |files: &[FileUsage]| choose(&MergePolicy::basho(), SEGMENT, files).cause;
        let expired = FileUsage { expired: true, ..file(100, 0) };
        assert_eq!(cause(&[file(100, 0), file(90, 0)]), None);
        assert_eq!(cause(&[file(100, 0), file(30, 0)]), Some(Cause::Fragmentation(1)));
        assert_eq!(cause(&[file(100, 0), expired]), Some(Cause::Expired(1)));
        assert_eq!(cause(&[file(50, 0), file(20, 80)]), Some(Cause::Tombstones));
        let long = FileUsage { len: 2 << 30, live: 1 << 30, ..file(0, 0) };
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

    #[test]
    fn damaged_files_are_left_out_and_divide_the_others() {
        let damaged = FileUsage { damaged: true, ..file(5, 0) };
        assert!(chosen(&[damaged, file(100, 0)]).is_empty(), "however dead it is");
        assert_eq!(chosen(&[file(0, 0), damaged, file(0, 0), file(0, 0)]), vec![0..1, 2..4]);
        // What a tombstone hides may be in the damaged file.
        assert_eq!(chosen(&[file(0, 100)]), vec![0..1]);
        assert!(chosen(&[damaged, file(0, 100)]).is_empty());
        let policy = MergePolicy::basho();
        let cause = choose(&policy, SEGMENT, &[damaged, file(100, 0), file(0, 0)]).cause;
        assert_eq!(cause, Some(Cause::Fragmentation(2)));
    }
}
