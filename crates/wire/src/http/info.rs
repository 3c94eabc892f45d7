//! What a daemon says of itself.

use serde::{Deserialize, Serialize};

/// `GET /v1/info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Info {
    /// Of the daemon.
    pub version: String,
    /// Of the daemon.
    pub pid: u32,
    /// Its data folder.
    pub data_dir: String,
    /// Its socket folder.
    pub run_dir: String,
    /// Where it listens beside its socket: `http://` or `https://` with address and port.
    #[serde(default)]
    pub listen: Option<String>,
    /// Where its jobs are kept, as a URL without passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Its name among the daemons on that store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What `auto` means here.
    pub default_driver: String,
    /// Each driver.
    pub drivers: Vec<DriverView>,
}

/// What a driver can do here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DriverView {
    /// Its name.
    pub name: String,
    /// It runs programs here.
    pub usable: bool,
    /// It freezes and thaws with memory here.
    pub checkpoints: bool,
    /// Version of its tool.
    pub version: Option<String>,
    /// What is missing, one line each.
    pub missing: Vec<String>,
    /// The command that installs it.
    pub install: Option<String>,
}
