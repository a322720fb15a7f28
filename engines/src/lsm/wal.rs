//! The write-ahead log: what its frames hold. The frames themselves are [`crate::log::frame`]'s.
//!
//! The first frame of a log is its header:
//!
//! ```text
//! offset  size  field
//! 0       8     magic "kvdLSMwl"
//! 8       4     version: 1
//! 12      4     number of this log
//! 16      8     sequence number of the first write in this log
//! 24      4     number of the log before this one; 0 if its writes are all in tables
//! 28      8     length of the log before this one
//! 36      1     1 if the log before this one was synced whole before this one began; 2 if it was found at open, and nothing of it was known to be synced; else 0
//! ```
//!
//! Each further frame is one write, which takes effect as a whole or not at all: operations, one after the other.
//!
//! ```text
//! offset  size  field
//! 0       3     key length k
//! 3       1     kind: 1 put, 2 delete, 3 delete a range, 5 put a value that expires
//! 4       4     value length v
//! 8       k     key
//! 8+k     v     value; of a range the end, which is not in the range; of a value that expires first when it does (8), in milliseconds since the Unix epoch
//! ```
//!
//! A range that ends where it begins does nothing: such a write only takes a sequence number, for what changes the store without going through the log. One that ends before is impossible.
//!
//! The n-th write of a log has the sequence number of the header plus n. That a log begins where its predecessor ended tells a log
//! that is missing, or was cut short, from one that is whole.

use std::ops::Range;

use super::codec::Decoder;
use super::deadline::DEADLINE_BYTES;
use super::files::FileNumber;
use crate::storage::{Appender, File};
use crate::{Error, Result, log};

const MAGIC: &[u8; 8] = b"kvdLSMwl";
const VERSION: u32 = 1;
/// Bytes of an operation before its key.
pub(crate) const OPERATION_HEADER_BYTES: usize = 8;
/// Bytes that the header's frame takes.
pub(crate) const LOG_HEADER_BYTES: u64 = log::frame::frame_bytes(37);

/// What an operation or an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The key has this value.
    Put = 1,
    /// There is no such key.
    Delete = 2,
    /// There are no keys from this one up to, but without, the one that stands in place of a value.
    DeleteRange = 3,
    /// Where the value lies in the value log. In tables alone.
    Pointer = 4,
    /// The key has this value until the time that stands before it: see [`super::deadline`].
    PutExpiring = 5,
    /// The same with a pointer. In tables alone.
    PointerExpiring = 6,
}

impl Kind {
    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            3 => Some(Self::DeleteRange),
            4 => Some(Self::Pointer),
            5 => Some(Self::PutExpiring),
            6 => Some(Self::PointerExpiring),
            _ => None,
        }
    }
}

/// The header of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogHeader {
    pub(crate) number: FileNumber,
    /// Sequence number of the first write in this log.
    pub(crate) sequence: u64,
    /// Number of the log before this one; 0 if its writes are all in tables.
    pub(crate) previous: FileNumber,
    /// Length of the log before this one.
    pub(crate) previous_bytes: u64,
    /// The log before this one was synced whole before this one began.
    pub(crate) previous_synced: bool,
    /// The log before this one was found at open, and nothing of it was known to be synced: not even its name need be durable.
    pub(crate) previous_found: bool,
}

impl LogHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(37);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&self.previous_bytes.to_le_bytes());
        out.push(u8::from(self.previous_synced) | u8::from(self.previous_found) << 1);
        out
    }

    /// Reads the header of the log in `file`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is damaged, [`Error::NotAStore`] if it is whole and of another version.
    pub(crate) fn read<F: File>(file: &F, number: FileNumber) -> Result<Self> {
        let frame = log::frame::read(file, number, 0)?;
        let corrupt = |reason: &str| Error::corrupt(file.path(), 0, reason);
        let mut fields = Decoder::new(frame.payload());
        if fields.slice(MAGIC.len()) != Some(MAGIC) {
            return Err(corrupt("this is not the header of a write-ahead log"));
        }
        let version = fields.u32().ok_or_else(|| corrupt("the header ends too early"))?;
        if version != VERSION {
            let reason =
                format!("its log has version {version}, and this build knows version {VERSION}");
            return Err(Error::NotAStore { path: file.path().to_owned(), reason });
        }
        let mut decode = || {
            let (number, sequence) = (fields.u32()?, fields.u64()?);
            let (previous, previous_bytes) = (fields.u32()?, fields.u64()?);
            let (previous_synced, previous_found) = match fields.u8()? {
                0 => (false, false),
                1 => (true, false),
                2 => (false, true),
                _ => return None,
            };
            Some(Self {
                number,
                sequence,
                previous,
                previous_bytes,
                previous_synced,
                previous_found,
            })
        };
        let header = decode().filter(|header| header.number == number);
        header.ok_or_else(|| corrupt("the header's fields are impossible"))
    }
}

/// Encodes what comes before an operation's key.
#[inline]
pub(crate) fn operation_header(
    kind: Kind,
    key_bytes: usize,
    value_bytes: usize,
) -> [u8; OPERATION_HEADER_BYTES] {
    let first = key_bytes as u64 | (kind as u64) << 24;
    (first | (value_bytes as u64) << 32).to_le_bytes()
}

/// An operation that lies in a log, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// The tag of its [`Kind`].
    tag: u8,
    key_bytes: usize,
    value_bytes: usize,
}

impl Operation {
    #[inline]
    pub(crate) fn decode(header: [u8; OPERATION_HEADER_BYTES]) -> Self {
        let fields = u64::from_le_bytes(header);
        Self {
            tag: (fields >> 24) as u8,
            key_bytes: (fields & 0xff_ffff) as usize,
            value_bytes: (fields >> 32) as usize,
        }
    }

    /// The operation at `offset` of a log of which everything up to there is known to be valid.
    #[inline]
    pub(crate) fn at<F: File>(file: &F, offset: u32) -> Result<Self> {
        let mut header = [0; OPERATION_HEADER_BYTES];
        header.copy_from_slice(&file.read(offset.into(), OPERATION_HEADER_BYTES)?);
        Ok(Self::decode(header))
    }

    /// What it says, if it is a possible one.
    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::from_tag(self.tag).unwrap_or(Kind::Put)
    }

    /// Whether it is a put for ever.
    #[inline]
    pub(crate) fn is_put(self) -> bool {
        self.tag == Kind::Put as u8
    }

    /// Bytes in all.
    #[inline]
    pub(crate) fn bytes(self) -> usize {
        OPERATION_HEADER_BYTES + self.key_bytes + self.value_bytes
    }

    /// Where the key lies, counted from the operation's first byte.
    #[inline]
    pub(crate) fn key(self) -> Range<usize> {
        OPERATION_HEADER_BYTES..OPERATION_HEADER_BYTES + self.key_bytes
    }

    /// Where the value lies, counted from the operation's first byte.
    #[inline]
    pub(crate) fn value(self) -> Range<usize> {
        OPERATION_HEADER_BYTES + self.key_bytes..self.bytes()
    }
}

/// Calls `visit` with the position of each operation in the payload of a write, and the operation.
///
/// # Errors
/// A reason if the payload is not made of whole, possible operations; and what `visit` returned.
pub(crate) fn operations(
    payload: &[u8],
    corrupt: impl Fn(&str) -> Error,
    mut visit: impl FnMut(usize, Operation) -> Result<()>,
) -> Result<()> {
    let mut at = 0;
    while at < payload.len() {
        let header = payload[at..].first_chunk().ok_or_else(|| corrupt("an operation is cut"))?;
        let operation = Operation::decode(*header);
        let kind = Kind::from_tag(operation.tag).filter(|_| operation.key_bytes > 0);
        let kind = kind.filter(|kind| !matches!(kind, Kind::Pointer | Kind::PointerExpiring));
        let Some(kind) = kind else {
            return Err(corrupt("an operation has an impossible kind or key length"));
        };
        if operation.bytes() > payload.len() - at {
            return Err(corrupt("an operation is longer than the frame that holds it"));
        }
        if !matches!(kind, Kind::Put | Kind::Delete) {
            let bytes = &payload[at..at + operation.bytes()];
            let (key, value) = (&bytes[operation.key()], &bytes[operation.value()]);
            if kind == Kind::DeleteRange && key > value {
                return Err(corrupt("a range of keys ends before it begins"));
            }
            if kind == Kind::PutExpiring && value.len() < DEADLINE_BYTES {
                return Err(corrupt("a value that expires does not say when"));
            }
        }
        visit(at, operation)?;
        at += operation.bytes();
    }
    Ok(())
}

/// Begins a log: appends its header.
pub(crate) fn begin<A: Appender>(appender: A, header: &LogHeader) -> Result<log::LogWriter<A>> {
    let mut writer = log::LogWriter::new(appender, header.number);
    writer.append(&[&header.encode()])?;
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_are_the_documented_ones() {
        let header = LogHeader {
            number: 7,
            sequence: 258,
            previous: 5,
            previous_bytes: 4096,
            previous_synced: true,
            previous_found: false,
        };
        let golden =
            b"kvdLSMwl\x01\0\0\0\x07\0\0\0\x02\x01\0\0\0\0\0\0\x05\0\0\0\0\x10\0\0\0\0\0\0\x01";
        assert_eq!(header.encode(), golden);
        assert_eq!(operation_header(Kind::Put, 3, 5), [3, 0, 0, 1, 5, 0, 0, 0]);
        assert_eq!(operation_header(Kind::Delete, 65536, 0), [0, 0, 1, 2, 0, 0, 0, 0]);
        assert_eq!(operation_header(Kind::DeleteRange, 1, 2), [1, 0, 0, 3, 2, 0, 0, 0]);
        assert_eq!(operation_header(Kind::PutExpiring, 3, 13), [3, 0, 0, 5, 13, 0, 0, 0]);
    }

    #[test]
    fn impossible_operations_are_refused() {
        let refuse = |payload: &[u8]| {
            let corrupt = |reason: &str| Error::corrupt("log".as_ref(), 0, reason);
            assert!(operations(payload, corrupt, |_, _| Ok(())).is_err(), "{payload:?}");
        };
        refuse(&[1, 0, 0, 1, 0, 0, 0]);
        refuse(&[0, 0, 0, 1, 0, 0, 0, 0]);
        refuse(&[1, 0, 0, 0, 0, 0, 0, 0, b'k']);
        refuse(&[1, 0, 0, 3, 0, 0, 0, 0, b'k']);
        refuse(&[1, 0, 0, 3, 2, 0, 0, 0, b'k', b'j', b'z']);
        refuse(&[1, 0, 0, 4, 1, 0, 0, 0, b'k', b'l']);
        refuse(&[1, 0, 0, 6, 1, 0, 0, 0, b'k', b'l']);
        refuse(&[1, 0, 0, 5, 7, 0, 0, 0, b'k', 1, 2, 3, 4, 5, 6, 7]);
        refuse(&[1, 0, 0, 1, 255, 255, 255, 255, b'k']);
    }
}
