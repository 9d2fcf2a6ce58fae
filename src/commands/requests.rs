//! Requests come through the queue of commands, so a flood of them is bounded and counted as there; but they are none.

use serde_json::Value as Json;

use crate::commands::Commands;
use crate::recorder::ReplyMessage;
use fieldgate_link::Incoming;
use fieldgate_model::payload;
use fieldgate_model::{Name, Reason, Recipient, Refusal};

impl Commands {
    /// Hands a request to those who answer them. One that finds no place is answered here: there are too many to look at each.
    pub(super) async fn pass_on(&mut self, message: Incoming) {
        let Err(full) = self.requests.try_send(message) else { return };
        let message = full.into_inner();
        let verb = self.roster.borrow().topics.commanded(&message.topic).map(|(_, level)| Name::new(level));
        let Some(Ok(verb)) = verb else { return };
        let transaction = match payload::decode_request(&message.payload, payload::MAX_REQUEST_BYTES) {
            Ok(request) => request.transaction,
            Err((transaction, _)) => transaction,
        };
        let busy = Refusal::new(Reason::Busy, "too many requests wait");
        let payload = payload::response(&transaction, &Json::Null, Some(&busy));
        self.answers
            .send(ReplyMessage { recipient: Recipient::request(verb), payload, response: message.response })
            .await;
    }
}
