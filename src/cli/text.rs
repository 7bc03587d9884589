//! Small languages of the command line: escapes, points in time, sizes for people.

use crate::types::TimestampMs;

/// A count with its noun: `1 node`, `3 nodes`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Turns `\n`, `\r`, `\t`, `\0`, `\\` and `\xNN` into the bytes they stand for.
///
/// # Errors
/// Says which escape is not one.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape_one(&rest[at + 1..], &mut out)?;
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// The byte of one escape, whose backslash was taken; returns what follows it.
pub(super) fn unescape_one<'a>(text: &'a str, out: &mut Vec<u8>) -> Result<&'a str, String> {
    let mut characters = text.chars();
    let byte = match characters.next() {
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits = text.get(1..3).unwrap_or_default();
            let byte = u8::from_str_radix(digits, 16);
            let byte = byte.map_err(|_| format!("'\\x{digits}' needs two hexadecimal digits"))?;
            out.push(byte);
            return Ok(&text[3..]);
        }
        Some(other) => {
            return Err(format!("'\\{other}' is no escape; there are \\n \\r \\t \\0 \\\\ \\xNN"));
        }
        None => return Err("a backslash stands at the end; write \\\\ for one".to_owned()),
    };
    out.push(byte);
    Ok(characters.as_str())
}

/// Reads a point in time: milliseconds since 1970, a span before `now` such as `-90m`, or an ISO
/// 8601 date with or without a time, in UTC unless it names another offset.
///
/// # Errors
/// Says which forms there are.
pub(super) fn timestamp(text: &str, now: TimestampMs) -> Result<TimestampMs, String> {
    if let Ok(ms) = text.parse::<i64>()
        && ms >= 0
    {
        return Ok(TimestampMs(ms));
    }
    let span = text.strip_prefix('-').and_then(span_ms);
    if let Some(span_ms) = span {
        return Ok(TimestampMs(now.0.saturating_sub(span_ms).max(0)));
    }
    iso_8601(text).map(TimestampMs).ok_or_else(|| {
        format!(
            "'{text}' is no point in time; write milliseconds since 1970, a date such as \
             2026-03-01T12:00:00Z, or a span before now such as -90m"
        )
    })
}

fn span_ms(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: i64 = digits.parse().ok().filter(|number| *number >= 0)?;
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms)
}

/// `YYYY-MM-DD`, then perhaps `T` or a blank and `HH:MM[:SS[.fff]]`, then perhaps `Z` or `±HH:MM`.
fn iso_8601(text: &str) -> Option<i64> {
    let number = |part: &str| part.parse::<i64>().ok().filter(|_| part.is_ascii());
    let (date, time) = match text.split_at_checked(10)? {
        (date, "") => (date, "00:00:00Z"),
        (date, rest) => (date, rest.strip_prefix(['T', ' '])?),
    };
    let mut fields = date.split('-');
    let (year, month, day) =
        (number(fields.next()?)?, number(fields.next()?)?, number(fields.next()?)?);
    if fields.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (clock, offset_minutes) = match time.find(['Z', '+', '-']) {
        None => (time, 0),
        Some(at) => match &time[at..] {
            "Z" => (&time[..at], 0),
            zone => {
                let (hours, minutes) = zone[1..].split_once(':')?;
                let minutes = number(hours)? * 60 + number(minutes)?;
                (&time[..at], if zone.starts_with('-') { -minutes } else { minutes })
            }
        },
    };
    let mut fields = clock.split(':');
    let (hour, minute) = (number(fields.next()?)?, number(fields.next()?)?);
    let seconds: f64 = fields.next().unwrap_or("0").parse().ok()?;
    let in_range = (0..24).contains(&hour) && (0..60).contains(&minute);
    if !in_range || !(0.0..61.0).contains(&seconds) {
        return None;
    }
    let minutes = days_since_1970(year, month, day) * 1_440 + hour * 60 + minute - offset_minutes;
    Some(minutes * 60_000 + (seconds * 1_000.0).round() as i64)
}

/// Days of the Gregorian calendar, counted in years that begin in March, so that the leap day is
/// the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let days = (153 * months_since_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Day 0 of this count is the first of March of year 0, 719,468 days before 1970.
    year * 365 + leap_days + days - 719_468
}

/// Bytes with a unit, for people.
pub(super) fn bytes_for_people(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_bytes() {
        assert_eq!(unescape(r"a\t\x00\xfF\\\n"), Ok(b"a\t\0\xff\\\n".to_vec()));
        assert_eq!(unescape("plain ü"), Ok("plain ü".as_bytes().to_vec()));
        for bad in [r"\q", r"\", r"\x", r"\x1", r"\xzz", r"\xü"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn points_in_time_are_read_in_all_their_forms() {
        let now = TimestampMs(10_000_000);
        let read = |text: &str| timestamp(text, now).map(|at| at.0).ok();
        assert_eq!(read("1700000000123"), Some(1_700_000_000_123));
        assert_eq!(read("-2h"), Some(10_000_000 - 7_200_000));
        assert_eq!(read("-9999d"), Some(0));
        assert_eq!(read("1970-01-01"), Some(0));
        assert_eq!(read("2000-02-29T12:00:00Z"), Some(951_825_600_000));
        assert_eq!(read("2023-11-14T22:13:20.123Z"), Some(1_700_000_000_123));
        assert_eq!(read("2023-11-14 23:13:20+01:00"), Some(1_700_000_000_000));
        for bad in ["", "yesterday", "2023-13-01", "2023-1-1", "2023-11-14T25:00", "-5", "-5y"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes_for_people(999), "999 B");
        assert_eq!(bytes_for_people(1_234_567), "1.2 MB");
    }
}
