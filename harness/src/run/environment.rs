//! The machine, the file system and the build, as far as the kernel tells.

use std::fs;
use std::path::Path;

use kvdyno_reports::{Environment, ONE_TRIAL, shared_processors};
use procfs::Current;

/// Looks at everything once. What the kernel does not tell stays empty.
pub(crate) fn look(store_dir: &Path) -> Environment {
    let cpu = procfs::CpuInfo::current().ok();
    let mount = mount_of(store_dir);
    let uname = rustix::system::uname();
    let (file_system, source) = mount.unwrap_or_else(|| ("unknown".into(), None));
    let virtual_machine = cpu
        .as_ref()
        .and_then(|cpu| cpu.flags(0))
        .is_some_and(|flags| flags.contains(&"hypervisor"));
    Environment {
        cpu_model: cpu.as_ref().and_then(|cpu| cpu.model_name(0)).unwrap_or("unknown").to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
        memory_bytes: procfs::Meminfo::current().map_or(0, |memory| memory.mem_total),
        kernel: format!(
            "{} {}",
            uname.sysname().to_string_lossy(),
            uname.release().to_string_lossy()
        ),
        hypervisor: virtual_machine
            .then(|| line("/sys/class/dmi/id/sys_vendor").unwrap_or_else(|| "unnamed".into())),
        cpu_governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        store_file_system: file_system,
        store_device: source,
        page_cache: "warm".into(),
        first_touch: None,
        compiler: env!("KVDYNO_COMPILER").into(),
        build_profile: env!("KVDYNO_PROFILE").into(),
        kvdyno_version: env!("CARGO_PKG_VERSION").into(),
        commit: Some(env!("KVDYNO_COMMIT")).filter(|commit| !commit.is_empty()).map(str::to_owned),
    }
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Type of the file system below a path, and the name of its block device.
fn mount_of(path: &Path) -> Option<(String, Option<String>)> {
    let path = fs::canonicalize(path).ok()?;
    let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
    let mount = mounts
        .into_iter()
        .filter(|mount| path.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.as_os_str().len())?;
    let device =
        mount.mount_source.and_then(|source| source.strip_prefix("/dev/").map(str::to_owned));
    Some((mount.fs_type, device))
}

/// What a reader must know before trusting figures from this machine.
pub(crate) fn warnings(environment: &Environment, threads: u32, trials: u32) -> Vec<String> {
    let mut warnings = Vec::new();
    if environment.build_profile != "release" {
        warnings.push("this is a debug build: its figures say nothing about release builds".into());
    }
    if matches!(environment.store_file_system.as_str(), "tmpfs" | "ramfs") {
        warnings.push(format!(
            "the stores lie in memory ({}): writing and syncing cost nothing there; use --dir on a disk",
            environment.store_file_system
        ));
    }
    warnings.extend(shared_processors(threads, environment.cpus));
    if crate::cell::clock::kind() != "tsc" {
        warnings.push("the processor has no invariant time-stamp counter: each timing costs a system clock call".into());
    }
    if let Ok(load) = procfs::LoadAverage::current()
        && load.one > 0.5 * environment.cpus as f32
    {
        warnings.push(format!(
            "the machine was not idle when the run began: load average {:.1}",
            load.one
        ));
    }
    if trials == 1 {
        warnings.push(ONE_TRIAL.into());
    }
    warnings
}
