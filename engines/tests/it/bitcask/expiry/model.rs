//! A store whose values expire, beside a model of it, under random steps: an older value never comes back, in no order of writes, merges, crashes, openings and turns of the clock.

use std::ops::{ControlFlow, Range};
use std::time::Duration;

use kvdyno_engines::bitcask::{Bitcask, Options};
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Direction, Engine, Error, WriteBatch, WriteOperation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::{files, get, open, small, unmerged};
use super::{in_options, ms, visible};
use crate::expiring::Expiring;
use crate::hands::{Hands, NOON_MS};

/// A store beside a model of it.
struct Subject {
    disk: SimulatedDisk,
    options: Options,
    hands: Hands,
    store: Option<Bitcask<SimulatedDisk>>,
    model: Expiring,
    random: StdRng,
    version: u64,
    trail: String,
}

const KEYS: u64 = 24;

impl Subject {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let hands = Hands::at(NOON_MS);
        let base = if random.random_bool(0.5) { small() } else { unmerged() };
        let options = Options {
            hash_mask: if random.random_bool(0.3) { 3 } else { u64::MAX },
            ttl: random.random_bool(0.2).then_some(ms(700)),
            compress_above_bytes: random.random_bool(0.3).then_some(100),
            ordered_scans: random.random_bool(0.5),
            ..in_options(&hands, base)
        };
        let disk = SimulatedDisk::new();
        let store = Some(open(&disk, &options));
        let (model, trail) = (Expiring::new(&hands), format!("seed {seed}, {options:?}\n"));
        Self { disk, options, hands, store, model, random, version: 0, trail }
    }

    fn store(&self) -> &Bitcask<SimulatedDisk> {
        self.store.as_ref().unwrap()
    }

    fn key(&mut self) -> Vec<u8> {
        format!("key {}", self.random.random_range(0..KEYS)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        self.version += 1;
        let filler = self.random.random_range(0..400);
        format!("{:08}{:filler$}", self.version, "").into_bytes()
    }

    fn wrote(&mut self, key: Vec<u8>, value: Option<Vec<u8>>, ttl: Option<Duration>) {
        let ttl = ttl.or(self.options.ttl);
        self.model.wrote(key, value, ttl);
    }

    fn check(&self, what: &str) {
        let seen = visible(self.store());
        if self.options.ordered_scans {
            for direction in [Direction::Forward, Direction::Reverse] {
                let scanned = self.scan(direction);
                assert!(
                    scanned.iter().map(|(key, value)| (key, value)).eq(&seen),
                    "a scan {direction:?} sees what a fold sees: {what}\n{}",
                    self.trail
                );
            }
        }
        for number in 0..KEYS {
            let key = format!("key {number}").into_bytes();
            let found = get(self.store(), &key);
            assert_eq!(seen.get(&key), found.as_ref(), "a fold sees what gets see: {what}");
            self.model.check(&key, found.as_deref(), format_args!("{what}\n{}", self.trail));
        }
    }

    /// What a scan visits, in ascending order.
    fn scan(&self, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut scanned = Vec::new();
        let mut session = self.store().session().unwrap();
        session
            .scan(b"", direction, usize::MAX, &mut |key, value| {
                scanned.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })
            .unwrap();
        if direction == Direction::Reverse {
            scanned.reverse();
        }
        scanned
    }

    fn step(&mut self) {
        let what = match self.random.random_range(0..100) {
            0..25 => self.put(None),
            25..50 => {
                let ttl = [1, 20, 100, 400, 2000][self.random.random_range(0..5)];
                self.put(Some(ms(ttl)))
            }
            50..62 => self.delete(),
            62..70 => self.batch(),
            70..80 => self.turn_clock(),
            80..83 => {
                self.store().merge().unwrap();
                "merge".to_owned()
            }
            83..89 => self.merge_some(),
            89..93 => {
                self.store().settle().unwrap();
                "settle".to_owned()
            }
            93..97 => self.reopen(),
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
        self.wrote(key, Some(value), ttl);
        what
    }

    fn delete(&mut self) -> String {
        let key = self.key();
        let was_there = get(self.store(), &key).is_some();
        assert_eq!(self.store().delete(&key).unwrap(), was_there, "{}", self.trail);
        let what = format!("delete {}: {was_there}", key.escape_ascii());
        self.wrote(key, None, None);
        what
    }

    fn batch(&mut self) -> String {
        let mut operations = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            let key = self.key();
            let value = (self.random.random_range(0..4) > 0).then(|| self.value());
            operations.push(match value.clone() {
                Some(value) => WriteOperation::Put { key: key.clone(), value },
                None => WriteOperation::Delete { key: key.clone() },
            });
            self.wrote(key, value, None);
        }
        let what = format!("batch of {}", operations.len());
        self.store().write(&WriteBatch { operations }).unwrap();
        what
    }

    /// Mostly ahead, sometimes back.
    fn turn_clock(&mut self) -> String {
        let by = [1, 50, 300, 1500][self.random.random_range(0..4)];
        let now_ms = self.hands.now_ms();
        let back = self.random.random_range(0..4) == 0;
        self.hands.set(if back { now_ms - by } else { now_ms + by });
        self.model.turned();
        format!("clock {} to {}", if back { "back" } else { "ahead" }, self.hands.now_ms())
    }

    fn ids(&mut self) -> Vec<u32> {
        let share = self.random.random_range(1..10);
        let stem = |path: &std::path::PathBuf| path.file_stem()?.to_str()?.parse().ok();
        let ids: Vec<u32> = files(&self.disk, "data").iter().filter_map(stem).collect();
        ids.into_iter().filter(|_| self.random.random_range(0..10) < share).collect()
    }

    fn merge_some(&mut self) -> String {
        let ids = self.ids();
        // The file that is being written is refused by its number; without it the others are taken.
        let merged = match self.store().merge_files(&ids) {
            Err(Error::StillWritten { id, .. }) => {
                let ids: Vec<u32> = ids.iter().copied().filter(|other| *other < id).collect();
                self.store().merge_files(&ids).map_or_else(
                    |error| assert!(matches!(error, Error::StillWritten { .. }), "{error}"),
                    |_| (),
                );
                "in part"
            }
            other => {
                other.unwrap();
                "all"
            }
        };
        format!("merge files {ids:?}: {merged}")
    }

    /// Removes aids that a recovery can do without.
    fn forget_aids(&mut self) {
        let mut aids = files(&self.disk, "hint");
        aids.extend(self.disk.files().into_keys().filter(|path| path.ends_with("KEYDIR")));
        let share = [0, 0, 5, 10][self.random.random_range(0..4)];
        for path in aids {
            if self.random.random_range(0..10) < share {
                self.disk.remove(&path).unwrap();
            }
        }
    }

    fn reopen(&mut self) -> String {
        let store = self.store.take().unwrap();
        let clean = self.random.random_bool(0.5);
        if clean {
            store.close().unwrap();
        } else {
            drop(store);
        }
        self.forget_aids();
        self.store = Some(open(&self.disk, &self.options));
        format!("{} and reopen", if clean { "close" } else { "drop" })
    }

    /// Everything is synced; then power is lost in the middle of a merge, which changes nothing that can be seen.
    fn lose_power(&mut self) -> String {
        self.store().sync().unwrap();
        let ids = self.ids();
        let at = self.disk.operations() + self.random.random_range(0..25);
        self.disk.power_off_at(at);
        let merged = match self.random.random_range(0..3) {
            0 => self.store().merge().err(),
            1 => self.store().merge_files(&ids).err(),
            _ => self.store().settle().err(),
        };
        self.disk.power_off();
        drop(self.store.take());
        let crashes = self.disk.crashes(self.random.random(), 2);
        let crash = crashes[self.random.random_range(0..crashes.len())];
        self.disk = self.disk.survivor(crash);
        self.forget_aids();
        self.store = Some(open(&self.disk, &self.options));
        format!("power lost at {at} in a merge of {ids:?} ({merged:?}), {crash:?}")
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
    check_model(0..1_000, 200);
}

/// Run by hand.
#[test]
#[ignore = "takes minutes"]
fn no_older_value_ever_comes_back_when_a_newer_one_has_expired_long() {
    check_model(10_000..40_000, 300);
}
