//! How the program ends: exit statuses, and failures that carry one.

use std::fmt;

/// The exit status of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// All went well.
    Ok,
    /// The tool, an engine or the operating system failed.
    Failed,
    /// The command line or a file named on it is wrong, or asks for what none of the engines can do.
    Usage,
    /// `compare` found a change beyond the threshold.
    Regression,
    /// An engine returned wrong data, or lost a write that its durability class promised to keep.
    WrongData,
    /// The files to be compared have nothing in common, or one is missing.
    NotComparable,
    /// Stopped by the user.
    Interrupted,
}

impl ExitStatus {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Regression => 3,
            Self::WrongData => 4,
            Self::NotComparable => 6,
            Self::Interrupted => 130,
        }
    }
}

/// A failure with the exit status that it leads to. The message is one line that names the thing, and says what to do.
#[derive(Debug)]
pub struct Failure {
    /// What the program exits with.
    pub status: ExitStatus,
    /// One line.
    pub message: String,
}

/// Shorthand for results of the program.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// The user named something that is not there, or gave a value that is not possible.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { status: ExitStatus::Usage, message: message.into() }
    }

    /// A file, an engine or the operating system failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { status: ExitStatus::Failed, message: message.into() }
    }

    /// An I/O error with what was tried on which path.
    pub fn io(what: &str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let place = format!("cannot {what} {}", path.display());
        move |error| Self::failed(format!("{place}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<kvdyno_engines::Error> for Failure {
    fn from(error: kvdyno_engines::Error) -> Self {
        Self::failed(error.to_string())
    }
}

/// The known name that is most like `name`, as a question to append to a message: one in which a single letter is another, or two have changed places, before those that begin alike.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let name = name.to_lowercase();
    let likeness = |candidate: &str| {
        let is_slip = strsim::osa_distance(&name, candidate) == 1;
        f64::from(u8::from(is_slip)) + strsim::jaro_winkler(&name, candidate)
    };
    known
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean '{candidate}'?"))
}
