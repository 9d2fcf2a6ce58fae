//! The configuration: whether it can run, and whether the service may read it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cli::doctor::check::{Check, Finding, Verdict, quoted};
use crate::cli::doctor::situation::{ConfigurationFacts, Rights, Situation};
use crate::config::{ConfigError, InForce, Severity};

/// Whether the service can run with its configuration.
pub(super) const CONFIGURATION: Check = Check {
    id: "configuration",
    title: "the file that the service obeys",
    causes: &["configuration-missing", "configuration-unreadable", "configuration-broken", "configuration-stored"],
    judge,
};

fn judge(situation: &Situation) -> Verdict {
    let (shown, file) = (situation.path.display(), quoted(&situation.path.to_string_lossy()));
    let finding = match &situation.configuration {
        ConfigurationFacts::Missing => {
            Finding::new("configuration-missing", format!("there is no file {shown}"), "fieldgate scan --yaml")
        }
        ConfigurationFacts::Denied => Finding::new(
            "configuration-unreadable",
            format!("you may not read {shown}"),
            format!("sudo fieldgate doctor --config {file}"),
        ),
        ConfigurationFacts::Broken { problems, first } => Finding::new(
            "configuration-broken",
            format!(
                "{shown} has {problems} {}: {first}",
                if *problems == 1 { "problem" } else { "problems, the first" }
            ),
            format!("fieldgate check --config {file}"),
        ),
        ConfigurationFacts::Loaded { rights, .. } if !situation.account.may(4, *rights) => {
            let account = &situation.account;
            Finding::new(
                "configuration-unreadable",
                format!("{shown} cannot be read by {}, as whom the service runs", account.name),
                format!("sudo chgrp {} {file} && sudo chmod 640 {file}", quoted(&account.name)),
            )
        }
        ConfigurationFacts::Loaded { stored: Some(why), .. } => Finding::new(
            "configuration-stored",
            format!("in force is {why}"),
            format!("fieldgate check --config {file}"),
        ),
        ConfigurationFacts::Loaded { stored: None, .. } => return Verdict::Good(format!("{shown} can run")),
    };
    Verdict::Wrong(vec![finding])
}

/// What became of loading the file at `path`.
pub(super) fn gather(path: &Path, loaded: &Result<InForce, ConfigError>) -> ConfigurationFacts {
    let error = match loaded {
        Ok(in_force) => {
            let stored = in_force.origin.is_warning().then(|| in_force.origin.to_string());
            let found = fs::metadata(path).ok();
            let of = |found: fs::Metadata| Rights { mode: found.mode(), uid: found.uid(), gid: found.gid() };
            // It was read a moment ago. If it has been removed since, its rights do not matter: assume that all may read it.
            let rights = found.map_or(Rights { mode: 0o444, uid: 0, gid: 0 }, of);
            return ConfigurationFacts::Loaded { stored, rights };
        }
        Err(error) => error,
    };
    match File::open(path).map_err(|error| error.kind()) {
        Err(ErrorKind::NotFound | ErrorKind::NotADirectory) => return ConfigurationFacts::Missing,
        Err(ErrorKind::PermissionDenied) => return ConfigurationFacts::Denied,
        _ => {}
    }
    let errors: Vec<_> = error.problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    let first = errors.first().map_or_else(String::new, |problem| match problem.place {
        Some(place) => format!("{} (line {})", problem.what, place.line),
        None => problem.what.clone(),
    });
    ConfigurationFacts::Broken { problems: errors.len(), first }
}
