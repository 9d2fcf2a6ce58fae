//! A rule in words, for the person who wrote it.

mod condition;

use std::time::Duration;

use fieldgate_formula as language;
use fieldgate_model::field::format_duration;
use fieldgate_model::{Action, Move, Name, OutputValue};

use crate::rule::{Manual, RuleSpec};
use crate::table::SignalKind;
use crate::words::condition::Words;

impl RuleSpec {
    /// The rule as a sentence: `when room's temperature has been below 19 °C for 30 s, switch heater on; when …`.
    ///
    /// `describe` says what a name such as `room.temperature` is, as for [`Table::compile`](crate::Table::compile); it gives numbers
    /// their units. What has no words is shown as the formula that it is.
    pub fn in_words(&self, describe: impl Fn(&language::Name) -> Option<SignalKind>) -> String {
        let words = Words::new(&describe);
        let when = words.of(&self.when);
        let mut text = format!("when {}, {}", when.true_for(self.when_for), listed(&self.begins()));
        let ends = self.ends();
        if ends.is_empty() {
            return text;
        }
        let ending = match &self.until {
            Some(until) => format!("when {}", words.of(until).true_for(self.until_for)),
            None if when.is_moment() => format!("{} after the last one", span(self.until_for)),
            None if self.until_for.is_zero() => "when that is over".to_owned(),
            None => format!("when that has been over for {}", span(self.until_for)),
        };
        text += &format!("; {ending}");
        if !self.lost.is_zero() {
            text += &format!(", or has been unknown for {}", span(self.lost));
        }
        text += &format!(", {}", listed(&ends));
        if self.manual == Manual::Never {
            text += "; commands are refused meanwhile";
        }
        text
    }

    fn begins(&self) -> Vec<String> {
        let set = self.set.iter().map(|(output, action)| order(output, *action));
        let toggle = self.toggle.iter().map(|output| format!("toggle {output}"));
        let publish = self.publish.iter().map(|publish| format!("publish to {}", publish.topic));
        set.chain(toggle).chain(publish).collect()
    }

    fn ends(&self) -> Vec<String> {
        let end = |output| match self.then_of(output) {
            Some(action) => order(output, action),
            None => format!("make {output} safe"),
        };
        self.set.iter().map(|(output, _)| end(output)).collect()
    }
}

/// What is asked of an output.
fn order(output: &Name, action: Action) -> String {
    match action {
        Action::Set(OutputValue::Switch(true)) => format!("switch {output} on"),
        Action::Set(OutputValue::Switch(false)) => format!("switch {output} off"),
        Action::Set(OutputValue::Percent(percent)) => format!("set {output} to {percent} %"),
        Action::Set(OutputValue::Angle(Some(angle))) => format!("set {output} to {angle}°"),
        Action::Move(Move::Open) => format!("open {output}"),
        Action::Move(Move::Close) => format!("close {output}"),
        Action::Move(Move::Stop) => format!("stop {output}"),
        Action::Move(Move::To(percent)) => format!("move {output} to {percent} %"),
        other => format!("set {output} to {other}"),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `30 s`, `5 min`, `2 h`.
fn span(time: Duration) -> String {
    let text = format_duration(time);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "m" => "min",
        "d" if digits == "1" => "day",
        "d" => "days",
        unit => unit,
    };
    format!("{digits} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Publication;
    use fieldgate_formula::Kind;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn kind(name: &language::Name) -> Option<SignalKind> {
        Some(match name.to_string().as_str() {
            "button.click" => SignalKind::Moment,
            "mode" | "plan" | "fan.mode" => SignalKind::Continuous(Kind::options(["auto", "away"])),
            "heater.value" => SignalKind::Continuous(Kind::options(["on", "off"])),
            "lamp.value" | "air.relative_humidity" => SignalKind::Continuous(Kind::number("%")),
            "float.active" | "door.open" | "boost" => SignalKind::Continuous(Kind::Flag),
            "n.value" | "glass.count" => SignalKind::Continuous(Kind::number("")),
            _ => SignalKind::Continuous(Kind::number("°C")),
        })
    }

    /// A condition as it is, and when it has been so for half a minute.
    #[track_caller]
    fn check(formula: &str, now: &str, for_long: &str) {
        let words = Words::new(&kind).of(formula);
        let seconds = Duration::from_secs(30);
        assert_eq!(
            (words.true_for(Duration::ZERO).as_str(), words.true_for(seconds).as_str()),
            (now, for_long),
            "{formula}"
        );
    }

    /// Checks the words for a formula that is not a single statement.
    #[track_caller]
    fn check_whole(formula: &str, now: &str) {
        check(formula, now, &format!("it has been so for 30 s that {now}"));
    }

    #[test]
    fn a_comparison_is_a_statement_with_a_unit() {
        check(
            "room.temperature < target - 0.3",
            "room's temperature is below target − 0.3 °C",
            "room's temperature has been below target − 0.3 °C for 30 s",
        );
        check(
            "room.temperature >= -2.5",
            "room's temperature is at least −2.5 °C",
            "room's temperature has been at least −2.5 °C for 30 s",
        );
        check(
            "20 < room.temperature",
            "room's temperature is above 20 °C",
            "room's temperature has been above 20 °C for 30 s",
        );
        check(
            "-5 < room.temperature",
            "room's temperature is above −5 °C",
            "room's temperature has been above −5 °C for 30 s",
        );
        check(
            "room.temperature > -(target + 2)",
            "room's temperature is above `-(target + 2)`",
            "room's temperature has been above `-(target + 2)` for 30 s",
        );
        check("n.value != 3", "n's value is not 3", "n's value has not been 3 for 30 s");
        check("not (glass.count > 3)", "glass' count is at most 3", "glass' count has been at most 3 for 30 s");
        check(
            "in.temperature - out.temperature > 2 * n.value",
            "in's temperature − out's temperature is above 2 × n's value",
            "in's temperature − out's temperature has been above 2 × n's value for 30 s",
        );
        check(
            "air.relative_humidity > 60",
            "air's relative humidity is above 60 %",
            "air's relative humidity has been above 60 % for 30 s",
        );
        check(
            "max(in.temperature, 5) > 20 + n.value",
            "`max(in.temperature, 5)` is above 20 °C + n's value",
            "`max(in.temperature, 5)` has been above 20 °C + n's value for 30 s",
        );
    }

    #[test]
    fn words_contacts_and_the_link_are_statements() {
        check("mode == \"auto\"", "mode is auto", "mode has been auto for 30 s");
        check("'auto' != mode", "mode is not auto", "mode has not been auto for 30 s");
        check("not (mode == plan)", "mode is not plan", "mode has not been plan for 30 s");
        check("heater.value == \"on\"", "heater is on", "heater has been on for 30 s");
        check("float.active", "float is active", "float has been active for 30 s");
        check("not door.open", "door is not open", "door has not been open for 30 s");
        check("not link.up", "the broker is not connected", "the broker has not been connected for 30 s");
        check("not boost", "boost is not true", "boost has not been true for 30 s");
        check("fan.mode == \"auto\"", "fan's mode is auto", "fan's mode has been auto for 30 s");
        check_whole("button.click == \"single\"", "button gives a single click");
        check_whole("button.click != \"single\"", "`button.click != \"single\"` is true");
    }

    #[test]
    fn time_is_said_as_people_do() {
        check("time >= \"22:00\"", "it is 22:00 or later", "it has been 22:00 or later for 30 s");
        check("time < \"06:00\"", "it is before 06:00", "it has been before 06:00 for 30 s");
        check("not (\"06:00\" >= time)", "it is after 06:00", "it has been after 06:00 for 30 s");
        check("time == \"12:00\"", "it is 12:00", "it has been 12:00 for 30 s");
        check("weekday != \"sun\"", "it is not Sunday", "it has not been Sunday for 30 s");
        for night in [
            "time >= \"22:00\" or time < \"06:00\"",
            "time < \"06:00\" or time >= \"22:00\"",
            "\"22:00\" <= time or \"06:00\" > time",
        ] {
            check(night, "it is between 22:00 and 06:00", "it has been between 22:00 and 06:00 for 30 s");
        }
        check_whole(
            "float.active and (time >= \"22:00\" or time < \"06:00\")",
            "float is active and it is between 22:00 and 06:00",
        );
        check_whole(
            "time >= \"06:00\" and time < \"22:00\" and weekday != \"sat\"",
            "it is between 06:00 and 22:00 and it is not Saturday",
        );
        check_whole("time >= \"06:00\" or time < \"22:00\"", "it is 06:00 or later or it is before 22:00");
    }

    #[test]
    fn statements_are_joined_and_what_is_too_deep_stays_a_formula() {
        check_whole(
            "mode == \"auto\" and room.temperature < target - 0.3",
            "mode is auto and room's temperature is below target − 0.3 °C",
        );
        check_whole("mode != \"auto\" or float.active", "mode is not auto or float is active");
        check_whole(
            "float.active and link.up or door.open",
            "float is active and the broker is connected, or door is open",
        );
        check_whole(
            "float.active and (link.up or door.open)",
            "float is active and either the broker is connected or door is open",
        );
        check_whole("not (float.active and door.open)", "float is not active or door is not open");
        let deep = "float.active or link.up and (door.open or n.value > 3)";
        check_whole(deep, &format!("`{deep}` is true"));
        check_whole("float.active == door.open", "`float.active == door.open` is true");
        check_whole("not if(link.up, float.active, door.open)", "`if(link.up, float.active, door.open)` is false");
        check_whole("room.temperature <", "`room.temperature <` is true");
    }

    #[test]
    fn a_rule_reads_as_a_sentence() {
        let on = Action::Set(OutputValue::Switch(true));
        let heating = RuleSpec {
            when_for: Duration::from_secs(30),
            until: Some("mode != \"auto\" or room.temperature > target + 0.3".into()),
            lost: Duration::from_secs(300),
            set: vec![(name("heater"), on)],
            manual: Manual::Never,
            ..RuleSpec::new(name("heating"), "room.temperature < target - 0.3")
        };
        let words = "when room's temperature has been below target − 0.3 °C for 30 s, switch heater on; when mode is not \
                     auto or room's temperature is above target + 0.3 °C, or has been unknown for 5 min, make heater safe; \
                     commands are refused meanwhile";
        assert_eq!(heating.in_words(kind), words);
        let publish = Some(Publication { topic: "events/bell".into(), payload: String::new() });
        let bell = RuleSpec {
            toggle: vec![name("lamp")],
            publish,
            ..RuleSpec::new(name("bell"), "button.click == \"single\"")
        };
        assert_eq!(bell.in_words(kind), "when button gives a single click, toggle lamp and publish to events/bell");
        let lamp = |percent| vec![(name("lamp"), Action::Set(OutputValue::Percent(percent)))];
        let night = RuleSpec {
            until_for: Duration::from_secs(60),
            set: lamp(20.0),
            then: lamp(0.0),
            ..RuleSpec::new(name("night"), "time > \"22:00\"")
        };
        let words = "when it is after 22:00, set lamp to 20 %; when that has been over for 1 min, set lamp to 0 %";
        assert_eq!(night.in_words(kind), words);
        let stairs = RuleSpec { when: "button.click == \"long\"".into(), then: Vec::new(), ..night };
        let words = "when button gives a long click, set lamp to 20 %; 1 min after the last one, make lamp safe";
        assert_eq!(stairs.in_words(kind), words);
        let day = Duration::from_secs(86_400);
        let plain =
            RuleSpec { until_for: Duration::ZERO, when: "boost".into(), when_for: day, lost: 2 * day, ..stairs };
        let words = "when boost has been true for 1 day, set lamp to 20 %; when that is over, or has been unknown for \
                     2 days, make lamp safe";
        assert_eq!(plain.in_words(kind), words);
    }

    #[test]
    fn outputs_of_all_kinds_are_asked_in_words() {
        for (action, words) in [
            (Action::Set(OutputValue::Switch(false)), "switch o off"),
            (Action::Set(OutputValue::Angle(Some(90.0))), "set o to 90°"),
            (Action::Set(OutputValue::Angle(None)), "set o to off"),
            (Action::Move(Move::Open), "open o"),
            (Action::Move(Move::Close), "close o"),
            (Action::Move(Move::Stop), "stop o"),
            (Action::Move(Move::To(30.0)), "move o to 30 %"),
        ] {
            assert_eq!(order(&name("o"), action), words);
        }
    }
}
