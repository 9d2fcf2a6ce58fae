//! What one sampling does to its sensor and to its bus, without a thread: how many ticks were missed is said by the test.

use super::alone::{alone, of, wait_long};
use super::reload::with_expander;
use super::*;
use crate::worker::backoff::Purpose;
use crate::worker::bus_slots::{Busy, News, refresh_at};
use crate::worker::run::{Loop, busy_on};
use fieldgate_bus::BusError;
use fieldgate_drivers::partly::Partly;

const HUMIDITY: Quantity = Quantity::new("humidity", "%", 1);

const fn driver(build: drivers::BuildSensor) -> DriverSpec {
    let role = Role::Sensor { measurements: |_| vec![TEMPERATURE, HUMIDITY], default_every: None, build };
    DriverSpec { bus: BusNeed::Gpio, role, ..NOBODY }
}

fn sensor(driver: &'static DriverSpec) -> (SensorSettings, Arc<Tally>) {
    let (mut settings, tally) = counter("n", 50);
    settings.driver = driver;
    (settings, tally)
}

fn sample(thread: &mut Loop, missed: u64) {
    thread.sensors[0].sample(missed, clock::boottime(), &mut thread.buses);
}

/// The statuses that were published since the last question.
fn statuses(events: &mut mpsc::Receiver<Event>) -> Vec<(SensorStatus, Option<String>)> {
    let all = std::iter::from_fn(|| events.try_recv().ok());
    all.filter_map(|event| match event {
        Event::Status { status, error, .. } => Some((status, error)),
        _ => None,
    })
    .collect()
}

/// Its humidity is missing in its first samples.
struct Half(u32);

impl Sensor for Half {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.0 += 1;
        if self.0 > 5 {
            return Ok(vec![TEMPERATURE.measured(1.0), HUMIDITY.measured(1.0)]);
        }
        let left_out = vec![("humidity".into(), DriverError::NotReady("this channel"))];
        Err(DriverError::Partly(Partly { measured: vec![TEMPERATURE.measured(1.0)], left_out }))
    }
}

static HALF: DriverSpec = driver(|_, _| Ok(Box::new(Half(0))));

#[test]
fn one_that_is_degraded_for_another_reason_says_so_and_a_longer_interval_ends_being_too_slow() {
    let (mut thread, _, mut events) = alone();
    let (settings, tally) = sensor(&HALF);
    thread.adopt(of(vec![(settings.clone(), Arc::clone(&tally))], Vec::new()));
    (0..5).for_each(|_| sample(&mut thread, 3));
    let words = "without humidity: this channel is not ready";
    assert_eq!(statuses(&mut events), [(SensorStatus::Degraded, Some(words.into()))]);
    sample(&mut thread, 3);
    let [(SensorStatus::Degraded, Some(words))] = &statuses(&mut events)[..] else { panic!("another reason") };
    assert!(is_too_slow(words), "{words}");
    assert_eq!(tally.skipped.load(Ordering::Relaxed), 18);
    let every = Duration::from_secs(1);
    thread.adopt(of(vec![(SensorSettings { every, ..settings }, tally)], Vec::new()));
    sample(&mut thread, 0);
    assert_eq!(statuses(&mut events), [(SensorStatus::Ok, None)]);
}

/// Times out.
struct TimesOut;

impl Sensor for TimesOut {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        wait_long();
        Err(DriverError::NotReady("the chip"))
    }
}

static TIMES_OUT: DriverSpec = driver(|_, _| Ok(Box::new(TimesOut)));

#[test]
fn one_that_fails_slowly_twice_rests() {
    let (mut thread, ..) = alone();
    thread.adopt(of(vec![sensor(&TIMES_OUT)], Vec::new()));
    let begun = clock::boottime();
    let domain = thread.sensors[0].domain;
    (0..2).for_each(|_| sample(&mut thread, 0));
    assert!(thread.buses.backoff.is_failing(domain));
    assert!(thread.buses.backoff.allowed_from(domain, Purpose::Sample) > begun);
    assert_eq!(thread.buses.backoff.why(domain), "the chip is not ready");
}

/// Says that its bus has gone.
struct Unplugged;

impl Sensor for Unplugged {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        Err(BusError::Lost { what: "the bus".into(), why: "has gone".into() }.into())
    }
}

static UNPLUGGED: DriverSpec = driver(|_, _| Ok(Box::new(Unplugged)));

/// As an adapter that was unplugged: nobody else looks at it.
#[test]
fn a_sensor_whose_bus_has_gone_closes_it_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut thread, ..) = alone();
    thread.adopt(plan(vec![sensor(&UNPLUGGED)], Vec::new(), &folder.path().join("bench.json")));
    sample(&mut thread, 0);
    assert_eq!(thread.buses.take_news(), [(Some(name("bench")), News::Gone)]);
}

#[test]
fn a_bus_is_named_while_it_is_opened_and_looked_at_and_another_of_its_name_is_closed_by_the_first_order_of_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|file| plan(Vec::new(), Vec::new(), &folder.path().join(file)));
    let (mut thread, ..) = alone();
    thread.adopt(one.clone());
    let named = Mutex::new(Vec::new());
    let note = |busy: Busy<'_>| {
        named.lock().unwrap().push(match busy {
            Busy::Nothing => None,
            Busy::Host => panic!("it has a name"),
            Busy::Bus(bus) => Some(bus.clone()),
        });
    };
    thread.buses.open_all(note);
    let begun = clock::boottime();
    assert!(thread.buses.refresh(true, note));
    let due = thread.buses.deadline().unwrap();
    assert!(due > begun);
    let is_early = !thread.buses.refresh(false, |_| ());
    assert!(is_early || clock::boottime() >= due, "its time has not come");
    assert_eq!(*named.lock().unwrap(), [Some(name("bench")), None, Some(name("bench")), None]);
    thread.release(&other);
    assert!(!thread.buses.has(Some(&name("bench")), &one.buses[0].1));
}

#[test]
fn the_report_of_a_bus_that_hangs_names_a_sensor_on_it() {
    let (mut thread, activity, _events) = alone();
    let (on_it, other) = (sensor(&HALF), counter("other", 50));
    let other = (SensorSettings { bus: None, ..other.0 }, other.1);
    thread.adopt(of(vec![other, on_it], Vec::new()));
    let begun = clock::boottime();
    let bench = name("bench");
    for (busy, named) in [(Busy::Bus(&bench), Some("n")), (Busy::Host, Some("other")), (Busy::Nothing, None)] {
        busy_on(&activity, &thread.sensors, busy);
        assert_eq!(activity.busy().map(|(name, _)| name), named.map(name));
        assert!(activity.last_turn() >= begun);
    }
}

/// Looks keep their distance, and a slow one leaves time for others.
#[test]
fn the_next_look_at_a_bus_is_computed_from_the_begin_of_a_quick_one_and_from_the_end_of_a_slow_one() {
    let at = Duration::from_millis;
    assert_eq!(refresh_at(at(1000), at(1001), at(100)), at(1100));
    assert_eq!(refresh_at(at(1000), at(1500), at(100)), at(1600));
}

#[test]
fn a_bus_that_cannot_be_opened_is_tried_again_after_a_second_and_one_that_goes_is_noticed_by_looking_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    let gone = |gone: bool| std::fs::write(&file, format!("{{\"gone\":{gone}}}")).unwrap();
    gone(true);
    let (mut thread, ..) = alone();
    thread.adopt(plan(Vec::new(), Vec::new(), &file));
    let begun = clock::boottime();
    thread.buses.open_all(|_| ());
    assert!(thread.buses.deadline().unwrap() >= begun + Duration::from_secs(1));
    gone(false);
    let (mut thread, ..) = alone();
    thread.adopt(plan(Vec::new(), Vec::new(), &file));
    thread.buses.open_all(|_| ());
    gone(true);
    thread.buses.refresh(true, |_| ());
    assert_eq!(thread.buses.take_news(), [(Some(name("bench")), News::Gone)]);
}

#[test]
fn a_chip_that_is_lost_takes_only_what_sits_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    std::fs::write(&file, r#"{"chips":{"0x20":{"P4":0},"0x21":{"P4":0}}}"#).unwrap();
    let mut both = with_expander(Vec::new(), &file);
    let on = fieldgate_bus::Upstream { name: name("bench"), settings: both.buses[0].1.clone() };
    let more = fieldgate_bus::expander::PCF8574.upon(on, [("address", Setting::Integer(0x21))]);
    both.buses.push((Some(name("more")), more));
    let (mut thread, ..) = alone();
    thread.adopt(both);
    // Not by all at once, which a slow one would end.
    for chip in ["pins", "more"] {
        thread.buses.bus(Some(&name(chip))).map(drop).unwrap();
    }
    let lost = || DriverError::from(BusError::Lost { what: "the chip".into(), why: "is silent".into() });
    thread.buses.leave_if_gone(Some(&name("pins")), &lost());
    assert_eq!(thread.buses.take_news(), [(Some(name("pins")), News::Gone)]);
}
