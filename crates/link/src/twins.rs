//! Whether another gateway uses our topics. Pure: time is an argument.
//!
//! Two boards of one name obey the same commands and overwrite each other's states, and neither would notice. So each listens
//! to its own `B/status`. What it did not publish there itself is somebody else's: under MQTT 5 `online` carries the run as a
//! user property, under 3.1.1 each of ours comes back once. So does `B/health`, which names the run: it shows another one
//! whose `online` we missed. Retained copies say nothing and are left out by the caller.
//!
//! A foreign `online` is answered with ours, so that the other one learns of us too; a foreign `offline` is repaired, for the
//! retained status must be true of the one that runs. Both are limited in time: two that answer each other fall silent.

use std::time::Duration;

use serde::Deserialize;

/// An `offline` so soon after the connect is the will of our own connection before.
const OWN_WILL_WITHIN: Duration = Duration::from_secs(5);

/// A broker that ends publishes our will before it closes: an `offline` is somebody else's only if the connection outlives it
/// by this.
const OUTLIVED: Duration = Duration::from_secs(2);

/// Between two answers to a foreign `online`.
const ANSWER_EVERY: Duration = Duration::from_secs(30);

/// Between two repairs of the retained status.
const REPAIR_EVERY: Duration = Duration::from_secs(3);

/// When the other one has said `offline`, and nothing since for this long, it is gone.
const GONE: Duration = Duration::from_secs(600);

/// Who published a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This connection, or one of ours before it.
    Ours,
    /// It comes from another client.
    Foreign,
    /// Somebody else, if the connection does not end now.
    Unclear,
}

/// What one connection knows of others on its topics.
#[derive(Debug)]
pub(super) struct Twins {
    run: String,
    /// An `offline` before is our own.
    ours_until: Duration,
    /// Ours that have not come back, where they cannot be recognised.
    expected: u32,
    answered: Option<Duration>,
    published: Option<Duration>,
    /// Whether `online` must be published again.
    wanted: bool,
    /// When the other one said that it goes.
    gone: Option<Duration>,
    /// The first `offline` of which it is not known yet whose it is.
    unclear: Option<Duration>,
}

impl Twins {
    /// For a connection at `now`. `lingers` is how long the will of an earlier connection of ours may still come.
    pub(super) fn new(run: String, now: Duration, lingers: Duration) -> Self {
        let ours_until = now + lingers.max(OWN_WILL_WITHIN);
        Self { run, ours_until, expected: 0, answered: None, published: None, wanted: false, gone: None, unclear: None }
    }

    /// We publish `online` while we listen.
    pub(super) fn published(&mut self, now: Duration) {
        self.expected = self.expected.saturating_add(1);
        self.published = Some(now);
        self.wanted = false;
    }

    /// A live message on `B/status`; `nonce` is what makes an `online` of a gateway recognisable.
    pub(super) fn heard(&mut self, payload: &[u8], nonce: Option<&str>, now: Duration) -> Origin {
        if payload == b"online" {
            let ours = match nonce {
                Some(nonce) => nonce.starts_with(&self.run),
                None => self.expected > 0,
            };
            if ours {
                self.expected = self.expected.saturating_sub(1);
                return Origin::Ours;
            }
            self.answer(now);
            return Origin::Foreign;
        }
        self.wanted = true;
        if now < self.ours_until {
            return Origin::Ours;
        }
        self.gone = Some(now);
        self.unclear.get_or_insert(now);
        Origin::Unclear
    }

    /// A live message on `B/health`. One that names no run is no gateway's.
    pub(super) fn heard_health(&mut self, payload: &[u8], now: Duration) -> Origin {
        #[derive(Deserialize)]
        struct Health<'a> {
            run: &'a str,
        }
        match serde_json::from_slice::<Health>(payload) {
            // A run of our own before this one may still have been on its way.
            Ok(Health { run }) if run != self.run && now >= self.ours_until => {
                self.answer(now);
                Origin::Foreign
            }
            Ok(_) | Err(_) => Origin::Ours,
        }
    }

    /// The other one runs, and is to learn of us.
    fn answer(&mut self, now: Duration) {
        self.gone = None;
        if self.answered.is_none_or(|at| now.saturating_sub(at) >= ANSWER_EVERY) {
            self.answered = Some(now);
            self.wanted = true;
        }
    }

    /// Whether an `offline` has turned out to be somebody else's; says so once.
    pub(super) fn turns_out_foreign(&mut self, now: Duration) -> bool {
        self.unclear.take_if(|at| now.saturating_sub(*at) >= OUTLIVED).is_some()
    }

    /// Somebody wants to hear `online` again.
    pub(super) fn want_online(&mut self) {
        self.wanted = true;
    }

    /// Whether `online` is to be published again now.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.wanted && self.published.is_none_or(|at| now.saturating_sub(at) >= REPAIR_EVERY)
    }

    /// Whether the other one has been gone for long enough.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.gone.is_some_and(|at| now.saturating_sub(at) >= GONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(1000);
    const LATER: Duration = Duration::from_secs(2000);

    fn twins() -> Twins {
        Twins::new("0000abcd".into(), NOW, Duration::ZERO)
    }

    #[test]
    fn our_own_status_is_known_by_its_run_or_because_it_was_expected() {
        let mut twins = twins();
        assert_eq!(twins.heard(b"online", Some("0000abcd.7"), LATER), Origin::Ours);
        assert_eq!(twins.heard(b"online", Some("0000abce.7"), LATER), Origin::Foreign);
        assert_eq!(twins.heard(b"online", None, LATER), Origin::Foreign);
        twins.published(LATER);
        assert_eq!(twins.heard(b"online", None, LATER), Origin::Ours);
        assert_eq!(twins.heard(b"online", None, LATER), Origin::Foreign);
    }

    #[test]
    fn a_health_with_another_run_is_foreign_and_answered() {
        let mut twins = twins();
        twins.published(NOW);
        assert_eq!(twins.heard_health(br#"{"version":"1","run":"0000abcd"}"#, LATER), Origin::Ours);
        assert_eq!(twins.heard_health(br#"{"run":"0000abce"}"#, NOW + OWN_WILL_WITHIN / 2), Origin::Ours);
        for nobody in [&b""[..], b"{}", b"[1", br#"{"run":7}"#] {
            assert_eq!(twins.heard_health(nobody, LATER), Origin::Ours, "{nobody:?}");
        }
        assert!(!twins.is_due(LATER));
        assert_eq!(twins.heard_health(br#"{"run":"0000abce","uptime":3}"#, LATER), Origin::Foreign);
        assert!(twins.is_due(LATER));
        twins.published(LATER);
        assert_eq!(twins.heard_health(br#"{"run":"0000abce","uptime":4}"#, LATER + ANSWER_EVERY / 2), Origin::Foreign);
        assert!(!twins.is_due(LATER + ANSWER_EVERY / 2), "once is enough for a while");
    }

    #[test]
    fn the_will_of_our_last_connection_is_repaired_without_an_alarm() {
        let mut twins = twins();
        twins.published(NOW);
        assert_eq!(twins.heard(b"offline", None, NOW + OWN_WILL_WITHIN / 2), Origin::Ours);
        assert!(!twins.is_due(NOW + OWN_WILL_WITHIN / 2) && twins.is_due(NOW + REPAIR_EVERY));
    }

    #[test]
    fn an_offline_is_foreign_when_the_connection_outlives_it() {
        let mut twins = twins();
        twins.published(NOW);
        assert_eq!(twins.heard(b"offline", None, LATER), Origin::Unclear);
        assert_eq!(twins.heard(b"offline", None, LATER + OUTLIVED / 2), Origin::Unclear);
        assert!(!twins.turns_out_foreign(LATER + OUTLIVED / 2), "the broker may be ending");
        assert!(twins.turns_out_foreign(LATER + OUTLIVED) && !twins.turns_out_foreign(LATER + 2 * OUTLIVED));
    }

    #[test]
    fn the_other_one_is_gone_when_it_has_said_so_and_does_not_come_back() {
        let mut twins = twins();
        twins.heard(b"online", None, LATER);
        assert!(!twins.is_over(LATER + 2 * GONE), "it may just be silent");
        twins.heard(b"offline", None, LATER);
        assert!(!twins.is_over(LATER) && twins.is_over(LATER + GONE));
        twins.heard(b"online", None, LATER);
        assert!(!twins.is_over(LATER + GONE));
    }

    proptest! {
        /// Whatever a stranger publishes, and when: two gateways that hear each other publish rarely, and both know.
        #[test]
        fn two_that_hear_each_other_both_know_and_fall_silent(
            strangers in prop::collection::vec((0u64..120_000, any::<bool>()), 0..60),
            nonces: bool,
        ) {
            let mut pair = ["0000000a", "0000000b"].map(|run| Twins::new(run.into(), NOW, Duration::ZERO));
            let (mut knows, mut published) = ([false; 2], [0u64; 2]);
            let mut at = strangers;
            at.sort_unstable();
            let mut at = at.into_iter().peekable();
            // Both come up at the same time; each look is a tick of a quarter of a second, for two minutes and one of peace.
            for tick in 0..720u64 {
                let now = NOW + OWN_WILL_WITHIN + Duration::from_millis(tick * 250);
                let mut heard: Vec<(Option<usize>, &[u8])> = Vec::new();
                for index in 0..2 {
                    if tick == 0 || pair[index].is_due(now) {
                        pair[index].published(now);
                        published[index] += 1;
                        heard.push((Some(index), b"online"));
                    }
                }
                while at.next_if(|(ms, _)| *ms <= tick * 250).is_some_and(|(_, online)| {
                    heard.push((None, if online { b"online" } else { b"offline" }));
                    true
                }) {}
                for (from, payload) in heard {
                    for index in 0..2 {
                        let nonce = from.filter(|_| nonces).map(|from| ["0000000a.1", "0000000b.1"][from]);
                        let origin = pair[index].heard(payload, nonce, now);
                        knows[index] |= origin == Origin::Foreign;
                        prop_assert!(!nonces || from != Some(index) || origin == Origin::Ours);
                    }
                }
            }
            prop_assert_eq!(knows, [true; 2]);
            // One at the connect, and then one each five seconds at most while strangers publish.
            prop_assert!(published.iter().all(|count| *count <= 1 + 180 / REPAIR_EVERY.as_secs()), "{:?}", published);
            prop_assert!(pair.iter().all(|twins| !twins.wanted), "a war without an end");
        }
    }
}
