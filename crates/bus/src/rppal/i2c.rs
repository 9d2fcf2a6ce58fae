//! An I²C adapter by rppal.
//!
//! Not by rppal's own implementation of embedded-hal: that ends each part of a transaction with a stop, so that somebody
//! else's transfer may slip in between and chips that want a repeated start answer wrongly. Here a transaction is one
//! transfer of the kernel, as it is with `backend: linux`; one that rppal cannot send as such is refused.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use embedded_hal::i2c::{ErrorType, I2c, Operation};
use linux_embedded_hal::I2cdev;
use rppal::i2c::Error;

use crate::i2c::{failed, open_refused, refused};
use crate::{Bus, BusError, SharedI2c};

/// What the kernel takes in one transfer (i2c-dev.c); rppal would cut what is longer than its 16 bits.
const TRANSFER_BYTES: usize = 8192;

/// One I²C adapter.
pub(super) struct RppalI2c {
    adapter: SharedI2c,
    device: PathBuf,
}

impl RppalI2c {
    pub(super) fn open(number: u8) -> Result<Self, BusError> {
        let device = PathBuf::from(format!("/dev/i2c-{number}"));
        let opened = rppal::i2c::I2c::with_bus(number).map_err(|error| open_refused(&device, io_error(error)))?;
        let wire = Pi { i2c: opened, device: device.clone(), free: BTreeSet::new() };
        let adapter = SharedI2c::new(Adapter { device: device.clone(), wire });
        Ok(Self { adapter, device })
    }
}

impl Bus for RppalI2c {
    fn describe(&self) -> String {
        format!("i2c bus {} by rppal", self.device.display())
    }

    fn i2c(&mut self) -> Result<SharedI2c, BusError> {
        Ok(self.adapter.clone())
    }
}

/// What rppal can do with one chip, so that the rest can be tried without it.
trait Wire {
    fn select(&mut self, address: u8) -> Result<(), Error>;
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error>;
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error>;
    fn write_read(&mut self, bytes: &[u8], buffer: &mut [u8]) -> Result<(), Error>;
}

/// An adapter of rppal's.
struct Pi {
    i2c: rppal::i2c::I2c,
    device: PathBuf,
    /// Addresses that no driver of the kernel had bound when they were first used.
    free: BTreeSet<u8>,
}

impl Wire for Pi {
    /// rppal takes an address from any driver that has it (it calls `I2C_SLAVE` what the kernel calls `I2C_SLAVE_FORCE`, and the other
    /// way round), so the kernel is asked first.
    fn select(&mut self, address: u8) -> Result<(), Error> {
        if !self.free.contains(&address) {
            let mut chip = I2cdev::new(&self.device).map_err(io::Error::from)?;
            chip.set_slave_address(address.into()).map_err(io::Error::from)?;
            self.free.insert(address);
        }
        self.i2c.set_slave_address(address.into())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.i2c.write(bytes)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.i2c.read(buffer)
    }

    fn write_read(&mut self, bytes: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
        self.i2c.write_read(bytes, buffer)
    }
}

struct Adapter<W> {
    device: PathBuf,
    wire: W,
}

impl<W: Wire> Adapter<W> {
    fn send(&mut self, bytes: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
        let (done, wanted) = match (bytes.is_empty(), buffer.is_empty()) {
            // rppal would not send it, and say that it did.
            (false, false) => return self.wire.write_read(bytes, buffer),
            (true, false) => (self.wire.read(buffer)?, buffer.len()),
            (_, true) => (self.wire.write(bytes)?, bytes.len()),
        };
        if done == wanted { Ok(()) } else { Err(Error::Io(ErrorKind::UnexpectedEof.into())) }
    }
}

impl<W> ErrorType for Adapter<W> {
    type Error = BusError;
}

impl<W: Wire> I2c for Adapter<W> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        if operations.is_empty() {
            return Ok(());
        }
        let (bytes, wanted) = shape(operations).ok_or_else(|| unsupported(&self.device))?;
        self.wire.select(address).map_err(|error| refused(&self.device, address, io_error(error)))?;
        let mut buffer = vec![0; wanted];
        self.send(&bytes, &mut buffer).map_err(|error| failed(&self.device, address, io_error(error)))?;
        let mut rest = buffer.as_slice();
        for operation in operations {
            if let Operation::Read(into) = operation {
                let (head, tail) = rest.split_at(into.len());
                into.copy_from_slice(head);
                rest = tail;
            }
        }
        Ok(())
    }
}

/// What is written and then how much is read; nothing when it is not in this order, or too long. Neighbours of one kind
/// are one, as embedded-hal has it.
fn shape(operations: &[Operation<'_>]) -> Option<(Vec<u8>, usize)> {
    let (mut bytes, mut wanted, mut has_read) = (Vec::new(), 0, false);
    for operation in operations {
        match operation {
            Operation::Write(_) if has_read => return None,
            Operation::Write(part) => bytes.extend_from_slice(part),
            Operation::Read(part) => {
                has_read = true;
                wanted += part.len();
            }
        }
    }
    (bytes.len() <= TRANSFER_BYTES && wanted <= TRANSFER_BYTES).then_some((bytes, wanted))
}

fn unsupported(device: &Path) -> BusError {
    let bus = format!("i2c bus {} by rppal", device.display());
    BusError::Unsupported { bus, what: "such a transaction; use backend: linux for this chip".into() }
}

/// The kernel's own error, with its errno; what the library itself refused keeps its words.
fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(source) => source,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chip that answers 1, 2, 3 …, or fails with an errno.
    #[derive(Default)]
    struct Chip {
        seen: Vec<String>,
        select: Option<i32>,
        fails: Option<i32>,
        short: bool,
    }

    fn errno(number: Option<i32>) -> Result<(), Error> {
        number.map_or(Ok(()), |number| Err(Error::Io(io::Error::from_raw_os_error(number))))
    }

    impl Wire for Chip {
        fn select(&mut self, address: u8) -> Result<(), Error> {
            self.seen.push(format!("{address:#04x}"));
            errno(self.select)
        }

        fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
            self.seen.push(format!("write {bytes:?}"));
            errno(self.fails)?;
            Ok(bytes.len() - usize::from(self.short))
        }

        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
            self.seen.push(format!("read {}", buffer.len()));
            buffer.iter_mut().zip(1..).for_each(|(byte, n)| *byte = n);
            errno(self.fails)?;
            Ok(buffer.len() - usize::from(self.short))
        }

        fn write_read(&mut self, bytes: &[u8], buffer: &mut [u8]) -> Result<(), Error> {
            self.seen.push(format!("write {bytes:?} and"));
            self.read(buffer).map(drop)
        }
    }

    fn adapter(chip: Chip) -> Adapter<Chip> {
        Adapter { device: "/dev/i2c-1".into(), wire: chip }
    }

    #[test]
    fn a_transaction_is_one_transfer() {
        let mut adapter = adapter(Chip::default());
        let (mut two, mut one) = ([0; 2], [0; 1]);
        let mut parts =
            [Operation::Write(&[0xF7]), Operation::Write(&[1]), Operation::Read(&mut two), Operation::Read(&mut one)];
        adapter.transaction(0x76, &mut parts).unwrap();
        assert_eq!((two, one), ([1, 2], [3]));
        adapter.write(0x76, &[5]).unwrap();
        adapter.read(0x76, &mut two).unwrap();
        let seen = ["0x76", "write [247, 1] and", "read 3", "0x76", "write [5]", "0x76", "read 2"];
        assert_eq!(adapter.wire.seen, seen);
    }

    #[test]
    fn what_cannot_be_one_transfer_is_refused_and_not_sent() {
        let mut adapter = adapter(Chip::default());
        let mut byte = [0];
        let refused = adapter.transaction(0x76, &mut [Operation::Read(&mut byte), Operation::Write(&[1])]).unwrap_err();
        assert!(matches!(refused, BusError::Unsupported { .. }), "{refused}");
        assert!(adapter.write(0x76, &[0; TRANSFER_BYTES + 1]).is_err() && adapter.wire.seen.is_empty());
    }

    #[test]
    fn the_errno_is_kept_and_means_what_it_means_on_the_other_backend() {
        let absent = adapter(Chip { fails: Some(121), ..Chip::default() }).read(0x23, &mut [0]).unwrap_err();
        assert!(matches!(absent, BusError::NoAcknowledge { address: 0x23 }));
        let late = adapter(Chip { fails: Some(110), ..Chip::default() }).write(0x23, &[0]).unwrap_err();
        assert!(matches!(late, BusError::Wires { ref source, .. } if source.raw_os_error() == Some(110)), "{late}");
        let bound = adapter(Chip { select: Some(16), ..Chip::default() }).write(0x23, &[0]).unwrap_err();
        assert!(bound.to_string().contains("a driver of the kernel has bound this address"), "{bound}");
        let short = adapter(Chip { short: true, ..Chip::default() }).read(0x23, &mut [0; 2]).unwrap_err();
        assert!(matches!(short, BusError::Wires { .. }), "what came in part is no answer");
    }
}
