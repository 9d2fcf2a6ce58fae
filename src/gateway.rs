//! The composition root: builds every part from a [`Config`], joins them by channels and owns their tasks and threads.
//!
//! Started downstream first: the spool (whose lock refuses a second instance before it can touch an output), the workers
//! (outputs to their safe state), requests, recorder, commands, rules, page, link. Stopped upstream first, see `shutdown.rs`. A
//! reload builds a new [`SharedRoster`], has all buses release what changes and hands each its new plan; what is the same in both
//! goes on untouched.

mod announce;
mod core_tasks;
mod plans;
mod replan;
mod request_task;
mod rule_task;
mod server_tasks;
mod stall_detector;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{error, info, warn};

use crate::commands;
use crate::config::Config;
use crate::curves::Curves;
use crate::deadlines::{self, Deadlines};
use crate::gateway::core_tasks::{CommandChannels, RecorderChannels};
use crate::gateway::stall_detector::Statuses;
use crate::health::{Liveness, SensorTallies, Sources};
use crate::history::History;
use crate::recorder;
use crate::requests::REQUEST_CAPACITY;
use crate::roster::{Protected, SharedRoster};
use crate::shutdown::{self, Remains, Tasks};
use crate::variables::Variables;
use crate::views::Views;
use crate::worker::{self, NoThread, Worker};
use fieldgate_clock as clock;
use fieldgate_link::{self as link, Incoming, Latest, LinkState, LinkStatus, PeerStatus};
use fieldgate_model::RunId;
use fieldgate_spool::{self as spool, Spool, SpoolError, SpoolThread};

pub use plans::{GOOD_FOR_PERIODS, inputs, interlocks, outputs, retained_topics};

/// Why the gateway could not start. Report it to the user and end.
#[derive(Debug, Error)]
pub enum StartError {
    /// Another instance uses the spool, or it cannot be opened at all.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The kernel gave no thread.
    #[error(transparent)]
    Thread(#[from] NoThread),
}

/// Why a new configuration was not taken up, or not as a whole, although it is valid.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The spool is open in one folder for the life of the program. The old configuration stays.
    #[error("spool.path cannot change while the gateway runs; restart it instead")]
    SpoolPath,
    /// The kernel gave no thread: the new configuration is in force, except for one bus, which is not in use. Restart the
    /// program.
    #[error(transparent)]
    Thread(#[from] NoThread),
}

impl ReloadError {
    /// Whether the old configuration is still in force, untouched.
    pub fn keeps_the_old(&self) -> bool {
        matches!(self, Self::SpoolPath)
    }
}

/// A running gateway.
pub struct Gateway {
    config: Config,
    workers: BTreeMap<plans::BusKey, Worker>,
    context: worker::Context,
    sources: Sources,
    tallies: SensorTallies,
    liveness: Liveness,
    protected: Protected,
    roster: watch::Sender<SharedRoster>,
    views: Views,
    variables: Variables,
    history: History,
    curves: Curves,
    servers: server_tasks::ServerTasks,
    requests: request_task::RequestTask,
    announcing: announce::Announcing,
    link_channels: LinkChannels,
    spool_thread: SpoolThread,
    recorder: RecorderTask,
    commands: CommandTask,
    rules: rule_task::RuleTask,
    link: LinkTask,
    stalls: stall_detector::Stalls,
}

/// What a link reads from and writes to. A reload may replace the link; these stay.
struct LinkChannels {
    spool: Spool,
    latest: Latest,
    incoming: mpsc::Sender<Incoming>,
    command_topics: watch::Sender<Vec<String>>,
    peer_topic: watch::Sender<Option<String>>,
    peer: watch::Sender<PeerStatus>,
    link_status: watch::Sender<LinkStatus>,
}

/// The link's task and its stop signal.
struct LinkTask {
    task: JoinHandle<link::Handover>,
    stop: watch::Sender<bool>,
}

/// The recorder's task, and the sign of life by which the watchdog knows that it turns.
struct RecorderTask {
    task: JoinHandle<()>,
    last_turn: Arc<recorder::LastTurn>,
}

/// The task of commands, the flag by which it refuses them at the end, and its stop signal.
struct CommandTask {
    task: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
}

impl Gateway {
    /// Builds and starts every part; the newest readings and states are written to `views`.
    ///
    /// # Errors
    /// [`StartError`]; the program must end then, for some parts may run.
    pub fn start(config: Config, views: Views) -> Result<Self, StartError> {
        let (run, started) = (RunId(fastrand::u32(..)), clock::now());
        let (spool, spool_thread) = spool::open(config.spool.clone(), run)?;
        let (events, reading_events) = mpsc::channel(recorder::EVENT_CAPACITY);
        let (states, state_events) = mpsc::channel(recorder::STATE_CAPACITY);
        let (answers, from_commands) = mpsc::channel(recorder::ANSWER_CAPACITY);
        let (incoming, from_link) = mpsc::channel(commands::COMMAND_CAPACITY);
        let context = core_tasks::context(run, &spool, events, states);
        context.signals.arrange(plans::signal_sources(&config));
        let latest = Latest::default();
        let variables = core_tasks::variables(&config, &context, &spool, &latest);
        plans::arrange(&context.interlocks, &config);
        let mut tallies = SensorTallies::new();
        let workers = start_workers(&config, &mut tallies, &context)?;
        let (roster, shared) = watch::channel(Arc::new(plans::roster(&config, &workers, &tallies)));
        let link_channels = LinkChannels::new(&config, spool, latest, incoming);
        let sources = core_tasks::sources(run, started, &shared, &link_channels, &context);
        let (history, curves) = (History::default(), Curves::default());
        let (to_requests, requested) = mpsc::channel(REQUEST_CAPACITY);
        let requests = request_task::RequestTask::start(&config, shared, requested, &history, answers.clone());
        let recorder = RecorderTask::start(
            &link_channels,
            &sources,
            RecorderChannels { events: reading_events, states: state_events, answers: from_commands },
            views.clone(),
            history.clone(),
            curves.clone(),
        );
        let shown = core_tasks::shown(&sources, &views, &curves, &variables, &link_channels);
        let channels = CommandChannels { from_link, to_requests, answers };
        let (commands, rules) = core_tasks::commands_and_rules(&config, &shown, &context, &link_channels, channels);
        let (liveness, protected) = (shown.liveness.clone(), shown.protected.clone());
        let servers = server_tasks::ServerTasks::start(&config, shown);
        link_channels.latest.set(config.topics.devices(), plans::devices(&config));
        let link = link_channels.link(&config, run, &context.heartbeat, None);
        let stalls = stall_detector::Stalls::new(crate::systemd::watchdog_period());
        let mut gateway = Self {
            config,
            workers,
            context,
            sources,
            tallies,
            liveness,
            protected,
            roster,
            views,
            variables,
            history,
            curves,
            servers,
            requests,
            announcing: announce::Announcing::default(),
            link_channels,
            spool_thread,
            recorder,
            commands,
            rules,
            link,
            stalls,
        };
        gateway.announce();
        gateway.publish_health();
        info!(%run, sensors = gateway.config.sensors.len(), actuators = gateway.config.actuators.len(), "Gateway started.");
        Ok(gateway)
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The link's status, for waiting on its changes.
    pub fn link_status(&self) -> watch::Receiver<LinkStatus> {
        self.sources.link.clone()
    }

    /// Readings that the broker has acknowledged and messages that wait for it.
    pub fn delivered_and_waiting(&self) -> (u64, u64) {
        let stats = self.sources.spool.stats();
        let taken: u64 = self.tallies.values().map(|tally| tally.taken.load(Ordering::Relaxed)).sum();
        (taken.saturating_sub(stats.queued + stats.dropped), stats.queued)
    }

    /// Whether a person should look after the spool's disk.
    pub fn has_spool_alarm(&self) -> bool {
        self.sources.spool.stats().error.is_some()
    }

    /// How often health must be published: every 30 s, or so often that an output with a very short `safe_after` hears the
    /// broker's acknowledgement in time, since MQTT's own keep-alive counts in whole seconds.
    pub fn health_period(&self) -> Duration {
        let shortest = self.config.actuators.iter().filter_map(|a| a.limits.safe_after).min();
        match shortest {
            Some(after) if after < 2 * plans::SHORTEST_KEEP_ALIVE => after / 3,
            _ => crate::health::EVERY,
        }
    }

    /// Publishes health and sets systemd's status line.
    pub fn publish_health(&self) {
        self.context.signals.set_link_up(self.link_status().borrow().state == LinkState::Up);
        self.link_channels.latest.set(self.config.topics.health(), self.sources.payload());
        crate::systemd::status(&self.sources.line());
    }

    /// Whether every part has turned lately; buses that hang in a device are reported on the way.
    pub fn check_progress(&mut self) -> bool {
        self.announce_what_is_due();
        let statuses = Statuses { latest: &self.link_channels.latest, tallies: &self.tallies, views: &self.views };
        let last_turn = &self.recorder.last_turn;
        let stalled = stall_detector::check(&mut self.stalls, &self.workers, &self.config, statuses, last_turn);
        let tasks = [
            ("recorder", self.recorder.task.is_finished()),
            ("commands", self.commands.task.is_finished()),
            ("requests", self.requests.is_finished()),
            ("rules", self.rules.is_finished()),
            ("link", self.link.task.is_finished()),
            ("page", self.servers.page.is_finished()),
            ("file of metrics", self.servers.metrics_file.is_finished()),
        ];
        let ended = tasks.iter().find(|(_, is_finished)| *is_finished).map(|(task, _)| format!("the {task} has ended"));
        let stalled = stalled.or(ended);
        let is_alive = stalled.is_none();
        self.liveness.set(stalled);
        is_alive
    }

    /// Takes up a new configuration.
    ///
    /// # Errors
    /// [`ReloadError::keeps_the_old`] says which configuration is in force then.
    pub async fn reload(&mut self, new: Config) -> Result<(), ReloadError> {
        if new.spool.path != self.config.spool.path {
            return Err(ReloadError::SpoolPath);
        }
        let old = std::mem::replace(&mut self.config, new);
        // Before the workers hear of it: what they say of new devices must find them known.
        let sensors = self.config.sensors.iter().map(|sensor| sensor.name.clone());
        let outputs = self.config.actuators.iter().map(|actuator| actuator.name.clone());
        // Still below the base of the old: what is there moves with the rest.
        let plain = plans::plain(&self.config, &old.topics);
        self.roster.send_modify(|roster| *roster = Arc::new(roster.expecting(sensors, outputs, plain)));
        // Without a bus the rest of the new configuration still holds: the old one is gone by then.
        let served = self.replan(plans::deadlines(&old)).await;
        if old.spool != self.config.spool
            && self.link_channels.spool.reconfigure(self.config.spool.clone()).await.is_err()
        {
            error!("The spool's thread has ended; its new settings are not used.");
        }
        // No await between these: what the recorder publishes is either moved or published in the new place.
        let roster = plans::roster(&self.config, &self.workers, &self.tallies);
        self.roster.send_replace(Arc::new(roster));
        self.link_channels.latest.retain_readings_on(plans::retained_readings(&self.config));
        let moved = old.topics != self.config.topics;
        if moved {
            self.link_channels.latest.rebase(old.topics.base(), self.config.topics.base());
        }
        self.link_channels.command_topics.send_if_modified(|topics| {
            let new = plans::command_topics(&self.config);
            let is_new = *topics != new;
            *topics = new;
            is_new
        });
        if plans::link_settings(&old) != plans::link_settings(&self.config) {
            self.relink().await;
        }
        if moved {
            // Only now: the old link publishes on these topics until its end.
            for topic in plans::left_topics(&old) {
                self.link_channels.latest.clear(topic);
            }
        }
        for topic in plans::abandoned_topics(&old, &self.config) {
            self.link_channels.latest.clear(topic);
        }
        // Behind the workers' new plans: what they order is for outputs that are there.
        self.rules.reload(&self.config);
        self.show_plainly();
        self.variables.show_below(&self.config.topics);
        self.requests.allow(&self.config, &self.history);
        self.servers.reload(&self.config);
        self.link_channels.latest.set(self.config.topics.devices(), plans::devices(&self.config));
        self.announce();
        self.publish_health();
        served.map_err(ReloadError::from)
    }

    /// Publishes as bare text what is known already, and forgets what is known of devices that have gone.
    fn show_plainly(&self) {
        let roster = self.roster.borrow();
        self.views.retain(&roster.sensors, &roster.outputs);
        self.history.retain(&roster.sensors);
        self.curves.retain(&roster.sensors);
        if self.config.plain {
            let known = roster.plain.of_view(&self.views.current());
            known.into_iter().for_each(|(topic, text)| self.link_channels.latest.set(topic, text));
        }
    }

    /// Gives every thread its new plan, with signs of life meanwhile.
    async fn replan(&mut self, replaced: Deadlines) -> Result<(), NoThread> {
        self.context.signals.arrange(plans::signal_sources(&self.config));
        commands::keep(&self.context.events, self.variables.arrange(&self.config.variables));
        let plans = plans::of(&self.config, &mut self.tallies, &self.context.signals);
        let grace = replaced.replace.max(plans::deadlines(&self.config).replace);
        replan::release(&mut self.workers, &plans, grace, |workers| {
            let statuses = Statuses { latest: &self.link_channels.latest, tallies: &self.tallies, views: &self.views };
            let last_turn = &self.recorder.last_turn;
            if stall_detector::check(&mut self.stalls, workers, &self.config, statuses, last_turn).is_none() {
                crate::systemd::watchdog();
            }
        })
        .await;
        // Between the two: a device that leaves goes by its own interlocks, also where another takes over its name.
        plans::arrange(&self.context.interlocks, &self.config);
        replan::adopt(&mut self.workers, plans, &self.context)
    }

    /// Ends the link and starts it with the settings in force; what is undelivered waits in the spool meanwhile.
    async fn relink(&mut self) {
        self.link.stop.send_replace(true);
        let handover = match timeout(deadlines::LINK, &mut self.link.task).await {
            Ok(Ok(handover)) => Some(handover),
            Ok(Err(_)) => {
                warn!("The old link ended by a panic; a new one is started.");
                None
            }
            Err(_) => {
                warn!("The old link does not end; a new one is started.");
                self.link.task.abort();
                None
            }
        };
        self.link = self.link_channels.link(&self.config, self.sources.run, &self.context.heartbeat, handover);
    }

    /// Waits until every output was driven to its safe state, for two seconds at most: a bus that hangs must not keep the
    /// program from saying that it runs. Its outputs are tried again for ever.
    pub async fn outputs_made_safe(&mut self) {
        let deadline = Instant::now() + deadlines::START;
        for (bus, worker) in &mut self.workers {
            if timeout_at(deadline, worker.begun()).await.is_err() {
                error!(%bus, "Outputs of this bus are not in their safe state yet: it hangs.");
            }
        }
    }

    /// Stops everything, upstream first, within two seconds and the dead times of outputs unless something hangs.
    pub async fn stop(self) {
        let deadlines = plans::deadlines(&self.config);
        let remains = Remains {
            workers: self.workers.into_iter().map(|(key, worker)| (key.to_string(), worker)).collect(),
            stopping: self.commands.stopping,
            events: self.context,
            tasks: Tasks {
                commands: (self.commands.task, self.commands.stop),
                rules: self.rules.into_parts(),
                requests: self.requests.into_task(),
                page: self.servers.page,
                metrics_file: self.servers.metrics_file,
                servers_stop: self.servers.stop,
                recorder: self.recorder.task,
                link: (self.link.task, self.link.stop),
            },
            spool: self.link_channels.spool,
            spool_thread: self.spool_thread,
        };
        shutdown::stop(remains, deadlines).await;
    }
}

fn start_workers(
    config: &Config,
    sensors: &mut SensorTallies,
    context: &worker::Context,
) -> Result<BTreeMap<plans::BusKey, Worker>, StartError> {
    let mut workers = BTreeMap::new();
    for (key, plan) in plans::of(config, sensors, &context.signals) {
        let worker = Worker::spawn(&key.to_string(), plan, context.clone())?;
        workers.insert(key, worker);
    }
    Ok(workers)
}
