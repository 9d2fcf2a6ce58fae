//! mcp3008, mcp3004: Microchip's converters of eight and four voltages with 10 bits.
//!
//! Datasheet: DS21295, "MCP3004/3008"; section and figure numbers below are its.
//! VDD may be 2.7 to 5.5 V, but no more than the board's inputs bear.
//!
//! The chip has neither id nor checksum, but clocked on after its result it repeats it backwards (figure 5-2): both must
//! agree, so a line that floats or picks up noise is noticed. Only a line that is held at ground reads like 0 V.

mod sim;

use embedded_hal::spi::{MODE_0, SpiDevice};

use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor, partly};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{Bus, BusError, SpiRequest, spi};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Setting, Settings};

/// The driver of the converter with eight inputs.
pub static MCP3008: DriverSpec = DriverSpec {
    name: "mcp3008",
    summary: "Microchip MCP3008: eight analogue voltages over SPI, 10 bits",
    page: PAGE,
    bus: BusNeed::Spi,
    settings: &[
        Field {
            name: "channels",
            kind: Kind::List(&Kind::Integer { min: 0, max: 7 }),
            need: Need::Default("[0, 1, 2, 3, 4, 5, 6, 7]"),
            doc: "which inputs to measure",
        },
        REFERENCE,
        FULL_SCALE,
    ],
    claims: |_| vec![spi::CHIP_SELECT.only()],
    wrong: |_| None,
    role: Role::Sensor { measurements, default_every: None, build: |bus, settings| build(bus, settings, "MCP3008") },
    example: "\
light:
  driver: mcp3008
  bus: spi-0
  every: 10s
  settings: { channels: [0, 1], reference: 3.3 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Mcp300x::mcp3008()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-mcp3xxx 1.5.2")],
};

/// The driver of the converter with four inputs.
pub static MCP3004: DriverSpec = DriverSpec {
    name: "mcp3004",
    summary: "Microchip MCP3004: four analogue voltages over SPI, 10 bits",
    page: PAGE,
    bus: BusNeed::Spi,
    settings: &[
        Field {
            name: "channels",
            kind: Kind::List(&Kind::Integer { min: 0, max: 3 }),
            need: Need::Default("[0, 1, 2, 3]"),
            doc: "which inputs to measure",
        },
        REFERENCE,
        FULL_SCALE,
    ],
    claims: |_| vec![spi::CHIP_SELECT.only()],
    wrong: |_| None,
    role: Role::Sensor { measurements, default_every: None, build: |bus, settings| build(bus, settings, "MCP3004") },
    example: "\
light:
  driver: mcp3004
  bus: spi-0
  every: 10s
  settings: { channels: [0, 1], reference: 3.3 }",
    identity: None,
    chip: Some(ChipSpec::of(|| Box::new(sim::Mcp300x::mcp3004()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-mcp3xxx 1.5.2")],
};

const PAGE: &str = "\
Wiring: CLK, DIN to MOSI, DOUT to MISO, CS to the chip select of the bus; VDD
3.3 V, so that DOUT fits the board; AGND and DGND to ground; VREF to what
counts as full, most often 3.3 V. Switch SPI on: dtparam=spi=on.

voltage_0 … voltage_7  V, ±1/1024 of the reference; those named in channels

The largest code means the reference or more. Such an input is left out of the
reading, and the sensor's status names it; with full_scale: accept it is
published as it is, which suits a potentiometer between VREF and ground. An
input that is left open floats: leave it out of channels. The chip sends each
result twice; both must agree.";

const REFERENCE: Field = Field {
    name: "reference",
    kind: Kind::Number { min: 0.25, max: 7.0 },
    need: Need::Default("3.3"),
    doc: "the voltage at VREF, in V",
};

const FULL_SCALE: Field = Field {
    name: "full_scale",
    kind: Kind::Choice(&["refuse", "accept"]),
    need: Need::Default("refuse"),
    doc: "what to do with the largest code, which means the reference or more",
};

const NAMES: [&str; 8] =
    ["voltage_0", "voltage_1", "voltage_2", "voltage_3", "voltage_4", "voltage_5", "voltage_6", "voltage_7"];

/// In each mode of the clock that the chip knows (section 6.1), and slow enough for 2.7 V (table "Electrical
/// characteristics": 1.35 MHz).
const REQUEST: SpiRequest = SpiRequest { mode: MODE_0, max_hz: 1_000_000 };

/// What it reads at the reference voltage, and above it.
const FULL: u16 = 0x3FF;

/// A step of 3.3 V is 3 mV.
fn quantity(channel: u8) -> Quantity {
    Quantity::new(NAMES[usize::from(channel & 7)], "V", 3)
}

/// The inputs to measure, each once, in their order.
fn channels(settings: &Settings) -> impl Iterator<Item = u8> {
    let listed = settings.list("channels");
    (0..8).filter(move |channel| listed.contains(&Setting::Integer(i64::from(*channel))))
}

fn measurements(settings: &Settings) -> Vec<Quantity> {
    channels(settings).map(quantity).collect()
}

fn build(bus: &mut dyn Bus, settings: &Settings, chip: &'static str) -> Result<Box<dyn Sensor>, DriverError> {
    let mut converter = Mcp300x::new(bus.spi(&REQUEST)?, chip, settings);
    converter.sample_codes()?;
    Ok(Box::new(converter))
}

struct Mcp300x<S> {
    spi: S,
    chip: &'static str,
    channels: Vec<u8>,
    reference: f64,
    accept_full: bool,
}

impl<S: SpiDevice<Error = BusError>> Mcp300x<S> {
    fn new(spi: S, chip: &'static str, settings: &Settings) -> Self {
        let accept_full = settings.text("full_scale") == "accept";
        let channels = channels(settings).collect();
        Self { spi, chip, channels, reference: settings.number("reference"), accept_full }
    }

    /// One conversion for each channel: a conversion belongs to its own chip select (5.0).
    fn sample_codes(&mut self) -> Result<Vec<(u8, u16)>, DriverError> {
        let channels = self.channels.clone();
        channels.into_iter().map(|channel| Ok((channel, self.convert(channel)?))).collect()
    }

    /// The start bit ends the first byte; single-ended and the channel begin the second (table 5-2, figure 6-1). Five
    /// bytes are enough for the result and its repetition.
    fn convert(&mut self, channel: u8) -> Result<u16, DriverError> {
        let mut bytes = [0x01, 0x80 | channel << 4, 0, 0, 0];
        self.spi.transfer_in_place(&mut bytes)?;
        let bits = bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        // From the end: seven bits of nothing, nine of repetition, ten of result, and the null bit that announces it.
        if bits >> 26 & 1 == 1 {
            let why =
                "the line MISO is high where the chip holds it low; check the wiring, the supply and the chip select";
            return Err(DriverError::NoDevice { chip: self.chip, place: "this chip select".into(), why: why.into() });
        }
        let code = bits >> 16 & 0x3FF;
        // B0 is sent once: the repetition begins with B1.
        let backwards = (1..10).fold(0, |sum, bit| sum << 1 | code >> bit & 1);
        let repeated = bits >> 7 & 0x1FF;
        if backwards != repeated {
            let found = format!("{code:#05x} and then, backwards, {repeated:#05x} instead of {backwards:#05x}");
            let path = format!("the {} on channel {channel}", self.chip);
            return Err(BusError::Format { path, found, expected: "the same twice" }.into());
        }
        Ok(u16::try_from(code).unwrap_or(FULL))
    }
}

impl<S: SpiDevice<Error = BusError>> Sensor for Mcp300x<S> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let codes = self.sample_codes()?;
        partly::channels(codes.into_iter().map(|(channel, code)| {
            let (name, volts) = (NAMES[usize::from(channel & 7)], volts(code, self.reference));
            let result = match code == FULL && !self.accept_full {
                true => Err(DriverError::OutOfRange { quantity: name, value: volts }),
                false => Ok(quantity(channel).measured(volts)),
            };
            (name.into(), result)
        }))
    }
}

/// Equation 4-2: code = 1024 × VIN / VREF.
fn volts(code: u16, reference: f64) -> f64 {
    f64::from(code) * reference / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, Exchange, check, settings, without};

    /// What the chip answers with this code, the bits before the null bit floating high.
    fn answer(code: u64) -> [u8; 5] {
        let repeated = (1..10).fold(0, |sum, bit| sum << 1 | code >> bit & 1);
        let [.., a, b, c, d, e] = (0xF8_u64 << 24 | 0xFF << 32 | code << 16 | repeated << 7).to_be_bytes();
        [a, b, c, d, e]
    }

    fn sampled(exchanges: Vec<([u8; 5], [u8; 5])>, given: &[(&str, &str)]) -> Result<Vec<Measurement>, DriverError> {
        let script = exchanges.into_iter().map(|(out, back)| (out.to_vec(), back.to_vec()));
        Mcp300x::new(Exchange::new(script), "MCP3008", &settings(&MCP3008, given)).sample()
    }

    const CHANNEL_0: [u8; 5] = [0x01, 0x80, 0, 0, 0];
    const CHANNEL_5: [u8; 5] = [0x01, 0xD0, 0, 0, 0];

    #[test]
    fn a_good_transcript_gives_the_voltages_of_the_listed_channels() {
        // Code 0x245, written out bit by bit: null 0, 1001000101, and backwards without the first bit 010001001.
        let by_hand = [0xFF, 0b1111_1010, 0b0100_0101, 0b0100_0100, 0b1000_0000];
        assert_eq!(answer(0x245), by_hand);
        let both = vec![(CHANNEL_0, by_hand), (CHANNEL_5, answer(1022))];
        let sampled = sampled(both, &[("channels", "[5, 0, 5]"), ("reference", "5.12")]).unwrap();
        check(&sampled, "voltage_0", 2.905, 1e-9);
        check(&sampled, "voltage_5", 5.11, 1e-9);
        assert_eq!(sampled.len(), 2);
    }

    #[test]
    fn a_line_that_floats_high_is_no_chip() {
        let error = sampled(vec![(CHANNEL_0, [0xFF; 5])], &[("channels", "[0]")]).unwrap_err();
        assert!(error.to_string().contains("MISO is high") && !error.is_transient(), "{error}");
    }

    #[test]
    fn a_result_that_is_not_repeated_is_dropped() {
        for bit in [7, 15, 16, 17, 25] {
            let wrong = u64::from_be_bytes([0, 0, 0, 0xFF, 0xFA, 0x45, 0x44, 0x80]) ^ 1 << bit;
            let [.., a, b, c, d, e] = wrong.to_be_bytes();
            let outcome = sampled(vec![(CHANNEL_0, [a, b, c, d, e])], &[("channels", "[0]")]);
            // B0 is sent once, so its damage is not noticed.
            assert_eq!(outcome.is_ok(), bit == 16, "bit {bit}: {outcome:?}");
        }
    }

    #[test]
    fn the_largest_code_is_out_of_range_unless_it_is_accepted() {
        let full = || vec![(CHANNEL_0, answer(1023))];
        let refused = sampled(full(), &[("channels", "[0]")]);
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "voltage_0", .. })), "{refused:?}");
        let both = vec![(CHANNEL_0, answer(1023)), ([0x01, 0x90, 0, 0, 0], answer(512))];
        let measurements = without(sampled(both, &[("channels", "[0, 1]")]), &["voltage_0"]);
        check(&measurements, "voltage_1", 1.65, 0.0005);
        let accepted = sampled(full(), &[("channels", "[0]"), ("full_scale", "accept")]).unwrap();
        check(&accepted, "voltage_0", 3.297, 0.0005);
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        for (spec, channels) in [(&MCP3008, 8), (&MCP3004, 4)] {
            let mut chip = ChipUnderTest::with(spec.name, 0);
            let mut sensor = transcript::build(spec, &mut chip).unwrap();
            let volts = |channel: usize| 0.3 * channel as f64;
            for (channel, name) in NAMES.iter().enumerate().take(channels) {
                chip.set(name, volts(channel));
            }
            let sampled = sensor.sample().unwrap();
            assert_eq!(sampled.len(), channels);
            for (channel, name) in NAMES.iter().enumerate().take(channels) {
                check(&sampled, name, volts(channel), 0.0033);
            }
            chip.fault(Some("nak"));
            assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })));
            chip.fault(Some("stuck"));
            assert!(transcript::build(spec, &mut chip).is_err());
        }
    }
}
