//! `!env NAME` and `!env [NAME, default]`: the value of an environment variable.
//!
//! The value is what a plain word in its place would be: a number, true or false, or else a text. It may be a secret, so the source
//! hides it in every report.

use crate::config::parts::{Assembler, Origin};
use crate::config::tree::{self, Node, Tag, Value};

/// How it is written.
const FORM: &str = "write !env NAME, or !env [NAME, default]";

impl Assembler<'_> {
    /// Replaces every `!env` below `node` by its value.
    pub(super) fn resolve(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.resolve(item)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| self.resolve(value)),
            Value::Tagged(Tag::Param, inner) => self.resolve(inner),
            Value::Tagged(Tag::Env, inner) => match self.variable(inner) {
                Some(value) => *node = value,
                None => self.source.set_unresolved(&node.span),
            },
            Value::Null | Value::Flag(_) | Value::Integer(..) | Value::Number(..) | Value::Text(_) => {}
        }
    }

    /// The value of the variable that `inner` names; `None` after a problem.
    fn variable(&mut self, inner: &Node) -> Option<Node> {
        let (name, default) = match &inner.value {
            Value::List(items) => match items.as_slice() {
                [name] => (name, None),
                [name, default] => (name, Some(default)),
                _ => (inner, None),
            },
            _ => (inner, None),
        };
        let Some(variable) = name.scalar_text().filter(|text| is_variable(text)) else {
            self.error(&name.span, "this cannot be the name of an environment variable", FORM);
            return None;
        };
        let Origin::File(environment) = self.origin else {
            let what = "a configuration that a request carries cannot use the environment of the gateway";
            self.error(&inner.span, what, "write the value itself");
            return None;
        };
        match (environment(variable).map(|value| value.into_string()), default) {
            (Some(Ok(value)), _) => {
                self.takes_text(value.len(), &inner.span)?;
                self.source.hide(&inner.span, variable, &value);
                Some(Node { span: inner.span.clone(), value: tree::scalar(&value) })
            }
            (Some(Err(_)), _) => {
                self.error(&name.span, &format!("the environment variable {variable} is not UTF-8 text"), "");
                None
            }
            (None, Some(default)) => {
                let mut default = default.clone();
                self.resolve(&mut default);
                Some(default)
            }
            (None, None) => {
                let what = format!("the environment variable {variable} is not set");
                let hint = format!("set it where Fieldgate is started, or write a default: !env [{variable}, …]");
                self.error(&name.span, &what, &hint);
                None
            }
        }
    }
}

/// As the shell knows names.
fn is_variable(text: &str) -> bool {
    let mut all = text.chars();
    all.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && all.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
