//! pms5003: Plantower PMS5003 and PMS7003, for fine dust.
//!
//! Datasheet: Plantower "Digital universal particle concentration sensor PMS5003 series data manual", 2016, version 2.3;
//! appendix I is the protocol.
//! The lines take 3.3 V. Beyond 500 µg/m³ it measures with less accuracy.
//!
//! In active mode, as after power-on, the sensor sends a frame every 1 to 3 s; each is read as it comes and the newest is the
//! sample. In passive mode it answers when it is asked. A frame ends with the sum of its bytes. After a loss of supply the
//! sensor is in active mode again and its fan has to run up again: both modes notice that.
//!
//! The PMS5003T and S have the same frame with other things in the place of some counts.

mod frames;
mod sim;
#[cfg(test)]
mod tests;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;

use crate::{BusNeed, DriverError, DriverSpec, Event, Proof, Role, Sensor};
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{Bus, BusError, SerialPort, UartRequest, uart};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};
use frames::{Damage, Frames};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "pms5003",
    summary: "Plantower PMS5003, PMS7003: fine dust over a serial port",
    page: "\
Wiring: 5 V, ground, TX of the sensor to RXD of the board; RX to TXD for
mode: passive only. SET and RESET stay open. The port must be free of a login
prompt: raspi-config, Interface Options, Serial Port.

pm1_0, pm2_5, pm10  µg/m³; ±10 µg/m³ up to 100, ±10 % above, up to 500
particles_0_3 … particles_10  with counts: true; how many are larger than that
                              many µm, in 0.1 L of air

Nothing is published in the first 30 s, until the fan has done its work. In
active mode ask it every 5s or more: it sends a frame every 1 to 3 s. The sum
at the end of each frame is checked. A laser that has died reads as 0.",
    bus: BusNeed::Uart,
    settings: &[
        Field {
            name: "mode",
            kind: Kind::Choice(&["active", "passive"]),
            need: Need::Default("active"),
            doc: "active: it sends by itself, one wire is enough; passive: it is asked",
        },
        Field {
            name: "concentration",
            kind: Kind::Choice(&["atmospheric", "standard"]),
            need: Need::Default("atmospheric"),
            doc: "atmospheric: for the air around us; standard: CF=1, for the maker's test dust",
        },
        Field {
            name: "counts",
            kind: Kind::Flag,
            need: Need::Default("false"),
            doc: "whether to publish the numbers of particles too",
        },
    ],
    claims: |_| vec![uart::PORT.only()],
    wrong: |_| None,
    role: Role::Sensor { measurements: quantities, default_every: None, build },
    example: "\
dust:
  driver: pms5003
  bus: serial
  every: 10s
  settings: { mode: active }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Pms5003::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-pm25 2.1.24")],
};

const MASSES: [Quantity; 3] =
    [Quantity::new("pm1_0", "µg/m³", 0), Quantity::new("pm2_5", "µg/m³", 0), Quantity::new("pm10", "µg/m³", 0)];

const COUNTS: [Quantity; 6] = [
    Quantity::new("particles_0_3", "/0.1 L", 0),
    Quantity::new("particles_0_5", "/0.1 L", 0),
    Quantity::new("particles_1_0", "/0.1 L", 0),
    Quantity::new("particles_2_5", "/0.1 L", 0),
    Quantity::new("particles_5_0", "/0.1 L", 0),
    Quantity::new("particles_10", "/0.1 L", 0),
];

const BAUD: UartRequest = UartRequest { baud: 9600 };

/// Length field of a frame with data: 13 words and the sum (appendix I).
const DATA: usize = 28;

// Commands with their sums (appendix I).
const GO_PASSIVE: [u8; 7] = [0x42, 0x4D, 0xE1, 0x00, 0x00, 0x01, 0x70];
const GO_ACTIVE: [u8; 7] = [0x42, 0x4D, 0xE1, 0x00, 0x01, 0x01, 0x71];
const READ: [u8; 7] = [0x42, 0x4D, 0xE2, 0x00, 0x00, 0x01, 0x71];

/// An answer of 32 bytes takes 33 ms on the line; the rest is for the sensor to think.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// So long after its start the fan has done its work ("stable data should be got at least 30 seconds after").
const WARM_UP_S: u64 = 30;

/// More than twice what may lie between two frames of active mode, 2.3 s.
const SILENCE_S: u64 = 5;

/// More than the kernel keeps of one line; a line that babbles must not block the thread.
const DRAIN_LIMIT: usize = 8192;

fn quantities(settings: &Settings) -> Vec<Quantity> {
    let counts: &[Quantity] = if settings.flag("counts") { &COUNTS } else { &[] };
    MASSES.iter().chain(counts).cloned().collect()
}

fn build(bus: &mut dyn Bus, settings: &Settings) -> Result<Box<dyn Sensor>, DriverError> {
    Ok(Box::new(Pms5003::start(bus.uart(&BAUD)?, bus.seconds()?, settings)?))
}

struct Pms5003 {
    port: Box<dyn SerialPort>,
    seconds: Box<dyn Seconds>,
    passive: bool,
    /// Of the first mass of the chosen kind, in words of the frame.
    masses_at: usize,
    counts: bool,
    frames: Frames,
    latest: Option<Vec<u16>>,
    damage: Option<Damage>,
    /// A frame that no PMS5003 sends: its length field.
    foreign: Option<usize>,
    /// Seconds since the last good frame, or since the start.
    silence: u64,
    /// Seconds since the fan started, as far as is known.
    running: u64,
    /// A question was not answered in time; what comes now may be that answer.
    owed: bool,
}

impl Pms5003 {
    fn start(port: Box<dyn SerialPort>, seconds: Box<dyn Seconds>, settings: &Settings) -> Result<Self, DriverError> {
        let passive = settings.text("mode") == "passive";
        let mut sensor = Self {
            port,
            seconds,
            passive,
            masses_at: if settings.text("concentration") == "standard" { 0 } else { 3 },
            counts: settings.flag("counts"),
            frames: Frames::default(),
            latest: None,
            damage: None,
            foreign: None,
            silence: 0,
            running: 0,
            owed: false,
        };
        // Without the second wire the sensor does not hear this, and is in active mode anyway.
        sensor.port.write(if passive { &GO_PASSIVE } else { &GO_ACTIVE })?;
        Ok(sensor)
    }

    /// Takes in what has come so far.
    fn drain(&mut self) -> Result<(), BusError> {
        let passed = self.seconds.passed();
        self.silence += passed;
        self.running += passed;
        let mut buffer = [0; 64];
        for _ in 0..DRAIN_LIMIT / buffer.len() {
            let length = self.port.read(&mut buffer, Duration::ZERO)?;
            self.take_in(buffer.get(..length).unwrap_or_default());
            if length < buffer.len() {
                break;
            }
        }
        Ok(())
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.frames.feed(bytes);
        while let Some(frame) = self.frames.next() {
            match frame {
                Ok(words) if words.len() * 2 + 2 == DATA => self.accept(words),
                // The echo of a command.
                Ok(words) if words.len() == 1 => {}
                Ok(words) => self.foreign = Some(words.len() * 2 + 2),
                Err(damage) => self.damage = Some(damage),
            }
        }
    }

    fn accept(&mut self, words: Vec<u16>) {
        // After a silence that no running sensor keeps, its fan has just started.
        if !self.passive && self.silence > SILENCE_S {
            self.running = 0;
        }
        (self.silence, self.latest, self.damage, self.foreign) = (0, Some(words), None, None);
    }

    /// Asks for a frame. One that has come without a question means that the sensor started again, in active mode.
    fn ask(&mut self) -> Result<(), BusError> {
        if self.latest.take().is_some() && !std::mem::take(&mut self.owed) {
            self.running = 0;
            self.port.write(&GO_PASSIVE)?;
        }
        self.port.write(&READ)?;
        let mut buffer = [0; DATA + 4];
        // The answer in one piece, or in two when something else came before it.
        for _ in 0..3 {
            let missing = self.frames.missing(DATA + 4);
            let Some(piece) = buffer.get_mut(..missing) else { break };
            let length = self.port.read(piece, ANSWER_WITHIN)?;
            self.take_in(buffer.get(..length).unwrap_or_default());
            if self.latest.is_some() || length < missing {
                break;
            }
        }
        self.owed = self.latest.is_none();
        Ok(())
    }

    /// Why there is no frame.
    fn missing(&mut self) -> DriverError {
        if let Some(length) = self.foreign.take() {
            let why = format!("something sends frames of length {length} instead of {DATA}");
            return DriverError::NoDevice { chip: "PMS5003", place: "this serial port".into(), why };
        }
        if let Some(Damage { computed, received }) = self.damage.take() {
            return DriverError::BadChecksum { computed, received };
        }
        if !self.passive && self.silence <= SILENCE_S {
            return DriverError::TooEarly("the PMS5003 sends a frame every 1 to 3 s, and none has come since the last");
        }
        let what = if self.passive {
            "asking the PMS5003 (check the wiring of RX and TX and its 5 V; mode: active needs TX only)"
        } else {
            "waiting for the PMS5003 (check the wiring of its TX and its 5 V, and that SET is not at ground)"
        };
        BusError::Io { what: what.into(), source: Errno::TIMEDOUT.into() }.into()
    }

    fn measured(&self, words: &[u16]) -> Result<Vec<Measurement>, DriverError> {
        let masses = words.get(self.masses_at..self.masses_at + 3).unwrap_or_default();
        if !masses.is_sorted() {
            let found = format!("{masses:?} µg/m³");
            let expected = "the mass of all particles up to 1, 2.5 and 10 µm, each part of the next";
            return Err(BusError::Format { path: "the PMS5003".into(), found, expected }.into());
        }
        let counts = words.get(6..12).filter(|_| self.counts).unwrap_or_default();
        let measured = |(quantity, word): (&Quantity, &u16)| quantity.measured(f64::from(*word));
        Ok(MASSES.iter().zip(masses).chain(COUNTS.iter().zip(counts)).map(measured).collect())
    }
}

impl Sensor for Pms5003 {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.drain()?;
        if self.passive {
            self.ask()?;
        }
        // Beyond that it is not what the air is like now.
        let latest = self.latest.take().filter(|_| self.silence <= SILENCE_S);
        let Some(words) = latest else { return Err(self.missing()) };
        if self.running < WARM_UP_S {
            return Err(DriverError::TooEarly("the fan of the PMS5003 has not run for 30 s yet"));
        }
        self.measured(&words)
    }

    /// Keeps the newest frame, so that a sample is never older than the sensor's own period.
    fn take_events(&mut self) -> Result<Vec<Event>, DriverError> {
        if !self.passive {
            self.drain()?;
        }
        Ok(Vec::new())
    }

    fn is_event_driven(&self) -> bool {
        !self.passive
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.port.descriptor().filter(|_| !self.passive)
    }
}
