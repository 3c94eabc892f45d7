//! What `run` and `schedule add` can say of a program's sandbox: its image, its folders, its limits.

use crate::failure::Failure;
use crate::settings::Settings;
use clap::ValueHint;
use dauer_core::parse;
use dauer_core::{Mount, Publish};
use dauer_wire::http::{CreateJob, MountView, PublishView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The options of both commands.
#[derive(Debug, clap::Args)]
pub(crate) struct Program {
    /// What makes the sandbox; auto takes the best that this machine and this user have
    #[arg(long, value_name = "DRIVER", value_parser = ["auto", "gvisor", "runc", "crun", "native", "podman"])]
    driver: Option<String>,
    /// The read-only root: host, a folder, a tar file, or an image, for example debian:12
    #[arg(long, value_name = "host|DIR|TAR|IMAGE", value_hint = ValueHint::AnyPath)]
    image: Option<String>,
    /// What the command begins with, in the place of what the image says; empty: nothing
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// A variable for the program; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse::env_pair)]
    env: Vec<(String, String)>,
    /// Variables from a file, NAME=VALUE a line; --env wins
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    env_file: Vec<PathBuf>,
    /// Where the program starts, inside; with image host the present folder where it is left away
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// A path of the host made visible inside; repeatable
    #[arg(short = 'v', long, value_name = "SRC:DST[:ro]", value_parser = mount)]
    mount: Vec<Mount>,
    /// A folder copied into the working directory before the start
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    inject: Option<PathBuf>,
    /// How many CPUs it may use, for example 0.5
    #[arg(long, value_name = "NUMBER", value_parser = parse::cpus)]
    cpus: Option<u32>,
    /// How much memory it may use, for example 512m or 2g
    #[arg(short, long, value_name = "SIZE", value_parser = parse::bytes)]
    memory: Option<u64>,
    /// How long it may run, for example 30s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms)]
    timeout: Option<u64>,
    /// What it reaches: only Dauer's API (none), the outside by address translation (nat), or all of the host's network
    #[arg(long, value_name = "none|nat|host", value_parser = ["none", "nat", "host"])]
    network: Option<String>,
    /// A port of the host forwarded to the program, with --network nat; repeatable
    #[arg(short, long, value_name = "HOST:GUEST", value_parser = parse::publish)]
    publish: Vec<Publish>,
    /// Who it runs as: a name in the image, or UID or UID:GID
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// From TERM to KILL when it is stopped; 10s where nothing is said
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms)]
    stop_grace: Option<u64>,
}

impl Program {
    /// The request for it, without the program itself.
    pub(crate) fn job(&self) -> Result<CreateJob, Failure> {
        let mut env = BTreeMap::new();
        for file in &self.env_file {
            env.extend(read_env_file(file)?);
        }
        env.extend(self.env.iter().cloned());
        Ok(CreateJob {
            env,
            workdir: self.workdir.clone(),
            driver: self.driver.clone(),
            image: self.image.as_deref().map(image).transpose()?,
            entrypoint: self.entrypoint.as_ref().map(|program| {
                let program = program.trim();
                Vec::from_iter((!program.is_empty()).then(|| program.to_owned()))
            }),
            mounts: self.mount.iter().map(mount_view).collect(),
            inject: self.inject.as_deref().map(absolute).transpose()?,
            cpu_millis: self.cpus,
            memory_bytes: self.memory,
            timeout_ms: self.timeout,
            network: self.network.clone(),
            publish: self.publish.iter().map(publish_view).collect(),
            user: self.user.clone(),
            stop_grace_ms: self.stop_grace,
            ..CreateJob::default()
        })
    }

    /// A driver is named.
    pub(crate) fn chooses_driver(&self) -> bool {
        self.driver
            .as_deref()
            .is_some_and(|driver| driver != "auto")
    }

    /// Its image may say which program runs.
    pub(crate) fn has_own_command(&self) -> bool {
        let named = |image: &str| image != "host" && image_is_name(image);
        self.entrypoint.is_some() || self.image.as_deref().is_some_and(named)
    }

    /// It is on the host's own network.
    pub(crate) fn on_host_network(&self) -> bool {
        self.network.as_deref() == Some("host")
    }

    /// The folder the user is in, where the image has it too: nothing of the kernel's own folders and of Dauer's is inside.
    pub(crate) fn present_folder(&self, settings: &Settings) -> Option<String> {
        if self.image.as_deref().is_some_and(|image| image != "host") {
            return None;
        }
        let folder = std::env::current_dir().ok()?;
        let own = [&settings.layout.data, &settings.layout.run];
        let kernel = ["/dev", "/proc", "/run", "/sys"].map(Path::new);
        let hidden = own.iter().any(|path| folder.starts_with(path))
            || kernel.iter().any(|path| folder.starts_with(path));
        folder
            .into_os_string()
            .into_string()
            .ok()
            .filter(|_| !hidden)
    }
}

/// A mount whose source may be relative to where the user is.
fn mount(text: &str) -> Result<Mount, String> {
    if text.starts_with("./")
        || text.starts_with("../")
        || text.starts_with(".:")
        || text.starts_with("..:")
    {
        let (source, rest) = text.split_once(':').unwrap_or((text, ""));
        let source = std::path::absolute(source).map_err(|error| format!("{source}: {error}"))?;
        return parse::mount(&format!("{}:{rest}", source.display()));
    }
    parse::mount(text)
}

/// `host`, a path made absolute, or what only the daemon can tell the meaning of.
fn image(text: &str) -> Result<String, Failure> {
    match text {
        "host" => Ok(text.to_owned()),
        "" => Err(Failure::new(
            "--image is empty: give host, a folder, a tar file, or the name of an image",
        )),
        name if image_is_name(name) => Ok(name.to_owned()),
        path => absolute(Path::new(path)),
    }
}

/// No path: neither written like one, nor is there something of this name here.
fn image_is_name(text: &str) -> bool {
    !text.starts_with(['/', '.']) && !Path::new(text).exists()
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let path =
        std::path::absolute(path).map_err(Failure::because(format!("{}", path.display())))?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::new(format!(
            "{} is not UTF-8, which paths of jobs have to be",
            path.display()
        ))
    })
}

fn mount_view(mount: &Mount) -> MountView {
    MountView {
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
    }
}

fn publish_view(publish: &Publish) -> PublishView {
    PublishView {
        host_port: publish.host_port,
        guest_port: publish.guest_port,
    }
}

/// `NAME=VALUE` a line; empty lines and lines that begin with `#` say nothing.
fn read_env_file(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(Failure::because(format!("cannot read {}", path.display())))?;
    let mut env = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = parse::env_pair(line).map_err(Failure::because(format!(
            "{} line {}",
            path.display(),
            index + 1
        )))?;
        env.insert(name, value);
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_is_read_line_by_line_and_names_the_wrong_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(&path, "# words\n\nA=1\nB=two = 2\n").unwrap();
        let env = read_env_file(&path).unwrap();
        assert_eq!(
            (env["A"].as_str(), env["B"].as_str(), env.len()),
            ("1", "two = 2", 2)
        );
        std::fs::write(&path, "A=1\nnothing\n").unwrap();
        let Err(Failure::Message(message)) = read_env_file(&path) else {
            panic!("accepted")
        };
        assert!(message.contains("line 2"), "{message}");
    }

    #[test]
    fn a_relative_mount_is_relative_to_the_user() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            mount("./data:/data:ro").unwrap().source,
            here.join("data").to_str().unwrap()
        );
        assert!(mount("data:/data").is_err());
    }
}
