//! A session without a network, for tests: what is published comes out here, and the test says what becomes of it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::wire::Line;
use super::{EVENT_CAPACITY, Event, Pending, Publication, PublishOutcome, REQUEST_CAPACITY, Session};
use crate::Protocol;

/// A publication, and where its outcome is said.
pub(crate) type Published = (Publication, oneshot::Sender<PublishOutcome>);

/// Passes publications to the test.
pub(super) struct Client(mpsc::Sender<Published>);

/// What the broker sees.
pub(crate) struct Wire {
    pub published: mpsc::Receiver<Published>,
    /// As long as it is there, the connection holds.
    _events: mpsc::Sender<Event>,
}

/// A session that a test drives, and what the broker sees of it.
pub(crate) fn session() -> (Session, Wire) {
    let (sender, published) = mpsc::channel(REQUEST_CAPACITY);
    let (_events, events) = mpsc::channel(EVENT_CAPACITY);
    let line = Arc::new(Line::new(Arc::default(), Protocol::V5));
    let session = Session { client: super::Client::Scripted(Client(sender)), events, line, _polling: JoinSet::new() };
    (session, Wire { published, _events })
}

impl Client {
    pub(super) fn publish(&self, publication: Publication) -> Pending<PublishOutcome> {
        let (sender, outcome) = oneshot::channel();
        // One that finds no room, or nobody, is lost: its outcome is dropped with it.
        drop(self.0.try_send((publication, sender)));
        Box::pin(async { outcome.await.unwrap_or(PublishOutcome::Lost) })
    }
}
