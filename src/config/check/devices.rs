//! `sensors:`, and what they have in common with `actuators:`.

use std::time::Duration;

use crate::config::check::Checker;
use crate::config::check::buses::Named;
use crate::config::check::device::Device;
use crate::config::check::formulas::Derived;
use crate::config::check::known_bus::{Bus, such_as};
use crate::config::check::mqtt::{Mqtt, qos};
use crate::config::check::section::Section;
use crate::config::check::words::{did_you_mean, nearest, quoted};
use crate::config::raw;
use crate::config::tree::{Node, Span, Value};
use crate::worker::SensorSettings;
use fieldgate_bus::Claim;
use fieldgate_drivers::{self as drivers, BusNeed, DRIVERS, DriverSpec, Role};
use fieldgate_model::{Name, Qos, Setting, Settings, Wrong};

impl<'a> Checker<'a> {
    /// The sensors, and those among them that are computed from others, which are checked when all else is known.
    pub(super) fn sensors(
        &mut self,
        top: &Section<'a>,
        buses: &[Bus],
        mqtt: &Mqtt,
    ) -> (Vec<Device<SensorSettings>>, Vec<Derived<'a>>) {
        let (mut all, mut derived) = (Vec::new(), Vec::new());
        for Named { name, key, node, is_again } in self.named(top, "sensors") {
            let device = if self.is_in_place(node, is_sensor) {
                let section = self.section(&key.span, [node], &key.text, raw::SENSOR);
                if section.text("driver").and_then(drivers::find).is_some_and(|driver| driver.bus == BusNeed::Sensors) {
                    let device = Device { name: name.clone(), bus: None, claims: Vec::new(), settings: None };
                    if !is_again {
                        derived.push(Derived::new(all.len(), name, section));
                        all.push(device);
                    }
                    continue;
                }
                self.sensor(name, &section, buses, mqtt)
            } else {
                let section = self.section(&key.span, [node], &key.text, raw::ACTUATOR);
                self.actuator(name, &section, buses).0.without_settings()
            };
            all.extend((!is_again).then_some(device));
        }
        (all, derived)
    }

    pub(super) fn sensor(
        &mut self,
        name: Name,
        section: &Section<'a>,
        buses: &[Bus],
        mqtt: &Mqtt,
    ) -> Device<SensorSettings> {
        let driver = self.driver(section, is_sensor);
        let bus = self.bus_of(section, driver, buses);
        let (qos, retain) = self.delivery(section, mqtt);
        let Some((driver, Role::Sensor { default_every, .. })) = driver.map(|driver| (driver, &driver.role)) else {
            return Device { name, bus, claims: Vec::new(), settings: None };
        };
        let every = self.every(section, driver, *default_every);
        let on = buses.iter().find(|on| Some(&on.name) == bus.as_ref() && on.suits(driver.bus));
        let (settings, claims) = self.settings(section, driver, on);
        let measured = settings.as_ref().map(|settings| driver.measured(settings));
        let values = self.values(section, measured);
        let settings = settings.zip(every).zip(values).map(|((settings, every), (filters, report))| SensorSettings {
            name: name.clone(),
            driver,
            bus: bus.clone(),
            every,
            qos,
            retain,
            settings,
            filters,
            report,
        });
        self.shown_sensor(&name, section, settings.as_ref());
        Device { name, bus, claims, settings }
    }

    /// The driver that is named. One that is not there is reported, and the rest checked by that which was probably meant.
    pub(super) fn driver(&mut self, section: &Section<'a>, fits: fn(&Role) -> bool) -> Option<&'static DriverSpec> {
        let name = section.text("driver")?;
        if let Some(driver) = drivers::find(name) {
            return Some(driver);
        }
        let names: Vec<_> = DRIVERS.iter().map(|spec| spec.name).collect();
        let near = nearest(name, &names);
        let hint = did_you_mean(name, &names, || "`fieldgate drivers` lists them".to_owned());
        self.error(&section.span("driver"), format!("no driver is called {}", quoted(name)), hint);
        near.and_then(drivers::find).filter(|driver| fits(&driver.role))
    }

    /// Whether the device's driver, if there is one, belongs into this section. Looked at first: the keys of an output would
    /// otherwise be called unknown among sensors, one by one.
    pub(super) fn is_in_place(&mut self, node: &Node, fits: fn(&Role) -> bool) -> bool {
        let Value::Map(entries) = &node.value else { return true };
        let written = entries.iter().find(|(key, _)| key.text == "driver").map(|(_, value)| value);
        let found = written.and_then(|value| Some((value, drivers::find(value.scalar_text()?)?)));
        let Some((value, driver)) = found.filter(|(_, driver)| !fits(&driver.role)) else { return true };
        let (what, place) = match driver.role {
            Role::Sensor { .. } => ("a sensor", "sensors:"),
            Role::Actuator { .. } => ("an output", "actuators:"),
        };
        self.error(&value.span, format!("{} is {what}", driver.name), format!("put it under {place}"));
        false
    }

    pub(super) fn bus_of(&mut self, section: &Section<'a>, driver: Option<&DriverSpec>, buses: &[Bus]) -> Option<Name> {
        let need = driver.map_or(BusNeed::None, |driver| driver.bus);
        let fitting = || such_as(buses, need, |bus| bus.suits(need));
        let Some(name) = section.text("bus") else {
            let needs_one = !matches!(need, BusNeed::None | BusNeed::Sensors);
            let sensor = driver.filter(|driver| matches!(driver.role, Role::Sensor { .. }) && needs_one);
            if let Some(driver) = sensor.filter(|_| !section.is_meant("bus")) {
                let what = format!("{} needs `bus:`, {}", driver.name, need.describe());
                self.error(&section.place, what, fitting());
            }
            return None;
        };
        let span = section.span("bus");
        let Some(bus) = buses.iter().find(|bus| bus.name.as_str() == name) else {
            self.unknown_bus(name, &span, buses, fitting());
            return None;
        };
        if let Some(driver) = driver.filter(|driver| !bus.suits(driver.bus)) {
            let what = format!("{} needs {}, and {name} is of type {}", driver.name, need.describe(), bus.kind());
            self.error(&span, what, fitting());
        }
        Some(bus.name.clone())
    }

    pub(super) fn delivery(&mut self, section: &Section<'a>, mqtt: &Mqtt) -> (Qos, bool) {
        let own = qos(section.integer("qos"));
        if own == Some(Qos::ExactlyOnce) && mqtt.kept_session {
            self.two_with_kept_session(&section.span("qos"));
        }
        let qos = own.unwrap_or(mqtt.qos);
        if qos == Qos::AtMostOnce {
            let what = "readings at qos 0 are not kept while the link is down";
            let span = if section.has("qos") { section.span("qos") } else { mqtt.qos_span.clone() };
            self.warning(&span, what, "use qos 1 if each of them counts");
        }
        (qos, section.flag("retain").unwrap_or(mqtt.retain))
    }

    pub(super) fn every(
        &mut self,
        section: &Section<'a>,
        driver: &DriverSpec,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let every = section.duration("every").or(default.filter(|_| !section.has("every")));
        if every.is_none() && !section.is_meant("every") {
            let what = format!("{} needs `every:`, how often it is read", driver.name);
            self.error(&section.place, what, "write for example every: 10s");
        }
        every
    }

    /// The driver's own settings, and what the device occupies with as many of them as could be read.
    pub(super) fn settings(
        &mut self,
        section: &Section<'a>,
        driver: &'static DriverSpec,
        on: Option<&Bus>,
    ) -> (Option<Settings>, Vec<(Claim, Span)>) {
        let place = section.key("settings");
        let what = format!("the settings of {}", driver.name);
        let own = self.section(&place, section.nodes("settings"), &what, driver.settings);
        if let Some(on) = on {
            self.fits(&own, driver, on);
        }
        let spans: Vec<_> =
            driver.settings.iter().map(|field| (own.get(field.name).cloned(), own.span(field.name))).collect();
        let known = own.stand_ins(driver.settings);
        self.wrong_settings(section, driver, &known);
        let [mut claims, others] = known.each_ref().map(driver.claims);
        claims.retain(|claim| others.contains(claim));
        let settings = own.settings();
        let mut claimed = Vec::with_capacity(claims.len());
        for claim in claims {
            // Two settings may say the same, each with a claim of its own.
            let taken = |span: &Span| claimed.iter().any(|(_, other)| other == span);
            let says = |setting: &Option<Setting>| setting.as_ref().is_some_and(|setting| claim.comes_from(setting));
            let all = || spans.iter().filter(|(setting, _)| says(setting)).map(|(_, span)| span);
            let span = all().find(|span| !taken(span)).or(all().next()).unwrap_or(&place).clone();
            claimed.push((claim, span));
        }
        (settings, claimed)
    }

    /// Reports what is wrong with the known settings, whatever stands in for the unknown ones. Marks the key, or all settings where its
    /// default is what is wrong.
    fn wrong_settings(&mut self, section: &Section<'a>, driver: &DriverSpec, known: &[Settings; 2]) {
        let [found, other] = known.each_ref().map(driver.wrong);
        let Some((wrong, Wrong { what, hint })) = found.filter(|found| other.as_ref() == Some(found)) else { return };
        let entries = match section.node("settings").map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.as_slice(),
            _ => &[],
        };
        let written = entries.iter().find(|(key, _)| key.text == wrong);
        let span = match written {
            Some((key, Node { value: Value::Map(_) | Value::Null, .. })) => key.span.clone(),
            Some((_, value)) => value.span.clone(),
            None => section.key("settings"),
        };
        self.error(&span, what, hint);
    }

    /// What a bus of the right type still cannot do.
    fn fits(&mut self, own: &Section<'a>, driver: &DriverSpec, on: &Bus) {
        let place = on.spec().filter(|_| driver.bus == BusNeed::Pwm).and_then(|spec| spec.pwm_place);
        let other = match place {
            Some("line") => "channel",
            Some("channel") => "line",
            _ => "",
        };
        if own.has(other) {
            let what = format!("{} is a bus of type {}, which has no {other} for PWM", on.name, on.kind());
            let key = place.unwrap_or_default();
            let hint = match driver.settings.iter().any(|field| field.name == key) {
                true => format!("write `{key}:`"),
                false => format!("{} wants a bus of type pwm", driver.name),
            };
            self.error(&own.key(other), what, hint);
        }
        let Some(spec) = on.spec() else { return };
        for field in driver.settings {
            let refused = own.get(field.name).and_then(|setting| (spec.refuses)(field.name, setting));
            if let Some(Wrong { what, hint }) = refused {
                self.error(&own.span(field.name), what, hint);
            }
        }
    }
}

/// What belongs under `sensors:`.
pub(super) fn is_sensor(role: &Role) -> bool {
    matches!(role, Role::Sensor { .. })
}

/// What belongs under `actuators:`.
pub(super) fn is_output(role: &Role) -> bool {
    matches!(role, Role::Actuator { .. })
}
