//! From nodes to [`Config`]: gathers every problem, not the first.
//!
//! A value that is wrong is reported where it stands and then treated as absent or as its default, so that the rest can still
//! be checked; the resulting configuration is handed out only when there was no error.

pub(super) mod broker;
mod buses;
mod chips;
mod circles;
mod claims;
mod device;
mod devices;
mod files;
mod filters;
mod formulas;
mod home_assistant;
mod http;
mod known_bus;
mod mqtt;
mod outputs;
mod rules;
mod section;
mod value;
mod variables;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use crate::config::machine::Machine;
use crate::config::report::{Problem, Severity};
use crate::config::source::{Source, problem_of_file};
use crate::config::tree::{Node, Span};
use crate::config::{Config, raw};
use crate::home_assistant::Sources;
use crate::requests;
use crate::worker::ActuatorSettings;
use fieldgate_model::{Name, OutputKind, Setting};
use fieldgate_spool as spool;

use device::Device;
use section::Section;

/// How many problems are reported: with more it is the wrong file, or these are enough to fix first.
pub(super) const MAX_PROBLEMS: usize = 100;

/// How many are counted; comparing each with all others must stay cheap.
const MAX_FOUND: usize = 300;

/// The configuration that `root` describes, if it can run, and every problem in the order of the file.
pub(super) fn check(source: &Source, root: &Node, machine: &Machine) -> (Option<Config>, Vec<Problem>) {
    let mut checker = Checker {
        source,
        folder: source.folder(),
        machine,
        found: Vec::new(),
        left_out: 0,
        shown: home_assistant::Shown::default(),
    };
    let config = checker.config(root);
    let failed = checker.found.iter().any(|found| found.severity == Severity::Error);
    (config.filter(|_| !failed), checker.problems())
}

/// Gathers problems on the way through the nodes.
struct Checker<'a> {
    source: &'a Source,
    folder: PathBuf,
    machine: &'a Machine,
    found: Vec<Found>,
    /// How many more there were when so many had been found.
    left_out: usize,
    /// What sensors and outputs have said of Home Assistant so far.
    shown: home_assistant::Shown,
}

/// A problem whose snippet is not made yet.
#[derive(PartialEq)]
struct Found {
    severity: Severity,
    what: String,
    span: Span,
    hint: String,
}

impl<'a> Checker<'a> {
    fn error(&mut self, span: &Span, what: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, span, what.into(), hint.into());
    }

    fn warning(&mut self, span: &Span, what: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, span, what.into(), hint.into());
    }

    fn note(&mut self, span: &Span, what: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Note, span, what.into(), hint.into());
    }

    /// The same problem at the same place comes twice when an anchor is used twice; it is reported once. Errors have room of
    /// their own, so that no flood of warnings can make a wrong configuration pass.
    fn add(&mut self, severity: Severity, span: &Span, what: String, hint: String) {
        if self.source.is_unresolved(span) {
            return;
        }
        let limit = if severity == Severity::Error { MAX_FOUND } else { MAX_PROBLEMS };
        let found = Found { severity, what, span: span.clone(), hint };
        if self.found.contains(&found) {
            return;
        }
        if self.found.len() < limit {
            self.found.push(found);
        } else {
            self.left_out += 1;
        }
    }

    /// Whether there are so many errors that looking for more is idle.
    fn is_full(&self) -> bool {
        self.found.len() >= MAX_FOUND
    }

    fn problems(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|found| (found.span.start, found.span.end));
        let mut surplus = self.found.len().saturating_sub(MAX_PROBLEMS);
        let more = self.left_out + surplus;
        // Warnings give way first, the last ones: an error behind many of them must be seen.
        let mut shown: Vec<_> = self.found.into_iter().rev().collect();
        shown.retain(|found| {
            let gives_way = surplus > 0 && found.severity != Severity::Error;
            surplus -= usize::from(gives_way);
            !gives_way
        });
        let shown = shown.iter().rev().take(MAX_PROBLEMS);
        let mut all: Vec<_> = shown.map(|f| self.source.problem(f.severity, &f.span, &f.what, &f.hint)).collect();
        if more > 0 {
            all.push(problem_of_file(format!("and {more} more problems"), ""));
        }
        all
    }

    fn config(&mut self, root: &'a Node) -> Option<Config> {
        let top = self.section(&root.span, Some(root), "the configuration", raw::ROOT);
        let name = self.gateway(&top);
        let mqtt = self.mqtt(&top, &name);
        let spool = self.spool(&top);
        let buses = self.buses(&top);
        let (mut sensors, derived) = self.sensors(&top, &buses, &mqtt);
        let actuators = self.actuators(&top, &buses, &mqtt);
        let variables = self.variables(&top, &sensors, &actuators);
        self.derived(derived, &mut sensors, &actuators, &variables, &mqtt);
        let rules = self.rules(&top, &sensors, &actuators, &variables);
        let requests = self.requests(&top, &actuators);
        self.collisions(&buses, &sensors, &actuators);
        let sensors: Vec<_> = sensors.into_iter().filter_map(|device| device.settings).collect();
        let actuators: Vec<_> = actuators.into_iter().filter_map(|device| device.settings).collect();
        let variables: Vec<_> = variables.into_iter().filter_map(|draft| draft.variable).collect();
        let sources = Sources {
            sensors: &sensors,
            outputs: &actuators,
            variables: &variables,
            rules: &rules,
            allowed: requests.as_ref().map(|requests| &requests.allow),
        };
        let home_assistant = self.home_assistant(&top, &name, &mqtt.topics, &sources);
        if let Some((shown, link)) = home_assistant.as_ref().zip(mqtt.link.as_ref()) {
            self.moves_can_end(&top, shown, link.retain_state);
        }
        let is_good = self.found.iter().all(|f| f.severity != Severity::Error) && self.source.is_resolved();
        if sensors.is_empty() && actuators.is_empty() && is_good {
            self.warning(
                &root_start(root),
                "there are no sensors and no actuators",
                "only the gateway's own health is published",
            );
        }
        Some(Config {
            name,
            topics: mqtt.topics,
            link: mqtt.link?,
            plain: mqtt.plain,
            spool: spool?,
            buses: buses.into_iter().filter_map(|bus| Some((bus.name, bus.settings?))).collect(),
            sensors,
            actuators,
            variables,
            requests,
            rules,
            home_assistant,
            http: self.http(&top),
            metrics: self.metrics(&top),
        })
    }

    fn gateway(&mut self, top: &Section<'a>) -> Name {
        let gateway = self.sub(top, "gateway", raw::GATEWAY);
        if !gateway.is_meant("name") && !self.machine.has_name() {
            let what =
                format!("this machine has no name of its own ({:?}), so the gateway needs one", self.machine.host);
            self.error(&gateway.key("name"), what, "write gateway: { name: greenhouse }, another one for each board");
        }
        let written = gateway.text("name").and_then(|name| Name::new(name).ok());
        written.unwrap_or_else(|| self.machine.name())
    }

    fn requests(&mut self, top: &Section<'a>, actuators: &[Device<ActuatorSettings>]) -> Option<requests::Settings> {
        if !top.has("requests") {
            return None;
        }
        let own = self.sub(top, "requests", raw::REQUESTS);
        let Some(Setting::List(verbs)) = own.get("allow") else { return None };
        let name = |verb: &Setting| match verb {
            Setting::Text(name) => Some(name.clone()),
            _ => None,
        };
        let allow = verbs.iter().filter_map(name).collect();
        let identify = own.text("identify").and_then(|name| Name::new(name).ok());
        if let Some(name) = &identify {
            self.identifies(name, &own.span("identify"), actuators);
        }
        Some(requests::Settings { allow, identify })
    }

    /// What shows which board this is goes on and off by itself.
    fn identifies(&mut self, name: &Name, span: &Span, actuators: &[Device<ActuatorSettings>]) {
        let Some(output) = actuators.iter().find(|output| output.name == *name) else {
            let names: Vec<_> = actuators.iter().map(|output| output.name.as_str()).collect();
            let hint =
                words::did_you_mean(name.as_str(), &names, || "name a lamp or a buzzer under `actuators:`".into());
            return self.error(span, format!("there is no output called {:?}", name.as_str()), hint);
        };
        if output.settings.as_ref().is_some_and(|settings| settings.kind != OutputKind::Switch) {
            let what = format!("{name} is not an output that is on or off");
            self.error(span, what, "name a lamp or a buzzer; without this key the board's own light blinks");
        }
    }

    fn spool(&mut self, top: &Section<'a>) -> Option<spool::Settings> {
        let spool_section = self.sub(top, "spool", raw::SPOOL);
        let path = PathBuf::from(spool_section.text("path")?);
        if path.is_file() {
            let span = spool_section.span("path");
            self.error(&span, format!("{} is a file", path.display()), "the spool needs a folder");
        } else if let Some(words) = spool::describe_folder(&path) {
            let hint = "until it can be used, what waits is kept in memory only, and lost at a restart";
            self.warning(&spool_section.span("path"), words, hint);
        }
        Some(spool::Settings {
            path,
            max_size: spool_section.integer("max_size")?.unsigned_abs(),
            commit_every: spool_section.duration("commit_every").unwrap_or(Duration::ZERO),
            when_full: match spool_section.text("when_full") {
                Some("drop_newest") => spool::WhenFull::DropNewest,
                _ => spool::WhenFull::DropOldest,
            },
        })
    }
}

/// Where to mark a problem of the whole file.
fn root_start(root: &Node) -> Span {
    root.span.start..root.span.start
}
