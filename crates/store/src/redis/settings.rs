//! How the server is set up: what it promises, and whether it can keep a store at all.

use super::fault::Fault;
use super::link::Link;
use crate::{Capabilities, Durable, Error};
use std::collections::BTreeMap;

/// Redis of this version has all that the scripts use.
const VERSION_MIN: (u64, u64) = (6, 2);

/// With `appendfsync everysec` a write to the file waits for up to two seconds while a sync before it is not done.
const EVERYSEC_MS: u64 = 2000;

/// Asks the server. Errors: `Backend` where it would throw away what it accepted, or is too old.
pub(super) async fn capabilities(link: &Link) -> Result<Capabilities, Error> {
    let info: String = link.ask(&redis::cmd("INFO")).await?;
    let known: BTreeMap<&str, &str> = info
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let unfit = |why: String| {
        let at = link.address.shown.clone();
        Error::from(Fault::Unfit { at, why })
    };
    let version = known.get("redis_version").copied().unwrap_or_default();
    if version_of(version) < VERSION_MIN {
        let (major, minor) = VERSION_MIN;
        return Err(unfit(format!(
            "it is version {version}; a store needs {major}.{minor} or newer, or Valkey"
        )));
    }
    match known.get("maxmemory_policy").copied() {
        None | Some("noeviction") => {}
        Some(other) => {
            return Err(unfit(format!(
                "its maxmemory-policy is {other}, by which it throws jobs away when its memory is full: set `maxmemory-policy \
                 noeviction` in its configuration, or `redis-cli config set maxmemory-policy noeviction`"
            )));
        }
    }
    let appends = known.get("aof_enabled").copied() == Some("1");
    let durable = if appends {
        fsync(link).await
    } else {
        Durable::Nothing
    };
    Ok(Capabilities {
        durable,
        // Its copies are told after the answer, and WAIT does not change that the newest writes of a lost first copy are gone.
        failover_safe: false,
        volatile_accepted: link.address.volatile_accepted,
    })
}

/// Servers of providers may not say: then they are taken for what Redis does where nothing is set.
async fn fsync(link: &Link) -> Durable {
    let mut asked = redis::cmd("CONFIG");
    asked.arg("GET").arg("appendfsync");
    let said: Result<Vec<String>, Error> = link.ask(&asked).await;
    match said
        .ok()
        .and_then(|said| said.into_iter().nth(1))
        .as_deref()
    {
        Some("always") => Durable::Always,
        Some("no") => Durable::Process,
        Some(_) | None => Durable::UpTo { ms: EVERYSEC_MS },
    }
}

fn version_of(text: &str) -> (u64, u64) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version_of("6.2.14") >= VERSION_MIN);
        assert!(version_of("10.0.1") >= VERSION_MIN);
        assert!(version_of("6.0.16") < VERSION_MIN);
        assert!(version_of("") < VERSION_MIN);
    }
}
