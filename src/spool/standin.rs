//! A spool in memory, for the link's tests until the real one is merged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use thiserror::Error;
use tokio::sync::watch;

use crate::model::{Loss, Message};

/// The spool has ended.
#[derive(Debug, Error)]
#[error("the spool has ended")]
pub struct Closed;

/// Place in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// A message and its place.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its place.
    pub sequence: Sequence,
    /// The message.
    pub message: Arc<Message>,
}

/// The stand-in.
#[derive(Clone, Debug)]
pub struct Spool {
    inner: Arc<Mutex<BTreeMap<Sequence, Arc<Message>>>>,
    losses: Arc<Mutex<Vec<Loss>>>,
    head: watch::Sender<Sequence>,
}

impl Default for Spool {
    fn default() -> Self {
        Self { inner: Arc::default(), losses: Arc::default(), head: watch::channel(Sequence(0)).0 }
    }
}

impl Spool {
    /// Keeps a message.
    pub fn append(&self, message: Message) {
        self.head.send_modify(|head| {
            self.inner.lock().expect("not poisoned").insert(*head, Arc::new(message));
            head.0 += 1;
        });
    }

    /// Unacknowledged messages from `from` on, in order.
    pub async fn read(&self, from: Sequence, limit: usize) -> Result<Vec<Stored>, Closed> {
        let inner = self.inner.lock().expect("not poisoned");
        let range = inner.range(from..).take(limit);
        Ok(range.map(|(sequence, message)| Stored { sequence: *sequence, message: message.clone() }).collect())
    }

    /// Forgets what has arrived.
    pub async fn acknowledge(&self, sequences: Vec<Sequence>) -> Result<(), Closed> {
        let mut inner = self.inner.lock().expect("not poisoned");
        sequences.iter().for_each(|sequence| drop(inner.remove(sequence)));
        Ok(())
    }

    /// Keeps the account.
    pub async fn report_loss(&self, loss: Loss) -> Result<(), Closed> {
        self.losses.lock().expect("not poisoned").push(loss);
        Ok(())
    }

    /// One past the newest.
    pub fn head(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.inner.lock().expect("not poisoned").len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
