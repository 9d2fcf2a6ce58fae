//! YAML text to nodes that know where they stand.
//!
//! Everything later works on these nodes: serde's own derive would stop at the first problem and lose positions. A node's
//! [`Span`] is a range of bytes of the text. Repeated keys are kept, for the check reports them where they are repeated.
//!
//! Two tags are ours, `!env` and `!param`. [`parse_part`] keeps them as [`Value::Tagged`], which `parts/` replaces by what they
//! stand for; everywhere else, as any other tag of a program's own, they are an error.
//!
//! The parser's budgets make sure that deep nesting and multiplying aliases end in an error, not in an empty machine.

mod read;

use std::ops::Range;

pub(crate) use read::parse;
pub(super) use read::{parse_part, scalar};

/// A range of bytes of the text.
pub(crate) type Span = Range<usize>;

/// How many values a file may have, those that aliases repeat included: twenty times a large board's. Comparing each device
/// with all others stays quick.
pub(super) const MAX_NODES: usize = 20_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Where the value stands; for one that came by an alias, where the anchor stands.
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// A YAML value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `null`, `~`, or nothing behind the key.
    Null,
    /// `true` or `false`; `on` and `yes` are texts.
    Flag(bool),
    /// A whole number and how it was written.
    Integer(i64, String),
    /// Another number and how it was written.
    Number(f64, String),
    /// A text, without its quotes.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file, repeated keys included.
    Map(Vec<(Key, Node)>),
    /// What stands for another value; the check never sees one.
    Tagged(Tag, Box<Node>),
}

/// A tag of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `!env`: the value of an environment variable.
    Env,
    /// `!param`: the value of a template's parameter.
    Param,
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    /// The key without its quotes.
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
            Value::Tagged(Tag::Env, _) => "a value of the environment",
            Value::Tagged(Tag::Param, _) => "a parameter",
        }
    }

    /// Calls `change` with the place of this value, of all values within it and of their keys.
    pub(super) fn each_span(&mut self, change: &mut impl FnMut(&mut Span)) {
        change(&mut self.span);
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.each_span(change)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    change(&mut key.span);
                    value.each_span(change);
                }
            }
            Value::Tagged(_, inner) => inner.each_span(change),
            Value::Null | Value::Flag(_) | Value::Integer(..) | Value::Number(..) | Value::Text(_) => {}
        }
    }

    /// The first entry of a map under this key.
    pub(super) fn entry(&self, name: &str) -> Option<&(Key, Node)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.text == name),
            _ => None,
        }
    }

    /// How many bytes of text it has, which aliases repeat too.
    pub(super) fn bytes(&self) -> usize {
        match &self.value {
            Value::Text(text) | Value::Integer(_, text) | Value::Number(_, text) => text.len(),
            Value::List(items) => items.iter().map(Self::bytes).sum(),
            Value::Map(entries) => entries.iter().map(|(key, value)| key.text.len() + value.bytes()).sum(),
            Value::Tagged(_, inner) => inner.bytes(),
            Value::Null | Value::Flag(_) => 0,
        }
    }

    /// How many values this is, those within it included.
    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Self::count).sum(),
            Value::Map(entries) => entries.iter().map(|(_, value)| value.count()).sum(),
            Value::Tagged(_, inner) => inner.count(),
            _ => 0,
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

    #[test]
    fn our_tags_are_kept_in_parts_and_refused_everywhere_else() {
        let text = "a: !env HOME\nb: { c: !param [x, 5], d: !!str 5 }\n";
        assert!(parse(text).unwrap_err().what.contains("unsupported tag `!env`"));
        let Value::Map(all) = parse_part(text).unwrap().value else { panic!() };
        let Value::Tagged(Tag::Env, name) = &all[0].1.value else { panic!("{:?}", all[0]) };
        assert_eq!((name.scalar_text(), &text[all[0].1.span.clone()]), (Some("HOME"), "HOME"));
        let Value::Map(inner) = &all[1].1.value else { panic!() };
        assert!(matches!(&inner[0].1.value, Value::Tagged(Tag::Param, list) if matches!(&list.value, Value::List(_))));
        assert_eq!(inner[1].1.value, Value::Text("5".into()));
        for text in ["!env a: 1\n", "a: !environment B\n", "a: !include x.yaml\n", "a: !!set { b }\n"] {
            let error = parse_part(text).unwrap_err();
            assert!(error.what.contains("unsupported tag"), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_plain_word_is_a_number_a_flag_or_else_a_text() {
        assert_eq!(scalar("0x44"), Value::Integer(0x44, "0x44".into()));
        assert_eq!(scalar("1.50"), Value::Number(1.5, "1.50".into()));
        assert_eq!(scalar("true"), Value::Flag(true));
        for text in ["", " ", "on", "null", "~", "[1]", "a: b", "5 # x", "'5'", "!env X", "*a", "&a 5", "- 1", "007"] {
            assert_eq!(scalar(text), Value::Text(text.into()));
        }
    }
}
