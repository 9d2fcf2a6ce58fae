//! YAML text to nodes that know where they stand.
//!
//! Everything later works on these nodes: serde's own derive would stop at the first problem and lose positions. A node's
//! [`Span`] is a range of bytes of the text. Repeated keys are kept, for the check reports them where they are repeated.
//!
//! The parser's budgets make sure that deep nesting and multiplying aliases end in an error, not in an empty machine.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{MessageFormatter, Spanned, UserMessageFormatter};

/// A range of bytes of the text.
pub(crate) type Span = Range<usize>;

/// How deep maps and lists may nest; the configuration needs five levels.
const MAX_DEPTH: usize = 24;

/// How many values a file may have, those that aliases repeat included: twenty times a large board's. Comparing each device
/// with all others stays quick.
const MAX_NODES: usize = 20_000;

/// How many values aliases may repeat in all.
const MAX_REPEATED: usize = 10_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Where; for a value that came by an alias, where the anchor stands.
    pub(crate) span: Span,
    /// What.
    pub(crate) value: Value,
}

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`; `on` and `yes` are texts.
    Flag(bool),
    /// A whole number and how it was written.
    Integer(i64, String),
    /// Another number and how it was written.
    Number(f64, String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file, repeated keys included.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    /// The key.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) span: Span,
}

impl Node {
    /// What kind of value it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Flag(_) => "true or false",
            Value::Integer(..) | Value::Number(..) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a section of keys",
        }
    }

    /// A text, or a number as it was written.
    pub(crate) fn scalar_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Integer(_, text) | Value::Number(_, text) => Some(text),
            _ => None,
        }
    }
}

/// Why a text is not YAML that a configuration may use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TreeError {
    /// Where the parser noticed, as a byte of the text.
    pub(crate) at: usize,
    /// In words.
    pub(crate) what: String,
}

/// Reads `text`.
pub(crate) fn parse(text: &str) -> Result<Node, TreeError> {
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options()) {
        Ok(root) => Ok(node(root, text)),
        Err(serde_yaml::Error::Eof { .. }) => Ok(Node { span: 0..0, value: Value::Null }),
        Err(error) => Err(explain(&error, text)),
    }
}

fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 3,
            max_aliases: 1000,
            max_anchors: 1000,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MAX_REPEATED, max_replay_stack_depth: 16 },
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        strict_booleans: true,
        reject_unsupported_tags: true,
        // Infinity is out of every range, and is reported at its place.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        // Our own report shows the line, with secrets masked.
        with_snippet: false,
    }
}

fn explain(error: &serde_yaml::Error, text: &str) -> TreeError {
    let location = error.location();
    let at = location.and_then(|l| l.span().byte_offset()).and_then(|at| usize::try_from(at).ok());
    let at = at.or_else(|| location.map(|l| offset(text, l.line(), l.column()))).unwrap_or(0).min(text.len());
    let words = match error {
        serde_yaml::Error::MultipleDocuments { .. } => {
            "a configuration is one YAML document; here begins another".into()
        }
        serde_yaml::Error::Budget { .. } => "nested too deep, or too many values or aliases".into(),
        _ => UserMessageFormatter.format_message(error).into_owned(),
    };
    TreeError { at, what: format!("this is not valid YAML: {words}") }
}

/// The byte at which a line and column, both counted from 1 in characters, stand.
fn offset(text: &str, line: u64, column: u64) -> usize {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or("");
    start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
}

/// A value as serde hands it over: its children still carry the parser's positions.
enum Raw {
    Null,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(i64::try_from(number).map_or(Raw::Number(number as f64), Raw::Integer))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Raw, E> {
        Ok(Raw::Number(number as f64))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Raw, E> {
        Ok(Raw::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let span = span(&raw, text);
    let written = || text.get(span.clone()).unwrap_or("").trim().to_owned();
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Flag(flag) => Value::Flag(flag),
        Raw::Integer(number) => Value::Integer(number, written()),
        Raw::Number(number) => Value::Number(number, written()),
        Raw::Text(words) => Value::Text(words),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Key { span: self::span(&key, text), text: key.value }, node(value, text)))
                .collect(),
        ),
    };
    Node { span, value }
}

fn span<T>(spanned: &Spanned<T>, text: &str) -> Span {
    let location = spanned.defined;
    let bytes = location.span().byte_offset().zip(location.span().byte_len());
    match bytes.map(|(at, length)| (usize::try_from(at), usize::try_from(length))) {
        Some((Ok(at), Ok(length))) => at.min(text.len())..at.saturating_add(length).min(text.len()),
        _ => {
            let at = offset(text, location.line(), location.column());
            at..at
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Vec<(Key, Node)> {
        match parse(text).unwrap().value {
            Value::Map(map) => map,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_and_values_know_where_they_stand() {
        let text = "a: 0x76 # note\nbü: { c: \"x y\", d: }\n? e\n: [off, 1.50]\n";
        let all = map(text);
        assert_eq!(all[0].1, Node { span: 3..7, value: Value::Integer(0x76, "0x76".into()) });
        assert_eq!((&text[all[1].0.span.clone()], all[1].0.text.as_str()), ("bü", "bü"));
        let Value::Map(inner) = &all[1].1.value else { panic!() };
        assert_eq!(&text[inner[0].1.span.clone()], "\"x y\"");
        assert_eq!(inner[1].1.value, Value::Null);
        let Value::List(list) = &all[2].1.value else { panic!() };
        assert_eq!(list[0].value, Value::Text("off".into()));
        assert_eq!(list[1].value, Value::Number(1.5, "1.50".into()));
        assert_eq!(&text[list[1].span.clone()], "1.50");
    }

    #[test]
    fn repeated_keys_are_kept() {
        let all = map("a: 1\na: 2\n");
        assert_eq!((all.len(), all[1].0.span.clone()), (2, 5..6));
    }

    #[test]
    fn a_merged_value_points_to_where_it_was_written() {
        let text = "a: &x { every: 1s }\nb: { <<: *x, c: 2 }\n";
        let Value::Map(b) = map(text)[1].1.value.clone() else { panic!() };
        let every = b.iter().find(|(key, _)| key.text == "every").unwrap();
        assert_eq!(&text[every.1.span.clone()], "1s");
    }

    #[test]
    fn nothing_is_null_and_two_documents_are_refused() {
        assert_eq!(parse("").unwrap().value, Value::Null);
        assert_eq!(parse("# only words\n").unwrap().value, Value::Null);
        assert!(parse("a: 1\n---\nb: 2\n").unwrap_err().what.contains("one YAML document"));
    }

    #[test]
    fn bombs_and_abysses_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let before = format!("*a{},", n - 1).repeat(10);
            bomb.push_str(&format!("a{n}: &a{n} [{before}]\n"));
        }
        for text in [bomb, "[".repeat(100_000), "a: ".repeat(5000), "- ".repeat(50_000), "{a: ".repeat(9000)] {
            assert!(parse(&text).is_err(), "{}", &text[..20]);
        }
    }

    #[test]
    fn an_error_knows_where() {
        let error = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.at >= 5, "{error:?}");
        assert!(parse("a:\n\t- b\n").is_err());
        assert!(parse("a: !secret x\n").is_err());
    }
}
