//! Who may import whom, and who may touch what: the layers of ARCHITECTURE.md, read off the sources.
//!
//! Nor may files name each other in a ring: `layers/rings.rs` says what counts.
//!
//! Tests are free to reach everywhere and are left out. A new module or dependency is entered here by hand: that is the
//! moment to think about where it belongs.

#[path = "layers/rings.rs"]
mod rings;
#[path = "layers/source.rs"]
mod source;

use std::path::Path;

use source::Source;

/// The crates below the program; each Cargo.toml says what it may name.
const CRATES: &[&str] =
    &["spelling", "model", "formula", "filters", "rules", "clock", "bus", "drivers", "safety", "spool", "link"];

/// Every top-level module of the program with those that it may name, lowest first. Nothing is named before its own row, so
/// there is no arrow up and no circle. No part knows `config`; only `gateway` and the command line do.
const LAYERS: &[(&str, &[&str])] = &[
    ("outlet", &[]),
    ("systemd", &["outlet"]),
    ("deadlines", &[]),
    ("worker", &["deadlines"]),
    ("views", &[]),
    ("last_good", &[]),
    ("variables", &[]),
    ("plain", &["worker", "views"]),
    ("roster", &["worker", "plain"]),
    ("home_assistant", &["worker", "views"]),
    ("history", &[]),
    ("curves", &[]),
    ("log_lines", &[]),
    ("recorder", &["deadlines", "worker", "views", "plain", "roster", "history", "curves"]),
    ("commands", &["deadlines", "worker", "variables", "roster", "recorder", "views"]),
    ("requests", &["worker", "roster", "history", "recorder", "commands"]),
    ("rules", &["deadlines", "worker", "roster", "commands", "views"]),
    ("health", &["worker", "roster", "commands"]),
    ("metrics", &["roster", "views", "health"]),
    (
        "http",
        &[
            "deadlines",
            "worker",
            "views",
            "variables",
            "roster",
            "curves",
            "log_lines",
            "commands",
            "health",
            "metrics",
        ],
    ),
    ("config", &["deadlines", "worker", "home_assistant", "requests", "metrics", "http"]),
    ("shutdown", &["deadlines", "worker"]),
    (
        "gateway",
        &[
            "deadlines",
            "systemd",
            "worker",
            "views",
            "last_good",
            "variables",
            "plain",
            "roster",
            "home_assistant",
            "config",
            "history",
            "curves",
            "log_lines",
            "recorder",
            "commands",
            "requests",
            "rules",
            "health",
            "metrics",
            "http",
            "shutdown",
        ],
    ),
    (
        "cli",
        &[
            "deadlines",
            "outlet",
            "systemd",
            "worker",
            "views",
            "log_lines",
            "last_good",
            "requests",
            "config",
            "gateway",
        ],
    ),
    ("main", &["config", "cli"]),
];

/// A dependency, or a call, that only some places may use.
struct Fence {
    /// Crates as the code calls them, or paths such as `std::env`.
    names: &'static [&'static str],
    /// Beginnings of paths below `src/`, or of a crate's name and the path below its `src/`.
    places: &'static [&'static str],
    why: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        names: &["rumqttc_v5", "rumqttc_v4", "async_tungstenite"],
        places: &["link/session"],
        why: "the client library has one author: it must be replaceable",
    },
    Fence {
        names: &["tokio_rustls", "rustls_native_certs"],
        places: &["link/session", "link/tls"],
        why: "one place says what is trusted",
    },
    Fence {
        names: &["webpki", "dangerous"],
        places: &["link/tls"],
        why: "one place verifies the broker, and no other may say how",
    },
    Fence { names: &["rumqttd"], places: &["cli/demo/broker.rs"], why: "the embedded broker is for the demo" },
    Fence {
        names: &["hyper", "hyper_util", "http_body_util", "base64", "subtle"],
        places: &["http/"],
        why: "one place listens, and one says who may come in",
    },
    Fence { names: &["prometheus_client"], places: &["metrics/"], why: "one place knows that format" },
    Fence { names: &["serde_yaml"], places: &["config/"], why: "the rest of the program knows no file format" },
    Fence { names: &["sd_notify"], places: &["systemd.rs"], why: "the only place that talks to systemd" },
    Fence {
        names: &["clap", "tracing_subscriber"],
        places: &["main.rs", "cli/"],
        why: "arguments and logging belong to the program",
    },
    Fence {
        names: &["std::env", "env::var", "env::var_os", "env::args", "env::vars"],
        places: &["main.rs", "cli/", "config/machine.rs", "link/secrets.rs"],
        why: "nothing reads the environment after start, but for what a configuration names; the link and the check look up systemd's folder of credentials",
    },
    Fence {
        names: &[
            "fs::write",
            "fs::rename",
            "fs::copy",
            "fs::create_dir",
            "fs::create_dir_all",
            "fs::remove_file",
            "fs::remove_dir_all",
            "File::create",
            "OpenOptions",
        ],
        places: &["spool/", "bus/", "last_good", "cli/demo/", "metrics/textfile.rs"],
        why: "only the spool keeps anything on disk; besides it there are device files, the state file of a simulated bus, the \
              table of outputs in the runtime directory, the file of metrics and the demo's temporary folder",
    },
];

/// Where nothing asynchronous may be.
const NO_TOKIO: &[&str] = &[
    "worker/backoff.rs",
    "deadlines.rs",
    "worker/schedule.rs",
    "worker/timetable.rs",
    "link/forwarder.rs",
    "link/limits.rs",
    "link/inflight.rs",
    "link/lanes.rs",
    "link/backoff.rs",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Everything that is wrong with `sources`, a line each.
fn violations(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        imports(source, &mut wrong);
        for fence in FENCES {
            let inside = fence.places.iter().any(|place| source.path.starts_with(place));
            for name in fence.names.iter().filter(|name| !inside && uses(source, name)) {
                wrong.push(format!("{} uses {name}: {}", source.path, fence.why));
            }
        }
        if NO_TOKIO.iter().any(|place| source.path.starts_with(place)) && source.names("tokio") {
            wrong.push(format!("{} uses tokio: what is pure needs no runtime", source.path));
        }
    }
    wrong
}

fn imports(source: &Source, wrong: &mut Vec<String>) {
    let module = source.module();
    if source.writes("super::super") || !source.is_of_crate && source.is_top() && source.names("super") {
        wrong.push(format!("{} leaves its module by `super`: write the full path from `crate`", source.path));
    }
    if module == "lib" || source.is_of_crate {
        return;
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        wrong.push(format!("{}: the module {module} has no layer", source.path));
        return;
    };
    for import in source.imports().iter().filter(|import| *import != module && !allowed.contains(&import.as_str())) {
        wrong.push(format!("{}: {module} may not import {import}", source.path));
    }
}

/// A path is looked for anywhere, a crate where a path begins, and a keyword as a word.
fn uses(source: &Source, name: &str) -> bool {
    if name.contains("::") || name == "OpenOptions" { source.writes(name) } else { source.names(name) }
}

/// The sources of each crate, the program's first.
fn crates(sources: &[Source]) -> Vec<Vec<&Source>> {
    let of = |name: &str| sources.iter().filter(|source| source.is_of_crate && source.module() == name).collect();
    let program = sources.iter().filter(|source| !source.is_of_crate).collect();
    std::iter::once(program).chain(CRATES.iter().map(|name| of(name))).collect()
}

/// The program's sources and those of the crates below it.
fn sources() -> Vec<Source> {
    let below = CRATES.iter().flat_map(|name| source::read(&root().join("crates").join(name).join("src"), Some(name)));
    source::read(&root().join("src"), None).into_iter().chain(below).collect()
}

#[test]
fn the_layers_hold() {
    let wrong = violations(&sources());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_arrow_up_and_no_circle() {
    for (row, (module, allowed)) in LAYERS.iter().enumerate() {
        for import in *allowed {
            assert!(
                LAYERS[..row].iter().any(|(lower, _)| lower == import),
                "{module} names {import}, which is not below it"
            );
        }
    }
}

#[test]
fn the_table_names_only_modules_and_places_that_exist() {
    let sources = sources();
    for (module, _) in LAYERS {
        let is_it = |source: &Source| !source.is_of_crate && source.module() == *module;
        assert!(sources.iter().any(is_it), "there is no module {module}");
    }
    for place in FENCES.iter().flat_map(|fence| fence.places).chain(NO_TOKIO) {
        assert!(sources.iter().any(|source| source.path.starts_with(place)), "there is nothing at {place}");
    }
}

/// A longer one is two.
#[test]
fn no_file_is_longer_than_450_lines() {
    let (mut folders, mut long) = (["src", "crates", "tests"].map(|folder| root().join(folder)).to_vec(), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let lines = std::fs::read_to_string(&path).unwrap().lines().count();
                long.extend((lines > 450).then(|| format!("{}: {lines} lines", path.display())));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn no_files_name_each_other_in_a_ring() {
    let sources = sources();
    let found: Vec<String> = crates(&sources).iter().flat_map(|of_one| rings::rings(of_one)).collect();
    assert!(found.is_empty(), "files name each other in a ring:\n{}", found.join("\n"));
}

#[test]
fn a_planted_ring_is_found_and_printed_and_what_a_parent_and_its_children_name_is_none() {
    let ring = |files: &[(&str, &str)]| {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text, true)).collect();
        rings::rings(&sources.iter().collect::<Vec<_>>())
    };
    let (a, b) = ("use super::b::B;", "use crate::{c::{self, C}, x::X};");
    let found =
        ring(&[("link/lib.rs", ""), ("link/a.rs", a), ("link/b.rs", b), ("link/c.rs", "fn f(a: super::a::A) {}")]);
    let printed = "link: a -> b -> c -> a\n    link/a.rs names super::b::B\n    link/b.rs names crate::c::self\n    link/c.rs names super::a::A";
    assert_eq!(found, [printed]);
    // Around a child, which belongs to its parent.
    let child =
        ring(&[("link/a.rs", "mod x;"), ("link/a/x.rs", "use crate::b::B;"), ("link/b.rs", "use super::a::A;")]);
    assert_eq!(child.len(), 1, "{child:?}");
    let (parent, child) = ("mod x;\npub use x::X;\nuse crate::a::x::Y;", "use super::A;\nuse crate::a::B;");
    assert_eq!(ring(&[("link/lib.rs", "pub use a::X;"), ("link/a.rs", parent), ("link/a/x.rs", child)]), [""; 0]);
}

/// Asserts that `text`, were it in `path`, would be a violation that says `reported`.
fn check(path: &str, text: &str, reported: &str) {
    let crate_of = CRATES.iter().find(|name| path.starts_with(&format!("{name}/")));
    let wrong = violations(&[Source::new(path, text, crate_of.is_some())]);
    assert!(wrong.iter().any(|line| line.contains(reported)), "{path}: {text:?} is let pass: {wrong:?}");
}

/// A bus asks only those that say so; one that does not would never be heard.
#[test]
fn every_driver_that_takes_events_says_that_it_has_some() {
    let sources = sources();
    let drivers =
        sources.iter().filter(|source| source.path.starts_with("drivers/") && source.path != "drivers/lib.rs");
    let takes: Vec<_> = drivers.filter(|source| source.writes("fn take_events")).collect();
    assert!(takes.len() > 3);
    for source in takes {
        assert!(source.writes("fn is_event_driven"), "{} takes events and does not say so", source.path);
    }
}

/// A datasheet that was misread once for both would make them agree.
#[test]
fn no_simulated_chip_takes_anything_from_a_driver() {
    let sources = sources();
    let is_chip = |source: &&Source| source.path.starts_with("drivers/") && source.path.ends_with("/sim.rs");
    let chips: Vec<_> = sources.iter().filter(is_chip).collect();
    assert!(chips.len() > 20);
    for chip in chips {
        let own = chip.imports().iter().all(|import| import == "simulated") && !chip.names("super");
        assert!(own, "{} takes something from a driver: a chip is written from the datasheet alone", chip.path);
    }
}

#[test]
fn a_planted_violation_is_found() {
    check("worker/mod.rs", "use crate::{health::Health, gateway};", "worker may not import gateway");
    check("health.rs", "fn f() -> crate::gateway::Order {}", "health may not import gateway");
    check("worker/mod.rs", "use super::link::Link;", "leaves its module");
    check("worker/run.rs", "use super::super::link::Link;", "leaves its module");
    check("main.rs", "use fieldgate::gateway::Gateway;", "main may not import gateway");
    check("helper.rs", "", "has no layer");
    check("link/forwarder.rs", "use rumqttc_v5 as mqtt;", "uses rumqttc_v5");
    check("link/lanes.rs", "let x = tokio::time::Instant::now();", "uses tokio");
    check("health.rs", "let home = std::env::var(NAME);", "uses std::env");
    check("health.rs", "use std::{env, fs};\nlet home = env::var(NAME);", "uses env::var");
    check("recorder.rs", "std::fs::write(path, text)", "uses fs::write");
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    let text = r##"
        //! [`crate::link`] and OpenOptions
        /* crate::config /* nested */ tokio::spawn */
        const A: &str = "crate::config // \" unsafe";
        const B: &str = r#"use crate::config; " unsafe"#;
        const C: (char, char, char) = ('"', '\'', '\\');
        fn longest<'a>(text: &'a str) -> &'a str { text }
        #[cfg(test)]
        use crate::{config, link};
        #[cfg(test)]
        mod standin;
        #[cfg(test)]
        #[expect(dead_code, reason = "for tests")]
        mod tests { use crate::gateway; fn f() { let s = "}"; unsafe {} } }
        use crate::deadlines::Deadline;
    "##;
    let source = Source::new("worker/mod.rs", text, false);
    assert_eq!(source.imports(), ["deadlines"]);
    assert_eq!(violations(&[source]), [""; 0]);
}
