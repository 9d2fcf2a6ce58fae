//! mcp9808: the Microchip MCP9808, for temperature.
//!
//! Datasheet: MCP9808, DS25095, whose sections are named below.
//! Supply: 2.7 to 5.5 V.
//!
//! The chip measures four times a second by itself; the latest result is read. It has the maker's and its own id and no
//! checksum. Before its first conversion it reads 0 °C, and nothing says so; therefore a hysteresis is set that no alert
//! uses, and read back with each result: a chip that lost its supply for a moment has it no more.

mod sim;

use std::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::i2c_chip::{absent, another, claims, read_word, within};
use crate::{BusNeed, DriverError, DriverSpec, Identity, Proof, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Delay};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "mcp9808",
    summary: "Microchip MCP9808: temperature over I²C, 0.0625 °C",
    page: "\
Wiring: SDA, SCL, 3 to 5 V, ground. A0 A1 A2 at ground: address 0x18; each
one at the supply adds 1, 2 or 4.

temperature  −40 to 125 °C, ±0.5 °C from −20 to 100 °C

Four conversions a second; the latest is read.",
    bus: BusNeed::I2c,
    settings: &[Field {
        name: "address",
        kind: Kind::Address(&[0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F]),
        need: Need::Default("0x18"),
        doc: "0x18 with A0 A1 A2 at ground; they add 1, 2 and 4",
    }],
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| vec![TEMPERATURE],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Mcp9808::start(bus.i2c()?, &mut Delay, settings)?)),
    },
    example: "\
freezer:
  driver: mcp9808
  bus: i2c-1
  every: 10s
  settings: { address: 0x18 }",
    identity: Some(Identity {
        ask: &[MAKER],
        length: 2,
        is: |answer| answer == MICROCHIP.to_be_bytes(),
        // Its maker has other thermometers at these addresses.
        then: Some(&Identity { ask: &[DEVICE], length: 2, is: |answer| answer[0] == DEVICE_ID, then: None }),
    }),
    chip: Some(ChipSpec::of(|| Box::new(sim::Mcp9808::default()))),
    proofs: &[Proof::Reference("adafruit-circuitpython-mcp9808 3.3.32"), Proof::Kernel("jc42")],
};

/// Two decimals distinguish steps of 0.0625 °C.
const TEMPERATURE: Quantity = Quantity::new("temperature", "°C", 2);

const CELSIUS: RangeInclusive<f64> = -40.0..=125.0;

// Registers ("Register Set").
const CONFIGURATION: u8 = 0x01;
const AMBIENT: u8 = 0x05;
const MAKER: u8 = 0x06;
const DEVICE: u8 = 0x07;
const RESOLUTION: u8 = 0x08;

const MICROCHIP: u16 = 0x0054;
/// The upper byte; the lower is the revision.
const DEVICE_ID: u8 = 0x04;
/// Continuous conversion without alert, nothing locked, and a hysteresis of 1.5 °C as the mark ("Sensor Configuration
/// Register").
const MARKED: u16 = 0x0200;
/// 0.0625 °C, as after power-on ("Resolution Register").
const FINEST: u8 = 0x03;
/// A conversion at this resolution takes 250 ms, typically.
const CONVERSION_US: u32 = 300_000;
/// The ambient temperature's sign and value, below three flags ("Ambient Temperature Register").
const VALUE: u16 = 0x1FFF;

struct Mcp9808<I> {
    i2c: I,
    address: u8,
}

impl<I: I2c<Error = BusError>> Mcp9808<I> {
    /// Checks both ids, configures the chip and waits for its first conversion.
    fn start(i2c: I, delay: &mut impl DelayNs, settings: &Settings) -> Result<Self, DriverError> {
        let mut chip = Self { i2c, address: settings.address("address") };
        let maker = chip.read(MAKER).map_err(absent("MCP9808"))?;
        let device = chip.read(DEVICE)?;
        if maker != MICROCHIP || device.to_be_bytes()[0] != DEVICE_ID {
            let why = format!("the manufacturer id is {maker:#06x}, the device id {device:#06x}");
            return Err(another("MCP9808", chip.address, why));
        }
        let [high, low] = MARKED.to_be_bytes();
        chip.i2c.write(chip.address, &[CONFIGURATION, high, low])?;
        chip.i2c.write(chip.address, &[RESOLUTION, FINEST])?;
        delay.delay_us(CONVERSION_US);
        Ok(chip)
    }

    fn read(&mut self, register: u8) -> Result<u16, BusError> {
        read_word(&mut self.i2c, self.address, register)
    }
}

impl<I: I2c<Error = BusError>> Sensor for Mcp9808<I> {
    /// The configuration is read last: what it confirms was there when the result was read.
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let result = self.read(AMBIENT)?;
        let configuration = self.read(CONFIGURATION)?;
        if configuration != MARKED {
            let why = format!("its configuration is {configuration:#06x}: it lost its supply, or it is locked");
            return Err(another("MCP9808", self.address, why));
        }
        Ok(vec![TEMPERATURE.measured(within("temperature", celsius(result), &CELSIUS)?)])
    }
}

/// Two's complement of 13 bits, sixteenths of a degree.
fn celsius(word: u16) -> f64 {
    f64::from(((word & VALUE) << 3).cast_signed()) / 128.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{self, ChipUnderTest, CountedDelay, Step, Transcript, check, settings};

    fn start(steps: impl IntoIterator<Item = Step>) -> Result<Mcp9808<Transcript>, DriverError> {
        let mut delay = CountedDelay::default();
        let chip = Mcp9808::start(Transcript::new(0x18, steps), &mut delay, &settings(&SPEC, &[]))?;
        assert!(delay.waited_us() >= 250_000);
        Ok(chip)
    }

    fn ids(maker: [u8; 2], device: [u8; 2]) -> Vec<Step> {
        vec![Step::WriteRead(vec![6], maker.to_vec()), Step::WriteRead(vec![7], device.to_vec())]
    }

    fn sample(result: [u8; 2], configuration: [u8; 2]) -> Result<Vec<Measurement>, DriverError> {
        let rest = [
            Step::Write(vec![1, 0x02, 0x00]),
            Step::Write(vec![8, 3]),
            Step::WriteRead(vec![5], result.to_vec()),
            Step::WriteRead(vec![1], configuration.to_vec()),
        ];
        start(ids([0x00, 0x54], [0x04, 0x00]).into_iter().chain(rest)).unwrap().sample()
    }

    #[test]
    fn the_value_has_a_sign_below_the_flags() {
        for (word, expected) in [(0x0194, 25.25), (0xC194, 25.25), (0x1FF0, -1.0), (0xFE6C, -25.25), (0x07D0, 125.0)] {
            assert_eq!(celsius(word), expected, "{word:#06x}");
        }
    }

    #[test]
    fn a_good_transcript_gives_the_temperature() {
        check(&sample([0xC1, 0x91], [0x02, 0x00]).unwrap(), "temperature", 25.0625, 0.0);
    }

    #[test]
    fn a_chip_that_lost_its_supply_or_is_locked_is_not_believed() {
        for configuration in [[0x00, 0x00], [0x01, 0x00], [0x00, 0xC0], [0xFF, 0xFF]] {
            let refused = sample([0x00, 0x00], configuration).unwrap_err();
            assert!(matches!(refused, DriverError::NoDevice { .. }), "{refused}");
        }
    }

    #[test]
    fn what_the_chip_cannot_measure_is_refused() {
        let refused = sample([0x08, 0x10], [0x02, 0x00]);
        assert!(matches!(refused, Err(DriverError::OutOfRange { quantity: "temperature", .. })), "{refused:?}");
    }

    #[test]
    fn a_missing_chip_and_another_chip_are_named() {
        let refusal = |steps: Vec<Step>| start(steps).err().unwrap().to_string();
        assert!(refusal(vec![Step::Nak]).starts_with("no MCP9808 at address 0x18: nobody answers"));
        for (maker, device) in
            [([0x00, 0x54], [0x22, 0x00]), ([0x11, 0x31], [0x04, 0x00]), ([0xFF, 0xFF], [0xFF, 0xFF])]
        {
            assert!(refusal(ids(maker, device)).contains("the manufacturer id is"));
        }
    }

    #[test]
    fn its_identity_is_the_makers() {
        let identity = SPEC.identity.unwrap();
        assert!((identity.is)(&[0x00, 0x54]) && !(identity.is)(&[0x00, 0x00]) && !(identity.is)(&[0xFF, 0xFF]));
    }

    #[test]
    fn the_simulated_chip_is_read_as_its_world_is() {
        let chip = ChipUnderTest::with("mcp9808", 0x18);
        let build = || Mcp9808::start(chip.clone(), &mut CountedDelay::default(), &settings(&SPEC, &[]));
        let mut sensor = build().unwrap();
        for celsius in [21.5, -39.9, 124.9] {
            chip.set("temperature", celsius);
            check(&sensor.sample().unwrap(), "temperature", celsius, 0.032);
        }
        for fault in ["power-on", "stuck"] {
            chip.fault(Some(fault));
            assert!(matches!(sensor.sample(), Err(DriverError::NoDevice { .. })), "{fault}");
        }
        chip.fault(Some("nak"));
        assert!(matches!(sensor.sample(), Err(DriverError::Bus(BusError::NoAcknowledge { address: 0x18 }))));
        chip.fault(Some("wrong-id"));
        assert!(matches!(build(), Err(DriverError::NoDevice { .. })));
        chip.fault(None);
        check(&build().unwrap().sample().unwrap(), "temperature", 124.9, 0.032);
    }

    #[test]
    fn it_is_built_as_the_worker_does() {
        let mut sensor = transcript::build(&SPEC, &mut ChipUnderTest::with("mcp9808", 0x18)).unwrap();
        check(&sensor.sample().unwrap(), "temperature", 21.5, 0.0);
    }
}
