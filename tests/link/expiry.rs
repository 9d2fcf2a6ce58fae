//! Certificates that end soon, and those that are replaced.

use std::path::PathBuf;

use fieldgate_link::Settings;

use crate::common::certificates::{Authority, LONG};
use crate::harness::*;
use crate::tls::{LOCALHOST, TlsBroker};

const SOON: (i64, i64) = (-1, 10);

async fn alarm(settings: Settings) -> String {
    let mut link = start(settings, &open_spool());
    let status = link.until("an alarm", |status| status.alarm.is_some()).await;
    link.end().await;
    status.alarm.unwrap()
}

async fn no_alarm(settings: Settings) {
    let mut link = start(settings, &open_spool());
    link.up().await;
    // The first look comes with the connect, and what it has found is reported within a second or not at all.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(link.status.borrow().alarm, None);
    link.end().await;
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_an_alarm() {
    let mut broker = TlsBroker::start(LOCALHOST, LONG, "require_certificate true");
    let good = broker.authority.sign("good", "", LONG);
    no_alarm(broker.settings_as(&good)).await;
    let ending = broker.authority.sign("ending", "", SOON);
    let reported = alarm(broker.settings_as(&ending)).await;
    assert!(reported.contains("our certificate /") && reported.contains("expires on 20"), "{reported}");
    let pair = broker.authority.sign("ending-server", LOCALHOST, SOON);
    broker.show(pair);
    broker.again();
    let reported = alarm(broker.settings_as(&good)).await;
    assert!(reported.contains("the broker showed") && reported.contains("expires on 20"), "{reported}");
    let authority = Authority::make(&broker.path(""), "ca", SOON);
    let pairs = (authority.sign("new-server", LOCALHOST, LONG), authority.sign("new", "", LONG));
    broker.show(pairs.0);
    broker.again();
    let reported = alarm(broker.settings_as(&pairs.1)).await;
    assert!(reported.contains("the authority's certificate /") && !reported.contains("broker showed"), "{reported}");
}

#[tokio::test]
async fn files_that_were_replaced_are_used_at_the_next_connect() {
    let mut broker = TlsBroker::start(LOCALHOST, LONG, "require_certificate true");
    let ours: (PathBuf, PathBuf) = (broker.path("ours.pem"), broker.path("ours.key"));
    broker.authority.sign("ours", "", LONG);
    let mut link = start(broker.settings_as(&ours), &open_spool());
    link.up().await;
    // Nothing of the old authority is worth anything with the new one, so each of the three files must have been read again.
    let authority = Authority::make(&broker.path(""), "ca", LONG);
    authority.sign("ours", "", LONG);
    let pair = authority.sign("server", LOCALHOST, LONG);
    broker.show(pair);
    assert_eq!(link.status.borrow().connects, 1, "a change alone is no reason to hang up");
    broker.again();
    link.until("up again", |status| status.connects == 2).await;
    link.end().await;
}
