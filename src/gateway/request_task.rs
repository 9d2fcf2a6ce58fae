//! The task of requests: how it is started and what it may do; and the answers that only the gateway itself can give.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::commands::ReplySender;
use crate::config::Config;
use crate::gateway::Gateway;
use crate::history::History;
use crate::recorder::ReplyMessage;
use crate::requests::{Context, Question, Requests, Settings};
use crate::roster::SharedRoster;
use crate::worker::{Applied, Order};
use fieldgate_clock as clock;
use fieldgate_link::{Incoming, LinkState};
use fieldgate_model::{Action, Name, OutputValue, Reason, Refusal};
use fieldgate_spool::configuration::{ConfigurationRequest, Written};

/// Questions to the gateway that may wait: it takes one after the other, and a reload may take a second.
const CAPACITY: usize = 4;

/// The task of requests, what it is allowed, and what it asks.
pub(super) struct RequestTask {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    settings: watch::Sender<Settings>,
    asked: Option<mpsc::Receiver<Question>>,
}

impl RequestTask {
    pub(super) fn start(
        config: &Config,
        roster: watch::Receiver<SharedRoster>,
        incoming: mpsc::Receiver<Incoming>,
        history: &History,
        answers: mpsc::Sender<ReplyMessage>,
    ) -> Self {
        let (gateway, asked) = mpsc::channel(CAPACITY);
        let (settings, allowed) = watch::channel(Settings::default());
        let (stop, stopped) = watch::channel(false);
        let context = Context { roster, history: history.clone(), gateway };
        let answers = ReplySender::new(answers);
        let requests = Requests { incoming, settings: allowed, context, answers, stop: stopped };
        let task = Self { task: tokio::spawn(requests.run()), stop, settings, asked: Some(asked) };
        task.allow(config, history);
        task
    }

    /// Allows what this configuration allows, and keeps what may be asked for.
    pub(super) fn allow(&self, config: &Config, history: &History) {
        let settings = config.requests.clone().unwrap_or_default();
        history.set_wanted(settings.allow.contains("history"));
        self.settings.send_replace(settings);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Gives away its task and what ends it, for the stop.
    pub(super) fn into_task(self) -> (JoinHandle<()>, watch::Sender<bool>) {
        (self.task, self.stop)
    }
}

impl Gateway {
    /// What the gateway is asked; for the code that runs its loop, once.
    pub fn questions(&mut self) -> Option<mpsc::Receiver<Question>> {
        self.requests.asked.take()
    }

    /// What the gateway is.
    pub fn info(&self) -> Json {
        let config = &self.config;
        let uptime = clock::boottime().saturating_sub(self.sources.started.boot);
        let allow: BTreeSet<String> = config.requests.clone().unwrap_or_default().allow;
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "name": config.name.as_str(),
            "run": self.sources.run.to_string(),
            "uptime": uptime.as_secs(),
            "base_topic": config.topics.base(),
            "sensors": config.sensors.iter().map(|sensor| sensor.name.as_str()).collect::<Vec<_>>(),
            "actuators": config.actuators.iter().map(|actuator| actuator.name.as_str()).collect::<Vec<_>>(),
            "variables": config.variables.iter().map(|variable| variable.name.as_str()).collect::<Vec<_>>(),
            "requests": allow,
        })
    }

    /// Does something with the configurations that requests carry; the answer comes when it is on disk.
    pub fn configuration(&self, order: ConfigurationRequest) -> Written {
        self.link_channels.spool.configuration(order)
    }

    /// Whether the link is up and the broker was heard after this moment on [`clock::boottime`].
    pub fn was_heard_after(&self, moment: Duration) -> bool {
        let is_up = self.sources.link.borrow().state == LinkState::Up;
        is_up && self.context.heartbeat.last().is_some_and(|heard| heard > moment)
    }

    /// Switches an output on for so long, within its limits as any command.
    ///
    /// # Errors
    /// There is none of that name, a rule lets nobody move it, or its bus hangs.
    pub fn switch_on(&self, output: &Name, time: Duration) -> Result<oneshot::Receiver<Applied>, Refusal> {
        let roster = self.roster.borrow();
        let unknown = || Refusal::new(Reason::Unknown, format!("there is no output called {output}"));
        let target = roster.targets.get(output).ok_or_else(unknown)?;
        self.protected.may_be_moved(output)?;
        let (answer, applied) = oneshot::channel();
        let action = Action::Set(OutputValue::Switch(true));
        let order = Order::Apply { actuator: output.clone(), action, lease: Some(time), answer };
        let busy = || Refusal::new(Reason::Busy, "the output's bus has not taken the orders before this");
        target.inbox.try_send(order).map_err(|_| busy())?;
        Ok(applied)
    }

    /// How the gateway is, as on `B/health`.
    pub fn health(&self) -> Json {
        serde_json::from_slice(&self.sources.payload()).unwrap_or(Json::Null)
    }
}
