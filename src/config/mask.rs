//! Which parts of a configuration are secret.
//!
//! There should be none: passwords live in files of their own. But people write them where they do not belong, and a report
//! is what they paste into a forum. So everything that looks like one is masked: values of keys that are called after
//! passwords, rightly spelt or not, and whatever stands before an `@` in an address.
//!
//! A text that is not valid YAML has no values, so [`in_text`] looks at its lines and rather masks too much.

use crate::config::tree::{Node, Span, Value};

/// Parts of words that name a secret.
const SECRET_WORDS: [&str; 6] = ["passw", "passwd", "passphrase", "secret", "token", "pwd"];

/// How alike a misspelt key must be to count as `password` (Jaro–Winkler).
const ALIKE: f64 = 0.87;

/// What stands for a secret.
pub(crate) const MASK: &str = "***";

/// Whether the value of a key called `key` is secret.
pub(crate) fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    if ["_file", "_credential"].iter().any(|end| key.ends_with(end)) {
        return false;
    }
    SECRET_WORDS.iter().any(|word| key.contains(word)) || strsim::jaro_winkler(&key, "password") > ALIKE
}

/// The secret parts of a parsed text.
pub(crate) fn in_tree(node: &Node, text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    walk(node, text, false, &mut found);
    found
}

fn walk(node: &Node, text: &str, secret: bool, found: &mut Vec<Span>) {
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                found.extend(in_scalar(&key.text).map(|part| within(&key.span, text, &key.text, part)));
                walk(value, text, secret || is_secret(&key.text), found);
            }
        }
        Value::List(items) => items.iter().for_each(|item| walk(item, text, secret, found)),
        Value::Null => {}
        // A block text reaches to the next key; the indentation of that is none of it.
        _ if secret => {
            let length = text.get(node.span.clone()).map_or(0, |written| written.trim_end().len());
            found.push(node.span.start..node.span.start + length);
        }
        Value::Text(words) => found.extend(in_scalar(words).map(|part| within(&node.span, text, words, part))),
        _ => {}
    }
}

/// The secret part of a text or a key: of an address, or behind `password:` where the blank was forgotten, so that it is no
/// key to YAML.
fn in_scalar(words: &str) -> Option<Span> {
    secret_value(words).map(|start| start..words.len()).or_else(|| in_address(words))
}

/// Where `part` of the `words` at `span` stands in the text; all of it where escapes or folded lines hide it.
pub(crate) fn within(span: &Span, text: &str, words: &str, part: Span) -> Span {
    let start = text.get(span.clone()).and_then(|written| written.find(words));
    start.map_or(span.clone(), |at| span.start + at + part.start..span.start + at + part.end)
}

/// The user and password of an address, and a port or a query that may be a part of one.
pub(crate) fn in_address(words: &str) -> Option<Span> {
    let after_scheme = words.find("://").map_or(0, |at| at + 3);
    if let Some(at) = words.rfind('@') {
        let start = if after_scheme <= at { after_scheme } else { 0 };
        return words[start..at].contains(':').then_some(start..at).or((after_scheme > 0).then_some(start..at));
    }
    if after_scheme == 0 {
        return None;
    }
    if let Some(query) = words.find(['?', '#']) {
        return Some(query + 1..words.len());
    }
    // `mqtt://pi:hunter2` where the host was forgotten: what stands at the port's place is not a number.
    let rest = &words[after_scheme..];
    let colon = rest.rfind(':').filter(|_| !rest.ends_with(']'))?;
    let port = rest[colon + 1..].split('/').next().unwrap_or("");
    (!port.bytes().all(|b| b.is_ascii_digit())).then_some(after_scheme + colon + 1..words.len())
}

/// The secret parts of a text, by its lines.
pub(crate) fn in_text(text: &str) -> Vec<Span> {
    let mut found = Vec::new();
    let mut start = 0;
    // The indentation of a secret key whose value may go on in the lines below, and whether it must.
    let mut open: Option<(usize, bool)> = None;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        let indent = content.len() - content.trim_start().len();
        if !content.is_empty() {
            if open.is_some_and(|(above, must)| indent > above || must) {
                found.push(start + indent..start + content.len());
                open = open.map(|(above, _)| (above, false));
            } else {
                open = None;
            }
            if let Some(value) = secret_value(content) {
                let rest = content[value..].trim();
                open = Some((indent, rest.is_empty() || rest.starts_with(['|', '>', '#'])));
                found.push(start + value..start + content.len());
            }
            found.extend(addresses_in_line(content).into_iter().map(|part| start + part.start..start + part.end));
        }
        start += line.len();
    }
    found
}

/// Where the value of a secret key begins in a line.
fn secret_value(line: &str) -> Option<usize> {
    line.char_indices().filter(|(_, c)| matches!(c, ':' | '=')).find_map(|(at, _)| {
        let before = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let key = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').next().unwrap_or("");
        let value = &line[at + 1..];
        is_secret(key).then(|| at + 1 + (value.len() - value.trim_start().len()))
    })
}

/// Users and passwords of addresses somewhere in a line: of each word up to its last `@`, and behind a scheme up to the last
/// `@` of the line, for a password may have blanks in it.
fn addresses_in_line(line: &str) -> Vec<Span> {
    let mut found = Vec::new();
    let mut start = 0;
    for word in line.split_inclusive([' ', '\t', '"', '\'', '[', ',', '{']) {
        if let Some(at) = word.rfind('@').filter(|at| word[..*at].contains(':')) {
            found.push(start + word[..at].find("://").map_or(0, |scheme| scheme + 3)..start + at);
        }
        start += word.len();
    }
    if let Some((scheme, at)) = line.find("://").zip(line.rfind('@')).filter(|(scheme, at)| scheme < at) {
        found.push(scheme + 3..at);
    }
    found
}

/// `words` without the secrets of `text`. Very short ones are left: they could be any word.
pub(crate) fn in_message(words: &str, text: &str, secrets: &[Span]) -> String {
    let mut words = words.to_owned();
    for secret in secrets.iter().filter_map(|span| text.get(span.clone())) {
        let secret = secret.trim_matches(|c: char| c.is_whitespace() || "\"'*&!|>,{}[]".contains(c));
        if secret.len() >= 4 {
            words = words.replace(secret, MASK);
        }
    }
    // A message may quote a part of a value only, which then is not the secret that was found in the whole.
    let mut parts = addresses_in_line(&words);
    parts.sort_by_key(|part| std::cmp::Reverse(part.start));
    for part in parts {
        if words.get(part.clone()).is_some_and(|secret| !secret.contains(MASK)) {
            words.replace_range(part, MASK);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let spans = in_text(text);
        text.char_indices().map(|(at, c)| if spans.iter().any(|s| s.contains(&at)) { '*' } else { c }).collect()
    }

    #[test]
    fn keys_called_after_a_password_are_secret_rightly_spelt_or_not() {
        for key in ["password", "Password", "passwrod", "pasword", "passwd", "mqtt_password", "api_token", "pwd"] {
            assert!(is_secret(key), "{key}");
        }
        for key in ["password_file", "password_credential", "path", "broker", "username", "keep_alive", "spool"] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn a_text_that_is_not_yaml_keeps_its_secrets_too() {
        for text in [
            "  password: hunter2: x",
            "password:hunter2",
            "{ 'password' : hunter2",
            "password:\n  hunter2\n",
            "mqtt: {\n    password:\n  hunter2 }",
            "password: \"abc\n  hunter2",
            "password: |\n  x\n\n  hunter2",
            "broker: mqtt://pi:hunter2@host:1x",
            "broker: mqtt:/pi:hunter2@host",
            "broker: pi:hunter2@host",
            "broker: mqtt://pi:my hunter2/@host",
            "broker: mqtt://hunter2@host",
        ] {
            assert!(!masked(text).contains("hunter2"), "{text} became {}", masked(text));
        }
        assert_eq!(masked("password_file: /a/b\nuser: x\n"), "password_file: /a/b\nuser: x\n");
    }

    #[test]
    fn of_an_address_user_password_and_whatever_may_be_one_is_secret() {
        let part = |words: &'static str| in_address(words).map(|span| &words[span]);
        assert_eq!(part("mqtt://pi:a/b@c@host:1883"), Some("pi:a/b@c"));
        assert_eq!(part("mqtt:/pi:x@host"), Some("mqtt:/pi:x"));
        assert_eq!(part("mqtt://pi:hunter2"), Some("hunter2"));
        assert_eq!(part("ws://host/mqtt?token=x"), Some("token=x"));
        for good in ["mqtt://host:1883", "mqtt://[::1]", "mqtt://[::1]:1883", "ws://host:80/mqtt", "host", "a@b"] {
            assert_eq!(part(good), None, "{good}");
        }
    }
}
