//! (being written)
use crate::bus::Bus;
pub(crate) struct HostBus;
impl HostBus {
    pub(crate) fn new() -> Self {
        Self
    }
}
impl Bus for HostBus {
    fn describe(&self) -> String {
        "this machine".into()
    }
}
