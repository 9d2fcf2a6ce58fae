//! Certificates for loopback, made anew by `openssl` for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    /// Makes all of them in a folder.
    pub fn make(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        let (ca, ca_key) = (at("ca.pem"), at("ca.key"));
        openssl(&["req", "-x509", "-days", "30", "-subj", "/CN=Test authority"], &KEY, &ca_key, &ca);
        let make = |name: &str, extensions: &str| {
            let (cert, key, request) = (at(&format!("{name}.pem")), at(&format!("{name}.key")), at("request.pem"));
            openssl(&["req", "-subj", &format!("/CN={name}")], &KEY, &key, &request);
            let extension_file = at("extensions.txt");
            fs::write(&extension_file, extensions).unwrap();
            run(Command::new("openssl")
                .args(["x509", "-req", "-days", "30", "-CAcreateserial", "-in"])
                .arg(&request)
                .args([
                    "-CA".as_ref(),
                    ca.as_os_str(),
                    "-CAkey".as_ref(),
                    ca_key.as_os_str(),
                    "-extfile".as_ref(),
                    extension_file.as_os_str(),
                    "-out".as_ref(),
                    cert.as_os_str(),
                ]));
            (cert, key)
        };
        let (server_cert, server_key) =
            make("server", "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n");
        let (client_cert, client_key) = make("client", "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n");
        Self { ca, server_cert, server_key, client_cert, client_key }
    }
}

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

fn openssl(what: &[&str], key: &[&str], key_file: &Path, out: &Path) {
    run(Command::new("openssl").args(what).args(key).arg("-keyout").arg(key_file).arg("-out").arg(out));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot start openssl: these tests need it; install it with: apt install openssl ({error})")
    });
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
