//! Overlay uppers: copied, linked and listed, on a real overlay where this user may mount one.

use dauer_sandbox::disk::{
    Below, ChangeKind, Layer, changes, copy_tree, link_tree, stack_trees, tree_bytes,
};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything about everything in a folder that a copy must keep.
fn look(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut links: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.unwrap();
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        let within = entry.path().strip_prefix(folder).unwrap().to_owned();
        let contents = if meta.is_file() {
            format!(
                "{:x}",
                xxhash_rust::xxh3::xxh3_64(&fs::read(entry.path()).unwrap())
            )
        } else if meta.is_symlink() {
            fs::read_link(entry.path()).unwrap().display().to_string()
        } else {
            String::new()
        };
        let first = links
            .entry((meta.dev(), meta.ino()))
            .or_insert_with(|| within.clone())
            .clone();
        let times = if meta.is_symlink() {
            0
        } else {
            meta.mtime_nsec() + meta.mtime()
        };
        let text = format!(
            "{:o} {} {} {:x} {times} {:?} {} same as {}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            attributes(entry.path()),
            contents,
            if meta.is_dir() {
                String::new()
            } else {
                first.display().to_string()
            }
        );
        found.insert(within, text);
    }
    found
}

fn c(text: impl AsRef<OsStr>) -> CString {
    CString::new(text.as_ref().as_bytes()).unwrap()
}

fn attributes(path: &Path) -> Vec<String> {
    let mut names = vec![0u8; 4096];
    // SAFETY: a terminated path and a buffer of the given length.
    let length =
        unsafe { libc::llistxattr(c(path).as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(length).unwrap());
    let names: Vec<_> = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    let mut found = Vec::new();
    for name in names {
        let mut value = vec![0u8; 4096];
        let name = String::from_utf8(name.to_vec()).unwrap();
        // SAFETY: as above.
        let length = unsafe {
            libc::lgetxattr(
                c(path).as_ptr(),
                c(&name).as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        value.truncate(usize::try_from(length).unwrap());
        found.push(format!("{name}={value:?}"));
    }
    found.sort();
    found
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    // SAFETY: terminated strings and a buffer of the given length.
    let result = unsafe {
        libc::lsetxattr(
            c(path).as_ptr(),
            c(name).as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    assert_eq!(
        result,
        0,
        "{}: {}",
        path.display(),
        std::io::Error::last_os_error()
    );
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A folder with one of everything that an upper may hold.
fn everything(folder: &Path) {
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    fs::write(folder.join("plain"), b"plain").unwrap();
    fs::write(folder.join("empty"), b"").unwrap();
    fs::write(folder.join("deep/er/odd \u{fc} name\n%"), b"odd").unwrap();
    fs::write(folder.join(OsStr::from_bytes(b"not text \xff")), b"bytes").unwrap();
    fs::hard_link(folder.join("plain"), folder.join("deep/linked")).unwrap();
    symlink("/nowhere/at/all", folder.join("link")).unwrap();
    fs::set_permissions(folder.join("plain"), fs::Permissions::from_mode(0o4751)).unwrap();
    nix::unistd::mkfifo(
        &folder.join("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o640),
    )
    .unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap());
    let sparse = fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"middle", 33 << 20).unwrap();
    sparse.write_all_at(b"end", (64 << 20) - 3).unwrap();
    set_attribute(&folder.join("deep"), "user.overlay.opaque", b"y");
    set_attribute(&folder.join("plain"), "user.comment", b"\0binary\xff");
    if is_root() {
        let whiteout = c(folder.join("gone").as_os_str());
        // SAFETY: a terminated path.
        assert_eq!(
            unsafe { libc::mknod(whiteout.as_ptr(), libc::S_IFCHR, 0) },
            0
        );
        set_attribute(&folder.join("deep/er"), "trusted.overlay.opaque", b"y");
        std::os::unix::fs::lchown(folder.join("link"), Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::chown(folder.join("deep"), Some(77), Some(88)).unwrap();
    }
    fs::create_dir(folder.join("closed")).unwrap();
    fs::write(folder.join("closed/inside"), b"x").unwrap();
    fs::set_permissions(folder.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
}

#[test]
fn a_copy_is_the_same_in_every_respect_and_independent() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    everything(&from);
    copy_tree(&from, &to).unwrap();
    let (wanted, found) = (look(&from), look(&to));
    assert_eq!(found, wanted);
    assert!(tree_bytes(&to).unwrap() < 1 << 20, "holes stay holes");
    assert!(tree_bytes(&to).unwrap() <= tree_bytes(&from).unwrap());
    fs::write(to.join("plain"), b"changed").unwrap();
    assert_eq!(fs::read(from.join("plain")).unwrap(), b"plain");
    assert_eq!(fs::read(to.join("deep/linked")).unwrap(), b"changed");
}

#[test]
fn a_linked_tree_is_the_same_files_in_folders_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    everything(&from);
    let wanted = look(&from);
    link_tree(&from, &to).unwrap();
    assert_eq!(look(&to), wanted);
    let inode = |path: PathBuf| fs::symlink_metadata(path).unwrap().ino();
    for name in [
        "plain",
        "sparse",
        "fifo",
        "link",
        "deep/er/odd \u{fc} name\n%",
    ] {
        assert_eq!(inode(from.join(name)), inode(to.join(name)), "{name}");
    }
    fs::set_permissions(from.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_dir_all(&from).unwrap();
    assert_eq!(look(&to), wanted);
    // And a copy of it is made of files of its own again, as a restore needs them.
    let third = folder.path().join("third");
    copy_tree(&to, &third).unwrap();
    assert_eq!(look(&third), wanted);
    assert_ne!(inode(to.join("plain")), inode(third.join("plain")));
}

#[test]
fn a_copy_into_an_existing_folder_adds_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir_all(from.join("a")).unwrap();
    fs::write(from.join("a/new"), b"").unwrap();
    fs::create_dir_all(to.join("a")).unwrap();
    fs::write(to.join("a/old"), b"").unwrap();
    copy_tree(&from, &to).unwrap();
    assert!(to.join("a/old").exists() && to.join("a/new").exists());
}

#[test]
fn folders_nested_a_thousand_deep_need_no_deep_stack() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let deep: PathBuf = std::iter::repeat_n("d", 1000).collect();
    fs::create_dir_all(from.join(&deep)).unwrap();
    fs::write(from.join(&deep).join("f"), b"bottom").unwrap();
    let to = folder.path().join("to");
    let (source, target) = (from.clone(), to.clone());
    let copy = move || copy_tree(&source, &target).map_err(|e| e.to_string());
    std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(copy)
        .unwrap()
        .join()
        .unwrap()
        .unwrap();
    assert_eq!(fs::read(to.join(&deep).join("f")).unwrap(), b"bottom");
}

/// Runs a script that mounts overlays. Returns false, having said why, where this user may not.
fn with_mounts(script: &str) -> bool {
    let mut command = if is_root() {
        Command::new("sh")
    } else {
        Command::new("unshare")
    };
    if !is_root() {
        command.args(["-Urm", "sh"]);
    }
    let output = command.arg("-c").arg(script).output().unwrap();
    if !output.status.success() {
        println!(
            "skipped: no overlay can be mounted here: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    output.status.success()
}

#[test]
fn changes_on_a_real_overlay_are_what_was_done() {
    let folder = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in [
        "lower/etc",
        "lower/old/sub",
        "lower/same",
        "lower/data",
        "upper",
        "work",
        "merged",
    ] {
        fs::create_dir_all(at(name)).unwrap();
    }
    for name in [
        "lower/etc/hosts",
        "lower/etc/passwd",
        "lower/old/a",
        "lower/old/sub/b",
        "lower/top",
        "lower/same/x",
    ] {
        fs::write(at(name), name).unwrap();
    }
    let script = format!(
        "mount -t overlay -o lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work{1} overlay {0}/merged && cd {0}/merged && \
         echo more >> etc/hosts && rm etc/passwd && rm -r old && mkdir old && echo c > old/c && rm top && ln -s x new-link && \
         mkdir -p made/deep && echo y > made/deep/y && mkdir -p run/dauer data/in/side && chmod 700 same && touch temp && rm temp && \
         cd / && umount {0}/merged",
        folder.path().display(),
        if is_root() { "" } else { ",userxattr" }
    );
    if !with_mounts(&script) {
        return;
    }
    let mount_points = ["/data/in/side".to_owned()];
    let found = changes(
        &[("/".into(), at("upper"))],
        Below(&[Layer::of_root(at("lower"))]),
        &mount_points,
    )
    .unwrap();
    let found: Vec<(ChangeKind, &str)> = found
        .iter()
        .map(|change| (change.kind, change.path.as_str()))
        .collect();
    use ChangeKind::{Added, Deleted, Modified};
    let wanted = [
        (Modified, "/etc"),
        (Modified, "/etc/hosts"),
        (Deleted, "/etc/passwd"),
        (Added, "/made"),
        (Added, "/made/deep"),
        (Added, "/made/deep/y"),
        (Added, "/new-link"),
        (Modified, "/old"),
        (Deleted, "/old/a"),
        (Added, "/old/c"),
        (Deleted, "/old/sub"),
        (Modified, "/same"),
        (Deleted, "/top"),
    ];
    assert_eq!(found, wanted);
    // Copied and linked, it says the same.
    for (name, take) in [
        ("copy", copy_tree as fn(&Path, &Path) -> _),
        ("linked", link_tree),
    ] {
        take(&at("upper"), &at(name)).unwrap();
        assert_eq!(
            changes(
                &[("/".into(), at(name))],
                Below(&[Layer::of_root(at("lower"))]),
                &mount_points
            )
            .unwrap()
            .len(),
            wanted.len(),
            "{name}"
        );
    }
    // A file system of its own below another mount point.
    let below = changes(
        &[("/mnt/disk".into(), at("upper/made"))],
        Below(&[Layer::of_root(at("lower"))]),
        &[],
    )
    .unwrap();
    assert!(
        below
            .iter()
            .any(|change| change.path == "/mnt/disk/deep/y" && change.kind == Added)
    );
}

#[test]
fn two_stacked_uppers_made_one_show_what_they_showed() {
    let folder = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in [
        "low/d/sub",
        "low/e",
        "low/f",
        "first",
        "second",
        "work1",
        "work2",
        "merged",
    ] {
        fs::create_dir_all(at(name)).unwrap();
    }
    for name in [
        "low/d/a",
        "low/d/sub/b",
        "low/e/c",
        "low/f/g",
        "low/x",
        "low/y",
    ] {
        fs::write(at(name), name).unwrap();
    }
    let attributes = if is_root() { "" } else { ",userxattr" };
    let mount = |lowers: &str, upper: &str, work: &str| {
        format!(
            "mount -t overlay -o lowerdir={lowers},upperdir={upper},workdir={work}{attributes} overlay merged"
        )
    };
    let list = "( cd merged && find . -mindepth 1 -printf '%P %y %m %s %l %n\n' | sort && find . -type f | sort | xargs md5sum )";
    let script = format!(
        "set -e; cd {0}; {first}; cd merged; \
         rm d/a; echo 1 > d/new; rm -r e; mkdir e; echo 1 > e/made; rm x; mkdir x; echo 1 > x/in; echo 1 > only; mkdir dir; echo 1 > dir/z; \
         ln only other; ln -s only link; rm -r f; cd ..; umount merged; \
         {second}; cd merged; \
         echo 2 > d/a; rm d/new; echo 2 >> only; rm -r dir; echo 2 > dir; rm -r x; echo 2 > x; rm y; mkdir f; echo 2 > f/h; \
         chmod 711 e; mv e/made e/moved; rm link; mkdir link; rm -r d/sub; mkdir d/sub; cd ..; \
         {list} > shown; umount merged",
        folder.path().display(),
        first = mount("low", "first", "work1"),
        second = mount("first:low", "second", "work2"),
    );
    if !with_mounts(&script) {
        return;
    }
    for linked in [true, false] {
        let one = at(&format!("one-{linked}"));
        stack_trees(&at("first"), &at("second"), &one, linked).unwrap();
        let script = format!(
            "set -e; cd {0}; mkdir -p work-{linked}; {one}; {list} > shown-{linked}; umount merged",
            folder.path().display(),
            one = mount("low", &format!("one-{linked}"), &format!("work-{linked}")),
        );
        assert!(with_mounts(&script));
        // How many names a file has on the host is not what this is about, but which ones are the same file is.
        let shown = |name: &str| {
            let text = fs::read_to_string(at(name)).unwrap();
            let lines = text.lines().map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                if words.len() == 6 {
                    words[..5].join(" ")
                } else {
                    line.to_owned()
                }
            });
            lines.collect::<Vec<_>>()
        };
        assert_eq!(shown(&format!("shown-{linked}")), shown("shown"));
        // Both are as they were.
        assert_eq!(fs::read_to_string(at("first/only")).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(at("second/only")).unwrap(), "1\n2\n");
    }
}
