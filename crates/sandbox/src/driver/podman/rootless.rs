//! Podman of an ordinary user, who in the shim's user namespace is root of one id: in there Podman takes itself for the machine's root, so it
//! gets a storage of its own in the data folder, and is told by file what it cannot know.

use super::script;
use super::tools::with;
use crate::Error;
use crate::host::root::make_folder;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

/// Where Podman keeps everything of this user.
pub(super) struct Storage {
    folder: PathBuf,
    runc: Option<PathBuf>,
}

/// Podman's word for "without a cgroup" is one of crun's; runc does the same where it is told nothing.
const WITHOUT_CGROUP_MANAGER: &str = "    --cgroup-manager) shift; n=$((n - 1)) ;;\n";

impl Storage {
    pub(super) fn of(folder: PathBuf, runc: Option<PathBuf>) -> Self {
        Self { folder, runc }
    }

    /// What Podman is to take for the user's home.
    pub(super) fn home(&self) -> &Path {
        &self.folder
    }

    /// Options before the verb.
    pub(super) fn options(&self) -> Vec<OsString> {
        let folder = |name: &str, option: &str| with(option, &self.folder.join(name));
        vec![
            folder("root", "--root="),
            folder("run", "--runroot="),
            folder("tmp", "--tmpdir="),
            folder("runc", "--runtime-flag=root="),
            "--storage-driver=vfs".into(),
            "--events-backend=none".into(),
        ]
    }

    /// The file for `CONTAINERS_CONF`. Written once, as is the script that it names.
    pub(super) fn configuration(&self) -> Result<PathBuf, Error> {
        let path = self.folder.join("containers.conf");
        if path.exists() {
            return Ok(path);
        }
        make_folder(&self.folder)?;
        // The locks of the machine's root are not for this user.
        let mut text =
            "[engine]\nlock_type = \"file\"\nruntime_supports_nocgroup = [\"runc\", \"crun\"]\n"
                .to_owned();
        if let Some(runc) = &self.runc {
            let own = self.folder.join("runc.sh");
            let mut lines = OsString::from(script::BEGIN);
            script::push(
                &mut lines,
                [
                    &script::without(WITHOUT_CGROUP_MANAGER),
                    OsStr::new("exec "),
                ],
            );
            script::push(
                &mut lines,
                [&script::quoted(runc.as_os_str()), OsStr::new(" \"$@\"\n")],
            );
            script::write(&own, &lines)?;
            // A string of JSON is one of TOML.
            let own = serde_json::json!([own]);
            text.push_str(&format!("[engine.runtimes]\nrunc = {own}\n"));
        }
        let what = || format!("write {}", path.display());
        let aside = tempfile::NamedTempFile::new_in(&self.folder).map_err(Error::io(what()))?;
        fs::write(aside.path(), text).map_err(Error::io(what()))?;
        let kept = aside.persist(&path);
        kept.map_err(|error| Error::io(what())(error.error))?;
        Ok(path)
    }
}
