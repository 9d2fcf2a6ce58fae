//! What requests ask of a running gateway, and what of it ends by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tracing::{info, warn};

use crate::cli::log;
use crate::cli::run::MainLoop;
use crate::config::Config;
use crate::requests::{Ask, Failure, Question, USUAL_LEVEL};
use crate::systemd;
use crate::worker::await_answer;
use fieldgate_bus::led::{Blinking, Led};
use fieldgate_clock as clock;
use fieldgate_model::field::format_duration;
use fieldgate_model::{Name, Reason, Refusal, describe_error};

/// How long an output that identifies the board is on, of each second.
const FLASH: Duration = Duration::from_millis(500);

/// What requests have changed for a time.
#[derive(Default)]
pub(super) struct Changes {
    /// When the usual level is logged again.
    level_until: Option<Duration>,
    intervals: BTreeMap<Name, Interval>,
    /// The output that shows which board this is, and until when.
    flashing: Option<(Name, Duration)>,
    light: Option<Blinking>,
}

/// How often a sensor is sampled by request.
struct Interval {
    every: Duration,
    /// How often the configuration says.
    usual: Duration,
    until: Option<Duration>,
}

impl Changes {
    /// `config` with what requests have changed of it.
    pub(super) fn applied_to(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for sensor in &mut config.sensors {
            if let Some(interval) = self.intervals.get(&sensor.name) {
                sensor.every = interval.every;
            }
        }
        config
    }

    /// Forgets the intervals of sensors that are not in this configuration, or that it samples at another interval than before.
    pub(super) fn keep_for(&mut self, config: &Config) {
        let is_same = |name: &Name, interval: &Interval| {
            config.sensors.iter().any(|sensor| sensor.name == *name && sensor.every == interval.usual)
        };
        self.intervals.retain(|name, interval| is_same(name, interval));
    }

    /// What must not outlast the program.
    pub(super) fn stop(&mut self) {
        if let Some(light) = self.light.take() {
            light.stop();
        }
    }
}

fn until(duration: Option<Duration>) -> Option<Duration> {
    duration.map(|duration| clock::boottime().saturating_add(duration))
}

fn for_words(duration: Option<Duration>) -> String {
    duration.map_or("until the program ends".into(), |duration| format!("for {}", format_duration(duration)))
}

impl MainLoop<'_> {
    /// Answers a request; returns whether it is one to end. The requester may have stopped waiting.
    pub(super) async fn answer(&mut self, question: Question) -> bool {
        let Question { ask, answer } = question;
        let mut ends = false;
        let done = match ask {
            Ask::Info => Ok(self.info()),
            Ask::Health => Ok(self.gateway.health()),
            Ask::Reload if self.trial.is_some() => Err(on_trial().into()),
            Ask::Reload => self.reload().await.map_err(Failure::from),
            Ask::Restart if systemd::is_connected() => {
                ends = true;
                Ok(Json::Null)
            }
            Ask::Restart => {
                let words = "nothing would start it again: it was not started by systemd";
                Err(Refusal::new(Reason::Unknown, words).into())
            }
            Ask::LogLevel { level, duration } => Ok(self.set_level(level.as_deref(), duration)),
            Ask::SetInterval { sensor, every, duration } => {
                self.set_interval(&sensor, every, duration).await.map_err(Failure::from)
            }
            Ask::Identify { duration } => return self.identify(duration, answer),
            Ask::Config { text, confirm_within } => return self.try_configuration(&text, confirm_within, answer),
        };
        answer.send(done).ok();
        ends
    }

    fn info(&self) -> Json {
        let mut info = self.gateway.info();
        info["configuration"] = json!({
            "source": self.origin.source(),
            "why": self.origin.to_string(),
            "rolled_back": self.rolled_back,
        });
        info
    }

    fn set_level(&mut self, level: Option<&str>, duration: Option<Duration>) -> Json {
        // The usual level has no end.
        let duration = duration.filter(|_| level.is_some());
        let shown = level.unwrap_or(USUAL_LEVEL);
        info!(level = shown, "The log level was set by a request, {}.", for_words(duration));
        log::set_level(level);
        self.changes.level_until = until(duration);
        json!({ "level": shown, "for": duration.map(|duration| duration.as_secs_f64()) })
    }

    async fn set_interval(
        &mut self,
        sensor: &Name,
        every: Option<Duration>,
        duration: Option<Duration>,
    ) -> Result<Json, Refusal> {
        let configured = self.base.sensors.iter().find(|settings| settings.name == *sensor);
        let unknown = || Refusal::new(Reason::Unknown, format!("there is no sensor called {sensor}"));
        let usual = configured.ok_or_else(unknown)?.every;
        match every {
            Some(every) => {
                let interval = Interval { every, usual, until: until(duration) };
                self.changes.intervals.insert(sensor.clone(), interval);
            }
            None => drop(self.changes.intervals.remove(sensor)),
        }
        let every = every.unwrap_or(usual);
        info!(%sensor, every = format_duration(every), "The interval was set by a request, {}.", for_words(duration));
        self.apply().await.map_err(|why| Refusal::new(Reason::Hardware, why))?;
        let duration = duration.map(|duration| duration.as_secs_f64());
        Ok(json!({ "sensor": sensor.as_str(), "every": every.as_secs_f64(), "for": duration }))
    }

    /// Takes up the configuration in force with what requests have changed of it.
    ///
    /// # Errors
    /// What of it is not in use, in words.
    pub(super) async fn apply(&mut self) -> Result<(), String> {
        let config = self.changes.applied_to(&self.base);
        self.gateway.reload(config).await.map_err(|error| describe_error(&error))
    }

    /// Shows which board this is.
    fn identify(&mut self, duration: Duration, answer: super::Answer) -> bool {
        let end = clock::boottime().saturating_add(duration);
        match self.base.requests.as_ref().and_then(|requests| requests.identify.clone()) {
            Some(output) => match self.gateway.switch_on(&output, FLASH) {
                Err(refusal) => drop(answer.send(Err(refusal.into()))),
                Ok(applied) => {
                    self.changes.flashing = Some((output.clone(), end));
                    self.waits.push(Box::pin(async move {
                        let done = await_answer(applied, "output").await;
                        let good = |_| json!({ "output": output.as_str(), "for": duration.as_secs_f64() });
                        answer.send(done.map(good).map_err(Into::into)).ok();
                    }));
                }
            },
            None => self.blink(duration, answer),
        }
        false
    }

    /// Lets the board's own light blink.
    fn blink(&mut self, duration: Duration, answer: super::Answer) {
        let Some(led) = Led::of_this_board() else {
            let words = "there is nothing to identify this board with: it has no light that the kernel knows as its own, and \
                         requests.identify names no output";
            answer.send(Err(Refusal::new(Reason::Unknown, words).into())).ok();
            return;
        };
        let name = led.name().to_owned();
        let good = json!({ "led": name, "for": duration.as_secs_f64() });
        if self.changes.light.as_ref().is_some_and(|light| light.prolong(duration)) {
            answer.send(Ok(good)).ok();
            return;
        }
        let begun = move |begun: std::io::Result<()>| {
            let cannot = |error| {
                let words =
                    format!("the board's light {name} cannot be used: {error}; requests.identify can name an output");
                Failure::from(Refusal::new(Reason::Hardware, words))
            };
            answer.send(begun.map(|()| good).map_err(cannot)).ok();
        };
        match Blinking::start(led, duration, begun) {
            Ok(light) => self.changes.light = Some(light),
            // The requester sees the closed channel.
            Err(error) => warn!(%error, "No thread could be started to let the board's light blink."),
        }
    }

    /// Ends what has lasted long enough; called once a second.
    pub(super) async fn expire(&mut self) {
        let now = clock::boottime();
        if self.changes.level_until.is_some_and(|until| until <= now) {
            self.changes.level_until = None;
            log::set_level(None);
            info!("The usual level is logged again: the time that a request gave is over.");
        }
        let is_over = |interval: &Interval| interval.until.is_some_and(|until| until <= now);
        let before = self.changes.intervals.len();
        self.changes.intervals.retain(|_, interval| !is_over(interval));
        if self.changes.intervals.len() < before {
            info!("Sensors are sampled as configured again: the time that a request gave is over.");
            if let Err(error) = self.apply().await {
                warn!(error, "The configured intervals are not in use everywhere; restart the gateway.");
            }
        }
        match &self.changes.flashing {
            Some((_, until)) if *until <= now => self.changes.flashing = None,
            // Whether it follows shows by its state; it goes off by itself.
            Some((output, _)) => drop(self.gateway.switch_on(output, FLASH)),
            None => {}
        }
    }
}

/// Why something else must wait.
pub(super) fn on_trial() -> Refusal {
    Refusal::new(Reason::Busy, "a configuration is on trial; wait for its answer")
}
