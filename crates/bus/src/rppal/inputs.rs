//! Input lines by rppal, all of them polled together.
//!
//! rppal hides its descriptors, its own thread for interrupts ends at the first signal that it gets, and who waits for
//! interrupts holds a lock that claiming the next line needs. So nobody waits: the kernel keeps 1024 stamped edges for each
//! line, and they are taken out every ten milliseconds. One look must ask for all lines at once, for rppal keeps but one edge
//! of each line that was not asked for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use rppal::gpio::{Event, Gpio, InputPin, Level, Trigger};

use crate::edges::{Edges, skipped};
use crate::rppal::header::{HEADER, io_error};
use crate::{BusError, Edge, InputLine};

/// Edges taken out of the kernel in one look, of all lines.
const LOOK_LIMIT: usize = 4096;

/// Every claimed input.
pub(super) struct Inputs {
    gpio: Gpio,
    lines: BTreeMap<u8, Watched>,
}

struct Watched {
    pin: InputPin,
    ear: Ear,
}

impl Inputs {
    pub(super) fn new(gpio: Gpio) -> Self {
        Self { gpio, lines: BTreeMap::new() }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes waiting edges out of the kernel.
    pub(super) fn look(&mut self) -> Result<(), BusError> {
        for _ in 0..LOOK_LIMIT {
            let pins: Vec<&InputPin> = self.lines.values().map(|line| &line.pin).collect();
            let event = self.gpio.poll_interrupts(&pins, false, Some(Duration::ZERO));
            let event = event.map_err(|error| BusError::Io {
                what: format!("reading changes of {HEADER}"),
                source: io_error(error),
            })?;
            let Some((number, event)) = event.map(|(pin, event)| (pin.pin(), event)) else { return Ok(()) };
            if let Some(line) = self.lines.get_mut(&number) {
                line.ear.hear(&event);
            }
        }
        Ok(())
    }
}

/// Makes edges of rppal's events. Pure.
#[derive(Debug, Default)]
struct Ear {
    active_low: bool,
    edges: Edges,
    /// The number of the last event.
    last: u32,
}

impl Ear {
    fn hear(&mut self, event: &Event) {
        let active = (event.trigger == Trigger::RisingEdge) != self.active_low;
        let missed = skipped(&mut self.last, event.seqno);
        self.edges.push(Edge { active, at: Some(event.timestamp), missed });
    }
}

/// One claimed input.
pub(super) struct RppalInput {
    number: u8,
    inputs: Rc<RefCell<Inputs>>,
}

impl RppalInput {
    /// Watches a pin whose interrupts have been asked for.
    pub(super) fn new(inputs: &Rc<RefCell<Inputs>>, pin: InputPin, active_low: bool) -> Self {
        let number = pin.pin();
        let ear = Ear { active_low, ..Ear::default() };
        inputs.borrow_mut().lines.insert(number, Watched { pin, ear });
        Self { number, inputs: Rc::clone(inputs) }
    }
}

impl InputLine for RppalInput {
    fn is_active(&mut self) -> Result<bool, BusError> {
        let inputs = self.inputs.borrow();
        let line = inputs.lines.get(&self.number);
        Ok(line.is_some_and(|line| (line.pin.read() == Level::High) != line.ear.active_low))
    }

    fn take_edges(&mut self) -> Result<Vec<Edge>, BusError> {
        let mut inputs = self.inputs.borrow_mut();
        inputs.look()?;
        Ok(inputs.lines.get_mut(&self.number).map(|line| line.ear.edges.take()).unwrap_or_default())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Drop for RppalInput {
    fn drop(&mut self) {
        if let Some(mut line) = self.inputs.borrow_mut().lines.remove(&self.number) {
            // The kernel would keep the line for rppal otherwise. Failing, it does so until the program ends.
            line.pin.clear_interrupt().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(trigger: Trigger, ms: u64, seqno: u32) -> Event {
        Event { timestamp: Duration::from_millis(ms), seqno, trigger }
    }

    #[test]
    fn an_edge_keeps_the_kernels_time_and_tells_what_was_dropped_before_it() {
        let mut ear = Ear { active_low: true, ..Ear::default() };
        ear.hear(&event(Trigger::FallingEdge, 5, 1));
        ear.hear(&event(Trigger::RisingEdge, 9, 4));
        let edge = |active, ms, missed| Edge { active, at: Some(Duration::from_millis(ms)), missed };
        assert_eq!(ear.edges.take(), [edge(true, 5, 0), edge(false, 9, 2)]);
    }
}
