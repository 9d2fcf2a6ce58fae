//! The last values of a measurement, in the order of time and in the order of size.

/// The values that a window has now. Nothing is allocated after it was made.
#[derive(Debug)]
pub(crate) struct Window {
    /// A ring; `next` is the place of the oldest once it is full.
    values: Vec<f64>,
    next: usize,
    size: usize,
}

impl Window {
    pub(crate) fn new(size: usize) -> Self {
        Self { values: Vec::with_capacity(size), next: 0, size }
    }

    /// Adds a value, and gives the oldest if that had to leave.
    pub(crate) fn push(&mut self, value: f64) -> Option<f64> {
        if self.values.len() < self.size {
            self.values.push(value);
            return None;
        }
        let oldest = std::mem::replace(&mut self.values[self.next], value);
        self.next = (self.next + 1) % self.size;
        Some(oldest)
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.next = 0;
    }

    /// All values, in no order of use to anyone.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }
}

/// A window whose values are kept in the order of their size as well.
#[derive(Debug)]
pub(crate) struct SortedWindow {
    window: Window,
    sorted: Vec<f64>,
}

impl SortedWindow {
    pub(crate) fn new(size: usize) -> Self {
        Self { window: Window::new(size), sorted: Vec::with_capacity(size) }
    }

    pub(crate) fn push(&mut self, value: f64) {
        if let Some(oldest) = self.window.push(value) {
            let place = self.sorted.partition_point(|other| other.total_cmp(&oldest).is_lt());
            self.sorted.remove(place);
        }
        let place = self.sorted.partition_point(|other| other.total_cmp(&value).is_lt());
        self.sorted.insert(place, value);
    }

    pub(crate) fn clear(&mut self) {
        self.window.clear();
        self.sorted.clear();
    }

    /// The `q`-quantile, 0 to 1, of what is there; linear between two values, as numpy does by default.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.sorted.len().checked_sub(1)?;
        let position = q.clamp(0.0, 1.0) * last as f64;
        let below = (position.floor() as usize).min(last);
        let (low, high) = (self.sorted[below], self.sorted[(below + 1).min(last)]);
        Some(low + (high - low) * position.fract())
    }
}
