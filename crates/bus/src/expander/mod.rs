//! The pins of an I²C expander as GPIO lines: PCF8574(A) and MCP23008/MCP23017.
//!
//! Promises: an output is driven to its first value before it becomes an output; writing one pin leaves its neighbours as
//! they are in the chip, no matter which process set them, so that a second process may make an output safe; what the pins do outlives the
//! program, for the chip holds it. Inputs are reported by the chip's interrupt line with the kernel's time where one is
//! wired, else they are looked at every [`LOOK_EVERY`]; debouncing is done here.
//!
//! A chip that falls silent or whose registers are not as they were left (it has lost its supply, or somebody else has
//! written to it) is found out within some seconds, or at the next order: the whole bus is then given up and opened again,
//! which makes its outputs safe.
//!
//! It cannot keep two processes from driving one chip at the same moment: between reading a register and writing it back,
//! the other's change is lost. `pcf8574.rs` and `mcp230xx.rs` know the registers.

mod mcp230xx;
mod pcf8574;
mod pins;

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use crate::i2c_chip::{ON_I2C, address, claims};
use crate::sim::chips::{Chip, ChipSpec, FindChip, mcp230xx as sim_mcp230xx, pcf8574 as sim_pcf8574};
use crate::{
    Bias, Bus, BusError, BusNeed, BusSpec, Claim, Entry, InputLine, InputRequest, Interrupt, Lines, OutputLine,
    OutputRequest, Settings as BusSettings, SharedI2c,
};
use fieldgate_clock::monotonic;
use fieldgate_model::{Field, Kind, Need};
use pins::{PinInput, PinOutput, Pins};

/// How often the inputs are looked at when nothing else is said: short for a button, two hundredths of a bus at 100 kHz.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// As [`LOOK_EVERY`] where an interrupt line reports changes: for what it may have missed.
pub const LOOK_EVERY_WITH_INTERRUPT: Duration = Duration::from_secs(1);

/// How often a chip in use is asked whether it is as it was left.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// So many looks in a row must fail before the chip counts as gone: one disturbed transfer must not move outputs.
const GONE_AFTER: u32 = 3;

/// After a failed look the next one comes so soon.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The pins of a PCF8574.
pub static PCF8574: BusSpec =
    expander(Model::Pcf8574, "relays: { type: pcf8574, bus: i2c-1, address: 0x20 }", AT_0X20, || {
        Box::new(sim_pcf8574::Pcf8574::new("pcf8574"))
    });

/// The pins of a PCF8574A.
pub static PCF8574A: BusSpec =
    expander(Model::Pcf8574a, "relays: { type: pcf8574a, bus: i2c-1, address: 0x38 }", AT_0X38, || {
        Box::new(sim_pcf8574::Pcf8574::new("pcf8574a"))
    });

/// The pins of an MCP23008.
pub static MCP23008: BusSpec =
    expander(Model::Mcp23008, "relays: { type: mcp23008, bus: i2c-1, address: 0x20 }", AT_0X20, || {
        Box::new(sim_mcp230xx::Mcp230xx::mcp23008())
    });

/// The pins of an MCP23017.
pub static MCP23017: BusSpec =
    expander(Model::Mcp23017, "relays: { type: mcp23017, bus: i2c-1, address: 0x20 }", AT_0X20, || {
        Box::new(sim_mcp230xx::Mcp230xx::mcp23017())
    });

const fn expander(
    model: Model,
    example: &'static str,
    fields: &'static [Field],
    chip: fn() -> Box<dyn Chip>,
) -> BusSpec {
    BusSpec {
        name: model.name(),
        fields,
        example,
        on: Some(BusNeed::I2c),
        offers: &[BusNeed::Gpio],
        lines: Lines::Pins(model.pins()),
        claims,
        // What drives outputs needs neither polling nor interrupts.
        to_stored: |entry| entry.spec.stored_keys(&entry.keys, |key| key == "address"),
        chip: Some(ChipSpec::of(chip)),
        open: |entry, beneath, chips| Ok(Box::new(Expander::open(&Settings::of(entry), beneath, chips)?)),
        ..BusSpec::USUAL
    }
}

static AT_0X20: &[Field] = &[ON_I2C, address(&[0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27]), EVERY, INTERRUPT];
static AT_0X38: &[Field] = &[ON_I2C, address(&[0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F]), EVERY, INTERRUPT];

const EVERY: Field = Field {
    name: "every",
    kind: Kind::Duration { min: Duration::from_millis(5), max: Duration::from_secs(60) },
    need: Need::Optional,
    doc: "how often the inputs are looked at; 20ms if left out, 1s with an interrupt line",
};

const INTERRUPT: Field = Field {
    name: "interrupt",
    kind: Kind::Section(INTERRUPT_KEYS),
    need: Need::Optional,
    doc: "the line to which the interrupt pin is wired; changes then have the kernel's time",
};

/// The keys of `interrupt:`.
pub static INTERRUPT_KEYS: &[Field] = &[
    Field { name: "bus", kind: Kind::Name, need: Need::Required, doc: "the bus of type gpio that has the line" },
    Field {
        name: "line",
        kind: Kind::Line,
        need: Need::Required,
        doc: "the line's name, such as GPIO4, or its number",
    },
];

/// The kinds of chips that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// Eight quasi-bidirectional pins at 0x20 to 0x27.
    Pcf8574,
    /// Eight quasi-bidirectional pins at 0x38 to 0x3f.
    Pcf8574a,
    /// Eight pins with direction registers at 0x20 to 0x27.
    Mcp23008,
    /// Like the MCP23008, with sixteen pins.
    Mcp23017,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pcf8574, Self::Pcf8574a, Self::Mcp23008, Self::Mcp23017];

    /// As in `type:`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcf8574 => "pcf8574",
            Self::Pcf8574a => "pcf8574a",
            Self::Mcp23008 => "mcp23008",
            Self::Mcp23017 => "mcp23017",
        }
    }

    /// The names of its pins, in the order of their numbers.
    const fn pins(self) -> &'static [&'static str] {
        match self {
            Self::Pcf8574 | Self::Pcf8574a => &["P0", "P1", "P2", "P3", "P4", "P5", "P6", "P7"],
            Self::Mcp23008 => &["GP0", "GP1", "GP2", "GP3", "GP4", "GP5", "GP6", "GP7"],
            Self::Mcp23017 => &[
                "GPA0", "GPA1", "GPA2", "GPA3", "GPA4", "GPA5", "GPA6", "GPA7", "GPB0", "GPB1", "GPB2", "GPB3", "GPB4",
                "GPB5", "GPB6", "GPB7",
            ],
        }
    }

    /// The number of a pin by its name or its number.
    pub fn pin(self, line: &str) -> Option<u8> {
        Lines::Pins(self.pins()).pin(line)
    }

    /// Why it cannot pull its inputs like this, if it cannot.
    fn refuses(self, bias: Bias) -> Option<&'static str> {
        match (self, bias) {
            (_, Bias::AsIs | Bias::PullUp) => None,
            (Self::Pcf8574 | Self::Pcf8574a, Bias::PullDown) => {
                Some("bias pull-down: its inputs are always pulled up, weakly")
            }
            (Self::Pcf8574 | Self::Pcf8574a, Bias::Disabled) => {
                Some("bias disabled: its inputs are always pulled up, weakly")
            }
            (Self::Mcp23008 | Self::Mcp23017, Bias::PullDown) => Some("bias pull-down: it can only pull its inputs up"),
            (Self::Mcp23008 | Self::Mcp23017, Bias::Disabled) => None,
        }
    }

    /// What its lines are called, for hints.
    pub fn lines(self) -> String {
        Lines::Pins(self.pins()).describe()
    }
}

/// An expander on another bus.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The kind of chip, which fixes its registers and how many pins it has.
    pub model: Model,
    /// Its 7-bit address on the bus beneath.
    pub address: u8,
    /// How often its inputs are looked at.
    pub every: Option<Duration>,
    /// The line that it pulls low when an input has changed.
    pub interrupt: Option<Interrupt>,
}

impl Settings {
    fn of(entry: &Entry) -> Self {
        let model = Model::ALL.into_iter().find(|model| model.name() == entry.spec.name);
        Self {
            model: model.expect("each kind of expander is made of a model"),
            address: entry.keys.address("address"),
            every: entry.keys.get("every").map(|_| entry.keys.duration("every")),
            interrupt: entry.interrupt.clone(),
        }
    }
}

/// The register level of one chip. Pins are bits, the first the lowest.
trait Port {
    /// Asks whether the chip answers.
    fn probe(&mut self) -> Result<(), BusError>;
    /// These pins are inputs, claimed or not.
    fn spare(&mut self, pins: u16);
    /// Makes a pin an input, and the chip report its changes if `interrupts`.
    fn make_input(&mut self, pin: u8, bias: Bias, interrupts: bool) -> Result<(), BusError>;
    /// Makes a pin an output that has this level from the first moment.
    fn make_output(&mut self, pin: u8, level: bool) -> Result<(), BusError>;
    /// Changes the level of an output.
    fn drive(&mut self, pin: u8, level: bool) -> Result<(), BusError>;
    /// What the pins are.
    fn levels(&mut self) -> Result<Levels, BusError>;
    /// Whether the chip is as it was left.
    fn is_intact(&mut self) -> Result<bool, BusError>;
    /// Nobody uses this pin any more. It is left as it is.
    fn release(&mut self, pin: u8);
}

/// The pins at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Levels {
    now: u16,
    /// As they were when the chip pulled its interrupt line, where it keeps that.
    captured: Option<u16>,
}

/// An expander as a GPIO chip.
pub struct Expander {
    pins: Rc<RefCell<Pins>>,
    wired: Option<Interrupt>,
    /// For the bus of the interrupt, if that is a simulated one.
    chips: FindChip,
    /// Claimed with the first input: a user of outputs only does not need it, and may not get it.
    interrupt: Option<InterruptLine>,
    every: Duration,
    look_at: Duration,
    check_at: Duration,
    failures: u32,
}

struct InterruptLine {
    bus: Box<dyn Bus>,
    line: Box<dyn InputLine>,
    /// How soon the bus of the line wants to be looked at.
    pause: Option<Duration>,
}

impl Expander {
    /// The expander on an open parent, if it answers there; `chips` as for [`open`](crate::open), for the bus of its interrupt.
    ///
    /// # Errors
    /// [`BusError::NoAcknowledge`] and the like.
    pub fn open(settings: &Settings, parent: &mut dyn Bus, chips: FindChip) -> Result<Self, BusError> {
        let Settings { model, address, .. } = *settings;
        parent.expect(model.name(), &[Claim::Address(address)]);
        let name = format!("{} at {address:#04x} on {}", model.name(), parent.describe());
        let mut port = port(model, parent.i2c()?, address);
        port.probe()?;
        let every = settings.every.unwrap_or(match settings.interrupt {
            Some(_) => LOOK_EVERY_WITH_INTERRUPT,
            None => LOOK_EVERY,
        });
        Ok(Self {
            pins: Rc::new(RefCell::new(Pins::new(name, model, port))),
            wired: settings.interrupt.clone(),
            chips,
            interrupt: None,
            every,
            look_at: Duration::ZERO,
            check_at: Duration::ZERO,
            failures: 0,
        })
    }

    fn claim_interrupt(&mut self) -> Result<(), BusError> {
        let Some(Interrupt { on, line }) = self.wired.as_ref().filter(|_| self.interrupt.is_none()) else {
            return Ok(());
        };
        let mut bus = open_plain(&on.settings, self.chips)?;
        // The pin is open drain in both families.
        let (line, active_low, bias) = (line.clone(), true, Bias::PullUp);
        let line = bus.input(&InputRequest { line, active_low, bias, debounce: Duration::ZERO })?;
        self.interrupt = Some(InterruptLine { bus, line, pause: None });
        Ok(())
    }

    /// As [`Bus::refresh`], at this point of the monotonic clock.
    fn refresh_at(&mut self, now: Duration) -> Result<Option<Duration>, BusError> {
        if self.pins.borrow().is_idle() {
            return Ok(None);
        }
        let pulled = self.hear(now).map_err(|e| {
            self.lost(&format!("has no interrupt line any more: {}", fieldgate_model::describe_error(&e)))
        })?;
        if self.interrupt.is_some() {
            self.pins.borrow_mut().asked_at(now);
        }
        match self.look(now, pulled) {
            Ok(()) => self.failures = 0,
            Err(e) if e.is_gone() => return Err(e),
            Err(e) => {
                self.failures += 1;
                if self.failures >= GONE_AFTER {
                    return Err(self.lost(&format!("does not answer: {}", fieldgate_model::describe_error(&e))));
                }
                self.look_at = now + LOOK_AGAIN;
                self.check_at = now + LOOK_AGAIN;
            }
        }
        let next = self.look_at.min(self.check_at).saturating_sub(now);
        Ok(Some(self.interrupt.as_ref().and_then(|interrupt| interrupt.pause).map_or(next, |pause| pause.min(next))))
    }

    /// When the interrupt line was pulled, if it was since the last call or still is.
    fn hear(&mut self, now: Duration) -> Result<Option<Duration>, BusError> {
        let Some(InterruptLine { bus, line, pause }) = &mut self.interrupt else { return Ok(None) };
        *pause = bus.refresh()?;
        let pulled = line.take_edges()?.into_iter().rfind(|edge| edge.active);
        match pulled {
            Some(edge) => Ok(Some(edge.at.unwrap_or(now))),
            // Pulled again before it was seen to be released, it has no edge.
            None => Ok(line.is_active()?.then_some(now)),
        }
    }

    /// Looks at the inputs when that is due, and at the registers.
    fn look(&mut self, now: Duration, pulled: Option<Duration>) -> Result<(), BusError> {
        let mut pins = self.pins.borrow_mut();
        if !pins.has_inputs() {
            self.look_at = Duration::MAX;
        } else if let Some(at) = pulled.or((now >= self.look_at).then_some(now)) {
            let (_, unsettled) = pins.look(at, now)?;
            self.look_at = now + unsettled.unwrap_or(self.every).min(self.every);
        }
        if now >= self.check_at {
            pins.check()?;
            self.check_at = now + CHECK_EVERY;
        }
        Ok(())
    }

    fn lost(&self, why: &str) -> BusError {
        BusError::Lost { what: self.describe(), why: why.to_owned() }
    }
}

impl Bus for Expander {
    fn describe(&self) -> String {
        self.pins.borrow().name().to_owned()
    }

    fn input(&mut self, request: &InputRequest) -> Result<Box<dyn InputLine>, BusError> {
        self.claim_interrupt()?;
        self.look_at = Duration::ZERO;
        Ok(Box::new(PinInput::claim(&self.pins, request, self.interrupt.is_some())?))
    }

    fn output(&mut self, request: &OutputRequest) -> Result<Box<dyn OutputLine>, BusError> {
        Ok(Box::new(PinOutput::claim(&self.pins, request)?))
    }

    fn spare_inputs(&mut self, lines: &[String]) {
        self.pins.borrow_mut().spare(lines);
    }

    fn refresh(&mut self) -> Result<Option<Duration>, BusError> {
        self.refresh_at(monotonic())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.interrupt.as_ref()?.line.descriptor()
    }
}

fn port(model: Model, i2c: SharedI2c, address: u8) -> Box<dyn Port> {
    match model {
        Model::Pcf8574 | Model::Pcf8574a => Box::new(pcf8574::Pcf8574::new(i2c, address)),
        Model::Mcp23008 => Box::new(mcp230xx::Mcp230xx::new(i2c, address, 1)),
        Model::Mcp23017 => Box::new(mcp230xx::Mcp230xx::new(i2c, address, 2)),
    }
}

/// The bus of an interrupt line sits on none: the configuration has seen to it.
fn open_plain(settings: &BusSettings, chips: FindChip) -> Result<Box<dyn Bus>, BusError> {
    crate::open(settings, None, chips)
}

#[cfg(test)]
mod tests;
