//! Who a user is to a registry: what `docker login` and `podman login` wrote down.

use crate::failure::Failure;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Docker's own name for its registry.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_KEYS: [&str; 3] = [
    "https://index.docker.io/v1/",
    "index.docker.io",
    "docker.io",
];

/// A helper says this instead of a user where the secret is a token.
const TOKEN_USER: &str = "<token>";

/// A login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    identitytoken: Option<String>,
}

/// The login for the registry of this image; `None` where there is none, and the registry is asked as anybody.
pub(crate) fn find(image: &str) -> Result<Option<Login>, Failure> {
    for path in files() {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Failure::new(format!(
                    "cannot read {}: {error}",
                    path.display()
                )));
            }
        };
        let file: File = serde_json::from_str(&text).map_err(Failure::because(format!(
            "{} is not as it has to be",
            path.display()
        )))?;
        if let Some(login) = in_file(&file, image)? {
            return Ok(Some(login));
        }
    }
    Ok(None)
}

/// Where they may be, the one that counts first.
fn files() -> Vec<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = variable("HOME");
    [
        variable("REGISTRY_AUTH_FILE"),
        variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        home.as_ref()
            .map(|home| home.join(".config/containers/auth.json")),
        variable("DOCKER_CONFIG").map(|folder| folder.join("config.json")),
        home.map(|home| home.join(".docker/config.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn in_file(file: &File, image: &str) -> Result<Option<Login>, Failure> {
    for key in keys(image) {
        if let Some(helper) = file.cred_helpers.get(&key) {
            return ask(helper, &key);
        }
        if let Some(auth) = file.auths.get(&key) {
            if let Some(token) = auth
                .identitytoken
                .as_ref()
                .filter(|token| !token.is_empty())
            {
                return Ok(Some(Login {
                    user: None,
                    password: token.clone(),
                }));
            }
            if let Some(pair) = auth.auth.as_ref().filter(|auth| !auth.is_empty()) {
                return decoded(pair, &key).map(Some);
            }
            if let Some(store) = &file.creds_store {
                return ask(store, &key);
            }
        }
    }
    Ok(None)
}

/// What logins for this image may be written under: the registry with more and less of the name, as podman has it.
fn keys(image: &str) -> Vec<String> {
    let name = image.split('@').next().unwrap_or(image);
    let (registry, rest) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        Some(_) | None => (DOCKER_HUB, name),
    };
    let mut keys = Vec::new();
    let path = rest.rsplit_once(':').map_or(rest, |(path, _)| path);
    let mut path = Some(path);
    while let Some(now) = path {
        keys.push(format!("{registry}/{now}"));
        path = now.rsplit_once('/').map(|(above, _)| above);
    }
    if registry == DOCKER_HUB {
        keys.extend(DOCKER_HUB_KEYS.map(str::to_owned));
    } else {
        keys.extend([
            registry.to_owned(),
            format!("https://{registry}"),
            format!("http://{registry}"),
        ]);
    }
    keys
}

fn decoded(pair: &str, key: &str) -> Result<Login, Failure> {
    let wrong = || Failure::new(format!("the login for {key} is damaged: log in again"));
    let bytes = BASE64_STANDARD.decode(pair.trim()).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let (user, password) = text.split_once(':').ok_or_else(wrong)?;
    Ok(Login {
        user: Some(user.to_owned()),
        password: password.to_owned(),
    })
}

/// Asks a program that keeps secrets. `None` where it has none.
fn ask(helper: &str, key: &str) -> Result<Option<Login>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{helper}");
    let failed = |why: String| {
        Failure::new(format!(
            "{program} does not give the login for {key}: {why}"
        ))
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(key.as_bytes())
            .map_err(|error| failed(error.to_string()))?;
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        // How all of them say that there is none.
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(said.trim().to_owned()));
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    Ok(Some(Login {
        user: Some(answer.username).filter(|user| user != TOKEN_USER),
        password: answer.secret,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(file: &str, image: &str) -> Option<(Option<String>, String)> {
        let file: File = serde_json::from_str(file).unwrap();
        in_file(&file, image)
            .ok()
            .unwrap()
            .map(|login| (login.user, login.password))
    }

    #[test]
    fn the_narrowest_login_of_a_registry_counts() {
        let pair = |text: &str| BASE64_STANDARD.encode(text);
        let file = format!(
            r#"{{"auths": {{"r.example.com": {{"auth": "{}"}}, "r.example.com/team": {{"auth": "{}"}},
                "https://index.docker.io/v1/": {{"identitytoken": "tok"}}, "localhost:5000": {{}}}}}}"#,
            pair("a:b:c"),
            pair("t:u")
        );
        let user = |user: &str, password: &str| Some((Some(user.to_owned()), password.to_owned()));
        assert_eq!(login(&file, "r.example.com/x:1"), user("a", "b:c"));
        assert_eq!(
            login(&file, "r.example.com/team/x@sha256:00"),
            user("t", "u")
        );
        assert_eq!(login(&file, "debian:12"), Some((None, "tok".into())));
        assert_eq!(login(&file, "localhost:5000/x"), None);
        assert_eq!(login(&file, "other.example.com/x"), None);
    }
}
