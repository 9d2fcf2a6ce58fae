//! How long a certificate is valid, and when that is reported.
//!
//! No parser of our own, and none besides the one that decides: webpki is asked whether the certificate is valid at the end
//! of time, and its refusal names the date. Dates are seconds since 1970, for a system time of 32 bits ends in 2038.

use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use fieldgate_model::{ClockStatus, Moment};

/// A certificate that expires so soon is reported.
const SOON: u64 = 30 * 24 * 3600;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// `None` for what webpki cannot read.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let until = match refusal(certificate, u64::MAX)? {
        Error::CertExpired { not_after, .. } => not_after.as_secs(),
        _ => return None,
    };
    let from = match refusal(certificate, 0) {
        Some(Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
        _ => 0,
    };
    Some(Validity { from, until })
}

/// The first of several to end.
pub(super) fn soonest(all: &[CertificateDer<'_>]) -> Option<Validity> {
    all.iter().filter_map(of).min_by_key(|validity| validity.until)
}

/// Why the certificate is not valid at `seconds`. The time is checked before anything else, so no authority is needed.
fn refusal(certificate: &CertificateDer<'_>, seconds: u64) -> Option<Error> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    certificate
        .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[], &[], time, KeyUsage::server_auth(), None, None)
        .err()
}

impl Validity {
    /// Whether it has ended.
    pub(super) fn is_over(self, now: Moment) -> bool {
        seconds(now) > self.until
    }

    /// What is to be said of the certificate called `name`. With a clock that may be wrong, nothing.
    pub(crate) fn notice(self, name: &str, now: Moment) -> Option<String> {
        if now.clock == ClockStatus::Unsynchronised {
            return None;
        }
        let now = seconds(now);
        if now > self.until {
            Some(format!("{name} expired on {}", date(self.until)))
        } else if now < self.from {
            Some(format!("{name} is not valid before {}", date(self.from)))
        } else if self.until - now <= SOON {
            Some(format!("{name} expires on {}", date(self.until)))
        } else {
            None
        }
    }
}

fn seconds(now: Moment) -> u64 {
    now.wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2026-12-24`, in UTC.
pub(super) fn date(seconds: u64) -> String {
    // humantime knows the years that X.509 can write, and ends there.
    const LAST: u64 = 253_402_300_799;
    match SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.min(LAST))) {
        Some(time) => humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect(),
        None => "a day after 2038".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    fn at(days: u64, clock: ClockStatus) -> Moment {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(days * DAY);
        Moment { boot: Duration::ZERO, wall, clock }
    }

    #[test]
    fn an_end_is_reported_thirty_days_before_and_only_by_a_clock_that_is_right() {
        let validity = Validity { from: 20_000 * DAY, until: 20_100 * DAY };
        let said = |days| validity.notice("it", at(days, ClockStatus::Synchronised));
        assert_eq!(said(20_000), None);
        assert_eq!(said(20_069), None);
        assert_eq!(said(20_070).as_deref(), Some("it expires on 2025-01-12"));
        assert_eq!(said(20_100).as_deref(), Some("it expires on 2025-01-12"));
        assert_eq!(said(20_101).as_deref(), Some("it expired on 2025-01-12"));
        assert_eq!(said(19_999).as_deref(), Some("it is not valid before 2024-10-04"));
        assert_eq!(validity.notice("it", at(20_101, ClockStatus::Unsynchronised)), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&b""[..], b"\x30", b"\x30\x03\x02\x01\x00", &[0x30; 4096]] {
            assert_eq!(of(&CertificateDer::from(bytes)), None);
        }
        assert_eq!(date(u64::MAX), "9999-12-31");
    }
}
