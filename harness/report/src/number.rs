//! Numbers for people: units always, digits as many as can be meant.
//!
//! Laws:
//! - the same value is written the same way everywhere, because everything writes it here;
//! - a duration has three significant digits, an instant has two decimals (three where operations are compared, more where those are as one);
//! - big counts have thousands separators; bytes are powers of ten (1 MB = 1,000,000 B).

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const NS_PER_MS: u64 = 1_000_000;
/// Nanoseconds in a microsecond.
const NS_PER_US: u64 = 1_000;
/// Decimals of an instant where operations are compared.
const FINE_DECIMALS: usize = 3;
/// Decimals of an instant, at most.
const FINEST_DECIMALS: usize = 6;
/// From here on a duration is written in minutes.
const MINUTES_FROM_S: u64 = 120;
/// From here on a duration is written in hours.
const HOURS_FROM_S: u64 = 7_200;

/// `8412` is `8,412`.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 node`, `2 nodes`; the word is given in the singular and takes an `s`.
#[must_use]
pub fn counted(value: u64, word: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {word}{plural}", count(value))
}

/// Three significant digits, without an exponent, trailing zeros kept: `1.20`, `41.2`, `412`, `8,412`.
#[must_use]
pub fn three_digits(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "?".to_owned();
    }
    if size >= 999.5 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", count(size.round() as u64));
    }
    if size >= 99.95 {
        format!("{value:.0}")
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else if size == 0.0 {
        "0".to_owned()
    } else {
        format!("{value:.2}")
    }
}

/// How long: `850 ns`, `12.4 µs`, `3.21 ms`, `41.2 s`, `5 min 3 s`, `2 h 5 min`.
#[must_use]
pub fn duration(ns: u64) -> String {
    let seconds = ns / NS_PER_S;
    if ns == 0 {
        "0 s".to_owned()
    } else if ns < NS_PER_US {
        format!("{ns} ns")
    } else if ns < 999_500 {
        format!("{} µs", three_digits(ns as f64 / NS_PER_US as f64))
    } else if ns < 999_500_000 {
        format!("{} ms", three_digits(ns as f64 / NS_PER_MS as f64))
    } else if seconds < MINUTES_FROM_S {
        format!("{} s", three_digits(ns as f64 / NS_PER_S as f64))
    } else if seconds < HOURS_FROM_S {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else {
        format!("{} h {} min", seconds / 3600, seconds / 60 % 60)
    }
}

/// How long, from milliseconds as checkers give them; what is no duration is `?`.
#[must_use]
pub fn duration_ms(ms: f64) -> String {
    if ms.is_finite() && ms >= 0.0 {
        duration((ms * NS_PER_MS as f64) as u64)
    } else {
        "?".to_owned()
    }
}

/// A length of time that somebody asked for: `60 s`, `0.5 s`.
#[must_use]
pub fn asked_seconds(seconds: f64) -> String {
    format!("{seconds} s")
}

/// When, in seconds since the run began: `12.40 s`.
#[must_use]
pub fn instant(ns: u64) -> String {
    format!("{:.2} s", ns as f64 / NS_PER_S as f64)
}

/// When, finely enough to compare two operations: `12.403 s`.
#[must_use]
pub fn instant_fine(ns: u64) -> String {
    instant_to(ns, FINE_DECIMALS)
}

/// When, to so many decimals.
#[must_use]
pub fn instant_to(ns: u64, decimals: usize) -> String {
    format!("{:.decimals$} s", ns as f64 / NS_PER_S as f64)
}

/// As many decimals as tell instants apart that differ: three or more, and microseconds at the finest.
#[must_use]
pub fn decimals_apart(instants_ns: &[u64]) -> usize {
    let mut instants = instants_ns.to_vec();
    instants.sort_unstable();
    instants.dedup();
    let apart = |decimals: &usize| {
        let written = |ns: &u64| instant_to(*ns, *decimals);
        instants
            .windows(2)
            .all(|pair| written(&pair[0]) != written(&pair[1]))
    };
    (FINE_DECIMALS..FINEST_DECIMALS)
        .find(apart)
        .unwrap_or(FINEST_DECIMALS)
}

/// When, which may lie before the run began: `-8.21 s`.
#[must_use]
pub fn instant_signed(ns: i64) -> String {
    format!("{:.2} s", ns as f64 / NS_PER_S as f64)
}

/// A clock's offset with the bound of its error: `+0.31 ms ± 0.05 ms`.
#[must_use]
pub fn offset(offset_ns: i64, bound_ns: Option<u64>) -> String {
    let sign = if offset_ns < 0 { "−" } else { "+" };
    let size = duration(offset_ns.unsigned_abs());
    match bound_ns {
        Some(bound) => format!("{sign}{size} ± {}", duration(bound)),
        None => format!("{sign}{size}, bound unknown"),
    }
}

/// `4.21 MB`, `812 B`.
#[must_use]
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if value < 1000 {
        return format!("{value} B");
    }
    let mut scaled = value as f64 / 1000.0;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    format!("{} {}", three_digits(scaled), UNITS[unit])
}

/// Events a second: `140 /s`, `0.25 /s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    format!("{} /s", three_digits(per_second))
}

/// A seed as on the command line: `0x5eed42`.
#[must_use]
pub fn seed(value: u64) -> String {
    format!("{value:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators() {
        for (value, text) in [
            (0, "0"),
            (7, "7"),
            (999, "999"),
            (1_000, "1,000"),
            (8_412, "8,412"),
            (1_000_000, "1,000,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(value), text);
        }
        assert_eq!(counted(1, "node"), "1 node");
        assert_eq!(counted(2_000, "node"), "2,000 nodes");
    }

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        for (ns, text) in [
            (0, "0 s"),
            (850, "850 ns"),
            (1_000, "1.00 µs"),
            (12_440, "12.4 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (3_214_000, "3.21 ms"),
            (412_400_000, "412 ms"),
            (999_600_000, "1.00 s"),
            (41_240_000_000, "41.2 s"),
            (119_900_000_000, "120 s"),
            (120_000_000_000, "2 min 0 s"),
            (303_000_000_000, "5 min 3 s"),
            (7_500_000_000_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(ns), text, "{ns} ns");
        }
        assert_eq!(duration_ms(f64::NAN), "?");
        assert_eq!(duration_ms(-1.0), "?");
        assert_eq!(duration_ms(1.5), "1.50 ms");
        assert_eq!(asked_seconds(60.0), "60 s");
        assert_eq!(asked_seconds(0.5), "0.5 s");
    }

    #[test]
    fn instants_offsets_bytes_rates() {
        assert_eq!(instant(12_403_000_000), "12.40 s");
        assert_eq!(instant_fine(12_403_400_000), "12.403 s");
        assert_eq!(instant_signed(-8_214_000_000), "-8.21 s");
        for (instants, decimals) in [
            (vec![], 3),
            (vec![5, 5], 3),
            (vec![1_000_000, 2_000_000], 3),
            (vec![3_610_000, 3_670_000, 9_000_000_000], 4),
            (vec![1, 2], 6),
        ] {
            assert_eq!(decimals_apart(&instants), decimals, "{instants:?}");
        }
        assert_eq!(instant_to(3_610_000, 4), "0.0036 s");
        assert_eq!(offset(310_000, Some(50_000)), "+310 µs ± 50.0 µs");
        assert_eq!(offset(-2_000_000, None), "−2.00 ms, bound unknown");
        for (value, text) in [
            (812, "812 B"),
            (1_000, "1.00 kB"),
            (4_212_000, "4.21 MB"),
            (999_600, "1.00 MB"),
            (3_000_000_000_000_000, "3,000 TB"),
        ] {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(rate(0.25), "0.25 /s");
        assert_eq!(rate(140.2), "140 /s");
        assert_eq!(rate(9_999.6), "10,000 /s");
        assert_eq!(seed(0x005e_ed42), "0x5eed42");
        assert_eq!(three_digits(f64::INFINITY), "?");
        assert_eq!(three_digits(-12.34), "-12.3");
    }
}
