//! The text of a configuration: reading it, finding lines in it, showing a line without its secrets.
//!
//! A configuration may have parts, and the texts of all its files stand one behind the other in [`Source::text`]: so a [`Span`]
//! says where something is in whichever file. For each use of a template its lines stand there once more, so that a place in them
//! says which use it belongs to.

mod file;
mod spaces;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::config::hidden::{self, Hidden};
use crate::config::mask;
use crate::config::report::{Place, Problem, Severity, Snippet, Use};
use crate::config::tree::{Node, Span};
use spaces::{describe_space, odd_space};

pub(super) use file::{MAX_BYTES, Unreadable, read_text};

/// How much of a long line a report shows, in characters.
const MAX_LINE: usize = 140;

/// How many spaces that are none are reported: a file that was copied from a web page has them in each line.
const MAX_ODD_SPACES: usize = 20;

/// How far around a problem a line is looked at, in bytes.
const MAX_BYTES_OF_LINE: usize = 2000;

/// A configuration's text and where it came from.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file, as the user named it.
    pub(crate) path: PathBuf,
    /// What stands in it and in its parts, without byte order marks.
    pub(crate) text: String,
    /// Where what begins in the text; at least the file.
    stretches: Vec<Stretch>,
    /// Parts that no report may show.
    secrets: Vec<Span>,
    /// What came from the environment, which no report may show.
    hidden: Vec<Hidden>,
    /// Values that could not be found, which has been reported.
    unresolved: HashSet<(usize, usize)>,
}

/// A file in the text, or some lines of one.
#[derive(Clone, Debug)]
struct Stretch {
    span: Span,
    /// The part of the configuration; `None` for the file itself.
    part: Option<PathBuf>,
    /// How many lines of the file stand before it.
    lines_before: usize,
    /// For lines that are repeated: where the template is used.
    used: Option<Span>,
}

/// Whole lines of one file.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    /// Where they stand.
    pub(super) span: Span,
    part: Option<PathBuf>,
    lines_before: usize,
}

impl Source {
    /// Keeps `text`, which may begin with a byte order mark.
    pub(crate) fn new(path: &Path, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            text: String::new(),
            stretches: Vec::new(),
            secrets: Vec::new(),
            hidden: Vec::new(),
            unresolved: HashSet::new(),
        };
        source.add(None, text);
        source
    }

    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        match read_text(path) {
            Ok(text) => Ok(Self::new(path, &text)),
            Err(unreadable) => Err(ConfigError { path: path.to_owned(), problems: vec![unreadable.of_file()] }),
        }
    }

    /// Adds the text of a part of the configuration, and says where it is now.
    pub(super) fn add_part(&mut self, path: &Path, text: &str) -> Span {
        self.add(Some(path.to_owned()), text)
    }

    fn add(&mut self, part: Option<PathBuf>, text: &str) -> Span {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let start = self.begin_line();
        self.text.push_str(text);
        self.secrets.extend(mask::in_text(text).into_iter().map(|secret| shifted(&secret, start)));
        let span = start..self.text.len();
        self.stretches.push(Stretch { span: span.clone(), part, lines_before: 0, used: None });
        span
    }

    /// The lines in which `span` stands.
    pub(super) fn lines(&self, span: &Span) -> Lines {
        let (start, end) = (floor(&self.text, span.start), floor(&self.text, span.end));
        let from = self.text[..start].rfind('\n').map_or(0, |n| n + 1);
        let to = self.text[end..].find('\n').map_or(self.text.len(), |n| end + n);
        let file = self.stretch(from);
        let lines_before = self.text[file.span.start..from].matches('\n').count();
        Lines { span: from..to, part: file.part.clone(), lines_before }
    }

    /// Repeats `lines` for the use of a template at `used`; says where they are now.
    pub(super) fn repeat(&mut self, lines: &Lines, used: &Span) -> usize {
        let Lines { span, part, lines_before } = lines.clone();
        let written = self.text[span.clone()].to_owned();
        let start = self.begin_line();
        self.text.push_str(&written);
        let moved = |inner: &Span| start + inner.start - span.start..start + inner.end - span.start;
        let is_in = |inner: &Span| span.start <= inner.start && inner.end <= span.end;
        let secrets: Vec<_> = self.secrets.iter().filter(|secret| is_in(secret)).map(moved).collect();
        self.secrets.extend(secrets);
        let hidden = self.hidden.iter().filter(|hidden| is_in(&hidden.span));
        let hidden: Vec<_> = hidden.map(|hidden| Hidden { span: moved(&hidden.span), ..hidden.clone() }).collect();
        self.hidden.extend(hidden);
        let unresolved = self.unresolved.iter().map(|(start, end)| *start..*end).filter(is_in);
        let unresolved: Vec<_> = unresolved.map(|inner| moved(&inner)).collect();
        unresolved.iter().for_each(|inner| self.set_unresolved(inner));
        self.stretches.push(Stretch { span: start..self.text.len(), part, lines_before, used: Some(used.clone()) });
        start
    }

    /// Where a new line begins behind all text, and behind the last place of what is there.
    fn begin_line(&mut self) -> usize {
        if !self.stretches.is_empty() {
            self.text.push('\n');
        }
        self.text.len()
    }

    fn stretch(&self, at: usize) -> &Stretch {
        // The first one begins at 0.
        let behind = self.stretches.partition_point(|stretch| stretch.span.start <= at);
        &self.stretches[behind.saturating_sub(1)]
    }

    /// By what the configuration is known again: the file's text, and behind it those of the parts and what came from the environment.
    pub(crate) fn identity(&self) -> String {
        let mut all = String::new();
        for stretch in self.stretches.iter().filter(|stretch| stretch.used.is_none()) {
            if let Some(part) = &stretch.part {
                all.push_str(&format!("\0{}\0", part.display()));
            }
            all.push_str(&self.text[stretch.span.clone()]);
        }
        for Hidden { name, value, .. } in &self.hidden {
            all.push_str(&format!("\0{name}={value}"));
        }
        all
    }

    /// The parts that were read, in their order.
    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        self.stretches
            .iter()
            .filter(|stretch| stretch.used.is_none())
            .filter_map(|stretch| stretch.part.clone())
            .collect()
    }

    /// The variables of the environment that were used, each once.
    pub(crate) fn variables(&self) -> Vec<String> {
        let mut names: Vec<_> = self.hidden.iter().map(|hidden| hidden.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Notes that the value at `span` is that of the variable `name`.
    pub(super) fn hide(&mut self, span: &Span, name: &str, value: &str) {
        self.hidden.push(Hidden { span: span.clone(), name: name.to_owned(), value: value.to_owned() });
    }

    /// Notes that the value at `span` could not be found, and that this has been reported.
    pub(super) fn set_unresolved(&mut self, span: &Span) {
        self.unresolved.insert((span.start, span.end));
    }

    /// Whether the value at `span` could not be found: what is said of it would be a consequence.
    pub(super) fn is_unresolved(&self, span: &Span) -> bool {
        self.unresolved.contains(&(span.start, span.end))
    }

    /// Whether every value could be found.
    pub(super) fn is_resolved(&self) -> bool {
        self.unresolved.is_empty()
    }

    /// Learns from the parsed text of a file, which stands at `span`, what of it is secret.
    pub(crate) fn learn_secrets(&mut self, root: &Node, span: &Span) {
        // The lines were looked at in case the text is no YAML. Now that it is, they are still needed for secrets in comments.
        self.secrets.retain(|secret| {
            let before = &self.text[..secret.start];
            !span.contains(&secret.start) || before[before.rfind('\n').map_or(0, |n| n + 1)..].contains('#')
        });
        self.secrets.extend(mask::in_tree(root, &self.text));
    }

    /// The folder at which relative paths start.
    pub(crate) fn folder(&self) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        // A file that was named without a folder lies in the current one; where even that is unknown, relative it stays.
        std::path::absolute(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
            .unwrap_or_else(|_| folder.to_owned())
    }

    /// The line and column of a byte, in the file where it stands.
    pub(crate) fn place(&self, at: usize) -> Place {
        let stretch = self.stretch(at);
        let at = at.min(stretch.span.end).saturating_sub(stretch.span.start);
        let place = place(&self.text[stretch.span.clone()], at);
        Place { line: place.line + stretch.lines_before, ..place }
    }

    /// `line 5`, or `line 5 of sensors/air.yaml` if that is another file than the one where `from` is.
    pub(crate) fn line_seen_from(&self, at: usize, from: usize) -> String {
        let line = self.place(at).line;
        let (there, here) = (self.stretch(at), self.stretch(from));
        let file = || there.part.as_deref().unwrap_or(&self.path).display().to_string();
        let of_file = if there.part == here.part { String::new() } else { format!(" of {}", file()) };
        match &there.used {
            Some(used) if here.used != there.used => {
                format!("line {line}{of_file}, used in {}", self.line_seen_from(used.start, from))
            }
            _ => format!("line {line}{of_file}"),
        }
    }

    /// Where a problem is in the order of the files.
    pub(crate) fn order(&self, problem: &Problem) -> (usize, usize, usize) {
        let file = self.stretches.iter().position(|stretch| stretch.part == problem.part);
        let (line, column) = problem.place.map_or((usize::MAX, 0), |place| (place.line, place.column));
        (file.unwrap_or(usize::MAX), line, column)
    }

    /// What looks like a space in front of a line's text, or behind a colon or dash, and is none to YAML: where, and what.
    pub(crate) fn odd_spaces(&self) -> Vec<(Span, String)> {
        let mut found = Vec::new();
        for file in self.stretches.iter().filter(|stretch| stretch.used.is_none()) {
            let mut start = file.span.start;
            for line in self.text[file.span.clone()].split_inclusive('\n') {
                if found.len() < MAX_ODD_SPACES
                    && let Some((at, c)) = odd_space(line.trim_end())
                {
                    let at = start + at;
                    found.push((at..at + c.len_utf8(), describe_space(c)));
                }
                start += line.len();
            }
        }
        found
    }

    /// A problem at `span`.
    pub(crate) fn problem(&self, severity: Severity, span: &Span, what: &str, hint: &str) -> Problem {
        let Stretch { part, used, .. } = self.stretch(span.start);
        let describe = |used: &Span| Use { part: self.stretch(used.start).part.clone(), place: self.place(used.start) };
        let mut what = self.printable(what, span);
        if let Some(hidden) = hidden::at(span, &self.hidden) {
            what.push_str(&format!("; the value is that of the environment variable {}", hidden.name));
        }
        Problem {
            severity,
            what,
            part: part.clone(),
            place: Some(self.place(span.start)),
            used: used.as_ref().map(describe),
            snippet: Some(self.snippet(span)),
            hint: self.printable(hint, span),
        }
    }

    /// These words of a problem at `span`, without secrets.
    fn printable(&self, words: &str, span: &Span) -> String {
        let words = mask::in_message(words, &self.text, &self.secrets);
        printable(&hidden::masked(&words, span, &self.hidden))
    }

    /// Whether a secret is in these words of the file.
    pub(super) fn is_secret(&self, words: &str) -> bool {
        mask::in_message(words, &self.text, &self.secrets) != words
    }

    /// The line at the start of `span`, secrets masked, the marked part on that line only.
    fn snippet(&self, span: &Span) -> Snippet {
        let at = floor(&self.text, span.start);
        let line = self.line_around(at);
        let near: Vec<_> = self.secrets.iter().filter(|s| s.start < line.end && s.end > line.start).collect();
        let (mut shown, mut start, mut end) = (String::new(), None, 0);
        // Where the mask of the secret that we are in begins, in characters of `shown`.
        let mut mask = None;
        for (offset, c) in self.text[line.clone()].char_indices() {
            let position = line.start + offset;
            let before = shown.chars().count();
            if near.iter().any(|secret| secret.contains(&position)) {
                if mask.is_none() {
                    shown.push_str(mask::MASK);
                }
                mask.get_or_insert(before);
            } else {
                shown.push(visible(c));
                mask = None;
            }
            if position >= at {
                start.get_or_insert(mask.unwrap_or(before));
            }
            if position < span.end {
                end = shown.chars().count();
            }
        }
        let start = start.unwrap_or_else(|| shown.chars().count());
        crop(Snippet { line: shown, start, width: end.saturating_sub(start).max(1) })
    }

    /// The line that holds `at`; of a very long one the part around it.
    fn line_around(&self, at: usize) -> Span {
        let from = self.text[..at]
            .rfind('\n')
            .map_or(0, |n| n + 1)
            .max(floor(&self.text, at.saturating_sub(MAX_BYTES_OF_LINE)));
        let to = self.text[at..]
            .find('\n')
            .map_or(self.text.len(), |n| at + n)
            .min(floor(&self.text, at + MAX_BYTES_OF_LINE));
        from..from + self.text[from..to].trim_end_matches('\r').len()
    }
}

/// Shortens a long line to what stands around its marked part.
fn crop(snippet: Snippet) -> Snippet {
    let length = snippet.line.chars().count();
    if length <= MAX_LINE {
        return snippet;
    }
    let from = snippet.start.saturating_sub(MAX_LINE / 2);
    let line: String = snippet.line.chars().skip(from).take(MAX_LINE).collect();
    let start = snippet.start - from;
    let (line, start) = if from > 0 { (format!("…{line}"), start + 1) } else { (line, start) };
    Snippet { width: snippet.width.min(MAX_LINE - MAX_LINE / 2), start, line }
}

/// A problem of the file as a whole.
pub(crate) fn problem_of_file(what: String, hint: &str) -> Problem {
    let (part, place, used, snippet) = (None, None, None, None);
    Problem { severity: Severity::Error, what, part, place, used, snippet, hint: hint.to_owned() }
}

/// `span` so many bytes further on.
pub(super) fn shifted(span: &Span, by: usize) -> Span {
    span.start + by..span.end + by
}

fn place(text: &str, at: usize) -> Place {
    let before = &text[..floor(text, at)];
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    Place { line: before.matches('\n').count() + 1, column: before[start..].chars().count() + 1 }
}

/// The nearest place at or before `at` where a character begins.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0)
}

/// A file must not be able to send commands to the terminal on which it is checked.
fn visible(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet(text: &str, span: Span) -> (String, usize, usize) {
        let s = Source::new(Path::new("x"), text).snippet(&span);
        (s.line, s.start, s.width)
    }

    #[test]
    fn a_snippet_is_the_line_with_its_marked_part() {
        assert_eq!(snippet("a: 1\nbü: x y\n", 10..11), ("bü: x y".into(), 4, 1));
        assert_eq!(snippet("a: 1\nb: |\n  c\n", 5..13), ("b: |".into(), 0, 4));
        assert_eq!(snippet("a", 1..1), ("a".into(), 1, 1));
        assert_eq!(snippet("", 0..0), (String::new(), 0, 1));
        assert_eq!(snippet("a\x1b[2Jb\r\n", 0..1), ("a\u{fffd}[2Jb".into(), 0, 1));
    }

    #[test]
    fn a_snippet_masks_secrets_and_still_marks_the_right_part() {
        assert_eq!(snippet("password: hunter2", 0..8), ("password: ***".into(), 0, 8));
        assert_eq!(snippet("password: hunter2", 10..17), ("password: ***".into(), 10, 3));
        assert_eq!(snippet("password: hunter2", 12..13), ("password: ***".into(), 10, 3));
        let url = "broker: mqtt://pi:secret@host:1x";
        assert_eq!(snippet(url, 30..32), ("broker: mqtt://***@host:1x".into(), 24, 2));
        assert_eq!(snippet(url, 8..32), ("broker: mqtt://***@host:1x".into(), 8, 18));
    }

    #[test]
    fn a_long_line_is_cropped_around_its_marked_part() {
        let (line, start, width) = snippet(&"x".repeat(5000), 4000..4900);
        assert_eq!((line.chars().count(), start, width), (141, 71, 70));
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_text() {
        assert_eq!(Source::new(Path::new("x"), "\u{feff}a: 1").text, "a: 1");
    }
}
