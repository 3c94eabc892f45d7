//! Checkpoints on disk, and everything that may be wrong with one.

use super::*;
use std::os::unix::fs::FileExt;

pub(crate) fn layout(folder: &Path) -> Layout {
    Layout {
        data: folder.to_owned(),
        run: folder.join("run"),
    }
}

fn identity() -> Identity {
    Identity {
        driver: "gvisor".into(),
        version: "1.0".into(),
        digest: "abc".into(),
    }
}

pub(crate) fn blank(id: &CheckpointId) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        id: id.clone(),
        job: JobId("job".into()),
        sandbox: SandboxId("0123456789abcdef".into()),
        generation: 3,
        image: Image::Host,
        identity: identity(),
        cpu: Cpu::here().unwrap(),
        kernel: "6.18".into(),
        page_bytes: page_bytes(),
        log_offset: 4711,
        token: Some("t".into()),
        taken_at: Timestamp(1),
        frozen_ms: 12,
        job_pid: Some(2),
        uppers: vec!["/".into(), "/mnt/x".into()],
        mount_points: Vec::new(),
        memory_bytes: 0,
        disk_bytes: 0,
        blocks_bytes: None,
        files: Vec::new(),
        tree_xxh3_128: String::new(),
    }
}

/// A published checkpoint with small, empty, odd and large files.
pub(super) fn published(layout: &Layout) -> (CheckpointId, Manifest) {
    let id = CheckpointId("00112233445566aa".into());
    let partial = layout.partial_snapshot(&id);
    for folder in ["memory", "disk/0/etc", "disk/1"] {
        fs::create_dir_all(partial.join(folder)).unwrap();
    }
    fs::write(partial.join("memory/checkpoint.img"), vec![5; 3000]).unwrap();
    fs::write(partial.join("memory/empty.img"), b"").unwrap();
    // More than one piece, with a hole, so that it is quick.
    let pages = File::create(partial.join("memory/pages.img")).unwrap();
    pages.set_len(PIECE_BYTES * 2 + 12345).unwrap();
    for at in [0, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES * 2 + 12344] {
        pages.write_all_at(&[1], at).unwrap();
    }
    fs::write(partial.join("disk/0/etc/hosts"), b"hosts").unwrap();
    fs::write(partial.join("disk/0/100% \u{fc}"), b"x").unwrap();
    std::os::unix::fs::symlink("etc/hosts", partial.join("disk/0/link")).unwrap();
    let mut manifest = blank(&id);
    manifest.describe(&partial, &Digests::new()).unwrap();
    manifest.write(&partial).unwrap();
    make_durable(layout, &id).unwrap();
    publish(layout, &id).unwrap();
    (id, manifest)
}

/// What a restore would say: reads the manifest, then checks everything.
fn check(layout: &Layout, id: &CheckpointId) -> Result<Manifest, String> {
    let manifest = read(layout, id)
        .map_err(|e| e.to_string())?
        .ok_or("absent")?;
    manifest
        .verify(&layout.snapshot(id))
        .map_err(|e| e.to_string())?;
    Ok(manifest)
}

#[test]
fn what_is_published_reads_back_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let (id, manifest) = published(&layout);
    assert_eq!(check(&layout, &id).unwrap(), manifest);
    assert_eq!(list(&layout).unwrap(), std::slice::from_ref(&id));
    assert_eq!(manifest.memory_bytes, 3000 + PIECE_BYTES * 2 + 12345);
    assert_eq!(manifest.disk_bytes, 6);
    let record = manifest.checkpoint();
    assert_eq!(
        (record.id.clone(), record.log_offset, record.frozen_ms),
        (id.clone(), 4711, 12)
    );
    let text = fs::read_to_string(layout.snapshot(&id).join("manifest.json")).unwrap();
    let value: serde_json::Value =
        serde_json::from_str(&text).expect("it is JSON for other tools too");
    assert_eq!(value["manifest"]["kernel"], "6.18");
}

#[test]
fn every_flipped_byte_is_found_and_its_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let (id, manifest) = published(&layout);
    let mut names: Vec<String> = manifest
        .files
        .iter()
        .map(|file| file.path.clone())
        .collect();
    names.push("manifest.json".into());
    assert_eq!(names.len(), 6);
    for name in names {
        let path = layout.snapshot(&id).join(name.replace("%25", "%"));
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        let step = (length / 97).max(1);
        let places = if name == "manifest.json" {
            (0..length).collect()
        } else {
            tampered(length, step, &name)
        };
        for place in places {
            let mut byte = [0];
            file.read_exact_at(&mut byte, place).unwrap();
            file.write_all_at(&[byte[0] ^ 0x20], place).unwrap();
            let error = check(&layout, &id).expect_err(&format!("{name} at {place}"));
            assert!(
                error.contains(&format!("snapshots/{id}/{name}")) && error.contains("damaged"),
                "{error}"
            );
            file.write_all_at(&byte, place).unwrap();
        }
    }
    check(&layout, &id).unwrap();
}

fn tampered(length: u64, step: u64, name: &str) -> Vec<u64> {
    // Each look at the large file reads all of it: borders and some places in between are enough.
    match name {
        "memory/pages.img" => vec![
            0,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            PIECE_BYTES * 2 - 1,
            PIECE_BYTES * 2,
            length - 1,
        ],
        _ => (0..length)
            .step_by(usize::try_from(step).unwrap())
            .collect(),
    }
}

#[test]
fn torn_missing_and_added_files_are_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let (id, manifest) = published(&layout);
    let at = |name: &str| layout.snapshot(&id).join(name);
    for record in &manifest.files {
        let path = at(&record.path.replace("%25", "%"));
        let kept = fs::read(&path).unwrap();
        let length = kept.len() as u64;
        let file = File::options().write(true).open(&path).unwrap();
        if length > 0 {
            file.set_len(length - 1).unwrap();
            let error = check(&layout, &id).unwrap_err();
            assert!(
                error.contains(&record.path) && error.contains("bytes instead of"),
                "{error}"
            );
        }
        file.set_len(length + 1).unwrap();
        assert!(check(&layout, &id).unwrap_err().contains(&record.path));
        fs::remove_file(&path).unwrap();
        let error = check(&layout, &id).unwrap_err();
        assert!(
            error.contains(&record.path) && error.contains("missing"),
            "{error}"
        );
        fs::write(&path, &kept).unwrap();
        check(&layout, &id).unwrap();
    }
    fs::write(at("memory/more"), b"").unwrap();
    assert!(check(&layout, &id).unwrap_err().contains("memory/more"));
    fs::remove_file(at("memory/more")).unwrap();
    for change in [
        "rm disk/0/link",
        "ln -sf etc/passwd disk/0/link",
        "chmod 600 disk/0/etc/hosts",
        "mkdir disk/1/new",
    ] {
        let before = check(&layout, &id).map(drop);
        assert_eq!(before, Ok(()), "before {change}");
        let run = |script: &str| {
            std::process::Command::new("sh")
                .arg("-c")
                .arg(script)
                .current_dir(layout.snapshot(&id))
                .status()
        };
        assert!(run(change).unwrap().success());
        assert!(
            check(&layout, &id).unwrap_err().contains("disk"),
            "{change}"
        );
        assert!(
            run("ln -sf etc/hosts disk/0/link; chmod 644 disk/0/etc/hosts; rm -rf disk/1/new")
                .unwrap()
                .success()
        );
    }
    fs::remove_file(at("manifest.json")).unwrap();
    assert!(
        check(&layout, &id)
            .unwrap_err()
            .contains("manifest.json: the file is missing")
    );
}

#[test]
fn every_cut_of_the_manifest_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let (id, _) = published(&layout);
    let path = layout.snapshot(&id).join("manifest.json");
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(
            matches!(read(&layout, &id), Err(Error::BadImage(_))),
            "cut at {length}"
        );
    }
}

#[test]
fn another_format_or_machine_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let (id, manifest) = published(&layout);
    manifest.check_machine(&identity()).unwrap();
    let refused = |manifest: &Manifest, here: &Identity| match manifest.check_machine(here) {
        Err(Error::BadImage(text)) => text,
        other => panic!("{other:?}"),
    };
    let newer = Identity {
        version: "2.0".into(),
        ..identity()
    };
    assert!(refused(&manifest, &newer).contains("1.0, this machine has 2.0"));
    // Built again from the same source it is as good.
    manifest
        .check_machine(&Identity {
            digest: "other".into(),
            ..identity()
        })
        .unwrap();
    let other = Identity {
        driver: "runc".into(),
        ..identity()
    };
    assert!(refused(&manifest, &other).contains("gvisor, not runc"));
    let mut pages = manifest.clone();
    pages.page_bytes = 16384;
    assert!(refused(&pages, &identity()).contains("16384"));
    let mut cpu = manifest.clone();
    cpu.cpu.flags.insert("avx9000".into());
    assert!(refused(&cpu, &identity()).contains("avx9000"));
    let mut format = manifest;
    format.format_version = 2;
    format.write(&layout.snapshot(&id)).unwrap();
    assert!(
        check(&layout, &id)
            .unwrap_err()
            .contains("format 2, this program reads format 1")
    );
}

#[test]
fn removing_is_repeatable_and_partial_folders_go_unless_kept() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout(folder.path());
    let (id, _) = published(&layout);
    let (kept, thrown) = (CheckpointId("aa".into()), CheckpointId("bb".into()));
    for id in [&kept, &thrown] {
        fs::create_dir_all(layout.partial_snapshot(id).join("memory")).unwrap();
    }
    discard_partials(&layout, std::slice::from_ref(&kept)).unwrap();
    assert!(layout.partial_snapshot(&kept).exists() && !layout.partial_snapshot(&thrown).exists());
    assert_eq!(list(&layout).unwrap(), std::slice::from_ref(&id));
    remove(&layout, &id).unwrap();
    remove(&layout, &id).unwrap();
    assert_eq!(read(&layout, &id).unwrap(), None);
}
