//! How the tasks of recorder, commands and link are started, and what they are given. The other tasks are started in files of their own:
//! `request_task.rs`, `rule_task.rs` and `server_tasks.rs`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, watch};

use crate::commands::{self, CommandTallies, Commands, LocalRequesters, ReplySender, Switch};
use crate::config::Config;
use crate::curves::Curves;
use crate::gateway::rule_task::RuleTask;
use crate::gateway::{CommandTask, LinkChannels, LinkTask, RecorderTask, plans};
use crate::health::{Liveness, Sources};
use crate::history::History;
use crate::http::HttpResources;
use crate::metrics::Metrics;
use crate::recorder::{self, Recorder, ReplyMessage};
use crate::roster::{Protected, RuleAlarms, SharedRoster};
use crate::rules;
use crate::variables::Variables;
use crate::views::Views;
use crate::worker::{self, BusAlarms, Trips};
use fieldgate_bus::signals::Signals;
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_link::{self as link, Incoming, Latest, LinkStatus, PeerStatus};
use fieldgate_model::{Moment, RunId};
use fieldgate_safety::SharedInterlocks;
use fieldgate_spool::Spool;

/// What every worker gets.
pub(super) fn context(
    run: RunId,
    spool: &Spool,
    events: mpsc::Sender<worker::Event>,
    states: mpsc::Sender<worker::Event>,
) -> worker::Context {
    worker::Context {
        run,
        events,
        states,
        heartbeat: Arc::default(),
        persisted_counts: spool.counts(),
        alarms: BusAlarms::default(),
        signals: Signals::default(),
        interlocks: SharedInterlocks::default(),
        trips: Trips::default(),
    }
}

/// Where health takes its numbers from.
pub(super) fn sources(
    run: RunId,
    started: Moment,
    roster: &watch::Receiver<SharedRoster>,
    link_channels: &LinkChannels,
    context: &worker::Context,
) -> Sources {
    Sources {
        run,
        started,
        roster: roster.clone(),
        link: link_channels.link_status.subscribe(),
        spool: link_channels.spool.vitals(),
        commands: CommandTallies::default(),
        buses: context.alarms.clone(),
        rules: RuleAlarms::default(),
        trips: context.trips.clone(),
    }
}

/// The variables with what earlier runs had been given. The signal store must have them already.
pub(super) fn variables(config: &Config, context: &worker::Context, spool: &Spool, latest: &Latest) -> Variables {
    let variables = Variables::new(context.signals.clone(), latest.clone(), config.topics.clone());
    variables.recall(&spool.values().borrow());
    commands::keep(&context.events, variables.arrange(&config.variables));
    variables
}

/// What the commands read from, and where they send what is not theirs to carry out.
pub(super) struct CommandChannels {
    /// Messages from the link.
    pub(super) from_link: mpsc::Receiver<Incoming>,
    /// Requests, which their own task answers.
    pub(super) to_requests: mpsc::Sender<Incoming>,
    /// Replies, which the recorder sends.
    pub(super) answers: mpsc::Sender<ReplyMessage>,
}

/// Starts the commands and the rules, which the commands switch and which may keep outputs from commands.
pub(super) fn commands_and_rules(
    config: &Config,
    shown: &HttpResources,
    context: &worker::Context,
    link_channels: &LinkChannels,
    channels: CommandChannels,
) -> (CommandTask, RuleTask) {
    let (switches, switched) = mpsc::channel(rules::SWITCH_CAPACITY);
    let commands = CommandTask::start(shown, &link_channels.spool, context.events.clone(), channels, switches);
    let stopping = Arc::clone(&commands.stopping);
    let rules = RuleTask::start(config, shown, context, link_channels, switched, stopping);
    (commands, rules)
}

/// What others are shown, and where their commands go.
pub(super) fn shown(
    sources: &Sources,
    views: &Views,
    curves: &Curves,
    variables: &Variables,
    link_channels: &LinkChannels,
) -> HttpResources {
    HttpResources {
        metrics: Metrics { sources: sources.clone(), views: views.clone() },
        curves: curves.clone(),
        variables: variables.clone(),
        protected: Protected::default(),
        liveness: Liveness::default(),
        commands: link_channels.incoming.clone(),
        requesters: LocalRequesters::default(),
    }
}

impl LinkChannels {
    /// Those of this configuration; no link is started yet.
    pub(super) fn new(config: &Config, spool: Spool, latest: Latest, incoming: mpsc::Sender<Incoming>) -> Self {
        Self {
            spool,
            latest,
            incoming,
            command_topics: watch::channel(plans::command_topics(config)).0,
            peer_topic: watch::channel(None).0,
            peer: watch::channel(PeerStatus::default()).0,
            link_status: watch::channel(LinkStatus::new(&config.link)).0,
        }
    }

    /// Starts a link with the settings of `config`, which knows what the one before has learnt.
    pub(super) fn link(
        &self,
        config: &Config,
        run: RunId,
        heartbeat: &Arc<BrokerHeartbeat>,
        handover: Option<link::Handover>,
    ) -> LinkTask {
        let (stop, stopped) = watch::channel(false);
        let resources = link::LinkResources {
            settings: plans::link_settings(config),
            run,
            spool: self.spool.clone(),
            latest: self.latest.clone(),
            command_topics: self.command_topics.subscribe(),
            peer_topic: self.peer_topic.subscribe(),
            peer: self.peer.clone(),
            commands: self.incoming.clone(),
            status: self.link_status.clone(),
            heartbeat: Arc::clone(heartbeat),
            stop: stopped,
            handover,
        };
        LinkTask { task: tokio::spawn(link::run(resources)), stop }
    }
}

/// What the recorder reads from.
pub(super) struct RecorderChannels {
    /// Readings, losses and what else goes to the spool.
    pub(super) events: mpsc::Receiver<worker::Event>,
    /// States and statuses, of which the newest counts.
    pub(super) states: mpsc::Receiver<worker::Event>,
    /// Replies to commands and requests.
    pub(super) answers: mpsc::Receiver<ReplyMessage>,
}

impl RecorderTask {
    pub(super) fn start(
        link_channels: &LinkChannels,
        sources: &Sources,
        channels: RecorderChannels,
        views: Views,
        history: History,
        curves: Curves,
    ) -> Self {
        let last_turn = Arc::<recorder::LastTurn>::default();
        let recorder = Recorder {
            run: sources.run,
            events: channels.events,
            states: channels.states,
            answers: channels.answers,
            roster: sources.roster.clone(),
            link: sources.link.clone(),
            spool: link_channels.spool.clone(),
            latest: link_channels.latest.clone(),
            views,
            history,
            curves,
            last_turn: Arc::clone(&last_turn),
        };
        Self { task: tokio::spawn(recorder.run()), last_turn }
    }
}

impl CommandTask {
    fn start(
        shown: &HttpResources,
        spool: &Spool,
        events: mpsc::Sender<worker::Event>,
        channels: CommandChannels,
        switches: mpsc::Sender<Switch>,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let stopping = Arc::new(AtomicBool::new(false));
        let commands = Commands {
            incoming: channels.from_link,
            roster: shown.metrics.sources.roster.clone(),
            requests: channels.to_requests,
            switches,
            protected: shown.protected.clone(),
            variables: shown.variables.clone(),
            persisted_values: spool.values(),
            events,
            answers: ReplySender::also_to(channels.answers, shown.requesters.clone()),
            stopping: Arc::clone(&stopping),
            command_ids: spool.command_ids(),
            tallies: Arc::clone(&shown.metrics.sources.commands),
            views: shown.metrics.views.clone(),
            stop: stopped,
        };
        Self { task: tokio::spawn(commands.run()), stopping, stop }
    }
}
