//! waveform: a signal generator without hardware.
//!
//! For trying out dashboards, for the demo and for the tests of delivery: shape `counter` says 1, 2, 3 …, so a consumer
//! can see at once whether one is missing. The other shapes follow the monotonic clock of the machine, so that they do not
//! jump when the date is set.

use std::f64::consts::TAU;
use std::time::{Duration, Instant};

use crate::{BusNeed, DriverError, DriverSpec, Proof, Role, Sensor};
use fieldgate_bus::Bus;
use fieldgate_model::{Field, Kind, Measurement, Need, Quantity, Settings};

/// The driver's line in [`DRIVERS`](crate::DRIVERS).
pub static SPEC: DriverSpec = DriverSpec {
    name: "waveform",
    summary: "signal generator without hardware: counter, sine, square, noise, constant",
    page: "\
Wiring: none. Nothing is read from outside.

counter   1, 2, 3 …: one more at each sampling; period, amplitude and offset do
          not apply
sine      offset ± amplitude, one wave per period
square    offset + amplitude in the first half of each period, offset −
          amplitude in the second
noise     evenly spread within offset ± amplitude
constant  offset",
    bus: BusNeed::None,
    settings: &[
        Field {
            name: "shape",
            kind: Kind::Choice(&["counter", "sine", "square", "noise", "constant"]),
            need: Need::Default("sine"),
            doc: "the form of the signal",
        },
        Field {
            name: "period",
            kind: Kind::Duration { min: Duration::from_millis(1), max: Duration::from_secs(366 * 86_400) },
            need: Need::Default("60s"),
            doc: "length of one wave of sine and square",
        },
        Field {
            name: "amplitude",
            kind: Kind::Number { min: 0.0, max: 1e9 },
            need: Need::Default("1"),
            doc: "how far sine, square and noise go from the offset",
        },
        Field {
            name: "offset",
            kind: Kind::Number { min: -1e9, max: 1e9 },
            need: Need::Default("0"),
            doc: "the middle of the signal",
        },
    ],
    claims: |_| Vec::new(),
    wrong: |_| None,
    role: Role::Sensor {
        measurements: |settings| vec![quantity(shape(settings))],
        default_every: None,
        build: |_: &mut dyn Bus, settings| Ok(Box::new(Waveform::new(settings))),
    },
    example: "\
tide:
  driver: waveform
  every: 1s
  settings: { shape: sine, period: 60s, amplitude: 2.5, offset: 10 }",
    identity: None,
    chip: None,
    proofs: &[Proof::NoHardware],
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Counter,
    Sine,
    Square,
    Noise,
    Constant,
}

fn shape(settings: &Settings) -> Shape {
    match settings.text("shape") {
        "counter" => Shape::Counter,
        "square" => Shape::Square,
        "noise" => Shape::Noise,
        "constant" => Shape::Constant,
        _ => Shape::Sine,
    }
}

fn quantity(shape: Shape) -> Quantity {
    Quantity::new("value", "", if shape == Shape::Counter { 0 } else { 3 })
}

struct Waveform {
    shape: Shape,
    quantity: Quantity,
    period: Duration,
    amplitude: f64,
    offset: f64,
    started: Instant,
    count: u64,
}

impl Waveform {
    fn new(settings: &Settings) -> Self {
        let shape = shape(settings);
        Self {
            shape,
            quantity: quantity(shape),
            period: settings.duration("period"),
            amplitude: settings.number("amplitude"),
            offset: settings.number("offset"),
            started: Instant::now(),
            count: 0,
        }
    }

    /// The signal `elapsed` after its start; noise is drawn from `chance` in 0..1.
    fn at(&self, elapsed: Duration, chance: f64) -> f64 {
        let phase = (elapsed.as_secs_f64() / self.period.as_secs_f64()).fract();
        let swing = match self.shape {
            Shape::Counter => return self.count as f64,
            Shape::Constant => 0.0,
            Shape::Sine => (phase * TAU).sin(),
            Shape::Square if phase < 0.5 => 1.0,
            Shape::Square => -1.0,
            Shape::Noise => chance * 2.0 - 1.0,
        };
        self.offset + self.amplitude * swing
    }
}

impl Sensor for Waveform {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.count += 1;
        let value = self.at(self.started.elapsed(), fastrand::f64());
        Ok(vec![self.quantity.measured(value)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waveform(shape: Shape) -> Waveform {
        Waveform {
            shape,
            quantity: quantity(shape),
            period: Duration::from_secs(4),
            amplitude: 2.0,
            offset: 10.0,
            started: Instant::now(),
            count: 0,
        }
    }

    #[test]
    fn a_sine_has_its_crest_after_a_quarter_of_the_period() {
        let sine = waveform(Shape::Sine);
        assert!((sine.at(Duration::from_secs(1), 0.0) - 12.0).abs() < 1e-9);
        assert!((sine.at(Duration::from_secs(7), 0.0) - 8.0).abs() < 1e-9);
    }

    #[test]
    fn a_square_changes_at_half_of_the_period() {
        let square = waveform(Shape::Square);
        assert_eq!(square.at(Duration::from_millis(1999), 0.0), 12.0);
        assert_eq!(square.at(Duration::from_millis(2001), 0.0), 8.0);
    }

    #[test]
    fn noise_stays_within_its_amplitude_and_constant_on_its_offset() {
        let noise = waveform(Shape::Noise);
        assert_eq!((noise.at(Duration::ZERO, 0.0), noise.at(Duration::ZERO, 1.0)), (8.0, 12.0));
        assert_eq!(waveform(Shape::Constant).at(Duration::from_secs(3), 0.7), 10.0);
    }

    #[test]
    fn a_counter_says_one_two_three() {
        let mut counter = waveform(Shape::Counter);
        let values: Vec<_> = (0..3).map(|_| counter.sample().unwrap()[0].clone()).collect();
        assert_eq!(values, [1.0, 2.0, 3.0].map(|n| Quantity::new("value", "", 0).measured(n)));
    }
}
