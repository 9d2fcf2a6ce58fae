//! Every link of every document leads somewhere, anchors included, by the rules by which GitHub names them; and the index leads to
//! every page. Addresses of the outer network are not asked.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use crate::{read, root};

/// Every Markdown file of the repository, without what is built or hidden.
fn documents() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = entry.file_name().into_string().unwrap();
            if kind.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if kind.is_file() && name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The text without its fenced blocks. Lines keep their number.
fn unfenced(text: &str) -> String {
    let (mut out, mut fence) = (String::new(), None);
    for line in text.lines() {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => out.push_str(line),
            (Some(_), _) => {}
        }
        out.push('\n');
    }
    out
}

/// The text without code, in which brackets are no links. A code span ends within its paragraph, or is none.
fn prose(text: &str) -> String {
    let text = unfenced(text);
    let paragraph = |paragraph: &str| {
        let (mut out, mut rest) = (String::new(), paragraph);
        while let Some(start) = rest.find('`') {
            let ticks = rest[start..].len() - rest[start..].trim_start_matches('`').len();
            let (mark, behind) = (&rest[start..start + ticks], &rest[start + ticks..]);
            let Some(end) = behind.find(mark) else { break };
            out.push_str(&rest[..start]);
            rest = &behind[end + ticks..];
        }
        out + rest
    };
    text.split("\n\n").map(paragraph).collect::<Vec<_>>().join("\n\n")
}

/// What the links and pictures of a document name, and its definitions of links.
fn targets(text: &str) -> Vec<String> {
    let text = prose(text);
    let inline = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let defined = text.lines().filter_map(|line| Some(line.strip_prefix('[')?.split_once("]: ")?.1));
    inline.chain(defined).map(|target| target.trim().to_owned()).collect()
}

/// The name that GitHub gives to the place of a heading: lower-case letters, digits, `-` and `_`, a hyphen for each space.
pub(crate) fn slug(heading: &str) -> String {
    let mut plain = String::new();
    let mut rest = heading.trim();
    // Of a link in a heading its text counts.
    while let Some((before, behind)) = rest.split_once("](") {
        plain.push_str(before);
        rest = behind.split_once(')').map_or("", |(_, behind)| behind);
    }
    plain.push_str(rest);
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    plain.to_lowercase().chars().filter(is_kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The anchors of a document; the second heading of one name has `-1` behind it, and so on.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut slugs: Vec<String> = Vec::new();
    for line in unfenced(text).lines() {
        let marks = line.len() - line.trim_start_matches('#').len();
        let Some(heading) = line[marks..].strip_prefix(' ').filter(|_| (1..=6).contains(&marks)) else { continue };
        let slug = slug(heading);
        let before = slugs.iter().filter(|other| **other == slug).count();
        anchors.push(if before == 0 { slug.clone() } else { format!("{slug}-{before}") });
        slugs.push(slug);
    }
    anchors
}

/// What is wrong with a link, in words.
fn broken(document: &Path, target: &str) -> Option<String> {
    if ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    if path.starts_with('/') {
        return Some("begins at the root of a disk; write it from this file's folder".into());
    }
    let named = if path.is_empty() { document.to_owned() } else { document.parent().unwrap().join(path) };
    let Ok(named) = named.canonicalize() else { return Some("does not exist".into()) };
    if !named.starts_with(root().canonicalize().unwrap()) {
        return Some("lies outside of the repository".into());
    }
    let anchor = anchor?;
    if named.extension().is_none_or(|end| end != "md") {
        return Some("has an anchor and is no page".into());
    }
    let anchors = anchors(&std::fs::read_to_string(named).unwrap());
    (!anchors.iter().any(|known| known == anchor))
        .then(|| format!("has no such heading; it has {}", anchors.join(", ")))
}

#[test]
fn every_link_of_every_document_leads_somewhere() {
    let mut wrong = Vec::new();
    let documents = documents();
    assert!(documents.len() > 20, "the documents were not found");
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        let name = document.strip_prefix(root()).unwrap().display().to_string();
        let found = targets(&text).into_iter().filter_map(|to| Some((broken(&document, &to)?, to)));
        wrong.extend(found.map(|(why, to)| format!("{name}: {to} {why}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_index_leads_to_every_page() {
    let linked = targets(&read("docs/README.md"));
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let pages = pages.map(|name| name.into_string().unwrap());
    for page in pages.filter(|name| name.ends_with(".md") && name != "README.md") {
        assert!(linked.contains(&page), "docs/README.md does not lead to {page}");
    }
    assert!(targets(&read("README.md")).contains(&"docs/README.md".to_owned()), "README.md does not lead to the index");
}

#[test]
fn anchors_are_named_as_github_names_them() {
    for (heading, name) in [
        ("Mean, smallest and greatest", "mean-smallest-and-greatest"),
        ("The broker's password", "the-brokers-password"),
        ("`mqtt.tls`", "mqtttls"),
        ("[0.1.0] - Unreleased", "010---unreleased"),
        ("SPI & `min_on`", "spi--min_on"),
        ("See [the page](page.md) first", "see-the-page-first"),
    ] {
        assert_eq!(slug(heading), name, "{heading}");
    }
    let text = "# A\n## B\n```sh\n# no heading\n```\n## B\n#none\n### B ###x\n";
    assert_eq!(anchors(text), ["a", "b", "b-1", "b-x"]);
}

#[test]
fn what_stands_in_code_is_no_link() {
    let text = "`[a](b)` [c](d.md#e) ``x ` [f](g)``\n```text\n[h](i)\n```\n![j](k.png)\n\n` [l](m)\n\n[n]: o.md\n";
    assert_eq!(targets(text), ["d.md#e", "k.png", "m", "o.md"]);
}

#[test]
fn a_link_that_leads_nowhere_is_noticed() {
    let page = root().join("docs/README.md");
    for (target, why) in [
        ("nowhere.md", "does not exist"),
        ("install.md#nowhere", "has no such heading"),
        ("#nowhere", "has no such heading"),
        ("/etc/passwd", "begins at the root"),
        ("../Cargo.toml#L1", "has an anchor and is no page"),
    ] {
        let found = broken(&page, target).unwrap_or_else(|| panic!("{target} was taken for good"));
        assert!(found.starts_with(why), "{target}: {found}");
    }
    assert_eq!(broken(&page, "install.md#armv6"), None);
    assert_eq!(broken(&page, "https://example.org/nowhere"), None);
}

#[test]
fn the_glossary_has_each_word_once_and_in_order() {
    let rows = crate::table(&read("docs/glossary.md"), "| Word |");
    let words: Vec<_> = rows.iter().map(|row| row[0].trim_matches('*').to_owned()).collect();
    let mut sorted = words.clone();
    sorted.sort();
    sorted.dedup();
    assert!(words.len() > 40);
    assert_eq!(words, sorted);
}

/// A bar within a cell, in code too, would end it on GitHub.
#[test]
fn each_row_of_a_table_has_as_many_cells_as_its_head() {
    for document in documents() {
        let (text, mut head) = (unfenced(&std::fs::read_to_string(&document).unwrap()), None);
        for line in text.lines().map(str::trim) {
            let cells = line.replace("\\|", "").matches('|').count();
            head = line.starts_with('|').then_some(head.unwrap_or(cells));
            assert!(head.is_none_or(|head| head == cells), "{}: {line}", document.display());
        }
    }
}
