//! The ranges of keys that a table deletes of everything older, as a block: the key of an entry is where a range begins, its value is where it ends, its kind is that of a range. Ranges ascend, without touching.
//!
//! A table's own entries are younger than its ranges: what it deleted of its own was left out when it was written.

use super::super::options::KEY_BYTES_MAX;
use super::super::range_set::RangeSet;
use super::super::wal::Kind;
use super::block::{BlockBuilder, Layout, Malformed};

/// Appends the block of some ranges, of which there is at least one.
pub(super) fn encode(ranges: &RangeSet, out: &mut Vec<u8>) {
    let mut block = BlockBuilder::default();
    for span in ranges.spans() {
        block.add(&span.start, Kind::DeleteRange, &span.end);
    }
    block.finish(out);
}

/// Reads such a block. What it takes in memory is bounded by the block's length: as ends lie between starts, they repeat what the starts have in common.
pub(crate) fn decode(block: &[u8]) -> Result<RangeSet, Malformed> {
    let layout = Layout::parse(block)?;
    let mut start = layout.prefix(block)?.to_vec();
    let mut ranges = RangeSet::default();
    for at in 0..layout.len() {
        let entry = layout.entry(block, at)?;
        layout.read_key(block, at, &entry, &mut start)?;
        let (end, last) = (entry.value, ranges.spans().last());
        let fits = |key: &[u8]| (1..=KEY_BYTES_MAX).contains(&key.len());
        let ascends = last.is_none_or(|last| last.end < start) && &start[..] < end;
        if entry.kind != Kind::DeleteRange || !ascends || !fits(&start) || !fits(end) {
            return Err(Malformed);
        }
        ranges.push(&start, end);
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_back_from_their_block() {
        let mut ranges = RangeSet::default();
        for at in 0..300_u16 {
            let start = [&b"prefix"[..], &at.to_be_bytes()].concat();
            ranges.push(&start, &[&start[..], b"x"].concat());
        }
        let mut block = Vec::new();
        encode(&ranges, &mut block);
        assert_eq!(decode(&block), Ok(ranges));
    }

    #[test]
    fn ranges_that_are_none_are_refused() {
        let refuse = |entries: &[(&[u8], Kind, &[u8])]| {
            let (mut builder, mut block) = (BlockBuilder::default(), Vec::new());
            for (start, kind, end) in entries {
                builder.add(start, *kind, end);
            }
            builder.finish(&mut block);
            assert_eq!(decode(&block), Err(Malformed), "{entries:?}");
        };
        refuse(&[]);
        refuse(&[(b"a", Kind::Put, b"b")]);
        refuse(&[(b"b", Kind::DeleteRange, b"a")]);
        refuse(&[(b"a", Kind::DeleteRange, b"c"), (b"b", Kind::DeleteRange, b"d")]);
        refuse(&[(b"a", Kind::DeleteRange, b"b"), (b"b", Kind::DeleteRange, b"d")]);
        let long = vec![b'b'; KEY_BYTES_MAX + 1];
        refuse(&[(b"a", Kind::DeleteRange, &long[..])]);
    }
}
