//! Writes the link's status, and the log lines about connections.
//!
//! A cause that repeats is logged once and then at most every five minutes with a count.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::alarms::{About, AlarmChange, Alarms, Whose};
use super::{LinkState, LinkStatus, Protocol};

/// Repeats of one cause are logged at most this often.
const REPEAT_EVERY: Duration = Duration::from_secs(300);

/// Between two reports about dropped commands.
const DROPPED_EVERY: Duration = Duration::from_secs(1);

/// A burst of commands is over when none was dropped for so long.
const BURST_OVER: Duration = Duration::from_secs(60);

/// Writes the link's status; the link alone has one.
pub(super) struct Report {
    status: watch::Sender<LinkStatus>,
    alarms: Alarms,
    /// The last cause of each broker.
    last: BTreeMap<String, Logged>,
    dropped: Dropped,
}

struct Logged {
    words: String,
    at: Duration,
    repeats: u32,
}

/// Commands that were dropped, on all connections.
#[derive(Default)]
struct Dropped {
    count: u64,
    /// The count that was reported last, and when; the alarm is up while there is one.
    reported: Option<(u64, Duration)>,
    /// The count of the bursts that are over.
    over: u64,
}

impl Dropped {
    /// What has changed for the alarms at `now`.
    fn look(&mut self, now: Duration) -> Option<AlarmChange> {
        let (reported, at) = self.reported.unwrap_or((self.over, Duration::ZERO));
        let since = now.saturating_sub(at);
        if self.count > reported && since >= DROPPED_EVERY {
            self.reported = Some((self.count, now));
            let words = format!("{} commands came faster than they could be taken and were dropped", self.count);
            return Some(AlarmChange::Raise(About::Dropped, words));
        }
        if self.reported.is_some() && self.count == reported && since >= BURST_OVER {
            (self.reported, self.over) = (None, self.count);
            return Some(AlarmChange::Clear(About::Dropped));
        }
        None
    }
}

impl Report {
    pub(super) fn new(status: watch::Sender<LinkStatus>) -> Self {
        Self { status, alarms: Alarms::default(), last: BTreeMap::new(), dropped: Dropped::default() }
    }

    /// An attempt at this broker of the list begins.
    pub(super) fn connecting(&mut self, index: usize, broker: String, protocol: Protocol) {
        self.change(LinkState::Connecting, |status| (status.broker, status.protocol) = (broker, protocol));
        self.alarms.switch(index);
        self.show();
    }

    /// The broker has accepted us.
    pub(super) fn up(&mut self, broker: &str, protocol: &str, session_present: bool) {
        self.change(LinkState::Up, |status| status.connects += 1);
        info!(broker, protocol, session_present, "Connected.");
        self.last.remove(broker);
    }

    /// An attempt failed or a connection was lost.
    pub(super) fn down(&mut self, broker: &str, words: String, now: Duration) {
        let repeats = match self.last.get_mut(broker) {
            Some(last) if last.words == words => {
                last.repeats += 1;
                (now.saturating_sub(last.at) >= REPEAT_EVERY).then_some(last.repeats)
            }
            _ => Some(0),
        };
        if let Some(repeats) = repeats {
            warn!(broker, error = words, repeats, "No connection; will try again.");
            self.last.insert(broker.to_owned(), Logged { words: words.clone(), at: now, repeats: 0 });
        }
        self.change(LinkState::Down, |status| status.last_error = Some(words));
    }

    /// The link was asked to stop.
    pub(super) fn stopped(&self) {
        self.change(LinkState::Down, |_| {});
        info!("Disconnected.");
    }

    fn change(&self, state: LinkState, change: impl FnOnce(&mut LinkStatus)) {
        self.status.send_modify(|status| {
            change(status);
            if status.state != state {
                status.state = state;
                status.since = fieldgate_clock::now().wall;
            }
        });
    }

    /// A command was dropped.
    pub(super) fn dropped(&mut self) {
        self.dropped.count += 1;
    }

    /// Reports how many commands were dropped, and when that is over. Each of a flood would otherwise cost a line in the log
    /// and a health message, which is more than the command itself.
    pub(super) fn log_dropped(&mut self, now: Duration) {
        let alarm_changes = self.dropped.look(now);
        self.apply(alarm_changes);
    }

    /// Takes in what has changed.
    pub(super) fn apply(&mut self, alarm_changes: impl IntoIterator<Item = AlarmChange>) {
        for change in alarm_changes {
            match change {
                AlarmChange::Raise(about, words) => self.raise(about, words),
                AlarmChange::Clear(about) => self.clear(&about),
            }
        }
    }

    /// Raises an alarm; the same words again are nothing new.
    pub(super) fn raise(&mut self, about: About, words: String) {
        if self.alarms.apply(AlarmChange::Raise(about, words.clone())) {
            warn!(alarm = words, "The link needs attention.");
            self.show();
        }
    }

    /// Takes an alarm back.
    pub(super) fn clear(&mut self, about: &About) {
        if self.alarms.apply(AlarmChange::Clear(about.clone())) {
            self.show();
        }
    }

    /// Replaces the alarms about `whose` certificates by these `notices`.
    pub(super) fn certificates(&mut self, whose: &[Whose], notices: &[(Whose, String)]) {
        for whose in whose {
            let words: Vec<_> = notices.iter().filter(|(of, _)| of == whose).map(|(_, words)| words.as_str()).collect();
            if words.is_empty() {
                self.clear(&About::Certificate(*whose));
            } else {
                self.raise(About::Certificate(*whose), words.join(", and "));
            }
        }
    }

    /// Takes all back that belong to one connection.
    pub(super) fn clear_connection(&mut self) {
        self.alarms.clear_connection();
        self.show();
    }

    fn show(&self) {
        let (alarm, has_twin) = (self.alarms.shown(), self.alarms.is_raised(&About::Twin));
        self.status.send_if_modified(|status| {
            let changed = status.alarm != alarm;
            status.alarm = alarm;
            status.has_twin = has_twin;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Health is published again whenever the status changes.
    #[test]
    fn an_alarm_changes_the_status_when_it_is_raised_and_when_it_ends_and_not_between() {
        let settings = crate::testing::settings(Protocol::V5);
        let (sender, mut status) = watch::channel(LinkStatus::new(&settings));
        let mut report = Report::new(sender);
        let mut changed = |report: &mut Report, change: &dyn Fn(&mut Report)| {
            change(report);
            let changed = status.has_changed().unwrap();
            (changed, status.borrow_and_update().alarm.clone())
        };
        let raise = |report: &mut Report| report.raise(About::Retain, "no retain".into());
        assert_eq!(changed(&mut report, &raise), (true, Some("no retain".into())));
        assert_eq!(changed(&mut report, &raise), (false, Some("no retain".into())));
        assert_eq!(changed(&mut report, &Report::clear_connection), (false, Some("no retain".into())));
        assert_eq!(changed(&mut report, &|report| report.clear(&About::Retain)), (true, None));
    }

    #[test]
    fn the_alarm_of_a_burst_of_dropped_commands_ends_a_minute_after_the_last() {
        let at = |seconds: u64| Duration::from_secs(1000 + seconds);
        let mut dropped = Dropped::default();
        assert_eq!(dropped.look(at(0)), None);
        dropped.count = 5;
        assert!(matches!(dropped.look(at(0)), Some(AlarmChange::Raise(_, words)) if words.starts_with("5 commands")));
        dropped.count = 7;
        assert_eq!(dropped.look(at(0)), None, "not more than once a second");
        assert!(matches!(dropped.look(at(1)), Some(AlarmChange::Raise(_, words)) if words.starts_with("7 commands")));
        assert_eq!(dropped.look(at(60)), None);
        assert_eq!(dropped.look(at(61)), Some(AlarmChange::Clear(About::Dropped)));
        assert_eq!(dropped.look(at(200)), None, "once");
        dropped.count = 8;
        assert!(matches!(dropped.look(at(201)), Some(AlarmChange::Raise(_, words)) if words.starts_with("8 commands")));
    }
}
