//! Everything a child needs, worked out before there is one: until its exec it may not allocate.

use super::account::{self, Account};
use dauer_wire::guest::{Command, GUEST_DIR, StartFailure};
use std::collections::BTreeMap;
use std::ffi::CString;

/// Where programs are sought if the environment does not say.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command in the kernel's terms.
pub(super) struct Plan {
    /// Files to try, in order.
    pub(super) candidates: Vec<CString>,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) workdir: CString,
    pub(super) account: Account,
}

/// A failure that is neither "not found" nor "not executable".
pub(super) fn other_failure(message: impl Into<String>) -> StartFailure {
    StartFailure {
        code: 125,
        message: message.into(),
    }
}

impl Plan {
    /// `surroundings` go last into the environment: nothing overrides them.
    pub(super) fn new(
        command: &Command,
        surroundings: &[(String, String)],
    ) -> Result<Self, StartFailure> {
        let program = command
            .argv
            .first()
            .ok_or_else(|| other_failure("there is no command to run"))?;
        let account = account::find(command.user.as_deref()).map_err(other_failure)?;
        let env = environment(command, &account, surroundings);
        let candidates = candidates(program, &env["PATH"]);
        Ok(Self {
            candidates: candidates.into_iter().map(text).collect::<Result<_, _>>()?,
            argv: command
                .argv
                .iter()
                .cloned()
                .map(text)
                .collect::<Result<_, _>>()?,
            env: env
                .into_iter()
                .map(|(name, value)| text(format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
            workdir: text(
                command
                    .workdir
                    .clone()
                    .filter(|dir| !dir.is_empty())
                    .unwrap_or_else(|| "/".into()),
            )?,
            account,
        })
    }
}

fn text(text: String) -> Result<CString, StartFailure> {
    CString::new(text)
        .map_err(|_| other_failure("a zero byte in the command, its environment or its folder"))
}

fn environment(
    command: &Command,
    account: &Account,
    surroundings: &[(String, String)],
) -> BTreeMap<String, String> {
    let mut env = command.env.clone();
    env.entry("HOME".into())
        .or_insert_with(|| account.home.clone());
    if let Some(name) = &account.name {
        env.entry("USER".into()).or_insert_with(|| name.clone());
    }
    if command.tty.is_some() {
        env.entry("TERM".into()).or_insert_with(|| "xterm".into());
    }
    let path = env
        .entry("PATH".into())
        .or_insert_with(|| PATH_DEFAULT.into());
    if !path.split(':').any(|dir| dir == GUEST_DIR) {
        // An empty entry would mean the current folder.
        *path = if path.is_empty() {
            GUEST_DIR.into()
        } else {
            format!("{path}:{GUEST_DIR}")
        };
    }
    bypass_proxies(&mut env);
    env.extend(surroundings.iter().cloned());
    env
}

/// A proxy cannot reach the sandbox's own loopback, and most clients would ask it to.
fn bypass_proxies(env: &mut BTreeMap<String, String>) {
    for (proxies, exceptions) in [
        (["http_proxy", "all_proxy"], "no_proxy"),
        (["HTTP_PROXY", "ALL_PROXY"], "NO_PROXY"),
    ] {
        if proxies.iter().any(|proxy| env.contains_key(*proxy)) {
            let hosts = env.entry(exceptions.into()).or_default();
            if hosts != "*" && !hosts.split(',').any(|host| host.trim() == "127.0.0.1") {
                *hosts = if hosts.is_empty() {
                    "127.0.0.1".into()
                } else {
                    format!("{hosts},127.0.0.1")
                };
            }
        }
    }
}

/// As execvp: a program with a slash is a file, another is sought in PATH, where an empty entry is the current folder.
fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') || program.is_empty() {
        return vec![program.to_owned()];
    }
    let in_folder = |dir: &str| {
        if dir.is_empty() {
            format!("./{program}")
        } else {
            format!("{dir}/{program}")
        }
    };
    path.split(':').map(in_folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment_of(env: &[(&str, &str)]) -> Vec<String> {
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let command = Command {
            argv: vec!["true".into()],
            env,
            ..Command::default()
        };
        let plan = Plan::new(&command, &[("DAUER_API".into(), "ours".into())]).unwrap();
        plan.env
            .into_iter()
            .map(|line| line.into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_environment_cannot_override_where_the_api_is() {
        assert!(environment_of(&[("DAUER_API", "theirs")]).contains(&"DAUER_API=ours".to_owned()));
    }

    #[test]
    fn the_command_inside_is_found_last_in_any_path() {
        assert!(environment_of(&[("PATH", "/a:/b")]).contains(&"PATH=/a:/b:/run/dauer".to_owned()));
        assert!(environment_of(&[("PATH", "")]).contains(&"PATH=/run/dauer".to_owned()));
        assert!(environment_of(&[]).contains(&format!("PATH={PATH_DEFAULT}:/run/dauer")));
    }

    #[test]
    fn a_proxy_is_not_asked_for_the_sandbox_itself() {
        let env = environment_of(&[
            ("http_proxy", "http://p"),
            ("no_proxy", "a.b"),
            ("ALL_PROXY", "http://p"),
        ]);
        assert!(env.contains(&"no_proxy=a.b,127.0.0.1".to_owned()));
        assert!(env.contains(&"NO_PROXY=127.0.0.1".to_owned()));
        assert!(
            !environment_of(&[])
                .iter()
                .any(|line| line.to_lowercase().starts_with("no_proxy"))
        );
    }
}
