//! How long parts that wait for each other may take: one table for the start, the stop, reloads, the watchdog, answers to orders
//! and `fieldgate safe-state`. Pure.
//!
//! The tests say which sum must stay below which deadline, those of the unit file included; a number that is changed here and
//! does not fit any more fails them.

use std::time::Duration;

/// The longest dead time of an interlock, which an orderly stop must be able to wait for.
pub const LONGEST_DEAD_TIME: Duration = Duration::from_secs(2);

/// For the transfer that is under way on a bus and for driving its outputs.
const TRANSFERS: Duration = Duration::from_millis(300);

/// A transfer on wires that time out. The adapters of a Raspberry Pi give up after a second.
const TIME_OUT: Duration = Duration::from_secs(1);

/// A transfer that takes longer hangs; one that times out is a failure like others.
pub const HANGS: Duration = Duration::from_millis(1500);

/// What an ending worker waits for room in the event channel.
pub const FINAL_FLUSH: Duration = Duration::from_millis(400);

/// All tasks together that speak with others: page, file of metrics, rules, commands and requests.
pub const TASKS: Duration = Duration::from_millis(300);

/// For the last readings and answers.
pub const RECORDER: Duration = Duration::from_millis(300);

/// The link bounds itself to less: what it cannot deliver stays in the spool.
pub const LINK: Duration = Duration::from_millis(1800);

/// The whole stop without dead times. The spool gets what the others did not need: what it does not write is lost.
const STOP: Duration = Duration::from_millis(4700);

/// How long a worker that is replaced in a reload may take to end, without dead times.
const REPLACE: Duration = Duration::from_secs(2);

/// How long the outputs of an ending worker may fail before the others are given up. A reload waits no longer for a thread, and
/// the end of the program less.
pub const GIVE_UP_OUTPUTS: Duration = REPLACE;

/// How long a worker may take to answer an order, and the spool to say that a value is on disk. One that takes longer hangs, and the
/// command or the rule behind the order is answered so.
pub const ANSWER: Duration = Duration::from_secs(5);

/// How long the page waits for the reply to one of its commands. Each waits for a worker or for the spool, never for both.
pub const PAGE_ANSWER: Duration = Duration::from_secs(8);

/// How long the start waits for outputs to be driven.
pub const START: Duration = Duration::from_secs(2);

/// An idle part turns at least this often.
pub const IDLE_TURN: Duration = Duration::from_secs(1);

/// A part that has not turned for so long has stopped; a slow chip takes a few seconds.
pub const STALLED: Duration = Duration::from_secs(5);

/// Twice what an idle part takes for a turn: a shorter period of the watchdog cannot be kept.
pub const SHORTEST_STALL: Duration = Duration::from_secs(2);

/// How often parts are looked at, at least.
pub const LOOK: Duration = Duration::from_secs(1);

/// All of `fieldgate safe-state`: less than the unit's TimeoutStopSec=, so that the log says which outputs were not reached.
const SAFE_STATE: Duration = Duration::from_secs(9);

/// How long an output that is on when safe waits at the end for its partners to be off, of which the longest `dead_time` is
/// this. They end at the same time, perhaps behind a transfer that is under way.
pub fn partner_wait(dead_time: Duration) -> Duration {
    dead_time.saturating_add(TRANSFERS)
}

/// Deadlines that dead times make longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// All workers together, from the request to stop until their outputs are safe and their events handed over.
    pub workers: Duration,
    /// All workers with outputs: behind a transfer that times out, those that do not fail are still driven.
    pub outputs: Duration,
    /// The whole stop, from its beginning.
    pub stop: Duration,
    /// A worker that is replaced in a reload.
    pub replace: Duration,
}

impl Deadlines {
    /// For a configuration whose outputs wait for this dead time at most when they are made safe; `None` where no output
    /// waits for another.
    pub fn new(longest_dead_time: Option<Duration>) -> Self {
        // Behind the partner the output itself is driven.
        let waiting =
            longest_dead_time.map_or(Duration::ZERO, |dead_time| partner_wait(dead_time).saturating_add(TRANSFERS));
        let longer = |deadline: Duration| deadline.saturating_add(waiting);
        Self {
            workers: longer(TRANSFERS + FINAL_FLUSH),
            outputs: longer(TIME_OUT + TRANSFERS),
            stop: longer(STOP),
            replace: longer(REPLACE),
        }
    }
}

/// How long a part may be silent before the watchdog of this period is not fed any more, so that systemd hears nothing more
/// within one period.
pub fn stalled(watchdog: Option<Duration>) -> Duration {
    watchdog.map_or(STALLED, |period| period.clamp(SHORTEST_STALL, STALLED))
}

/// How often parts are looked at, and the watchdog is fed. A third of the period: one late turn costs nothing.
pub fn look(watchdog: Option<Duration>) -> Duration {
    watchdog.map_or(LOOK, |period| (period / 3).min(LOOK))
}

/// How long `fieldgate safe-state` waits for the buses: once for the outputs that wait for no other, and, a dead time later,
/// once more for the others.
pub fn safe_state(longest_dead_time: Duration) -> Duration {
    SAFE_STATE.saturating_sub(longest_dead_time) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the service's unit says, in seconds.
    fn unit(key: &str) -> Duration {
        let unit = include_str!("../systemd/fieldgate.service");
        let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        Duration::from_secs(value.unwrap_or_else(|| panic!("no {key}")).parse().unwrap())
    }

    fn dead_times() -> impl Iterator<Item = Option<Duration>> {
        let longest = u64::try_from(LONGEST_DEAD_TIME.as_millis()).unwrap();
        std::iter::once(None).chain((0..=longest).step_by(100).map(|dead_time| Some(Duration::from_millis(dead_time))))
    }

    const MARGIN: Duration = Duration::from_secs(1);

    #[test]
    fn every_part_of_the_stop_fits_into_the_whole_and_leaves_the_spool_a_second() {
        for dead_time in dead_times() {
            let all = Deadlines::new(dead_time);
            // One after the other, as `shutdown::Tasks::end` waits for them.
            let parts = all.workers.max(all.outputs) + TASKS + RECORDER + LINK;
            assert!(parts + MARGIN <= all.stop, "{dead_time:?}: {parts:?} of {all:?}");
            assert!(all.workers <= all.outputs && all.outputs <= all.replace, "{dead_time:?}: {all:?}");
            assert!(TIME_OUT < HANGS && HANGS < STALLED);
        }
    }

    #[test]
    fn a_worker_has_the_time_to_wait_for_partners_drive_its_outputs_and_hand_over_its_events() {
        for dead_time in dead_times().flatten() {
            // It may begin by a transfer later than its partner, and drives its output by a transfer after the wait.
            let needed = TRANSFERS + partner_wait(dead_time) + TRANSFERS + FINAL_FLUSH;
            assert!(needed <= Deadlines::new(Some(dead_time)).workers, "{dead_time:?}: {needed:?}");
            // The partner may begin by a transfer later than this output.
            assert!(partner_wait(dead_time) >= TRANSFERS + dead_time, "{dead_time:?}");
        }
    }

    #[test]
    fn without_dead_times_a_stop_in_which_nothing_hangs_takes_less_than_two_seconds() {
        // What hangs takes all of its grace; the rest of the parts answer at once.
        assert!(Deadlines::new(None).outputs < Duration::from_secs(2));
        assert!(Deadlines::new(None).stop < Duration::from_secs(5));
    }

    #[test]
    fn the_unit_leaves_every_stop_its_time() {
        for dead_time in dead_times() {
            let stop = Deadlines::new(dead_time).stop;
            assert!(stop + MARGIN <= unit("TimeoutStopSec"), "{dead_time:?}: {stop:?}");
            // The watchdog is fed when the stop begins, and not any more.
            assert!(stop + MARGIN <= unit("WatchdogSec"), "{dead_time:?}: {stop:?}");
        }
        assert!(START + MARGIN <= unit("TimeoutStartSec"));
        assert!(unit("TimeoutAbortSec") <= unit("TimeoutStopSec"));
    }

    #[test]
    fn the_page_still_waits_when_a_bus_that_hangs_is_reported_as_such() {
        assert!(ANSWER + MARGIN <= PAGE_ANSWER);
        // A bus on which a transfer times out is slow, and its answer is worth waiting for.
        assert!(TIME_OUT + TRANSFERS + MARGIN <= ANSWER);
    }

    #[test]
    fn outputs_are_not_given_up_while_a_stop_or_a_reload_still_waits_for_them() {
        for dead_time in dead_times() {
            let all = Deadlines::new(dead_time);
            assert!(
                Deadlines::new(None).outputs <= GIVE_UP_OUTPUTS && GIVE_UP_OUTPUTS <= all.replace,
                "{dead_time:?}: {all:?}"
            );
        }
    }

    #[test]
    fn safe_state_ends_before_the_unit_ends_it() {
        for dead_time in dead_times().flatten() {
            let whole = 2 * safe_state(dead_time) + dead_time;
            assert!(whole + MARGIN <= unit("TimeoutStopSec"), "{dead_time:?}: {whole:?}");
            assert!(safe_state(dead_time) >= 3 * MARGIN, "a slow bus is not one that hangs");
        }
    }

    #[test]
    fn a_part_that_stops_is_noticed_within_one_period_of_the_watchdog_and_an_idle_one_is_not_taken_for_it() {
        let period = unit("WatchdogSec");
        assert!(stalled(Some(period)) + look(Some(period)) <= period);
        assert!(2 * look(Some(period)) < period);
        for watchdog in [None, Some(Duration::from_millis(100)), Some(period), Some(10 * period)] {
            assert!(stalled(watchdog) >= 2 * IDLE_TURN && stalled(watchdog) <= STALLED, "{watchdog:?}");
            assert!(look(watchdog) <= stalled(watchdog), "{watchdog:?}");
        }
        // What a worker waits for at its stop or in a reload is within what may pass for a slow chip.
        assert!(partner_wait(LONGEST_DEAD_TIME) + TRANSFERS < STALLED);
    }
}
