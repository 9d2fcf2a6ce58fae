//! Where the table of a configuration is: one file for each, so that two gateways on one board do not mix.
//!
//! The file is called after the configuration's path, escaped as systemd-escape(1) does it: every version of the program finds
//! it, and a person sees whose it is. A path that is too long for a name is cut, and a hash of the whole stands in front.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How long the escaped path may be: with what stands around it, less than the 255 bytes that file systems allow.
const MAX_ESCAPED: usize = 200;

/// Where the table of one configuration is, or would be.
#[derive(Clone, Debug)]
pub struct Place {
    configuration: String,
    path: PathBuf,
    /// Where earlier versions put it.
    former: PathBuf,
}

impl Place {
    /// Where the table for this configuration file is.
    ///
    /// systemd names the directory; by hand it is `/run/fieldgate` for root and the user's own runtime directory otherwise.
    /// `None` where there is none of them.
    pub fn of(config: &Path, runtime_directory: Option<&Path>, user_directory: Option<&Path>) -> Option<Self> {
        let directory = match (runtime_directory, user_directory) {
            (Some(directory), _) => directory.to_owned(),
            (None, _) if rustix::process::geteuid().is_root() => PathBuf::from("/run/fieldgate"),
            (None, directory) => directory?.join("fieldgate"),
        };
        let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
        let configuration = escape(&config);
        let path = directory.join(format!("outputs-{}.json", bounded(&configuration)));
        Some(Self { path, former: directory.join(Self::former_name(&config)), configuration })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration's path, escaped: what the table says of its owner.
    pub(super) fn configuration(&self) -> &str {
        &self.configuration
    }

    /// The file that is there, if one is. One of an earlier version is taken only under the name that it must have: that of
    /// another configuration names outputs which another gateway is driving.
    pub(super) fn existing(&self) -> Option<&Path> {
        [&self.path, &self.former].into_iter().find(|path| path.exists()).map(PathBuf::as_path)
    }

    /// Removes the file of an earlier version, which is no longer true.
    pub(super) fn remove_former(&self) {
        // It is looked at only where the new file is missing, so one that stays does no harm.
        let _stays = std::fs::remove_file(&self.former);
    }

    /// The name in earlier versions. The standard library may change this hash; a test says when it has, and then this can go.
    pub(super) fn former_name(config: &Path) -> String {
        let mut hasher = DefaultHasher::new();
        config.hash(&mut hasher);
        format!("outputs-{:016x}.json", hasher.finish())
    }
}

/// As systemd-escape --path: `/` becomes `-`, and what is not a letter, a digit, `:`, `_` or a dot within becomes `\x2d`. No two
/// paths have the same.
fn escape(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
    let mut out = String::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            b'.' | b':' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => out.push(char::from(*byte)),
            other => write!(out, "\\x{other:02x}").expect("a String takes all"),
        }
    }
    out
}

/// The escaped path where it fits a name, else a hash of it and its end.
fn bounded(escaped: &str) -> String {
    if escaped.len() <= MAX_ESCAPED {
        return escaped.to_owned();
    }
    // FNV-1a, written out so that no version computes another. Two paths with one hash are distinguished by what the table says
    // inside.
    let hash = escaped
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // What is escaped is ASCII.
    format!("{hash:016x}-{}", &escaped[escaped.len() - MAX_ESCAPED..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(config: &Path) -> String {
        let place = Place::of(config, Some(Path::new("/run/fieldgate")), None).unwrap();
        assert_eq!(place.path().parent(), Some(Path::new("/run/fieldgate")));
        place.path().file_name().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn the_name_is_the_escaped_path_for_ever() {
        let long = format!("/srv/{}/fieldgate.yaml", "x".repeat(300));
        for (config, expected) in [
            ("/etc/fieldgate/fieldgate.yaml", "outputs-etc-fieldgate-fieldgate.yaml.json"),
            ("/etc/field-gate/a b.yaml", "outputs-etc-field\\x2dgate-a\\x20b.yaml.json"),
            ("/.hidden", "outputs-\\x2ehidden.json"),
            ("/ü", "outputs-\\xc3\\xbc.json"),
        ] {
            assert_eq!(name(Path::new(config)), expected);
        }
        let cut = name(Path::new(&long));
        assert!(cut.starts_with("outputs-2bfd49ab80dca5d0-xxx") && cut.ends_with("xxx-fieldgate.yaml.json"), "{cut}");
    }

    /// The length of a word goes into that hash, so boards with 32 bits have other names.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_name_of_former_versions_is_still_computed_as_they_did() {
        let former = Place::former_name(Path::new("/etc/fieldgate/fieldgate.yaml"));
        assert_eq!(
            former, "outputs-b091cedb5225dbdd.json",
            "the standard library has another hash now: former tables are not found"
        );
    }

    proptest! {
        #[test]
        fn no_two_configurations_share_a_file_and_every_name_fits(
            one in "(/[a-b.\\-\\\\ x]{1,40}){1,9}",
            other in "(/[a-b.\\-\\\\ x]{1,40}){1,9}",
        ) {
            // Another spelling of the same path is the same path.
            let paths = [one, other].map(|path| std::path::absolute(path).unwrap());
            let names = paths.each_ref().map(|path| name(path));
            prop_assert!(names.iter().all(|name| name.len() < 255), "{names:?}");
            let same = paths[0].as_os_str() == paths[1].as_os_str();
            prop_assert_eq!(names[0] == names[1], same, "{:?}", paths);
        }
    }
}
