//! Which configuration is in force: that of the file, or one that a request carried and the spool's folder has.
//!
//! The file comes first. It must be good in any case, for it says where the spool is and what requests may; and a stored
//! configuration counts only for as long as the file is, byte for byte, the one that it replaced, with all its parts and what it takes
//! from the environment: who changes the file is obeyed.
//! Nothing is written here.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::report::{Problem, Severity};
use crate::config::source::{Source, problem_of_file};
use crate::config::{Config, ConfigError, Loaded, check_source, load_known, parts};
use fieldgate_bus as bus;
use fieldgate_model::{describe_error, payload};
use fieldgate_spool::configuration::{self as kept, Fingerprint};

/// The verb by which requests carry configurations.
const VERB: &str = "config";

/// What may run, and why that.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The configuration in force.
    pub loaded: Loaded,
    /// What the file alone says.
    pub file: Config,
    /// By what the file is known again, with its parts and what it takes from the environment.
    pub fingerprint: Fingerprint,
    /// Whose configuration it is, and why.
    pub origin: Origin,
}

/// Whose configuration is in force, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file's: no request has replaced it.
    File,
    /// One that a request carried then.
    Stored(SystemTime),
    /// The file's, because it has changed since a request carried one then, which is to be forgotten.
    FileChanged(SystemTime),
    /// The file's, because the stored one cannot be used for this reason.
    Unusable(String),
    /// One that a request has just carried, and that nothing has confirmed yet.
    OnTrial,
}

impl Origin {
    /// Where the configuration comes from: `file` or `request`.
    pub fn source(&self) -> &'static str {
        match self {
            Self::File | Self::FileChanged(_) | Self::Unusable(_) => "file",
            Self::Stored(_) | Self::OnTrial => "request",
        }
    }

    /// Whether a person should look after it.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::FileChanged(_) | Self::Unusable(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the file: no request has replaced it"),
            Self::Stored(at) => {
                let at = payload::time(*at);
                write!(
                    f,
                    "the configuration that a request carried at {at}, until the file that it replaces is changed"
                )
            }
            Self::FileChanged(at) => {
                let at = payload::time(*at);
                write!(
                    f,
                    "the file: it has changed since a request carried another configuration at {at}, which counts no more"
                )
            }
            Self::Unusable(why) => {
                write!(f, "the file: the configuration that a request carried cannot be used ({why})")
            }
            Self::OnTrial => {
                f.write_str("a configuration that a request carried and that the link has not confirmed yet")
            }
        }
    }
}

/// Reads and checks the file at `path`, and what requests have put in its place.
///
/// # Errors
/// Every problem of the file; report them to the user.
pub fn load_in_force(path: &Path) -> Result<InForce, ConfigError> {
    let (of_file, identity) = load_known(path)?;
    let fingerprint = Fingerprint::of(&identity);
    let file = of_file.config.clone();
    let (loaded, origin) = match stored(path, &file, fingerprint) {
        Ok((loaded, at)) => (loaded, Origin::Stored(at)),
        Err(origin) => (of_file, origin),
    };
    Ok(InForce { loaded, file, fingerprint, origin })
}

/// The stored configuration, or why the file's is in force.
fn stored(path: &Path, file: &Config, fingerprint: Fingerprint) -> Result<(Loaded, SystemTime), Origin> {
    let is_allowed = file.requests.as_ref().is_some_and(|requests| requests.allow.contains(VERB));
    match kept::confirmed(&file.spool.path) {
        Ok(None) => Err(Origin::File),
        Ok(Some(stored)) if stored.replaces != fingerprint => Err(Origin::FileChanged(stored.stored_at)),
        // Whatever is there, it cannot have replaced this file. Who may not look into the folder need not hear of it.
        _ if !is_allowed => Err(Origin::File),
        Err(error) => Err(Origin::Unusable(describe_error(&error))),
        Ok(Some(stored)) => match load_carried(&stored.text, path, file) {
            Ok(loaded) => Ok((loaded, stored.stored_at)),
            Err(problems) => {
                let first = problems.iter().find(|problem| problem.severity == Severity::Error);
                Err(Origin::Unusable(first.map_or(String::new(), |problem| problem.what.clone())))
            }
        },
    }
}

/// Checks a configuration that a request carried instead of that of `file`, which lies at `path`.
///
/// # Errors
/// Every problem that it has, and all that a request may not change.
pub fn load_carried(text: &str, path: &Path, file: &Config) -> Result<Loaded, Vec<Problem>> {
    let (loaded, _) = check_source(Source::new(path, text), parts::Origin::Request).map_err(|error| error.problems)?;
    let forbidden = forbidden(file, &loaded.config);
    if forbidden.is_empty() { Ok(loaded) } else { Err(forbidden) }
}

/// What of `new` only the file may say: otherwise somebody who may send a configuration could extend these rights, or have files
/// read and written that are none of theirs.
fn forbidden(file: &Config, new: &Config) -> Vec<Problem> {
    let mut all = Vec::new();
    let mut refuse =
        |what: &str, hint: &str| all.push(problem_of_file(format!("a request may not change {what}"), hint));
    if new.requests != file.requests {
        refuse("requests:", "write it as the file of the gateway has it");
    }
    if new.spool.path != file.spool.path {
        refuse("spool.path", "write it as the file of the gateway has it");
    }
    if new.link.password != file.link.password || new.link.tls != file.link.tls {
        refuse("where the password, keys and certificates are", "write them as the file of the gateway has them");
    }
    let has_secret = file.link.password.is_some() || file.link.tls.key.is_some();
    if has_secret && new.link.brokers.iter().any(|broker| !file.link.brokers.contains(broker)) {
        refuse("the broker where there is a password or a key", "that would be sent to whoever the request names");
    }
    if !state_files(new).is_subset(&state_files(file)) {
        refuse("the files that simulated buses write", "leave out state_file, or name one that the file names");
    }
    all
}

/// The files that the program would make.
fn state_files(config: &Config) -> BTreeSet<PathBuf> {
    let entries = config.buses.iter().filter_map(|(_, settings)| settings.entry());
    let simulated = entries.filter(|entry| std::ptr::eq(entry.spec, &bus::sim::SPEC));
    simulated.filter_map(|entry| entry.keys.optional_text("state_file").map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    const FILE: &str = "\
mqtt: { broker: mqtt://a }
spool: { path: /tmp/spool }
requests: { allow: [config] }
buses: { sim: { type: sim, state_file: /tmp/state.json } }
sensors: { tide: { driver: waveform, every: 1s } }
";

    fn check(new: &str, said: &str) {
        let file = load_text(FILE, Path::new("/etc/x.yaml")).unwrap().config;
        let problems = load_carried(new, Path::new("/etc/x.yaml"), &file).map(|_| ()).unwrap_err();
        let words: Vec<_> = problems.iter().map(|problem| problem.what.as_str()).collect();
        assert_eq!(words, [said], "{new}");
    }

    #[test]
    fn what_only_the_file_may_say_is_refused() {
        let replaced = |from: &str, to: &str| {
            assert!(FILE.contains(from));
            FILE.replace(from, to)
        };
        check(&replaced("[config]", "[config, restart]"), "a request may not change requests:");
        check(&replaced("requests: { allow: [config] }\n", ""), "a request may not change requests:");
        check(&replaced("/tmp/spool", "/tmp/else"), "a request may not change spool.path");
        let state = "a request may not change the files that simulated buses write";
        check(&replaced("/tmp/state.json", "/tmp/authorized_keys"), state);
        let secrets = "a request may not change where the password, keys and certificates are";
        check(&replaced("mqtt://a", "mqtt://a, username: u, password_credential: other"), secrets);
    }

    #[test]
    fn a_broker_that_would_get_our_secret_is_refused_and_another_without_one_is_not() {
        let other = FILE.replace("mqtt://a", "mqtt://b");
        let open = load_text(FILE, Path::new("/etc/x.yaml")).unwrap().config;
        assert!(load_carried(&other, Path::new("/etc/x.yaml"), &open).is_ok());
        let secret = |text: &str| text.replace(" }\nspool", ", username: u, password_credential: p }\nspool");
        let file = load_text(&secret(FILE), Path::new("/etc/x.yaml")).unwrap().config;
        let problems = load_carried(&secret(&other), Path::new("/etc/x.yaml"), &file).map(|_| ()).unwrap_err();
        assert_eq!(problems[0].what, "a request may not change the broker where there is a password or a key");
    }
}
