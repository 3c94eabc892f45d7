//! A request for a job as the engine's description of one.

use crate::error::Refusal;
use dauer_core::{Image, JobSpec, Mount, Network, Priority, Publish, RetryPolicy};
use dauer_wire::http::CreateJob;
use std::collections::BTreeMap;
use std::path::Path;

/// From TERM to KILL where nobody says otherwise.
const STOP_GRACE_MS: u64 = 10_000;

/// Translates; the engine checks what is asked for. Looks at the file system to tell a folder from a tar.
pub(crate) fn from_request(job: CreateJob) -> Result<JobSpec, Refusal> {
    let mounts = job.mounts.into_iter().map(|mount| {
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
            Err(Refusal::malformed(text))
        }
    });
    if let Some(inject) = job.inject.as_ref().filter(|path| !path.starts_with('/')) {
        return Err(Refusal::malformed(format!(
            "the folder to inject, {inject:?}, is not an absolute path"
        )));
    }
    Ok(JobSpec {
        name: job.name,
        argv: job.argv,
        env: job.env,
        workdir: job.workdir,
        driver: job.driver.unwrap_or_else(|| "auto".to_owned()),
        image: image(job.image.as_deref().unwrap_or("host"))?,
        mounts: mounts.collect::<Result<_, _>>()?,
        inject: job.inject,
        cpu_millis: job.cpu_millis,
        memory_bytes: job.memory_bytes,
        timeout_ms: job.timeout_ms,
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
        definition: None,
        params: None,
        metadata: BTreeMap::new(),
        tags: BTreeMap::new(),
        priority: Priority::Normal,
        retry: RetryPolicy::default(),
        run_at: None,
    })
}

fn image(text: &str) -> Result<Image, Refusal> {
    if text == "host" {
        return Ok(Image::Host);
    }
    let wrong = |why: &str| {
        Refusal::malformed(format!(
            "the image {text} {why}: give host, a folder or a tar file"
        ))
    };
    if !text.starts_with('/') {
        return Err(wrong("is not an absolute path"));
    }
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
        ))),
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
        let image_of = |path: &Path| image(path.to_str().unwrap());
        assert!(matches!(image_of(folder.path()), Ok(Image::Directory(_))));
        assert!(matches!(image_of(&file), Ok(Image::Tar(_))));
        assert!(
            image_of(&folder.path().join("none"))
                .unwrap_err()
                .detail
                .contains("does not exist")
        );
        assert!(
            refused(CreateJob {
                image: Some("x.tar".into()),
                ..CreateJob::default()
            })
            .contains("absolute")
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
