//! The way to the broker, and what the gateway says of itself there, with a real Mosquitto.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use fieldgate::cli::doctor::check::Verdict;

use super::bench::{Bench, config, first, verdict};
use crate::common::certificates::{Authority, LONG, LOOPBACK};
use crate::common::client::Client;
use crate::common::gateway::Gateway;
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::{SOON, free_port, wait_until, write_secret};

fn locked(acl: Option<&str>) -> Mosquitto {
    let user = Some(("pi".to_owned(), "right".to_owned()));
    Mosquitto::with(Options { user, acl: acl.map(str::to_owned), ..Options::default() })
}

/// A bench that logs in as `pi` with this password.
fn logging_in(broker: &Mosquitto, password: &str) -> Bench {
    let bench = Bench::at(&broker.url());
    write_secret(&bench.folder.path().join("password"), password);
    bench.configured(", reconnect", ", username: pi, password_file: password, reconnect")
}

#[test]
fn a_name_without_an_address_is_found_and_nothing_behind_it_is_tried() {
    let bench = Bench::at("mqtt://no-such-broker.invalid:1883");
    let report = bench.finds("broker-name", "no-such-broker.invalid");
    for check in ["broker-port", "broker-login", "broker-publish"] {
        assert!(matches!(verdict(&report, check), Verdict::NotChecked(_)), "{}", report.text());
    }
}

#[test]
fn a_broker_that_does_not_run_is_found() {
    let port = free_port();
    let bench = Bench::at(&format!("mqtt://127.0.0.1:{port}"));
    let report = bench.finds("broker-port", "nothing listens there");
    assert_eq!(report.findings().next().unwrap().remedy, "sudo systemctl enable --now mosquitto");
    let bench = Bench::at("unix:///no/such/socket");
    bench.finds("broker-port", "there is no socket");
}

#[test]
fn each_broker_of_a_list_is_visited() {
    let broker = Mosquitto::start();
    let port = free_port();
    let bench = Bench::at(&broker.url());
    let list = format!("[\"{}\", \"mqtt://127.0.0.1:{port}\"]", broker.url());
    let bench = bench.configured(&format!("\"{}\"", broker.url()), &list);
    let report = bench.finds("broker-port", &format!("127.0.0.1:{port}"));
    assert!(
        matches!(verdict(&report, "broker-publish"), Verdict::Good(words) if *words == broker.url()),
        "{}",
        report.text()
    );
}

#[test]
fn who_accepts_and_says_nothing_is_no_broker() {
    // The kernel accepts for it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bench = Bench::at(&format!("mqtt://{}", listener.local_addr().unwrap()));
    bench.finds("broker-no-answer", "did not answer");
}

#[test]
fn a_wrong_password_is_found_and_the_right_one_is_good() {
    let broker = locked(None);
    let report = logging_in(&broker, "wrong").finds("broker-login", "check mqtt.username, its password");
    assert!(report.findings().next().unwrap().remedy.contains("mosquitto_passwd /etc/mosquitto/passwd pi"));
    assert!(!report.text().contains("wrong\n"));
    let report = logging_in(&broker, "right").examine();
    assert!(report.is_good(), "{}", report.text());
}

#[test]
fn a_credential_is_taken_from_the_services_folder_and_missed_there() {
    let broker = locked(None);
    let bench = Bench::at(&broker.url())
        .configured(", reconnect", ", username: pi, password_credential: mqtt-password, reconnect");
    bench.finds("broker-files", "the credential \"mqtt-password\"");
    bench.file("etc/fieldgate/credentials/other", "");
    let report = bench.finds("broker-files", "the service has no credential \"mqtt-password\"");
    let remedy =
        "sudo sh -c 'umask 077; cat >/etc/fieldgate/credentials/mqtt-password' && sudo systemctl restart fieldgate";
    assert_eq!(report.findings().next().unwrap().remedy, remedy);
    bench.file("etc/fieldgate/credentials/mqtt-password", "right\n");
    let report = bench.examine();
    assert!(matches!(verdict(&report, "broker-publish"), Verdict::Good(_)), "{}", report.text());
    assert!(report.is_good() && !report.json().to_string().contains("right"), "{}", report.text());
}

#[test]
fn an_unknown_authority_and_another_name_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::make(folder.path(), "ours", LONG);
    Authority::make(folder.path(), "stranger", LONG);
    let listener = |name: &str, extensions: &str| {
        let ((cert, key), port) = (authority.sign(name, extensions, LONG), free_port());
        let lines = format!("listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\n", cert.display(), key.display());
        (lines, port)
    };
    let (here, elsewhere) = (listener("here", LOOPBACK), listener("elsewhere", "subjectAltName=DNS:elsewhere.lan\n"));
    let _broker = Mosquitto::with_lines(&(here.0 + &elsewhere.0));
    let secure = |port: u16, ca: &str| {
        let file = folder.path().join(ca);
        let tls = format!(", tls: {{ ca_file: {} }}, reconnect", file.display());
        Bench::at(&format!("mqtts://127.0.0.1:{port}")).configured(", reconnect", &tls)
    };
    let report = secure(here.1, "ours.pem").examine();
    assert!(report.is_good() && matches!(verdict(&report, "broker-tls"), Verdict::Good(_)), "{}", report.text());
    let report = secure(here.1, "stranger.pem").finds("broker-tls", "authority");
    assert!(report.findings().next().unwrap().remedy.starts_with("openssl s_client -connect 127.0.0.1:"));
    secure(elsewhere.1, "ours.pem").finds("broker-tls", "elsewhere.lan");
}

#[test]
fn a_clock_that_is_not_set_comes_before_the_certificates_that_it_spoils() {
    let broker = Mosquitto::with(Options { tls: true, ..Options::default() });
    let bench = Bench::at(&format!("mqtts://127.0.0.1:{}", broker.tls_port));
    Authority::make(bench.folder.path(), "stranger", LONG);
    let bench = bench.configured(", reconnect", ", tls: { ca_file: stranger.pem }, reconnect");
    fs::remove_file(bench.root().join("run/systemd/timesync/synchronized")).unwrap();
    let report = bench.finds("clock-unset", "certificate");
    assert!(report.findings().any(|finding| finding.cause == "broker-tls"), "{}", report.text());
}

#[test]
fn a_path_that_is_no_websocket_is_found() {
    // What answers there speaks HTTP and no websocket.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    Bench::at(&format!("ws://{address}/wrong?token=secret")).finds("broker-websocket", "no websocket at \"/wrong\"");
    server.join().unwrap();
}

#[test]
fn a_topic_that_the_access_list_forbids_is_found_with_both_protocols() {
    let broker = locked(Some("user pi\ntopic readwrite somewhere/else/#\n"));
    let report = logging_in(&broker, "right").finds("topic-forbidden", "b/t/doctor");
    assert!(report.findings().next().unwrap().remedy.contains("topic readwrite b/t/#"));
    let old = logging_in(&broker, "right").configured(", reconnect", ", protocol: 3.1.1, reconnect");
    old.finds("topic-forbidden", "did not come back");
    // Writing alone is not enough to see it come back.
    let broker = locked(Some("user pi\ntopic write b/t/#\n"));
    logging_in(&broker, "right").finds("topic-forbidden", "write to and read from b/t/#");
}

#[test]
fn the_running_service_keeps_its_session_and_nothing_is_retained() {
    let broker = Mosquitto::start();
    let bench = Bench::at(&broker.url());
    let config = bench.config.clone() + "sensors: { tide: { driver: waveform, every: 100ms } }\n";
    let mut gateway = Gateway::start(bench.folder.path(), &config);
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    client.wait_json("b/t/health", |health| health["link"]["state"] == "up", SOON);
    bench.unit(&[("MainPID", &gateway.pid().to_string()), ("User", ""), ("Group", "")]);
    let report = bench.examine_as_it_is();
    assert!(report.is_good(), "{}", report.text());
    // Two, for each protocol one, and they may reach this client later than the one that asked.
    wait_until("what was published on the way", SOON, || client.all("b/t/doctor").len() >= 2);
    let heard = client.all("b/t/doctor");
    assert!(heard.len() == 2 && heard.iter().all(|message| !message.retain), "{heard:?}");
    gateway.wait_said("Connected", 1, SOON);
    assert!(!broker.log().contains("already connected"), "{}", broker.log());
    gateway.stop(SOON);
}

const DOWN: &str = "buses: { wire: { type: i2c, device: /dev/i2c-77 } }
sensors: { air: { driver: bme280, bus: wire, every: 1s, settings: { address: 0x76 } } }\n";

#[test]
fn a_sensor_that_is_down_is_named_with_the_gateways_own_words() {
    let broker = Mosquitto::start();
    let bench = Bench::at(&broker.url());
    bench.device("dev/i2c-77", 0o666);
    let config = bench.config.clone() + DOWN;
    let gateway = Gateway::start(bench.folder.path(), &config);
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    client.wait_json("b/t/sensors/air/status", |status| status["status"] == "down", SOON);
    client.wait_json("b/t/health", |health| health["buses"]["wire"]["error"].is_string(), SOON * 9);
    bench.unit(&[("MainPID", &gateway.pid().to_string()), ("User", ""), ("Group", "")]);
    let report = first(bench.examine_as_it_is(), "bus-failing", "/dev/i2c-77");
    assert!(
        report.findings().any(|finding| finding.cause == "sensor-down" && finding.what.contains("sensor air is down"))
    );
}

/// Two gateways on one broker with these keys below `mqtt`, until one has said what it thinks of the other. Then both end, so that
/// the broker keeps just that.
fn after_a_fight(keys: [&str; 2], said: &str) -> (Mosquitto, Bench) {
    let broker = Mosquitto::start();
    let (bench, other) = (Bench::at(&broker.url()), tempfile::tempdir().unwrap());
    let start = |folder: &Path, key: &str| Gateway::start(folder, &config(&broker.url(), key, ""));
    let mut both = [start(bench.folder.path(), keys[0]), start(other.path(), keys[1])];
    let client = Client::subscribe(&broker.endpoint(), &["b/#"]);
    let is_said =
        |health: &serde_json::Value| health["link"]["alarm"].as_str().is_some_and(|alarm| alarm.contains(said));
    let health = client.wait_json("b/t/health", is_said, SOON * 18);
    both.iter_mut().for_each(Gateway::kill9);
    client.publish("b/t/health", &health.to_string(), true, 1);
    // The spool belongs to who runs this test.
    bench.unit(&[("User", ""), ("Group", "")]);
    (broker, bench)
}

#[test]
fn two_gateways_of_one_name_are_found() {
    let (_broker, bench) = after_a_fight([", client_id: one", ", client_id: two"], "another gateway");
    first(bench.examine(), "name-shared", "give one of them another gateway.name");
}

#[test]
fn a_cloned_client_id_is_found() {
    let (_broker, bench) = after_a_fight([", client_id: clone"; 2], "identifier");
    first(bench.examine(), "client-id-shared", "identifier \"clone\"");
}
