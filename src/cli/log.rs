//! The log: which events are written, where to, and by a thread so that no other part waits for a reader.
//!
//! Everything that a running gateway says goes through here, also what is no event: messages on the terminal, and panics.
//! A thread writes it; see [`crate::outlet`] for what happens when nobody reads. A command that does not log writes directly.

mod journal;
mod recent;

use std::env::VarError;
use std::panic;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::cli::{self, log::journal::Journal};
use crate::outlet::{self, Outlet};

/// How long the end of the service waits for a reader that does not read.
const LAST_PATIENCE: Duration = Duration::from_millis(250);

/// How long a command that somebody waits for waits for the reader of its words at the end: they are all that it has to give, and on a
/// busy board its thread may have to wait for the processor.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// What other crates may say unless `RUST_LOG` asks for more: their warnings repeat what our own lines explain.
const OTHERS: &str = "rumqttc_v5=off,rumqttc_v4=off,rumqttc=off,rumqttd=off,rustls=error";

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    /// Lines as text, to standard error.
    lines: Arc<Outlet>,
    /// The journal, when standard error leads there.
    journal: Option<Arc<Outlet>>,
    /// What is logged as the program was started.
    usual: Targets,
    /// What is logged now.
    filter: OnceLock<reload::Handle<Targets, Registry>>,
}

/// Logs to the journal when systemd has connected stderr to it, else as lines to stderr. `RUST_LOG` overrides `level`:
/// a level, or targets with levels such as `info,fieldgate::link=debug`.
pub fn start(level: &str) {
    let (filter, complaint) = filter(std::env::var("RUST_LOG"), level);
    let is_journal = cli::is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref());
    let sink = is_journal.then(|| journal::sink(Path::new(journal::SOCKET))).and_then(Result::ok);
    let log = LOG.get_or_init(|| Log {
        lines: Arc::new(Outlet::new("log", report_missed, Box::new(write_lines))),
        journal: sink.map(|sink| Arc::new(Outlet::new("journal", report_missed, sink))),
        usual: filter.clone(),
        filter: OnceLock::new(),
    });
    let (filter, handle) = reload::Layer::new(filter);
    panic::set_hook(Box::new(log_panic));
    let journal = log.journal.clone().map(Journal);
    let lines = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(Lines(Arc::clone(&log.lines)))
            .with_ansi(cli::colour())
            .with_target(false)
            .boxed()
    });
    // Fails only if it has been called before, and then the log is there.
    if tracing_subscriber::registry().with(filter).with(journal).with(lines).with(recent::Recent).try_init().is_ok() {
        log.filter.set(handle).ok();
    }
    if let Some(complaint) = complaint {
        error!("RUST_LOG is ignored, and the default level is logged: {complaint}.");
    }
}

/// Logs from `level` on; without one, what was logged as the program was started.
pub(super) fn set_level(level: Option<&str>) {
    let Some(log) = LOG.get() else { return };
    let filter = level.map_or_else(|| log.usual.clone(), of_level);
    // An error means that the log is not ours, or has gone.
    log.filter.get().map(|handle| handle.reload(filter)).transpose().ok();
}

/// Whether the log runs; then this takes a message that is no event.
pub(super) fn takes(text: &str) -> bool {
    let log = LOG.get();
    log.inspect(|log| log.lines.push(text.into())).is_some()
}

/// Waits until everything has been written, or until the reader has read nothing for some time: a short one at the end of a service, which
/// systemd waits for.
pub fn flush(is_service: bool) {
    let patience = if is_service { LAST_PATIENCE } else { COMMAND_PATIENCE };
    if let Some(log) = LOG.get() {
        log.lines.flush(patience);
        log.journal.iter().for_each(|journal| journal.flush(patience));
    }
}

fn write_lines(line: &[u8]) -> std::io::Result<()> {
    // A reader that has gone may be replaced, as that of a named pipe is; until then there is nobody to report to.
    outlet::write_all(rustix::stdio::stderr(), line).ok();
    Ok(())
}

fn report_missed(lines: u64) {
    error!(lines, "{lines} log lines did not fit, because the log was not read fast enough; they are lost.");
}

/// As the standard library reports a panic, which writes to standard error at once and would wait there.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let text = match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("{info}\n{backtrace}"),
        _ => info.to_string(),
    };
    let text = format!("thread '{}' {text}", thread.name().unwrap_or("<unnamed>"));
    match LOG.get() {
        Some(Log { journal: Some(journal), .. }) => journal.push(journal::message(tracing::Level::ERROR, &text)),
        _ => cli::print_message(&format!("{text}\n")),
    }
}

/// Hands each line to the outlet. The formatter writes a whole event in one piece.
struct Lines(Arc<Outlet>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl std::io::Write for &Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// This level, and what other crates may say.
fn of_level(level: &str) -> Targets {
    format!("{level},{OTHERS}").parse().unwrap_or_default()
}

/// What is logged, and why `RUST_LOG` cannot be obeyed if that is so.
fn filter(asked: Result<String, VarError>, level: &str) -> (Targets, Option<String>) {
    let usual = || of_level(level);
    match asked {
        Err(VarError::NotPresent) => (usual(), None),
        Ok(text) if text.trim().is_empty() => (usual(), None),
        Ok(text) => match targets(&text) {
            Ok(targets) => (targets, None),
            Err(complaint) => (usual(), Some(complaint)),
        },
        Err(VarError::NotUnicode(_)) => (usual(), Some("it is not UTF-8".into())),
    }
}

/// Plain targets instead of `EnvFilter`, which brings an engine for regular expressions along. A word that is no level would
/// be taken as a target, and everything else be silent: only a part of this program may stand without a level.
fn targets(text: &str) -> Result<Targets, String> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level.trim());
        let is_ours = part == "fieldgate" || part.starts_with("fieldgate::");
        // The library takes an empty level for `error`.
        if (level.is_empty() || level.parse::<LevelFilter>().is_err()) && !is_ours {
            return Err(format!(
                "{level:?} is not a level; write off, error, warn, info, debug or trace, or TARGET=LEVEL"
            ));
        }
        // A part of the program is a module here or a crate below.
        all.extend(part.strip_prefix("fieldgate::").map(|rest| format!("fieldgate_{rest}")));
        all.push(part.to_owned());
    }
    all.join(",").parse().map_err(|error| format!("{text:?} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use tracing::Level;

    /// Whether this is obeyed, and what is logged of ours and of the client library.
    fn check(asked: &str, obeyed: bool, ours: Level, theirs: Option<Level>) {
        let (filter, complaint) = filter(Ok(asked.into()), "info");
        assert_eq!(complaint.is_none(), obeyed, "{asked:?}: {complaint:?}");
        let enabled = |target: &str, level: Level| filter.would_enable(target, &level);
        assert!(enabled("fieldgate_link", ours), "{asked:?}");
        assert!([Level::DEBUG, Level::TRACE].iter().all(|more| *more <= ours || !enabled("fieldgate_link", *more)));
        assert_eq!(enabled("rumqttc", Level::ERROR), theirs.is_some(), "{asked:?}");
    }

    #[test]
    fn a_level_or_targets_are_obeyed() {
        check("debug", true, Level::DEBUG, Some(Level::DEBUG));
        check("WARN", true, Level::WARN, Some(Level::WARN));
        check("info, fieldgate::link=debug", true, Level::DEBUG, Some(Level::INFO));
        check("fieldgate=trace", true, Level::TRACE, None);
        check("fieldgate::link", true, Level::TRACE, None);
        check("info,rumqttc=off,", true, Level::INFO, None);
    }

    #[test]
    fn nothing_is_as_if_it_were_not_set() {
        check("", true, Level::INFO, None);
        check("  ", true, Level::INFO, None);
    }

    #[test]
    fn what_cannot_be_obeyed_is_reported_and_silences_nothing() {
        for wrong in ["wran", "info,debg", "fieldgate=inof", "fieldgate=", "=", "info;debug", "fieldgate:link"] {
            check(wrong, false, Level::INFO, None);
        }
        let (_, complaint) = filter(Err(VarError::NotUnicode(OsString::from_vec(vec![0xff]))), "info");
        assert!(complaint.is_some());
    }
}
