//! Finds the pages with rows in a damaged file, and their order.
//!
//! It follows the tree of pages without trusting its keys. Where that breaks, or goes back, pages may be hidden, so those that
//! nothing led to are looked at as well: a row that is found there is known by its checksum. Pages that the file says are free are
//! left out, for their rows were deleted.

use crate::page_file::PageFile;
use crate::pages::TablePage;

/// The table of messages is the first that is made, so its root follows the page with the schema.
pub(super) const ROOT: u32 = 2;

/// SQLite makes no deeper trees.
pub(super) const DEEPEST: usize = 20;

/// A page with rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    /// The lowest sequence in it.
    pub(super) first: u64,
    pub(super) page: u32,
    /// Rows may be missing in front of it.
    pub(super) is_behind_gap: bool,
}

/// A row that says which place it belongs to, and whether rows may be missing beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighted {
    pub(super) sequence: u64,
    pub(super) place: usize,
    pub(super) is_behind_gap: bool,
    pub(super) is_before_gap: bool,
}

/// The rows of a page, in its own order.
pub(super) fn sighted(file: &PageFile, page: &TablePage<'_>) -> Vec<Sighted> {
    let mut rows: Vec<Sighted> = Vec::new();
    let mut is_behind_gap = false;
    for place in page.places().iter().copied() {
        match file.placed(page, place) {
            Some(row) => {
                rows.push(Sighted { sequence: row.sequence, place, is_behind_gap, is_before_gap: false });
                is_behind_gap = false;
            }
            None => is_behind_gap = true,
        }
    }
    if let Some(last) = rows.last_mut() {
        last.is_before_gap = is_behind_gap;
    }
    if !page.is_whole() || rows.windows(2).any(|pair| pair[0].sequence >= pair[1].sequence) {
        rows.iter_mut().for_each(|row| (row.is_behind_gap, row.is_before_gap) = (true, true));
    }
    rows
}

/// The highest sequence of any row: that of the last page, or where nothing leads there, of all.
pub(super) fn newest_of(file: &PageFile) -> Option<u64> {
    let rows = |number| {
        let bytes = file.page(number)?;
        let page = TablePage::read(&bytes)?;
        let newest = || sighted(file, &page).iter().map(|row| row.sequence).max();
        Some(if page.is_leaf() { (newest(), None) } else { (None, page.children().last().copied()) })
    };
    let mut place = Some(ROOT);
    for _ in 0..DEEPEST {
        match place.and_then(rows) {
            Some((Some(newest), _)) => return Some(newest),
            Some((None, below)) => place = below,
            None => break,
        }
    }
    (ROOT..=file.count()).filter_map(|page| rows(page)?.0).max()
}

/// A search that is under way. It remembers sixteen bytes for each page with rows.
#[derive(Debug)]
pub(super) struct Scout {
    /// Pages that are still to be followed, the next one last, at each depth of the tree.
    below: Vec<Vec<Child>>,
    seen: Pages,
    leaves: Vec<Leaf>,
    /// Something that was expected since the last leaf is missing.
    is_gap: bool,
    has_gaps: bool,
    /// The next page that nothing may have led to; nothing as long as the tree is followed.
    stray: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    page: u32,
    is_behind_gap: bool,
}

impl Scout {
    pub(super) fn new(file: &PageFile) -> Self {
        let root = Child { page: ROOT, is_behind_gap: false };
        Self {
            below: vec![vec![root]],
            seen: Pages::new(file.count()),
            leaves: Vec::new(),
            is_gap: false,
            has_gaps: false,
            stray: None,
        }
    }

    /// Looks at one more page, if there is one.
    pub(super) fn step(&mut self, file: &PageFile) -> bool {
        while let Some(children) = self.below.last_mut() {
            if let Some(child) = children.pop() {
                self.follow(file, child);
                return true;
            }
            self.below.pop();
        }
        if !self.has_gaps {
            return false;
        }
        if self.stray.is_none() {
            file.free(|page| {
                self.seen.insert(page);
            });
        }
        let from = self.stray.unwrap_or(ROOT);
        let Some(page) = (from..=file.count()).find(|page| self.seen.insert(*page)) else { return false };
        self.stray = Some(page + 1);
        self.look_at_stray(file, page);
        true
    }

    /// Whether something that was expected was missing.
    pub(super) fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// The pages with rows, in the order of their first ones.
    pub(super) fn leaves(mut self) -> Vec<Leaf> {
        self.leaves.sort_by_key(|leaf| leaf.first);
        self.leaves
    }

    fn gap(&mut self) {
        (self.is_gap, self.has_gaps) = (true, true);
    }

    fn follow(&mut self, file: &PageFile, child: Child) {
        if child.is_behind_gap {
            self.gap();
        }
        let is_new = child.page >= ROOT && self.seen.insert(child.page);
        let bytes = if is_new { file.page(child.page) } else { None };
        match bytes.as_deref().and_then(TablePage::read) {
            Some(page) if page.is_leaf() => self.take(file, child.page, &page),
            Some(page) if self.below.len() < DEEPEST => {
                let is_behind_gap = !page.is_whole();
                let children = page.children().into_iter().rev();
                self.below.push(children.map(|page| Child { page, is_behind_gap }).collect());
            }
            _ => self.gap(),
        }
    }

    fn take(&mut self, file: &PageFile, number: u32, page: &TablePage<'_>) {
        let rows = sighted(file, page);
        let Some(first) = rows.iter().map(|row| row.sequence).min() else {
            // The root of an empty table has nothing in it.
            if !page.places().is_empty() || !page.is_whole() {
                self.gap();
            }
            return;
        };
        if self.leaves.last().is_some_and(|before| first < before.first) {
            // The one before belongs elsewhere, and what belongs to its place is missing.
            self.gap();
        }
        self.leaves.push(Leaf { first, page: number, is_behind_gap: self.is_gap });
        self.is_gap = false;
    }

    fn look_at_stray(&mut self, file: &PageFile, number: u32) {
        let bytes = file.page(number);
        let Some(page) = bytes.as_deref().and_then(TablePage::read).filter(TablePage::is_leaf) else { return };
        if let Some(first) = sighted(file, &page).iter().map(|row| row.sequence).min() {
            self.leaves.push(Leaf { first, page: number, is_behind_gap: true });
        }
    }
}

/// A set of pages, one bit for each.
#[derive(Debug)]
struct Pages(Vec<u64>);

impl Pages {
    fn new(count: u32) -> Self {
        Self(vec![0; count as usize / 64 + 1])
    }

    /// Whether it is a page of the file that was not in the set.
    fn insert(&mut self, page: u32) -> bool {
        let Some(bits) = self.0.get_mut(page as usize / 64) else { return false };
        let before = *bits;
        *bits |= 1 << (page % 64);
        *bits != before
    }
}
