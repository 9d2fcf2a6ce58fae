//! How the program comes to its broker: transports, certificates, passwords, its address and its name, and the next broker of a list.

use std::path::Path;

use super::{COUNTER, broker_line, config, folder, is_up, welcome};
use crate::common::client::Client;
use crate::common::gateway::Gateway;
use crate::common::mosquitto::{Mosquitto, Options};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::{SOON, write_secret};

#[test]
fn readings_arrive_over_tls_and_websockets() {
    let options = Options { tls: true, client_certificates: true, websockets: true, ..Options::default() };
    let broker = Mosquitto::with(options);
    let client = Client::subscribe(&broker.tls_endpoint(), &["+/sensors/n"]);
    let files = broker.certificates.clone().unwrap();
    let tls = format!(
        "tls: {{ ca_file: {}, cert_file: {}, key_file: {} }}",
        files.ca.display(),
        files.client_cert.display(),
        files.client_key.display()
    );
    let places = [
        ("mqtts", broker.tls_port, tls.as_str()),
        ("ws", broker.ws_port, "qos: 1"),
        ("wss", broker.wss_port, tls.as_str()),
    ];
    for (scheme, port, more) in places {
        for protocol in ["5", "3.1.1"] {
            let folder = folder();
            client.forget();
            let mqtt = format!("broker: {scheme}://127.0.0.1:{port}, protocol: {protocol}, {more}");
            let mut gateway = Gateway::start(folder.path(), &config(&mqtt, COUNTER));
            client.wait_json("b/sensors/n", |reading| reading["seq"] == 5, SOON);
            gateway.stop(SOON);
        }
    }
}

#[test]
fn a_client_certificate_that_is_missing_is_reported_in_words() {
    let broker = Mosquitto::with(Options { tls: true, client_certificates: true, ..Options::default() });
    let folder = folder();
    let ca = broker.certificates.clone().unwrap().ca;
    let mqtt = format!("broker: mqtts://127.0.0.1:{}, tls: {{ ca_file: {} }}", broker.tls_port, ca.display());
    let gateway = Gateway::start(folder.path(), &config(&mqtt, COUNTER));
    gateway.wait_log("certificate", SOON);
}

#[test]
fn the_password_comes_from_a_file_or_a_credential() {
    let user = Some(("pi".to_owned(), "a secret word".to_owned()));
    let broker = Mosquitto::with(Options { user, ..Options::default() });
    let client = Client::subscribe(&broker.endpoint(), &["b/sensors/n"]);
    for (key, file) in [("password_file: word", "word"), ("password_credential: mqtt", "mqtt")] {
        let folder = folder();
        write_secret(&folder.path().join(file), "a secret word\n");
        client.forget();
        let mqtt = format!("{}, username: pi, {key}", broker_line(&broker.url()));
        let credentials = ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap());
        let gateway = Gateway::with_env(folder.path(), &config(&mqtt, COUNTER), &[credentials, ("RUST_LOG", "trace")]);
        client.wait_json("b/sensors/n", |_| true, SOON);
        assert!(welcome(&broker).contains("u'pi'"), "{}", welcome(&broker));
        assert!(!gateway.log().contains("a secret word"));
    }
}

#[test]
fn the_source_address_is_the_configured_one() {
    let (broker, folder) = (Mosquitto::start(), folder());
    let mqtt = format!("{}, bind_address: 127.0.0.9, keep_alive: 33s", broker_line(&broker.url()));
    let _gateway = Gateway::start(folder.path(), &config(&mqtt, COUNTER));
    let line = welcome(&broker);
    assert!(line.contains("from 127.0.0.9:") && line.contains("k33"), "{line}");
}

#[test]
fn the_client_id_is_given_stable_or_random() {
    let identify = |more: &str, folder: &Path| {
        let broker = ScriptedBroker::start(vec![Script::good()]);
        let _gateway = Gateway::start(folder, &config(&format!("{}{more}", broker_line(&broker.url())), COUNTER));
        broker.wait_connects(1, SOON);
        broker.connects().remove(0)
    };
    let folder = folder();
    let stable = [identify("", folder.path()), identify("", folder.path())];
    assert_eq!(stable[0].client_id, stable[1].client_id);
    assert!(stable[0].client_id.starts_with("fieldgate-t-") && stable[0].clean, "{stable:?}");
    assert_eq!(stable[0].client_id.len(), "fieldgate-t-".len() + 4, "{stable:?}");
    let random = [identify(", client_id: \"\"", folder.path()), identify(", client_id: \"\"", folder.path())];
    assert_ne!(random[0].client_id, random[1].client_id);
    assert!(!random[0].client_id.is_empty() && random[0].clean);
    let given = identify(", client_id: me, clean_session: false", folder.path());
    assert!(given.client_id == "me" && !given.clean, "{given:?}");
}

#[test]
fn a_list_of_brokers_is_a_failover_order() {
    let (mut first, mut second, folder) = (Mosquitto::start(), Mosquitto::start(), folder());
    first.stop();
    let client = Client::subscribe(&second.endpoint(), &["b/#"]);
    let mqtt = format!("broker: [\"{}\", \"{}\"]", first.url(), second.url());
    let _gateway = Gateway::start(folder.path(), &config(&mqtt, COUNTER));
    client.wait_json("b/health", |health| health["link"]["broker"] == second.url() && is_up(health), SOON);
    let health = client.wait_json("b/health", is_up, SOON);
    assert!(health["link"]["last_error"].as_str().unwrap().contains("refused"), "{health}");
    first.start_again();
    let client = Client::subscribe(&first.endpoint(), &["b/#"]);
    second.kill9();
    client.wait_json("b/health", |health| health["link"]["broker"] == first.url() && is_up(health), SOON);
}
