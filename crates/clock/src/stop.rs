//! The signal by which a task is asked to end: a channel whose value becomes true once and stays so.

use tokio::sync::watch;

/// Ends when the task is asked to end, or when nobody is left who could ask. Cancel-safe.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The borrowed value must not live across the caller's next await. An error means that the sender has gone.
    drop(stop.wait_for(|stop| *stop).await);
}
