//! `kvdyno inspect`: looks into a store's folder, checks every byte of it, or saves what can be read of a damaged one.

use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use comfy_table::{CellAlignment, Table, TableStyle};
use kvdyno_engines::bitcask::{
    self, Damage, DataFigures, Options, SalvageReport, StoredRecord, VerifiedFile, VerifyReport,
};
use kvdyno_engines::storage::Disk;
use serde_json::{Value, json};

use crate::cli::InspectArguments;
use crate::failure::{ExitStatus, Failure, Result};

/// Bytes of a value that are printed in a line of text.
const VALUE_BYTES_SHOWN: usize = 64;

/// Looks, and prints what is there.
pub(crate) fn main(arguments: &InspectArguments) -> Result<ExitStatus> {
    let dir = arguments.dir.as_path();
    refuse_what_is_no_bitcask(dir)?;
    if arguments.records {
        return print_records(arguments);
    }
    if let Some(to) = &arguments.salvage_to {
        return salvage(dir, to, arguments.json);
    }
    let look = if arguments.verify { bitcask::verify } else { bitcask::inspect };
    let report = look(&Disk, dir).map_err(failure)?;
    if arguments.json {
        crate::print(&format!("{:#}", object(&report)))?;
    } else {
        crate::print(text(dir, &report).trim_end())?;
    }
    // A store that is damaged has lost something that it promised to keep, and one that is torn in the middle is about to.
    Ok(if report.is_complete() { ExitStatus::Ok } else { ExitStatus::WrongData })
}

/// What the user named wrongly is for the user to correct; all else has failed.
fn failure(error: kvdyno_engines::Error) -> Failure {
    use kvdyno_engines::Error;
    match error {
        Error::NotAStore { path, reason } => {
            Failure::usage(format!("{} is not the folder of a store: {reason}", path.display()))
        }
        Error::NoSuchFile { dir, id } => Failure::usage(format!(
            "--file {id}: {} has no data file with this number; without --records, its files are shown",
            dir.display()
        )),
        Error::InvalidOption { name: "to", value, expected } => {
            Failure::usage(format!("--salvage-to {value}: expected {expected}"))
        }
        other => other.into(),
    }
}

fn refuse_what_is_no_bitcask(dir: &Path) -> Result<()> {
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
    let mut is_lsm = false;
    for entry in std::fs::read_dir(dir).map_err(Failure::io("list", dir))? {
        let name = entry.map_err(Failure::io("list", dir))?.file_name();
        let name = name.to_string_lossy();
        let (stem, extension) = name.split_once('.').unwrap_or((&name, ""));
        let is_number = stem.len() == 8 && stem.bytes().all(|byte| byte.is_ascii_digit());
        is_lsm |= is_number && ["manifest", "log", "table"].contains(&extension);
    }
    if is_lsm {
        let message = format!(
            "{} is the folder of an LSM store: inspect of lsm stores is not there yet",
            dir.display()
        );
        return Err(Failure::usage(message));
    }
    Ok(())
}

/// Data files first, oldest records first; then the others by name.
fn in_order(report: &VerifyReport) -> Vec<&VerifiedFile> {
    let mut files: Vec<_> = report.files.iter().collect();
    files.sort_by_key(|file| file.data.map_or(u64::MAX, |data| data.age_rank));
    files
}

fn text(dir: &Path, report: &VerifyReport) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header([
        "file",
        "kind",
        "bytes",
        "records",
        "tombstones",
        "live",
        "live bytes",
        "dead bytes",
        "dead",
        "expiring",
        "compressed",
        "unchecked",
        "torn bytes",
        "hint",
    ]);
    for at in 2..13 {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for file in in_order(report) {
        table.add_row(row(file));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let sum = |figure: fn(&DataFigures) -> u64| -> u64 {
        report.files.iter().filter_map(|file| file.data.as_ref()).map(figure).sum()
    };
    let files = report.files.iter().filter(|file| file.data.is_some()).count();
    let (used, live, dead) =
        (sum(|data| data.used_bytes), sum(|data| data.live_bytes), sum(|data| data.dead_bytes));
    text.push_str(&format!(
        "\nBitcask in {}: {} keys; {}, {} with hints; {used} bytes: {live} live, {dead} dead, {} of tombstones",
        dir.display(),
        report.keys,
        data_files(files as u64),
        sum(|data| u64::from(data.has_hint)),
        sum(|data| data.tombstone_bytes),
    ));
    text.push('\n');
    text.push_str(&verdict(dir, report));
    text
}

/// What the look has come to: what was checked, what is damaged, what the next open drops, and what to do.
fn verdict(dir: &Path, report: &VerifyReport) -> String {
    let mut text = String::new();
    let is_well = report.damage.is_empty() && report.is_complete();
    let unchecked: u64 = report.files.iter().filter_map(|file| file.data?.unchecked_frames).sum();
    match (report.every_byte, unchecked) {
        (false, _) if is_well => text.push_str("Not every byte was read: --verify does that\n"),
        (false, _) => {}
        (true, 0) if is_well => text.push_str("Every byte was checked: no damage\n"),
        (true, 0) => text.push_str("Every byte was checked\n"),
        (true, _) => text.push_str(&format!(
            "Every byte was read{}. {} no checksum; their keys and values could not be checked\n",
            if is_well { ": no damage was seen" } else { "" },
            counted(unchecked, "record has", "records have"),
        )),
    }
    for data in report.files.iter().filter_map(|file| file.data.as_ref()) {
        text.push_str(&torn(data));
    }
    let of_kind = |is_rebuilt: bool| -> Vec<&Damage> {
        report.damage.iter().filter(|damage| damage.is_rebuilt == is_rebuilt).collect()
    };
    let (data, aids) = (of_kind(false), of_kind(true));
    if !report.damage.is_empty() {
        text.push('\n');
    }
    for damage in data.iter().chain(&aids) {
        text.push_str(&format!("{}\n", line_of(damage)));
    }
    if !aids.is_empty() {
        let all = if data.is_empty() { "No data is damaged" } else { "No data is lost by these" };
        text.push_str(&format!(
            "\n{all}: {} only to open quickly. The store opens without, and makes anew what it then needs\n",
            counted(aids.len() as u64, "damaged file serves", "damaged files serve"),
        ));
    }
    let places =
        if data.is_empty() { String::new() } else { format!("Damaged places: {}. ", data.len()) };
    if !report.is_complete() {
        text.push_str(&format!(
            "\n{places}'kvdyno inspect {} --salvage-to DIR' writes what can still be read to a new store\n",
            dir.display()
        ));
    }
    text
}

/// What the next open cuts off; nothing for a file that is whole.
fn torn(data: &DataFigures) -> String {
    let DataFigures { id, used_bytes, torn_bytes, records_behind_tear, .. } = data;
    if *torn_bytes == 0 {
        return String::new();
    }
    let mut text = format!(
        "The next open cuts off {} of file {id}, of which nothing says that they had been synced",
        counted(*torn_bytes, "torn byte", "torn bytes")
    );
    if *records_behind_tear > 0 {
        let records = counted(*records_behind_tear, "whole record follows", "whole records follow");
        text.push_str(&format!(
            "; at least {records} behind byte {used_bytes}, and would be dropped: use --salvage-to first to keep them"
        ));
    }
    text.push('\n');
    text
}

fn data_files(count: u64) -> String {
    counted(count, "data file", "data files")
}

fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn line_of(Damage { file, offset, reason, .. }: &Damage) -> String {
    format!("{} byte {offset}: {reason}", file.display())
}

fn row(file: &VerifiedFile) -> Vec<String> {
    let mut row = vec![file.name.clone(), file.role.name().to_owned(), file.bytes.to_string()];
    let Some(data) = &file.data else { return row };
    let known = |figure: Option<u64>| figure.map_or_else(|| "–".to_owned(), |n| n.to_string());
    row.extend([data.records, data.tombstones, data.live_records].map(|n| n.to_string()));
    row.extend([data.live_bytes, data.dead_bytes].map(|n| n.to_string()));
    let records_bytes = data.live_bytes + data.dead_bytes + data.tombstone_bytes;
    row.push(format!("{:.0} %", data.dead_bytes as f64 / records_bytes.max(1) as f64 * 100.0));
    row.push(data.expiring_values.to_string());
    row.extend([known(data.compressed_values), known(data.unchecked_frames)]);
    row.push(data.torn_bytes.to_string());
    row.push(if data.has_hint { "yes" } else { "no" }.to_owned());
    row
}

fn object(report: &VerifyReport) -> Value {
    let file = |file: &VerifiedFile| {
        json!({
            "name": file.name,
            "kind": file.role.name(),
            "bytes": file.bytes,
            "data": file.data.map(|data| json!({
                "id": data.id,
                "used_bytes": data.used_bytes,
                "records": data.records,
                "values": data.values,
                "tombstones": data.tombstones,
                "tombstone_bytes": data.tombstone_bytes,
                "live_records": data.live_records,
                "live_bytes": data.live_bytes,
                "dead_bytes": data.dead_bytes,
                "expiring_values": data.expiring_values,
                "gone_by_unix_ms": data.gone_by_ms,
                "compressed_values": data.compressed_values,
                "unchecked_frames": data.unchecked_frames,
                "torn_bytes": data.torn_bytes,
                "records_behind_tear": data.records_behind_tear,
                "has_hint": data.has_hint,
            })),
        })
    };
    json!({
        "engine": "bitcask",
        "keys": report.keys,
        "every_byte": report.every_byte,
        "files": in_order(report).into_iter().map(file).collect::<Vec<_>>(),
        "damage": report.damage.iter().map(damage_object).collect::<Vec<_>>(),
    })
}

fn damage_object(Damage { file, offset, reason, is_rebuilt }: &Damage) -> Value {
    let file = file.display().to_string();
    json!({ "file": file, "offset": offset, "reason": reason, "is_rebuilt": is_rebuilt })
}

/// Prints every record. What cannot be read goes to standard error, so that what is printed stays records only.
fn print_records(arguments: &InspectArguments) -> Result<ExitStatus> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    let damage = bitcask::records(&Disk, &arguments.dir, arguments.file, |record| {
        let line =
            if arguments.json { record_object(record).to_string() } else { record_line(record) };
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
        let _ = writeln!(std::io::stderr().lock(), "kvdyno: {}", line_of(damage));
    }
    Ok(if damage.is_empty() { ExitStatus::Ok } else { ExitStatus::WrongData })
}

fn kind_of(record: &StoredRecord<'_>) -> &'static str {
    match (record.value, record.compressed) {
        (None, _) => "tombstone",
        (Some(_), true) => "compressed",
        (Some(_), false) => "value",
    }
}

fn record_line(record: &StoredRecord<'_>) -> String {
    let expires = record.expires_ms.map_or_else(|| "-".to_owned(), time);
    let batch = if record.continues { "+" } else { "" };
    let key = record.key.escape_ascii();
    let mut line = format!(
        "{:>10} {:>11} {:11} {expires:24} \"{key}\"",
        record.file,
        record.offset,
        format!("{}{batch}", kind_of(record)),
    );
    if let Some(value) = record.value {
        let shown = &value[..value.len().min(VALUE_BYTES_SHOWN)];
        line.push_str(&format!(" \"{}\"", shown.escape_ascii()));
        if shown.len() < value.len() {
            line.push_str(&format!("… {} bytes", value.len()));
        }
    }
    line
}

/// A time in RFC 3339, or in milliseconds where the calendar ends.
fn time(unix_ms: u64) -> String {
    let known =
        i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    known.map_or_else(|| format!("{unix_ms} ms"), |time| format!("{time:.3}"))
}

fn record_object(record: &StoredRecord<'_>) -> Value {
    json!({
        "file": record.file,
        "offset": record.offset,
        "frame_bytes": record.frame_bytes,
        "kind": kind_of(record),
        "batch_goes_on": record.continues,
        "expires_unix_ms": record.expires_ms,
        "key": record.key.escape_ascii().to_string(),
        "value": record.value.map(|value| value.escape_ascii().to_string()),
    })
}

fn salvage(from: &Path, to: &Path, as_json: bool) -> Result<ExitStatus> {
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
    let report = bitcask::salvage(&Disk, from, to, Options::default()).map_err(failure)?;
    if as_json {
        crate::print(&format!("{:#}", salvage_object(&report)))?;
    } else {
        crate::print(salvage_text(to, &report).trim_end())?;
    }
    Ok(if report.is_complete() { ExitStatus::Ok } else { ExitStatus::WrongData })
}

fn salvage_text(to: &Path, report: &SalvageReport) -> String {
    let mut text = format!(
        "{}: {} keys from {}; {} records were not needed any more, {} bytes of torn tails and {} records of batches without an end were dropped\n",
        to.display(),
        report.records_kept,
        data_files(report.files_read),
        report.records_passed_over,
        report.torn_bytes,
        report.batch_records_dropped,
    );
    for dropped in &report.dropped {
        text.push_str(&format!(
            "dropped: {} byte {}, {} bytes{}: {}\n",
            dropped.file.display(),
            dropped.offset,
            dropped.bytes,
            dropped.records.map_or_else(String::new, |records| format!(
                ", {}",
                counted(records, "record", "records")
            )),
            dropped.reason
        ));
    }
    for file in &report.files_missing {
        text.push_str(&format!("missing: {}\n", file.display()));
    }
    for file in &report.files_ignored {
        text.push_str(&format!("not part of the store, left out: {}\n", file.display()));
    }
    if let Some(reason) = &report.manifest_lost {
        text.push_str(&format!(
            "the manifest cannot be read ({reason}): the data files were taken by their numbers, which is not always the order of age\n"
        ));
    }
    if report.deleted_may_return {
        text.push_str("Keys that had been deleted may be there again: what was lost may have held their deletions\n");
    }
    if report.older_may_return {
        text.push_str("Keys may have an older value than they had: what was lost may have held the newer one\n");
    }
    text
}

fn salvage_object(report: &SalvageReport) -> Value {
    let paths = |paths: &[std::path::PathBuf]| -> Vec<String> {
        paths.iter().map(|path| path.display().to_string()).collect()
    };
    let dropped = |dropped: &bitcask::Dropped| {
        json!({
            "file": dropped.file.display().to_string(),
            "offset": dropped.offset,
            "bytes": dropped.bytes,
            "records": dropped.records,
            "reason": dropped.reason,
        })
    };
    json!({
        "files_read": report.files_read,
        "records_kept": report.records_kept,
        "records_passed_over": report.records_passed_over,
        "batch_records_dropped": report.batch_records_dropped,
        "dropped": report.dropped.iter().map(dropped).collect::<Vec<_>>(),
        "torn_bytes": report.torn_bytes,
        "files_missing": paths(&report.files_missing),
        "files_ignored": paths(&report.files_ignored),
        "manifest_lost": report.manifest_lost,
        "deleted_may_return": report.deleted_may_return,
        "older_may_return": report.older_may_return,
    })
}
