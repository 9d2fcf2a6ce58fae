//! What the raw words of a BME680 or BME688 mean, and what makes its heater warm. Pure.
//!
//! The floating-point formulas of the manufacturer's driver, BME68x Sensor API 4.4.8: the data sheets print the integer ones,
//! which overflow on calibration words that a bad contact may deliver. These give infinity or no number then, which the
//! range check refuses.

/// Whether the gas sensor is that of the BME680 or of the BME688 (register 0xF0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// BME680.
    Low,
    /// BME688.
    High,
}

/// One measurement as the chip gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) pressure: u32,
    pub(super) temperature: u32,
    pub(super) humidity: u16,
    /// Ten bits.
    pub(super) gas: u16,
    pub(super) gas_range: u8,
    /// Whether there was a gas measurement.
    pub(super) gas_valid: bool,
    /// Whether the heater was as warm as it should.
    pub(super) heater_stable: bool,
}

impl Raw {
    /// From the registers 0x1D to 0x2D.
    pub(super) fn parse(field: &[u8; 17], variant: Variant) -> Self {
        let word20 = |at: usize| u32::from_be_bytes([0, field[at], field[at + 1], field[at + 2]]) >> 4;
        let (high, low) = match variant {
            Variant::Low => (field[13], field[14]),
            Variant::High => (field[15], field[16]),
        };
        Self {
            pressure: word20(2),
            temperature: word20(5),
            humidity: u16::from_be_bytes([field[8], field[9]]),
            gas: u16::from_be_bytes([high, low]) >> 6,
            gas_range: low & 0x0F,
            gas_valid: low & 0x20 != 0,
            heater_stable: low & 0x10 != 0,
        }
    }
}

/// The words that were burnt in when the chip was made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Calibration {
    t: [f64; 3],
    p: [f64; 10],
    h: [f64; 7],
    gas: [f64; 3],
    heater_range: f64,
    heater_value: f64,
    switching_error: f64,
}

impl Calibration {
    /// From the registers 0x8A to 0xA0, 0xE1 to 0xEE and 0x00 to 0x04.
    pub(super) fn parse(low: &[u8; 23], high: &[u8; 14], last: &[u8; 5]) -> Self {
        let unsigned = |bytes: &[u8], at: usize| f64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let signed = |bytes: &[u8], at: usize| f64::from(i16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let small = |bytes: &[u8], at: usize| f64::from(bytes[at] as i8);
        // H1 and H2 have 12 bits and share register 0xE2.
        let twelve_bits = |high: u8, low: u8| f64::from(u16::from(high) << 4 | u16::from(low));
        Self {
            t: [unsigned(high, 8), signed(low, 0), small(low, 2)],
            p: [
                unsigned(low, 4),
                signed(low, 6),
                small(low, 8),
                signed(low, 10),
                signed(low, 12),
                small(low, 15),
                small(low, 14),
                signed(low, 18),
                signed(low, 20),
                f64::from(low[22]),
            ],
            h: [
                twelve_bits(high[2], high[1] & 0x0F),
                twelve_bits(high[0], high[1] >> 4),
                small(high, 3),
                small(high, 4),
                small(high, 5),
                f64::from(high[6]),
                small(high, 7),
            ],
            gas: [small(high, 12), signed(high, 10), small(high, 13)],
            heater_range: f64::from(last[2] >> 4 & 0x03),
            heater_value: small(last, 0),
            switching_error: f64::from(last[4] as i8 >> 4),
        }
    }

    /// All zeros or all ones: nothing was read.
    pub(super) fn is_blank(&self) -> bool {
        let blank = |word: f64| word == 0.0 || word == f64::from(u16::MAX);
        blank(self.t[0]) || blank(self.p[0])
    }

    /// The temperature in 1/5120 °C, which the pressure needs too.
    pub(super) fn fine(&self, raw: u32) -> f64 {
        let raw = f64::from(raw);
        let [t1, t2, t3] = self.t;
        let offset = raw / 131_072.0 - t1 / 8192.0;
        (raw / 16_384.0 - t1 / 1024.0) * t2 + offset * offset * t3 * 16.0
    }

    /// Not a number where the calibration would divide by zero.
    pub(super) fn pascal(&self, raw: u32, fine: f64) -> f64 {
        let [p1, p2, p3, p4, p5, p6, p7, p8, p9, p10] = self.p;
        let warmth = fine / 2.0 - 64_000.0;
        let offset = (warmth * warmth * p6 / 131_072.0 + warmth * p5 * 2.0) / 4.0 + p4 * 65_536.0;
        let slope = (p3 * warmth * warmth / 16_384.0 + p2 * warmth) / 524_288.0;
        let slope = (1.0 + slope / 32_768.0) * p1;
        let pressure = (1_048_576.0 - f64::from(raw) - offset / 4096.0) * 6250.0 / slope;
        let square = p9 * pressure * pressure / 2_147_483_648.0;
        let cube = (pressure / 256.0).powi(3) * p10 / 131_072.0;
        pressure + (square + pressure * p8 / 32_768.0 + cube + p7 * 128.0) / 16.0
    }

    /// Beyond 0 and 100 % the manufacturer clamps.
    pub(super) fn percent(&self, raw: u16, celsius: f64) -> f64 {
        let [h1, h2, h3, h4, h5, h6, h7] = self.h;
        let slope = h2 / 262_144.0 * (1.0 + h4 / 16_384.0 * celsius + h5 / 1_048_576.0 * celsius * celsius);
        let linear = (f64::from(raw) - (h1 * 16.0 + h3 / 2.0 * celsius)) * slope;
        let bend = h6 / 16_384.0 + h7 / 2_097_152.0 * celsius;
        (linear + bend * linear * linear).clamp(0.0, 100.0)
    }

    /// The resistance of the gas sensor.
    pub(super) fn ohm(&self, raw: &Raw, variant: Variant) -> f64 {
        let gas = f64::from(raw.gas) - 512.0;
        match variant {
            Variant::Low => {
                // Corrections in percent, by range.
                const K1: [f64; 16] =
                    [0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, -0.8, 0.0, 0.0, -0.2, -0.5, 0.0, -1.0, 0.0, 0.0];
                const K2: [f64; 16] =
                    [0.0, 0.0, 0.0, 0.0, 0.1, 0.7, 0.0, -0.8, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
                let range = usize::from(raw.gas_range & 0x0F);
                let divisor = (1340.0 + 5.0 * self.switching_error) * (1.0 + K1[range] / 100.0);
                let gain = (1.0 + K2[range] / 100.0) * f64::from(1_u32 << range);
                8e6 / (gain * (gas / divisor + 1.0))
            }
            Variant::High => 1e6 * f64::from(262_144_u32 >> (raw.gas_range & 0x0F)) / (4096.0 + 3.0 * gas),
        }
    }

    /// What makes the heater `target` °C warm in air of `ambient` °C: the content of res_heat.
    pub(super) fn heater(&self, target: f64, ambient: f64) -> u8 {
        let [gh1, gh2, gh3] = self.gas;
        let slope = gh2 / 32_768.0 * 0.0005 + 0.002_35;
        let resistance = (gh1 / 16.0 + 49.0) * (1.0 + slope * target) + gh3 / 1024.0 * ambient;
        let scale = 4.0 / (4.0 + self.heater_range) / (1.0 + self.heater_value * 0.002);
        // The cast saturates.
        (3.4 * (resistance * scale - 25.0)) as u8
    }
}

/// A time as gas_wait holds it: six bits, and a factor of 1, 4, 16 or 64.
pub(super) fn gas_wait(ms: u32) -> u8 {
    let mut rest = ms;
    for factor in 0..4 {
        if rest < 64 {
            return rest as u8 | factor << 6;
        }
        rest /= 4;
    }
    0xFF
}

/// What a chip holds, for the tests of the driver too: the memory of a BME680 as another project's tests print it.
#[cfg(test)]
pub(super) mod example {
    pub(in crate::bme680) const LOW: [u8; 23] = [
        0x28, 0x68, 0x03, 0xF0, 0x3F, 0x92, 0xB4, 0xD7, 0x58, 0x00, 0xED, 0x28, 0xCC, 0xFE, 0x3E, 0x1E, 0x00, 0x00,
        0xD8, 0xEB, 0xE0, 0xF9, 0x1E,
    ];
    pub(in crate::bme680) const HIGH: [u8; 14] =
        [0x3D, 0xD1, 0x37, 0x00, 0x2D, 0x14, 0x78, 0x9C, 0x56, 0x65, 0x7C, 0xDC, 0xBB, 0x12];
    pub(in crate::bme680) const LAST: [u8; 5] = [0x1E, 0xAA, 0x16, 0xCE, 0x03];
}

#[cfg(test)]
mod tests {
    use super::example::{HIGH, LAST, LOW};
    use super::*;

    /// Words and results as that chip and the manufacturer's driver gave them.
    #[test]
    fn what_the_manufacturers_driver_computed_comes_out() {
        let calibration = Calibration::parse(&LOW, &HIGH, &LAST);
        assert_eq!(calibration.t[1..], [26_664.0, 3.0]);
        assert_eq!(calibration.p, [37_439.0, -10_316.0, 88.0, 10_477.0, -308.0, 30.0, 62.0, -5160.0, -1568.0, 30.0]);
        assert_eq!(calibration.h, [881.0, 989.0, 0.0, 45.0, 20.0, 120.0, -100.0]);
        assert_eq!(calibration.gas, [-69.0, -9092.0, 18.0]);
        assert_eq!((calibration.heater_range, calibration.heater_value), (1.0, 30.0));
        let fine = calibration.fine(482_062);
        assert!((fine - 109_034.84).abs() < 0.1 && (fine / 5120.0 - 21.295_866).abs() < 1e-4, "{fine}");
        assert!((calibration.pascal(307_582, 111_095.656) - 95_058.66).abs() < 0.1);
        assert!((calibration.percent(25_537, 109_842.234 / 5120.0) - 59.469_585).abs() < 1e-4);
    }

    /// As Pimoroni's driver computes them for this chip, which follows the manufacturer's integer formula.
    #[test]
    fn the_heater_is_set_as_by_another_driver() {
        let calibration = Calibration::parse(&LOW, &HIGH, &LAST);
        assert_eq!(calibration.heater(320.0, 25.0), 111);
        assert!(calibration.heater(200.0, 25.0).abs_diff(80) <= 1);
    }

    #[test]
    fn a_time_is_rounded_down_to_what_the_register_can_represent() {
        assert_eq!(gas_wait(63), 63);
        assert_eq!(gas_wait(150), 37 | 1 << 6);
        assert_eq!(gas_wait(500), 31 | 2 << 6);
        assert_eq!(gas_wait(4032), 63 | 3 << 6);
        assert_eq!(gas_wait(5000), 0xFF);
    }

    #[test]
    fn blank_words_are_known_and_give_no_number() {
        assert!(Calibration::parse(&[0xFF; 23], &[0xFF; 14], &[0xFF; 5]).is_blank());
        let zeros = Calibration::parse(&[0; 23], &[0; 14], &[0; 5]);
        assert!(zeros.is_blank());
        assert!(!zeros.pascal(415_148, zeros.fine(519_888)).is_finite());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_of_a_chip_can_cause_a_panic(low: [u8; 23], high: [u8; 14], last: [u8; 5], field: [u8; 17]) {
            let calibration = Calibration::parse(&low, &high, &last);
            for variant in [Variant::Low, Variant::High] {
                let raw = Raw::parse(&field, variant);
                let fine = calibration.fine(raw.temperature);
                let percent = calibration.percent(raw.humidity, fine / 5120.0);
                assert!((0.0..=100.0).contains(&percent));
                let _any_numbers = (calibration.pascal(raw.pressure, fine), calibration.ohm(&raw, variant));
                let _any_byte = calibration.heater(400.0, fine / 5120.0);
            }
        }
    }
}
