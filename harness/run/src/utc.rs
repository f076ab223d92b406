//! UTC times for names of folders: `20261122T041421Z`.
//!
//! The calendar is computed in years that begin in March, so that the day which some years have in addition is
//! their last, and months have a regular pattern (the method of the Gregorian calendar's 400-year cycle).

/// Days in 400 years.
const CYCLE_DAYS: u64 = 146_097;
/// Days from 1 March of year 0 to 1 January 1970.
const EPOCH_DAYS: u64 = 719_468;
const DAY_SECONDS: u64 = 86_400;

/// Year, month (1 to 12) and day (1 to 31) of that many days after 1 January 1970.
#[must_use]
pub fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + EPOCH_DAYS;
    let (cycle, day_of_cycle) = (days / CYCLE_DAYS, days % CYCLE_DAYS);
    // Without the leap days up to here every year has 365.
    let leap_days = day_of_cycle / 1460 - day_of_cycle / 36_524 + day_of_cycle / (CYCLE_DAYS - 1);
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // From March on, five months have 153 days, again and again.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = 400 * cycle + year_of_cycle + u64::from(month <= 2);
    (year, month, day)
}

/// `20261122T041421Z` of nanoseconds since 1970. Sorts as time does.
#[must_use]
pub fn compact(wall_ns: u64) -> String {
    let seconds = wall_ns / 1_000_000_000;
    let (year, month, day) = civil_date(seconds / DAY_SECONDS);
    let of_day = seconds % DAY_SECONDS;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        // From `date -u -d @N`.
        let table = [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_800, "20000301T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (1_735_689_599, "20241231T235959Z"),
            (1_795_320_861, "20261122T041421Z"),
            (4_107_542_400, "21000301T000000Z"),
        ];
        for (seconds, text) in table {
            assert_eq!(compact(seconds * 1_000_000_000 + 7), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = civil_date(0);
        for day in 1..200_000 {
            let date = civil_date(day);
            let next_day = (date.0, date.1) == (before.0, before.1) && date.2 == before.2 + 1;
            let next_month = date.2 == 1
                && before.2 >= 28
                && (date.1 == before.1 + 1 && date.0 == before.0
                    || date.1 == 1 && before.1 == 12 && date.0 == before.0 + 1);
            assert!(next_day || next_month, "{before:?} {date:?}");
            before = date;
        }
        assert_eq!(before, (2517, 7, 31));
    }
}
