//! A request for a job as the engine's description of one.

use crate::error::Refusal;
use crate::policy;
use dauer_core::{
    CheckpointId, DefinitionRef, Image, JobId, JobSpec, Mount, Network, OnConflict, Priority,
    Publish, State, Timestamp, Unique, parse,
};
use dauer_wire::http::{CreateJob, Moment, Span, UniqueView};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// From TERM to KILL where nobody says otherwise.
const STOP_GRACE_MS: u64 = 10_000;

/// What a program works on; more of it belongs into a file.
const PARAMS_BYTES_MAX: usize = 1 << 20;

/// Translates; the engine checks what is asked for. Looks at the file system to tell a folder from a tar.
pub(crate) fn from_request(job: CreateJob) -> Result<JobSpec, Refusal> {
    check_params(job.params.as_ref())?;
    let timeout_ms = timeout_ms(&job)?;
    let retry = policy::retry(job.retry.as_ref(), "retry")?.unwrap_or_default();
    let (job_timeout_ms, queue_timeout_ms) = policy::timeouts(&job)?;
    let keep_checkpoints = policy::keep_checkpoints(job.keep_checkpoints.as_ref())?;
    let run_at = run_at(job.run_at.as_ref(), job.delay.as_ref())?;
    let priority = priority(job.priority.as_deref())?;
    let mounts = job.mounts.into_iter().enumerate().map(|(index, mount)| {
        let absolute = mount.source.starts_with('/') && mount.target.starts_with('/');
        if absolute {
            Ok(Mount {
                source: mount.source,
                target: mount.target,
                read_only: mount.read_only,
            })
        } else {
            let text = format!(
                "the paths of the mount {}:{} are not both absolute",
                mount.source, mount.target
            );
            Err(Refusal::malformed(text).at(format!("mounts[{index}]")))
        }
    });
    if job.from.is_some() && job.image.is_some() {
        let text = "the state that it begins from has its image: leave image away";
        return Err(Refusal::malformed(text).at("image"));
    }
    if let Some(inject) = job.inject.as_ref().filter(|path| !path.starts_with('/')) {
        let text = format!("the folder to inject, {inject:?}, is not an absolute path");
        return Err(Refusal::malformed(text).at("inject"));
    }
    Ok(JobSpec {
        name: job.name,
        argv: job.argv,
        env: job.env,
        workdir: job.workdir,
        driver: job.driver.unwrap_or_else(|| "auto".to_owned()),
        image: image(job.image.as_deref().unwrap_or("host"), job.entrypoint)?,
        mounts: mounts.collect::<Result<_, _>>()?,
        inject: job.inject,
        cpu_millis: job.cpu_millis,
        memory_bytes: job.memory_bytes,
        timeout_ms,
        network: network(job.network.as_deref())?,
        publish: job
            .publish
            .iter()
            .map(|publish| Publish {
                host_port: publish.host_port,
                guest_port: publish.guest_port,
            })
            .collect(),
        user: job.user,
        tty: job.tty,
        stdin: job.stdin,
        remove_on_exit: job.remove_on_exit,
        stop_grace_ms: job.stop_grace_ms.unwrap_or(STOP_GRACE_MS),
        definition: job
            .definition_name
            .zip(job.definition_version)
            .map(|(name, version)| DefinitionRef { name, version }),
        params: job.params,
        metadata: job.metadata,
        tags: job.tags,
        priority,
        retry,
        run_at,

        schedule: None,
        scheduled_at: None,
        job_timeout_ms,
        queue_timeout_ms,
        timeouts_while_suspended: job.timeouts_while_suspended,
        parent: job.parent.map(JobId),

        queue: job.queue,
        concurrency_key: job.concurrency_key,
        unique: job.unique.as_ref().map(unique).transpose()?,
        // Resolved with the request: what is named there may be another job of it.
        after: Vec::new(),
        batch: None,
        keep_disk: None,

        from_disk: job.from.is_some(),
        from: job.from.map(CheckpointId),
        fork: None,
        keep_checkpoints,
        warm: None,
    })
}

/// Now, as the engine counts it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn check_params(params: Option<&serde_json::Value>) -> Result<(), Refusal> {
    let bytes = params.map_or(0, |params| params.to_string().len());
    if bytes > PARAMS_BYTES_MAX {
        let text = format!(
            "the params have {bytes} bytes: at most {PARAMS_BYTES_MAX}; give the program a file instead"
        );
        return Err(Refusal::too_long(text).at("params"));
    }
    Ok(())
}

/// A duration, which stands in this field.
pub(crate) fn span_ms(span: &Span, field: &str) -> Result<u64, Refusal> {
    match span {
        Span::Ms(ms) => Ok(*ms),
        Span::Text(text) => {
            parse::duration_ms(text).map_err(|text| Refusal::malformed(text).at(field))
        }
    }
}

fn timeout_ms(job: &CreateJob) -> Result<Option<u64>, Refusal> {
    match (job.timeout_ms, &job.timeout) {
        (Some(_), Some(_)) => {
            Err(Refusal::malformed("give either timeout or timeout_ms").at("timeout"))
        }
        (Some(ms), None) => Ok(Some(ms)),
        (None, Some(span)) => span_ms(span, "timeout").map(Some),
        (None, None) => Ok(None),
    }
}

fn run_at(run_at: Option<&Moment>, delay: Option<&Span>) -> Result<Option<Timestamp>, Refusal> {
    match (run_at, delay) {
        (Some(_), Some(_)) => Err(Refusal::malformed("give either run_at or delay").at("delay")),
        (None, None) => Ok(None),
        (None, Some(delay)) => Ok(Some(now().plus_ms(span_ms(delay, "delay")?))),
        (Some(run_at), None) => moment(run_at, "run_at").map(Some),
    }
}

/// A moment, which stands in this field.
pub(crate) fn moment(moment: &Moment, field: &str) -> Result<Timestamp, Refusal> {
    match moment {
        Moment::Ms(ms) => Ok(Timestamp(*ms)),
        Moment::Text(text) => {
            let moment: jiff::Timestamp = text.parse().map_err(|_| {
                let wrong = format!(
                    "{text:?} is not a moment: write for example 2027-01-31T09:00:00Z, or milliseconds since the Unix epoch"
                );
                Refusal::malformed(wrong).at(field)
            })?;
            Ok(Timestamp(moment.as_millisecond()))
        }
    }
}

fn unique(view: &UniqueView) -> Result<Unique, Refusal> {
    let states = view.states.iter().map(|name| {
        State::from_name(name).ok_or_else(|| {
            Refusal::malformed(format!("there is no state {name:?}")).at("unique.states")
        })
    });
    let states: Vec<State> = states.collect::<Result<_, _>>()?;
    let on_conflict = match view.on_conflict.as_deref() {
        None | Some("existing") => OnConflict::Existing,
        Some("refuse") => OnConflict::Refuse,
        Some(other) => {
            let text = format!("on_conflict is {other:?}: use existing or refuse");
            return Err(Refusal::malformed(text).at("unique.on_conflict"));
        }
    };
    Ok(Unique {
        key: view.key.clone(),
        states: if states.is_empty() {
            Unique::not_ended()
        } else {
            states
        },
        on_conflict,
    })
}

fn priority(name: Option<&str>) -> Result<Priority, Refusal> {
    let Some(name) = name else {
        return Ok(Priority::default());
    };
    Priority::from_name(name).ok_or_else(|| {
        let text = format!("unknown priority {name:?}: use low, normal, high or critical");
        Refusal::malformed(text).at("priority")
    })
}

fn image(text: &str, entrypoint: Option<Vec<String>>) -> Result<Image, Refusal> {
    if text != "host" && !text.starts_with('/') {
        // Which image that is, and whether it is here, is found out when the job is accepted.
        return Ok(Image::Oci {
            reference: text.to_owned(),
            digest: String::new(),
            entrypoint,
        });
    }
    if entrypoint.is_some() {
        let text = format!("the image {text} has no entry point that could be replaced");
        return Err(Refusal::malformed(text).at("entrypoint"));
    }
    if text == "host" {
        return Ok(Image::Host);
    }
    let wrong = |why: &str| {
        let text = format!(
            "the image {text} {why}: give host, a folder, a tar file, or the name of an image"
        );
        Refusal::malformed(text).at("image")
    };
    match std::fs::metadata(Path::new(text)) {
        Ok(meta) if meta.is_dir() => Ok(Image::Directory(text.to_owned())),
        Ok(meta) if meta.is_file() => Ok(Image::Tar(text.to_owned())),
        Ok(_) => Err(wrong("is neither a folder nor a file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(wrong("does not exist")),
        Err(error) => Err(wrong(&format!("cannot be read ({error})"))),
    }
}

fn network(name: Option<&str>) -> Result<Network, Refusal> {
    match name {
        None | Some("none") => Ok(Network::None),
        Some("nat") => Ok(Network::Nat),
        Some("host") => Ok(Network::Host),
        Some(other) => Err(Refusal::malformed(format!(
            "unknown network {other:?}: use none, nat or host"
        ))
        .at("network")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(job: CreateJob) -> String {
        from_request(job).expect_err("accepted").detail
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let spec = from_request(CreateJob {
            argv: vec!["true".into()],
            ..CreateJob::default()
        })
        .unwrap();
        assert_eq!(
            (spec.driver.as_str(), spec.image, spec.network),
            ("auto", Image::Host, Network::None)
        );
        assert_eq!(spec.stop_grace_ms, STOP_GRACE_MS);
    }

    #[test]
    fn a_folder_and_a_tar_are_told_apart_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.tar");
        std::fs::write(&file, b"").unwrap();
        let image_of = |path: &Path| image(path.to_str().unwrap(), None);
        assert!(matches!(image_of(folder.path()), Ok(Image::Directory(_))));
        assert!(matches!(image_of(&file), Ok(Image::Tar(_))));
        assert!(
            image_of(&folder.path().join("none"))
                .unwrap_err()
                .detail
                .contains("does not exist")
        );
        assert!(matches!(
            image("debian:12", None),
            Ok(Image::Oci { digest, .. }) if digest.is_empty()
        ));
        assert!(
            refused(CreateJob {
                entrypoint: Some(Vec::new()),
                ..CreateJob::default()
            })
            .contains("no entry point")
        );
        assert!(
            refused(CreateJob {
                network: Some("wifi".into()),
                ..CreateJob::default()
            })
            .contains("none, nat or host")
        );
    }
}
