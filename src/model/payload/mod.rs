//! The only place where JSON is made or parsed.
//!
//! Makers never fail: everything they are given is already a checked type. [`decode_command`] takes whatever a stranger
//! sent and answers with a [`Command`] or with a [`Refusal`].

pub mod report;

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::model::field::parse_duration;
use crate::model::{
    ClockStatus, Command, CommandValue, Loss, Measurement, Message, OutputValue, Reason, Refusal, Reply, SensorStatus,
    StateCause, Travel, Value, Word,
};

/// The largest command payload in bytes; a larger one is refused unread.
pub const MAX_COMMAND_BYTES: usize = 4096;

/// The longest command `id` in characters.
pub const MAX_ID_CHARS: usize = 64;

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

/// The measurements of a reading as the inside of a JSON object: `"temperature":21.53,"humidity":44.8`.
pub fn measurements(all: &[Measurement]) -> Vec<u8> {
    let mut text = String::with_capacity(all.len() * 24);
    for measurement in all {
        if !text.is_empty() {
            text.push(',');
        }
        write!(text, "{}:", Quoted(&measurement.name)).expect(ENDLESS);
        match measurement.value {
            Value::Flag(flag) => text.push_str(if flag { "true" } else { "false" }),
            Value::Number { value, decimals } => text.push_str(&number(value, decimals)),
        }
    }
    text.into_bytes()
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
/// `corrected` is the time of a reading that was taken before the clock was set, reckoned back once it had been; it is
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
        "value": reply.value.map(output_value),
        "time": time(reply.time),
    })
    .to_string()
    .into_bytes()
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
pub fn state(value: Option<OutputValue>, target: Option<f64>, at: SystemTime, cause: StateCause) -> Vec<u8> {
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
    state.to_string().into_bytes()
}

/// How a sensor fares: `{"status":"ok","since":…,"error":null}`.
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

/// A command that cannot be carried out, with its `id` as far as that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// What to answer.
    pub refusal: Refusal,
    /// For the reply.
    pub id: Option<String>,
}

/// Reads a command's payload: a plain value, or a JSON object with `value`, `id`, `for` and `issued_at`.
///
/// # Errors
/// [`Reason::Oversized`] or [`Reason::Unreadable`] with words for the sender. Never panics.
pub fn decode_command(payload: &[u8]) -> Result<Command, Undecodable> {
    let plain = |reason, words: String| Undecodable { refusal: Refusal::new(reason, words), id: None };
    if payload.len() > MAX_COMMAND_BYTES {
        let words = format!("{} bytes are more than the {MAX_COMMAND_BYTES} that a command may have", payload.len());
        return Err(plain(Reason::Oversized, words));
    }
    let text = std::str::from_utf8(payload)
        .map_err(|_| plain(Reason::Unreadable, "the payload is not UTF-8 text".into()))?
        .trim();
    if text.starts_with('{') {
        let object: Map<String, Json> =
            serde_json::from_str(text).map_err(|e| plain(Reason::Unreadable, format!("not valid JSON ({e})")))?;
        return decode_object(&object);
    }
    match plain_value(text) {
        Some(CommandValue::Word(Word::Toggle)) => Err(plain(Reason::Unreadable, TOGGLE_NEEDS_ID.into())),
        Some(value) => Ok(Command { value, id: None, lease: None, issued_at: None }),
        None => Err(plain(
            Reason::Unreadable,
            "expected on, off, a number, or JSON such as {\"value\":\"on\",\"id\":\"a1\"}".into(),
        )),
    }
}

/// A broker or a sender that sends twice would undo it.
const TOGGLE_NEEDS_ID: &str =
    "toggle needs an id, such as {\"value\":\"toggle\",\"id\":\"a1\"}: sent twice it would undo itself";

const COMMAND_KEYS: [&str; 4] = ["value", "id", "for", "issued_at"];

fn decode_object(object: &Map<String, Json>) -> Result<Command, Undecodable> {
    let id = match object.get("id") {
        None | Some(Json::Null) => None,
        Some(Json::String(id)) if !id.is_empty() && id.chars().count() <= MAX_ID_CHARS => Some(id.clone()),
        Some(_) => {
            let words = format!("id must be a text of 1 to {MAX_ID_CHARS} characters");
            return Err(Undecodable { refusal: Refusal::new(Reason::Unreadable, words), id: None });
        }
    };
    let refuse = |words: String| Undecodable { refusal: Refusal::new(Reason::Unreadable, words), id: id.clone() };
    if let Some(key) = object.keys().find(|key| !COMMAND_KEYS.contains(&key.as_str())) {
        let shown: String = key.chars().take(MAX_ID_CHARS).collect();
        return Err(refuse(format!("a command has the keys value, id, for and issued_at, not {shown:?}")));
    }
    let value = match object.get("value") {
        Some(Json::Bool(flag)) => Some(CommandValue::Flag(*flag)),
        Some(Json::Number(n)) => n.as_f64().filter(|n| n.is_finite()).map(CommandValue::Number),
        Some(Json::String(text)) => plain_value(text.trim()),
        _ => None,
    }
    .ok_or_else(|| refuse("value must be on, off, a number or another word that the output knows".into()))?;
    if value == CommandValue::Word(Word::Toggle) && id.is_none() {
        return Err(refuse(TOGGLE_NEEDS_ID.into()));
    }
    let lease = match object.get("for") {
        None | Some(Json::Null) => None,
        Some(Json::String(text)) => match parse_duration(text) {
            Ok(lease) if !lease.is_zero() => Some(lease),
            Ok(_) => return Err(refuse("for must be longer than nothing".into())),
            Err(why) => return Err(refuse(format!("for: {why}"))),
        },
        Some(_) => return Err(refuse("for must be a text with its unit, such as \"5m\"".into())),
    };
    let issued_at = match object.get("issued_at") {
        None | Some(Json::Null) => None,
        Some(written) => match written.as_str().and_then(parse_time) {
            Some(at) => Some(at),
            None => return Err(refuse("issued_at must be a time in UTC, such as \"2026-11-22T10:00:00Z\"".into())),
        },
    };
    Ok(Command { value, id, lease, issued_at })
}

/// RFC 3339 in UTC, with either of its two spellings.
fn parse_time(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix("+00:00").map_or_else(|| text.to_owned(), |start| format!("{start}Z"));
    humantime::parse_rfc3339(&text).ok()
}

/// `on`, `off`, `true`, `false` or a [`Word`] in any case, or a finite number.
fn plain_value(text: &str) -> Option<CommandValue> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("on") || is("true") {
        Some(CommandValue::Flag(true))
    } else if is("off") || is("false") {
        Some(CommandValue::Flag(false))
    } else if text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E')) {
        text.parse().ok().filter(|n: &f64| n.is_finite()).map(CommandValue::Number)
    } else {
        Word::named(text).map(CommandValue::Word)
    }
}

/// Seconds as a JSON number, whole where they are whole.
pub fn seconds(duration: Duration) -> Json {
    if duration.subsec_nanos() == 0 { Json::from(duration.as_secs()) } else { Json::from(duration.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, MessageKind, Moment, Name, Outcome, Qos, Quantity, RunId};

    fn message(clock: ClockStatus) -> Message {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_341_600_123);
        Message {
            key: Key { kind: MessageKind::Reading, source: Name::new("air").unwrap() },
            run: RunId(0x5f3a_9c1e),
            seq: 42,
            taken_at: Moment { boot: Duration::ZERO, wall, clock },
            qos: Qos::AtLeastOnce,
            retain: false,
            body: measurements(&[
                Quantity::new("temperature", "°C", 2).measured(21.5300001),
                Quantity::new("pressure", "hPa", 1).measured(1013.0),
            ]),
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
    fn a_command_is_a_plain_value_or_an_object() {
        let value = |text: &str| decode_command(text.as_bytes()).unwrap().value;
        assert_eq!(value(" ON\n"), CommandValue::Flag(true));
        assert_eq!(value("False"), CommandValue::Flag(false));
        assert_eq!(value("42.5"), CommandValue::Number(42.5));
        let command = decode_command(br#"{"value":"on","id":"a1","for":"5m"}"#).unwrap();
        let five_minutes = Some(Duration::from_secs(300));
        let id = Some("a1".into());
        assert_eq!(command, Command { value: CommandValue::Flag(true), id, lease: five_minutes, issued_at: None });
        let issued = |at: &str| decode_command(format!(r#"{{"value":"Stop","issued_at":{at}}}"#).as_bytes());
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_341_600);
        for text in [r#""2026-11-22T10:00:00Z""#, r#""2026-11-22T10:00:00+00:00""#] {
            let command = issued(text).unwrap();
            assert_eq!((command.value, command.issued_at), (CommandValue::Word(Word::Stop), Some(at)));
        }
        for text in [r#""yesterday""#, "1795341600", r#""2026-11-22T10:00:00+01:00""#] {
            assert_eq!(issued(text).unwrap_err().refusal.reason, Reason::Unreadable, "{text}");
        }
    }

    #[test]
    fn a_toggle_without_an_id_is_refused() {
        for text in ["toggle", r#"{"value":"Toggle"}"#] {
            let refusal = decode_command(text.as_bytes()).unwrap_err().refusal;
            assert_eq!(refusal.to_string(), format!("unreadable: {TOGGLE_NEEDS_ID}"));
        }
        let command = decode_command(br#"{"value":"toggle","id":"a1"}"#).unwrap();
        assert_eq!(command.value, CommandValue::Word(Word::Toggle));
    }

    #[test]
    fn a_state_tells_what_moves_and_where_to() {
        let told = |value, target| String::from_utf8(state(value, target, SystemTime::UNIX_EPOCH, StateCause::Command));
        let moving = OutputValue::Cover { travel: Travel::Opening, position: Some(12.4) };
        let text = told(Some(moving), Some(40.0)).unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["value"], &json["moving"], &json["target"]), (&12.into(), &"opening".into(), &40.0.into()));
        let json: Json = serde_json::from_str(&told(Some(OutputValue::Switch(true)), None).unwrap()).unwrap();
        assert_eq!(json, json!({ "value": "on", "time": "1970-01-01T00:00:00.000Z", "cause": "command" }));
    }

    #[test]
    fn what_is_not_a_command_is_refused_with_its_id() {
        let refused = |text: &[u8]| decode_command(text).unwrap_err();
        for text in
            [&b""[..], b"nan", b"inf", b"1e999", b"o\0n", b"\xff", b"[1]", b"{", b"{\"value\":1e999}", b"toggle"]
        {
            assert_eq!(refused(text).refusal.reason, Reason::Unreadable, "{text:?}");
        }
        assert_eq!(refused(&[b'1'; 4097]).refusal.reason, Reason::Oversized);
        let misspelt = refused(br#"{"value":"on","id":"a1","fro":"5m"}"#);
        assert_eq!(misspelt.id.as_deref(), Some("a1"));
        assert!(misspelt.refusal.words.contains("\"fro\""), "{misspelt:?}");
        for text in [r#"{"value":"on","for":300}"#, r#"{"value":"on","for":"0s"}"#, r#"{"id":5,"value":"on"}"#] {
            assert_eq!(refused(text.as_bytes()).refusal.reason, Reason::Unreadable, "{text}");
        }
        let deep = format!("{{\"value\":{}", "[".repeat(4000));
        assert_eq!(refused(deep.as_bytes()).refusal.reason, Reason::Unreadable);
    }

    #[test]
    fn a_reply_tells_reason_and_value() {
        let made = reply(&Reply {
            actuator: Name::new("fan").unwrap(),
            id: Some("a1".into()),
            outcome: Outcome::Rejected,
            refusal: Some(Refusal::new(Reason::OutOfRange, "140 is not within 0–100")),
            value: Some(OutputValue::Percent(40.0)),
            time: SystemTime::UNIX_EPOCH,
        });
        let json: Json = serde_json::from_slice(&made).unwrap();
        assert_eq!(json["reason"], "out_of_range: 140 is not within 0–100");
        assert_eq!(json["value"], 40.0);
        assert_eq!(output_value(OutputValue::Percent(28.945_294_3)), Json::from(28.95));
        assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
    }
}
