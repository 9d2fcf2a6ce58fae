//! Files that name each other, directly or around a ring.
//!
//! **The rule.** The children of one module, each with all that lies below it, may not form a ring: where one names another by
//! `crate::…`, `super::…` or `self::…`, there must be no way back. What a module and its own children name of each other does not
//! count: `mod x;` and `use x::Type` of a parent make the child a part of it, and `super::Type` of a child is what its parent
//! gives to all of them. Nor does a name count that a parent re-exports, for it is then the parent's.
//!
//! So every file can be read with those below it in mind, and nothing that has not been read yet.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// Modules by their names from the root of their crate.
type Module = Vec<String>;

/// Who names whom among the children of one module, and in which file by which path.
type Names = BTreeMap<String, BTreeMap<String, String>>;

/// Every ring of the crate whose files these are, printed with the paths that close it.
pub(crate) fn rings(sources: &[&Source]) -> Vec<String> {
    let modules: BTreeSet<Module> = sources.iter().map(|source| source.module_path()).collect();
    let mut levels: BTreeMap<Module, Names> = BTreeMap::new();
    for source in sources {
        let from = source.module_path();
        for path in source.paths() {
            let to = meant(&from, &path, &modules);
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
                let names = levels.entry(from[..shared].to_vec()).or_default().entry(a.clone()).or_default();
                names.entry(b.clone()).or_insert_with(|| format!("{} names {}", source.path, path.join("::")));
            }
        }
    }
    let root = sources.first().map_or("", |source| if source.is_of_crate { source.module() } else { "src" });
    let place = |level: &[String]| [&[root.to_owned()], level].concat().join("/");
    levels.iter().flat_map(|(level, names)| of_level(&place(level), names)).collect()
}

/// The module that `path`, written in `from`, leads to.
fn meant(from: &[String], path: &[String], modules: &BTreeSet<Module>) -> Module {
    let mut rest = path.iter().peekable();
    let mut to: Module = match rest.next().map(String::as_str) {
        Some("crate") => Vec::new(),
        Some("super") => from[..from.len().saturating_sub(1)].to_vec(),
        _ => from.to_vec(),
    };
    while rest.next_if(|part| *part == "super").is_some() {
        to.pop();
    }
    for part in rest {
        to.push(part.clone());
        if !modules.contains(&to) {
            to.pop();
            break;
        }
    }
    to
}

fn of_level(level: &str, names: &Names) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for start in names.keys() {
        let Some(ring) = shortest(start, names) else { continue };
        if ring.iter().all(|name| !seen.contains(name)) {
            let places = ring.iter().zip(ring.iter().cycle().skip(1)).map(|(a, b)| format!("    {}", names[*a][*b]));
            let way = ring.iter().chain([&ring[0]]).copied().collect::<Vec<_>>().join(" -> ");
            found.push(format!("{level}: {way}\n{}", places.collect::<Vec<_>>().join("\n")));
        }
        seen.extend(ring);
    }
    found
}

/// The shortest ring through `start`.
fn shortest<'n>(start: &'n str, names: &'n Names) -> Option<Vec<&'n str>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in names.get(*way.last()?).into_iter().flat_map(BTreeMap::keys) {
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.as_str()) {
                    longer.push([&way[..], &[next.as_str()]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}
