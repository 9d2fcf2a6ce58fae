//! Who has claimed which pin of an expander, and what its inputs saw.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use crate::debounce::Debounced;
use crate::expander::{Levels, Model, Port};
use crate::{BusError, Edge, InputLine, InputRequest, OutputLine, OutputRequest};
use fieldgate_clock::monotonic;

/// The pins of one chip.
pub(super) struct Pins {
    name: String,
    model: Model,
    port: Box<dyn Port>,
    claimed: BTreeMap<u8, Claimed>,
    /// When the interrupt line was last asked, if there is one.
    asked_at: Option<Duration>,
}

enum Claimed {
    Output,
    Input(Debounced),
}

impl Pins {
    pub(super) fn new(name: String, model: Model, port: Box<dyn Port>) -> Self {
        Self { name, model, port, claimed: BTreeMap::new(), asked_at: None }
    }

    /// What stands in errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether nobody uses a pin.
    pub(super) fn is_idle(&self) -> bool {
        self.claimed.is_empty()
    }

    pub(super) fn has_inputs(&self) -> bool {
        self.claimed.values().any(|claimed| matches!(claimed, Claimed::Input(_)))
    }

    /// These lines are inputs; what is no line here is reported when it is claimed.
    pub(super) fn spare(&mut self, lines: &[String]) {
        let pins = lines.iter().filter_map(|line| self.model.pin(line));
        self.port.spare(pins.fold(0, |pins, pin| pins | 1 << pin));
    }

    /// The interrupt line was asked at that time: changes from before it have the time of an interrupt, and are known with the
    /// look that follows.
    pub(super) fn asked_at(&mut self, now: Duration) {
        self.asked_at = Some(now);
    }

    /// Takes over what the inputs are at `now`, or were `at` the moment of the interrupt. Returns the levels, and how soon a
    /// change that must still last may have lasted.
    pub(super) fn look(&mut self, at: Duration, now: Duration) -> Result<(u16, Option<Duration>), BusError> {
        let Levels { now: levels, captured } = self.port.levels()?;
        let mut unsettled: Option<Duration> = None;
        for (pin, claimed) in &mut self.claimed {
            let Claimed::Input(input) = claimed else { continue };
            let bit = |levels: u16| levels >> pin & 1 == 1;
            // A pulse that is over when we look is still known to a chip that captures.
            let first = input.settle(bit(captured.unwrap_or(levels)), at);
            let rest = if captured.is_some() { input.settle(bit(levels), now) } else { first };
            unsettled = rest.into_iter().chain(unsettled).min();
        }
        Ok((levels, unsettled))
    }

    /// The level of one pin. Whatever the look finds on others is not lost.
    fn level(&mut self, pin: u8) -> Result<bool, BusError> {
        let now = monotonic();
        Ok(self.look(now, now)?.0 >> pin & 1 == 1)
    }

    /// Finds out whether the chip is as it was left; once more before it is given up, for a look can be disturbed.
    pub(super) fn check(&mut self) -> Result<(), BusError> {
        if self.port.is_intact()? || self.port.is_intact()? {
            return Ok(());
        }
        let why = "is not as it was left: it has lost its supply, or somebody else has written to it".to_owned();
        Err(BusError::Lost { what: self.name.clone(), why })
    }

    fn free_pin(&self, line: &str) -> Result<u8, BusError> {
        let (chip, line) = (self.name.clone(), line.to_owned());
        match self.model.pin(&line) {
            None => Err(BusError::NoLine { chip, line, hint: format!("its lines are {}", self.model.lines()) }),
            Some(pin) if self.claimed.contains_key(&pin) => {
                Err(BusError::LineClaimed { chip, line, holder: "fieldgate".to_owned() })
            }
            Some(pin) => Ok(pin),
        }
    }

    fn input(&mut self, pin: u8) -> Option<&mut Debounced> {
        match self.claimed.get_mut(&pin) {
            Some(Claimed::Input(input)) => Some(input),
            _ => None,
        }
    }

    fn release(&mut self, pin: u8) {
        self.claimed.remove(&pin);
        self.port.release(pin);
    }
}

/// A claimed input.
pub(super) struct PinInput {
    pins: Rc<RefCell<Pins>>,
    pin: u8,
}

impl PinInput {
    pub(super) fn claim(pins: &Rc<RefCell<Pins>>, request: &InputRequest, interrupts: bool) -> Result<Self, BusError> {
        let mut inner = pins.borrow_mut();
        let pin = inner.free_pin(&request.line)?;
        if let Some(why) = inner.model.refuses(request.bias) {
            return Err(BusError::Unsupported { bus: inner.name.clone(), what: why.to_owned() });
        }
        inner.port.make_input(pin, request.bias, interrupts)?;
        let level = inner.level(pin)?;
        inner.claimed.insert(pin, Claimed::Input(Debounced::new(request, level)));
        Ok(Self { pins: Rc::clone(pins), pin })
    }
}

impl InputLine for PinInput {
    fn is_active(&mut self) -> Result<bool, BusError> {
        let mut pins = self.pins.borrow_mut();
        pins.level(self.pin)?;
        Ok(pins.input(self.pin).is_some_and(|input| input.is_active()))
    }

    fn take_edges(&mut self) -> Result<Vec<Edge>, BusError> {
        Ok(self.pins.borrow_mut().input(self.pin).map(Debounced::take_edges).unwrap_or_default())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn complete_until(&self) -> Duration {
        self.pins.borrow().asked_at.unwrap_or_else(monotonic)
    }
}

impl Drop for PinInput {
    fn drop(&mut self) {
        self.pins.borrow_mut().release(self.pin);
    }
}

/// A claimed output.
pub(super) struct PinOutput {
    pins: Rc<RefCell<Pins>>,
    pin: u8,
    active_low: bool,
}

impl PinOutput {
    pub(super) fn claim(pins: &Rc<RefCell<Pins>>, request: &OutputRequest) -> Result<Self, BusError> {
        let mut inner = pins.borrow_mut();
        let pin = inner.free_pin(&request.line)?;
        inner.port.make_output(pin, request.active != request.active_low)?;
        inner.claimed.insert(pin, Claimed::Output);
        Ok(Self { pins: Rc::clone(pins), pin, active_low: request.active_low })
    }
}

impl OutputLine for PinOutput {
    fn set(&mut self, active: bool) -> Result<(), BusError> {
        let mut pins = self.pins.borrow_mut();
        // A pin of a chip that has forgotten its directions would take the level and not show it.
        pins.check()?;
        pins.port.drive(self.pin, active != self.active_low)
    }

    fn is_active(&mut self) -> Result<bool, BusError> {
        Ok(self.pins.borrow_mut().level(self.pin)? != self.active_low)
    }
}

impl Drop for PinOutput {
    fn drop(&mut self) {
        self.pins.borrow_mut().release(self.pin);
    }
}
