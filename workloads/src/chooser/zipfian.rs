//! YCSB's Zipfian generators.
//!
//! 1. [`Zipfian`] gives ranks below n after Gray et al., "Quickly generating billion-record synthetic
//!    databases" (SIGMOD '94), section 3.2: for u in [0, 1), rank 0 when u·ζ(n) < 1, rank 1 when
//!    below 1 + 0.5^θ, else ⌊n·(ηu − η + 1)^α⌋ with α = 1/(1−θ) and
//!    η = (1 − (2/n)^(1−θ)) / (1 − ζ(2)/ζ(n)). θ is 0.99 (`ZipfianGenerator.java`).
//! 2. [`ScrambledZipfian`] draws a rank of 10¹⁰ + 1 items with a fixed ζ and hashes it onto the
//!    items (`ScrambledZipfianGenerator.java`). This is what YCSB's `zipfian` is. Its skew is far
//!    below Zipf's over n items.
//! 3. [`GrowingZipfian`] follows a growing n by adding to ζ (`SkewedLatestGenerator.java`).
//!
//! Deviations, both for speed:
//!
//! - [`harmonic`] sums the first ten thousand terms as YCSB does and takes the rest from the
//!   Euler–Maclaurin formula, so that setting up does not grow with n; the difference is below 10⁻¹³.
//! - α is 100 but for a rounding error of 10⁻¹³, so the power is eight multiplications, which take a
//!   sixth of the time of `pow` and round the same everywhere. The result differs by up to 3·10⁻¹⁴ of
//!   itself: of 100,000 draws from 10¹⁰ items, about one rank comes out one lower or higher.

use crate::hash::{FnvHash, Modulus};

const THETA: f64 = 0.99;
/// Items that the scrambled generator draws from: YCSB counts 0..=10¹⁰.
const SCRAMBLED_ITEMS: u64 = 10_000_000_001;
/// YCSB's ζ for them, as it is written in `ScrambledZipfianGenerator.java`.
const SCRAMBLED_ZETA: f64 = 26.469_028_201_783_02;
/// Terms of a harmonic number that are summed one by one.
const SUMMED_TERMS: u64 = 10_000;

/// The generalised harmonic number ζ(n) = Σ 1/kᶿ for k = 1 … n. At most ten thousand powers.
pub(crate) fn harmonic(n: u64, theta: f64) -> f64 {
    let summed: f64 = (1..=n.min(SUMMED_TERMS)).map(|k| libm::pow(k as f64, -theta)).sum();
    if n <= SUMMED_TERMS {
        return summed;
    }
    // Σ f(k) for k in (a, b] is the integral plus (f(b) − f(a))/2 + (f′(b) − f′(a))/12 − …
    let (a, b) = (SUMMED_TERMS as f64, n as f64);
    let (at_a, at_b) = (libm::pow(a, -theta), libm::pow(b, -theta));
    let log_ratio = libm::log(b / a);
    let exponent = (1.0 - theta) * log_ratio;
    let stretch = if exponent.abs() < 1e-12 { 1.0 } else { libm::expm1(exponent) / exponent };
    let integral = a * at_a * log_ratio * stretch;
    summed + integral + (at_b - at_a) / 2.0 - theta * (at_b / b - at_a / a) / 12.0
}

/// Ranks below n, 0 the most likely.
#[derive(Debug, Clone)]
pub(crate) struct Zipfian {
    items: f64,
    zeta: f64,
    eta: f64,
    /// 1 + 0.5^θ.
    second: f64,
}

impl Zipfian {
    /// Over `items` ≥ 1 ranks.
    pub(crate) fn new(items: u64) -> Self {
        Self::with_zeta(items, harmonic(items, THETA))
    }

    fn with_zeta(items: u64, zeta: f64) -> Self {
        let second = 1.0 + libm::pow(0.5, THETA);
        let mut zipfian = Self { items: 0.0, zeta: 0.0, eta: 0.0, second };
        zipfian.set_items(items, zeta);
        zipfian
    }

    fn set_items(&mut self, items: u64, zeta: f64) {
        let n = items as f64;
        self.items = n;
        self.zeta = zeta;
        // ζ(2) = 1 + 0.5^θ. With two items or fewer the formula divides by zero and is not needed.
        self.eta = if items > 2 {
            (1.0 - libm::pow(2.0 / n, 1.0 - THETA)) / (1.0 - self.second / zeta)
        } else {
            0.0
        };
    }

    /// The rank for a number in [0, 1).
    #[inline]
    pub(crate) fn rank(&self, unit: f64) -> u64 {
        let uz = unit * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < self.second {
            return 1;
        }
        let share = hundredth_power(self.eta * unit - self.eta + 1.0);
        // A rounding step at the end of the range could give n itself.
        ((self.items * share) as u64).min(self.items as u64 - 1)
    }

    /// The probability of a rank below `rank`: the inverse of [`rank`](Self::rank). It differs from
    /// Zipf's by up to two per cent, because Gray's formula approximates.
    pub(crate) fn share_below(&self, rank: u64) -> f64 {
        let share = match rank {
            0 => 0.0,
            1 => 1.0 / self.zeta,
            2 => self.second / self.zeta,
            _ => (libm::pow(rank as f64 / self.items, 1.0 - THETA) - 1.0 + self.eta) / self.eta,
        };
        share.clamp(0.0, 1.0)
    }
}

/// x^100: α for θ = 0.99.
#[inline]
fn hundredth_power(x: f64) -> f64 {
    let x4 = (x * x) * (x * x);
    let x8 = x4 * x4;
    let x16 = x8 * x8;
    let x32 = x16 * x16;
    let x64 = x32 * x32;
    (x4 * x32) * x64
}

/// YCSB's `zipfian`: hashed ranks.
#[derive(Debug, Clone)]
pub(crate) struct ScrambledZipfian {
    ranks: Zipfian,
    hash: FnvHash,
    items: Modulus,
}

impl ScrambledZipfian {
    /// Over `items` ≥ 1 items.
    pub(crate) fn new(items: u64) -> Self {
        Self {
            ranks: Zipfian::with_zeta(SCRAMBLED_ITEMS, SCRAMBLED_ZETA),
            hash: FnvHash::up_to(SCRAMBLED_ITEMS),
            items: Modulus::new(items),
        }
    }

    /// The item for a number in [0, 1).
    #[inline]
    pub(crate) fn item(&self, unit: f64) -> u64 {
        self.item_of_rank(self.ranks.rank(unit))
    }

    /// The probability of a rank below `rank`, before hashing.
    pub(crate) fn share_below(&self, rank: u64) -> f64 {
        self.ranks.share_below(rank)
    }

    /// The item that a rank is hashed onto.
    #[inline]
    pub(crate) fn item_of_rank(&self, rank: u64) -> u64 {
        self.items.of(self.hash.of(rank))
    }
}

/// Ranks below a growing number of items.
#[derive(Debug, Clone)]
pub(crate) struct GrowingZipfian {
    ranks: Zipfian,
    items: u64,
}

impl GrowingZipfian {
    /// Over `items` ≥ 1 ranks at first.
    pub(crate) fn new(items: u64) -> Self {
        Self { ranks: Zipfian::new(items), items }
    }

    /// Takes in the items up to `items`: a power for each, one more for all.
    #[inline]
    pub(crate) fn grow_to(&mut self, items: u64) {
        if items > self.items {
            let mut zeta = self.ranks.zeta;
            for k in self.items + 1..=items {
                zeta += libm::pow(k as f64, -THETA);
            }
            self.items = items;
            self.ranks.set_items(items, zeta);
        }
    }

    #[inline]
    pub(crate) fn rank(&self, unit: f64) -> u64 {
        self.ranks.rank(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-13, "{found} is not {expected}");
    }

    #[test]
    fn zeta_is_that_of_ycsb() {
        close(harmonic(2, THETA), 1.503_477_775_028_359_4);
        close(harmonic(1000, THETA), 7.728_953_217_284_729);
        close(harmonic(1_000_000, THETA), 15.391_849_746_037_371);
    }

    #[test]
    fn harmonic_numbers_far_out_are_those_of_the_plain_sum() {
        for theta in [0.0, 0.5, 1.0, 1.5] {
            let plain: f64 = (1..=200_000).map(|k| libm::pow(f64::from(k), -theta)).sum();
            let found = harmonic(200_000, theta);
            assert!((found / plain - 1.0).abs() < 1e-11, "{theta}: {found} is not {plain}");
        }
    }

    #[test]
    fn scrambled_ranks_and_items_are_those_of_ycsb() {
        let zipfian = ScrambledZipfian::new(1001);
        assert_eq!(zipfian.ranks.rank(0.5), 134_552);
        assert_eq!(zipfian.item(0.5), 367);
    }

    #[test]
    fn ranks_are_those_of_the_formula_with_its_power_written_out() {
        let zipfian = ScrambledZipfian::new(1001).ranks;
        let mut random = crate::random::Random::new(3, "test", 0);
        let mut different = 0;
        for _ in 0..100_000 {
            let unit = random.unit();
            let alpha = 1.0 / (1.0 - THETA);
            let power = libm::pow(zipfian.eta * unit - zipfian.eta + 1.0, alpha);
            let expected = (zipfian.items * power) as u64;
            let rank = zipfian.rank(unit);
            if unit * zipfian.zeta >= zipfian.second && rank != expected {
                assert!(rank.abs_diff(expected) == 1, "{rank} is not {expected}");
                different += 1;
            }
        }
        assert!(different <= 5, "{different} ranks differ");
    }

    #[test]
    fn growing_gives_the_constants_of_starting_at_that_size() {
        let mut grown = GrowingZipfian::new(1000);
        for items in 1001..=1500 {
            grown.grow_to(items);
        }
        let fresh = Zipfian::new(1500);
        close(grown.ranks.zeta, fresh.zeta);
        close(grown.ranks.eta, fresh.eta);
    }

    #[test]
    fn few_items_and_the_ends_of_the_range_stay_below_n() {
        for items in [1, 2, 3, 10, 1000] {
            let zipfian = Zipfian::new(items);
            for unit in [0.0, 0.3, 0.7, 0.999, 1.0 - f64::EPSILON / 2.0] {
                assert!(zipfian.rank(unit) < items, "{items} items, u = {unit}");
            }
        }
    }
}
