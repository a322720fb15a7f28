//! A seeded permutation of 0..n that needs no memory: spreads hot ranks over the key space.
//!
//! 1. A Feistel network of four rounds permutes the numbers of the smallest even number of bits that
//!    holds n (Luby & Rackoff 1988).
//! 2. Cycle walking (Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): a result
//!    that is not below n goes through again; fewer than four passes on the average.

use crate::random::{derive_seed, fold};

#[derive(Debug, Clone)]
pub(crate) struct Permutation {
    items: u64,
    half_bits: u32,
    round_keys: [u64; 4],
}

impl Permutation {
    /// Of 0..`items`.
    pub(crate) fn new(items: u64, seed: u64) -> Self {
        let bits = 64 - items.saturating_sub(1).leading_zeros();
        let round_keys = [0, 1, 2, 3].map(|round| derive_seed(seed, "round", round));
        Self { items, half_bits: bits.div_ceil(2).max(1), round_keys }
    }

    /// Where `item` < n goes.
    #[inline]
    pub(crate) fn apply(&self, item: u64) -> u64 {
        let mut number = item;
        loop {
            number = self.pass(number);
            if number < self.items {
                return number;
            }
        }
    }

    #[inline]
    fn pass(&self, number: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for key in self.round_keys {
            (left, right) = (right, left ^ (fold(key, right) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_hit_exactly_once() {
        for items in [1, 2, 3, 5, 64, 1000, 4097] {
            let permutation = Permutation::new(items, 42);
            let mut hit = vec![false; items as usize];
            for item in 0..items {
                let target = permutation.apply(item) as usize;
                assert!(
                    !std::mem::replace(&mut hit[target], true),
                    "{items} items: {target} twice"
                );
            }
        }
    }

    #[test]
    fn seeds_give_different_permutations() {
        let images = |seed| {
            let permutation = Permutation::new(1000, seed);
            (0..1000).map(|item| permutation.apply(item)).collect::<Vec<_>>()
        };
        assert_ne!(images(1), images(2));
        let fixed_points = images(1).into_iter().zip(0..).filter(|(image, item)| image == item);
        assert!(fixed_points.count() < 10);
    }
}
