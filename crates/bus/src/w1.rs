//! 1-Wire by the kernel: devices by their id below `/sys/bus/w1/devices`.
//!
//! The kernel searches the wire, converts and reads; a driver here only reads files. It is a bus of its own all the same,
//! because a temperature takes up to 750 ms, which nobody else should have to wait for.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use crate::sysfs::HostBus;
use crate::{Bus, BusError, BusNeed, BusSpec, Device, Files};

/// Where the kernel shows its 1-Wire masters and what they found.
pub const DEVICES: &str = "/sys/bus/w1/devices";

/// A bus of type `w1`: all that the kernel's 1-Wire masters have found.
pub static SPEC: BusSpec = BusSpec {
    name: "w1",
    page: "\
all that the kernel's 1-Wire masters have found; on a Raspberry Pi `dtoverlay=w1-gpio` in config.txt makes one on GPIO4.",
    example: "wire: { type: w1 }",
    offers: &[BusNeed::W1],
    switched_on_by: "dtoverlay=w1-gpio",
    device: |_| Some(Device::Named("1-Wire".into())),
    shown_at: |_, files, _| Some(first_master(files)),
    open: |_, _, _| Ok(Box::new(LinuxW1::open()?)),
    ..BusSpec::USUAL
};

/// The folder of the first master, or of the one that there would be.
fn first_master(files: &dyn Files) -> PathBuf {
    let masters = files.list(DEVICES).unwrap_or_default();
    let first = masters.into_iter().find(|name| name.starts_with("w1_bus_master"));
    Path::new(DEVICES).join(first.unwrap_or_else(|| "w1_bus_master1".into()))
}

/// Every 1-Wire master of this machine.
pub struct LinuxW1 {
    files: Rc<dyn Files>,
}

impl LinuxW1 {
    /// Looks for a master.
    ///
    /// # Errors
    /// [`BusError::Open`] with what to do about it when there is none.
    pub fn open() -> Result<Self, BusError> {
        Self::on(HostBus::new())
    }

    fn on(mut host: HostBus) -> Result<Self, BusError> {
        let files = host.files()?;
        if files.list(DEVICES)?.iter().any(|name| name.starts_with("w1_bus_master")) {
            return Ok(Self { files });
        }
        let hint = "the kernel has no 1-Wire master; on a Raspberry Pi write dtoverlay=w1-gpio into config.txt (GPIO4, or \
                    another with ,gpiopin=N) and restart";
        Err(BusError::Open { what: "1-Wire bus".into(), hint: hint.into(), source: Errno::NOENT.into() })
    }
}

impl Bus for LinuxW1 {
    fn describe(&self) -> String {
        "1-Wire bus".into()
    }

    fn files(&mut self) -> Result<Rc<dyn Files>, BusError> {
        Ok(Rc::clone(&self.files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_master_the_overlay_is_named_and_with_one_its_devices_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let error = LinuxW1::on(HostBus::at(root.path())).err().unwrap().to_string();
        assert!(error.contains("dtoverlay=w1-gpio"), "{error}");
        for name in ["w1_bus_master1", "28-00000a1b2c3d"] {
            std::fs::create_dir_all(root.path().join("sys/bus/w1/devices").join(name)).unwrap();
        }
        let mut bus = LinuxW1::on(HostBus::at(root.path())).unwrap();
        assert_eq!(bus.files().unwrap().list(DEVICES).unwrap(), ["28-00000a1b2c3d", "w1_bus_master1"]);
    }
}
