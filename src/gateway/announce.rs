//! Gives Home Assistant's announcements to the link and to the spool's memory; `home_assistant` says which and when.

use tracing::warn;

use crate::gateway::Gateway;
use crate::home_assistant::{self, Announcer, Messages};
use fieldgate_clock as clock;
use fieldgate_link::{LinkState, PeerStatus};

/// What was announced, and what is known of those to whom.
#[derive(Debug, Default)]
pub(super) struct Announcing {
    announcer: Announcer,
    /// Whether what earlier runs announced is in it.
    knows_earlier: bool,
    /// Whether it was logged that this is not so, or cannot be kept.
    has_warned: bool,
    /// What Home Assistant had said when that was looked at last.
    peer: PeerStatus,
}

impl Gateway {
    /// Announces what there is, and takes back what is there no longer.
    pub(super) fn announce(&mut self) {
        self.recall();
        let messages = self.announcing.announcer.announce(&self.config.shown_devices());
        self.remember();
        self.publish_announced(messages);
    }

    /// Announces to Home Assistant what is due.
    pub(super) fn announce_what_is_due(&mut self) {
        if !self.announcing.knows_earlier && self.link_channels.spool.announced().earlier().is_some() {
            self.announce();
        }
        let (now, heard) = (clock::boottime(), *self.link_channels.peer.borrow());
        if std::mem::replace(&mut self.announcing.peer, heard) != heard {
            let messages = self.announcing.announcer.hear(heard.is_online, now, fastrand::f64());
            self.publish_announced(messages);
        }
        let (is_up, is_alone) = {
            let link = self.sources.link.borrow();
            (link.state == LinkState::Up, !link.has_twin)
        };
        if !is_up {
            return;
        }
        let is_published = |topics: &[String]| self.link_channels.latest.is_published(topics);
        let devices = || self.config.shown_devices();
        // Nothing clears a topic at a broker that keeps nothing, but Home Assistant hears tombstones there as well.
        let may_clear = is_alone && self.config.link.retain_state;
        let due = self.announcing.announcer.step(now, may_clear, is_published, devices);
        if due.is_changed {
            self.remember();
        }
        self.link_channels.latest.set_again(&due.again);
        self.publish_announced(due.messages);
        if due.readings {
            self.repeat_states();
            self.repeat_readings();
        }
    }

    fn publish_announced(&self, messages: Messages) {
        messages.into_iter().for_each(|(topic, payload)| self.link_channels.latest.set(topic, payload));
    }

    /// Takes in what earlier runs announced, as soon as the spool knows.
    fn recall(&mut self) {
        if self.announcing.knows_earlier {
            return;
        }
        match self.link_channels.spool.announced().earlier() {
            Some(earlier) => {
                self.announcing.announcer.recall(&*earlier);
                self.announcing.knows_earlier = true;
            }
            None if self.config.home_assistant.is_some() && !self.announcing.has_warned => {
                self.announcing.has_warned = true;
                warn!(
                    "The spool's file cannot be read now: what an earlier run announced to Home Assistant, and what has left the \
                     configuration since, stays there until it can."
                );
            }
            None => {}
        }
    }

    fn remember(&mut self) {
        self.link_channels.spool.announced().set(self.announcing.announcer.stored());
        if self.has_spool_alarm() && self.config.home_assistant.is_some() && !self.announcing.has_warned {
            self.announcing.has_warned = true;
            warn!(
                "The spool may not be able to keep what is announced to Home Assistant: what leaves the configuration while the \
                 gateway is stopped may stay there."
            );
        }
        self.listen_to_home_assistant();
    }

    /// Home Assistant says on this topic when it starts; also where only something that has gone is left to be shown to it.
    fn listen_to_home_assistant(&self) {
        let prefix = self.config.home_assistant.as_ref().map(|settings| settings.prefix.as_str());
        let prefix = prefix.or_else(|| self.announcing.announcer.prefix_of_gone());
        let topic = prefix.map(|prefix| format!("{prefix}/status"));
        self.link_channels.peer_topic.send_if_modified(|known| {
            let is_new = *known != topic;
            *known = topic;
            is_new
        });
    }

    /// A broker that keeps nothing has no states for a Home Assistant that starts later.
    fn repeat_states(&self) {
        if !self.config.link.retain_state {
            self.link_channels.latest.repeat(self.config.topics.status(), b"online".to_vec());
            self.link_channels.latest.set_all_again();
        }
    }

    fn repeat_readings(&self) {
        let Some(settings) = &self.config.home_assistant else { return };
        let (view, now) = (self.views.current(), clock::now());
        let (config, is_kept) = (&self.config, self.config.link.retain_state);
        let missed = home_assistant::missed(settings, &config.topics, &config.sensors, &view, &now, is_kept);
        missed.into_iter().for_each(|(topic, payload)| self.link_channels.latest.repeat(topic, payload));
    }
}
