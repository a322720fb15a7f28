//! One function for each decoder of what lies in files: for fuzzing, and for tests over the inputs that are kept in `fuzz/corpus`.
//!
//! A function takes any bytes. It must come back soon, without a panic and without setting aside more memory than a valid input of that length may need. What
//! it accepts, it encodes again and compares: with the bytes, or where one content can be written in several ways (compressed values, the keydir, edits of a manifest, blocks), with
//! what was decoded, after decoding it once more. Tables and filters, which are made of what other targets encode, are read alone. As a checksum stops nearly all that a fuzzer makes up,
//! it looks at the bytes a second time with their checksums put right.

use std::path::Path;

use crate::Result;
use crate::log::frame::{self, ALIGNMENT, HEADER_BYTES, Header};
use crate::log::{Expected, replay};
use crate::storage::{SimulatedDisk, Storage};

/// Whether the bytes were accepted as they are, and if not, why.
pub type Outcome = std::result::Result<(), String>;

/// A decoder under its name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// That of the fuzz target, and of the folder in the corpus.
    pub name: &'static str,
    /// Feeds it.
    pub decode: fn(&[u8]) -> Outcome,
}

/// All decoders.
pub fn targets() -> Vec<Target> {
    let mut targets = vec![Target { name: "frames", decode: frames }];
    #[cfg(feature = "bitcask")]
    targets.extend(crate::bitcask::fuzzing::TARGETS);
    #[cfg(feature = "lsm")]
    targets.extend(crate::lsm::fuzzing::TARGETS);
    targets
}

/// Feeds the decoder with this name.
///
/// # Panics
/// If there is none, or it breaks a promise.
pub fn run(name: &str, bytes: &[u8]) -> Outcome {
    let targets = targets();
    let target = targets.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no decoder {name:?}"));
    (target.decode)(bytes)
}

/// The log that the frames in the corpus belong to, and the number of the files around them.
pub(crate) const ID: u32 = 7;

/// A file with this content.
pub(crate) fn file(bytes: &[u8]) -> Result<<SimulatedDisk as Storage>::File> {
    let (disk, path) = (SimulatedDisk::new(), Path::new("/input"));
    disk.write_all(path, bytes);
    disk.open(path)
}

/// The bytes with a CRC-32 of all that is before it at their end.
pub(crate) fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len().saturating_sub(4)].to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// The bytes with the checksums of all frames put right, as far as their lengths lead.
pub(crate) fn with_frame_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEADER_BYTES>()) {
        let header = Header::decode(header);
        let end = at + HEADER_BYTES + header.payload_bytes as usize;
        let Some(payload) = bytes.get(at + HEADER_BYTES..end) else { break };
        let header = frame::header(ID, header.watermark, header.checked, &[payload]);
        bytes[at..at + HEADER_BYTES].copy_from_slice(&header);
        at = end.next_multiple_of(ALIGNMENT as usize);
    }
    bytes
}

fn frames(bytes: &[u8]) -> Outcome {
    let outcome = frames_in(bytes);
    let _ = frames_in(&with_frame_checksums(bytes));
    outcome
}

fn frames_in(bytes: &[u8]) -> Outcome {
    let file = file(bytes).map_err(|error| error.to_string())?;
    let mut whole_until = 0;
    let visit = |offset: u64, payload: &[u8]| {
        assert_eq!(offset, whole_until, "frames lie side by side");
        let at = offset as usize;
        let end = at + HEADER_BYTES + payload.len();
        assert_eq!(&bytes[at + HEADER_BYTES..end], payload);
        if let Some(stored) = bytes[at..].first_chunk() {
            let Header { watermark, checked, .. } = Header::decode(stored);
            assert_eq!(frame::header(ID, watermark, checked, &[payload]), *stored);
        }
        whole_until = (end as u64).next_multiple_of(ALIGNMENT);
        Ok(())
    };
    let torn = replay(&file, ID, 0, Expected::Torn, visit);
    let exact = replay(&file, ID, 0, Expected::Exactly(bytes.len() as u64), |_, _| Ok(()));
    let tail = torn.map_err(|error| error.to_string())?;
    assert_eq!(tail.len, whole_until);
    assert!(tail.watermark <= tail.len);
    let is_whole = tail.torn_bytes == 0 && tail.len == bytes.len() as u64;
    assert_eq!(exact.is_ok(), is_whole, "{exact:?}, {tail:?}");
    if tail.torn_bytes > 0 {
        return Err(format!("torn at byte {}: {} bytes", tail.len, tail.torn_bytes));
    }
    Ok(())
}
