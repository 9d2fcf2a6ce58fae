//! What the raw words of a BME280 or BMP280 mean. Pure.
//!
//! The floating-point compensation of BST-BME280-DS002, 8.1: the integer one (4.2.3) overflows on calibration words that a
//! bad contact may deliver, this one gives infinity or no number, which the range check refuses.

/// One measurement as the chip gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) pressure: u32,
    pub(super) temperature: u32,
    pub(super) humidity: u16,
}

impl Raw {
    /// From the registers 0xF7 to 0xFE (5.4.8 to 5.4.10).
    pub(super) fn parse([p1, p2, p3, t1, t2, t3, h1, h2]: [u8; 8]) -> Self {
        Self {
            pressure: u32::from_be_bytes([0, p1, p2, p3]) >> 4,
            temperature: u32::from_be_bytes([0, t1, t2, t3]) >> 4,
            humidity: u16::from_be_bytes([h1, h2]),
        }
    }
}

/// The words that were burnt in when the chip was made (table 16).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Calibration {
    t: [f64; 3],
    p: [f64; 9],
    h: [f64; 6],
}

impl Calibration {
    /// From the registers 0x88 to 0xA1 and 0xE1 to 0xE7.
    pub(super) fn parse(low: &[u8; 26], high: &[u8; 7]) -> Self {
        let unsigned = |at: usize| f64::from(u16::from_le_bytes([low[at], low[at + 1]]));
        let signed = |at: usize| f64::from(i16::from_le_bytes([low[at], low[at + 1]]));
        let [h2_low, h2_high, h3, h4, shared, h5, h6] = *high;
        let twelve_bits = |high: u8, low: u8| f64::from(i16::from(high as i8) << 4 | i16::from(low));
        Self {
            t: [unsigned(0), signed(2), signed(4)],
            p: std::array::from_fn(|n| if n == 0 { unsigned(6) } else { signed(6 + 2 * n) }),
            h: [
                f64::from(low[25]),
                f64::from(i16::from_le_bytes([h2_low, h2_high])),
                f64::from(h3),
                twelve_bits(h4, shared & 0x0F),
                twelve_bits(h5, shared >> 4),
                f64::from(h6 as i8),
            ],
        }
    }

    /// All zeros or all ones: nothing was read.
    pub(super) fn is_blank(&self) -> bool {
        let blank = |word: f64| word == 0.0 || word == f64::from(u16::MAX);
        blank(self.t[0]) || blank(self.p[0])
    }

    /// The temperature in 1/5120 °C, which the other quantities need too (8.1).
    pub(super) fn fine(&self, raw: u32) -> f64 {
        let raw = f64::from(raw);
        let [t1, t2, t3] = self.t;
        let offset = raw / 131_072.0 - t1 / 8192.0;
        (raw / 16_384.0 - t1 / 1024.0) * t2 + offset * offset * t3
    }

    /// 8.1. Not a number where the calibration would divide by zero.
    pub(super) fn pascal(&self, raw: u32, fine: f64) -> f64 {
        let [p1, p2, p3, p4, p5, p6, p7, p8, p9] = self.p;
        let warmth = fine / 2.0 - 64_000.0;
        let offset = (warmth * warmth * p6 / 32_768.0 + warmth * p5 * 2.0) / 4.0 + p4 * 65_536.0;
        let slope = (p3 * warmth * warmth / 524_288.0 + p2 * warmth) / 524_288.0;
        let slope = (1.0 + slope / 32_768.0) * p1;
        let pressure = (1_048_576.0 - f64::from(raw) - offset / 4096.0) * 6250.0 / slope;
        pressure + (p9 * pressure * pressure / 2_147_483_648.0 + pressure * p8 / 32_768.0 + p7) / 16.0
    }

    /// 8.1; beyond 0 and 100 % the data sheet clamps.
    pub(super) fn percent(&self, raw: u16, fine: f64) -> f64 {
        let [h1, h2, h3, h4, h5, h6] = self.h;
        let warmth = fine - 76_800.0;
        let slope = h2 / 65_536.0 * (1.0 + h6 / 67_108_864.0 * warmth * (1.0 + h3 / 67_108_864.0 * warmth));
        let linear = (f64::from(raw) - (h4 * 64.0 + h5 / 16_384.0 * warmth)) * slope;
        (linear * (1.0 - h1 * linear / 524_288.0)).clamp(0.0, 100.0)
    }
}

/// The worked example, for the tests of the driver too.
#[cfg(test)]
pub(super) mod example {
    /// The example of BST-BMP280-DS001, 3.12, with H1 to H6 of a common chip.
    pub(in crate::bme280) const LOW: [u8; 26] = [
        0x70, 0x6B, 0x43, 0x67, 0x18, 0xFC, 0x7D, 0x8E, 0x43, 0xD6, 0xD0, 0x0B, 0x27, 0x0B, 0x8C, 0x00, 0xF9, 0xFF,
        0x8C, 0x3C, 0xF8, 0xC6, 0x70, 0x17, 0x00, 0x4B,
    ];
    pub(in crate::bme280) const HIGH: [u8; 7] = [0x6A, 0x01, 0x00, 0x13, 0x29, 0x03, 0x1E];
    /// 415148, 519888 and 30000 as the data registers hold them.
    pub(in crate::bme280) const DATA_BYTES: [u8; 8] = [0x65, 0x5A, 0xC0, 0x7E, 0xED, 0x00, 0x75, 0x30];
}

#[cfg(test)]
mod tests {
    use super::example::{DATA_BYTES, HIGH, LOW};
    use super::*;

    #[test]
    fn the_worked_example_of_the_datasheet_comes_out() {
        let calibration = Calibration::parse(&LOW, &HIGH);
        assert_eq!(calibration.t, [27504.0, 26435.0, -1000.0]);
        assert_eq!(calibration.p, [36477.0, -10685.0, 3024.0, 2855.0, 140.0, -7.0, 15500.0, -14600.0, 6000.0]);
        assert_eq!(calibration.h, [75.0, 362.0, 0.0, 313.0, 50.0, 30.0]);
        let raw = Raw::parse(DATA_BYTES);
        assert_eq!(raw, Raw { pressure: 415_148, temperature: 519_888, humidity: 30_000 });
        let fine = calibration.fine(raw.temperature);
        assert!((fine / 5120.0 - 25.08).abs() < 0.005, "{fine}");
        assert!((calibration.pascal(raw.pressure, fine) - 100_653.27).abs() < 0.005);
    }

    #[test]
    fn blank_words_are_known_and_give_no_number() {
        assert!(Calibration::parse(&[0xFF; 26], &[0xFF; 7]).is_blank());
        let zeros = Calibration::parse(&[0; 26], &[0; 7]);
        assert!(zeros.is_blank());
        assert!(!zeros.pascal(415_148, zeros.fine(519_888)).is_finite());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_of_a_chip_can_cause_a_panic(low: [u8; 26], high: [u8; 7], data: [u8; 8]) {
            let calibration = Calibration::parse(&low, &high);
            let raw = Raw::parse(data);
            let fine = calibration.fine(raw.temperature);
            let percent = calibration.percent(raw.humidity, fine);
            assert!((0.0..=100.0).contains(&percent));
            let _any_number = calibration.pascal(raw.pressure, fine);
        }
    }
}
