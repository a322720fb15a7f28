//! Files that are damaged while the store is closed: flipped bits, cut ends, and sectors that are zero, garbage, swapped, doubled or stale.
//!
//! Whatever is read is right, or an error says which file is damaged. Nothing panics, nothing is wrong, and nothing is missing in silence.

pub(crate) mod fixture;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fixture::{Aids, Fixture, KEYS, files, key};
use kvdyno_engines::storage::SimulatedDisk;
use kvdyno_engines::storage::simulated::SECTOR_BYTES;
use kvdyno_engines::{Durability, Engine, Error, Result};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::history::{Map, Open, contents_of, put};
use crate::replay::{assert_count, case};
use crate::subjects::{DIR, Subject, for_each_engine};

for_each_engine!(
    a_flipped_bit_of_each_byte_is_noticed_or_harmless,
    a_file_cut_at_any_byte_is_noticed_or_harmless,
    a_log_that_was_being_written_and_is_cut_at_any_byte_leaves_a_prefix,
    damaged_sectors_are_noticed_or_harmless,
    #[ignore = "takes a minute"]
    every_flipped_bit_is_noticed_or_harmless,
    #[ignore = "takes a minute"]
    many_damaged_sectors_are_noticed_or_harmless,
);

/// What came of a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Everything that was read was right.
    Harmless,
    /// An error said what is damaged.
    Noticed,
}

impl Fixture {
    /// Opens a damaged store and reads everything, in whole and key by key.
    fn check(&self, open: Open<'_>, disk: &SimulatedDisk, damaged: Option<&Path>) -> Outcome {
        let engine = match open(disk.clone(), self.class) {
            Ok(engine) => engine,
            Err(error) => return said(&error, damaged),
        };
        let mut outcome = Outcome::Harmless;
        let (mut session, mut value) = (engine.session().unwrap(), Vec::new());
        for key in (0..KEYS).map(key) {
            match session.get(&key, &mut value) {
                Ok(found) => {
                    let expected = self.map.get(&key);
                    assert_eq!(found.then_some(&value), expected, "{}", key.escape_ascii());
                }
                Err(error) => outcome = said(&error, damaged),
            }
        }
        match read(&*engine) {
            Ok(map) => assert!(map == self.map),
            Err(error) => outcome = said(&error, damaged),
        }
        outcome
    }
}

fn read(engine: &dyn Engine) -> Result<Map> {
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    contents_of(engine, keys.iter().map(Vec::as_slice))
}

/// The error is one that blames the damaged file, or says that a folder with a damaged manifest is no store.
fn said(error: &Error, damaged: Option<&Path>) -> Outcome {
    match error {
        Error::Corrupt { file, .. } => match damaged {
            Some(damaged) => assert_eq!(file, damaged, "another file is blamed: {error}"),
            None => assert!(file.starts_with(DIR), "{error}"),
        },
        Error::NotAStore { .. } => {
            assert!(damaged.is_none_or(|path| is(path, "manifest")), "{error}");
        }
        error => panic!("this is not an error about damage: {error}"),
    }
    Outcome::Noticed
}

fn is(path: &Path, kind: &str) -> bool {
    path.to_string_lossy().to_lowercase().contains(kind)
}

/// What the store can do without: damage to it is never more than a loss of time.
fn is_aid(path: &Path) -> bool {
    is(path, "lock") || is(path, "hint") || is(path, "keydir")
}

/// Flips bits of every file of closed stores, of each byte one after the other those that `masks` says for its offset; returns how many.
pub(crate) fn flip_bits(open: Open<'_>, masks: impl Fn(u64) -> Vec<u8>) -> u64 {
    Fixture::all(open, 9).iter().map(|fixture| flip_bits_of(fixture, open, &masks)).sum()
}

fn flip_bits_of(fixture: &Fixture, open: Open<'_>, masks: &dyn Fn(u64) -> Vec<u8>) -> u64 {
    let (mut kinds, mut flips) = (BTreeSet::new(), 0);
    for (path, bytes) in &fixture.files {
        kinds.insert(path.extension());
        for at in 0..bytes.len() as u64 {
            for mask in masks(at) {
                let disk = fixture.disk();
                disk.flip(path, at, mask).unwrap();
                let id = format!("{fixture}:{}:{at}:{mask}", path.display());
                let outcome = case(id, String::new, || fixture.check(open, &disk, Some(path)));
                assert!(!is_aid(path) || outcome != Some(Outcome::Noticed));
                flips += 1;
            }
        }
    }
    let least = if fixture.aids == Aids::None { 2 } else { 3 };
    assert!(kinds.len() >= least, "{kinds:?}");
    flips
}

fn a_flipped_bit_of_each_byte_is_noticed_or_harmless<E: Subject>() {
    let flips = flip_bits(&E::simulated_compressing, |at| vec![1 << (at % 8)]);
    assert_count("bits flipped", flips, 3_000);
}

fn every_flipped_bit_is_noticed_or_harmless<E: Subject>() {
    let flips = flip_bits(&E::simulated_compressing, |_| (0..8).map(|bit| 1 << bit).collect());
    assert_count("bits flipped", flips, 24_000);
}

fn a_file_cut_at_any_byte_is_noticed_or_harmless<E: Subject>() {
    let open: Open<'_> = &E::simulated_compressing;
    let fixtures = Fixture::all(open, 9);
    let cuts = fixtures.iter().map(|fixture| cut_files::<E>(fixture, open)).sum();
    assert_count("cuts", cuts, 3_000);
}

fn cut_files<E: Subject>(fixture: &Fixture, open: Open<'_>) -> u64 {
    let mut cuts = 0;
    for (path, bytes) in &fixture.files {
        // Frames end in up to seven zeros that nobody needs, and logs in room that was set aside; of files of values the manifest knows the length.
        let needs_all = is(path, ".values");
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for len in 0..bytes.len().min(written + 16) {
            let disk = fixture.disk();
            disk.write_all(path, &bytes[..len]);
            let context = || format!("{} bytes, of which {written} were written", bytes.len());
            let id = format!("{fixture}:{}:{len}", path.display());
            let check = || {
                let outcome = fixture.check(open, &disk, None);
                if is_aid(path) || len >= written && !needs_all {
                    assert_eq!(outcome, Outcome::Harmless);
                } else if len + 8 < written && (E::RENAMES || !is(path, "manifest")) {
                    // The end of a log of changes is not missed if the changes were found elsewhere, too; nor is that of a last record that hides nothing.
                    assert_eq!(outcome, Outcome::Noticed);
                }
            };
            cuts += u64::from(case(id, context, check).is_some());
        }
    }
    cuts
}

/// A process is killed, and of the file that it was writing only the first bytes are there. What was written is lost from the end on, and nothing else.
fn a_log_that_was_being_written_and_is_cut_at_any_byte_leaves_a_prefix<E: Subject>() {
    [Durability::Os, Durability::Sync].into_iter().for_each(cut_the_log::<E>);
}

fn cut_the_log<E: Subject>(class: Durability) {
    let fresh = || {
        let disk = SimulatedDisk::new();
        let engine = E::simulated(disk.clone(), class).unwrap();
        for number in 0..KEYS {
            put(&*engine, &key(number), &[number as u8; 20]).unwrap();
        }
        drop(engine);
        disk
    };
    let whole = fresh();
    let trace = whole.trace();
    let last = trace.lines().rfind(|line| line.contains("append to")).unwrap();
    let path = PathBuf::from(last.split(' ').find(|word| word.starts_with(DIR)).unwrap());
    let bytes = whole.read_all(&path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut longest = 0;
    for len in 0..=written {
        let disk = fresh();
        disk.write_all(&path, &bytes[..len]);
        let check = || {
            let map = read(&*E::simulated(disk.clone(), class).unwrap()).unwrap();
            assert!(map.keys().enumerate().all(|(i, found)| *found == key(i as u32)), "{map:?}");
            let engine = E::simulated(disk.clone(), class).unwrap();
            put(&*engine, &key(KEYS - 1), b"new life").unwrap();
            drop(engine);
            let again = read(&*E::simulated(disk.clone(), class).unwrap()).unwrap();
            assert_eq!(again[&key(KEYS - 1)], b"new life", "what follows a torn tail is lost");
            map.len()
        };
        if let Some(records) = case(format!("{class}:{len}"), String::new, check) {
            assert!(records >= longest, "more bytes, fewer records");
            longest = records;
        }
    }
    assert_count("records in the whole file", longest as u64, u64::from(KEYS));
}

fn damaged_sectors_are_noticed_or_harmless<E: Subject>() {
    damage_sectors::<E>(5_000 / E::SHARE);
}

fn many_damaged_sectors_are_noticed_or_harmless<E: Subject>() {
    damage_sectors::<E>(50_000);
}

fn damage_sectors<E: Subject>(count: u64) {
    let open: Open<'_> = &E::simulated_compressing;
    let fixtures = Fixture::all(open, 500);
    let mut noticed = 0;
    for seed in 0..count {
        let fixture = &fixtures[seed as usize % fixtures.len()];
        let disk = fixture.disk();
        let mut random = StdRng::seed_from_u64(seed);
        let what = damage_sector(&disk, fixture, &mut random);
        let outcome =
            case(seed, || format!("{fixture}: {what}"), || fixture.check(open, &disk, None));
        noticed += u64::from(outcome == Some(Outcome::Noticed));
    }
    assert_count("damages were noticed", noticed, count / 3);
}

/// A sector of a file, which may be shorter at its end.
fn sector(bytes: &[u8], random: &mut StdRng) -> std::ops::Range<usize> {
    let sector_bytes = SECTOR_BYTES as usize;
    let start = random.random_range(0..bytes.len().div_ceil(sector_bytes)) * sector_bytes;
    start..bytes.len().min(start + sector_bytes)
}

/// Damages one sector in one of five ways, and tells which.
fn damage_sector(disk: &SimulatedDisk, fixture: &Fixture, random: &mut StdRng) -> String {
    let files: Vec<_> = files(disk).into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    let (path, mut bytes) = files[random.random_range(0..files.len())].clone();
    let at = sector(&bytes, random);
    let kind = random.random_range(0..5);
    match kind {
        0 => bytes[at.clone()].fill(0),
        1 => random.fill_bytes(&mut bytes[at.clone()]),
        2 | 3 => {
            // Two sectors of a file change places, or one overwrites another, of any file. Two files are not damaged at once: a log that has lost its end, and the manifest the edit that
            // told its length, are what a crash leaves.
            let other =
                if kind == 2 { &bytes } else { &files[random.random_range(0..files.len())].1 };
            let from = sector(other, random);
            let len = at.len().min(from.len());
            let (here, there) = (at.start..at.start + len, from.start..from.start + len);
            let before = bytes[here.clone()].to_vec();
            let moved = other[there.clone()].to_vec();
            bytes[here].copy_from_slice(&moved);
            if kind == 2 {
                bytes[there].copy_from_slice(&before);
            }
        }
        _ => {
            // What lay there before: an earlier state of the file, or a file that was removed. Of a file of one sector that would be the whole file.
            let long = |(_, bytes): &&(PathBuf, Vec<u8>)| bytes.len() as u64 > SECTOR_BYTES;
            let stale: Vec<_> = fixture.earlier.iter().filter(long).collect();
            if let Some((_, stale)) = stale.get(random.random_range(0..stale.len().max(1))) {
                let end = at.end.min(stale.len());
                if at.start < end && bytes.len() as u64 > SECTOR_BYTES {
                    bytes[at.start..end].copy_from_slice(&stale[at.start..end]);
                }
            }
        }
    }
    disk.write_all(&path, &bytes);
    format!("{} {at:?} in way {kind}", path.display())
}
