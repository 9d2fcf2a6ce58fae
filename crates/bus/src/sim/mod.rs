//! A bus without hardware: chips at register level, lines, PWM channels and the kernel's files.
//!
//! Every line and channel that is asked for exists, and [`Bus::expect`] puts the right chip at each address, so a configuration
//! runs here as it stands. There is one chip select for SPI, one serial port, and a kernel that drives 1-Wire and IIO devices;
//! under `chips` of the state file they are `spi`, `uart` and the device's name. With a state file, other programs see what the
//! outputs do and set what the inputs and chips see; without one the chips' surroundings drift gently, so that a demonstration
//! looks alive.
//!
//! Faults are set in the state file: those of a chip and of its transfers under `chips` (see `slots.rs`), and `"gone": true`
//! for a bus that has been unplugged, with all chips, lines, channels and files on it. As with a real one, what was opened before
//! stays dead when it is back. What the file says and nothing obeys is logged with its name.
//!
//! # Order of reading
//!
//! 1. `world.rs`: one structure with all chips, lines and channels, and which entries of the state file are ours;
//! 2. `state.rs`: the state file as a file, whatever it says;
//! 3. `place.rs`: how the place of a chip is named, and which chip is put there;
//! 4. `slots.rs`: transfers to the chips, with the faults that a transfer may have;
//! 5. `chips/mod.rs`: what a chip is, and what all of them share;
//! 6. then in any order, each of one kind of wires or files: `lines.rs` with `holders.rs`, `pwm.rs`, `serial.rs`, `kernel.rs` with
//!    `files.rs`.
//!
//! The chips of sensors and outputs lie beside their drivers, and the caller who opens a bus passes them.

pub mod chips;
mod files;
mod holders;
mod kernel;
mod lines;
mod place;
mod pwm;
mod serial;
mod slots;
mod state;
#[cfg(test)]
mod tests;
mod world;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::sim::chips::FindChip;
use crate::{
    Bus, BusError, BusNeed, BusSpec, Claim, Device, Entry, Files, InputLine, InputRequest, OutputLine, OutputRequest,
    PwmChannel, PwmRequest, SerialPort, Settings, SharedI2c, SpiChip, SpiRequest, UartRequest,
};
use fieldgate_clock::monotonic;
use fieldgate_model::{Field, Kind, Need, Setting};
pub use kernel::{Answering, KernelDevice, Show, Subsystem};
pub use place::ChipSockets;
use slots::drifted;
use world::World;

/// How soon to look at the state file again; half of what is promised.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often drifting surroundings move.
const DRIFT_EVERY: Duration = Duration::from_secs(1);

/// A bus of type `sim`.
pub static SPEC: BusSpec = BusSpec {
    name: "sim",
    page: "\
every driver runs on it, and so does every bus that is a chip. With a state file its lines, inputs and chips are
  seen and changed from outside; a chip behind a multiplexer stands there as `0x70.3/0x44`. The program writes the file at its first use.
  Under `inputs`, `\"GPIO17\": 0` is a low level, a closed contact to ground; under `chips` stands what each chip measures; `\"fault\": \"nak\"`
  takes a chip away, and `null` brings it back; `\"gone\": true` at the top unplugs the whole bus. Change it with an
  editor or a script, best by renaming a whole new file over it; it takes effect at once. A short press of a button needs a script that does
  both changes.",
    fields: &[Field {
        name: "state_file",
        kind: Kind::Path,
        need: Need::Optional,
        doc: "where lines and chips are mirrored, and taken over from",
    }],
    example: "bench: { type: sim, state_file: bench.json }",
    offers: &[BusNeed::I2c, BusNeed::Gpio, BusNeed::Pwm, BusNeed::Spi, BusNeed::Uart, BusNeed::W1],
    device: |entry| state_file(entry).map(Device::File),
    shown_at: |_, _, _| None,
    open: |entry, _, chips| Ok(Box::new(SimBus::open(state_file(entry), chips)?)),
    ..BusSpec::USUAL
};

fn state_file(entry: &Entry) -> Option<PathBuf> {
    entry.keys.optional_text("state_file").map(PathBuf::from)
}

/// A simulated bus, as an entry under `buses:` would name it.
pub fn at(state_file: Option<&Path>) -> Settings {
    SPEC.wired(state_file.map(|file| ("state_file", Setting::Text(file.to_string_lossy().into_owned()))))
}

/// The simulated bus.
pub struct SimBus {
    world: Rc<RefCell<World>>,
    i2c: SharedI2c,
    opened: Duration,
}

impl SimBus {
    /// Opens a bus of its own, mirrored in a state file if there is one; `chips` finds the chips that drivers expect on it.
    ///
    /// # Errors
    /// [`BusError::Open`] when the state file cannot be read or made.
    pub fn open(state_file: Option<PathBuf>, chips: FindChip) -> Result<Self, BusError> {
        let opened = monotonic();
        let world = match state_file {
            None => World::new("simulated bus".to_owned(), None, chips),
            Some(path) => {
                let name = format!("simulated bus {}", path.display());
                let mut world = World::new(name, Some(state::StateFile::open(path.clone())?), chips);
                world.try_follow(opened).map_err(|source| state::cannot_open(&path, "", source))?;
                world.reach()?;
                world
            }
        };
        let world = Rc::new(RefCell::new(world));
        let i2c = SharedI2c::new(slots::SimI2c(Rc::clone(&world)));
        Ok(Self { world, i2c, opened })
    }

    /// As [`Bus::refresh`], at this point of the monotonic clock.
    fn refresh_at(&self, now: Duration) -> Option<Duration> {
        let mut world = self.world.borrow_mut();
        if world.has_file() {
            world.follow(now);
            let unsettled = world.lines.settle(now);
            return Some(unsettled.unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
        }
        world.slots.drift(now.saturating_sub(self.opened).as_secs_f64());
        world.slots.iter().next().map(|_| DRIFT_EVERY)
    }
}

impl Bus for SimBus {
    fn describe(&self) -> String {
        self.world.borrow().name().to_owned()
    }

    fn i2c(&mut self) -> Result<SharedI2c, BusError> {
        Ok(self.i2c.clone())
    }

    fn input(&mut self, request: &InputRequest) -> Result<Box<dyn InputLine>, BusError> {
        Ok(Box::new(lines::SimInput::claim(&self.world, request)?))
    }

    fn output(&mut self, request: &OutputRequest) -> Result<Box<dyn OutputLine>, BusError> {
        Ok(Box::new(lines::SimOutput::claim(&self.world, request)?))
    }

    fn pwm(&mut self, request: &PwmRequest) -> Result<Box<dyn PwmChannel>, BusError> {
        Ok(Box::new(pwm::SimPwm::claim(&self.world, request)?))
    }

    fn spi(&mut self, _request: &SpiRequest) -> Result<SpiChip, BusError> {
        Ok(SpiChip::new(serial::SimSpi(Rc::clone(&self.world))))
    }

    fn uart(&mut self, _request: &UartRequest) -> Result<Box<dyn SerialPort>, BusError> {
        Ok(Box::new(serial::SimUart(Rc::clone(&self.world))))
    }

    fn files(&mut self) -> Result<Rc<dyn Files>, BusError> {
        let drifting = !self.world.borrow().has_file();
        Ok(Rc::new(files::SimFiles::new(self.opened, drifting, Rc::clone(&self.world))))
    }

    fn expect(&mut self, driver: &'static str, claims: &[Claim]) {
        ChipSockets::of(&self.world).expect(driver, claims);
    }

    fn chip_sockets(&self) -> Option<ChipSockets> {
        Some(ChipSockets::of(&self.world))
    }

    fn refresh(&mut self) -> Result<Option<Duration>, BusError> {
        let pause = self.refresh_at(monotonic());
        // A line waits for news and is not asked, so that the bus has gone is said here.
        self.world.borrow().reach()?;
        Ok(pause)
    }
}
