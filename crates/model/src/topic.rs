//! The topics of a gateway: where they are made, and parsed. Wildcards for all devices are spelt by who subscribes to or lists them.

use crate::{Key, MessageKind, Name, RecipientKind};

/// The levels behind `B/` that have a meaning of their own. What rules publish goes elsewhere.
pub const LEVELS: [&str; 12] = [
    "status",
    "sensors",
    "late",
    "actuators",
    "devices",
    "health",
    "loss",
    "doctor",
    "rules",
    "variables",
    "request",
    "response",
];

/// The base topic `B` and all that hangs below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    base: String,
}

impl Topics {
    /// Topics below `base`, which [`check_base`] has accepted.
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into() }
    }

    /// `B`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `B/status`: birth and will.
    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// `B/sensors/<name>`: fresh readings.
    pub fn reading(&self, sensor: &Name) -> String {
        format!("{}/sensors/{sensor}", self.base)
    }

    /// `B/late/<name>`: readings of an earlier run or older than `late_after`.
    pub fn late(&self, sensor: &Name) -> String {
        format!("{}/late/{sensor}", self.base)
    }

    /// `B/sensors/<name>/status`.
    pub fn sensor_status(&self, sensor: &Name) -> String {
        format!("{}/sensors/{sensor}/status", self.base)
    }

    /// `B/sensors/<name>/<measurement>`: the newest value as bare text, with `mqtt.plain`.
    pub fn plain_measurement(&self, sensor: &Name, measurement: &str) -> String {
        format!("{}/sensors/{sensor}/{measurement}", self.base)
    }

    /// `B/actuators/<name>`: what an output does as bare text, with `mqtt.plain`.
    pub fn plain_state(&self, actuator: &Name) -> String {
        format!("{}/actuators/{actuator}", self.base)
    }

    /// `B/actuators/<name>/set`.
    pub fn set(&self, actuator: &Name) -> String {
        format!("{}/actuators/{actuator}/set", self.base)
    }

    /// `B/actuators/+/set`: the subscription to commands to outputs.
    pub fn set_filter(&self) -> String {
        format!("{}/actuators/+/set", self.base)
    }

    /// `B/sensors/<name>/total/set`.
    pub fn set_total(&self, sensor: &Name) -> String {
        format!("{}/sensors/{sensor}/total/set", self.base)
    }

    /// `B/sensors/+/total/set`: the subscription to commands that set totals.
    pub fn set_total_filter(&self) -> String {
        format!("{}/sensors/+/total/set", self.base)
    }

    /// `B/sensors/<name>/total/reply`.
    pub fn total_reply(&self, sensor: &Name) -> String {
        format!("{}/sensors/{sensor}/total/reply", self.base)
    }

    /// `B/variables/<name>/set`.
    pub fn set_variable(&self, variable: &Name) -> String {
        format!("{}/variables/{variable}/set", self.base)
    }

    /// `B/variables/+/set`: the subscription to commands that set variables.
    pub fn set_variable_filter(&self) -> String {
        format!("{}/variables/+/set", self.base)
    }

    /// `B/variables/<name>/state`.
    pub fn variable_state(&self, variable: &Name) -> String {
        format!("{}/variables/{variable}/state", self.base)
    }

    /// `B/variables/<name>/reply`.
    pub fn variable_reply(&self, variable: &Name) -> String {
        format!("{}/variables/{variable}/reply", self.base)
    }

    /// `B/request/<verb>`.
    pub fn request(&self, verb: &Name) -> String {
        format!("{}/request/{verb}", self.base)
    }

    /// `B/request/+`: the subscription to requests.
    pub fn request_filter(&self) -> String {
        format!("{}/request/+", self.base)
    }

    /// `B/response/<verb>`.
    pub fn response(&self, verb: &Name) -> String {
        format!("{}/response/{verb}", self.base)
    }

    /// `B/actuators/<name>/state`.
    pub fn state(&self, actuator: &Name) -> String {
        format!("{}/actuators/{actuator}/state", self.base)
    }

    /// `B/actuators/<name>/reply`.
    pub fn reply(&self, actuator: &Name) -> String {
        format!("{}/actuators/{actuator}/reply", self.base)
    }

    /// `B/rules`: what each rule is at.
    pub fn rules(&self) -> String {
        format!("{}/rules", self.base)
    }

    /// `B/rules/<name>/set`: on or off.
    pub fn set_rule(&self, rule: &Name) -> String {
        format!("{}/rules/{rule}/set", self.base)
    }

    /// `B/rules/+/set`: the subscription to switches of rules.
    pub fn set_rule_filter(&self) -> String {
        format!("{}/rules/+/set", self.base)
    }

    /// `B/rules/<name>/reply`.
    pub fn rule_reply(&self, rule: &Name) -> String {
        format!("{}/rules/{rule}/reply", self.base)
    }

    /// Where a rule publishes: `topic` is below the base.
    pub fn of_event(&self, topic: &str) -> String {
        format!("{}/{topic}", self.base)
    }

    /// `B/devices`.
    pub fn devices(&self) -> String {
        format!("{}/devices", self.base)
    }

    /// `B/doctor`: what `fieldgate doctor` publishes to see it come back; never retained.
    pub fn doctor(&self) -> String {
        format!("{}/doctor", self.base)
    }

    /// `B/sensors/+/status`.
    pub fn sensor_status_filter(&self) -> String {
        format!("{}/sensors/+/status", self.base)
    }

    /// `B/health`.
    pub fn health(&self) -> String {
        format!("{}/health", self.base)
    }

    /// `B/loss`.
    pub fn loss(&self) -> String {
        format!("{}/loss", self.base)
    }

    /// Where a message of the spool goes.
    pub fn of(&self, key: &Key, late: bool) -> String {
        match key.kind {
            MessageKind::Reading if late => self.late(&key.source),
            MessageKind::Reading => self.reading(&key.source),
            MessageKind::Reply => self.reply(&key.source),
            MessageKind::TotalReply => self.total_reply(&key.source),
            MessageKind::VariableReply => self.variable_reply(&key.source),
            MessageKind::Response => self.response(&key.source),
            // Its own topic stands in its body.
            MessageKind::Event => self.rules(),
            MessageKind::RuleReply => self.rule_reply(&key.source),
            MessageKind::Loss => self.loss(),
        }
    }

    /// What follows the base topic and its `/`.
    pub fn below<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(self.base.as_str())?.strip_prefix('/')
    }

    /// Whether a gateway of this base topic may have left something retained on `topic`, in any configuration. Commands are others'.
    pub fn may_be_retained(&self, topic: &str) -> bool {
        let levels: Vec<_> = self.below(topic).map_or_else(Vec::new, |below| below.split('/').collect());
        match levels[..] {
            [level] => ["status", "devices", "health", "rules"].contains(&level),
            ["sensors", _] | ["sensors", _, _] | ["actuators", _] => true,
            ["actuators" | "variables", _, what] => what == "state",
            _ => false,
        }
    }

    /// What a command topic sets, and the name in it; nothing when `topic` is none of `B/actuators/<one level>/set`,
    /// `B/sensors/<one level>/total/set`, `B/variables/<one level>/set`, `B/rules/<one level>/set` and `B/request/<one level>`.
    ///
    /// The level is returned as it stands: it need not be a [`Name`], for strangers publish what they like.
    pub fn commanded<'a>(&self, topic: &'a str) -> Option<(RecipientKind, &'a str)> {
        let below = topic.strip_prefix(self.base.as_str())?;
        let of = |kind, start, end| Some((kind, below.strip_prefix(start)?.strip_suffix(end)?));
        let (kind, level) = of(RecipientKind::Output, "/actuators/", "/set")
            .or_else(|| of(RecipientKind::Total, "/sensors/", "/total/set"))
            .or_else(|| of(RecipientKind::Variable, "/variables/", "/set"))
            .or_else(|| of(RecipientKind::Rule, "/rules/", "/set"))
            .or_else(|| of(RecipientKind::Request, "/request/", ""))?;
        (!level.is_empty() && !level.contains('/')).then_some((kind, level))
    }

    /// Whether a reply may go to `topic` as an MQTT 5 Response Topic: no wildcard, and none of our own topics, for anybody who may
    /// send a command could otherwise publish as the gateway.
    pub fn may_respond_to(&self, topic: &str) -> bool {
        !topic.is_empty()
            && topic.len() <= MAX_TOPIC_BYTES
            && !topic.contains(['+', '#', '\0'])
            && !topic.starts_with('$')
            && !topic.strip_prefix(self.base.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The longest topic of MQTT in bytes (MQTT 5, 1.5.4).
const MAX_TOPIC_BYTES: usize = 65_535;

/// The longest base topic in bytes: room is left for the levels below it.
pub const MAX_BASE_BYTES: usize = 256;

/// Checks a base topic; the error says in words what is wrong.
///
/// # Errors
/// An empty topic, an empty level after the first, a wildcard, a control character, a leading `$`, or more than [`MAX_BASE_BYTES`].
pub fn check_base(base: &str) -> Result<(), String> {
    if base.is_empty() {
        return Err("a base topic cannot be empty".into());
    }
    if base.len() > MAX_BASE_BYTES {
        return Err(format!("a base topic has at most {MAX_BASE_BYTES} bytes, this one has {}", base.len()));
    }
    if base.starts_with('$') {
        return Err("topics that begin with $ belong to the broker".into());
    }
    if let Some(bad) = base.chars().find(|c| matches!(c, '+' | '#') || c.is_control()) {
        return Err(format!("{bad:?} cannot stand in a base topic"));
    }
    if base.strip_prefix('/').unwrap_or(base).split('/').any(str::is_empty) {
        return Err("a base topic has no empty level but for a / at its start: no / at its end, and no //".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_level_that_has_topics_is_reserved_and_no_other() {
        let (topics, name) = (Topics::new("f/g"), Name::new("n").unwrap());
        let all = [
            topics.status(),
            topics.reading(&name),
            topics.late(&name),
            topics.sensor_status(&name),
            topics.set(&name),
            topics.state(&name),
            topics.set_total(&name),
            topics.set_variable(&name),
            topics.request(&name),
            topics.response(&name),
            topics.rules(),
            topics.set_rule(&name),
            topics.devices(),
            topics.doctor(),
            topics.health(),
            topics.loss(),
        ];
        let first = |topic: &String| topics.below(topic).unwrap().split('/').next().unwrap().to_owned();
        assert_eq!(all.iter().map(first).collect::<BTreeSet<_>>(), LEVELS.map(str::to_owned).into());
    }

    #[test]
    fn what_a_gateway_leaves_retained_is_known_by_its_topic() {
        let topics = Topics::new("f/g");
        for ours in [
            "status",
            "devices",
            "health",
            "rules",
            "sensors/a",
            "sensors/a/status",
            "sensors/a/temperature",
            "actuators/a",
        ] {
            assert!(topics.may_be_retained(&format!("f/g/{ours}")), "{ours}");
        }
        for state in ["actuators/a/state", "variables/a/state"] {
            assert!(topics.may_be_retained(&format!("f/g/{state}")), "{state}");
        }
        for other in
            ["f/gg/status", "f/g", "f/g/loss", "f/g/late/a", "f/g/actuators/a/set", "f/g/sensors/a/total/set", "x"]
        {
            assert!(!topics.may_be_retained(other), "{other}");
        }
    }

    #[test]
    fn only_a_set_topic_of_one_level_is_a_command() {
        let topics = Topics::new("f/g");
        assert_eq!(topics.commanded("f/g/actuators/pump/set"), Some((RecipientKind::Output, "pump")));
        assert_eq!(topics.commanded("f/g/sensors/gas/total/set"), Some((RecipientKind::Total, "gas")));
        assert_eq!(
            topics.commanded(&topics.request(&Name::new("log-level").unwrap())),
            Some((RecipientKind::Request, "log-level"))
        );
        assert_eq!(
            topics.commanded(&topics.set_variable(&Name::new("target").unwrap())),
            Some((RecipientKind::Variable, "target"))
        );
        assert_eq!(
            topics.commanded(&topics.set_total(&Name::new("g_1").unwrap())),
            Some((RecipientKind::Total, "g_1"))
        );
        let outputs = ["f/g/actuators//set", "f/g/actuators/a/b/set", "f/gg/actuators/a/set", "f/g/actuators/set", "x"];
        let totals =
            ["f/g/sensors/gas/set", "f/g/sensors//total/set", "f/g/sensors/a/b/total/set", "f/g/sensors/total/set"];
        let mixed = [
            "f/g/actuators/a/total/set",
            "f/g/variables//set",
            "f/g/request/",
            "f/g/request/a/b",
            "f/g/response/ping",
            "f/g/variables/a/total/set",
            "f/g/sensors/gas/total",
            "f/g/sensors/gas/total/reply",
        ];
        for topic in outputs.into_iter().chain(totals).chain(mixed) {
            assert_eq!(topics.commanded(topic), None, "{topic}");
        }
    }

    #[test]
    fn a_response_topic_cannot_be_a_wildcard_or_one_of_ours() {
        let topics = Topics::new("f/g");
        for topic in ["apps/me/answers", "f", "f/gg/status", "f/other", "g"] {
            assert!(topics.may_respond_to(topic), "{topic:?}");
        }
        let ours =
            ["f/g", "f/g/", "f/g/status", "f/g/sensors/air", "f/g/late/air", "f/g/anything", "f/g/actuators/pump/set"];
        for topic in ["", "a/+", "#", "$SYS/x", "a\0"].into_iter().chain(ours) {
            assert!(!topics.may_respond_to(topic), "{topic:?}");
        }
    }

    #[test]
    fn a_base_topic_is_checked() {
        assert_eq!(check_base("fieldgate/greenhouse"), Ok(()));
        for base in ["", "/", "//a", "/a/", "a/", "a//b", "a/#", "+", "$SYS", "a\nb", &"x".repeat(257)] {
            assert!(check_base(base).is_err(), "{base:?}");
        }
    }
}
