//! Many datagrams per system call: recvmmsg takes what is there, sendmmsg sends the replies.
//!
//! The safe wrappers of nix are used, which shape what is here: they want their lists of slices made anew each turn
//! (on the stack), and one control message for all replies of a call. So replies are sent in runs that leave from the
//! same address; on a machine with one address, or a socket bound to one, that is one run.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6, SockaddrLike,
        SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt,
    },
};

use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};

use super::{Datagrams, MAX_QUERY, RECEIVE_BUFFER, Worker};
use crate::server::edns::UDP_SIZE;

/// Datagrams taken at once. 16, 32 and 64 were measured equal (within 1 %): a system call's own cost is a small part of the
/// kernel's work per datagram.
const BATCH: usize = 32;

/// Octets from one receive buffer to the next: not a multiple of 4096, so that the beginnings of all of them do not
/// compete for the same few lines of the processor's cache.
const STRIDE: usize = MAX_QUERY + 64;

/// Takes a receive buffer beyond what the system allows everybody, where we may, and asks the kernel to tell which
/// address a datagram was sent to, where the socket is bound to all of them: a reply from another address is dropped by
/// resolvers.
pub(super) fn prepare(socket: &socket2::Socket, address: SocketAddr) -> io::Result<()> {
    // Needs CAP_NET_ADMIN, which many servers rightly lack.
    let _ = setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
    // Replies are below the least MTU of IPv6 and common on IPv4, so what routers claim of smaller paths is left aside:
    // anybody can claim it, and fragments of answers can be forged.
    let omitted = match address {
        SocketAddr::V4(_) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::OMIT),
        SocketAddr::V6(_) => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::OMIT),
    };
    // Without it replies still arrive; some kernels that only look like Linux do not know it.
    let _ = omitted;
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => {}
    }
    Ok(())
}

/// The addresses of this machine, which a socket bound to all of them has.
pub(super) fn interface_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let address = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
    };
    interfaces.filter_map(|interface| address(interface.address?)).collect()
}

/// An IPv4 socket bound to one address.
pub(super) type V4<'s> = Batch<'s, SockaddrIn, false>;

/// An IPv4 socket bound to all addresses.
pub(super) type AnyV4<'s> = Batch<'s, SockaddrIn, true>;

/// An IPv6 socket bound to one address.
pub(super) type V6<'s> = Batch<'s, SockaddrIn6, false>;

/// An IPv6 socket bound to all addresses.
pub(super) type AnyV6<'s> = Batch<'s, SockaddrIn6, true>;

/// What of a batch depends on the address family.
pub(super) trait Family: SockaddrLike + Copy {
    /// The address a datagram was sent to.
    type Local: Copy + Default + PartialEq;

    /// The kernel's word for it.
    type PacketInfo;

    fn source(self) -> SocketAddr;

    fn local(message: &ControlMessageOwned) -> Option<Self::Local>;

    /// The default stands for "whichever address the kernel chooses".
    fn packet_info(local: Self::Local) -> Self::PacketInfo;

    fn control(info: &Self::PacketInfo) -> ControlMessage<'_>;

    /// Room for one packet information.
    fn control_room() -> Vec<u8>;
}

impl Family for SockaddrIn {
    /// In network byte order, as the kernel has it.
    type Local = u32;
    type PacketInfo = libc::in_pktinfo;

    fn source(self) -> SocketAddr {
        SocketAddrV4::from(self).into()
    }

    fn local(message: &ControlMessageOwned) -> Option<u32> {
        match message {
            // The address of ours that the datagram came to, also where it was sent to a broadcast address.
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_spec_dst.s_addr),
            _ => None,
        }
    }

    fn packet_info(local: u32) -> libc::in_pktinfo {
        // Interface 0 leaves the route to the kernel: it need not be the one the query came by.
        libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: local },
            ipi_addr: libc::in_addr { s_addr: 0 },
        }
    }

    fn control(info: &libc::in_pktinfo) -> ControlMessage<'_> {
        ControlMessage::Ipv4PacketInfo(info)
    }

    fn control_room() -> Vec<u8> {
        cmsg_space!(libc::in_pktinfo)
    }
}

impl Family for SockaddrIn6 {
    /// The address, and for a link-local one its interface.
    type Local = ([u8; 16], libc::c_uint);
    type PacketInfo = libc::in6_pktinfo;

    fn source(self) -> SocketAddr {
        SocketAddrV6::from(self).into()
    }

    fn local(message: &ControlMessageOwned) -> Option<Self::Local> {
        let ControlMessageOwned::Ipv6PacketInfo(info) = message else { return None };
        let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
        match () {
            // No reply may leave from a multicast address.
            () if address.is_multicast() => None,
            () if address.is_unicast_link_local() => Some((address.octets(), info.ipi6_ifindex as libc::c_uint)),
            () => Some((address.octets(), 0)),
        }
    }

    fn packet_info((address, interface): Self::Local) -> libc::in6_pktinfo {
        libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: address }, ipi6_ifindex: interface as _ }
    }

    fn control(info: &libc::in6_pktinfo) -> ControlMessage<'_> {
        ControlMessage::Ipv6PacketInfo(info)
    }

    fn control_room() -> Vec<u8> {
        cmsg_space!(libc::in6_pktinfo)
    }
}

/// A socket, and room for a batch of queries and replies. Allocated once. `IS_WILDCARD`: the socket is bound to all
/// addresses, so each reply has to name its own.
pub(super) struct Batch<'s, F: Family, const IS_WILDCARD: bool> {
    socket: &'s UdpSocket,
    incoming: MultiHeaders<F>,
    /// Of their own: nix leaves in the headers what the other direction wrote there.
    outgoing: MultiHeaders<F>,
    packets: Box<[[u8; STRIDE]; BATCH]>,
    asked: [Asked<F>; BATCH],
    replies: [Vec<u8>; BATCH],
    /// Where the replies go, and from which address.
    targets: [Option<F>; BATCH],
    locals: [F::Local; BATCH],
}

/// One received datagram.
#[derive(Clone, Copy)]
struct Asked<F: Family> {
    len: usize,
    source: Option<F>,
    local: F::Local,
}

impl<'s, F: Family, const IS_WILDCARD: bool> Batch<'s, F, IS_WILDCARD> {
    pub(super) fn new(socket: &'s UdpSocket) -> Self {
        let headers = || MultiHeaders::preallocate(BATCH, IS_WILDCARD.then(F::control_room));
        Batch {
            socket,
            incoming: headers(),
            outgoing: headers(),
            packets: Box::new([[0; STRIDE]; BATCH]),
            asked: [Asked { len: 0, source: None, local: F::Local::default() }; BATCH],
            replies: std::array::from_fn(|_| Vec::with_capacity(usize::from(UDP_SIZE))),
            targets: [None; BATCH],
            locals: [F::Local::default(); BATCH],
        }
    }

    /// Fills `packets` and `asked`; returns how many.
    fn receive(&mut self, flags: MsgFlags) -> io::Result<usize> {
        let mut slices = self.packets.each_mut().map(|packet| [IoSliceMut::new(&mut packet[..MAX_QUERY])]);
        let received = recvmmsg(self.socket.as_raw_fd(), &mut self.incoming, slices.iter_mut(), flags, None)?;
        let mut count = 0;
        for (message, asked) in received.zip(&mut self.asked) {
            let local = if IS_WILDCARD { local(&message) } else { F::Local::default() };
            *asked = Asked { len: message.bytes, source: message.address, local };
            count += 1;
        }
        Ok(count)
    }

    /// Answers what was received; returns the number of replies.
    fn answer<const HAS_PROXIES: bool>(&mut self, worker: &mut Worker, received: usize) -> usize {
        let mut count = 0;
        // One look at the Table for the whole batch, given back before anything is sent.
        let table = worker.tables.load();
        for (packet, asked) in self.packets.iter().zip(&self.asked[..received]) {
            let (Some(source), Some(packet)) = (asked.source, packet.get(..asked.len)) else { continue };
            let reply = &mut self.replies[count];
            reply.clear();
            worker.respond::<HAS_PROXIES>(&table, packet, source.source(), reply);
            if !reply.is_empty() {
                (self.targets[count], self.locals[count]) = (Some(source), asked.local);
                count += 1;
            }
        }
        count
    }

    /// Sends the first replies; returns how many the kernel refused. Never waits.
    fn send(&mut self, count: usize) -> usize {
        let (mut at, mut refused) = (0, 0);
        while at < count {
            let local = self.locals[at];
            let run = self.locals[at..count].iter().take_while(|other| **other == local).count();
            match self.send_run(at, at + run, local) {
                // The first of a run that was cut short is the one to tell the error, next time around.
                Ok(sent) => at += sent.max(1),
                // The socket is full: what follows would fare no better.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => return refused + count - at,
                // One reply cannot go where it should, which says nothing about the next.
                Err(_) => (at, refused) = (at + 1, refused + 1),
            }
        }
        refused
    }

    fn send_run(&mut self, from: usize, to: usize, local: F::Local) -> nix::Result<usize> {
        let slices = self.replies.each_ref().map(|reply| [IoSlice::new(reply)]);
        let info = F::packet_info(local);
        let control = [F::control(&info)];
        let control = if IS_WILDCARD { &control[..] } else { &[] };
        let (slices, targets) = (&slices[from..to], &self.targets[from..to]);
        let fd = self.socket.as_raw_fd();
        Ok(sendmmsg(fd, &mut self.outgoing, slices, targets, control, MsgFlags::MSG_DONTWAIT)?.count())
    }
}

fn local<F: Family>(message: &RecvMsg<'_, '_, F>) -> F::Local {
    let mut controls = message.cmsgs().into_iter().flatten();
    controls.find_map(|control| F::local(&control)).unwrap_or_default()
}

impl<F: Family, const IS_WILDCARD: bool> Datagrams for Batch<'_, F, IS_WILDCARD> {
    fn turn(&mut self, worker: &mut Worker, wait: bool) -> io::Result<()> {
        // The socket's time-out bounds the wait: the one recvmmsg takes is looked at only after a datagram came.
        let received = self.receive(if wait { MsgFlags::MSG_WAITFORONE } else { MsgFlags::MSG_DONTWAIT })?;
        worker.look();
        let replies = match worker.has_proxies() {
            false => self.answer::<false>(worker, received),
            true => self.answer::<true>(worker, received),
        };
        let refused = self.send(replies);
        if refused > 0 {
            // Lost like any datagram; the asker repeats its query.
            worker.responder.counters().unsent(refused);
        }
        Ok(())
    }
}

#[cfg(test)]
impl AnyV4<'_> {
    /// Sends the same to all of these; returns how many the kernel refused.
    pub(super) fn send_to(&mut self, targets: &[SocketAddr], reply: &[u8]) -> usize {
        for (at, target) in targets.iter().enumerate() {
            let SocketAddr::V4(target) = target else { panic!("IPv4 only") };
            self.targets[at] = Some((*target).into());
            self.locals[at] = 0;
            self.replies[at].clear();
            self.replies[at].extend_from_slice(reply);
        }
        self.send(targets.len())
    }
}
