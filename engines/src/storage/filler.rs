//! Takes memory for the next pages of files that are being filled, ahead of their writers.
//!
//! The first store instruction into a page of a new file waits until the kernel has found and cleared one: for a large page, under a hypervisor that has to find it as well, up to
//! milliseconds, which is as long as filling it takes. A thread of its own, one for the process, touches the pages before the writer comes to them.
//!
//! Pages that are touched have to be stored, though there are only zeros in them. Hence it runs ahead of those alone who write faster than a page a second, so that the zeros are overwritten
//! before the kernel stores them (after 30 seconds on Linux), and of a file that is short by no more than it is long.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use memmap2::Advice;
use parking_lot::Mutex;

use super::disk_file::Mapping;

/// Bytes that are touched at a time: a large page.
const PAGE_BYTES: u64 = 2 << 20;

/// Bytes of a file after which its writer is run ahead of for the first time.
const FIRST_BYTES: u64 = 256 << 10;

/// Farthest that the filler runs ahead of a writer, in bytes.
const AHEAD_BYTES: u64 = 16 << 20;

/// A writer that takes longer to fill a page is not run ahead of.
const PAGE_TIME: Duration = Duration::from_secs(1);

/// Requests that may wait. Where there are more, writers touch their pages themselves.
const REQUESTS_MAX: usize = 64;

/// How far the pages of one file have been asked for.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The length of the file at which to ask for the next.
    due: AtomicU64,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// When somebody asked last.
    at: Instant,
    /// All before this offset has been asked for.
    asked: u64,
}

struct Request {
    /// Nobody needs pages of a file that has been closed meanwhile.
    file: Weak<Mapping>,
    pages: Range<u64>,
}

impl Ahead {
    /// Nothing is asked for before [`Ahead::start`].
    pub(super) fn new() -> Self {
        let progress = Mutex::new(Progress { at: Instant::now(), asked: 0 });
        Self { due: AtomicU64::new(u64::MAX), progress }
    }

    /// The file is about to be filled.
    pub(super) fn start(&self) {
        self.progress.lock().at = Instant::now();
        self.due.store(FIRST_BYTES, Ordering::Relaxed);
    }

    /// Whether it is time to call [`Ahead::go_on`].
    #[inline]
    pub(super) fn is_due(&self, len: u64) -> bool {
        len >= self.due.load(Ordering::Relaxed)
    }

    /// Asks for the next pages of `file`, which has `len` bytes by now.
    #[cold]
    pub(super) fn go_on(&self, file: &Arc<Mapping>, len: u64) {
        let mut progress = self.progress.lock();
        let is_fast = progress.at.elapsed() < PAGE_TIME;
        progress.at = Instant::now();
        let next_page = len.next_multiple_of(PAGE_BYTES);
        self.due.store(next_page.max(len + 1), Ordering::Relaxed);
        let end = (next_page + len.clamp(PAGE_BYTES, AHEAD_BYTES)).min(file.capacity);
        let pages = progress.asked.max(next_page)..end / PAGE_BYTES * PAGE_BYTES;
        if is_fast && !pages.is_empty() {
            progress.asked = pages.end;
            if let Some(filler) = filler() {
                let _ = filler.try_send(Request { file: Arc::downgrade(file), pages });
            }
        }
    }
}

/// The process's filler; none where no thread can be had.
fn filler() -> Option<&'static SyncSender<Request>> {
    static FILLER: OnceLock<Option<SyncSender<Request>>> = OnceLock::new();
    let start = || {
        let (filler, requests) = sync_channel(REQUESTS_MAX);
        let thread = std::thread::Builder::new().name("kvdyno-filler".to_owned());
        thread.spawn(move || fill(&requests)).is_ok().then_some(filler)
    };
    FILLER.get_or_init(start).as_ref()
}

fn fill(requests: &Receiver<Request>) {
    for Request { file, mut pages } in requests {
        // A kernel before Linux 5.14 cannot do it, and of a file that has been cut meanwhile there are no pages: the writer does without.
        while !pages.is_empty() && touch(&file, pages.start).is_some() {
            pages.start += PAGE_BYTES;
        }
    }
}

/// Touches the page at `start`; None if that cannot be.
fn touch(file: &Weak<Mapping>, start: u64) -> Option<()> {
    let file = file.upgrade()?;
    let memory = file.memory.as_ref()?;
    memory.advise_range(Advice::PopulateWrite, start as usize, PAGE_BYTES as usize).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use memmap2::{MmapOptions, MmapRaw};

    use super::*;
    use crate::storage::{Access, Appender, Disk, DiskAppender, File, Storage};

    /// Bytes of the file at `path` that are in this process's memory.
    fn resident_bytes(path: &Path) -> u64 {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let of_file = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        let rss = of_file.take(20).find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    fn filling(path: &Path) -> DiskAppender {
        let log = Disk.create(path, Some(16 * PAGE_BYTES)).unwrap();
        log.file().advise(Access::Filling);
        log
    }

    #[test]
    fn pages_are_touched_before_a_fast_writer_comes_to_them() {
        let probe = MmapOptions::new().len(1 << 12).map_anon().unwrap();
        if MmapRaw::from(probe).advise(Advice::PopulateWrite).is_err() {
            eprintln!("not checked: this kernel cannot touch pages on request");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = filling(&path);
        // A page more than there is in the file so far, and no more than that.
        log.append(&[&vec![1; FIRST_BYTES as usize]]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while resident_bytes(&path) < PAGE_BYTES + FIRST_BYTES && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let resident = resident_bytes(&path);
        assert!((PAGE_BYTES + FIRST_BYTES..=2 * PAGE_BYTES).contains(&resident), "{resident}");
    }

    #[test]
    fn nothing_is_asked_for_twice_or_behind_the_end_or_by_the_slow() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = filling(&folder.path().join("log"));
        let file = log.file();
        let ahead = &file.mapping().ahead;
        let asked = || ahead.progress.lock().asked;
        let page = vec![1; PAGE_BYTES as usize];
        let mut seen = Vec::new();
        for _ in 0..16 {
            log.append(&[&page]).unwrap();
            seen.push(asked() / PAGE_BYTES);
        }
        assert_eq!(seen, [2, 4, 6, 8, 10, 12, 14, 16, 16, 16, 16, 16, 16, 16, 16, 16]);

        let mut log = filling(&folder.path().join("slow"));
        let file = log.file();
        let ahead = &file.mapping().ahead;
        ahead.progress.lock().at -= PAGE_TIME;
        log.append(&[&page]).unwrap();
        assert_eq!(ahead.progress.lock().asked, 0);
        log.append(&[&page]).unwrap();
        assert_eq!(ahead.progress.lock().asked, 4 * PAGE_BYTES);
    }

    #[test]
    fn files_that_are_not_filled_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Disk.create(&folder.path().join("log"), Some(4 * PAGE_BYTES)).unwrap();
        log.append(&[&vec![1; 3 * PAGE_BYTES as usize]]).unwrap();
        assert_eq!(log.file().mapping().ahead.progress.lock().asked, 0);
    }
}
