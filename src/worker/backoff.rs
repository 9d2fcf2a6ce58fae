//! The back-off of one pair of wires, shared by all sensors and outputs on them. Pure: time is an argument.
//!
//! Back-off follows cost. A failure that is over at once, such as a missing acknowledgement, delays no other device and brings no
//! back-off. After one that took long, every device in the same [`FailureDomain`] counts as failing, and the failing ones of all domains
//! share what is left of the time: their samplings a tenth, their outputs half. Devices that have not failed go on as before. The
//! first answer from a failing domain ends the back-off of all, so outputs are safe as soon as the bus allows.

use std::collections::HashMap;
use std::time::Duration;

use crate::worker::schedule::{LAST_RETRY, backoff_after};
use fieldgate_bus::Claim;
use fieldgate_model::Name;

/// A failure that is over so soon needs no back-off. The shortest time-out of an adapter is longer.
pub(super) const QUICK: Duration = Duration::from_millis(20);

/// Outputs that fail are tried again after as long as the failure took, but no later than this.
const LONGEST_OUTPUT_BACKOFF: Duration = Duration::from_secs(5);

/// What fails together: one chip, or a whole bus whose lines are those of one chip.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FailureDomain {
    bus: Option<Name>,
    part: Part,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// The bus itself.
    Whole,
    /// One chip, or whatever else stops answering alone.
    Claimed(Claim),
    /// A device that occupies nothing.
    Device(Name),
}

impl FailureDomain {
    /// The bus itself, and what has no address of its own on it.
    pub(super) fn bus(bus: Option<&Name>) -> Self {
        Self { bus: bus.cloned(), part: Part::Whole }
    }

    /// Where a device is that occupies this.
    pub(super) fn of(bus: Option<&Name>, claims: &[Claim], device: &Name) -> Self {
        let part = match claims.first() {
            Some(claim) => claim.fails_with().map_or(Part::Whole, Part::Claimed),
            None => Part::Device(device.clone()),
        };
        Self { bus: bus.cloned(), part }
    }
}

/// The number of a [`FailureDomain`] until the next [`Backoff::renumber`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DomainId(usize);

/// What a transfer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A sampling, which can wait.
    Sample,
    /// An output, which must not wait: it may be on and have to go off.
    Output,
}

/// A transfer that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    /// On [`fieldgate_clock::boottime`].
    pub(super) ended_at: Duration,
    /// How long it kept the bus busy.
    pub(super) cost: Duration,
}

/// Status of a domain.
#[derive(Clone, Debug, Default)]
struct DomainState {
    /// Slow failures in a row.
    failures: u32,
    /// When the last of them was over; `None` when it works or fails at once.
    failed_at: Option<Duration>,
    why: String,
}

/// Which domains a transfer may go to, and when.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    domains: HashMap<FailureDomain, DomainId>,
    states: Vec<DomainState>,
    /// Slow failures since anybody answered.
    in_a_row: u32,
    samples_from: Duration,
    outputs_from: Duration,
    changed: bool,
}

impl Backoff {
    /// The number of a domain, which is new if it was not known.
    pub(super) fn domain(&mut self, domain: FailureDomain) -> DomainId {
        let next = DomainId(self.states.len());
        let id = *self.domains.entry(domain).or_insert(next);
        if id == next {
            self.states.push(DomainState::default());
        }
        id
    }

    /// Begins to number domains again; what is known of those that are named again stays known.
    pub(super) fn renumber(&mut self, domains: impl Iterator<Item = FailureDomain>) {
        let (old, known) = (std::mem::take(&mut self.domains), std::mem::take(&mut self.states));
        for domain in domains {
            let state = old.get(&domain).map(|id| known[id.0].clone());
            let id = self.domain(domain);
            self.states[id.0] = state.unwrap_or_default();
        }
        self.changed = true;
    }

    /// A transfer failed.
    pub(super) fn failed(&mut self, domain: DomainId, purpose: Purpose, transfer: Transfer, why: &str) {
        let Transfer { ended_at, cost } = transfer;
        if cost < QUICK {
            // The wires do work: it was refused at once.
            self.answered(domain);
            return;
        }
        let state = &mut self.states[domain.0];
        self.in_a_row = self.in_a_row.saturating_add(1);
        state.failures = state.failures.saturating_add(1);
        state.failed_at = Some(ended_at);
        state.why.clear();
        state.why.push_str(why);
        let failures = self.in_a_row.max(state.failures);
        match purpose {
            Purpose::Sample => {
                self.samples_from = self.samples_from.max(ended_at.saturating_add(backoff_after(failures, cost)));
            }
            Purpose::Output => {
                self.outputs_from = self.outputs_from.max(ended_at.saturating_add(cost.min(LONGEST_OUTPUT_BACKOFF)));
            }
        }
        self.changed = true;
    }

    /// A device there answered, or refused at once.
    pub(super) fn answered(&mut self, domain: DomainId) {
        self.in_a_row = 0;
        let state = &mut self.states[domain.0];
        if state.failures == 0 {
            return;
        }
        *state = DomainState::default();
        (self.samples_from, self.outputs_from) = (Duration::ZERO, Duration::ZERO);
        self.changed = true;
    }

    /// When a transfer to the domain is allowed again.
    pub(super) fn allowed_from(&self, domain: DomainId, purpose: Purpose) -> Duration {
        match (self.states[domain.0].failed_at, purpose) {
            (None, _) => Duration::ZERO,
            // However many domains fail, none waits longer than this for its turn.
            (Some(failed_at), Purpose::Sample) => self.samples_from.min(failed_at.saturating_add(LAST_RETRY)),
            (Some(_), Purpose::Output) => self.outputs_from,
        }
    }

    /// Whether the last transfer there failed slowly.
    pub(super) fn is_failing(&self, domain: DomainId) -> bool {
        self.states[domain.0].failed_at.is_some()
    }

    /// Why it failed, in words.
    pub(super) fn why(&self, domain: DomainId) -> &str {
        &self.states[domain.0].why
    }

    /// Whether an answer of [`Backoff::allowed_from`] may be another than at the last question of this kind.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn chip(backoff: &mut Backoff, address: u8) -> DomainId {
        let (bus, device) = (Name::new("i2c-1").unwrap(), Name::new("any").unwrap());
        backoff.domain(FailureDomain::of(Some(&bus), &[Claim::Address(address)], &device))
    }

    fn fails(backoff: &mut Backoff, domain: DomainId, purpose: Purpose, at: u64) {
        backoff.failed(domain, purpose, Transfer { ended_at: s(at), cost: s(1) }, "timed out");
    }

    #[test]
    fn a_chip_that_is_absent_slows_nobody() {
        let mut backoff = Backoff::default();
        let absent = chip(&mut backoff, 0x48);
        for second in 0..100 {
            let quick = Transfer { ended_at: s(second), cost: Duration::from_millis(1) };
            backoff.failed(absent, Purpose::Sample, quick, "no answer");
            assert_eq!(backoff.allowed_from(absent, Purpose::Sample), Duration::ZERO);
            assert!(!backoff.is_failing(absent));
        }
    }

    #[test]
    fn those_that_time_out_share_one_backoff_and_the_first_answer_ends_it_for_all() {
        let mut backoff = Backoff::default();
        let (one, other, well) = (chip(&mut backoff, 1), chip(&mut backoff, 2), chip(&mut backoff, 3));
        fails(&mut backoff, one, Purpose::Sample, 10);
        assert!(backoff.allowed_from(one, Purpose::Sample) <= s(10), "one failure is no reason to lose the next");
        fails(&mut backoff, other, Purpose::Sample, 11);
        assert_eq!(
            [one, other, well].map(|domain| backoff.allowed_from(domain, Purpose::Sample)),
            [s(20), s(20), s(0)]
        );
        backoff.answered(well);
        assert_eq!(backoff.allowed_from(one, Purpose::Sample), s(20), "that others are well says nothing of it");
        assert!(backoff.is_failing(other));
        backoff.answered(other);
        assert_eq!([one, other].map(|domain| backoff.allowed_from(domain, Purpose::Sample)), [s(0); 2]);
        assert_eq!(
            (backoff.is_failing(other), backoff.why(other)),
            (false, ""),
            "at the end it is tried like any other"
        );
    }

    #[test]
    fn one_that_times_out_beside_others_that_answer_rests_too() {
        let mut backoff = Backoff::default();
        let (bad, well) = (chip(&mut backoff, 1), chip(&mut backoff, 2));
        fails(&mut backoff, bad, Purpose::Sample, 10);
        backoff.answered(well);
        fails(&mut backoff, bad, Purpose::Sample, 12);
        assert_eq!(backoff.allowed_from(bad, Purpose::Sample), s(21));
    }

    #[test]
    fn outputs_of_one_chip_wait_for_one_attempt_and_samplings_do_not_make_them_wait() {
        let mut backoff = Backoff::default();
        let (relays, air) = (chip(&mut backoff, 0x20), chip(&mut backoff, 0x76));
        fails(&mut backoff, relays, Purpose::Output, 10);
        assert_eq!(backoff.allowed_from(relays, Purpose::Output), s(11), "half of the time");
        for second in 11..14 {
            fails(&mut backoff, air, Purpose::Sample, second);
        }
        assert_eq!(backoff.allowed_from(relays, Purpose::Output), s(11));
        assert_eq!(backoff.allowed_from(air, Purpose::Sample), s(22));
        fails(&mut backoff, relays, Purpose::Output, 20);
        assert_eq!(backoff.allowed_from(air, Purpose::Sample), s(22), "and the other way round");
    }

    #[test]
    fn one_that_is_refused_at_once_does_not_rest_any_more() {
        let mut backoff = Backoff::default();
        let absent = chip(&mut backoff, 1);
        (10..13).for_each(|at| fails(&mut backoff, absent, Purpose::Sample, at));
        let quick = Transfer { ended_at: s(14), cost: Duration::from_millis(1) };
        backoff.failed(absent, Purpose::Sample, quick, "no answer");
        assert_eq!((backoff.is_failing(absent), backoff.allowed_from(absent, Purpose::Sample)), (false, s(0)));
    }

    #[test]
    fn the_reason_is_that_of_the_last_failure() {
        let mut backoff = Backoff::default();
        let bad = chip(&mut backoff, 1);
        fails(&mut backoff, bad, Purpose::Output, 10);
        backoff.failed(bad, Purpose::Output, Transfer { ended_at: s(12), cost: s(1) }, "arbitration lost");
        assert_eq!(backoff.why(bad), "arbitration lost");
    }

    #[test]
    fn after_an_answer_the_next_failure_is_a_first_one_again() {
        let mut backoff = Backoff::default();
        let (one, other) = (chip(&mut backoff, 1), chip(&mut backoff, 2));
        (10..13).for_each(|at| fails(&mut backoff, one, Purpose::Sample, at));
        backoff.answered(one);
        fails(&mut backoff, other, Purpose::Sample, 20);
        assert!(backoff.allowed_from(other, Purpose::Sample) <= s(20));
    }

    /// The times of all that wait are computed again then, and an output that may go off does not wait for its old time.
    #[test]
    fn what_changes_when_others_may_try_is_said_once() {
        let mut backoff = Backoff::default();
        let (one, other) = (chip(&mut backoff, 1), chip(&mut backoff, 2));
        assert!(!backoff.take_changed());
        fails(&mut backoff, one, Purpose::Output, 10);
        assert_eq!([backoff.take_changed(), backoff.take_changed()], [true, false]);
        backoff.answered(other);
        assert!(!backoff.take_changed(), "it was well");
        backoff.answered(one);
        assert_eq!([backoff.take_changed(), backoff.take_changed()], [true, false]);
    }

    #[test]
    fn what_is_known_of_a_place_outlives_a_reload() {
        let mut backoff = Backoff::default();
        let domain = |address| {
            let (bus, device) = (Name::new("i2c-1").unwrap(), Name::new("any").unwrap());
            FailureDomain::of(Some(&bus), &[Claim::Address(address)], &device)
        };
        let id = backoff.domain(domain(2));
        fails(&mut backoff, id, Purpose::Output, 10);
        backoff.renumber([domain(1), domain(2)].into_iter());
        let ids = [1, 2].map(|address| backoff.domain(domain(address)));
        assert_eq!(ids.map(|id| backoff.is_failing(id)), [false, true]);
        assert_eq!(backoff.why(ids[1]), "timed out");
    }

    proptest! {
        /// However many chips fail, and whatever they are for: failing samplings take a tenth of the time, failing outputs
        /// half, and none waits for ever.
        #[test]
        fn failing_transfers_leave_time_for_others(
            count in 1u8..32, cost_ms in 20u64..3000, outputs in prop::collection::vec(any::<bool>(), 32),
        ) {
            let mut backoff = Backoff::default();
            let domains: Vec<_> = (0..count).map(|address| chip(&mut backoff, address)).collect();
            let (mut now, mut spent) = (Duration::ZERO, [Duration::ZERO; 2]);
            let cost = Duration::from_millis(cost_ms);
            let mut last = vec![Duration::ZERO; usize::from(count)];
            let purpose = |index: usize| if outputs[index] { Purpose::Output } else { Purpose::Sample };
            // Until each has failed twice it cannot be known.
            for turn in 0..2 * usize::from(count) {
                now += cost;
                backoff.failed(domains[turn % domains.len()], purpose(turn % domains.len()), Transfer { ended_at: now, cost }, "timed out");
                last[turn % domains.len()] = now;
            }
            let began = now;
            while now < began + s(600) {
                // The one that has waited longest of those that may be tried.
                let next = (0..domains.len()).min_by_key(|index| {
                    (backoff.allowed_from(domains[*index], purpose(*index)).max(now), last[*index])
                }).unwrap();
                now = now.max(backoff.allowed_from(domains[next], purpose(next))) + cost;
                spent[usize::from(outputs[next])] += cost;
                backoff.failed(domains[next], purpose(next), Transfer { ended_at: now, cost }, "timed out");
                last[next] = now;
                for (index, last) in last.iter().enumerate() {
                    prop_assert!(now - *last <= s(60) + cost * 2 * u32::from(count), "{index} was forgotten");
                }
            }
            let whole = now - began;
            prop_assert!(spent[1] <= whole.mul_f64(0.5) + cost, "outputs {:?}", spent[1]);
            let by_turns = cost.saturating_mul(u32::from(count)).as_secs_f64() / 60.0;
            prop_assert!(spent[0] <= whole.mul_f64(f64::max(0.1, by_turns * 1.2)) + 2 * cost, "samples {:?}", spent[0]);
        }
    }
}
