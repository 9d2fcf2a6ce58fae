//! Which chips there are, which of them is meant, and which of its lines.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use gpiocdev::chip::Chip;
use gpiocdev::line::Offset;

use crate::BusError;
use crate::gpio::kernel_error;
use fieldgate_spelling as spelling;

/// Near names in a hint: more would hide the right one.
const MAX_NEAR_NAMES: usize = 3;

/// Who holds a line of the chip with this label, by the kernel's knowledge; nothing where nobody does, and where there is no
/// such chip.
pub(crate) fn holder_of(label: &str, offset: Offset) -> Option<String> {
    let (chips, _) = present();
    let chip = chips.iter().find(|chip| chip.label == label)?;
    let info = Chip::from_path(&chip.path).and_then(|chip| chip.line_info(offset)).ok()?;
    info.used.then_some(info.consumer)
}

/// The path of a chip that may have been named by its label, which stands in `path` as if it were a device; `path` itself where it is there
/// below this folder, and where no chip has the label.
pub(super) fn by_label(path: PathBuf, root: &Path) -> PathBuf {
    if root.join(path.strip_prefix("/").unwrap_or(&path)).exists() {
        return path;
    }
    let label = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let chip = present().0.into_iter().find(|chip| chip.label == label);
    chip.map_or(path, |chip| chip.path)
}

/// A chip that could be opened, for hints and for the search by label.
struct Present {
    path: PathBuf,
    label: String,
}

/// The chips of this machine, and why one could not be opened.
fn present() -> (Vec<Present>, Option<io::Error>) {
    let paths = gpiocdev::chip::chips().unwrap_or_default();
    let mut trouble = None;
    let mut found = Vec::new();
    for path in paths {
        match Chip::from_path(&path).and_then(|chip| chip.info()) {
            Ok(info) => found.push(Present { path, label: info.label }),
            Err(e) => trouble = Some(kernel_error(e)),
        }
    }
    (found, trouble)
}

pub(super) fn find_chip(wanted: &str) -> Result<Chip, BusError> {
    let (chips, trouble) = present();
    let open = |hint, source| BusError::Open { what: format!("GPIO chip {wanted}"), hint, source };
    let failed = |source: io::Error| open(open_hint(source.kind(), &chips), source);
    let path = match choose(wanted, &chips) {
        _ if wanted.contains('/') => Path::new(wanted),
        Ok(Some(chip)) => &chip.path,
        Ok(None) => return Err(failed(trouble.unwrap_or_else(|| ErrorKind::NotFound.into()))),
        Err(hint) => return Err(open(hint, ErrorKind::InvalidInput.into())),
    };
    Chip::from_path(path).map_err(|e| failed(kernel_error(e)))
}

/// The one chip of that label or name. Two equal expanders have one label: then only a path distinguishes them.
fn choose<'a>(wanted: &str, chips: &'a [Present]) -> Result<Option<&'a Present>, String> {
    let fits = |chip: &&Present| chip.label == wanted || chip.path.file_name().is_some_and(|name| name == wanted);
    let mut fitting = chips.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(one), Some(other)) => Err(format!(
            "{} and {} both have this label; write the path of one",
            one.path.display(),
            other.path.display()
        )),
        (one, _) => Ok(one),
    }
}

fn open_hint(kind: ErrorKind, chips: &[Present]) -> String {
    if kind == ErrorKind::PermissionDenied {
        return "the group gpio may: add the user to it, and check that a udev rule gives the chip to that group"
            .into();
    }
    if chips.is_empty() {
        return "this machine shows no GPIO chip".into();
    }
    let chips: Vec<_> = chips.iter().map(|chip| format!("{} ({})", chip.path.display(), chip.label)).collect();
    format!("there is {}", chips.join(", "))
}

/// The number of a line: by its name, else by its number.
pub(super) fn resolve(line: &str, names: &[String]) -> Option<Offset> {
    let by_name = names.iter().position(|name| !name.is_empty() && name == line);
    let by_number = || line.parse().ok().filter(|offset: &usize| *offset < names.len());
    by_name.or_else(by_number).and_then(|offset| Offset::try_from(offset).ok())
}

/// Whether another chip has a line of that name: on a Pi 5 the header is not the first chip.
pub(super) fn elsewhere(line: &str) -> Option<String> {
    let (chips, _) = present();
    let chip = chips
        .iter()
        .find(|chip| Chip::from_path(&chip.path).is_ok_and(|opened| opened.find_line_info(line).is_some()))?;
    Some(format!("{} ({}) has one", chip.path.display(), chip.label))
}

pub(super) fn near_names(line: &str, names: &[String]) -> String {
    let mut near = spelling::within(2, line, names.iter().map(String::as_str).filter(|name| !name.is_empty()));
    near.truncate(MAX_NEAR_NAMES);
    match (near.is_empty(), names.iter().all(String::is_empty), names.len().checked_sub(1)) {
        (false, ..) => format!("did you mean {}?", near.join(", ")),
        (true, true, Some(last)) => format!("its lines have no names; write a number from 0 to {last}"),
        _ => "`gpioinfo` lists the lines".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpio::LinuxGpio;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn chip(path: &str, label: &str) -> Present {
        Present { path: path.into(), label: label.into() }
    }

    #[test]
    fn a_line_is_found_by_its_name_and_then_by_its_number() {
        let names = names(&["ID_SDA", "", "GPIO2", "0"]);
        for (line, offset) in [
            ("GPIO2", Some(2)),
            ("1", Some(1)),
            ("0", Some(3)),
            ("4", None),
            ("-1", None),
            ("", None),
            ("99999999999", None),
        ] {
            assert_eq!(resolve(line, &names), offset, "{line}");
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_near_names_or_the_way_to_list_them() {
        let header = names(&["ID_SDA", "GPIO17", "GPIO18", "GPIO27", "", "GPIO7"]);
        assert_eq!(near_names("gpio17", &header), "did you mean GPIO17, GPIO18, GPIO27?");
        assert_eq!(near_names("relay", &header), "`gpioinfo` lists the lines");
        assert_eq!(near_names("GPIO2", &names(&["", ""])), "its lines have no names; write a number from 0 to 1");
        assert_eq!(near_names("GPIO2", &[]), "`gpioinfo` lists the lines");
    }

    #[test]
    fn a_chip_is_chosen_by_label_or_name_and_two_of_one_label_are_refused() {
        let chips =
            [chip("/dev/gpiochip0", "pinctrl-rp1"), chip("/dev/gpiochip1", "pcf8574"), chip("/dev/x", "pcf8574")];
        let path = |wanted| choose(wanted, &chips).map(|chip| chip.map(|chip| chip.path.display().to_string()));
        assert_eq!(path("pinctrl-rp1"), Ok(Some("/dev/gpiochip0".into())));
        assert_eq!(path("gpiochip1"), Ok(Some("/dev/gpiochip1".into())));
        assert_eq!(path("pinctrl"), Ok(None));
        assert!(path("pcf8574").unwrap_err().contains("/dev/gpiochip1 and /dev/x"));
    }

    #[test]
    fn a_chip_that_is_not_there_is_answered_with_those_that_are() {
        let chips = [chip("/dev/gpiochip0", "a"), chip("/dev/gpiochip1", "b")];
        assert_eq!(open_hint(ErrorKind::NotFound, &chips), "there is /dev/gpiochip0 (a), /dev/gpiochip1 (b)");
        assert!(open_hint(ErrorKind::PermissionDenied, &chips).contains("group gpio"));
        let error = LinuxGpio::open("/dev/no-such-chip").unwrap_err();
        assert!(matches!(&error, BusError::Open { source, .. } if source.raw_os_error() == Some(2)), "{error:?}");
        for path in ["/dev/null", "/", "/etc/passwd", "./"] {
            assert!(matches!(LinuxGpio::open(path), Err(BusError::Open { .. })), "{path}");
        }
        let error = LinuxGpio::open("no-such-label").unwrap_err();
        assert!(error.to_string().contains("cannot open GPIO chip no-such-label ("), "{error}");
    }
}
