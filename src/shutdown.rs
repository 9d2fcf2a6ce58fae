//! The order of the stop, its grace periods, and the report of parts that did not end.
//!
//! Upstream first:
//!
//! 1. Commands are refused.
//! 2. The workers end with their outputs safe.
//! 3. All that speaks with others ends, with one grace for all: the page, the file of metrics, the rules, which have nobody left to
//!    order anything of, the commands, which answer those that are under way, and the requests.
//! 4. The recorder passes the last events on.
//! 5. The link delivers what it can and publishes `offline`.
//! 6. The spool commits the rest.
//!
//! Each step has a deadline and a line that names who missed it, all from the one table in `deadlines.rs`. The whole takes two seconds
//! at most unless something hangs, and never five, each prolonged by the dead times that outputs must wait for: it must end before
//! systemd kills it. The exit code is 0 even when a part was left behind: a service that is being stopped should not count as failed,
//! and the log names the part.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info};

use crate::deadlines::{Deadlines, LINK, RECORDER, TASKS};
use crate::worker::{Context, ThreadEnd, Worker};
use fieldgate_link::Handover;
use fieldgate_spool::{Spool, SpoolThread};

/// Everything that must end.
pub struct Remains {
    /// The buses and their names.
    pub workers: Vec<(String, Worker)>,
    /// Set first: commands are refused from then on.
    pub stopping: Arc<AtomicBool>,
    /// Kept to be dropped: it has senders to the recorder, which does not end before.
    pub events: Context,
    /// What ends between the workers and the spool.
    pub tasks: Tasks,
    /// The spool, which commits what waits when it is closed.
    pub spool: Spool,
    /// The thread of the spool.
    pub spool_thread: SpoolThread,
}

/// The tasks of the gateway, and what ends each of them when it is true.
pub struct Tasks {
    /// The commands.
    pub commands: (JoinHandle<()>, watch::Sender<bool>),
    /// The rules.
    pub rules: (JoinHandle<()>, watch::Sender<bool>),
    /// The requests.
    pub requests: (JoinHandle<()>, watch::Sender<bool>),
    /// The page for browsers.
    pub page: JoinHandle<()>,
    /// The file of metrics.
    pub metrics_file: JoinHandle<()>,
    /// Ends the page and the file.
    pub servers_stop: watch::Sender<bool>,
    /// The recorder, which ends when nobody can send to it any more.
    pub recorder: JoinHandle<()>,
    /// The link; it publishes `offline` first.
    pub link: (JoinHandle<Handover>, watch::Sender<bool>),
}

impl Tasks {
    /// Ends all of them, within [`TASKS`], [`RECORDER`] and [`LINK`] together.
    async fn end(self) {
        for stop in [&self.servers_stop, &self.rules.1, &self.commands.1, &self.requests.1] {
            stop.send_replace(true);
        }
        tokio::join!(
            within(TASKS, "page", self.page),
            within(TASKS, "file of metrics", self.metrics_file),
            within(TASKS, "rules", self.rules.0),
            within(TASKS, "commands", self.commands.0),
            within(TASKS, "requests", self.requests.0),
        );
        within(RECORDER, "recorder", self.recorder).await;
        self.link.1.send_replace(true);
        within(LINK, "link", self.link.0).await;
    }
}

/// Stops everything in order.
pub async fn stop(remains: Remains, deadlines: Deadlines) {
    let began = Instant::now();
    remains.stopping.store(true, Ordering::Release);
    for (_, worker) in &remains.workers {
        worker.ask_to_stop();
    }
    for (name, worker) in remains.workers {
        // One grace for all of a kind: they stop at the same time.
        let grace = if worker.activity.has_outputs() { deadlines.outputs } else { deadlines.workers };
        match worker.join(grace.saturating_sub(began.elapsed())).await {
            ThreadEnd::Orderly => {}
            ThreadEnd::Panicked => {
                error!(bus = name, "The bus's thread ended by a panic; its outputs may not be safe.")
            }
            ThreadEnd::Hangs => {
                error!(
                    bus = name,
                    "The bus hangs in a device, and its thread was abandoned; its outputs may not be safe."
                );
            }
        }
    }
    drop(remains.events);
    remains.tasks.end().await;
    within(deadlines.stop.saturating_sub(began.elapsed()), "spool", async {
        remains.spool.close().await;
        Ok(())
    })
    .await;
    drop(remains.spool_thread);
    info!("Gateway stopped.");
}

/// Waits for one part, and says so when it does not end.
async fn within<T>(grace: Duration, part: &str, end: impl Future<Output = Result<T, tokio::task::JoinError>>) {
    match tokio::time::timeout(grace, end).await {
        Ok(Ok(_)) => {}
        Ok(Err(e)) => error!(part, error = %e, "The part ended by a panic."),
        Err(_) => error!(part, ?grace, "The part did not end in time and was abandoned."),
    }
}
