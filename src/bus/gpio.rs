//! (being written)
use crate::bus::{Bus, BusError};
pub(crate) struct LinuxGpio;
impl LinuxGpio {
    pub(crate) fn open(chip: &str) -> Result<Self, BusError> {
        Err(BusError::Unsupported { bus: format!("{chip:?}"), what: "n".into() })
    }
}
impl Bus for LinuxGpio {
    fn describe(&self) -> String {
        String::new()
    }
}
