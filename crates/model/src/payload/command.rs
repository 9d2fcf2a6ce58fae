//! A command's payload: a plain value, or a JSON object with `value`, `id`, `for` and `issued_at`.

use std::time::SystemTime;

use serde_json::Value as Json;

use crate::field::parse_duration;
use crate::payload::object::Object;
use crate::{Command, CommandValue, Reason, Refusal, Word};

/// The largest command payload in bytes; a larger one is refused unread.
pub const MAX_COMMAND_BYTES: usize = 4096;

/// The longest command `id` in characters.
pub const MAX_ID_CHARS: usize = 64;

const KEYS: [&str; 4] = ["value", "id", "for", "issued_at"];

/// A command that cannot be carried out, with its `id` as far as that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// The reason and the words to answer with.
    pub refusal: Refusal,
    /// The command's id, which the reply repeats; `None` where it has none or it could not be read.
    pub id: Option<String>,
}

/// Reads a command's payload. What is no value at all is [`CommandValue::Unknown`], so that the output itself can answer what it
/// takes.
///
/// # Errors
/// [`Reason::Oversized`] or [`Reason::Unreadable`] with words for the sender. Never panics.
pub fn decode_command(payload: &[u8]) -> Result<Command, Undecodable> {
    let plain = |reason, words: String| Undecodable { refusal: Refusal::new(reason, words), id: None };
    if payload.len() > MAX_COMMAND_BYTES {
        let words = format!("{} bytes are more than the {MAX_COMMAND_BYTES} that a command may have", payload.len());
        return Err(plain(Reason::Oversized, words));
    }
    let text =
        std::str::from_utf8(payload).map_err(|_| plain(Reason::Unreadable, "the payload is not UTF-8 text".into()))?;
    // Some programs put a byte order mark in front of every text that they write.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    if text.starts_with('{') {
        let object = Object::parse(text).map_err(|e| plain(Reason::Unreadable, format!("not valid JSON ({e})")))?;
        return decode_object(&object);
    }
    // And some write even a plain word as JSON, with quotes.
    let written = serde_json::from_str::<String>(text).map_or_else(|_| text.to_owned(), |word| word.trim().to_owned());
    Ok(Command { value: value(&written), written, id: None, lease: None, issued_at: None })
}

fn decode_object(object: &Object) -> Result<Command, Undecodable> {
    let id = match object.get("id") {
        None | Some(Json::Null) => None,
        Some(Json::String(id)) if !id.is_empty() && id.chars().count() <= MAX_ID_CHARS => Some(id.clone()),
        Some(_) => {
            let words = format!("id must be a text of 1 to {MAX_ID_CHARS} characters");
            return Err(Undecodable { refusal: Refusal::new(Reason::Unreadable, words), id: None });
        }
    };
    let refuse = |words: String| Undecodable { refusal: Refusal::new(Reason::Unreadable, words), id: id.clone() };
    if let Some(key) = &object.repeated {
        return Err(refuse(format!("the key {:?} appears twice, and only one of them can be meant", shown(key))));
    }
    if let Some(key) = object.keys().find(|key| !KEYS.contains(key)) {
        return Err(refuse(format!("a command has the keys value, id, for and issued_at, not {:?}", shown(key))));
    }
    let written = match object.get("value") {
        Some(Json::String(text)) => text.trim().to_owned(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let value = match object.get("value") {
        Some(Json::Bool(flag)) => CommandValue::Flag(*flag),
        Some(Json::Number(n)) => n.as_f64().map_or(CommandValue::Unknown, CommandValue::Number),
        Some(Json::String(text)) => value(text.trim()),
        Some(_) => CommandValue::Unknown,
        None => return Err(refuse("value is missing: what the output is to do".into())),
    };
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
    Ok(Command { value, written, id, lease, issued_at })
}

/// A key of any length for a reply.
pub(super) fn shown(key: &str) -> String {
    key.chars().take(MAX_ID_CHARS).collect()
}

/// RFC 3339 in UTC, with either of its two spellings.
fn parse_time(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix("+00:00").map_or_else(|| text.to_owned(), |start| format!("{start}Z"));
    humantime::parse_rfc3339(&text).ok()
}

/// `on`, `off`, `true`, `false` or a [`Word`] in any case, or a finite number.
fn value(text: &str) -> CommandValue {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("on") || is("true") {
        CommandValue::Flag(true)
    } else if is("off") || is("false") {
        CommandValue::Flag(false)
    } else if text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E')) {
        let number = text.parse().ok().filter(|n: &f64| n.is_finite());
        number.map_or(CommandValue::Unknown, CommandValue::Number)
    } else {
        Word::named(text).map_or(CommandValue::Unknown, CommandValue::Word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OutputKind;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn a_command_is_a_plain_value_or_an_object() {
        let value = |text: &str| decode_command(text.as_bytes()).unwrap().value;
        for text in
            [" ON\n", "\"ON\"", " \" on \" ", "\u{feff}on", "\u{feff}\"on\"", "\u{feff} {\"value\":\"on\"}", "true"]
        {
            assert_eq!(value(text), CommandValue::Flag(true), "{text:?}");
        }
        assert_eq!(value("False"), CommandValue::Flag(false));
        assert_eq!(value("42.5"), CommandValue::Number(42.5));
        assert_eq!(value("\"42.5\""), CommandValue::Number(42.5));
        let command = decode_command(br#"{"value":"on","id":"a1","for":"5m"}"#).unwrap();
        let five_minutes = Some(Duration::from_secs(300));
        let id = Some("a1".into());
        let written = "on".to_owned();
        assert_eq!(
            command,
            Command { value: CommandValue::Flag(true), written, id, lease: five_minutes, issued_at: None }
        );
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
    fn what_is_no_value_is_left_to_the_output_which_takes_it_never() {
        let kinds = [
            OutputKind::Switch,
            OutputKind::Pulse,
            OutputKind::Percent,
            OutputKind::Angle { most: 180 },
            OutputKind::Cover,
        ];
        for text in
            ["", "nan", "inf", "1e999", "o\0n", "[1]", "UP", "\"\"on\"\"", "\"{}\"", "null", r#"{"value":["on"]}"#]
        {
            let command = decode_command(text.as_bytes()).unwrap();
            assert_eq!(command.value, CommandValue::Unknown, "{text:?}");
            for kind in kinds {
                let refusal = kind.accept(&command.value).unwrap_err();
                assert_eq!(refusal.to_string(), format!("unreadable: this output takes {}", kind.takes()), "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_not_a_command_is_refused_with_its_id() {
        let refused = |text: &[u8]| decode_command(text).unwrap_err();
        for text in [&b"\xff"[..], b"{", b"{\"value\":1e999}", b"{}", b"{\"value\":\"on\"}x"] {
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
    fn a_key_that_stands_twice_is_refused_however_it_is_written() {
        let refused = |text: &str| decode_command(text.as_bytes()).unwrap_err();
        for text in [
            r#"{"value":"on","id":"a1","for":"1s","for":null}"#,
            r#"{"for":"1s","value":"on","f\u006fr":null,"id":"a1"}"#,
            r#"{"value":{"for":1,"for":1},"id":"a1"}"#,
        ] {
            let undecodable = refused(text);
            let words = "unreadable: the key \"for\" appears twice, and only one of them can be meant";
            assert_eq!(undecodable.refusal.to_string(), words, "{text}");
            assert_eq!(undecodable.id.as_deref(), Some("a1"), "the sender who waits for this id is answered");
        }
        assert_eq!(refused(r#"{"value":"on","id":"a1","id":"a2"}"#).id, None, "neither of two");
    }

    /// JSON as it may be written, and whether a key stands twice somewhere in it.
    #[derive(Clone, Debug)]
    enum Tree {
        Leaf(&'static str),
        List(Vec<Tree>),
        Object(Vec<(&'static str, u64, Tree)>),
    }

    impl Tree {
        fn has_twice(&self) -> bool {
            match self {
                Self::Leaf(_) => false,
                Self::List(items) => items.iter().any(Self::has_twice),
                Self::Object(entries) => {
                    let keys: std::collections::BTreeSet<_> = entries.iter().map(|(key, ..)| key).collect();
                    keys.len() < entries.len() || entries.iter().any(|(.., value)| value.has_twice())
                }
            }
        }

        fn write(&self, out: &mut String) {
            match self {
                Self::Leaf(text) => out.push_str(text),
                Self::List(items) => {
                    let items: Vec<_> = items.iter().map(Self::written).collect();
                    out.push_str(&format!("[{}]", items.join(", ")));
                }
                Self::Object(entries) => {
                    let entries: Vec<_> = entries
                        .iter()
                        .map(|(key, escapes, value)| format!("\"{}\":{}", escaped(key, *escapes), value.written()))
                        .collect();
                    out.push_str(&format!("{{{}}}", entries.join(",")));
                }
            }
        }

        fn written(&self) -> String {
            let mut out = String::new();
            self.write(&mut out);
            out
        }
    }

    /// The key with those of its characters escaped whose bit is set.
    fn escaped(key: &str, escapes: u64) -> String {
        let one = |(at, c): (usize, char)| match escapes >> (2 * at) & 3 {
            0 => format!("\\u{:04x}", u32::from(c)),
            1 => format!("\\u{:04X}", u32::from(c)),
            _ => c.to_string(),
        };
        key.chars().enumerate().map(one).collect()
    }

    fn entries(value: impl Strategy<Value = Tree>) -> impl Strategy<Value = Tree> {
        let key = proptest::sample::select(vec!["value", "id", "for", "issued_at", "a", "b", "\u{e9}"]);
        proptest::collection::vec((key, any::<u64>(), value), 1..4).prop_map(Tree::Object)
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let leaf = proptest::sample::select(vec!["\"on\"", "null", "1", "-2.5", "true", "\"1s\"", "{}", "[]"]);
        let value = leaf.prop_map(Tree::Leaf).prop_recursive(4, 24, 3, |inner| {
            prop_oneof![proptest::collection::vec(inner.clone(), 1..3).prop_map(Tree::List), entries(inner)]
        });
        entries(value)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_key_that_stands_twice_is_found_at_any_depth_and_nowhere_else(tree in tree()) {
            let text = tree.written();
            prop_assume!(text.len() <= MAX_COMMAND_BYTES);
            let decoded = decode_command(text.as_bytes());
            let found = matches!(&decoded, Err(undecodable) if undecodable.refusal.words.contains("appears twice"));
            // An invalid id is reported first.
            let is_id = matches!(&decoded, Err(undecodable) if undecodable.refusal.words.starts_with("id must"));
            prop_assert!(found == tree.has_twice() || is_id, "{text}: {decoded:?}");
            prop_assert!(!(tree.has_twice() && decoded.is_ok()), "{text}");
        }

        #[test]
        fn any_bytes_are_a_command_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _either = decode_command(&bytes);
        }
    }
}
