//! The steps of a random history, and how they are chosen.

use std::fmt;
use std::time::Duration;

use super::show;
use crate::random::Random;
use crate::{Capabilities, Direction, OperationKind, WriteBatch, WriteOperation};

/// Longer than a history runs.
pub(super) const LONG: Duration = Duration::from_hours(1);

/// One thing that is done with a store.
#[derive(Clone)]
pub(super) enum Step {
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    /// A put that expires long after the history has ended.
    PutExpiring {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Delete {
        key: Vec<u8>,
    },
    DeleteRange {
        start: Vec<u8>,
        end: Vec<u8>,
    },
    Write(WriteBatch),
    Get {
        key: Vec<u8>,
    },
    MultiGet {
        keys: Vec<Vec<u8>>,
    },
    Scan {
        start: Vec<u8>,
        direction: Direction,
        limit: usize,
        break_after: usize,
    },
    Sync,
    Settle,
    /// Another session for what follows.
    Session,
    /// Close and open.
    Close,
    /// Drop without closing, and open.
    Drop,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(f, "put {} = {}", show(key), show(value)),
            Self::PutExpiring { key, value } => {
                write!(f, "put {} = {}, expiring much later", show(key), show(value))
            }
            Self::Delete { key } => write!(f, "delete {}", show(key)),
            Self::DeleteRange { start, end } => {
                write!(f, "delete from {} up to {}", show(start), show(end))
            }
            Self::Write(batch) => {
                write!(f, "write")?;
                for operation in &batch.operations {
                    match operation {
                        WriteOperation::Put { key, value } => {
                            write!(f, ", {} = {}", show(key), show(value))?;
                        }
                        WriteOperation::PutExpiring { key, value, ttl } => {
                            write!(f, ", {} = {}, expiring in {ttl:?}", show(key), show(value))?;
                        }
                        WriteOperation::Delete { key } => write!(f, ", delete {}", show(key))?,
                        WriteOperation::DeleteRange { start, end } => {
                            write!(f, ", delete from {} up to {}", show(start), show(end))?;
                        }
                    }
                }
                Ok(())
            }
            Self::Get { key } => write!(f, "get {}", show(key)),
            Self::MultiGet { keys } => {
                let keys: Vec<_> = keys.iter().map(|key| show(key)).collect();
                write!(f, "get {}", keys.join(", "))
            }
            Self::Scan { start, direction, limit, break_after } => {
                let start = show(start);
                write!(f, "scan {direction:?} from {start}, limit {limit}, break at {break_after}")
            }
            Self::Sync => write!(f, "sync"),
            Self::Settle => write!(f, "settle"),
            Self::Session => write!(f, "another session"),
            Self::Close => write!(f, "close and open"),
            Self::Drop => write!(f, "drop and open"),
        }
    }
}

/// Chooses steps.
pub(super) struct Generator<'a> {
    random: Random,
    keys: &'a [Vec<u8>],
    capabilities: &'a Capabilities,
}

impl<'a> Generator<'a> {
    pub(super) fn new(seed: u64, keys: &'a [Vec<u8>], capabilities: &'a Capabilities) -> Self {
        Self { random: Random::new(seed), keys, capabilities }
    }

    /// The next step that the engine supports.
    pub(super) fn step(&mut self) -> Step {
        loop {
            let (kind, step) = match self.random.below(100) {
                0..34 => (OperationKind::Put, Step::Put { key: self.key(), value: self.value() }),
                34..40 => (
                    OperationKind::PutExpiring,
                    Step::PutExpiring { key: self.key(), value: self.value() },
                ),
                40..50 => (OperationKind::Delete, Step::Delete { key: self.key() }),
                50..65 => (OperationKind::Get, Step::Get { key: self.any_key() }),
                65..79 => self.scan(),
                79..84 => (OperationKind::Write, Step::Write(self.batch())),
                84..89 => (OperationKind::MultiGet, Step::MultiGet { keys: self.any_keys() }),
                89..91 => (OperationKind::DeleteRange, self.delete_range()),
                91..93 => return Step::Sync,
                93..95 => return Step::Settle,
                95..97 => return Step::Session,
                97..99 => return Step::Close,
                _ => return Step::Drop,
            };
            if self.capabilities.supports(kind) {
                return step;
            }
        }
    }

    fn key(&mut self) -> Vec<u8> {
        self.keys[self.random.below(self.keys.len() as u64) as usize].clone()
    }

    /// A key that may never have been put.
    fn any_key(&mut self) -> Vec<u8> {
        let mut key = self.key();
        match self.random.below(8) {
            0 if key.len() < self.capabilities.key_bytes_max => key.push(0),
            1 => key[0] ^= 1,
            2 if key.len() > 1 => drop(key.pop()),
            _ => {}
        }
        key
    }

    fn any_keys(&mut self) -> Vec<Vec<u8>> {
        (0..self.random.below(12)).map(|_| self.any_key()).collect()
    }

    fn value(&mut self) -> Vec<u8> {
        let longest = match self.random.below(20) {
            0 => return Vec::new(),
            1 => 20_000,
            2..5 => 3_000,
            _ => 200,
        };
        let longest = longest.min(self.capabilities.value_bytes_max as u64);
        let len = self.random.below(longest + 1);
        (0..len).map(|_| self.random.next() as u8).collect()
    }

    fn batch(&mut self) -> WriteBatch {
        let operation = |generator: &mut Self| match generator.random.below(3) {
            0 => WriteOperation::Delete { key: generator.key() },
            1 if generator.deletes_range_in_batch() => {
                let (start, end) = generator.range();
                WriteOperation::DeleteRange { start, end }
            }
            2 if generator.expires_in_batch() => {
                let (key, value) = (generator.key(), generator.value());
                WriteOperation::PutExpiring { key, value, ttl: LONG }
            }
            _ => WriteOperation::Put { key: generator.key(), value: generator.value() },
        };
        let count = self.random.below(9);
        WriteBatch { operations: (0..count).map(|_| operation(self)).collect() }
    }

    fn delete_range(&mut self) -> Step {
        let (start, end) = self.range();
        Step::DeleteRange { start, end }
    }

    /// Whether a batch is to delete a range here.
    fn deletes_range_in_batch(&mut self) -> bool {
        self.capabilities.supports(OperationKind::DeleteRange) && self.random.below(4) == 0
    }

    /// Whether a value of a batch is to expire, long after the history has ended.
    fn expires_in_batch(&mut self) -> bool {
        self.capabilities.supports(OperationKind::PutExpiring) && self.random.below(4) == 0
    }

    /// Two bounds. They are mostly narrow or hold nothing, so that not everything goes at once.
    fn range(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (start, end) = (self.any_key(), self.any_key());
        match self.random.below(16) {
            0 => (Vec::new(), end),
            1..4 => (start, end),
            _ => (start.clone(), [&start[..], &[0xff]].concat()),
        }
    }

    fn scan(&mut self) -> (OperationKind, Step) {
        let (kind, direction) = match self.random.below(2) {
            0 => (OperationKind::ScanForward, Direction::Forward),
            _ => (OperationKind::ScanReverse, Direction::Reverse),
        };
        let start = if self.random.below(4) == 0 { Vec::new() } else { self.any_key() };
        let limit = match self.random.below(4) {
            0 => usize::MAX,
            _ => self.random.below(20) as usize,
        };
        let break_after = match self.random.below(4) {
            0 => self.random.below(10) as usize + 1,
            _ => usize::MAX,
        };
        (kind, Step::Scan { start, direction, limit, break_after })
    }
}

/// Keys for a history: bytes at both ends of their range, prefixes of one another, lengths from one byte to many.
pub(super) fn keys(random: &mut Random, capabilities: &Capabilities) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = [
        &b"\x00"[..],
        b"\x00\x00",
        b"\x00\x01",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xff\x00",
        b"\xff\xff",
        b"\xff\xff\xff",
        b"a",
        b"a\x00",
        b"a\x00\x00",
        b"a\xff",
        b"aa",
        b"ab",
        b"abc",
        b"abcdefghijkl",
        b"abcdefghijklm",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    for _ in 0..30 {
        let longest = if random.below(8) == 0 { 300 } else { 24 };
        let mut key = keys[random.below(keys.len() as u64) as usize].clone();
        key.extend((0..=random.below(longest)).map(|_| random.next() as u8));
        keys.push(key);
    }
    keys.retain(|key| key.len() <= capabilities.key_bytes_max);
    keys
}
