//! (being written)
use crate::bus::{Bus, BusError};
pub(crate) struct LinuxPwm;
impl LinuxPwm {
    pub(crate) fn open(chip: u32) -> Result<Self, BusError> {
        Err(BusError::Unsupported { bus: format!("{chip:?}"), what: "n".into() })
    }
}
impl Bus for LinuxPwm {
    fn describe(&self) -> String {
        String::new()
    }
}
