//! `include`: which files are parts of the configuration.
//!
//! A path starts at the folder of the file that names it, and must stay in the folder of the configuration unless it is absolute:
//! so a link or a `..` that was not meant cannot bring in what others write. `*` and `?` stand for any characters of a file's name,
//! as in the shell; what matches comes in the order of the names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::parts::{Assembler, Origin};
use crate::config::report::Severity;
use crate::config::source::{self, Source, Unreadable};
use crate::config::tree::{Key, Node, Span, Value};

/// How many files a configuration may have.
const MAX_FILES: usize = 256;

/// How deep files may include files.
const MAX_DEPTH: usize = 8;

/// How many entries of a folder are looked at.
const MAX_ENTRIES: usize = 10_000;

/// A file that is a part of the configuration.
pub(super) struct File {
    /// Where its text stands.
    pub(super) span: Span,
    /// Its folder, as reports name it.
    folder: PathBuf,
    /// What it really is, behind all links.
    real: PathBuf,
    /// The folder, behind all links, in which its parts must be if their paths are relative.
    within: PathBuf,
    /// Where it is named.
    named: Span,
    /// The file that names it; it is its own for the first.
    parent: usize,
    depth: usize,
}

impl File {
    /// The configuration's own file, which need not exist.
    pub(super) fn first(source: &Source) -> Self {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Self {
            span: 0..source.text.len(),
            folder: folder_of(&source.path),
            real: real(&source.path),
            within: real(&source.folder()),
            named: 0..0,
            parent: 0,
            depth: 0,
        }
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

impl Assembler<'_> {
    /// Reads the parts that `named` names, the value of `include` in the file with this number; returns their numbers.
    pub(super) fn include(&mut self, file: usize, key: &Key, named: &Node) -> Vec<usize> {
        if matches!(self.origin, Origin::Request) {
            let what = "a configuration that a request carries is one text, and cannot include others";
            self.error(&key.span, what, "write into it what the parts say");
            return Vec::new();
        }
        let items = match &named.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(named),
        };
        let mut parts = Vec::new();
        for item in items {
            let Value::Text(text) = &item.value else {
                let span = if item.value == Value::Null { &key.span } else { &item.span };
                self.error(
                    span,
                    &format!("include names files, and this is {}", item.describe()),
                    "such as [sensors/*.yaml]",
                );
                continue;
            };
            for path in self.files_named(file, item, text) {
                parts.extend(self.read(file, item, text, &path));
            }
        }
        parts
    }

    /// The files that `text` names in a file: one, or all whose names match.
    fn files_named(&mut self, file: usize, item: &Node, text: &str) -> Vec<PathBuf> {
        let path = self.files[file].folder.join(text);
        let (folder, name) = (folder_of(&path), path.file_name().and_then(|name| name.to_str()).unwrap_or(""));
        let is_pattern = |text: &str| text.contains(['*', '?']);
        let written = text.rsplit_once('/').map_or("", |(folder, _)| folder);
        if text.is_empty() || name.is_empty() || text.contains('\0') || text.ends_with('/') {
            self.error(&item.span, "include names files, and this is not the path of one", "such as sensors/air.yaml");
            return Vec::new();
        }
        if is_pattern(written) {
            self.error(&item.span, "* and ? may stand in the name of a file only", "name each folder for itself");
            return Vec::new();
        }
        if !is_pattern(name) {
            return vec![path];
        }
        let names = match names_in(&folder, name) {
            Ok(names) => names,
            Err(why) => {
                let what = format!("the folder {} cannot be read: {why}", folder.display());
                self.error(&item.span, &what, "");
                return Vec::new();
            }
        };
        let ancestors = self.ancestors(file);
        let is_new = |path: &PathBuf| {
            fs::canonicalize(path)
                .map_or(true, |real| ancestors.iter().all(|ancestor| self.files[*ancestor].real != real))
        };
        let all: Vec<_> = names.into_iter().map(|name| folder.join(name)).filter(is_new).collect();
        if all.is_empty() {
            self.add(Severity::Note, &item.span, &format!("no file matches {text}"), "");
        }
        all
    }

    /// The file, and those that include it.
    fn ancestors(&self, file: usize) -> Vec<usize> {
        let mut all = vec![file];
        let mut file = file;
        while self.files[file].parent != file {
            file = self.files[file].parent;
            all.push(file);
        }
        all
    }

    /// Reads a part; returns its number.
    fn read(&mut self, parent: usize, item: &Node, text: &str, path: &Path) -> Option<usize> {
        let shown = path.display();
        let depth = self.files[parent].depth + 1;
        if self.files.len() >= MAX_FILES || depth > MAX_DEPTH {
            let what = if depth > MAX_DEPTH {
                format!("files include files more than {MAX_DEPTH} deep")
            } else {
                format!("the configuration has more than {MAX_FILES} parts")
            };
            self.error(&item.span, &what, "");
            return None;
        }
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => {
                self.error(&item.span, &format!("{shown} cannot be read: {error}"), "");
                return None;
            }
        };
        let within = self.within(parent, item, text, path, &real)?;
        if let Some(known) = self.files.iter().position(|file| file.real == real) {
            self.again(parent, item, path, known);
            return None;
        }
        let text = match source::read_text(path) {
            Ok(text) if self.source.text.len() + text.len() <= source::MAX_BYTES => text,
            Ok(_) => {
                self.error(&item.span, &format!("with {shown} the configuration is larger than 1 MiB"), "");
                return None;
            }
            Err(Unreadable { what, hint, place }) => {
                let line = place.map_or(String::new(), |place| format!(", in line {}", place.line));
                self.error(&item.span, &format!("{shown} {what}{line}"), hint);
                return None;
            }
        };
        let span = self.source.add_part(path, &text);
        let named = item.span.clone();
        self.files.push(File { span, folder: folder_of(path), real, within, named, parent, depth });
        Some(self.files.len() - 1)
    }

    /// The folder in which the parts of a part must be; `None` if it itself is in the wrong one.
    fn within(&mut self, parent: usize, item: &Node, text: &str, path: &Path, real: &Path) -> Option<PathBuf> {
        if Path::new(text).is_absolute() {
            return fs::canonicalize(folder_of(path)).ok();
        }
        let within = self.files[parent].within.clone();
        if real.starts_with(&within) {
            return Some(within);
        }
        let what = format!("{} is outside the folder {}", path.display(), within.display());
        self.error(&item.span, &what, &format!("if that is meant, write {}", real.display()));
        None
    }

    /// A file that is a part already.
    fn again(&mut self, parent: usize, item: &Node, path: &Path, known: usize) {
        let shown = path.display();
        if self.ancestors(parent).contains(&known) {
            let what = format!("{shown} would include itself");
            return self.error(&item.span, &what, "leave it out here");
        }
        let line = self.source.line_seen_from(self.files[known].named.start, item.span.start);
        self.error(&item.span, &format!("{shown} is included twice"), &format!("first in {line}"));
    }
}

/// The names in a folder that match `pattern`, in their order. As in the shell, one that begins with a dot must be meant.
fn names_in(folder: &Path, pattern: &str) -> Result<Vec<String>, String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut names = Vec::new();
    for (count, entry) in fs::read_dir(folder).map_err(|error| error.to_string())?.enumerate() {
        if count >= MAX_ENTRIES {
            return Err(format!("it has more than {MAX_ENTRIES} entries"));
        }
        let name = entry.map_err(|error| error.to_string())?.file_name();
        names.extend(name.into_string().ok().filter(|name| matches(pattern, name)));
    }
    names.sort();
    Ok(names)
}

/// Whether a name matches a pattern: `*` stands for any characters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
    // Which beginnings of the name the pattern's beginning matches.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for wanted in pattern {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            next[at] = match wanted {
                '*' => reached[at] || at > 0 && next[at - 1],
                '?' => at > 0 && reached[at - 1],
                c => at > 0 && reached[at - 1] && name[at - 1] == c,
            };
        }
        reached = next;
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_in_the_shell() {
        for (pattern, name, expected) in [
            ("*.yaml", "air.yaml", true),
            ("*.yaml", "air.yaml~", false),
            ("*.yaml", ".air.yaml", false),
            (".*.yaml", ".air.yaml", true),
            ("*", "", true),
            ("**", "ab", true),
            ("a?c*e", "abcde", true),
            ("a?c*e", "ace", false),
            ("?", "ü", true),
            ("*a*a*a*b", &"a".repeat(500), false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
