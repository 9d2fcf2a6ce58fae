//! A YAML file of another program, read as ours are: within the same bounds, with the place of each value, and with secrets masked
//! in what is reported. What the file means is no business of this module.

use std::path::Path;

use crate::config::report::{Problem, Severity};
use crate::config::source::Source;
use crate::config::{ConfigError, parse};

pub(crate) use crate::config::tree::{Node, Span, Value};

/// The file.
#[derive(Debug)]
pub(crate) struct Foreign {
    source: Source,
    root: Node,
}

impl Foreign {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parsed(Source::read(path)?)
    }

    /// Reads `text`, as if it stood in the file at `path`.
    pub(crate) fn of_text(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parsed(Source::new(path, text))
    }

    fn parsed(source: Source) -> Result<Self, ConfigError> {
        let (source, root) = parse(source)?;
        Ok(Self { source, root })
    }

    /// What stands in it.
    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// What is wrong at `span`, and what to write instead.
    pub(crate) fn problem(&self, span: &Span, what: &str, hint: &str) -> Problem {
        self.source.problem(Severity::Error, span, what, hint)
    }

    /// All that is wrong.
    pub(crate) fn refused(&self, mut problems: Vec<Problem>) -> ConfigError {
        problems.sort_by_key(|problem| problem.place.map_or(usize::MAX, |place| place.line));
        ConfigError { path: self.source.path.clone(), problems }
    }
}
