//! A serial port of Linux: 8 data bits, no parity, one stop bit, no flow control, every byte as it is.
//!
//! Promises: a read ends at its deadline, whatever the line does; a port that another program uses is refused, as far as
//! can be recognised (a lock by flock(2) or `TIOCEXCL`, a login prompt of systemd, a console of the kernel), for two readers
//! of one line get half of the bytes each, and a login prompt answers a sensor with words.
//!
//! It does not know frames: what belongs together is the driver's matter.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex, ioctl_tiocexcl, ioctl_tiocnxcl, tcflush, tcgetattr,
    tcsetattr,
};

use crate::{Bus, BusError, BusNeed, BusSpec, ClaimKind, Device};
use fieldgate_model::{Field, Kind, Need};

/// How a device wants its line; the form of a byte is always 8N1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UartRequest {
    /// Bits per second.
    pub baud: u32,
}

/// A serial line, claimed by its driver.
pub trait SerialPort {
    /// Sends all of it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BusError>;
    /// Fills the buffer with what comes, and waits for it no longer than `within`. Returns how many bytes came.
    fn read(&mut self, buffer: &mut [u8], within: Duration) -> Result<usize, BusError>;
    /// Throws away what has come and nobody has read.
    fn discard(&mut self) -> Result<(), BusError>;
    /// Becomes readable when something has come; `None` for a line that has to be asked.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// A line that takes no bytes for this long is stuck: 512 bytes at 9600 baud need half a second.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// The one device of a serial port.
pub static PORT: ClaimKind =
    ClaimKind { name: "one serial port", fails_alone: false, simulated: |_| Some("uart".to_owned()) };

/// A bus of type `uart`.
pub static SPEC: BusSpec = BusSpec {
    name: "uart",
    page: "\
one device on one port, which nobody else may use: a login prompt of systemd or a console of the kernel on it is found and
  named when the port is opened.",
    fields: &[Field {
        name: "device",
        kind: Kind::Path,
        need: Need::Required,
        doc: "the serial port, such as /dev/serial0 or /dev/ttyUSB0",
    }],
    example: "serial: { type: uart, device: /dev/serial0 }",
    offers: &[BusNeed::Uart],
    switched_on_by: "enable_uart=1",
    device: |entry| Some(Device::File(entry.keys.text("device").into())),
    used_by: used_by_the_system,
    open: |entry, _, _| Ok(Box::new(LinuxUart::open(Path::new(entry.keys.text("device")))?)),
    ..BusSpec::USUAL
};

/// One serial port.
pub struct LinuxUart {
    device: PathBuf,
    port: Rc<File>,
}

impl LinuxUart {
    /// Opens the port and keeps others away from it.
    ///
    /// # Errors
    /// [`BusError::Open`] with who uses it, or what to do about it.
    pub fn open(device: &Path) -> Result<Self, BusError> {
        // Not blocking: opening would otherwise wait for a modem's carrier.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let port = File::from(open(device, flags, Mode::empty()).map_err(|e| cannot_open(device, e))?);
        tcgetattr(&port).map_err(|e| cannot_open(device, e))?;
        if let Some(hint) = used_by_the_system(Path::new("/"), device) {
            return Err(BusError::Open { what: name(device), hint, source: Errno::BUSY.into() });
        }
        flock(&port, FlockOperation::NonBlockingLockExclusive).map_err(|e| cannot_open(device, e))?;
        ioctl_tiocexcl(&port).map_err(|e| cannot_open(device, e))?;
        Ok(Self { device: device.to_owned(), port: Rc::new(port) })
    }
}

impl Drop for LinuxUart {
    fn drop(&mut self) {
        // Of use only where somebody else keeps the port open; then there is nobody to report a failure to.
        ioctl_tiocnxcl(&self.port).ok();
    }
}

impl Bus for LinuxUart {
    fn describe(&self) -> String {
        name(&self.device)
    }

    fn uart(&mut self, request: &UartRequest) -> Result<Box<dyn SerialPort>, BusError> {
        configure(&self.port, request.baud).map_err(|source| BusError::Open {
            what: format!("{} at {} baud", self.describe(), request.baud),
            hint: "the port does not offer that speed".into(),
            source: source.into(),
        })?;
        let mut port = LinuxPort { name: self.describe(), port: Rc::clone(&self.port) };
        port.discard()?;
        Ok(Box::new(port))
    }
}

/// Raw bytes, 8N1, without flow control and whatever the modem lines say.
fn configure(port: &File, baud: u32) -> Result<(), Errno> {
    let mut settings = tcgetattr(port)?;
    settings.make_raw();
    settings.control_modes &= !(ControlModes::CSTOPB | ControlModes::CRTSCTS);
    settings.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL;
    // A read returns at once with what is there; poll(2) does the waiting.
    settings.special_codes[SpecialCodeIndex::VMIN] = 0;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    settings.set_speed(baud)?;
    tcsetattr(port, OptionalActions::Now, &settings)?;
    // The kernel takes the nearest speed that the port has and calls that a success (termios(3)).
    let got = tcgetattr(port)?.input_speed();
    if got.abs_diff(baud) > baud / 50 { Err(Errno::INVAL) } else { Ok(()) }
}

struct LinuxPort {
    name: String,
    port: Rc<File>,
}

impl LinuxPort {
    fn failed(&self, doing: &str, source: io::Error) -> BusError {
        BusError::Io { what: format!("{doing} {}", self.name), source }
    }

    /// Waits until the port is `ready` or the time is over; whether it is ready.
    fn wait(&self, ready: PollFlags, until: Instant) -> Result<bool, BusError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| self.failed("waiting for", Errno::INVAL.into()))?;
            let mut fds = [PollFd::from_borrowed_fd(self.port.as_fd(), ready)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Ok(false),
                // An adapter that was unplugged hangs up, and stays so.
                Ok(_) if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => {
                    return Err(self.failed("waiting for", Errno::NODEV.into()));
                }
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(e) => return Err(self.failed("waiting for", e.into())),
            }
        }
    }
}

impl SerialPort for LinuxPort {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BusError> {
        let until = Instant::now() + WRITE_WITHIN;
        let mut rest = bytes;
        while !rest.is_empty() {
            if !self.wait(PollFlags::OUT, until)? {
                return Err(self.failed("writing to", Errno::TIMEDOUT.into()));
            }
            match rustix::io::write(&self.port, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(e) => return Err(self.failed("writing to", e.into())),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], within: Duration) -> Result<usize, BusError> {
        let until = Instant::now() + within;
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            if !self.wait(PollFlags::IN, until)? {
                break;
            }
            match (&*self.port).read(rest) {
                // Ready without a byte: the other end has gone.
                Ok(0) => return Err(self.failed("reading from", Errno::NODEV.into())),
                Ok(read) => filled += read,
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(e) => return Err(self.failed("reading from", e)),
            }
        }
        Ok(filled)
    }

    fn discard(&mut self) -> Result<(), BusError> {
        tcflush(&self.port, QueueSelector::IFlush).map_err(|e| self.failed("emptying", e.into()))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.port.as_fd())
    }
}

fn name(device: &Path) -> String {
    format!("serial port {}", device.display())
}

fn cannot_open(device: &Path, errno: Errno) -> BusError {
    BusError::Open { what: name(device), hint: open_hint(errno).to_owned(), source: errno.into() }
}

/// What to do when the port cannot be opened.
fn open_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => {
            "is the port switched on? On a Raspberry Pi write enable_uart=1 into config.txt and restart; an adapter on USB \
             is /dev/ttyUSB0 or /dev/ttyACM0"
        }
        Errno::NXIO | Errno::NODEV | Errno::IO => "there is no hardware behind this device",
        Errno::ACCESS | Errno::PERM => "the user that runs this must be in the group dialout",
        Errno::BUSY | Errno::WOULDBLOCK => "another program uses this port; `sudo fuser -v` with its name shows which",
        Errno::NOTTY | Errno::INVAL | Errno::ISDIR => "this is not a serial port",
        _ => "",
    }
}

/// Whether a login prompt or the kernel's own messages are on this line; the remedy. Neither locks the port: only what
/// systemd and the kernel say of themselves shows it. `root` is `/` but in tests.
pub fn used_by_the_system(root: &Path, device: &Path) -> Option<String> {
    let real = device.canonicalize().unwrap_or_else(|_| device.to_owned());
    let line = real.file_name()?.to_str()?;
    let raspberry = "on a Raspberry Pi: raspi-config, Interface Options, Serial Port, no login shell, yes hardware";
    let unit = format!("serial-getty@{line}.service");
    // systemd keeps a link by this name for each unit that runs; it points nowhere.
    if root.join("run/systemd/units").join(format!("invocation:{unit}")).symlink_metadata().is_ok() {
        return Some(format!("a login prompt is on this line: sudo systemctl disable --now {unit}; {raspberry}"));
    }
    let consoles = std::fs::read_to_string(root.join("proc/consoles")).unwrap_or_default();
    let is_console = consoles.lines().any(|entry| entry.split_whitespace().next() == Some(line));
    is_console.then(|| {
        let remedy = "take console=serial0,115200 out of cmdline.txt and restart";
        format!("the kernel writes its messages to this line: {remedy}; {raspberry}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::fs;

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);

    /// The far end of a line, and the name of the near one.
    fn line() -> (File, PathBuf) {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&far).unwrap();
        unlockpt(&far).unwrap();
        let near = ptsname(&far, Vec::new()).unwrap().into_string().unwrap();
        (File::from(far), PathBuf::from(near))
    }

    fn opened(device: &Path) -> (LinuxUart, Box<dyn SerialPort>) {
        let mut bus = LinuxUart::open(device).unwrap();
        let port = bus.uart(&UartRequest { baud: 9600 }).unwrap();
        (bus, port)
    }

    fn refused(device: &Path) -> String {
        LinuxUart::open(device).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn every_byte_passes_unchanged_in_both_directions() {
        let (mut far, device) = line();
        let (_bus, mut port) = opened(&device);
        let all: Vec<u8> = (0..=255).collect();
        port.write(&all).unwrap();
        let mut heard = vec![0; 256];
        far.read_exact(&mut heard).unwrap();
        assert_eq!(heard, all);
        rustix::io::write(&far, &all).unwrap();
        let mut buffer = [0; 256];
        assert_eq!(port.read(&mut buffer, LONG).unwrap(), 256);
        assert_eq!(buffer[..], all);
    }

    #[test]
    fn a_read_ends_at_its_deadline_with_what_has_come() {
        let (far, device) = line();
        let (_bus, mut port) = opened(&device);
        let begun = Instant::now();
        assert_eq!(port.read(&mut [0; 4], SHORT).unwrap(), 0);
        assert!(begun.elapsed() >= SHORT);
        rustix::io::write(&far, b"abc").unwrap();
        let mut buffer = [0; 4];
        // The kernel passes bytes on when it has time for that; of those that were written at once, all have come with the first.
        let first = |port: &mut dyn SerialPort| {
            let mut byte = [0];
            assert_eq!(port.read(&mut byte, LONG).unwrap(), 1);
            byte
        };
        assert_eq!(first(&mut *port), *b"a");
        assert_eq!((port.read(&mut buffer, SHORT).unwrap(), &buffer), (2, b"bc\0\0"));
        rustix::io::write(&far, b"old").unwrap();
        assert_eq!(first(&mut *port), *b"o");
        port.discard().unwrap();
        assert_eq!(port.read(&mut buffer, SHORT).unwrap(), 0);
    }

    #[test]
    fn a_second_user_is_refused_until_the_first_has_closed() {
        let (_far, device) = line();
        let first = LinuxUart::open(&device).unwrap();
        let error = refused(&device);
        assert!(error.contains("another program uses this port"), "{error}");
        drop(first);
        assert_eq!(refused(&device), "");
    }

    #[test]
    fn a_line_that_was_unplugged_is_gone() {
        let (far, device) = line();
        let (_bus, mut port) = opened(&device);
        drop(far);
        assert!(port.read(&mut [0; 1], LONG).unwrap_err().is_gone());
    }

    #[test]
    fn what_is_no_port_or_not_there_is_reported_with_the_remedy() {
        assert!(refused(Path::new("/dev/null")).contains("this is not a serial port"));
        assert!(refused(Path::new("/dev/serial-no-such")).contains("enable_uart=1"));
        assert!(open_hint(Errno::ACCESS).contains("group dialout"));
    }

    #[test]
    fn a_login_prompt_and_a_console_are_noticed() {
        let root = tempfile::tempdir().unwrap();
        let (units, proc) = (root.path().join("run/systemd/units"), root.path().join("proc"));
        fs::create_dir_all(&units).unwrap();
        fs::create_dir_all(&proc).unwrap();
        fs::write(proc.join("consoles"), "tty0   -WU (E  p  )    4:1\nttyAMA0 -W- (EC p a)  204:64\n").unwrap();
        let user = |line: &str| used_by_the_system(root.path(), &Path::new("/dev/nowhere").join(line));
        assert!(user("ttyAMA0").unwrap().contains("console=serial0,115200"));
        assert_eq!(user("ttyAMA1"), None);
        let unit = "invocation:serial-getty@ttyAMA1.service";
        std::os::unix::fs::symlink("0123456789abcdef", units.join(unit)).unwrap();
        assert!(user("ttyAMA1").unwrap().contains("systemctl disable --now serial-getty@ttyAMA1.service"));
    }
}
