//! Appends frames to a log.

use super::frame::{self, ALIGNMENT};
use crate::Result;
use crate::storage::Appender;

/// Appends frames to a file that it alone writes.
#[derive(Debug)]
pub struct LogWriter<A> {
    appender: A,
    id: u32,
    /// Everything below this offset is known to be synced.
    watermark: u64,
    /// Checksums cover payloads.
    checked: bool,
}

impl<A: Appender> LogWriter<A> {
    /// A writer at the end of `appender`; `id` must be the same when the log is replayed, and differ from that of other logs.
    pub fn new(appender: A, id: u32) -> Self {
        Self { appender, id, watermark: 0, checked: true }
    }

    /// Says whether checksums are to cover the payloads of frames written from now on; at first they do.
    #[must_use]
    pub fn checked(self, checked: bool) -> Self {
        Self { checked, ..self }
    }

    /// The log's id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Length of the log in bytes.
    #[inline]
    pub fn len(&self) -> u64 {
        self.appender.len()
    }

    /// Whether nothing has been appended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a frame with a payload of `payload_bytes` still fits.
    #[inline]
    pub fn fits(&self, payload_bytes: usize) -> bool {
        frame::frame_bytes(payload_bytes) <= self.room()
    }

    /// Bytes of frames that still fit.
    #[inline]
    pub fn room(&self) -> u64 {
        self.appender.room()
    }

    /// The file, for reading and syncing.
    pub fn file(&self) -> A::File {
        self.appender.file()
    }

    /// Tells the log that everything below `offset` is synced. Frames written from now on carry the news.
    #[inline]
    pub fn advance_watermark(&mut self, offset: u64) {
        debug_assert!(offset <= self.len(), "what is not written cannot be synced");
        self.watermark = self.watermark.max(offset);
    }

    /// Appends a frame whose payload is the concatenation of `parts` (at most six), and returns its offset.
    #[inline]
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<u64> {
        self.append_frame(self.checked, parts)
    }

    /// As [`LogWriter::append`], with a checksum that covers the payload whatever the others do: for what describes the log itself.
    pub fn append_checked(&mut self, parts: &[&[u8]]) -> Result<u64> {
        self.append_frame(true, parts)
    }

    #[inline]
    fn append_frame(&mut self, checked: bool, parts: &[&[u8]]) -> Result<u64> {
        const PADDING: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];
        const PARTS_MAX: usize = 6;
        debug_assert!(parts.len() <= PARTS_MAX);
        let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
        debug_assert!(payload_bytes > 0, "an empty payload could not be told from unwritten zeros");
        let header = frame::header(self.id, self.watermark, checked, parts);
        let unpadded = frame::HEADER_BYTES + payload_bytes;
        let padding = frame::frame_bytes(payload_bytes) as usize - unpadded;
        let mut all: [&[u8]; PARTS_MAX + 2] = [&[]; PARTS_MAX + 2];
        all[0] = &header;
        all[1..=parts.len()].copy_from_slice(parts);
        all[1 + parts.len()] = &PADDING[..padding];
        self.appender.append(&all[..parts.len() + 2])
    }

    /// Ends the log and returns it for reading. Not yet synced.
    pub fn finish(self) -> Result<A::File> {
        self.appender.finish()
    }
}
