//! PWM of the simulated bus: channels by their number, lines by their name. Any of them exists.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use crate::sim::World;
use crate::{BusError, PwmChannel, PwmPlace, PwmRequest};

/// What each known channel does, in percent, and which of them we have claimed.
#[derive(Default)]
pub(super) struct Channels {
    percent: BTreeMap<String, f64>,
    claimed: BTreeSet<String>,
}

impl Channels {
    /// The state file says what a channel does; of one that we have claimed, we know better.
    pub(super) fn take_over(&mut self, channel: &str, percent: f64) {
        if !self.claimed.contains(channel) {
            self.percent.insert(channel.to_owned(), percent);
        }
    }

    /// Each known channel: its name, its percentage, and whether we have claimed it.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, f64, bool)> {
        self.percent.iter().map(|(channel, percent)| (channel.as_str(), *percent, self.claimed.contains(channel)))
    }
}

/// A claimed simulated channel.
pub(super) struct SimPwm {
    world: Rc<RefCell<World>>,
    channel: String,
}

impl SimPwm {
    pub(super) fn claim(world: &Rc<RefCell<World>>, request: &PwmRequest) -> Result<Self, BusError> {
        let channel = match &request.place {
            PwmPlace::Channel(channel) => channel.to_string(),
            PwmPlace::Line(line) => line.clone(),
        };
        let mut inner = world.borrow_mut();
        inner.reach()?;
        if !inner.pwm.claimed.insert(channel.clone()) {
            return Err(inner.already_claimed(&format!("PWM {channel}")));
        }
        drop(inner);
        let mut claimed = Self { world: Rc::clone(world), channel };
        claimed.set(request.percent)?;
        Ok(claimed)
    }
}

impl PwmChannel for SimPwm {
    fn set(&mut self, percent: f64) -> Result<(), BusError> {
        if !(0.0..=100.0).contains(&percent) {
            let what = format!("setting PWM channel {} to {percent} %", self.channel);
            return Err(BusError::Io { what, source: io::ErrorKind::InvalidInput.into() });
        }
        let mut world = self.world.borrow_mut();
        world.reach()?;
        world.pwm.percent.insert(self.channel.clone(), percent);
        world.changed();
        Ok(())
    }

    fn percent(&mut self) -> Result<f64, BusError> {
        let world = self.world.borrow();
        world.reach()?;
        Ok(world.pwm.percent.get(&self.channel).copied().unwrap_or(0.0))
    }
}

impl Drop for SimPwm {
    fn drop(&mut self) {
        self.world.borrow_mut().pwm.claimed.remove(&self.channel);
    }
}
