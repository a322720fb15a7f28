//! How uneven a request distribution really is, worked out rather than read off its name.

use serde::{Deserialize, Serialize};

use crate::chooser::{Exponential, ScrambledZipfian, Zipfian, harmonic, scrambled_items};
use crate::random::Random;
use crate::spec::{DataSpec, RequestDistribution, WorkloadSpec};

/// How unevenly the records are picked, as shares of all picks from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Skew {
    /// Share of the record that is picked most.
    pub hottest_key_share: f64,
    /// Share of the fifth of the records that is picked most.
    pub top_20_percent_share: f64,
}

/// Up to so many items each is weighed by itself.
const WEIGHED_ITEMS: u64 = 1 << 18;
/// So many ranks for each item are weighed one by one, but at least [`WEIGHED_RANKS_MIN`].
const RANKS_PER_ITEM: u64 = 4;
const WEIGHED_RANKS_MIN: u64 = 1 << 16;
/// Up to this rank weights are exact; beyond, neighbours share one.
const EXACT_RANKS: u64 = 1 << 14;
const SHARED_RANKS: u64 = 64;
/// Items that stand for all, where there are too many.
const SAMPLED_ITEMS: usize = 1 << 16;

impl Skew {
    /// The skew over the loaded records at the start of the measured phase. For time series, over the
    /// series that are read.
    pub(crate) fn of(spec: &WorkloadSpec) -> Self {
        let n = spec.records.max(1);
        if let DataSpec::TimeSeries(series) = &spec.data {
            return Self::uniform(u64::from(series.series).max(1));
        }
        match spec.request_distribution {
            RequestDistribution::Uniform | RequestDistribution::Sequential => Self::uniform(n),
            RequestDistribution::Zipfian => match scrambled_items(spec) {
                items @ ..=WEIGHED_ITEMS => scrambled(n, items),
                _ => scrambled_sampled(n),
            },
            RequestDistribution::Zipf { theta } => Self::zipf(n, theta),
            RequestDistribution::Latest => latest(n),
            RequestDistribution::Hotspot { data_fraction, operation_fraction } => {
                hotspot(n, data_fraction, operation_fraction)
            }
            RequestDistribution::Exponential { percentile, fraction } => {
                exponential(n, percentile, fraction)
            }
        }
    }

    fn uniform(n: u64) -> Self {
        Self::zipf(n, 0.0)
    }

    fn zipf(n: u64, theta: f64) -> Self {
        let zeta = harmonic(n, theta);
        let top = harmonic(top_fifth(n), theta) / zeta;
        Self { hottest_key_share: 1.0 / zeta, top_20_percent_share: top }
    }
}

fn latest(n: u64) -> Skew {
    let ranks = Zipfian::new(n);
    Skew {
        hottest_key_share: ranks.share_below(1),
        top_20_percent_share: ranks.share_below(top_fifth(n)),
    }
}

/// How many records a fifth of n is; at least one.
fn top_fifth(n: u64) -> u64 {
    (n / 5).max(1)
}

/// Weighs each of `items` items by the ranks that are hashed onto it; what falls on the items behind
/// the first `n` is drawn again. The ranks that are not weighed are so many that each item gets about
/// the same from them.
fn scrambled(n: u64, items: u64) -> Skew {
    let chooser = ScrambledZipfian::new(items);
    let mut weights = vec![0.0f64; items as usize];
    let (mut rank, mut weighed) = (0, 0.0);
    while rank < WEIGHED_RANKS_MIN.max(n * RANKS_PER_ITEM) {
        let together = if rank < EXACT_RANKS { 1 } else { SHARED_RANKS };
        let below = chooser.share_below(rank + together);
        let weight = (below - weighed) / together as f64;
        for rank in rank..rank + together {
            weights[chooser.item_of_rank(rank) as usize] += weight;
        }
        weighed = below;
        rank += together;
    }
    let rest = (1.0 - weighed) / items as f64;
    weights.truncate(n as usize);
    let total = weights.iter().sum::<f64>() + rest * n as f64;
    let hottest = weights.iter().copied().fold(0.0, f64::max) + rest;
    let top = top_fifth(n) as usize;
    let sum = sum_of_largest(&mut weights, top) + rest * top as f64;
    Skew { hottest_key_share: hottest / total, top_20_percent_share: sum / total }
}

/// For more items than can be weighed: the n/64 first ranks are taken to hit different items; the
/// ranks from there to 16 n hit the items by chance, which is played for a sample of items; those
/// beyond are shared evenly.
fn scrambled_sampled(n: u64) -> Skew {
    let items = ScrambledZipfian::new(n);
    let own = n / 64;
    let own_share = items.share_below(own);
    let mut weights = vec![0.0f64; SAMPLED_ITEMS];
    let mut random = Random::new(0, "skew", 0);
    let (mut from, mut played) = (own, own_share);
    while from < n.saturating_mul(16) {
        let to = from + (from / 5).max(1);
        let below = items.share_below(to);
        let ranks = (to - from) as f64;
        let none = libm::exp(-ranks / n as f64);
        for weight in &mut weights {
            // Knuth's way to a Poisson number of hits.
            let mut product = random.unit();
            while product > none {
                *weight += (below - played) / ranks;
                product *= random.unit();
            }
        }
        (from, played) = (to, below);
    }
    let rest = (1.0 - played) / n as f64;
    let top = top_fifth(n);
    let of_sample = (SAMPLED_ITEMS as f64 * (top - own) as f64 / n as f64) as usize;
    let scale = n as f64 / SAMPLED_ITEMS as f64;
    let sum = own_share + sum_of_largest(&mut weights, of_sample) * scale;
    Skew {
        hottest_key_share: items.share_below(1) + rest,
        top_20_percent_share: sum + rest * top as f64,
    }
}

fn sum_of_largest(weights: &mut [f64], count: usize) -> f64 {
    if count < weights.len() {
        weights.select_nth_unstable_by(count, |a, b| b.total_cmp(a));
    }
    weights.iter().take(count).sum()
}

fn hotspot(n: u64, data_fraction: f64, operation_fraction: f64) -> Skew {
    let hot = ((n as f64 * data_fraction) as u64).min(n);
    let cold = n - hot;
    let share = match (hot, cold) {
        (0, _) => 0.0,
        (_, 0) => 1.0,
        _ => operation_fraction,
    };
    let each = |share: f64, items: u64| if items == 0 { 0.0 } else { share / items as f64 };
    let (mut first, mut second) = ((each(share, hot), hot), (each(1.0 - share, cold), cold));
    if first.0 < second.0 {
        std::mem::swap(&mut first, &mut second);
    }
    let top = top_fifth(n);
    let of_first = top.min(first.1);
    let sum = first.0 * of_first as f64 + second.0 * (top - of_first) as f64;
    Skew { hottest_key_share: first.0, top_20_percent_share: sum }
}

fn exponential(n: u64, percentile: f64, fraction: f64) -> Skew {
    let ages = Exponential::new(n, percentile, fraction);
    // Draws beyond the oldest record do not count.
    let share = |items: u64| ages.share_below(items) / ages.share_below(n);
    Skew { hottest_key_share: share(1), top_20_percent_share: share(top_fifth(n)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(records: u64, request_distribution: RequestDistribution) -> Skew {
        let mut spec = WorkloadSpec::builtin("ycsb-c").unwrap();
        spec.records = records;
        spec.request_distribution = request_distribution;
        Skew::of(&spec)
    }

    fn check(found: Skew, hottest: f64, top: f64) {
        let close = |found: f64, expected: f64| (found - expected).abs() < 0.016;
        assert!(
            close(found.hottest_key_share, hottest) && close(found.top_20_percent_share, top),
            "{found:?} is not {hottest}, {top}"
        );
    }

    #[test]
    fn skews_are_those_known_of_ycsb() {
        check(skew(1000, RequestDistribution::Zipfian), 0.039, 0.40);
        check(skew(1_000_000, RequestDistribution::Zipfian), 0.038, 0.61);
        check(skew(1000, RequestDistribution::Zipf { theta: 0.99 }), 0.129, 0.78);
        check(skew(1_000_000, RequestDistribution::Zipf { theta: 0.99 }), 0.065, 0.88);
        check(skew(1000, RequestDistribution::Uniform), 0.001, 0.2);
    }

    #[test]
    fn weighed_skew_is_what_draws_show() {
        let items = ScrambledZipfian::new(1001);
        let mut random = Random::new(5, "test", 0);
        let mut counts = vec![0.0; 1000];
        let draws = 4_000_000;
        for _ in 0..draws {
            let item = items.item(random.unit()) as usize;
            if let Some(count) = counts.get_mut(item) {
                *count += 1.0 / f64::from(draws);
            }
        }
        let hottest = counts.iter().copied().fold(0.0, f64::max);
        let found = scrambled(1000, 1001);
        assert!((found.hottest_key_share - hottest).abs() < 0.001, "{found:?}, drawn {hottest}");
        let top = sum_of_largest(&mut counts, 200);
        assert!((found.top_20_percent_share - top).abs() < 0.002, "{found:?}, drawn {top}");
    }

    #[test]
    fn sampling_agrees_with_weighing_where_both_are_possible() {
        let weighed = scrambled(1 << 20, (1 << 20) + 1);
        check(scrambled_sampled(1 << 20), weighed.hottest_key_share, weighed.top_20_percent_share);
    }

    #[test]
    fn hotspot_and_exponential_follow_their_parameters() {
        let hotspot = RequestDistribution::Hotspot { data_fraction: 0.2, operation_fraction: 0.8 };
        check(skew(1000, hotspot), 0.004, 0.8);
        let exponential = RequestDistribution::Exponential { percentile: 95.0, fraction: 0.2 };
        check(skew(1000, exponential), 0.015, 0.95);
    }
}
