//! What comes of tars, of good ones and of those that were made to do harm.

use super::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use tar::EntryType;

/// An entry as it is written into the header, whatever it says.
fn raw(
    builder: &mut tar::Builder<Vec<u8>>,
    kind: EntryType,
    name: &str,
    link: &str,
    content: &[u8],
) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(if kind == EntryType::Directory {
        0o755
    } else {
        0o644
    });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000);
    let fields = header.as_old_mut();
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

fn tar_of(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, rest) in entries {
        let (link, content) = if *kind == EntryType::Regular {
            ("", *rest)
        } else {
            (*rest, "")
        };
        raw(&mut builder, *kind, name, link, content.as_bytes());
    }
    builder.into_inner().unwrap()
}

fn unpacked(tar: &[u8], into: &Path, content: Content) -> Result<Unpacked, Error> {
    unpack(tar, into, content, Limits::default())
}

const FILE: EntryType = EntryType::Regular;
const FOLDER: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;
const DEVICE: EntryType = EntryType::Char;

#[test]
fn what_would_do_harm_is_refused_and_nothing_of_it_is_outside() {
    for (what, entries) in [
        ("leads out", vec![(FILE, "../evil", "x")]),
        ("leads out", vec![(FILE, "a/../../evil", "x")]),
        ("leads out", vec![(FOLDER, "a/..", "")]),
        (
            "symbolic link",
            vec![(LINK, "a", "/OUT"), (FILE, "a/evil", "x")],
        ),
        (
            "symbolic link",
            vec![(LINK, "a", ".."), (FILE, "a/evil", "x")],
        ),
        (
            "symbolic link",
            vec![
                (FOLDER, "d", ""),
                (LINK, "d/a", "/OUT"),
                (FOLDER, "d/a/b", ""),
            ],
        ),
        (
            "symbolic link",
            vec![(LINK, "a", "/OUT"), (HARD, "b", "a/secret")],
        ),
        ("leads out", vec![(HARD, "b", "../secret")]),
        ("not in the image", vec![(HARD, "b", "/etc/passwd")]),
        (
            "hard link to a folder",
            vec![(FOLDER, "d", ""), (HARD, "b", "d")],
        ),
        ("is a device", vec![(DEVICE, "sda", "")]),
        ("is a device", vec![(EntryType::Block, "lib/x", "")]),
        ("no folder", vec![(LINK, "./", "/OUT")]),
    ] {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        let out = outside.path().to_str().unwrap();
        let entries: Vec<_> = entries
            .iter()
            .map(|(kind, name, rest)| (*kind, *name, rest.replace("/OUT", out)))
            .collect();
        let entries: Vec<_> = entries
            .iter()
            .map(|(kind, name, rest)| (*kind, *name, rest.as_str()))
            .collect();
        let error = unpacked(&tar_of(&entries), &root, Content::Layer).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        assert!(
            error.to_string().contains(what),
            "{error} does not say {what}"
        );
        let mut left: Vec<_> = fs::read_dir(outside.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["root", "secret"], "{what}");
        assert_eq!(
            fs::metadata(outside.path().join("secret")).unwrap().nlink(),
            1
        );
    }
}

#[test]
fn a_few_bytes_that_stand_for_a_full_disk_are_refused_before_they_are_written() {
    let root = tempfile::tempdir().unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(1 << 50);
    header.set_path("bomb").unwrap();
    header.set_cksum();
    let error = unpack(
        header.as_bytes().as_slice(),
        root.path(),
        Content::Root,
        Limits::default(),
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("unpacks to more than")
    );
    let many: Vec<_> = (0..20).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (FILE, name.as_str(), "")).collect();
    let limits = Limits {
        entries_max: 10,
        ..Limits::default()
    };
    let error = unpack(tar_of(&many).as_slice(), root.path(), Content::Root, limits);
    assert!(error.unwrap_err().to_string().contains("10 files"));
}

#[test]
fn a_tar_that_is_cut_off_is_refused_wherever_that_is() {
    let tar = tar_of(&[(FILE, "a", "content"), (FILE, "b", "more")]);
    for length in [0, 100, 512, 514, 1024, 1600, 2048] {
        let root = tempfile::tempdir().unwrap();
        let error = unpacked(&tar[..length], root.path(), Content::Root).unwrap_err();
        assert!(error.to_string().contains("cut off"), "{length}: {error}");
    }
}

#[test]
fn links_that_lead_out_are_kept_as_they_are_and_never_followed() {
    let root = tempfile::tempdir().unwrap();
    let tar = tar_of(&[
        (LINK, "abs", "/etc/passwd"),
        (LINK, "up", "../../x"),
        (FILE, "/abs2/file", "absolute means the image's root"),
        (HARD, "same", "/abs2/file"),
        (HARD, "link", "abs"),
        // Put in the place of the link, not through it.
        (FILE, "abs", "a file now"),
    ]);
    unpacked(&tar, root.path(), Content::Root).unwrap();
    let at = |name: &str| root.path().join(name);
    assert_eq!(fs::read_link(at("up")).unwrap(), Path::new("../../x"));
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_to_string(at("abs")).unwrap(), "a file now");
    assert_eq!(
        fs::metadata(at("same")).unwrap().ino(),
        fs::metadata(at("abs2/file")).unwrap().ino()
    );
    assert_eq!(fs::metadata(at("same")).unwrap().mtime(), 1_000_000);
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    let root = tempfile::tempdir().unwrap();
    let tar = tar_of(&[
        (FOLDER, "d", ""),
        (FILE, "d/.wh.gone", ""),
        (FOLDER, "o", ""),
        (FILE, "o/.wh..wh..opq", ""),
        (FILE, "o/kept", "k"),
        (FILE, ".wh..wh.plnk", ""),
        (FILE, ".wh.again", ""),
        (FOLDER, "again", ""),
        (FILE, "stays", "s"),
        (FILE, ".wh.stays", ""),
    ]);
    unpacked(&tar, root.path(), Content::Layer).unwrap();
    let at = |name: &str| root.path().join(name);
    let gone = fs::symlink_metadata(at("d/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert!(!at(".wh..wh.plnk").exists() && !at("o/.wh..wh..opq").exists());
    assert_eq!(fs::read_to_string(at("stays")).unwrap(), "s");
    for name in ["o", "again"] {
        let mark = crate::disk::is_opaque(&at(name)).unwrap();
        assert!(mark, "{name} is not opaque");
    }
    // A root file system has no layers: there such a name is only a name.
    let root = tempfile::tempdir().unwrap();
    unpacked(
        &tar_of(&[(FILE, "d/.wh.gone", "")]),
        root.path(),
        Content::Root,
    )
    .unwrap();
    assert!(root.path().join("d/.wh.gone").is_file());
}

#[test]
fn modes_times_and_attributes_are_those_of_the_tar() {
    let root = tempfile::tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let marks = [
        ("SCHILY.xattr.user.mark", &b"m"[..]),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("mtime", b"5.25"),
    ];
    for (kind, name, mode) in [(FOLDER, "closed", 0o500), (FILE, "closed/tool", 0o4755)] {
        builder.append_pax_extensions(marks).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        builder.append_data(&mut header, name, &b""[..]).unwrap();
    }
    unpacked(&builder.into_inner().unwrap(), root.path(), Content::Layer).unwrap();
    for (name, mode) in [("closed", 0o500), ("closed/tool", 0o4755)] {
        let path = root.path().join(name);
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.mode() & 0o7777, mode, "{name}");
        assert_eq!(
            (meta.mtime(), meta.mtime_nsec()),
            (5, 250_000_000),
            "{name}"
        );
        assert_eq!(
            crate::disk::attribute(&path, c"user.mark").unwrap(),
            Some(b"m".to_vec())
        );
        assert_eq!(
            crate::disk::attribute(&path, c"user.overlay.opaque").unwrap(),
            None
        );
    }
}
