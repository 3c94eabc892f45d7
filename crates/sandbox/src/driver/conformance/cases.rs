//! What every driver must do.

use super::sandbox::{Failure, expect};
use super::{Bench, Case, Needs};
use crate::host::userns;
use dauer_core::{Network, Publish};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const ALL: &[Case] = &[
    case(
        "a_program_runs_and_its_output_and_exit_code_arrive",
        Needs::Nothing,
        runs,
    ),
    case(
        "the_death_of_its_process_is_the_end_of_the_channel",
        Needs::Nothing,
        death_is_seen,
    ),
    case(
        "what_it_writes_reaches_only_its_upper",
        Needs::Nothing,
        writes_stay_inside,
    ),
    case(
        "the_daemons_folders_are_not_visible",
        Needs::Nothing,
        daemon_is_hidden,
    ),
    case(
        "it_sees_no_process_no_network_and_no_power_of_the_host",
        Needs::Nothing,
        is_isolated,
    ),
    case("a_job_may_be_another_user", Needs::Root, other_user),
    case(
        "a_sandbox_whose_shim_was_killed_is_destroyed_by_name_alone",
        Needs::Nothing,
        dead_shim,
    ),
    case(
        "nat_reaches_the_host_and_publish_reaches_the_job",
        Needs::Nat,
        nat,
    ),
];

pub(super) const fn case(
    name: &'static str,
    needs: Needs,
    run: fn(&Bench) -> Result<(), Failure>,
) -> Case {
    Case { name, needs, run }
}

pub(super) fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

fn runs(bench: &Bench) -> Result<(), Failure> {
    let mut spec = bench.spec();
    spec.argv = shell("echo one; echo two; exit 7");
    let mut sandbox = bench.start(spec)?;
    expect("exit code", &sandbox.job_status()?.code, &Some(7))?;
    expect("output", &sandbox.raw_rest()?, &"one\ntwo\n".to_owned())?;
    sandbox.destroy()
}

fn death_is_seen(bench: &Bench) -> Result<(), Failure> {
    let mut sandbox = bench.start(bench.spec())?;
    sandbox.sh_ok("true")?;
    let ended = crate::files::pidfd(sandbox.running.pid)?;
    // SAFETY: a plain system call on a process of the sandbox.
    unsafe { libc::kill(sandbox.running.pid, libc::SIGKILL) };
    while sandbox.next()?.is_some() {}
    let deadline = Instant::now() + Duration::from_secs(10);
    let seen = crate::host::process::wait_readable(ended.as_fd(), deadline)?;
    expect("its end is seen", &seen, &true)?;
    // Reaped here, where no keeper does it: a process that is no child is none to wait for.
    let mut status = 0;
    // SAFETY: a plain system call.
    unsafe { libc::waitpid(sandbox.running.pid, &raw mut status, 0) };
    sandbox.destroy()
}

fn writes_stay_inside(bench: &Bench) -> Result<(), Failure> {
    let mut sandbox = bench.start(bench.spec())?;
    let name = format!("conformance-{}", sandbox.incarnation.spec.id);
    let path = format!("/opt/{name}");
    if !Path::new("/opt").is_dir() {
        println!("skipped: there is no /opt on this machine");
        return sandbox.destroy();
    }
    sandbox.sh_ok(&format!("umask 077; echo inside > /tmp/{name}"))?;
    if userns::is_root() {
        sandbox.sh_ok(&format!("echo inside > {path} && rm -r /usr/share/doc"))?;
        let uppers = sandbox.driver.uppers(&sandbox.incarnation);
        let held = uppers.iter().any(|(point, upper)| {
            Path::new(&path)
                .strip_prefix(point)
                .is_ok_and(|within| upper.join(within).exists())
        });
        expect("the upper holds it", &held, &true)?;
    }
    expect(
        "on the host",
        &(Path::new(&path).exists() || Path::new("/tmp").join(&name).exists()),
        &false,
    )?;
    expect(
        "/usr/share/doc on the host",
        &Path::new("/usr/share/doc").exists(),
        &true,
    )?;
    sandbox.destroy()
}

fn daemon_is_hidden(bench: &Bench) -> Result<(), Failure> {
    std::fs::write(bench.layout.data.join("secret"), "secret")?;
    std::fs::write(bench.layout.run.join("secret"), "secret")?;
    let mut sandbox = bench.start(bench.spec())?;
    for folder in [&bench.layout.data, &bench.layout.run] {
        let list = sandbox.sh_ok(&format!("ls -A '{}'", folder.display()))?;
        expect("the daemon's folder", &list, &String::new())?;
        let (code, _) = sandbox.sh(&format!("touch '{}/x' 2>/dev/null", folder.display()))?;
        expect("writing there fails", &(code != 0), &true)?;
    }
    sandbox.destroy()
}

fn is_isolated(bench: &Bench) -> Result<(), Failure> {
    let mut sandbox = bench.start(bench.spec())?;
    expect(
        "host name",
        &sandbox.sh_ok("hostname")?,
        &"dauer".to_owned(),
    )?;
    let pids: u32 = sandbox
        .sh_ok("ls -d /proc/[0-9]* | wc -l")?
        .parse()
        .map_err(|_| "no number")?;
    expect("it sees only its own processes", &(pids < 10), &true)?;
    expect(
        "first process",
        &sandbox.sh_ok("tr '\\0' ' ' < /proc/1/cmdline")?,
        &"/run/dauer/dauer init".to_owned(),
    )?;
    let links = sandbox.sh_ok("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")?;
    expect("network", &links, &"lo".to_owned())?;
    let kept = sandbox.sh_ok("grep CapBnd /proc/self/status | cut -f2")?;
    let bits = u64::from_str_radix(&kept, 16).map_err(|_| "no capabilities")?;
    expect(
        "no capability beyond docker's",
        &(bits & !crate::driver::capabilities::mask()),
        &0,
    )?;
    for forbidden in [
        "mount -t tmpfs none /mnt",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "touch /sys/x",
        "hostname other",
        "cat /dev/mem",
        "echo x > /run/dauer/dauer",
        "rm /run/dauer/dauer",
    ] {
        let (code, _) = sandbox.sh(&format!("({forbidden}) 2>/dev/null"))?;
        expect(forbidden, &(code != 0), &true)?;
    }
    sandbox.sh_ok("echo x > /dev/null && head -c 1 /dev/urandom > /dev/shm/x && test -c /dev/tty && ls /dev/fd/0")?;
    sandbox.destroy()
}

fn other_user(bench: &Bench) -> Result<(), Failure> {
    let mut spec = bench.spec();
    spec.user = Some("1234:1234".to_owned());
    spec.argv = shell("id -u; id -g; touch /etc/x 2>/dev/null || echo refused");
    let mut sandbox = bench.start(spec)?;
    sandbox.job_status()?;
    expect(
        "ids",
        &sandbox.raw_rest()?,
        &"1234\n1234\nrefused\n".to_owned(),
    )?;
    sandbox.destroy()
}

fn dead_shim(bench: &Bench) -> Result<(), Failure> {
    let spec = bench.spec();
    let (instance, scratch) = (
        spec.id.instance(1),
        bench.layout.sandbox(&spec.id).incarnation(1),
    );
    let (mut ready, told) = std::io::pipe()?;
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => {
            let sandbox = bench.start(spec);
            let _ =
                std::io::Write::write_all(&mut &told, if sandbox.is_ok() { b"y" } else { b"n" });
            // SAFETY: dies as by kill -9, with everything open.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        nix::unistd::ForkResult::Parent { child } => {
            drop(told);
            let mut byte = [0];
            std::io::Read::read_exact(&mut ready, &mut byte)?;
            nix::sys::wait::waitpid(child, None)?;
            expect("it started", &byte, b"y")?;
        }
    }
    for entry in std::fs::read_dir(&scratch)?
        .flatten()
        .filter(|entry| entry.file_name() != "work")
    {
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    bench.driver().destroy(&instance, &scratch)?;
    // One that never was is no error either.
    Ok(bench
        .driver()
        .destroy("dauer-0000000000000000-000001", &scratch)?)
}

fn nat(bench: &Bench) -> Result<(), Failure> {
    let mut spec = bench.spec();
    spec.network = Network::Nat;
    // A port that was free a moment ago.
    let published = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    spec.publish = vec![Publish {
        host_port: published,
        guest_port: 80,
    }];
    let mut sandbox = bench.start(spec)?;
    let address = crate::host::nat::address(&sandbox.incarnation)?;
    let links = sandbox
        .sh_ok("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | tr '\\n' ' '")?;
    expect("its links", &links.contains("eth0"), &true)?;
    let listener = std::net::TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    let script = format!(
        "python3 -c 'import socket; s = socket.create_connection((\"{}\", {port}), 5); print(s.recv(99).decode())'",
        address.gateway
    );
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        std::io::Write::write_all(&mut listener.accept()?.0, b"from the host")
    });
    expect(
        "it reaches the host's address",
        &sandbox.sh_ok(&script)?,
        &"from the host".to_owned(),
    )?;
    server.join().map_err(|_| "the server panicked")??;
    let serve = "python3 -c 'import socket; s = socket.create_server((\"\", 80)); print(1, flush=True); s.accept()[0].send(b\"inside\")'";
    sandbox.sh_ok(&format!(
        "{serve} > /tmp/ready 2>&1 & until grep -q 1 /tmp/ready; do :; done"
    ))?;
    let mut text = String::new();
    std::io::Read::read_to_string(
        &mut std::net::TcpStream::connect(("127.0.0.1", published))?,
        &mut text,
    )?;
    expect("it is reached from the host", &text, &"inside".to_owned())?;
    sandbox.destroy()?;
    let left = std::fs::read_dir("/sys/class/net")?.flatten().any(|link| {
        crate::host::nat::link_name(&sandbox.incarnation.instance)
            == link.file_name().to_string_lossy()
    });
    expect("a link is left", &left, &false)
}
