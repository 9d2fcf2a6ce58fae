//! The buses of the configuration: device files, rights, what the kernel or another program has taken. Nothing is opened, and no
//! chip is spoken to, so the service beside is not disturbed.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::doctor::account;
use crate::cli::doctor::check::{Check, Finding, NO_CONFIGURATION, Verdict, quoted};
use crate::cli::doctor::situation::{Account, Board, Bound, BusFacts, LineInUse, Rights, Situation};
use crate::config::Config;
use fieldgate_bus::survey::gpio::{self, GpioChip};
use fieldgate_bus::survey::i2c::binder;
use fieldgate_bus::{Claim, Entry, Files};
use fieldgate_model::describe_error;

/// Whether every bus is there and may be used.
pub(super) const BUSES: Check = Check {
    id: "buses",
    title: "the device file of each bus, and who may use it",
    causes: &["bus-off", "bus-restart", "bus-module", "group-missing", "device-of-root"],
    judge: judge_buses,
};

/// Whether a driver of the kernel has taken an address that the configuration uses.
pub(super) const ADDRESSES: Check = Check {
    id: "addresses",
    title: "addresses that a driver of the kernel has taken",
    causes: &["address-bound"],
    judge: judge_addresses,
};

/// Whether another program uses a line or a port of the configuration.
pub(super) const LINES: Check = Check {
    id: "lines",
    title: "lines and ports that another program uses",
    causes: &["line-in-use", "port-in-use"],
    judge: judge_lines,
};

/// Read and write, in the bits of others.
const READ_WRITE: u32 = 6;

fn judge_buses(situation: &Situation) -> Verdict {
    let Some(buses) = &situation.buses else { return Verdict::not_checked(NO_CONFIGURATION) };
    if buses.is_empty() {
        return Verdict::not_checked("the configuration has no bus that is wired to this board");
    }
    let findings = buses.iter().filter_map(|bus| match bus.rights {
        None => Some(absent(bus, &situation.board)),
        Some(rights) => refused(bus, rights, &situation.account),
    });
    let good: Vec<_> = buses.iter().map(|bus| format!("{} ({})", bus.name, bus.path.display())).collect();
    Verdict::of(findings.collect(), good.join(", "))
}

fn absent(bus: &BusFacts, board: &Board) -> Finding {
    let what = format!("{}, which bus {} needs, is not there", bus.path.display(), bus.name);
    let (line, module) = (bus.spec.switched_on_by, bus.spec.module);
    if bus.lacks_module {
        let words = format!("{what}: the hardware is, the kernel's module {module} is not loaded");
        let every_start =
            format!("sudo modprobe {module} && echo {module} | sudo tee /etc/modules-load.d/{module}.conf");
        return Finding::new("bus-module", words, every_start);
    }
    match &board.config_txt {
        Some(file) if bus.is_written => {
            let words =
                format!("{what}, although {} has {line}: it counts from the next start of the board", file.display());
            Finding::new("bus-restart", words, "sudo reboot")
        }
        Some(file) if !line.is_empty() => {
            let file = file.display();
            let words = format!("{what}: {file} does not switch it on");
            Finding::new("bus-off", words, format!("echo '{line}' | sudo tee -a {file} && sudo reboot"))
        }
        _ => Finding::new("bus-off", what, "fieldgate scan"),
    }
}

fn refused(bus: &BusFacts, rights: Rights, account: &Account) -> Option<Finding> {
    if account.may(READ_WRITE, rights) || account.uid.is_none() {
        return None;
    }
    let (path, name) = (bus.path.display(), &account.name);
    let group = bus.group.as_deref().filter(|group| *group != "root" && rights.mode >> 3 & READ_WRITE == READ_WRITE);
    Some(match group {
        Some(group) => Finding::new(
            "group-missing",
            format!("{path} of bus {} is for the group {group}, and {name} is not in it", bus.name),
            format!("sudo usermod -aG {} {} && sudo systemctl restart fieldgate", quoted(group), quoted(name)),
        ),
        None => Finding::new(
            "device-of-root",
            format!(
                "{path} of bus {} is not for {name}: it has mode {:03o}; the rule of udev that comes with the package gives it to a \
                 group",
                bus.name,
                rights.mode & 0o777
            ),
            "sudo udevadm control --reload && sudo udevadm trigger",
        ),
    })
}

fn judge_addresses(situation: &Situation) -> Verdict {
    if situation.buses.is_none() {
        return Verdict::not_checked(NO_CONFIGURATION);
    }
    let finding = |bound: &Bound| {
        let Bound { device, address, adapter, driver } = bound;
        let number = adapter_number(adapter).unwrap_or_default();
        let words = format!(
            "{address:#04x} on {}, the address of {device}, is taken by the kernel's driver {driver}; read the chip with \
             linux-hwmon or linux-iio, or release it",
            adapter.display()
        );
        let release = format!("echo {number}-{address:04x} | sudo tee /sys/bus/i2c/drivers/{}/unbind", quoted(driver));
        Finding::new("address-bound", words, release)
    };
    Verdict::of(situation.bound.iter().map(finding).collect(), "none")
}

fn judge_lines(situation: &Situation) -> Verdict {
    let Some(buses) = &situation.buses else { return Verdict::not_checked(NO_CONFIGURATION) };
    let line = |used: &LineInUse| {
        let words = format!(
            "line {} of {}, which {} needs, is in use by {:?}",
            used.line,
            used.chip.display(),
            used.device,
            used.holder
        );
        Finding::new("line-in-use", words, format!("sudo fuser -v {}", quoted(&used.chip.to_string_lossy())))
    };
    let port = |bus: &BusFacts| {
        let words =
            format!("{} of bus {} is used by the system: {}", bus.path.display(), bus.name, bus.in_use.as_ref()?);
        Some(Finding::new("port-in-use", words, "sudo raspi-config nonint do_serial_cons 1 && sudo reboot"))
    };
    let ports = buses.iter().filter_map(port);
    match &situation.lines {
        Ok(lines) => Verdict::of(lines.iter().map(line).chain(ports).collect(), "none"),
        Err(why) => match ports.collect::<Vec<_>>() {
            none if none.is_empty() => Verdict::not_checked(why.clone()),
            some => Verdict::Wrong(some),
        },
    }
}

/// The number of `/dev/i2c-N`.
fn adapter_number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("i2c-")?.parse().ok()
}

/// Rights as the file has them.
pub(super) fn rights(found: &Metadata) -> Rights {
    Rights { mode: found.mode(), uid: found.uid(), gid: found.gid() }
}

/// The buses that are wired to the board, of the system below `root`.
pub(super) fn gather(config: &Config, files: &dyn Files, root: &Path, board: &Board) -> Vec<BusFacts> {
    let config_txt = board.config_txt.as_deref().map(|file| below(root, file));
    let config_txt = config_txt.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let wired = config.buses.iter().filter_map(|(name, settings)| Some((name, settings.entry()?)));
    let facts = |(name, entry): (&_, &Entry)| {
        let path = (entry.spec.shown_at)(entry, files, root)?;
        let found = fs::metadata(below(root, &path)).ok();
        let rights = found.as_ref().map(rights);
        let has_hardware = (entry.spec.hardware_at)(&path).is_some_and(|shown| below(root, &shown).exists());
        Some(BusFacts {
            name: ToString::to_string(name),
            spec: entry.spec,
            group: rights.and_then(|rights| account::group_name(root, rights.gid)),
            lacks_module: rights.is_none() && has_hardware,
            is_written: is_written(&config_txt, entry.spec.switched_on_by),
            in_use: (entry.spec.used_by)(root, &below(root, &path)),
            rights,
            path,
        })
    };
    wired.filter(|(_, entry)| entry.on.is_none()).filter_map(facts).collect()
}

/// Whether this config.txt has the line, perhaps with parameters or among several of them.
fn is_written(config_txt: &str, line: &str) -> bool {
    let Some((key, value)) = line.split_once('=') else { return false };
    let values = config_txt.lines().filter_map(|text| text.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
    values.into_iter().any(|text| text.split(',').any(|part| part.trim() == value))
}

/// `path` of the system below `root`.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// What each sensor and output occupies on the bus of this name.
fn claims(config: &Config) -> impl Iterator<Item = (String, &Entry, Claim)> {
    let entry = |name| config.buses.iter().find(|(bus, _)| bus == name).and_then(|(_, settings)| settings.entry());
    let sensors =
        config.sensors.iter().map(|sensor| (&sensor.name, sensor.bus.as_ref(), sensor.driver, &sensor.settings));
    let outputs =
        config.actuators.iter().map(|output| (&output.name, Some(&output.bus), output.driver, &output.settings));
    sensors
        .chain(outputs)
        .filter_map(move |(name, bus, driver, settings)| Some((name, entry(bus?)?, driver, settings)))
        .flat_map(|(name, entry, driver, settings)| {
            (driver.claims)(settings).into_iter().map(move |claim| (name.to_string(), entry, claim))
        })
}

/// The addresses of the configuration that a driver of the kernel has bound.
pub(super) fn bound(config: &Config, files: &dyn Files) -> Vec<Bound> {
    let bound = |(device, entry, claim): (String, &Entry, Claim)| {
        let address = claim.i2c_address()?;
        let adapter = entry.file()?;
        let driver = binder(files, adapter_number(&adapter)?, address)?;
        Some(Bound { device, address, adapter, driver })
    };
    claims(config).filter_map(bound).collect()
}

/// The lines of the configuration that others than the service use.
///
/// # Errors
/// No chip may be opened; in words.
pub(super) fn lines_in_use(config: &Config) -> Result<Vec<LineInUse>, String> {
    let is_line =
        |(_, entry, claim): &(String, &Entry, Claim)| entry.spec.shown_as_user.is_some() && claim.line().is_some();
    let claimed: Vec<_> = claims(config).filter(is_line).collect();
    // Without one, no chip is opened.
    let chips = if claimed.is_empty() { Ok(Vec::new()) } else { gpio::chips() };
    let chips = chips.map_err(|error| describe_error(&error))?;
    Ok(claimed.into_iter().filter_map(|(device, entry, claim)| in_use(&chips, device, entry, claim)).collect())
}

fn in_use(chips: &[GpioChip], device: String, entry: &Entry, claim: Claim) -> Option<LineInUse> {
    let Claim::Line(line) = claim else { return None };
    let path = entry.file()?;
    let chip = chips.iter().find(|chip| chip.path == path || Path::new("/dev").join(&chip.label) == path)?;
    let by_name = chip.lines.iter().find(|found| found.name == line);
    let found = by_name.or_else(|| chip.lines.get(line.parse::<usize>().ok()?))?;
    let holder = found.holder.clone().filter(|holder| Some(holder.as_str()) != entry.spec.shown_as_user)?;
    Some(LineInUse { device, line, chip: chip.path.clone(), holder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_config_txt_counts_with_parameters_and_not_in_a_comment() {
        for (text, line, is) in [
            ("[all]\ndtparam=i2c_arm=on\n", "dtparam=i2c_arm=on", true),
            ("dtparam=audio=on,i2c_arm=on", "dtparam=i2c_arm=on", true),
            ("#dtparam=i2c_arm=on", "dtparam=i2c_arm=on", false),
            ("dtoverlay=w1-gpio,gpiopin=17", "dtoverlay=w1-gpio", true),
            ("dtoverlay=w1-gpio-pullup", "dtoverlay=w1-gpio", false),
            ("enable_uart=0", "enable_uart=1", false),
            ("anything", "", false),
        ] {
            assert_eq!(is_written(text, line), is, "{text}");
        }
    }
}
