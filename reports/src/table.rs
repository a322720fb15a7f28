//! The table that a person sees at the end of a run.

use crate::result::ResultFile;

/// How the table may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalOptions {
    /// Whether the terminal shows colours.
    pub color: bool,
    /// Columns of the terminal.
    pub width: u16,
}

/// A result as text for a terminal.
pub fn terminal_table(result: &ResultFile, options: TerminalOptions) -> String {
    let _ = (result, options);
    String::new()
}
