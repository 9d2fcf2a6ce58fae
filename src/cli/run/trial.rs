//! A configuration that a request carried: stored, taken over, confirmed by the link or rolled back.
//!
//! It is on disk before it is in force, but as one on trial, which no start takes up: whatever ends the program, the next start has
//! the one before. The link confirms it when it is up and the broker was heard after the takeover; only then does it replace
//! the one before on disk, by one rename. Nothing here waits for the disk.

use std::io;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};
use tracing::{error, info, warn};

use crate::cli::run::by_request::on_trial;
use crate::cli::run::{Answer, MainLoop};
use crate::cli::{check, run};
use crate::config::{self, Config, Loaded, Origin, Problem, report};
use crate::requests::Failure;
use crate::systemd;
use fieldgate_clock as clock;
use fieldgate_model::field::format_duration;
use fieldgate_model::{Reason, Refusal};
use fieldgate_spool::configuration::{ConfigurationRequest, Stored, Written};

/// How long a reload waits for a confirmation that is being written.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(1);

/// A configuration that is not in force for good yet.
pub(super) struct Trial {
    step: Step,
    loaded: Loaded,
    stored_at: SystemTime,
    confirm_within: Duration,
    answer: Answer,
}

enum Step {
    /// It is being written, and not in force.
    Storing(Written),
    /// It is in force.
    Waiting {
        /// The broker must be heard after this.
        since: Duration,
        /// When it is given up if the broker was not heard by then.
        until: Duration,
        /// What was in force before.
        before: Box<(Config, Origin)>,
    },
    /// The link is back; that is being written.
    Confirming(Written),
}

/// What the disk says; never, where it was not asked. Cancel-safe.
pub(super) async fn written(trial: &mut Option<Trial>) -> io::Result<()> {
    match trial.as_mut().map(|trial| &mut trial.step) {
        Some(Step::Storing(written) | Step::Confirming(written)) => {
            written.await.unwrap_or_else(|_| Err(io::Error::other("the spool does not take it now")))
        }
        _ => std::future::pending().await,
    }
}

impl MainLoop<'_> {
    /// Checks it, on the runtime's thread as a reload does, and has it stored.
    pub(super) fn try_configuration(&mut self, text: &str, confirm_within: Duration, answer: Answer) -> bool {
        let loaded = match config::load_carried(text, self.path, &self.file) {
            _ if self.trial.is_some() => Err(on_trial().into()),
            Ok(loaded) => Ok(loaded),
            Err(problems) => Err(refused(&problems)),
        };
        match loaded {
            Ok(loaded) => {
                let stored_at = SystemTime::now();
                let stored = Stored { text: text.to_owned(), replaces: self.fingerprint, stored_at };
                let step = Step::Storing(self.gateway.configuration(ConfigurationRequest::Try(stored)));
                self.trial = Some(Trial { step, loaded, stored_at, confirm_within, answer });
            }
            Err(failure) => drop(answer.send(Err(failure))),
        }
        false
    }

    /// Goes on after the disk has answered.
    pub(super) async fn trial_written(&mut self, written: io::Result<()>) {
        let Some(mut trial) = self.trial.take() else { return };
        match (trial.step, written) {
            // Nobody would know of it: what takes so long has been answered.
            (Step::Storing(_), _) if trial.answer.is_closed() => self.forget_trial(),
            (Step::Storing(_), Err(error)) => {
                self.forget_trial();
                let words = format!("the configuration could not be stored, and was not taken over: {error}");
                trial.answer.send(Err(Refusal::new(Reason::Hardware, words).into())).ok();
            }
            (Step::Storing(_), Ok(())) => {
                let before = Box::new((self.base.clone(), self.origin.clone()));
                let since = clock::boottime();
                trial.step = Step::Waiting { since, until: since.saturating_add(trial.confirm_within), before };
                self.take_over(trial).await;
            }
            (Step::Confirming(_), Ok(())) => {
                self.origin = Origin::Stored(trial.stored_at);
                info!("The link is back, and the configuration that a request carried stays in force.");
                trial.answer.send(Ok(json!({ "problems": check::problems(&trial.loaded.warnings) }))).ok();
            }
            (Step::Confirming(_), Err(error)) => {
                self.forget_trial();
                let words =
                    format!("it is in force, but not stored, so a restart goes back to the one before: {error}");
                warn!(%error, "The configuration that a request carried is in force, but not stored; a restart goes back.");
                trial.answer.send(Err(Refusal::new(Reason::Hardware, words).into())).ok();
            }
            (Step::Waiting { .. }, _) => {}
        }
    }

    async fn take_over(&mut self, mut trial: Trial) {
        let within = format_duration(trial.confirm_within);
        info!(
            "Taking over a configuration that a request carried; it is rolled back if the link is not back within {within}."
        );
        systemd::reloading();
        self.base = trial.loaded.config.clone();
        self.origin = Origin::OnTrial;
        self.rolled_back = None;
        self.changes.keep_for(&self.base);
        let taken = self.apply().await;
        run::log_warnings(&trial.loaded);
        run::keep_table(self.table, self.gateway.config());
        systemd::ready("a configuration by request is on trial");
        if let Step::Waiting { since, until, .. } = &mut trial.step {
            // What the broker said before is no proof.
            *since = clock::boottime();
            *until = since.saturating_add(trial.confirm_within);
        }
        match taken {
            Ok(()) => self.trial = Some(trial),
            Err(why) => self.roll_back(trial, &format!("a part of it is not in use: {why}")).await,
        }
    }

    /// Confirms what is on trial, or rolls it back, when it is time for that; called once a second, and when the link changes.
    pub(super) async fn look_at_trial(&mut self) {
        let Some(Trial { step: Step::Waiting { since, until, .. }, confirm_within, .. }) = &self.trial else { return };
        if self.gateway.was_heard_after(*since) {
            let written = self.gateway.configuration(ConfigurationRequest::Confirm);
            if let Some(trial) = &mut self.trial {
                trial.step = Step::Confirming(written);
            }
        } else if clock::boottime() >= *until {
            let why = format!("the link did not come back within {}", format_duration(*confirm_within));
            if let Some(trial) = self.trial.take() {
                self.roll_back(trial, &why).await;
            }
        }
    }

    async fn roll_back(&mut self, trial: Trial, why: &str) {
        error!(
            error = why,
            "The configuration that a request carried is rolled back; the one before is in force again."
        );
        self.forget_trial();
        if let Step::Waiting { before, .. } = trial.step {
            systemd::reloading();
            (self.base, self.origin) = *before;
            self.changes.keep_for(&self.base);
            if let Err(error) = self.apply().await {
                error!(error, "Part of the configuration before is not in use; restart the gateway.");
            }
            run::keep_table(self.table, self.gateway.config());
            systemd::ready("a configuration by request was rolled back, see the log");
        }
        self.rolled_back = Some(why.to_owned());
        let words = format!("the one before is in force again: {why}");
        trial.answer.send(Err(Refusal::new(Reason::RolledBack, words).into())).ok();
    }

    /// Before a reload takes up the file again: a confirmation that is on its way to the disk arrives.
    pub(super) async fn await_confirmation(&mut self) {
        if !matches!(self.trial, Some(Trial { step: Step::Confirming(_), .. })) {
            return;
        }
        if let Ok(answer) = tokio::time::timeout(CONFIRMED_WITHIN, written(&mut self.trial)).await {
            self.trial_written(answer).await;
        }
    }

    /// A reload has replaced what was on trial.
    pub(super) fn abandon_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.forget_trial();
            let why = "a reload of the file came before the link had confirmed it";
            warn!("The configuration that a request carried counts no more: {why}.");
            self.rolled_back = Some(why.to_owned());
            trial.answer.send(Err(Refusal::new(Reason::RolledBack, why).into())).ok();
        }
    }

    /// Says what is in force, and has forgotten what no start is to take up again.
    pub(super) fn explain_origin(&mut self) {
        let origin = &self.origin;
        if origin.is_warning() {
            warn!("In force is {origin}.");
        } else {
            info!("In force is {origin}.");
        }
        if matches!(origin, Origin::FileChanged(_)) {
            self.order(ConfigurationRequest::Forget);
        }
    }

    /// No start takes it up, but its file should not lie there for ever.
    pub(super) fn forget_trial(&mut self) {
        self.order(ConfigurationRequest::ForgetTrial);
    }

    fn order(&mut self, order: ConfigurationRequest) {
        let written = self.gateway.configuration(order);
        self.waits.push(Box::pin(async move {
            if let Ok(Err(error)) = written.await {
                warn!(%error, "A configuration that a request carried could not be removed from the disk; it is not used.");
            }
        }));
    }
}

/// Every problem, for a program, and the first one in words.
fn refused(problems: &[Problem]) -> Failure {
    let (first, count) = (report::first_error_in_words(problems), report::count(problems));
    let words = format!("the configuration stays as it is: {first} ({count})");
    let data: Json = json!({ "problems": check::problems(problems) });
    Failure { refusal: Refusal::new(Reason::Unreadable, words), data }
}
