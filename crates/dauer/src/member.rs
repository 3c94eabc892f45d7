//! What this daemon is among those on its store: a name made up once and kept in the data folder.

use crate::failure::Failure;
use crate::launch;
use crate::settings::Settings;
use dauer_core::parse;
use dauer_engine::{LEASE, Member, NodeId};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

/// Shorter ones would run out while a store or a machine is busy.
const LEASE_MS_MIN: u64 = 1_000;

/// Longer ones would keep jobs from everybody.
const LEASE_MS_MAX: u64 = 24 * 3600 * 1000;

/// This daemon. `listen`: its address on the network, if it has one.
pub(crate) fn of(settings: &Settings, listen: Option<String>) -> Result<Member, Failure> {
    let socket = || format!("unix://{}", settings.layout.socket().display());
    Ok(Member {
        node: NodeId(name(&settings.layout.data.join("node"))?),
        address: Some(listen.unwrap_or_else(socket)),
        lease: lease(settings.lease.as_deref())?,
    })
}

fn lease(said: Option<&str>) -> Result<Duration, Failure> {
    let Some(text) = said else { return Ok(LEASE) };
    let ms = parse::duration_ms(text).map_err(Failure::because("the setting lease"))?;
    if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&ms) {
        return Err(Failure::new(format!(
            "the setting lease: {text} is not from 1s to 24h: write for example 45s"
        )));
    }
    Ok(Duration::from_millis(ms))
}

/// What the file says; where there is none, a name of this machine is made up and written there.
fn name(file: &Path) -> Result<String, Failure> {
    match std::fs::read_to_string(file) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(Failure::new(format!(
                "cannot read {}: {error}",
                file.display()
            )));
        }
    }
    let host = nix::unistd::gethostname().unwrap_or_default();
    let host: String = host
        .to_string_lossy()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect();
    let random = uuid::Uuid::new_v4().simple().to_string();
    let made = format!(
        "{}-{}",
        if host.is_empty() { "node" } else { &host },
        &random[..8]
    );
    let because = || Failure::because(format!("cannot write {}", file.display()));
    // A daemon that dies in between leaves no half of a name.
    let beside = file.with_extension("new");
    let mut written = launch::open_private(&beside, false)?;
    written.write_all(made.as_bytes()).map_err(because())?;
    written.sync_all().map_err(because())?;
    std::fs::rename(&beside, file).map_err(because())?;
    Ok(made)
}
