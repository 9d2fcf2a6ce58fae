//! What the configuration takes from the machine it runs on: its name and its identity.

use crate::model::Name;

/// The machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The host name.
    pub(crate) host: String,
    /// What is unique to this installation; the host name where nothing better is known.
    pub(crate) id: String,
}

impl Machine {
    /// This one. Reads two small files and changes nothing.
    pub(crate) fn this() -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        Self { id: if id.trim().is_empty() { host.clone() } else { id.trim().to_owned() }, host }
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

    /// Four digits that tell clones of one SD card apart. The machine id itself stays private (machine-id(5)): 16 bits of a
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
}
