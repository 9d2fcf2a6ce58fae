//! Where passwords and keys are, and whether others may read them.
//!
//! A key that others can read is refused, whatever protects the folder, as OpenSSH does. A password file is refused where
//! others can reach it; one that only its folder protects gets a warning from `check`, for it may have worked for years. A
//! group may read both: `root:fieldgate` with mode 640 is the usual way. What systemd hands over as a credential is
//! systemd's business and not looked at.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use fieldgate_model::Secret;

/// Bytes of a password, key or certificate file at most; the roots of a whole system are a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// What the service's unit puts before the name of each file of its folder of credentials.
const PREFIX: &str = "fieldgate_";

/// The folder whose files the service's unit loads as credentials.
pub const CREDENTIALS: &str = "/etc/fieldgate/credentials";

/// Where a password or a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; one newline at the end of a password is not part of it.
    File(PathBuf),
    /// A systemd credential, by name.
    Credential(String),
}

/// Why a file is not used. Report it to the user; the file may be corrected at any time.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file that was to be read.
        path: PathBuf,
        /// The kernel's answer, with errno.
        source: io::Error,
    },
    /// Opening a pipe or a device could wait for ever.
    #[error("cannot read {path}: it is not a regular file", path = path.display())]
    NotAFile {
        /// The file that was to be read.
        path: PathBuf,
    },
    /// Far more than any password, key or certificate.
    #[error("{path} is larger than 1 MiB", path = path.display())]
    TooLarge {
        /// The file that was to be read.
        path: PathBuf,
    },
    /// It is no secret.
    #[error("others may {verb} {path} (mode {mode:03o})", path = path.display())]
    Exposed {
        /// The file that was to be read.
        path: PathBuf,
        /// What others may do with it: `read` or `change`.
        verb: &'static str,
        /// Its nine permission bits.
        mode: u32,
    },
    /// Not among those of the service.
    #[error("the service has no credential {name:?}")]
    NoCredential {
        /// The credential's name, as the configuration has it.
        name: String,
    },
    /// Not run as a service.
    #[error("the credential {name:?} can be read inside the service only: there is no $CREDENTIALS_DIRECTORY")]
    OutsideService {
        /// The credential's name, as the configuration has it.
        name: String,
    },
}

impl FileError {
    /// What the user can do; may be empty.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                let (user, group) = names();
                let path = path.display();
                format!("{user} may not: chgrp {group} {path} && chmod 640 {path}, and let it into the folders above")
            }
            Self::Exposed { path, mode, .. } => format!("chmod {} {}", closed(*mode), path.display()),
            Self::NoCredential { name } => format!(
                "put it into {CREDENTIALS}/{name}, or add LoadCredential={name}:… to the service, and restart it"
            ),
            Self::OutsideService { name } => format!("run as a service with LoadCredential={name}:…"),
            _ => String::new(),
        }
    }
}

/// As it stands in the log, with what can be done.
pub(super) fn with_remedy(words: &dyn std::fmt::Display, remedy: &str) -> String {
    if remedy.is_empty() { words.to_string() } else { format!("{words}; {remedy}") }
}

/// `$CREDENTIALS_DIRECTORY`, where systemd puts what the unit loads.
pub fn credentials_folder() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

impl SecretSource {
    /// The file to read.
    ///
    /// # Errors
    /// [`FileError`] for a credential that is not there.
    pub(super) fn path(&self, credentials: Option<&Path>) -> Result<PathBuf, FileError> {
        let name = match self {
            Self::File(path) => return Ok(path.clone()),
            Self::Credential(name) => name.clone(),
        };
        let Some(folder) = credentials else { return Err(FileError::OutsideService { name }) };
        let candidates = [folder.join(&name), folder.join(format!("{PREFIX}{name}"))];
        // systemd names the folder to ExecReload= as well, but opens it to the main process only.
        let missing = || match fs::read_dir(folder) {
            Ok(_) => FileError::NoCredential { name },
            Err(_) => FileError::OutsideService { name },
        };
        candidates.into_iter().find(|path| path.exists()).ok_or_else(missing)
    }
}

/// The bytes of a file with certificates or a key, without the mark that some editors put before a text.
///
/// # Errors
/// [`FileError`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = read_with(path)?.0;
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    Ok(bytes)
}

/// What is odd about a password, which is sent as it stands all the same.
pub fn oddities(password: &Secret) -> Vec<&'static str> {
    let bytes = password.reveal();
    let is_blank = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    let odd = [
        (bytes.is_empty(), "the password is empty"),
        (bytes.starts_with(MARK), "the password begins with a byte order mark, which an editor has put there"),
        (
            is_blank(bytes.first()) || is_blank(bytes.last()),
            "the password begins or ends with a blank or an empty line",
        ),
        (bytes.trim_ascii().contains(&b'\n'), "the password has more than one line, and all of them are sent"),
    ];
    odd.into_iter().filter_map(|(is_so, words)| is_so.then_some(words)).collect()
}

/// Refuses a file that others may read or change.
///
/// # Errors
/// [`FileError::Exposed`].
pub(super) fn guard(source: &SecretSource) -> Result<(), FileError> {
    let SecretSource::File(path) = source else { return Ok(()) };
    let about = fs::metadata(path).map_err(|source| FileError::Unreadable { path: path.clone(), source })?;
    close_enough(path, &about)
}

/// The password as it is now, without the newline that editors leave at the end.
///
/// # Errors
/// [`FileError`], also when others can read or change it.
pub fn password(source: &SecretSource, credentials: Option<&Path>) -> Result<Secret, FileError> {
    let path = source.path(credentials)?;
    let (mut bytes, about) = read_with(&path)?;
    if matches!(source, SecretSource::File(_)) && is_reachable(&path) {
        close_enough(&path, &about)?;
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Ok(Secret::new(bytes))
}

/// What is to be said of a password file that only its folder protects.
pub fn sheltered(source: &SecretSource) -> Option<FileError> {
    guard(source).err()
}

fn read_with(path: &Path) -> Result<(Vec<u8>, Metadata), FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    let about = fs::metadata(path).map_err(unreadable)?;
    if !about.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    Ok((bytes, about))
}

/// Nothing for others, and no writing for a group.
fn close_enough(path: &Path, about: &Metadata) -> Result<(), FileError> {
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o027 == 0 {
        return Ok(());
    }
    let verb = if mode & 0o022 != 0 { "change" } else { "read" };
    Err(FileError::Exposed { path: path.to_owned(), verb, mode })
}

/// The permissions to set instead, in octal.
fn closed(mode: u32) -> String {
    format!("{:o}", mode & 0o640 | 0o400)
}

/// Whether others are let through all folders above; where that cannot be seen, they are.
fn is_reachable(path: &Path) -> bool {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let lets_through =
        |folder: &Path| fs::metadata(folder).map_or(true, |about| about.permissions().mode() & 0o001 != 0);
    path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).all(lets_through)
}

/// How user and group of this process are called.
fn names() -> (String, String) {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let user = name_in("/etc/passwd", user).map_or(format!("uid {user}"), |name| format!("the user {name}"));
    (user, name_in("/etc/group", group).unwrap_or(group.to_string()))
}

/// Both files have the name first and the number third.
fn name_in(file: &str, number: u32) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let number = number.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(number.as_str()))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, text: &str, mode: u32) -> SecretSource {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        SecretSource::File(path)
    }

    #[test]
    fn one_newline_at_the_end_is_not_part_of_the_password() {
        let folder = tempfile::tempdir().unwrap();
        for (written, meant) in [("a b\n", "a b"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("", "")] {
            let source = file(folder.path(), "p", written, 0o600);
            assert_eq!(password(&source, None).unwrap().reveal(), meant.as_bytes());
        }
    }

    #[test]
    fn what_is_odd_about_a_password_is_sent_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for (written, words) in [
            ("a b\n", &[][..]),
            ("", &["empty"]),
            ("\n", &["empty"]),
            ("\u{feff}a", &["byte order mark"]),
            (" a", &["blank"]),
            ("a \r\n", &["blank"]),
            ("a\n\n", &["blank or an empty line"]),
            ("a\nb\n", &["more than one line"]),
            ("\u{feff}a\nb\t", &["byte order mark", "blank", "more than one line"]),
        ] {
            let password = password(&file(folder.path(), "p", written, 0o600), None).unwrap();
            let found = oddities(&password);
            assert_eq!(found.len(), words.len(), "{written:?}: {found:?}");
            assert!(found.iter().zip(words).all(|(found, words)| found.contains(words)), "{written:?}: {found:?}");
            assert!(written.as_bytes().starts_with(password.reveal()), "{written:?}");
        }
        let SecretSource::File(marked) = file(folder.path(), "c", "\u{feff}-----BEGIN", 0o600) else { panic!() };
        assert_eq!(read(&marked).unwrap(), b"-----BEGIN");
    }

    #[test]
    fn a_credential_is_looked_for_by_its_name_and_by_that_of_the_unit() {
        let folder = tempfile::tempdir().unwrap();
        let source = SecretSource::Credential("mqtt".into());
        let read = || password(&source, Some(folder.path())).map(|secret| secret.reveal().to_vec());
        assert!(matches!(read(), Err(FileError::NoCredential { .. })));
        file(folder.path(), "fieldgate_mqtt", "b", 0o644);
        assert_eq!(read().unwrap(), b"b");
        file(folder.path(), "mqtt", "a", 0o644);
        assert_eq!(read().unwrap(), b"a");
        for no_folder in [None, Some(Path::new("/nonexistent"))] {
            let outside = password(&source, no_folder).unwrap_err();
            assert!(outside.to_string().contains("CREDENTIALS_DIRECTORY"), "{outside}");
        }
    }

    #[test]
    fn a_key_that_others_may_read_or_change_is_refused_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, remedy) in [(0o644, "640"), (0o604, "600"), (0o620, "600"), (0o660, "640"), (0o601, "600")] {
            let error = guard(&file(folder.path(), "k", "x", mode)).unwrap_err();
            assert!(error.remedy().starts_with(&format!("chmod {remedy} /")), "{mode:o}: {}", error.remedy());
        }
        for mode in [0o400, 0o600, 0o640, 0o440] {
            guard(&file(folder.path(), "k", "x", mode)).unwrap();
        }
    }

    #[test]
    fn a_password_that_others_may_read_is_refused_where_no_folder_protects_it() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let source = file(folder.path(), "p", "x", 0o644);
        mode(0o700);
        password(&source, None).unwrap();
        assert!(matches!(sheltered(&source), Some(FileError::Exposed { .. })));
        mode(0o755);
        assert!(matches!(password(&source, None), Err(FileError::Exposed { .. })));
        assert!(sheltered(&file(folder.path(), "p", "x", 0o640)).is_none());
    }

    #[test]
    fn what_cannot_be_read_is_reported_with_its_path() {
        let error = password(&SecretSource::File("/nonexistent/p".into()), None).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/p"), "{error}");
        assert!(matches!(read(Path::new("/dev/zero")), Err(FileError::NotAFile { .. })));
        let path = PathBuf::from("/x/key.pem");
        let denied = FileError::Unreadable { path, source: io::ErrorKind::PermissionDenied.into() };
        assert!(denied.remedy().contains("chmod 640 /x/key.pem"), "{}", denied.remedy());
        assert_eq!(name_in("/etc/passwd", 0).as_deref(), Some("root"));
    }
}
