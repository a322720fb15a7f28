//! Control bytes: eight bits of each entry of a line, so that a lookup mostly knows without the line whether there is anything for it.
//!
//! As in Swiss tables (Kulukundis, "Designing a Fast, Efficient, Cache-friendly Hash Table, Step by Step", `CppCon` 2017). The entries of a million keys are ten megabytes, their control
//! bytes one, which stays in the cache. A byte of 0 is a free place. The bytes of a line are compared all at once, as digits of one number (Mycroft's test for a zero byte).

/// The control byte of an entry; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControlByte(u8);

impl ControlByte {
    /// The byte that stands for these eight bits; 0 and 1 share one.
    #[inline]
    pub(crate) fn new(bits: u8) -> Self {
        Self(bits.max(1))
    }
}

/// The control bytes of a line, the first place's the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Control(u64);

const LOWEST_BITS: u64 = 0x0101_0101_0101_0101;
const HIGHEST_BITS: u64 = LOWEST_BITS << 7;

impl Control {
    /// Places that may have this byte, in their order: all that have it, and seldom one behind such a place that has another.
    #[inline]
    pub(crate) fn places_of(self, byte: ControlByte) -> impl Iterator<Item = usize> {
        let mut zeros = zero_bytes(self.0 ^ (u64::from(byte.0) * LOWEST_BITS));
        std::iter::from_fn(move || {
            let place = (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)?;
            zeros &= zeros - 1;
            Some(place)
        })
    }

    /// The first free place.
    #[inline]
    pub(crate) fn free(self) -> Option<usize> {
        self.places_of(ControlByte(0)).next()
    }

    #[inline]
    pub(crate) fn has_free(self) -> bool {
        zero_bytes(self.0) != 0
    }

    /// Takes a place, whoever had it, or frees it.
    #[inline]
    pub(crate) fn set(&mut self, place: usize, byte: Option<ControlByte>) {
        let mut bytes = self.0.to_le_bytes();
        bytes[place] = byte.map_or(0, |byte| byte.0);
        self.0 = u64::from_le_bytes(bytes);
    }

    /// All bytes, so that they can be used for nothing.
    #[inline]
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }
}

/// The highest bit of each byte that is 0, and of some bytes that are 1 behind such a one.
#[inline]
fn zero_bytes(bytes: u64) -> u64 {
    bytes.wrapping_sub(LOWEST_BITS) & !bytes & HIGHEST_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_by_their_bytes() {
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few different bytes, so that many are the same and one apart.
            let bytes = ((random >> 8) & (LOWEST_BITS * 3)).to_le_bytes();
            let mut control = Control::default();
            for (place, byte) in bytes.into_iter().enumerate() {
                control.set(place, (byte != 0).then(|| ControlByte::new(byte)));
            }
            assert_eq!(control.to_bits(), u64::from_le_bytes(bytes));
            assert_eq!(control.free(), bytes.iter().position(|byte| *byte == 0));
            assert_eq!(control.has_free(), bytes.contains(&0));
            for byte in 1..=3 {
                let found: Vec<_> = control.places_of(ControlByte::new(byte)).collect();
                assert!(found.is_sorted());
                let first = bytes.iter().position(|other| *other == byte);
                assert_eq!(found.first().copied(), first);
                for place in (0..8).filter(|place| bytes[*place] == byte) {
                    assert!(found.contains(&place), "{bytes:?}: {byte} at {place}");
                }
            }
        }
    }

    #[test]
    fn no_entry_has_the_byte_of_a_free_place() {
        let mut control = Control::default();
        control.set(3, Some(ControlByte::new(0)));
        assert_ne!(control, Control::default());
        control.set(3, None);
        assert_eq!(control, Control::default());
    }
}
