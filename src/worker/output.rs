//! One output on its bus: a thin shell around its [`Machine`], which decides everything.
//!
//! The shell drives what the machine says and reports back what the hardware did, answers requesters, publishes and logs. What is
//! read back counts, not what was ordered.

use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use crate::deadlines;
use crate::worker::bus_slots::{BusSlots, Subject};
use crate::worker::sensor::guarded;
use crate::worker::{ActuatorSettings, Event};
use fieldgate_clock as clock;
use fieldgate_clock::broker_heartbeat::BrokerHeartbeat;
use fieldgate_drivers::{Actuator, DriverError, Role};
use fieldgate_model::{Action, Name, OutputValue, StateCause, describe_error};
use fieldgate_safety::{Applied, Effect, LogLine, Machine, RuleOrder, State};

/// An output that did not follow is driven again after so long, for ever: it must not stay on because one transfer failed.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// How often an output that is on asks whether another, perhaps on another thread, wants it to go off.
pub(super) const LOOK_AT_PARTNERS: Duration = Duration::from_millis(10);

/// Where the result of a command goes.
type Requester = oneshot::Sender<Applied>;

/// What is asked of an output, and by whom.
pub(super) enum Request {
    /// A command, perhaps for a time.
    Command(Action, Option<Duration>),
    /// A rule.
    Rule(Name, RuleOrder),
}

/// One output and all that is known of it.
pub(super) struct OutputSlot {
    pub(super) settings: ActuatorSettings,
    machine: Machine<Requester>,
    /// The rule that last ordered something.
    rule: Option<Name>,
    device: Option<Box<dyn Actuator>>,
    /// Transfers that failed since the last one that did not.
    failures: u32,
}

impl OutputSlot {
    /// Builds the output in its safe state; if that fails it is tried again until it succeeds.
    pub(super) fn new(settings: ActuatorSettings, buses: &mut BusSlots) -> Self {
        let interlock = buses.context.interlocks.handle(settings.name.clone());
        let ActuatorSettings { kind, pace, limits, .. } = settings;
        let (machine, effects) = Machine::new(kind, pace, limits, interlock, clock::boottime());
        let mut slot = Self { settings, machine, rule: None, device: None, failures: 0 };
        slot.perform(effects, buses);
        slot
    }

    /// Goes on under `settings` for the same device; what it does is left alone.
    pub(super) fn resume(&mut self, settings: ActuatorSettings) {
        self.machine.relimit(settings.limits);
        self.settings = settings;
    }

    /// The bus it was built on has gone, and with it whatever the output did: it is driven safe as soon as that is possible.
    pub(super) fn drop_device(&mut self, buses: &mut BusSlots) {
        self.device = None;
        let effects = self.machine.bus_gone(clock::boottime());
        self.perform(effects, buses);
    }

    /// Carries out a command or an order of a rule now, or postpones or refuses it.
    pub(super) fn request(&mut self, request: Request, answer: Requester, buses: &mut BusSlots) {
        let now = clock::boottime();
        let effects = match request {
            Request::Command(action, lease) => self.machine.command(now, action, lease, answer),
            Request::Rule(rule, order) => match self.machine.rule(now, order, answer) {
                Ok(effects) => {
                    self.rule = Some(rule);
                    effects
                }
                Err(refused) => vec![refused],
            },
        };
        self.perform(effects, buses);
    }

    /// When [`OutputSlot::enforce`] must be called next.
    pub(super) fn deadline(&self, heartbeat: &BrokerHeartbeat) -> Option<Duration> {
        let look = self.machine.may_be_wanted_off().then(|| clock::boottime().saturating_add(LOOK_AT_PARTNERS));
        self.machine.deadline(heartbeat.last()).into_iter().chain(look).min()
    }

    /// Does what has become due: a limit that ran out, a step on the way, or a value that the hardware did not take. One
    /// transfer at most.
    pub(super) fn enforce(&mut self, buses: &mut BusSlots) {
        let effects = self.machine.tick(clock::boottime(), buses.context.heartbeat.last());
        self.perform(effects, buses);
    }

    /// Drives the output to its safe state because the program or its place in the configuration ends. `false`: not before a
    /// partner is off, to which [`OutputSlot::enforce`] sees until [`OutputSlot::end`].
    pub(super) fn stop(&mut self, buses: &mut BusSlots) -> bool {
        let effects = self.machine.stop(clock::boottime());
        self.perform(effects, buses);
        !self.waits_for_partner()
    }

    /// Whether its safe state has to wait for another output.
    pub(super) fn waits_for_partner(&self) -> bool {
        self.machine.waits_for_partner()
    }

    /// For how long it is worth waiting: its partners end at the same time, perhaps on other threads.
    pub(super) fn partner_wait(&self) -> Duration {
        deadlines::partner_wait(self.machine.longest_dead_time())
    }

    /// It is not driven any more; off, if it is on when safe and its partner did not go off.
    pub(super) fn end(&mut self, buses: &mut BusSlots) {
        if self.waits_for_partner() {
            error!(
                actuator = %self.settings.name,
                "Output could not be made safe at the end: an output that it is interlocked with is not off."
            );
            let effects = self.machine.stop_waiting(clock::boottime());
            self.perform(effects, buses);
        }
        if self.failures > 0 {
            error!(actuator = %self.settings.name, "Output could not be made safe at the end.");
        }
        self.machine.leave();
    }

    /// Whether nothing flows in its safe state: such outputs are stopped first, so that those which they exclude can follow.
    pub(super) fn is_off_when_safe(&self) -> bool {
        !self.settings.limits.is_on_when_safe()
    }

    /// When an output that did not follow until `now` is driven again: at once after the first failure, for it may be on where
    /// it must not be, and then in a steady rhythm. Nothing else decides this.
    fn retry_at(&self, now: Duration) -> Duration {
        if self.failures <= 1 { now } else { now.saturating_add(TRY_AGAIN) }
    }

    /// Does what the machine asks for.
    fn perform(&mut self, effects: Vec<Effect<Requester>>, buses: &mut BusSlots) {
        for effect in effects {
            match effect {
                Effect::Drive(value) => {
                    // Its effects drive nothing further.
                    let effects = self.drive(value, buses);
                    self.perform(effects, buses);
                }
                // The requester may have given up; the state message shows the outcome all the same.
                Effect::Answer(requester, applied) => drop(requester.send(applied)),
                Effect::Publish(state) => self.publish(state, buses),
                Effect::Log(note) => self.log(&note, buses),
            }
        }
    }

    /// Talks to the hardware, under the output's name, for the report of a bus that hangs.
    fn drive(&mut self, value: OutputValue, buses: &mut BusSlots) -> Vec<Effect<Requester>> {
        buses.activity.busy_with(Some(&self.settings.name));
        let result = self.apply(value, buses);
        buses.activity.busy_with(None);
        let now = clock::boottime();
        match result {
            Ok(read) => {
                self.failures = 0;
                buses.record_bus_outcome(Some(&self.settings.bus), Ok(()));
                self.machine.followed(now, read)
            }
            Err(e) => {
                self.failures = self.failures.saturating_add(1);
                self.device = None;
                buses.leave_if_gone(Some(&self.settings.bus), &e);
                buses.record_bus_outcome(Some(&self.settings.bus), Err(&e));
                self.machine.failed(now, self.retry_at(now), &describe_error(&e))
            }
        }
    }

    fn apply(&mut self, value: OutputValue, buses: &mut BusSlots) -> Result<OutputValue, DriverError> {
        if self.device.is_none() {
            let bus = buses.bus(Some(&self.settings.bus))?;
            let spec = self.settings.driver;
            let Role::Actuator { build, .. } = &spec.role else {
                unreachable!("the configuration puts only outputs under actuators")
            };
            bus.expect(spec.name, &(spec.claims)(&self.settings.settings));
            self.device = Some(guarded(|| build(bus, &self.settings.settings, value))?);
        }
        let device = self.device.as_mut().expect("was just built");
        guarded(|| device.apply(value))?;
        let read = guarded(|| device.read_back())?.unwrap_or(value);
        if value.is_confirmed_by(read) { Ok(read) } else { Err(DriverError::DoesNotFollow { driven: value, read }) }
    }

    fn publish(&self, State { value, target, cause }: State, buses: &mut BusSlots) {
        let actuator = self.settings.name.clone();
        buses.context.signals.output_changed(&actuator, value, cause);
        let rule = self.rule.clone().filter(|_| cause == StateCause::Rule);
        let event = Event::State { actuator: actuator.clone(), value, target, at: clock::now().wall, cause, rule };
        buses.publish(Subject::Actuator, actuator, event);
    }

    fn log(&self, line: &LogLine, buses: &BusSlots) {
        let actuator = &self.settings.name;
        match line {
            LogLine::Set(value, cause) => debug!(%actuator, %value, cause = cause.as_str(), "Output set."),
            LogLine::Postponed(value, cause) => {
                info!(%actuator, %value, cause = cause.as_str(), "A postponed command is carried out.");
            }
            LogLine::MadeSafe(value, cause) if cause.is_trip() => {
                warn!(%actuator, %value, cause = cause.as_str(), "Output returned to its safe state.");
                buses.context.trips.count(actuator);
            }
            LogLine::MadeSafe(value, cause) => {
                info!(%actuator, %value, cause = cause.as_str(), "Output returned to its safe state.");
            }
            LogLine::DoesNotFollow(value, error) => {
                error!(%actuator, %value, %error, "Output does not follow; will try again until it does.");
            }
            LogLine::FollowsAgain(value) => info!(%actuator, %value, "Output follows again."),
        }
    }
}
