//! A5: far more commands than any output may follow. The random lives of `safety` are `cargo test --lib lives`.

use std::time::{Duration, Instant, SystemTime};

use super::{MOVEMENTS, TOLERANCE, bench, counted, millis, set, switch};
use crate::common::gateway::Gateway;
use crate::common::quick::{LONG, config, folder};
use crate::common::scripted::{Script, ScriptedBroker};
use crate::common::sim_file::SimFile;
use crate::common::watch::{Seen, Span, Watch};
use crate::common::wire::Publish;
use crate::common::{SOON, wait_until};
use crate::suite::{chance, report, times};

/// Limits, and a share of the commands. Of those that are carried out, two hundred a second, `up` and `down` get few enough to
/// come to the end of a rest.
const LINES: [(&str, &str, usize); 6] = [
    ("limited", "min_on: 200ms, min_off: 300ms, max_on: 700ms", 10),
    ("rare", "switches_per_hour: 10", 8),
    ("up", "interlock: down, dead_time: 100ms", 2),
    ("down", "min_on: 150ms", 2),
    ("free", "", 10),
    ("held", "max_on: 400ms, min_off: 200ms", 5),
];

const RARELY: usize = 10;

/// So many times of an output are enough to judge it.
const ENOUGH: usize = 4;

const EVERY: Duration = Duration::from_millis(1);

/// A thousand commands a second for so long, each a toggle or an on of any output, and on a slow machine until there is enough to judge;
/// returns how many.
fn storm(broker: &ScriptedBroker, gateway: &Gateway, lasts: Duration, chance: &mut fastrand::Rng) -> usize {
    let (enough, mut looked) = (|| Movements::of(&gateway.log()).are_enough(), lasts);
    let began = Instant::now();
    let mut sent = 0;
    let shares: Vec<&str> = LINES.iter().flat_map(|(name, _, share)| std::iter::repeat_n(*name, *share)).collect();
    loop {
        let lasted = began.elapsed();
        if lasted >= looked {
            if enough() || lasted > lasts + LONG {
                return sent;
            }
            looked = lasted + Duration::from_millis(500);
        }
        let output = shares[chance.usize(0..shares.len())];
        let value = if output == "held" || chance.u8(0..4) == 0 { "on" } else { "toggle" };
        let payload = format!(r#"{{"value":"{value}","id":"t{sent}"}}"#).into_bytes();
        broker.send(&Publish { topic: set(output), payload, ..Publish::default() });
        sent += 1;
        // As many as should have gone by now, also when this thread has slept for longer.
        let due = EVERY * u32::try_from(sent).unwrap();
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

fn answered(broker: &ScriptedBroker) -> usize {
    broker.publishes().iter().filter(|publish| publish.topic.ends_with("/reply")).count()
}

/// Every movement by the log, whatever lasted too short to be seen from outside: the thread of the bus writes it right after it.
struct Movements {
    seen: Seen,
    /// Of all outputs, in order.
    times: Vec<SystemTime>,
}

impl Movements {
    fn of(log: &str) -> Self {
        let is_movement =
            |line: &&str| line.contains("Output set.") || line.contains("Output returned to its safe state.");
        let note = |line: &str| {
            let output = line.split_once("actuator=").and_then(|(_, rest)| rest.split_once(' ')).unwrap().0;
            let nth = LINES.iter().position(|(name, ..)| *name == output).unwrap();
            let at = humantime::parse_rfc3339(line.split_once(' ').unwrap().0).unwrap();
            (nth, line.contains("value=on"), at)
        };
        let notes: Vec<_> = log.lines().filter(is_movement).map(note).collect();
        Self { times: notes.iter().map(|(.., at)| *at).collect(), seen: Seen::recorded(notes) }
    }

    /// Whether every output that is judged by its times has some, all seldom ones have switched, and each of two has followed the other.
    fn are_enough(&self) -> bool {
        let seen = &self.seen;
        let spans = [seen.on(0), seen.off(0), seen.on(3), seen.on(5), seen.off(5)];
        let some = |spans: &Vec<Span>| spans.iter().filter(|span| span.to.is_some()).count() >= ENOUGH;
        spans.iter().all(some) && seen.on(1).len() >= RARELY && seen.rest_between(2, 3).is_some()
    }

    /// How long the thread had done nothing at all before this movement.
    fn idle_before(&self, at: SystemTime) -> Duration {
        let before = self.times.partition_point(|time| *time < at).checked_sub(1);
        before.map_or(Duration::ZERO, |before| at.duration_since(self.times[before]).unwrap())
    }

    /// What the machine may have made of it. Where it was late at all, it may have left out this busy thread for longer than others:
    /// in the storm it moves something every few milliseconds, and what it does late follows on a time in which it did nothing.
    fn slack(&self, span: &Span) -> Duration {
        let (slack, Some(to)) = (span.slack(), span.to) else { return Duration::ZERO };
        if slack.is_zero() { slack } else { slack + self.idle_before(span.from) + self.idle_before(to) }
    }

    /// How long at least and at most, each with its slack.
    fn extremes(&self, spans: &[Span]) -> (Duration, Duration) {
        let all: Vec<_> = spans.iter().filter_map(|span| Some((span.lasted()?, self.slack(span)))).collect();
        assert!(all.len() >= ENOUGH, "not much happened: {all:?}");
        let longest = all.iter().map(|(lasted, slack)| lasted.saturating_sub(*slack)).max().unwrap();
        (self.shortest(spans).unwrap(), longest)
    }

    fn shortest(&self, spans: &[Span]) -> Option<Duration> {
        spans.iter().filter_map(|span| Some(span.lasted()? + self.slack(span))).min()
    }
}

/// Verifies all movements against the limits; says how often each output was on.
fn judge(movements: &Movements) -> String {
    let seen = &movements.seen;
    let at_least = |what: &str, time: Duration, limit: u64| {
        assert!(time + TOLERANCE >= Duration::from_millis(limit), "{what}: {time:?} only");
    };
    let at_most = |time: Duration, limit: u64| {
        assert!(time <= Duration::from_millis(limit) + TOLERANCE, "on for {time:?}, and max_on is {limit} ms");
    };
    let (least, most) = movements.extremes(&seen.on(0));
    at_least("on", least, 200);
    at_most(most, 700);
    at_least("off", movements.extremes(&seen.off(0)).0, 300);
    at_least("on", movements.extremes(&seen.on(3)).0, 150);
    let (shortest_held, longest_held) = movements.extremes(&seen.on(5));
    at_least("on", shortest_held, 400);
    at_most(longest_held, 400);
    at_least("off", movements.extremes(&seen.off(5)).0, 200);
    assert_eq!(seen.on(1).len(), RARELY, "switches per hour");
    let rest = movements.shortest(&seen.rests_between(2, 3)).expect("both were on");
    at_least("a rest", rest, 100);
    format!(
        "`min_on: 200ms` {} at least, `max_on: 400ms` {} at most, {} and {} times on and never both, `dead_time: 100ms` {} at least",
        millis(least),
        millis(longest_held),
        seen.on(2).len(),
        seen.on(3).len(),
        millis(rest)
    )
}

#[test]
fn a5_a_thousand_toggles_a_second_break_no_limit() {
    let (lasts, mut chance) = (Duration::from_secs(times(5, 15, 60)), chance("A5"));
    let broker = ScriptedBroker::start(vec![Script::good()]);
    let folder = folder();
    let bus = SimFile::new(folder.path().join("bench.json"));
    let outputs: Vec<_> =
        LINES.iter().enumerate().map(|(line, (name, limits, _))| switch(name, line, limits)).collect();
    let text = config(&broker.url(), "", "", &bench(&outputs));
    let mut gateway = Gateway::with_env(folder.path(), &text, &[MOVEMENTS]);
    wait_until("the subscription", SOON, || !broker.filters().is_empty());
    let watch = Watch::over(&["GPIO0", "GPIO1", "GPIO2", "GPIO3", "GPIO4", "GPIO5"].map(|line| (&bus, line)));
    let sent = storm(&broker, &gateway, lasts, &mut chance);
    // A busy machine may need long for all of them; what it must not do is stand still.
    let mut done = 0;
    while done < sent {
        let before = done;
        wait_until("another command to be answered or counted", LONG, || {
            done = answered(&broker) + counted(&gateway);
            done > before
        });
    }
    assert_eq!(done, sent);
    let seen = watch.end();
    // Panics when both are on.
    seen.rest_between(2, 3);
    gateway.stop(SOON);
    let happened = format!(
        "{}; {} answered, {} counted",
        judge(&Movements::of(&gateway.log())),
        answered(&broker),
        counted(&gateway)
    );
    report(
        "A5",
        &format!("{sent} toggles in {} s on six outputs, {} versions seen", lasts.as_secs(), seen.versions),
        &happened,
    );
}
