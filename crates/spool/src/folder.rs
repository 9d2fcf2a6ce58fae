//! The spool's folder, which may lie on a disk that is not there yet.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Makes the folder, if it is absent.
pub(super) fn make(folder: &Path) -> std::io::Result<()> {
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // The entry in the parent must survive a power cut as well; SQLite sees to those inside.
        if let Some(parent) = folder.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// Why the spool could not use this folder now, in words, as far as that shows without making or writing anything.
pub fn describe(folder: &Path) -> Option<String> {
    let error = match fs::metadata(folder) {
        Ok(found) if found.is_dir() => return describe_rights(folder, found.uid()),
        Ok(_) => return Some(format!("{} is a file", folder.display())),
        Err(error) => error,
    };
    let is_link = |place: &&Path| fs::symlink_metadata(place).is_ok_and(|found| found.is_symlink()) && !place.exists();
    match Errno::from_io_error(&error) {
        Some(Errno::NOTDIR) => Some(format!("{} lies below a file", folder.display())),
        Some(Errno::LOOP) => Some(format!("{} is a link that leads back to itself", folder.display())),
        Some(Errno::NOENT) => {
            let link = folder.ancestors().find(is_link)?;
            let target = fs::read_link(link).unwrap_or_default();
            let (link, target) = (link.display(), target.display());
            Some(format!("{link} is a link to {target}, which is not there; is its disk mounted?"))
        }
        _ => Some(format!("{} cannot be used: {error}", folder.display())),
    }
}

/// A folder that belongs to another user may be the service's own, which is seen from outside the service then. Root's is the
/// place where a disk would be mounted.
fn describe_rights(folder: &Path, owner: u32) -> Option<String> {
    let may_write = access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let is_of_another = owner != 0 && owner != geteuid().as_raw();
    let words =
        || format!("{} may not be written by this user; is its disk mounted, and whose is it?", folder.display());
    (!may_write && !is_of_another).then(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_that_cannot_be_used_is_described() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        let described = |name: &str| describe(&at(name)).unwrap_or_default();
        assert!(described("file").ends_with("is a file"), "{}", described("file"));
        assert!(described("file/spool").ends_with("file/spool lies below a file"), "{}", described("file/spool"));
        for name in ["dangling", "dangling/spool"] {
            assert!(
                described(name).contains("nowhere, which is not there; is its disk mounted?"),
                "{}",
                described(name)
            );
        }
        assert!(
            described("loop/spool").ends_with("is a link that leads back to itself"),
            "{}",
            described("loop/spool")
        );
        assert_eq!((described("").as_str(), described("new/spool").as_str()), ("", ""), "those can be used, or made");
    }
}
