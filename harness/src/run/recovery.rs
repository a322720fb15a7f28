//! One recovery experiment, from a copy of a loaded store to the outcome.
//!
//! 1. A child overwrites records until a given amount is written, and closes the store or is killed while it writes on. The amount is seen in the
//!    counters of acknowledgements that it shares with this process.
//! 2. The files that recovery can do without are removed or damaged, if the scenario says so.
//! 3. Another child reopens the store and looks for every acknowledged write.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvdyno_reports::{CellStatus, LogSize, RecoveryEnding, RecoveryScenario};
use kvdyno_workloads::WorkloadSpec;
use serde::{Deserialize, Serialize};

use super::child_process::ChildProcess;
use super::interrupt::Interrupt;
use crate::cell::acknowledgements::{Acknowledgements, Note};
use crate::cell::job::{Job, Message, Outcome, Task};
use crate::failure::{Failure, Result};

/// A damaged file has a damaged byte in each piece of this length.
const DAMAGE_EVERY_BYTES: u64 = 4096;

/// How much is written before the store is left.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// As much as the engine takes in this time.
    Time(Duration),
    /// So many writes over all threads; a child that is to be killed then makes some more.
    Writes(u64),
}

/// What is written between a load and a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Written {
    /// Key and value bytes.
    Bytes(u64),
    /// Part of the data's key and value bytes, but at least so many bytes.
    Share {
        /// Part of the data.
        of_data: f64,
        /// The least.
        bytes_min: u64,
    },
}

impl From<LogSize> for Written {
    fn from(size: LogSize) -> Self {
        match size {
            LogSize::Bytes(bytes) => Self::Bytes(bytes),
            LogSize::DataPpm(ppm) => Self::Share { of_data: ppm as f64 / 1e6, bytes_min: 0 },
        }
    }
}

impl Written {
    /// Writes that come to it.
    pub(crate) fn writes(self, spec: &WorkloadSpec) -> u64 {
        let record_bytes = spec.key_bytes_max() + spec.value_bytes();
        let data_bytes = spec.records.saturating_mul(record_bytes);
        let bytes = match self {
            Self::Bytes(bytes) => bytes,
            Self::Share { of_data, bytes_min } => {
                ((data_bytes as f64 * of_data) as u64).max(bytes_min)
            }
        };
        bytes.div_ceil(record_bytes).max(1)
    }
}

/// A recovery experiment.
pub(crate) struct Experiment<'a> {
    /// The cell's job; its task is replaced. Its store is a copy that is the experiment's own.
    pub(crate) job: Job,
    /// How the names of files end that recovery can do without.
    pub(crate) hint_files: &'a [&'a str],
    /// How much is written.
    pub(crate) amount: Amount,
    /// How the store is left.
    pub(crate) scenario: RecoveryScenario,
    /// Whether the rate of reads is taken before, and for how long it is waited for afterwards.
    pub(crate) reads_wait: Option<Duration>,
    /// Folder for the memory that is shared with the children.
    pub(crate) memory: &'a Path,
    /// The user's wish to stop.
    pub(crate) interrupt: &'a Interrupt,
    /// Longest time for each of the two children.
    pub(crate) timeout: Duration,
}

impl Experiment<'_> {
    /// Does it; `progress` hears what the children tell.
    ///
    /// # Errors
    /// If children cannot be started, or files not be made; what the engine does is in the outcome.
    pub(crate) fn run(mut self, mut progress: impl FnMut(&Message)) -> Result<Outcome> {
        let path = self.memory.join("counters");
        let acknowledgements = Acknowledgements::create(&path, self.job.threads)?;
        progress(&Message::Progress {
            stage: "writing".into(),
            operations_per_s: None,
            done: None,
        });
        let close = self.scenario.ending == RecoveryEnding::CleanClose;
        let writes = match self.amount {
            Amount::Writes(writes) => writes,
            Amount::Time(_) => 0,
        };
        let reads = self.reads_wait.is_some();
        self.job.task = Task::Overwrite { acknowledgements: path.clone(), writes, reads, close };
        let child = ChildProcess::start(&self.job)?;
        let mut written = Duration::ZERO;
        if close {
            let outcome = child.wait(self.interrupt, self.timeout, progress_of(&mut progress));
            if outcome.status != CellStatus::Ok {
                return Ok(outcome);
            }
        } else {
            let mut last_part = LastPart::new(self.amount, &acknowledgements);
            let ended = child.kill_when(|| last_part.is_over(), self.interrupt, self.timeout);
            if let Some(outcome) = ended {
                return Ok(outcome);
            }
            written = last_part.elapsed();
        }
        written +=
            Duration::from_nanos(acknowledgements.note(Note::WrittenNs).load(Ordering::Acquire));
        let ending = self.scenario.ending;
        if let Some(outcome) = meddle(&self.job.store, self.hint_files, ending)? {
            return Ok(outcome);
        }
        let (scenario, written_s) = (self.scenario, written.as_secs_f64());
        let reads_wait = self.reads_wait.unwrap_or_default();
        self.job.task = Task::Reopen { acknowledgements: path, written_s, scenario, reads_wait };
        let child = ChildProcess::start(&self.job)?;
        Ok(child.wait(self.interrupt, self.timeout, progress))
    }
}

/// Removes or damages the files of a store that recovery can do without, if that is how it is left; an outcome if there are none.
fn meddle(store: &Path, endings: &[&str], ending: RecoveryEnding) -> Result<Option<Outcome>> {
    let damage = match ending {
        RecoveryEnding::CleanClose | RecoveryEnding::Kill => return Ok(None),
        RecoveryEnding::KillWithoutHints => false,
        RecoveryEnding::KillDamagedHints => true,
    };
    let mut hints = Vec::new();
    files_ending_in(store, endings, &mut hints)?;
    if hints.is_empty() {
        return Ok(Some(Outcome::without_figures(
            CellStatus::Unsupported,
            "no hint files were there when it was killed: give more --records",
        )));
    }
    for path in &hints {
        if damage {
            flip_bytes(path).map_err(Failure::io("damage", path))?;
        } else {
            fs::remove_file(path).map_err(Failure::io("remove", path))?;
        }
    }
    Ok(None)
}

fn progress_of(progress: &mut impl FnMut(&Message)) -> impl FnMut(&Message) {
    |message| progress(message)
}

/// What a child writes after the wanted amount, until it is killed.
struct LastPart<'a> {
    amount: Amount,
    acknowledgements: &'a Acknowledgements,
    /// When it was first seen to be writing it, and how much had been acknowledged then.
    began: Option<(Instant, u64)>,
}

impl<'a> LastPart<'a> {
    fn new(amount: Amount, acknowledgements: &'a Acknowledgements) -> Self {
        Self { amount, acknowledgements, began: None }
    }

    fn is_over(&mut self) -> bool {
        if self.acknowledgements.note(Note::Written).load(Ordering::Acquire) == 0 {
            return false;
        }
        let acknowledged = self.acknowledgements.total();
        let (began, before) = *self.began.get_or_insert_with(|| (Instant::now(), acknowledged));
        match self.amount {
            Amount::Time(time) => began.elapsed() >= time,
            // Some more, so that the kill comes in the middle of writing.
            Amount::Writes(writes) => acknowledged > before + writes / 100,
        }
    }

    fn elapsed(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |(began, _)| began.elapsed())
    }
}

/// The plain files below a folder whose names end in one of `endings`, and that have something in them.
fn files_ending_in(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Failure::io("list", dir))? {
        let entry = entry.map_err(Failure::io("list", dir))?;
        let path = entry.path();
        let metadata = entry.metadata().map_err(Failure::io("look at", &path))?;
        if metadata.is_dir() {
            files_ending_in(&path, endings, found)?;
        } else if metadata.is_file() && metadata.len() > 0 {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            found.extend(endings.iter().any(|ending| name.ends_with(ending)).then_some(path));
        }
    }
    Ok(())
}

/// Inverts a byte in the middle of each piece of the file.
fn flip_bytes(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut start = 0;
    while start < length {
        let end = length.min(start + DAMAGE_EVERY_BYTES);
        let at = start + (end - start) / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        file.write_all_at(&[!byte[0]], at)?;
        start = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_meets_every_piece_of_a_file_and_keeps_its_length() {
        let dir = tempfile::tempdir().unwrap();
        for length in [1, 2, 4096, 4097, 10_000_usize] {
            let path = dir.path().join("1.hint");
            fs::write(&path, vec![7; length]).unwrap();
            flip_bytes(&path).unwrap();
            let found = fs::read(&path).unwrap();
            assert_eq!(found.len(), length);
            let damaged = found.iter().filter(|byte| **byte != 7).count();
            assert_eq!(damaged, length.div_ceil(4096), "{length}");
        }
    }

    #[test]
    fn only_files_of_the_declared_endings_are_meddled_with() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        for name in ["1.hint", "1.data", "hint", "below/2.hint"] {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        fs::write(dir.path().join("empty.hint"), b"").unwrap();
        let read = |name: &str| fs::read(dir.path().join(name)).ok();
        let meddle = |ending| meddle(dir.path(), &[".hint"], ending).unwrap();
        assert!(meddle(RecoveryEnding::Kill).is_none());
        assert_eq!(read("1.hint"), Some(b"x".to_vec()));
        assert!(meddle(RecoveryEnding::KillDamagedHints).is_none());
        assert_eq!(read("below/2.hint"), Some(vec![!b'x']));
        assert!(meddle(RecoveryEnding::KillWithoutHints).is_none());
        assert_eq!((read("1.hint"), read("below/2.hint")), (None, None));
        assert_eq!((read("1.data"), read("hint")), (Some(b"x".to_vec()), Some(b"x".to_vec())));
        for ending in [RecoveryEnding::KillWithoutHints, RecoveryEnding::KillDamagedHints] {
            let outcome = meddle(ending).unwrap();
            assert_eq!(outcome.status, CellStatus::Unsupported, "it was quietly only killed");
        }
    }
}
