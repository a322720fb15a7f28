//! Bitcask's values that expire: gone when their time has come, and never anything older in their place.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kvdyno_engines::bitcask::{Bitcask, MergePolicy, MergeWindow, Options};
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Clock, Error, WriteBatch, WriteOperation};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{DIR, Map, figure, files, get, open, small, unmerged};

const NOON_MS: u64 = 1_000_000 * 3_600_000 * 24 + 12 * 3_600_000;

/// A clock whose hands a test turns.
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn at(now_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now_ms)))
    }

    fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The options, with this clock.
    fn in_options(&self, options: Options) -> Options {
        Options { clock: Clock::Manual(Arc::clone(&self.0)), ..options }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Keys and values that a fold visits. Unlike `contents`, nothing is said about how many keys the store counts.
fn visible(store: &Bitcask<SimulatedDisk>) -> Map {
    let mut map = Map::new();
    let visit = |key: &[u8], value: &[u8]| {
        assert!(map.insert(key.to_vec(), value.to_vec()).is_none(), "a key is visited twice");
        ControlFlow::Continue(())
    };
    store.fold(visit).unwrap();
    map
}

#[test]
fn a_value_is_gone_when_its_time_has_come_in_every_kind_of_read() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = hands.in_options(unmerged());
    let store = open(&disk, &options);
    store.put_expiring(b"short", b"1", ms(100)).unwrap();
    store.put_expiring(b"long", b"2", ms(101)).unwrap();
    store.put(b"ever", b"3").unwrap();
    let seen = |store: &Bitcask<SimulatedDisk>, expected: &[&[u8]]| {
        for key in [&b"short"[..], b"long", b"ever"] {
            let is_there = expected.contains(&key);
            assert_eq!(get(store, key).is_some(), is_there);
            assert_eq!(store.contains(key).unwrap(), is_there);
            assert_eq!(store.get_with(key, <[u8]>::len).unwrap(), is_there.then_some(1));
        }
        assert_eq!(visible(store).len(), expected.len());
        assert_eq!(store.keys().unwrap().len(), expected.len());
    };
    hands.set(NOON_MS + 99);
    seen(&store, &[b"short", b"long", b"ever"]);
    hands.set(NOON_MS + 100);
    seen(&store, &[b"long", b"ever"]);
    assert_eq!(store.len(), 3, "what has expired counts until a merge has dropped it");
    drop(store);
    let store = open(&disk, &options);
    seen(&store, &[b"long", b"ever"]);
    store.close().unwrap();
    let store = open(&disk, &options);
    seen(&store, &[b"long", b"ever"]);
    store.merge().unwrap();
    assert_eq!(store.len(), 2);
    hands.set(u64::MAX);
    seen(&store, &[b"ever"]);
}

#[test]
fn a_store_gives_its_values_a_time_unless_they_bring_their_own() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = hands.in_options(Options { ttl: Some(ms(1000)), ..unmerged() });
    let store = open(&disk, &options);
    store.put(b"put", b"1").unwrap();
    store.put_expiring(b"own, shorter", b"2", ms(10)).unwrap();
    store.put_expiring(b"own, longer", b"3", ms(5000)).unwrap();
    let write = WriteOperation::Put { key: b"batch".to_vec(), value: b"4".to_vec() };
    store.write(&WriteBatch { operations: vec![write] }).unwrap();
    for (time, left) in [(9, 4), (10, 3), (999, 3), (1000, 1), (4999, 1), (5000, 0)] {
        hands.set(NOON_MS + time);
        assert_eq!(visible(&store).len(), left, "after {time} ms");
    }
    hands.set(NOON_MS);
    store.close().unwrap();
    // The option is about what is written from now on.
    let store = open(&disk, &Options { ttl: None, ..options });
    store.put(b"ever", b"5").unwrap();
    hands.set(NOON_MS + 5000);
    assert_eq!(visible(&store), Map::from([(b"ever".to_vec(), b"5".to_vec())]));
}

#[test]
fn the_longest_time_to_live_does_not_overflow() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let store = open(&disk, &hands.in_options(unmerged()));
    store.put_expiring(b"key", b"value", Duration::MAX).unwrap();
    hands.set(u64::MAX - 1);
    assert_eq!(get(&store, b"key").unwrap(), b"value");
    store.merge().unwrap();
    assert_eq!(get(&store, b"key").unwrap(), b"value");
}

#[test]
fn writing_again_lifts_a_time() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = hands.in_options(unmerged());
    let store = open(&disk, &options);
    for key in [b"put", b"ttl"] {
        store.put_expiring(key, b"old", ms(100)).unwrap();
    }
    store.put(b"put", b"new").unwrap();
    store.put_expiring(b"ttl", b"new", ms(1000)).unwrap();
    // And after the time has come as well.
    store.put_expiring(b"late", b"old", ms(100)).unwrap();
    hands.set(NOON_MS + 100);
    assert_eq!(get(&store, b"late"), None);
    store.put(b"late", b"new").unwrap();
    let expected = Map::from(
        [b"put".to_vec(), b"ttl".to_vec(), b"late".to_vec()].map(|key| (key, b"new".to_vec())),
    );
    assert_eq!(visible(&store), expected);
    store.merge().unwrap();
    assert_eq!(visible(&store), expected);
    store.close().unwrap();
    assert_eq!(visible(&open(&disk, &options)), expected);
}

#[test]
fn deleting_what_has_expired_finds_nothing_and_holds_when_the_clock_goes_back() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = hands.in_options(unmerged());
    let store = open(&disk, &options);
    for key in [b"a", b"b"] {
        store.put_expiring(key, b"value", ms(100)).unwrap();
    }
    assert!(store.delete(b"a").unwrap());
    hands.set(NOON_MS + 100);
    assert!(!store.delete(b"b").unwrap());
    hands.set(NOON_MS);
    assert_eq!((get(&store, b"a"), get(&store, b"b")), (None, None));
    drop(store);
    for clean in [false, true, true] {
        let store = open(&disk, &options);
        assert_eq!((get(&store, b"a"), get(&store, b"b"), store.len()), (None, None, 0));
        if clean {
            store.merge().unwrap();
            store.close().unwrap();
        }
    }
}

/// Basho's bitcask #140: a clock that jumps.
#[test]
fn a_clock_that_jumps_neither_loses_what_never_expires_nor_brings_back_what_was_deleted() {
    for jump in [0, 1, NOON_MS - 1, NOON_MS + 1, NOON_MS * 2, u64::MAX] {
        let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
        let options = hands.in_options(small());
        let mut expected = Map::new();
        let mut store = open(&disk, &options);
        for round in 0..6_u8 {
            hands.set(if round % 2 == 0 { NOON_MS } else { jump });
            for i in 0..40_u8 {
                let value = vec![round; 100];
                store.put(&[b'k', i], &value).unwrap();
                expected.insert(vec![b'k', i], value);
                store.put_expiring(&[b'x', i], b"expires", ms(50)).unwrap();
                if i % 3 == round % 3 {
                    assert!(store.delete(&[b'k', i]).unwrap());
                    expected.remove(&[b'k', i][..]);
                    store.delete(&[b'x', i]).unwrap();
                }
            }
            hands.set(if round % 2 == 0 { jump } else { NOON_MS });
            match round % 3 {
                0 => store.settle().unwrap(),
                1 => drop(store.merge().unwrap()),
                _ => {}
            }
            if round % 2 == 0 {
                drop(store);
            } else {
                store.close().unwrap();
            }
            store = open(&disk, &options);
            let mut found = visible(&store);
            found.retain(|key, _| key[0] == b'k');
            assert_eq!(found, expected, "round {round}, jump to {jump}");
            for i in (0..40).filter(|i| i % 3 == round % 3) {
                assert_eq!(get(&store, &[b'x', i]), None, "round {round}, jump to {jump}");
            }
        }
    }
}

/// Basho's bitcask #152: a file lives as long as the newest of its values does.
#[test]
fn a_file_goes_when_all_its_values_have_expired_and_not_before() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let options = hands.in_options(small());
    let store = open(&disk, &options);
    // The longest-lived value comes neither first nor last.
    for i in 0..30_u8 {
        let ttl = if i == 7 { 5000 } else { 1000 };
        store.put_expiring(&[b'k', i], &[i; 100], ms(ttl)).unwrap();
    }
    store.close().unwrap();
    for with_keydir in [true, false] {
        if !with_keydir {
            disk.remove(&Path::new(DIR).join("KEYDIR")).unwrap();
        }
        let store = open(&disk, &options);
        assert_eq!(store.recovery().keydir_used, with_keydir);
        hands.set(NOON_MS + 1000);
        store.settle().unwrap();
        assert_eq!((visible(&store).len(), store.len()), (1, 30), "nothing has been dropped");
        assert_eq!(figure(&store, "segments"), 2);
        assert_eq!(get(&store, &[b'k', 7]).unwrap(), [7; 100]);
        hands.set(NOON_MS);
        store.close().unwrap();
    }
    let store = open(&disk, &options);
    hands.set(NOON_MS + 5000);
    store.settle().unwrap();
    assert_eq!((store.len(), figure(&store, "segments"), figure(&store, "live_bytes")), (0, 1, 0));
    store.close().unwrap();
    assert_eq!(files(&disk, "data"), Vec::<std::path::PathBuf>::new());
}

/// As above, but the file is not the oldest: what it hid must stay hidden.
#[test]
fn a_file_that_expires_in_the_middle_leaves_what_it_hid_hidden() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let merge =
        MergePolicy { tombstones_trigger: 1.0, small_file_bytes: 0, ..MergePolicy::basho() };
    let options = hands.in_options(Options { merge, ..small() });
    let store = open(&disk, &options);
    store.put(b"hidden", b"older").unwrap();
    for i in 0..6_u8 {
        store.put(&[b'o', i], &[0; 600]).unwrap();
    }
    store.close().unwrap();
    let store = open(&disk, &options);
    store.put_expiring(b"hidden", b"newer", ms(100)).unwrap();
    for i in 0..6_u8 {
        store.put_expiring(&[b'e', i], &[0; 600], ms(100)).unwrap();
    }
    store.close().unwrap();
    let store = open(&disk, &options);
    hands.set(NOON_MS + 100);
    store.settle().unwrap();
    assert_eq!(store.len(), 6, "the values that have expired are gone");
    assert!(figure(&store, "tombstone_bytes") > 0, "and something hides what they hid");
    drop(store);
    for path in files(&disk, "hint") {
        disk.remove(&path).unwrap();
    }
    hands.set(NOON_MS);
    let store = open(&disk, &options);
    assert_eq!(get(&store, b"hidden"), None);
    store.merge().unwrap();
    assert_eq!((store.len(), figure(&store, "tombstone_bytes")), (6, 0));
}

#[test]
fn outside_its_window_nothing_is_merged_by_itself() {
    let (disk, hands) = (SimulatedDisk::new(), Hands::at(NOON_MS));
    let merge = MergePolicy {
        window: Some(MergeWindow { from_hour: 22, to_hour: 6 }),
        ..MergePolicy::default()
    };
    let options = hands.in_options(Options { merge, ..small() });
    let store = open(&disk, &options);
    for i in 0..200_u8 {
        store.put(b"often", &[i; 200]).unwrap();
        store.put_expiring(&[i], b"", ms(1)).unwrap();
    }
    store.settle().unwrap();
    let before = figure(&store, "segments");
    assert!(before > 8 && store.metrics().bytes_written.unwrap().merge == 0);
    hands.set(NOON_MS + 10 * 3_600_000 - 1);
    store.settle().unwrap();
    assert_eq!(figure(&store, "segments"), before, "one millisecond before 22 o'clock");
    hands.set(NOON_MS + 10 * 3_600_000);
    store.settle().unwrap();
    assert!(figure(&store, "segments") <= 3, "22 o'clock");
    assert_eq!(visible(&store).len(), 1);
}

/// The newest write to a key, as the model has it.
#[derive(Clone, Debug)]
struct Newest {
    value: Option<Vec<u8>>,
    expires_ms: Option<u64>,
}

/// A store beside a model of it.
struct Subject {
    disk: SimulatedDisk,
    options: Options,
    hands: Hands,
    store: Option<Bitcask<SimulatedDisk>>,
    model: BTreeMap<Vec<u8>, Newest>,
    /// The latest time that the store may have seen.
    latest_ms: u64,
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
            ..hands.in_options(base)
        };
        let disk = SimulatedDisk::new();
        let store = Some(open(&disk, &options));
        let (model, trail) = (BTreeMap::new(), format!("seed {seed}, {options:?}\n"));
        Self { disk, options, hands, store, model, latest_ms: NOON_MS, random, version: 0, trail }
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
        let expires_ms = ttl.map(|ttl| self.hands.now_ms() + ttl.as_millis() as u64);
        self.model.insert(key, Newest { value, expires_ms });
    }

    /// The value if it must be there; and whether it may be there.
    fn expected(&self, key: &[u8]) -> (Option<&[u8]>, bool) {
        let Some(newest) = self.model.get(key) else { return (None, true) };
        let expires_ms = newest.expires_ms.unwrap_or(u64::MAX);
        if expires_ms <= self.hands.now_ms() {
            return (None, true);
        }
        // If the clock was past its time once, a merge may have dropped it since.
        (newest.value.as_deref(), expires_ms > self.latest_ms)
    }

    fn check(&self, what: &str) {
        let seen = visible(self.store());
        for number in 0..KEYS {
            let key = format!("key {number}").into_bytes();
            let found = get(self.store(), &key);
            assert_eq!(seen.get(&key), found.as_ref(), "a fold sees what gets see: {what}");
            let (expected, certain) = self.expected(&key);
            if found.as_deref() != expected && (certain || found.is_some()) {
                let text = |value: Option<&[u8]>| {
                    value.map(|v| String::from_utf8_lossy(&v[..8]).into_owned())
                };
                panic!(
                    "{} holds {:?}, expected {:?} (now {}, newest {:?}) after {what}\n{}",
                    String::from_utf8_lossy(&key),
                    text(found.as_deref()),
                    text(expected),
                    self.hands.now_ms(),
                    self.model.get(&key).map(|newest| newest.expires_ms),
                    self.trail
                );
            }
        }
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
        self.latest_ms = self.latest_ms.max(self.hands.now_ms());
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

fn check_model(seeds: std::ops::Range<u64>, steps: usize) {
    for seed in seeds {
        let mut subject = Subject::new(seed);
        for _ in 0..steps {
            subject.step();
        }
    }
}

#[test]
fn no_older_value_ever_comes_back_when_a_newer_one_has_expired() {
    check_model(0..200, 200);
}

/// Run by hand.
#[test]
#[ignore = "takes minutes"]
fn no_older_value_ever_comes_back_when_a_newer_one_has_expired_long() {
    check_model(1000..4000, 300);
}
