//! What the kernel knows about this process, its store and the device below it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Processor time, faults and bytes of this process so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessUse {
    /// Processor time of all threads, to the nanosecond.
    pub(crate) cpu_s: f64,
    /// Of this, in user mode, to the hundredth of a second.
    pub(crate) user_s: f64,
    /// Processor time in the kernel.
    pub(crate) system_s: f64,
    /// Page faults without I/O.
    pub(crate) minor_faults: u64,
    /// Page faults with I/O.
    pub(crate) major_faults: u64,
    /// Bytes of pages that it dirtied.
    pub(crate) dirtied_bytes: Option<u64>,
}

impl ProcessUse {
    /// Reads the kernel's figures; zeros where it has none.
    pub(crate) fn now() -> Self {
        let Ok(process) = procfs::process::Process::myself() else { return Self::default() };
        let Ok(stat) = process.stat() else { return Self::default() };
        let ticks_per_s = procfs::ticks_per_second() as f64;
        Self {
            cpu_s: Self::cpu_s_now(),
            user_s: stat.utime as f64 / ticks_per_s,
            system_s: stat.stime as f64 / ticks_per_s,
            minor_faults: stat.minflt,
            major_faults: stat.majflt,
            dirtied_bytes: process.io().ok().map(|io| io.write_bytes),
        }
    }

    /// Processor time of all threads, alone.
    pub(crate) fn cpu_s_now() -> f64 {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9
    }
}

/// Resident memory of this process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Anonymous pages: heap and stacks.
    pub(crate) anon_bytes: Option<u64>,
    /// Pages of mapped files.
    pub(crate) file_bytes: Option<u64>,
}

impl Memory {
    /// Reads the kernel's figures.
    pub(crate) fn now() -> Self {
        let status = procfs::process::Process::myself().and_then(|process| process.status()).ok();
        let bytes = |kib: Option<u64>| kib.map(|kib| kib * 1024);
        Self {
            anon_bytes: bytes(status.as_ref().and_then(|status| status.rssanon)),
            file_bytes: bytes(status.as_ref().and_then(|status| status.rssfile)),
        }
    }
}

/// Bytes of blocks allocated to the files below a folder. Files that vanish meanwhile count as nothing.
pub(crate) fn allocated_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            // The unit of `blocks` is 512 bytes, whatever the file system's block size.
            Some(if metadata.is_dir() {
                allocated_bytes(&entry.path())
            } else {
                metadata.blocks() * 512
            })
        })
        .sum()
}

/// The block device below a folder.
#[derive(Debug)]
pub(crate) struct Device {
    stat: PathBuf,
    dir: File,
}

/// Bytes that a device has moved since the machine started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceUse {
    /// Bytes read from it.
    pub(crate) read_bytes: u64,
    /// Bytes written to it.
    pub(crate) written_bytes: u64,
    /// Flushes of its write cache; none before Linux 5.5.
    pub(crate) flushes: Option<u64>,
}

impl Device {
    /// The device below `dir`; none for tmpfs, network file systems and the like.
    pub(crate) fn below(dir: &Path) -> Option<Self> {
        let number = fs::metadata(dir).ok()?.dev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let stat = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        stat.exists().then_some(())?;
        Some(Self { stat, dir: File::open(dir).ok()? })
    }

    /// Writes back everything that is pending on the file system, then reads the device's counters.
    pub(crate) fn synced_use(&self) -> Option<DeviceUse> {
        rustix::fs::syncfs(&self.dir).ok()?;
        self.usage()
    }

    /// Reads the device's counters; what is still pending in the page cache is not in them.
    pub(crate) fn usage(&self) -> Option<DeviceUse> {
        let text = fs::read_to_string(&self.stat).ok()?;
        // Documentation/block/stat.rst: fields 3 and 7 count sectors of 512 bytes read and written, field 16 flushes.
        let field = |index: usize| text.split_whitespace().nth(index)?.parse::<u64>().ok();
        Some(DeviceUse {
            read_bytes: field(2)? * 512,
            written_bytes: field(6)? * 512,
            flushes: field(15),
        })
    }
}
