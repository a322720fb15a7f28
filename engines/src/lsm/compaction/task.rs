//! One compaction that is to be done: which tables, where to, and how.

use super::super::files::FileNumber;
use super::super::options::Options;
use super::super::table::TableMeta;
use super::super::version::PerLevel;

/// What is known about the tables of each level, in the order of [`super::super::version::Version`].
pub(crate) type Metas<'m> = PerLevel<Vec<&'m TableMeta>>;

/// So many lengths of a table may a table have below its own next level, two levels down: what it costs to compact it from there
/// (LevelDB's `MaxGrandParentOverlapBytes`).
pub(crate) const GRANDPARENTS_MAX: u64 = 10;

/// What is done with the tables of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// They are merged into new ones.
    Merge,
    /// They go to the output level as they are, by an edit of the manifest alone.
    Move,
    /// They are dropped, with all that is in them.
    Drop,
}

/// A compaction to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// Tables to read, by level, in the order of the version.
    pub(crate) inputs: PerLevel<Vec<FileNumber>>,
    /// Level that the result goes into. In level 0 it is a single table.
    pub(crate) output: usize,
    pub(crate) action: Action,
    /// No older table has any of the keys, so deletions have nothing left to hide.
    pub(crate) drops_deletions: bool,
    /// Bytes of the inputs.
    pub(crate) bytes: u64,
    /// Least key of the inputs.
    pub(crate) low: Vec<u8>,
    /// Greatest key of the inputs.
    pub(crate) high: Vec<u8>,
    /// A level, and the key behind which its next compaction goes on.
    pub(crate) turn: Option<(usize, Vec<u8>)>,
    /// When it was chosen, in milliseconds since the Unix epoch: what has expired by then counts as deleted.
    pub(crate) now_ms: u64,
}

impl Task {
    /// The compaction of `inputs`, of which there is at least one, into the level `output`, where all tables are among the inputs that overlap them.
    pub(crate) fn new(
        levels: &Metas<'_>,
        inputs: &Metas<'_>,
        output: usize,
        now_ms: u64,
        options: &Options,
    ) -> Self {
        let (low, high) = hull(inputs.iter().flatten().copied());
        let numbers = inputs
            .each_ref()
            .map(|tables| tables.iter().map(|table| table.number).collect::<Vec<_>>());
        let bytes = inputs.iter().flatten().map(|table| table.file_bytes).sum();
        let (low, high) = (low.to_vec(), high.to_vec());
        let mut task = Self {
            inputs: numbers,
            output,
            action: Action::Merge,
            drops_deletions: false,
            bytes,
            low,
            high,
            turn: None,
            now_ms,
        };
        task.drops_deletions = task.nothing_older(levels);
        if task.can_move(levels, inputs, options) {
            task.action = Action::Move;
        }
        task
    }

    /// Dropping these tables.
    pub(crate) fn dropping(inputs: &Metas<'_>, now_ms: u64, options: &Options) -> Self {
        // No level is looked at for what is older: nothing is read.
        let task = Self::new(&Metas::default(), inputs, 0, now_ms, options);
        Self { action: Action::Drop, ..task }
    }

    /// Whether no table has any of the keys that is older than the inputs, and not among them.
    fn nothing_older(&self, levels: &Metas<'_>) -> bool {
        let older_in_0 = levels[0].iter().skip_while(|table| !self.has(0, table.number));
        let older_in_0 = older_in_0.filter(|table| self.output == 0 && !self.has(0, table.number));
        let deeper = levels[self.output + 1..].iter().zip(self.output + 1..);
        let deeper = deeper.flat_map(|(tables, level)| {
            tables.iter().filter(move |table| !self.has(level, table.number))
        });
        !older_in_0.chain(deeper).any(|table| table.overlaps(&self.low, &self.high))
    }

    /// Whether the tables can go to the output level as they are: none overlaps another, no deletions that should vanish are left in them, and none comes to lie above so much that
    /// it would cost too much to go further.
    fn can_move(&self, levels: &Metas<'_>, inputs: &Metas<'_>, options: &Options) -> bool {
        let mut tables: Vec<&TableMeta> = inputs.iter().flatten().copied().collect();
        tables.sort_by(|a, b| a.key_min.cmp(&b.key_min));
        let disjoint = tables.windows(2).all(|pair| pair[0].ends_before(&pair[1].key_min));
        let below = levels.get(self.output + 1).map_or(&[][..], Vec::as_slice);
        let bad_overlap = |table: &&TableMeta| {
            let bytes = overlapping(below, &table.key_min, &table.key_max);
            let bytes = bytes.iter().map(|table| table.file_bytes).sum::<u64>();
            bytes > GRANDPARENTS_MAX * options.table_bytes.max(table.file_bytes)
        };
        let vain = |table: &&TableMeta| {
            let is_dense = || is_dense(table, self.now_ms, options);
            self.drops_deletions && (table.range_deletions > 0 || is_dense())
        };
        self.output > 0 && disjoint && !tables.iter().any(|table| bad_overlap(table) || vain(table))
    }

    fn has(&self, level: usize, number: FileNumber) -> bool {
        self.inputs[level].contains(&number)
    }

    /// Numbers of all inputs.
    pub(crate) fn numbers(&self) -> Vec<FileNumber> {
        self.inputs.iter().flatten().copied().collect()
    }

    /// Whether a table is among the inputs.
    pub(crate) fn takes(&self, number: FileNumber) -> bool {
        self.inputs.iter().any(|numbers| numbers.contains(&number))
    }

    /// Whether it takes tables out of level 0.
    pub(crate) fn empties_level_0(&self) -> bool {
        self.output > 0 && !self.inputs[0].is_empty()
    }

    /// Whether the two cannot be under way at once: a table would be compacted twice, two results would overlap in one level, or what is younger could come to lie
    /// below what is older, as it may if two tasks take tables out of level 0.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let shared = self.inputs.iter().flatten().any(|number| other.takes(*number));
        let overlap = self.low <= other.high && other.low <= self.high;
        let same_output = self.output == other.output && self.output > 0 && overlap;
        shared || same_output || self.empties_level_0() && other.empties_level_0()
    }
}

/// Whether so many of the table's entries are deletions, ranges among them, or have expired, that it is compacted for their sake.
///
/// How many have expired is a guess, from the first deadline and the last. Where it is wrong, a table is written anew for little; but then the first deadline is one that lies ahead, so at 50 per cent at least half of the time up to
/// the last one has to pass before the next guess: that happens few times to a table, however its deadlines are spread.
pub(crate) fn is_dense(table: &TableMeta, now_ms: u64, options: &Options) -> bool {
    let percent = options.deletions_percent;
    let deletions = table.deletions + table.range_deletions + table.expiring.about_by(now_ms);
    percent > 0 && deletions > 0 && deletions * 100 >= table.entries * percent
}

/// The least and the greatest key of some tables.
pub(crate) fn hull<'m>(tables: impl Iterator<Item = &'m TableMeta>) -> (&'m [u8], &'m [u8]) {
    let bounds = tables.map(|table| (&table.key_min[..], &table.key_max[..]));
    bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default()
}

/// Those of `tables`, a level without overlaps, that may have keys between `low` and `high`.
pub(crate) fn overlapping<'t, 'm>(
    tables: &'t [&'m TableMeta],
    low: &[u8],
    high: &[u8],
) -> &'t [&'m TableMeta] {
    let from = tables.partition_point(|table| table.ends_before(low));
    let len = tables[from..].partition_point(|table| &table.key_min[..] <= high);
    &tables[from..from + len]
}
