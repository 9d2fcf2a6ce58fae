//! What the commands do: one file per command that is more than a call, and the command line itself (`arguments`).
//!
//! Results go to standard output, messages to standard error.

pub mod arguments;
pub mod check;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(not(feature = "demo"))]
#[path = "no_demo.rs"]
pub mod demo;
pub mod doctor;
pub mod drivers;
pub mod export;
pub mod filters;
pub mod forget;
pub mod log;
pub mod migrate;
pub mod read;
pub mod rules;
pub mod run;
pub mod safe_state;
pub mod scan;
pub mod schema;
mod screen;
mod signals;
mod since;
mod table;
pub mod watch;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{ConfigError, report};
use crate::last_good;

/// The exit code of a configuration that cannot run, `EX_CONFIG` of sysexits(3).
pub const EXIT_CONFIG: u8 = 78;

/// Writes a command's result. A reader that went away (`| head`) is a failure at run time, not a panic.
fn put(text: &str, good: ExitCode) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => good,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes a message; through the log where there is one, because a program that serves outputs must not wait for a reader.
fn print_message(text: &str) {
    if log::takes(text) {
        return;
    }
    // When not even standard error can be written to, there is no way left to report it.
    let _unheard = io::stderr().lock().write_all(text.as_bytes());
}

/// Whether messages may be coloured.
pub fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether standard error is the stream that systemd announced in `JOURNAL_STREAM` as `device:inode` (systemd.exec(5)).
pub fn is_journal(stream: Option<&str>) -> bool {
    let Some((device, inode)) = stream.and_then(|stream| stream.split_once(':')) else { return false };
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

/// Where the last good table of outputs for this configuration is, if there is a place for it.
fn table_of_outputs(config: &Path) -> Option<last_good::Place> {
    // With several directories systemd separates them by colons; ours is the first.
    let directories = std::env::var("RUNTIME_DIRECTORY").ok();
    let directory = directories.as_deref().and_then(|all| all.split(':').next()).filter(|first| !first.is_empty());
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    last_good::Place::of(config, directory.map(Path::new), user.as_deref())
}

/// Prints every problem and answers with the exit code of a configuration that cannot run.
fn refuse(error: &ConfigError) -> ExitCode {
    print_message(&report::render(&error.path, &error.problems, colour()));
    ExitCode::from(EXIT_CONFIG)
}

/// Prints what failed at run time.
fn fail(words: &str) -> ExitCode {
    print_message(&format!("error: {words}\n"));
    ExitCode::FAILURE
}
