//! What went out comes in the same, and nothing else comes in.

use super::*;
use crate::disk::tree_bytes;
use crate::driver::agent;
use crate::snapshot::tests::{layout, published};
use crate::snapshot::{Manifest, read};
use crate::{Error, Layout};
use dauer_core::CheckpointId;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

fn new_id() -> CheckpointId {
    CheckpointId("ffeeddccbbaa0011".into())
}

fn taken_in(layout: &Layout, stream: &[u8]) -> Result<Manifest, Error> {
    let head = import(layout, &new_id(), stream, |_| Ok(()))?;
    assert_eq!(head.about, Some("known of it".into()));
    Ok(head.manifest)
}

/// A stream of the usual checkpoint, small enough to be damaged everywhere.
fn stream(layout: &Layout) -> (Manifest, Vec<u8>) {
    let (id, _) = published(layout);
    let disk = layout.snapshot(&id).join("disk/0");
    fs::hard_link(disk.join("etc/hosts"), disk.join("etc/second name")).unwrap();
    let memory = layout.snapshot(&id).join("memory");
    let digest = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(b"the agent"));
    agent::take_in(layout, &digest, b"the agent").unwrap();
    fs::write(memory.join(agent::AGENT_FILE), &digest).unwrap();
    let mut manifest = read(layout, &id).unwrap().unwrap();
    manifest
        .describe(&layout.snapshot(&id), &Default::default())
        .unwrap();
    manifest.write(&layout.snapshot(&id)).unwrap();
    let mut bytes = Vec::new();
    assert_eq!(
        export(layout, &id, Some("known of it".into()), &mut bytes).unwrap(),
        manifest
    );
    (manifest, bytes)
}

#[test]
fn what_goes_out_comes_in_the_same_on_another_machine() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (layout(here.path()), layout(there.path()));
    let (sent, bytes) = stream(&here);
    // 64 MiB of holes take nothing on the way.
    assert!(bytes.len() < 100_000, "{} bytes", bytes.len());
    assert_eq!(head(&mut &bytes[..]).unwrap().manifest, sent);
    let came = taken_in(&there, &bytes).unwrap();
    assert_eq!(
        Manifest {
            id: sent.id.clone(),
            ..came.clone()
        },
        sent
    );
    assert_eq!(read(&there, &new_id()).unwrap().unwrap(), came);
    came.verify(&there.snapshot(&new_id())).unwrap();
    let (from, to) = (here.snapshot(&sent.id), there.snapshot(&new_id()));
    for name in ["memory/pages.img", "disk/0/etc/hosts", "disk/0"] {
        let (from, to) = (from.join(name), to.join(name));
        let (a, b) = (fs::metadata(&from).unwrap(), fs::metadata(&to).unwrap());
        assert_eq!(
            (a.mtime(), a.mtime_nsec(), a.mode()),
            (b.mtime(), b.mtime_nsec(), b.mode())
        );
    }
    assert!(
        tree_bytes(&to).unwrap() <= tree_bytes(&from).unwrap() + 4096,
        "it is sparse"
    );
    let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(inode("disk/0/etc/hosts"), inode("disk/0/etc/second name"));
    assert!(agent::binary(&there, &head(&mut &bytes[..]).unwrap().agent.unwrap()).is_ok());
    // Never over one that is there.
    assert!(matches!(taken_in(&there, &bytes), Err(Error::Invalid(_))));
}

#[test]
fn whatever_is_cut_changed_or_added_is_refused_and_nothing_of_it_stays() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (layout(here.path()), layout(there.path()));
    let (_, bytes) = stream(&here);
    let refused = |bytes: &[u8], what: String| {
        match taken_in(&there, bytes) {
            Err(Error::BadImage(_)) => {}
            other => panic!("{what}: {other:?}"),
        }
        assert!(!there.snapshot(&new_id()).exists(), "{what}");
        assert!(!there.partial_snapshot(&new_id()).exists(), "{what}");
    };
    for length in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
        refused(&bytes[..length], format!("cut at {length}"));
    }
    for place in (0..bytes.len()).step_by(5) {
        let mut changed = bytes.clone();
        changed[place] ^= 0x10;
        refused(&changed, format!("changed at {place}"));
    }
    let mut longer = bytes.clone();
    longer.push(0);
    refused(&longer, "one byte more".into());
    let twice = [bytes.clone(), bytes.clone()].concat();
    refused(&twice, "two of them".into());
    taken_in(&there, &bytes).unwrap();
}

#[test]
fn who_refuses_the_head_is_asked_before_anything_is_written() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (here, there) = (layout(here.path()), layout(there.path()));
    let (sent, bytes) = stream(&here);
    let length = MAGIC.len()
        + 4
        + serde_json::to_vec(&head(&mut &bytes[..]).unwrap())
            .unwrap()
            .len()
        + 32;
    let mut only_the_head = &bytes[..length];
    let refuse = |manifest: &Manifest| {
        assert_eq!(*manifest, sent);
        Err(Error::Unsupported("another processor".into()))
    };
    let refused = import(&there, &new_id(), only_the_head.by_ref(), refuse);
    assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
    assert!(!there.snapshots().exists());
}

/// Writes a stream as an attacker would: everything digested, and nothing of it honest.
fn forged(head: &Head, records: &[(Record, &[u8])]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let body = serde_json::to_vec(head).unwrap();
    bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend(body);
    let digest = blake3::hash(&bytes);
    bytes.extend(digest.as_bytes());
    let mut plain = Vec::new();
    for (record, content) in records {
        let body = rmp_serde::to_vec(record).unwrap();
        plain.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        plain.extend(body);
        plain.extend(*content);
    }
    let end = rmp_serde::to_vec(&Record::End).unwrap();
    plain.extend(u32::try_from(end.len()).unwrap().to_le_bytes());
    plain.extend(end);
    bytes.extend(zstd::encode_all(&plain[..], 1).unwrap());
    let digest = blake3::hash(&bytes);
    bytes.extend(digest.as_bytes());
    bytes
}

#[test]
fn a_forged_stream_writes_nowhere_else() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outside = there.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let (here, there) = (layout(here.path()), layout(there.path()));
    let (sent, bytes) = stream(&here);
    let mut honest = head(&mut &bytes[..]).unwrap();
    honest.agent = None;
    honest.manifest.files = vec![crate::snapshot::FileRecord {
        path: "disk/0".into(),
        bytes: 5,
        xxh3_128: sent.files[0].xxh3_128.clone(),
    }];
    let meta = fs::metadata(&outside).unwrap();
    let like = |path: &str, kind: entry::Kind| {
        let mut entry = entry::Entry::of(path.as_ref(), &outside, &meta, None).unwrap();
        entry.kind = kind;
        (Record::Entry(entry), &b""[..])
    };
    let folder = |path: &str| like(path, entry::Kind::Folder);
    let file = |path: &str| like(path, entry::Kind::File { bytes: 5 });
    let target = outside.as_os_str().as_encoded_bytes().to_vec();
    let link = |path: &str| {
        like(
            path,
            entry::Kind::Symlink {
                target: target.clone(),
            },
        )
    };
    let hard = |path: &str, to: &str| like(path, entry::Kind::Hardlink { to: to.into() });
    let data = |offset| (Record::Data { offset, bytes: 5 }, &b"hello"[..]);
    let attempts = [
        vec![file("../outside/x"), data(0)],
        vec![file("/tmp/x"), data(0)],
        vec![folder("memory"), file("memory/../../../outside/x"), data(0)],
        vec![file("manifest.json"), data(0)],
        vec![folder("disk"), link("disk/0"), file("disk/0/x"), data(0)],
        vec![folder("disk"), link("disk/0"), folder("disk/0")],
        vec![folder("disk"), link("disk/0"), file("disk/0"), data(0)],
        vec![folder("disk"), hard("disk/0", "../outside")],
        vec![folder("disk"), link("disk/1"), hard("disk/0", "disk/1")],
        vec![folder("disk"), file("disk/0"), data(1)],
        vec![folder("disk"), file("disk/0"), data(u64::MAX - 2)],
        vec![folder("disk"), file("disk/0"), data(0), data(0)],
        vec![folder("disk"), data(0)],
        vec![folder("disk"), file("disk/more"), data(0)],
        vec![
            folder("disk"),
            like("disk/0", entry::Kind::File { bytes: 1 << 60 }),
        ],
        vec![(
            Record::Data {
                offset: 0,
                bytes: u32::MAX,
            },
            &b""[..],
        )],
        vec![(
            Record::Agent {
                digest: "../../outside/x".into(),
                bytes: 5,
            },
            &b"hello"[..],
        )],
    ];
    for (number, records) in attempts.iter().enumerate() {
        let refused = taken_in(&there, &forged(&honest, records));
        assert!(
            matches!(refused, Err(Error::BadImage(_))),
            "{number}: {refused:?}"
        );
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{number}");
        assert!(!there.partial_snapshot(&new_id()).exists(), "{number}");
    }
}
