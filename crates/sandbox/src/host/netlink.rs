//! The few requests to the kernel's netlink that a network needs: links, addresses, routes, and whether an nft table exists.
//!
//! Blocking, one socket for the network namespace of the thread that opens it.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const HEAD_BYTES: usize = 16;

/// Attributes of links.
mod link {
    pub(super) const NAME: u16 = libc::IFLA_IFNAME;
    pub(super) const INFO: u16 = libc::IFLA_LINKINFO;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    pub(super) const VETH_PEER: u16 = 1;
    pub(super) const NAMESPACE_FD: u16 = libc::IFLA_NET_NS_FD;
}

/// A request under construction.
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: i32) -> Self {
        let mut request = Self {
            bytes: vec![0; HEAD_BYTES],
        };
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        request.bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        request.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        request
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).expect("attributes are short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// An attribute made of attributes.
    fn nested(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let mut filled = fill(self);
        let length = u16::try_from(filled.bytes.len() - start).expect("attributes are short");
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled.bytes[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        filled
    }
}

/// `struct ifinfomsg`.
fn link_head(index: u32, flags: u32) -> [u8; 16] {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..16].copy_from_slice(&flags.to_ne_bytes());
    head
}

fn name_bytes(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

/// A netlink socket.
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Of links, addresses and routes.
    pub(super) fn route() -> Result<Self, Errno> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    fn open(protocol: SockProtocol) -> Result<Self, Errno> {
        Ok(Self {
            socket: socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                protocol,
            )?,
        })
    }

    /// Sends and waits for the acknowledgement.
    fn ask(&self, mut request: Request) -> Result<(), Errno> {
        let length = u32::try_from(request.bytes.len()).expect("requests are short");
        request.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        send(self.socket.as_raw_fd(), &request.bytes, MsgFlags::empty())?;
        let mut buffer = [0; 8192];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..length];
            while rest.len() >= HEAD_BYTES + 4 {
                let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let kind = u16::from_ne_bytes([rest[4], rest[5]]);
                if i32::from(kind) == libc::NLMSG_ERROR {
                    return match i32::from_ne_bytes([rest[16], rest[17], rest[18], rest[19]]) {
                        0 => Ok(()),
                        errno => Err(Errno::from_raw(-errno)),
                    };
                }
                // What was asked for; the acknowledgement comes after it.
                rest = rest
                    .get(size.next_multiple_of(4).max(HEAD_BYTES)..)
                    .unwrap_or_default();
            }
        }
    }

    /// A pair of links: `name` here and `peer` in another namespace.
    pub(super) fn add_pair(
        &self,
        name: &str,
        peer: &str,
        namespace: BorrowedFd<'_>,
    ) -> Result<(), Errno> {
        let fd = namespace.as_raw_fd().to_ne_bytes();
        let request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
            .put(&link_head(0, 0))
            .attribute(link::NAME, &name_bytes(name))
            .nested(link::INFO, |info| {
                info.attribute(link::INFO_KIND, b"veth")
                    .nested(link::INFO_DATA, |data| {
                        data.nested(link::VETH_PEER, |other| {
                            other
                                .put(&link_head(0, 0))
                                .attribute(link::NAME, &name_bytes(peer))
                                .attribute(link::NAMESPACE_FD, &fd)
                        })
                    })
            });
        self.ask(request)
    }

    /// Switches a link on.
    pub(super) fn bring_up(&self, index: u32) -> Result<(), Errno> {
        self.ask(
            Request::new(libc::RTM_NEWLINK, 0).put(&link_head(index, libc::IFF_UP.cast_unsigned())),
        )
    }

    /// Removes a link, and its other end.
    pub(super) fn remove(&self, index: u32) -> Result<(), Errno> {
        self.ask(Request::new(libc::RTM_DELLINK, 0).put(&link_head(index, 0)))
    }

    /// Gives a link an address.
    pub(super) fn add_address(
        &self,
        index: u32,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), Errno> {
        let mut head = [0; 8];
        head[0] = libc::AF_INET as u8;
        head[1] = prefix;
        head[4..8].copy_from_slice(&index.to_ne_bytes());
        let request = Request::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
            .put(&head)
            .attribute(libc::IFA_LOCAL, &address.octets())
            .attribute(libc::IFA_ADDRESS, &address.octets());
        self.ask(request)
    }

    /// Everything that is not near goes to `gateway`.
    pub(super) fn add_default_route(&self, gateway: Ipv4Addr) -> Result<(), Errno> {
        let mut head = [0; 12];
        head[0] = libc::AF_INET as u8;
        head[4] = libc::RT_TABLE_MAIN;
        head[5] = libc::RTPROT_BOOT;
        head[6] = libc::RT_SCOPE_UNIVERSE;
        head[7] = libc::RTN_UNICAST;
        let request = Request::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
            .put(&head)
            .attribute(libc::RTA_GATEWAY, &gateway.octets());
        self.ask(request)
    }
}

/// Whether there is an nft table of this name, without starting `nft`. A kernel without nft has none.
pub(super) fn table_exists(name: &str) -> Result<bool, Errno> {
    const GET_TABLE: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8 | libc::NFT_MSG_GETTABLE as u16;
    let netlink = match Netlink::open(SockProtocol::NetlinkNetFilter) {
        Err(Errno::EPROTONOSUPPORT) => return Ok(false),
        opened => opened?,
    };
    let head = [libc::AF_INET as u8, 0, 0, 0];
    let request = Request::new(GET_TABLE, 0)
        .put(&head)
        .attribute(1, &name_bytes(name));
    match netlink.ask(request) {
        Ok(()) => Ok(true),
        Err(Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => Err(errno),
    }
}
