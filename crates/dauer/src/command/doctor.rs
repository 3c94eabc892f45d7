//! `dauer doctor`: what each driver can do here. Works without a daemon.

use crate::failure::Outcome;
use crate::render;
use crate::settings::Settings;
use dauer_client::Client;
use dauer_sandbox::driver::probe;
use dauer_wire::http::DriverView;
use std::fmt::Write as _;

/// What each driver can do here, and what is missing.
///
/// With the command that installs what is missing. Needs no daemon. Where the store is a Redis, also what a crash of it takes back.
///
/// Exit code: 0 where at least one driver runs programs here, 1 otherwise.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As a JSON array
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, settings: &Settings) -> Outcome {
    let drivers = probe::all(&settings.layout);
    if args.json {
        render::print_json(&drivers)?;
    } else {
        let best = probe::best(&settings.layout).ok();
        render::print(&report(&drivers, best.as_deref()))?;
        if let Some(why) = all_paused(settings) {
            render::print(&format!(
                "\nno job begins: {why}; `dauer queue resume --all` ends that\n"
            ))?;
        }
        if let Some(said) = store(settings) {
            render::print(&said)?;
        }
    }
    Ok(if drivers.iter().any(|driver| driver.usable) {
        0
    } else {
        1
    })
}

/// What the store promises, where it is a server that may promise less than a file on a disk.
fn store(settings: &Settings) -> Option<String> {
    let url = settings.store.as_deref()?;
    if !url.starts_with("redis") && !url.starts_with("unix:") {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let opened = runtime.block_on(dauer_store::open(url));
    let said = match opened {
        Err(error) => format!("cannot be used: {error}"),
        Ok(store) => promise(store.capabilities()),
    };
    Some(format!("\nstore {}: {said}\n", dauer_store::shown(url)))
}

fn promise(capabilities: dauer_store::Capabilities) -> String {
    let crash = capabilities.loss().unwrap_or_else(|| {
        "what was acknowledged survives a crash of the store's machine".to_owned()
    });
    if capabilities.failover_safe {
        return crash;
    }
    format!("{crash}; a copy of it that takes over may lack the newest of what was acknowledged")
}

/// Why nothing begins, where a daemon is there and says so.
fn all_paused(settings: &Settings) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let asked = async {
        let client = Client::connect(&settings.host).await.ok()?;
        client.queues().await.ok()?.all_paused
    };
    runtime.block_on(asked)
}

fn report(drivers: &[DriverView], best: Option<&str>) -> String {
    let mut text = String::new();
    for driver in drivers {
        let can = match (driver.usable, driver.checkpoints) {
            (true, true) => "runs programs, freezes and thaws them",
            (true, false) => "runs programs, cannot freeze them",
            (false, _) => "does not work here",
        };
        let version = driver
            .version
            .as_deref()
            .map(|version| format!(" ({version})"))
            .unwrap_or_default();
        let _ = writeln!(text, "{:<8} {can}{version}", driver.name);
        for missing in &driver.missing {
            let _ = writeln!(text, "         missing: {missing}");
        }
        if let Some(install) = driver
            .install
            .as_ref()
            .filter(|_| !driver.missing.is_empty())
        {
            let _ = writeln!(text, "         install: {install}");
        }
    }
    let _ = match best {
        Some(best) => writeln!(text, "\n--driver auto is {best} here"),
        None => writeln!(text, "\nno driver works here: install one of the above"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_may_take_something_back_says_so() {
        let said = promise(dauer_store::Capabilities {
            durable: dauer_store::Durable::UpTo { ms: 2000 },
            failover_safe: false,
            volatile_accepted: false,
        });
        assert!(
            said.contains("last 2 s") && said.contains("takes over"),
            "{said}"
        );
    }

    #[test]
    fn what_is_missing_comes_with_the_command_that_installs_it() {
        let driver = DriverView {
            name: "runc".into(),
            usable: true,
            checkpoints: false,
            version: Some("1.1.5".into()),
            missing: vec!["criu is not installed".into()],
            install: Some("apt-get install criu".into()),
        };
        let text = report(&[driver], Some("runc"));
        assert_eq!(
            text,
            "runc     runs programs, cannot freeze them (1.1.5)\n         missing: criu is not installed\n         \
             install: apt-get install criu\n\n--driver auto is runc here\n"
        );
    }
}
