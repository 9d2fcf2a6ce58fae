//! "Did you mean …?": which known word was probably meant by one that is not known.
//!
//! Pure, and cheap whatever was written: only the beginning of it is looked at. Upper and lower case are no difference. How the
//! question is put is the caller's business, for a configuration quotes words in another way than a formula.
//!
//! ```
//! use fieldgate_spelling::nearest;
//!
//! assert_eq!(nearest("bme208", ["bmp280", "bme280"]), Some("bme280"));
//! assert_eq!(nearest("door", ["bmp280", "bme280"]), None);
//! ```

/// How many characters of what was written are compared: no word that is known is longer.
const COMPARED: usize = 64;

/// How many letters differ: left out, added, replaced, or swapped with their neighbour.
pub fn distance(written: &str, word: &str) -> usize {
    strsim::damerau_levenshtein(&beginning(written), &word.to_lowercase())
}

/// How many letters differ, if that is at most a third of them.
pub fn near(written: &str, word: &str) -> Option<usize> {
    let letters = beginning(written).chars().count().max(word.chars().count());
    Some(distance(written, word)).filter(|distance| *distance <= letters / 3)
}

/// The word that was probably meant: the first of those that differ least, by at most a third of their letters.
pub fn nearest<'w>(written: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let near = words.into_iter().filter_map(|word| Some((near(written, word)?, word)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// The words that differ in so many letters at `most`, each once, the nearest first.
pub fn within<'w>(most: usize, written: &str, words: impl IntoIterator<Item = &'w str>) -> Vec<&'w str> {
    let mut near: Vec<_> = words.into_iter().map(|word| (distance(written, word), word)).collect();
    near.retain(|(distance, _)| *distance <= most);
    near.sort_unstable();
    near.dedup();
    near.into_iter().map(|(_, word)| word).collect()
}

fn beginning(written: &str) -> String {
    written.chars().take(COMPARED).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_third_of_the_letters_may_be_wrong() {
        let words = ["air.temperature", "air.humidity", "target"];
        assert_eq!(nearest("air.temprature", words), Some("air.temperature"));
        assert_eq!(nearest("Target", words), Some("target"));
        assert_eq!(nearest("target", ["TARGET"]), Some("TARGET"));
        assert_eq!(nearest("pump", words), None);
        assert_eq!(nearest("", words), None);
    }

    #[test]
    fn of_equally_near_words_the_first_is_meant() {
        assert_eq!(nearest("bme28", ["bme280", "bme281"]), Some("bme280"));
    }

    #[test]
    fn a_text_of_any_length_is_cheap_and_near_nothing() {
        assert_eq!(nearest(&"x".repeat(10_000_000), ["target"]), None);
    }

    #[test]
    fn words_within_a_distance_come_nearest_first_and_once() {
        let lines = ["GPIO27", "GPIO17", "GPIO18", "GPIO17", "SDA"];
        assert_eq!(within(2, "gpio17", lines), ["GPIO17", "GPIO18", "GPIO27"]);
        assert!(within(2, "door", lines).is_empty());
    }
}
