//! What every driver with a checkpointer must do.

use super::cases::case;
use super::sandbox::{Failure, Sandbox, expect};
use super::{Bench, Case, Needs};
use crate::{Error, SandboxSpec};
use dauer_core::{Mount, Network};
use std::path::PathBuf;
use std::time::Duration;

pub(super) const ALL: &[Case] = &[
    case(
        "a_frozen_sandbox_is_destroyed_at_once",
        Needs::Checkpoints,
        destroyed_while_paused,
    ),
    case(
        "a_save_that_fails_leaves_the_job_running",
        Needs::Checkpoints,
        failed_save,
    ),
    case(
        "memory_and_files_come_back_over_five_generations",
        Needs::Checkpoints,
        generations,
    ),
    case(
        "two_sandboxes_out_of_one_checkpoint_live_beside_the_original",
        Needs::Checkpoints,
        forks,
    ),
    case(
        "nothing_wakes_out_of_an_image_that_is_found_damaged",
        Needs::Checkpoints,
        damaged,
    ),
    case(
        "a_thawed_sandbox_reaches_the_outside_again",
        Needs::NatAndCheckpoints,
        nat,
    ),
    case(
        "what_a_checkpoint_depends_on_is_told_the_same_each_time",
        Needs::Checkpoints,
        identity,
    ),
];

/// A job with state in memory and in a file: answers each line with the number of lines so far.
fn counter(bench: &Bench) -> SandboxSpec {
    let script = "i=0; while read -r line; do i=$((i+1)); echo $i >> /tmp/counted; echo $i; done";
    let mut spec = bench.spec();
    spec.argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    spec
}

fn checkpoint(bench: &Bench, spec: &SandboxSpec, number: u32) -> Result<PathBuf, Failure> {
    let path = bench.elsewhere.join(format!("{}-{number}", spec.id));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// Runs `part` in a process of its own, as the shim of one incarnation.
fn apart(part: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let (mut report, write) = std::io::pipe()?;
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            let text = part()
                .err()
                .map(|failure| failure.to_string())
                .unwrap_or_default();
            // Without a report the parent sees one that is not whole.
            let _ = std::io::Write::write_all(&mut &write, format!("{text}\0").as_bytes());
            // SAFETY: leaves at once.
            unsafe { libc::_exit(0) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            drop(write);
            nix::sys::wait::waitpid(child, None)?;
            let mut text = String::new();
            std::io::Read::read_to_string(&mut report, &mut text)?;
            match text.strip_suffix('\0') {
                Some("") => Ok(()),
                Some(failure) => Err(failure.into()),
                None => Err("a part of it panicked".into()),
            }
        }
    }
}

fn expect_count(sandbox: &mut Sandbox, number: u32) -> Result<(), Failure> {
    expect("count", &sandbox.ask("x")?, &number.to_string())?;
    expect(
        "file",
        &sandbox.sh_ok("tail -n 1 /tmp/counted")?,
        &number.to_string(),
    )
}

fn destroyed_while_paused(bench: &Bench) -> Result<(), Failure> {
    let mut sandbox = bench.start(counter(bench))?;
    expect_count(&mut sandbox, 1)?;
    sandbox.hold()?;
    sandbox.destroy()
}

fn failed_save(bench: &Bench) -> Result<(), Failure> {
    let mut sandbox = bench.start(counter(bench))?;
    expect_count(&mut sandbox, 1)?;
    sandbox.hold()?;
    let nowhere = bench.elsewhere.join("file/below");
    std::fs::write(bench.elsewhere.join("file"), "no folder")?;
    let checkpointer = sandbox.driver.checkpointer().ok_or("no checkpointer")?;
    let saved = checkpointer.save(&sandbox.incarnation, &nowhere);
    expect("it failed", &saved.is_err(), &true)?;
    sandbox.go_on()?;
    expect_count(&mut sandbox, 2)?;
    sandbox.destroy()
}

fn generations(bench: &Bench) -> Result<(), Failure> {
    const GENERATIONS: u32 = 5;
    let spec = counter(bench);
    apart(|| {
        let mut sandbox = bench.start(spec.clone())?;
        expect_count(&mut sandbox, 1)?;
        sandbox.freeze(&checkpoint(bench, &spec, 1)?)?;
        sandbox.destroy()
    })?;
    for generation in 2..=GENERATIONS {
        apart(|| {
            let from = checkpoint(bench, &spec, generation - 1)?;
            let mut sandbox = bench.thaw(spec.clone(), generation, &from)?;
            expect_count(&mut sandbox, generation)?;
            sandbox.freeze(&checkpoint(bench, &spec, generation)?)?;
            sandbox.destroy()
        })?;
    }
    Ok(())
}

fn forks(bench: &Bench) -> Result<(), Failure> {
    let spec = counter(bench);
    let from = checkpoint(bench, &spec, 1)?;
    let mut original = bench.start(spec.clone())?;
    expect_count(&mut original, 1)?;
    original.freeze(&from)?;
    original.go_on()?;
    expect_count(&mut original, 2)?;
    for generation in [2, 3] {
        let (spec, from) = (spec.clone(), from.clone());
        apart(move || {
            let mut fork = bench.thaw(spec, generation, &from)?;
            expect_count(&mut fork, 2)?;
            expect_count(&mut fork, 3)?;
            fork.destroy()
        })?;
    }
    expect_count(&mut original, 3)?;
    original.destroy()
}

fn damaged(bench: &Bench) -> Result<(), Failure> {
    let shared = bench.elsewhere.join("shared");
    std::fs::create_dir_all(&shared)?;
    let beat = shared.join("beat");
    let mut spec = bench.spec();
    // Asks for nothing, so that it would be heard of as soon as it woke.
    let script = "read -r line; echo $line; while :; do echo x >> /shared/beat; done";
    spec.argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    spec.mounts = vec![Mount {
        source: shared.display().to_string(),
        target: "/shared".to_owned(),
        read_only: false,
    }];
    let from = checkpoint(bench, &spec, 1)?;
    let mut sandbox = bench.start(spec.clone())?;
    sandbox.ask("go")?;
    sandbox.freeze(&from)?;
    sandbox.destroy()?;
    // None where it was frozen before its first.
    let beats = || std::fs::metadata(&beat).map_or(0, |meta| meta.len());
    let before = beats();
    let slow = || {
        // Longer than any runtime takes to set itself up.
        std::thread::sleep(Duration::from_millis(500));
        Err(Error::BadImage("pages: the digest differs".to_owned()))
    };
    let refused = bench.thaw_once(spec.clone(), 2, &from, slow).err();
    let reason = refused.map(|failure| failure.to_string());
    let told = reason.is_some_and(|reason| reason.contains("the digest differs"));
    expect("the reason is told", &told, &true)?;
    expect("beats", &beats(), &before)?;
    // The image itself was good: with another verdict it wakes.
    let mut sandbox = bench.thaw(spec, 3, &from)?;
    while beats() == before {
        std::thread::yield_now();
    }
    sandbox.destroy()
}

fn identity(bench: &Bench) -> Result<(), Failure> {
    let mut sandbox = bench.start(counter(bench))?;
    let checkpointer = sandbox.driver.checkpointer().ok_or("no checkpointer")?;
    let identity = checkpointer.identity()?;
    expect("twice", &checkpointer.identity()?, &identity)?;
    expect("driver", &identity.driver, &bench.driver)?;
    expect(
        "it has a version and a digest",
        &(identity.version.len() > 3 && identity.digest.len() >= 32),
        &true,
    )?;
    sandbox.destroy()
}

fn nat(bench: &Bench) -> Result<(), Failure> {
    let mut spec = counter(bench);
    spec.network = Network::Nat;
    let listener = std::net::TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    // Whoever comes gets an answer, until this process ends.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut &stream, b"hello");
        }
    });
    let reaches = |sandbox: &mut Sandbox| -> Result<(), Failure> {
        let gateway = crate::host::nat::address(&sandbox.incarnation)?.gateway;
        let script = format!(
            "python3 -c 'import socket; s = socket.create_connection((\"{gateway}\", {port}), 5); print(s.recv(9).decode())'"
        );
        expect(
            "the host answers",
            &sandbox.sh_ok(&script)?,
            &"hello".to_owned(),
        )
    };
    let from = checkpoint(bench, &spec, 1)?;
    let (saved, kept) = (spec.clone(), from.clone());
    let mut sandbox = bench.start(saved)?;
    expect_count(&mut sandbox, 1)?;
    reaches(&mut sandbox)?;
    sandbox.freeze(&kept)?;
    sandbox.destroy()?;
    // This process has threads by now and is in a namespace of its own already: both are fine for a shim of another generation.
    let mut sandbox = bench.thaw(spec, 2, &from)?;
    expect_count(&mut sandbox, 2)?;
    reaches(&mut sandbox)?;
    sandbox.destroy()
}
