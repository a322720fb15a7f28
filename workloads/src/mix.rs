//! Which kind of operation comes next.

use crate::operation::OperationKind;
use crate::random::Random;

/// The kinds of a mix with the upper ends of their shares of the 64-bit numbers.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    /// All but the last, which takes what is left.
    bounds: Vec<(u64, OperationKind)>,
    last: OperationKind,
}

impl Mix {
    /// From shares that sum to 1; `None` without any.
    pub(crate) fn new(shares: &[(OperationKind, f64)]) -> Option<Self> {
        let (&(last, _), others) = shares.split_last()?;
        let mut sum = 0.0;
        let bounds = others.iter().map(|&(kind, share)| {
            sum += share;
            // A cast of a floating point number saturates.
            ((sum * 18_446_744_073_709_551_616.0) as u64, kind)
        });
        Some(Self { bounds: bounds.collect(), last })
    }

    #[inline]
    pub(crate) fn draw(&self, random: &mut Random) -> OperationKind {
        if self.bounds.is_empty() {
            return self.last;
        }
        let bits = random.bits();
        let found = self.bounds.iter().find(|(bound, _)| bits < *bound);
        found.map_or(self.last, |(_, kind)| *kind)
    }
}
