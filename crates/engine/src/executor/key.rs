//! A key derived from all that a step depends on.

use super::inject::{self, Fields};
use super::{Action, KEY_LABEL, Source};
use crate::Error;
use dauer_core::{Image, Network, Snapshot};
use dauer_sandbox::{Layout, image};
use std::path::Path;

/// In front of derived keys, so that they are never one that somebody chose. The number is that of what is digested.
const PREFIX: &str = "auto1:";

/// The key of an action that begins from this snapshot, where it begins from one. Blocking: reads what is injected, and an image
/// that is a folder.
///
/// # Errors
/// `Unsupported` where it depends on what nothing can be said of.
pub(crate) fn derive(
    action: &Action,
    from: Option<&Snapshot>,
    layout: &Layout,
) -> Result<String, Error> {
    if !action.around.mounts.is_empty() {
        return Err(cannot(
            "what is mounted may change at any time: put it in with --inject, or name the key yourself",
        ));
    }
    let mut fields = Fields::of("step");
    match (&action.source, from) {
        (Source::Image(image), _) => add_image(&mut fields, image, layout)?,
        (Source::Snapshot(id), Some(snapshot)) => match snapshot.labels.get(KEY_LABEL) {
            // The same step before it gives the same key, also where it had to be run again.
            Some(key) => {
                fields.add(b"after key");
                fields.add(key.as_bytes());
            }
            None => {
                fields.add(b"after snapshot");
                fields.add(id.as_str().as_bytes());
            }
        },
        (Source::Snapshot(id), None) => return Err(Error::NoSnapshot(id.0.clone())),
    }
    fields.add(&(action.cmd.len() as u64).to_le_bytes());
    for word in &action.cmd {
        fields.add(word.as_bytes());
    }
    fields.add(&(action.env.len() as u64).to_le_bytes());
    for (name, value) in &action.env {
        fields.add(name.as_bytes());
        fields.add(value.as_bytes());
    }
    add_choice(&mut fields, action.working_dir.as_deref());
    add_choice(&mut fields, action.around.user.as_deref());
    fields.add(match action.around.network {
        Network::None => b"none",
        Network::Nat => b"nat",
        Network::Host => b"host",
    });
    match &action.inject {
        Some(folder) => {
            fields.add(b"injected");
            fields.add(inject::digest(folder, &inject::chosen(folder)?)?.as_bytes());
        }
        None => fields.add(b"nothing injected"),
    }
    Ok(format!("{PREFIX}{}", fields.finish().to_hex()))
}

fn add_choice(fields: &mut Fields, choice: Option<&str>) {
    fields.add(&[u8::from(choice.is_some())]);
    fields.add(choice.unwrap_or_default().as_bytes());
}

fn add_image(fields: &mut Fields, image: &Image, layout: &Layout) -> Result<(), Error> {
    match image {
        Image::Host => Err(cannot(
            "the image `host` is this machine itself, which changes with every file on it: use another image, or name the key yourself with --cache-key",
        )),
        Image::Directory(path) => {
            let folder = Path::new(path);
            fields.add(b"folder");
            fields.add(inject::digest(folder, &inject::everything(folder)?)?.as_bytes());
            Ok(())
        }
        Image::Tar(_) => {
            let unpacked = image::lowers(layout, image)?;
            let digest = unpacked.first().and_then(|folder| folder.file_name());
            fields.add(b"tar");
            fields.add(digest.unwrap_or_default().as_encoded_bytes());
            Ok(())
        }
        Image::Oci {
            reference,
            digest,
            entrypoint,
        } => {
            // A step is told what its image says only when it becomes a job.
            let text = if digest.is_empty() { reference } else { digest };
            let found = image::Images::open(layout).find(text)?;
            let record = found.ok_or_else(|| Error::NoImage(text.clone()))?;
            fields.add(b"image");
            fields.add(record.digest.as_bytes());
            let words = entrypoint.as_ref().map(|words| words.join("\0"));
            add_choice(fields, words.as_deref());
            Ok(())
        }
    }
}

fn cannot(why: &str) -> Error {
    Error::Unsupported(format!("no key can be derived: {why}"))
}

#[cfg(test)]
mod tests {
    use super::super::Surroundings;
    use super::*;
    use dauer_core::{CheckpointId, Mount, SnapshotKind, Timestamp};

    fn layout() -> Layout {
        Layout {
            data: "/nonexistent".into(),
            run: "/nonexistent".into(),
        }
    }

    fn key(action: &Action, from: Option<&Snapshot>) -> Result<String, String> {
        derive(action, from, &layout()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_thing_that_a_step_depends_on_changes_its_key() {
        let image = tempfile::tempdir().unwrap();
        std::fs::write(image.path().join("file"), "1").unwrap();
        let base = || Action {
            source: Source::Image(Image::Directory(image.path().to_str().unwrap().into())),
            cmd: vec!["make".into(), "all".into()],
            ..Action::default()
        };
        let mut keys = vec![key(&base(), None).unwrap()];
        assert_eq!(key(&base(), None).unwrap(), keys[0]);
        let injected = tempfile::tempdir().unwrap();
        type Change<'a> = &'a dyn Fn(&mut Action);
        let changes: [Change<'_>; 8] = [
            &|action| action.cmd = vec!["make all".into()],
            &|action| action.cmd.push(String::new()),
            &|action| action.env = [("A".to_owned(), "B".to_owned())].into(),
            &|action| action.env = [("AB".to_owned(), String::new())].into(),
            &|action| action.working_dir = Some("/srv".into()),
            &|action| action.around.user = Some("/srv".into()),
            &|action| action.around.network = Network::Nat,
            &|action| action.inject = Some(injected.path().to_owned()),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut action = base();
            change(&mut action);
            let changed = key(&action, None).unwrap();
            assert!(!keys.contains(&changed), "change {number}");
            keys.push(changed);
        }
        std::fs::write(image.path().join("file"), "2").unwrap();
        assert!(!keys.contains(&key(&base(), None).unwrap()));
        // How much room it gets and how long it may take do not change what comes out.
        let mut action = base();
        let before = key(&action, None).unwrap();
        action.timeout = Some(std::time::Duration::from_secs(1));
        action.around.memory_bytes = Some(1 << 30);
        assert_eq!(key(&action, None).unwrap(), before);
    }

    #[test]
    fn a_chain_goes_by_the_key_before_it_and_not_by_its_snapshot() {
        let snapshot = |id: &str, key: Option<&str>| {
            let mut snapshot = Snapshot::new(
                CheckpointId::from(id),
                SnapshotKind::Disk,
                "runc",
                Timestamp(0),
            );
            snapshot.labels = key
                .map(|key| (KEY_LABEL.to_owned(), key.to_owned()))
                .into_iter()
                .collect();
            snapshot
        };
        let after = |snapshot: &Snapshot| {
            let action = Action {
                source: Source::Snapshot(snapshot.id.clone()),
                cmd: vec!["true".into()],
                ..Action::default()
            };
            key(&action, Some(snapshot)).unwrap()
        };
        let first = after(&snapshot("aaaa", Some("k1")));
        assert_eq!(first, after(&snapshot("bbbb", Some("k1"))));
        assert_ne!(first, after(&snapshot("aaaa", Some("k2"))));
        assert_ne!(
            after(&snapshot("aaaa", None)),
            after(&snapshot("bbbb", None))
        );
    }

    #[test]
    fn what_nothing_can_be_said_of_is_refused_with_what_to_do() {
        let host = key(&Action::default(), None).unwrap_err();
        assert!(host.contains("--cache-key"), "{host}");
        let action = Action {
            source: Source::Image(Image::Directory("/srv".into())),
            around: Surroundings {
                mounts: vec![Mount {
                    source: "/data".into(),
                    target: "/data".into(),
                    read_only: true,
                }],
                ..Surroundings::default()
            },
            ..Action::default()
        };
        assert!(key(&action, None).unwrap_err().contains("--inject"));
    }
}
