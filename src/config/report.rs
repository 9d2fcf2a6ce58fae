//! How a problem of the configuration is reported.
//!
//! A [`Problem`] carries everything that its rendering needs, its snippet with secrets already masked, so that it can be
//! printed anywhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot run.
    Error,
    /// It can run, but the user should know.
    Warning,
    /// It can run; this is what could not be looked at.
    Note,
}

impl Severity {
    /// As it stands in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A line and column of the file, both counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// The line that a problem is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The line, or a part of a long one; secrets masked, control characters replaced.
    pub line: String,
    /// How many characters of `line` stand before the marked part.
    pub start: usize,
    /// How many characters are marked, at least one.
    pub width: usize,
}

/// Where a template is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The part of the configuration; `None` for the file itself.
    pub part: Option<PathBuf>,
    /// The line of that part.
    pub place: Place,
}

/// Something that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in words.
    pub what: String,
    /// The part of the configuration where it is; `None` for the file itself.
    pub part: Option<PathBuf>,
    /// The line and column; `None` for a problem of the file as a whole.
    pub place: Option<Place>,
    /// Where the template is used in whose expansion it is.
    pub used: Option<Use>,
    /// The line that it is about, to be shown below; `None` where there is no place.
    pub snippet: Option<Snippet>,
    /// What to write instead; may be empty.
    pub hint: String,
}

impl Problem {
    /// The part of the configuration where it is, for a log.
    pub fn part_in_words(&self) -> Option<String> {
        self.part.as_ref().map(|part| part.display().to_string())
    }

    /// `line 5`, or `line 5 of sensors/air.yaml` where it is in a part, for a sentence; nothing for the file as a whole.
    pub fn line_in_words(&self) -> Option<String> {
        let line = self.place.map(|place| format!("line {}", place.line));
        match (&self.part, line) {
            (Some(part), Some(line)) => Some(format!("{line} of {}", part.display())),
            (Some(part), None) => Some(part.display().to_string()),
            (None, line) => line,
        }
    }
}

/// What the first error is and where, in half a sentence without its snippet, which may have more in it than whoever asked should see.
pub fn first_error_in_words(problems: &[Problem]) -> String {
    let Some(first) = problems.iter().find(|problem| problem.severity == Severity::Error) else {
        return "it cannot be read".to_owned();
    };
    let place = first.line_in_words().map_or(String::new(), |line| format!(", {line}"));
    format!("{}{place}", first.what)
}

/// All problems as text: in the order given, a blank line between, a count at the end.
pub fn render(path: &Path, problems: &[Problem], colour: bool) -> String {
    let mut out = String::new();
    for problem in problems {
        out.push_str(&one(path, problem, colour));
        out.push('\n');
    }
    out.push_str(&count(problems));
    out.push('\n');
    out
}

/// `2 errors, 1 warning`.
pub fn count(problems: &[Problem]) -> String {
    let of = |severity: Severity| {
        let n = problems.iter().filter(|p| p.severity == severity).count();
        (n > 0).then(|| format!("{n} {}{}", severity.as_str(), if n == 1 { "" } else { "s" }))
    };
    let words: Vec<_> =
        [of(Severity::Error), of(Severity::Warning), of(Severity::Note)].into_iter().flatten().collect();
    words.join(", ")
}

fn one(path: &Path, problem: &Problem, colour: bool) -> String {
    let paint = Paint { on: colour, severity: problem.severity };
    let mut out = format!("{}: {}\n", paint.severe(problem.severity.as_str()), paint.bold(&problem.what));
    let number = problem.place.map(|place| place.line.to_string()).unwrap_or_default();
    let margin = " ".repeat(number.len().max(if number.is_empty() { 2 } else { 1 }));
    let position = problem.place.map(|place| format!(":{}:{}", place.line, place.column)).unwrap_or_default();
    let file = problem.part.as_deref().unwrap_or(path);
    line(&mut out, format_args!("{margin}{} {}{position}", paint.frame("-->"), file.display()));
    let bar = paint.frame("|");
    if let Some(snippet) = &problem.snippet {
        // Tabs stay tabs in front of the marks, so that these stand below what they mark on any terminal.
        let before: String =
            snippet.line.chars().take(snippet.start).map(|c| if c == '\t' { c } else { ' ' }).collect();
        let marks = paint.severe(&"^".repeat(snippet.width));
        line(&mut out, format_args!("{margin} {bar}"));
        line(&mut out, format_args!("{} {bar} {}", paint.frame(&number), snippet.line));
        line(&mut out, format_args!("{margin} {bar} {before}{marks} {}", paint.severe(&problem.hint)));
    } else if !problem.hint.is_empty() {
        line(&mut out, format_args!("{margin} {} {}", paint.frame("="), problem.hint));
    }
    if let Some(Use { part, place }) = &problem.used {
        let file = part.as_deref().unwrap_or(path).display();
        let Place { line: row, column } = place;
        line(
            &mut out,
            format_args!("{margin} {} in the template that is used at {file}:{row}:{column}", paint.frame("=")),
        );
    }
    out
}

/// Adds one line without idle blanks at its end.
fn line(out: &mut String, words: std::fmt::Arguments<'_>) {
    let start = out.len();
    // Writing into a String cannot fail.
    let _written = out.write_fmt(words);
    out.truncate(start + out[start..].trim_end_matches(' ').len());
    out.push('\n');
}

struct Paint {
    on: bool,
    severity: Severity,
}

impl Paint {
    fn severe(&self, text: &str) -> String {
        self.with(if self.severity == Severity::Error { "1;31" } else { "1;33" }, text)
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn frame(&self, text: &str) -> String {
        self.with("1;34", text)
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            severity: Severity::Error,
            what: "no driver is called \"bme208\"".into(),
            part: None,
            place: Some(Place { line: 14, column: 13 }),
            used: None,
            snippet: Some(Snippet { line: "    driver: bme208".into(), start: 12, width: 6 }),
            hint: "did you mean \"bme280\"?".into(),
        }
    }

    #[test]
    fn a_problem_shows_its_line_and_marks_it() {
        let expected = "\
error: no driver is called \"bme208\"
  --> /etc/fieldgate/fieldgate.yaml:14:13
   |
14 |     driver: bme208
   |             ^^^^^^ did you mean \"bme280\"?

1 error
";
        assert_eq!(render(Path::new("/etc/fieldgate/fieldgate.yaml"), &[problem()], false), expected);
    }

    #[test]
    fn a_problem_of_the_whole_file_has_no_line() {
        let whole = Problem { place: None, snippet: None, hint: String::new(), ..problem() };
        let warning = Problem { severity: Severity::Warning, ..whole.clone() };
        let expected = "\
error: no driver is called \"bme208\"
  --> x.yaml

warning: no driver is called \"bme208\"
  --> x.yaml

1 error, 1 warning
";
        assert_eq!(render(Path::new("x.yaml"), &[whole, warning], false), expected);
    }

    #[test]
    fn a_problem_in_a_template_names_the_part_and_the_use() {
        let used = Some(Use { part: None, place: Place { line: 3, column: 5 } });
        let problem = Problem { part: Some("parts/probe.yaml".into()), used, ..problem() };
        let expected = "\
error: no driver is called \"bme208\"
  --> parts/probe.yaml:14:13
   |
14 |     driver: bme208
   |             ^^^^^^ did you mean \"bme280\"?
   = in the template that is used at x.yaml:3:5

1 error
";
        assert_eq!(render(Path::new("x.yaml"), std::slice::from_ref(&problem), false), expected);
        assert_eq!(problem.line_in_words().unwrap(), "line 14 of parts/probe.yaml");
    }

    #[test]
    fn colour_only_when_asked() {
        assert!(render(Path::new("x"), &[problem()], true).contains("\x1b[1;31m^^^^^^\x1b[0m"));
        assert!(!render(Path::new("x"), &[problem()], false).contains('\x1b'));
    }
}
