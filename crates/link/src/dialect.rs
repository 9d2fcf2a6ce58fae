//! Which generation of MQTT one broker knows. Pure.
//!
//! With `protocol: auto` MQTT 5 is tried first. A broker from before MQTT 5 answers it in the form of 3.1.1, or hangs up without
//! a word; then 3.1.1 is tried at once. What was accepted is remembered. A hang-up may also be the network's: where 3.1.1 is
//! accepted after one, MQTT 5 is tried once more, and only a second hang-up settles it. Where both are hung up on, the protocol
//! is not the cause: each round then begins with 5 again, and has one attempt with each.

use std::time::Duration;

use super::session::CauseKind;
use super::{Protocol, ProtocolChoice};

/// So many attempts in a row must be hung up on before a protocol that was accepted once is doubted: a broker that ends hangs
/// up as well.
const DOUBTS: u32 = 3;

/// After this time the next connect tries MQTT 5 again, for a broker may have been replaced by a newer one.
const LEARN_AGAIN: Duration = Duration::from_secs(3600);

/// What is known of one broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    choice: ProtocolChoice,
    current: Protocol,
    /// When the broker has accepted the current one for the first time.
    proven: Option<Duration>,
    /// The current one is tried because the other has failed just before.
    second: bool,
    /// MQTT 5 was hung up on before, by a broker that then accepted 3.1.1.
    suspected: bool,
    /// There is no doubt that the broker does not know MQTT 5, should it accept the current one.
    certain: bool,
    /// Attempts with the current one that were hung up on, in a row.
    doubts: u32,
}

/// What it means that a broker has accepted us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// Nothing that was not known.
    Usual,
    /// It has become known that this broker knows 3.1.1 only.
    IsOld,
    /// It accepts 3.1.1 after a hang-up that may have been the network's: MQTT 5 is to be tried once more.
    Unclear,
}

impl Dialect {
    /// Nothing is known.
    pub(super) fn new(choice: ProtocolChoice) -> Self {
        let (current, proven) = (choice.first(), None);
        Self { choice, current, proven, second: false, suspected: false, certain: false, doubts: 0 }
    }

    /// What to try next.
    pub(super) fn next(&mut self, now: Duration) -> Protocol {
        if self.proven.is_some_and(|at| self.current == Protocol::V4 && now.saturating_sub(at) >= LEARN_AGAIN) {
            *self = Self { suspected: true, ..Self::new(self.choice) };
        }
        self.current
    }

    /// The broker has accepted the current one.
    pub(super) fn accepted(&mut self, now: Duration) -> Accepted {
        let is_fallback = self.second && self.current == Protocol::V4;
        if is_fallback && !self.certain {
            *self = Self { suspected: true, ..Self::new(self.choice) };
            return Accepted::Unclear;
        }
        self.proven.get_or_insert(now);
        (self.second, self.suspected, self.doubts) = (false, false, 0);
        if is_fallback { Accepted::IsOld } else { Accepted::Usual }
    }

    /// An attempt with the current one failed; returns whether the other is to be tried at once.
    pub(super) fn failed(&mut self, kind: CauseKind) -> bool {
        if self.choice != ProtocolChoice::Auto {
            return false;
        }
        self.doubts = if kind == CauseKind::HungUp { self.doubts + 1 } else { 0 };
        let patience = if self.proven.is_some() { DOUBTS } else { 1 };
        let doubted = kind == CauseKind::WrongProtocol || self.doubts >= patience;
        // Any other end says nothing of the protocol, unless the broker has used it to refuse us.
        let answered = matches!(kind, CauseKind::Refused | CauseKind::WillQos | CauseKind::WillRetain);
        let unclear = self.second && !answered;
        if !doubted && !unclear {
            return false;
        }
        let at_once = doubted && !self.second;
        let certain = kind == CauseKind::WrongProtocol || self.suspected;
        let current = self.current.other();
        *self = Self { current, second: at_once, certain, ..Self::new(self.choice) };
        at_once
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    fn auto() -> Dialect {
        Dialect::new(ProtocolChoice::Auto)
    }

    #[test]
    fn a_broker_from_before_5_is_met_at_once_in_3_1_1_and_remembered() {
        for kind in [CauseKind::WrongProtocol, CauseKind::HungUp] {
            let mut dialect = auto();
            assert_eq!(dialect.next(S), Protocol::V5);
            assert!(dialect.failed(kind));
            assert_eq!(dialect.next(S), Protocol::V4);
            if kind == CauseKind::HungUp {
                assert_eq!(dialect.accepted(S), Accepted::Unclear);
                assert_eq!(dialect.next(S), Protocol::V5);
                assert!(dialect.failed(kind));
                assert_eq!(dialect.next(S), Protocol::V4);
            }
            assert_eq!(dialect.accepted(S), Accepted::IsOld, "it is new");
            assert!(!dialect.failed(CauseKind::Other) && !dialect.failed(CauseKind::HungUp), "it may restart");
            assert_eq!(dialect.next(2 * S), Protocol::V4);
            assert_eq!(dialect.accepted(2 * S), Accepted::Usual, "not new any more");
            assert_eq!(dialect.next(LEARN_AGAIN + S), Protocol::V5, "it may have become newer");
            assert!(dialect.failed(CauseKind::HungUp));
            assert_eq!(dialect.next(LEARN_AGAIN + S), Protocol::V4);
            assert_eq!(dialect.accepted(LEARN_AGAIN + S), Accepted::IsOld, "it has not");
        }
    }

    #[test]
    fn one_hang_up_does_not_make_a_broker_old() {
        let mut dialect = auto();
        assert!(dialect.failed(CauseKind::HungUp));
        assert_eq!((dialect.next(S), dialect.accepted(S)), (Protocol::V4, Accepted::Unclear));
        assert_eq!((dialect.next(S), dialect.accepted(S)), (Protocol::V5, Accepted::Usual));
        assert_eq!(dialect.next(2 * LEARN_AGAIN), Protocol::V5);
    }

    #[test]
    fn a_broker_that_hangs_up_on_both_is_asked_once_in_each_and_then_left_alone() {
        let mut dialect = auto();
        for _ in 0..3 {
            assert_eq!(dialect.next(S), Protocol::V5);
            assert!(dialect.failed(CauseKind::HungUp));
            assert_eq!(dialect.next(S), Protocol::V4);
            assert!(!dialect.failed(CauseKind::HungUp));
        }
    }

    #[test]
    fn a_refusal_in_3_1_1_proves_it_and_a_network_that_breaks_proves_nothing() {
        let mut dialect = auto();
        assert!(dialect.failed(CauseKind::HungUp) && !dialect.failed(CauseKind::Refused));
        assert_eq!(dialect.next(S), Protocol::V4);
        let mut dialect = auto();
        assert!(dialect.failed(CauseKind::HungUp) && !dialect.failed(CauseKind::Other));
        assert_eq!(dialect.next(S), Protocol::V5);
    }

    #[test]
    fn what_was_chosen_is_never_left() {
        for protocol in [Protocol::V4, Protocol::V5] {
            let mut dialect = Dialect::new(protocol.into());
            assert!(!dialect.failed(CauseKind::WrongProtocol) && !dialect.failed(CauseKind::HungUp));
            assert_eq!(dialect.next(2 * LEARN_AGAIN), protocol);
        }
    }

    proptest! {
        /// Whatever happened before, a broker that knows one generation only, and either says so or hangs up, is met within
        /// a few attempts, and never two attempts in a row follow at once.
        #[test]
        fn every_broker_is_met_in_the_end(
            past in prop::collection::vec(0usize..5, 0..20), knows_5 in any::<bool>(), says_so in any::<bool>(),
        ) {
            let kinds = [CauseKind::HungUp, CauseKind::WrongProtocol, CauseKind::Other, CauseKind::Refused];
            let mut dialect = auto();
            let mut at_once = false;
            for step in past {
                let again = match kinds.get(step) {
                    Some(kind) => dialect.failed(*kind),
                    None => { dialect.accepted(S); false }
                };
                prop_assert!(!(again && at_once));
                at_once = again;
            }
            let known = if knows_5 { Protocol::V5 } else { Protocol::V4 };
            let mut attempts = 0;
            while dialect.next(S) != known {
                attempts += 1;
                dialect.failed(if says_so { CauseKind::WrongProtocol } else { CauseKind::HungUp });
                prop_assert!(attempts <= DOUBTS);
            }
        }
    }
}
