//! Simulated chips at register level. This one stands in until the others come.

/// A chip on the simulated I²C bus.
pub trait Chip {
    /// As in the state file: `bme280`.
    fn kind(&self) -> &'static str;
    /// Bytes written to it; `false` when it does not acknowledge them.
    fn write(&mut self, bytes: &[u8]) -> bool;
    /// Bytes read from it; `false` when it does not acknowledge.
    fn read(&mut self, buffer: &mut [u8]) -> bool;
    /// What surrounds it, by measurement.
    fn world(&self) -> Vec<(&'static str, f64)>;
    /// Changes its surroundings; `false` for a name that it does not know.
    fn set_world(&mut self, name: &str, value: f64) -> bool;
    /// Breaks it or mends it; `false` for a fault that it does not know.
    fn set_fault(&mut self, fault: Option<&str>) -> bool;
}

/// The chip that a driver expects.
pub fn for_driver(driver: &str) -> Option<Box<dyn Chip>> {
    (driver == "tmp102").then(|| Box::new(Thermometer { temperature: 21.5 }) as Box<dyn Chip>)
}

struct Thermometer {
    temperature: f64,
}

impl Chip for Thermometer {
    fn kind(&self) -> &'static str {
        "tmp102"
    }
    fn write(&mut self, _bytes: &[u8]) -> bool {
        true
    }
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let raw = ((self.temperature / 0.0625).round() as i16) << 4;
        for (place, byte) in buffer.iter_mut().zip(raw.to_be_bytes()) {
            *place = byte;
        }
        true
    }
    fn world(&self) -> Vec<(&'static str, f64)> {
        vec![("temperature", self.temperature)]
    }
    fn set_world(&mut self, name: &str, value: f64) -> bool {
        if name == "temperature" {
            self.temperature = value;
        }
        name == "temperature"
    }
    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        fault.is_none()
    }
}
