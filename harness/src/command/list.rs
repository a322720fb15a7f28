//! `kvdyno list`: what there is.

use std::io::{self, Write};

use kvdyno_engines::{Durability, OperationKind};
use kvdyno_workloads::WorkloadSpec;

use crate::adapters::LEFT_OUT;
use crate::cli::{ListArguments, Listed};
use crate::failure::{ExitStatus, Failure, Result};
use crate::registry::{Adapter, Registry};
use crate::run::plan::lacking;
use crate::run::suite::{RECOVERY, SUITES, Suite};

const HOW_TO_SET: &str = "
  --set rocksdb.cache_mib=256        an option of an engine and of all its variants
  --set rocksdb@mmap.block_kib=16    an option of one variant
  --write-buffer 256 --engine-cache 512   write_buffer_mib and cache_mib of all engines; what a variant or --set says wins over these";

/// Operations that some engines lack.
const OPERATIONS: [OperationKind; 6] = [
    OperationKind::ScanForward,
    OperationKind::ScanReverse,
    OperationKind::Write,
    OperationKind::MultiGet,
    OperationKind::DeleteRange,
    OperationKind::PutExpiring,
];

/// What is measured, by the name that tables and files use.
const METRICS: &[(&str, &str)] = &[
    ("throughput_ops_per_s", "operations per second, until the last acknowledgement"),
    (
        "throughput_settled_ops_per_s",
        "the same, with the time that background work then takes to drain",
    ),
    (
        "service_p50_ns … service_max_ns",
        "time from the call to its return, from HdrHistograms of 3 significant digits; a percentile needs 100 samples above it",
    ),
    (
        "write_amplification",
        "bytes that the engine says it wrote ÷ key and value bytes handed to its write calls; and the same for what the block device took",
    ),
    (
        "read_amplification",
        "bytes that the engine read ÷ bytes that reads returned; not known for mapped reads",
    ),
    (
        "space_amplification",
        "allocated blocks ÷ key and value bytes of live records; at the end, after settling, and at its peak",
    ),
    ("cpu_us_per_op", "processor time of all threads ÷ operations, background work included"),
    ("memory_bytes", "anonymous memory, less that of the noop cell of the same workload"),
    ("fsyncs", "fsync, fdatasync and msync calls that the engine says it made"),
    (
        "recovery_ms",
        "time to open the store after kill -9; every acknowledged write is then looked up",
    ),
];

/// Prints what was asked for, or everything.
pub(crate) fn main(arguments: &ListArguments, registry: &Registry) -> Result<ExitStatus> {
    if let Some(name) = &arguments.name {
        let text = match arguments.what {
            Some(Listed::Suites) => Suite::text_of(name)?.to_owned(),
            Some(Listed::Engines) => one_engine(name, registry)?,
            _ => {
                return Err(Failure::usage(format!(
                    "list … {name}: only suites and engines are shown one by one, for instance 'kvdyno list engines bitcask'"
                )));
            }
        };
        crate::print(text.trim_end())?;
        return Ok(ExitStatus::Ok);
    }
    let suites: Vec<Suite> = SUITES
        .iter()
        .filter_map(|(name, _)| Suite::built_in(name).transpose())
        .collect::<Result<_>>()?;
    let mut out = Vec::new();
    let wanted = |listed| arguments.what.is_none_or(|what| what == listed);
    let written = (|| -> io::Result<()> {
        if wanted(Listed::Suites) {
            heading(&mut out, "Suites")?;
            for suite in &suites {
                entry(&mut out, suite.name(), suite.description.as_deref().unwrap_or_default())?;
                let workloads = suite.workloads.as_deref().unwrap_or_default();
                let names: Vec<_> = workloads.iter().map(|name| name.get_ref().as_str()).collect();
                writeln!(out, "{:16}{}", "", names.join(", "))?;
            }
            entry(
                &mut out,
                "FILE.toml",
                "a suite of your own; 'kvdyno list suites quick' prints one to start from",
            )?;
        }
        if wanted(Listed::Workloads) {
            heading(&mut out, "Workloads")?;
            for spec in WorkloadSpec::builtins() {
                entry(&mut out, &spec.name, &spec.description)?;
                let lacks = lacking_engines(registry, &spec);
                if !lacks.is_empty() {
                    writeln!(out, "{:16}not supported by {}", "", lacks.join(", "))?;
                }
            }
            entry(
                &mut out,
                RECOVERY,
                "overwrite until killed with SIGKILL, reopen, look every record's last acknowledged write up",
            )?;
            entry(&mut out, "FILE", "a YCSB property file; its workload is named after it")?;
        }
        if wanted(Listed::Engines) {
            heading(&mut out, "Engines")?;
            engines(&mut out, registry)?;
        }
        if wanted(Listed::Metrics) {
            heading(&mut out, "Metrics")?;
            for (name, description) in METRICS {
                writeln!(out, "  {name}\n      {description}")?;
            }
        }
        Ok(())
    })();
    written.map_err(|error| Failure::failed(error.to_string()))?;
    crate::print(String::from_utf8_lossy(&out).trim_end())?;
    Ok(ExitStatus::Ok)
}

/// The engines that cannot run a workload, each with the first operation that it lacks.
fn lacking_engines(registry: &Registry, spec: &WorkloadSpec) -> Vec<String> {
    let lacks = registry.adapters().filter_map(|adapter| {
        let operation = lacking(&adapter.capabilities(), spec)?;
        Some(format!("{} (no {operation})", adapter.name()))
    });
    lacks.collect()
}

/// One engine, as it stands among all of them.
fn one_engine(name: &str, registry: &Registry) -> Result<String> {
    let adapter = registry.get(name)?;
    let mut out = Vec::new();
    engine(&mut out, adapter)
        .and_then(|()| writeln!(out, "{HOW_TO_SET}"))
        .map_err(|error| Failure::failed(error.to_string()))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn engines(out: &mut impl Write, registry: &Registry) -> io::Result<()> {
    for adapter in registry.adapters() {
        engine(out, adapter)?;
    }
    for (name, feature, description) in LEFT_OUT {
        entry(out, name, &format!("{description}; not in this build: add --features {feature}"))?;
    }
    writeln!(out, "{HOW_TO_SET}")
}

fn engine(out: &mut impl Write, adapter: &dyn Adapter) -> io::Result<()> {
    let about = format!("{}, {}", adapter.version(), adapter.description());
    entry(out, adapter.name(), &about)?;
    for durability in Durability::ALL {
        if let Some(call) = adapter.durability_call(durability) {
            writeln!(out, "{:16}{:8}  {call}", "", durability.name())?;
        }
    }
    let capabilities = adapter.capabilities();
    let lacks: Vec<_> = OPERATIONS
        .into_iter()
        .filter(|operation| !capabilities.supports(*operation))
        .map(OperationKind::name)
        .collect();
    if !lacks.is_empty() {
        writeln!(out, "{:16}not supported: {}", "", lacks.join(", "))?;
    }
    for option in adapter.options() {
        let setting = format!("{}={}", option.name, option.show(option.default));
        writeln!(out, "{:16}{setting:24}  {} ({})", "", option.help, option.possible())?;
    }
    for variant in adapter.variants() {
        entry(out, &format!("{}@{}", adapter.name(), variant.name), variant.help)?;
        let set: Vec<_> =
            variant.set.iter().map(|(name, value)| format!("{name}={value}")).collect();
        writeln!(out, "{:16}{}", "", set.join(" "))?;
    }
    writeln!(out)
}

fn heading(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{text}")
}

fn entry(out: &mut impl Write, name: &str, description: &str) -> io::Result<()> {
    writeln!(out, "  {name:13} {description}")
}
