//! Outbound network by address translation, and ports of the host forwarded to a sandbox (root only).
//!
//! ```text
//! sandbox's namespace                       host
//! eth0 10.213.a.b+2/30 ──── veth ──── dn<hash> 10.213.a.b+1/30 ── nft table dauer-<id>-<generation>: masquerade, dnat
//! ```
//!
//! The link vanishes with the sandbox's namespace, the table is named like the instance: both are found by name alone.
//! The address comes from the sandbox's id, so that a thawed sandbox finds the one its sockets are bound to.

use super::netlink::{self, Netlink};
use crate::Error;
use crate::driver::{Incarnation, tool};
use crate::host::run::{Tool, View};
use dauer_core::Publish;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use xxhash_rust::xxh3::xxh3_64;

/// The first address of all; 16,384 networks of four follow.
const POOL: u32 = u32::from_be_bytes([10, 213, 0, 0]);
const NETWORKS: u32 = 1 << 14;
const PREFIX: u8 = 30;

/// Of the sandbox's side.
const INNER_LINK: &str = "eth0";

/// Held while a network is chosen, by all daemons of the machine.
const LOCK: &str = "/run/dauer-nat.lock";

/// Where resolvers that listen only on the host's loopback say what is behind them.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Forwarded ports stay bound in this process, so that no other program of the host is given one and none is promised twice.
static RESERVED: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// The addresses of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The sandbox's own.
    pub sandbox: Ipv4Addr,
    /// The host's end.
    pub gateway: Ipv4Addr,
}

impl Addresses {
    fn of(network: u32) -> Self {
        let first = POOL + (network % NETWORKS) * 4;
        Self {
            gateway: Ipv4Addr::from(first + 1),
            sandbox: Ipv4Addr::from(first + 2),
        }
    }
}

/// The name of the host's end: links have at most 15 characters.
#[must_use]
pub fn link_name(instance: &str) -> String {
    format!("dn{:013x}", xxh3_64(instance.as_bytes()) >> 12)
}

/// What the sandbox has now. Errors: `Gone` where it has no network.
pub fn address(incarnation: &Incarnation) -> Result<Addresses, Error> {
    let name = link_name(&incarnation.instance);
    let addresses = nix::ifaddrs::getifaddrs().map_err(Error::os("list addresses"))?;
    let found = addresses
        .filter(|entry| entry.interface_name == name)
        .find_map(|entry| ipv4(&entry));
    let gateway = found.ok_or(Error::Gone)?;
    Ok(Addresses {
        gateway,
        sandbox: Ipv4Addr::from(u32::from(gateway) + 1),
    })
}

fn ipv4(entry: &nix::ifaddrs::InterfaceAddress) -> Option<Ipv4Addr> {
    Some(entry.address.as_ref()?.as_sockaddr_in()?.ip())
}

/// The first network, from the one that belongs to the sandbox's id, that no link of this machine has.
fn choose(incarnation: &Incarnation) -> Result<Addresses, Error> {
    let taken: Vec<_> = nix::ifaddrs::getifaddrs()
        .map_err(Error::os("list addresses"))?
        .filter_map(|entry| ipv4(&entry))
        .map(|address| u32::from(address) & !3)
        .collect();
    let own = (xxh3_64(incarnation.spec.id.as_str().as_bytes()) % u64::from(NETWORKS)) as u32;
    (0..NETWORKS)
        .map(|offset| Addresses::of(own + offset))
        .find(|candidate| !taken.contains(&(u32::from(candidate.gateway) & !3)))
        .ok_or_else(|| {
            Error::Unsupported("all 16384 networks for --network nat are in use".to_owned())
        })
}

/// Prepares what the sandbox sees in `/etc/resolv.conf`.
pub fn write_resolvers(incarnation: &Incarnation) -> Result<(), Error> {
    let reachable = |path: &str| {
        fs::read_to_string(path).is_ok_and(|text| {
            let mut servers = text
                .lines()
                .filter_map(|line| line.strip_prefix("nameserver "));
            servers.any(|server| !server.trim().starts_with("127.") && server.trim() != "::1")
        })
    };
    let found = RESOLVERS
        .iter()
        .find(|path| reachable(path))
        .unwrap_or(&RESOLVERS[0]);
    // A machine without names gives its sandboxes none.
    let text = fs::read(found).unwrap_or_default();
    let path = incarnation.scratch.join("resolv.conf");
    fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))
}

/// Connects a network namespace to the outside.
pub fn connect(incarnation: &Incarnation, namespace: &OwnedFd) -> Result<(), Error> {
    let spec = &incarnation.spec;
    let nft = tool::find("nft").ok_or_else(|| {
        Error::Unsupported(
            "--network nat needs nft, which is not installed: sudo apt-get install nftables"
                .to_owned(),
        )
    })?;
    for publish in &spec.publish {
        reserve(publish)?;
    }
    let forwarding = "/proc/sys/net/ipv4/ip_forward";
    fs::write(forwarding, "1").map_err(Error::io(format!("write {forwarding}")))?;
    let link = link_name(&incarnation.instance);
    let addresses = {
        let file = File::create(LOCK).map_err(Error::io(format!("open {LOCK}")))?;
        let _lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::os(format!("lock {LOCK}"))(errno))?;
        let addresses = choose(incarnation)?;
        outer_link(&link, namespace, addresses)
            .map_err(Error::os(format!("make the link {link}")))?;
        addresses
    };
    inner_link(namespace, addresses)?;
    if !spec.publish.is_empty() {
        // Or what the host itself sends to its own forwarded ports at 127.0.0.1 would be dropped.
        let path = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
        fs::write(&path, "1").map_err(Error::io(format!("write {path}")))?;
    }
    let rules = incarnation.scratch.join("nat.nft");
    fs::write(&rules, table(incarnation, &link, addresses))
        .map_err(Error::io(format!("write {}", rules.display())))?;
    run(
        &nft,
        &[OsStr::new("-f"), rules.as_os_str()],
        &incarnation.scratch.join("nat.log"),
    )
}

fn reserve(publish: &Publish) -> Result<(), Error> {
    let port = publish.host_port;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(|e| {
        Error::Invalid(format!(
            "port {port} of this machine cannot be forwarded: {e}; use another one with --publish"
        ))
    })?;
    RESERVED.lock().expect("no holder panics").push(listener);
    Ok(())
}

fn outer_link(link: &str, namespace: &OwnedFd, addresses: Addresses) -> Result<(), Errno> {
    let netlink = Netlink::route()?;
    netlink.add_pair(link, INNER_LINK, namespace.as_fd())?;
    let index = nix::net::if_::if_nametoindex(link)?;
    netlink.add_address(index, addresses.gateway, PREFIX)?;
    netlink.bring_up(index)
}

/// In a thread of its own, because entering a namespace is for good.
fn inner_link(namespace: &OwnedFd, addresses: Addresses) -> Result<(), Error> {
    let namespace = namespace
        .try_clone()
        .map_err(Error::io("copy a descriptor"))?;
    let set_up = move || -> Result<(), Errno> {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        let netlink = Netlink::route()?;
        let index = nix::net::if_::if_nametoindex(INNER_LINK)?;
        netlink.add_address(index, addresses.sandbox, PREFIX)?;
        netlink.bring_up(index)?;
        netlink.add_default_route(addresses.gateway)
    };
    let done = std::thread::spawn(set_up)
        .join()
        .expect("the thread returns its errors");
    done.map_err(Error::os(format!("set up {INNER_LINK} of the sandbox")))
}

/// One table for each instance: made and removed in one step, and never another's.
fn table(incarnation: &Incarnation, link: &str, addresses: Addresses) -> String {
    let sandbox = addresses.sandbox;
    let mut forwards = String::new();
    for Publish {
        host_port,
        guest_port,
    } in &incarnation.spec.publish
    {
        let _ = writeln!(
            forwards,
            "    fib daddr type local tcp dport {host_port} dnat to {sandbox}:{guest_port}"
        );
    }
    format!(
        "table ip {name} {{
  chain outbound {{
    type nat hook postrouting priority srcnat;
    ip saddr {sandbox} oifname != \"{link}\" masquerade
    ip saddr 127.0.0.0/8 oifname \"{link}\" masquerade
  }}
  chain inbound {{
    type nat hook prerouting priority dstnat;
{forwards}  }}
  chain local {{
    type nat hook output priority -100;
{forwards}  }}
}}
",
        name = incarnation.instance,
    )
}

/// Removes what [`connect`] made for this instance, by its name. Safe to repeat.
pub fn disconnect(instance: &str) -> Result<(), Error> {
    let link = link_name(instance);
    if Path::new("/sys/class/net").join(&link).exists() {
        let removed = nix::net::if_::if_nametoindex(link.as_str())
            .and_then(|index| Netlink::route()?.remove(index));
        match removed {
            // Gone with its namespace in between.
            Ok(()) | Err(Errno::ENODEV | Errno::ENXIO) => {}
            Err(errno) => return Err(Error::os(format!("remove the link {link}"))(errno)),
        }
    }
    if !crate::host::userns::is_root()
        || !netlink::table_exists(instance).map_err(Error::os("look for an nft table"))?
    {
        return Ok(());
    }
    let nft = tool::find("nft").ok_or_else(|| {
        Error::Unsupported(format!(
            "the nft table {instance} is left: nft is not installed any more"
        ))
    })?;
    let log = tempfile::NamedTempFile::new().map_err(Error::io("make a temporary file"))?;
    let words = ["delete", "table", "ip", instance].map(OsStr::new);
    match run(&nft, &words, log.path()) {
        // Another process that cleans up was faster.
        Err(_) if netlink::table_exists(instance).is_ok_and(|exists| !exists) => Ok(()),
        done => done,
    }
}

fn run(nft: &Path, words: &[&OsStr], log: &Path) -> Result<(), Error> {
    let tool = Tool {
        name: "nft".to_owned(),
        program: nft,
        argv: [nft.as_os_str()].iter().chain(words).copied().collect(),
        env: tool::environment(),
        log,
        stdio: None,
        cgroup: None,
        join: Vec::new(),
        view: View::Unchanged,
    };
    tool.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_neighbours_do_not_overlap_and_names_fit() {
        let (one, next) = (Addresses::of(7), Addresses::of(8));
        assert_eq!(one.gateway.to_string(), "10.213.0.29");
        assert_eq!(one.sandbox.to_string(), "10.213.0.30");
        assert_eq!(
            u32::from(next.gateway) & !3,
            (u32::from(one.gateway) & !3) + 4
        );
        assert_eq!(Addresses::of(NETWORKS + 7), one);
        assert_eq!(link_name("dauer-0123456789abcdef-000001").len(), 15);
    }
}
