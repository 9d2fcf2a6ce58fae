//! K3 to K5: nobody gets in between, nothing is disclosed, nothing listens.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Signal, geteuid};

use crate::common::certificates::{Authority, Certificates, Days, LONG, LOOPBACK, self_signed};
use crate::common::client::Client;
use crate::common::gateway::{Gateway, command, program_path, write_config};
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::quick::{FAST, LONG as PATIENT, config, folder, taken, wait_taken};
use crate::common::wall_clock::WallClock;
use crate::common::{SOON, wait_until, write_secret};
use crate::suite::{left_out, report, times};

const PAST: Days = (-20, -10);

/// One broker and one gateway over everything that can be wrong; files are replaced under the running gateway.
#[test]
fn k3_no_wrong_certificate_is_accepted_and_replaced_ones_are_used_at_the_next_connect() {
    let mut broker = Mosquitto::with(Options { tls: true, ..Options::default() });
    let files = broker.certificates.clone().unwrap();
    let home = files.ca.parent().unwrap().to_owned();
    let folder = folder();
    let ca = folder.path().join("ca.pem");
    let other = Authority::make(&home, "other", LONG);
    fs::copy(&other.cert, &ca).unwrap();
    let url = format!("mqtts://127.0.0.1:{}", broker.tls_port);
    let mut gateway = Gateway::start(folder.path(), &config(&url, ", tls: { ca_file: ca.pem }", "", FAST));
    gateway.wait_log("(unknown CA)", SOON);
    let signed = |authority: &Authority, file: &str, names: &str, days: Days| {
        let (cert, key) = authority.sign(file, names, days);
        (cert, key, authority.cert.clone())
    };
    let by_itself = self_signed(&home, "self", &["subjectAltName=IP:127.0.0.1"]);
    let wrong = [
        (signed(&other, "named", "subjectAltName=DNS:elsewhere\n", LONG), "(wrong host name)"),
        (signed(&other, "ended", LOOPBACK, PAST), "has expired on"),
        ((by_itself.0, by_itself.1, other.cert.clone()), "self-signed"),
        (signed(&Authority::make(&home, "past", PAST), "orphan", LOOPBACK, LONG), "the authority's certificate"),
    ];
    for ((cert, key, authority), words) in &wrong {
        fs::copy(authority, &ca).unwrap();
        show(&mut broker, &files, cert, key);
        gateway.wait_log(words, SOON);
    }
    assert!(!gateway.log().contains("Connected."), "{}", gateway.log());
    let times = times(3, 3, 100);
    for n in 0..times {
        let authority = Authority::make(&home, &format!("right{n}"), LONG);
        let (cert, key) = authority.sign("server", LOOPBACK, LONG);
        fs::copy(&authority.cert, &ca).unwrap();
        let refused = |gateway: &Gateway| gateway.log().matches("nothing listens there").count();
        let before = refused(&gateway);
        broker.stop();
        // Three connections in a row that are closed soon would look like another client with our identifier.
        wait_until("a failed attempt", SOON, || refused(&gateway) > before);
        replace(&files, &cert, &key);
        broker.start_again();
        wait_until("a connect", SOON, || gateway.log().matches("Connected.").count() > n);
    }
    gateway.stop(SOON);
    report(
        "K3",
        "a wrong authority, another name, expired, self-signed, an expired authority",
        "none accepted, each in words",
    );
    report("K3", &format!("{times} times all certificates replaced on disk"), "used at the next connect");
}

/// The broker shows this pair from now on.
fn show(broker: &mut Mosquitto, files: &Certificates, cert: &Path, key: &Path) {
    broker.stop();
    replace(files, cert, key);
    broker.start_again();
}

fn replace(files: &Certificates, cert: &Path, key: &Path) {
    for (from, to) in [(cert, &files.server_cert), (key, &files.server_key)] {
        if from != to {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Distinct words, so that each can be looked for by itself.
const PASSWORD: &str = "quail-in-a-copper-kettle";
const CREDENTIAL: &str = "heron-under-seven-lanterns";
const MISPLACED: &str = "otter-behind-the-harmonium";

/// No secret stands in `text`; of the key, no line does.
fn is_clean(what: &str, text: &str, key: &str) {
    for secret in [PASSWORD, CREDENTIAL, MISPLACED].into_iter().chain(key.lines().filter(|line| line.len() > 20)) {
        assert!(!text.contains(secret), "{what} discloses {secret}");
    }
}

/// Everything below a folder that the program wrote.
fn written(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: &Path| if path.is_dir() { written(path) } else { bytes(path) };
    entries.map(|path| of(&path)).collect()
}

fn bytes(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

#[test]
fn k4_a_whole_life_at_the_loudest_log_discloses_no_secret() {
    let user = Some(("pi".to_owned(), PASSWORD.to_owned()));
    let options = Options { user, tls: true, client_certificates: true, ..Options::default() };
    let mut broker = Mosquitto::with(options);
    let client = Client::subscribe(&broker.tls_endpoint(), &["b/#"]);
    let files = broker.certificates.clone().unwrap();
    let key = bytes(&files.client_key);
    let (folder, credentials) = (folder(), tempfile::tempdir().unwrap());
    write_secret(&folder.path().join("word"), PASSWORD);
    write_secret(&credentials.path().join("fieldgate_word"), CREDENTIAL);
    fs::copy(&files.client_key, credentials.path().join("key")).unwrap();
    let url = format!("mqtts://127.0.0.1:{}", broker.tls_port);
    let identity = format!("ca_file: {}, cert_file: {}", files.ca.display(), files.client_cert.display());
    let with = |password: &str, key: &str, protocol: &str| {
        let mqtt = format!(", protocol: {protocol}, username: pi, {password}, tls: {{ {identity}, {key} }}");
        config(&url, &mqtt, "", FAST)
    };
    let key_file = format!("key_file: {}", files.client_key.display());
    for protocol in ["5", "3.1.1"] {
        let environment = [("RUST_LOG", "trace"), ("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap())];
        let text = with("password_file: word", "key_credential: key", protocol);
        let mut gateway = Gateway::with_env(folder.path(), &text, &environment);
        wait_taken(&gateway, 5);
        client.wait_message("b/health", |health| health.payload.contains("\"up\""), SOON);
        broker.kill9();
        gateway.wait_log("nothing listens there", SOON);
        broker.start_again();
        // The credential is another word, which the broker refuses.
        write_config(folder.path(), &with("password_credential: word", &key_file, protocol));
        gateway.signal(Signal::HUP);
        gateway.wait_log("not authorized", SOON);
        write_config(
            folder.path(),
            &format!("mqtt: {{ broker: \"mqtt://pi:{MISPLACED}@h\", password: {MISPLACED} }}\n"),
        );
        gateway.signal(Signal::HUP);
        gateway.wait_log("the old one stays", SOON);
        assert!(taken(&gateway) > 5);
        gateway.signal(Signal::ABORT);
        assert_eq!(gateway.wait_exit(SOON), -1);
        is_clean("the log", &gateway.log(), &key);
    }
    fs::remove_file(folder.path().join("word")).unwrap();
    fs::remove_file(folder.path().join("fieldgate.yaml")).unwrap();
    is_clean("what is kept on disk", &written(folder.path()), &key);
    let published: String = client.everything().iter().map(|message| message.payload.clone()).collect();
    assert!(published.contains("\"link\""), "there is no health message in it");
    is_clean("what is published", &published, &key);
    report(
        "K4",
        "connects, refusals, a reload, a bad one, the broker gone, SIGABRT, at RUST_LOG=trace",
        "0 hits in log, health and spool",
    );
}

#[test]
fn k4_a_secret_in_the_wrong_place_is_not_repeated() {
    let broker = format!("mqtt://pi:{MISPLACED}@127.0.0.1");
    let wrong = [
        format!("mqtt: {{ broker: {broker} }}"),
        format!("mqtt: {{ broker: [mqtt://h, {broker}] }}"),
        format!("mqtt: {{ broker: mqtt://h, password: {MISPLACED} }}"),
        format!("mqtt: {{ broker: mqtt://h, passwrod: {MISPLACED}, nonsense: 1 }}"),
        format!("mqtt:\n  broker: mqtt://h\n  tls: {{ key_password: {MISPLACED} }}"),
        format!("mqtt:\n  broker: mqtt://h\n  proxy: http://pi:{MISPLACED}@proxy:3128"),
        format!("gateway: {{ password: {MISPLACED} }}\nmqtt: {{ broker: mqtt://h }}"),
        format!("mqtt:\n  broker: mqtt://h\n  password: |\n    {MISPLACED}\n bad"),
        format!("mqtt: {{ broker: mqtt://h, password:{MISPLACED} }}"),
        format!("mqtt: {{ broker: ws://h/mqtt?token={MISPLACED} }}"),
    ];
    for text in &wrong {
        let folder = folder();
        let file = write_config(folder.path(), text);
        // Odd, but it works: `run` would go on.
        let works = text.contains('?');
        let all = [&["check"][..], &["check", "--json"], &["run"], &["safe-state"], &["read", "x"]];
        for arguments in all.into_iter().filter(|arguments| !works || arguments[0] == "check") {
            let all = [arguments, &["--config", file.to_str().unwrap()]].concat();
            let output = command(folder.path(), &all, SOON);
            assert_eq!(output.status.code(), Some(if works { 0 } else { 78 }), "{text}");
            let said = [output.stdout, output.stderr].concat();
            is_clean(&format!("{arguments:?} of {text}"), &String::from_utf8_lossy(&said), "");
        }
    }
    report("K4", &format!("a password in {} wrong places; check, run, safe-state, read", wrong.len()), "0 hits");
}

/// Whether this signal left a memory image of a program that was started by these words of a shell.
fn dumps(folder: &Path, script: &str, arguments: &[&str], signal: impl FnOnce(u32)) -> bool {
    let script = format!("ulimit -c unlimited; {script}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, "sh"]).args(arguments).current_dir(folder);
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    signal(child.id());
    child.wait().unwrap().core_dumped()
}

#[test]
fn k4_no_memory_image_is_left_whatever_the_limits_allow() {
    let folder = folder();
    if !dumps(folder.path(), "kill -ABRT $$", &[], |_| {}) {
        return left_out("memory images", "nothing leaves one on this machine");
    }
    let file = write_config(folder.path(), &config("mqtt://127.0.0.1:1", "", "", FAST));
    let program = program_path();
    let arguments = [program.as_str(), "run", "--config", file.to_str().unwrap()];
    let dumped = dumps(folder.path(), "exec \"$@\"", &arguments, |id| {
        // The spool is there when the start is behind it.
        wait_until("the start", PATIENT, || folder.path().join("spool").exists());
        let id = rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap();
        rustix::process::kill_process(id, Signal::ABORT).unwrap();
    });
    assert!(!dumped, "SIGABRT left a memory image");
    report("K4", "SIGABRT without any limit on memory images", "none was written");
}

/// Sockets of a process that wait for others, by proc(5): the state 0A is LISTEN.
fn listening(id: u32) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let links = links.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let sockets: Vec<_> =
        links.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let text = fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_ours = fields.get(9).is_some_and(|inode| sockets.iter().any(|socket| socket == inode));
            // Whatever is not TCP waits as soon as it is bound without a peer.
            let waits = fields[3] == "0A" || !table.starts_with("tcp") && fields[2].ends_with(":0000");
            if is_ours && waits {
                found.push(format!("{table} {}", fields[1]));
            }
        }
    }
    found
}

#[test]
fn k5_nothing_listens() {
    if !geteuid().is_root() {
        return left_out("listening sockets", "only root may look at those of the service");
    }
    let broker = Mosquitto::start();
    let folder = folder();
    let rest = format!(
        "{FAST}buses: {{ bench: {{ type: sim }} }}\nactuators:\n  pump: {{ driver: gpio-output, bus: bench, settings: {{ line: GPIO27 }}, safe_state: \"off\" }}\n"
    );
    let gateway = Gateway::start(folder.path(), &config(&broker.url(), "", "", &rest));
    gateway.wait_log("Connected.", SOON);
    assert_eq!(listening(gateway.pid()), Vec::<String>::new());
    // The same look at this very test finds a listener.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let own = format!("tcp 0100007F:{:04X}", listener.local_addr().unwrap().port());
    // Brokers of other tests may listen beside it.
    assert!(listening(std::process::id()).contains(&own), "{own}");
    report("K5", "a running gateway with sensors and an output", "0 sockets listen");
}

#[test]
fn k3_a_clock_that_was_never_set_is_named_as_the_cause() {
    let broker = Mosquitto::with(Options { tls: true, ..Options::default() });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let Some(clock) = WallClock::beside(600 - i64::try_from(now).unwrap()) else {
        return left_out("a clock in 1970", "libfaketime is not installed");
    };
    let folder = folder();
    let ca = broker.certificates.clone().unwrap().ca;
    let mqtt = format!(", tls: {{ ca_file: {} }}", ca.display());
    let url = format!("mqtts://127.0.0.1:{}", broker.tls_port);
    let gateway = Gateway::with_env(folder.path(), &config(&url, &mqtt, "", FAST), &clock.environment());
    gateway.wait_log("not valid yet", SOON);
    assert!(gateway.log().contains("our clock has not been set and says 1970-01-01"), "{}", gateway.log());
    assert!(!gateway.log().contains("is not valid before"), "of our own files nothing is said: {}", gateway.log());
    clock.set(0);
    gateway.wait_log("Connected.", SOON);
    report("K3", "a clock in 1970, then set", "named as the cause; then connected");
}
