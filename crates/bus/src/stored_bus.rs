//! Buses in the table of outputs: what is stored of each, and how it is read again, perhaps by a later version.

use serde_json::{Value as Json, json};

use fieldgate_model::Name;

use crate::spec::{BusSpec, Entry, Settings, Upstream};

impl Settings {
    /// As JSON, so that an output on this bus can be reached without the configuration. Only what driving outputs needs is in it.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Entry(entry) => entry.to_json(),
            // No output sits on other sensors.
            Self::Host | Self::Signals(_) => json!({ "type": "host" }),
        }
    }

    /// From what [`Settings::to_json`] of this or an earlier version made of it.
    pub fn from_json(stored: &Json) -> Option<Self> {
        let name = stored["type"].as_str()?;
        if name == "host" {
            return Some(Self::Host);
        }
        let spec = BusSpec::find(name, stored["backend"] == "rppal")?;
        let on = match spec.on {
            Some(_) => Some(Box::new(Upstream {
                name: Name::new(stored["on"]["name"].as_str()?).ok()?,
                settings: Self::from_json(&stored["on"]["bus"])?,
            })),
            None => None,
        };
        Some(Self::Entry(Entry { spec, keys: (spec.from_stored)(spec, stored)?, on, interrupt: None }))
    }
}

impl Entry {
    fn to_json(&self) -> Json {
        let mut stored = (self.spec.to_stored)(self);
        stored.insert("type".into(), self.spec.name.into());
        if self.spec.is_by_rppal() {
            stored.insert("backend".into(), "rppal".into());
        }
        if let Some(on) = &self.on {
            stored.insert("on".into(), json!({ "name": on.name.as_str(), "bus": on.settings.to_json() }));
        }
        stored.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BUSES, BY_RPPAL, BusNeed};
    use fieldgate_model::{Need, Setting};

    /// A bus of that kind with every key that it may ask for, on one that suits it.
    fn any(spec: &'static BusSpec) -> Settings {
        let fields = spec.own_fields().filter(|field| field.need != Need::Optional);
        let samples = [Setting::Integer(3), Setting::Text("/dev/i2c-3".into())];
        let sample =
            |kind| samples.iter().find(|s| Setting::from_json(kind, &s.to_json()).as_ref() == Some(s)).cloned();
        let keys =
            fields.map(|field| (field.name, sample(&field.kind).expect("a sample of each kind"))).collect::<Vec<_>>();
        match spec.on.and_then(BusNeed::usual) {
            Some(beneath) => {
                let on = Upstream { name: Name::new("beneath").unwrap(), settings: any(beneath) };
                spec.upon(on, keys)
            }
            None => spec.wired(keys),
        }
    }

    #[test]
    fn every_kind_of_bus_is_read_as_it_was_written() {
        for spec in BUSES.iter().chain(BY_RPPAL).copied() {
            let bus = any(spec);
            assert_eq!(Settings::from_json(&bus.to_json()), Some(bus), "{}", spec.name);
        }
        assert_eq!(Settings::from_json(&Settings::Host.to_json()), Some(Settings::Host));
    }

    #[test]
    fn what_earlier_versions_kept_is_still_understood() {
        let on = json!({ "name": "wires", "bus": { "type": "i2c", "backend": "rppal", "number": 1 } });
        let shelf = json!({ "type": "tca9548a", "on": on, "address": 0x70, "channel": 3 });
        for stored in [
            json!({ "type": "i2c", "device": "/dev/i2c-1" }),
            json!({ "type": "gpio", "chip": "pinctrl-rp1" }),
            json!({ "type": "pwm", "chip": 2 }),
            json!({ "type": "spi", "device": "/dev/spidev0.0" }),
            json!({ "type": "uart", "device": "/dev/serial0" }),
            json!({ "type": "w1" }),
            json!({ "type": "gpio", "backend": "rppal" }),
            json!({ "type": "pwm", "backend": "rppal" }),
            json!({ "type": "sim", "state_file": "/tmp/bench.json" }),
            json!({ "type": "pcf8574", "on": { "name": "shelf", "bus": shelf }, "address": 0x20 }),
        ] {
            let bus = Settings::from_json(&stored).unwrap_or_else(|| panic!("{stored}"));
            assert_eq!(bus.to_json(), stored);
        }
        let own = Settings::from_json(&json!({ "type": "sim", "state_file": null })).unwrap();
        assert_eq!(own, crate::sim::at(None));
    }

    #[test]
    fn what_is_damaged_is_no_bus() {
        for stored in [
            json!({}),
            json!({ "type": "i2c" }),
            json!({ "type": "pwm", "chip": "0" }),
            json!({ "type": "nothing" }),
            json!({ "type": "spi", "backend": "rppal", "device": "/dev/spidev0.0" }),
            json!({ "type": "tca9548a", "address": 0x70, "channel": 3 }),
            json!({ "type": "i2c", "backend": "rppal", "number": 300 }),
        ] {
            assert_eq!(Settings::from_json(&stored), None, "{stored}");
        }
    }
}
