//! When Home Assistant is told what there is.

use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::Gateway;
use crate::home_assistant::Announced;
use fieldgate_link::LinkState;

/// How long Home Assistant may need to take an entity away; it was seen to need a few tenths of a second.
const TAKES_AWAY: Duration = Duration::from_secs(2);

/// What was announced, and whether that is all.
#[derive(Debug, Default)]
pub(super) struct Announcing {
    announced: Announced,
    /// When the rest of it is due.
    rest_due: Option<Instant>,
}

impl Gateway {
    /// Announces what there is, and takes back what is there no longer.
    pub(super) fn announce(&mut self) {
        let update = self.announcing.announced.update(&self.config.shown_devices());
        update.messages.into_iter().for_each(|(topic, payload)| self.ways.latest.set(topic, payload));
        self.announcing.rest_due = update.is_half.then(|| Instant::now() + TAKES_AWAY);
    }

    /// Announces what has moved, once it has been taken away where it was. Without a link neither has been published.
    pub(super) fn announce_rest(&mut self) {
        let is_up = self.sources.link.borrow().state == LinkState::Up;
        if is_up && self.announcing.rest_due.is_some_and(|due| due <= Instant::now()) {
            self.announce();
        }
    }
}
