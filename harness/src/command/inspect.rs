//! `kvdyno inspect`: looks into a store's folder, checks every byte of it, or saves what can be read of a damaged one. Here is what all engines have in common.

use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use comfy_table::{CellAlignment, Table, TableStyle};

use super::{inspect_bitcask, inspect_lsm};
use crate::cli::InspectArguments;
use crate::failure::{ExitStatus, Failure, Result};

/// Bytes of a value that are printed in a line of text.
const VALUE_BYTES_SHOWN: usize = 64;

/// Looks, and prints what is there.
pub(crate) fn main(arguments: &InspectArguments) -> Result<ExitStatus> {
    if is_lsm(&arguments.dir)? {
        inspect_lsm::main(arguments)
    } else {
        inspect_bitcask::main(arguments)
    }
}

/// Whether the files in a folder are those of an LSM store; else it is a Bitcask, or no store at all.
fn is_lsm(dir: &Path) -> Result<bool> {
    let metadata = std::fs::metadata(dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::usage(format!("{}: there is no such folder", dir.display()))
        }
        _ => Failure::io("read", dir)(error),
    })?;
    if !metadata.is_dir() {
        let message = format!("{} is a file: name the folder of a store", dir.display());
        return Err(Failure::usage(message));
    }
    let (mut has_log, mut has_lock) = (false, false);
    for entry in std::fs::read_dir(dir).map_err(Failure::io("list", dir))? {
        let name = entry.map_err(Failure::io("list", dir))?.file_name();
        let name = name.to_string_lossy();
        let (stem, extension) = name.split_once('.').unwrap_or((&name, ""));
        let is_number = stem.len() >= 8 && stem.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && ["manifest", "table", "values"].contains(&extension) {
            return Ok(true);
        }
        // Others have logs that are named by numbers, too: by the day, say.
        has_log |= is_number && extension == "log";
        has_lock |= name == "lock";
    }
    Ok(has_log && has_lock)
}

/// What the user named wrongly is for the user to correct; all else has failed.
pub(super) fn failure(error: kvdyno_engines::Error) -> Failure {
    use kvdyno_engines::Error;
    match error {
        Error::NotAStore { path, reason } => {
            Failure::usage(format!("{} is not the folder of a store: {reason}", path.display()))
        }
        Error::NoSuchFile { dir, id } => Failure::usage(format!(
            "--file {id}: {} has no file of records with this number; without --records, its files are shown",
            dir.display()
        )),
        Error::InvalidOption { name: "to", value, expected } => {
            Failure::usage(format!("--salvage-to {value}: expected {expected}"))
        }
        other => other.into(),
    }
}

/// Refuses to salvage into the store itself.
pub(super) fn refuse_inside(from: &Path, to: &Path) -> Result<()> {
    // What is named differently may be the same, or lie in it.
    let absolute = |path: &Path| {
        let existing = path.ancestors().find_map(|ancestor| {
            let here = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
            let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
            here.canonicalize()
                .ok()
                .map(|found| if rest.as_os_str().is_empty() { found } else { found.join(rest) })
        });
        existing.unwrap_or_else(|| path.to_owned())
    };
    if absolute(to).starts_with(absolute(from)) {
        let message = format!(
            "--salvage-to {}: expected a folder outside of {}",
            to.display(),
            from.display()
        );
        return Err(Failure::usage(message));
    }
    Ok(())
}

/// A number with its noun.
pub(super) fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// Damage in a line of text.
pub(super) fn damage_line(file: &Path, offset: u64, reason: &str) -> String {
    format!("{} byte {offset}: {reason}", file.display())
}

/// A table without borders; the columns from `numbers` are set right.
pub(super) fn plain_table(header: &[&str], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header(header.to_vec());
    for at in numbers {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The lines of a table.
pub(super) fn lines_of(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The beginning of a value, in quotes.
pub(super) fn value_text(value: &[u8]) -> String {
    let shown = &value[..value.len().min(VALUE_BYTES_SHOWN)];
    let rest = if shown.len() < value.len() {
        format!("… {} bytes", value.len())
    } else {
        String::new()
    };
    format!(" \"{}\"{rest}", shown.escape_ascii())
}

/// Prints what `records` gives, line by line, until nobody reads any more; then, to standard error, the lines about damage that it returns.
pub(super) fn print_lines(
    records: impl FnOnce(
        &mut dyn FnMut(String) -> ControlFlow<()>,
    ) -> kvdyno_engines::Result<Vec<String>>,
) -> Result<ExitStatus> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    let damage = records(&mut |line| {
        written = writeln!(out, "{line}");
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .map_err(failure)?;
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(ExitStatus::Ok),
        Err(error) => {
            return Err(Failure::failed(format!("cannot write to standard output: {error}")));
        }
        Ok(()) => {}
    }
    for damage in &damage {
        let _ = writeln!(std::io::stderr().lock(), "kvdyno: {damage}");
    }
    Ok(if damage.is_empty() { ExitStatus::Ok } else { ExitStatus::WrongData })
}

/// A time in RFC 3339, or in milliseconds where the calendar ends.
pub(super) fn time(unix_ms: u64) -> String {
    let known =
        i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    known.map_or_else(|| format!("{unix_ms} ms"), |time| format!("{time:.3}"))
}
