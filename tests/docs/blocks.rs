//! Each fenced block of the README and of every page below docs/: configurations may run, JSON is JSON, and each command is one that
//! exists, with arguments that its program takes.
//!
//! What a command then does is tried elsewhere, as far as it can be; [`NOT_RUN`] says where, or why not. The README's commands are all
//! run on an emulated board (`tests/board/walk.py`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;
use clap::error::ErrorKind;
use fieldgate::cli::arguments::Arguments;
use fieldgate::requests::VERBS;
use fieldgate_model::payload::{decode_command, decode_request};

use crate::shell::{Words, commands};
use crate::topics::Page;
use crate::{blocks, check, read, root, written};

/// Every page with its text.
fn pages() -> Vec<(String, String)> {
    let names = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| format!("docs/{}", name.into_string().unwrap())).filter(|name| name.ends_with(".md"));
    let mut names: Vec<_> = names.chain(["README.md".to_owned()]).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

/// Programs whose commands are not run by this suite, though their arguments are looked at below, and why.
const NOT_RUN: &[(&str, &str)] = &[
    ("apt", "changes the system; the package's life is tried by deploy/test.sh --package"),
    ("cargo", "would build within a test; its arguments are looked at"),
    ("cat", "reads a file of another program, or writes a password to a place of the system"),
    ("cp", "writes to /etc"),
    ("curl", "the same request is sent by tests/http.rs"),
    ("df", "tells the size of a disk of the board"),
    ("echo", "writes to /etc through tee"),
    ("fieldgate", "its command line is parsed; what needs no board is run below, check and read on the emulated board"),
    ("grep", "looks at what another command prints"),
    ("install", "writes to /etc"),
    ("journalctl", "needs a journal; run on the emulated board"),
    ("jq", "its result is a request as tests/requests sends them"),
    ("mkdir", "writes to /etc"),
    ("mosquitto_pub", "needs the broker of the page; topic and payload are looked at"),
    ("mosquitto_rr", "needs the broker of the page; run on the emulated board"),
    (
        "mosquitto_sub",
        "needs the broker of the page; the topic is looked at, and tests/operations.rs runs those of its page",
    ),
    ("nano", "is for a person"),
    ("podman", "needs an image that is made of a package"),
    ("printf", "writes to /etc through tee"),
    ("raspi-config", "exists on a Raspberry Pi only"),
    ("sh", "a script of deploy/ takes minutes; that it and its option exist is looked at"),
    ("strace", "needs the running service"),
    ("sudo", "stands in front of another command"),
    ("systemctl", "needs systemd; run on the emulated board"),
    ("systemd-analyze", "needs systemd; run on the emulated board"),
    ("systemd-run", "needs systemd; what it starts is looked at"),
    ("tar", "writes to /; tests/operations.rs runs it in folders of its own"),
    ("tee", "writes to /etc; what it writes is checked as a configuration"),
];

/// What a language of a block is, and who looks at it.
const LANGUAGES: &[(&str, &str)] = &[
    ("console", "every_command_exists"),
    ("ini", "drop-ins for units, read by every_drop_in_is_one"),
    ("json", "every_json_is_json"),
    ("jsonl", "tests/replay.rs"),
    ("sh", "every_command_exists"),
    ("text", "what is shown, not run; the README's is compared on the emulated board"),
    ("yaml", "every_configuration_may_run"),
    ("yml", "of another program: the_page_on_migration_shows_what_is_printed"),
];

/// How many configurations there are at least, so that no page loses its examples unnoticed.
const EXAMPLES: &[(&str, usize)] = &[
    ("README.md", 2),
    ("docs/buses.md", 3),
    ("docs/drivers.md", 1),
    ("docs/home-assistant.md", 4),
    ("docs/http.md", 3),
    ("docs/outputs.md", 2),
    ("docs/page.md", 2),
    ("docs/requests.md", 2),
    ("docs/rules.md", 7),
    ("docs/security.md", 2),
    ("docs/service.md", 1),
    ("docs/values.md", 8),
];

/// An example with what its page leaves out: a broker, and buses by their usual names.
fn completed(block: &str) -> String {
    const BUSES: &str = "\
buses:
  i2c-1: { type: i2c, device: /dev/i2c-1 }
  header: { type: gpio, chip: /dev/gpiochip0 }
  pwm-0: { type: pwm, chip: 0 }
  wire: { type: w1 }
";
    let has = |key: &str| block.lines().any(|line| line.starts_with(key));
    let broker = if has("mqtt:") { "" } else { "mqtt: { broker: mqtt://localhost }\n" };
    let buses = if has("buses:") || !block.contains("bus:") { "" } else { BUSES };
    format!("{broker}{buses}{block}")
}

#[test]
fn every_configuration_may_run() {
    // A folder with the files that some of them name.
    let folder = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "client.pem"] {
        std::fs::copy(root().join("config/example-keys").join(name), folder.path().join(name)).unwrap();
    }
    let password = folder.path().join("mqtt-password");
    std::fs::write(&password, "secret").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let path = folder.path().join("fieldgate.yaml");
    // Those on parts belong together: the_configuration_on_the_page_on_parts_may_run.
    for (name, text) in pages().into_iter().filter(|(name, _)| name != "docs/parts.md") {
        let configurations = [blocks(&text, "yaml"), written(&text)].concat();
        let least = EXAMPLES.iter().find(|(page, _)| *page == name).map_or(0, |(_, least)| *least);
        assert!(configurations.len() >= least, "{name} lacks its examples");
        for block in configurations {
            check(&completed(&block), &path);
        }
    }
}

#[test]
fn every_block_is_of_a_language_that_somebody_looks_at() {
    let mut seen = Vec::new();
    for (name, text) in pages() {
        let fences = text.lines().filter_map(|line| line.trim_start().strip_prefix("```")).step_by(2);
        for fence in fences {
            let known = LANGUAGES.iter().any(|(language, _)| *language == fence);
            assert!(known, "{name} has a block ```{fence}: nobody looks at such");
            seen.push(fence.to_owned());
        }
    }
    for (language, _) in LANGUAGES {
        assert!(seen.iter().any(|fence| fence == language), "no page has a block ```{language} any more");
    }
}

#[test]
fn every_json_is_json() {
    for (name, text) in pages() {
        for block in blocks(&text, "json") {
            if let Err(error) = serde_json::from_str::<serde_json::Value>(&block) {
                panic!("{name}: {error} in:\n{block}");
            }
        }
    }
}

#[test]
fn every_drop_in_is_one() {
    for (name, text) in pages() {
        for line in blocks(&text, "ini").iter().flat_map(|block| block.lines()) {
            let is_key = |key: &str| key.chars().all(char::is_alphabetic) && key.starts_with(char::is_uppercase);
            let is_setting = line.split_once('=').is_some_and(|(key, _)| is_key(key));
            assert!(is_setting || line == "[Service]" || line.starts_with('#') || line.is_empty(), "{name}: {line}");
        }
    }
}

/// Every command of a page, with a word on where it stands.
fn all_commands() -> Vec<(String, Words)> {
    let mut all = Vec::new();
    for (name, text) in pages() {
        let typed =
            |block: &String| block.lines().filter_map(|line| line.strip_prefix("$ ")).collect::<Vec<_>>().join("\n");
        let at_a_prompt = blocks(&text, "console");
        for block in blocks(&text, "sh").into_iter().chain(at_a_prompt.iter().map(typed)) {
            let found = commands(&block).unwrap_or_else(|why| panic!("{name}: {why} in:\n{block}"));
            all.extend(found.into_iter().map(|words| (name.clone(), words)));
        }
    }
    all
}

#[test]
fn every_command_exists() {
    let (all, page) = (all_commands(), Page::parse(&read("docs/topics.md")));
    assert!(all.len() > 50, "only {} commands were found", all.len());
    let mut wrong = Vec::new();
    for (name, words) in &all {
        wrong.extend(look_at(words, &page).err().map(|why| format!("{name}: {}: {why}", words.join(" "))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (program, _) in NOT_RUN {
        let is_used = |(_, words): &(String, Words)| words.iter().any(|word| word == program);
        assert!(all.iter().any(is_used), "no page has a command {program} any more");
    }
}

/// Whether this program takes these arguments, as far as that can be known here.
fn look_at(words: &[String], page: &Page) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => Ok(()),
        ["sudo", ref rest @ ..] => look_at(&rest.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), page),
        ["fieldgate", ..] => takes(&words),
        ["cargo", "run", "--release", "--", ref rest @ ..] => takes(&[&["fieldgate"], rest].concat()),
        ["cargo", ref rest @ ..] => cargo(rest),
        ["sh", script, ref options @ ..] if script.starts_with("deploy/") => script_of_ours(script, options),
        ["mosquitto_pub" | "mosquitto_rr", ref rest @ ..] => publishes(rest, page),
        ["mosquitto_sub", ref rest @ ..] => topic(rest, page).map(|_| ()),
        ["systemctl", ref rest @ ..] => unit(rest),
        ["systemd-run", ref rest @ ..] => match rest.iter().position(|word| *word == "fieldgate") {
            Some(at) => takes(&rest[at..]),
            None => Err("starts nothing of ours".into()),
        },
        [program, ..] if NOT_RUN.iter().any(|(known, _)| *known == program) => Ok(()),
        [program, ..] => Err(format!("{program} is not known here: say in NOT_RUN why it is not run")),
    }
}

/// Whether our own command line takes this.
fn takes(words: &[&str]) -> Result<(), String> {
    Arguments::try_parse_from(words).map(|_| ()).map_err(|error| error.to_string())
}

fn cargo(words: &[&str]) -> Result<(), String> {
    let manifest = read("Cargo.toml");
    for pair in words.windows(2) {
        let exists = match pair {
            ["--test", name] => {
                manifest.contains(&format!("name = \"{name}\"")) || root().join(format!("tests/{name}.rs")).exists()
            }
            ["--bench", name] => manifest.contains(&format!("name = \"{name}\"")),
            _ => true,
        };
        if !exists {
            return Err(format!("there is no {}", pair.join(" ")));
        }
    }
    match words.first() {
        Some(&("test" | "bench")) => Ok(()),
        other => Err(format!("{other:?} is no command that is looked at here")),
    }
}

fn script_of_ours(script: &str, options: &[&str]) -> Result<(), String> {
    let text = std::fs::read_to_string(root().join(script)).map_err(|error| error.to_string())?;
    let missing = options.iter().find(|option| option.starts_with("--") && !text.contains(*option));
    missing.map_or(Ok(()), |option| Err(format!("the script knows no {option}")))
}

fn unit(words: &[&str]) -> Result<(), String> {
    match words {
        ["status" | "reload" | "restart" | "start" | "stop" | "cat" | "edit" | "enable" | "disable", unit] => {
            // The second is chrony's.
            if ["fieldgate", "chrony-wait"].contains(unit) { Ok(()) } else { Err(format!("there is no unit {unit}")) }
        }
        _ => Err("it is not known here".into()),
    }
}

/// The value of an option that is followed by one.
fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1])
}

/// The topic of a command, below a base that is called `b`; nothing of a topic that leaves several levels open.
fn topic(words: &[&str], page: &Page) -> Result<Option<String>, String> {
    let topic = option(words, "-t").ok_or("names no topic")?;
    if topic.contains('#') {
        return Ok(None);
    }
    let topic = topic.replace('+', "x");
    let below = topic.strip_prefix("fieldgate/").and_then(|rest| rest.split_once('/'));
    let ours = below.map_or(topic.clone(), |(_, below)| format!("b/{below}"));
    if page.row(&ours).is_none() {
        return Err(format!("docs/topics.md has no {topic}"));
    }
    Ok(Some(ours))
}

fn publishes(words: &[&str], page: &Page) -> Result<(), String> {
    let Some(topic) = topic(words, page)? else { return Err("publishes to many topics".into()) };
    let Some(payload) = option(words, "-m") else { return Ok(()) };
    if let Some(verb) = topic.strip_prefix("b/request/") {
        let spec = VERBS.iter().find(|spec| spec.name == verb).ok_or("there is no such verb")?;
        let request = decode_request(payload.as_bytes(), spec.max_bytes).map_err(|(_, refusal)| refusal.to_string())?;
        return request.arguments(spec.fields).map(|_| ()).map_err(|refusal| refusal.to_string());
    }
    if !topic.ends_with("/set") {
        return Err("nobody listens there".into());
    }
    decode_command(payload.as_bytes()).map(|_| ()).map_err(|undecodable| undecodable.refusal.to_string())
}

/// Commands of ours within sentences, such as `fieldgate drivers NAME`. What may be left out stands in brackets.
#[test]
fn every_command_of_ours_in_a_sentence_exists() {
    let mut count = 0;
    for (name, text) in pages() {
        for span in text.split('`').skip(1).step_by(2).filter(|span| span.starts_with("fieldgate ")) {
            let span = span.replace(['[', ']'], "");
            let word = |word| match word {
                "N" => "1",
                "BROKER" => "mqtt://localhost",
                other => other,
            };
            let words: Vec<_> = span.split_whitespace().map(word).collect();
            // A name alone stands for the command, whatever it needs besides.
            match Arguments::try_parse_from(&words) {
                Err(error) if words.len() > 2 || error.kind() != ErrorKind::MissingRequiredArgument => {
                    panic!("{name}: {span}: {error}")
                }
                _ => {}
            }
            count += 1;
        }
    }
    assert!(count > 40, "only {count} commands were found");
}

/// Commands that need nothing but the program, as they stand in the pages.
#[test]
fn commands_that_need_no_board_are_run() {
    let mut count = 0;
    for (name, words) in all_commands() {
        let ["fieldgate", "drivers" | "filters" | "schema", ..] =
            words.iter().map(String::as_str).collect::<Vec<_>>()[..]
        else {
            continue;
        };
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_fieldgate")).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{name}: {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        count += 1;
    }
    assert!(count > 0, "no page shows such a command any more");
}

#[test]
fn a_command_that_does_not_exist_is_noticed() {
    let page = Page::parse(&read("docs/topics.md"));
    for block in [
        "fieldgate dance",
        "sudo fieldgate check --konfig x",
        "mosquitto_pub -t fieldgate/shed/actuator/pump/set -m on",
        "mosquitto_pub -t fieldgate/shed/actuators/pump/set -m '{\"value\":\"on\",\"fro\":\"5s\"}'",
        "mosquitto_pub -t fieldgate/shed/request/dance -m '{}'",
        "mosquitto_sub -t fieldgate/shed/statuses",
        "sh deploy/test.sh --short",
        "sh deploy/nothing.sh",
        "cargo test --test nothing",
        "systemctl restart fieldgates",
        "rm -r /",
    ] {
        let words = &commands(block).unwrap()[0];
        assert!(look_at(words, &page).is_err(), "{block} was taken for good");
    }
}
