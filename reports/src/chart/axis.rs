//! Axes: from values to places, and the ticks between. Ticks are chosen here rather than by the
//! drawing library, whose logarithmic axes lose some.

/// How values map to places along one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    from: f64,
    to: f64,
    place_from: f64,
    place_to: f64,
    logarithmic: bool,
}

impl Axis {
    /// An axis in equal steps.
    pub(crate) fn linear((from, to): (f64, f64), (place_from, place_to): (f64, f64)) -> Self {
        Self { from, to, place_from, place_to, logarithmic: false }
    }

    /// An axis in equal ratios; both ends must be positive.
    pub(crate) fn logarithmic((from, to): (f64, f64), (place_from, place_to): (f64, f64)) -> Self {
        Self { from, to, place_from, place_to, logarithmic: true }
    }

    /// The place of a value, kept within the axis.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.place_from + share * (self.place_to - self.place_from)
    }
}

/// Round values from 0 to at least `max`, about `wanted` of them.
pub(crate) fn linear_ticks(max: f64, wanted: usize) -> Vec<f64> {
    let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
    let raw = max / wanted.max(1) as f64;
    let magnitude = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|step| *step >= raw * 0.999)
        .unwrap_or(10.0 * magnitude);
    let steps = (max / step * 0.999).ceil() as u32;
    (0..=steps).map(|at| f64::from(at) * step).collect()
}

/// The ends of a logarithmic axis around `min` to `max`, and its ticks: 1, 2 and 5 in each decade
/// where there are few decades, else the decades.
pub(crate) fn logarithmic_ticks(min: f64, max: f64) -> ((f64, f64), Vec<f64>) {
    let min = if min.is_finite() && min > 0.0 { min } else { 1.0 };
    let max = if max.is_finite() && max > min { max } else { min * 2.0 };
    let decades = (max / min).log10();
    let steps: &[f64] = match decades {
        d if d <= 2.2 => &[1.0, 2.0, 5.0],
        d if d <= 3.5 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let lowest = min.log10().floor() as i32;
    let highest = max.log10().ceil() as i32;
    let all: Vec<f64> = (lowest..=highest)
        .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
        .collect();
    let from = all.iter().copied().rfind(|tick| *tick <= min * 1.001).unwrap_or(min);
    let to = all.iter().copied().find(|tick| *tick >= max * 0.999).unwrap_or(max);
    let ticks = all.into_iter().filter(|tick| (from..=to).contains(tick)).collect();
    ((from, to), ticks)
}

/// Moves labels apart that lie closer than `gap`, as little as possible, within `(low, high)`;
/// returns their places in the order given.
pub(crate) fn spread_labels(places: &[f64], gap: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut result = places.to_vec();
    let mut least = low;
    for at in &order {
        result[*at] = result[*at].max(least);
        least = result[*at] + gap;
    }
    let mut most = high;
    for at in order.iter().rev() {
        result[*at] = result[*at].min(most);
        most = result[*at] - gap;
    }
    result
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_reach_the_largest_value() {
        assert_eq!(linear_ticks(10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear_ticks(843_000.0, 4), [0.0, 250_000.0, 500_000.0, 750_000.0, 1_000_000.0]);
        assert_eq!(linear_ticks(0.0, 1), [0.0, 1.0]);
        assert!(linear_ticks(f64::NAN, 4).len() > 1);
    }

    #[test]
    fn logarithmic_ticks_enclose_the_values() {
        let ((from, to), ticks) = logarithmic_ticks(700.0, 40_000.0);
        assert_eq!((from, to), (500.0, 50_000.0));
        assert_eq!(ticks.first(), Some(&500.0));
        assert_eq!(logarithmic_ticks(0.0, 0.0).0, (1.0, 2.0));
    }

    #[test]
    fn values_beyond_an_axis_stay_on_it() {
        let axis = Axis::logarithmic((1.0, 100.0), (0.0, 200.0));
        assert_eq!([axis.at(0.0), axis.at(10.0), axis.at(1e9)], [0.0, 100.0, 200.0]);
        assert_eq!(Axis::linear((0.0, 0.0), (5.0, 9.0)).at(0.0), 5.0);
    }

    #[test]
    fn labels_are_moved_apart() {
        assert_eq!(spread_labels(&[10.0, 12.0, 50.0], 14.0, (0.0, 100.0)), [10.0, 24.0, 50.0]);
        assert_eq!(spread_labels(&[99.0, 98.0], 14.0, (0.0, 100.0)), [100.0, 86.0]);
    }
}
