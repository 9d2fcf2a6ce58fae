//! An input for which time matters beside its edges: one with delays or clicks.

use std::mem;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::ACTIVE;
use super::contact::Contact;
use crate::{DriverError, Event, Sensor};
use fieldgate_bus::InputLine;
use fieldgate_model::Measurement;

/// The kernel stamps an edge in the interrupt and hands it out from a thread, which has to get the processor first. So long an
/// edge may be on its way: what is due is done only when no older edge can come any more.
const ON_ITS_WAY: Duration = Duration::from_millis(10);

/// So many times in a row edges are taken; who has more is called again.
const PORTIONS: usize = 32;

/// The line, and what its edges meant that nobody has taken yet.
pub(super) struct TimedInput {
    line: Box<dyn InputLine>,
    contact: Contact,
    events: Vec<Event>,
}

impl TimedInput {
    /// Nothing has happened on the line.
    pub(super) fn new(line: Box<dyn InputLine>, contact: Contact) -> Self {
        Self { line, contact, events: Vec::new() }
    }

    /// Sees every edge that waits, and only then does what is due; `false` if more wait than may be taken in a row.
    fn catch_up(&mut self) -> Result<bool, DriverError> {
        // Asked before the edges are taken: all that are older are among them then.
        let until = self.line.complete_until().saturating_sub(ON_ITS_WAY);
        for _ in 0..PORTIONS {
            let edges = self.line.take_edges()?;
            if edges.is_empty() {
                self.contact.advance(until, &mut self.events);
                return Ok(true);
            }
            for edge in edges {
                let at = edge.at.unwrap_or_else(|| self.line.now());
                self.contact.see(edge.active, at, &mut self.events);
            }
        }
        Ok(false)
    }
}

impl Sensor for TimedInput {
    /// Also finds out about an edge that nobody has reported: some chips lose one now and then.
    fn sample(&mut self) -> Result<Vec<Measurement>, DriverError> {
        // While edges wait the level is that after the last of them, and would be one edge too many.
        if self.catch_up()? {
            let active = self.line.is_active()?;
            if active != self.contact.level() {
                self.contact.see(active, self.line.now(), &mut self.events);
            }
        }
        Ok(vec![ACTIVE.observed(self.contact.is_active())])
    }

    fn take_events(&mut self) -> Result<Vec<Event>, DriverError> {
        self.catch_up()?;
        Ok(mem::take(&mut self.events))
    }

    fn is_event_driven(&self) -> bool {
        true
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.line.descriptor()
    }

    fn due_in(&self) -> Option<Duration> {
        if !self.events.is_empty() {
            return Some(Duration::ZERO);
        }
        let at = self.contact.deadline()?.saturating_add(ON_ITS_WAY);
        let now = self.line.now();
        // Its time has come, but not everything is known that was before: the bus says when it looks.
        let must_wait = now >= at && self.line.complete_until() < at;
        Some(if must_wait { ON_ITS_WAY } else { at.saturating_sub(now) })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::super::contact::tests::{USUAL, any_edges, any_times, button, change, click, model, ms};
    use super::*;
    use fieldgate_bus::{BusError, Edge};
    use proptest::prelude::*;

    /// Edges that the kernel stamps, the first a press, and hands out as soon as it has stamped them.
    #[derive(Default)]
    struct Kernel {
        now: Duration,
        edges: Vec<Duration>,
        taken: usize,
        /// It hands out no more at once.
        portion: usize,
        looks: usize,
        /// Up to when the bus knows of edges; without it up to now.
        known_until: Option<Duration>,
    }

    impl Kernel {
        fn known_until(&self) -> Duration {
            self.known_until.unwrap_or(self.now)
        }
    }

    struct Line(Rc<RefCell<Kernel>>);

    impl InputLine for Line {
        fn is_active(&mut self) -> Result<bool, BusError> {
            let kernel = self.0.borrow();
            Ok(kernel.edges.iter().filter(|at| **at <= kernel.now).count() % 2 == 1)
        }

        fn take_edges(&mut self) -> Result<Vec<Edge>, BusError> {
            let mut kernel = self.0.borrow_mut();
            let (first, known, portion) = (kernel.taken, kernel.known_until(), kernel.portion);
            let waiting = kernel.edges.iter().enumerate().skip(first).take_while(|(_, at)| **at <= known).take(portion);
            let edges: Vec<Edge> =
                waiting.map(|(index, at)| Edge { active: index % 2 == 0, at: Some(*at), missed: 0 }).collect();
            kernel.taken += edges.len();
            kernel.looks += 1;
            Ok(edges)
        }

        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        fn now(&self) -> Duration {
            self.0.borrow().now
        }

        fn complete_until(&self) -> Duration {
            self.0.borrow().known_until()
        }
    }

    fn input(contact: Contact, edges: &[u64]) -> (Rc<RefCell<Kernel>>, TimedInput) {
        let edges = edges.iter().map(|at| ms(*at)).collect();
        let kernel = Rc::new(RefCell::new(Kernel { edges, portion: 64, ..Kernel::default() }));
        (Rc::clone(&kernel), TimedInput::new(Box::new(Line(kernel)), contact))
    }

    #[test]
    fn it_asks_to_be_woken_for_what_comes_without_an_edge() {
        let (kernel, mut input) = input(button(USUAL), &[1000, 1100]);
        assert_eq!(input.due_in(), None);
        kernel.borrow_mut().now = ms(1100);
        assert_eq!(input.take_events().unwrap(), [change(true, 1000), change(false, 1100)]);
        assert_eq!(input.due_in(), Some(ms(300) + ON_ITS_WAY));
        kernel.borrow_mut().now = ms(1400) + ON_ITS_WAY;
        assert_eq!(input.due_in(), Some(ms(0)));
        assert_eq!(input.take_events().unwrap(), [click("single", false, 1400)]);
        assert_eq!(input.due_in(), None);
    }

    #[test]
    fn nothing_is_concluded_before_the_bus_knows_of_every_edge_in_front_of_it() {
        let (kernel, mut input) = input(button(USUAL), &[1000, 1100, 1300, 1350]);
        kernel.borrow_mut().known_until = Some(ms(1200));
        kernel.borrow_mut().now = ms(2000);
        assert_eq!(input.take_events().unwrap(), [change(true, 1000), change(false, 1100)]);
        assert_eq!(input.due_in(), Some(ON_ITS_WAY), "soon, but not at once and for ever");
        kernel.borrow_mut().known_until = None;
        let events = [change(true, 1300), change(false, 1350), click("double", false, 1650)];
        assert_eq!(input.take_events().unwrap(), events);
    }

    #[test]
    fn a_sample_between_events_loses_none_and_has_no_click() {
        let (kernel, mut input) = input(button(USUAL), &[1000, 1100]);
        kernel.borrow_mut().now = ms(2000);
        assert_eq!(input.sample().unwrap(), [ACTIVE.observed(false)]);
        assert_eq!(input.due_in(), Some(Duration::ZERO));
        let events = [change(true, 1000), change(false, 1100), click("single", false, 1400)];
        assert_eq!(input.take_events().unwrap(), events);
    }

    #[test]
    fn an_edge_that_was_never_handed_out_shows_at_the_next_sample() {
        let (kernel, mut input) = input(button(USUAL), &[1000]);
        kernel.borrow_mut().taken = 1;
        kernel.borrow_mut().now = ms(3000);
        assert_eq!(input.sample().unwrap(), [ACTIVE.observed(true)]);
        assert_eq!(input.take_events().unwrap(), [change(true, 3000)]);
    }

    #[test]
    fn a_line_that_never_rests_is_left_after_some_portions() {
        let edges: Vec<u64> = (0..10_000).collect();
        let (kernel, mut input) = input(button(USUAL), &edges);
        kernel.borrow_mut().now = ms(10_000);
        input.take_events().unwrap();
        assert_eq!(kernel.borrow().looks, PORTIONS);
    }

    #[test]
    fn a_sample_that_cannot_take_all_edges_makes_none_up() {
        let edges = [1000; PORTIONS + 3];
        let (kernel, mut input) = input(button(USUAL), &edges);
        kernel.borrow_mut().portion = 1;
        kernel.borrow_mut().now = ms(1001);
        input.sample().unwrap();
        let changes = input.take_events().unwrap();
        assert_eq!(changes, (0..edges.len()).map(|index| change(index % 2 == 0, 1000)).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn however_late_edges_are_read_they_mean_the_same(
            times in any_times(),
            edges in any_edges(),
            pauses in prop::collection::vec((0u64..500, any::<bool>()), 0..20),
            portion in 1usize..64,
        ) {
            let (kernel, mut input) = input(button(times), &edges);
            kernel.borrow_mut().portion = portion;
            let (mut read, mut now) = (Vec::new(), 1000);
            for (pause, is_sampled) in pauses {
                now += pause;
                kernel.borrow_mut().now = ms(now);
                if is_sampled {
                    input.sample().unwrap();
                } else {
                    read.extend(input.take_events().unwrap());
                }
            }
            let end = now.max(*edges.last().unwrap_or(&0)) + 1000;
            kernel.borrow_mut().now = ms(end);
            // Those that find it busy for longer than it may be are called again.
            while kernel.borrow().taken < edges.len() {
                read.extend(input.take_events().unwrap());
            }
            read.extend(input.take_events().unwrap());
            prop_assert_eq!(read, model(times, &edges, end));
            prop_assert_eq!(input.due_in(), None);
        }
    }
}
