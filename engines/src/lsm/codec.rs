//! Taking bytes apart that may be anything, and putting numbers together: what the manifest and the tables' metadata have in common.
//!
//! Every read is bounded by the bytes that are there; a length that goes past them gives [`None`], and nothing is ever allocated by a
//! length that was read.

/// Reads fields from the front of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that are left.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The next `len` bytes.
    pub(crate) fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(slice)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A slice that its length (4 bytes) precedes.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.slice(len as usize)
    }
}

/// Appends a slice with its length (4 bytes) before it.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Bytes that `a` and `b` have in common at their beginning.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The first eight bytes of `suffix` as a number that orders as the bytes do; shorter ones are filled up with zeros, so equal heads
/// say nothing before the rest has been compared.
#[inline]
pub(crate) fn head(suffix: &[u8]) -> u64 {
    match suffix.first_chunk::<8>() {
        Some(chunk) => u64::from_be_bytes(*chunk),
        None => suffix.iter().rev().fold(0, |head, byte| head >> 8 | u64::from(*byte) << 56),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_order_as_the_bytes_do() {
        let keys: [&[u8]; 8] =
            [b"", b"a", b"ab", b"abcdefg", b"abcdefgh", b"abcdefgi", b"b", b"\xff\xff"];
        for pair in keys.windows(2) {
            assert!(head(pair[0]) <= head(pair[1]), "{pair:?}");
        }
        assert_eq!(head(b"abcdefgh"), head(b"abcdefghi"));
        assert_eq!(head(b"a"), head(b"a\0"));
        assert_eq!(head(b"user"), u64::from_be_bytes(*b"user\0\0\0\0"));
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        let mut decoder = Decoder::new(&[255, 255, 255, 255, 1, 2]);
        assert_eq!(decoder.bytes(), None);
        let mut out = Vec::new();
        put_bytes(&mut out, b"key");
        assert_eq!(Decoder::new(&out).bytes(), Some(&b"key"[..]));
    }
}
