//! See [`crate::fuzzing`].

use std::ops::ControlFlow;
use std::sync::Arc;

use super::codec::Decoder;
use super::manifest::{self, Edit, State};
use super::options::{Compression, Io, Options};
use super::stats::Probes;
use super::table::block::{self, BlockBuilder, Layout, Malformed};
use super::table::compression::{pack, unpack};
use super::table::filter::{self, LINE_BYTES, Probe};
use super::table::footer::{FOOTER_BYTES, Footer};
use super::table::look::{Item, look_through};
use super::table::{Cursor, Purpose, Reading, Table, TableMeta, ranges};
use super::value_log::format::Record;
use super::value_log::{self, Pointer, ValueFile};
use super::wal::{self, Kind, LogHeader};
use crate::fuzzing::{ID, Outcome, Target, file, with_frame_checksums};
use crate::log::{Expected, frame, replay};
use crate::storage::SimulatedDisk;
use crate::{Direction, Error};

pub(crate) const TARGETS: [Target; 10] = [
    Target { name: "lsm_manifest", decode: manifest },
    Target { name: "lsm_log_header", decode: log_header },
    Target { name: "lsm_operations", decode: operations },
    Target { name: "lsm_block", decode: block },
    Target { name: "lsm_footer", decode: footer },
    Target { name: "lsm_table_meta", decode: table_meta },
    Target { name: "lsm_table", decode: table },
    Target { name: "lsm_filter", decode: filter },
    Target { name: "lsm_values", decode: values },
    Target { name: "lsm_packed_block", decode: packed_block },
];

fn text(error: &Error) -> String {
    error.to_string()
}

fn manifest(bytes: &[u8]) -> Outcome {
    if let Some(edit) = Edit::decode(Decoder::new(bytes)) {
        let encoded = edit.encoded();
        assert_eq!(Edit::decode(Decoder::new(&encoded)), Some(edit));
    }
    let outcome = manifest_in(bytes);
    let _ = manifest_in(&with_frame_checksums(bytes));
    outcome
}

/// Bytes of a state before its edit: tag, magic and version.
const STATE_HEADER_BYTES: usize = 13;

fn manifest_in(bytes: &[u8]) -> Outcome {
    let state =
        file(bytes).and_then(|file| manifest::read(&file, ID)).map_err(|error| text(&error))?;
    let encoded = state.encode();
    let edit = Edit::decode(Decoder::new(&encoded[STATE_HEADER_BYTES..]));
    let mut back = State::default();
    assert!(edit.is_some_and(|edit| back.apply(&edit).is_some()));
    assert_eq!(back, state);
    Ok(())
}

fn log_header(bytes: &[u8]) -> Outcome {
    let outcome = log_header_in(bytes);
    let _ = log_header_in(&with_frame_checksums(bytes));
    outcome
}

fn log_header_in(bytes: &[u8]) -> Outcome {
    let header =
        file(bytes).and_then(|file| LogHeader::read(&file, ID)).map_err(|error| text(&error))?;
    let encoded = header.encode();
    let framed = with_frame_checksums(
        &[&[0, 0, 0, 0, encoded.len() as u8, 0, 0, 0, 0, 0, 0, 0], &encoded[..]].concat(),
    );
    assert_eq!(file(&framed).and_then(|file| LogHeader::read(&file, ID)).ok(), Some(header));
    Ok(())
}

fn operations(bytes: &[u8]) -> Outcome {
    let mut encoded = Vec::new();
    let corrupt = |reason: &str| Error::corrupt("log".as_ref(), 0, reason);
    wal::operations(bytes, corrupt, |at, operation| {
        let kind = operation.kind();
        let body = &bytes[at..at + operation.bytes()];
        let (key, value) = (&body[operation.key()], &body[operation.value()]);
        encoded.extend_from_slice(&wal::operation_header(kind, key.len(), value.len()));
        encoded.extend_from_slice(key);
        encoded.extend_from_slice(value);
        Ok(())
    })
    .map_err(|error| text(&error))?;
    assert_eq!(encoded, bytes);
    Ok(())
}

fn block(bytes: &[u8]) -> Outcome {
    let body = &bytes[..bytes.len().saturating_sub(block::TRAILER_BYTES)];
    let sealed = [body, &block::trailer(ID, 0, body, Compression::None)].concat();
    assert!(block::verify("block".as_ref(), ID, 0, &sealed).is_ok());
    let content = block_body(body);
    block::verify("block".as_ref(), ID, 0, bytes).map_err(|error| text(&error))?;
    content.map_err(|Malformed| "malformed".to_owned())
}

type Entry = (Vec<u8>, Kind, Vec<u8>);

fn entries(block: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let layout = Layout::parse(block)?;
    let mut key = layout.prefix(block)?.to_vec();
    let mut read = |at| {
        let entry = layout.entry(block, at)?;
        assert_eq!(&block[entry.value_range()], entry.value);
        layout.read_key(block, at, &entry, &mut key)?;
        Ok((key.clone(), entry.kind, entry.value.to_vec()))
    };
    (0..layout.len()).map(&mut read).collect()
}

fn block_body(block: &[u8]) -> Result<(), Malformed> {
    let layout = Layout::parse(block)?;
    for key in [&b""[..], b"k", b"user1", &block[..block.len().min(20)]] {
        let _ = layout.lower_bound(block, key);
    }
    // Entries of one block do not overlap when it is valid; then there cannot be more in them than in the block.
    let mut keys_bytes = 0;
    for at in 0..layout.len() {
        keys_bytes += layout.entry(block, at)?.value.len() + layout.prefix(block)?.len();
    }
    if keys_bytes > 64 * block.len() {
        return Ok(());
    }
    let entries = entries(block)?;
    if !entries.is_sorted_by(|a, b| a.0 < b.0) || entries[0].0.is_empty() {
        return Ok(());
    }
    if let Ok(set) = ranges::decode(block) {
        let found = set.spans().iter().map(|span| (&span.start, Kind::DeleteRange, &span.end));
        assert!(found.eq(entries.iter().map(|(start, kind, end)| (start, *kind, end))));
    }
    let mut builder = BlockBuilder::default();
    for (key, kind, value) in &entries {
        builder.add(key, *kind, value);
    }
    let mut again = Vec::new();
    builder.finish(&mut again);
    assert_eq!(self::entries(&again).as_ref(), Ok(&entries));
    let layout = Layout::parse(&again)?;
    for (at, (key, ..)) in entries.iter().enumerate() {
        assert_eq!(layout.lower_bound(&again, key), Ok((at, true)));
    }
    Ok(())
}

fn footer(bytes: &[u8]) -> Outcome {
    let bytes: &[u8; FOOTER_BYTES] = bytes.try_into().map_err(|_| "not the length of a footer")?;
    let mut sealed = *bytes;
    let crc = crc32fast::hash(&sealed[..68]);
    sealed[68..72].copy_from_slice(&crc.to_le_bytes());
    for bytes in [bytes, &sealed] {
        if let Ok(footer) = Footer::decode(bytes) {
            assert_eq!(footer.encode(), *bytes);
        }
    }
    Footer::decode(bytes).map(|_| ())
}

fn table_meta(bytes: &[u8]) -> Outcome {
    let mut fields = Decoder::new(bytes);
    let meta = TableMeta::decode(&mut fields).ok_or("malformed")?;
    let mut encoded = Vec::new();
    meta.encode(&mut encoded);
    assert_eq!(encoded, bytes[..encoded.len()]);
    if fields.is_empty() { Ok(()) } else { Err("something follows".to_owned()) }
}

/// What the manifest would say about a table, if it believed the table itself.
fn believed(bytes: &[u8]) -> Option<TableMeta> {
    let footer = Footer::decode(bytes.last_chunk::<FOOTER_BYTES>()?).ok()?;
    let start = usize::try_from(footer.properties.offset).ok()?;
    let end = start.checked_add(footer.properties.bytes as usize)?;
    let meta = TableMeta::decode(&mut Decoder::new(bytes.get(start..end)?))?;
    Some(TableMeta { number: footer.number, file_bytes: footer.file_bytes, ..meta })
}

fn table(bytes: &[u8]) -> Outcome {
    let outcome = table_in(bytes);
    // Footer and trailers put right, so that more is looked at.
    let mut sealed = bytes.to_vec();
    if let Some(footer) = bytes.last_chunk::<FOOTER_BYTES>() {
        let at = bytes.len() - FOOTER_BYTES;
        let mut footer = *footer;
        footer[52..60].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let crc = crc32fast::hash(&footer[..68]);
        footer[68..72].copy_from_slice(&crc.to_le_bytes());
        sealed[at..].copy_from_slice(&footer);
        if let Ok(footer) = Footer::decode(&footer) {
            for part in [footer.filter, footer.index, footer.ranges, footer.properties] {
                seal_block(&mut sealed[..at], footer.number, part.offset, part.bytes);
            }
        }
    }
    let _ = table_in(&sealed);
    for bytes in [bytes, &sealed] {
        looked_through(bytes);
    }
    outcome
}

/// Looking a table through finds what there is, whatever that is, and searches it where the footer does not say.
fn looked_through(bytes: &[u8]) {
    let Ok(file) = file(bytes) else { return };
    let known = believed(bytes);
    let number = known.as_ref().map_or(1, |meta| meta.number);
    for expected in [known.as_ref(), None] {
        let mut visit = |_: Item<'_>| Ok(ControlFlow::Continue(()));
        let looked = look_through(&file, number, expected, Some(&mut visit), &mut |_, _| {});
        assert!(looked.is_ok(), "{looked:?}");
    }
}

fn seal_block(bytes: &mut [u8], number: u32, offset: u64, len: u32) -> Option<()> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(len as usize)?;
    let trailer = block::trailer(number, offset, bytes.get(start..end)?, Compression::None);
    bytes.get_mut(end..end + block::TRAILER_BYTES)?.copy_from_slice(&trailer);
    Some(())
}

/// What is said of a table that is whole does not depend on how it is read.
fn table_in(bytes: &[u8]) -> Outcome {
    let options = Options { cache_bytes: 4 << 10, block_bytes: 256, ..Options::default() };
    let [mapped, by_calls] = [Io::Mapped, Io::Calls]
        .map(|io| table_read(bytes, Reading::new(&Options { io, ..options.clone() }, u64::MAX)));
    // Of two blocks that an index has at one place, the cache may show the one that is whole.
    assert!(mapped == by_calls || mapped.is_err(), "{mapped:?}, by calls {by_calls:?}");
    mapped
}

fn table_read(bytes: &[u8], reading: Reading) -> Outcome {
    let meta = believed(bytes).ok_or("no table")?;
    let (disk, mut probes) = (SimulatedDisk::new(), Probes::default());
    let table = file(bytes)
        .and_then(|file| Table::open(disk, file, meta, Arc::new(reading)))
        .map_err(|error| text(&error))?;
    let mut keys = Vec::new();
    for direction in [Direction::Forward, Direction::Reverse] {
        let purpose = [Purpose::Query, Purpose::Compaction][keys.len() % 2];
        let mut cursor =
            Cursor::seek(&table, b"", direction, purpose).map_err(|error| text(&error))?;
        // Blocks that an index names over and over are visited as often.
        for _ in 0..10_000 {
            let Some((key, ..)) = cursor.current() else { break };
            keys.push(key.to_vec());
            cursor.advance().map_err(|error| text(&error))?;
        }
    }
    keys.truncate(100);
    for key in keys.iter().map(Vec::as_slice).chain([&b"absent"[..]]) {
        let mut value = Vec::new();
        table.get(key, filter::hash(key), &mut value, &mut probes).map_err(|error| text(&error))?;
        // Blocks out of order lead to another key than the right one, or to an error.
        for direction in [Direction::Forward, Direction::Reverse] {
            let cursor = Cursor::seek(&table, key, direction, Purpose::Query);
            let _ = cursor.map(|cursor| cursor.current().is_some());
        }
        let _ = table.bytes_between(Some(key), None);
        let _ = table.bytes_between(None, Some(key));
    }
    Ok(())
}

fn values(bytes: &[u8]) -> Outcome {
    if let Some(pointer) = Pointer::decode(bytes) {
        assert_eq!(pointer.encode(), bytes);
    }
    let outcome = values_in(bytes);
    let _ = values_in(&with_frame_checksums(bytes));
    outcome
}

fn values_in(bytes: &[u8]) -> Outcome {
    let file = file(bytes).map_err(|error| text(&error))?;
    value_log::check_header(&file, ID, None).map_err(|error| text(&error))?;
    assert_eq!(
        frame::read(&file, ID, 0).ok().map(|frame| frame.payload().to_vec()),
        Some(value_log::format::header(ID).to_vec())
    );
    let len = bytes.len() as u64;
    let reading =
        Arc::new(Reading::new(&Options { io: Io::Calls, ..Options::default() }, u64::MAX));
    let called = ValueFile::open(SimulatedDisk::new(), file.clone(), ID, len, &reading);
    let called = called.map_err(|error| text(&error))?;
    let whole = Expected::Exactly(len);
    let mut outcome = Ok(());
    let replayed = replay(&file, ID, 0, whole, |offset, payload| {
        let pointer = Pointer { file: ID, offset, bytes: payload.len() as u32 };
        assert!(offset + pointer.frame_bytes() >= offset + payload.len() as u64);
        let Some(record) = Record::decode(payload) else {
            if offset > 0 {
                outcome = Err(format!("no value at byte {offset}"));
            }
            return Ok(());
        };
        let encoded = [&record.header()[..], record.key, record.bytes].concat();
        assert_eq!(encoded, payload);
        let read = value_log::read_value(&file, pointer, record.key, <[u8]>::to_vec);
        let value = value_log::uncompressed(&record, <[u8]>::to_vec);
        assert_eq!(read.as_ref().ok(), value.as_ref());
        if value.is_none() {
            outcome = Err(format!("no compressed value at byte {offset}"));
        }
        assert_eq!(called.read(pointer, record.key, <[u8]>::to_vec).ok(), value);
        // Neither another key nor another length leads to it.
        let other = [record.key, b"+"].concat();
        assert!(value_log::read_value(&file, pointer, &other, |_| ()).is_err());
        assert!(called.read(pointer, &other, |_| ()).is_err());
        let longer = Pointer { bytes: pointer.bytes + 1, ..pointer };
        assert!(value_log::read_value(&file, longer, record.key, |_| ()).is_err());
        assert!(called.read(longer, record.key, |_| ()).is_err());
        Ok(())
    });
    replayed.map_err(|error| text(&error))?;
    outcome
}

fn filter(bytes: &[u8]) -> Outcome {
    let hashes: Vec<u64> =
        bytes.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
    let built = filter::build(&hashes, 10);
    let maybe = |filter: &[u8], hash: u64| {
        let probe = Probe::new(hash);
        let line = probe.line(filter.len() / LINE_BYTES) * LINE_BYTES;
        probe.maybe_in(&filter[line..line + LINE_BYTES])
    };
    assert!(hashes.iter().all(|hash| maybe(&built, *hash)));
    if bytes.is_empty() || !bytes.len().is_multiple_of(LINE_BYTES) {
        return Err("not made of whole lines".to_owned());
    }
    let _ = hashes.iter().filter(|hash| maybe(bytes, **hash)).count();
    Ok(())
}

fn packed_block(bytes: &[u8]) -> Outcome {
    let (compression, packed) = match bytes {
        [1, packed @ ..] => (Compression::Lz4, packed),
        [2, packed @ ..] => (Compression::Zstd, packed),
        _ => return Err("unknown".to_owned()),
    };
    let block = unpack(compression, packed).ok_or("malformed")?;
    let mut again = Vec::new();
    if pack(compression, &block, &mut again) == compression {
        assert_eq!(unpack(compression, &again), Some(block));
    }
    Ok(())
}
