//! The way of the answers to the recorder, on which no command waits for a disk that hangs: it acts, and only its answer is
//! lost, which the log says.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

use crate::recorder::Answer;

/// How long an answer may wait for room.
const WITHIN: Duration = Duration::from_millis(20);

/// To the recorder.
#[derive(Debug)]
pub struct Answers {
    recorder: mpsc::Sender<Answer>,
    /// Since one last found room.
    lost: u64,
}

impl Answers {
    /// Every one goes there.
    pub fn new(recorder: mpsc::Sender<Answer>) -> Self {
        Self { recorder, lost: 0 }
    }

    /// Hands one on. The first that finds no room waits a little; those behind it do not, until one has found room again: a
    /// command may be behind many answers.
    pub(super) async fn send(&mut self, answer: Answer) {
        let actuator = answer.actuator.clone();
        let within = if self.lost == 0 { WITHIN } else { Duration::ZERO };
        // It is tried once even when there is no time.
        match timeout(within, self.recorder.send(answer)).await {
            Ok(Ok(())) => {
                let lost = std::mem::take(&mut self.lost);
                if lost > 0 {
                    warn!(lost, "Replies to commands are accepted again; some were lost.");
                }
            }
            Ok(Err(_)) => warn!(%actuator, "The reply to a command is lost: the recorder has ended."),
            Err(_) => {
                if self.lost == 0 {
                    warn!(%actuator, "The reply to a command is lost: the spool's queue is full, because its disk hangs. More may follow.");
                }
                self.lost += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use fieldgate_model::Name;

    fn answer(payload: usize) -> Answer {
        Answer { actuator: Name::new("pump").unwrap(), payload: payload.to_string(), response: None }
    }

    #[tokio::test]
    async fn only_the_first_that_finds_no_room_waits() {
        let (recorder, mut recorded) = mpsc::channel(1);
        let mut answers = Answers::new(recorder);
        answers.send(answer(0)).await;
        let began = Instant::now();
        answers.send(answer(1)).await;
        assert!(began.elapsed() >= WITHIN);
        let began = Instant::now();
        for nth in 2..100 {
            answers.send(answer(nth)).await;
        }
        assert!(began.elapsed() < 10 * WITHIN, "{:?}", began.elapsed());
        assert_eq!(answers.lost, 99);
        recorded.recv().await.unwrap();
        answers.send(answer(100)).await;
        assert_eq!((answers.lost, recorded.recv().await.unwrap().payload), (0, "100".to_owned()));
    }
}
