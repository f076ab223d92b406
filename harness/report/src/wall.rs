//! Wall-clock time without a clock: nanoseconds since 1970 to text, and time stamps in log lines back to them.
//!
//! Everything is UTC. A time stamp without a zone is taken as UTC, because the nodes of a lab are set so.
//! Calendar arithmetic is the proleptic Gregorian one, counted in eras of 400 years that begin in March.

use crate::number::NS_PER_S;

/// Seconds in a day.
const DAY_S: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;
/// Days in 400 years.
const ERA_DAYS: i64 = 146_097;
/// How far into a line a time stamp is looked for, in bytes.
const STAMP_WITHIN_BYTES: usize = 80;

/// Days since 1970-01-01 of a date.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - EPOCH_DAYS
}

/// Year, month and day of a number of days since 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let era = days.div_euclid(ERA_DAYS);
    let day_of_era = days.rem_euclid(ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// `2026-11-22 04:14:11 UTC`.
#[must_use]
pub fn utc(wall_ns: u64) -> String {
    let seconds = (wall_ns / NS_PER_S) as i64;
    let (year, month, day) = date_of(seconds.div_euclid(DAY_S));
    let (hour, minute, second) = clock_of(seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `04:14:11.123`: the time of day, for what is known to be near.
#[must_use]
pub fn time_of_day(wall_ns: u64) -> String {
    let (hour, minute, second) = clock_of((wall_ns / NS_PER_S) as i64);
    let ms = wall_ns % NS_PER_S / 1_000_000;
    format!("{hour:02}:{minute:02}:{second:02}.{ms:03}")
}

fn clock_of(seconds: i64) -> (i64, i64, i64) {
    let of_day = seconds.rem_euclid(DAY_S);
    (of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// Finds `2026-11-22T04:14:11.123Z`, with `/` for `-`, a space for `T`, `,` for `.`, or `+01:00` for `Z`, near the
/// beginning of a line; gives nanoseconds since 1970.
#[must_use]
pub fn stamp_in(line: &[u8]) -> Option<u64> {
    let head = &line[..line.len().min(STAMP_WITHIN_BYTES)];
    (0..head.len()).find_map(|start| {
        let fresh = start == 0 || !head[start - 1].is_ascii_digit();
        if fresh && head[start].is_ascii_digit() {
            parse_stamp(&line[start..])
        } else {
            None
        }
    })
}

fn parse_stamp(text: &[u8]) -> Option<u64> {
    let year = digits(text, 0, 4)?;
    let separator = *text.get(4)?;
    if !matches!(separator, b'-' | b'/') || text.get(7) != Some(&separator) {
        return None;
    }
    let (month, day) = (digits(text, 5, 2)?, digits(text, 8, 2)?);
    let clock_ok = matches!(text.get(10)?, b'T' | b' ')
        && text.get(13) == Some(&b':')
        && text.get(16) == Some(&b':');
    let (hour, minute, second) = (
        digits(text, 11, 2)?,
        digits(text, 14, 2)?,
        digits(text, 17, 2)?,
    );
    let in_range = (1970..=2500).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !clock_ok || !in_range {
        return None;
    }
    let mut at = 19;
    let mut fraction_ns = 0;
    if matches!(text.get(at), Some(b'.' | b',')) {
        at += 1;
        let mut unit = NS_PER_S as i64 / 10;
        while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
            fraction_ns += i64::from(digit - b'0') * unit;
            unit /= 10;
            at += 1;
        }
    }
    let zone_s = zone(&text[at.min(text.len())..]);
    let seconds = days_of(year, month, day) * DAY_S + hour * 3_600 + minute * 60 + second - zone_s;
    u64::try_from(
        seconds
            .checked_mul(NS_PER_S as i64)?
            .checked_add(fraction_ns)?,
    )
    .ok()
}

/// Seconds east of UTC; 0 for `Z` and for none.
fn zone(text: &[u8]) -> i64 {
    let sign = match text.first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return 0,
    };
    let minutes_at = if text.get(3) == Some(&b':') { 4 } else { 3 };
    match (digits(text, 1, 2), digits(text, minutes_at, 2)) {
        (Some(hours), Some(minutes)) => sign * (hours * 3_600 + minutes * 60),
        _ => 0,
    }
}

fn digits(text: &[u8], at: usize, length: usize) -> Option<i64> {
    text.get(at..at + length)?.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for days in (-200_000..200_000).step_by(37) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(1_709_208_000 * NS_PER_S), "2024-02-29 12:00:00 UTC");
        assert_eq!(time_of_day(1_709_208_000_123_000_000), "12:00:00.123");
    }

    #[test]
    fn stamps_are_found_in_the_shapes_that_logs_have() {
        let noon = 1_709_208_000 * NS_PER_S;
        for (line, expected) in [
            ("2024-02-29T12:00:00Z ready", Some(noon)),
            ("2024-02-29T12:00:00.5Z", Some(noon + 500_000_000)),
            ("2024/02/29 12:00:00.250000 x", Some(noon + 250_000_000)),
            ("time=\"2024-02-29T13:00:00+01:00\" level=info", Some(noon)),
            ("[2024-02-29 12:00:00,001] x", Some(noon + 1_000_000)),
            ("2024-02-29T07:00:00-0500", Some(noon)),
            ("2024-02-29T12:00", None),
            ("12024-02-29T12:00:00", None),
            ("2024-13-29T12:00:00", None),
            ("goroutine 1 [running]:", None),
            ("", None),
        ] {
            assert_eq!(stamp_in(line.as_bytes()), expected, "{line}");
        }
    }
}
