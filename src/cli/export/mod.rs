//! `fieldgate export`: what waits in the spool, for a board that never saw a network.
//!
//! The spool is read beside the running service or without it, locked by nobody and not changed. Lines go to standard output in
//! portions, so memory does not grow with the spool; what there is to say about them goes to standard error.

mod form;

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use crate::cli;
use crate::cli::arguments::Exported;
use crate::cli::export::form::Form;
use crate::config::{self, Config};
use fieldgate_model::{ClockStatus, Loss, Message, MessageKind, describe_error};
use fieldgate_spool::{Export, ExportError};

/// Losses that are named one by one; a damaged spool may have thousands.
const NAMED_LOSSES: usize = 20;

/// Between standard output and the lines.
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes what waits.
pub fn run(asked: Exported) -> ExitCode {
    let (config, place) = match source(&asked) {
        Ok(source) => source,
        Err(code) => return code,
    };
    let mut export = match Export::open(&place) {
        Ok(export) => export,
        Err(error) => return cli::fail(&describe(&error)),
    };
    let mut out = Lines::new(Form::new(asked.csv, config.as_ref()), &asked);
    match out.write_all(&mut export) {
        Ok(()) => out.report(&export),
        Err(Failure::Spool(error)) => {
            out.report(&export);
            cli::fail(&describe(&error))
        }
        // The reader has closed the pipe and wants no more, as `head` does; that is no failure to report.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(Failure::Output(error)) => cli::fail(&format!("standard output cannot be written: {error}")),
    }
}

/// The configuration, and where the spool is. With `--spool` there need not be a configuration.
fn source(asked: &Exported) -> Result<(Option<Config>, PathBuf), ExitCode> {
    let Some(place) = &asked.spool else {
        return match config::load_in_force(&asked.config.config).map(|in_force| in_force.loaded.config) {
            Ok(config) => Ok((Some(config.clone()), config.spool.path)),
            Err(error) => {
                let code = cli::refuse(&error);
                cli::print_message("hint: `--spool PATH` exports a spool whatever the configuration is\n");
                Err(code)
            }
        };
    };
    let config = config::load_in_force(&asked.config.config).map(|in_force| in_force.loaded.config).ok();
    if config.is_none() {
        cli::print_message(&format!(
            "note: there is no configuration that can be used ({}), so {}\n",
            asked.config.config.display(),
            if asked.csv { "units are left out" } else { "topics lack the base topic" }
        ));
    }
    Ok((config, place.clone()))
}

fn describe(error: &ExportError) -> String {
    let words = describe_error(error);
    match error {
        ExportError::Unreadable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            format!("{words}; the spool belongs to the service: try with sudo, or as its user")
        }
        ExportError::Absent { .. } => {
            format!("{words}; the service makes it when it runs: has it run here with this configuration?")
        }
        _ => words,
    }
}

/// Why not everything was written.
enum Failure {
    Spool(ExportError),
    Output(io::Error),
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Self::Spool(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// What is written, and what there is to say about it in the end.
struct Lines {
    form: Form,
    since: Option<SystemTime>,
    is_all: bool,
    written: u64,
    /// From before the time that was asked for.
    earlier: u64,
    /// Written although nobody knows when they were taken.
    undated: u64,
    /// Answers, events and loss records that were not asked for.
    others: u64,
    unreadable: u64,
    /// The first of them, and how many readings all of them are.
    losses: Vec<Loss>,
    lost: u64,
    /// Pages that could not be read.
    has_holes: bool,
}

impl Lines {
    fn new(form: Form, asked: &Exported) -> Self {
        Self {
            form,
            since: asked.since,
            is_all: asked.all,
            written: 0,
            earlier: 0,
            undated: 0,
            others: 0,
            unreadable: 0,
            losses: Vec::new(),
            lost: 0,
            has_holes: false,
        }
    }

    fn write_all(&mut self, export: &mut Export) -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        out.write_all(self.form.header().as_bytes())?;
        while let Some(portion) = export.next_portion()? {
            self.lost += portion.lost.iter().map(|loss| loss.count).sum::<u64>();
            let room = NAMED_LOSSES.saturating_sub(self.losses.len());
            self.losses.extend(portion.lost.into_iter().take(room));
            self.has_holes |= portion.holes > 0;
            for (_, message) in &portion.messages {
                if self.is_wanted(message) {
                    match self.form.write(message) {
                        Ok(lines) => out.write_all(lines.as_bytes())?,
                        Err(form::Unreadable) => self.unreadable += 1,
                    }
                    self.written += 1;
                }
            }
        }
        Ok(out.flush()?)
    }

    fn is_wanted(&mut self, message: &Message) -> bool {
        if message.key.kind != MessageKind::Reading && !self.is_all {
            self.others += 1;
            return false;
        }
        let Some(since) = self.since else { return true };
        if message.taken_at.clock == ClockStatus::Unsynchronised {
            self.undated += 1;
            return true;
        }
        let is_new = message.taken_at.wall >= since;
        self.earlier += u64::from(!is_new);
        is_new
    }

    /// What is missing, and what else there is.
    fn report(&self, export: &Export) -> ExitCode {
        let mut said = String::new();
        self.describe(export, &mut said).expect("a String takes all");
        cli::print_message(&said);
        let is_whole = export.damage().is_none() && self.unreadable == 0;
        if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn describe(&self, export: &Export, said: &mut String) -> std::fmt::Result {
        if self.written == 0 && export.damage().is_none() {
            match (self.earlier, self.others) {
                (0, 0) => writeln!(said, "note: the spool is empty: nothing waits for the broker")?,
                (0, _) => writeln!(said, "note: no reading waits in the spool")?,
                (earlier, _) => writeln!(said, "note: {earlier} readings wait, all of them older than --since says")?,
            }
        }
        if self.undated > 0 {
            let undated = self.undated;
            writeln!(
                said,
                "note: {undated} were taken before the clock was set; as their time is not known, --since does not leave them out"
            )?;
        }
        if self.others > 0 {
            writeln!(
                said,
                "note: {} answers, events and loss records wait as well; --all exports them too",
                self.others
            )?;
        }
        if let Some(damage) = export.damage() {
            writeln!(said, "error: {} is damaged: {damage}; what is sound was exported", export.path().display())?;
        }
        for Loss { sensor, run, from_seq, to_seq, count, .. } in &self.losses {
            writeln!(said, "error: missing of {sensor}: {count} readings, {from_seq} to {to_seq} of run {run}")?;
        }
        let named: u64 = self.losses.iter().map(|loss| loss.count).sum();
        if self.lost > named {
            writeln!(said, "error: missing as well: {} readings in other places", self.lost - named)?;
        }
        if self.has_holes {
            writeln!(
                said,
                "error: there may be more: where pages cannot be read, only readings of sensors that were seen before and behind \
                 are known to be missing"
            )?;
        }
        if self.unreadable > 0 {
            writeln!(said, "error: {} messages have a form that this version does not know", self.unreadable)?;
        }
        Ok(())
    }
}
