//! How a VL53L0X is brought up, and what of that takes computing.
//!
//! The maker documents few of the registers; the order and the values are those of its own software (VL53L0X API 1.0.2,
//! `VL53L0X_DataInit`, `VL53L0X_StaticInit` and `VL53L0X_PerformRefCalibration`), which every driver of the chip repeats.

/// One step: a register and what is written there.
pub(super) type Write = (u8, u8);

/// Opens the registers behind which the stop variable stands.
pub(super) const OPEN: [Write; 3] = [(0x80, 0x01), (0xFF, 0x01), (0x00, 0x00)];
/// Closes them again.
pub(super) const CLOSE: [Write; 3] = [(0x00, 0x01), (0xFF, 0x00), (0x80, 0x00)];

/// Asks the chip's memory for its reference diodes; 0x83 says when they can be read from 0x92.
pub(super) const ASK_DIODES: [Write; 5] = [(0xFF, 0x07), (0x81, 0x01), (0x80, 0x01), (0x94, 0x6B), (0x83, 0x00)];

/// Before the map of reference diodes is written.
pub(super) const DIODES: [Write; 5] = [(0xFF, 0x01), (0x4F, 0x00), (0x4E, 0x2C), (0xFF, 0x00), (0xB6, 0xB4)];

/// `DefaultTuningSettings`.
#[rustfmt::skip]
pub(super) const TUNING: [Write; 80] = [
    (0xFF, 0x01), (0x00, 0x00), (0xFF, 0x00), (0x09, 0x00), (0x10, 0x00), (0x11, 0x00), (0x24, 0x01), (0x25, 0xFF),
    (0x75, 0x00), (0xFF, 0x01), (0x4E, 0x2C), (0x48, 0x00), (0x30, 0x20), (0xFF, 0x00), (0x30, 0x09), (0x54, 0x00),
    (0x31, 0x04), (0x32, 0x03), (0x40, 0x83), (0x46, 0x25), (0x60, 0x00), (0x27, 0x00), (0x50, 0x06), (0x51, 0x00),
    (0x52, 0x96), (0x56, 0x08), (0x57, 0x30), (0x61, 0x00), (0x62, 0x00), (0x64, 0x00), (0x65, 0x00), (0x66, 0xA0),
    (0xFF, 0x01), (0x22, 0x32), (0x47, 0x14), (0x49, 0xFF), (0x4A, 0x00), (0xFF, 0x00), (0x7A, 0x0A), (0x7B, 0x00),
    (0x78, 0x21), (0xFF, 0x01), (0x23, 0x34), (0x42, 0x00), (0x44, 0xFF), (0x45, 0x26), (0x46, 0x05), (0x40, 0x40),
    (0x0E, 0x06), (0x20, 0x1A), (0x43, 0x40), (0xFF, 0x00), (0x34, 0x03), (0x35, 0x44), (0xFF, 0x01), (0x31, 0x04),
    (0x4B, 0x09), (0x4C, 0x05), (0x4D, 0x04), (0xFF, 0x00), (0x44, 0x00), (0x45, 0x20), (0x47, 0x08), (0x48, 0x28),
    (0x67, 0x00), (0x70, 0x04), (0x71, 0x01), (0x72, 0xFE), (0x76, 0x00), (0x77, 0x00), (0xFF, 0x01), (0x0D, 0x01),
    (0xFF, 0x00), (0x80, 0x01), (0x01, 0xF8), (0xFF, 0x01), (0x8E, 0x01), (0x00, 0x01), (0xFF, 0x00), (0x80, 0x00),
];

/// Of the diodes that are good, so many as the memory asks for, from the first of their kind on.
pub(super) fn chosen_diodes(mut good: [u8; 6], count: u8, have_aperture: bool) -> [u8; 6] {
    let first = if have_aperture { 12 } else { 0 };
    let mut chosen = 0;
    for diode in 0..48 {
        let (byte, bit) = (&mut good[diode / 8], 1 << (diode % 8));
        if diode < first || chosen == count {
            *byte &= !bit;
        } else if *byte & bit != 0 {
            chosen += 1;
        }
    }
    good
}

/// The register of the final range's time-out, so that a whole measurement takes `budget_us`: what is left of it after the
/// steps before, in periods of the laser (`VL53L0X_set_measurement_timing_budget_micro_seconds`).
pub(super) fn final_time_out(budget_us: u32) -> u16 {
    // With the tuning above: a laser period of 14 before and 10 in the final range, 38 periods for the choice of diodes,
    // which is done twice, and 151 for the range before.
    let period_ns = |laser: u32| (2304 * laser * 1655 + 500) / 1000;
    let time_us = |periods: u32| (periods * period_ns(14) + period_ns(14) / 2) / 1000;
    let before = 1320 + 2 * (time_us(38) + 690) + (time_us(151) + 660);
    let left_us = budget_us.saturating_sub(before + 550 + 960);
    encoded((left_us * 1000 + period_ns(10) / 2) / period_ns(10) + 151)
}

/// A number as the chip keeps it: so many eights of bits to the left, and one more.
fn encoded(periods: u32) -> u16 {
    let (mut mantissa, mut shift) = (periods.saturating_sub(1), 0);
    while mantissa > 0xFF {
        mantissa >>= 1;
        shift += 1;
    }
    shift << 8 | mantissa as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_is_that_of_other_drivers() {
        // What Adafruit's driver makes of the same times.
        for (us, time_out) in [(20_000, 0x00E3), (33_000, 0x028E), (33_971, 0x0294), (200_000, 0x059A)] {
            assert_eq!(final_time_out(us), time_out, "{us}");
        }
    }

    #[test]
    fn diodes_are_counted_from_the_first_of_their_kind() {
        assert_eq!(chosen_diodes([0xFF; 6], 5, true), [0, 0xF0, 0x01, 0, 0, 0]);
        assert_eq!(chosen_diodes([0xFF; 6], 3, false), [0x07, 0, 0, 0, 0, 0]);
        assert_eq!(chosen_diodes([0, 0xA0, 0xFF, 0, 0, 0], 3, true), [0, 0xA0, 0x01, 0, 0, 0]);
    }
}
