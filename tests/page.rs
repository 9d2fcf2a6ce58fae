//! What is served as the page is made of `src/http/page/index.html`: the compressed file and the policy beside it.
//!
//! `FIELDGATE_ACCEPT=1 cargo test --test page` makes both again. The compressed one is compared by what is in it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes that a phone must load at most.
const LARGEST: usize = 30_000;

/// Reads the page and prints the policy for it.
const POLICY: &str = r#"
import base64, hashlib, re, sys
page = open(sys.argv[1], "rb").read()
def fingerprint(tag):
    found = re.findall(b"<" + tag + b">(.*?)</" + tag + b">", page, re.S)
    assert len(found) == 1, f"there must be one <{tag.decode()}> without attributes, and there are {len(found)}"
    return base64.b64encode(hashlib.sha256(found[0]).digest()).decode()
print(f"default-src 'none'; script-src 'sha256-{fingerprint(b'script')}'; style-src 'sha256-{fingerprint(b'style')}'; "
      "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
"#;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/page").join(name)
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

#[test]
fn what_is_served_is_the_page_that_is_in_the_sources() {
    let (page, served, policy) = (file("index.html"), file("index.html.gz"), file("policy.txt"));
    let fresh_policy = output(Command::new("python3").args(["-c", POLICY]).arg(&page));
    if std::env::var_os("FIELDGATE_ACCEPT").is_some() {
        // No name and no time in it: the same page is the same file.
        std::fs::write(&served, output(Command::new("gzip").args(["-9", "-n", "-c"]).arg(&page))).unwrap();
        std::fs::write(&policy, &fresh_policy).unwrap();
    }
    let again = "run FIELDGATE_ACCEPT=1 cargo test --test page, and build again";
    let unpacked = output(Command::new("gzip").args(["-d", "-c"]).arg(&served));
    assert!(unpacked == std::fs::read(&page).unwrap(), "index.html.gz is not index.html: {again}");
    assert_eq!(std::fs::read(&policy).unwrap(), fresh_policy, "policy.txt is not that of index.html: {again}");
    let size = std::fs::metadata(&served).unwrap().len();
    assert!(size <= LARGEST as u64, "{size} bytes are too many");
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let page = std::fs::read_to_string(file("index.html")).unwrap();
    for word in
        ["http://", "https://", "//cdn", "@import", "url(", " src=", "<iframe", "javascript:", " style=\"", " onclick="]
    {
        // The name of a namespace is no address that is loaded.
        let page = page.replace("http://www.w3.org/", "");
        assert!(!page.contains(word), "{word:?} stands in the page");
    }
}
