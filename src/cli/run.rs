//! `fieldgate run`: the service.

mod by_request;
mod trial;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;

use futures_util::stream::{FuturesUnordered, StreamExt};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::Value as Json;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::cli::signals::{SignalMeaning, Signals};
use crate::cli::{self, safe_state};
use crate::config::{self, Config, ConfigError, InForce, Loaded, Origin, Severity, report};
use crate::deadlines;
use crate::gateway::{self, Gateway, ReloadError};
use crate::last_good;
use crate::requests::{Failure, Question};
use crate::systemd;
use crate::views::Views;
use fieldgate_clock as clock;
use fieldgate_model::{Reason, Refusal, describe_error};
use fieldgate_spool::configuration::{self as stored, Fingerprint};

use by_request::Changes;
use trial::Trial;

/// Where the answer to a request goes.
type Answer = oneshot::Sender<Result<Json, Failure>>;

/// What requests ask of the gateway.
type Questions = mpsc::Receiver<Question>;

/// Runs until SIGTERM or another signal that ends it. A second one, half a second later or more, ends it at once.
///
/// A configuration that cannot run is reported and ends with 78, with the outputs driven safe by the last good table: they
/// may still be where an earlier run left them.
pub fn run(path: &Path) -> ExitCode {
    keep_memory_private();
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        systemd::connect();
    }
    // Buses and the spool are threads: what they hand over, and what the broker sends, is looked for after every turn or few of a
    // task. By default it may wait for 61 turns, which in a flood of commands delayed readings by half a second.
    let runtime =
        tokio::runtime::Builder::new_current_thread().global_queue_interval(1).event_interval(8).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return cli::fail(&format!("the runtime could not be started: {e}")),
    };
    let code = runtime.block_on(async {
        // Before anything else, so that a signal never finds the program without an answer.
        match Signals::listen() {
            Ok(signals) => begin(path, signals).await,
            Err(e) => cli::fail(&format!("signals cannot be received: {e}")),
        }
    });
    // A name look-up may still hang in a thread of the runtime; it is not waited for.
    runtime.shutdown_background();
    systemd::flush();
    code
}

/// The broker's password lies in memory. No image of it goes to disk when the program is aborted, whatever the limits of the
/// service say, and no other process of the same user may look into it (PR_SET_DUMPABLE(2const)).
fn keep_memory_private() {
    if let Err(e) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(error = %e, "Core dumps could not be switched off; one could contain passwords.");
    }
}

async fn begin(path: &Path, signals: Signals) -> ExitCode {
    let in_force = match config::load_in_force(path) {
        Ok(in_force) => in_force,
        Err(error) => {
            let code = cli::refuse(&error);
            // What the configuration is wrong by decides the exit code.
            let _code = safe_state::by_table(path);
            return code;
        }
    };
    log_warnings(&in_force.loaded);
    serve(path, in_force, signals).await
}

/// What `check` would say of a configuration that may run.
fn log_warnings(loaded: &Loaded) {
    for problem in &loaded.warnings {
        let (part, line) = (problem.part_in_words(), problem.place.map(|place| place.line));
        match problem.severity {
            Severity::Note => info!(part, line, hint = problem.hint, "{}", problem.what),
            Severity::Warning | Severity::Error => warn!(part, line, hint = problem.hint, "{}", problem.what),
        }
    }
}

async fn serve(path: &Path, in_force: InForce, mut signals: Signals) -> ExitCode {
    let mut gateway = match Gateway::start(in_force.loaded.config.clone(), Views::default()) {
        Ok(gateway) => gateway,
        Err(e) => return cli::fail(&describe_error(&e)),
    };
    let table = cli::table_of_outputs(path);
    keep_table(table.as_ref(), gateway.config());
    gateway.outputs_made_safe().await;
    systemd::ready("started");
    let mut main_loop = MainLoop::new(path, table.as_ref(), &mut gateway, in_force);
    run_main_loop(&mut main_loop, &mut signals).await;
    main_loop.end();
    info!("Stopping.");
    systemd::stopping();
    // For the last time: an orderly stop is shorter than one of its periods.
    systemd::watchdog();
    tokio::select! {
        () = gateway.stop() => ExitCode::SUCCESS,
        () = signals.stop_again() => cli::fail("ended at once by a second signal; outputs may not be safe"),
    }
}

/// A running gateway, and what the main loop of the program knows besides.
struct MainLoop<'a> {
    path: &'a Path,
    table: Option<&'a last_good::Place>,
    gateway: &'a mut Gateway,
    /// What is in force, but for what requests have changed for a time.
    base: Config,
    changes: Changes,
    /// What the file says, as of the start or the last reload.
    file: Config,
    fingerprint: Fingerprint,
    /// Whose configuration is in force.
    origin: Origin,
    trial: Option<Trial>,
    /// Why the last one that a request carried was rolled back in this run.
    rolled_back: Option<String>,
    /// What waits for others: answers to a few requests, and removals on the disk.
    waits: FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>>,
}

impl<'a> MainLoop<'a> {
    fn new(path: &'a Path, table: Option<&'a last_good::Place>, gateway: &'a mut Gateway, in_force: InForce) -> Self {
        let InForce { loaded, file, fingerprint, origin } = in_force;
        let (changes, waits) = (Changes::default(), FuturesUnordered::new());
        let (trial, rolled_back, base) = (None, None, loaded.config);
        let mut main_loop =
            Self { path, table, gateway, base, changes, file, fingerprint, origin, trial, rolled_back, waits };
        if stored::has_trial(&main_loop.file.spool.path) {
            let why = "the program ended before the link had confirmed it";
            warn!("A configuration that a request carried is not taken up: {why}.");
            main_loop.rolled_back = Some(why.to_owned());
            main_loop.forget_trial();
        }
        main_loop.explain_origin();
        main_loop
    }

    /// Ends what must not outlast the program; who waits for an answer gets that of a gateway that ends.
    fn end(mut self) {
        self.changes.stop();
    }
}

/// Looks after a running gateway until it is asked to end: signals, requests, a configuration on trial, health and the watchdog.
async fn run_main_loop(main_loop: &mut MainLoop<'_>, signals: &mut Signals) {
    let mut link = main_loop.gateway.link_status();
    let mut questions = main_loop.gateway.questions();
    let watched = systemd::watchdog_period();
    let mut look = clock::interval(deadlines::look(watched));
    let (mut complained, mut alarmed) = (false, false);
    let mut published = tokio::time::Instant::now();
    let health = tokio::time::sleep_until(published + main_loop.gateway.health_period());
    tokio::pin!(health);
    loop {
        let next = published + main_loop.gateway.health_period();
        if health.deadline() != next {
            health.as_mut().reset(next);
        }
        tokio::select! {
            asked = signals.next() => {
                if asked == SignalMeaning::Hangup && !signals.terminal_closed().await {
                    // The log has said what came of it.
                    main_loop.reload().await.ok();
                } else {
                    return asked.explain();
                }
            }
            Some(question) = next_question(&mut questions) => {
                if main_loop.answer(question).await {
                    return info!("Asked to restart by a request.");
                }
            }
            written = trial::written(&mut main_loop.trial) => main_loop.trial_written(written).await,
            Some(()) = main_loop.waits.next(), if !main_loop.waits.is_empty() => {}
            changed = link.changed() => {
                if changed.is_err() {
                    error!("The link has ended unexpectedly; the gateway ends too, so that a supervisor can restart it.");
                    return;
                }
                main_loop.look_at_trial().await;
                main_loop.gateway.publish_health();
                published = tokio::time::Instant::now();
            }
            () = &mut health => {
                main_loop.gateway.publish_health();
                published = tokio::time::Instant::now();
            }
            // One timer for all of it, and the others stay as they are: each that is set again costs a system call.
            _ = look.tick() => {
                clock::refresh();
                main_loop.expire().await;
                main_loop.look_at_trial().await;
                let alive = main_loop.gateway.check_progress();
                if alive {
                    systemd::watchdog();
                } else if !complained {
                    error!("A part has stopped making progress; the watchdog is no longer fed.");
                }
                complained = !alive;
                if std::mem::replace(&mut alarmed, main_loop.gateway.has_spool_alarm()) != alarmed {
                    main_loop.gateway.publish_health();
                    published = tokio::time::Instant::now();
                }
            }
        }
    }
}

/// What a request asks of the gateway; never, where nobody hands it on.
async fn next_question(questions: &mut Option<Questions>) -> Option<Question> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}

impl MainLoop<'_> {
    /// The new file is checked; if it is bad, the old configuration stays. Files are read and circles of rules proved on the runtime's
    /// thread: buses and spool have their own and go on, link and commands wait.
    ///
    /// # Errors
    /// Why the old one stays, or what of the new one is not in use, for a request; the log and systemd have it by then.
    async fn reload(&mut self) -> Result<Json, Refusal> {
        systemd::reloading();
        self.await_confirmation().await;
        let InForce { loaded, file, fingerprint, origin } = match config::load_in_force(self.path) {
            Ok(in_force) => in_force,
            Err(e) => {
                for problem in &e.problems {
                    let (part, line) = (problem.part_in_words(), problem.place.map(|place| place.line));
                    error!(part, line, hint = problem.hint, "{}", problem.what);
                }
                error!(problems = e.problems.len(), "Configuration not reloaded; the old one stays.");
                systemd::ready("the new configuration has errors, see the log; the old one stays");
                return Err(not_reloaded(&e));
            }
        };
        self.changes.keep_for(&loaded.config);
        match self.gateway.reload(self.changes.applied_to(&loaded.config)).await {
            Err(e) if e.keeps_the_old() => {
                error!(error = %describe_error(&e), "Configuration not reloaded; the old one stays.");
                systemd::ready("reload refused, see the log; the old configuration stays");
                Err(Refusal::new(Reason::Unreadable, format!("the old configuration stays: {}", describe_error(&e))))
            }
            outcome => {
                log_warnings(&loaded);
                keep_table(self.table, self.gateway.config());
                self.abandon_trial();
                (self.base, self.file, self.fingerprint, self.origin) = (loaded.config, file, fingerprint, origin);
                let reloaded = reloaded(outcome);
                self.explain_origin();
                reloaded
            }
        }
    }
}

fn not_reloaded(error: &ConfigError) -> Refusal {
    let (first, count) = (report::first_error_in_words(&error.problems), error.problems.len());
    let words = format!("the old configuration stays: {first} ({count} in all; `fieldgate check` lists them)");
    Refusal::new(Reason::Unreadable, words)
}

/// Says that the new configuration is in force, and whether all of it is.
fn reloaded(outcome: Result<(), ReloadError>) -> Result<Json, Refusal> {
    match outcome {
        Ok(()) => {
            info!("Configuration reloaded.");
            systemd::ready("configuration reloaded");
            Ok(Json::Null)
        }
        Err(e) => {
            error!(error = %describe_error(&e), "Configuration reloaded, but part of it is not in use; restart the gateway.");
            systemd::ready("configuration reloaded, but a bus of it is not served, see the log");
            Err(Refusal::new(Reason::Hardware, format!("a part of it is not in use: {}", describe_error(&e))))
        }
    }
}

fn keep_table(table: Option<&last_good::Place>, config: &Config) {
    let Some(table) = table else {
        warn!("There is no runtime directory: `fieldgate safe-state` will read the configuration file instead.");
        return;
    };
    if let Err(e) = last_good::save(table, &gateway::outputs(config)) {
        warn!(error = %describe_error(&e), "The table of outputs could not be saved; `fieldgate safe-state` may use an older one.");
    }
}
