//! An entry of the keydir: where a record lies, and some bits of its key's hash, in eight bytes.
//!
//! ```text
//! bits    field
//! 63..40  tag: the low 24 bits of the key's hash
//! 39..0   location in units of 8 bytes: slot of the segment · 2^offset_bits + offset in it
//! ```
//!
//! The key itself is not there: it is verified in the record. How the location divides into slot and offset is decided at each open by the longest
//! segment ([`Layout`]); whatever the division, 8 TiB can be addressed.

use crate::log::frame::ALIGNMENT;

const TAG_BITS: u32 = 24;
const LOCATION_BITS: u32 = 64 - TAG_BITS;

/// See the module's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// No entry: a data file begins with its preface, so no record is at location 0.
    pub(crate) const NONE: Self = Self(0);

    #[inline]
    pub(crate) fn new(hash: u64, location: u64) -> Self {
        debug_assert!(location < 1 << LOCATION_BITS);
        Self(hash << LOCATION_BITS | location)
    }

    /// The entry as it is written to a file.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// The entry that was written so.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The low bits of the hash, in the low bits of the result.
    #[inline]
    pub(crate) fn tag(self) -> u64 {
        self.0 >> LOCATION_BITS
    }

    #[inline]
    pub(crate) fn has_tag_of(self, hash: u64) -> bool {
        (self.0 ^ (hash << LOCATION_BITS)) >> LOCATION_BITS == 0
    }

    #[inline]
    pub(crate) fn location(self) -> u64 {
        self.0 & ((1 << LOCATION_BITS) - 1)
    }
}

/// Number of a segment among those that are open: small, and used again after the segment is gone.
pub(crate) type Slot = u32;

/// How an entry's location divides into slot and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    offset_bits: u32,
}

impl Layout {
    /// The division that gives room to segments of `segment_bytes_max` and to as many of them as possible.
    pub(crate) fn new(segment_bytes_max: u64) -> Self {
        let units = segment_bytes_max.div_ceil(ALIGNMENT).max(1);
        Self { offset_bits: units.next_power_of_two().ilog2() }
    }

    /// The layout that was written down as [`Layout::offset_bits`]; None if there cannot be such a layout.
    pub(crate) fn from_offset_bits(offset_bits: u32) -> Option<Self> {
        (offset_bits < LOCATION_BITS).then_some(Self { offset_bits })
    }

    pub(crate) fn offset_bits(self) -> u32 {
        self.offset_bits
    }

    /// The same key's entry at another place.
    pub(crate) fn moved(self, entry: Entry, slot: Slot, offset: u64) -> Entry {
        self.entry(entry.tag(), slot, offset)
    }

    /// How many segments can be open.
    pub(crate) fn slots(self) -> Slot {
        1 << (LOCATION_BITS - self.offset_bits).min(Slot::BITS - 1)
    }

    /// Bytes of the longest segment that all places in can be addressed.
    pub(crate) fn segment_bytes_max(self) -> u64 {
        ALIGNMENT << self.offset_bits
    }

    #[inline]
    pub(crate) fn entry(self, hash: u64, slot: Slot, offset: u64) -> Entry {
        debug_assert!(slot < self.slots() && offset / ALIGNMENT < 1 << self.offset_bits);
        Entry::new(hash, (u64::from(slot) << self.offset_bits) | (offset / ALIGNMENT))
    }

    /// Slot and offset of an entry.
    #[inline]
    pub(crate) fn place(self, entry: Entry) -> (Slot, u64) {
        let location = entry.location();
        let slot = (location >> self.offset_bits) as Slot;
        (slot, (location & ((1 << self.offset_bits) - 1)) * ALIGNMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_can_be_taken_apart() {
        for segment_bytes in [4 << 10, 64 << 20, (64 << 20) + 8, 8 << 30] {
            let layout = Layout::new(segment_bytes);
            assert!((segment_bytes..2 * segment_bytes).contains(&layout.segment_bytes_max()));
            for slot in [0, 1, layout.slots() - 1] {
                for offset in [0, 8, segment_bytes - 8] {
                    let entry = layout.entry(0xdead_beef_cafe_babe, slot, offset);
                    assert_eq!(layout.place(entry), (slot, offset));
                    assert_eq!(entry.tag(), 0xfe_babe);
                    assert!(entry.has_tag_of(0x11fe_babe) && !entry.has_tag_of(0x11fe_babf));
                }
            }
        }
    }

    #[test]
    fn eight_tebibytes_can_be_addressed() {
        for segment_bytes in [32 << 20, 64 << 20, 2 << 30] {
            assert_eq!(u64::from(Layout::new(segment_bytes).slots()) * segment_bytes, 8 << 40);
        }
    }
}
