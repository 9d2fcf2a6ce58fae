//! pulse-counter: a meter, a flow sensor, a rain gauge or an anemometer that gives pulses on a GPIO line.
//!
//! The kernel stamps the edges and numbers them, so the rate comes from when the pulses really were, and edges that it had to
//! drop are noticed. What was counted is in a [`Count`], which outlives the device and the program; the driver itself knows
//! neither the time (the line gives the present time on the clock of its edges) nor where counts are kept.

mod meter;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::gpio_input;
use crate::{BusNeed, DriverError, DriverSpec, Event, Proof, Role, Sensor};
use fieldgate_bus::{Bus, Claim, InputLine};
use fieldgate_model::{Count, CountScale, Field, Kind, Measurement, Need, Quantity, Settings};

use meter::{Meter, Wanted};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "pulse-counter",
    summary: "a meter, a flow sensor or a rain gauge that gives pulses: total, which survives a restart, and rate",
    page: "\
Wiring: a reed contact or an open collector (S0 output) between the line and
ground needs active_low: true and bias: pull-up. A level must not exceed the
line's supply, 3.3 V on a Raspberry Pi: flow sensors that run on 5 V need a
divider. A reed contact bounces, so give it a debounce; the pulse must last
longer than that. A flow sensor with a Hall element does not bounce.

pulses_per_unit and unit: what is printed on the meter, such as 1000 imp/kWh
or 7.5 pulses per litre (450 per litre for what is sold as F = 7.5 Q); 0.1
where one pulse is 10 L. Without them pulses are counted.
per: a rate of kWh per h is published as kW, of Wh per h as W, of pulses per s as Hz.
edge: rising counts a pulse when it begins to be active, both counts twice.
offset: is added to the total, such as what the meter showed at the start.

The total can be set while it counts, for instance when the meter was replaced:
a number in the unit, or {\"value\": 1234.56, \"id\": \"a1\"}, published without
the retain flag on the sensor's topic with /total/set behind it. It is rounded
to the nearest pulse. The answer on /total/reply has the total that applies now,
once that is on the disk; the readings go on from there, and pulses that come
meanwhile are added. A total below the offset is refused. Filters come after
it: what is set is the total in front of them.

total is kept on the disk of the spool under the sensor's name and is there
before it is published, so a total that was seen once never goes back by
itself, even when the program is killed or the power is cut. What is lost then: the pulses
since the last reading (`every`, and the time of one write). An orderly stop
loses none. Pulses while the program does not run are lost, always. Each
reading with new pulses is a write to the disk: every: 1s wears a card out.
A renamed sensor begins at 0; one that was taken out and is put back goes on.
A changed pulses_per_unit revalues all pulses. Without a disk that can be
opened there is no total, only a rate; while a disk fails (B/health says so)
totals go on, and a kill then takes them back to what the disk has. Counts
that are damaged on the disk begin at 0 again, which B/health reports.

rate is measured from pulse to pulse. While none comes, it is what the
silence allows at most, so it falls slowly; with slow meters (a pulse a
minute) that is all that can be known. The first reading has none.
missed counts edges that the kernel had no room for because nobody took them
in time, since the start; they are in the total, for edges take turns. Above
some thousand a second the kernel's own interrupt merges edges, which nobody
can notice.",
    bus: BusNeed::Gpio,
    settings: &[
        gpio_input::LINE,
        gpio_input::ACTIVE_LOW,
        gpio_input::BIAS,
        gpio_input::DEBOUNCE,
        Field {
            name: "edge",
            kind: Kind::Choice(&["rising", "falling", "both"]),
            need: Need::Default("rising"),
            doc: "what counts as a pulse: the line becomes active, inactive, or either",
        },
        Field {
            name: "pulses_per_unit",
            kind: Kind::Number { min: 1e-6, max: 1e9 },
            need: Need::Default("1"),
            doc: "how many pulses make one unit",
        },
        Field {
            name: "unit",
            kind: Kind::Text,
            need: Need::Default("\"\""),
            doc: "what is counted, such as kWh, m³ or L; pulses if left out",
        },
        Field {
            name: "per",
            kind: Kind::Choice(&["s", "min", "h"]),
            need: Need::Default("s"),
            doc: "the unit of time of the rate",
        },
        Field {
            name: "offset",
            kind: Kind::Number { min: -1e12, max: 1e12 },
            need: Need::Default("0"),
            doc: "added to the total, in the unit",
        },
    ],
    claims: |settings| vec![Claim::Line(settings.text("line").to_owned())],
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| Scale::new(settings).quantities().into(),
        default_every: Some(Duration::from_secs(60)),
        build: |bus: &mut dyn Bus, settings| Ok(Box::new(PulseCounter::claim(bus, settings)?)),
    },
    example: "\
electricity:
  driver: pulse-counter
  bus: header
  settings:
    line: GPIO22
    active_low: true
    bias: pull-up
    debounce: 5ms
    pulses_per_unit: 1000
    unit: kWh
    per: h",
    identity: None,
    chip: None,
    proofs: &[Proof::Kernel("gpio-sim")],
};

const MISSED: Quantity = Quantity::new("missed", "", 0);

/// Decimals of a rate: it comes from the kernel's stamps, so more than a user reads would be meant.
const RATE_DECIMALS: u8 = 3;

/// From pulses to what the user counts.
#[derive(Debug)]
struct Scale {
    count: CountScale,
    /// Seconds of the unit of time of the rate.
    per: f64,
    total: Quantity,
    rate: Quantity,
}

impl Scale {
    fn new(settings: &Settings) -> Self {
        let (unit, per) = (settings.text("unit"), settings.text("per"));
        let count = CountScale { per_unit: settings.number("pulses_per_unit"), offset: settings.number("offset") };
        // As many decimals as show one pulse.
        let decimals = count.per_unit.log10().ceil().clamp(0.0, 9.0) as u8;
        let total = Quantity { unit: unit.to_owned().into(), ..Quantity::new("total", "", decimals) };
        Self {
            count,
            per: match per {
                "min" => 60.0,
                "h" => 3600.0,
                _ => 1.0,
            },
            total: Quantity { count_scale: Some(count), ..total },
            rate: Quantity { unit: rate_unit(unit, per).into(), ..Quantity::new("rate", "", RATE_DECIMALS) },
        }
    }

    fn quantities(&self) -> [Quantity; 3] {
        [self.total.clone(), self.rate.clone(), MISSED]
    }

    fn total(&self, pulses: u64) -> Measurement {
        self.total.measured(self.count.total(pulses))
    }

    fn rate(&self, pulses_per_second: f64) -> Measurement {
        self.rate.measured(pulses_per_second / self.count.per_unit * self.per)
    }
}

fn rate_unit(unit: &str, per: &str) -> String {
    match (unit, per) {
        ("kWh", "h") => "kW".to_owned(),
        ("Wh", "h") => "W".to_owned(),
        ("", "s") => "Hz".to_owned(),
        ("", per) => format!("1/{per}"),
        (unit, per) => format!("{unit}/{per}"),
    }
}

struct PulseCounter {
    line: Box<dyn InputLine>,
    scale: Scale,
    meter: Meter,
    /// Where the total is; nothing for one that is read once and by itself.
    count: Option<Arc<Count>>,
}

impl PulseCounter {
    fn claim(bus: &mut dyn Bus, settings: &Settings) -> Result<Self, DriverError> {
        let mut line = bus.input(&gpio_input::request(settings))?;
        let wanted = match settings.text("edge") {
            "falling" => Wanted::Falling,
            "both" => Wanted::Both,
            _ => Wanted::Rising,
        };
        let meter = Meter::new(wanted, line.is_active()?);
        Ok(Self { line, scale: Scale::new(settings), meter, count: None })
    }

    fn take_pulses(&mut self) -> Result<(), DriverError> {
        let edges = self.line.take_edges()?;
        let now = self.line.now();
        let pulses = edges.iter().map(|edge| self.meter.see(edge, now)).sum();
        if let Some(count) = &self.count {
            count.add(pulses);
        }
        Ok(())
    }
}

impl Sensor for PulseCounter {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.take_pulses()?;
        let total = self.count.as_ref().and_then(|count| count.total());
        let rate = self.meter.rate(self.line.now());
        if self.count.is_none() && rate.is_none() {
            return Err(DriverError::NotReady("the rate"));
        }
        let all = [total.map(|pulses| self.scale.total(pulses)), rate.map(|rate| self.scale.rate(rate))];
        Ok(all.into_iter().flatten().chain([MISSED.measured(self.meter.missed() as f64)]).collect())
    }

    fn take_events(&mut self) -> Result<Vec<Event>, DriverError> {
        self.take_pulses()?;
        Ok(Vec::new())
    }

    fn count_into(&mut self, count: &Arc<Count>) -> bool {
        self.count = Some(Arc::clone(count));
        true
    }

    fn is_event_driven(&self) -> bool {
        true
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.line.descriptor()
    }
}

#[cfg(test)]
mod tests;
