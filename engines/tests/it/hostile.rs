//! Lengths that lie: a file whose fields claim gigabytes is refused, or read as far as it goes, without memory for what it claims.
//!
//! Every four bytes of every file are overwritten in turn by numbers that hurt, once as they are, and once with the checksums around them made right again, so
//! that the numbers are believed.

#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one only counts what it hands on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};

use kvdyno_engines::log::frame::{HEADER_BYTES, Header, frame_bytes};
use kvdyno_engines::storage::{SimulatedDisk, Storage};
use kvdyno_engines::{Durability, Error, Result};

use crate::history::put;
use crate::replay::{assert_count, case};
use crate::subjects::{DIR, Subject};

#[cfg(feature = "bitcask")]
#[test]
fn lengths_that_lie_cost_bitcask_no_memory() {
    lengths_that_lie_cost_no_memory::<crate::subjects::Bitcask>();
}

#[cfg(feature = "lsm")]
#[test]
fn lengths_that_lie_cost_the_lsm_tree_no_memory() {
    lengths_that_lie_cost_no_memory::<crate::subjects::Lsm>();
}

/// What opening and reading a store of a few kilobytes may take beyond the bytes of its files: keydir, memtable, tables, buffers.
const OVERHEAD_BYTES: usize = 4 << 20;

/// Counts what each thread has allocated.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    // While a thread ends there is nothing to count in.
    let _ = ALLOCATED.try_with(|allocated| {
        allocated.set(allocated.get().wrapping_add(bytes));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(allocated.get())));
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    });
}

// SAFETY: every call is handed on to the system's allocator as it came; counting neither allocates nor touches the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let freed = |allocated: &Cell<usize>| {
            allocated.set(allocated.get().saturating_sub(layout.size()));
        };
        let _ = ALLOCATED.try_with(freed);
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that this thread held at once while `work` ran, beyond what it held before.
fn peak_bytes(work: impl FnOnce()) -> usize {
    let before = ALLOCATED.get();
    PEAK.set(before);
    work();
    PEAK.get() - before
}

/// How often this thread allocates while `work` runs.
#[cfg(feature = "lsm")]
pub(crate) fn allocations(work: impl FnOnce()) -> usize {
    let before = CALLS.get();
    work();
    CALLS.get() - before
}

const HOSTILE: [u32; 5] = [u32::MAX, 0x7fff_ffff, 0x1000_0000, 0x0010_0000, 0];

/// A store with files of every kind, closed or not, as they lie on the disk.
fn fixture<E: Subject>(closed: bool) -> Vec<(PathBuf, Vec<u8>)> {
    let disk = SimulatedDisk::new();
    for life in 0..2_u8 {
        let engine = E::simulated_eager(disk.clone(), Durability::Os).unwrap();
        for number in 0..4 {
            put(&*engine, &[b'k', number], &[life; 30]).unwrap();
        }
        engine.settle().unwrap();
        put(&*engine, b"last", &[life; 30]).unwrap();
        if closed {
            engine.close().unwrap();
        }
    }
    let read = |path: PathBuf| (path.clone(), disk.read_all(&path).unwrap());
    disk.files().into_keys().map(read).collect()
}

/// Opens the store and reads what there is.
fn read<E: Subject>(disk: &SimulatedDisk) -> Result<()> {
    let engine = E::simulated(disk.clone(), Durability::Os)?;
    let (mut session, mut value) = (engine.session()?, Vec::new());
    for number in 0..4 {
        session.get(&[b'k', number], &mut value)?;
    }
    session.get(b"last", &mut value)?;
    engine.settle()
}

fn lengths_that_lie_cost_no_memory<E: Subject>() {
    let mut opened = 0;
    for closed in [true, false] {
        let files = fixture::<E>(closed);
        for (path, bytes) in &files {
            let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            for at in 0..written.saturating_sub(4).min(600) {
                for number in HOSTILE {
                    for repair in [leave, repair_whole, repair_frame] {
                        let mut hostile = bytes.clone();
                        hostile[at..at + 4].copy_from_slice(&number.to_le_bytes());
                        repair(path, bytes, &mut hostile, at);
                        let disk = SimulatedDisk::new();
                        disk.create_dir(Path::new(DIR)).unwrap();
                        for (path, bytes) in &files {
                            disk.write_all(path, bytes);
                        }
                        disk.write_all(path, &hostile);
                        let id = format!("{closed}:{}:{at}:{number}:{opened}", path.display());
                        opened += u64::from(case(id, String::new, || open::<E>(&disk)).is_some());
                    }
                }
            }
        }
    }
    assert_count("hostile stores opened", opened, 5_000);
}

fn open<E: Subject>(disk: &SimulatedDisk) {
    let mut outcome = Ok(());
    let peak = peak_bytes(|| outcome = read::<E>(disk));
    let bytes: u64 = disk.files().values().sum();
    let most = bytes as usize * 4 + OVERHEAD_BYTES;
    assert!(peak <= most, "{peak} bytes were allocated for files of {bytes}");
    if let Err(error) = outcome {
        let is_typed = matches!(
            error,
            Error::Corrupt { .. } | Error::NotAStore { .. } | Error::InvalidOption { .. }
        );
        assert!(is_typed, "this is not an error about damage: {error}");
    }
}

/// Leaves a damaged file as it is.
fn leave(_: &Path, _: &[u8], _: &mut [u8], _: usize) {}

/// Makes the checksum right that ends the file.
fn repair_whole(_: &Path, _: &[u8], bytes: &mut [u8], _: usize) {
    let body = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..body]);
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the checksum of the frame right that was whole before.
fn repair_frame(path: &Path, before: &[u8], bytes: &mut [u8], at: usize) {
    let digits = |name: &str| name.split('.').next().and_then(|stem| stem.parse::<u32>().ok());
    let Some(id) = path.file_name().and_then(|name| digits(&name.to_string_lossy())) else {
        return;
    };
    let mut offset = 0;
    while let Some(header) = before.get(offset..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) {
        let payload_bytes = Header::decode(header).payload_bytes as usize;
        let end = offset + HEADER_BYTES + payload_bytes;
        if payload_bytes == 0 || end > before.len() {
            return;
        }
        if (offset..end).contains(&at) {
            let mut hasher = crc32fast::Hasher::new_with_initial(id);
            hasher.update(&bytes[offset + 4..end]);
            bytes[offset..offset + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
            return;
        }
        offset += frame_bytes(payload_bytes) as usize;
    }
}
