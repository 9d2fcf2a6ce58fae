//! The order of the stop, its grace periods, and the report of parts that did not end.
//!
//! Upstream first:
//!
//! 1. Commands are refused.
//! 2. The workers end with their outputs safe.
//! 3. The page and the file of metrics end.
//! 4. The rules end; there is nobody left to order anything of.
//! 5. The commands that are under way are answered.
//! 6. The requests end.
//! 7. The recorder passes the last events on.
//! 8. The link delivers what it can and publishes `offline`.
//! 9. The spool commits the rest.
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

use crate::deadlines::{Deadlines, LINK, RECORDER};
use crate::worker::{Context, Worker};
use fieldgate_link::Handover;
use fieldgate_spool::{Spool, SpoolThread};

/// Everything that must end.
pub struct Remains {
    /// The buses and their names.
    pub workers: Vec<(String, Worker)>,
    /// Set first: commands are refused from then on.
    pub stopping: Arc<AtomicBool>,
    /// The task of the commands.
    pub commands: JoinHandle<()>,
    /// Ends the commands' task when it is true.
    pub commands_stop: watch::Sender<bool>,
    /// The rules' task and what ends it.
    pub rules: (JoinHandle<()>, watch::Sender<bool>),
    /// Kept to be dropped: it has senders to the recorder, which does not end before.
    pub events: Context,
    /// The task of requests, and what ends it.
    pub requests: (JoinHandle<()>, watch::Sender<bool>),
    /// The task of the page for browsers.
    pub page: JoinHandle<()>,
    /// The task that writes the file of metrics.
    pub metrics_file: JoinHandle<()>,
    /// Ends both when it is true.
    pub servers_stop: watch::Sender<bool>,
    /// The task of the recorder; it ends when nobody can send to it any more.
    pub recorder: JoinHandle<()>,
    /// The task of the link.
    pub link: JoinHandle<Handover>,
    /// Ends the link's task when it is true; it publishes `offline` first.
    pub link_stop: watch::Sender<bool>,
    /// The spool, which commits what waits when it is closed.
    pub spool: Spool,
    /// The thread of the spool.
    pub spool_thread: SpoolThread,
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
        let grace = if worker.progress.has_outputs() { deadlines.outputs } else { deadlines.workers };
        if !worker.join(grace.saturating_sub(began.elapsed())).await {
            error!(bus = name, "The bus hangs in a device, and its thread was abandoned; its outputs may not be safe.");
        }
    }
    remains.servers_stop.send_replace(true);
    within(RECORDER, "page", remains.page).await;
    within(RECORDER, "file of metrics", remains.metrics_file).await;
    drop(remains.events);
    remains.rules.1.send_replace(true);
    within(RECORDER, "rules", remains.rules.0).await;
    remains.commands_stop.send_replace(true);
    within(RECORDER, "commands", remains.commands).await;
    remains.requests.1.send_replace(true);
    within(RECORDER, "requests", remains.requests.0).await;
    within(RECORDER, "recorder", remains.recorder).await;
    remains.link_stop.send_replace(true);
    within(LINK, "link", remains.link).await;
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
