//! What is checked before a job or a definition is accepted: all that can be refused is refused here. Looks at the file system.

use crate::capacity::check_fits;
use crate::inline::Host;
use crate::submit::sandbox_spec;
use crate::{Config, Error};
use dauer_core::{Job, JobSpec, Network, Reason, RetryPolicy, parse};
use dauer_sandbox::driver::{self, Driver};
use dauer_sandbox::{Origin, image};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A tag is a word or two, and there are few of them: they are searched by.
const TAGS_MAX: usize = 64;
const TAG_KEY_BYTES_MAX: usize = 64;
const TAG_VALUE_BYTES_MAX: usize = 256;

/// Metadata comes with every record that is read.
const METADATA_BYTES_MAX: usize = 64 << 10;

const RETRY_FACTOR_MAX: f64 = 100.0;

/// The same of inline jobs, which name a function and nothing of a sandbox. Does not block.
pub(crate) fn check_inline(jobs: &[Job], host: &Host) -> Result<(), Error> {
    for (index, job) in jobs.iter().enumerate() {
        let checked = match host.refuses(&job.spec.argv) {
            Some(why) => Err(Error::invalid("argv", why)),
            None => check_common(&job.spec),
        };
        if let Err(error) = checked {
            let place = format!("jobs[{index}]");
            return Err(if jobs.len() > 1 {
                error.within(&place)
            } else {
                error
            });
        }
    }
    Ok(())
}

/// What is checked of every job.
fn check_common(spec: &JobSpec) -> Result<(), Error> {
    if let Some(name) = &spec.name {
        parse::name(name).map_err(|text| Error::invalid("name", text))?;
    }
    check_labels(spec)?;
    check_retry(&spec.retry)?;
    check_timeouts(spec)
}

/// Blocking. Errors: `InvalidField`, `Invalid`, `Unsupported`, `BadImage`.
pub(crate) fn check(job: &Job, config: &Config) -> Result<Arc<dyn Driver>, Error> {
    let spec = &job.spec;
    let driver = driver::by_name(&spec.driver)
        .map_err(|error| Error::invalid("driver", error.to_string()))?;
    check_command(spec)?;
    check_paths(spec, config)?;
    if !spec.publish.is_empty() && spec.network != Network::Nat {
        return Err(Error::invalid(
            "publish",
            "forwarding ports needs --network nat",
        ));
    }
    check_common(spec)?;
    check_fits(spec, &config.limits)?;
    driver.check(&sandbox_spec(job, Origin::Fresh, config))?;
    Ok(driver)
}

fn check_retry(retry: &RetryPolicy) -> Result<(), Error> {
    let factor = retry.factor;
    if !(1.0..=RETRY_FACTOR_MAX).contains(&factor) {
        let text = format!("the factor of the retry delays is {factor}: it goes from 1 to 100");
        return Err(Error::invalid("retry.factor", text));
    }
    let mut reasons = retry.retry_on.reasons.iter();
    if let Some(reason) = reasons.find(|reason| !retry.may_help(**reason)) {
        let text = match reason {
            Reason::RestoreFailed => {
                "a checkpoint that cannot be restored is only tried again with \"from\": \"checkpoint\""
                    .to_owned()
            }
            Reason::ExitCode
            | Reason::Signal
            | Reason::Timeout
            | Reason::OutOfMemory
            | Reason::StartFailed
            | Reason::Error
            | Reason::Panic
            | Reason::Lost
            | Reason::Killed
            | Reason::CrashLoop | Reason::DependencyFailed => format!("what failed as {} is never tried again", reason.name()),
        };
        return Err(Error::invalid("retry.retry_on.reasons", text));
    }
    let mut codes = retry.retry_on.exit_codes.iter();
    if let Some(code) = codes.find(|code| !(1..=255).contains(*code)) {
        let text = format!("{code} is not an exit code of a failure: they go from 1 to 255");
        return Err(Error::invalid("retry.retry_on.exit_codes", text));
    }
    Ok(())
}

fn check_timeouts(spec: &JobSpec) -> Result<(), Error> {
    for (ms, field) in [
        (spec.timeout_ms, "timeout"),
        (spec.job_timeout_ms, "job_timeout"),
        (spec.queue_timeout_ms, "queue_timeout"),
    ] {
        if ms == Some(0) {
            let text = format!("a {field} of nothing is over before it begins: leave it away");
            return Err(Error::invalid(field, text));
        }
    }
    Ok(())
}

fn check_command(spec: &JobSpec) -> Result<(), Error> {
    match spec.argv.first() {
        None => {
            return Err(Error::invalid(
                "argv",
                "no command: write it after --, for example: dauer run -- echo hello",
            ));
        }
        Some(program) if program.is_empty() => {
            return Err(Error::invalid("argv", "the command is empty"));
        }
        Some(_) => {}
    }
    if spec.argv.iter().any(|word| word.contains('\0')) {
        let text = "a word of the command contains a NUL byte";
        return Err(Error::invalid("argv", text));
    }
    for (name, value) in &spec.whole_env() {
        parse::env_pair(&format!("{name}={value}")).map_err(|text| Error::invalid("env", text))?;
    }
    if let Some(workdir) = spec.workdir.as_ref().filter(|path| !path.starts_with('/')) {
        let text = format!("the working directory {workdir:?} is not absolute");
        return Err(Error::invalid("workdir", text));
    }
    Ok(())
}

fn check_paths(spec: &JobSpec, config: &Config) -> Result<(), Error> {
    for (index, mount) in spec.mounts.iter().enumerate() {
        if !Path::new(&mount.source).exists() {
            let text = format!(
                "the mount's source {} does not exist on the host",
                mount.source
            );
            return Err(Error::invalid(format!("mounts[{index}].source"), text));
        }
    }
    if let Some(folder) = spec
        .inject
        .as_ref()
        .filter(|folder| !Path::new(folder).is_dir())
    {
        let text = format!("the folder to inject, {folder}, does not exist");
        return Err(Error::invalid("inject", text));
    }
    Ok(image::check(&config.layout, &spec.image)?)
}

fn check_labels(spec: &JobSpec) -> Result<(), Error> {
    check_description(&spec.tags, &spec.metadata)
}

/// What a job may be found by, and what may be kept with it.
pub(crate) fn check_description(
    tags: &BTreeMap<String, String>,
    metadata: &BTreeMap<String, serde_json::Value>,
) -> Result<(), Error> {
    if tags.len() > TAGS_MAX {
        let text = format!("{} tags: at most {TAGS_MAX}", tags.len());
        return Err(Error::invalid("tags", text));
    }
    for (key, value) in tags {
        let plain = |text: &str| !text.chars().any(char::is_control);
        let good_key = (1..=TAG_KEY_BYTES_MAX).contains(&key.len())
            && plain(key)
            && !key.contains([':', '=', ',']);
        if !good_key || value.len() > TAG_VALUE_BYTES_MAX || !plain(value) {
            let text = format!(
                "{key:?}: {value:?} is not a tag: a key of up to {TAG_KEY_BYTES_MAX} bytes without ':', '=' and ',', and a \
                 value of up to {TAG_VALUE_BYTES_MAX} bytes"
            );
            return Err(Error::invalid("tags", text));
        }
    }
    let metadata = serde_json::to_string(metadata).map_or(usize::MAX, |json| json.len());
    if metadata > METADATA_BYTES_MAX {
        let text = format!(
            "the metadata has {metadata} bytes: at most {METADATA_BYTES_MAX}; what the program works on goes into params"
        );
        return Err(Error::invalid("metadata", text));
    }
    Ok(())
}
