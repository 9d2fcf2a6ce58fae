//! How old a command may be.

use std::time::{Duration, SystemTime};

use fieldgate_model::field::format_duration;
use fieldgate_model::{ClockStatus, Moment, Reason, Refusal};

/// Refuses a command by the time at which it was issued, as far as our own clock can be trusted. One that comes from the
/// future was issued by a clock that is wrong, and so may have been issued at any time.
pub(super) fn not_too_old(
    issued_at: Option<SystemTime>,
    max_age: Option<Duration>,
    now: Moment,
) -> Result<(), Refusal> {
    let (Some(issued_at), Some(max_age), ClockStatus::Synchronised) = (issued_at, max_age, now.clock) else {
        return Ok(());
    };
    let refuse = |words| Err(Refusal::new(Reason::Expired, words));
    let most = format_duration(max_age);
    match now.wall.duration_since(issued_at) {
        Ok(age) if age > max_age => refuse(format!("it was issued {} s ago, and max_age is {most}", age.as_secs())),
        Err(ahead) if ahead.duration() > max_age => {
            let ahead = ahead.duration().as_secs();
            refuse(format!("it was issued {ahead} s ahead of this gateway's clock, and max_age is {most}"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_refused_by_its_age_only_when_our_own_clock_is_right() {
        let s = Duration::from_secs;
        let now = SystemTime::UNIX_EPOCH + s(1_795_341_600);
        let check = |issued: SystemTime, clock| {
            not_too_old(Some(issued), Some(s(60)), Moment { boot: s(5), wall: now, clock }).map_err(|r| r.to_string())
        };
        let synchronised = ClockStatus::Synchronised;
        assert_eq!(check(now - s(60), synchronised), Ok(()));
        let old = "expired: it was issued 61 s ago, and max_age is 1m".to_owned();
        assert_eq!(check(now - s(61), synchronised), Err(old));
        let early = "expired: it was issued 90 s ahead of this gateway's clock, and max_age is 1m".to_owned();
        assert_eq!(check(now + s(90), synchronised), Err(early));
        assert_eq!(check(now - s(1_000_000), ClockStatus::Unsynchronised), Ok(()));
        let moment = Moment { boot: s(5), wall: now, clock: synchronised };
        assert_eq!(not_too_old(Some(now - s(100)), None, moment), Ok(()));
        assert_eq!(not_too_old(None, Some(s(60)), moment), Ok(()));
    }
}
