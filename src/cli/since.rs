//! The argument of `--since`: a time, or how long ago.

use std::time::SystemTime;

use fieldgate_model::field::parse_duration;

/// Reads the argument of `--since`: a time, or how long ago.
///
/// # Errors
/// What may be written instead.
pub(super) fn parse(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = parse_duration(text) {
        // Further back than the clock reaches is everything.
        return Ok(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH));
    }
    let time = if text.contains([':', 'T', ' ']) { text.to_owned() } else { format!("{text} 00:00:00") };
    humantime::parse_rfc3339_weak(&time).map_err(|_| {
        "write a time in UTC such as 2026-11-22T10:00:00Z or 2026-11-22, or how long ago, such as 90min, 2h or 3d"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600);
        for text in ["2026-11-22T10:00:00Z", "2026-11-22 10:00:00", "2026-11-22T10:00:00"] {
            assert_eq!(parse(text), Ok(at), "{text}");
        }
        assert_eq!(parse("2026-11-22"), Ok(at - Duration::from_secs(36_000)));
        let (before, two_hours) = (SystemTime::now(), Duration::from_secs(7200));
        let parsed = parse("2h").unwrap();
        assert!((before - two_hours..=SystemTime::now() - two_hours).contains(&parsed));
        for text in ["", "yesterday", "2026-13-01", "-2h", "2026-11-22T10"] {
            assert!(parse(text).unwrap_err().contains("such as"), "{text}");
        }
    }
}
