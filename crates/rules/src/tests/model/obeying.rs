//! The engine at work, as the model's other side.

use fieldgate_formula::TimeOfDay;

use super::story::{NUMBERS, OUTPUTS, WORDS};
use super::*;

/// The engine with outputs that obey, unless they refuse.
pub(super) struct Real {
    pub(super) engine: Engine,
    specs: Vec<RuleSpec>,
    facts: Facts,
    at: Duration,
    refusing: [bool; 2],
    pub(super) on: [bool; 2],
}

impl Real {
    pub(super) fn new(engine: Engine, specs: Vec<RuleSpec>) -> Self {
        Self { engine, specs, facts: Facts::default(), at: s(0), refusing: [false; 2], on: [false; 2] }
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut orders = Vec::new();
        self.engine.step(Now { at: self.at, wall: self.wall() }, event, &mut orders);
        for order in orders {
            let answer = self.obey(order);
            self.step(answer);
        }
    }

    fn obey(&mut self, order: Order) -> Event {
        let place = |output: usize| {
            let name = &self.engine.table().outputs()[output];
            OUTPUTS.iter().position(|known| *known == name.as_str()).unwrap()
        };
        let answer = match order.what {
            What::Set { output, .. } if self.refusing[place(output)] => Err(Arc::from("limit")),
            What::Set { output, .. } => {
                self.on[place(output)] = true;
                Ok(())
            }
            // No limit refuses the safe state.
            What::LetGo { output, action: None } => {
                self.on[place(output)] = false;
                Ok(())
            }
            What::LetGo { output, .. } | What::Toggle { output } if self.refusing[place(output)] => {
                Err(Arc::from("limit"))
            }
            What::LetGo { output, action: Some(action) } => {
                self.on[place(output)] = action == ON;
                Ok(())
            }
            What::Toggle { output } => {
                self.on[place(output)] ^= true;
                Ok(())
            }
            What::Publish => Ok(()),
        };
        Event::Answered(order.id, answer)
    }

    /// What the clock shows; it is set from outside, and else stands still.
    fn wall(&self) -> Option<Wall> {
        let time = TimeOfDay::new(self.facts.hour?, 0)?;
        Some(Wall { time, weekday: 0, shown_for: s(60) })
    }

    fn write(&mut self, signal: &str, value: Value<'_>) {
        let place = self.engine.table().signals().position(|known| known == signal);
        place.into_iter().for_each(|place| self.engine.write(place, value));
    }

    fn write_all(&mut self) {
        for (signal, value) in NUMBERS.into_iter().zip(self.facts.numbers) {
            self.write(signal, value.map_or(Value::Unknown, |value| Value::Number(f64::from(value))));
        }
        let mode = self.facts.is_auto.map(|is_auto| if is_auto { "auto" } else { "off" });
        self.write("mode", mode.map_or(Value::Unknown, Value::Text));
    }

    /// Something else is so from now on.
    fn change(&mut self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts);
        self.write_all();
        self.step(Event::Time);
    }

    pub(super) fn advance(&mut self, to: Duration) {
        while let Some(wake) = self.engine.wake_at().filter(|wake| *wake <= to) {
            self.at = wake.max(self.at);
            self.step(Event::Time);
        }
        self.at = to;
    }

    pub(super) fn happens(&mut self, happens: &Happens) {
        let output = |output: usize| self.engine.table().output(&name(OUTPUTS[output]));
        match happens {
            Happens::Written(all) => {
                self.change(|facts| all.iter().for_each(|(number, value)| facts.numbers[*number] = *value));
            }
            Happens::Target(value) => self.change(|facts| facts.numbers[2] = Some(*value)),
            Happens::Mode(is_auto) => self.change(|facts| facts.is_auto = Some(*is_auto)),
            Happens::Shows(hour) => self.change(|facts| facts.hour = *hour),
            Happens::Link(is_up) => self.step(Event::Link(*is_up)),
            Happens::Clicked(word) => {
                self.write("bell.click", Value::Text(WORDS[*word]));
                self.step(Event::Time);
            }
            Happens::Commanded(nth) => {
                let takes = |output: &usize| self.engine.refuses_commands(*output).is_none();
                output(*nth).filter(takes).into_iter().for_each(|output| self.step(Event::Commanded(output)));
            }
            Happens::Switched(rule, is_on) => {
                let place = self.engine.table().rule(&self.specs[*rule].name);
                place.into_iter().for_each(|rule| self.step(Event::Switched(rule, *is_on)));
            }
            Happens::Refuses(output, refuses) => self.refusing[*output] = *refuses,
            Happens::TooLong(nth) => {
                let Some(output) = output(*nth) else { return };
                if self.engine.owner(output).is_some() {
                    self.on[*nth] = false;
                    self.step(Event::Tripped(output, Trip::Latched("max_on".into())));
                }
            }
            Happens::Interlocked(nth) => {
                let Some(output) = output(*nth) else { return };
                if self.engine.owner(output).is_some() {
                    self.on[*nth] = false;
                    self.step(Event::Tripped(output, Trip::Transient("interlock".into())));
                }
            }
            Happens::Reloaded(there) => {
                let kept = self.specs.iter().zip(there).filter(|(_, there)| **there).map(|(spec, _)| spec.clone());
                let next = table(kept.collect());
                let mut orders = Vec::new();
                self.engine.retire(&next, self.at, &mut orders);
                let answers: Vec<_> = orders.into_iter().map(|order| self.obey(order)).collect();
                self.engine = self.engine.clone().adopt(next);
                self.write_all();
                self.step(Event::Time);
                answers.into_iter().for_each(|answer| self.step(answer));
            }
        }
    }
}
