//! Accepting a job: everything that can be refused is refused here, before anything is written.

use crate::{Config, Engine, Error, clock};
use dauer_core::{EventKind, Image, Job, JobId, JobSpec, Network, SandboxId, parse};
use dauer_sandbox::driver::{self, Driver, probe};
use dauer_sandbox::{Origin, SandboxSpec, image};
use dauer_store::NewEntry;
use dauer_wire::http::DriverView;
use std::path::Path;
use std::sync::Arc;

/// 16 random hexadecimal digits.
pub(crate) fn random_id() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    random[..16].to_owned()
}

impl Engine {
    /// Accepts a job and starts it. Its driver may be `auto`. Returns when it is committed.
    ///
    /// # Errors
    /// `Invalid` and `Unsupported` with one line that says what to do; `NameInUse`. Nothing was written then.
    pub async fn submit(&self, mut spec: JobSpec) -> Result<Job, Error> {
        if spec.driver == "auto" {
            spec.driver = self.default_driver().await?;
        }
        let config = self.config().clone();
        let id = JobId(uuid::Uuid::now_v7().to_string());
        let job = Job::new(id, spec, clock::now());
        let checked = job.clone();
        tokio::task::spawn_blocking(move || check(&checked, &config))
            .await
            .map_err(|e| Error::Failed(format!("checking the job: {e}")))??;
        let entry = NewEntry {
            at: job.created_at,
            event: "submitted".into(),
            from: None,
            detail: None,
        };
        self.store().create(job.clone(), entry).await?;
        self.committed(&job);
        self.tell(&job.id, self.admission()).await
    }

    /// The event that gives a pending job its sandbox.
    pub(crate) fn admission(&self) -> EventKind {
        EventKind::Admitted {
            sandbox: SandboxId(random_id()),
            boot_id: self.boot_id().to_owned(),
        }
    }

    /// What `auto` means on this machine, for this user.
    ///
    /// # Errors
    /// `Unsupported` where no driver works at all.
    pub async fn default_driver(&self) -> Result<String, Error> {
        if let Some(driver) = &self.config().default_driver {
            return Ok(driver.clone());
        }
        let layout = self.config().layout.clone();
        let best = tokio::task::spawn_blocking(move || probe::best(&layout)).await;
        Ok(best.map_err(|e| Error::Failed(format!("probing the drivers: {e}")))??)
    }

    /// What each driver can do here.
    pub async fn drivers(&self) -> Vec<DriverView> {
        let layout = self.config().layout.clone();
        tokio::task::spawn_blocking(move || probe::all(&layout))
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, "probing the drivers");
                Vec::new()
            })
    }

    /// Why a job of this spec cannot be frozen, if it cannot.
    #[must_use]
    pub fn cannot_freeze(&self, spec: &JobSpec) -> Option<String> {
        let job = Job::new(JobId(String::new()), spec.clone(), clock::now());
        let sandbox = sandbox_spec(&job, Origin::Fresh, self.config());
        let driver = driver::by_name(&spec.driver).ok()?;
        driver.freezable(&sandbox).err().map(|e| e.to_string())
    }
}

/// Blocking: looks at the file system.
fn check(job: &Job, config: &Config) -> Result<Arc<dyn Driver>, Error> {
    let spec = &job.spec;
    let invalid = |text: String| Err(Error::Invalid(text));
    match spec.argv.first() {
        None => {
            return invalid(
                "no command: write it after --, for example: dauer run -- echo hello".into(),
            );
        }
        Some(program) if program.is_empty() => return invalid("the command is empty".into()),
        Some(_) => {}
    }
    if spec.argv.iter().any(|word| word.contains('\0')) {
        return invalid("a word of the command contains a NUL byte".into());
    }
    for (name, value) in &spec.env {
        parse::env_pair(&format!("{name}={value}")).map_err(Error::Invalid)?;
    }
    if let Some(name) = &spec.name {
        parse::name(name).map_err(Error::Invalid)?;
    }
    if let Some(workdir) = spec.workdir.as_ref().filter(|path| !path.starts_with('/')) {
        return invalid(format!("the working directory {workdir:?} is not absolute"));
    }
    check_paths(spec)?;
    if !spec.publish.is_empty() && spec.network != Network::Nat {
        return invalid("forwarding ports needs --network nat".into());
    }
    let driver = driver::by_name(&spec.driver)?;
    driver.check(&sandbox_spec(job, Origin::Fresh, config))?;
    Ok(driver)
}

fn check_paths(spec: &JobSpec) -> Result<(), Error> {
    for mount in &spec.mounts {
        if !Path::new(&mount.source).exists() {
            return Err(Error::Invalid(format!(
                "the mount's source {} does not exist on the host",
                mount.source
            )));
        }
    }
    if let Some(folder) = spec
        .inject
        .as_ref()
        .filter(|folder| !Path::new(folder).is_dir())
    {
        return Err(Error::Invalid(format!(
            "the folder to inject, {folder}, does not exist"
        )));
    }
    match &spec.image {
        Image::Host => Ok(()),
        Image::Directory(path) | Image::Tar(path) => Ok(image::resolve(path).map(|_| ())?),
    }
}

/// What a shim is told of a job's present incarnation.
pub(crate) fn sandbox_spec(job: &Job, origin: Origin, config: &Config) -> SandboxSpec {
    let spec = job.spec.clone();
    SandboxSpec {
        id: job
            .sandbox
            .clone()
            .unwrap_or_else(|| SandboxId(String::new())),
        generation: job.generation,
        origin,
        job: job.id.0.clone(),
        driver: spec.driver,
        image: spec.image,
        argv: spec.argv,
        env: spec.env,
        workdir: spec.workdir,
        user: spec.user,
        tty: spec.tty,
        stdin: spec.stdin,
        mounts: spec.mounts,
        inject: spec.inject,
        cpu_millis: spec.cpu_millis,
        memory_bytes: spec.memory_bytes,
        network: spec.network,
        publish: spec.publish,
        layout: config.layout.clone(),
        guest_binary: config.guest_binary.clone(),
    }
}
