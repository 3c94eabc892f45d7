//! Images from files: what is made of them, what is refused, and what stays of either.

use super::*;
use dauer_core::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::slice::from_ref;

struct Place {
    folder: tempfile::TempDir,
    layout: Layout,
    images: Images,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout {
            data: folder.path().join("data"),
            run: folder.path().join("run"),
        };
        let images = Images::open(&layout);
        Self {
            folder,
            layout,
            images,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn import(&self, bytes: &[u8], name: Option<&str>) -> Result<Imported, Error> {
        let wish = Wish {
            name: name.map(str::to_owned),
            now: Timestamp(7),
            ..Wish::default()
        };
        self.images.import(bytes, &wish)
    }

    /// Nothing but empty folders.
    #[track_caller]
    fn is_empty(&self) {
        let all = walkdir::WalkDir::new(self.images.folder.path.clone())
            .into_iter()
            .flatten();
        let left: Vec<_> = all
            .filter(|entry| entry.depth() > 1)
            .map(|entry| entry.path().to_owned())
            .collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }

    fn oci(&self, record: &Record) -> Image {
        Image::Oci {
            reference: "x".into(),
            digest: record.digest.clone(),
            entrypoint: None,
        }
    }
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Written into the header as it is: the builder itself refuses what leads out.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// An archive of the OCI's layout with these layers, of which `change` may make something else before it is packed.
fn layout_of(layers: &[Vec<u8>], change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
    let mut files = vec![(
        "oci-layout".to_owned(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    )];
    let mut blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        files.push((format!("blobs/sha256/{}", digest.hex()), bytes.to_vec()));
        serde_json::json!({"digest": digest.to_string(), "size": bytes.len(), "mediaType": "x"})
    };
    let packed: Vec<_> = layers.iter().map(|layer| blob(&gzip(layer))).collect();
    let plain: Vec<_> = layers
        .iter()
        .map(|layer| Digest::of(layer).to_string())
        .collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": plain},
        "config": {"Env": ["A=image"], "Cmd": ["sh"], "Entrypoint": ["enter"], "WorkingDir": "/srv", "User": "1:2"},
    });
    let config = blob(config.to_string().as_bytes());
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": packed});
    let mut manifest = blob(manifest.to_string().as_bytes());
    manifest["annotations"] =
        serde_json::json!({"org.opencontainers.image.ref.name": "made/here:1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    files.push(("index.json".into(), index.to_string().into_bytes()));
    change(&mut files);
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    tar_of(&files)
}

#[test]
fn a_tar_file_is_unpacked_once_however_it_is_packed() {
    let place = Place::new();
    let plain = tar_of(&[("bin/tool", b"content")]);
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for (name, bytes) in [
        ("plain", plain.clone()),
        ("gzip", gzip(&plain)),
        ("zstd", zstd),
    ] {
        let path = place.path(name);
        fs::write(&path, bytes).unwrap();
        let image = Image::Tar(path);
        check(&place.layout, &image).unwrap();
        let [root] = &lowers(&place.layout, &image).unwrap()[..] else {
            panic!("several")
        };
        assert_eq!(
            fs::read(root.join("bin/tool")).unwrap(),
            b"content",
            "{name}"
        );
        fs::write(root.join("mark"), "").unwrap();
        let again = lowers(&place.layout, &image).unwrap();
        assert!(again[0].join("mark").exists(), "{name} was unpacked again");
    }
    let evil = place.path("evil.tar");
    fs::write(&evil, tar_of(&[("../../evil", b"x")])).unwrap();
    let error = lowers(&place.layout, &Image::Tar(evil)).unwrap_err();
    assert!(error.to_string().contains("leads out"), "{error}");
    assert!(!place.folder.path().join("evil").exists());
}

#[test]
fn what_is_no_image_is_refused_in_words() {
    let place = Place::new();
    let text = place.path("text");
    fs::write(&text, "no tar").unwrap();
    let refused = |image: Image| check(&place.layout, &image).unwrap_err().to_string();
    assert!(refused(Image::Directory("/no/such/image".into())).contains("no such folder"));
    assert!(refused(Image::Tar(text)).contains("neither"));
    let digest = Digest::of(b"").to_string();
    let unknown = Image::Oci {
        reference: "a:1".into(),
        digest,
        entrypoint: None,
    };
    assert!(refused(unknown).contains("not on this node"));
}

#[test]
fn a_root_is_one_layer_and_has_the_same_digest_every_time() {
    let place = Place::new();
    let tar = tar_of(&[("etc/os-release", b"x"), ("bin/tool", b"y")]);
    let [record] = &place.import(&tar, Some("mine:1")).unwrap()[..] else {
        panic!("several")
    };
    let again = place.import(&gzip(&tar), Some("other")).unwrap();
    assert_eq!(record.digest, again[0].digest);
    let names: Vec<_> = place
        .images
        .names()
        .unwrap()
        .into_iter()
        .map(|name| name.name)
        .collect();
    assert_eq!(
        names,
        ["docker.io/library/mine:1", "docker.io/library/other:latest"]
    );
    for text in [
        "mine:1",
        "other",
        &record.digest,
        &record.digest["sha256:".len()..][..8],
    ] {
        assert_eq!(
            place.images.find(text).unwrap().unwrap().digest,
            record.digest,
            "{text}"
        );
    }
    assert_eq!(place.images.find("mine:2").unwrap(), None);
    assert_eq!(record.bytes(), 2);
}

#[test]
fn an_archive_of_several_layers_is_an_image_with_its_defaults() {
    let place = Place::new();
    let low = tar_of(&[("d/a", b"low"), ("d/b", b"low")]);
    let high = tar_of(&[("d/.wh.a", b""), ("d/c", b"high")]);
    // The same layer twice, which the kernel would refuse to stack.
    let archive = layout_of(&[low.clone(), high.clone(), low], |_| {});
    let [record] = &place.import(&archive, None).unwrap()[..] else {
        panic!("several")
    };
    assert_eq!(
        place.images.find("made/here:1").unwrap().as_ref(),
        Some(record)
    );
    assert_eq!(record.layers.len(), 3);
    let lowers = lowers(&place.layout, &place.oci(record)).unwrap();
    assert_eq!(lowers.len(), 2);
    assert_eq!(fs::read(lowers[0].join("d/a")).unwrap(), b"low");
    assert_eq!(fs::read(lowers[1].join("d/c")).unwrap(), b"high");
    let config = &record.config;
    assert_eq!(
        (config.cmd.join(" "), config.entrypoint.join(" ")),
        ("sh".into(), "enter".into())
    );
    assert_eq!(
        (config.workdir.as_str(), config.user.as_str()),
        ("/srv", "1:2")
    );
}

#[test]
fn what_docker_saves_is_an_image() {
    let place = Place::new();
    let layer = tar_of(&[("f", b"x")]);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
    });
    let saved = serde_json::json!([{"Config": "c.json", "RepoTags": ["a:1", "b:2"], "Layers": ["l/layer.tar"]}]);
    let archive = |layer: &[u8]| {
        tar_of(&[
            ("l/layer.tar", layer),
            ("c.json", config.to_string().as_bytes()),
            ("manifest.json", saved.to_string().as_bytes()),
        ])
    };
    let records = place.import(&archive(&layer), None).unwrap();
    assert_eq!(place.images.find("b:2").unwrap().unwrap(), records[0]);
    let error = Place::new()
        .import(&archive(&tar_of(&[("f", b"other")])), Some("c"))
        .unwrap_err();
    assert!(error.to_string().contains("digest"), "{error}");
}

#[test]
fn an_archive_that_lies_is_refused_and_nothing_of_it_stays() {
    let good = tar_of(&[("f", b"x")]);
    let change = |name: &'static str, change: fn(&mut Vec<u8>)| {
        move |files: &mut Vec<(String, Vec<u8>)>| {
            for (path, bytes) in files {
                if path.starts_with(name) && (bytes.starts_with(b"{") || bytes.starts_with(&[0x1f]))
                {
                    change(bytes);
                    if name.starts_with("blobs") {
                        break;
                    }
                }
            }
        }
    };
    let evil = tar_of(&[("../evil", b"x")]);
    let bomb = tar_of(&[("zeros", &vec![0; 3 << 20])]);
    let cases = [
        (
            "digest",
            layout_of(
                from_ref(&good),
                change("blobs", |layer| {
                    *layer = gzip(&tar_of(&[("f", b"another")]));
                }),
            ),
        ),
        (
            "cut off",
            layout_of(from_ref(&good), |files| {
                files.iter_mut().for_each(|(_, bytes)| {
                    // The first blob is the layer, and what it says of itself is true.
                    if bytes.starts_with(&[0x1f]) {
                        bytes.truncate(bytes.len() / 2)
                    }
                })
            }),
        ),
        (
            "no blobs/",
            layout_of(from_ref(&good), |files| {
                files.retain(|(_, bytes)| !bytes.starts_with(&[0x1f]))
            }),
        ),
        (
            "no image",
            layout_of(
                from_ref(&good),
                change("index", |index| *index = br#"{"manifests":[]}"#.to_vec()),
            ),
        ),
        (
            "not a digest",
            layout_of(
                from_ref(&good),
                change("index", |index| {
                    *index = br#"{"manifests":[{"digest":"sha256:../../../etc/passwd","size":1}]}"#
                        .to_vec();
                }),
            ),
        ),
        ("leads out", layout_of(&[good, evil], |_| {})),
        ("unpacks to more", layout_of(&[bomb], |_| {})),
    ];
    for (why, archive) in cases {
        let place = Place::new();
        let limits = Limits {
            bytes_max: 1 << 20,
            entries_max: 100,
        };
        let wish = Wish {
            limits,
            ..Wish::default()
        };
        let error = place
            .images
            .import(archive.as_slice(), &wish)
            .expect_err(why);
        assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        assert!(
            error.to_string().contains(why),
            "{error} does not say {why}"
        );
        place.is_empty();
        assert!(!place.folder.path().join("evil").exists());
    }
}

#[test]
fn indexes_that_lead_in_circles_are_left() {
    let place = Place::new();
    let archive = layout_of(&[tar_of(&[("f", b"x")])], |files| {
        // An index that names itself cannot have the right digest, so there are many, each naming the one before.
        let mut inner: serde_json::Value =
            serde_json::from_slice(&files.last().unwrap().1).unwrap();
        for _ in 0..10 {
            let bytes = inner.to_string().into_bytes();
            let digest = Digest::of(&bytes);
            inner = serde_json::json!({"manifests": [{"digest": digest.to_string(), "size": bytes.len()}]});
            files.push((format!("blobs/sha256/{}", digest.hex()), bytes));
        }
        let index = files
            .iter_mut()
            .find(|(name, _)| name == "index.json")
            .unwrap();
        index.1 = inner.to_string().into_bytes();
    });
    let error = place.import(&archive, None).unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
    place.is_empty();
}

#[test]
fn an_image_goes_with_what_only_it_needs() {
    let place = Place::new();
    let (shared, own) = (tar_of(&[("s", b"shared")]), tar_of(&[("o", b"own")]));
    let one = place
        .import(&layout_of(from_ref(&shared), |_| {}), Some("one"))
        .unwrap()
        .remove(0);
    let archive = layout_of(&[shared, own], |_| {});
    let both = place.import(&archive, Some("both")).unwrap().remove(0);
    place.import(&archive, Some("second")).unwrap();
    let layers = || fs::read_dir(place.images.folder.layers()).unwrap().count();
    assert_eq!(layers(), 2);
    assert_eq!(
        place.images.remove("both", &both, false).unwrap(),
        Removed::Name("both:latest".into())
    );
    assert_eq!(layers(), 2);
    let removed = place.images.remove("second", &both, false).unwrap();
    assert!(matches!(removed, Removed::Image { names, .. } if names.len() == 1));
    assert_eq!(layers(), 1);
    assert_eq!(place.images.list().unwrap(), from_ref(&one));
    let used = BTreeSet::from([one.digest]);
    assert_eq!(place.images.prune(&used, true).unwrap(), Pruned::default());
    assert_eq!(
        place.images.prune(&BTreeSet::new(), false).unwrap(),
        Pruned::default()
    );
    assert_eq!(
        place
            .images
            .prune(&BTreeSet::new(), true)
            .unwrap()
            .images
            .len(),
        1
    );
    place.is_empty();
}

#[test]
fn an_image_that_the_machine_did_not_survive_is_gone_with_what_only_it_had() {
    let place = Place::new();
    let (shared, own) = (tar_of(&[("s", b"shared")]), tar_of(&[("o", b"own")]));
    let good = place
        .import(&layout_of(from_ref(&shared), |_| {}), Some("good"))
        .unwrap()
        .remove(0);
    place.images.settle().unwrap();
    let late = place
        .import(&layout_of(&[shared, own], |_| {}), Some("late"))
        .unwrap()
        .remove(0);
    assert!(late.unsynced_in.is_some());
    // As if it had been written before the machine went down.
    let lost = Record {
        unsynced_in: Some("another boot".into()),
        ..late.clone()
    };
    let path = place.images.record_path(&late.digest.parse().unwrap());
    fs::write(&path, serde_json::to_vec(&lost).unwrap()).unwrap();
    place.images.recover().unwrap();
    assert_eq!(place.images.find("late").unwrap(), None);
    let kept = place.images.find("good").unwrap().unwrap();
    assert_eq!(
        kept,
        Record {
            unsynced_in: None,
            ..good
        }
    );
    assert_eq!(
        fs::read_dir(place.images.folder.layers()).unwrap().count(),
        1
    );
    // In its own boot it stays, and is synced.
    let again = place
        .import(&tar_of(&[("n", b"new")]), Some("again"))
        .unwrap()
        .remove(0);
    place.images.recover().unwrap();
    assert_eq!(
        place.images.find("again").unwrap().unwrap(),
        Record {
            unsynced_in: None,
            ..again
        }
    );
}

#[test]
fn what_a_dead_daemon_was_making_is_gone_after_a_start() {
    let place = Place::new();
    place.import(&tar_of(&[("f", b"x")]), Some("kept")).unwrap();
    let folder = &place.images.folder;
    let stray = folder.layers().join(Digest::of(b"stray").hex());
    for path in [folder.staging().join("new-x/deep"), stray.clone()] {
        fs::create_dir_all(path).unwrap();
    }
    let hold = place.images.hold(&[Digest::of(b"stray")]);
    place.images.prune(&BTreeSet::new(), false).unwrap();
    assert!(stray.exists(), "what is being made was taken away");
    drop(hold);
    place.images.recover().unwrap();
    assert!(!folder.staging().exists() || fs::read_dir(folder.staging()).unwrap().count() == 0);
    assert_eq!(fs::read_dir(folder.layers()).unwrap().count(), 1);
    assert!(place.images.find("kept").unwrap().is_some());
}
