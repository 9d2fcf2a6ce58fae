//! PWM channels by `/sys/class/pwm` (Documentation/driver-api/pwm.rst of the kernel).
//!
//! A channel is exported and stays so: its level outlives this process, and that is what keeps a safe state on it after
//! an end of any kind. Who takes it over finds it running and changes only what differs, so that a restart leaves no gap.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use embedded_hal::delay::DelayNs as _;

use crate::sysfs::shown;
use crate::{Bus, BusError, BusNeed, BusSpec, ClaimKind, Delay, Device, Keys, PwmChannel, PwmPlace, PwmRequest};
use fieldgate_model::{Field, Kind, Need};

/// Where the kernel shows PWM chips.
pub const CLASS: &str = "/sys/class/pwm";

/// How often a new channel's files are tried, and how long between: udev gives them to their group some milliseconds
/// after the export. 200 ms in all.
const EXPORT_ATTEMPTS: u32 = 20;
const EXPORT_PAUSE_MS: u32 = 10;

/// A channel of a PWM chip.
pub static CHANNEL: ClaimKind = ClaimKind { name: "channel", fails_alone: false, simulated: |_| None };

/// A bus of type `pwm`.
pub static SPEC: BusSpec = BusSpec {
    name: "pwm",
    page: "\
on a Raspberry Pi `dtoverlay=pwm` in config.txt makes a chip. A channel goes on after the program has ended.",
    fields: &[Field {
        name: "chip",
        kind: Kind::Integer { min: 0, max: 255 },
        need: Need::Required,
        doc: "the number N of /sys/class/pwm/pwmchipN",
    }],
    example: "pwm-0: { type: pwm, chip: 0 }",
    offers: &[BusNeed::Pwm],
    pwm_place: Some("channel"),
    switched_on_by: "dtoverlay=pwm",
    device: |entry| Some(Device::Named(format!("pwmchip{}", chip(&entry.keys)))),
    shown_at: |entry, _, _| Some(Path::new(CLASS).join(format!("pwmchip{}/export", chip(&entry.keys)))),
    open: |entry, _, _| Ok(Box::new(LinuxPwm::open(chip(&entry.keys))?)),
    ..BusSpec::USUAL
};

/// The chip's number, which the field's range keeps within eight bits.
fn chip(keys: &Keys) -> u32 {
    u32::try_from(keys.integer("chip")).unwrap_or(u32::MAX)
}

/// A PWM chip.
#[derive(Debug)]
pub struct LinuxPwm {
    folder: PathBuf,
    channels: u32,
}

impl LinuxPwm {
    /// Opens `pwmchip<chip>`.
    ///
    /// # Errors
    /// [`BusError::Open`] with the chips there are, or how to switch PWM on.
    pub fn open(chip: u32) -> Result<Self, BusError> {
        Self::at(Path::new(CLASS), chip)
    }

    /// Opens `pwmchip<chip>` below `class`.
    ///
    /// # Errors
    /// As [`LinuxPwm::open`].
    pub fn at(class: &Path, chip: u32) -> Result<Self, BusError> {
        let folder = class.join(format!("pwmchip{chip}"));
        let opened = read(&folder.join("npwm")).map_err(|source| BusError::Open {
            what: folder.display().to_string(),
            hint: if source.kind() == ErrorKind::NotFound { absent_hint(class) } else { write_hint(&source) },
            source,
        })?;
        let channels = number(&folder.join("npwm"), &opened)?;
        Ok(Self { folder, channels: u32::try_from(channels).unwrap_or(u32::MAX) })
    }

    /// Makes the channel's files appear and waits until they may be written.
    fn export(&self, channel: u32) -> Result<PathBuf, BusError> {
        let folder = self.folder.join(format!("pwm{channel}"));
        let refused = |source: io::Error| BusError::Open {
            what: format!("channel {channel} of {}", self.folder.display()),
            hint: write_hint(&source),
            source,
        };
        if !folder.is_dir() {
            write(&self.folder.join("export"), u64::from(channel)).map_err(refused)?;
        }
        let enable = folder.join("enable");
        let mut last = ErrorKind::NotFound.into();
        for attempt in 0..EXPORT_ATTEMPTS {
            if attempt > 0 {
                Delay.delay_ms(EXPORT_PAUSE_MS);
            }
            match OpenOptions::new().write(true).open(&enable) {
                Ok(_) => return Ok(folder),
                Err(e) => last = e,
            }
        }
        Err(refused(last))
    }
}

impl Bus for LinuxPwm {
    fn describe(&self) -> String {
        format!("pwm chip {}", self.folder.display())
    }

    fn pwm(&mut self, request: &PwmRequest) -> Result<Box<dyn PwmChannel>, BusError> {
        let channel = match request.place {
            PwmPlace::Channel(channel) if channel < self.channels => channel,
            PwmPlace::Channel(channel) => {
                let channels = self.channels;
                return Err(self.lacks(&format!("PWM channel {channel}; they count from 0 and are {channels}")));
            }
            PwmPlace::Line(_) => return Err(self.lacks(&format!("PWM {}; name a channel here", request.place))),
        };
        let folder = self.export(channel)?;
        let period_ns = u64::try_from(request.period.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mut channel = LinuxChannel { folder, period_ns, commanded: None };
        channel.set_polarity(request.inverted)?;
        channel.set_period()?;
        channel.set(request.percent)?;
        // Also at 0 %: a channel that is not enabled may leave its pin floating.
        channel.change("enable", 1)?;
        Ok(Box::new(channel))
    }
}

struct LinuxChannel {
    folder: PathBuf,
    period_ns: u64,
    /// What was asked for last and the duty it became: read back, the same duty means the same percentage, unrounded.
    commanded: Option<(f64, u64)>,
}

impl LinuxChannel {
    /// The kernel refuses another polarity while the channel runs, and no polarity at all where the chip has none.
    fn set_polarity(&self, inverted: bool) -> Result<(), BusError> {
        let wanted = if inverted { "inversed" } else { "normal" };
        let path = self.folder.join("polarity");
        match read(&path) {
            Ok(polarity) if polarity == wanted => return Ok(()),
            Err(e) if e.kind() == ErrorKind::NotFound && !inverted => return Ok(()),
            Ok(_) => self.change("enable", 0)?,
            Err(e) => return Err(failed("reading", &path, e)),
        }
        let hint = if inverted { "this chip cannot invert its output" } else { "" };
        let what = path.display().to_string();
        write(&path, wanted).map_err(|source| BusError::Open { what, hint: hint.into(), source })
    }

    /// The period never falls below the duty, which the kernel would refuse.
    fn set_period(&self) -> Result<(), BusError> {
        if self.number("duty_cycle")? > self.period_ns {
            self.change("duty_cycle", 0)?;
        }
        self.change("period", self.period_ns)
    }

    fn number(&self, file: &str) -> Result<u64, BusError> {
        let path = self.folder.join(file);
        let text = read(&path).map_err(|e| failed("reading", &path, e))?;
        number(&path, &text)
    }

    /// Writes only what differs: some chips restart their period at each write.
    fn change(&self, file: &str, value: u64) -> Result<(), BusError> {
        if self.number(file)? == value {
            return Ok(());
        }
        let path = self.folder.join(file);
        write(&path, value).map_err(|e| failed(&format!("writing {value} to"), &path, e))
    }
}

impl PwmChannel for LinuxChannel {
    fn set(&mut self, percent: f64) -> Result<(), BusError> {
        let duty_ns = duty_ns(self.period_ns, percent);
        self.change("duty_cycle", duty_ns)?;
        self.commanded = Some((percent, duty_ns));
        Ok(())
    }

    fn percent(&mut self) -> Result<f64, BusError> {
        if self.number("enable")? == 0 {
            return Ok(0.0);
        }
        let (duty_ns, period_ns) = (self.number("duty_cycle")?, self.number("period")?);
        match self.commanded {
            Some((percent, commanded_ns)) if commanded_ns == duty_ns && period_ns == self.period_ns => Ok(percent),
            _ if period_ns == 0 => Ok(0.0),
            _ => Ok((100.0 * duty_ns as f64 / period_ns as f64).clamp(0.0, 100.0)),
        }
    }
}

/// The active part of a period. What is not a number is nothing.
fn duty_ns(period_ns: u64, percent: f64) -> u64 {
    // A float to an integer saturates, and NaN becomes 0.
    ((period_ns as f64 * percent / 100.0).round() as u64).min(period_ns)
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

fn number(path: &Path, text: &str) -> Result<u64, BusError> {
    text.parse().map_err(|_| BusError::Format {
        path: path.display().to_string(),
        found: shown(text),
        expected: "a whole number",
    })
}

/// Never makes a file: below sysfs there is the one that the kernel made, or none.
fn write(path: &Path, value: impl ToString) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(value.to_string().as_bytes())
}

fn failed(doing: &str, path: &Path, source: io::Error) -> BusError {
    BusError::Io { what: format!("{doing} {}", path.display()), source }
}

fn absent_hint(class: &Path) -> String {
    let chips = fs::read_dir(class).into_iter().flatten().flatten();
    let mut chips: Vec<String> = chips.filter_map(|chip| chip.file_name().into_string().ok()).collect();
    chips.sort_unstable();
    if chips.is_empty() {
        "this machine shows no PWM chip; on a Raspberry Pi dtoverlay=pwm in config.txt makes one".into()
    } else {
        format!("there is {}; on a Raspberry Pi dtoverlay=pwm in config.txt makes one", chips.join(", "))
    }
}

fn write_hint(source: &io::Error) -> String {
    match source.kind() {
        ErrorKind::PermissionDenied => "a udev rule gives the files to the group gpio; the user has to be in it".into(),
        ErrorKind::ReadOnlyFilesystem => "under systemd the service needs ReadWritePaths=/sys/class/pwm".into(),
        ErrorKind::ResourceBusy => "a driver of the kernel uses this channel".into(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A chip of two channels; `channel` is exported with these contents.
    fn class(channel: &[(&str, &str)]) -> tempfile::TempDir {
        let class = tempfile::tempdir().unwrap();
        let folder = class.path().join("pwmchip0/pwm1");
        fs::create_dir_all(&folder).unwrap();
        fs::write(class.path().join("pwmchip0/npwm"), "2\n").unwrap();
        fs::write(class.path().join("pwmchip0/export"), "").unwrap();
        for (file, content) in channel {
            fs::write(folder.join(file), content).unwrap();
        }
        class
    }

    fn fresh() -> tempfile::TempDir {
        class(&[("enable", "0\n"), ("period", "0\n"), ("duty_cycle", "0\n"), ("polarity", "normal\n")])
    }

    fn file(class: &tempfile::TempDir, file: &str) -> String {
        fs::read_to_string(class.path().join("pwmchip0/pwm1").join(file)).unwrap().trim().to_owned()
    }

    fn request(percent: f64, inverted: bool) -> PwmRequest {
        PwmRequest { place: PwmPlace::Channel(1), period: Duration::from_millis(1), percent, inverted }
    }

    fn claim(class: &tempfile::TempDir, request: &PwmRequest) -> Result<Box<dyn PwmChannel>, BusError> {
        LinuxPwm::at(class.path(), 0)?.pwm(request)
    }

    #[test]
    fn a_claimed_channel_runs_with_the_first_value_and_follows_the_next() {
        let class = fresh();
        let mut channel = claim(&class, &request(40.0, false)).unwrap();
        let files = ["period", "duty_cycle", "enable", "polarity"].map(|name| file(&class, name));
        assert_eq!(files, ["1000000", "400000", "1", "normal"]);
        channel.set(33.333_333_3).unwrap();
        assert_eq!(file(&class, "duty_cycle"), "333333");
        assert_eq!(channel.percent().unwrap(), 33.333_333_3);
    }

    #[test]
    fn a_channel_keeps_running_when_its_owner_is_gone() {
        let class = fresh();
        drop(claim(&class, &request(25.0, true)).unwrap());
        assert_eq!([file(&class, "enable"), file(&class, "polarity")], ["1", "inversed"]);
        assert_eq!(file(&class, "duty_cycle"), "250000");
    }

    #[test]
    fn a_longer_duty_left_by_another_owner_gives_way_to_the_period() {
        let class =
            class(&[("enable", "1"), ("period", "20000000"), ("duty_cycle", "9000000"), ("polarity", "normal")]);
        let mut channel = claim(&class, &request(0.0, false)).unwrap();
        assert_eq!([file(&class, "period"), file(&class, "duty_cycle")], ["1000000", "0"]);
        assert_eq!(channel.percent().unwrap(), 0.0);
    }

    #[test]
    fn read_back_tells_what_someone_else_did() {
        let class = fresh();
        let mut channel = claim(&class, &request(10.0, false)).unwrap();
        let write =
            |name: &str, content: &str| fs::write(class.path().join("pwmchip0/pwm1").join(name), content).unwrap();
        write("duty_cycle", "750000");
        assert_eq!(channel.percent().unwrap(), 75.0);
        write("enable", "0");
        assert_eq!(channel.percent().unwrap(), 0.0);
        write("enable", "yes");
        assert!(matches!(channel.percent(), Err(BusError::Format { .. })));
    }

    #[test]
    fn a_missing_chip_is_answered_with_the_overlay() {
        let class = fresh();
        let error = LinuxPwm::at(class.path(), 7).unwrap_err().to_string();
        assert!(error.contains("there is pwmchip0") && error.contains("dtoverlay=pwm"), "{error}");
        let error = LinuxPwm::at(&class.path().join("none"), 0).unwrap_err().to_string();
        assert!(error.contains("shows no PWM chip"), "{error}");
    }

    #[test]
    fn a_channel_that_the_chip_lacks_or_that_never_appears_is_refused() {
        let class = fresh();
        let refused = |channel| {
            claim(&class, &PwmRequest { place: PwmPlace::Channel(channel), ..request(0.0, false) }).err().unwrap()
        };
        assert!(matches!(refused(2), BusError::Unsupported { .. }));
        assert!(matches!(refused(0), BusError::Open { .. }));
        assert_eq!(fs::read_to_string(class.path().join("pwmchip0/export")).unwrap(), "0");
    }

    #[test]
    fn a_duty_stays_within_its_period() {
        for (percent, duty) in [(0.0, 0), (100.0, 1000), (140.0, 1000), (-3.0, 0), (f64::NAN, 0), (0.05, 1)] {
            assert_eq!(duty_ns(1000, percent), duty, "{percent}");
        }
    }
}
