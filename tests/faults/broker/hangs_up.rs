//! H2: brokers that say nothing and hang up.

use crate::common::quick::{FAST, config, folder, received, start, taken, wait_taken};
use crate::common::scripted::{Greeting, Script, ScriptedBroker};
use crate::common::wire::Packet;
use crate::common::{SOON, wait_until};
use crate::suite::{report, times};
use serde_json::Value;

#[test]
fn h2_a_broker_that_hangs_up_on_unsubscribe_keeps_the_link() {
    let script = Script::good().hang_up_on(|packet| matches!(packet, Packet::Unsubscribe { .. }));
    let broker = ScriptedBroker::start(vec![script]);
    let folder = folder();
    let rest = FAST.replace("20ms", "60s");
    let mut gateway = start(folder.path(), &config(&broker.url(), ", keep_alive: 4s", "", &rest));
    let wanted = times(2, 10, 30) as usize;
    let pings = || broker.received().iter().filter(|received| received.packet == Packet::PingReq).count();
    wait_until("pings", SOON * wanted as u32, || pings() >= wanted);
    assert_eq!((broker.connects().len(), broker.malformed()), (1, Vec::new()));
    gateway.stop(SOON);
    report("H2", "hangs up on UNSUBSCRIBE", &format!("{wanted} pings, no UNSUBSCRIBE, one connection"));
}

#[test]
fn h2_a_broker_that_knows_3_1_1_only_is_met_and_shown_in_health() {
    // A hang-up may be chance, so it takes two of them.
    for (greeting, met) in [(Greeting::Close, &[5, 4, 5][..]), (Greeting::Raw(vec![0x20, 2, 0, 1]), &[5])] {
        let broker = ScriptedBroker::start(vec![Script::good().greeting_5(greeting)]);
        let folder = folder();
        let mut gateway = start(folder.path(), &config(&broker.url(), "", "", FAST));
        let is_up = |text: &str| text.contains("\"state\":\"up\"");
        let health = broker.wait_publish("health", |p| p.topic == "b/health" && is_up(&p.text()), SOON);
        let health: Value = serde_json::from_str(&health.text()).unwrap();
        assert_eq!(health["link"]["protocol"], "3.1.1", "{health}");
        gateway.wait_log("knows MQTT 3.1.1 only", SOON);
        let then = taken(&gateway) + times(20, 200, 1000);
        wait_taken(&gateway, then);
        for _ in 0..2 {
            let last = broker.received().iter().map(|received| received.connection).max().unwrap();
            broker.drop_connections();
            wait_until("a message on the next connection", SOON, || {
                broker.received().iter().any(|r| r.connection > last && matches!(r.packet, Packet::Publish(_)))
            });
        }
        gateway.stop(SOON);
        let levels: Vec<u8> = broker.connects().iter().map(|connect| connect.level).collect();
        let rest = levels.strip_prefix(met).unwrap_or_else(|| panic!("{levels:?}"));
        assert!(rest.len() >= 3 && rest.iter().all(|level| *level == 4), "{levels:?}");
        received(&broker).check_whole();
    }
    report(
        "H2",
        "knows 3.1.1 only",
        "met with the second attempt, or the fourth where it hangs up; remembered over two ends, no reading lost",
    );
}
