//! Pictures of gateways that never were.

use super::*;
use std::sync::LazyLock;

use fieldgate_model::{Moment, Qos, Reading, RunId, SensorStatus, Settings};

/// What a sensor of [`Board`] measures: a number, a flag, and a word for what happens.
const QUANTITIES: [Quantity; 3] =
    [Quantity::new("temperature", "°C", 2), Quantity::flag("open"), Quantity::word("click")];

impl Snapshot {
    /// One that differs with its number in what changes most often: an output, and now and then a line of the log.
    pub(in crate::http) fn example(nth: u64) -> Self {
        static INVENTORY: LazyLock<Arc<Inventory>> = LazyLock::new(Arc::default);
        let now = clock::now();
        let line = |nth| Line { nth, time: now.wall, weight: log_lines::Weight::Info, text: format!("line {nth}") };
        let (text, output) = (format!("seq {nth}"), Name::new("pump").unwrap());
        Self {
            inventory: Arc::clone(&INVENTORY),
            about: Map::new(),
            sensors: BTreeMap::new(),
            outputs: BTreeMap::from([(
                output,
                json!({ "name": "pump", "value": text, "limits": { "safe_state": "off" } }),
            )]),
            variables: BTreeMap::new(),
            wholes: ["clock", "rules", "link", "spool", "alarms"].map(|key| (key, Json::Null)),
            log: (nth / 10..nth / 10 + log_lines::LINES as u64).map(|nth| Arc::new(line(nth))).collect(),
            now: now.wall,
            boot: now.boot,
            uptime: Duration::from_secs(nth / 4),
        }
    }
}

/// A gateway whose sensors, outputs and counts a test moves.
pub(in crate::http) struct Board {
    pub(in crate::http) now: Snapshot,
    seq: u64,
}

impl Board {
    /// With so many sensors, none of which has said anything.
    pub(in crate::http) fn of(sensors: usize) -> Self {
        let mut now = Snapshot::example(0);
        now.log.clear();
        let driver = fieldgate_drivers::find("waveform").unwrap();
        let settings = |nth| SensorSettings {
            name: Name::new(&format!("s{nth}")).unwrap(),
            driver,
            bus: None,
            every: Duration::from_secs(1),
            qos: Qos::AtLeastOnce,
            retain: false,
            settings: Settings::default(),
            filters: Vec::new(),
            report: None,
        };
        let sensors = (0..sensors).map(|nth| (settings(nth), QUANTITIES.to_vec())).collect();
        now.inventory = Arc::new(Inventory { sensors, ..Inventory::default() });
        let named = now.inventory.sensors.iter().enumerate();
        now.sensors = named
            .map(|(place, (settings, _))| (settings.name.clone(), Shown { place, view: SensorView::default() }))
            .collect();
        Self { now, seq: 0 }
    }

    /// Time passes.
    pub(in crate::http) fn pass(&mut self, millis: u64) {
        let passed = Duration::from_millis(millis);
        (self.now.boot, self.now.now, self.now.uptime) =
            (self.now.boot + passed, self.now.now + passed, self.now.uptime + passed);
    }

    fn view(&mut self, nth: usize) -> &mut SensorView {
        &mut self.now.sensors.values_mut().nth(nth).unwrap().view
    }

    /// A sensor is read: so many hundredths of a degree, and whether it is open; what it has not measured is left out.
    pub(in crate::http) fn read(&mut self, nth: usize, hundredths: Option<i16>, open: Option<bool>, clicks: bool) {
        self.seq += 1;
        let [temperature, flag, click] = &QUANTITIES;
        let measurements = [
            hundredths.map(|value| temperature.measured(f64::from(value) / 100.0)),
            open.map(|open| flag.observed(open)),
            clicks.then(|| click.happened("single")),
        ];
        let reading = Reading {
            sensor: Name::new("any").unwrap(),
            run: RunId(1),
            seq: self.seq,
            taken_at: Moment { boot: self.now.boot, wall: self.now.now, clock: ClockStatus::Synchronised },
            measurements: measurements.into_iter().flatten().collect(),
            samples: None,
        };
        self.view(nth).latest = Some(reading);
    }

    /// A sensor is well, or is not for this reason.
    pub(in crate::http) fn is(&mut self, nth: usize, error: Option<&str>) {
        let since = self.now.now;
        let view = self.view(nth);
        view.status = Some(if error.is_some() { SensorStatus::Down } else { SensorStatus::Ok });
        (view.since, view.error) = (Some(since), error.map(str::to_owned));
    }

    /// The output does something.
    pub(in crate::http) fn drive(&mut self, value: u8) {
        *self.now.outputs.values_mut().next().unwrap() = json!({ "name": "pump", "value": value });
    }

    /// So many messages wait.
    pub(in crate::http) fn queue(&mut self, queued: u8) {
        self.now.wholes[3].1 = json!({ "queued": queued });
    }

    /// The log has one more line.
    pub(in crate::http) fn log(&mut self) {
        let nth = self.now.log.last().map_or(1, |line| line.nth + 1);
        let line = Line { nth, time: self.now.now, weight: log_lines::Weight::Info, text: format!("line {nth}") };
        self.now.log.push(Arc::new(line));
        let surplus = self.now.log.len().saturating_sub(log_lines::LINES);
        self.now.log.drain(..surplus);
    }

    /// As after a reload: the same sensors, and what was known of them is not.
    pub(in crate::http) fn reload(&mut self) {
        self.now.inventory = Arc::new((*self.now.inventory).clone());
        self.now.sensors.values_mut().for_each(|shown| shown.view = SensorView::default());
    }
}
