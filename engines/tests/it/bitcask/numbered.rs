//! Batches with numbers: what a writer has left behind after some of them follows from how many there were. So whatever is found in a store that is being written, in a copy of it or by a reader
//! beside it, can be held to a state that the store was in.

use kvdyno_engines::{WriteBatch, WriteOperation};

use super::Map;

/// A batch changes a key of each of these two sets, which have so many keys, and are gone through in turn. The first is so large that what is needed lies in many data files.
const KEYS: [u64; 2] = [499, 31];
/// Of so many changes of a set, one is a deletion.
const DELETIONS: [u64; 2] = [11, 7];

/// Where a writer leaves the number of its last batch.
pub(super) fn count_key(writer: u64) -> Vec<u8> {
    format!("{writer} has written").into_bytes()
}

fn key(writer: u64, set: usize, number: u64) -> Vec<u8> {
    format!("{writer} {set} {}", number % KEYS[set]).into_bytes()
}

/// What a batch leaves under its key of a set; None: nothing.
fn value(set: usize, number: u64) -> Option<Vec<u8>> {
    let filler = (number * 37 % 400) as usize;
    (number % DELETIONS[set] != 5).then(|| format!("{number} {set} {:filler$}", "").into_bytes())
}

/// A writer's batch with this number, from 1 on. The number itself is in the middle.
pub(super) fn batch(writer: u64, number: u64) -> WriteBatch {
    let change = |set| {
        let key = key(writer, set, number);
        match value(set, number) {
            Some(value) => WriteOperation::Put { key, value },
            None => WriteOperation::Delete { key },
        }
    };
    let value = number.to_string().into_bytes();
    let count = WriteOperation::Put { key: count_key(writer), value };
    WriteBatch { operations: vec![change(0), count, change(1)] }
}

/// What so many batches of a writer leave behind.
fn state(writer: u64, batches: u64) -> Map {
    let mut map = Map::new();
    for (set, keys) in KEYS.into_iter().enumerate() {
        let newest = batches.saturating_sub(keys) + 1..=batches;
        let kept =
            newest.filter_map(|number| Some((key(writer, set, number), value(set, number)?)));
        map.extend(kept);
    }
    if batches > 0 {
        map.insert(count_key(writer), batches.to_string().into_bytes());
    }
    map
}

/// How many batches of each writer, from writer 0 on, have left this behind.
///
/// # Panics
/// If no number of batches does.
pub(super) fn batches_of<const WRITERS: usize>(found: &Map) -> [u64; WRITERS] {
    let mut expected = Map::new();
    let counts = std::array::from_fn(|writer| {
        let writer = writer as u64;
        let count = found.get(&count_key(writer));
        let count = count.map_or(0, |count| str::from_utf8(count).unwrap().parse().unwrap());
        expected.extend(state(writer, count));
        count
    });
    let keys = expected.keys().chain(found.keys());
    let wrong: Vec<_> = keys
        .filter(|key| expected.get(*key) != found.get(*key))
        .map(|key| key.escape_ascii().to_string())
        .collect();
    assert!(wrong.is_empty(), "{counts:?} batches leave something else under {wrong:?}");
    counts
}
