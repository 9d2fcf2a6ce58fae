//! A network of its own for one program, with a cable to ours that can be cut in every way. Needs root, `ip` and `nft`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The namespace and its cable; both are gone when it is dropped.
pub struct Namespace {
    name: String,
    /// Our end of the cable.
    pub outside: String,
    /// The program's end of the cable.
    pub inside: String,
}

/// What the program of a namespace reads instead of the machine's own files.
const ETC: &str = "/etc/netns";

impl Namespace {
    /// A namespace with loopback and a cable to ours.
    pub fn new() -> Self {
        let (pid, nth) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // An interface may have fifteen letters.
        let name = format!("fg{:x}x{nth:x}", pid & 0x00ff_ffff);
        let [_, _, high, low] = (pid.wrapping_mul(8).wrapping_add(nth) << 2).to_be_bytes();
        // RFC 2544: addresses for tests, which are nobody's.
        let address = |end: u8| format!("198.18.{high}.{}", low | end);
        let namespace = Self { outside: address(1), inside: address(2), name };
        let (name, ours) = (namespace.name.clone(), format!("{}o", namespace.name));
        fs::create_dir_all(namespace.etc()).unwrap();
        run(&["ip", "netns", "add", &name]);
        run(&["ip", "link", "add", &ours, "type", "veth", "peer", "name", "cable", "netns", &name]);
        run(&["ip", "address", "add", &format!("{}/30", namespace.outside), "dev", &ours]);
        run(&["ip", "link", "set", &ours, "up"]);
        run(&["ip", "-n", &name, "address", "add", &format!("{}/30", namespace.inside), "dev", "cable"]);
        for interface in ["lo", "cable"] {
            run(&["ip", "-n", &name, "link", "set", interface, "up"]);
        }
        namespace
    }

    /// The program, to be run inside; the process that is started becomes it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// What a program that is started from now on sees as `/etc/<name>`. The text may be changed later.
    pub fn write_etc(&self, name: &str, text: &str) {
        // In place, for the file is mounted over the machine's own.
        fs::write(self.etc().join(name), text).unwrap();
    }

    /// Everything that leaves or enters is dropped without a word.
    pub fn black_hole(&self) {
        self.filter(
            "type filter hook input priority 0; policy drop;",
            "type filter hook output priority 0; policy drop;",
        );
    }

    /// Every packet of TCP that leaves is answered with a reset.
    pub fn reset(&self) {
        // On the cable only, for the reset itself leaves by loopback.
        let reject = "type filter hook output priority 0; oifname cable meta l4proto tcp reject with tcp reset;";
        self.filter("type filter hook input priority 0;", reject);
    }

    /// Questions for names are sent and nothing ever answers, not even that nobody is there.
    pub fn no_names(&self) {
        // On the way in: the sender would get an error for a drop on the way out.
        let answers =
            "type filter hook input priority 0; meta l4proto icmp drop; udp sport 53 drop; tcp sport 53 drop;";
        self.filter(answers, "type filter hook output priority 0;");
    }

    /// Everything passes again.
    pub fn open(&self) {
        run(&["ip", "netns", "exec", &self.name, "nft", "flush ruleset"]);
    }

    fn filter(&self, input: &str, output: &str) {
        let rules = format!("table inet cut {{\nchain in {{ {input} }}\nchain out {{ {output} }}\n}}");
        run(&["ip", "netns", "exec", &self.name, "nft", &rules]);
    }

    fn etc(&self) -> PathBuf {
        PathBuf::from(ETC).join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable first: a program that still runs inside would keep it. What is left says itself why.
        let ours = format!("{}o", self.name);
        for arguments in [["link", "delete", &ours], ["netns", "delete", &self.name]] {
            Command::new("ip").args(arguments).status().ok();
        }
        fs::remove_dir_all(self.etc()).ok();
        // Only when it is empty.
        fs::remove_dir(ETC).ok();
    }
}

fn run(words: &[&str]) {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("PATH", path).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
