//! Certificates for loopback, made again by `openssl` for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// A small authority, a server on loopback and a client, all PEM.
#[derive(Clone, Debug)]
pub struct Certificates {
    pub ca: PathBuf,
    pub server_cert: PathBuf,
    pub server_key: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes all of them in a folder, valid for long.
    pub fn make(folder: &Path) -> Self {
        Self::with(folder, LONG, LONG, LONG)
    }

    /// Makes all of them, with the days for which authority, server and client are valid.
    pub fn with(folder: &Path, authority: Days, server: Days, client: Days) -> Self {
        let authority = Authority::make(folder, "ca", authority);
        let (server_cert, server_key) = authority.sign("server", LOOPBACK, server);
        let (client_cert, client_key) = authority.sign("client", "extendedKeyUsage=clientAuth\n", client);
        Self { ca: authority.cert, server_cert, server_key, client_cert, client_key }
    }
}

/// From how many days from now on until how many.
pub type Days = (i64, i64);

/// A certificate that nothing need be said of.
pub const LONG: Days = (-1, 365);

/// What a server on loopback is called.
pub const LOOPBACK: &str = "subjectAltName=IP:127.0.0.1,DNS:localhost\n";

/// Signs certificates; its own is `NAME.pem` in its folder.
pub struct Authority {
    folder: PathBuf,
    name: String,
    pub cert: PathBuf,
}

impl Authority {
    /// Makes one.
    pub fn make(folder: &Path, name: &str, days: Days) -> Self {
        let authority = Self { folder: folder.to_owned(), name: name.into(), cert: folder.join(format!("{name}.pem")) };
        request(folder, name, &format!("Authority {name} of {}", fastrand::u32(..)));
        authority.issue(name, "basicConstraints=critical,CA:TRUE\n", days, true);
        authority
    }

    /// A certificate and its key: `NAME.pem` and `NAME.key`.
    pub fn sign(&self, name: &str, extensions: &str, days: Days) -> (PathBuf, PathBuf) {
        request(&self.folder, name, name);
        self.issue(name, &format!("basicConstraints=CA:FALSE\n{extensions}"), days, false);
        (self.folder.join(format!("{name}.pem")), self.folder.join(format!("{name}.key")))
    }

    /// A certificate of X.509 version 1, as plain `openssl x509 -req` makes it.
    pub fn sign_version_1(&self, name: &str) -> (PathBuf, PathBuf) {
        let at = |end: &str| self.folder.join(format!("{name}.{end}"));
        request(&self.folder, name, name);
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-days", "100", "-CAcreateserial", "-in"]).arg(at("csr"));
        command.arg("-CA").arg(&self.cert).arg("-CAkey").arg(self.folder.join(format!("{}.key", self.name)));
        run(command.arg("-out").arg(at("pem")));
        (at("pem"), at("key"))
    }

    /// `openssl ca` can do what `openssl x509` cannot: any dates.
    fn issue(&self, name: &str, extensions: &str, days: Days, by_itself: bool) {
        let at = |name: String| self.folder.join(name);
        let config = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={0}/index\nnew_certs_dir={0}\ndefault_md=sha256\npolicy=p\nrand_serial=yes\n\
             unique_subject=no\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\n{extensions}",
            self.folder.display()
        );
        fs::write(at("ca.conf".into()), config).unwrap();
        fs::write(at("index".into()), "").unwrap();
        let mut command = Command::new("openssl");
        command.args(["ca", "-batch", "-notext", "-config"]).arg(at("ca.conf".into()));
        command.arg("-in").arg(at(format!("{name}.csr"))).arg("-keyfile").arg(at(format!("{}.key", self.name)));
        if by_itself {
            command.arg("-selfsign");
        } else {
            command.arg("-cert").arg(&self.cert);
        }
        command.args(["-startdate", &date(days.0), "-enddate", &date(days.1), "-out"]).arg(at(format!("{name}.pem")));
        run(&mut command);
    }
}

/// A certificate that signed itself, as many a guide has it made.
pub fn self_signed(folder: &Path, name: &str, extensions: &[&str]) -> (PathBuf, PathBuf) {
    let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-days", "365", "-subj", "/CN=localhost"]).args(KEY);
    for extension in extensions {
        command.args(["-addext", extension]);
    }
    run(command.arg("-keyout").arg(&key).arg("-out").arg(&cert));
    (cert, key)
}

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// A key and the request for its certificate: `NAME.key` and `NAME.csr`.
fn request(folder: &Path, name: &str, common_name: &str) {
    let mut command = Command::new("openssl");
    command.args(["req", "-subj", &format!("/CN={common_name}")]).args(KEY);
    command.arg("-keyout").arg(folder.join(format!("{name}.key")));
    run(command.arg("-out").arg(folder.join(format!("{name}.csr"))));
}

/// As `openssl ca` takes it; today and these days.
fn date(days: i64) -> String {
    let seconds = days * 24 * 3600;
    let span = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { SystemTime::now() - span } else { SystemTime::now() + span };
    humantime::format_rfc3339_seconds(time).to_string().replace(['-', 'T', ':'], "")
}

/// Runs `openssl`.
pub fn openssl(args: &[&str]) {
    run(Command::new("openssl").args(args));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot start openssl: these tests need it; install it with: apt install openssl ({error})")
    });
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
