//! (being written)
pub mod chips;

use crate::bus::{Bus, BusError};
use std::path::PathBuf;
pub(crate) struct SimBus;
impl SimBus {
    pub(crate) fn open(_state_file: Option<PathBuf>) -> Result<Self, BusError> {
        Ok(Self)
    }
}
impl Bus for SimBus {
    fn describe(&self) -> String {
        "sim".into()
    }
}
