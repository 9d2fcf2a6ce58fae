//! The limits of one connection: when it is ended for its silence or for what it does not acknowledge. Pure.

use std::time::Duration;

use super::session::Cause;

/// Something unacknowledged for this long means a broker that does not work, however often it answers pings.
const STALLED: Duration = Duration::from_secs(30);

/// How long the end of the connection may be away after the client library has given a message up.
const END_FOLLOWS: Duration = Duration::from_secs(1);

/// A silence below this may be one lost packet, which TCP repeats after a second or two.
const SHORTEST_SILENCE: Duration = Duration::from_millis(2500);

/// As much as the broker allows us (MQTT 5, 3.1.2.10), less the time until we look, which is done at this `pace`.
fn longest_silence(keep_alive: Duration, pace: Duration) -> Duration {
    (keep_alive * 3 / 2).saturating_sub(2 * pace).max(SHORTEST_SILENCE)
}

/// What is to be done about the broker's silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It is short: nothing is to be done.
    Short,
    /// Ask it to say something.
    Ask,
    /// It is too long: end the connection, with this cause.
    TooLong(Cause),
}

/// The times by which the limits go.
#[derive(Debug)]
pub(super) struct Limits {
    /// When something was last acknowledged, or the window last became not empty.
    progress: Duration,
    /// When the library gave a message up; the end must follow at once.
    gave_up: Option<Duration>,
    /// When the broker was asked to say something.
    asked: Duration,
}

impl Limits {
    /// Of a connection that begins.
    pub(super) fn new(now: Duration) -> Self {
        Self { progress: now, gave_up: None, asked: now }
    }

    /// Something was acknowledged, or is the first that is on its way.
    pub(super) fn progressed(&mut self, now: Duration) {
        self.progress = now;
    }

    /// The library gave a message up.
    pub(super) fn gave_up(&mut self, now: Duration) {
        self.gave_up.get_or_insert(now);
    }

    /// Whether the end of the connection is expected.
    pub(super) fn is_ending(&self) -> bool {
        self.gave_up.is_some()
    }

    /// Why the connection must end, although the broker may be talking.
    pub(super) fn exceeded(&self, is_waiting: bool, now: Duration) -> Option<Cause> {
        if self.gave_up.is_some_and(|at| now.saturating_sub(at) > END_FOLLOWS) {
            return Some(Cause::other("the client library gave a message up"));
        }
        let stalled = now.saturating_sub(self.progress);
        (is_waiting && stalled >= STALLED)
            .then(|| Cause::other(format!("the broker has acknowledged nothing for {} s", stalled.as_secs())))
    }

    /// The broker was last `heard` at that time; this is looked at every `pace`.
    pub(super) fn silence(&mut self, heard: Duration, keep_alive: Duration, pace: Duration, now: Duration) -> Silence {
        let silence = now.saturating_sub(heard);
        // The library would allow for two keep-alives; ours also counts while it is stuck in a write.
        if silence >= longest_silence(keep_alive, pace) {
            let words = format!("the broker has said nothing for {:.1} s", silence.as_secs_f64());
            return Silence::TooLong(Cause::other(words));
        }
        // Asked early, so that the answer has a whole keep-alive. Health is published as often, so this is rare.
        let ask = keep_alive / 2;
        if silence < ask || now.saturating_sub(self.asked) < ask {
            return Silence::Short;
        }
        self.asked = now;
        Silence::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const PACE: Duration = Duration::from_millis(250);
    const KEEP_ALIVE: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_not_acknowledged_ends_the_connection_after_half_a_minute_and_an_empty_window_never() {
        let mut limits = Limits::new(NOW);
        limits.progressed(NOW + PACE);
        assert_eq!(limits.exceeded(true, NOW + STALLED), None);
        assert_eq!(limits.exceeded(false, NOW + PACE + STALLED), None);
        let cause = limits.exceeded(true, NOW + PACE + STALLED).unwrap();
        assert_eq!(cause.words, "the broker has acknowledged nothing for 30 s");
    }

    #[test]
    fn after_the_library_gave_a_message_up_the_end_must_follow_at_once() {
        let mut limits = Limits::new(NOW);
        assert!(!limits.is_ending());
        limits.gave_up(NOW);
        limits.gave_up(NOW + END_FOLLOWS);
        assert_eq!((limits.is_ending(), limits.exceeded(false, NOW + END_FOLLOWS)), (true, None));
        assert!(limits.exceeded(false, NOW + END_FOLLOWS + PACE).is_some());
    }

    #[test]
    fn a_silent_broker_is_asked_once_in_half_a_keep_alive_and_left_when_it_goes_on() {
        let mut limits = Limits::new(NOW);
        let mut after = |silence: u64| limits.silence(NOW, KEEP_ALIVE, PACE, NOW + Duration::from_secs(silence));
        assert_eq!((after(4), after(5), after(6), after(9), after(10)), {
            (Silence::Short, Silence::Ask, Silence::Short, Silence::Short, Silence::Ask)
        });
        assert_eq!(after(15), Silence::TooLong(Cause::other("the broker has said nothing for 15.0 s")));
    }
}
