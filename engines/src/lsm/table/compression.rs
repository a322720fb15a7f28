//! Data blocks that are compressed.
//!
//! ```text
//! offset  size  field
//! 0       4     length of the block
//! 4       …     the block: as one LZ4 block, or as one frame of Zstandard (RFC 8878), as its trailer says
//! ```
//!
//! A block that would not be shorter by an eighth is stored as it is: unpacking it would cost more than reading it.

use std::cell::RefCell;
use std::mem::take;

use super::super::options::{BLOCK_BYTES_MAX, Compression, KEY_BYTES_MAX, VALUE_BYTES_MAX};

const LENGTH_BYTES: usize = 4;
/// A block ends with the entry that makes it as long as it may be.
pub(super) const UNPACKED_BYTES_MAX: usize =
    BLOCK_BYTES_MAX + KEY_BYTES_MAX + VALUE_BYTES_MAX + (1 << 10);
/// What a byte stands for at most, so that no memory is set aside for a length that is a lie: of an LZ4 block, and of a frame of Zstandard, which stores up to 128 KiB of one byte in four.
const LZ4_RATIO_MAX: usize = 255;
const ZSTD_RATIO_MAX: usize = 32 << 10;
/// The library's own default.
const ZSTD_LEVEL: i32 = 3;
/// One part of so many must be gained.
const GAIN_PART: usize = 8;

thread_local! {
    static ZSTD: RefCell<Contexts> = RefCell::default();
}

/// What Zstandard works with, some hundred KiB, which cost more to set up than a block to pack.
#[derive(Default)]
struct Contexts {
    packer: Option<zstd::bulk::Compressor<'static>>,
    unpacker: Option<zstd::bulk::Decompressor<'static>>,
}

/// Puts `block` as it is to be stored into `packed`, and tells how; if it is to be stored as it is, `packed` stays empty.
pub(crate) fn pack(compression: Compression, block: &[u8], packed: &mut Vec<u8>) -> Compression {
    packed.clear();
    let bytes_max = LENGTH_BYTES
        + match compression {
            Compression::None => return Compression::None,
            Compression::Lz4 => lz4_flex::block::get_maximum_output_size(block.len()),
            Compression::Zstd => zstd::zstd_safe::compress_bound(block.len()),
        };
    packed.resize(bytes_max, 0);
    let (length, body) = packed.split_at_mut(LENGTH_BYTES);
    length.copy_from_slice(&(block.len() as u32).to_le_bytes());
    let bytes = match compression {
        Compression::Lz4 => lz4_flex::block::compress_into(block, body).ok(),
        _ => pack_with_zstd(block, body),
    };
    let bytes = bytes.map(|bytes| LENGTH_BYTES + bytes);
    let gained = bytes.filter(|bytes| *bytes <= block.len() - block.len() / GAIN_PART);
    packed.truncate(gained.unwrap_or(0));
    if gained.is_some() { compression } else { Compression::None }
}

/// `None` if it did not work, which costs no more than that the block is stored as it is.
fn pack_with_zstd(block: &[u8], packed: &mut [u8]) -> Option<usize> {
    ZSTD.with_borrow_mut(|contexts| {
        let packer = match take(&mut contexts.packer) {
            Some(packer) => packer,
            None => zstd::bulk::Compressor::new(ZSTD_LEVEL).ok()?,
        };
        contexts.packer.insert(packer).compress_to_buffer(block, packed).ok()
    })
}

/// The block that is stored as `packed` in this way; `None` if that is none.
pub(crate) fn unpack(compression: Compression, packed: &[u8]) -> Option<Vec<u8>> {
    let (length, body) = packed.split_first_chunk::<LENGTH_BYTES>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let ratio_max = match compression {
        Compression::None => return None,
        Compression::Lz4 => LZ4_RATIO_MAX,
        Compression::Zstd => ZSTD_RATIO_MAX,
    };
    if length > UNPACKED_BYTES_MAX || length > body.len().saturating_mul(ratio_max) {
        return None;
    }
    let mut block = vec![0; length];
    let bytes = match compression {
        Compression::Lz4 => lz4_flex::block::decompress_into(body, &mut block).ok(),
        _ => unpack_with_zstd(body, &mut block),
    };
    (bytes == Some(length)).then_some(block)
}

fn unpack_with_zstd(packed: &[u8], block: &mut [u8]) -> Option<usize> {
    ZSTD.with_borrow_mut(|contexts| {
        let unpacker = match take(&mut contexts.unpacker) {
            Some(unpacker) => unpacker,
            None => zstd::bulk::Decompressor::new().ok()?,
        };
        contexts.unpacker.insert(unpacker).decompress_to_buffer(packed, block).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 2] = [Compression::Lz4, Compression::Zstd];

    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..bytes).map(next).collect()
    }

    #[test]
    fn what_is_packed_comes_back_and_is_shorter() {
        let mut packed = Vec::new();
        for block in [vec![7; 4_000], b"user".repeat(1_000), vec![0; 3 << 20]] {
            for compression in ALL {
                assert_eq!(pack(compression, &block, &mut packed), compression);
                assert!(packed.len() < block.len() / 10);
                assert_eq!(unpack(compression, &packed), Some(block.clone()));
            }
        }
    }

    #[test]
    fn what_does_not_get_shorter_is_left_as_it_is() {
        let mut packed = Vec::new();
        let mut nearly = noise(4_000);
        nearly.extend([0; 400]);
        for block in [noise(4_000), nearly, Vec::new(), b"x".to_vec()] {
            for compression in ALL {
                assert_eq!(pack(compression, &block, &mut packed), Compression::None);
                assert!(packed.is_empty());
            }
        }
        assert_eq!(pack(Compression::None, &[7; 4_000], &mut packed), Compression::None);
    }

    #[test]
    fn damage_is_no_block_and_no_reason_to_take_memory() {
        let block = [&b"user".repeat(500)[..], &noise(500)].concat();
        for compression in ALL {
            let mut packed = Vec::new();
            pack(compression, &block, &mut packed);
            for len in 0..packed.len() {
                assert_eq!(unpack(compression, &packed[..len]), None);
            }
            for length in [0, 1, block.len() as u32 - 1, block.len() as u32 + 1, u32::MAX] {
                let mut lying = packed.clone();
                lying[..4].copy_from_slice(&length.to_le_bytes());
                assert_eq!(unpack(compression, &lying), None, "{compression:?}, {length}");
            }
            assert_eq!(unpack(Compression::None, &packed), None);
        }
        assert_eq!(unpack(Compression::Lz4, b"\0\0\0\x01\x10"), None, "16 MiB of one byte");
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        // A block of LZ4: one literal, a match of 14 bytes at distance 1, and five literals at the end.
        let lz4 = b"\x14\0\0\0\x1aa\x01\0\x50aaaaa";
        assert_eq!(unpack(Compression::Lz4, lz4), Some(vec![b'a'; 20]));
        // A frame of Zstandard with one segment of 20 bytes: the last block, of one byte 20 times.
        let zstd = b"\x14\0\0\0\x28\xb5\x2f\xfd\x20\x14\xa3\0\0a";
        assert_eq!(unpack(Compression::Zstd, zstd), Some(vec![b'a'; 20]));
    }
}
