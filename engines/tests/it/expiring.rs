//! What a store must show whose values expire: a model, for tests that take random steps beside a store.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::hands::Hands;

/// The newest write to a key.
#[derive(Clone, Debug)]
struct Newest {
    value: Option<Vec<u8>>,
    expires_ms: Option<u64>,
}

/// The newest writes to all keys, and what time it is.
pub(crate) struct Expiring {
    newest: BTreeMap<Vec<u8>, Newest>,
    hands: Hands,
    /// The latest time that the store may have seen.
    latest_ms: u64,
}

impl Expiring {
    pub(crate) fn new(hands: &Hands) -> Self {
        Self { newest: BTreeMap::new(), hands: hands.clone(), latest_ms: hands.now_ms() }
    }

    /// A value, which may expire, or a deletion.
    pub(crate) fn wrote(&mut self, key: Vec<u8>, value: Option<Vec<u8>>, ttl: Option<Duration>) {
        let expires_ms = ttl.map(|ttl| self.hands.now_ms() + ttl.as_millis() as u64);
        self.newest.insert(key, Newest { value, expires_ms });
    }

    /// All keys from one up to, but without another were deleted.
    pub(crate) fn deleted(&mut self, range: &Range<Vec<u8>>) {
        for (key, newest) in &mut self.newest {
            if range.contains(key) {
                *newest = Newest { value: None, expires_ms: None };
            }
        }
    }

    /// The hands were turned, by whoever holds them.
    pub(crate) fn turned(&mut self) {
        self.latest_ms = self.latest_ms.max(self.hands.now_ms());
    }

    /// The value if it must be there; and whether that is certain.
    fn expected(&self, key: &[u8]) -> (Option<&[u8]>, bool) {
        let Some(newest) = self.newest.get(key) else { return (None, true) };
        let expires_ms = newest.expires_ms.unwrap_or(u64::MAX);
        if expires_ms <= self.hands.now_ms() {
            return (None, true);
        }
        // If the clock was past its time once, background work may have met it since.
        (newest.value.as_deref(), expires_ms > self.latest_ms)
    }

    /// What the store holds of a key is right.
    #[track_caller]
    pub(crate) fn check(&self, key: &[u8], found: Option<&[u8]>, context: impl fmt::Display) {
        let (expected, certain) = self.expected(key);
        if found != expected && (certain || found.is_some()) {
            let text = |value: Option<&[u8]>| {
                value.map(|value| value[..value.len().min(8)].escape_ascii().to_string())
            };
            panic!(
                "{} holds {:?}, expected {:?} (now {}, newest {:?}) after {context}",
                key.escape_ascii(),
                text(found),
                text(expected),
                self.hands.now_ms(),
                self.newest.get(key).map(|newest| newest.expires_ms)
            );
        }
    }
}
