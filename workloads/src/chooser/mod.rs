//! Choosers: which record an operation picks.
//!
//! A stream sees *n* items: the loaded records, 0 to `loaded` − 1, and behind them its own
//! acknowledged inserts that are not deleted, in their order. A chooser draws one of these item numbers; the stream turns
//! it into a record number. Nothing that has not been acknowledged can be drawn: where YCSB's
//! generators would give such an item, the draw is repeated, as YCSB does.

mod permutation;
mod zipf;
mod zipfian;

pub(crate) use permutation::Permutation;
pub(crate) use zipf::Zipf;
pub(crate) use zipfian::{GrowingZipfian, ScrambledZipfian, Zipfian, harmonic};

use crate::operation::OperationKind;
use crate::random::{Random, derive_seed};
use crate::spec::{InsertCounter, RequestDistribution, WorkloadSpec};

/// A chooser of one stream.
#[derive(Debug, Clone)]
pub(crate) enum Chooser {
    Uniform { loaded: u64 },
    Zipfian(ScrambledZipfian),
    Zipf { ranks: Zipf, items: Permutation },
    Latest(GrowingZipfian),
    Hotspot(Hotspot),
    Exponential(Exponential),
    Sequential { next: u64, step: u64, loaded: u64 },
}

impl Chooser {
    pub(crate) fn new(spec: &WorkloadSpec, seed: u64) -> Self {
        let loaded = spec.records;
        match spec.request_distribution {
            RequestDistribution::Uniform => Self::Uniform { loaded },
            RequestDistribution::Zipfian => {
                Self::Zipfian(ScrambledZipfian::new(scrambled_items(spec)))
            }
            RequestDistribution::Zipf { theta } => Self::Zipf {
                ranks: Zipf::new(loaded, theta),
                items: Permutation::new(loaded, derive_seed(seed, "zipf permutation", 0)),
            },
            RequestDistribution::Latest => Self::Latest(GrowingZipfian::new(loaded)),
            RequestDistribution::Hotspot { data_fraction, operation_fraction } => {
                Self::Hotspot(Hotspot::new(loaded, data_fraction, operation_fraction))
            }
            RequestDistribution::Exponential { percentile, fraction } => {
                Self::Exponential(Exponential::new(loaded, percentile, fraction))
            }
            RequestDistribution::Sequential => {
                Self::Sequential { next: 0, step: u64::from(spec.streams), loaded }
            }
        }
    }

    /// The same chooser for the stream with this index. Only `sequential` differs between streams.
    pub(crate) fn for_stream(mut self, index: u32) -> Self {
        if let Self::Sequential { next, loaded, .. } = &mut self {
            *next = u64::from(index) % *loaded;
        }
        self
    }

    /// Draws an item below `visible`, which counts the loaded records and the acknowledged inserts.
    #[inline]
    pub(crate) fn pick(&mut self, random: &mut Random, visible: u64) -> u64 {
        match self {
            Self::Uniform { loaded } => random.below(*loaded),
            Self::Zipfian(zipfian) => loop {
                let item = zipfian.item(random.unit());
                if item < visible {
                    return item;
                }
            },
            Self::Zipf { ranks, items } => items.apply(ranks.rank(random)),
            Self::Latest(zipfian) => {
                zipfian.grow_to(visible);
                // After deletes there are fewer items than there were at most.
                loop {
                    let rank = zipfian.rank(random.unit());
                    if rank < visible {
                        return visible - 1 - rank;
                    }
                }
            }
            Self::Hotspot(hotspot) => hotspot.item(random),
            Self::Exponential(ages) => visible - 1 - ages.age(random.unit(), visible),
            Self::Sequential { next, step, loaded } => {
                let item = *next;
                *next = (item + *step) % *loaded;
                item
            }
        }
    }
}

/// How many items YCSB's scrambled generator is told of: the loaded records, the inserts that YCSB
/// expects (twice the share of the operations, rounded down), here those of one stream unless the
/// counter is shared, and one more.
///
/// Deviation: no more inserts are expected than records are loaded. A long run over few records would
/// else draw for ever among items that are not there yet; so at least half of the draws count.
pub(crate) fn scrambled_items(spec: &WorkloadSpec) -> u64 {
    let mix = spec.normalised_mix();
    let share = mix.iter().find(|(kind, _)| *kind == OperationKind::Insert);
    let expected = (spec.operations as f64 * share.map_or(0.0, |(_, share)| *share) * 2.0) as u64;
    let seen = match spec.insert_counter {
        InsertCounter::PerStream => expected.div_ceil(u64::from(spec.streams.max(1))),
        InsertCounter::Shared => expected,
    };
    spec.records + seen.min(spec.records) + 1
}

/// YCSB's exponential distribution of ages: how far behind the newest item a pick lies.
#[derive(Debug, Clone)]
pub(crate) struct Exponential {
    gamma: f64,
}

impl Exponential {
    /// `percentile` per cent of the ages fall below `loaded` · `fraction`.
    pub(crate) fn new(loaded: u64, percentile: f64, fraction: f64) -> Self {
        Self { gamma: -libm::log1p(-percentile / 100.0) / (loaded as f64 * fraction) }
    }

    /// The age below `visible` for a number in [0, 1). YCSB draws again until the age is in range; to
    /// scale the number into the range gives the same distribution in one draw.
    fn age(&self, unit: f64, visible: u64) -> u64 {
        let age = -libm::log1p(-unit * self.share_below(visible)) / self.gamma;
        (age as u64).min(visible - 1)
    }

    /// The probability of an age below `items`, without an upper bound.
    pub(crate) fn share_below(&self, items: u64) -> f64 {
        -libm::expm1(-self.gamma * items as f64)
    }
}

/// YCSB's hotspot: the hot set is the first part of the items.
#[derive(Debug, Clone)]
pub(crate) struct Hotspot {
    hot_items: u64,
    cold_items: u64,
    hot_share: f64,
}

impl Hotspot {
    fn new(loaded: u64, data_fraction: f64, operation_fraction: f64) -> Self {
        let hot_items = ((loaded as f64 * data_fraction) as u64).min(loaded);
        let cold_items = loaded - hot_items;
        // Where one of the sets is empty the other takes all picks.
        let hot_share = match (hot_items, cold_items) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            _ => operation_fraction,
        };
        Self { hot_items, cold_items, hot_share }
    }

    #[inline]
    fn item(&self, random: &mut Random) -> u64 {
        if random.unit() < self.hot_share {
            random.below(self.hot_items)
        } else {
            self.hot_items + random.below(self.cold_items)
        }
    }
}
