//! How much memory there is for this process, page cache included.
//!
//! That is the machine's, or less where a control group says so: version 2 (`memory.max`) or version 1 (`memory.limit_in_bytes`), the process's own group or any that holds it.

use std::fs;
use std::path::Path;

/// Bytes of memory that the process may use, page cache included; `u64::MAX` where nothing is known.
pub(super) fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    let installed = u64::from(info.mem_unit).saturating_mul(info.totalram);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit =
        limit(&groups, |file| fs::read_to_string(Path::new("/sys/fs/cgroup").join(file)).ok());
    limit.unwrap_or(u64::MAX).min(if installed == 0 { u64::MAX } else { installed })
}

/// The lowest limit of the groups in `groups`, which has the form of `/proc/self/cgroup`; `read` gives the content of a file below `/sys/fs/cgroup`.
fn limit(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        let (root, file) = match controllers {
            "" => ("", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let ancestors = Path::new(path.trim_start_matches('/')).ancestors();
        let files = ancestors.map(|group| Path::new(root).join(group).join(file));
        files.filter_map(|file| read(file.to_str()?)).collect()
    });
    // Version 2 says `max` where there is no limit; version 1 a number of exbibytes.
    limits.filter_map(|text| text.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_all_groups_above_counts() {
        let read = |file: &str| {
            let text = match file {
                "user/deep/memory.max" => "max\n",
                "user/memory.max" => "3000000\n",
                "memory/user/memory.limit_in_bytes" => "2000000\n",
                "memory/memory.limit_in_bytes" => "9223372036854771712\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(limit("0::/user/deep\n", read), Some(3_000_000));
        let both = "5:cpu,cpuacct:/user\n4:memory:/user\n0::/user/deep\n";
        assert_eq!(limit(both, read), Some(2_000_000));
        assert_eq!(limit("0::/\n", read), None);
        assert_eq!(limit("4:memory:/\n", read), Some(9_223_372_036_854_771_712));
        assert_eq!(limit("garbage", read), None);
    }

    #[test]
    fn this_machine_has_memory() {
        let bytes = memory_bytes();
        assert!((1 << 20..1 << 60).contains(&bytes), "{bytes}");
    }
}
