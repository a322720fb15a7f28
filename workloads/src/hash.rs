//! YCSB's hash of a number, FNV-1a-64, and the arithmetic around it.
//!
//! `site.ycsb.Utils.fnvhash64` takes the eight bytes of the number with the least significant first,
//! and returns the absolute value of the hash as a signed number. A zero byte only multiplies by the
//! prime, so the zero bytes at the top of a small number are one multiplication by a power of it.

const OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 1_099_511_628_211;

/// `PRIME_POWERS[i]` is the prime to the power of `i`, modulo 2⁶⁴.
const PRIME_POWERS: [u64; 9] = {
    let mut powers = [1u64; 9];
    let mut i = 1;
    while i < 9 {
        powers[i] = powers[i - 1].wrapping_mul(PRIME);
        i += 1;
    }
    powers
};

/// YCSB's hash for numbers of which only the low `bytes` bytes can differ from zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FnvHash {
    bytes: u32,
}

impl FnvHash {
    /// A hash for numbers up to `largest`: the smaller, the faster. Larger numbers are hashed
    /// right all the same.
    pub(crate) fn up_to(largest: u64) -> Self {
        Self { bytes: (64 - largest.leading_zeros()).div_ceil(8) }
    }

    /// |FNV-1a-64| of `number`.
    #[inline]
    pub(crate) fn of(self, number: u64) -> u64 {
        let mut hash = OFFSET_BASIS;
        let mut rest = number;
        for _ in 0..self.bytes {
            hash = (hash ^ (rest & 0xFF)).wrapping_mul(PRIME);
            rest >>= 8;
        }
        if rest != 0 {
            return fnv_hash(number);
        }
        hash = hash.wrapping_mul(PRIME_POWERS[8 - self.bytes as usize]);
        (hash as i64).unsigned_abs()
    }
}

/// |FNV-1a-64| over the eight little-endian bytes of `number`, as YCSB hashes key numbers and ranks.
pub(crate) fn fnv_hash(number: u64) -> u64 {
    let mut hash = OFFSET_BASIS;
    for byte in number.to_le_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    }
    (hash as i64).unsigned_abs()
}

/// Remainders by one divisor without a division: multiply by the reciprocal, then correct by at most
/// two subtractions (Granlund & Montgomery, "Division by invariant integers", PLDI '94).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Modulus {
    divisor: u64,
    /// ⌊(2⁶⁴ − 1) / divisor⌋.
    reciprocal: u64,
}

impl Modulus {
    /// `divisor` must not be 0.
    pub(crate) fn new(divisor: u64) -> Self {
        Self { divisor, reciprocal: u64::MAX / divisor }
    }

    /// `number` modulo the divisor.
    #[inline]
    pub(crate) fn of(self, number: u64) -> u64 {
        let quotient = ((u128::from(number) * u128::from(self.reciprocal)) >> 64) as u64;
        let mut rest = number - quotient * self.divisor;
        while rest >= self.divisor {
            rest -= self.divisor;
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn key_numbers_hash_as_in_ycsb() {
        let golden = [
            6_284_781_860_667_377_211,
            8_517_097_267_634_966_620,
            1_820_151_046_732_198_393,
            4_052_466_453_699_787_802,
            3_232_700_585_171_816_769,
        ];
        for (number, hash) in golden.into_iter().enumerate() {
            assert_eq!(fnv_hash(number as u64), hash);
            assert_eq!(FnvHash::up_to(4).of(number as u64), hash);
        }
    }

    proptest! {
        #[test]
        fn short_cuts_change_no_hash(number: u64, largest: u64, shift in 0u32..64) {
            let number = number >> shift;
            prop_assert_eq!(FnvHash::up_to(largest).of(number), fnv_hash(number));
        }

        #[test]
        fn remainders_are_those_of_division(number: u64, divisor in 1u64.., shift in 0u32..64) {
            let divisor = (divisor >> shift).max(1);
            prop_assert_eq!(Modulus::new(divisor).of(number), number % divisor);
        }
    }
}
