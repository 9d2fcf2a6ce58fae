//! Commands from the page: made into what the broker would have brought, and answered with the reply.

use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::{Bytes, Incoming as Body};
use serde_json::Value as Json;
use tokio::time::timeout;

use crate::deadlines;
use crate::http::access::Refused;
use crate::http::{BODY_WITHIN, HttpResources, MAX_BODY};
use fieldgate_link::Incoming;
use fieldgate_model::payload::decode_command;
use fieldgate_model::{Name, Outcome, Reason, RecipientKind, ReplyStatus};

/// Bytes of JSON that fit beside the id that is put in.
const ID_BYTES: usize = 40;

/// What a path below `/api/` gives commands to.
pub(super) fn recipient(folder: &str) -> Option<RecipientKind> {
    match folder {
        "actuators" => Some(RecipientKind::Output),
        "variables" => Some(RecipientKind::Variable),
        "rules" => Some(RecipientKind::Rule),
        _ => None,
    }
}

/// Carries out the command in `body`; the status and the reply.
pub(super) async fn command(
    resources: &HttpResources,
    kind: RecipientKind,
    name: &str,
    body: Body,
) -> Result<(StatusCode, Bytes), Refused> {
    let malformed = |reason: &str| Refused::new(StatusCode::BAD_REQUEST, reason);
    let name = Name::new(name).map_err(|_| Refused::new(StatusCode::NOT_FOUND, "this is no name"))?;
    let topic = {
        let roster = resources.roster();
        match kind {
            RecipientKind::Variable => roster.topics.set_variable(&name),
            RecipientKind::Rule => roster.topics.set_rule(&name),
            _ => roster.topics.set(&name),
        }
    };
    let payload = with_id(&read(body).await?).ok_or_else(|| malformed("the body must be a JSON object"))?;
    let mut requester = resources.requesters.wait();
    let message = Incoming { topic, payload, retain: false, stale: false, response: Some(requester.target()) };
    let busy = |reason: &str| Refused::new(StatusCode::SERVICE_UNAVAILABLE, reason);
    resources.commands.try_send(message).map_err(|_| busy("too many commands wait"))?;
    match timeout(deadlines::PAGE_ANSWER, requester.answer()).await {
        Ok(Some(reply)) => Ok((status_code(reply.status), reply.payload.into())),
        _ => Err(busy("the command was not answered in time; it may still be carried out")),
    }
}

async fn read(body: Body) -> Result<Bytes, Refused> {
    match timeout(BODY_WITHIN, Limited::new(body, MAX_BODY - ID_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a command has at most {MAX_BODY} bytes")))
        }
        Ok(Err(_)) => Err(Refused::new(StatusCode::BAD_REQUEST, "the body cannot be read")),
        Err(_) => Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

/// The command with an id of ours where it has none, so that it can be a toggle and the log shows where it came from. What cannot be read
/// goes on as it is, to be refused in the words of all commands.
fn with_id(body: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let rest = text.strip_prefix('{')?;
    match decode_command(text.as_bytes()) {
        Ok(command) if command.id.is_none() && !has_id(text) => {
            Some(format!("{{\"id\":\"http-{:016x}\",{rest}", fastrand::u64(..)).into())
        }
        _ => Some(Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// `"id": null` is as good as none, but a key must not stand twice.
fn has_id(text: &str) -> bool {
    serde_json::from_str::<Json>(text).is_ok_and(|json| json.get("id").is_some())
}

fn status_code(ReplyStatus { outcome, reason }: ReplyStatus) -> StatusCode {
    match outcome {
        Outcome::Done => StatusCode::OK,
        Outcome::Failed => StatusCode::BAD_GATEWAY,
        Outcome::Rejected if reason == Some(Reason::Unknown) => StatusCode::NOT_FOUND,
        Outcome::Rejected => StatusCode::CONFLICT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> Option<String> {
        with_id(body.as_bytes()).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_command_without_an_id_gets_one_and_all_others_go_on_as_they_are() {
        let made = check(r#" {"value": "toggle"} "#).unwrap();
        assert!(made.starts_with("{\"id\":\"http-") && made.ends_with(",\"value\": \"toggle\"}"), "{made}");
        assert!(decode_command(made.as_bytes()).unwrap().id.is_some());
        for body in [r#"{"value":1,"id":"a"}"#, r#"{"value":1,"id":null}"#, "{}", "{", r#"{"value":1,"value":2}"#] {
            assert_eq!(check(body).as_deref(), Some(body));
        }
        assert_eq!((check("on"), check("[1]"), check(""), with_id(b"{\xff}")), (None, None, None, None));
    }

    #[test]
    fn what_became_of_it_is_the_status() {
        let of = |outcome, reason| status_code(ReplyStatus { outcome, reason }).as_u16();
        assert_eq!(of(Outcome::Done, None), 200);
        assert_eq!(of(Outcome::Rejected, Some(Reason::Limit)), 409);
        assert_eq!(of(Outcome::Rejected, Some(Reason::Unknown)), 404);
        assert_eq!(of(Outcome::Failed, Some(Reason::Hardware)), 502);
    }
}
