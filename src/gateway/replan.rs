//! How the threads of the buses go from one configuration to the next.
//!
//! First everything that changes is released, on all threads at once and with one deadline, then the new is built: a line or a
//! chip may go from one thread to another. A thread that hangs is not waited for longer than that; what it still holds is
//! tried again by the device that needs it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tracing::error;

use crate::deadlines::{HANGS, LOOK};
use crate::gateway::plans::BusKey;
use crate::worker::{Context, NoThread, Order, Plan, ThreadEnd, Worker};
use fieldgate_clock as clock;
use fieldgate_model::describe_error;

type Workers = BTreeMap<BusKey, Worker>;

/// Releases everything that the plans do not contain unchanged: threads whose wires change or leave are ended, the others release
/// what changes. Outputs among it are driven to their safe state. All have `grace` for it; `alive` is called regularly meanwhile.
pub(super) async fn release(
    workers: &mut Workers,
    plans: &BTreeMap<BusKey, Plan>,
    grace: Duration,
    mut alive: impl FnMut(&Workers),
) {
    let leaving = take_leaving(workers, plans);
    for (_, worker) in &leaving {
        worker.ask_to_stop();
    }
    let releasing = ask_to_release(workers, plans);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let released = released(leaving, releasing, Instant::now() + grace);
    tokio::pin!(released);
    loop {
        // Both are cancel-safe: the wait goes on where it was.
        tokio::select! {
            () = &mut released => break,
            _ = look.tick() => alive(workers),
        }
    }
}

/// Gives every thread its new plan, after [`release`]: the same wires go on, new ones are started.
///
/// # Errors
/// The kernel gave no thread for a bus; the others have their plans all the same.
pub(super) fn adopt(workers: &mut Workers, plans: BTreeMap<BusKey, Plan>, context: &Context) -> Result<(), NoThread> {
    let mut served = Ok(());
    for (key, plan) in plans {
        match workers.get(&key) {
            Some(worker) => {
                if worker.inbox.try_send(Order::Replan(plan)).is_err() {
                    error!(bus = %key, "The bus hangs and does not take its new configuration; restart the gateway.");
                }
            }
            None => match Worker::spawn(&key.to_string(), plan, context.clone()) {
                Ok(worker) => _ = workers.insert(key, worker),
                Err(e) => {
                    error!(error = %describe_error(&e), "The sensors and outputs of a bus are not in use.");
                    served = Err(e);
                }
            },
        }
    }
    served
}

/// The threads whose wires are not in the new plans as they are.
fn take_leaving(workers: &mut Workers, plans: &BTreeMap<BusKey, Plan>) -> Vec<(BusKey, Worker)> {
    let stays = |key: &BusKey, worker: &Worker| plans.get(key).is_some_and(|plan| plan.same_wires(&worker.root));
    let (staying, leaving): (Workers, Workers) =
        std::mem::take(workers).into_iter().partition(|(key, worker)| stays(key, worker));
    *workers = staying;
    leaving.into_iter().collect()
}

/// Asks the threads that go on to release what changes; one that hangs already is not waited for.
fn ask_to_release(workers: &Workers, plans: &BTreeMap<BusKey, Plan>) -> Vec<(BusKey, oneshot::Receiver<()>)> {
    let mut releasing = Vec::new();
    for (key, worker) in workers {
        let Some(plan) = plans.get(key) else { continue };
        let (done, is_done) = oneshot::channel();
        let is_taken = worker.inbox.try_send(Order::Release { plan: plan.clone(), done }).is_ok();
        let hangs = worker.activity.busy().is_some_and(|(_, since)| clock::boottime().saturating_sub(since) >= HANGS);
        if is_taken && !hangs {
            releasing.push((key.clone(), is_done));
        }
    }
    releasing
}

/// Waits for all of them until the deadline.
async fn released(leaving: Vec<(BusKey, Worker)>, releasing: Vec<(BusKey, oneshot::Receiver<()>)>, deadline: Instant) {
    for (key, worker) in leaving {
        match worker.join(deadline.saturating_duration_since(Instant::now())).await {
            ThreadEnd::Orderly => {}
            ThreadEnd::Panicked => {
                error!(bus = %key, "The old bus's thread ended by a panic; its outputs may not be safe.")
            }
            ThreadEnd::Hangs => {
                error!(bus = %key, "The old bus hangs in a device and could not be ended; its thread is abandoned.");
            }
        }
    }
    for (key, done) in releasing {
        if timeout_at(deadline, done).await.is_err() {
            error!(bus = %key, "The bus did not release in time the lines that the reload moves; they are moved when it does.");
        }
    }
}

#[cfg(test)]
mod tests;
