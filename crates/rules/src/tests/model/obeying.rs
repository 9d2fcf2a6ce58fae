//! The engine at work, as the model's other side.

use super::*;

/// The engine with outputs that obey, unless they refuse.
pub(super) struct Real {
    pub(super) engine: Engine,
    specs: Vec<RuleSpec>,
    facts: [Option<i32>; SIGNALS],
    at: Duration,
    refusing: [bool; 2],
    pub(super) on: [bool; 2],
}

impl Real {
    pub(super) fn new(engine: Engine, specs: Vec<RuleSpec>) -> Self {
        Self { engine, specs, facts: [None; SIGNALS], at: s(0), refusing: [false; 2], on: [false; 2] }
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut orders = Vec::new();
        self.engine.step(Now::without_wall(self.at), event, &mut orders);
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
            What::LetGo { output, .. } => {
                self.on[place(output)] = false;
                Ok(())
            }
            What::Toggle { .. } | What::Publish => Ok(()),
        };
        Event::Answered(order.id, answer)
    }

    fn write_all(&mut self) {
        for (signal, value) in self.facts.into_iter().enumerate() {
            let place = self.engine.table().signals().position(|known| known == format!("s{signal}"));
            let value = value.map_or(Value::Unknown, |value| Value::Number(f64::from(value)));
            place.into_iter().for_each(|place| self.engine.write(place, value));
        }
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
                all.iter().for_each(|(signal, value)| self.facts[*signal] = *value);
                self.write_all();
                self.step(Event::Time);
            }
            Happens::Commanded(nth) => output(*nth).into_iter().for_each(|output| self.step(Event::Commanded(output))),
            Happens::Switched(rule, is_on) => {
                let place = self.engine.table().rule(&self.specs[*rule].name);
                place.into_iter().for_each(|rule| self.step(Event::Switched(rule, *is_on)));
            }
            Happens::Refuses(output, refuses) => self.refusing[*output] = *refuses,
            Happens::TooLong(nth) => {
                let Some(output) = output(*nth) else { return };
                if self.engine.owner(output).is_some() {
                    self.on[*nth] = false;
                    self.step(Event::Tripped(output, Trip::Lasting("max_on".into())));
                }
            }
            Happens::Interlocked(nth) => {
                let Some(output) = output(*nth) else { return };
                if self.engine.owner(output).is_some() {
                    self.on[*nth] = false;
                    self.step(Event::Tripped(output, Trip::Passing("interlock".into())));
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
