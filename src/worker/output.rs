//! The life of one output on its bus: built in its safe state, driven by orders, kept within its limits.
//!
//! An order goes through the [`Guard`], which says whether and when, then through the [`Motion`], which says by what steps, and
//! then to the driver. What the hardware says it does is told and believed, whatever it was ordered to do.

use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{debug, error, info, warn};

use crate::clock;
use crate::drivers::{self, Actuator, DriverError, Role};
use crate::model::{Action, Move, OutputValue, Reason, Refusal, StateCause};
use crate::pulse::Pulse;
use crate::safety::{Grant, Guard, Verdict};
use crate::worker::motion::Motion;
use crate::worker::sensor::guarded;
use crate::worker::site::{Sites, Subject};
use crate::worker::{ActuatorSettings, Applied, Done, Event};

/// An output that did not follow is driven again after so long, for ever: it must not stay on because one transfer failed.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// A command that is carried out within this is answered then, and not before; the asker waits a little longer.
const ANSWER_WHEN_DONE: Duration = Duration::from_secs(3);

/// How often an output that is on asks whether another, perhaps on another thread, wants it to go off.
const LOOK_AT_PARTNERS: Duration = Duration::from_millis(10);

/// At the end a safe state that is on waits so long for a partner to be off.
const WAIT_FOR_PARTNER: Duration = Duration::from_secs(1);
const LOOK_FOR_PARTNER: Duration = Duration::from_millis(10);

/// One output and all that is known of it.
pub(super) struct OutputSlot {
    pub(super) settings: ActuatorSettings,
    guard: Guard,
    motion: Motion,
    device: Option<Box<dyn Actuator>>,
    /// Why it does what it does.
    cause: StateCause,
    /// When to drive it again, because the hardware has not followed.
    owed: Option<Duration>,
    complained: bool,
    /// Who waits for a command that is not carried out yet.
    asker: Option<oneshot::Sender<Applied>>,
}

impl OutputSlot {
    /// Builds the output in its safe state; if that fails it is tried again until it succeeds.
    pub(super) fn new(settings: ActuatorSettings, sites: &mut Sites) -> Self {
        let (now, off) = (clock::boottime(), settings.kind.off());
        let seat = sites.context.interlocks.seat(settings.name.clone());
        let guard = Guard::new(settings.limits, seat, off, now);
        let motion = Motion::new(settings.pace, off, now);
        let (cause, owed) = (StateCause::Start, None);
        let mut slot = Self { settings, guard, motion, device: None, cause, owed, complained: false, asker: None };
        // Where a partner must be off first, it is off meanwhile: nobody knows what it did before.
        let first = Verdict { action: Action::Set(off), cause };
        let verdict = slot.guard.make_safe(now, cause).unwrap_or(first);
        slot.follow(verdict, sites).ok();
        slot
    }

    /// Goes on under `settings` for the same device; what it does is left alone.
    pub(super) fn resume(&mut self, settings: ActuatorSettings) {
        self.guard.relimit(settings.limits);
        self.settings = settings;
    }

    /// The bus it was built on has gone, and with it whatever the output did: it is driven safe as soon as that is possible.
    pub(super) fn let_go(&mut self) {
        self.device = None;
        self.make_safe_soon();
    }

    fn make_safe_soon(&mut self) {
        let now = clock::boottime();
        self.motion.lose();
        if let Some(verdict) = self.guard.make_safe(now, StateCause::SafeState) {
            self.cause = verdict.cause;
            self.motion.begin(now, verdict.action, true);
        }
        self.owed = Some(now);
    }

    /// Carries out a command, or sees to it that it will be.
    pub(super) fn command(
        &mut self,
        (action, lease): (Action, Option<Duration>),
        answer: oneshot::Sender<Applied>,
        sites: &mut Sites,
    ) {
        let now = clock::boottime();
        let granted = self.guard.command(now, action, lease);
        if granted.is_ok() {
            self.answer(Err(Refusal::new(Reason::Busy, "a newer command has taken its place")));
        }
        let applied = match granted {
            Err(refusal) => Err(refusal),
            Ok(Grant::Now(verdict)) => self.obey(verdict, sites),
            Ok(Grant::At(at, _)) if at.saturating_sub(now) <= ANSWER_WHEN_DONE => {
                self.asker = Some(answer);
                return;
            }
            Ok(Grant::At(_, why)) => {
                let value = self.motion.value(now);
                Ok(Done { value: self.motion.complete(value, now), note: Some(why) })
            }
        };
        // The asker may have given up; the state message tells the outcome all the same.
        answer.send(applied).ok();
    }

    fn obey(&mut self, verdict: Verdict, sites: &mut Sites) -> Applied {
        match self.follow(verdict, sites) {
            Ok(value) => {
                debug!(actuator = %self.settings.name, %value, cause = verdict.cause.as_str(), "Output set.");
                Ok(Done { value, note: None })
            }
            Err(e) => {
                // Half a command is no state to leave an output in.
                self.make_safe_soon();
                Err(Refusal::new(Reason::Hardware, drivers::words(&e)))
            }
        }
    }

    /// Tells whoever waits what became of the command.
    fn answer(&mut self, applied: Applied) {
        if let Some(asker) = self.asker.take() {
            // It may have given up.
            asker.send(applied).ok();
        }
    }

    /// When [`OutputSlot::enforce`] must be called next.
    pub(super) fn deadline(&self, pulse: &Pulse) -> Option<Duration> {
        let times = [
            self.guard.deadline(pulse.last()),
            self.owed,
            self.motion.deadline().filter(|_| self.owed.is_none()),
            self.guard.may_be_wanted_off().then(|| clock::boottime().saturating_add(LOOK_AT_PARTNERS)),
        ];
        times.into_iter().flatten().min()
    }

    /// Does what has become due: a limit that ran out, a step on the way, or a value that the hardware did not take.
    pub(super) fn enforce(&mut self, sites: &mut Sites) {
        let now = clock::boottime();
        if let Some(verdict) = self.guard.due(now, sites.context.pulse.last()) {
            self.obey_guard(verdict, sites);
            return;
        }
        if !self.guard.has_waiting_command() {
            self.answer(Err(Refusal::new(Reason::Interlock, "another output had to go on first")));
        }
        if self.owed.is_some_and(|again| again <= now) || self.has_next_step(now) {
            self.drive(now, false, sites).ok();
        }
    }

    fn has_next_step(&self, now: Duration) -> bool {
        self.owed.is_none() && self.motion.deadline().is_some_and(|next| next <= now)
    }

    fn obey_guard(&mut self, verdict: Verdict, sites: &mut Sites) {
        let (actuator, value, cause) = (&self.settings.name, verdict.action, verdict.cause.as_str());
        if matches!(verdict.cause, StateCause::Command | StateCause::Limit) {
            info!(%actuator, %value, cause, "Output switched, as a command had asked.");
            let applied = self.obey(verdict, sites);
            self.answer(applied);
            return;
        }
        if verdict.cause.is_trip() {
            warn!(%actuator, %value, cause, "Output returned to its safe state.");
            sites.context.trips.count(actuator);
        } else {
            info!(%actuator, %value, cause, "Output returned to its safe state.");
        }
        self.answer(Err(Refusal::new(Reason::Limit, format!("the output was made safe first: {cause}"))));
        self.follow(verdict, sites).ok();
    }

    /// Drives the output to its safe state because the program or its place in the configuration ends; off, if that is on and a
    /// partner is not off.
    pub(super) fn stop(&mut self, sites: &mut Sites) {
        self.answer(Err(Refusal::new(Reason::Stopping, "the gateway is ending")));
        let now = clock::boottime();
        let verdict = self.guard.make_safe(now, StateCause::Stop).or_else(|| self.wait_for_partner(now));
        // A motor cannot travel any more; it stops where it is.
        let at_rest = |verdict: Verdict| match verdict.action {
            Action::Move(_) => Verdict { action: Action::Move(Move::Stop), ..verdict },
            _ => verdict,
        };
        let off = Verdict { action: Action::Set(self.settings.kind.off()), cause: StateCause::Stop };
        if verdict.is_none() {
            error!(actuator = %self.settings.name, "Output stays off at the end: an output that it is interlocked with is not off.");
        }
        if self.follow(verdict.map_or(off, at_rest), sites).is_err() {
            error!(actuator = %self.settings.name, "Output could not be made safe at the end.");
        }
        self.guard.withdraw();
    }

    /// Its partners end at the same time, perhaps on other threads.
    fn wait_for_partner(&mut self, since: Duration) -> Option<Verdict> {
        while clock::boottime().saturating_sub(since) < WAIT_FOR_PARTNER {
            #[expect(clippy::disallowed_methods, reason = "a bus thread may block, and this one is ending")]
            std::thread::sleep(LOOK_FOR_PARTNER);
            let verdict = self.guard.make_safe(clock::boottime(), StateCause::Stop);
            if verdict.is_some() {
                return verdict;
            }
        }
        None
    }

    /// Whether nothing flows in its safe state: such outputs are stopped first, so that those which they exclude can follow.
    pub(super) fn is_off_when_safe(&self) -> bool {
        !self.settings.limits.is_on_when_safe()
    }

    /// Makes the hardware do what the verdict says, or begin to.
    fn follow(&mut self, verdict: Verdict, sites: &mut Sites) -> Result<OutputValue, DriverError> {
        let now = clock::boottime();
        let is_asked = matches!(verdict.cause, StateCause::Command | StateCause::For | StateCause::Limit);
        self.cause = verdict.cause;
        self.motion.begin(now, verdict.action, !is_asked);
        self.drive(now, true, sites)
    }

    /// Makes the hardware do what is right at `now` and tells what it does. A failure is owed until it succeeds.
    fn drive(&mut self, now: Duration, is_new: bool, sites: &mut Sites) -> Result<OutputValue, DriverError> {
        let value = self.motion.value(now);
        let result = self.apply(value, sites);
        match &result {
            Ok(read) => {
                let is_retry = self.owed.take().is_some();
                sites.note(Some(&self.settings.bus), Ok(()));
                let seen = clock::boottime();
                self.guard.saw(seen, read.is_on());
                self.motion.saw(seen, *read);
                let actual = self.motion.complete(*read, now);
                if std::mem::take(&mut self.complained) {
                    info!(actuator = %self.settings.name, value = %actual, "Output follows again.");
                }
                let rests = self.motion.target().is_none();
                if rests && matches!(self.motion, Motion::Travel(_)) {
                    self.guard.came_to_rest();
                }
                if is_new || is_retry || rests || matches!(self.motion, Motion::Travel(_)) {
                    self.tell(Some(actual), sites);
                }
                Ok(actual)
            }
            Err(e) => {
                self.device = None;
                self.motion.lose();
                sites.leave_if_gone(Some(&self.settings.bus), e);
                sites.note(Some(&self.settings.bus), Err(e));
                self.owed = Some(clock::boottime().saturating_add(TRY_AGAIN));
                if !std::mem::replace(&mut self.complained, true) {
                    let words = drivers::words(e);
                    error!(actuator = %self.settings.name, %value, error = %words, "Output does not follow; will try again until it does.");
                    self.tell(None, sites);
                }
                result
            }
        }
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
        let read = guarded(|| device.read_back())?.unwrap_or(value);
        if value.is_confirmed_by(read) { Ok(read) } else { Err(DriverError::DoesNotFollow { driven: value, read }) }
    }

    fn tell(&self, value: Option<OutputValue>, sites: &mut Sites) {
        let (actuator, target, cause) = (self.settings.name.clone(), self.motion.target(), self.cause);
        let event = Event::State { actuator: actuator.clone(), value, target, at: clock::now().wall, cause };
        sites.tell(Subject::Actuator, actuator, event);
    }
}
