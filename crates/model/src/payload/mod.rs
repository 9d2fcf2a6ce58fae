//! The payloads of readings, replies, states, losses, requests and reports, which are made here alone, and of commands and requests, which
//! are parsed here alone. JSON of other kinds (discovery, the page, what the command line prints) is made where it is shown.
//!
//! Makers never fail: everything they are given is already a checked type. [`decode_command`] takes whatever a stranger
//! sent and answers with a [`crate::Command`] or with a [`crate::Refusal`].

mod command;
mod object;
pub mod report;
mod request;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::{
    ClockStatus, Loss, Measurement, Message, Outcome, OutputValue, Reason, Reply, ReplyStatus, ReplyValue,
    SensorStatus, StateCause, Travel, Value, VariableValue,
};

pub use command::{MAX_COMMAND_BYTES, MAX_ID_CHARS, Undecodable, decode_command};
pub use request::{MAX_REQUEST_BYTES, Request, decode_request, response};

/// All that a reading's payload has besides its measurements, so that it is allocated once.
const FRAME_BYTES: usize = 128;

/// Why writing into a text cannot fail.
const ENDLESS: &str = "memory takes everything";

/// `2026-11-22T10:00:00.123Z`.
pub fn time(at: SystemTime) -> String {
    rfc3339(at).to_string()
}

fn rfc3339(at: SystemTime) -> impl fmt::Display {
    humantime::format_rfc3339_millis(at.max(SystemTime::UNIX_EPOCH))
}

/// What a reading says as the inside of a JSON object: `"temperature":21.53,"humidity":44.8,"samples":30`.
pub fn measurements(all: &[Measurement], samples: Option<u32>) -> Vec<u8> {
    let mut text = String::with_capacity(all.len() * 24);
    for measurement in all {
        if !text.is_empty() {
            text.push(',');
        }
        write!(text, "{}:", Quoted(&measurement.name)).expect(ENDLESS);
        match measurement.value {
            Value::Word(word) => write!(text, "{}", Quoted(word)).expect(ENDLESS),
            value => text.push_str(&plain(value)),
        }
    }
    if let Some(samples) = samples {
        write!(text, ",\"samples\":{samples}").expect(ENDLESS);
    }
    text.into_bytes()
}

/// A measured value as bare text: `21.53`, `true`, `single`.
pub fn plain(value: Value) -> Cow<'static, str> {
    match value {
        Value::Flag(flag) => Cow::Borrowed(if flag { "true" } else { "false" }),
        Value::Number { value, decimals } => Cow::Owned(number(value, decimals)),
        Value::Word(word) => Cow::Borrowed(word),
    }
}

/// What an output does as bare text: `on`, `40`.
pub fn plain_output(value: OutputValue) -> String {
    match output_value(value) {
        Json::String(text) => text,
        // 40.0 is 40 to everybody but JSON's own types.
        number => number.to_string().trim_end_matches(".0").to_owned(),
    }
}

/// A text as JSON writes it. Names of quantities need no escape, and then nothing is allocated.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = self.0.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_plain { write!(out, "\"{}\"", self.0) } else { Json::from(self.0).fmt(out) }
    }
}

/// `value` with at most `decimals` decimals and no idle zeros; `null` when it is not finite.
pub fn number(value: f64, decimals: u8) -> String {
    if !value.is_finite() {
        return "null".into();
    }
    let mut text = format!("{value:.*}", usize::from(decimals));
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    if text == "-0" { "0".into() } else { text }
}

/// A reading's whole payload; `late` marks those on the late topic.
///
/// `corrected` is the time of a reading that was taken before the clock was set, computed back once it had been; it is
/// marked as such.
pub fn reading(message: &Message, late: bool, corrected: Option<SystemTime>) -> Vec<u8> {
    let taken = rfc3339(corrected.unwrap_or(message.taken_at.wall));
    let mut out = String::with_capacity(FRAME_BYTES + message.body.len());
    write!(out, "{{\"time\":\"{taken}\",\"run\":\"{}\",\"seq\":{}", message.run, message.seq).expect(ENDLESS);
    let mut out = out.into_bytes();
    if !message.body.is_empty() {
        out.push(b',');
        out.extend_from_slice(&message.body);
    }
    if corrected.is_some() {
        out.extend_from_slice(b",\"clock\":\"corrected\"");
    } else if message.taken_at.clock == ClockStatus::Unsynchronised {
        out.extend_from_slice(b",\"clock\":\"unsynchronised\"");
    }
    if late {
        out.extend_from_slice(b",\"late\":true");
    }
    out.push(b'}');
    out
}

/// A reply's payload.
pub fn reply(reply: &Reply) -> Vec<u8> {
    json!({
        "id": reply.id,
        "outcome": reply.outcome.as_str(),
        "reason": reply.refusal.as_ref().map(ToString::to_string),
        "value": reply.value.as_ref().map(reply_value),
        "time": time(reply.time),
    })
    .to_string()
    .into_bytes()
}

/// What [`reply`] wrote of the status of a reply, of which only the payload was kept; `None` of what it has not written.
pub fn reply_status(payload: &str) -> Option<ReplyStatus> {
    let reply: Json = serde_json::from_str(payload).ok()?;
    let outcome = Outcome::from_text(reply["outcome"].as_str()?)?;
    let reason = reply["reason"].as_str().and_then(|text| Reason::from_text(text.split_once(':')?.0));
    Some(ReplyStatus { outcome, reason })
}

fn reply_value(value: &ReplyValue) -> Json {
    match value {
        ReplyValue::Output(value) => output_value(*value),
        // As the reading writes it, which is JSON.
        ReplyValue::Measured(value) => serde_json::from_str(&plain(*value)).unwrap_or_else(|_| plain(*value).into()),
        ReplyValue::Variable(value) => variable_value(value),
        ReplyValue::Rule(_) => value.to_string().into(),
    }
}

/// A number or a text.
fn variable_value(value: &VariableValue) -> Json {
    match value {
        VariableValue::Number(number) => {
            serde_json::from_str(&value.to_string()).unwrap_or_else(|_| Json::from(*number))
        }
        VariableValue::Word(word) => Json::from(&**word),
    }
}

/// What a variable is: `{"value":21.5,"time":…,"cause":"command"}`; since when, and why.
pub fn variable_state(value: &VariableValue, at: SystemTime, cause: StateCause) -> Vec<u8> {
    let state = json!({ "value": variable_value(value), "time": time(at), "cause": cause.as_str() });
    state.to_string().into_bytes()
}

/// Where an MQTT 5 requester wants its answer besides the reply topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseTarget {
    /// The Response Topic, already checked.
    pub topic: String,
    /// The Correlation Data, returned untouched.
    pub correlation: Option<Vec<u8>>,
}

/// What the spool keeps of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReply {
    /// The payload, word for word.
    pub payload: String,
    /// The requester's own topic, if it named one.
    pub response: Option<ResponseTarget>,
}

impl StoredReply {
    /// For a message's body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a struct of strings and bytes is JSON")
    }

    /// From a message's body; `None` when the stored bytes were damaged.
    pub fn decode(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

/// What a rule publishes, as the spool keeps it: where and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Below the base topic.
    pub topic: String,
    /// The payload, word for word.
    pub payload: String,
}

impl StoredEvent {
    /// For a message's body.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a struct of strings is JSON")
    }

    /// From a message's body; `None` when the stored bytes were damaged.
    pub fn decode(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

/// A loss record's payload.
pub fn loss(loss: &Loss) -> Vec<u8> {
    json!({
        "sensor": loss.sensor.as_str(),
        "run": loss.run.to_string(),
        "from_seq": loss.from_seq,
        "to_seq": loss.to_seq,
        "count": loss.count,
        "reason": loss.reason,
    })
    .to_string()
    .into_bytes()
}

/// What an output does: `{"value":"on","time":…,"cause":"command"}`; on its way, with its `target` in percent and, of a cover,
/// with what the motor does: `"moving":"opening"`.
pub fn state(
    value: Option<OutputValue>,
    target: Option<f64>,
    at: SystemTime,
    cause: StateCause,
    rule: Option<&crate::Name>,
) -> Vec<u8> {
    let mut state = json!({ "value": value.map(output_value), "time": time(at), "cause": cause.as_str() });
    if let Some(OutputValue::Cover { travel, .. }) = value {
        state["moving"] = match travel {
            Travel::Stopped => Json::Null,
            Travel::Opening => "opening".into(),
            Travel::Closing => "closing".into(),
        };
    }
    if let Some(target) = target {
        state["target"] = Json::from(target);
    }
    if let Some(rule) = rule {
        state["rule"] = rule.as_str().into();
    }
    state.to_string().into_bytes()
}

/// Status of a sensor: `{"status":"ok","since":…,"error":null}`.
pub fn sensor_status(status: SensorStatus, since: SystemTime, error: Option<&str>) -> Vec<u8> {
    json!({ "status": status.as_str(), "since": time(since), "error": error }).to_string().into_bytes()
}

/// `"on"`, `"off"` or a number; of a cover its position in percent, or `"unknown"`.
pub fn output_value(value: OutputValue) -> Json {
    match value {
        OutputValue::Switch(_) | OutputValue::Angle(None) => Json::from(value.to_string()),
        // On a ramp, and read back, it has more decimals than anybody means.
        OutputValue::Percent(number) | OutputValue::Angle(Some(number)) => Json::from((number * 100.0).round() / 100.0),
        OutputValue::Cover { position: Some(position), .. } => Json::from(position.round() as u8),
        OutputValue::Cover { position: None, .. } => "unknown".into(),
    }
}

/// Seconds as a JSON number, whole where they are whole.
pub fn seconds(duration: Duration) -> Json {
    if duration.subsec_nanos() == 0 { Json::from(duration.as_secs()) } else { Json::from(duration.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, MessageKind, Moment, Name, Outcome, Qos, Quantity, Reason, Recipient, Refusal, RunId};

    fn message(clock: ClockStatus) -> Message {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_341_600_123);
        Message {
            key: Key { kind: MessageKind::Reading, source: Name::new("air").unwrap() },
            run: RunId(0x5f3a_9c1e),
            seq: 42,
            taken_at: Moment { boot: Duration::ZERO, wall, clock },
            qos: Qos::AtLeastOnce,
            retain: false,
            body: measurements(
                &[
                    Quantity::new("temperature", "°C", 2).measured(21.5300001),
                    Quantity::new("pressure", "hPa", 1).measured(1013.0),
                ],
                None,
            ),
        }
    }

    #[test]
    fn a_reading_is_written_as_the_contract_says() {
        let text = String::from_utf8(reading(&message(ClockStatus::Synchronised), false, None)).unwrap();
        assert_eq!(
            text,
            r#"{"time":"2026-11-22T10:00:00.123Z","run":"5f3a9c1e","seq":42,"temperature":21.53,"pressure":1013}"#
        );
        let text = String::from_utf8(reading(&message(ClockStatus::Unsynchronised), true, None)).unwrap();
        assert!(text.ends_with(r#","clock":"unsynchronised","late":true}"#), "{text}");
        let corrected = Some(SystemTime::UNIX_EPOCH);
        let text = String::from_utf8(reading(&message(ClockStatus::Unsynchronised), false, corrected)).unwrap();
        assert!(text.starts_with(r#"{"time":"1970-01-01T00:00:00.000Z""#), "{text}");
        assert!(text.ends_with(r#","clock":"corrected"}"#), "{text}");
    }

    #[test]
    fn a_reading_of_several_samples_says_of_how_many() {
        let body = measurements(&[Quantity::new("temperature", "°C", 2).measured(21.5)], Some(30));
        assert_eq!(String::from_utf8(body).unwrap(), r#""temperature":21.5,"samples":30"#);
    }

    #[test]
    fn a_word_is_a_text_in_a_reading() {
        let all = [Quantity::flag("active").observed(false), Quantity::word("click").happened("double")];
        assert_eq!(String::from_utf8(measurements(&all, None)).unwrap(), r#""active":false,"click":"double""#);
    }

    #[test]
    fn numbers_carry_the_decimals_that_are_meant() {
        for (value, decimals, text) in [
            (21.5, 2, "21.5"),
            (-0.001, 2, "0"),
            (100.0, 0, "100"),
            (1e21, 1, "1000000000000000000000"),
            (f64::NAN, 1, "null"),
        ] {
            assert_eq!(number(value, decimals), text);
        }
    }

    #[test]
    fn values_and_states_can_be_bare_text() {
        assert_eq!(plain(Quantity::new("temperature", "°C", 2).measured(21.5300001).value), "21.53");
        assert_eq!(plain(Quantity::flag("contact").observed(true).value), "true");
        assert_eq!(plain(Quantity::word("click").happened("single").value), "single");
        let cover = |position| OutputValue::Cover { travel: Travel::Opening, position };
        for (value, text) in [
            (OutputValue::Switch(true), "on"),
            (OutputValue::Percent(40.0), "40"),
            (OutputValue::Percent(28.945_294_3), "28.95"),
            (OutputValue::Angle(None), "off"),
            (cover(Some(12.4)), "12"),
            (cover(None), "unknown"),
        ] {
            assert_eq!(plain_output(value), text);
        }
    }

    #[test]
    fn a_state_reports_what_moves_and_where_to() {
        let encoded =
            |value, target| String::from_utf8(state(value, target, SystemTime::UNIX_EPOCH, StateCause::Command, None));
        let moving = OutputValue::Cover { travel: Travel::Opening, position: Some(12.4) };
        let text = encoded(Some(moving), Some(40.0)).unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["value"], &json["moving"], &json["target"]), (&12.into(), &"opening".into(), &40.0.into()));
        let json: Json = serde_json::from_str(&encoded(Some(OutputValue::Switch(true)), None).unwrap()).unwrap();
        assert_eq!(json, json!({ "value": "on", "time": "1970-01-01T00:00:00.000Z", "cause": "command" }));
    }

    #[test]
    fn a_reply_reports_reason_and_value() {
        let rejection = Reply {
            recipient: Recipient::output(Name::new("fan").unwrap()),
            id: Some("a1".into()),
            outcome: Outcome::Rejected,
            refusal: Some(Refusal::new(Reason::OutOfRange, "140 is not within 0–100")),
            value: Some(ReplyValue::Output(OutputValue::Percent(40.0))),
            time: SystemTime::UNIX_EPOCH,
        };
        let made = reply(&rejection);
        assert_eq!(reply_status(std::str::from_utf8(&made).unwrap()), Some(rejection.status()));
        let json: Json = serde_json::from_slice(&made).unwrap();
        assert_eq!(json["reason"], "out_of_range: 140 is not within 0–100");
        assert_eq!(json["value"], 40.0);
        assert_eq!(output_value(OutputValue::Percent(28.945_294_3)), Json::from(28.95));
        assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_reply_reports_a_total_as_the_reading_does() {
        let made = |value, decimals| {
            let made = reply(&Reply {
                recipient: Recipient::total(Name::new("gas").unwrap()),
                id: None,
                outcome: Outcome::Done,
                refusal: None,
                value: Some(ReplyValue::Measured(Value::Number { value, decimals })),
                time: SystemTime::UNIX_EPOCH,
            });
            let text = String::from_utf8(made).unwrap();
            assert_eq!(reply_status(&text), Some(ReplyStatus { outcome: Outcome::Done, reason: None }));
            text
        };
        for (value, decimals, text) in [(1_234.560_000_01, 2, "1234.56"), (1234.0, 3, "1234"), (0.5, 1, "0.5")] {
            let json: Json = serde_json::from_str(&made(value, decimals)).unwrap();
            assert_eq!(json["value"].to_string(), text);
        }
    }
}
