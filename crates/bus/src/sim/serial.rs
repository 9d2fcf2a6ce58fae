//! The chip on SPI and the device at the far end of the serial port.
//!
//! Both are [`Chip`]s. On SPI, one transaction is one `write` of all that the controller
//! shifts out and one `read` of what the chip has shifted out meanwhile. On a serial port, `read` is asked for one byte
//! after the other and refused when the device has no more to say for now; what it is sent comes by `write`.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

use crate::sim::World;
use crate::sim::chips::{Chip, exchange, hear};
use crate::sim::place::ChipPlace;
use crate::{BusError, SerialPort};

/// The controller of the one chip select.
pub(super) struct SimSpi(pub(super) Rc<RefCell<World>>);

impl ErrorType for SimSpi {
    type Error = BusError;
}

impl SpiDevice for SimSpi {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), BusError> {
        let mut world = self.0.borrow_mut();
        let chip = world.reach_chip(&ChipPlace::ChipSelect)?.map(|slot| -> &mut dyn Chip { slot.chip.as_mut() });
        exchange(chip, operations);
        Ok(())
    }
}

/// The near end of the line.
pub(super) struct SimUart(pub(super) Rc<RefCell<World>>);

impl SerialPort for SimUart {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        if let Some(slot) = self.0.borrow_mut().reach_chip(&ChipPlace::Port)? {
            // Whether the device understands it shows in its answer only.
            let _heard = slot.chip.write(bytes);
        }
        Ok(())
    }

    /// Silence is known at once: there is no clock in a simulated device.
    fn read(&mut self, buffer: &mut [u8], _within: Duration) -> Result<usize, BusError> {
        let mut world = self.0.borrow_mut();
        Ok(world.reach_chip(&ChipPlace::Port)?.map_or(0, |slot| hear(slot.chip.as_mut(), buffer)))
    }

    fn discard(&mut self) -> Result<(), BusError> {
        self.0.borrow().reach()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::sim::SimBus;
    use crate::{Bus, SpiRequest, UartRequest};
    use embedded_hal::spi::{MODE_0, SpiDevice};
    use std::time::Duration;

    #[test]
    fn without_a_chip_spi_reads_as_ones_and_a_port_is_silent() {
        let mut bus = SimBus::open(None, |_| None).unwrap();
        let mut bytes = [0; 3];
        bus.spi(&SpiRequest { mode: MODE_0, max_hz: 1_000_000 }).unwrap().read(&mut bytes).unwrap();
        assert_eq!(bytes, [0xFF; 3]);
        let mut port = bus.uart(&UartRequest { baud: 9600 }).unwrap();
        port.write(&bytes).unwrap();
        assert_eq!(port.read(&mut bytes, Duration::from_secs(3600)).unwrap(), 0);
    }
}
