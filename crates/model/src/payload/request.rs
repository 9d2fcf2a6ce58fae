//! A request's payload, and that of the response.

use serde_json::{Value as Json, json};

use crate::payload::command::{MAX_ID_CHARS, shown};
use crate::payload::object::Object;
use crate::{Field, Kind, Name, Need, Reason, Refusal, Setting, Settings};

/// The key by which a requester knows its answer again.
const TRANSACTION: &str = "transaction";

/// The most that any request may have: a whole configuration, as JSON. Most may have less.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// What a request's payload says, not yet checked against a verb.
#[derive(Debug)]
pub struct Request {
    /// Copied into the response: a text of at most 64 characters, a whole number, or null.
    pub transaction: Json,
    object: Option<Object>,
}

/// Reads a request's payload of at most `limit` bytes; nothing at all counts as an object without keys.
///
/// # Errors
/// [`Reason::Oversized`] or [`Reason::Unreadable`] with words for the requester, and the transaction as far as it could be read.
pub fn decode_request(payload: &[u8], limit: usize) -> Result<Request, (Json, Refusal)> {
    let refuse = |reason, words: String| (Json::Null, Refusal::new(reason, words));
    if payload.len() > limit {
        let words = format!("{} bytes are more than the {limit} that this request may have", payload.len());
        return Err(refuse(Reason::Oversized, words));
    }
    let unreadable = |words| refuse(Reason::Unreadable, words);
    let text = std::str::from_utf8(payload).map_err(|_| unreadable("the payload is not UTF-8 text".into()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if text.is_empty() {
        return Ok(Request { transaction: Json::Null, object: None });
    }
    let words = "a request is a JSON object such as {\"transaction\":\"t1\"}, or nothing";
    let object = Object::parse(text).map_err(|error| unreadable(format!("{words} ({error})")))?;
    let transaction = match object.get(TRANSACTION) {
        None => Json::Null,
        // It is written to the log, too.
        Some(Json::String(text)) if text.chars().count() <= MAX_ID_CHARS && !text.contains(char::is_control) => {
            Json::from(text.as_str())
        }
        Some(Json::Number(number)) if number.is_i64() || number.is_u64() => Json::Number(number.clone()),
        Some(Json::Null) => Json::Null,
        Some(_) => {
            let words =
                format!("{TRANSACTION} must be a plain text of at most {MAX_ID_CHARS} characters or a whole number");
            return Err(unreadable(words));
        }
    };
    if let Some(key) = &object.repeated {
        let words = format!("the key {:?} stands twice, and only one of the two can be meant", shown(key));
        return Err((transaction, Refusal::new(Reason::Unreadable, words)));
    }
    Ok(Request { transaction, object: Some(object) })
}

impl Request {
    /// What it says besides the transaction, as a verb's fields ask for it.
    ///
    /// # Errors
    /// [`Reason::Unreadable`] or [`Reason::OutOfRange`] with words for the requester.
    pub fn arguments(&self, fields: &[Field]) -> Result<Settings, Refusal> {
        let unreadable = |words| Refusal::new(Reason::Unreadable, words);
        let is_known = |key: &&str| *key == TRANSACTION || fields.iter().any(|field| field.name == *key);
        if let Some(key) = self.object.iter().flat_map(Object::keys).find(|key| !is_known(key)) {
            let known: Vec<_> = fields.iter().map(|field| field.name).chain([TRANSACTION]).collect();
            return Err(unreadable(format!("this request knows {}, not {:?}", known.join(", "), shown(key))));
        }
        let mut settings = Settings::default();
        for field in fields {
            let written = self.object.as_ref().and_then(|object| object.get(field.name));
            let setting = match (written.filter(|written| !written.is_null()), field.need) {
                (Some(written), _) => argument(field, written)?,
                (None, Need::Default(text)) => {
                    let written = serde_json::from_str(text).unwrap_or_else(|_| Json::from(text));
                    argument(field, &written)?
                }
                (None, Need::Required) => return Err(unreadable(format!("{} is missing: {}", field.name, field.doc))),
                (None, Need::Optional | Need::Or(_)) => continue,
            };
            settings.insert(field.name, setting);
        }
        Ok(settings)
    }
}

/// The value of one key. Verbs have names, words, whole numbers, times and texts.
fn argument(field: &Field, written: &Json) -> Result<Setting, Refusal> {
    let name = field.name;
    let unreadable = |words: String| Refusal::new(Reason::Unreadable, format!("{name}: {words}"));
    match (&field.kind, written) {
        (Kind::Name, Json::String(text)) => match Name::new(text) {
            Ok(name) => Ok(Setting::Text(name.to_string())),
            Err(error) => Err(unreadable(error.to_string())),
        },
        (Kind::Text, Json::String(text)) => Ok(Setting::Text(text.clone())),
        (Kind::Choice(words), Json::String(text)) if words.contains(&text.as_str()) => Ok(Setting::Text(text.clone())),
        (Kind::Choice(words), _) => Err(unreadable(format!("write one of {}", words.join(", ")))),
        (Kind::Integer { min, max }, Json::Number(number)) => match number.as_i64() {
            Some(number) if (*min..=*max).contains(&number) => Ok(Setting::Integer(number)),
            _ => {
                let words = format!("{name}: {number} is not a whole number within {min}–{max}");
                Err(Refusal::new(Reason::OutOfRange, words))
            }
        },
        (Kind::Duration { min, max }, Json::String(text)) => {
            let duration = crate::field::parse_duration(text).map_err(|why| unreadable(why.to_string()))?;
            if !(*min..=*max).contains(&duration) {
                let shown = crate::field::format_duration;
                let words = format!("{name}: {} is not within {}–{}", shown(duration), shown(*min), shown(*max));
                return Err(Refusal::new(Reason::OutOfRange, words));
            }
            Ok(Setting::Duration(duration))
        }
        (Kind::Duration { .. }, _) => Err(unreadable("write a text with its unit, such as \"10s\"".into())),
        (Kind::Integer { .. }, _) => Err(unreadable("write a whole number".into())),
        _ => Err(unreadable("write a text".into())),
    }
}

/// A response's payload; `data` may go with a refusal, too.
pub fn response(transaction: &Json, data: &Json, refusal: Option<&Refusal>) -> String {
    let (status, error) = (if refusal.is_none() { "ok" } else { "error" }, refusal.map(ToString::to_string));
    json!({ "transaction": transaction, "status": status, "data": data, "error": error }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn field(name: &'static str, kind: Kind, need: Need) -> Field {
        Field { name, kind, need, doc: "what it is" }
    }

    const LIMIT: usize = crate::payload::MAX_COMMAND_BYTES;

    const FIELDS: &[Field] = &[
        field("sensor", Kind::Name, Need::Required),
        field("count", Kind::Integer { min: 1, max: 60 }, Need::Default("60")),
        field("level", Kind::Choice(&["info", "debug"]), Need::Optional),
    ];

    fn asked(text: &str) -> Result<Settings, String> {
        let request = decode_request(text.as_bytes(), LIMIT).map_err(|(_, refusal)| refusal.to_string())?;
        request.arguments(FIELDS).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn what_a_request_says_is_checked_against_the_fields_of_its_verb() {
        let settings = asked(r#"{"transaction":7,"sensor":"air","level":"debug"}"#).unwrap();
        assert_eq!((settings.text("sensor"), settings.integer("count"), settings.text("level")), ("air", 60, "debug"));
        let refused = |text| asked(text).unwrap_err();
        assert_eq!(refused("{}"), "unreadable: sensor is missing: what it is");
        assert_eq!(
            refused(r#"{"sensor":"a/b"}"#),
            "unreadable: sensor: a name may contain A-Z, a-z, 0-9, _ and -, but not '/'"
        );
        assert_eq!(
            refused(r#"{"sensor":"a","count":61}"#),
            "out_of_range: count: 61 is not a whole number within 1–60"
        );
        assert_eq!(refused(r#"{"sensor":"a","count":"5"}"#), "unreadable: count: write a whole number");
        assert_eq!(refused(r#"{"sensor":"a","level":"loud"}"#), "unreadable: level: write one of info, debug");
        let words = "unreadable: this request knows sensor, count, level, transaction, not \"sen\\nsor\"";
        assert_eq!(refused("{\"sen\\nsor\":\"a\"}"), words);
    }

    #[test]
    fn nothing_is_an_object_without_keys_and_what_is_no_object_is_refused() {
        for text in ["", " \n", "{}", "\u{feff}{}"] {
            assert_eq!(decode_request(text.as_bytes(), LIMIT).unwrap().transaction, Json::Null, "{text:?}");
        }
        for text in ["ping", "[1]", "1", "\"x\"", "{", "{}x", r#"{"transaction":[1]}"#, r#"{"transaction":1.5}"#] {
            let (transaction, refusal) = decode_request(text.as_bytes(), LIMIT).unwrap_err();
            assert_eq!((transaction, refusal.reason), (Json::Null, Reason::Unreadable), "{text:?}");
        }
        let twice = decode_request(br#"{"transaction":"t","a":1,"a":2}"#, LIMIT).unwrap_err();
        assert_eq!((&twice.0, twice.1.reason), (&Json::from("t"), Reason::Unreadable));
        assert_eq!(decode_request(&[b' '; 4097], LIMIT).unwrap_err().1.reason, Reason::Oversized);
        let long = format!("{{\"transaction\":\"{}\"}}", "x".repeat(65));
        assert_eq!(decode_request(long.as_bytes(), LIMIT).unwrap_err().1.reason, Reason::Unreadable);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever was sent, the response is one line of JSON with four keys.
        #[test]
        fn any_bytes_get_a_response_that_is_json(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in any::<String>()) {
            let wrapped = json!({ "transaction": text, "sensor": text, (text.as_str()): 1 }).to_string();
            for payload in [bytes.as_slice(), text.as_bytes(), wrapped.as_bytes()] {
                let (transaction, refusal) = match decode_request(payload, LIMIT) {
                    Ok(request) => (request.transaction.clone(), request.arguments(FIELDS).err()),
                    Err((transaction, refusal)) => (transaction, Some(refusal)),
                };
                let response = response(&transaction, &Json::from(text.as_str()), refusal.as_ref());
                let parsed: Json = serde_json::from_str(&response).unwrap();
                prop_assert!(!response.contains(char::is_control));
                prop_assert_eq!(parsed.as_object().unwrap().len(), 4);
            }
        }
    }
}
