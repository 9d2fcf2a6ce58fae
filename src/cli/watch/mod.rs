//! `fieldgate watch`: follows a running gateway in the terminal, from anywhere that reaches its broker.
//!
//! It subscribes and never publishes, with an identifier and a session of its own. On a terminal it shows the table of the demo,
//! into a pipe a line for everything that comes.

mod clean;
mod picture;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cli;
use crate::cli::arguments::Watched;
use crate::cli::screen::Screen;
use crate::cli::table::{Table, clock};
use crate::cli::watch::clean::harmless;
use crate::cli::watch::picture::{Now, Picture, Presence};
use crate::config;
use fieldgate_link::{self as link, Followed, SecretSource, Settings};
use fieldgate_model::payload;
use fieldgate_model::topic::Topics;

/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(500);

/// Messages that wait here; beyond, the connection is not read, and the broker waits.
const FOLLOWED: usize = 64;

/// What `--broker` needs beside its own arguments: all of a configuration but the link is of no interest here.
const ELSEWHERE: &str = "gateway: { name: watch }\nmqtt: { broker: mqtt://localhost }\n";

/// Follows until Ctrl-C, or until its output is closed.
pub fn run(asked: Watched) -> ExitCode {
    let settings = match settings(asked) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return cli::fail(&format!("the runtime could not be started: {e}")),
    };
    let code = runtime.block_on(watch(&settings));
    // A name look-up may still hang in a thread of the runtime; it is not waited for.
    runtime.shutdown_background();
    code
}

/// How to reach the broker: as the gateway's own configuration says, or as the command line does.
fn settings(asked: Watched) -> Result<Settings, ExitCode> {
    let (Some(broker), Some(base)) = (asked.broker, asked.base_topic) else {
        return match config::load_in_force(&asked.config.config) {
            Ok(in_force) => Ok(in_force.loaded.config.link),
            Err(error) => {
                let code = cli::refuse(&error);
                let hint = "hint: to watch a gateway from elsewhere: fieldgate watch --broker mqtt://HOST --base-topic fieldgate/NAME\n";
                cli::print_message(hint);
                Err(code)
            }
        };
    };
    let usual = config::load_text(ELSEWHERE, &asked.config.config).map_err(|error| cli::refuse(&error))?;
    let mut settings = usual.config.link;
    settings.brokers = vec![broker];
    settings.topics = Topics::new(base);
    settings.username = asked.username;
    settings.password = asked.password_file.map(SecretSource::File);
    settings.tls.ca_file = asked.ca_file;
    Ok(settings)
}

async fn watch(settings: &Settings) -> ExitCode {
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(e), _) | (_, Err(e)) => return cli::fail(&format!("signals cannot be received: {e}")),
    };
    let mut watch = Watch::new(settings);
    let (sender, mut followed) = mpsc::channel(FOLLOWED);
    let filters = watch.picture.filters();
    let mut following = std::pin::pin!(link::follow(settings, &filters, sender));
    let mut redraw = tokio::time::interval(REDRAW);
    let refused = loop {
        tokio::select! {
            () = &mut following => break None,
            Some(news) = followed.recv() => {
                if let Some(words) = watch.take(news) {
                    break Some(words);
                }
            }
            _ = redraw.tick() => {
                if !watch.draw() {
                    break None;
                }
            }
            _ = interrupt.recv() => break None,
            _ = terminate.recv() => break None,
        }
    };
    let code = watch.screen.end("");
    match refused {
        Some(words) => cli::fail(&words),
        None => code,
    }
}

/// What is shown.
struct Watch {
    screen: Screen,
    picture: Picture,
    base: String,
    began: Instant,
    broker: String,
    is_up: bool,
    /// Whether a broker has ever accepted us.
    was_up: bool,
    /// What there is to say of the link, while it is down.
    link: String,
    /// What the broker does not let us see; at most one for each subscription.
    denied: Vec<String>,
}

impl Watch {
    fn new(settings: &Settings) -> Self {
        let missed =
            |lines: u64| cli::print_message(&format!("note: {lines} lines were left out, for nobody read them\n"));
        Self {
            screen: Screen::new(missed),
            picture: Picture::new(settings.topics.clone()),
            base: settings.topics.base().to_owned(),
            began: Instant::now(),
            broker: settings.brokers.first().map(ToString::to_string).unwrap_or_default(),
            is_up: false,
            was_up: false,
            link: "connecting".to_owned(),
            denied: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now { since: self.began.elapsed(), wall: SystemTime::now() }
    }

    /// Takes news in, and prints the line for it into a pipe. Returns why it is of no use to go on.
    fn take(&mut self, news: Followed) -> Option<String> {
        let line = match news {
            Followed::Message { topic, payload, is_retained } => {
                let now = self.now();
                self.picture.take(&topic, &payload, is_retained, now)
            }
            Followed::Up { broker } => {
                self.denied.clear();
                (self.is_up, self.was_up) = (true, true);
                let line = stamped(&format!("broker  connected to {broker}"));
                self.broker = broker;
                Some(line)
            }
            Followed::Denied { why } => {
                let why = harmless(&why);
                let line = stamped(&format!("broker  does not let us see {why}"));
                self.denied.push(why);
                Some(line)
            }
            Followed::Down { broker, error, is_refused: true, .. } if !self.was_up => {
                return Some(format!("{broker}: {}", harmless(&error)));
            }
            Followed::Down { broker, error, retry_in, .. } => {
                let error = harmless(&error);
                self.is_up = false;
                self.picture.presence = Presence::Unknown;
                self.link =
                    format!("no connection to {broker}: {error}; next attempt in {:.1} s", retry_in.as_secs_f64());
                self.broker = broker;
                Some(stamped(&format!("broker  {}", self.link)))
            }
        };
        if let Some(line) = line.filter(|_| !self.screen.is_terminal()) {
            self.screen.print(line + "\n");
        }
        None
    }

    /// `false` when the reader has gone away (`| head`).
    fn draw(&mut self) -> bool {
        if self.screen.is_terminal() && self.screen.is_idle() {
            let lines = self.table().lines();
            self.screen.draw(&lines);
        }
        !self.screen.is_closed()
    }

    fn table(&self) -> Table {
        let now = self.now();
        let presence = match (self.is_up, self.picture.presence) {
            (false, _) => "NOT CONNECTED",
            (true, Presence::Unknown) => "no gateway seen yet",
            (true, Presence::Online) => "online",
            (true, Presence::Offline) => "OFFLINE",
        };
        let mut heading = format!("fieldgate watch   {}   broker {}   {presence}", self.base, self.broker);
        if let Some((up, waiting)) = self.picture.vitals(now).filter(|_| self.picture.presence == Presence::Online) {
            write!(heading, "   up {}   waiting {waiting}", clock(up)).expect("a String takes all");
        }
        let mut notes = Vec::new();
        match (self.is_up, self.picture.presence) {
            (false, _) => notes.push(format!("link     {}", self.link)),
            (true, Presence::Offline) => {
                notes.push("gateway  it has stopped, or the broker has lost it; these are its last values".to_owned());
            }
            _ => {}
        }
        notes.extend(self.denied.iter().map(|why| format!("denied   {why}")));
        notes.extend(self.picture.notes());
        Table { heading, sensors: self.picture.sensor_lines(now), outputs: self.picture.output_lines(now), notes }
    }
}

fn stamped(words: &str) -> String {
    format!("{}  {words}", payload::time(SystemTime::now()))
}
