//! An orderly end: what is left is sent for a moment, then `offline`, then DISCONNECT. Each step has its limit.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Connection, End, Phase, TICK};
use crate::inflight::InFlight;
use crate::open_requests::Request;
use crate::session::Event;
use fieldgate_clock::boottime;

/// How long remaining messages are sent after `stop`.
const FLUSH: Duration = Duration::from_secs(1);

/// How long the acknowledgement of `offline` is waited for.
const FAREWELL: Duration = Duration::from_millis(250);

/// How long the broker may take to close after DISCONNECT.
const CLOSE: Duration = Duration::from_millis(100);

impl Connection<'_> {
    /// Sends what is left for a moment, publishes `offline` and disconnects.
    pub(super) async fn close(mut self, end: End) -> End {
        let deadline = Instant::now() + FLUSH;
        let settings = &self.resources.settings;
        // Another broker is left with an `offline` as ever.
        let leaves_nothing = matches!(end, End::Stopped) && settings.leaves_nothing && settings.retain_state;
        if leaves_nothing {
            self.resources.latest.clear_all();
        }
        self.end_one_at_a_time(boottime());
        self.look_at_one_at_a_time(boottime());
        // The last readings may still be on their way through the spool's queue. Ended or slow, the spool is not waited for.
        drop(timeout_at(deadline, self.resources.spool.wait_until_readable()).await);
        while !self.is_flushed() && Instant::now() < deadline {
            let more = self.pump();
            let step =
                if more { Ok(self.step().now_or_never().flatten()) } else { timeout(TICK / 10, self.step()).await };
            if let Ok(Some(cause)) = step {
                return self.conclude(cause);
            }
            tokio::task::yield_now().await;
        }
        self.phase = Phase::Leaving;
        if !self.broker.is_held_back(&Request::Publish(self.resources.settings.topics.status()), boottime()) {
            self.send(InFlight::Farewell, self.status(if leaves_nothing { "" } else { "offline" }));
        }
        let farewell = Instant::now() + FAREWELL;
        while !self.window.is_empty() && Instant::now() < farewell {
            if let Ok(Some(cause)) = timeout_at(farewell, self.step()).await {
                return self.conclude(cause);
            }
        }
        self.report_settled();
        self.session.disconnect().await;
        let closed = Instant::now() + CLOSE;
        while let Ok(event) = timeout_at(closed, self.session.next()).await {
            if matches!(event, Event::Ended(_)) {
                break;
            }
        }
        end
    }

    fn is_flushed(&self) -> bool {
        self.phase.is_online() && self.window.is_empty() && self.is_drained() && !self.resources.latest.is_pending()
    }
}
