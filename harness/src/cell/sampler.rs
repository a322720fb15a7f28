//! What is looked at once a second while the threads work: memory, processor, bytes, and what the machine itself does.
//!
//! Between two looks the sampling thread sleeps a few milliseconds at a time, and notes how late it wakes: on a quiet machine some tens of microseconds. Where
//! it is late, the machine stood still or was busy, and a long latency at that moment need not be the engine's. The hypervisor's
//! steal time, where the kernel tells it, says the same from the other side.

use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kvdyno_engines::Engine;
use kvdyno_reports::MachineNoise;
use procfs::CurrentSI;

use super::observe::{Device, Memory, ProcessUse, allocated_bytes};
use super::recorder::histogram;

/// What was seen at the end of a second, or grew during it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Anonymous memory of this process.
    pub(crate) rss_anon_bytes: Option<u64>,
    /// Bytes of blocks allocated to the store.
    pub(crate) allocated_bytes: Option<u64>,
    /// Processor time of this process during the second.
    pub(crate) cpu_s: Option<f64>,
    /// Bytes that the engine says it wrote.
    pub(crate) engine_bytes_written: Option<u64>,
    /// Bytes that the block device took.
    pub(crate) device_bytes_written: Option<u64>,
    /// The longest that the sampling thread woke too late.
    pub(crate) hiccup_max_ns: Option<u64>,
    /// Processor time that the hypervisor gave to others.
    pub(crate) steal_s: Option<f64>,
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug)]
struct Totals {
    cpu_s: f64,
    engine_bytes: Option<u64>,
    device_bytes: Option<u64>,
    steal_s: Option<f64>,
}

/// Looks once a second.
pub(crate) struct Sampler<'a> {
    engine: &'a dyn Engine,
    store: &'a Path,
    device: Option<Device>,
    first: Totals,
    last: Totals,
    hiccups: Histogram<u64>,
    hiccup_max_ns: u64,
    samples: Vec<Sample>,
}

impl<'a> Sampler<'a> {
    /// Begins to look.
    pub(crate) fn new(engine: &'a dyn Engine, store: &'a Path) -> Self {
        let device = Device::below(store);
        let totals = Totals::now(engine, device.as_ref());
        Self {
            engine,
            store,
            device,
            first: totals,
            last: totals,
            hiccups: histogram(),
            hiccup_max_ns: 0,
            samples: Vec::new(),
        }
    }

    /// Sleeps, and notes how late it wakes.
    pub(crate) fn sleep(&mut self, duration: Duration) {
        let began = Instant::now();
        std::thread::sleep(duration);
        let late = began.elapsed().saturating_sub(duration).as_nanos() as u64;
        self.hiccups.saturating_record(late);
        self.hiccup_max_ns = self.hiccup_max_ns.max(late);
    }

    /// Looks, at the end of a second.
    pub(crate) fn sample(&mut self) -> Sample {
        let now = Totals::now(self.engine, self.device.as_ref());
        let last = std::mem::replace(&mut self.last, now);
        let grown = |now: Option<u64>, last: Option<u64>| Some(now?.saturating_sub(last?));
        let sample = Sample {
            rss_anon_bytes: Memory::now().anon_bytes,
            allocated_bytes: Some(allocated_bytes(self.store)),
            cpu_s: Some(now.cpu_s - last.cpu_s),
            engine_bytes_written: grown(now.engine_bytes, last.engine_bytes),
            device_bytes_written: grown(now.device_bytes, last.device_bytes),
            hiccup_max_ns: Some(std::mem::take(&mut self.hiccup_max_ns)),
            steal_s: now.steal_s.zip(last.steal_s).map(|(now, last)| now - last),
        };
        self.samples.push(sample);
        sample
    }

    /// All samples, and what the machine did over the whole time.
    pub(crate) fn finish(self) -> (Vec<Sample>, MachineNoise) {
        let steal_s = steal_s().zip(self.first.steal_s).map(|(now, first)| now - first);
        let noise = MachineNoise {
            hiccup_max_ns: self.hiccups.max(),
            hiccup_p99_ns: self.hiccups.value_at_quantile(0.99),
            steal_s,
        };
        (self.samples, noise)
    }
}

impl Totals {
    fn now(engine: &dyn Engine, device: Option<&Device>) -> Self {
        Self {
            cpu_s: ProcessUse::cpu_s_now(),
            engine_bytes: engine.metrics().bytes_written.map(|bytes| bytes.total()),
            device_bytes: device.and_then(Device::usage).map(|device| device.written_bytes),
            steal_s: steal_s(),
        }
    }
}

/// Processor time that the hypervisor has given to others since the machine started, over all processors.
fn steal_s() -> Option<f64> {
    let ticks = procfs::KernelStats::current().ok()?.total.steal?;
    Some(ticks as f64 / procfs::ticks_per_second() as f64)
}
