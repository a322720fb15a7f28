//! Latency distributions: from an HdrHistogram to the figures of a result file, and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use crate::error::{Error, Result};
use crate::result::Latency;

/// Samples that must lie above a percentile for it to be told at all.
pub(crate) const SAMPLES_ABOVE: u64 = 100;

/// The figures of a histogram of nanoseconds, and the histogram itself as text.
///
/// A percentile is told only where at least 100 samples lie above it; the median is always told
/// (zero, like the other figures, where there is no sample).
pub fn encode_latency(histogram: &Histogram<u64>) -> Latency {
    Latency {
        count: histogram.len(),
        min_ns: histogram.min(),
        mean_ns: histogram.mean(),
        p50_ns: value_above(histogram, 2),
        p90_ns: percentile(histogram, 10),
        p95_ns: percentile(histogram, 20),
        p99_ns: percentile(histogram, 100),
        p999_ns: percentile(histogram, 1_000),
        p9999_ns: percentile(histogram, 10_000),
        max_ns: histogram.max(),
        histogram: encode_histogram(histogram),
    }
}

/// A histogram as text: HdrHistogram V2 with DEFLATE, in base64.
///
/// # Panics
/// Never: writing to memory does not fail.
#[expect(clippy::expect_used, reason = "writing a histogram to memory does not fail")]
pub fn encode_histogram(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("a histogram fits in memory");
    BASE64.encode(bytes)
}

/// The histogram in [`Latency::histogram`].
///
/// # Errors
/// [`Error::Histogram`] where the text is not base64 or not a histogram.
pub fn decode_histogram(text: &str) -> Result<Histogram<u64>> {
    let bytes =
        BASE64.decode(text).map_err(|error| Error::Histogram { reason: error.to_string() })?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| Error::Histogram { reason: error.to_string() })
}

/// The value above which one in `one_in` samples lies, if enough samples lie above it.
pub(crate) fn percentile(histogram: &Histogram<u64>, one_in: u64) -> Option<u64> {
    (histogram.len() / one_in >= SAMPLES_ABOVE).then(|| value_above(histogram, one_in))
}

fn value_above(histogram: &Histogram<u64>, one_in: u64) -> u64 {
    histogram.value_at_quantile(1.0 - 1.0 / one_in as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(samples: u64) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        for value in 1..=samples {
            histogram.record(value).unwrap();
        }
        histogram
    }

    #[test]
    fn percentile_is_absent_where_fewer_than_100_samples_lie_above_it() {
        assert_eq!(encode_latency(&uniform(999)).p90_ns, None);
        assert!(encode_latency(&uniform(1_000)).p90_ns.is_some());
        assert_eq!(encode_latency(&uniform(1_000)).p99_ns, None);
        let latency = encode_latency(&uniform(100_000));
        assert!(latency.p999_ns.is_some());
        assert_eq!(latency.p9999_ns, None);
    }

    #[test]
    fn figures_are_within_three_significant_digits() {
        let latency = encode_latency(&uniform(100_000));
        assert_eq!((latency.count, latency.min_ns), (100_000, 1));
        for (figure, exact) in [
            (latency.p50_ns, 50_000.0),
            (latency.p99_ns.unwrap(), 99_000.0),
            (latency.max_ns, 100_000.0),
        ] {
            assert!((figure as f64 / exact - 1.0).abs() < 0.001, "{figure} for {exact}");
        }
    }

    #[test]
    fn histogram_survives_the_text() {
        let histogram = uniform(5_000);
        assert_eq!(decode_histogram(&encode_latency(&histogram).histogram).unwrap(), histogram);
    }

    #[test]
    fn empty_histogram_has_zeros_and_no_percentiles() {
        let latency = encode_latency(&uniform(0));
        assert_eq!((latency.count, latency.min_ns, latency.p50_ns, latency.max_ns), (0, 0, 0, 0));
        assert_eq!(latency.p90_ns, None);
    }

    #[test]
    fn damaged_text_is_an_error() {
        for text in ["", "not base64 !", "AAAA"] {
            assert!(decode_histogram(text).is_err(), "{text:?}");
        }
    }
}
