//! I²C adapters and the addresses that answer.
//!
//! A chip is asked whether it is there by a write without a byte: its address and the bit for writing, which it acknowledges or
//! not. No chip on a sensor board takes that for an order. Memory chips might: at 0x30 to 0x37 their write protection for ever
//! hangs on such a write, and at 0x50 to 0x5f some lose what they hold; there one byte is read instead, as the kernel's
//! tool i2cdetect does. Where an adapter cannot write nothing, every address is read, and chips that only answer to an order
//! stay hidden.
//!
//! Nothing at all is sent to reserved addresses, to those that a driver of the kernel has bound, and to adapters that are
//! not for sensors: those of memory modules, displays and cameras.

use std::path::PathBuf;

use crate::i2c::{LinuxI2c, Presence};
use crate::{BusError, Files};

/// An adapter.
#[derive(Debug)]
pub struct Adapter {
    /// `/dev/i2c-1`.
    pub device: PathBuf,
    /// What its driver calls it.
    pub name: String,
    /// Who answers; empty and no error where nobody was asked.
    pub taken: Result<Vec<TakenAddress>, BusError>,
    /// Why nobody was asked.
    pub left_alone: Option<&'static str>,
}

/// An address that is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenAddress {
    /// The 7-bit address.
    pub address: u8,
    /// The kernel's driver that has bound it, if one has.
    pub bound: Option<String>,
}

/// Addresses outside of this range are reserved (UM10204, 3.1.12).
const ADDRESSES: std::ops::RangeInclusive<u8> = 0x08..=0x77;

/// The alert response address: a read there ends the alert of another chip (SMBus 3.2, appendix A).
const ALERT_RESPONSE: u8 = 0x0C;

/// Time-outs one after the other, a second each on a Raspberry Pi, after which the bus does not work at all.
const HOPELESS: usize = 3;

/// Parts of the names of adapters that lead to memory modules (a PC's SMBus), displays and cameras.
const NOT_FOR_SENSORS: &[(&str, &str)] = &[
    ("SMBus", "it leads to the memory modules of a PC"),
    ("DDC", "it leads to a display"),
    ("AUX", "it leads to a display"),
    ("HDMI", "it leads to a display"),
    ("hdmi", "it leads to a display"),
    ("gmbus", "it leads to a display"),
    ("nvkm", "it leads to a display"),
    ("AMDGPU", "it leads to a display"),
    // The two of a Raspberry Pi 4 and those of a Pi 5, which their names do not show.
    ("fef04500", "it leads to a display"),
    ("fef09500", "it leads to a display"),
    ("107d508", "it leads to a display"),
];

/// Every adapter of this machine, in the order of their numbers.
pub(super) fn adapters(files: &dyn Files) -> Vec<Adapter> {
    let entries = files.list("/sys/class/i2c-dev").unwrap_or_default();
    let number = |entry: &String| entry.strip_prefix("i2c-")?.parse().ok();
    let mut numbers: Vec<u32> = entries.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| adapter(files, number)).collect()
}

fn adapter(files: &dyn Files, number: u32) -> Adapter {
    let device = PathBuf::from(format!("/dev/i2c-{number}"));
    let name = files.read(&format!("/sys/class/i2c-dev/i2c-{number}/name")).unwrap_or_default();
    let left_alone = NOT_FOR_SENSORS.iter().find(|(part, _)| name.contains(part)).map(|(_, why)| *why);
    let taken = match left_alone {
        Some(_) => Ok(Vec::new()),
        None => LinuxI2c::open(&device).and_then(|mut adapter| {
            ask_all(|address, by_reading| adapter.probe(address, by_reading), |address| binder(files, number, address))
        }),
    };
    Adapter { device, name, taken, left_alone }
}

/// Who is there, by a `probe` that is asked whether to read a byte or to write none.
fn ask_all(
    mut probe: impl FnMut(u8, bool) -> Result<Presence, BusError>,
    binder: impl Fn(u8) -> Option<String>,
) -> Result<Vec<TakenAddress>, BusError> {
    let mut taken = Vec::new();
    let mut failures = 0;
    let mut only_reading = false;
    for address in ADDRESSES {
        if only_reading && address == ALERT_RESPONSE {
            continue;
        }
        let mut presence = probe(address, only_reading || is_memory(address));
        // Found out at the first address, which is not that of alerts.
        if matches!(presence, Ok(Presence::CannotAsk)) && !only_reading {
            only_reading = true;
            presence = probe(address, true);
        }
        failures = if presence.is_err() { failures + 1 } else { 0 };
        match presence {
            Ok(Presence::Answers) => taken.push(TakenAddress { address, bound: None }),
            Ok(Presence::Bound) => {
                let bound = binder(address).unwrap_or_else(|| "a driver of the kernel".into());
                taken.push(TakenAddress { address, bound: Some(bound) });
            }
            Ok(Presence::Silent | Presence::CannotAsk) => {}
            Err(error) if failures >= HOPELESS => return Err(error),
            // One chip that does not let go of the clock in time says nothing about the others.
            Err(_) => {}
        }
    }
    Ok(taken)
}

fn is_memory(address: u8) -> bool {
    matches!(address, 0x30..=0x37 | 0x50..=0x5F)
}

/// The kernel's driver at this address.
pub fn binder(files: &dyn Files, number: u32, address: u8) -> Option<String> {
    let device = format!("{number}-{address:04x}");
    let drivers = files.list("/sys/bus/i2c/drivers").ok()?;
    let has = |driver: &String| {
        files.list(&format!("/sys/bus/i2c/drivers/{driver}")).is_ok_and(|devices| devices.contains(&device))
    };
    drivers.into_iter().find(has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn failed() -> BusError {
        BusError::Wires { what: "i2c transfer".into(), source: std::io::ErrorKind::TimedOut.into() }
    }

    fn found(probe: impl FnMut(u8, bool) -> Result<Presence, BusError>) -> Result<Vec<(u8, Option<String>)>, BusError> {
        let taken = ask_all(probe, |address| (address == 0x68).then(|| "rtc-ds1307".to_owned()))?;
        Ok(taken.into_iter().map(|answer| (answer.address, answer.bound)).collect())
    }

    #[test]
    fn memory_is_read_and_everything_else_is_written_nothing() {
        let asked = RefCell::new(Vec::new());
        let probe = |address, by_reading| {
            asked.borrow_mut().push((address, by_reading));
            Ok(match address {
                0x44 | 0x50 => Presence::Answers,
                0x68 | 0x1A => Presence::Bound,
                _ => Presence::Silent,
            })
        };
        let kernel = |name: &str| Some(name.to_owned());
        let expected =
            [(0x1A, kernel("a driver of the kernel")), (0x44, None), (0x50, None), (0x68, kernel("rtc-ds1307"))];
        assert_eq!(found(probe).unwrap(), expected);
        let asked = asked.into_inner();
        assert_eq!(asked.len(), 0x70, "each of 0x08 to 0x77 once");
        assert!(asked.iter().all(|(address, by_reading)| *by_reading == is_memory(*address)));
    }

    #[test]
    fn an_adapter_that_cannot_write_nothing_is_read_but_for_the_alert_response() {
        let asked = RefCell::new(Vec::new());
        let probe = |address: u8, by_reading: bool| {
            asked.borrow_mut().push((address, by_reading));
            Ok(if !by_reading {
                Presence::CannotAsk
            } else if address == 0x23 {
                Presence::Answers
            } else {
                Presence::Silent
            })
        };
        assert_eq!(found(probe).unwrap(), [(0x23, None)]);
        assert!(!asked.into_inner().contains(&(ALERT_RESPONSE, true)));
    }

    #[test]
    fn a_bus_that_only_times_out_is_given_up() {
        let mut asked = 0;
        let outcome = found(|_, _| {
            asked += 1;
            Err(failed())
        });
        assert!(outcome.is_err());
        assert_eq!(asked, HOPELESS);
        let one_bad = |address, _| if address == 0x29 { Err(failed()) } else { Ok(Presence::Silent) };
        assert!(found(one_bad).unwrap().is_empty());
    }

    #[test]
    fn displays_and_memory_modules_are_no_place_for_sensors() {
        let refused = |name: &str| NOT_FOR_SENSORS.iter().any(|(part, _)| name.contains(part));
        for name in ["SMBus I801 adapter at efa0", "i915 gmbus dpc", "DPDDC-A", "fef04500.i2c", "AUX A/DDI A/PHY A"] {
            assert!(refused(name), "{name}");
        }
        for name in ["bcm2835 (i2c@7e804000)", "Synopsys DesignWare I2C adapter", "i2c-1-mux (chan_id 3)"] {
            assert!(!refused(name), "{name}");
        }
    }
}
