//! How the tasks of the gateway are started.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, watch as latest_of};

use crate::commands::{Answers, Commands, Switch};
use crate::config::Config;
use crate::gateway::{Commanding, LinkTask, Recording, Ways, plans};
use crate::health::Sources;
use crate::history::History;
use crate::recorder::{self, Answer, Recorder};
use crate::roster::Protected;
use crate::variables::Variables;
use crate::views::Views;
use crate::worker;
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_link::{self as link, Incoming};
use fieldgate_model::RunId;
use fieldgate_spool::Spool;

impl Ways {
    /// Starts a link with the settings of `config`, which knows what the one before has learnt.
    pub(super) fn link(
        &self,
        config: &Config,
        run: RunId,
        heartbeat: &Arc<BrokerHeartbeat>,
        handover: Option<link::Handover>,
    ) -> LinkTask {
        let (stop, stopped) = latest_of::channel(false);
        let parts = link::Parts {
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
        LinkTask { task: tokio::spawn(link::run(parts)), stop }
    }
}

impl Recording {
    pub(super) fn start(
        ways: &Ways,
        sources: &Sources,
        (events, states): (mpsc::Receiver<worker::Event>, mpsc::Receiver<worker::Event>),
        answers: mpsc::Receiver<Answer>,
        (views, history): (Views, History),
    ) -> Self {
        let progress = Arc::<recorder::Progress>::default();
        let recorder = Recorder {
            run: sources.run,
            events,
            states,
            answers,
            roster: sources.roster.clone(),
            link: sources.link.clone(),
            spool: ways.spool.clone(),
            latest: ways.latest.clone(),
            views,
            history,
            progress: Arc::clone(&progress),
        };
        Self { task: tokio::spawn(recorder.run()), progress }
    }
}

/// Where the commands hand on what is none, and what rules keep from them.
pub(super) struct Onward {
    pub(super) requests: mpsc::Sender<Incoming>,
    pub(super) switches: mpsc::Sender<Switch>,
    pub(super) protected: Protected,
}

impl Commanding {
    pub(super) fn start(
        sources: &Sources,
        spool: &Spool,
        variables: (Variables, mpsc::Sender<worker::Event>),
        (incoming, onward): (mpsc::Receiver<Incoming>, Onward),
        answers: mpsc::Sender<Answer>,
    ) -> Self {
        let (stop, stopped) = latest_of::channel(false);
        let stopping = Arc::new(AtomicBool::new(false));
        let answers = Answers::new(answers);
        let commands = Commands {
            incoming,
            roster: sources.roster.clone(),
            requests: onward.requests,
            switches: onward.switches,
            protected: onward.protected,
            variables: variables.0,
            persisted_values: spool.values(),
            events: variables.1,
            answers,
            stopping: Arc::clone(&stopping),
            command_ids: spool.command_ids(),
            tallies: Arc::clone(&sources.commands),
            stop: stopped,
        };
        Self { task: tokio::spawn(commands.run()), stopping, stop }
    }
}
