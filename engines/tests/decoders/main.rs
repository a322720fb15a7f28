//! Every decoder over the inputs in `fuzz/corpus`, and over mutations of them, in bounded memory: a length that is read must never decide how much is set
//! aside. This is a program of its own because the bound is one on the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::alloc::System;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cap::Cap;
use kvdyno_engines::fuzzing::{Target, run, targets};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The longest value has 16 MiB, and is unpacked, packed and compared once per thread of the tests. A hostile length claims up to 4 GiB.
const MEMORY_BYTES_MAX: usize = 512 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY_BYTES_MAX);

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The inputs of a decoder, by name.
fn inputs(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = std::fs::read_dir(corpus().join(target)).unwrap();
    let input = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    };
    folder.map(input).collect()
}

#[test]
fn every_input_of_the_corpus_gets_the_answer_that_is_expected() {
    let expected = std::fs::read_to_string(corpus().join("EXPECTED")).unwrap();
    let mut expected: BTreeMap<String, &str> = expected
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(input, answer)| (input.to_owned(), answer))
        .collect();
    let mut wrong = Vec::new();
    for target in targets() {
        for (name, bytes) in inputs(target.name) {
            let input = format!("{}/{name}", target.name);
            let Some(answer) = expected.remove(&input) else {
                wrong.push(format!("{input} is not in EXPECTED"));
                continue;
            };
            let right = match run(target.name, &bytes) {
                Ok(()) if answer == "ok" => continue,
                Ok(()) => "accepted".to_owned(),
                Err(reason) if answer != "ok" && reason.contains(answer) => continue,
                Err(reason) => reason,
            };
            wrong.push(format!("{input}: expected {answer:?}, got {right:?}"));
        }
    }
    wrong.extend(expected.keys().map(|input| format!("{input} is missing")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_decoder_has_a_fuzz_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for Target { name, .. } in targets() {
        let path = format!("fuzz_targets/{name}.rs");
        assert!(manifest.contains(&format!("path = \"{path}\"")), "{name} is not in Cargo.toml");
        let source = std::fs::read_to_string(fuzz.join(path)).unwrap();
        assert!(
            source.contains(&format!("run(\"{name}\", bytes)")),
            "{name} feeds another decoder"
        );
    }
}

const NUMBERS: [u64; 10] =
    [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX as u64, 1 << 40, u64::MAX];

/// Changes an input in one to four places, as a fuzzer does.
fn mutated(bytes: &[u8], other: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=bytes.len());
        let rest = bytes.len() - at;
        match random.random_range(0..7) {
            0 if rest > 0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 if rest > 0 => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            3 => {
                // A number where it is likely that one is.
                let at = if random.random() { at / 4 * 4 } else { at };
                let number = NUMBERS[random.random_range(0..NUMBERS.len())];
                let len = [1, 2, 4, 8][random.random_range(0..4)];
                for (byte, new) in bytes.iter_mut().skip(at).zip(&number.to_le_bytes()[..len]) {
                    *byte = *new;
                }
            }
            4 => {
                let len = random.random_range(0..=rest.min(64));
                bytes.copy_within(at..at + len, (at / 2).min(at));
            }
            5 => {
                let from = random.random_range(0..=other.len());
                let piece = &other[from..other.len().min(from + 32)];
                bytes.splice(at..at, piece.iter().copied());
            }
            _ => {
                let byte: u8 = random.random();
                bytes.extend(std::iter::repeat_n(byte, random.random_range(0..24)));
            }
        }
    }
    bytes
}

/// Prints the input that a decoder panics on, so that it can be kept.
struct Told<'a> {
    target: &'a str,
    bytes: &'a [u8],
}

impl Drop for Told<'_> {
    #[allow(clippy::print_stderr, reason = "the input is lost otherwise")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} panics on \"{}\"", self.target, self.bytes.escape_ascii());
        }
    }
}

fn mutate(target: &Target, seed: u64, count: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let inputs: Vec<_> =
        inputs(target.name).into_values().filter(|input| input.len() < 8192).collect();
    for _ in 0..count {
        let input = &inputs[random.random_range(0..inputs.len())];
        let other = &inputs[random.random_range(0..inputs.len())];
        let bytes = mutated(input, other, &mut random);
        let _told = Told { target: target.name, bytes: &bytes };
        let _ = run(target.name, &bytes);
    }
}

#[test]
fn no_mutation_of_the_corpus_makes_a_decoder_panic_or_set_aside_much_memory() {
    for target in targets() {
        mutate(&target, 1, 15_000);
    }
}

/// Run by hand.
#[test]
#[ignore = "takes minutes"]
fn no_mutation_of_the_corpus_makes_a_decoder_panic_or_set_aside_much_memory_long() {
    for seed in 2..200 {
        for target in targets() {
            mutate(&target, seed, 10_000);
        }
    }
}
