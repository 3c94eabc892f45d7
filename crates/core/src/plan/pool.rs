//! How many restored sandboxes may wait for a job. They take room like those of jobs, but never from one: a job that finds no room
//! beside them is admitted as if they were not there, and they go.

use super::admission::{Limits, Wants};
use super::places::Taken;

/// A definition that wants some to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// So many.
    pub count: u32,
    /// What each takes.
    pub wants: Wants,
}

/// How many of each wish there may be, beside what jobs take. Each gets one before any gets two; who comes first in the list comes
/// first.
#[must_use]
pub fn share(limits: &Limits, taken: Taken, wishes: &[Wish]) -> Vec<u32> {
    let mut shares = vec![0; wishes.len()];
    let Some(mut free) = Free::beside(limits, taken) else {
        return shares;
    };
    loop {
        let mut more = false;
        for (share, wish) in shares.iter_mut().zip(wishes) {
            if *share < wish.count && free.take(wish.wants) {
                *share += 1;
                more = true;
            }
        }
        if !more {
            return shares;
        }
    }
}

/// What is left of a node.
struct Free {
    live: usize,
    cpu_millis: u64,
    memory_bytes: u64,
}

impl Free {
    /// Nothing where jobs take more than there is: they woke when somebody asked.
    fn beside(limits: &Limits, taken: Taken) -> Option<Self> {
        Some(Self {
            live: limits.live_max.checked_sub(taken.live)?,
            cpu_millis: limits.cpu_millis_max.checked_sub(taken.cpu_millis)?,
            memory_bytes: limits.memory_bytes_max.checked_sub(taken.memory_bytes)?,
        })
    }

    /// False where it does not fit.
    fn take(&mut self, wants: Wants) -> bool {
        let cpu_millis = u64::from(wants.cpu_millis.unwrap_or(0));
        let memory_bytes = wants.memory_bytes.unwrap_or(0);
        let fits =
            self.live > 0 && cpu_millis <= self.cpu_millis && memory_bytes <= self.memory_bytes;
        if fits {
            self.live -= 1;
            self.cpu_millis -= cpu_millis;
            self.memory_bytes -= memory_bytes;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(live_max: usize, memory_bytes_max: u64) -> Limits {
        Limits {
            live_max,
            rising_max: 8,
            cpu_millis_max: 4000,
            memory_bytes_max,
        }
    }

    fn wish(count: u32, memory_bytes: u64) -> Wish {
        Wish {
            count,
            wants: Wants {
                cpu_millis: None,
                memory_bytes: Some(memory_bytes),
            },
        }
    }

    #[test]
    fn each_gets_one_before_any_gets_two() {
        let taken = Taken {
            live: 7,
            memory_bytes: 40,
            ..Taken::default()
        };
        let wishes = [wish(3, 10), wish(3, 10)];
        assert_eq!(share(&limits(10, 1000), taken, &wishes), [2, 1]);
        assert_eq!(share(&limits(100, 1000), taken, &wishes), [3, 3]);
        // 25 bytes are left.
        assert_eq!(share(&limits(100, 65), taken, &wishes), [1, 1]);
        assert_eq!(share(&limits(7, 1000), taken, &wishes), [0, 0]);
        // A large one that does not fit keeps no small one out.
        assert_eq!(
            share(&limits(100, 65), taken, &[wish(1, 30), wish(9, 10)]),
            [0, 2]
        );
    }

    proptest! {
        #[test]
        fn no_limit_is_broken_and_no_room_is_left_that_a_wish_could_have(
            live in 0..20usize,
            memory in 0..200u64,
            taken_live in 0..20usize,
            taken_memory in 0..200u64,
            wishes in proptest::collection::vec((0..6u32, 0..60u64), 0..5)
        ) {
            let wishes: Vec<Wish> = wishes.into_iter().map(|(count, bytes)| wish(count, bytes)).collect();
            let taken = Taken { live: taken_live, memory_bytes: taken_memory, ..Taken::default() };
            let shares = share(&limits(live, memory), taken, &wishes);
            let count: u32 = shares.iter().sum();
            let bytes: u64 = shares.iter().zip(&wishes).map(|(share, wish)| u64::from(*share) * wish.wants.memory_bytes.unwrap()).sum();
            let fits = |count: u32, bytes: u64| taken_live + count as usize <= live && taken_memory + bytes <= memory;
            prop_assert!(count == 0 || fits(count, bytes));
            for (share, wish) in shares.iter().zip(&wishes) {
                prop_assert!(*share <= wish.count);
                let room = fits(count + 1, bytes + wish.wants.memory_bytes.unwrap());
                prop_assert!(*share == wish.count || !room);
            }
        }
    }
}
