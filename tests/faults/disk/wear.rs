//! D6: what the program writes to the disk, by the kernel's own account of the process (`write_bytes` of proc(5)).

use std::fs;
use std::time::{Duration, Instant};

use super::mount::{Mount, TOOLS};
use crate::common::SOON;
use crate::common::gateway::Gateway;
use crate::common::quick::{config, folder, start, taken, wait_taken};
use crate::moody::{Mood, MoodyBroker};
use crate::suite::{may, report, times};

const SENSORS: &str = "sensors:\n  n: { driver: waveform, every: 50ms, settings: { shape: counter } }\n";

/// What the row allows for a reading of 100 bytes in an outage.
const BYTES_PER_READING: u64 = 1200;

pub(super) fn written(gateway: &Gateway) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", gateway.pid())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn d6_a_healthy_link_costs_no_write_and_an_outage_few() {
    if !may("D6", &TOOLS) {
        return;
    }
    let folder = folder();
    // tmpfs would not count as a disk, and /tmp is one on some machines.
    let _disk = Mount::ext4(folder.path(), 64 << 20);
    let mut broker = MoodyBroker::new(Mood::Acknowledges);
    let mut gateway = start(folder.path(), &config(&broker.url(), "", "", SENSORS));
    wait_taken(&gateway, 20);
    let healthy = measure_without_pause(&broker, &gateway, times(2, 20, 60));
    broker.be(Mood::Absent);
    // The first commit of the outage also takes in what was on its way; the second is as all others.
    std::thread::sleep(Duration::from_millis(1500));
    let outage = measure(&gateway, times(3, 20, 60));
    broker.be(Mood::Acknowledges);
    broker.wait_drained(&gateway, SOON);
    gateway.stop(SOON);
    let account = broker.account("n");
    account.check_whole();
    assert_eq!(account.last(&account.runs[0]), taken(&gateway));
    let size =
        broker.notes().iter().filter(|note| note.topic == "b/late/n").map(|note| note.payload.len()).max().unwrap();
    assert_eq!(healthy.bytes, 0, "{healthy:?}");
    let each = outage.bytes / outage.readings;
    assert!(outage.bytes > 0 && each <= BYTES_PER_READING, "{outage:?}");
    let happened = format!(
        "healthy: {} bytes for {} readings; outage: {each} bytes for each of {} readings with a payload of {size} bytes",
        healthy.bytes, healthy.readings, outage.readings
    );
    report("D6", "20 readings/s on ext4, `commit_every: 1s`", &happened);
}

#[derive(Debug)]
struct Measured {
    bytes: u64,
    readings: u64,
}

/// Over a time in which no reading waited for its answer nearly as long as `commit_every`: a machine that halts for a second
/// makes the program write, and rightly so.
fn measure_without_pause(broker: &MoodyBroker, gateway: &Gateway, seconds: u64) -> Measured {
    for _ in 0..10 {
        let first = broker.count();
        let measured = measure(gateway, seconds);
        let at: Vec<_> = broker.notes().split_off(first).into_iter().map(|note| note.at).collect();
        let pauses = at.windows(2).map(|pair| pair[1].duration_since(pair[0]).unwrap_or_default());
        let longest = pauses.max().unwrap_or(Duration::MAX);
        if longest < Duration::from_millis(500) {
            return measured;
        }
        eprintln!("No reading was acknowledged for {longest:?}; measured again.");
    }
    panic!("the machine halts for half a second again and again");
}

/// Over whole seconds, so that as many commits are counted as there are.
fn measure(gateway: &Gateway, seconds: u64) -> Measured {
    let (begun, bytes, first) = (Instant::now(), written(gateway), taken(gateway));
    std::thread::sleep(Duration::from_secs(seconds).saturating_sub(begun.elapsed()));
    Measured { bytes: written(gateway) - bytes, readings: taken(gateway) - first }
}
