//! From a text to nodes, by the parser of YAML.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{MessageFormatter, Spanned, Tagged, UserMessageFormatter};

use super::{Key, MAX_NODES, Node, Span, Tag, Value};

/// How deep maps and lists may nest; the configuration needs five levels.
const MAX_DEPTH: usize = 24;

/// How many values aliases may repeat in all.
const MAX_REPEATED: usize = 10_000;

/// Why a text is not YAML that a configuration may use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TreeError {
    /// Where the parser noticed, as a byte of the text.
    pub(crate) at: usize,
    /// In words.
    pub(crate) what: String,
}

/// Reads `text`, in which no tag of ours may stand.
pub(crate) fn parse(text: &str) -> Result<Node, TreeError> {
    read(text, false)
}

/// Reads the text of a file, in which our tags may stand.
pub(in crate::config) fn parse_part(text: &str) -> Result<Node, TreeError> {
    read(text, true)
}

/// The value that a plain word stands for: a number, true or false, or else a text, whatever YAML would make of it.
pub(in crate::config) fn scalar(words: &str) -> Value {
    let is_word = !words.contains(|c: char| c.is_whitespace() || matches!(c, '#' | '\'' | '"'));
    match parse(words) {
        Ok(Node { value: value @ (Value::Flag(_) | Value::Integer(..) | Value::Number(..)), .. }) if is_word => value,
        _ => Value::Text(words.to_owned()),
    }
}

fn read(text: &str, has_our_tags: bool) -> Result<Node, TreeError> {
    match serde_yaml::from_str_with_options::<Found<Raw>>(text, options()) {
        Ok(root) => {
            let mut reader = Reader { text, has_our_tags, wrong: None };
            let root = reader.node(root);
            reader.wrong.map_or(Ok(root), Err)
        }
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
        // Those that are not ours are refused with the place where they stand, by `Reader`.
        reject_unsupported_tags: false,
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

/// Something with the parser's place and tag.
type Found<T> = Spanned<Tagged<T>>;

/// A value as serde hands it over: its children still carry the parser's positions.
enum Raw {
    Null,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Found<Raw>>),
    Map(Vec<(Found<String>, Found<Raw>)>),
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

/// From what serde hands over to nodes.
struct Reader<'t> {
    text: &'t str,
    has_our_tags: bool,
    /// The first tag that cannot stand where it does.
    wrong: Option<TreeError>,
}

impl Reader<'_> {
    fn node(&mut self, raw: Found<Raw>) -> Node {
        let span = span(&raw, self.text);
        let Tagged(raw, tag) = raw.value;
        let written = || self.text.get(span.clone()).unwrap_or("").trim().to_owned();
        let value = match raw {
            Raw::Null => Value::Null,
            Raw::Flag(flag) => Value::Flag(flag),
            Raw::Integer(number) => Value::Integer(number, written()),
            Raw::Number(number) => Value::Number(number, written()),
            Raw::Text(words) => Value::Text(words),
            Raw::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Map(entries) => {
                Value::Map(entries.into_iter().map(|(key, value)| (self.key(key), self.node(value))).collect())
            }
        };
        let ours = tag.and_then(|tag| self.ours(&tag, &span));
        match ours {
            Some(tag) => Node { span: span.clone(), value: Value::Tagged(tag, Box::new(Node { span, value })) },
            None => Node { span, value },
        }
    }

    fn key(&mut self, key: Found<String>) -> Key {
        let span = span(&key, self.text);
        let Tagged(text, tag) = key.value;
        if let Some(tag) = tag.filter(|tag| !is_standard(tag)) {
            self.refuse(&tag, &span);
        }
        Key { text, span }
    }

    /// Our tag, if it is one; a standard one has done its work in the parser.
    fn ours(&mut self, tag: &str, span: &Span) -> Option<Tag> {
        match tag {
            "!env" if self.has_our_tags => return Some(Tag::Env),
            "!param" if self.has_our_tags => return Some(Tag::Param),
            tag if is_standard(tag) => {}
            tag => self.refuse(tag, span),
        }
        None
    }

    fn refuse(&mut self, tag: &str, span: &Span) {
        let what = format!("this is not valid YAML: unsupported tag `{tag}`");
        self.wrong.get_or_insert(TreeError { at: span.start, what });
    }
}

/// Whether YAML itself has this tag.
fn is_standard(tag: &str) -> bool {
    let name = tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag).trim_start_matches('!');
    matches!(name, "" | "null" | "bool" | "int" | "float" | "map" | "seq" | "str" | "timestamp" | "binary")
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
