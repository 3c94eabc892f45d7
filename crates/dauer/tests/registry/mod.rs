//! A real registry on loopback with images made here, and a proxy before it that breaks transfers.

use crate::http::Answer;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// `user:secret`, as `htpasswd -B` writes it.
const LOGIN: &str = "user:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// Of `user:secret` for the registry's own door.
const AUTHORIZATION: &str = "authorization: Basic dXNlcjpzZWNyZXQ=\r\n";

/// A registry, which ends when this is dropped.
pub(crate) struct Registry {
    child: Child,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Registry {
    /// Starts one in this folder; `None`, and a line that says so, where this machine has none.
    pub(crate) fn start(folder: &Path, with_login: bool) -> Option<Self> {
        let there = |program: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        };
        for program in ["docker-registry", "busybox"] {
            if !there(program) {
                println!("skipped: {program} is missing (scripts/deps images)");
                return None;
            }
        }
        fs::create_dir_all(folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {0}/blobs}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            folder.display()
        );
        if with_login {
            fs::write(folder.join("htpasswd"), LOGIN).unwrap();
            config += &format!(
                "auth: {{htpasswd: {{realm: r, path: {}/htpasswd}}}}\n",
                folder.display()
            );
        }
        fs::write(folder.join("config.yml"), config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert_ne!(
                said.read_line(&mut line).unwrap(),
                0,
                "the registry did not come up"
            );
        }
        // What it says later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Some(Self {
            child,
            folder: folder.to_owned(),
            port,
        })
    }

    fn ask(&self, method: &str, target: &str, kind: &str, body: &[u8]) -> Answer<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let headers = format!("content-type: {kind}\r\n{AUTHORIZATION}");
        Answer::ask(stream, method, target, &headers, body)
    }

    /// Puts a blob there; what refers to it.
    fn put(&self, repository: &str, kind: &str, bytes: &[u8]) -> serde_json::Value {
        let begun = self.ask(
            "POST",
            &format!("/v2/{repository}/blobs/uploads/"),
            kind,
            b"",
        );
        assert_eq!(begun.status, 202);
        let place = begun.place.unwrap();
        let place = &place[place.find("/v2/").unwrap()..];
        let digest = digest(bytes);
        let put = self.ask(
            "PUT",
            &format!("{place}&digest={digest}"),
            "application/octet-stream",
            bytes,
        );
        assert_eq!(put.status, 201, "{}", put.head);
        serde_json::json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    /// Puts an image of these layers there under a tag, with this configuration; its digest.
    pub(crate) fn push(
        &self,
        repository: &str,
        layers: &[Vec<u8>],
        config: &serde_json::Value,
    ) -> String {
        const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
        let described: Vec<_> = layers
            .iter()
            .map(|layer| self.put(repository, GZIP, &through("gzip -1", layer)))
            .collect();
        let plain: Vec<_> = layers.iter().map(|layer| digest(layer)).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": plain},
        });
        let config = self.put(
            repository,
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        );
        const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": described,
        });
        let bytes = manifest.to_string().into_bytes();
        let put = self.ask(
            "PUT",
            &format!("/v2/{repository}/manifests/1"),
            MANIFEST,
            &bytes,
        );
        assert_eq!(put.status, 201, "{}", put.head);
        // Behind an index, as most images are, beside one that is for other machines.
        const INDEX: &str = "application/vnd.oci.image.index.v1+json";
        let entry = |architecture: &str| {
            serde_json::json!({
                "mediaType": MANIFEST, "digest": digest(&bytes), "size": bytes.len(),
                "platform": {"os": "linux", "architecture": architecture},
            })
        };
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry("s390x"), entry("amd64"), entry("arm64")],
        });
        let put = self.ask(
            "PUT",
            &format!("/v2/{repository}/manifests/multi"),
            INDEX,
            index.to_string().as_bytes(),
        );
        assert_eq!(put.status, 201, "{}", put.head);
        digest(&bytes)
    }

    /// Where it keeps a blob.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.folder.join(format!(
            "blobs/docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        ))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// What comes out of a shell's pipe into which this goes.
fn through(command: &str, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// `sha256:…`
pub(crate) fn digest(bytes: &[u8]) -> String {
    let said = String::from_utf8(through("sha256sum", bytes)).unwrap();
    format!("sha256:{}", said.split(' ').next().unwrap())
}

/// The digest of what `gzip -1` makes of it.
pub(crate) fn packed_digest(layer: &[u8]) -> String {
    digest(&through("gzip -1", layer))
}

/// One entry of a layer.
pub(crate) enum Put<'a> {
    File(&'a [u8]),
    Link(&'a str),
    Folder,
}

/// A layer of these.
pub(crate) fn layer(entries: &[(&str, Put<'_>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, put) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_mtime(1);
        header.set_size(0);
        match put {
            Put::File(bytes) => {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, name, *bytes).unwrap();
            }
            Put::Link(to) => {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, name, to).unwrap();
            }
            Put::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                builder.append_data(&mut header, name, &b""[..]).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

/// A root with a shell in it.
pub(crate) fn shell_layer() -> Vec<u8> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let busybox = std::env::split_paths(&path)
        .map(|folder| folder.join("busybox"))
        .find(|path| path.is_file());
    let busybox = fs::read(busybox.unwrap()).unwrap();
    layer(&[
        ("bin", Put::Folder),
        ("bin/busybox", Put::File(&busybox)),
        ("bin/sh", Put::Link("busybox")),
        ("etc", Put::Folder),
        ("etc/gone", Put::File(b"x")),
        (
            "etc/passwd",
            Put::File(b"root:x:0:0::/root:/bin/sh\nweb:x:0:0::/srv:/bin/sh\n"),
        ),
    ])
}

/// Bytes that do not pack.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Before a registry: lets so many bytes of answers pass, then says nothing more.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    room: Arc<AtomicU64>,
    ranges: Arc<Mutex<Vec<String>>>,
    held: std::sync::mpsc::Receiver<()>,
}

impl Proxy {
    pub(crate) fn before(registry: u16, room: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let room = Arc::new(AtomicU64::new(room));
        let ranges: Arc<Mutex<Vec<String>>> = Arc::default();
        let (tell, held) = std::sync::mpsc::channel();
        let (left, seen) = (Arc::clone(&room), Arc::clone(&ranges));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(("127.0.0.1", registry)).unwrap();
                let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    let mut lines = BufReader::new(&mut from);
                    let mut line = String::new();
                    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
                        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
                            seen.lock().unwrap().push(range.trim().to_owned());
                        }
                        if to.write_all(line.as_bytes()).is_err() {
                            break;
                        }
                        line.clear();
                    }
                    // Either end may be closed already.
                    let _ = to.shutdown(Shutdown::Write);
                });
                let (left, tell) = (Arc::clone(&left), tell.clone());
                std::thread::spawn(move || pass(server, client, &left, &tell));
            }
        });
        Self {
            port,
            room,
            ranges,
            held,
        }
    }

    /// Returns once nothing more passes.
    pub(crate) fn wait_until_held(&self) {
        self.held.recv().unwrap();
    }

    /// From now on everything passes; what was asked for until now is forgotten.
    pub(crate) fn open(&self) {
        self.room.store(u64::MAX, Ordering::SeqCst);
        self.ranges.lock().unwrap().clear();
    }

    /// What parts of blobs were asked for.
    pub(crate) fn ranges(&self) -> Vec<String> {
        self.ranges.lock().unwrap().clone()
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    room: &AtomicU64,
    held: &std::sync::mpsc::Sender<()>,
) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let before = room.load(Ordering::SeqCst);
        if before < length as u64 {
            // Whoever waits for this may have ended.
            let _ = held.send(());
            // Open, and silent for ever.
            std::mem::forget(to);
            return;
        }
        room.fetch_sub(
            if before == u64::MAX { 0 } else { length as u64 },
            Ordering::SeqCst,
        );
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
