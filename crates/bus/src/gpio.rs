//! GPIO lines by the kernel's character device (uAPI v2, Linux 5.10).
//!
//! A chip is found by its path or its label, a line by its name or its number on that chip: numbers differ between boards
//! and kernels. The kernel debounces, stamps edges with `CLOCK_MONOTONIC` and knows who uses a line.
//!
//! A level cannot be held here after the process has ended: dropping a line releases it, and what a released line does is
//! the chip's business.

mod chips;

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::chip::Chip;
use gpiocdev::line::{EdgeDetection, EdgeKind, Offset, Value};
use gpiocdev_uapi::Errno;

pub(super) use chips::holder_of;
use chips::{by_label, elsewhere, find_chip, near_names, resolve};

use crate::edges::skipped;
use crate::{
    Bias, Bus, BusError, BusNeed, BusSpec, Device, Edge, InputLine, InputRequest, Keys, Lines, OutputLine,
    OutputRequest, PwmChannel, PwmRequest, header,
};
use fieldgate_model::field::format_duration;
use fieldgate_model::{Field, Kind, Need, Wrong};

/// What the kernel shows as the user of our lines.
const CONSUMER: &str = "fieldgate";

/// Edges taken at once.
const MAX_EDGES: usize = 64;

/// Edges kept by the kernel meanwhile: a quarter of a second of five hundred pulses a second, in 12 KiB. Its default of 16 is
/// short for a bouncing contact; when the buffer is full the kernel drops the oldest, so the newest state always arrives.
const KEPT_EDGES: u32 = 256;

/// Of the kernel's errno.h: the line has no interrupt; the chip was unplugged; an internal "not supported" that pin
/// controllers let out.
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;
const ENOTSUPP: i32 = 524;

/// A bus of type `gpio`.
pub static SPEC: BusSpec = BusSpec {
    name: "gpio",
    page: "\
lines have names (`gpioinfo` lists them) and numbers; the chip is named by its path or, better, by its label, for
  numbers of chips differ from board to board. A line is released when the program ends, and what it does then is the chip's
  business: see `fieldgate drivers gpio-output`.",
    fields: &[Field {
        name: "chip",
        kind: Kind::Text,
        need: Need::Required,
        doc: "the chip's character device, such as /dev/gpiochip0, or its label",
    }],
    example: "header: { type: gpio, chip: /dev/gpiochip0 }",
    offers: &[BusNeed::Gpio],
    lines: Lines::Board(|keys| header::is_header(keys.text("chip"))),
    shown_as_user: Some(CONSUMER),
    releases_lines: true,
    wrong: neither_device_nor_label,
    device: |entry| Some(Device::File(Path::new("/dev").join(entry.keys.text("chip")))),
    shown_at: |entry, _, root| Some(by_label(entry.file()?, root)),
    open: |entry, _, _| Ok(Box::new(LinuxGpio::open(entry.keys.text("chip"))?)),
    ..BusSpec::USUAL
};

fn neither_device_nor_label(keys: &Keys) -> Option<(&'static str, Wrong)> {
    let chip = keys.text("chip");
    let is_wrong = chip.is_empty() || chip.contains('/') && !chip.starts_with("/dev/");
    let wrong = ("chip is neither a device nor a label", "write /dev/gpiochip0, or a label such as pinctrl-rp1");
    is_wrong.then(|| Wrong::new(wrong.0, wrong.1).at("chip"))
}

/// A GPIO chip.
#[derive(Debug)]
pub struct LinuxGpio {
    wanted: String,
    chip: Chip,
}

impl LinuxGpio {
    /// Opens a chip by its path (`/dev/gpiochip0`), its name (`gpiochip0`) or its label (`pinctrl-rp1`).
    ///
    /// # Errors
    /// [`BusError::Open`]: the hint lists the chips there are, or says who may open one.
    pub fn open(wanted: &str) -> Result<Self, BusError> {
        Ok(Self { wanted: wanted.to_owned(), chip: find_chip(wanted)? })
    }

    /// Claims and releases go through a chip opened again, so that an adapter that was unplugged meanwhile is found again
    /// even under another number.
    fn locate(&mut self, line: &str) -> Result<Place, BusError> {
        self.chip = find_chip(&self.wanted)?;
        let what = self.describe();
        let failed = |e| BusError::Io { what: format!("asking {what} for its lines"), source: kernel_error(e) };
        let infos = self.chip.line_info_iter().map_err(failed)?;
        let names: Vec<String> =
            infos.map(|info| info.map(|info| info.name)).collect::<Result<_, _>>().map_err(failed)?;
        let offset = resolve(line, &names).ok_or_else(|| BusError::NoLine {
            chip: self.chip_name(),
            line: line.to_owned(),
            hint: elsewhere(line).unwrap_or_else(|| near_names(line, &names)),
        })?;
        Ok(Place { chip: self.chip_name(), line: line.to_owned(), offset })
    }

    fn chip_name(&self) -> String {
        self.chip.path().display().to_string()
    }

    /// Why a claim failed: the holder's name when the line is taken.
    fn refused(&self, place: &Place, direction: &str, asked: &str, source: io::Error) -> BusError {
        if source.kind() == ErrorKind::ResourceBusy {
            let holder = self.chip.line_info(place.offset).map(|info| info.consumer).unwrap_or_default();
            let holder = if holder.is_empty() { "a user without a name".to_owned() } else { holder };
            return BusError::LineClaimed { chip: place.chip.clone(), line: place.line.clone(), holder };
        }
        let what = format!("line {} of {} as an {direction}", place.line, place.chip);
        BusError::Open { what, hint: claim_hint(&source, asked), source }
    }
}

impl Bus for LinuxGpio {
    fn describe(&self) -> String {
        format!("gpio chip {}", self.chip_name())
    }

    fn input(&mut self, request: &InputRequest) -> Result<Box<dyn InputLine>, BusError> {
        let place = self.locate(&request.line)?;
        let mut builder = Request::builder();
        builder
            .on_chip(self.chip.path())
            .with_consumer(CONSUMER)
            .with_kernel_event_buffer_size(KEPT_EDGES)
            .with_line(place.offset)
            .as_input()
            .with_edge_detection(EdgeDetection::BothEdges)
            .with_bias(bias(request.bias));
        if request.active_low {
            builder.as_active_low();
        }
        if !request.debounce.is_zero() {
            builder.with_debounce_period(request.debounce);
        }
        let claimed = builder.request().map_err(kernel_error);
        let claimed = claimed.map_err(|e| self.refused(&place, "input", &asked(request), e))?;
        let buffer = vec![0; claimed.edge_event_u64_size() * MAX_EDGES];
        Ok(Box::new(LinuxInput { place, request: claimed, buffer, last: 0 }))
    }

    fn output(&mut self, request: &OutputRequest) -> Result<Box<dyn OutputLine>, BusError> {
        let place = self.locate(&request.line)?;
        let mut builder = Request::builder();
        builder.on_chip(self.chip.path()).with_consumer(CONSUMER).with_line(place.offset);
        if request.active_low {
            builder.as_active_low();
        }
        // The value travels with the request, so the line never shows another one first.
        builder.as_output(value(request.active));
        let claimed = builder.request().map_err(kernel_error);
        let claimed = claimed.map_err(|e| self.refused(&place, "output", "an output", e))?;
        Ok(Box::new(LinuxOutput { place, request: claimed }))
    }

    fn pwm(&mut self, request: &PwmRequest) -> Result<Box<dyn PwmChannel>, BusError> {
        Err(self.lacks(&format!("PWM {}; software PWM needs a Raspberry Pi and backend: rppal", request.place)))
    }
}

/// Where a claimed line sits.
#[derive(Debug)]
struct Place {
    chip: String,
    line: String,
    offset: Offset,
}

impl Place {
    /// A chip that is gone is no passing trouble: the line has to be claimed again.
    fn failed(&self, doing: &str, error: gpiocdev::Error) -> BusError {
        let source = kernel_error(error);
        let what = format!("line {} of {}", self.line, self.chip);
        if source.raw_os_error() == Some(ENODEV) {
            return BusError::Open { what, hint: "the chip is gone".into(), source };
        }
        BusError::Io { what: format!("{doing} {what}"), source }
    }
}

struct LinuxInput {
    place: Place,
    request: Request,
    buffer: Vec<u64>,
    /// The number of the last edge.
    last: u32,
}

impl InputLine for LinuxInput {
    fn is_active(&mut self) -> Result<bool, BusError> {
        let value = self.request.value(self.place.offset);
        value.map(|value| value == Value::Active).map_err(|e| self.place.failed("reading", e))
    }

    fn take_edges(&mut self) -> Result<Vec<Edge>, BusError> {
        // A signal is no reason to mark the sensor: what waits is still there at the next look.
        let waiting = match self.request.has_edge_event() {
            Err(e) if kernel_error(e.clone()).kind() == ErrorKind::Interrupted => false,
            waiting => waiting.map_err(|e| self.place.failed("watching", e))?,
        };
        if !waiting {
            return Ok(Vec::new());
        }
        // Not `read_edge_event`: in 0.8.0 it reads up to eight events and returns the first.
        let failed = |e| self.place.failed("reading changes of", e);
        let words = self.request.read_edge_events_into_slice(&mut self.buffer).map_err(failed)?;
        let (read, last) = (self.buffer.get(..words).unwrap_or(&self.buffer), &mut self.last);
        read.chunks_exact(self.request.edge_event_u64_size())
            .map(|event| self.request.edge_event_from_slice(event).map(|event| edge(&event, last)).map_err(failed))
            .collect()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.request.as_fd())
    }
}

/// The kernel swaps the edges of an active-low line itself: rising means that it became active.
fn edge(event: &gpiocdev::line::EdgeEvent, last: &mut u32) -> Edge {
    let at = Some(Duration::from_nanos(event.timestamp_ns));
    Edge { active: event.kind == EdgeKind::Rising, at, missed: skipped(last, event.line_seqno) }
}

struct LinuxOutput {
    place: Place,
    request: Request,
}

impl OutputLine for LinuxOutput {
    fn set(&mut self, active: bool) -> Result<(), BusError> {
        self.request.set_value(self.place.offset, value(active)).map_err(|e| self.place.failed("driving", e))
    }

    fn is_active(&mut self) -> Result<bool, BusError> {
        let value = self.request.value(self.place.offset);
        value.map(|value| value == Value::Active).map_err(|e| self.place.failed("reading back", e))
    }
}

fn value(active: bool) -> Value {
    if active { Value::Active } else { Value::Inactive }
}

fn bias(bias: Bias) -> Option<gpiocdev::line::Bias> {
    match bias {
        Bias::AsIs => None,
        Bias::PullUp => Some(gpiocdev::line::Bias::PullUp),
        Bias::PullDown => Some(gpiocdev::line::Bias::PullDown),
        Bias::Disabled => Some(gpiocdev::line::Bias::Disabled),
    }
}

/// What was asked of an input beyond being one, for the words of a refusal.
fn asked(request: &InputRequest) -> String {
    let bias = match request.bias {
        Bias::AsIs => "",
        Bias::PullUp => "bias pull-up or ",
        Bias::PullDown => "bias pull-down or ",
        Bias::Disabled => "bias disabled or ",
    };
    match request.debounce {
        Duration::ZERO => format!("{bias}the reporting of changes"),
        debounce => format!("{bias}a debounce of {}", format_duration(debounce)),
    }
}

fn claim_hint(source: &io::Error, asked: &str) -> String {
    match (source.raw_os_error(), source.kind()) {
        (Some(ENXIO), _) => "this line has no interrupt, so the kernel cannot report its changes".into(),
        (Some(ENODEV), _) => "the chip is gone".into(),
        (Some(ENOTSUPP), _) | (_, ErrorKind::Unsupported | ErrorKind::InvalidInput) => {
            format!("the chip or its kernel driver refuses {asked}")
        }
        (_, ErrorKind::PermissionDenied) => "the line is reserved on this board, or the group gpio is missing".into(),
        _ => String::new(),
    }
}

/// The kernel's own error, with its errno; what the library itself refused keeps its words.
pub(super) fn kernel_error(error: gpiocdev::Error) -> io::Error {
    match error {
        gpiocdev::Error::Os(Errno(errno)) | gpiocdev::Error::Uapi(_, gpiocdev_uapi::Error::Os(Errno(errno)))
            if errno != 0 =>
        {
            io::Error::from_raw_os_error(errno)
        }
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errno_of_the_kernel_survives() {
        let refused = gpiocdev::Error::Uapi(gpiocdev::UapiCall::GetLine, gpiocdev_uapi::Error::Os(Errno(16)));
        assert_eq!(kernel_error(refused).kind(), ErrorKind::ResourceBusy);
        assert_eq!(kernel_error(gpiocdev::Error::Os(Errno(13))).kind(), ErrorKind::PermissionDenied);
        assert_eq!(kernel_error(gpiocdev::Error::NoGpioChips()).raw_os_error(), None);
    }

    #[test]
    fn a_refused_request_names_what_was_asked() {
        let request = InputRequest {
            line: "GPIO17".into(),
            active_low: true,
            bias: Bias::PullUp,
            debounce: Duration::from_millis(20),
        };
        let hint = |errno| claim_hint(&io::Error::from_raw_os_error(errno), &asked(&request));
        assert_eq!(hint(22), "the chip or its kernel driver refuses bias pull-up or a debounce of 20ms");
        assert_eq!(hint(ENOTSUPP), hint(22));
        assert!(hint(ENXIO).contains("no interrupt"));
        assert_eq!(hint(5), "");
    }

    #[test]
    fn an_edge_keeps_the_kernels_time() {
        let event = gpiocdev::line::EdgeEvent {
            timestamp_ns: 1_500_000_000,
            kind: EdgeKind::Falling,
            offset: 17,
            seqno: 1,
            line_seqno: 1,
        };
        assert_eq!(edge(&event, &mut 0), Edge { active: false, at: Some(Duration::from_millis(1500)), missed: 0 });
    }
}
