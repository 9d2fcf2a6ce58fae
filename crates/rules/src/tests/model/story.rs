//! Rules and what happens to them, by chance.

use proptest::prelude::*;

use super::*;
use crate::Manual;

/// Two sensors and the variable `target`.
pub(super) const NUMBERS: [&str; 3] = ["s0", "s1", "target"];
pub(super) const OUTPUTS: [&str; 2] = ["o0", "o1"];
pub(super) const RULES: usize = 3;
pub(super) const WORDS: [&str; 2] = ["single", "long"];

/// What is known at one instant.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) numbers: [Option<i32>; NUMBERS.len()],
    /// Whether the variable `mode` is `auto`.
    pub(super) is_auto: Option<bool>,
    pub(super) link: Option<bool>,
    /// The hour that the clock shows.
    pub(super) hour: Option<u8>,
    /// The click of this very instant.
    pub(super) click: Option<usize>,
}

/// A condition over all of it.
#[derive(Clone, Debug)]
pub(super) enum Cond {
    Above(usize, i32),
    Below(usize, i32),
    /// A sensor is above the variable.
    OverTarget(usize),
    Auto,
    Link,
    From(u8),
    Click(usize),
    Not(Box<Cond>),
    Both(Box<[Cond; 2]>),
    Either(Box<[Cond; 2]>),
}

impl Cond {
    fn text(&self) -> String {
        match self {
            Self::Above(number, than) => format!("{} > {than}", NUMBERS[*number]),
            Self::Below(number, than) => format!("{} < {than}", NUMBERS[*number]),
            Self::OverTarget(number) => format!("{} > target", NUMBERS[*number]),
            Self::Auto => "mode == \"auto\"".into(),
            Self::Link => "link.up".into(),
            Self::From(hour) => format!("time >= \"{hour:02}:00\""),
            Self::Click(word) => format!("bell.click == \"{}\"", WORDS[*word]),
            Self::Not(inner) => format!("not ({})", inner.text()),
            Self::Both(parts) => format!("({}) and ({})", parts[0].text(), parts[1].text()),
            Self::Either(parts) => format!("({}) or ({})", parts[0].text(), parts[1].text()),
        }
    }

    pub(super) fn holds(&self, facts: &Facts) -> Option<bool> {
        let numbers = &facts.numbers;
        match self {
            Self::Above(number, than) => numbers[*number].map(|value| value > *than),
            Self::Below(number, than) => numbers[*number].map(|value| value < *than),
            Self::OverTarget(number) => Some(numbers[*number]? > numbers[2]?),
            Self::Auto => facts.is_auto,
            Self::Link => facts.link,
            Self::From(from) => facts.hour.map(|hour| hour >= *from),
            Self::Click(word) => Some(facts.click == Some(*word)),
            Self::Not(inner) => inner.holds(facts).map(|holds| !holds),
            Self::Both(parts) => decide(parts.each_ref().map(|part| part.holds(facts)), false),
            Self::Either(parts) => decide(parts.each_ref().map(|part| part.holds(facts)), true),
        }
    }
}

fn decide(parts: [Option<bool>; 2], decisive: bool) -> Option<bool> {
    if parts.contains(&Some(decisive)) {
        return Some(decisive);
    }
    if parts.contains(&None) { None } else { Some(!decisive) }
}

#[derive(Clone, Debug)]
pub(super) struct Plain {
    pub(super) when: Cond,
    pub(super) until: Option<Cond>,
    /// Whether `when` waits for a click.
    pub(super) is_moment: bool,
    pub(super) when_for: u64,
    pub(super) until_for: u64,
    pub(super) lost: u64,
    pub(super) outputs: Vec<usize>,
    /// What these do at the end, if not what is safe.
    pub(super) then: Option<bool>,
    pub(super) toggle: Vec<usize>,
    pub(super) is_never_manual: bool,
    pub(super) priority: i64,
}

impl Plain {
    pub(super) fn spec(&self, nth: usize) -> RuleSpec {
        let outputs: Vec<_> = self.outputs.iter().map(|output| OUTPUTS[*output]).collect();
        let then = |on| outputs.iter().map(move |output| (name(output), Action::Set(OutputValue::Switch(on))));
        RuleSpec {
            until: self.until.as_ref().map(Cond::text),
            when_for: s(self.when_for),
            until_for: s(self.until_for),
            lost: s(self.lost),
            then: self.then.into_iter().flat_map(then).collect(),
            toggle: self.toggle.iter().map(|output| name(OUTPUTS[*output])).collect(),
            manual: if self.is_never_manual { Manual::Never } else { Manual::TakesOver },
            priority: self.priority,
            ..rule(&format!("r{nth}"), &self.when.text(), &outputs)
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Happens {
    Written(Vec<(usize, Option<i32>)>),
    /// The variables are set.
    Target(i32),
    Mode(bool),
    Link(Option<bool>),
    /// The clock is set.
    Shows(Option<u8>),
    Clicked(usize),
    Commanded(usize),
    Switched(usize, bool),
    /// The guard of an output refuses from now on, or does not.
    Refuses(usize, bool),
    TooLong(usize),
    /// An interlock makes an output safe, which may pass.
    Interlocked(usize),
    /// From now on there are these rules.
    Reloaded([bool; RULES]),
}

fn cond() -> impl Strategy<Value = Cond> {
    let leaf = prop_oneof![
        3 => (0..2_usize, 0..4).prop_map(|(number, than)| Cond::Above(number, than)),
        3 => (0..2_usize, 1..5).prop_map(|(number, than)| Cond::Below(number, than)),
        1 => (0..2_usize).prop_map(Cond::OverTarget),
        1 => Just(Cond::Auto),
        1 => Just(Cond::Link),
        1 => (1..5_u8).prop_map(Cond::From),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        let both = || (inner.clone(), inner.clone());
        prop_oneof![
            inner.clone().prop_map(|inner| Cond::Not(Box::new(inner))),
            both().prop_map(|(one, other)| Cond::Both(Box::new([one, other]))),
            both().prop_map(|(one, other)| Cond::Either(Box::new([one, other]))),
        ]
    })
}

/// One that waits for a click, and one that may end such a rule.
fn moment() -> impl Strategy<Value = (Cond, Option<Cond>)> {
    let both = |one, other| Cond::Both(Box::new([one, other]));
    let either = |one, other| Cond::Either(Box::new([one, other]));
    let when = prop_oneof![
        Just(Cond::Click(0)),
        cond().prop_map(move |other| both(Cond::Click(0), other)),
        cond().prop_map(move |other| either(Cond::Click(0), other)),
    ];
    let until = prop_oneof![
        2 => Just(None),
        1 => cond().prop_map(Some),
        1 => cond().prop_map(move |other| Some(either(other, Cond::Click(1)))),
    ];
    (when, until)
}

/// A click that ends a rule, alone or beside something that lasts.
fn dismissal() -> impl Strategy<Value = Cond> {
    let either = |one, other| Cond::Either(Box::new([one, other]));
    prop_oneof![Just(Cond::Click(1)), cond().prop_map(move |other| either(other, Cond::Click(1)))]
}

fn plain(nth: usize) -> impl Strategy<Value = Plain> {
    let span = || prop_oneof![2 => Just(0_u64), 1 => 1..6_u64];
    let conditions = prop_oneof![
        3 => (cond(), prop::option::of(cond())).prop_map(|(when, until)| (when, until, false)),
        1 => moment().prop_map(|(when, until)| (when, until, true)),
        1 => (cond(), dismissal()).prop_map(|(when, until)| (when, Some(until), false)),
    ];
    let moved = prop::sample::select(vec![
        (vec![0], vec![]),
        (vec![1], vec![]),
        (vec![0, 1], vec![]),
        (vec![], vec![]),
        (vec![0], vec![1]),
        (vec![], vec![0]),
        (vec![], vec![0, 1]),
    ]);
    let more = (prop::option::of(any::<bool>()), prop::bool::weighted(0.2));
    let priority = i64::try_from((nth * 2) % RULES).unwrap();
    (conditions, span(), span(), span(), moved, more).prop_map(
        move |((when, until, is_moment), when_for, until_for, lost, (outputs, toggle), (then, is_never_manual))| {
            Plain {
                when,
                until,
                is_moment,
                // A moment has no duration.
                when_for: if is_moment { 0 } else { when_for },
                // So that another click comes before its end.
                until_for: if is_moment { 3 * until_for } else { until_for },
                lost,
                outputs,
                then,
                toggle,
                is_never_manual,
                priority,
            }
        },
    )
}

pub(super) fn rules() -> impl Strategy<Value = [Plain; RULES]> {
    (plain(0), plain(1), plain(2)).prop_map(|(one, two, three)| [one, two, three])
}

pub(super) fn happens() -> impl Strategy<Value = Happens> {
    let value = prop::option::weighted(0.85, 0..5);
    prop_oneof![
        8 => prop::collection::vec((0..2_usize, value), 1..3).prop_map(Happens::Written),
        2 => (0..5).prop_map(Happens::Target),
        2 => any::<bool>().prop_map(Happens::Mode),
        2 => prop::option::weighted(0.9, any::<bool>()).prop_map(Happens::Link),
        2 => prop::option::weighted(0.9, 0..6_u8).prop_map(Happens::Shows),
        4 => Just(Happens::Clicked(0)),
        2 => Just(Happens::Clicked(1)),
        1 => (0..2_usize).prop_map(Happens::Commanded),
        1 => (0..RULES, any::<bool>()).prop_map(|(rule, is_on)| Happens::Switched(rule, is_on)),
        1 => (0..2_usize, any::<bool>()).prop_map(|(output, refuses)| Happens::Refuses(output, refuses)),
        1 => (0..2_usize).prop_map(Happens::TooLong),
        1 => (0..2_usize).prop_map(Happens::Interlocked),
        1 => prop_oneof![Just([true; RULES]), any::<[bool; RULES]>()].prop_map(Happens::Reloaded),
    ]
}
