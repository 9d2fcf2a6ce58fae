//! `fieldgate forget`: clears from the broker what this gateway left there retained, for one that is not to come back.
//!
//! What is retained is found at the broker; what was announced to Home Assistant is in the spool's database as well, also where
//! the configuration has another name or prefix by now. Nothing of another base topic is touched, and no message that waits.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use crate::cli;
use crate::config::{self, Config};
use crate::gateway;
use fieldgate_link::{self as link, Forgotten};
use fieldgate_model::{RunId, describe_error};
use fieldgate_spool::{self as spool, Announcements, Spool, SpoolError, SpoolThread};

/// Clears what is retained, and prints what that was.
pub fn run(path: &Path, json: bool) -> ExitCode {
    let config = match config::load_in_force(path).map(|in_force| in_force.loaded) {
        Ok(loaded) => loaded.config,
        Err(error) => return cli::refuse(&error),
    };
    let opened = match open(&config) {
        Ok(opened) => opened,
        Err(error @ SpoolError::Held { .. }) => {
            let words = describe_error(&error);
            return cli::fail(&format!("{words}; the gateway would publish everything again, so stop it first"));
        }
        Err(error) => return cli::fail(&describe_error(&error)),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return cli::fail(&format!("the runtime could not be started: {e}")),
    };
    let all = runtime.block_on(clear(&config, opened.map(|(spool, _)| spool)));
    // A name look-up may still hang in a thread of the runtime; it is not waited for.
    runtime.shutdown_background();
    print(&all, json)
}

/// The spool, which nobody else may have open; nothing where there has never been one. It is not made: it would belong to the user who
/// runs this.
fn open(config: &Config) -> Result<Option<(Spool, SpoolThread)>, SpoolError> {
    if !config.spool.path.join("spool.db").exists() {
        return Ok(None);
    }
    spool::open(config.spool.clone(), RunId(fastrand::u32(..))).map(Some)
}

async fn clear(config: &Config, spool: Option<Spool>) -> Vec<Forgotten> {
    let (known, shown) = (gateway::retained_topics(config), config.shown_devices());
    let shown = || shown.iter().map(|device| device.topic.clone()).collect();
    let announced = spool.as_ref().map(Spool::announced);
    let topics: BTreeSet<String> = match announced.as_ref().map(|announced| announced.earlier()) {
        Some(Some(earlier)) => earlier.keys().cloned().collect(),
        Some(None) => {
            cli::print_message(
                "warning: the spool's file cannot be read, so what an earlier configuration announced to Home Assistant is not known\n",
            );
            shown()
        }
        None => shown(),
    };
    let all = link::forget(&config.link, &known, &topics).await;
    if let Some(spool) = spool {
        if let Some(announced) = announced.filter(|_| all.iter().all(|done| done.error.is_none())) {
            announced.set(Announcements::new());
        }
        spool.close().await;
    }
    all
}

fn print(all: &[Forgotten], json: bool) -> ExitCode {
    let is_good = all.iter().all(|done| done.error.is_none());
    let code = if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if json {
        let of = |done: &Forgotten| {
            let refused = done.refused.iter().map(|(topic, words)| json!({ "topic": topic, "reason": words }));
            json!({
                "broker": done.broker,
                "cleared": done.cleared,
                "refused": refused.collect::<Vec<_>>(),
                "error": done.error.as_ref().map(ToString::to_string),
            })
        };
        let brokers: Vec<_> = all.iter().map(of).collect();
        return cli::put(&format!("{:#}\n", json!({ "brokers": brokers })), code);
    }
    let mut out = String::new();
    for done in all {
        let count = done.cleared.len();
        let what = if count == 1 { "topic" } else { "topics" };
        out += &format!("{}: {count} {what} cleared\n", done.broker);
        done.cleared.iter().for_each(|topic| out += &format!("  {topic}\n"));
        for (topic, words) in &done.refused {
            cli::print_message(&format!("error: {}: {topic} is not cleared: {words}\n", done.broker));
        }
        if let Some(error) = &done.error {
            cli::print_message(&format!("error: {}: {error}\n", done.broker));
        }
    }
    cli::put(&out, code)
}
