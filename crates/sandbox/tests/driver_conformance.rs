//! The conformance suite with each driver that this machine has, as this user and, where this is root, as an ordinary user too.
//!
//! `cargo test --release -p dauer-sandbox --test driver_conformance -- [DRIVER[:CASE]]`. The agent is `$DAUER_GUEST` or the one beside this
//! build's binaries.

use dauer_sandbox::driver::conformance::Bench;
use std::path::{Path, PathBuf};

const DRIVERS: [&str; 5] = ["gvisor", "runc", "crun", "native", "podman"];
/// Those that an ordinary user can use.
const ROOTLESS: [&str; 4] = ["gvisor", "runc", "native", "podman"];
const NOBODY: u32 = 65534;

fn main() {
    // Harness options of `cargo test` such as --nocapture are not for us.
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let (driver, case) = wanted.split_once(':').unwrap_or((&wanted, ""));
    let Some(guest) = guest() else {
        println!("skipped: no guest agent: build it with scripts/build, or set DAUER_GUEST");
        return;
    };
    let mut failed = suite(&DRIVERS, driver, case, &guest);
    if nix::unistd::geteuid().is_root() {
        failed += as_ordinary_user(driver, case, &guest);
    }
    if failed > 0 {
        println!("{failed} failed");
        std::process::exit(1);
    }
}

fn guest() -> Option<PathBuf> {
    let beside = || {
        let me = std::env::current_exe().ok()?;
        // target/release/deps/driver_conformance-…
        Some(me.parent()?.parent()?.join("dauer-guest"))
    };
    std::env::var_os("DAUER_GUEST")
        .map(PathBuf::from)
        .or_else(beside)
        .filter(|path| path.is_file())
}

fn suite(drivers: &[&str], wanted: &str, case: &str, guest: &Path) -> usize {
    let mut failed = 0;
    for driver in drivers
        .iter()
        .filter(|driver| wanted.is_empty() || **driver == wanted)
    {
        let program = match *driver {
            "gvisor" => "runsc",
            "native" => "true",
            other => other,
        };
        if !is_installed(program) {
            println!("skipped: {driver}: {program} is not installed");
            continue;
        }
        // Not in /tmp: there it could be in memory, where direct writes fail.
        let folder = tempfile::Builder::new()
            .prefix("dauer-c")
            .tempdir_in("/var/tmp")
            .expect("a folder in /var/tmp");
        failed += Bench::new(driver, folder.path(), guest).run(case);
    }
    failed
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .any(|folder| folder.join(program).is_file())
}

fn as_ordinary_user(driver: &str, case: &str, guest: &Path) -> usize {
    // In a place that this user can enter, whatever the build's folder allows.
    let place = tempfile::Builder::new()
        .prefix("dauer-g")
        .tempdir_in("/var/tmp")
        .expect("a folder in /var/tmp");
    let copy = place.path().join("dauer-guest");
    std::fs::copy(guest, &copy).expect("copy the agent");
    for path in [place.path(), &copy] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("open it for all");
    }
    // SAFETY: this program has one thread.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        nix::unistd::ForkResult::Child => {
            nix::unistd::setgroups(&[]).expect("drop groups");
            nix::unistd::setresgid(NOBODY.into(), NOBODY.into(), NOBODY.into())
                .expect("change the group");
            nix::unistd::setresuid(NOBODY.into(), NOBODY.into(), NOBODY.into())
                .expect("change the user");
            // A process that changed its user is closed to itself in /proc until this.
            nix::sys::prctl::set_dumpable(true).expect("be open to itself");
            println!("as an ordinary user:");
            let failed = suite(&ROOTLESS, driver, case, &copy);
            std::process::exit(i32::try_from(failed.min(100)).unwrap_or(100));
        }
        nix::unistd::ForkResult::Parent { child } => {
            match nix::sys::wait::waitpid(child, None).expect("wait") {
                nix::sys::wait::WaitStatus::Exited(_, failed) => {
                    usize::try_from(failed).unwrap_or(1)
                }
                other => {
                    println!("FAILED: as an ordinary user: {other:?}");
                    1
                }
            }
        }
    }
}
