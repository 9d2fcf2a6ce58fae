//! Where commands record their ids without ever waiting for the disk.
//!
//! The spool's queue fills up while a disk hangs. A record that had to wait there would hold up a command, and one that was
//! dropped would let it act twice. So records wait here until the spool's thread takes them. Beyond as many as are remembered
//! anyway the oldest are dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use crate::lock::lock;
use fieldgate_model::{CommandRecord, EarlierCommands, REMEMBERED};

/// A command is recorded twice at most: when it begins and when it is answered.
const LIMIT: usize = 2 * REMEMBERED;

/// The commands' end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CommandIds {
    shared: Arc<Shared>,
    earlier: watch::Receiver<EarlierCommands>,
}

/// The end of the spool's thread.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    earlier: watch::Sender<EarlierCommands>,
}

#[derive(Debug, Default)]
struct Shared {
    records: Mutex<VecDeque<CommandRecord>>,
    changed: Notify,
}

/// The end for the part that answers commands, and that of the spool's thread.
pub(super) fn open(earlier: EarlierCommands) -> (CommandIds, Reader) {
    let shared = Arc::<Shared>::default();
    let (sender, receiver) = watch::channel(earlier);
    (CommandIds { shared: Arc::clone(&shared), earlier: receiver }, Reader { shared, earlier: sender })
}

impl CommandIds {
    /// Records a command, or what was answered to one. It is written soon, and before any answer that is sent to the spool
    /// behind it is readable, unless there are very many or the disk fails.
    pub fn record(&self, record: CommandRecord) {
        let mut records = lock(&self.shared.records);
        if records.len() >= LIMIT {
            records.pop_front();
        }
        records.push_back(record);
        drop(records);
        self.shared.changed.notify_one();
    }

    /// What earlier runs recorded, the oldest first; nothing until a file could be opened.
    pub fn earlier(&self) -> EarlierCommands {
        self.earlier.borrow().clone()
    }

    /// One with these records of earlier runs, and without a disk behind it.
    #[cfg(any(test, feature = "testing"))]
    pub fn with_earlier(earlier: EarlierCommands) -> Self {
        open(earlier).0
    }

    /// What was recorded and is not on the disk yet.
    #[cfg(any(test, feature = "testing"))]
    pub fn unwritten(&self) -> Vec<CommandRecord> {
        lock(&self.shared.records).iter().cloned().collect()
    }
}

impl Reader {
    /// Takes what was recorded since the last time.
    pub(super) fn take(&self) -> VecDeque<CommandRecord> {
        std::mem::take(&mut *lock(&self.shared.records))
    }

    /// Waits until something is recorded. Cancel-safe; may return once too often.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Whether [`Reader::publish_earlier`] was called, or need not be.
    pub(super) fn has_earlier(&self) -> bool {
        self.earlier.borrow().is_some()
    }

    /// Publishes what earlier runs recorded.
    pub(super) fn publish_earlier(&self, earlier: EarlierCommands) {
        self.earlier.send_replace(earlier);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::{Name, Recipient};

    #[test]
    fn beyond_what_is_remembered_the_oldest_records_go() {
        let (command_ids, reader) = open(None);
        let record = |id: usize| CommandRecord {
            recipient: Recipient::output(Name::new("pump").unwrap()),
            id: id.to_string(),
            answer: None,
        };
        (0..LIMIT + 3).for_each(|id| command_ids.record(record(id)));
        let unwritten = command_ids.unwritten();
        let taken = reader.take();
        assert_eq!(taken, unwritten);
        assert_eq!((taken.len(), taken.front(), taken.back()), (LIMIT, Some(&record(3)), Some(&record(LIMIT + 2))));
        assert!(reader.take().is_empty());
    }
}
