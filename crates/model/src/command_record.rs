//! What is remembered of a command that had an id.

use std::sync::Arc;

use crate::Recipient;

/// The newest commands that are remembered, over restarts too: enough for a client that repeats one for minutes.
pub const REMEMBERED: usize = 1024;

/// A command that had an id. It belongs to one recipient: a command to another may have the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRecord {
    /// What the command was addressed to.
    pub recipient: Recipient,
    /// The sender's name for the command.
    pub id: String,
    /// The reply's payload, word for word; nothing as long as there is none.
    pub answer: Option<Arc<str>>,
}

/// What earlier runs recorded, the oldest first; nothing as long as no disk could be read.
pub type EarlierCommands = Option<Arc<Vec<CommandRecord>>>;
