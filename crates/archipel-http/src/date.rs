//! HTTP dates (RFC 9110 section 5.6.7): a lenient parser and a fast writer.
//!
//! Owns the only notion of time in this crate, [`UnixSeconds`]. Must never read a clock.

use http::HeaderValue;

/// Seconds since the Unix epoch, without leap seconds. Negative before 1970.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub i64);

/// The greatest delta-seconds value that is told apart: 2^31 (RFC 9111 section 1.2.2).
pub const DELTA_SECONDS_MAX: u32 = 1 << 31;

/// The length of an IMF-fixdate, in bytes.
pub const HTTP_DATE_BYTES: usize = 29;

/// A date field longer than this is not looked at. The longest valid form, RFC 850 with `Wednesday`, has 33 bytes.
pub const HTTP_DATE_BYTES_MAX: usize = 40;

/// The last second that the four-digit year of an IMF-fixdate can name: 31 Dec 9999 23:59:59.
const UNIX_SECONDS_MAX: i64 = 253_402_300_799;

/// The first second that is written: 1 Jan 0000 00:00:00.
const UNIX_SECONDS_MIN: i64 = -62_167_219_200;

const SECONDS_A_DAY: i64 = 86_400;
const SECONDS_A_YEAR: i64 = 31_556_952;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const WEEKDAYS_LONG: [&[u8]; 7] = [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];

impl UnixSeconds {
    /// Seconds from `earlier` until `self`, 0 when `earlier` is later, at most [`DELTA_SECONDS_MAX`].
    pub fn since(self, earlier: UnixSeconds) -> u32 {
        let delta = self.0.saturating_sub(earlier.0);
        delta.clamp(0, i64::from(DELTA_SECONDS_MAX)) as u32
    }

    /// This time moved by `seconds` into the future.
    pub fn plus(self, seconds: u32) -> UnixSeconds {
        UnixSeconds(self.0.saturating_add(i64::from(seconds)))
    }

    /// The IMF-fixdate of this time, clamped to the years 0 to 9999.
    pub fn format(self) -> [u8; HTTP_DATE_BYTES] {
        format_http_date(self)
    }

    /// The IMF-fixdate as a field value.
    pub fn to_header_value(self) -> HeaderValue {
        // The writer emits digits, ASCII letters, commas, colons and spaces only.
        HeaderValue::from_bytes(&self.format()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// Parses an HTTP date: IMF-fixdate, RFC 850 and asctime forms, names in any case.
///
/// `now` settles the century of RFC 850's two-digit year: a date more than 50 years ahead is taken to be in the past
/// (RFC 9110 section 5.6.7). The weekday's name must be one, but need not be the right one. `None` for everything else; for
/// `Expires` that means already expired.
pub fn parse_http_date(value: &[u8], now: UnixSeconds) -> Option<UnixSeconds> {
    if value.len() > HTTP_DATE_BYTES_MAX {
        return None;
    }
    let value = value.trim_ascii();
    match value.get(3)? {
        b',' => parse_imf(value),
        b' ' => parse_asctime(value),
        _ => parse_rfc850(value, now),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse_imf(value: &[u8]) -> Option<UnixSeconds> {
    let value: &[u8; HTTP_DATE_BYTES] = value.try_into().ok()?;
    let literal = value[4] == b' ' && value[7] == b' ' && value[11] == b' ' && value[16] == b' ';
    if !literal || !value[25..].eq_ignore_ascii_case(b" GMT") || !is_weekday(&value[..3]) {
        return None;
    }
    let year = two_digits(&value[12..14])? * 100 + two_digits(&value[14..16])?;
    let day = two_digits(&value[5..7])?;
    assemble(year, month(&value[8..11])?, day, time_of_day(&value[17..25])?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn parse_rfc850(value: &[u8], now: UnixSeconds) -> Option<UnixSeconds> {
    let comma = value.iter().position(|b| *b == b',')?;
    let (weekday, rest) = value.split_at(comma);
    if !WEEKDAYS_LONG.iter().any(|name| name.eq_ignore_ascii_case(weekday)) {
        return None;
    }
    let rest: &[u8; 24] = rest.try_into().ok()?;
    let literal = rest[1] == b' ' && rest[4] == b'-' && rest[8] == b'-' && rest[11] == b' ';
    if !literal || !rest[20..].eq_ignore_ascii_case(b" GMT") {
        return None;
    }
    let day = two_digits(&rest[2..4])?;
    let month = month(&rest[5..8])?;
    let short_year = two_digits(&rest[9..11])?;
    let time = time_of_day(&rest[12..20])?;
    let (this_year, _, _) = civil_from_days(now.0.div_euclid(SECONDS_A_DAY));
    let century = this_year - this_year.rem_euclid(100);
    let mut year = century + short_year;
    let horizon = now.0.saturating_add(50 * SECONDS_A_YEAR);
    // 29 February exists in one century only: the century is settled on a date that exists in all.
    if assemble(year, month, day.min(28), time)?.0 > horizon {
        year -= 100;
    } else if assemble(year + 100, month, day.min(28), time).is_some_and(|t| t.0 <= horizon) {
        year += 100;
    }
    assemble(year, month, day, time)
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(value: &[u8]) -> Option<UnixSeconds> {
    let value: &[u8; 24] = value.try_into().ok()?;
    let literal = value[3] == b' ' && value[7] == b' ' && value[10] == b' ' && value[19] == b' ';
    if !literal || !is_weekday(&value[..3]) {
        return None;
    }
    let day = match value[8] {
        b' ' => digit(value[9])?,
        _ => two_digits(&value[8..10])?,
    };
    let year = two_digits(&value[20..22])? * 100 + two_digits(&value[22..24])?;
    assemble(year, month(&value[4..7])?, day, time_of_day(&value[11..19])?)
}

fn is_weekday(name: &[u8]) -> bool {
    WEEKDAYS.iter().any(|weekday| weekday.eq_ignore_ascii_case(name))
}

fn month(name: &[u8]) -> Option<i64> {
    let index = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    Some(index as i64 + 1)
}

fn digit(byte: u8) -> Option<i64> {
    byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
}

fn two_digits(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [a, b] => Some(digit(*a)? * 10 + digit(*b)?),
        _ => None,
    }
}

/// `08:49:37` as seconds into the day; second 60 is a leap second (RFC 9110 section 5.6.7).
fn time_of_day(bytes: &[u8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = bytes else {
        return None;
    };
    let hour = two_digits(&[*h1, *h2])?;
    let minute = two_digits(&[*m1, *m2])?;
    let second = two_digits(&[*s1, *s2])?;
    let valid = hour < 24 && minute < 60 && second <= 60;
    valid.then_some(hour * 3600 + minute * 60 + second)
}

fn assemble(year: i64, month: i64, day: i64, time: i64) -> Option<UnixSeconds> {
    if day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some(UnixSeconds(days_from_civil(year, month, day) * SECONDS_A_DAY + time))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1 January 1970 of a date in the proleptic Gregorian calendar, by eras of 400 years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`]: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn format_http_date(time: UnixSeconds) -> [u8; HTTP_DATE_BYTES] {
    let seconds = time.0.clamp(UNIX_SECONDS_MIN, UNIX_SECONDS_MAX);
    let days = seconds.div_euclid(SECONDS_A_DAY);
    let second_of_day = seconds.rem_euclid(SECONDS_A_DAY);
    let (year, month, day) = civil_from_days(days);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    out[..3].copy_from_slice(WEEKDAYS[days.rem_euclid(7) as usize]);
    put_two(&mut out, 5, day);
    out[8..11].copy_from_slice(MONTHS[(month as usize).clamp(1, 12) - 1]);
    put_two(&mut out, 12, year / 100);
    put_two(&mut out, 14, year % 100);
    put_two(&mut out, 17, second_of_day / 3600);
    put_two(&mut out, 20, second_of_day / 60 % 60);
    put_two(&mut out, 23, second_of_day % 60);
    out
}

fn put_two(out: &mut [u8; HTTP_DATE_BYTES], at: usize, value: i64) {
    out[at] = b'0' + (value / 10) as u8;
    out[at + 1] = b'0' + (value % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 22 November 2026, 16:23:10 UTC.
    const NOW: UnixSeconds = UnixSeconds(1_795_364_590);

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        let parsed = parse_http_date(text.as_bytes(), NOW);
        assert_eq!(parsed.map(|t| t.0), expected, "{text}");
    }

    #[test]
    fn three_forms_and_any_case() {
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777));
        check("Sun Nov  6 08:49:37 1994", Some(784_111_777));
        check("SUN, 06 nov 1994 08:49:37 gMt", Some(784_111_777));
        check("sunday, 06-NOV-94 08:49:37 gmt", Some(784_111_777));
        check(" Sun, 06 Nov 1994 08:49:37 GMT ", Some(784_111_777));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Tue, 19 Jan 2038 14:14:08 GMT", Some(2_147_523_248));
        check("Sun, 21 Nov 2286 04:46:39 GMT", Some(10_000_039_599));
        check("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800));
    }

    #[test]
    fn two_digit_years_look_at_most_fifty_years_ahead() {
        check("Thursday, 18-Aug-50 02:01:18 GMT", parse_http_date(b"Thu, 18 Aug 2050 02:01:18 GMT", NOW).map(|t| t.0));
        check("Monday, 01-Jan-76 00:00:00 GMT", parse_http_date(b"Mon, 01 Jan 2076 00:00:00 GMT", NOW).map(|t| t.0));
        check("Monday, 01-Jan-77 00:00:00 GMT", parse_http_date(b"Mon, 01 Jan 1977 00:00:00 GMT", NOW).map(|t| t.0));
        let in_1999 = UnixSeconds(930_000_000);
        let parsed = parse_http_date(b"Monday, 01-Jan-20 00:00:00 GMT", in_1999);
        assert_eq!(parsed, parse_http_date(b"Mon, 01 Jan 2020 00:00:00 GMT", in_1999));
    }

    #[test]
    fn invalid_dates() {
        for text in [
            "",
            "0",
            "-1",
            "foo",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 31 Apr 2050 02:01:18 GMT",
            "Thu, 29 Feb 2049 02:01:18 GMT",
            "Thu, 00 Apr 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, 18 Aug 2050 02:60:18 GMT",
            "Thu, 18 Aug 2050 02:01:61 GMT",
            "Foo, 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 Foo 2050 02:01:18 GMT",
            "Thursday, 18-Aug-2050 02:01:18 GMT",
            "Thu Aug  8 02:01:18 2050 GMT",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for seconds in [0, 784_111_777, 951_782_400, 4_107_542_399, UNIX_SECONDS_MAX, 1_795_364_590] {
            let written = UnixSeconds(seconds).format();
            let text = String::from_utf8_lossy(&written).into_owned();
            check(&text, Some(seconds));
        }
        assert_eq!(&UnixSeconds(784_111_777).format(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&UnixSeconds(i64::MAX).format(), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(&UnixSeconds(i64::MIN).format(), b"Sat, 01 Jan 0000 00:00:00 GMT");
    }

    #[test]
    fn distances_saturate() {
        assert_eq!(UnixSeconds(10).since(UnixSeconds(4)), 6);
        assert_eq!(UnixSeconds(4).since(UnixSeconds(10)), 0);
        assert_eq!(UnixSeconds(i64::MAX).since(UnixSeconds(i64::MIN)), DELTA_SECONDS_MAX);
    }
}
