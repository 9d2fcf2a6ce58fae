//! What signals say, owned: texts keep their space.

use fieldgate_formula::Value;

/// What one signal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fact {
    plain: Plain,
    /// Of [`Plain::Text`].
    text: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Plain {
    #[default]
    Unknown,
    Known(Value<'static>),
    Text,
}

impl Fact {
    pub(crate) fn value(&self) -> Value<'_> {
        match self.plain {
            Plain::Unknown => Value::Unknown,
            Plain::Known(value) => value,
            Plain::Text => Value::Text(&self.text),
        }
    }

    /// Takes a value over; whether it is another one.
    pub(crate) fn write(&mut self, value: Value<'_>) -> bool {
        if self.value() == value {
            return false;
        }
        self.plain = match value {
            Value::Unknown => Plain::Unknown,
            Value::Number(number) => Plain::Known(Value::Number(number)),
            Value::Flag(flag) => Plain::Known(Value::Flag(flag)),
            Value::Time(time) => Plain::Known(Value::Time(time)),
            Value::Text(text) => {
                self.text.clear();
                self.text.push_str(text);
                Plain::Text
            }
        };
        true
    }
}
