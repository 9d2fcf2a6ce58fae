//! A rule in words, for the person who wrote it.

use std::fmt;

use fieldgate_model::field::format_duration;

use crate::rule::{Manual, RuleSpec};

/// `when x < 19 has been true for 30s, set heater to on; when x > 21, make heater safe`.
impl fmt::Display for RuleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "when {}", self.when)?;
        if !self.hold.is_zero() {
            write!(f, " has been true for {}", format_duration(self.hold))?;
        }
        write!(f, ", {}", self.begins().join(", "))?;
        let ends = self.ends();
        if ends.is_empty() {
            return Ok(());
        }
        match &self.until {
            Some(until) => write!(f, "; when {until}")?,
            None => f.write_str("; when that is over")?,
        }
        match (self.until_for.is_zero(), &self.until) {
            (true, _) => {}
            (false, Some(_)) => write!(f, " has been true for {}", format_duration(self.until_for))?,
            (false, None) => write!(f, " for {}", format_duration(self.until_for))?,
        }
        if !self.lost.is_zero() {
            write!(f, ", or is unknown for {}", format_duration(self.lost))?;
        }
        write!(f, ", {}", ends.join(", "))?;
        if self.manual == Manual::Never {
            f.write_str("; commands are refused meanwhile")?;
        }
        Ok(())
    }
}

impl RuleSpec {
    fn begins(&self) -> Vec<String> {
        let set = self.set.iter().map(|(output, action)| format!("set {output} to {action}"));
        let toggle = self.toggle.iter().map(|output| format!("toggle {output}"));
        let publish = self.publish.iter().map(|publish| format!("publish to {}", publish.topic));
        set.chain(toggle).chain(publish).collect()
    }

    fn ends(&self) -> Vec<String> {
        let end = |output| match self.then_of(output) {
            Some(action) => format!("set {output} to {action}"),
            None => format!("make {output} safe"),
        };
        self.set.iter().map(|(output, _)| end(output)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Publication;
    use fieldgate_model::{Action, Name, OutputValue};
    use std::time::Duration;

    #[test]
    fn a_rule_reads_as_a_sentence() {
        let name = |text| Name::new(text).unwrap();
        let on = Action::Set(OutputValue::Switch(true));
        let heating = RuleSpec {
            hold: Duration::from_secs(30),
            until: Some("x > 21".into()),
            lost: Duration::from_secs(300),
            set: vec![(name("heater"), on)],
            manual: Manual::Never,
            ..RuleSpec::new(name("heating"), "x < 19")
        };
        let words = "when x < 19 has been true for 30s, set heater to on; when x > 21, or is unknown for 5m, \
                     make heater safe; commands are refused meanwhile";
        assert_eq!(heating.to_string(), words);
        let publish = Some(Publication { topic: "events/bell".into(), payload: String::new() });
        let bell =
            RuleSpec { toggle: vec![name("lamp")], publish, ..RuleSpec::new(name("bell"), "b.click == \"single\"") };
        assert_eq!(bell.to_string(), "when b.click == \"single\", toggle lamp, publish to events/bell");
        let lamp = Action::Set(OutputValue::Percent(20.0));
        let night = RuleSpec {
            until_for: Duration::from_secs(60),
            set: vec![(name("lamp"), lamp)],
            then: vec![(name("lamp"), Action::Set(OutputValue::Percent(0.0)))],
            ..RuleSpec::new(name("night"), "time > \"22:00\"")
        };
        assert_eq!(night.to_string(), "when time > \"22:00\", set lamp to 20; when that is over for 1m, set lamp to 0");
    }
}
