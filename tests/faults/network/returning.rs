//! N4 and N5: the broker comes back, to one gateway and to many.

use std::time::{Duration, Instant};

use fieldgate_link::backoff::Backoff;

use super::end_whole;
use crate::common::mosquitto::Mosquitto;
use crate::common::pace::slack;
use crate::common::quick::{FAST, config, folder, remembering, start};
use crate::common::{SOON, wait_for, wait_until};
use crate::suite::{chance, report, times, together};

const SECOND: Duration = Duration::from_secs(1);

/// From the return of the broker to the connection.
const PROMPT: Duration = Duration::from_secs(5);

/// The defaults of the configuration.
const MIN: Duration = SECOND;
const MAX: Duration = Duration::from_secs(60);

/// Stops the broker for so long, and returns how long after its return the gateway was connected, and what was taken.
fn away(reconnect: &str, duration: Duration) -> (Duration, u64) {
    let (mut broker, client) = remembering();
    let folder = folder();
    let text = config(&broker.url(), "", "", FAST).replace("reconnect: { min: 50ms, max: 150ms }", reconnect);
    let gateway = start(folder.path(), &text);
    client.wait_json("b/sensors/n", |reading| reading["seq"] == 20, SOON);
    broker.stop();
    let gone = Instant::now();
    wait_until("the outage to pass", duration + SOON, || gone.elapsed() >= duration);
    let back = return_of(&mut broker, || gateway.log().matches("Connected.").count() == 2);
    let (last, _) = end_whole(gateway, &client);
    (back, last)
}

fn return_of(broker: &mut Mosquitto, connected: impl Fn() -> bool) -> Duration {
    broker.start_again();
    let back = Instant::now();
    wait_for("the connection", MAX + SOON, || connected().then(|| back.elapsed().saturating_sub(slack(back))))
}

fn short_outages() {
    for duration in times(&[2][..], &[3, 15], &[3, 15, 40, 55]) {
        let (back, last) = away("reconnect: { min: 1s, max: 60s }", Duration::from_secs(*duration));
        assert!(back <= PROMPT, "connected {back:?} after the broker");
        let happened = format!("{last} taken, {last} received; connected {:.1} s after the broker", back.as_secs_f64());
        report("N4", &format!("broker away {duration} s, reconnect as by default"), &happened);
    }
}

/// In a short run it is no longer than the others; that the waits keep to their limits is the test after this.
fn long_outage() {
    let (duration, max) = times((2, 3), (70, 10), (90, 10));
    let (back, last) = away(&format!("reconnect: {{ min: 1s, max: {max}s }}"), Duration::from_secs(duration));
    assert!(back <= Duration::from_secs(max) + PROMPT, "connected {back:?} after the broker");
    let happened = format!("{last} taken, {last} received; connected {:.1} s after the broker", back.as_secs_f64());
    report("N4", &format!("broker away {duration} s, longest wait {max} s"), &happened);
}

#[test]
fn n4_after_an_outage_the_link_is_back_within_five_seconds_or_the_longest_wait() {
    together(&[short_outages, long_outage]);
}

/// When a gateway connects whose broker was away from 0 until `duration`; an attempt takes no time.
fn connected_at(duration: Duration, chance: &mut fastrand::Rng) -> Duration {
    let mut backoff = Backoff::new(MIN, MAX);
    backoff.lost(Duration::from_secs(3600));
    let mut now = Duration::ZERO;
    loop {
        now += backoff.wait(now, chance.f64());
        if now >= duration {
            return now - duration;
        }
        backoff.failed(false);
    }
}

#[test]
fn n4_no_outage_of_any_length_is_followed_by_a_longer_wait() {
    let mut chance = chance("N4");
    let outages = times(20_000, 100_000, 1_000_000);
    let (mut short, mut long) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..outages {
        let duration = Duration::from_millis(chance.u64(1..600_000));
        let wait = connected_at(duration, &mut chance);
        let longest = if duration < Duration::from_secs(60) { &mut short } else { &mut long };
        *longest = wait.max(*longest);
    }
    assert!(short <= Duration::from_secs(4), "{short:?} after an outage below a minute");
    assert!(long <= MAX, "{long:?} after a longer one");
    let happened = format!(
        "next attempt at most {:.2} s after an outage below 60 s, {:.2} s after a longer one",
        short.as_secs_f64(),
        long.as_secs_f64()
    );
    report("N4", &format!("{outages} outages of up to ten minutes (simulated)"), &happened);
}

/// Gateways that lost one broker in one moment.
const GATEWAYS: usize = 200;

/// The share of connects in each second after the return, over many outages.
fn spread(duration: Duration, outages: usize, chance: &mut fastrand::Rng) -> (f64, usize) {
    let (mut seconds, mut busiest) = ([0; 62], 0);
    for _ in 0..outages {
        let mut own = [0; 62];
        for _ in 0..GATEWAYS {
            own[connected_at(duration, chance).as_secs() as usize] += 1;
        }
        busiest = busiest.max(*own.iter().max().unwrap());
        seconds.iter_mut().zip(own).for_each(|(all, own)| *all += own);
    }
    (f64::from(*seconds.iter().max().unwrap()) / (GATEWAYS * outages) as f64, busiest as usize)
}

#[test]
fn n5_two_hundred_gateways_do_not_come_back_in_the_same_second() {
    let mut chance = chance("N5");
    let outages = times(20, 200, 1000);
    let (share, busiest) = spread(Duration::from_secs(3600), outages, &mut chance);
    assert!(share <= 0.05, "the busiest second holds {:.1} % of the connects", share * 100.0);
    // Chance alone lets one outage in many exceed its expectation; four standard deviations of it are allowed for.
    let allowed = GATEWAYS as f64 * 0.05 + 4.0 * (GATEWAYS as f64 * 0.05).sqrt();
    assert!(busiest as f64 <= allowed, "{busiest} of {GATEWAYS} connects in one second");
    let (short_share, short_busiest) = spread(Duration::from_secs(10), outages, &mut chance);
    let happened = format!(
        "busiest second: {:.1} % of the connects on average, {busiest} of {GATEWAYS} at worst; after an outage of 10 s, where \
         promptness counts: {:.1} %, {short_busiest} at worst",
        share * 100.0,
        short_share * 100.0
    );
    report("N5", &format!("{GATEWAYS} gateways, {outages} outages of an hour (simulated)"), &happened);
}
