//! `fieldgate rules`: what the rules are, in words, or what they would have done with recorded readings, in virtual time.
//!
//! A replay needs no broker and no device. Outputs obey at once what their guards let through: limits and interlocks apply as they do when
//! the service runs, to outputs that have been in their safe state for long. Rules are switched on, and variables are
//! what they were set to in the recording, or else what they begin with. What a sensor has said is known for
//! three of its periods, as it is when the service runs.

mod outputs;
mod recorded;
mod replay;

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use crate::cli::rules::recorded::{Recorded, read_line};
use crate::cli::rules::replay::Replay;
use crate::cli::{self, fail, refuse};
use crate::config::{self, Config};
use fieldgate_bus::signals::SourceKind;
use fieldgate_clock::{self as clock, Zone};
use fieldgate_drivers::formula;
use fieldgate_formula as language;
use fieldgate_model::Form;
use fieldgate_rules::{RuleSpec, SignalKind};

pub use replay::ReplayError;

/// Prints the rules of the file at `path`, or what they would have done with the readings at `replayed`.
pub fn run(path: &Path, replayed: Option<&Path>) -> ExitCode {
    let config = match config::load_in_force(path).map(|in_force| in_force.loaded) {
        Ok(loaded) => loaded.config,
        Err(error) => return refuse(&error),
    };
    let Some(replayed) = replayed else {
        let words = in_words(&config);
        return cli::put(if words.is_empty() { "there are no rules\n" } else { &words }, ExitCode::SUCCESS);
    };
    let text = match std::fs::read_to_string(replayed) {
        Ok(text) => text,
        Err(error) => return fail(&format!("{} cannot be read: {error}", replayed.display())),
    };
    match replay(&config, &text, clock::zone()) {
        Ok(said) => cli::put(&said, ExitCode::SUCCESS),
        Err(error) => fail(&format!("{}: {error}", replayed.display())),
    }
}

/// What each rule does, in words, each on a line of its own.
pub fn in_words(config: &Config) -> String {
    config.rules.iter().map(|rule| format!("{}: {}\n", rule.name, words_of(config, rule))).collect()
}

/// What one of its rules does, in words.
pub fn words_of(config: &Config, rule: &RuleSpec) -> String {
    rule.in_words(|name| describe(config, name))
}

/// What the rules of `config` would have done with these lines of recorded readings, on a clock in this zone.
///
/// # Errors
/// A line that is no reading, or a rule that names what is not recorded.
pub fn replay(config: &Config, text: &str, zone: &Zone) -> Result<String, ReplayError> {
    let mut recorded = Vec::new();
    for (nth, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = read_line(line).map_err(|why| ReplayError::Line { line: nth + 1, why })?;
        recorded.extend(read);
    }
    recorded.sort_by_key(|(at, _)| *at);
    // A variable may have been set long before, and is retained.
    let is_variable = |(_, what): &&(SystemTime, Recorded)| matches!(what, Recorded::Variable(..));
    let Some(first) = recorded.iter().find(|recorded| !is_variable(recorded)).map(|(at, _)| *at) else {
        return Ok(String::new());
    };
    let mut replay = Replay::new(config, first, zone)?;
    for (at, what) in recorded {
        replay.until(at.duration_since(first).unwrap_or_default())?;
        replay.take(config, what);
    }
    replay.finish()
}

/// What a name in a rule is.
fn describe(config: &Config, name: &language::Name) -> Option<SignalKind> {
    let (owner, member) = match name {
        language::Name::Member { owner, member } => (owner, member),
        language::Name::Variable(name) => {
            let variable = config.variables.iter().find(|variable| variable.name.as_str() == name)?;
            return Some(SignalKind::Continuous(formula::kind_of(&SourceKind::Variable(variable.kind.clone()))));
        }
    };
    if let Some(sensor) = config.sensors.iter().find(|sensor| sensor.name.as_str() == owner) {
        let quantity = sensor.filtered().into_iter().find(|quantity| quantity.name == *member)?;
        let is_moment = quantity.form == Form::Word;
        let kind = formula::kind_of(&SourceKind::Measured(quantity));
        return Some(if is_moment { SignalKind::Moment } else { SignalKind::Continuous(kind) });
    }
    let output = config.actuators.iter().find(|output| output.name.as_str() == owner)?;
    Some(SignalKind::Continuous(formula::kind_of(&SourceKind::Output(output.kind))))
}
