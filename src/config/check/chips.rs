//! Buses that are chips on another bus: what they sit on, in whatever order they are written.

use std::time::Duration;

use crate::bus::{self, Claim, Upstream, expander, multiplexer};
use crate::config::check::Checker;
use crate::config::check::buses::Bus;
use crate::config::check::devices::{such_as, words};
use crate::config::check::section::Section;
use crate::config::raw;
use crate::config::tree::Span;
use crate::drivers::BusNeed;
use crate::model::Name;

/// Multiplexers behind multiplexers, and an expander behind the last: nobody has more.
const DEEPEST: usize = 4;

/// A bus as far as its own entry tells.
pub(super) enum Draft {
    /// It is wired to the board.
    Plain(bus::Settings),
    /// It sits on another one.
    Chip(Chip),
    /// It sits on another one, and something else about it is wrong, which has been reported.
    Wrong(Link),
}

/// A chip on a bus that may be written further down.
pub(super) struct Chip {
    on: Link,
    address: (u8, Span),
    kind: Kind,
}

/// A bus by its name, and where that is written.
pub(super) struct Link {
    name: String,
    span: Span,
}

enum Kind {
    Multiplexer { model: &'static str, channel: u8 },
    Expander { model: expander::Model, every: Option<Duration>, interrupt: Option<(Link, String, Span)> },
}

impl<'a> Checker<'a> {
    /// An entry whose type is that of a chip.
    pub(super) fn chip_on_a_bus(&mut self, model: &str, section: &Section<'a>) -> Option<Draft> {
        let interrupt = self.interrupt(section);
        let on = Link { name: section.text("bus")?.to_owned(), span: section.span("bus") };
        Some(match chip(model, section, interrupt) {
            Some((address, kind)) => Draft::Chip(Chip { on, address, kind }),
            None => Draft::Wrong(on),
        })
    }

    /// The interrupt line as written; nothing when it is wrong.
    fn interrupt(&mut self, section: &Section<'a>) -> Option<Option<(Link, String, Span)>> {
        if !section.has("interrupt") {
            return Some(None);
        }
        let own = self.sub(section, "interrupt", raw::INTERRUPT);
        let link = Link { name: own.text("bus")?.to_owned(), span: own.span("bus") };
        Some(Some((link, own.text("line")?.to_owned(), own.span("line"))))
    }

    /// Joins each chip to the bus that it sits on, those near the board first.
    pub(super) fn settle(&mut self, mut chips: Vec<(usize, Chip)>, wrong: &[Link], buses: &mut [Bus]) {
        for on in wrong {
            self.is_there(on, buses);
        }
        chips.retain(|(_, chip)| self.is_there(&chip.on, buses));
        for _ in 0..DEEPEST {
            let ready = |(_, chip): &(usize, Chip)| find(buses, &chip.on.name).is_some_and(|on| on.settings.is_some());
            let (now, later): (Vec<_>, Vec<_>) = chips.into_iter().partition(ready);
            chips = later;
            for (index, chip) in now {
                let claims = self.claims(&chip, buses);
                buses[index].settings = self.joined(chip, buses);
                buses[index].claims = claims;
            }
        }
        self.unsettled(&chips, buses);
    }

    fn is_there(&mut self, on: &Link, buses: &[Bus]) -> bool {
        let there = find(buses, &on.name).is_some();
        if !there {
            self.unknown_bus(&on.name, &on.span, buses, such_as(buses, |bus| bus.suits(BusNeed::I2c)));
        }
        there
    }

    /// The settings of a chip whose parent is settled.
    fn joined(&mut self, chip: Chip, buses: &[Bus]) -> Option<bus::Settings> {
        let on = Box::new(self.upstream(&chip.on, buses, BusNeed::I2c, "a chip sits on")?);
        let (address, _) = chip.address;
        Some(match chip.kind {
            Kind::Multiplexer { model, channel } => {
                bus::Settings::Multiplexed(multiplexer::Settings { on, model, address, channel })
            }
            Kind::Expander { model, every, interrupt } => {
                let interrupt = match interrupt {
                    None => None,
                    Some((link, line, _)) => {
                        let on = Box::new(self.upstream(&link, buses, BusNeed::Gpio, "an interrupt line needs")?);
                        Some(expander::Interrupt { on, line })
                    }
                };
                bus::Settings::Expander(expander::Settings { on, model, address, every, interrupt })
            }
        })
    }

    /// A bus that offers what a chip needs; a line that reports to an expander is none of an expander's.
    fn upstream(&mut self, link: &Link, buses: &[Bus], need: BusNeed, who: &str) -> Option<Upstream> {
        let fits = |bus: &Bus| bus.suits(need) && (need != BusNeed::Gpio || !is_expander(bus));
        let Some(bus) = find(buses, &link.name) else {
            self.unknown_bus(&link.name, &link.span, buses, such_as(buses, fits));
            return None;
        };
        if !fits(bus) {
            let what = format!("{who} {}, and {} is of type {}", words(need), bus.name, bus.kind());
            self.error(&link.span, what, such_as(buses, fits));
            return None;
        }
        Some(Upstream { name: bus.name.clone(), settings: bus.settings.clone()? })
    }

    fn claims(&self, chip: &Chip, buses: &[Bus]) -> Vec<(Name, Claim, Span)> {
        let named = |link: &Link| find(buses, &link.name).map(|bus| bus.name.clone());
        let (address, span) = &chip.address;
        let mut claims: Vec<_> =
            named(&chip.on).into_iter().map(|on| (on, Claim::Address(*address), span.clone())).collect();
        if let Kind::Expander { interrupt: Some((link, line, span)), .. } = &chip.kind {
            claims.extend(named(link).map(|on| (on, Claim::Line(line.clone()), span.clone())));
        }
        claims
    }

    /// What is left sits on one that is wrong, which has been told, on itself, or too deep.
    fn unsettled(&mut self, chips: &[(usize, Chip)], buses: &[Bus]) {
        for (index, chip) in chips {
            let name = &buses[*index].name;
            match end(chips, buses, name, chip) {
                End::Wrong => {}
                End::Itself => {
                    self.error(&chip.on.span, format!("{name} sits on itself"), "a chip sits on a bus of type i2c");
                }
                End::Board => {
                    let what = format!("{name} sits on too many others");
                    self.error(&chip.on.span, what, format!("at most {DEEPEST} may be on each other"));
                }
            }
        }
    }
}

/// What an entry says of its chip besides the bus; nothing when some of it is wrong.
fn chip(
    model: &str,
    section: &Section<'_>,
    interrupt: Option<Option<(Link, String, Span)>>,
) -> Option<((u8, Span), Kind)> {
    let byte = |key: &str| u8::try_from(section.integer(key)?).ok();
    let address = (byte("address")?, section.span("address"));
    let kind = match multiplexer::MODELS.iter().find(|(name, _)| *name == model) {
        Some((model, _)) => Kind::Multiplexer { model, channel: byte("channel")? },
        None => {
            let model = expander::Model::ALL.into_iter().find(|known| known.name() == model)?;
            Kind::Expander { model, every: section.duration("every"), interrupt: interrupt? }
        }
    };
    Some((address, kind))
}

/// Where it ends to go down from one bus to the next.
enum End {
    /// At the board, too many steps away.
    Board,
    /// At a bus that is wrong.
    Wrong,
    /// Where it began.
    Itself,
}

fn end(chips: &[(usize, Chip)], buses: &[Bus], name: &Name, chip: &Chip) -> End {
    let mut passed: Vec<&Name> = Vec::new();
    let mut on = find(buses, &chip.on.name);
    while let Some(bus) = on {
        if bus.name == *name {
            return End::Itself;
        }
        if passed.contains(&&bus.name) {
            // Those in the circle are told.
            return End::Wrong;
        }
        passed.push(&bus.name);
        match chips.iter().find(|(index, _)| buses[*index].name == bus.name) {
            // Circles are small; whoever has drawn a larger one is told something near enough.
            Some(_) if passed.len() > 4 * DEEPEST => return End::Board,
            Some((_, below)) => on = find(buses, &below.on.name),
            None if bus.settings.is_some() => return End::Board,
            None => return End::Wrong,
        }
    }
    End::Wrong
}

fn find<'b>(buses: &'b [Bus], name: &str) -> Option<&'b Bus> {
    buses.iter().find(|bus| bus.name.as_str() == name)
}

fn is_expander(bus: &Bus) -> bool {
    matches!(bus.settings, Some(bus::Settings::Expander(_)))
}
