//! The packed numbers of one container over time: an entry holds its time, the numbers that changed, and their
//! differences.
//!
//! An entry is the milliseconds since the one before, a bitmap of the numbers that changed, and a code for each: 0 for
//! a number that is gone, else its difference (zigzag) plus one. All are variable-length integers of seven bits a byte.
//! An entry that is removed at the front is added to the base row, from which the first entry counts.

use std::collections::VecDeque;

/// Marks an absent number.
pub(super) const ABSENT: i64 = i64::MIN;

/// One value per column.
pub(super) type Row = Box<[i64]>;

/// Rows in the order of their times.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// The row from which the first entry counts.
    base: (u64, Row),
    /// The newest entry.
    newest: (u64, Row),
    bytes: VecDeque<u8>,
    entries: usize,
}

impl Packed {
    /// Creates a list without rows.
    pub(super) fn new(columns: usize) -> Self {
        let start = (0, vec![ABSENT; columns].into_boxed_slice());
        Self { base: start.clone(), newest: start, bytes: VecDeque::new(), entries: 0 }
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// The time of the newest row.
    pub(super) fn latest(&self) -> u64 {
        self.newest.0
    }

    /// Bytes in use, those of this struct included.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + 2 * size_of_val(&*self.newest.1) + self.bytes.capacity()
    }

    /// Adds a row. A row that is not later than the newest one gets a time one millisecond after it.
    pub(super) fn push(&mut self, time: u64, row: &[i64]) {
        let time = time.max(self.newest.0 + 1);
        self.number(time - self.newest.0);
        for (eight, before) in row.chunks(8).zip(self.newest.1.chunks(8)) {
            let changed = eight.iter().zip(before).enumerate().filter(|(_, (now, before))| now != before);
            self.bytes.push_back(changed.fold(0, |bits, (bit, _)| bits | 1 << bit));
        }
        for (at, &now) in row.iter().enumerate() {
            let before = self.newest.1[at];
            if now != before {
                self.number(code(before, now));
                self.newest.1[at] = now;
            }
        }
        self.newest.0 = time;
        self.entries += 1;
    }

    /// Forgets the rows before a time.
    pub(super) fn forget(&mut self, before: u64) {
        while self.entries > 0 {
            let mut bytes = self.bytes.iter().copied();
            if self.base.0 + number(&mut bytes.clone()) >= before {
                return;
            }
            step(&mut self.base, &mut bytes);
            let read = self.bytes.len() - bytes.len();
            self.bytes.drain(..read);
            self.entries -= 1;
        }
    }

    /// Calls `with` for each row.
    pub(super) fn each(&self, mut with: impl FnMut(u64, &[i64])) {
        let mut row = self.base.clone();
        let mut bytes = self.bytes.iter().copied();
        for _ in 0..self.entries {
            step(&mut row, &mut bytes);
            with(row.0, &row.1);
        }
    }

    /// Frees unused capacity.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push_back(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push_back(value.to_le_bytes()[0]);
    }
}

/// Advances a row by one entry.
fn step(row: &mut (u64, Row), bytes: &mut impl Iterator<Item = u8>) {
    row.0 += number(bytes);
    let bitmaps: Box<[u8]> = bytes.by_ref().take(row.1.len().div_ceil(8)).collect();
    for (at, value) in row.1.iter_mut().enumerate() {
        if bitmaps.get(at / 8).is_some_and(|bits| bits >> (at % 8) & 1 == 1) {
            *value = coded(*value, number(bytes));
        }
    }
}

fn number(bytes: &mut impl Iterator<Item = u8>) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next().unwrap_or_default();
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The values are not negative, so that neither the difference nor its code is too large.
fn code(before: i64, now: i64) -> u64 {
    if now == ABSENT {
        return 0;
    }
    let difference = now - if before == ABSENT { 0 } else { before };
    ((difference << 1) ^ (difference >> 63)).cast_unsigned() + 1
}

fn coded(before: i64, code: u64) -> i64 {
    let Some(zigzag) = code.checked_sub(1) else { return ABSENT };
    let difference = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
    (if before == ABSENT { 0 } else { before }) + difference
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(packed: &Packed) -> Vec<(u64, Vec<i64>)> {
        let mut rows = Vec::new();
        packed.each(|time, row| rows.push((time, row.to_vec())));
        rows
    }

    fn value() -> impl Strategy<Value = i64> {
        prop_oneof![Just(ABSENT), Just(0), Just(i64::MAX), 0..1000i64, 0..=i64::MAX]
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(all in proptest::collection::vec((1u64..10_000, proptest::collection::vec(value(), 11)), 0..40), forgotten in 0usize..45) {
            let mut packed = Packed::new(11);
            let mut expected = Vec::new();
            let mut time = 1_700_000_000_000;
            for (later, row) in all {
                time += later;
                packed.push(time, &row);
                expected.push((time, row));
            }
            prop_assert_eq!(rows(&packed), expected.clone());
            let from = expected.get(forgotten).map_or(u64::MAX, |(time, _)| *time);
            packed.forget(from);
            expected.retain(|(time, _)| *time >= from);
            prop_assert_eq!(packed.len(), expected.len());
            prop_assert_eq!(rows(&packed), expected);
        }
    }

    #[test]
    fn a_clock_that_goes_back_does_not_take_the_order_with_it() {
        let mut packed = Packed::new(1);
        packed.push(1000, &[1]);
        packed.push(400, &[2]);
        assert_eq!(rows(&packed), [(1000, vec![1]), (1001, vec![2])]);
    }

    #[test]
    fn a_row_in_which_nothing_changes_takes_ten_bytes() {
        let mut packed = Packed::new(60);
        for second in 0..1000 {
            packed.push(1_000_000 + second * 5000, &[7; 60]);
        }
        packed.shrink();
        assert!(packed.bytes.len() <= 1000 * 10 + 200, "{}", packed.bytes.len());
    }
}
