//! Rust sources reduced to what the layers are about: code without comments, strings and tests, and the paths named in it.
//!
//! This is no parser. It is right for code that rustfmt has been over, and where it errs it names too much rather than too
//! little.

use std::path::Path;

/// One file of the program or of a crate.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Below `src/`, with slashes and after the name of its crate: `link/session/v5.rs`.
    pub(crate) path: String,
    /// Whether it belongs to a crate below the program.
    pub(crate) is_of_crate: bool,
    /// Its code: comments, strings and tests are blank.
    pub(crate) code: String,
}

impl Source {
    /// Reduces `text`, the content of the file at `path`.
    pub(crate) fn new(path: &str, text: &str, is_of_crate: bool) -> Self {
        Self { path: path.to_owned(), is_of_crate, code: without_tests(&blank(text)).0 }
    }

    /// The top-level module that it belongs to: `link`, `commands`, `main`.
    pub(crate) fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or(&self.path);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// The modules that lead to it from the root of its crate; none for `lib.rs` and `main.rs`.
    pub(crate) fn module_path(&self) -> Vec<String> {
        let below =
            if self.is_of_crate { self.path.split_once('/').map_or("", |(_, below)| below) } else { &self.path };
        let parts = below.trim_end_matches(".rs").split('/');
        parts.filter(|part| !matches!(*part, "mod" | "lib" | "main")).map(str::to_owned).collect()
    }

    /// Every path that begins at its crate, at itself or at its parent, groups taken apart.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        let of = |root: &'static str| {
            let rests = self.after(root).into_iter().flat_map(parts);
            rests.map(move |rest| [vec![root.to_owned()], rest].concat())
        };
        ["crate", "super", "self"].into_iter().flat_map(of).collect()
    }

    /// Whether it is the file of a top-level module itself, where `super` means the crate.
    pub(crate) fn is_top(&self) -> bool {
        !self.path.trim_end_matches("/mod.rs").contains('/')
    }

    /// The top-level modules that it names, by `crate::` or, in the program, by the library's name.
    pub(crate) fn imports(&self) -> Vec<String> {
        let root = if self.path == "main.rs" { "fieldgate" } else { "crate" };
        let mut found: Vec<_> = self.after(root).into_iter().flat_map(heads).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Whether a path begins with `name`: `name::…`, `use name;`, `use name as …`.
    pub(crate) fn names(&self, name: &str) -> bool {
        !self.after(name).is_empty()
            || self.code.contains(&format!("use {name};"))
            || self.code.contains(&format!("use {name} as "))
    }

    /// Whether the path `path` is written, alone or as a part of a longer one.
    pub(crate) fn writes(&self, path: &str) -> bool {
        places(&self.code, path).next().is_some()
    }

    /// What follows each `name::` that begins a path.
    fn after(&self, name: &str) -> Vec<&str> {
        let begins = |at: &usize| !self.code[..*at].ends_with("::") && !self.code[..*at].ends_with('.');
        places(&self.code, name)
            .filter(begins)
            .filter_map(|at| self.code[at + name.len()..].strip_prefix("::"))
            .collect()
    }
}

/// Every file of `src/`, but for those that are compiled for tests only.
pub(crate) fn read(folder: &Path, of_crate: Option<&str>) -> Vec<Source> {
    let mut texts = Vec::new();
    collect(folder, &of_crate.map(|name| format!("{name}/")).unwrap_or_default(), &mut texts);
    let tests: Vec<String> = texts
        .iter()
        .flat_map(|(path, text)| without_tests(&blank(text)).1.into_iter().map(|child| inside(path, &child)))
        .collect();
    let of_tests =
        |path: &str| tests.iter().any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")));
    texts
        .into_iter()
        .filter(|(path, _)| !of_tests(path))
        .map(|(path, text)| Source::new(&path, &text, of_crate.is_some()))
        .collect()
}

fn collect(folder: &Path, below: &str, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("src/ is there") {
        let path = entry.expect("src/ can be read").path();
        let name = format!("{below}{}", path.file_name().expect("an entry has a name").to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), texts);
        } else if name.ends_with(".rs") {
            texts.push((name, std::fs::read_to_string(&path).expect("a source is text")));
        }
    }
}

/// Where the file at `path` has its child module, without the suffix.
fn inside(path: &str, child: &str) -> String {
    let own = path.strip_suffix("mod.rs").or_else(|| path.strip_suffix("lib.rs"));
    let folder = own.map_or_else(|| format!("{}/", path.trim_end_matches(".rs")), str::to_owned);
    format!("{folder}{child}")
}

/// The first words of what follows `crate::`: of `bus::Bus` it is `bus`, of `{bus, link::Link}` both.
fn heads(rest: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    members(group).into_iter().map(word).filter(|head| !head.is_empty()).collect()
}

/// The paths that stand at the beginning of `text`: one, or those of a group.
fn parts(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        return members(group).into_iter().flat_map(parts).collect();
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = (text[..end].to_owned(), &text[end..]);
    if word.is_empty() {
        return Vec::new();
    }
    match rest.strip_prefix("::").map(parts) {
        Some(rest) if !rest.is_empty() => rest.into_iter().map(|rest| [vec![word.clone()], rest].concat()).collect(),
        _ => vec![vec![word]],
    }
}

/// The members of the group whose brace has just been opened.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut all) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                all.push(&group[from..at]);
                from = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    all
}

/// Where `word` stands as a whole word.
fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inner = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| !inner(code[..*at].chars().next_back()) && !inner(code[at + word.len()..].chars().next()))
}

/// Comments and the insides of strings and characters become nothing; lines stay.
fn blank(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| literal(rest, out.chars().next_back())).unwrap_or(0);
        if skipped > 0 {
            if c != '/' {
                out.push_str("\"\"");
            }
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The length of the comment that begins here.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    rest.strip_prefix("/*")?;
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return Some(at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    Some(rest.len())
}

/// The length of the string or character that begins here; `before` distinguishes `r"` from `for"`.
fn literal(rest: &str, before: Option<char>) -> Option<usize> {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if !in_word && let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = 1 + hashes + 1;
            return Some(rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()));
        }
    }
    if rest.starts_with('"') {
        return Some(closed(rest, '"'));
    }
    // A lifetime is no character: that one is closed after one sign, or after what follows a backslash.
    let after: Vec<char> = rest.strip_prefix('\'')?.chars().take(2).collect();
    let character = matches!(after[..], ['\\', ..] | [_, '\'']);
    character.then(|| closed(rest, '\''))
}

/// The length up to the closing `quote`, with what backslashes hide.
fn closed(rest: &str, quote: char) -> usize {
    let mut hidden = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if hidden => hidden = false,
            '\\' => hidden = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The code without items under `#[cfg(test)]`, and the names of modules for tests that are files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut files, mut rest) = (String::new(), Vec::new(), code);
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let item = &rest[at + MARK.len()..];
        let end = item_end(item);
        let mut words = item[..end].trim_end_matches(';').split_whitespace();
        if item[..end].ends_with(';') && words.any(|word| word == "mod") {
            files.extend(words.next().map(str::to_owned));
        }
        rest = &item[end..];
    }
    out.push_str(rest);
    (out, files)
}

/// Where the item that begins `code` ends: at a semicolon outside of all brackets, or with its last brace.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    let is_use = code.trim_start().trim_start_matches("pub ").starts_with("use ");
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                if c == '}' && depth == 0 && !is_use {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}
