//! What is known of the samples of one measurement since the last reading.

use fieldgate_model::Value;

use super::Aggregate;

/// The values so far, without keeping them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    count: u32,
    sum: f64,
    range: Option<(f64, f64)>,
    decimals: u8,
    /// Of the newest sample, which may have none.
    newest: Option<Value>,
}

impl Sum {
    pub(super) fn add(&mut self, value: Option<Value>) {
        self.newest = value;
        let Some(Value::Number { value, decimals }) = value else { return };
        let (low, high) = self.range.unwrap_or((value, value));
        *self = Self {
            count: self.count.saturating_add(1),
            sum: self.sum + value,
            range: Some((low.min(value), high.max(value))),
            decimals,
            newest: self.newest,
        };
    }

    /// The value of the newest sample, if it had one.
    pub(super) fn newest(&self) -> Option<Value> {
        self.newest
    }

    /// What a reading says. A number of no sample has none; of a yes-or-no value only the newest is known.
    pub(super) fn aggregate(&self, aggregate: Aggregate) -> Option<Value> {
        let Some((low, high)) = self.range.filter(|_| aggregate != Aggregate::Last) else { return self.newest };
        let value = match aggregate {
            Aggregate::Min => low,
            Aggregate::Max => high,
            // The mean of many may differ from all of them by rounding.
            Aggregate::Mean | Aggregate::Last => (self.sum / f64::from(self.count)).clamp(low, high),
        };
        Some(Value::Number { value, decimals: self.decimals })
    }
}
