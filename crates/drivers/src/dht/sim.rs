//! A simulated Aosong DHT22 or DHT11: the five bytes that it sends when its line was held down.
//!
//! Product manuals of AM2302 and DHT11: humidity, temperature, and the sum of the four bytes; tenths with a sign bit, or whole
//! numbers with their decimals, which the DHT11 leaves at 0. Below it stands what the kernel's dht11.c makes of them: `EIO` where
//! the sum is wrong and `ETIMEDOUT` for silence.

use rustix::io::Errno;

use fieldgate_bus::sim::chips::{Chip, Fault, World, fill};
use fieldgate_bus::sim::{Answering, KernelDevice, Subsystem};

pub(super) struct Dht {
    kind: &'static str,
    world: World,
    fault: Option<Fault>,
}

impl Dht {
    /// A DHT22.
    pub(super) fn dht22() -> Self {
        Self::new("dht22", [("temperature", 21.5, -40.0..=80.0), ("humidity", 45.0, 0.0..=100.0)])
    }

    /// A DHT11.
    pub(super) fn dht11() -> Self {
        Self::new("dht11", [("temperature", 22.0, 0.0..=60.0), ("humidity", 45.0, 5.0..=95.0)])
    }

    fn new(kind: &'static str, world: [(&'static str, f64, std::ops::RangeInclusive<f64>); 2]) -> Self {
        Self { kind, world: World::new(world), fault: None }
    }

    fn answer(&self) -> [u8; 4] {
        let (celsius, percent) = (self.world.clamped("temperature"), self.world.clamped("humidity"));
        match self.fault {
            Some(Fault::PowerOn) => [0; 4],
            _ if self.kind == "dht11" => [percent.round() as u8, 0, celsius.round() as u8, 0],
            _ => {
                let [humidity, humidity_low] = ((percent * 10.0).round() as u16).to_be_bytes();
                let [high, low] = ((celsius.abs() * 10.0).round() as u16).to_be_bytes();
                [humidity, humidity_low, if celsius < 0.0 { high | 0x80 } else { high }, low]
            }
        }
    }
}

impl Chip for Dht {
    fn kind(&self) -> &'static str {
        self.kind
    }

    /// Nothing is ever sent to it.
    fn write(&mut self, _bytes: &[u8]) -> bool {
        self.fault != Some(Fault::Nak)
    }

    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let answer = self.answer();
        let sum = answer.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        let damage = if self.fault == Some(Fault::Checksum) { 0x01 } else { 0 };
        fill(buffer, answer.into_iter().chain([sum ^ damage]));
        self.fault != Some(Fault::Nak)
    }

    fn world(&self) -> Vec<(&'static str, f64)> {
        self.world.list()
    }

    fn set_world(&mut self, name: &str, value: f64) -> bool {
        self.world.set(name, value)
    }

    fn set_fault(&mut self, fault: Option<&str>) -> bool {
        Fault::set(&mut self.fault, fault, &[Fault::Nak, Fault::Checksum, Fault::PowerOn])
    }
}

/// As dht11.c shows it.
pub(super) const DEVICE: KernelDevice = KernelDevice {
    subsystem: Subsystem::Iio,
    files: &[
        // The overlay of Raspberry Pi calls its node dht11@0 whatever the pin.
        ("name", |_, name| Ok(if name.contains('@') { name.into() } else { "dht11@0".into() })),
        ("in_temp_input", |chip, _| decoded(chip).map(|(celsius, _)| celsius.to_string())),
        ("in_humidityrelative_input", |chip, _| decoded(chip).map(|(_, percent)| percent.to_string())),
    ],
};

/// Thousandths of a degree and of a percent, as `dht11_decode` distinguishes the two kinds of chip.
fn decoded(chip: Answering<'_>) -> Result<(i32, i32), Errno> {
    let mut bytes = [0; 5];
    if !chip.is_some_and(|chip| chip.read(&mut bytes)) {
        return Err(Errno::TIMEDOUT);
    }
    let [humidity, humidity_low, celsius, celsius_low, sum] = bytes;
    if humidity.wrapping_add(humidity_low).wrapping_add(celsius).wrapping_add(celsius_low) != sum {
        return Err(Errno::IO);
    }
    if humidity < 4 {
        let tenths = i32::from(u16::from_be_bytes([celsius & 0x7F, celsius_low]));
        let sign = if celsius & 0x80 == 0 { 100 } else { -100 };
        Ok((tenths * sign, i32::from(u16::from_be_bytes([humidity, humidity_low])) * 100))
    } else if humidity_low == 0 && celsius_low == 0 {
        Ok((i32::from(celsius) * 1000, i32::from(humidity) * 1000))
    } else {
        Err(Errno::IO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_manual_comes_out() {
        let mut chip = Dht::dht22();
        assert!(chip.set_world("temperature", 35.1) && chip.set_world("humidity", 65.2));
        let mut bytes = [0; 5];
        assert!(chip.read(&mut bytes));
        assert_eq!(bytes, [0x02, 0x8C, 0x01, 0x5F, 0xEE]);
        assert!(chip.set_world("temperature", -10.1) && chip.read(&mut bytes));
        assert_eq!(bytes[2..4], [0x80, 0x65]);
    }
}
