//! The life of one output on its bus: built in its safe state, driven by orders, kept within its limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::clock;
use crate::drivers::{self, Actuator, DriverError, Role};
use crate::model::{OutputValue, StateCause};
use crate::pulse::Pulse;
use crate::safety::{Guard, Verdict};
use crate::worker::sensor::guarded;
use crate::worker::site::{Sites, Subject};
use crate::worker::{ActuatorSettings, Applied, Event};

/// An output that did not follow is driven again after so long, for ever: it must not stay on because one transfer failed.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// One output and all that is known of it.
pub(super) struct OutputSlot {
    pub(super) settings: ActuatorSettings,
    guard: Guard,
    device: Option<Box<dyn Actuator>>,
    /// What the hardware still has to follow, and when to try again.
    owed: Option<(Verdict, Duration)>,
    complained: bool,
}

impl OutputSlot {
    /// Builds the output in its safe state; if that fails it is tried again until it succeeds.
    pub(super) fn new(settings: ActuatorSettings, sites: &mut Sites) -> Self {
        let guard = Guard::new(settings.safe_state, settings.safe_after);
        let mut slot = Self { settings, guard, device: None, owed: None, complained: false };
        let verdict = slot.guard.make_safe(StateCause::Start);
        slot.drive(verdict, sites).ok();
        slot
    }

    /// Goes on under `settings` for the same device; what it does is left alone.
    pub(super) fn resume(&mut self, settings: ActuatorSettings) {
        self.guard.relimit(settings.safe_state, settings.safe_after);
        self.settings = settings;
    }

    /// The bus it was built on has gone, and with it whatever the output did: it is driven safe as soon as that is possible.
    pub(super) fn let_go(&mut self) {
        self.device = None;
        self.owed = Some((self.guard.make_safe(StateCause::SafeState), clock::boottime()));
    }

    /// Carries out a command.
    pub(super) fn command(
        &mut self,
        (value, lease): (OutputValue, Option<Duration>),
        answer: oneshot::Sender<Applied>,
        sites: &mut Sites,
    ) {
        let verdict = self.guard.command(clock::boottime(), value, lease);
        let applied = match self.drive(verdict, sites) {
            Ok(actual) => {
                info!(actuator = %self.settings.name, value = %actual, cause = "command", "Output set.");
                Ok(actual)
            }
            Err(e) => {
                // Half a command is no state to leave an output in.
                self.owed = Some((self.guard.make_safe(StateCause::SafeState), clock::boottime()));
                Err(drivers::words(&e))
            }
        };
        // The asker may have given up; the state message tells the outcome all the same.
        answer.send(applied).ok();
    }

    /// When [`OutputSlot::enforce`] must be called next.
    pub(super) fn deadline(&self, pulse: &Pulse) -> Option<Duration> {
        let limit = self.guard.deadline(pulse.last());
        match self.owed {
            Some((_, again)) => Some(limit.map_or(again, |limit| limit.min(again))),
            None => limit,
        }
    }

    /// Does what has become due: a limit that ran out, or a value that the hardware did not take.
    pub(super) fn enforce(&mut self, sites: &mut Sites) {
        let now = clock::boottime();
        let verdict = match (self.guard.due(now, sites.context.pulse.last()), self.owed) {
            (Some(verdict), _) => {
                warn!(actuator = %self.settings.name, value = %verdict.value, cause = verdict.cause.as_str(), "Output returned to its safe state.");
                verdict
            }
            (None, Some((verdict, again))) if again <= now => verdict,
            _ => return,
        };
        self.drive(verdict, sites).ok();
    }

    /// Drives the output to its safe state because the program or its place in the configuration ends.
    pub(super) fn stop(&mut self, sites: &mut Sites) {
        let verdict = self.guard.make_safe(StateCause::Stop);
        if self.drive(verdict, sites).is_err() {
            error!(actuator = %self.settings.name, "Output could not be made safe at the end.");
        }
    }

    /// Makes the hardware follow `verdict` and tells what it does now. A failure is owed until it succeeds.
    fn drive(&mut self, verdict: Verdict, sites: &mut Sites) -> Result<OutputValue, DriverError> {
        let result = self.apply(verdict.value, sites);
        match &result {
            Ok(actual) => {
                self.owed = None;
                sites.note(Some(&self.settings.bus), Ok(()));
                if std::mem::take(&mut self.complained) {
                    info!(actuator = %self.settings.name, value = %actual, "Output follows again.");
                }
                self.tell(Some(*actual), verdict.cause, sites);
            }
            Err(e) => {
                self.device = None;
                sites.leave_if_gone(Some(&self.settings.bus), e);
                sites.note(Some(&self.settings.bus), Err(e));
                self.owed = Some((verdict, clock::boottime().saturating_add(TRY_AGAIN)));
                if !std::mem::replace(&mut self.complained, true) {
                    let words = drivers::words(e);
                    error!(actuator = %self.settings.name, value = %verdict.value, error = %words, "Output does not follow; will try again until it does.");
                    self.tell(None, verdict.cause, sites);
                }
            }
        }
        result
    }

    fn apply(&mut self, value: OutputValue, sites: &mut Sites) -> Result<OutputValue, DriverError> {
        if self.device.is_none() {
            let bus = sites.bus(Some(&self.settings.bus))?;
            let spec = self.settings.driver;
            let Role::Actuator { build, .. } = &spec.role else {
                unreachable!("the configuration puts only outputs under actuators")
            };
            bus.expect(spec.name, &(spec.claims)(&self.settings.settings));
            self.device = Some(guarded(|| build(bus, &self.settings.settings, value))?);
        }
        let device = self.device.as_mut().expect("was just built");
        guarded(|| device.apply(value))?;
        Ok(guarded(|| device.read_back())?.unwrap_or(value))
    }

    fn tell(&self, value: Option<OutputValue>, cause: StateCause, sites: &mut Sites) {
        let actuator = self.settings.name.clone();
        let event = Event::State { actuator: actuator.clone(), value, at: clock::now().wall, cause };
        sites.tell(Subject::Actuator, actuator, event);
    }
}

/// The pulse as the slots see it.
pub(super) fn earliest(slots: &[OutputSlot], pulse: &Arc<Pulse>) -> Option<Duration> {
    slots.iter().filter_map(|slot| slot.deadline(pulse)).min()
}
