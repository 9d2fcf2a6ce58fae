//! When it is announced to Home Assistant what there is, and what has gone. Pure: time is an argument, on any clock.
//!
//! On a change everything is published at once, with a tombstone for what has gone; what moves from one device to another, and
//! topics on which nothing is left, follow a moment later: by then it is known whether another gateway has our name. When Home
//! Assistant has started, which it says on `<prefix>/status`, it gets everything once more, in this order: what has gone in its old
//! form, then its tombstones, then what is left, and no more is remembered of what has gone. Five seconds after its word it gets
//! the newest readings that are not retained; so it does after an announcement that is new to it, for it cannot have heard what was
//! published before it had subscribed.
//!
//! Each step waits until the broker has the one before, and then for Home Assistant to act on it. Where Home Assistant leaves or
//! starts in between, nothing is forgotten, and the next start begins again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Announced, Device, Messages};

/// How long Home Assistant may need to take an entity away; it was seen to need a few tenths of a second.
const TAKES_AWAY: Duration = Duration::from_secs(2);

/// Many gateways hear one Home Assistant start; they answer it within this time, each at a random moment.
const ANSWERED_WITHIN: Duration = Duration::from_millis(1500);

/// How long after its word, or after something new was announced, Home Assistant gets the newest readings. By then it has subscribed
/// to what was announced.
const SHOWN_AFTER: Duration = Duration::from_secs(5);

/// What follows when Home Assistant has had time for what was published last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Announce what was left out because it moves.
    Announce,
    /// Clear topics on which nothing is left.
    Clear,
    /// Take away again what was shown in its old form.
    TakeAway,
    /// Forget what has gone.
    Forget,
}

/// Waits for the broker, then for Home Assistant.
#[derive(Debug)]
struct Waiting {
    step: Step,
    topics: Vec<String>,
    /// When the broker was first seen to have them all.
    since: Option<Duration>,
}

/// What is announced, and what is still to be done about it.
#[derive(Debug, Default)]
pub struct Announcer {
    announced: Announced,
    waiting: Option<Waiting>,
    /// Whether something was left out because it moves.
    is_half: bool,
    /// When Home Assistant's word is answered.
    answer_due: Option<Duration>,
    /// When it gets the newest readings.
    readings_due: Option<Duration>,
    /// Whether something was announced of which it cannot have heard anything.
    is_new: bool,
}

/// What is to be done now.
#[derive(Debug, Default)]
pub struct Due {
    /// To be published.
    pub messages: Messages,
    /// Topics that are to be published again as they are: the broker may keep nothing.
    pub again: Vec<String>,
    /// Whether the newest readings are wanted.
    pub readings: bool,
    /// Whether what is stored has changed.
    pub is_changed: bool,
}

impl Announcer {
    /// Takes in what an earlier run had stored.
    pub fn recall<'a>(&mut self, stored: impl IntoIterator<Item = (&'a String, &'a Vec<u8>)>) {
        self.announced.recall(stored);
    }

    /// What the next run has to know.
    pub fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        self.announced.stored()
    }

    /// What topics of something that has gone begin with.
    pub fn prefix_of_gone(&self) -> Option<&str> {
        self.announced.prefix_of_gone()
    }

    /// Announces these devices and nothing else.
    pub fn announce(&mut self, devices: &[Device]) -> Messages {
        let update = self.announced.update(devices);
        self.is_half = update.is_half;
        self.is_new |= update.is_new;
        let step = if self.is_showing() { Some(Step::TakeAway) } else { self.rest() };
        self.publish(update.messages, step)
    }

    /// Home Assistant has said that it starts or leaves. `chance` is between 0 and 1.
    pub fn hear(&mut self, is_online: bool, now: Duration, chance: f64) -> Messages {
        let due = |after: Duration| is_online.then(|| now + after);
        (self.answer_due, self.readings_due) = (due(ANSWERED_WITHIN.mul_f64(chance)), due(SHOWN_AFTER));
        if !self.is_showing() {
            return Vec::new();
        }
        let rest = self.rest();
        self.publish(self.announced.messages(), rest)
    }

    /// What is due while there is a link. `is_published` says whether the broker has what was published on these topics,
    /// `is_alone` that no other gateway has our name.
    pub fn step(
        &mut self,
        now: Duration,
        is_alone: bool,
        is_published: impl Fn(&[String]) -> bool,
        devices: impl FnOnce() -> Vec<Device>,
    ) -> Due {
        if self.is_new && is_published(&self.announced.topics().cloned().collect::<Vec<_>>()) {
            self.is_new = false;
            self.readings_due = Some(now + SHOWN_AFTER);
        }
        let mut due = Due::default();
        due.readings = self.readings_due.take_if(|due| *due <= now).is_some();
        if self.answer_due.take_if(|due| *due <= now).is_some() {
            due.again = self.announced.topics().cloned().collect();
            let full = self.announced.full();
            if !full.is_empty() {
                due.messages = self.publish(full, Some(Step::TakeAway));
            }
            return due;
        }
        let Some(step) = self.next_step(now, is_published) else { return due };
        due.is_changed = true;
        if step != Step::TakeAway {
            self.announced.confirm();
        }
        due.messages = match step {
            Step::Announce => self.announce(&devices()),
            Step::TakeAway => {
                let mut messages = self.announced.messages();
                messages.extend(self.announced.clear(is_alone));
                self.publish(messages, Some(Step::Forget))
            }
            Step::Forget => {
                let messages = self.announced.forget();
                let rest = self.rest();
                self.publish(messages, rest)
            }
            Step::Clear if !self.announced.is_to_clear() => Vec::new(),
            Step::Clear => {
                let messages = self.announced.clear(is_alone);
                // Something that moves may come from there; if not, this step does nothing.
                let then = if self.is_half { Step::Announce } else { Step::Clear };
                self.publish(messages, Some(then))
            }
        };
        due
    }

    /// What is to be done now: the broker has what was published last, and Home Assistant had its time.
    fn next_step(&mut self, now: Duration, is_published: impl Fn(&[String]) -> bool) -> Option<Step> {
        let waiting = self.waiting.as_mut()?;
        if !is_published(&waiting.topics) {
            waiting.since = None;
            return None;
        }
        let since = *waiting.since.get_or_insert(now);
        if now < since + TAKES_AWAY {
            return None;
        }
        self.waiting.take().map(|waiting| waiting.step)
    }

    /// Whether Home Assistant is being shown what has gone.
    fn is_showing(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| matches!(waiting.step, Step::TakeAway | Step::Forget))
    }

    /// What is left to do when nothing else is.
    fn rest(&self) -> Option<Step> {
        match (self.announced.is_to_clear(), self.is_half) {
            (true, _) => Some(Step::Clear),
            (false, true) => Some(Step::Announce),
            (false, false) => None,
        }
    }

    fn publish(&mut self, messages: Messages, then: Option<Step>) -> Messages {
        let topics = messages.iter().map(|(topic, _)| topic.clone()).collect();
        self.waiting = then.map(|step| Waiting { step, topics, since: None });
        messages
    }
}
