//! The pages of the rows of messages, read without SQLite. Pure: the bytes may be any.
//!
//! SQLite finds a row by its key, and so one wrong key hides rows that are sound. Here nothing is looked for: whatever cell a page
//! points to is decoded, and its own checksum says whether it is a row. The format is that of sqlite.org/fileformat2.html,
//! sections 1.6 and 2.1, with SQLite's usual page size and UTF-8, as `file.rs` makes it.

use crate::record::Row;

/// Bytes of a page, SQLite's default.
pub(super) const PAGE: usize = 4096;

/// What pages with rows begin with, and those above them.
const LEAF: u8 = 0x0d;
const INTERIOR: u8 = 0x05;

/// SQLite gives no cell less space.
const LEAST_CELL: usize = 4;

/// A page of a table.
#[derive(Debug)]
pub(super) struct TablePage<'p> {
    bytes: &'p [u8],
    is_leaf: bool,
    /// Where its cells begin, in its own order; pointers that lead out of it are left out.
    places: Vec<usize>,
    /// Whether cells and gaps fill it exactly: otherwise rows may be missing in it, or in it twice.
    is_whole: bool,
}

/// A row as it lies in its page, and the first page of what had no space there.
#[derive(Debug)]
pub(super) struct Cell<'p> {
    pub(super) key: i64,
    pub(super) size: u64,
    pub(super) begin: &'p [u8],
    pub(super) rest: Option<u32>,
}

/// A page below another, by the keys beside its number there. What they do not say is limited by the pages above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) page: u32,
    /// Its rows come behind this sequence.
    pub(super) behind: Option<u64>,
    /// None of its rows comes behind this one.
    pub(super) up_to: Option<u64>,
}

impl<'p> TablePage<'p> {
    /// Nothing when it is no page of a table.
    pub(super) fn read(bytes: &'p [u8]) -> Option<Self> {
        let is_leaf = match *bytes.first()? {
            LEAF => true,
            INTERIOR => false,
            _ => return None,
        };
        let header = if is_leaf { 8 } else { 12 };
        let pointers = bytes.get(header..PAGE)?.chunks_exact(2).take(short(bytes, 3)?);
        let all: Vec<_> = pointers.filter_map(|pointer| short(pointer, 0)).collect();
        let content = header + 2 * all.len();
        let is_inside = |place: &usize| (content..=PAGE - LEAST_CELL).contains(place);
        let places: Vec<_> = all.iter().copied().filter(is_inside).collect();
        let mut page = Self { bytes, is_leaf, places, is_whole: false };
        page.is_whole = page.places.len() == all.len() && page.is_filled(content).unwrap_or(false);
        Some(page)
    }

    /// Whether it has rows, and no pages below it.
    pub(super) fn is_leaf(&self) -> bool {
        self.is_leaf
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The pages below it, in the order of their rows.
    pub(super) fn children(&self) -> Vec<u32> {
        let last = word(self.bytes, 8);
        self.places.iter().map(|place| word(self.bytes, *place)).chain([last]).flatten().collect()
    }

    /// The first page below it that may have rows behind the sequence `after`. Nothing when the page names no such page, or its keys
    /// are in no order.
    pub(super) fn child_behind(&self, after: u64) -> Option<Child> {
        let mut behind = None;
        for place in &self.places {
            let (key, _) = varint(self.bytes, place + 4)?;
            if behind.is_some_and(|before| key <= before) {
                return None;
            }
            if key > after {
                return Some(Child { page: word(self.bytes, *place)?, behind, up_to: Some(key) });
            }
            behind = Some(key);
        }
        Some(Child { page: word(self.bytes, 8)?, behind, up_to: None })
    }

    /// What lies at `place` in a page with rows.
    pub(super) fn cell(&self, place: usize) -> Option<Cell<'p>> {
        let (size, after_size) = varint(self.bytes, place)?;
        let (key, begin) = varint(self.bytes, after_size)?;
        let here = local(size);
        let rest = if here as u64 == size { None } else { Some(word(self.bytes, begin + here)?) };
        Some(Cell { key: key.cast_signed(), size, begin: self.bytes.get(begin..begin + here)?, rest })
    }

    fn end(&self, place: usize) -> Option<usize> {
        let end = if self.is_leaf {
            let (size, after_size) = varint(self.bytes, place)?;
            let (_, begin) = varint(self.bytes, after_size)?;
            let here = local(size);
            begin + here + if here as u64 == size { 0 } else { 4 }
        } else {
            varint(self.bytes, place + 4)?.1
        };
        Some(end.max(place + LEAST_CELL))
    }

    fn is_filled(&self, content: usize) -> Option<bool> {
        let begin = short(self.bytes, 5)?;
        let mut parts: Vec<_> =
            self.places.iter().map(|place| Some((*place, self.end(*place)?))).collect::<Option<_>>()?;
        let mut free = short(self.bytes, 1)?;
        while free != 0 {
            let (next, size) = (short(self.bytes, free)?, short(self.bytes, free + 2)?);
            if next != 0 && next <= free {
                return Some(false);
            }
            parts.push((free, free + size));
            free = next;
        }
        parts.sort_unstable();
        let is_apart = parts.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        let is_inside = parts.iter().all(|(from, to)| *from >= begin && *to <= PAGE);
        let used: usize = parts.iter().map(|(from, to)| to - from).sum();
        let slivers = usize::from(*self.bytes.get(7)?);
        Some(begin >= content && is_apart && is_inside && begin + used + slivers == PAGE)
    }
}

/// Bytes of a row that are in its page, of `size` in all.
fn local(size: u64) -> usize {
    const MOST: u64 = PAGE as u64 - 35;
    const LEAST: u64 = (PAGE as u64 - 12) * 32 / 255 - 23;
    let some = LEAST + size.saturating_sub(LEAST) % (PAGE as u64 - 4);
    let here = if size <= MOST { size } else { Some(some).filter(|some| *some <= MOST).unwrap_or(LEAST) };
    usize::try_from(here).unwrap_or(0)
}

/// Two bytes as SQLite writes numbers.
pub(super) fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

/// Four bytes as SQLite writes numbers.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A number in groups of seven bits, and where it ends; the ninth byte counts whole.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for i in 0..9 {
        let byte = *bytes.get(at + i)?;
        if i == 8 {
            return Some((number << 8 | u64::from(byte), at + 9));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, at + i + 1));
        }
    }
    None
}

/// A row of a message; nothing when it has other columns than one. Its checksum is not looked at.
pub(super) fn row(payload: &[u8]) -> Option<Row> {
    let (header, types) = varint(payload, 0)?;
    let header = usize::try_from(header).ok()?;
    let mut columns = Columns { types: payload.get(types..header)?, values: payload.get(header..)? };
    // The key stands outside of the payload.
    columns.next()?;
    Some(Row {
        kind: columns.number()?,
        source: columns.text()?,
        run: columns.number()?,
        n: columns.number()?,
        boot_ns: columns.number()?,
        wall_ms: columns.number()?,
        flags: columns.number()?,
        body: columns.blob()?,
        // A row of schema 1 has none.
        sum: columns.number().unwrap_or(0),
    })
}

/// The columns of a row that have not been read yet.
struct Columns<'p> {
    types: &'p [u8],
    values: &'p [u8],
}

impl<'p> Columns<'p> {
    fn next(&mut self) -> Option<(u64, &'p [u8])> {
        let (kind, end) = varint(self.types, 0)?;
        let bytes = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            12.. => (kind - 12) / 2,
        };
        let (value, values) = self.values.split_at_checked(usize::try_from(bytes).ok()?)?;
        (self.types, self.values) = (self.types.get(end..)?, values);
        Some((kind, value))
    }

    fn number(&mut self) -> Option<i64> {
        match self.next()? {
            (8, _) => Some(0),
            (9, _) => Some(1),
            (1..=6, bytes) => {
                let sign = if bytes.first()? & 0x80 == 0 { 0 } else { -1_i64 };
                Some(bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte)))
            }
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let (kind, bytes) = self.next()?;
        let is_text = kind >= 13 && kind % 2 == 1;
        is_text.then(|| String::from_utf8(bytes.to_vec()).ok())?
    }

    fn blob(&mut self) -> Option<Vec<u8>> {
        let (kind, bytes) = self.next()?;
        (kind >= 12 && kind.is_multiple_of(2)).then(|| bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_of_any_size_are_read_as_sqlite_writes_them() {
        assert_eq!(varint(&[0x7f], 0), Some((127, 1)));
        assert_eq!(varint(&[0, 0x81, 0x00], 1), Some((128, 3)));
        assert_eq!(varint(&[0xff; 9], 0), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0xff; 8], 0), None);
        let number = |kind, values: &[u8]| Columns { types: &[kind], values }.number();
        assert_eq!((number(1, &[0xff]), number(2, &[0x01, 0x00]), number(9, &[])), (Some(-1), Some(256), Some(1)));
        assert_eq!((number(5, &[0, 0, 0, 0, 1, 0]), number(7, &[0; 8]), number(1, &[])), (Some(256), None, None));
    }

    /// A page with rows whose payloads have these sizes, keys 1, 2, 3 …, packed at its end.
    fn leaf(sizes: &[usize]) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        page[0] = LEAF;
        let mut begin = PAGE;
        for (i, size) in sizes.iter().enumerate() {
            let digits: Vec<u8> =
                if *size < 128 { vec![*size as u8] } else { vec![0x80 | (size >> 7) as u8, (size & 0x7f) as u8] };
            let here = local(*size as u64) + if local(*size as u64) == *size { 0 } else { 4 };
            begin -= digits.len() + 1 + here;
            page[begin..begin + digits.len()].copy_from_slice(&digits);
            page[begin + digits.len()] = i as u8 + 1;
            put(&mut page, 8 + 2 * i, begin);
        }
        put(&mut page, 3, sizes.len());
        put(&mut page, 5, begin);
        page
    }

    fn put(page: &mut [u8], at: usize, value: usize) {
        page[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
    }

    fn is_whole(change: impl Fn(&mut [u8])) -> bool {
        let mut page = leaf(&[50, 50, 5000]);
        change(&mut page);
        TablePage::read(&page).unwrap().is_whole()
    }

    /// Where it is not whole, rows may be missing, and that is reported.
    #[test]
    fn a_page_is_whole_when_cells_and_gaps_fill_it_exactly() {
        assert!(is_whole(|_| ()));
        assert!(!is_whole(|page| put(page, 3, 2)), "a row has no pointer any more");
        let first = PAGE - 52;
        assert!(!is_whole(|page| put(page, 10, first)), "two pointers lead to one row");
        assert!(!is_whole(|page| put(page, 10, 4)), "one leads out of the cells");
        assert!(!is_whole(|page| page[first] = 49), "a row is shorter than its space");
        assert!(!is_whole(|page| page[first] = 51), "one leads over the end");
        assert!(!is_whole(|page| put(page, 5, 100)), "the cells are said to begin elsewhere");
    }

    #[test]
    fn the_gaps_of_a_page_are_those_of_its_list_and_the_bytes_that_are_too_few_for_it() {
        // The second row was deleted: its space is the only gap, or it is in no list.
        let (second, without) = (PAGE - 104, |page: &mut [u8]| {
            let third = short(page, 12).unwrap();
            put(page, 10, third);
            put(page, 3, 2);
        });
        let gap = |page: &mut [u8], next, size| {
            without(page);
            put(page, 1, second);
            put(page, second, next);
            put(page, second + 2, size);
        };
        assert!(is_whole(|page| gap(page, 0, 52)));
        assert!(!is_whole(without), "its gap is in no list");
        assert!(is_whole(|page| {
            gap(page, 0, 49);
            page[7] = 3;
        }));
        assert!(!is_whole(|page| gap(page, 0, 48)));
        assert!(!is_whole(|page| gap(page, second, 26)), "a list that goes in circles");
        assert!(is_whole(|page| {
            gap(page, second + 20, 20);
            put(page, second + 20, 0);
            put(page, second + 22, 32);
        }));
    }

    #[test]
    fn the_page_below_is_the_first_whose_keys_go_beyond() {
        let mut page = vec![0; PAGE];
        page[0] = INTERIOR;
        put(&mut page, 3, 2);
        put(&mut page, 10, 9);
        for (i, (child, key)) in [(7, 10), (8, 20)].into_iter().enumerate() {
            let place = PAGE - 8 * (i + 1);
            put(&mut page, 12 + 2 * i, place);
            put(&mut page, place + 2, child);
            page[place + 4] = key;
        }
        let table = TablePage::read(&page).unwrap();
        assert_eq!((table.is_leaf(), table.children()), (false, vec![7, 8, 9]));
        let below = |after| table.child_behind(after).map(|child| (child.page, child.behind, child.up_to));
        assert_eq!(below(9), Some((7, None, Some(10))));
        assert_eq!(below(10), Some((8, Some(10), Some(20))));
        assert_eq!(below(20), Some((9, Some(20), None)));
        page[PAGE - 16 + 4] = 10;
        assert!(TablePage::read(&page).unwrap().child_behind(15).is_none(), "its keys are in no order");
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_page_or_a_row_panic(
            kind in prop::sample::select(vec![LEAF, INTERIOR]), mut page in prop::collection::vec(any::<u8>(), PAGE),
            count in 0_u8..30, places in prop::collection::vec(0_u16..4200, 30),
        ) {
            row(&page);
            page[0] = kind;
            page[3..5].copy_from_slice(&[0, count]);
            for (i, place) in places.iter().enumerate() {
                page[8 + 2 * i..10 + 2 * i].copy_from_slice(&place.to_be_bytes());
            }
            let table = TablePage::read(&page).unwrap();
            table.children();
            for place in table.places() {
                table.cell(*place).and_then(|cell| row(cell.begin));
            }
            prop_assert!(TablePage::read(&page[..100]).is_none());
        }
    }
}
