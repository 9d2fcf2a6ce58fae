//! The page's server of the compiled program: what it shows, what it takes, and what it refuses, without a broker.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic")]

use crate::common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::gateway::{Gateway, write_config};
use crate::common::http::{OPEN, Site, config, start};
use crate::common::sim_file::SimFile;
use crate::common::{SOON, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Sockets on which this process listens.
fn listeners(pid: u32) -> usize {
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap());
    let listening: BTreeSet<String> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[3] == "0A")
        .map(|fields| format!("socket:[{}]", fields[9]))
        .collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    links.filter(|link| listening.contains(&*link.to_string_lossy())).count()
}

#[test]
fn nothing_listens_unless_it_is_configured_and_a_reload_opens_moves_and_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path(), &config(""));
    gateway.wait_log("Gateway started.", SOON);
    assert_eq!(listeners(gateway.pid()), 0);
    let reload = |http: &str, times: usize| {
        write_config(folder.path(), &config(http));
        gateway.signal(Signal::HUP);
        wait_until("a reload", SOON, || gateway.log().matches("Configuration reloaded").count() == times);
    };
    reload(OPEN, 1);
    let first = Site::of(&gateway);
    let mut events = first.events();
    events.wait(|name, _| (name == "state").then_some(()));
    assert_eq!(listeners(gateway.pid()), 1);
    // The same settings: the stream goes on, and begins again with everything.
    reload(&format!("{OPEN}\nrequests: {{ allow: [ping] }}"), 2);
    events.wait(|name, _| (name == "state").then_some(()));
    reload("http: { listen: \"[::1]:0\" }", 3);
    assert_eq!(events.next().map(|(name, _)| name).filter(|name| name == "state"), None);
    let second = Site::nth(&gateway, 2);
    assert_eq!((second.get("/healthz").status, listeners(gateway.pid())), (200, 1));
    reload("", 4);
    wait_until("the end of the listener", SOON, || listeners(gateway.pid()) == 0);
}

#[test]
fn the_state_is_that_of_sensors_outputs_variables_and_rules() {
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, site) = start(folder.path(), OPEN);
    wait_until("the first readings", SOON, || {
        let state = site.json("/api/state");
        [0, 1].iter().all(|nth| !state["sensors"][nth]["at"].is_null()) && !state["outputs"][0]["value"].is_null()
    });
    let state = site.json("/api/state");
    assert_eq!((&state["api"], &state["name"], &state["control"]), (&1.into(), &"shed".into(), &true.into()));
    assert!(["connecting", "down"].contains(&state["link"]["state"].as_str().unwrap()), "{}", state["link"]);
    let air = &state["sensors"][0];
    assert_eq!((&air["name"], &air["status"], &air["driver"]), (&"air".into(), &"ok".into(), &"bme280".into()));
    assert!(air["age"].as_f64().unwrap() >= 0.0, "{air}");
    let temperature = &air["values"][0];
    assert_eq!((&temperature["unit"], &temperature["form"]), (&"°C".into(), &"number".into()), "{temperature}");
    assert!(temperature["value"].is_number());
    let pump = &state["outputs"][0];
    assert_eq!((&pump["kind"], &pump["value"], &pump["cause"]), (&"switch".into(), &"off".into(), &"start".into()));
    assert_eq!((&pump["limits"]["max_on"], &pump["limits"]["safe_after"]), (&3600.into(), &Value::Null));
    assert_eq!((&state["variables"][0]["value"], &state["variables"][0]["max"]), (&json!(19.0), &json!(30.0)));
    assert_eq!((&state["rules"][0]["name"], &state["rules"][0]["switch"]), (&"frost".into(), &"on".into()));
    let log = state["log"].as_array().unwrap();
    assert!(log.iter().any(|line| line["text"].as_str().unwrap().starts_with("Gateway started.")), "{log:?}");
    wait_until("the alarm of the link", SOON, || {
        site.json("/api/state")["alarms"].as_array().unwrap().iter().any(|alarm| alarm["about"] == "link")
    });
    let history = site.json("/api/history");
    let curve = &history["sensors"]["air"]["temperature"];
    assert_eq!(["low", "high"].map(|bound| curve[bound].as_array().unwrap().len()), [120, 120]);
    assert!(curve["high"][119].is_number() || curve["high"][118].is_number(), "{curve}");
}

#[test]
fn what_changes_is_sent_at_most_four_times_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, site) = start(folder.path(), OPEN);
    let mut events = site.events();
    assert_eq!(events.next().unwrap().0, "state");
    let began = Instant::now();
    // A sensor is read twenty times a second.
    for _ in 0..10 {
        events.wait(|name, data| {
            let names = || data["sensors"].as_array().into_iter().flatten().map(|sensor| &sensor["name"]);
            (name == "change" && names().any(|name| name == "tide")).then_some(())
        });
    }
    // A tick may be late, and the next one not.
    assert!(began.elapsed() >= Duration::from_millis(250) * 8, "{:?}", began.elapsed());
    assert_eq!(site.post("/api/actuators/pump", r#"{"value":"on"}"#).status, 200);
    events.wait(|_, data| {
        let outputs = data["outputs"].as_array().into_iter().flatten();
        outputs.into_iter().find(|output| output["name"] == "pump" && output["value"] == "on").map(|_| ())
    });
    drop(gateway);
    while events.next().is_some() {}
}

#[test]
fn a_command_moves_the_line_and_a_refused_one_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (gateway, site) = start(folder.path(), OPEN);
    let sim = SimFile::new(folder.path().join("bench.json"));
    let ask = |path: &str, body: &str| {
        let answer = site.post(path, body);
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let (status, reply) = ask("/api/actuators/pump", r#"{"value":"toggle"}"#);
    assert_eq!((status, &reply["outcome"], &reply["value"]), (200, &"done".into(), &"on".into()), "{reply}");
    assert!(reply["id"].as_str().unwrap().starts_with("http-"));
    assert_eq!(sim.line("GPIO27"), Some(1));
    // A repeat with the same id is answered as before and does nothing.
    let (_, first) = ask("/api/actuators/pump", r#"{"value":"toggle","id":"a1"}"#);
    let (_, again) = ask("/api/actuators/pump", r#"{"value":"toggle","id":"a1"}"#);
    assert_eq!((&first, &first["value"], sim.line("GPIO27")), (&again, &"off".into(), Some(0)));
    let (status, reply) = ask("/api/actuators/slow", r#"{"value":"on"}"#);
    assert_eq!((status, &reply["outcome"]), (409, &"rejected".into()));
    assert!(reply["reason"].as_str().unwrap().starts_with("limit: "), "{reply}");
    wait_until("the refusal on the page", SOON, || {
        site.json("/api/state")["outputs"][1]["last_command"]["reason"] == reply["reason"]
    });
    assert_eq!(ask("/api/actuators/ghost", r#"{"value":"on"}"#).0, 404);
    assert_eq!(ask("/api/actuators/pump", r#"{"value":"sideways"}"#).0, 409);
    assert_eq!(ask("/api/actuators/pump", "{").0, 409);
    assert_eq!(ask("/api/actuators/pump", "on").0, 400);
    let (status, reply) = ask("/api/variables/target", r#"{"value":21.5}"#);
    assert_eq!((status, &reply["value"]), (200, &json!(21.5)), "{reply}");
    let (status, reply) = ask("/api/rules/frost", r#"{"value":"off"}"#);
    assert_eq!((status, &reply["value"]), (200, &"off".into()), "{reply}");
    wait_until("the rule on the page", SOON, || site.json("/api/state")["rules"][0]["switch"] == "off");
    gateway.wait_log("Command answered.", SOON);
}

#[test]
fn only_what_the_page_itself_sends_changes_anything() {
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, site) = start(folder.path(), OPEN);
    let sim = SimFile::new(folder.path().join("bench.json"));
    wait_until("the safe state", SOON, || sim.line("GPIO27") == Some(0));
    let own = "x-fieldgate: 1\r\ncontent-type: application/json\r\n";
    let on = r#"{"value":"on"}"#;
    for (fields, status) in [
        (format!("origin: http://evil.example\r\n{own}"), 403),
        (format!("origin: null\r\n{own}"), 403),
        (format!("sec-fetch-site: cross-site\r\n{own}"), 403),
        ("content-type: application/json\r\n".to_owned(), 403),
        ("x-fieldgate: 1\r\ncontent-type: text/plain\r\n".to_owned(), 415),
    ] {
        assert_eq!(site.post_with("/api/actuators/pump", &fields, on).status, status, "{fields}");
    }
    assert_eq!(site.get("/api/actuators/pump").status, 405);
    let rebound = |path: &str| {
        site.send(format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n").as_bytes())
    };
    for path in ["/", "/api/state", "/api/events", "/metrics", "/healthz"] {
        assert_eq!(rebound(path).status, 421, "{path}");
    }
    assert_eq!(site.send(b"GET / HTTP/1.0\r\n\r\n").status, 400);
    assert_eq!(sim.line("GPIO27"), Some(0));
    // And nothing at all without `control`.
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, site) = start(folder.path(), "http: { listen: 127.0.0.1:0 }");
    assert_eq!(site.post("/api/actuators/pump", on).status, 403);
    assert_eq!(site.json("/api/state")["control"], false);
}

#[test]
fn every_answer_forbids_a_browser_what_it_does_not_need() {
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, site) = start(folder.path(), OPEN);
    for path in ["/", "/api/state", "/metrics", "/nothing"] {
        let head = site.get(path).head;
        for field in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(field), "{path} lacks {field}: {head}");
        }
        assert!(!head.contains("access-control-"), "{head}");
    }
    let page = site.get("/");
    assert!(page.head.contains("content-encoding: gzip") && page.body.starts_with(&[0x1f, 0x8b]), "{}", page.head);
    assert_eq!(site.get("/nothing").status, 404);
    let head = site.send(format!("{}connection: close\r\n\r\n", site.head("HEAD /")).as_bytes());
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn a_password_is_asked_for_and_wrong_ones_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    common::write_secret(&folder.path().join("password"), "geheim\n");
    let (gateway, mut site) = start(folder.path(), "http: { listen: 127.0.0.1:0, password_file: password }");
    for path in ["/", "/api/state", "/api/events", "/metrics", "/healthz"] {
        let answer = site.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.head.contains("www-authenticate: basic"), "{}", answer.head);
    }
    let with = |site: &mut Site, code: &str| {
        site.fields = format!("authorization: Basic {code}\r\n");
        site.get("/healthz")
    };
    // `any:geheim`, `any:falsch`
    assert_eq!(with(&mut site, "YW55OmdlaGVpbQ==").status, 200);
    let tries: Vec<u16> = (0..40).map(|_| with(&mut site, "YW55OmZhbHNjaA==").status).collect();
    assert_eq!(tries[..5], [401; 5]);
    let refused = tries.iter().position(|status| *status == 429).expect("some are not even looked at");
    assert!(refused >= 5, "{tries:?}");
    let blocked = with(&mut site, "YW55OmZhbHNjaA==");
    // One is looked at every three seconds, and a machine may be that slow.
    assert!(blocked.status == 401 || blocked.head.contains("retry-after: "), "{blocked:?}");
    assert!(!gateway.log().contains("geheim") && !gateway.log().contains("YW55"));
}

#[test]
fn metrics_are_in_base_units_and_a_sensor_that_is_down_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let (_gateway, site) = start(folder.path(), OPEN);
    let air = |family: &str, measurement: &str| {
        site.metric(&format!("fieldgate_{family}{{sensor=\"air\",measurement=\"{measurement}\"}}"))
    };
    wait_until("the first reading", SOON, || air("temperature_celsius", "temperature").is_some());
    let pressure = air("pressure_pascals", "pressure").unwrap();
    let humidity = air("humidity_ratio", "humidity").unwrap();
    assert!((30_000.0..110_000.0).contains(&pressure) && (0.0..=1.0).contains(&humidity), "{pressure} {humidity}");
    let up = || site.metric("fieldgate_sensor_up{sensor=\"air\"}");
    assert_eq!(up(), Some(1.0));
    SimFile::new(folder.path().join("bench.json")).set_fault("0x76", Some("nak"));
    wait_until("that it is down", SOON, || up() == Some(0.0));
    assert_eq!(air("temperature_celsius", "temperature"), None);
    let answer = site.send(
        format!("{}accept: application/openmetrics-text\r\nconnection: close\r\n\r\n", site.head("GET /metrics"))
            .as_bytes(),
    );
    let text = String::from_utf8(answer.body).unwrap();
    assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", answer.head);
    assert!(text.ends_with("# EOF\n") && text.contains("# UNIT fieldgate_reading_age_seconds seconds\n"), "{text}");
    for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
        let name = line.split_whitespace().nth(2).unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} says what it is");
        assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
    }
}

#[test]
fn the_file_of_metrics_is_written_without_a_listener_and_goes_with_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fieldgate.prom");
    let mut gateway = Gateway::start(folder.path(), &config("metrics: { textfile: fieldgate.prom }"));
    wait_until("the file", SOON, || path.exists());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("# TYPE fieldgate_readings_total counter\n") && !text.contains("# UNIT"), "{text}");
    assert_eq!(listeners(gateway.pid()), 0);
    gateway.stop(SOON);
    assert!(!path.exists(), "values that nobody renews would look alive");
}

/// By the rule that feeds the watchdog, whose period is short here.
#[test]
fn a_bus_with_outputs_that_hangs_is_no_health_until_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with_env(folder.path(), &config(OPEN), &[("WATCHDOG_USEC", "2000000")]);
    let site = Site::of(&gateway);
    let sim = SimFile::new(folder.path().join("bench.json"));
    wait_until("the safe state", SOON, || sim.line("GPIO27") == Some(0));
    let health = || {
        let answer = site.get("/healthz");
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let becomes = |status: u16, words: &str| {
        wait_until(words, SOON, || health() == (status, format!("{words}\n")));
    };
    becomes(200, "ok");
    sim.set_fault("0x76", Some("hang"));
    becomes(503, "the bus bench, which has outputs, hangs");
    gateway.wait_log("the watchdog is no longer fed", SOON);
    sim.set_fault("0x76", None);
    becomes(200, "ok");
}
