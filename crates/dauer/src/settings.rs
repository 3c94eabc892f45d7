//! Where this daemon's folders and socket are: flags over environment over file over defaults.

use crate::cli::Global;
use crate::command::serve::overcommit;
use crate::failure::Failure;
use dauer_client::Host;
use dauer_core::parse;
use dauer_engine::Room;
use dauer_sandbox::Layout;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a settings file can hold; the same names in upper case with `DAUER_` before them are read from the environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_running: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_overcommit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_overcommit: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_after_crashes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_keep: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs_keep: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pack_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_max_entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_max_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_ca: Option<PathBuf>,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// The two folders.
    pub(crate) layout: Layout,
    /// The daemon to talk to.
    pub(crate) host: Host,
    /// The daemon is the one of these folders, so it may be started.
    pub(crate) local: bool,
    /// What `auto` means, where not the best there is.
    pub(crate) driver: Option<String>,
    /// What somebody said of the room there is for sandboxes.
    pub(crate) room: Room,
    /// After so many daemons that died the next one lets nothing begin, where somebody said it.
    pub(crate) pause_after_crashes: Option<u32>,
    /// How long the history is kept, where somebody said it.
    pub(crate) history_keep: Option<String>,
    /// How long jobs that have ended are kept, where somebody said it.
    pub(crate) jobs_keep: Option<String>,
    /// How long a checkpoint rests before it is packed, where somebody said it.
    pub(crate) pack_after: Option<String>,
    /// How many entries the cache of steps may have, where somebody said it.
    pub(crate) cache_max_entries: Option<u64>,
    /// How much they may take, where somebody said it.
    pub(crate) cache_max_bytes: Option<String>,
    /// Where jobs are kept, where not in a file of the data folder.
    pub(crate) store: Option<String>,
    /// How long other daemons wait for this one, where somebody said it.
    pub(crate) lease: Option<String>,
    /// What the command is for.
    pub(crate) why: Option<String>,
    /// The file that was named, for the daemon that is started.
    pub(crate) config: Option<PathBuf>,
}

impl Settings {
    /// Reads them. Errors: a named file that cannot be read, an unknown key, a host that is none.
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let named = global
            .config
            .clone()
            .or_else(|| std::env::var_os("DAUER_CONFIG").map(PathBuf::from));
        if let Some(file) = &named {
            std::fs::metadata(file).map_err(Failure::because(format!(
                "cannot read the settings in {}",
                file.display()
            )))?;
        }
        let flags = File {
            data_dir: global.data_dir.clone(),
            run_dir: global.run_dir.clone(),
            host: global.host.clone(),
            why: global.why.clone(),
            tls_ca: global.tls_ca.clone(),
            ..File::default()
        };
        let file = named.clone().unwrap_or_else(default_config);
        let merged: File = Figment::new()
            .merge(Toml::file(&file))
            .merge(Env::prefixed("DAUER_").only(&[
                "data_dir",
                "run_dir",
                "host",
                "driver",
                "max_running",
                "cpus",
                "memory",
                "cpu_overcommit",
                "memory_overcommit",
                "pause_after_crashes",
                "history_keep",
                "jobs_keep",
                "pack_after",
                "cache_max_entries",
                "cache_max_bytes",
                "store",
                "lease",
                "why",
                "token",
                "tls_ca",
            ]))
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(Failure::because(format!(
                "the settings in {}",
                file.display()
            )))?;
        Self::resolve(merged, named)
    }

    fn resolve(file: File, config: Option<PathBuf>) -> Result<Self, Failure> {
        let room = room(&file)?;
        let run = match (file.run_dir, &file.data_dir) {
            (Some(run), _) => run,
            // A daemon with a data folder of its own must not take the default daemon's socket.
            (None, Some(data)) => data.join("run"),
            (None, None) => default_run_dir(),
        };
        let layout = Layout {
            data: absolute(&file.data_dir.unwrap_or_else(default_data_dir))?,
            run: absolute(&run)?,
        };
        let local = file.host.is_none();
        let host = match file.host {
            Some(text) => {
                let host = Host::parse(&text)?;
                let host = match file.token {
                    Some(token) => host.with_token(token),
                    None => host,
                };
                match file.tls_ca {
                    Some(certificates) => host.with_ca(&certificates)?,
                    None => host,
                }
            }
            None => Host::Unix(layout.socket()),
        };
        let config = config.map(|path| absolute(&path)).transpose()?;
        Ok(Self {
            layout,
            host,
            local,
            driver: file.driver,
            room,
            pause_after_crashes: file.pause_after_crashes,
            history_keep: file.history_keep,
            jobs_keep: file.jobs_keep,
            pack_after: file.pack_after,
            cache_max_entries: file.cache_max_entries,
            cache_max_bytes: file.cache_max_bytes,
            store: file.store,
            lease: file.lease,
            why: file.why,
            config,
        })
    }
}

/// What the file or the environment says of the room there is.
fn room(file: &File) -> Result<Room, Failure> {
    let wrong = |name: &str, text: String| Failure::new(format!("the setting {name}: {text}"));
    let cpus = file.cpus.map(|cpus| parse::cpus(&cpus.to_string()));
    let cpus = cpus.transpose().map_err(|text| wrong("cpus", text))?;
    let memory = file.memory.as_deref().map(parse::bytes).transpose();
    let factor = |name: &str, factor: Option<f64>| {
        let checked = factor.map(|factor| overcommit(&factor.to_string()));
        checked.transpose().map_err(|text| wrong(name, text))
    };
    Ok(Room {
        live_max: file.max_running,
        cpu_millis: cpus.map(u64::from),
        memory_bytes: memory.map_err(|text| wrong("memory", text))?,
        cpu_overcommit: factor("cpu_overcommit", file.cpu_overcommit)?,
        memory_overcommit: factor("memory_overcommit", file.memory_overcommit)?,
    })
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(Failure::because(format!(
        "not a folder: {}",
        path.display()
    )))
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

fn default_config() -> PathBuf {
    if is_root() {
        return "/etc/dauer/config.toml".into();
    }
    let base =
        std::env::var_os("XDG_CONFIG_HOME").map_or_else(|| home().join(".config"), PathBuf::from);
    base.join("dauer/config.toml")
}

fn default_data_dir() -> PathBuf {
    if is_root() {
        return "/var/lib/dauer".into();
    }
    let base = std::env::var_os("XDG_DATA_HOME")
        .map_or_else(|| home().join(".local/share"), PathBuf::from);
    base.join("dauer")
}

fn default_run_dir() -> PathBuf {
    if is_root() {
        return "/run/dauer".into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(base) => PathBuf::from(base).join("dauer"),
        None => format!("/tmp/dauer-{}", nix::unistd::geteuid()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_of_its_own_has_a_socket_of_its_own() {
        let file = File {
            data_dir: Some("/srv/a".into()),
            ..File::default()
        };
        let settings = Settings::resolve(file, None).unwrap();
        assert_eq!(settings.layout.run, PathBuf::from("/srv/a/run"));
        assert_eq!(settings.host, Host::Unix("/srv/a/run/dauer.sock".into()));
        assert!(settings.local);
    }

    #[test]
    fn a_named_host_is_never_started() {
        let file = File {
            host: Some("unix:///run/x.sock".into()),
            ..File::default()
        };
        assert!(!Settings::resolve(file, None).unwrap().local);
    }

    #[test]
    fn a_flag_wins_over_the_file_and_an_unknown_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(
            &path,
            "data_dir = \"/srv/file\"\nrun_dir = \"/srv/run\"\ndriver = \"native\"\n",
        )
        .unwrap();
        let flag = Global {
            data_dir: Some("/srv/flag".into()),
            config: Some(path.clone()),
            ..Global::default()
        };
        let settings = Settings::load(&flag).unwrap();
        assert_eq!(settings.layout.data, PathBuf::from("/srv/flag"));
        assert_eq!(settings.layout.run, PathBuf::from("/srv/run"));
        assert_eq!(settings.driver.as_deref(), Some("native"));

        std::fs::write(&path, "data_dri = \"/srv/file\"\n").unwrap();
        let Err(Failure::Message(message)) = Settings::load(&flag) else {
            panic!("accepted")
        };
        assert!(message.contains("data_dri"), "{message}");
    }

    #[test]
    fn a_settings_file_that_was_named_must_be_there() {
        let flag = Global {
            config: Some("/nowhere/dauer.toml".into()),
            ..Global::default()
        };
        let Err(Failure::Message(message)) = Settings::load(&flag) else {
            panic!("accepted")
        };
        assert!(message.contains("/nowhere/dauer.toml"), "{message}");
    }
}
