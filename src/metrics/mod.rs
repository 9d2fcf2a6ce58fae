//! What Prometheus reads of the gateway: OpenMetrics for those who ask for it, and the older text for everybody else.
//!
//! What it promises: one family for each quantity in its base unit, however the sensors report it (`quantities.rs`); no times, for a scrape
//! has its own; and no values of a sensor that is down, but its counts and `fieldgate_sensor_up 0`. A family without a value is left out.
//! Everything is read off what others keep in memory: nobody is asked, and nothing waits.

mod families;
mod quantities;
mod table;
mod text;
pub mod textfile;

use crate::health::Sources;
use crate::views::Views;

/// What is measured, and where from.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The gateway's own numbers.
    pub sources: Sources,
    /// The newest readings and states.
    pub views: Views,
}

/// In which form metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4, which node-exporter reads too.
    Text,
}

impl Form {
    /// What a scraper understands, by its `Accept`.
    pub fn wanted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    /// The type of the content.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Metrics {
    /// Everything, as of now.
    pub fn render(&self, form: Form) -> String {
        let families = families::Families::of(self).render();
        match form {
            Form::OpenMetrics => families,
            Form::Text => text::of_openmetrics(&families),
        }
    }
}
