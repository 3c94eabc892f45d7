//! Which entries of the cache go for a new one: the least recently used, and never one that is pinned or in use.

use crate::Timestamp;

/// How much there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// So many entries; absent: as many as come.
    pub entries_max: Option<u64>,
    /// So many bytes; absent: as many as come.
    pub bytes_max: Option<u64>,
}

/// An entry that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// What it takes.
    pub bytes: u64,
    /// When it was last asked for.
    pub last_used_at: Timestamp,
    /// It is pinned, or somebody works with it.
    pub stays: bool,
}

/// What a new entry asks of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// It is there once these have gone, in this order.
    Without(Vec<String>),
    /// There is none, whatever goes.
    None,
}

/// Makes room for an entry of so many bytes. Entries of the same moment go in the order of their keys.
#[must_use]
pub fn make_room(mut entries: Vec<Entry>, bytes: u64, capacity: Capacity) -> Room {
    let mut count = entries.len() as u64 + 1;
    let mut total = entries
        .iter()
        .fold(bytes, |total, entry| total.saturating_add(entry.bytes));
    let fits = |count: u64, total: u64| {
        capacity.entries_max.is_none_or(|max| count <= max)
            && capacity.bytes_max.is_none_or(|max| total <= max)
    };
    entries.retain(|entry| !entry.stays);
    entries.sort_by(|a, b| (a.last_used_at, &a.key).cmp(&(b.last_used_at, &b.key)));
    let mut going = Vec::new();
    for entry in entries {
        if fits(count, total) {
            break;
        }
        count -= 1;
        total -= entry.bytes;
        going.push(entry.key);
    }
    if fits(count, total) {
        Room::Without(going)
    } else {
        Room::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name bytes last_used [stays]` a line.
    fn entries(lines: &str) -> Vec<Entry> {
        let entry = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Entry {
                key: words[0].to_owned(),
                bytes: words[1].parse().unwrap(),
                last_used_at: Timestamp(words[2].parse().unwrap()),
                stays: words.get(3) == Some(&"stays"),
            }
        };
        lines
            .split(',')
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(entry)
            .collect()
    }

    fn check(lines: &str, bytes: u64, capacity: (u64, u64), expected: Option<&[&str]>) {
        let limit = |max: u64| (max > 0).then_some(max);
        let capacity = Capacity {
            entries_max: limit(capacity.0),
            bytes_max: limit(capacity.1),
        };
        let expected = match expected {
            Some(keys) => Room::Without(keys.iter().map(|&key| key.to_owned()).collect()),
            None => Room::None,
        };
        assert_eq!(
            make_room(entries(lines), bytes, capacity),
            expected,
            "{lines}"
        );
    }

    #[test]
    fn the_least_recently_used_go_and_no_more_than_needed() {
        check("a 10 1, b 10 2, c 10 3", 10, (0, 0), Some(&[]));
        check("a 10 1, b 10 2, c 10 3", 10, (4, 40), Some(&[]));
        check("a 10 3, b 10 2, c 10 1", 10, (3, 0), Some(&["c"]));
        check("a 10 1, b 10 2, c 10 3", 15, (0, 30), Some(&["a", "b"]));
        check("a 1 1, b 30 2, c 1 3", 5, (0, 10), Some(&["a", "b"]));
        check("b 10 1, a 10 1", 1, (2, 0), Some(&["a"]));
        check("", 10, (1, 10), Some(&[]));
    }

    #[test]
    fn what_is_pinned_or_in_use_stays_even_where_there_is_no_room_then() {
        check("a 10 1 stays, b 10 2", 10, (2, 0), Some(&["b"]));
        check("a 10 1 stays, b 10 2 stays", 10, (2, 0), None);
        check("a 10 1 stays, b 10 2", 25, (0, 30), None);
        check("", 11, (0, 10), None);
        check("", 1, (0, 10), Some(&[]));
    }
}
