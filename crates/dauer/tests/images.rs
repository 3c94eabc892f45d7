//! Images: pulled from a real registry, imported, used, and removed.

mod http;
mod node;
mod registry;

use node::{Ended, Node};
use registry::{Proxy, Put, Registry, layer, noise, packed_digest, shell_layer};
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// What is in a folder of the node's images.
fn count(node: &Node, folder: &str) -> usize {
    fs::read_dir(node.data().join("images").join(folder)).map_or(0, Iterator::count)
}

/// Of the files in this folder.
fn bytes(node: &Node, folder: &str) -> u64 {
    let entries = fs::read_dir(node.data().join("images").join(folder));
    entries.map_or(0, |entries| {
        entries
            .flatten()
            .filter_map(|entry| entry.metadata().ok())
            .map(|meta| meta.len())
            .sum()
    })
}

fn with_input(node: &Node, line: &str, input: &[u8]) -> Ended {
    let mut child = node
        .command(line.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // What refuses need not read it all.
    let feeding = std::thread::spawn(move || stdin.write_all(&input).ok());
    let ended = Ended::of(child.wait_with_output().unwrap());
    feeding.join().unwrap();
    ended
}

#[test]
fn an_image_of_a_registry_runs_with_its_own_command_and_stays_while_a_job_has_it() {
    let node = Node::new();
    let Some(registry) = Registry::start(&node.path("registry"), false) else {
        return;
    };
    let upper = layer(&[
        ("etc/.wh.gone", Put::File(b"")),
        ("etc/new", Put::File(b"from the upper layer\n")),
    ]);
    let script = "cd /bin; for a in cat ls pwd; do ln -s busybox $a; done; cat /etc/new; ls /etc; cd -; echo $A $HOME";
    let config = json!({"Env": ["A=image"], "Entrypoint": ["sh", "-c"], "Cmd": [script], "WorkingDir": "/made/here", "User": "web"});
    let digest = registry.push("team/tool", &[shell_layer(), upper], &config);
    let name = format!("127.0.0.1:{}/team/tool:multi", registry.port);
    node.dauer(&format!(
        "run --driver native --pull never --image {name} --"
    ))
    .is(125)
    .says("dauer image pull");
    let ran = node
        .dauer(&format!("run --driver native --name first --image {name}"))
        .is(0);
    assert_eq!(
        ran.stdout,
        "from the upper layer\nnew\npasswd\n/made/here\nimage /srv\n"
    );
    let words = [
        "run",
        "--rm",
        "--driver",
        "native",
        "--image",
        &name,
        "--entrypoint",
        "/bin/busybox",
        "-e",
        "A=job",
        "-w",
        "/etc",
        "--",
        "sh",
        "-c",
        "echo $A; pwd",
    ];
    assert_eq!(node.run(words).is(0).stdout, "job\n/etc\n");
    let job = node.inspect("first");
    assert_eq!(
        (&job["image"], &job["image_digest"]),
        (&json!(name), &json!(digest))
    );
    let list: serde_json::Value =
        serde_json::from_str(&node.dauer("image ls --json").is(0).stdout).unwrap();
    assert_eq!(list["images"][0]["names"], json!([name]));
    assert_eq!(list["images"][0]["layers"].as_array().unwrap().len(), 2);
    node.dauer(&format!("image rm {name}"))
        .is(1)
        .says("used by job first");
    assert_eq!(node.dauer("image prune --all").is(0).stdout, "freed 0 B\n");
    // The changes of a job are those above all layers.
    let diff = node.dauer("diff first").is(0).stdout;
    assert!(
        diff.contains("/bin/pwd") && !diff.contains("/etc/new"),
        "{diff}"
    );
    node.dauer("rm first").is(0);
    let removed = node
        .dauer(&format!("image rm {}", &digest["sha256:".len()..][..12]))
        .is(0)
        .stdout;
    assert!(removed.contains(&format!("removed {digest}")), "{removed}");
    assert_eq!(
        [
            count(&node, "layers"),
            count(&node, "records"),
            count(&node, "names"),
            count(&node, "blobs")
        ],
        [0; 4]
    );
    node.dauer(&format!("image inspect {name}"))
        .is(1)
        .says("no image");
}

#[test]
fn a_pull_that_was_killed_goes_on_where_it_was() {
    let node = Node::new();
    let Some(registry) = Registry::start(&node.path("registry"), false) else {
        return;
    };
    let big = noise(3 << 20);
    registry.push("big", &[layer(&[("noise", Put::File(&big))])], &json!({}));
    let proxy = Proxy::before(registry.port, 1 << 20);
    let name = format!("127.0.0.1:{}/big:1", proxy.port);
    let mut pull = node
        .command(["image", "pull", &name])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    proxy.wait_until_held();
    // What passed the proxy may still be on its way to the disk.
    let begun = Instant::now();
    while bytes(&node, "partial") < 900_000 {
        assert!(
            begun.elapsed().as_secs() < 20,
            "what passed does not arrive"
        );
        std::thread::yield_now();
    }
    node.kill_daemon();
    assert_eq!(pull.wait().unwrap().code(), Some(1));
    assert_eq!(
        [
            count(&node, "layers"),
            count(&node, "records"),
            count(&node, "partial")
        ],
        [0, 0, 1]
    );
    proxy.open();
    node.dauer(&format!("image pull {name}")).is(0);
    let ranges = proxy.ranges();
    // One of the configuration, from its start, and one of the layer, from where it was.
    let from: Vec<u64> = ranges
        .iter()
        .map(|range| range.trim_end_matches('-').parse().unwrap())
        .collect();
    assert!(from.iter().any(|from| *from > 500_000), "{ranges:?}");
    assert_eq!(
        [
            count(&node, "layers"),
            count(&node, "partial"),
            count(&node, "staging")
        ],
        [1, 0, 0]
    );
    let [unpacked] = &fs::read_dir(node.data().join("images/layers"))
        .unwrap()
        .collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    assert!(fs::read(unpacked.as_ref().unwrap().path().join("noise")).unwrap() == big);
}

#[test]
fn what_a_registry_gives_that_is_not_what_it_says_is_refused_and_nothing_stays() {
    let node = Node::new();
    let Some(registry) = Registry::start(&node.path("registry"), false) else {
        return;
    };
    let good = layer(&[("f", Put::File(&noise(100_000)))]);
    registry.push("bad", std::slice::from_ref(&good), &json!({}));
    let blob = registry.blob(&packed_digest(&good));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&blob, &bytes).unwrap();
    let name = format!("127.0.0.1:{}/bad:1", registry.port);
    node.dauer(&format!("image pull {name}"))
        .is(1)
        .says("digest");
    for folder in ["layers", "records", "names", "partial", "staging"] {
        assert_eq!(count(&node, folder), 0, "{folder}");
    }
    let none = format!("127.0.0.1:{}/none:1", registry.port);
    node.dauer(&format!("image pull {none}"))
        .is(1)
        .says("no image");
    node.dauer(&format!(
        "image pull --platform linux/riscv64 127.0.0.1:{}/bad:multi",
        registry.port
    ))
    .is(1)
    .says("linux/amd64");
}

#[test]
fn a_login_of_docker_opens_a_registry() {
    let node = Node::new();
    let Some(registry) = Registry::start(&node.path("registry"), true) else {
        return;
    };
    registry.push("closed", &[layer(&[("f", Put::File(b"x"))])], &json!({}));
    let host = format!("127.0.0.1:{}", registry.port);
    let pull = |config: &Path| {
        let mut command = node.command(["image", "pull", &format!("{host}/closed:1")]);
        for name in ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"] {
            command.env_remove(name);
        }
        command
            .env("HOME", node.path("nobody"))
            .env("DOCKER_CONFIG", config);
        Ended::of(command.output().unwrap())
    };
    pull(&node.path("nothing")).is(1).says("docker login");
    let config = node.path("config");
    fs::create_dir(&config).unwrap();
    let auths = json!({"auths": {&host: {"auth": "dXNlcjpzZWNyZXQ="}}});
    fs::write(config.join("config.json"), auths.to_string()).unwrap();
    pull(&config).is(0);
}

#[test]
fn folders_and_pipes_become_images_and_what_would_do_harm_does_not() {
    let node = Node::new();
    let root = node.path("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/mark"), "of a folder").unwrap();
    let digest = node.dauer("image import root mine:1").is(0).stdout;
    let listed = node.dauer("image ls").is(0).stdout;
    assert!(
        listed.contains("mine:1") && listed.contains(&digest["sha256:".len()..][..12]),
        "{listed}"
    );
    let piped = with_input(
        &node,
        "image import - piped",
        &layer(&[("etc/mark", Put::File(b"of a pipe"))]),
    )
    .is(0);
    assert_ne!(piped.stdout, digest);
    let before = count(&node, "layers");
    let evil = layer(&[("a", Put::Link("/tmp")), ("a/evil", Put::File(b"x"))]);
    with_input(&node, "image import - evil", &evil)
        .is(1)
        .says("symbolic link");
    let whole = layer(&[("f", Put::File(&noise(200_000)))]);
    with_input(&node, "image import - cut", &whole[..100_000])
        .is(1)
        .says("cut off");
    with_input(&node, "image import - none", b"no tar at all")
        .is(1)
        .says("cut off");
    assert_eq!(
        [count(&node, "layers"), count(&node, "staging")],
        [before, 0]
    );
    // A second name keeps an image when the first is taken away.
    node.dauer("image import root second").is(0);
    assert_eq!(
        node.dauer("image rm mine:1").is(0).stdout,
        "untagged mine:1\n"
    );
    assert!(
        node.dauer("image rm second")
            .is(0)
            .stdout
            .contains("removed")
    );
    node.dauer("image rm second").is(1).says("no image");
}

#[test]
fn an_image_becomes_one_file_where_there_is_a_tool_for_it() {
    let node = Node::new();
    let root = node.path("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/mark"), noise(300_000)).unwrap();
    node.dauer("image import root mine:1").is(0);
    for (kind, magic_at, magic) in [("ext4", 1080, [0x53, 0xef]), ("erofs", 1024, [0xe2, 0xe1])] {
        let made = node.dauer(&format!("image disk --kind {kind} mine:1"));
        if made.code != Some(0) {
            assert!(
                made.stderr.contains("install") || made.stderr.contains("root"),
                "{}",
                made.stderr
            );
            println!("skipped: {}", made.stderr.trim());
            continue;
        }
        let disk = fs::read(made.stdout.trim()).unwrap();
        assert_eq!(disk[magic_at..magic_at + 2], magic, "{kind}");
        let again = node
            .dauer(&format!("image disk --kind {kind} mine:1"))
            .is(0);
        assert_eq!(again.stdout, made.stdout);
    }
    node.dauer("image rm mine:1").is(0);
    assert_eq!([count(&node, "disks"), count(&node, "staging")], [0, 0]);
}
