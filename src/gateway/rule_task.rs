//! The rules' task: how it is started, what a reload hands it, and its stop signal.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::commands::Switch;
use crate::config::Config;
use crate::gateway::LinkChannels;
use crate::http::HttpResources;
use crate::metrics::Metrics;
use crate::rules::{RuleSet, Rules};
use crate::worker::Context;

/// The rules' task.
pub(super) struct RuleTask {
    task: JoinHandle<()>,
    set: watch::Sender<Arc<RuleSet>>,
    stop: watch::Sender<bool>,
}

fn rule_set(config: &Config) -> Arc<RuleSet> {
    Arc::new(RuleSet { rules: config.rules.clone(), topics: config.topics.clone() })
}

impl RuleTask {
    pub(super) fn start(
        config: &Config,
        shown: &HttpResources,
        context: &Context,
        link_channels: &LinkChannels,
        switches: mpsc::Receiver<Switch>,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        let Metrics { sources, views } = &shown.metrics;
        let (stop, stopped) = watch::channel(false);
        let (set, in_force) = watch::channel(rule_set(config));
        let rules = Rules {
            set: in_force,
            roster: sources.roster.clone(),
            signals: context.signals.clone(),
            events: context.events.clone(),
            link: sources.link.clone(),
            switches,
            persisted_values: link_channels.spool.values(),
            latest: link_channels.latest.clone(),
            views: views.clone(),
            alarms: sources.rules.clone(),
            protected: shown.protected.clone(),
            stopping,
            stop: stopped,
        };
        Self { task: tokio::spawn(rules.run()), set, stop }
    }

    /// The rules of this configuration from now on; those that are the same go on.
    pub(super) fn reload(&self, config: &Config) {
        self.set.send_replace(rule_set(config));
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Gives away its task and what ends it, for the stop.
    pub(super) fn into_parts(self) -> (JoinHandle<()>, watch::Sender<bool>) {
        (self.task, self.stop)
    }
}
