//! How often wrong passwords may be tried. Pure; the time is an argument.
//!
//! Each address has a few tries at once and then one every few seconds. While it has none left its passwords are not even looked
//! at: a right one that is accepted then would make guessing as quick as the line. Addresses of one IPv6 network count as one, for
//! a guesser has all of them. There are so many addresses at most; when there are more, the rest shares one limit, so no flood of
//! them needs memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use fieldgate_model::Throttle;

/// Wrong passwords of one address at once.
pub(super) const BURST: u32 = 5;

/// How long until the address may try one more.
pub(super) const EACH: Duration = Duration::from_secs(3);

/// Addresses with a limit of their own.
const MAX_ADDRESSES: usize = 256;

/// What was tried lately.
#[derive(Debug, Default)]
pub(super) struct Guesses(BTreeMap<IpAddr, Throttle>);

impl Guesses {
    /// How long nothing of this address is looked at; nothing when it may try.
    pub(super) fn wait(&self, from: IpAddr, now: Duration) -> Option<Duration> {
        let wait = self.0.get(&self.key(from))?.earliest().saturating_sub(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// A password was wrong.
    pub(super) fn wrong(&mut self, from: IpAddr, now: Duration) {
        // Who has the whole burst again is forgotten.
        self.0.retain(|_, throttle| throttle.earliest() + EACH * (BURST - 1) > now);
        let key = self.key(from);
        self.0.entry(key).or_insert_with(|| Throttle::new(BURST, EACH)).step(now);
    }

    fn key(&self, from: IpAddr) -> IpAddr {
        let key = match from.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        };
        let is_full = self.0.len() >= MAX_ADDRESSES && !self.0.contains_key(&key);
        if is_full { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn after_a_few_wrong_ones_an_address_must_wait_and_others_need_not() {
        let (mut guesses, from, other) = (Guesses::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..BURST {
            assert_eq!(guesses.wait(from, seconds(100)), None);
            guesses.wrong(from, seconds(100));
        }
        assert_eq!((guesses.wait(from, seconds(100)), guesses.wait(other, seconds(100))), (Some(EACH), None));
        assert_eq!(guesses.wait(from, seconds(103)), None);
        guesses.wrong(from, seconds(103));
        assert_eq!(guesses.wait(from, seconds(104)), Some(seconds(2)));
        guesses.wrong(other, seconds(1000));
        assert_eq!(guesses.0.len(), 1, "who has waited long enough is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_flood_of_them_shares_one_limit() {
        let mut guesses = Guesses::default();
        let v6 = |a: u16, b: u16| IpAddr::V6(Ipv6Addr::new(0x2001, a, 0, 0, 0, 0, 0, b));
        (0..5).for_each(|b| guesses.wrong(v6(0, b), seconds(1)));
        assert!(guesses.wait(v6(0, 77), seconds(1)).is_some());
        (1..1000).for_each(|a| guesses.wrong(v6(a, 0), seconds(1)));
        assert_eq!(guesses.0.len(), MAX_ADDRESSES + 1);
        assert!(guesses.wait(v6(5000, 0), seconds(1)).is_some());
        let elsewhere = guesses.wait(IpAddr::from([127, 0, 0, 1]), seconds(1));
        assert!(elsewhere.is_some(), "it shares the rest's limit");
    }
}
