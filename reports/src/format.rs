//! Numbers for people: three significant digits, the unit that fits, thousands separated by commas.

/// An integer with thousands separators: `1,234,567`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits at least, never an exponent: `0.0123`, `1.23`, `12.3`, `123`, `1,234`.
pub(crate) fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "n/a".to_owned();
    }
    let magnitude = value.abs();
    if magnitude >= 999.5 {
        let sign = if value < 0.0 { "−" } else { "" };
        return format!("{sign}{}", count(magnitude.round() as u64));
    }
    let decimals = match magnitude {
        m if m >= 99.95 => 0,
        m if m >= 9.995 => 1,
        m if !(0.000_05..0.995).contains(&m) => 2,
        m if m >= 0.0995 => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

/// `value` in the largest of `units` (each with its size, ascending) that it fills.
fn in_units(value: f64, units: &[(f64, &str)]) -> String {
    // A value that rounds up to the next unit belongs there: 999.6 ns is 1.00 µs.
    let fits = |size: f64| value.abs() >= size * 0.999_5;
    let (size, unit) = units
        .iter()
        .rev()
        .find(|(size, _)| fits(*size))
        .or(units.first())
        .copied()
        .unwrap_or((1.0, ""));
    let scaled = value / size;
    let number =
        if size <= 1.0 && scaled.fract() == 0.0 { count(scaled as u64) } else { figure(scaled) };
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// Operations per second: `850`, `8.51 k`, `812 k`, `1,234 k`, `12.3 M`.
pub(crate) fn rate(ops_per_s: f64) -> String {
    if !ops_per_s.is_finite() {
        return "n/a".to_owned();
    }
    if ops_per_s >= 9_999_500.0 {
        return format!("{} M", figure(ops_per_s / 1e6));
    }
    in_units(ops_per_s, &[(1.0, ""), (1e3, "k")])
}

/// A latency: `850 ns`, `1.20 µs`, `3.40 ms`, `1.50 s`.
pub(crate) fn latency(ns: f64) -> String {
    in_units(ns, &[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")])
}

/// Milliseconds as a latency.
pub(crate) fn milliseconds(ms: f64) -> String {
    latency(ms * 1e6)
}

/// Microseconds as a latency.
pub(crate) fn microseconds(us: f64) -> String {
    latency(us * 1e3)
}

/// Seconds: `850 ms`, `12.3 s`, `4 min 12 s`.
pub(crate) fn seconds(s: f64) -> String {
    if s < 119.5 {
        return latency(s * 1e9);
    }
    let whole = s.round() as u64;
    let (minutes, rest) = (whole / 60, whole % 60);
    if minutes < 60 {
        format!("{minutes} min {rest} s")
    } else {
        format!("{} h {} min", minutes / 60, minutes % 60)
    }
}

/// Bytes in decimal units: `850 B`, `1.20 kB`, `3.40 MB`.
pub(crate) fn bytes(bytes: f64) -> String {
    in_units(bytes, &[(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB")])
}

/// A ratio: `1.23×`.
pub(crate) fn ratio(value: f64) -> String {
    format!("{}×", figure(value))
}

/// A change in per cent with its sign: `+3.2 %`, `−12.0 %`, `±0.0 %`.
pub(crate) fn percent_change(percent: f64) -> String {
    let text = format!("{:.1}", percent.abs());
    let sign = match percent {
        _ if text == "0.0" => '±',
        p if p > 0.0 => '+',
        _ => '−',
    };
    format!("{sign}{text} %")
}

/// A time as RFC 3339 in UTC, to the second: `2026-01-02 03:04:05 UTC`.
pub(crate) fn timestamp(rfc_3339: &str) -> String {
    let text = match rfc_3339.split_once('.') {
        Some((seconds, rest)) => {
            format!("{seconds}{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => rfc_3339.to_owned(),
    };
    text.replacen('T', " ", 1).replacen('Z', " UTC", 1)
}

/// `1 trial`, `3 trials`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let ending = match noun.ends_with("sh") {
        _ if number == 1 => "",
        true => "es",
        false => "s",
    };
    format!("{} {noun}{ending}", count(number))
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(words: &[impl AsRef<str>]) -> String {
    match words {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [head @ .., last] => {
            let head: Vec<_> = head.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", head.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + std::fmt::Debug>(format: fn(T) -> String, cases: &[(T, &str)]) {
        for (value, expected) in cases {
            assert_eq!(format(*value), *expected, "for {value:?}");
        }
    }

    #[test]
    fn thousands_are_separated() {
        check(count, &[(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")]);
    }

    #[test]
    fn latency_takes_the_unit_that_fits() {
        check(
            latency,
            &[
                (0.0, "0 ns"),
                (8.5, "8.50 ns"),
                (850.0, "850 ns"),
                (999.4, "999 ns"),
                (999.6, "1.00 µs"),
                (1_234.0, "1.23 µs"),
                (3_400_000.0, "3.40 ms"),
                (12_345_678_900.0, "12.3 s"),
            ],
        );
    }

    #[test]
    fn rate_stays_in_thousands_up_to_ten_million() {
        check(
            rate,
            &[
                (0.0, "0"),
                (12.34, "12.3"),
                (850.0, "850"),
                (8_512.0, "8.51 k"),
                (85_120.0, "85.1 k"),
                (1_234_000.0, "1,234 k"),
                (12_340_000.0, "12.3 M"),
                (f64::NAN, "n/a"),
            ],
        );
    }

    #[test]
    fn small_figures_keep_their_digits() {
        check(
            figure,
            &[
                (0.0, "0.00"),
                (0.0123, "0.0123"),
                (0.5, "0.500"),
                (1.0, "1.00"),
                (9.996, "10.0"),
                (1_234.4, "1,234"),
            ],
        );
    }

    #[test]
    fn seconds_grow_into_minutes_and_hours() {
        check(
            seconds,
            &[(0.85, "850 ms"), (12.34, "12.3 s"), (252.0, "4 min 12 s"), (7_320.0, "2 h 2 min")],
        );
    }

    #[test]
    fn change_has_a_sign() {
        check(
            percent_change,
            &[(3.21, "+3.2 %"), (-12.0, "−12.0 %"), (0.04, "±0.0 %"), (-0.04, "±0.0 %")],
        );
    }

    #[test]
    fn times_are_told_to_the_second() {
        check(
            timestamp,
            &[
                ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05 UTC"),
                ("2026-01-02T03:04:05.227429607Z", "2026-01-02 03:04:05 UTC"),
                ("2026-01-02T03:04:05.2+01:00", "2026-01-02 03:04:05+01:00"),
                ("yesterday", "yesterday"),
            ],
        );
    }

    #[test]
    fn words_are_listed() {
        assert_eq!(list(&["a"; 0]), "");
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(plural(1, "trial"), "1 trial");
        assert_eq!(plural(1_000, "trial"), "1,000 trials");
    }
}
