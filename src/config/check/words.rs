//! How messages quote what was written, and guess what was meant.

use fieldgate_spelling as spelling;

/// The name that was probably meant: at most a third of the letters are wrong, or one word is a part of the other.
pub(super) fn nearest<'n>(written: &str, names: &[&'n str]) -> Option<&'n str> {
    let written = shorten(&written.to_lowercase());
    let plain = |text: &str| text.replace(['-', '_', ' '], "").to_lowercase();
    let part = |long: &str, short: &str| short.len() >= 3 && long.contains(short);
    let near = |name: &&&str| {
        spelling::near(&written, name).is_some()
            || plain(name) == plain(&written)
            || part(name, &written)
            || part(&written, name)
    };
    names.iter().filter(near).min_by_key(|name| spelling::distance(&written, name)).copied()
}

/// What messages say instead of a word that they do not quote.
pub(super) const THIS: &str = "this";

/// A word as messages quote it. What is not a plain word stands in the snippet only, where secrets are masked by their place.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
    if text.chars().count() <= 32 && text.chars().all(plain) { format!("{text:?}") } else { THIS.to_owned() }
}

/// The beginning of a word that may be of any length.
pub(super) fn shorten(text: &str) -> String {
    if text.chars().count() <= 64 { text.to_owned() } else { text.chars().take(63).chain(['…']).collect() }
}

/// The name that was probably meant, as a hint, else `otherwise`.
pub(super) fn did_you_mean(written: &str, names: &[&str], otherwise: impl FnOnce() -> String) -> String {
    nearest(written, names).map_or_else(otherwise, |near| format!("did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        assert_eq!(nearest("bme208", &["bmp280", "bme280"]), Some("bme280"));
        assert_eq!(nearest("keepAlive", &["keep_alive"]), Some("keep_alive"));
        assert_eq!(nearest("gpio_input", &["gpio-input", "gpio-output"]), Some("gpio-input"));
        assert_eq!(nearest("max_on", &["safe_state", "safe_after", "bus"]), None);
        assert_eq!(nearest("size", &["path", "max_size"]), Some("max_size"));
        assert_eq!(nearest("spi", &["i2c", "gpio", "pwm", "sim"]), None);
        assert_eq!(nearest("", &["bus", "driver"]), None);
    }
}
