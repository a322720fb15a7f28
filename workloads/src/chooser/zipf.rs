//! A true Zipf distribution over n items, for any exponent θ ≥ 0 and any n, with constant set-up.
//!
//! Rejection-inversion after Hörmann & Derflinger, "Rejection-inversion to generate variates from
//! monotone discrete distributions" (TOMACS 1996), section 3:
//!
//! 1. H(x) = ∫ t^−θ dt is a hat whose inverse is known. Draw u uniformly between H(n + ½) and
//!    H(3/2) − 1, take x = H⁻¹(u) and round it to k.
//! 2. Accept k when k − x ≤ s, a constant that makes most draws end here, or when
//!    u ≥ H(k + ½) − k^−θ; else draw again. Fewer than 1.2 draws are needed on the average.
//!
//! Close to θ = 1 the powers are written with `expm1` and `log1p`, which do not lose digits there. All
//! of it comes from `libm`, so that every platform draws the same.

use crate::random::Random;

/// Ranks below n, 0 the most likely.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    items: u64,
    theta: f64,
    /// H(3/2) − 1 and H(n + ½).
    upper: f64,
    lower: f64,
    shortcut: f64,
}

impl Zipf {
    /// Over `items` ≥ 1 ranks with the exponent `theta` ≥ 0.
    pub(crate) fn new(items: u64, theta: f64) -> Self {
        let mut zipf = Self { items, theta, upper: 0.0, lower: 0.0, shortcut: 0.0 };
        zipf.upper = zipf.hat_integral(1.5) - 1.0;
        zipf.lower = zipf.hat_integral(items as f64 + 0.5);
        zipf.shortcut = 2.0 - zipf.hat_inverse(zipf.hat_integral(2.5) - zipf.weight(2.0));
        zipf
    }

    #[inline]
    pub(crate) fn rank(&self, random: &mut Random) -> u64 {
        loop {
            let u = self.lower + random.unit() * (self.upper - self.lower);
            let x = self.hat_inverse(u);
            let item = ((x + 0.5) as u64).clamp(1, self.items);
            let k = item as f64;
            if k - x <= self.shortcut || u >= self.hat_integral(k + 0.5) - self.weight(k) {
                return item - 1;
            }
        }
    }

    /// x^−θ.
    fn weight(&self, x: f64) -> f64 {
        libm::exp(-self.theta * libm::log(x))
    }

    /// H(x) = (x^(1−θ) − 1) / (1−θ), or ln x for θ = 1.
    fn hat_integral(&self, x: f64) -> f64 {
        let log = libm::log(x);
        let exponent = (1.0 - self.theta) * log;
        let stretch = if exponent.abs() < 1e-8 {
            1.0 + exponent / 2.0
        } else {
            libm::expm1(exponent) / exponent
        };
        log * stretch
    }

    /// The x with H(x) = u.
    fn hat_inverse(&self, u: f64) -> f64 {
        // Rounding could leave the domain of the logarithm by a hair.
        let t = (u * (1.0 - self.theta)).max(-1.0);
        let stretch = if t.abs() < 1e-8 { 1.0 - t / 2.0 } else { libm::log1p(t) / t };
        libm::exp(u * stretch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chooser::harmonic;

    /// χ² of the first ranks and of the rest together, against the exact weights.
    fn chi_square(items: u64, theta: f64, draws: u64) -> (f64, usize) {
        let zipf = Zipf::new(items, theta);
        let mut random = Random::new(7, "test", items);
        let bins = items.min(50) as usize;
        let mut counts = vec![0u64; bins + 1];
        for _ in 0..draws {
            counts[(zipf.rank(&mut random) as usize).min(bins)] += 1;
        }
        let zeta = harmonic(items, theta);
        let mut rest = 1.0;
        let mut sum = 0.0;
        for (rank, count) in counts.iter().enumerate() {
            let share =
                if rank < bins { libm::pow(rank as f64 + 1.0, -theta) / zeta } else { rest };
            rest -= share;
            let expected = share * draws as f64;
            if expected > 1.0 {
                let difference = *count as f64 - expected;
                sum += difference * difference / expected;
            }
        }
        (sum, bins)
    }

    #[test]
    fn ranks_follow_zipf_for_every_exponent() {
        for items in [1, 2, 10, 1000, 1_000_000_000] {
            for theta in [0.0, 0.5, 0.99, 1.0, 1.2, 2.0] {
                let (sum, freedom) = chi_square(items, theta, 200_000);
                // Mean + 5 standard deviations of χ².
                let limit = freedom as f64 + 5.0 * libm::sqrt(2.0 * freedom as f64);
                assert!(sum < limit, "n = {items}, θ = {theta}: χ² {sum} of {freedom}");
            }
        }
    }

    #[test]
    fn another_implementation_draws_the_same_shares() {
        use rand::SeedableRng;
        use rand::distr::Distribution;

        const DRAWS: u64 = 400_000;
        for theta in [0.5, 0.99, 1.5] {
            let ours = Zipf::new(1000, theta);
            let theirs = rand_distr::Zipf::new(1000.0, theta).unwrap();
            let mut our_random = Random::new(5, "test", 0);
            let mut their_random = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(5);
            let mut counts = [[0_i64; 20]; 2];
            for _ in 0..DRAWS {
                let picks =
                    [ours.rank(&mut our_random), theirs.sample(&mut their_random) as u64 - 1];
                for (counts, rank) in counts.iter_mut().zip(picks) {
                    if let Some(count) = counts.get_mut(rank as usize) {
                        *count += 1;
                    }
                }
            }
            for (rank, (our_count, their_count)) in counts[0].iter().zip(counts[1]).enumerate() {
                // The difference of two binomial counts has about the variance of their sum.
                let limit = 6.0 * ((our_count + their_count) as f64).sqrt();
                let difference = (our_count - their_count) as f64;
                assert!(
                    difference.abs() < limit,
                    "θ = {theta}, rank {rank}: {our_count}, {their_count}"
                );
            }
        }
    }
}
