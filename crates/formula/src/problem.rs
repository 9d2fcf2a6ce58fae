//! What is wrong with a formula, and where.

use std::fmt;
use std::ops::Range;

/// A range of bytes of a formula, both ends on borders of characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The offset of its first byte, from 0.
    pub start: usize,
    /// The first byte behind it. Equal to `start` where something is missing.
    pub end: usize,
}

impl Span {
    /// The span as a range, with which the formula's text can be sliced.
    pub fn bytes(self) -> Range<usize> {
        self.start..self.end
    }

    /// The characters of `source`, counted from 0: what a report shows as columns.
    pub fn characters(self, source: &str) -> Range<usize> {
        let before = |at: usize| source.char_indices().take_while(|(offset, _)| *offset < at).count();
        before(self.start)..before(self.end)
    }

    /// What stands there. Empty if `source` is another text than the one that was read.
    pub fn text(self, source: &str) -> &str {
        source.get(self.bytes()).unwrap_or_default()
    }

    /// From the start of this one to the end of `last`.
    pub(crate) fn to(self, last: Span) -> Span {
        Span { start: self.start, end: last.end }
    }
}

/// One mistake in a formula. Report it to the user; a formula with a problem has no [`Program`](crate::Program).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The part of the formula that is wrong.
    pub span: Span,
    /// What is wrong, in lower case and without a full stop.
    pub what: String,
    /// What to write instead; may be empty.
    pub hint: String,
}

impl Problem {
    pub(crate) fn new(span: Span, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { span, what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

impl std::error::Error for Problem {}

/// The most problems that one formula reports: what comes behind them is hardly a formula.
pub const MAX_PROBLEMS: usize = 20;

/// Problems as they are returned: by their places, and not more than anybody reads.
pub(crate) fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
    problems.truncate(MAX_PROBLEMS);
    problems
}

/// `did you mean …?` if there is such a word, else `otherwise`.
pub(crate) fn did_you_mean<'w>(
    written: &str,
    words: impl IntoIterator<Item = &'w str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    fieldgate_spelling::nearest(written, words).map_or_else(otherwise, |word| format!("did you mean `{word}`?"))
}

/// The beginning of a text that may be of any length, in one line, for messages.
pub(crate) fn shorten(text: &str) -> String {
    const MAX: usize = 64;
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX + 1).collect();
    if let Some((end, _)) = line.char_indices().nth(MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_counted_not_bytes() {
        let source = "\"°C\" + x";
        let x = Span { start: 8, end: 9 };
        assert_eq!((x.text(source), x.characters(source)), ("x", 7..8));
        let end = Span { start: source.len(), end: source.len() };
        assert_eq!((end.text(source), end.characters(source)), ("", 8..8));
    }

    #[test]
    fn a_place_in_another_text_is_empty() {
        assert_eq!(Span { start: 1, end: 2 }.text("°"), "");
        assert_eq!(Span { start: 7, end: 9 }.text("short"), "");
    }

    #[test]
    fn messages_quote_one_line_of_any_text() {
        assert_eq!(shorten("a\n+ °b"), "a + °b");
        assert_eq!(shorten(&"°".repeat(64)), "°".repeat(64));
        assert_eq!(shorten(&"°".repeat(65)), format!("{}…", "°".repeat(64)));
    }
}
