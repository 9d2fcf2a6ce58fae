//! Passes replies to the recorder. A disk that hangs does not delay commands: they are carried out, and only their replies are
//! lost, with a warning in the log.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

use crate::commands::local::LocalRequesters;
use crate::recorder::ReplyMessage;
use fieldgate_model::ReplyStatus;

/// How long a reply may wait for a place in the recorder's queue.
const WITHIN: Duration = Duration::from_millis(20);

/// To the recorder.
#[derive(Debug)]
pub struct ReplySender {
    recorder: mpsc::Sender<ReplyMessage>,
    /// Who waits for one in this program.
    local: LocalRequesters,
    /// Lost since the last reply that was accepted.
    lost: u64,
}

impl ReplySender {
    /// All replies go to this channel.
    pub fn new(recorder: mpsc::Sender<ReplyMessage>) -> Self {
        Self::also_to(recorder, LocalRequesters::default())
    }

    /// All replies go to this channel, and those that these wait for to them besides.
    pub fn also_to(recorder: mpsc::Sender<ReplyMessage>, local: LocalRequesters) -> Self {
        Self { recorder, local, lost: 0 }
    }

    /// Passes the reply to a command on, to whom waits for it in this program as well.
    pub async fn reply(&mut self, mut answer: ReplyMessage, status: ReplyStatus) {
        answer.response = self.local.answer(answer.response.take(), status, &answer.payload);
        self.send(answer).await;
    }

    /// Passes an answer to the recorder. The first that finds the queue full waits a little; the next ones do not, until one is
    /// accepted again: otherwise a command would wait behind many replies.
    pub async fn send(&mut self, answer: ReplyMessage) {
        let name = answer.recipient.name.clone();
        let within = if self.lost == 0 { WITHIN } else { Duration::ZERO };
        // It is tried once even when there is no time.
        match timeout(within, self.recorder.send(answer)).await {
            Ok(Ok(())) => {
                let lost = std::mem::take(&mut self.lost);
                if lost > 0 {
                    warn!(lost, "Replies to commands are accepted again; some were lost.");
                }
            }
            Ok(Err(_)) => warn!(%name, "The reply to a command is lost, because the recorder has ended."),
            Err(_) => {
                if self.lost == 0 {
                    warn!(%name, "The reply to a command is lost: the spool's queue is full, because its disk hangs. More may follow.");
                }
                self.lost += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::sleep;

    use super::*;
    use fieldgate_model::{Name, Recipient};

    fn answer(payload: usize) -> ReplyMessage {
        ReplyMessage {
            recipient: Recipient::output(Name::new("pump").unwrap()),
            payload: payload.to_string(),
            response: None,
        }
    }

    /// Its end comes before that of half the time for which one waits. Both are timers of one runtime, so a machine that is late
    /// is late for both, and of two that have ended the first counts.
    async fn at_once(answers: &mut ReplySender, nth: usize) {
        tokio::select! {
            biased;
            () = answers.send(answer(nth)) => {}
            () = sleep(WITHIN / 2) => panic!("number {nth} waits"),
        }
    }

    #[tokio::test]
    async fn only_the_first_that_finds_no_room_waits() {
        let (recorder, mut recorded) = mpsc::channel(1);
        let mut answers = ReplySender::new(recorder);
        answers.send(answer(0)).await;
        let began = Instant::now();
        answers.send(answer(1)).await;
        assert!(began.elapsed() >= WITHIN);
        for nth in 2..100 {
            at_once(&mut answers, nth).await;
        }
        assert_eq!(answers.lost, 99);
        recorded.recv().await.unwrap();
        answers.send(answer(100)).await;
        assert_eq!((answers.lost, recorded.recv().await.unwrap().payload), (0, "100".to_owned()));
    }
}
