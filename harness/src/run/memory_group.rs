//! A control group that limits the memory of a cell's process, its page cache included, so that data larger than memory can be measured on a machine that has more.
//!
//! 1. The group is made inside our own: version 2 (`memory.max`), or version 1 where the memory controller still hangs there (`memory.limit_in_bytes`).
//! 2. The child is put into it before it is told its job, so that all its memory is charged there.
//! 3. Pages of the store that others brought in are charged to them: the child drops them before it begins.
//!
//! Version 2 lets a group have either processes or limited groups below it: our own process moves into a group of its own first. Making groups takes
//! the right to write there: root has it, and so does a process that was started by `systemd-run --user --scope -p Delegate=yes`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// What helps where groups cannot be made.
const ADVICE: &str =
    "run as root, or through 'systemd-run --user --scope -p Delegate=yes kvdyno …'";

/// The interface of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A group with a limit; removed when dropped, after its process has ended.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    dir: PathBuf,
    version: Version,
}

impl MemoryGroup {
    /// Makes a group that may use so much memory.
    ///
    /// # Errors
    /// If the machine has no memory controller that we may use, with what would help.
    pub(crate) fn create(limit_bytes: u64) -> Result<Self> {
        let (own, version) = own_group()?;
        Self::create_in(&own, version, limit_bytes).map_err(|error| {
            Failure::failed(format!(
                "--memory-limit: cannot limit memory in the control group {}: {error}; {ADVICE}",
                own.display()
            ))
        })
    }

    fn create_in(own: &Path, version: Version, limit_bytes: u64) -> io::Result<Self> {
        if version == Version::V2 {
            let enable = || fs::write(own.join("cgroup.subtree_control"), "+memory");
            if enable().is_err() {
                // A group with processes cannot limit groups below it: make room by moving aside.
                let aside = own.join("kvdyno");
                fs::create_dir_all(&aside)?;
                fs::write(aside.join("cgroup.procs"), std::process::id().to_string())?;
                enable()?;
            }
        }
        let dir = own.join(format!("kvdyno-cell-{}", std::process::id()));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let group = Self { dir, version };
        group.limit(limit_bytes)?;
        Ok(group)
    }

    fn limit(&self, limit_bytes: u64) -> io::Result<()> {
        let (limit, swap) = match self.version {
            Version::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            Version::V2 => ("memory.max", "memory.swap.max"),
        };
        let text = limit_bytes.to_string();
        fs::write(self.dir.join(limit), &text)?;
        // Swap would let memory grow beyond the limit; many machines have none, and no file for it either.
        let swap_text = if self.version == Version::V1 { text } else { "0".to_owned() };
        let _ = fs::write(self.dir.join(swap), swap_text);
        let took: Option<u64> = fs::read_to_string(self.dir.join(limit))?.trim().parse().ok();
        // The kernel counts whole pages.
        if took.is_none_or(|took| took.abs_diff(limit_bytes) > 1 << 20) {
            return Err(io::Error::other(format!(
                "the kernel did not take the limit {limit_bytes}"
            )));
        }
        Ok(())
    }

    /// Puts a process into the group.
    pub(crate) fn admit(&self, pid: u32) -> Result<()> {
        let procs = self.dir.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).map_err(|error| {
            Failure::failed(format!(
                "--memory-limit: cannot put the cell's process into {}: {error}; {ADVICE}",
                self.dir.display()
            ))
        })
    }

    /// Whether the kernel has killed a process of the group because it needed more.
    pub(crate) fn was_exceeded(&self) -> bool {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        text.lines()
            .any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A process that has just been killed may take a moment to leave.
        for _ in 0..50 {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

/// The control group of this process that has the memory controller.
fn own_group() -> Result<(PathBuf, Version)> {
    let nowhere = |why: &str| {
        Failure::failed(format!(
            "--memory-limit: this machine offers no memory limits ({why}); {ADVICE}"
        ))
    };
    let process =
        procfs::process::Process::myself().map_err(|error| nowhere(&error.to_string()))?;
    let groups = process.cgroups().map_err(|error| nowhere(&error.to_string()))?;
    let mounts = process.mountinfo().map_err(|error| nowhere(&error.to_string()))?;
    let inside = |mount_point: &Path, root: &str, path: &str| {
        // In a container the hierarchy may be mounted from our own group on.
        let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
        mount_point.join(below.trim_start_matches('/'))
    };
    for group in &groups {
        let v1 = group.controllers.iter().any(|name| name == "memory");
        let v2 = group.hierarchy == 0;
        for mount in mounts.iter().filter(|_| v1 || v2) {
            let fits = match mount.fs_type.as_str() {
                "cgroup" => v1 && mount.super_options.contains_key("memory"),
                "cgroup2" => v2,
                _ => false,
            };
            if !fits {
                continue;
            }
            let dir = inside(&mount.mount_point, &mount.root, &group.pathname);
            if v1 {
                return Ok((dir, Version::V1));
            }
            let controllers =
                fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
            if controllers.split_whitespace().any(|name| name == "memory") {
                return Ok((dir, Version::V2));
            }
        }
    }
    Err(nowhere("no control group with the memory controller is mounted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a group of version 2, as far as files go.
    #[test]
    fn version_2_gets_its_limit_and_no_swap() {
        let own = tempfile::tempdir().unwrap();
        let group = MemoryGroup::create_in(own.path(), Version::V2, 64 << 20).unwrap();
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(own.path().join("cgroup.subtree_control")), "+memory");
        assert_eq!(read(group.dir.join("memory.max")), "67108864");
        assert_eq!(read(group.dir.join("memory.swap.max")), "0");
        assert!(!group.was_exceeded());
        fs::write(group.dir.join("memory.events"), "oom 3\noom_kill 1\n").unwrap();
        assert!(group.was_exceeded());
    }

    #[test]
    fn a_group_that_cannot_be_made_is_an_error() {
        let own = tempfile::tempdir().unwrap();
        let missing = own.path().join("missing");
        assert!(MemoryGroup::create_in(&missing, Version::V1, 1 << 30).is_err());
    }
}
