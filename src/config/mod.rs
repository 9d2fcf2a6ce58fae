//! The configuration file: [`load`] turns YAML into a [`Config`], or into every [`Problem`] it has.
//!
//! What may be written is in `raw.rs`, what it means in `check/`, how a problem reads in `report.rs`. Loading has no side effects:
//! it reads the file and its parts, looks whether the files named in it can be read, and asks the machine for its name. It opens no
//! device and no connection.
//!
//! A configuration may have parts: files that it includes, values of the environment, and templates. `parts/` makes one tree of them
//! before anything is checked.
//!
//! No report shows a secret (`mask.rs`), and no file, however broken, can make loading panic or run for long (`tree.rs`).

mod check;
pub(crate) mod foreign;
mod hidden;
mod in_force;
mod machine;
mod mask;
mod parts;
pub mod raw;
pub mod report;
mod source;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::home_assistant;
use crate::http;
use crate::metrics;
use crate::requests;
use crate::worker;
use fieldgate_bus as bus;
use fieldgate_link::{self as link, Broker};
use fieldgate_model::topic::Topics;
use fieldgate_model::{Name, Variable};
use fieldgate_rules::RuleSpec;
use fieldgate_spool as spool;

pub use in_force::{InForce, Origin, load_carried, load_in_force};
pub use report::{Place, Problem, Severity, Snippet, Use};

/// Where `run` and the other commands look by default.
pub const DEFAULT_PATH: &str = "/etc/fieldgate/fieldgate.yaml";

/// What may run: every value checked, every default filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// `gateway.name`.
    pub name: Name,
    /// Below `mqtt.base_topic`.
    pub topics: Topics,
    /// `mqtt:`.
    pub link: link::Settings,
    /// `mqtt.plain`: whether values and states are also published as bare text.
    pub plain: bool,
    /// `spool:`.
    pub spool: spool::Settings,
    /// `buses:`, in the order of the file.
    pub buses: Vec<(Name, bus::Settings)>,
    /// `sensors:`, in the order of the file.
    pub sensors: Vec<worker::SensorSettings>,
    /// `actuators:`, in the order of the file.
    pub actuators: Vec<worker::ActuatorSettings>,
    /// `variables:`, in the order of the file.
    pub variables: Vec<Variable>,
    /// `requests:`; none is allowed without it.
    pub requests: Option<requests::Settings>,
    /// `rules:`, in the order of the file.
    pub rules: Vec<RuleSpec>,
    /// `home_assistant:`, if it is there.
    pub home_assistant: Option<home_assistant::Settings>,
    /// `http:`; nobody listens without it.
    pub http: Option<http::Settings>,
    /// `metrics:`, if it is there.
    pub metrics: Option<metrics::textfile::Settings>,
}

impl Config {
    /// What Home Assistant is to show; nothing without `home_assistant:`.
    pub fn shown_devices(&self) -> Vec<home_assistant::Device> {
        let sources = home_assistant::Sources {
            sensors: &self.sensors,
            outputs: &self.actuators,
            variables: &self.variables,
            rules: &self.rules,
            allowed: self.requests.as_ref().map(|requests| &requests.allow),
        };
        let all = |shown| home_assistant::devices(shown, &self.topics, &sources);
        self.home_assistant.as_ref().map_or_else(Vec::new, all)
    }
}

/// A configuration that may run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is to run.
    pub config: Config,
    /// What the user should know about it, in the order of the file.
    pub warnings: Vec<Problem>,
    /// The parts that the file includes, in the order in which they were read.
    pub parts: Vec<PathBuf>,
    /// The variables of the environment of which it has values.
    pub variables: Vec<String>,
}

/// A configuration that cannot run. Show it to the user; the exit code is 78.
#[derive(Clone, Debug)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// Everything that is wrong, warnings included, in the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(report::render(&self.path, &self.problems, false).trim_end())
    }
}

impl std::error::Error for ConfigError {}

/// Reads the address of a broker, as `mqtt.broker` has it.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub fn broker_address(text: &str) -> Result<Broker, String> {
    check::broker::parse(text).map_err(|bad| match bad.hint {
        hint if hint.is_empty() => bad.what,
        hint => format!("{}; {hint}", bad.what),
    })
}

/// Reads and checks the file at `path`, with all its parts.
///
/// # Errors
/// Every problem of the file; report them to the user.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    load_known(path).map(|(loaded, _)| loaded)
}

/// Checks `text` as if it stood in the file at `path`, which need not exist.
///
/// # Errors
/// As [`load`].
pub fn load_text(text: &str, path: &Path) -> Result<Loaded, ConfigError> {
    check_source(source::Source::new(path, text), parts::Origin::File(&machine::variable)).map(|(loaded, _)| loaded)
}

/// As [`load`], and by what the configuration is known again.
fn load_known(path: &Path) -> Result<(Loaded, String), ConfigError> {
    check_source(source::Source::read(path)?, parts::Origin::File(&machine::variable))
}

fn check_source(source: source::Source, origin: parts::Origin<'_>) -> Result<(Loaded, String), ConfigError> {
    let parts::Assembled { source, root, problems } = parts::assemble(source, origin)?;
    let (config, found) = check::check(&source, &root, &machine::Machine::this());
    let problems = [found, problems].concat();
    match config.filter(|_| problems.iter().all(|problem| problem.severity != Severity::Error)) {
        Some(config) => {
            let (parts, variables) = (source.parts(), source.variables());
            Ok((Loaded { config, warnings: problems, parts, variables }, source.identity()))
        }
        None => Err(parts::refused(source, problems)),
    }
}

/// The nodes of another program's file that is YAML and not empty.
fn parse(mut source: source::Source) -> Result<(source::Source, tree::Node), ConfigError> {
    let failed = |path: PathBuf, problems| Err(ConfigError { path, problems });
    let root = match tree::parse(&source.text) {
        Ok(root) => root,
        Err(error) => {
            let mut problems = odd_spaces(&source);
            // What stands behind such a space may be a consequence of it.
            if source.odd_spaces().first().is_none_or(|(span, _)| span.start > error.at) {
                problems.insert(0, source.problem(Severity::Error, &(error.at..error.at + 1), &error.what, ""));
            }
            return failed(source.path, problems);
        }
    };
    let whole = 0..source.text.len();
    source.learn_secrets(&root, &whole);
    if root.value == tree::Value::Null {
        let problem = source.problem(Severity::Error, &(0..0), "the configuration is empty", "begin with `mqtt:`");
        return failed(source.path, vec![problem]);
    }
    Ok((source, root))
}

/// A problem for each space that is none to YAML. Reported only for a file that is wrong: within a text they do no harm.
fn odd_spaces(source: &source::Source) -> Vec<Problem> {
    let hint = "write plain spaces; others come with text that is copied from a web page or a word processor";
    let problem = |(span, what): (tree::Span, String)| {
        source.problem(Severity::Error, &span, &format!("this is not valid YAML: {what}"), hint)
    };
    source.odd_spaces().into_iter().map(problem).collect()
}
