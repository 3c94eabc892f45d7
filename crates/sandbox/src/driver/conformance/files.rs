//! What a sandbox sees of the machine's files: mounts, injected files, images.

use super::cases::case;
use super::sandbox::{Failure, expect};
use super::{Bench, Case, Needs};
use crate::host::userns;
use dauer_core::{Image, Mount};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub(super) const ALL: &[Case] = &[
    case(
        "mounts_are_where_they_belong_and_read_only_where_asked",
        Needs::Nothing,
        mounts,
    ),
    case(
        "what_is_injected_lies_in_the_working_directory",
        Needs::Nothing,
        injects,
    ),
    case("a_folder_is_an_image", Needs::Nothing, folder_image),
    case(
        "a_link_in_an_image_leads_no_mount_out_of_it",
        Needs::Nothing,
        hostile_image,
    ),
    case(
        "a_bad_mount_is_refused_before_anything_is_made",
        Needs::Nothing,
        bad_mounts,
    ),
];

fn mounts(bench: &Bench) -> Result<(), Failure> {
    let folder = bench.elsewhere.join("mounts");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("file"), "of the host")?;
    let source = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let mount = |source: String, target: &str, read_only| Mount {
        source,
        target: target.to_owned(),
        read_only,
    };
    let mut spec = bench.spec();
    spec.mounts = vec![
        mount(source(""), "/opt/deep/writable", false),
        mount(source(""), "/opt/deep/fixed", true),
        mount(source("file"), "/opt/deep/one", true),
        mount(source("file"), "/run/one", true),
    ];
    if !userns::is_root() {
        // Below a folder of root's an ordinary user cannot make mount points.
        spec.mounts.truncate(0);
        spec.mounts
            .push(mount(source(""), "/run/deep/writable", false));
        spec.mounts.push(mount(source("file"), "/run/one", true));
    }
    let writable = spec.mounts[0].target.clone();
    let mut sandbox = bench.start(spec.clone())?;
    for target in spec.mounts.iter().map(|mount| &mount.target) {
        let text = sandbox.sh_ok(&format!("cat {target}/file 2>/dev/null || cat {target}"))?;
        expect(target, &text, &"of the host".to_owned())?;
    }
    for target in spec
        .mounts
        .iter()
        .filter(|mount| mount.read_only)
        .map(|mount| &mount.target)
    {
        // Opening for writing truncates; a refusal must come before that.
        let (code, _) = sandbox.sh(&format!(
            "(echo x > {target}/file || echo x > {target}) 2>/dev/null"
        ))?;
        expect(&format!("{target} is read-only"), &(code != 0), &true)?;
    }
    sandbox.sh_ok(&format!("echo from inside > {writable}/new"))?;
    expect(
        "on the host",
        &std::fs::read_to_string(folder.join("new"))?,
        &"from inside\n".to_owned(),
    )?;
    expect(
        "unchanged",
        &std::fs::read_to_string(folder.join("file"))?,
        &"of the host".to_owned(),
    )?;
    sandbox.destroy()
}

fn injects(bench: &Bench) -> Result<(), Failure> {
    let folder = bench.elsewhere.join("inject");
    std::fs::create_dir_all(folder.join("deep"))?;
    std::fs::write(
        folder.join("deep/script"),
        "#!/bin/sh\necho injected in $(pwd)\n",
    )?;
    std::fs::set_permissions(
        folder.join("deep/script"),
        std::fs::Permissions::from_mode(0o755),
    )?;
    let mut spec = bench.spec();
    spec.inject = Some(folder.to_string_lossy().into_owned());
    spec.workdir = Some("/tmp/work/here".to_owned());
    spec.argv = vec!["deep/script".to_owned()];
    let mut sandbox = bench.start(spec)?;
    expect("exit code", &sandbox.job_status()?.code, &Some(0))?;
    expect(
        "output",
        &sandbox.raw_rest()?,
        &"injected in /tmp/work/here\n".to_owned(),
    )?;
    expect(
        "on the host",
        &Path::new("/tmp/work/here/deep").exists(),
        &false,
    )?;
    sandbox.destroy()
}

/// A root with one static program, the agent's own.
fn image(bench: &Bench, name: &str) -> Result<std::path::PathBuf, Failure> {
    let folder = bench.elsewhere.join(name);
    std::fs::create_dir_all(folder.join("bin"))?;
    std::fs::copy(&bench.guest, folder.join("bin/dauer"))?;
    Ok(folder)
}

fn folder_image(bench: &Bench) -> Result<(), Failure> {
    let folder = image(bench, "image")?;
    let mut spec = bench.spec();
    spec.image = Image::Directory(folder.to_string_lossy().into_owned());
    spec.argv = vec!["/bin/dauer".to_owned(), "--help".to_owned()];
    let mut sandbox = bench.start(spec)?;
    sandbox.job_status()?;
    sandbox.destroy()?;
    let mut names: Vec<_> = std::fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    expect("the image is as it was", &names, &vec!["bin".into()])
}

fn hostile_image(bench: &Bench) -> Result<(), Failure> {
    let folder = image(bench, "hostile")?;
    let outside = bench.elsewhere.join("outside");
    std::fs::create_dir_all(&outside)?;
    for name in ["opt", "work"] {
        match std::os::unix::fs::symlink(&outside, folder.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e.into()),
            Ok(()) | Err(_) => {}
        }
    }
    let source = bench.elsewhere.join("mounted");
    std::fs::create_dir_all(&source)?;
    std::fs::write(source.join("file"), "x")?;
    let mut spec = bench.spec();
    spec.image = Image::Directory(folder.to_string_lossy().into_owned());
    spec.argv = vec!["/bin/dauer".to_owned(), "--help".to_owned()];
    spec.mounts = vec![Mount {
        source: source.to_string_lossy().into_owned(),
        target: "/opt/point".to_owned(),
        read_only: true,
    }];
    spec.inject = Some(source.to_string_lossy().into_owned());
    spec.workdir = Some("/work/deep".to_owned());
    // It may start or be refused; it may not write outside.
    let outcome = bench.start(spec).map(|mut sandbox| sandbox.destroy());
    expect(
        "nothing outside the image",
        &std::fs::read_dir(&outside)?.count(),
        &0,
    )?;
    outcome.unwrap_or(Ok(()))
}

fn bad_mounts(bench: &Bench) -> Result<(), Failure> {
    let driver = bench.driver();
    let good = bench.elsewhere.to_string_lossy().into_owned();
    for (source, target) in [
        ("/no/such/folder", "/opt/x"),
        ("relative", "/opt/x"),
        (good.as_str(), "relative"),
        (good.as_str(), "/"),
        (good.as_str(), "/proc/x"),
        (good.as_str(), "/run/dauer"),
        (good.as_str(), "/opt/../etc"),
    ] {
        let mut spec = bench.spec();
        spec.mounts = vec![Mount {
            source: source.to_owned(),
            target: target.to_owned(),
            read_only: false,
        }];
        expect(
            &format!("{source}:{target} is refused"),
            &driver.check(&spec).is_err(),
            &true,
        )?;
    }
    let mut spec = bench.spec();
    spec.image = Image::Directory("/no/such/image".to_owned());
    expect(
        "an image that is not there is refused",
        &driver.check(&spec).is_err(),
        &true,
    )
}
