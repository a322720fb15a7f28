//! Sets of keys that are made of ranges: what a table deletes of everything that is older than it.
//!
//! The ranges of a set are disjoint, do not touch, and stand in order, so a key is looked up in O(log n). What overlaps is one range: nobody needs to know which deletion was
//! the later one, as in a table every entry is younger than the ranges beside it.

/// Keys from `start` up to `end`, which is not one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

/// See the module's header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet(Vec<Span>);

impl RangeSet {
    /// All keys that are in any of some sets.
    pub(crate) fn union<'s>(sets: impl IntoIterator<Item = &'s Self>) -> Self {
        let mut spans: Vec<&Span> = sets.into_iter().flat_map(|set| &set.0).collect();
        spans.sort_by(|a, b| a.start.cmp(&b.start));
        let mut union = Self::default();
        for span in spans {
            union.push(&span.start, &span.end);
        }
        union
    }

    /// Adds the keys from `start` up to `end`, none of which lies before the last range's start.
    pub(crate) fn push(&mut self, start: &[u8], end: &[u8]) {
        debug_assert!(start < end, "a range holds keys");
        match self.0.last_mut() {
            Some(last) if start <= &last.end[..] => {
                if end > &last.end[..] {
                    last.end = end.to_vec();
                }
            }
            _ => self.0.push(Span { start: start.to_vec(), end: end.to_vec() }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its ranges.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.0
    }

    /// The range that holds `key`.
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Span> {
        let at = self.0.partition_point(|span| &span.end[..] <= key);
        self.0.get(at).filter(|span| &span.start[..] <= key)
    }

    /// The keys of the set from `from` up to, but without `to`.
    pub(crate) fn within(&self, from: &[u8], to: Option<&[u8]>) -> Self {
        let first = self.0.partition_point(|span| &span.end[..] <= from);
        let mut cut = Self(self.0[first..].to_vec());
        if let Some(span) = cut.0.first_mut()
            && &span.start[..] < from
        {
            span.start = from.to_vec();
        }
        match to {
            Some(to) => cut.take_before(to),
            None => cut,
        }
    }

    /// Takes the keys before `key` out of the set.
    pub(crate) fn take_before(&mut self, key: &[u8]) -> Self {
        let behind = self.0.partition_point(|span| &span.start[..] < key);
        let rest = self.0.split_off(behind);
        let mut before = Self(std::mem::replace(&mut self.0, rest));
        if let Some(last) = before.0.last_mut()
            && &last.end[..] > key
        {
            let end = std::mem::replace(&mut last.end, key.to_vec());
            self.0.insert(0, Span { start: key.to_vec(), end });
        }
        before
    }

    /// Leaves out the ranges for which `keep` does not say otherwise.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Span) -> bool) {
        self.0.retain(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set as text: `a-c e-g`.
    fn set(text: &str) -> RangeSet {
        let mut set = RangeSet::default();
        for (start, end) in text.split_whitespace().map(|span| span.split_once('-').unwrap()) {
            set.push(start.as_bytes(), end.as_bytes());
        }
        set
    }

    #[test]
    fn what_overlaps_or_touches_is_one_range() {
        assert_eq!(set("a-c b-d d-e f-g f-h f-g"), set("a-e f-h"));
        let union = RangeSet::union([&set("c-f x-z"), &set("a-d e-e0 y-y1"), &RangeSet::default()]);
        assert_eq!(union, set("a-f x-z"));
    }

    #[test]
    fn ends_are_not_held() {
        let set = set("b-d f-g");
        for (key, held) in [("a", false), ("b", true), ("c", true), ("d", false), ("f", true)] {
            assert_eq!(set.find(key.as_bytes()).is_some(), held, "{key}");
        }
        assert_eq!(set.find(b"ff").unwrap().end, b"g");
        assert!(set.find(b"g").is_none() && set.find(b"").is_none());
    }

    #[test]
    fn cuts_lose_nothing_and_give_nothing_twice() {
        let whole = set("b-d f-k");
        assert_eq!(whole.within(b"c", Some(b"g")), set("c-d f-g"));
        assert_eq!(whole.within(b"", None), whole);
        assert_eq!(whole.within(b"d", Some(b"f")), RangeSet::default());
        assert_eq!(whole.within(b"d", Some(b"ff")), set("f-ff"));
        let mut rest = whole.clone();
        assert_eq!(rest.take_before(b"g"), set("b-d f-g"));
        assert_eq!(rest, set("g-k"));
        assert_eq!(rest.take_before(b"g"), RangeSet::default());
        assert_eq!(rest.take_before(b"z"), set("g-k"));
        assert!(rest.is_empty());
    }
}
