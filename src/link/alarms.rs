//! What a person should look at although the link works, and how that and every cause is told.
//!
//! A cause that repeats is logged once and then at most every five minutes with a count.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{LinkState, LinkStatus};

/// Repeats of one cause are logged at most this often.
const REPEAT_EVERY: Duration = Duration::from_secs(300);

/// Between two words about commands that found no room.
const DROPPED_EVERY: Duration = Duration::from_secs(1);

/// Alarms told in full; the others are counted.
const TOLD: usize = 3;

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
    Deaf,
    /// Commands may be stale.
    Marker,
    /// What is published may not arrive.
    Canary,
    /// The broker allows less than is wanted.
    Qos,
    /// The broker retains nothing.
    Retain,
    /// A topic on which publishing is refused.
    Publish(String),
    /// Incoming messages were dropped.
    Dropped,
    /// A certificate that ends soon, has ended, or cannot be read any more.
    Certificate(Whose),
}

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// Our own, and its key.
    Ours,
    /// That of `ca_file`.
    Authority,
    /// What the broker showed.
    Broker,
}

/// Writes the link's status; the link alone holds one.
pub(super) struct Report {
    status: watch::Sender<LinkStatus>,
    alarms: BTreeMap<About, String>,
    last: Option<Logged>,
    /// Commands that found no room, on all connections; the count that was told last; and when.
    dropped: (u64, u64, Duration),
}

struct Logged {
    words: String,
    at: Duration,
    repeats: u32,
}

impl Report {
    pub(super) fn new(status: watch::Sender<LinkStatus>) -> Self {
        Self { status, alarms: BTreeMap::new(), last: None, dropped: (0, 0, Duration::ZERO) }
    }

    /// An attempt begins.
    pub(super) fn connecting(&self, broker: String) {
        self.change(LinkState::Connecting, |status| status.broker = broker);
    }

    /// The broker has accepted us.
    pub(super) fn up(&mut self, broker: &str, protocol: &str, session_present: bool) {
        self.change(LinkState::Up, |status| status.connects += 1);
        info!(broker, protocol, session_present, "Connected.");
        self.last = None;
    }

    /// An attempt failed or a connection was lost.
    pub(super) fn down(&mut self, broker: &str, words: String, now: Duration) {
        let repeats = match &mut self.last {
            Some(last) if last.words == words => {
                last.repeats += 1;
                (now.saturating_sub(last.at) >= REPEAT_EVERY).then_some(last.repeats)
            }
            _ => Some(0),
        };
        if let Some(repeats) = repeats {
            warn!(broker, error = words, repeats, "No connection; will try again.");
            self.last = Some(Logged { words: words.clone(), at: now, repeats: 0 });
        }
        self.change(LinkState::Down, |status| status.last_error = Some(words));
    }

    /// The link was told to stop.
    pub(super) fn stopped(&self) {
        self.change(LinkState::Down, |_| {});
        info!("Disconnected.");
    }

    fn change(&self, state: LinkState, change: impl FnOnce(&mut LinkStatus)) {
        self.status.send_modify(|status| {
            change(status);
            if status.state != state {
                status.state = state;
                status.since = crate::clock::now().wall;
            }
        });
    }

    /// A command found no room.
    pub(super) fn dropped(&mut self) {
        self.dropped.0 += 1;
    }

    /// Tells how many commands found no room. Each of a flood would otherwise cost a line in the log and a health message,
    /// which is more than the command itself.
    pub(super) fn tell_dropped(&mut self, now: Duration) {
        let (all, told, at) = self.dropped;
        if all > told && now.saturating_sub(at) >= DROPPED_EVERY {
            self.dropped = (all, all, now);
            let words = format!("{all} commands came faster than they could be taken and were dropped");
            self.raise(About::Dropped, words);
        }
    }

    /// Raises an alarm; the same words again are nothing new.
    pub(super) fn raise(&mut self, about: About, words: String) {
        if self.alarms.get(&about) != Some(&words) {
            warn!(alarm = words, "The link needs attention.");
            self.alarms.insert(about, words);
            self.tell();
        }
    }

    /// Takes an alarm back.
    pub(super) fn clear(&mut self, about: &About) {
        if self.alarms.remove(about).is_some() {
            self.tell();
        }
    }

    /// Of `whose` certificates, these `notices` are all that there is to be said now.
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
        self.alarms.retain(|about, _| {
            matches!(
                about,
                About::TakenOver | About::Brief | About::Dropped | About::Qos | About::Retain | About::Certificate(_)
            )
        });
        self.tell();
    }

    fn tell(&self) {
        let mut words: Vec<String> = self.alarms.values().take(TOLD).cloned().collect();
        if self.alarms.len() > TOLD {
            words.push(format!("and {} more", self.alarms.len() - TOLD));
        }
        let alarm = (!words.is_empty()).then(|| words.join("; "));
        self.status.send_if_modified(|status| {
            let changed = status.alarm != alarm;
            status.alarm = alarm;
            changed
        });
    }
}
