//! What a restored program relies on of the processor: it has asked once, and will not ask again.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A processor, as `/proc/cpuinfo` shows the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// Its maker.
    pub vendor: String,
    /// Its name.
    pub model: String,
    /// What it can do, by the kernel's names.
    pub flags: BTreeSet<String>,
    /// XXH3-128 of the flags, for a quick look.
    pub flags_xxh3_128: String,
}

impl Cpu {
    /// This machine's.
    pub fn here() -> Result<Self, Error> {
        let text =
            std::fs::read_to_string("/proc/cpuinfo").map_err(Error::io("read /proc/cpuinfo"))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut cpu = Self {
            vendor: String::new(),
            model: String::new(),
            flags: BTreeSet::new(),
            flags_xxh3_128: String::new(),
        };
        for line in text.lines().take_while(|line| !line.trim().is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            match name.trim() {
                "vendor_id" | "CPU implementer" => cpu.vendor = value.trim().to_owned(),
                "model name" | "CPU part" => cpu.model = value.trim().to_owned(),
                "flags" | "Features" => {
                    cpu.flags = value.split_whitespace().map(str::to_owned).collect()
                }
                _ => {}
            }
        }
        let flags: Vec<&str> = cpu.flags.iter().map(String::as_str).collect();
        cpu.flags_xxh3_128 =
            super::digest::hex(xxhash_rust::xxh3::xxh3_128(flags.join(" ").as_bytes()));
        cpu
    }

    /// What this processor can do and `other` cannot: a program that counts on it would die there.
    #[must_use]
    pub fn missing_on<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        self.flags
            .difference(&other.flags)
            .map(String::as_str)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "vendor_id\t: GenuineIntel\nmodel name\t: Small\nflags\t\t: fpu sse2\n\nprocessor: 1\nflags: none\n";
    const LARGE: &str =
        "vendor_id\t: GenuineIntel\nmodel name\t: Large\nflags\t\t: sse2 avx512f fpu\n";

    #[test]
    fn a_checkpoint_moves_to_a_larger_processor_and_not_to_a_smaller_one() {
        let (small, large) = (Cpu::parse(SMALL), Cpu::parse(LARGE));
        assert_eq!(
            (small.vendor.as_str(), small.model.as_str()),
            ("GenuineIntel", "Small")
        );
        assert!(small.missing_on(&large).is_empty());
        assert_eq!(large.missing_on(&small), ["avx512f"]);
        assert_ne!(small.flags_xxh3_128, large.flags_xxh3_128);
    }
}
