//! A store whose values expire, beside a model of it, under random steps: an older value never comes back, in no order of writes, flushes, compactions, crashes, openings and turns of the clock; and
//! a snapshot shows what it showed when it was taken.

use std::ops::Range;
use std::time::Duration;

use kvdyno_engines::lsm::{Fifo, Io, Lsm, Options, Snapshot, Style, Tiered};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::{Durability, WriteBatch, WriteOperation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::{Map, contents, open_with, small};
use super::{get, ms};
use crate::expiring::Expiring;
use crate::hands::{Hands, NOON_MS};

/// A store beside a model of it.
struct Subject {
    disk: SimulatedDisk,
    options: Options,
    hands: Hands,
    store: Option<Lsm<SimulatedDisk>>,
    model: Expiring,
    random: StdRng,
    version: u64,
    trail: String,
}

const KEYS: u64 = 24;

fn options(random: &mut StdRng, hands: &Hands) -> Options {
    let style = match random.random_range(0..4) {
        0 => Style::Tiered(Tiered { width: 2, ..Tiered::default() }),
        1 => Style::Fifo(Fifo::default()),
        _ => Style::default(),
    };
    Options {
        style,
        memtable_bytes: [4 << 10, 16 << 10][random.random_range(0..2)],
        deletions_percent: [0, 10, 50][random.random_range(0..3)],
        value_log_min_bytes: random.random_bool(0.5).then_some(100),
        io: [Io::Mapped, Io::Calls][random.random_range(0..2)],
        subcompactions_max: random.random_range(1..3),
        clock: hands.clock(),
        ..small(Durability::Os)
    }
}

impl Subject {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let hands = Hands::at(NOON_MS);
        let (disk, options) = (SimulatedDisk::new(), options(&mut random, &hands));
        let store = Some(open_with(&disk, options.clone()).unwrap());
        let (model, trail) = (Expiring::new(&hands), format!("seed {seed}, {options:?}\n"));
        Self { disk, options, hands, store, model, random, version: 0, trail }
    }

    fn store(&self) -> &Lsm<SimulatedDisk> {
        self.store.as_ref().unwrap()
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key {:02}", self.random.random_range(0..KEYS)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        self.version += 1;
        let filler = self.random.random_range(0..400);
        format!("{:08}{:filler$}", self.version, "").into_bytes()
    }

    fn check(&self, what: &str) {
        let seen = contents(self.store()).unwrap();
        let snapshot = self.store().snapshot();
        let iterated: Map = snapshot.iter(..).collect::<Result<_, _>>().unwrap();
        assert_eq!(iterated, seen, "an iterator sees what a scan sees: {what}\n{}", self.trail);
        for number in 0..KEYS {
            let key = format!("key {number:02}").into_bytes();
            let found = get(self.store(), &key);
            assert_eq!(seen.get(&key), found.as_ref(), "a scan sees what gets see: {what}");
            self.model.check(&key, found.as_deref(), format_args!("{what}\n{}", self.trail));
        }
    }

    fn step(&mut self) {
        let what = match self.random.random_range(0..100) {
            0..22 => self.put(None),
            22..48 => {
                let ttl = [0, 1, 20, 100, 400, 2000][self.random.random_range(0..6)];
                self.put(Some(ms(ttl)))
            }
            48..58 => self.delete(),
            58..61 => self.delete_range(),
            61..70 => self.batch(),
            70..80 => self.turn_clock(),
            80..84 => {
                self.store().flush().unwrap();
                "flush".to_owned()
            }
            84..87 => {
                let bounds = (self.key(), self.key());
                self.store().compact_range(Some(&bounds.0), Some(&bounds.1)).unwrap();
                format!("compact {bounds:?}")
            }
            87..92 => {
                self.store().settle().unwrap();
                "settle".to_owned()
            }
            92..96 => self.reopen(),
            _ => self.lose_power(),
        };
        self.trail += &format!("{what}\n");
        self.check(&what);
    }

    fn put(&mut self, ttl: Option<Duration>) -> String {
        let (key, value) = (self.key(), self.value());
        match ttl {
            Some(ttl) => self.store().put_expiring(&key, &value, ttl).unwrap(),
            None => self.store().put(&key, &value).unwrap(),
        }
        let what = format!("put {} version {} {ttl:?}", key.escape_ascii(), self.version);
        self.model.wrote(key, Some(value), ttl);
        what
    }

    fn delete(&mut self) -> String {
        let key = self.key();
        self.store().delete(&key).unwrap();
        let what = format!("delete {}", key.escape_ascii());
        self.model.wrote(key, None, None);
        what
    }

    fn range(&mut self) -> Range<Vec<u8>> {
        let (one, other) = (self.key(), self.key());
        one.clone().min(other.clone())..one.max(other)
    }

    fn delete_range(&mut self) -> String {
        let range = self.range();
        self.store().delete_range(range.clone()).unwrap();
        self.model.deleted(&range);
        format!("delete {range:?}")
    }

    fn batch(&mut self) -> String {
        let mut operations = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            let (key, value) = (self.key(), self.value());
            operations.push(match self.random.random_range(0..10) {
                0 => {
                    let range = self.range();
                    self.model.deleted(&range);
                    WriteOperation::DeleteRange { start: range.start, end: range.end }
                }
                1..3 => {
                    self.model.wrote(key.clone(), None, None);
                    WriteOperation::Delete { key }
                }
                3..6 => {
                    let ttl = ms([0, 50, 1000][self.random.random_range(0..3)]);
                    self.model.wrote(key.clone(), Some(value.clone()), Some(ttl));
                    WriteOperation::PutExpiring { key, value, ttl }
                }
                _ => {
                    self.model.wrote(key.clone(), Some(value.clone()), None);
                    WriteOperation::Put { key, value }
                }
            });
        }
        let what = format!("batch of {}", operations.len());
        self.store().write(&WriteBatch { operations }).unwrap();
        what
    }

    /// Mostly ahead, sometimes back; what a snapshot shows stays.
    fn turn_clock(&mut self) -> String {
        let by = [1, 50, 300, 1500][self.random.random_range(0..4)];
        let now_ms = self.hands.now_ms();
        let back = self.random.random_range(0..4) == 0;
        let (merges, hands) = (self.random.random_bool(0.3), self.hands.clone());
        let snapshot = self.store().snapshot();
        let read = |snapshot: &Snapshot<'_, SimulatedDisk>| -> Map {
            snapshot.iter(..).collect::<Result<_, _>>().unwrap()
        };
        let before = read(&snapshot);
        hands.set(if back { now_ms - by } else { now_ms + by });
        if merges {
            self.store().compact().unwrap();
        }
        assert_eq!(read(&snapshot), before, "a snapshot keeps its time\n{}", self.trail);
        drop(snapshot);
        self.model.turned();
        format!("clock {} to {}, {merges}", if back { "back" } else { "ahead" }, hands.now_ms())
    }

    fn reopen(&mut self) -> String {
        let store = self.store.take().unwrap();
        let clean = self.random.random_bool(0.5);
        if clean {
            store.close().unwrap();
        } else {
            drop(store);
        }
        self.options = options(&mut self.random, &self.hands);
        self.store = Some(open_with(&self.disk, self.options.clone()).unwrap());
        format!("{} and reopen with {:?}", if clean { "close" } else { "drop" }, self.options)
    }

    /// Everything is synced; then power is lost in the middle of flushes and compactions, which change nothing that can be seen.
    fn lose_power(&mut self) -> String {
        self.store().sync().unwrap();
        let at = self.disk.operations() + self.random.random_range(0..25);
        self.disk.power_off_at(at);
        let worked = match self.random.random_range(0..3) {
            0 => self.store().compact().err(),
            1 => self.store().flush().err(),
            _ => self.store().settle().err(),
        };
        self.disk.power_off();
        drop(self.store.take());
        let crashes = self.disk.crashes(self.random.random(), 2);
        let crash = crashes[self.random.random_range(0..crashes.len())];
        self.disk = self.disk.survivor(crash);
        self.store = Some(open_with(&self.disk, self.options.clone()).unwrap());
        format!("power lost at {at} ({worked:?}), {crash:?}")
    }
}

fn check_model(seeds: Range<u64>, steps: usize) {
    for seed in seeds {
        let mut subject = Subject::new(seed);
        for _ in 0..steps {
            subject.step();
        }
    }
}

#[test]
fn no_older_value_ever_comes_back_when_a_newer_one_has_expired() {
    check_model(0..300, 200);
}

/// Run by hand.
#[test]
#[ignore = "takes minutes"]
fn no_older_value_ever_comes_back_when_a_newer_one_has_expired_long() {
    check_model(10_000..20_000, 300);
}
