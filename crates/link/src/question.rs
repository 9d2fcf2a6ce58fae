//! A request to the spool whose answer is never waited for: a disk that hangs must hold up neither the link nor commands.

use std::future::Future;
use std::task::{Context, Poll};

use futures_util::FutureExt;

use super::session::Pending;

/// A question whose answer is taken in whenever it comes.
pub(super) struct Question<T> {
    pending: Pending<T>,
    answer: Option<T>,
}

impl<T> Question<T> {
    /// Asked by the first call of [`Question::answer`] or [`Question::poll`].
    pub(super) fn new(question: impl Future<Output = T> + Send + 'static) -> Self {
        Self { pending: question.boxed(), answer: None }
    }

    /// The answer, if it has come. It is given once, and the question is over then.
    pub(super) fn answer(&mut self) -> Option<T> {
        self.answer.take().or_else(|| (&mut self.pending).now_or_never())
    }

    /// Ready when the answer has come, which is kept for [`Question::answer`]. Pending when it was kept before.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.answer.is_some() {
            return Poll::Pending;
        }
        self.pending.poll_unpin(context).map(|answer| self.answer = Some(answer))
    }
}
