//! dht22, dht11: Aosong DHT22 (AM2302, DHT21) and DHT11, for temperature and humidity, by the kernel's driver dht11.
//!
//! Datasheets: Aosong AM2302 and DHT11 product manuals. The kernel's drivers/iio/humidity/dht11.c times the pulses, checks the
//! sum and distinguishes the two kinds of sensor.
//! Most boards have the pull-up of the data line.
//!
//! The line has no clock, so a busy board misses an answer now and then: the kernel says EIO or ETIMEDOUT, and the next
//! sample may be good. Copies that count below zero in two's complement are understood. It keeps a good answer for two
//! seconds, so both quantities are of one answer. Five bytes of zero have a right sum; 0 °C at 0 % is refused.

mod sim;

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::rc::Rc;

use rustix::io::Errno;

use crate::i2c_chip::within;
use crate::kernel_channels::{find_named, number};
use crate::linux_iio::CLASS;
use crate::{BusNeed, DriverError, DriverSpec, Role, Sensor};
use fieldgate_bus::sim::chips::ChipSpec;
use fieldgate_bus::{Bus, BusError, Claim, Files, sysfs};
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver of the better sensor.
pub static DHT22: DriverSpec = DriverSpec {
    name: "dht22",
    summary: "Aosong DHT22, AM2302, DHT21: temperature and humidity by the kernel",
    page: "\
Wiring: DATA to GPIO4 with 4.7 to 10 kΩ to 3.3 V, 3.3 V, ground. The kernel
reads it: dtoverlay=dht11 in config.txt (for the DHT22 too), another pin with
,gpiopin=N; load it once for each sensor. No bus is needed under `buses:`.

temperature  −40 to 80 °C; ±0.5 °C
humidity     0 to 100 %; ±2 %

A busy board misses an answer now and then; the next sample is tried as usual.
The sensor reports what it measured when it was asked before: ask it every 10s
or so, and no more often than every 2s.",
    bus: BusNeed::None,
    settings: DEVICE,
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| quantities(1),
        default_every: None,
        build: |bus, settings| build(bus, settings, &DHT22_CHIP),
    },
    example: "\
cellar:
  driver: dht22
  every: 10s",
    identity: None,
    chip: Some(ChipSpec::behind_kernel(|| Box::new(sim::Dht::dht22()), sim::DEVICE)),
    proofs: &[],
};

/// The driver of the cheaper sensor.
pub static DHT11: DriverSpec = DriverSpec {
    name: "dht11",
    summary: "Aosong DHT11: temperature and humidity by the kernel",
    page: "\
Wiring: DATA to GPIO4 with 4.7 to 10 kΩ to 3.3 V, 3.3 V, ground. The kernel
reads it: dtoverlay=dht11 in config.txt, another pin with ,gpiopin=N; load it
once for each sensor. No bus is needed under `buses:`.

temperature  −20 to 60 °C, early ones 0 to 50 °C; ±2 °C
humidity     5 to 95 %, early ones 20 to 90 %; ±5 %

A busy board misses an answer now and then; the next sample is tried as usual.
Ask it every 10s or so, and no more often than every 2s.",
    bus: BusNeed::None,
    settings: DEVICE,
    claims,
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |_| quantities(0),
        default_every: None,
        build: |bus, settings| build(bus, settings, &DHT11_CHIP),
    },
    example: "\
cellar:
  driver: dht11
  every: 10s",
    identity: None,
    chip: Some(ChipSpec::behind_kernel(|| Box::new(sim::Dht::dht11()), sim::DEVICE)),
    proofs: &[],
};

const DEVICE: &[Field] = &[Field {
    name: "device",
    kind: Kind::Text,
    need: Need::Optional,
    doc: "of several the one with this name, such as dht11@4; `grep . /sys/bus/iio/devices/*/name` lists them",
}];

/// What the kernel's device is called, alone or with what its node of the device tree adds: dht11@0.
const KERNEL_NAME: &str = "dht11";

/// One of the two kinds of sensor.
struct Chip {
    name: &'static str,
    decimals: u8,
    celsius: RangeInclusive<f64>,
    percent: RangeInclusive<f64>,
}

static DHT22_CHIP: Chip = Chip { name: "DHT22", decimals: 1, celsius: -40.0..=80.0, percent: 0.0..=100.0 };
/// Of later ones: they are sold under the same name.
static DHT11_CHIP: Chip = Chip { name: "DHT11", decimals: 0, celsius: -20.0..=60.0, percent: 5.0..=95.0 };

fn quantities(decimals: u8) -> Vec<Quantity> {
    vec![Quantity::new("temperature", "°C", decimals), Quantity::new("humidity", "%", decimals)]
}

fn claims(settings: &Settings) -> Vec<Claim> {
    vec![sysfs::DEVICE.claim(settings.optional_text("device").unwrap_or(KERNEL_NAME))]
}

fn build(bus: &mut dyn Bus, settings: &Settings, chip: &'static Chip) -> Result<Box<dyn Sensor>, DriverError> {
    Ok(Box::new(Dht::find(bus.files()?, settings.optional_text("device"), chip)?))
}

struct Dht {
    files: Rc<dyn Files>,
    folder: String,
    chip: &'static Chip,
}

impl Dht {
    fn find(files: Rc<dyn Files>, wanted: Option<&str>, chip: &'static Chip) -> Result<Self, DriverError> {
        let fits = |name: &str| match wanted {
            Some(wanted) => name == wanted,
            None => name.split('@').next() == Some(KERNEL_NAME),
        };
        let folder = find_named(files.as_ref(), &CLASS, wanted.unwrap_or(KERNEL_NAME), fits, None);
        let folder = folder.map_err(|error| match error {
            DriverError::NoDevice { place, why, .. } => {
                let why = if why.contains("set parent") {
                    "there are several; set device to the name of one, such as dht11@4".to_owned()
                } else {
                    format!("{why}; on a Raspberry Pi write dtoverlay=dht11,gpiopin=4 into config.txt and restart")
                };
                DriverError::NoDevice { chip: chip.name, place, why }
            }
            other => other,
        })?;
        Ok(Self { files, folder, chip })
    }

    /// Thousandths of the unit. The kernel's two errors are a missed answer; both may pass.
    fn read(&self, attribute: &str) -> Result<f64, DriverError> {
        let value = number(self.files.as_ref(), &self.folder, attribute).map_err(|error| match error {
            DriverError::Bus(BusError::Io { source, .. })
                if source.kind() == ErrorKind::TimedOut || Errno::from_io_error(&source) == Some(Errno::IO) =>
            {
                let what =
                    format!("asking the {}, whose answer was incomplete (which happens now and then)", self.chip.name);
                BusError::Io { what, source }.into()
            }
            other => other,
        })?;
        Ok(value / 1000.0)
    }
}

/// Copies of the DHT22 count below zero in two's complement, where the original has a sign and a magnitude. The kernel knows only
/// that: it takes their 0xFF9C, −10.0 °C, for minus 0x7F9C tenths. No original comes anywhere near such values.
fn below_zero(celsius: f64, coldest: f64) -> f64 {
    const TURN: f64 = 3276.8;
    let meant = -(TURN + celsius);
    if (coldest..0.0).contains(&meant) { meant } else { celsius }
}

impl Sensor for Dht {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        let celsius = below_zero(self.read("in_temp_input")?, *self.chip.celsius.start());
        let percent = self.read("in_humidityrelative_input")?;
        if celsius == 0.0 && percent == 0.0 {
            return Err(DriverError::OutOfRange { quantity: "humidity", value: percent });
        }
        let celsius = within("temperature", celsius, &self.chip.celsius)?;
        let percent = within("humidity", percent, &self.chip.percent)?;
        let values = [celsius, percent];
        Ok(quantities(self.chip.decimals)
            .iter()
            .zip(values)
            .map(|(quantity, value)| quantity.measured(value))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::{KernelChip, check};
    use fieldgate_bus::sysfs::HostBus;
    use std::fs;

    /// A tree with IIO devices of these names; the first reports these two values.
    fn board(names: &[&str], milli: [&str; 2]) -> (tempfile::TempDir, Rc<dyn Files>) {
        let root = tempfile::tempdir().unwrap();
        for (number, name) in names.iter().enumerate() {
            let folder = root.path().join(format!("sys/bus/iio/devices/iio:device{number}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("name"), format!("{name}\n")).unwrap();
            fs::write(folder.join("in_temp_input"), milli[0]).unwrap();
            fs::write(folder.join("in_humidityrelative_input"), milli[1]).unwrap();
        }
        let files = HostBus::at(root.path()).files().unwrap();
        (root, files)
    }

    fn sampled(milli: [&str; 2], chip: &'static Chip) -> Result<Vec<Measurement>, DriverError> {
        let (_root, files) = board(&["dht11@0"], milli);
        Dht::find(files, None, chip).unwrap().sample()
    }

    #[test]
    fn the_kernels_thousandths_become_degrees_and_percent() {
        // As the driver of Linux reports 02 8C 01 5F EE, the example of the AM2302's manual: 65.2 % and 35.1 °C.
        let sampled = sampled(["35100\n", "65200\n"], &DHT22_CHIP).unwrap();
        check(&sampled, "temperature", 35.1, 1e-9);
        check(&sampled, "humidity", 65.2, 1e-9);
    }

    /// As the kernel's driver decodes the two bytes of the temperature.
    fn by_the_kernel(bytes: u16) -> String {
        let magnitude = i32::from(bytes & 0x7FFF);
        (if bytes & 0x8000 == 0 { magnitude * 100 } else { magnitude * -100 }).to_string()
    }

    #[test]
    fn a_copy_that_counts_below_zero_in_twos_complement_is_understood() {
        for tenths in -400_i16..=800 {
            let signed = if tenths < 0 { 0x8000 | tenths.unsigned_abs() } else { tenths.unsigned_abs() };
            for bytes in [tenths.cast_unsigned(), signed] {
                let sampled = sampled([&by_the_kernel(bytes), "50000"], &DHT22_CHIP).unwrap();
                check(&sampled, "temperature", f64::from(tenths) / 10.0, 1e-9);
            }
        }
        for bytes in [0xFE6F_u16, 0x7FFF, 0xC000] {
            let refused = sampled([&by_the_kernel(bytes), "50000"], &DHT22_CHIP);
            assert!(matches!(refused, Err(DriverError::OutOfRange { .. })), "{bytes:#06x}");
        }
    }

    #[test]
    fn what_the_sensor_cannot_measure_and_zeros_are_refused() {
        for (milli, chip, good) in [
            (["-40000", "99900"], &DHT22_CHIP, true),
            (["0", "100"], &DHT22_CHIP, true),
            (["0", "0"], &DHT22_CHIP, false),
            (["80100", "50000"], &DHT22_CHIP, false),
            (["20000", "100100"], &DHT22_CHIP, false),
            (["-30000", "50000"], &DHT11_CHIP, false),
            (["22000", "99000"], &DHT11_CHIP, false),
        ] {
            let outcome = sampled(milli, chip);
            assert_eq!(outcome.is_ok(), good, "{milli:?}: {outcome:?}");
            assert!(good || matches!(outcome, Err(DriverError::OutOfRange { .. })));
        }
        assert!(matches!(sampled(["warm", "50000"], &DHT22_CHIP), Err(DriverError::Bus(BusError::Format { .. }))));
    }

    #[test]
    fn a_missing_overlay_and_several_sensors_are_reported_with_the_remedy() {
        let find = |names: &[&str], wanted| {
            let (_root, files) = board(names, ["1", "1"]);
            Dht::find(files, wanted, &DHT22_CHIP).map(|sensor| sensor.folder).map_err(|error| error.to_string())
        };
        assert!(find(&["bme280"], None).unwrap_err().contains("dtoverlay=dht11,gpiopin=4"));
        assert!(find(&["dht11@0", "dht11@1"], None).unwrap_err().contains("set device"));
        assert_eq!(find(&["dht11@0", "dht11@1"], Some("dht11@1")).unwrap(), "/sys/bus/iio/devices/iio:device1");
        assert_eq!(find(&["dht11"], None).unwrap(), "/sys/bus/iio/devices/iio:device0");
        assert!(find(&["dht1100"], None).is_err());
    }

    #[test]
    fn the_simulated_sensors_are_read_as_their_world_is() {
        let mut chip = KernelChip::with(&DHT22, &[]);
        let mut sensor = chip.build();
        for (celsius, percent) in [(21.5, 45.0), (-12.3, 99.9)] {
            chip.set("temperature", celsius);
            chip.set("humidity", percent);
            let sampled = sensor.sample().unwrap();
            check(&sampled, "temperature", celsius, 1e-9);
            check(&sampled, "humidity", percent, 1e-9);
        }
        for (fault, errno) in [("nak", Errno::TIMEDOUT), ("checksum", Errno::IO)] {
            chip.fault(Some(fault));
            let error = sensor.sample().unwrap_err();
            let DriverError::Bus(BusError::Io { source, .. }) = &error else { panic!("{error}") };
            assert!(error.is_transient() && Errno::from_io_error(source) == Some(errno), "{fault}: {error}");
        }
        chip.fault(Some("power-on"));
        assert!(matches!(sensor.sample(), Err(DriverError::OutOfRange { .. })), "zeros");
        let mut chip = KernelChip::with(&DHT11, &[("device", "dht11@4")]);
        check(&chip.build().sample().unwrap(), "temperature", 22.0, 0.0);
    }
}
