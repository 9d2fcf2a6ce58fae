//! The text of a configuration file: reading it, finding lines in it, showing a line without its secrets.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::mask;
use crate::config::report::{Place, Problem, Severity, Snippet};
use crate::config::tree::{Node, Span};

/// The largest file that is read; a board with every driver fills a hundredth of it.
const MAX_BYTES: u64 = 1024 * 1024;

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
    /// What stands in it, without a byte order mark.
    pub(crate) text: String,
    /// Parts that no report may show.
    secrets: Vec<Span>,
}

impl Source {
    /// Keeps `text`, which may begin with a byte order mark.
    pub(crate) fn new(path: &Path, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        Self { path: path.to_owned(), secrets: mask::in_text(&text), text }
    }

    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        let bytes = read(path)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(error) => Err(not_text(&bytes, error.valid_up_to())),
        }
    }

    /// Learns from the parsed text which parts are secret.
    pub(crate) fn learn_secrets(&mut self, root: &Node) {
        // The lines were looked at in case the text is no YAML. Now that it is, they are still needed for secrets in comments.
        self.secrets.retain(|secret| {
            let before = &self.text[..secret.start];
            before[before.rfind('\n').map_or(0, |n| n + 1)..].contains('#')
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

    /// The line and column of a byte.
    pub(crate) fn place(&self, at: usize) -> Place {
        place(&self.text, at)
    }

    /// What looks like a space in front of a line's text, or behind a colon or dash, and is none to YAML: where, and what.
    pub(crate) fn odd_spaces(&self) -> Vec<(Span, String)> {
        let mut found = Vec::new();
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            if found.len() < MAX_ODD_SPACES
                && let Some((at, c)) = odd_space(line.trim_end())
            {
                let at = start + at;
                found.push((at..at + c.len_utf8(), describe_space(c)));
            }
            start += line.len();
        }
        found
    }

    /// A problem at `span`.
    pub(crate) fn problem(&self, severity: Severity, span: &Span, what: &str, hint: &str) -> Problem {
        Problem {
            severity,
            what: printable(&mask::in_message(what, &self.text, &self.secrets)),
            place: Some(self.place(span.start)),
            snippet: Some(self.snippet(span)),
            hint: printable(&mask::in_message(hint, &self.text, &self.secrets)),
        }
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

/// The first one of a line; comments and lines without text have none.
fn odd_space(line: &str) -> Option<(usize, char)> {
    let is_odd = |c: char| c != ' ' && (c.is_whitespace() || matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}'));
    let text = line.find(|c: char| c != ' ' && !is_odd(c))?;
    if line[text..].starts_with('#') {
        return None;
    }
    let indentation = line[..text].char_indices().find(|(_, c)| is_odd(*c));
    // A tab may stand behind a colon.
    let behind = || {
        let mut pairs = line.char_indices().zip(line.chars().skip(1));
        let pair = pairs.find(|((_, c), next)| matches!(c, ':' | '-') && is_odd(*next) && *next != '\t');
        pair.map(|((at, c), next)| (at + c.len_utf8(), next))
    };
    indentation.or_else(behind)
}

fn describe_space(c: char) -> String {
    let name = match c {
        '\t' => return "there is a tab in the indentation".to_owned(),
        '\u{a0}' => "a no-break space",
        '\u{3000}' => "an ideographic space",
        '\u{200b}' | '\u{2060}' | '\u{feff}' => "an invisible character",
        _ => "a space that is not the plain one",
    };
    format!("{name} (U+{:04X}) is used where a plain space belongs", u32::from(c))
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

/// The file at `path`, but not a larger one than a configuration can be.
fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let cannot = |error: std::io::Error| whole(format!("cannot read the configuration: {error}"), "");
    let about = std::fs::metadata(path).map_err(cannot)?;
    if about.is_dir() {
        return Err(whole("cannot read the configuration: this is a folder".into(), "name the file in it"));
    }
    // A pipe or a device may never end, and reading it may wait for ever.
    if !about.is_file() {
        return Err(whole("cannot read the configuration: this is not a regular file".into(), ""));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(whole("the configuration is larger than 1 MiB".into(), "is this the right file?"));
    }
    Ok(bytes)
}

fn not_text(bytes: &[u8], at: usize) -> Problem {
    let before = std::str::from_utf8(&bytes[..at]).unwrap_or("");
    Problem {
        place: Some(place(before, before.len())),
        ..whole(format!("the configuration is not UTF-8 text: byte {at} is {:#04x}", bytes[at]), "save it as UTF-8")
    }
}

/// A problem of the file as a whole.
pub(crate) fn whole(what: String, hint: &str) -> Problem {
    Problem { severity: Severity::Error, what, place: None, snippet: None, hint: hint.to_owned() }
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
