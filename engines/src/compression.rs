//! Values that are compressed: LZ4 blocks behind the length of what they hold.

use std::cell::Cell;

use lz4_flex::block;

/// Longest value in bytes, of any engine.
pub(crate) const UNPACKED_BYTES_MAX: usize = 16 << 20;
const LENGTH_BYTES: usize = 4;
/// A byte of an LZ4 block stands for at most so many bytes: a length that claims more is a lie, and no memory is set aside for it.
const RATIO_MAX: usize = 255;

thread_local! {
    /// Where values are packed and unpacked. It is taken out while it is used, so that a caller's closure may come here again.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `then` with the value as it is to be stored, if it is shorter so; else with None.
pub(crate) fn compressed<R>(value: &[u8], then: impl FnOnce(Option<&[u8]>) -> R) -> R {
    with_buffer(LENGTH_BYTES + block::get_maximum_output_size(value.len()), |buffer| {
        let (length, packed) = buffer.split_at_mut(LENGTH_BYTES);
        length.copy_from_slice(&(value.len() as u32).to_le_bytes());
        let bytes = block::compress_into(value, packed).map(|bytes| LENGTH_BYTES + bytes);
        then(bytes.ok().filter(|bytes| *bytes < value.len()).map(|bytes| &buffer[..bytes]))
    })
}

/// Calls `visit` with the value that is stored as `bytes`; None if they are no compressed value.
pub(crate) fn decompressed<R>(bytes: &[u8], visit: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let (length, packed) = bytes.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > UNPACKED_BYTES_MAX || length > packed.len().saturating_mul(RATIO_MAX) {
        return None;
    }
    with_buffer(length, |buffer| match block::decompress_into(packed, buffer) {
        Ok(unpacked) if unpacked == length => Some(visit(buffer)),
        _ => None,
    })
}

fn with_buffer<R>(len: usize, work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = BUFFER.take();
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let result = work(&mut buffer[..len]);
    BUFFER.set(buffer);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn what_is_compressed_comes_back() {
        for value in [vec![7; 1000], b"abcabcabcabcabcabcabcabcabc".repeat(20), vec![0; 1 << 20]] {
            let stored = compressed(&value, |stored| stored.unwrap().to_vec());
            assert!(stored.len() < value.len() / 4);
            assert!(decompressed(&stored, |unpacked| unpacked == value).unwrap());
        }
    }

    #[test]
    fn what_does_not_become_shorter_stays_as_it_is() {
        let mut random = Random::new(1);
        let noise: Vec<u8> = (0..1000).map(|_| random.next() as u8).collect();
        assert!(compressed(&noise, |stored| stored.is_none()));
        assert!(compressed(b"", |stored| stored.is_none()));
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let bomb = [&u32::MAX.to_le_bytes()[..], &[0xff; 100]].concat();
        let too_much = [&(16_u32 << 20).to_le_bytes()[..], &[0; 100]].concat();
        let stored = compressed(&[7; 1000], |stored| stored.unwrap().to_vec());
        let short = stored[..stored.len() - 1].to_vec();
        let wrong_length = [&999_u32.to_le_bytes()[..], &stored[4..]].concat();
        for bytes in [vec![], vec![1, 0, 0], bomb, too_much, short, wrong_length] {
            assert!(decompressed(&bytes, |_| ()).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn a_closure_may_read_again() {
        let stored = compressed(&[7; 1000], |stored| stored.unwrap().to_vec());
        let inner = |outer: &[u8]| decompressed(&stored, |inner| inner == outer);
        assert_eq!(decompressed(&stored, inner), Some(Some(true)));
    }
}
