//! A configuration in parts: files that it includes, values of the environment, and templates. [`assemble`] makes one tree of them,
//! as if all of it stood in one file, and everything behind it knows nothing of parts.
//!
//! First each file is read, its `!env` replaced, and its `include` followed (`include.rs`, `environment.rs`); then the sections of
//! all files are joined; then each `use` becomes the template's body (`templates.rs`). The order matters: what is a template is
//! known only when all files are.
//!
//! Nothing here can run for long or fill the memory: files, bytes, depth and values have limits, and a file is read once.

mod environment;
mod include;
mod templates;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsString;

use crate::config::ConfigError;
use crate::config::check::MAX_PROBLEMS;
use crate::config::report::{Problem, Severity};
use crate::config::source::{Source, shifted};
use crate::config::tree::{self, Key, Node, Span, Value};

use include::File;

/// The key that names parts.
const INCLUDE: &str = "include";

/// How much text may come from the environment and by templates, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The value of a variable, if it is set.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// Whence a configuration comes, and what it may take from the machine.
#[derive(Clone, Copy)]
pub(super) enum Origin<'e> {
    /// From a file: it may include others and use these variables.
    File(Environment<'e>),
    /// From a request, which must not read files or variables of this machine.
    Request,
}

/// All parts in one.
pub(super) struct Assembled {
    /// The texts of all parts, one behind the other.
    pub(super) source: Source,
    /// What stands in them. In the place of a value that could not be found there is still its tag.
    pub(super) root: Node,
    /// What the user should know; with an error nothing may run, but the rest can be checked.
    pub(super) problems: Vec<Problem>,
}

/// Reads what the configuration in `source` includes, and puts everything together.
///
/// # Errors
/// Every problem, where a part is missing or no YAML: what else is wrong could be a consequence.
pub(super) fn assemble(source: Source, origin: Origin<'_>) -> Result<Assembled, ConfigError> {
    let mut assembler =
        Assembler { source, origin, files: Vec::new(), nodes: 0, bytes: 0, found: Vec::new(), is_partial: false };
    let root = assembler.read_all();
    let Assembler { source, found, is_partial, .. } = assembler;
    match root.filter(|_| !is_partial) {
        Some(root) => Ok(Assembled { source, root, problems: found }),
        None => Err(refused(source, found)),
    }
}

/// The problems, and the odd spaces that may be why.
pub(super) fn refused(source: Source, mut problems: Vec<Problem>) -> ConfigError {
    problems.extend(super::odd_spaces(&source));
    problems.sort_by_key(|problem| source.order(problem));
    ConfigError { path: source.path, problems }
}

struct Assembler<'e> {
    source: Source,
    origin: Origin<'e>,
    /// Every file that was read, the configuration's own first.
    files: Vec<File>,
    /// How many values there are so far.
    nodes: usize,
    /// How much text came from the environment and by templates, in bytes.
    bytes: usize,
    found: Vec<Problem>,
    /// Whether a part is missing or no YAML.
    is_partial: bool,
}

impl Assembler<'_> {
    fn read_all(&mut self) -> Option<Node> {
        let own = 0..self.source.text.len();
        self.files.push(File::first(&self.source));
        let root = self.parsed(&own)?;
        if root.value == Value::Null {
            self.error(&(0..0), "the configuration is empty", "begin with `mqtt:`");
            return None;
        }
        let span = root.span.clone();
        let Value::Map(entries) = root.value else { return Some(root) };
        let mut all = Vec::new();
        self.with_parts(0, entries, &mut all);
        let entries = self.expanded(joined(all));
        Some(Node { span, value: Value::Map(entries) })
    }

    /// The nodes of the file whose text stands at `span`; its variables are replaced.
    fn parsed(&mut self, span: &Span) -> Option<Node> {
        let mut root = match tree::parse_part(&self.source.text[span.clone()]) {
            Ok(root) => root,
            Err(error) => {
                let at = span.start + error.at;
                // What stands behind an odd space, which is reported in any case, may be a consequence of it.
                if self.source.odd_spaces().iter().all(|(odd, _)| !span.contains(&odd.start) || odd.start > at) {
                    self.error(&(at..at + 1), &error.what, "");
                }
                self.is_partial = true;
                return None;
            }
        };
        root.each_span(&mut |place| *place = shifted(place, span.start));
        self.source.learn_secrets(&root, span);
        self.takes(root.count(), span)?;
        self.resolve(&mut root);
        Some(root)
    }

    /// Appends the entries of a file to `all`, and behind them those of the files that it includes.
    fn with_parts(&mut self, file: usize, entries: Vec<(Key, Node)>, all: &mut Vec<Vec<(Key, Node)>>) {
        let (includes, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key.text == INCLUDE);
        all.push(entries);
        for (again, _) in includes.iter().skip(1) {
            self.twice(again, &includes[0].0);
        }
        if let Some((key, named)) = includes.first() {
            let before = self.errors();
            let parts = self.include(file, key, named);
            self.is_partial |= self.errors() > before;
            parts.into_iter().for_each(|part| self.part(part, all));
        }
    }

    fn part(&mut self, file: usize, all: &mut Vec<Vec<(Key, Node)>>) {
        let span = self.files[file].span.clone();
        match self.parsed(&span).map(|root| (root.describe(), root.span, root.value)) {
            None | Some((_, _, Value::Null)) => {}
            Some((_, _, Value::Map(entries))) => self.with_parts(file, entries, all),
            Some((what, span, _)) => {
                let words = format!("a part of the configuration is a section of keys, not {what}");
                self.is_partial = true;
                self.error(&span, &words, "write its sections as in the configuration, such as `sensors:`");
            }
        }
    }

    /// Counts values; `None` when there are too many.
    fn takes(&mut self, nodes: usize, span: &Span) -> Option<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= tree::MAX_NODES {
            return Some(());
        }
        let what = format!("with this the configuration has more than {} values", tree::MAX_NODES);
        self.is_partial = true;
        self.error(&(span.start..span.start), &what, "");
        None
    }

    /// Counts text that does not stand in a file, or once more; `None` when there is too much.
    fn takes_text(&mut self, bytes: usize, span: &Span) -> Option<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= MAX_BYTES {
            return Some(());
        }
        self.error(span, "with this, templates and the environment make the configuration larger than 4 MiB", "");
        None
    }

    fn twice(&mut self, key: &Key, first: &Key) {
        let line = self.source.line_seen_from(first.span.start, key.span.start);
        self.error(&key.span, &format!("{:?} appears twice", key.text), &format!("first in {line}"));
    }

    fn errors(&self) -> usize {
        self.found.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    fn error(&mut self, span: &Span, what: &str, hint: &str) {
        self.add(Severity::Error, span, what, hint);
    }

    fn add(&mut self, severity: Severity, span: &Span, what: &str, hint: &str) {
        // Errors have room of their own, so that no flood of notes can make a wrong configuration pass.
        let is_alike = |found: &&Problem| (found.severity == Severity::Error) == (severity == Severity::Error);
        if self.found.iter().filter(is_alike).count() >= MAX_PROBLEMS {
            return;
        }
        let problem = self.source.problem(severity, span, what, hint);
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }
}

/// The sections of all files in one map. A name that two files give to one section stands there twice, which the check reports;
/// so does a key that a file has twice.
fn joined(files: Vec<Vec<(Key, Node)>>) -> Vec<(Key, Node)> {
    let mut all: Vec<(Key, Node)> = Vec::new();
    // Where in `all` a key stands first, and the last file that had it.
    let mut known: HashMap<String, (usize, usize)> = HashMap::new();
    for (file, entries) in files.into_iter().enumerate() {
        for (key, node) in entries {
            let before = known.get_mut(&key.text).filter(|(_, last)| *last != file);
            let before = before.and_then(|(at, last)| {
                *last = file;
                all.get_mut(*at).map(|(_, before)| before)
            });
            match (before, node) {
                (Some(Node { value: Value::Map(before), .. }), Node { value: Value::Map(more), .. }) => {
                    before.extend(more)
                }
                (Some(before), node) if before.value == Value::Null => *before = node,
                (Some(_), Node { value: Value::Null, .. }) => {}
                (_, node) => {
                    known.entry(key.text.clone()).or_insert((all.len(), file));
                    all.push((key, node));
                }
            }
        }
    }
    all
}
