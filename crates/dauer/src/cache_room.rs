//! How much the cache of steps may hold, as `dauer serve` is told.

use crate::failure::Failure;
use crate::settings::Settings;
use dauer_core::parse;
use dauer_engine::Capacity;

/// Enough for the steps of many projects, and listed in a moment.
const ENTRIES_MAX: u64 = 10_000;

/// What a machine that builds can spare.
const BYTES_MAX: &str = "20g";

/// The options of `dauer serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheRoom {
    /// How many entries the cache of steps has at most; 0 for any number [DAUER_CACHE_MAX_ENTRIES; default 10000]
    #[arg(long, value_name = "NUMBER")]
    cache_max_entries: Option<u64>,
    /// How much they take on disk at most; 0 for any size [DAUER_CACHE_MAX_BYTES; default 20g]
    #[arg(long, value_name = "SIZE", value_parser = size_text)]
    cache_max_bytes: Option<String>,
}

impl CacheRoom {
    /// What is said here wins.
    pub(crate) fn add_to(&self, settings: &mut Settings) {
        settings.cache_max_entries = self.cache_max_entries.or(settings.cache_max_entries);
        let bytes = self.cache_max_bytes.clone();
        settings.cache_max_bytes = bytes.or(settings.cache_max_bytes.take());
    }
}

fn size_text(text: &str) -> Result<String, String> {
    size(text).map(|_| text.to_owned())
}

/// Nothing where it is 0.
fn size(text: &str) -> Result<Option<u64>, String> {
    match text.trim() {
        "0" => Ok(None),
        text => parse::bytes(text).map(Some),
    }
}

/// What holds where nobody says otherwise, and what somebody said.
pub(crate) fn capacity(settings: &Settings) -> Result<Capacity, Failure> {
    let entries = settings.cache_max_entries.unwrap_or(ENTRIES_MAX);
    let bytes = settings.cache_max_bytes.as_deref().unwrap_or(BYTES_MAX);
    Ok(Capacity {
        entries_max: (entries > 0).then_some(entries),
        bytes_max: size(bytes).map_err(Failure::new)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_may_be_none() {
        assert_eq!(size("0"), Ok(None));
        assert_eq!(size("1k"), Ok(Some(1024)));
        assert!(size("much").unwrap_err().contains("512m"));
    }
}
