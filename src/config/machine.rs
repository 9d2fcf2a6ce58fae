//! What the configuration takes from the machine it runs on: its name, its identity, and variables that it names.

use std::ffi::OsString;

use fieldgate_model::Name;

/// The machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The host name.
    pub(crate) host: String,
    /// What is unique to this board, or to this installation; the host name where nothing better is known.
    pub(crate) id: String,
}

impl Machine {
    /// This one. Reads a few small files and changes nothing.
    pub(crate) fn this() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let read = |path: &&str| std::fs::read(path).ok();
        let serial = SERIAL_NUMBERS.iter().find_map(read).unwrap_or_default();
        let machine_id = std::fs::read("/etc/machine-id").unwrap_or_default();
        Self { id: identity(&serial, &machine_id, &host), host }
    }

    /// Whether the host name says something of this machine.
    pub(crate) fn has_name(&self) -> bool {
        !matches!(self.host.split('.').next(), None | Some("" | "localhost" | "(none)"))
    }

    /// The host name up to the first dot, made fit for a [`Name`].
    pub(crate) fn name(&self) -> Name {
        let first = self.host.split('.').next().unwrap_or("");
        let fit: String = first
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
            .take(Name::MAX_LENGTH)
            .collect();
        Name::new(&fit).unwrap_or_else(|_| Name::new("fieldgate").expect("this is a name"))
    }

    /// Four digits that distinguish clones of one SD card. The machine id itself stays private (machine-id(5)): 16 bits of a
    /// hash say nothing about it.
    pub(crate) fn digits(&self) -> String {
        // FNV-1a: the standard library's own hash may change between versions, and the client id must not.
        let hash = self
            .id
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{:04x}", (hash >> 48 ^ hash >> 32 ^ hash >> 16 ^ hash) & 0xffff)
    }
}

/// The value of an environment variable, if it is set.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Where the device tree has the serial number of the board. Cards are cloned with their machine id; boards are not.
const SERIAL_NUMBERS: [&str; 2] = ["/proc/device-tree/serial-number", "/sys/firmware/devicetree/base/serial-number"];

/// The serial number where there is one, else the machine id, else the host name.
fn identity(serial: &[u8], machine_id: &[u8], host: &str) -> String {
    let text =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned();
    // A board whose maker has programmed none says zeros; an image that has not started yet says `uninitialized`.
    let is_serial = |serial: &String| serial.chars().any(|c| !matches!(c, '0' | ' '));
    let is_id = |id: &String| !id.is_empty() && id != "uninitialized";
    let machine_id = || Some(text(machine_id)).filter(is_id);
    Some(text(serial)).filter(is_serial).or_else(machine_id).unwrap_or_else(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(host: &str, id: &str) -> Machine {
        Machine { host: host.into(), id: id.into() }
    }

    #[test]
    fn a_host_name_becomes_a_name() {
        for (host, name) in
            [("pi.lan", "pi"), ("my board", "my-board"), ("", "fieldgate"), (".x", "fieldgate"), ("ä", "-")]
        {
            assert_eq!(machine(host, "").name().as_str(), name);
        }
        assert_eq!(machine(&"x".repeat(90), "").name().as_str().len(), 64);
    }

    #[test]
    fn digits_stay_the_same_and_do_not_show_the_machine_id() {
        let digits = machine("pi", "0123456789abcdef0123456789abcdef").digits();
        assert_eq!(digits, machine("other", "0123456789abcdef0123456789abcdef").digits());
        assert_eq!(digits.len(), 4);
        assert_ne!(digits, machine("pi", "1123456789abcdef0123456789abcdef").digits());
    }

    #[test]
    fn the_board_is_known_by_its_serial_number_else_by_its_machine_id() {
        for (serial, id, expected) in [
            ("10000000abcd1234\0", "0123\n", "10000000abcd1234"),
            ("", "0123\n", "0123"),
            ("0000000000000000\0", "0123\n", "0123"),
            ("", "uninitialized\n", "pi"),
            ("\0", "", "pi"),
        ] {
            assert_eq!(identity(serial.as_bytes(), id.as_bytes(), "pi"), expected, "{serial:?}, {id:?}");
        }
    }

    #[test]
    fn localhost_is_nobodys_name() {
        for host in ["localhost", "localhost.localdomain", "", "(none)"] {
            assert!(!machine(host, "").has_name(), "{host:?}");
        }
        assert!(machine("raspberrypi", "").has_name());
    }
}
