//! Commands that set variables.
//!
//! Such a command is answered when the new value is on disk, so that a requester who has an answer need not set it again, not even
//! after a kill. The value counts at once; while the disk fails it counts all the same, and the answer says so.

use tokio::sync::{mpsc, oneshot};

use crate::commands::totals::on_disk;
use crate::commands::{UNDER_WAY, Work};
use crate::variables::{ToKeep, Variables};
use crate::worker::Event;
use fieldgate_model::{Command, Name, Reason, Refusal, ReplyValue};

/// Sets a variable and hands the value to the recorder.
///
/// # Errors
/// Why it is refused: there is no such variable, it does not take that, or the recorder is behind.
pub(super) fn set(
    variables: &Variables,
    recorder: &mpsc::Sender<Event>,
    name: &Name,
    command: &Command,
    under_way: usize,
) -> Result<Work, Refusal> {
    let busy = || Refusal::new(Reason::Busy, "the disk has not taken what was set before this");
    let (saved, is_saved) = oneshot::channel();
    let value = variables.set(name, command, |(recipient, value)| {
        if under_way >= UNDER_WAY {
            return Err(busy());
        }
        // In the order in which they are set, so nobody waits for a place here.
        recorder.try_send(Event::ValueSet { recipient, value, saved }).map_err(|_| busy())
    })?;
    Ok(Box::pin(on_disk("variable", ReplyValue::Variable(value), is_saved)))
}

/// Hands over what is to be kept although nobody waits for it.
pub fn keep(recorder: &mpsc::Sender<Event>, all: Vec<ToKeep>) {
    for (recipient, value) in all {
        let (saved, _) = oneshot::channel();
        let variable = recipient.name.clone();
        if recorder.try_send(Event::ValueSet { recipient, value, saved }).is_err() {
            tracing::warn!(
                %variable,
                "The value of the variable could not be saved, and the next start will not know it: the spool's queue is full, because its \
                 disk hangs. Set it again when the disk works."
            );
        }
    }
}
