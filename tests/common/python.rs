//! Python environments with packages from PyPI, each made once below `target/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

/// For tests of the whole program; a change makes the environment again.
const PACKAGES: [&str; 3] = ["paho-mqtt==2.1.0", "jsonschema==4.23.0", "PyYAML==6.0.2"];

/// The interpreter of the environment that tests of the whole program share.
pub fn interpreter() -> PathBuf {
    environment("paho-venv", &PACKAGES)
}

/// The interpreter of the environment `name` with what pip installs for these arguments. Test programs that run at the same
/// time wait for the one that makes it.
pub fn environment(name: &str, arguments: &[impl AsRef<str>]) -> PathBuf {
    let wanted = arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let (folder, done) = (target.join(name), target.join(format!("{name}.packages")));
    let python = folder.join("bin/python");
    let lock = File::create(target.join(format!("{name}.lock"))).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if python.exists() && fs::read_to_string(&done).is_ok_and(|text| text == wanted.join(" ")) {
        return python;
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    run(make, "these tests need Python with venv; install it with: apt install python3 python3-venv");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(&wanted);
    run(install, "these tests need packages from PyPI, and pip could not get them; is there a network?");
    fs::write(done, wanted.join(" ")).unwrap();
    python
}

fn run(mut command: Command, hint: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{hint} ({command:?}: {error})"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{hint} ({command:?}: {}: {})", output.status, String::from_utf8_lossy(&said));
}
