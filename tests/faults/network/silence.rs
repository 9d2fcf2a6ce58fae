//! N7: somebody accepts the connection and never says that we are welcome.

use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

use crate::common::SOON;
use crate::common::gateway::Gateway;
use crate::common::pace::{at, slack, taken_since};
use crate::common::quick::{FAST, LONG, config, folder, start, taken};
use crate::common::scripted::{Greeting, Script, ScriptedBroker};
use crate::suite::report;

/// From the start of the program.
const GIVEN_UP: Duration = Duration::from_secs(10);

#[test]
fn n7_a_connection_that_is_never_accepted_is_given_up_within_ten_seconds() {
    let mute = ScriptedBroker::start(vec![Script::good().greeting(Greeting::Silence)]);
    let half = ScriptedBroker::start(vec![Script::good().greeting(Greeting::Raw(vec![0x20, 0x03, 0x00]))]);
    // The kernel completes the connection, and nobody ever takes it.
    let kernel = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", kernel.local_addr().unwrap());
    let urls = [("says nothing", mute.url()), ("says half of it", half.url()), ("is not even taken", url)];
    let cases = urls.iter().flat_map(|(words, url)| ["5", "3.1.1"].map(|protocol| (words, url, protocol)));
    let mut running: Vec<_> = cases
        .map(|(words, url, protocol)| {
            let folder = folder();
            let text = config(url, &format!(", protocol: {protocol}"), "", FAST);
            (start(folder.path(), &text), folder, format!("{words}, {protocol}"))
        })
        .collect();
    let mut longest = Duration::ZERO;
    for (gateway, _, words) in &running {
        longest = longest.max(given_up(gateway, words));
    }
    for (gateway, _, words) in &mut running {
        let (seconds, last) =
            (logged(gateway, "Gateway started").elapsed().unwrap().as_secs_f64(), taken(gateway) as f64);
        let held_up = taken_since(at(logged(gateway, "Gateway started"))).as_secs_f64();
        assert!(last >= (seconds - held_up) * 45.0 - 50.0, "{words}: {last} readings in {seconds} s");
        gateway.stop(SOON);
    }
    let happened = format!("given up after {:.2} s at most; sampling went on", longest.as_secs_f64());
    report("N7", "6 connections without a whole CONNACK", &happened);
}

/// From the start to the end of the attempt, by the program's own log: how long a loaded machine takes to start it is another matter.
fn given_up(gateway: &Gateway, words: &str) -> Duration {
    let since = Instant::now();
    gateway.wait_log("No connection", LONG);
    assert!(gateway.log().contains("did not answer within 9 s"), "{words}");
    let took = logged(gateway, "No connection").duration_since(logged(gateway, "Gateway started")).unwrap();
    assert!(took <= GIVEN_UP + slack(since), "{words}: {took:?}");
    took
}

fn logged(gateway: &Gateway, message: &str) -> SystemTime {
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains(message)).unwrap();
    humantime::parse_rfc3339(line.split(' ').next().unwrap()).unwrap()
}
