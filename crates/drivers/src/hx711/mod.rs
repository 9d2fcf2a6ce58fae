//! hx711: Avia HX711, the converter of scales with a load cell, by the kernel's driver of the same name.
//!
//! Datasheet: Avia Semiconductor HX711. The kernel's drivers/iio/adc/hx711.c clocks the bits, for a clock that stays high for
//! 60 µs resets the chip, which no program can rule out. Debian has the module, the kernel of Raspberry Pi OS (6.12) has it
//! not. It shows counts with the sign bit turned round, from 0 to 2²⁴ − 1.
//!
//! The ends of the range mean that the input is beyond it, and exactly zero is what a data line at ground reads: all three
//! are refused. An input that is not connected floats, and reads as any weight.

mod sim;

use std::rc::Rc;

use crate::kernel_channels::{find_named, number};
use crate::linux_iio::CLASS;
use crate::{BusNeed, DriverError, DriverSpec, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{BusError, Files, sysfs};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "hx711",
    summary: "Avia HX711: weight from a load cell by the kernel",
    page: "\
Wiring: VDD 3.3 V, ground, SCK and DT to GPIO lines; load cell at E+, E−, A+
and A−. The kernel's module hx711 reads it; Raspberry Pi OS comes without it
(`modinfo hx711` shows it), so it must be built there. Nor is there an overlay:
compile this one with dtc -@ and load it with dtoverlay=:

  /dts-v1/; /plugin/;
  / { fragment@0 { target-path = \"/\"; __overlay__ { weight {
      compatible = \"avia,hx711\"; avdd-supply = <&vdd_3v3_reg>;
      sck-gpios = <&gpio 5 0>; dout-gpios = <&gpio 6 0>; }; }; }; };

weight  kg; as good as the load cell and its calibration

Calibrate with scale: 1 and tare: 0: what is published then are counts. tare
is what the empty scale reports; scale is (counts with a weight − tare) / kg.",
    bus: BusNeed::None,
    settings: &[
        Field {
            name: "scale",
            kind: Kind::Number { min: -1e9, max: 1e9 },
            need: Need::Required,
            doc: "the slope in counts per kg, not 0; negative where weight lowers the counts",
        },
        Field {
            name: "tare",
            kind: Kind::Number { min: -8_388_608.0, max: 8_388_607.0 },
            need: Need::Default("0"),
            doc: "the empty scale, in counts",
        },
        Field {
            name: "channel",
            kind: Kind::Choice(&["a", "b"]),
            need: Need::Default("a"),
            doc: "which input: a has a gain of 128 (or 64, as the kernel is set), b of 32",
        },
        Field {
            name: "decimals",
            kind: Kind::Integer { min: 0, max: 6 },
            need: Need::Default("3"),
            doc: "decimals worth publishing",
        },
        Field {
            name: "parent",
            kind: Kind::Text,
            need: Need::Optional,
            doc: "which of several: the name of its node in the device tree, such as weight",
        },
    ],
    claims: |settings| {
        let device = settings.optional_text("parent").unwrap_or(KERNEL_NAME);
        // Both inputs of one converter may be read, by a sensor each.
        let claim = if settings.text("channel") == "a" { device.to_owned() } else { format!("{device} channel b") };
        vec![sysfs::DEVICE.claim(claim)]
    },
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| vec![quantity(settings)],
        default_every: None,
        build: |bus, settings| Ok(Box::new(Hx711::find(bus.files()?, settings)?)),
    },
    example: "\
hive:
  driver: hx711
  every: 30s
  settings: { scale: 21850, tare: 84210 }",
    identity: None,
    chip: Some(ChipSpec::behind_kernel(|| Box::new(sim::Hx711::default()), sim::DEVICE)),
    proofs: &[],
};

/// The kernel calls every one so.
const KERNEL_NAME: &str = "hx711";

/// What stands for zero, and the end of the range.
const MIDDLE: f64 = 8_388_608.0;
const LAST: f64 = 16_777_215.0;

fn quantity(settings: &Settings) -> Quantity {
    Quantity::new("weight", "kg", u8::try_from(settings.integer("decimals")).unwrap_or(3))
}

struct Hx711 {
    files: Rc<dyn Files>,
    folder: String,
    attribute: &'static str,
    quantity: Quantity,
    scale: f64,
    tare: f64,
}

impl Hx711 {
    fn find(files: Rc<dyn Files>, settings: &Settings) -> Result<Self, DriverError> {
        let parent = settings.optional_text("parent");
        let folder = find_named(files.as_ref(), &CLASS, KERNEL_NAME, |name| name == KERNEL_NAME, parent);
        let folder = folder.map_err(|error| match error {
            DriverError::NoDevice { place, why, .. } => {
                let why =
                    format!("{why}; it needs the kernel's module hx711 and an overlay, see `fieldgate drivers hx711`");
                DriverError::NoDevice { chip: "HX711", place, why }
            }
            other => other,
        })?;
        let attribute = if settings.text("channel") == "a" { "in_voltage0_raw" } else { "in_voltage1_raw" };
        let (scale, tare) = (settings.number("scale"), settings.number("tare"));
        Ok(Self { files, folder, attribute, quantity: quantity(settings), scale, tare })
    }
}

impl Sensor for Hx711 {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let raw = number(self.files.as_ref(), &self.folder, self.attribute)?;
        let counts = raw - MIDDLE;
        let weight = (counts - self.tare) / self.scale;
        if raw <= 0.0 || raw >= LAST {
            return Err(DriverError::OutOfRange { quantity: "weight", value: weight });
        }
        if counts == 0.0 {
            let (path, found) = (format!("{}/{}", self.folder, self.attribute), "exactly the middle".to_owned());
            return Err(BusError::Format { path, found, expected: "a signal; a data line at ground reads so" }.into());
        }
        Ok(vec![self.quantity.measured(weight)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{KernelChip, check, settings};
    use fieldgate_bus::Bus;
    use fieldgate_bus::sysfs::HostBus;
    use std::fs;

    fn board(raw: [&str; 2]) -> (tempfile::TempDir, Rc<dyn Files>) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("sys/bus/iio/devices/iio:device0");
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [("name", "hx711\n"), ("in_voltage0_raw", raw[0]), ("in_voltage1_raw", raw[1])] {
            fs::write(folder.join(file), text).unwrap();
        }
        let files = HostBus::at(root.path()).files().unwrap();
        (root, files)
    }

    fn sampled(raw: [&str; 2], given: &[(&str, &str)]) -> Result<Vec<Measurement>, DriverError> {
        let (_root, files) = board(raw);
        Hx711::find(files, &settings(&SPEC, given)).unwrap().sample()
    }

    #[test]
    fn counts_become_kilograms_by_tare_and_scale() {
        let given = [("scale", "-20000"), ("tare", "8392")];
        check(&sampled(["8377000\n", "0"], &given).unwrap(), "weight", 1.0, 1e-9);
        let given = [("scale", "1"), ("channel", "b")];
        check(&sampled(["0", "8388609"], &given).unwrap(), "weight", 1.0, 0.0);
        assert_eq!(quantity(&settings(&SPEC, &[("scale", "1"), ("decimals", "1")])).decimals, 1);
    }

    #[test]
    fn the_ends_of_the_range_and_a_line_at_ground_are_refused() {
        for raw in ["0", "16777215", "99999999", "-1"] {
            let refused = sampled([raw, "0"], &[("scale", "1")]);
            assert!(matches!(refused, Err(DriverError::OutOfRange { .. })), "{raw}: {refused:?}");
        }
        assert!(
            sampled(["1", "0"], &[("scale", "1")]).is_ok() && sampled(["16777214", "0"], &[("scale", "1")]).is_ok()
        );
        let refused = sampled(["8388608", "0"], &[("scale", "1")]);
        assert!(matches!(refused, Err(DriverError::Bus(BusError::Format { .. }))), "{refused:?}");
    }

    #[test]
    fn a_missing_converter_is_reported_with_the_remedy() {
        let root = tempfile::tempdir().unwrap();
        let files = HostBus::at(root.path()).files().unwrap();
        let error = Hx711::find(files, &settings(&SPEC, &[("scale", "1")])).err().unwrap().to_string();
        assert!(error.contains("none at all; it needs the kernel's module hx711"), "{error}");
    }

    #[test]
    fn both_inputs_may_be_read_but_each_once() {
        let claims = |given: &[(&str, &str)]| (SPEC.claims)(&settings(&SPEC, given));
        assert_ne!(claims(&[("scale", "1")]), claims(&[("scale", "1"), ("channel", "b")]));
        assert_eq!(claims(&[("scale", "1")]), claims(&[("scale", "2")]));
    }

    #[test]
    fn the_simulated_converter_is_read_as_its_world_is() {
        let mut chip = KernelChip::with(&SPEC, &[("scale", "20000"), ("tare", "-8000")]);
        let mut sensor = chip.build();
        for counts in [12_000.0, -7.0, 8_388_606.0] {
            chip.set("counts", counts);
            check(&sensor.sample().unwrap(), "weight", (counts + 8000.0) / 20_000.0, 1e-9);
        }
        for counts in [8_388_607.0, -8_388_608.0, 1e9] {
            chip.set("counts", counts);
            assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { .. })), "{counts}");
        }
        let mut named = KernelChip::with(&SPEC, &[("scale", "1"), ("parent", "weight")]);
        check(&named.build().sample().unwrap(), "weight", 120_000.0, 0.0);
        for fault in ["nak", "not-ready"] {
            chip.fault(Some(fault));
            let error = sensor.sample().unwrap_err();
            assert!(matches!(&error, DriverError::Bus(BusError::Io { .. })) && error.is_transient(), "{error}");
        }
    }
}
