//! Commands that come from this program's own page, and not from the broker.
//!
//! They take the way of all commands and are answered on the reply topic like these; who asked gets the same answer besides, through
//! a [`ResponseTarget`] that no broker can name: its topic is empty.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use fieldgate_model::ReplyStatus;
use fieldgate_model::payload::ResponseTarget;

/// Those who wait for an answer. Clones are one and the same. Bounded by those who ask: who stops waiting is forgotten.
#[derive(Clone, Debug, Default)]
pub struct LocalRequesters(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    requesters: BTreeMap<u64, oneshot::Sender<LocalReply>>,
}

/// What one of ours is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// How the command ended.
    pub status: ReplyStatus,
    /// The reply as JSON, as it is published.
    pub payload: String,
}

/// One that waits.
#[derive(Debug)]
pub struct LocalRequester {
    number: u64,
    answer: oneshot::Receiver<LocalReply>,
    all: LocalRequesters,
}

impl LocalRequesters {
    /// A new one, which waits from now on.
    pub fn wait(&self) -> LocalRequester {
        let (answers, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.last += 1;
        let number = waiting.last;
        waiting.requesters.insert(number, answers);
        LocalRequester { number, answer, all: self.clone() }
    }

    /// Hands an answer to one of ours; what is for the broker is given back.
    pub(super) fn answer(
        &self,
        target: Option<ResponseTarget>,
        status: ReplyStatus,
        payload: &str,
    ) -> Option<ResponseTarget> {
        let target = target?;
        if !target.topic.is_empty() {
            return Some(target);
        }
        let number = target.correlation.as_deref().and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        if let Some(requester) = number.and_then(|number| self.waiting().requesters.remove(&number)) {
            // It may have stopped waiting just now.
            requester.send(LocalReply { status, payload: payload.to_owned() }).ok();
        }
        None
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalRequester {
    /// Where the answer is to go.
    pub fn target(&self) -> ResponseTarget {
        ResponseTarget { topic: String::new(), correlation: Some(self.number.to_be_bytes().to_vec()) }
    }

    /// The reply; nothing when the commands have ended.
    pub async fn answer(&mut self) -> Option<LocalReply> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for LocalRequester {
    fn drop(&mut self) {
        self.all.waiting().requesters.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fieldgate_model::{Outcome, Reason};

    #[tokio::test]
    async fn each_gets_its_own_answer_and_who_has_gone_is_forgotten() {
        let all = LocalRequesters::default();
        let (mut one, mut other, gone) = (all.wait(), all.wait(), all.wait());
        let targets = [one.target(), other.target(), gone.target()];
        drop(gone);
        let [first, second, third] = targets;
        let done = ReplyStatus { outcome: Outcome::Done, reason: None };
        let failed = ReplyStatus { outcome: Outcome::Failed, reason: Some(Reason::Hardware) };
        assert_eq!(all.answer(Some(second), failed, "two"), None);
        assert_eq!(all.answer(Some(first), done, "one"), None);
        assert_eq!(all.answer(Some(third), done, "three"), None);
        assert_eq!(one.answer().await, Some(LocalReply { status: done, payload: "one".to_owned() }));
        assert_eq!(other.answer().await, Some(LocalReply { status: failed, payload: "two".to_owned() }));
        drop((one, other));
        assert!(all.waiting().requesters.is_empty());
        let broker = ResponseTarget { topic: "answers/me".into(), correlation: None };
        assert_eq!(all.answer(Some(broker.clone()), done, "x"), Some(broker));
    }
}
