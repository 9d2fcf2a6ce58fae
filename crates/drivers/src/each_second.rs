//! For chips that compute with what they measured before, and want to be asked every second for that: however seldom the
//! user samples them, they are asked in between.
//!
//! Nobody waits for such a chip. Each second the answer to the last question is fetched and the next question is put; a
//! sample is what the last answer was. It is an event-driven sensor without events: its descriptor is a timer.

use std::os::fd::BorrowedFd;

use embedded_hal::i2c::I2c;

use crate::i2c_chip::another;
use crate::sensirion::read_words;
use crate::{DriverError, Event, Sensor};
use fieldgate_bus::seconds::Seconds;
use fieldgate_bus::{BusError, SharedI2c};
use fieldgate_model::Measurement;

/// A chip that has reported nothing usable for longer is built again: it may have lost its supply and answer, when it is back, as if
/// the air were good. Less is forgiven, for a new start forgets what it has learnt.
const LOST_AFTER: u64 = 3;

/// What an answer means; too early while the chip warms up.
type Understand<const N: usize> = Box<dyn FnMut([u16; N]) -> Result<Vec<Measurement>, DriverError>>;

/// A chip of Sensirion's that answers `command` with `N` words.
pub(crate) struct EachSecond<const N: usize, I = SharedI2c> {
    chip: &'static str,
    i2c: I,
    address: u8,
    seconds: Box<dyn Seconds>,
    command: Vec<u8>,
    understand: Understand<N>,
    /// Whether an answer is to be fetched.
    asked: bool,
    /// Seconds since the chip last answered as it should.
    silent: u64,
    latest: Result<Vec<Measurement>, DriverError>,
}

impl<const N: usize, I: I2c<Error = BusError>> EachSecond<N, I> {
    /// Of a chip that was brought up; the first question is put with the first second.
    pub(crate) fn new(
        chip: &'static str,
        (i2c, address): (I, u8),
        mut seconds: Box<dyn Seconds>,
        command: Vec<u8>,
        understand: impl FnMut([u16; N]) -> Result<Vec<Measurement>, DriverError> + 'static,
    ) -> Self {
        // What passed during the bring-up does not count.
        seconds.passed();
        let (understand, latest) = (Box::new(understand), Err(DriverError::TooEarly("it is asked once a second")));
        Self { chip, i2c, address, seconds, command, understand, asked: false, silent: 0, latest }
    }

    /// Does what is due, if a second has begun.
    fn turn(&mut self) -> Result<(), DriverError> {
        let passed = self.seconds.passed();
        if passed == 0 {
            return Ok(());
        }
        self.silent = self.silent.saturating_add(passed);
        match self.exchange() {
            Ok(None) => {}
            Ok(Some(words)) => {
                let understood = (self.understand)(words);
                self.finish_reading(understood);
            }
            Err(error) => self.finish_reading(Err(error)),
        }
        if self.silent > LOST_AFTER {
            let last = match &self.latest {
                Err(error) => error.to_string(),
                Ok(_) => "no answer".to_owned(),
            };
            let why = format!("it has reported nothing usable for {} s: {last}", self.silent);
            return Err(another(self.chip, self.address, why));
        }
        Ok(())
    }

    /// Fetches what was asked for and asks again, whatever came.
    fn exchange(&mut self) -> Result<Option<[u16; N]>, DriverError> {
        let answer = self.asked.then(|| read_words(&mut self.i2c, self.address, "the measurement")).transpose();
        let asked = self.i2c.write(self.address, &self.command);
        self.asked = asked.is_ok();
        let answer = answer?;
        if answer.is_none() {
            asked.map_err(|error| match error {
                BusError::NoAcknowledge { .. } => DriverError::NotReady("the chip"),
                other => DriverError::Bus(other),
            })?;
        }
        Ok(answer)
    }

    fn finish_reading(&mut self, result: Result<Vec<Measurement>, DriverError>) {
        match &result {
            Ok(_) | Err(DriverError::TooEarly(_)) => self.silent = 0,
            // The bus was busy when a second began, so the question was put late; the answer before it is fresh enough.
            Err(DriverError::NotReady(_)) if self.silent <= 2 && self.latest.is_ok() => return,
            Err(_) => {}
        }
        self.latest = result;
    }
}

impl<const N: usize, I: I2c<Error = BusError>> Sensor for EachSecond<N, I> {
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        self.turn()?;
        match &self.latest {
            Ok(measurements) => Ok(measurements.clone()),
            Err(DriverError::TooEarly(why)) => Err(DriverError::TooEarly(why)),
            // A failure is reported once.
            Err(_) => std::mem::replace(&mut self.latest, Err(DriverError::NotReady("the measurement"))),
        }
    }

    /// A failure in between is not reported unless it lasts.
    fn take_events(&mut self) -> Result<Vec<Event>, DriverError> {
        self.turn()?;
        Ok(Vec::new())
    }

    fn is_event_driven(&self) -> bool {
        true
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.seconds.descriptor()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::transcript::{Step, Transcript, check};
    use fieldgate_model::Quantity;

    const LOUDNESS: Quantity = Quantity::new("loudness", "dB", 0);

    /// Seconds that pass when the test says so.
    struct Given(Rc<Cell<u64>>);

    impl Seconds for Given {
        fn passed(&mut self) -> u64 {
            self.0.take()
        }

        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            None
        }
    }

    fn start(steps: impl IntoIterator<Item = Step>) -> (Rc<Cell<u64>>, EachSecond<1, Transcript>) {
        let seconds = Rc::new(Cell::new(7));
        let understand = |[word]: [u16; 1]| match word {
            0 => Err(DriverError::TooEarly("it warms up")),
            _ => Ok(vec![LOUDNESS.measured(f64::from(word))]),
        };
        let place = (Transcript::new(0x58, steps), 0x58);
        let chip =
            EachSecond::new("microphone", place, Box::new(Given(Rc::clone(&seconds))), vec![0x20, 0x08], understand);
        (seconds, chip)
    }

    fn ask() -> Step {
        Step::Write(vec![0x20, 0x08])
    }

    #[test]
    fn between_samples_the_chip_is_asked_once_a_second_and_no_more() {
        let steps = [
            ask(),
            Step::Read(vec![0x00, 0x00, 0x81]),
            ask(),
            Step::Read(vec![0xBE, 0xEF, 0x92]),
            ask(),
            Step::Read(vec![0x80, 0x00, 0xA2]),
            ask(),
        ];
        let (seconds, mut chip) = start(steps);
        assert!(chip.take_events().unwrap().is_empty());
        assert!(matches!(chip.sample(), Err(DriverError::TooEarly("it is asked once a second"))));
        for _ in 0..2 {
            seconds.set(1);
            assert!(chip.take_events().unwrap().is_empty());
            chip.take_events().unwrap();
        }
        assert!(matches!(chip.sample(), Err(DriverError::TooEarly("it warms up"))));
        // The bus was busy for three seconds.
        seconds.set(3);
        check(&chip.sample().unwrap(), "loudness", 48_879.0, 0.0);
        check(&chip.sample().unwrap(), "loudness", 48_879.0, 0.0);
        seconds.set(1);
        check(&chip.sample().unwrap(), "loudness", 32_768.0, 0.0);
    }

    #[test]
    fn one_answer_that_is_late_is_forgiven_and_one_that_is_damaged_is_reported() {
        let good = Step::Read(vec![0xBE, 0xEF, 0x92]);
        let damaged = Step::Read(vec![0xBE, 0xEF, 0x93]);
        let (seconds, mut chip) = start([ask(), good, ask(), Step::Nak, ask(), damaged, ask()]);
        let mut after_a_second = || {
            seconds.set(1);
            chip.sample()
        };
        after_a_second().unwrap_err();
        for _ in 0..2 {
            check(&after_a_second().unwrap(), "loudness", 48_879.0, 0.0);
        }
        assert!(matches!(after_a_second(), Err(DriverError::BadChecksum { .. })));
        assert!(matches!(chip.sample(), Err(DriverError::NotReady(_))));
    }

    #[test]
    fn a_chip_that_stays_silent_is_lost() {
        let (seconds, mut chip) = start(std::iter::repeat_n(Step::Nak, 4));
        for second in 1..=3 {
            seconds.set(1);
            assert!(chip.take_events().is_ok(), "second {second}");
        }
        seconds.set(1);
        let error = chip.take_events().unwrap_err();
        assert!(!error.is_transient());
        let words = "no microphone at address 0x58: it has reported nothing usable for 4 s: the chip is not ready";
        assert_eq!(error.to_string(), words);
    }
}
