//! to: into another unit of the same kind.

use fieldgate_model::{Kind, Quantity, Wrong};

use super::Pure;
use crate::decimals;
use crate::spec::{Built, FilterSpec, Takes};
use crate::units::{conversion, of_the_same_kind};

pub(super) static SPEC: FilterSpec = FilterSpec {
    name: "to",
    summary: "converts into another unit of the same kind",
    page: "\
°C °F K · hPa Pa kPa bar mbar psi inHg mmHg · m cm mm km in ft · V mV · A mA ·
W kW mW · kg g lb oz · L mL m³ gal · m/s km/h mph kn · Hz kHz. The unit that
B/devices names follows, and so do the decimals. Filters behind it compute in
the new unit, and so does `report`.
No value passes through.",
    takes: Takes::Value(Kind::Text),
    example: "{ to: °F }",
    build: |parameter, quantity| {
        let wanted = parameter.text();
        let Some(line) = conversion(&quantity.unit, wanted) else { return Err(refusal(quantity)) };
        let quantity = Quantity {
            unit: wanted.to_owned().into(),
            decimals: decimals::scaled(quantity.decimals, line.factor),
            ..quantity.clone()
        };
        Ok(Built::Filter(Box::new(Pure(move |value| Some(value * line.factor + line.offset))), quantity))
    },
};

fn refusal(quantity: &Quantity) -> Wrong {
    let Quantity { name, unit, .. } = quantity;
    if unit.is_empty() {
        return Wrong::new(format!("{name} has no unit that could be converted"), "");
    }
    let others = of_the_same_kind(unit);
    let hint = match others.is_empty() {
        true => format!("{unit} is not converted into anything"),
        false => format!("{unit} becomes {}", others.join(", ")),
    };
    Wrong::new(format!("{unit} cannot be converted into this"), hint)
}

#[cfg(test)]
mod tests {
    use crate::filter::testing::{after, refused, series};

    #[test]
    fn unit_and_decimals_follow() {
        assert_eq!(series("{ to: K }", &[Some(100.0), None]), [Some(373.15), None]);
        let after = after("{ to: K }");
        assert_eq!((&*after.unit, after.decimals), ("K", 1));
    }

    #[test]
    fn another_kind_is_refused() {
        assert_eq!(refused("{ to: hPa }"), "°C cannot be converted into this");
        assert_eq!(refused("{ to: C }"), "°C cannot be converted into this");
    }
}
