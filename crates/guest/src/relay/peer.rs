//! Whether a loopback connection comes from this sandbox, where its network is the host's.
//!
//! `/proc` shows only the processes of the sandbox's own pid namespace: a socket that none of them holds is a stranger's.

use std::fs;
use std::net::{IpAddr, SocketAddr};

pub(super) fn is_from_this_sandbox(client: SocketAddr, server: SocketAddr) -> bool {
    let Some((client, server)) = kernel_address(client).zip(kernel_address(server)) else {
        return false;
    };
    // Unreadable: nothing proves that it is ours.
    let Ok(table) = fs::read_to_string("/proc/self/net/tcp") else {
        return false;
    };
    inode(&table, &client, &server)
        .is_some_and(|inode| is_held_inside(&format!("socket:[{inode}]")))
}

/// As the kernel's table has it: the address as a native-endian number, both in hexadecimal.
fn kernel_address(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    Some(format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(ip.octets()),
        address.port()
    ))
}

/// The inode of the client's socket: its local address is the client's, its remote one ours.
fn inode<'a>(table: &'a str, client: &str, server: &str) -> Option<&'a str> {
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_it = fields.next() == Some(client) && fields.next() == Some(server);
        fields.nth(6).filter(|inode| is_it && *inode != "0")
    })
}

fn is_held_inside(socket: &str) -> bool {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_other_process = |name: &std::ffi::OsStr| {
        name.to_str()
            .is_some_and(|name| name != own && name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    processes
        .filter(|process| is_other_process(&process.file_name()))
        .any(|process| {
            let fds = fs::read_dir(process.path().join("fd"))
                .into_iter()
                .flatten()
                .flatten();
            fds.filter_map(|fd| fs::read_link(fd.path()).ok())
                .any(|target| target.as_os_str() == socket)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_end_is_found_and_not_ours() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:126D 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 11 1 0\n\
             1: 0100007F:C001 0100007F:126D 01 00000000:00000000 00:00000000 00000000     0        0 22 1 0\n";
        let client = kernel_address("127.0.0.1:49153".parse().unwrap()).unwrap();
        let server = kernel_address("127.0.0.1:4717".parse().unwrap()).unwrap();
        assert_eq!(inode(table, &client, &server), Some("22"));
        assert_eq!(inode(table, &client, &client), None);
    }
}
