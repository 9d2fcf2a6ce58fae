//! The newest lines for the page: message and fields in one line of text.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::log_lines::{self, Weight};

/// Adds events of the usual levels to the newest lines.
pub(super) struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let weight = match *event.metadata().level() {
            Level::ERROR => Weight::Error,
            Level::WARN => Weight::Warn,
            Level::INFO => Weight::Info,
            _ => return,
        };
        log_lines::push(weight, || {
            let mut text = Text::default();
            event.record(&mut text);
            text.message + &text.fields
        });
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => _ = write!(self.fields, " {name}={value}"),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a String fails only when the value says so itself; what it wrote until then is what there is.
        write!(text, "{value:?}").ok();
        self.record_str(field, &text);
    }
}
