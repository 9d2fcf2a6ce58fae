//! What a person should look at although the link works. Pure.
//!
//! An alarm belongs to the broker in use when it was raised, and is shown while that broker is in use; a few belong to this
//! board and are always shown. Each ends when its cause has ended.

use std::collections::BTreeMap;

use super::open_requests::Request;

/// How the alarm begins that another client uses our identifier.
pub const TAKEN_OVER: &str = "another client keeps taking over our identifier";

/// How the alarm begins that the broker ends each connection, as it does when two clients take over one identifier in turn.
pub const BRIEF: &str = "the broker closes each connection soon after it accepted it";

/// How the alarm begins that another gateway uses our topics.
pub const TWIN: &str = "another gateway publishes below";

/// Alarms shown in full; the others are counted.
const SHOWN: usize = 3;

/// What an alarm is about; each is raised once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// Our identifier is used by another.
    TakenOver,
    /// The broker closes each connection soon.
    Brief,
    /// The subscription to commands.
    Commands,
    /// Commands are not subscribed to, for one of them cuts the link.
    CommandsSuspended,
    /// Commands may be stale.
    FreshnessMarker,
    /// What is published may not arrive.
    PublishProbe,
    /// The broker allows less than is wanted.
    Qos,
    /// The broker retains nothing.
    Retain,
    /// A request on which the broker hangs up.
    HungUp(Request),
    /// A start of the peer will not be noticed.
    Peer,
    /// Another gateway uses our topics.
    Twin,
    /// A topic on which publishing is refused.
    Publish(String),
    /// Incoming messages were dropped.
    Dropped,
    /// A certificate that ends soon, has ended, or cannot be read any more.
    Certificate(Whose),
}

impl About {
    /// Whether it concerns this board, whatever broker is in use.
    fn is_ours(&self) -> bool {
        matches!(self, Self::Dropped | Self::Certificate(Whose::Ours | Whose::Authority))
    }

    /// Whether it ends with the connection on which it was raised.
    fn ends_with_connection(&self) -> bool {
        matches!(
            self,
            Self::Commands
                | Self::CommandsSuspended
                | Self::FreshnessMarker
                | Self::PublishProbe
                | Self::Twin
                | Self::Publish(_)
        )
    }
}

/// Whose certificate an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// Our own, and its key.
    Ours,
    /// That of `ca_file`.
    Authority,
    /// What the broker showed.
    Broker,
}

/// A change of the alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AlarmChange {
    /// Raises an alarm with this text.
    Raise(About, String),
    /// Clears an alarm: its cause has ended.
    Clear(About),
}

/// All alarms: those of this board, and those of each broker.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    ours: BTreeMap<About, String>,
    brokers: BTreeMap<usize, BTreeMap<About, String>>,
    in_use: usize,
}

impl Alarms {
    /// From now on this broker of the list is in use.
    pub(super) fn switch(&mut self, broker: usize) {
        self.in_use = broker;
    }

    /// Takes `change` in; `true` when it changes anything.
    pub(super) fn apply(&mut self, change: AlarmChange) -> bool {
        match change {
            AlarmChange::Raise(about, words) => {
                let alarms = self.of(&about);
                let is_new = alarms.get(&about) != Some(&words);
                alarms.insert(about, words);
                is_new
            }
            AlarmChange::Clear(about) => self.of(&about).remove(&about).is_some(),
        }
    }

    /// A connection to the broker in use begins: what was said of the one before has ended.
    pub(super) fn clear_connection(&mut self) {
        self.brokers.entry(self.in_use).or_default().retain(|about, _| !about.ends_with_connection());
    }

    /// Whether this one is raised, for the broker in use or for this board.
    pub(super) fn is_raised(&self, about: &About) -> bool {
        let of_broker = self.brokers.get(&self.in_use);
        self.ours.contains_key(about) || of_broker.is_some_and(|alarms| alarms.contains_key(about))
    }

    /// All that is to be shown now, in one line.
    pub(super) fn shown(&self) -> Option<String> {
        let of_broker = self.brokers.get(&self.in_use).into_iter().flatten();
        let all: BTreeMap<_, _> = of_broker.chain(&self.ours).collect();
        let mut words: Vec<String> = all.values().take(SHOWN).map(ToString::to_string).collect();
        if all.len() > SHOWN {
            words.push(format!("and {} more", all.len() - SHOWN));
        }
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn of(&mut self, about: &About) -> &mut BTreeMap<About, String> {
        if about.is_ours() { &mut self.ours } else { self.brokers.entry(self.in_use).or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raise(alarms: &mut Alarms, about: About, words: &str) -> bool {
        alarms.apply(AlarmChange::Raise(about, words.into()))
    }

    #[test]
    fn an_alarm_of_one_broker_is_not_shown_while_another_is_in_use() {
        let mut alarms = Alarms::default();
        assert!(raise(&mut alarms, About::Retain, "no retain") && raise(&mut alarms, About::Dropped, "dropped"));
        alarms.switch(1);
        assert_eq!(alarms.shown().as_deref(), Some("dropped"));
        assert!(!alarms.apply(AlarmChange::Clear(About::Retain)), "the other one's stays");
        alarms.switch(0);
        assert_eq!(alarms.shown().as_deref(), Some("no retain; dropped"));
        assert!(alarms.apply(AlarmChange::Clear(About::Retain)) && alarms.apply(AlarmChange::Clear(About::Dropped)));
        assert_eq!(alarms.shown(), None);
    }

    #[test]
    fn the_same_words_again_are_nothing_new_and_a_new_connection_ends_what_was_said_of_the_last() {
        let mut alarms = Alarms::default();
        assert!(raise(&mut alarms, About::Commands, "none") && !raise(&mut alarms, About::Commands, "none"));
        assert!(raise(&mut alarms, About::Qos, "0 only"));
        alarms.clear_connection();
        assert_eq!(alarms.shown().as_deref(), Some("0 only"));
    }

    #[test]
    fn more_than_three_are_counted() {
        let mut alarms = Alarms::default();
        for topic in ["a", "b", "c", "d", "e"] {
            raise(&mut alarms, About::Publish(topic.into()), topic);
        }
        assert_eq!(alarms.shown().as_deref(), Some("a; b; c; and 2 more"));
    }
}
