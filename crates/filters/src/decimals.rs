//! How many decimals are worth printing after a computation, and what they cannot say exactly.

/// More would print the noise of arithmetic.
const MOST: u8 = 9;

/// Decimals of a value with so many of them after it was multiplied by `factor`: the least with which the smallest step of
/// before is still seen.
pub(crate) fn scaled(decimals: u8, factor: f64) -> u8 {
    let step = factor.abs() * 10f64.powi(-i32::from(decimals));
    if !step.is_normal() {
        return decimals;
    }
    // The tolerance: ten to the power of a whole number is not always exact.
    let wanted = (-step.log10() - 1e-9).ceil().clamp(0.0, f64::from(MOST));
    (0..=MOST).find(|decimals| f64::from(*decimals) >= wanted).unwrap_or(MOST)
}

/// Decimals with which `number` was written.
pub(crate) fn of(number: f64) -> u8 {
    let text = format!("{number}");
    let written = text.split_once('.').map_or(0, |(_, behind)| behind.len());
    u8::try_from(written).unwrap_or(MOST).min(MOST)
}

/// How far the difference of two numbers may be from what it is in decimals, in which they and `limit` were written: 1.1 − 0.9
/// is a little more than 0.2 in binary. A thousand times what one computation may add, and far less than any sensor resolves.
pub(crate) fn tolerance(one: f64, other: f64, limit: f64) -> f64 {
    1e-12 * one.abs().max(other.abs()).max(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_step_stays_visible() {
        let check = |decimals, factor, expected| assert_eq!(scaled(decimals, factor), expected, "{decimals} {factor}");
        check(2, 1.8, 2);
        check(1, 100.0, 0);
        check(1, 0.1, 2);
        check(0, 0.001, 3);
        check(3, 50.0, 2);
        check(0, 1000.0, 0);
        check(0, 1e-30, 9);
        check(3, -1.0, 3);
        check(2, 0.0, 2);
    }

    #[test]
    fn a_written_number_has_its_decimals() {
        for (number, expected) in [(0.1, 1), (0.25, 2), (5.0, 0), (-2.125, 3), (1e-12, 9)] {
            assert_eq!(of(number), expected, "{number}");
        }
    }
}
