//! The requests that are under way on one connection, and the answers to them.

use std::future::pending;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::OptionFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::inflight::Ticket;
use crate::open_requests::{Blame, OpenRequests, Request, RequestId};
use crate::session::{Grant, Pending, PublishOutcome};

/// An answer of the broker.
#[derive(Debug)]
pub(crate) enum BrokerAnswer {
    /// What became of a publication.
    Publication(Ticket, PublishOutcome),
    /// To the subscription that was under way.
    Subscription(Grant),
}

/// The requests of one connection.
#[derive(Default)]
pub(crate) struct Requests {
    /// What they are, so that the end of the connection can be attributed to one of them.
    pub(crate) open: OpenRequests,
    publications: FuturesUnordered<Pending<(Ticket, PublishOutcome)>>,
    subscription: Option<Pending<Grant>>,
}

impl Requests {
    /// A publication was sent; `is_answered` says that the broker answers it, as all but QoS 0.
    pub(crate) fn published(
        &mut self,
        ticket: Ticket,
        blame: Blame,
        is_answered: bool,
        outcome: Pending<PublishOutcome>,
    ) {
        self.open.sent(RequestId::Publication(ticket), blame, is_answered);
        self.publications.push(Box::pin(outcome.map(move |outcome| (ticket, outcome))));
    }

    /// A subscription was sent.
    pub(crate) fn subscribed(&mut self, request: Request, grant: Pending<Grant>) {
        self.open.sent(RequestId::Subscription, Blame { request, retain: false }, true);
        self.subscription = Some(grant);
    }

    /// The subscription that is under way is given up; an answer to it counts no more.
    pub(crate) fn give_up_subscription(&mut self, now: Duration) {
        self.subscription = None;
        self.open.done(RequestId::Subscription, now);
    }

    /// Waits for an answer, for ever when none will come. Cancel-safe.
    pub(crate) async fn answer(&mut self) -> BrokerAnswer {
        tokio::select! {
            Some((ticket, outcome)) = self.publications.next() => BrokerAnswer::Publication(ticket, outcome),
            Some(grant) = OptionFuture::from(self.subscription.as_mut()) => {
                self.subscription = None;
                BrokerAnswer::Subscription(grant)
            }
            else => pending().await,
        }
    }

    /// What became of a publication, if that is known already.
    pub(crate) fn publication_now(&mut self) -> Option<(Ticket, PublishOutcome)> {
        self.publications.next().now_or_never().flatten()
    }

    /// The answer to the subscription, if it is there already.
    pub(crate) fn subscription_now(&mut self) -> Option<Grant> {
        self.subscription.as_mut()?.now_or_never()
    }
}
