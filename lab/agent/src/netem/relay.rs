//! The relay: takes packets from a queue of the kernel, holds them, and sends them on.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto,
        netlink::{self, SocketAddrNetlink},
        recv, send, sendto, socket_with, sockopt,
    },
};

use super::{
    shape::Shape,
    wire::{self, Said, Verdict},
};
use crate::{node, random::mix};

/// The queue's number: nobody else's, as far as one can know.
const QUEUE: u16 = 18_497;
/// How many packets are held at most.
const HELD_MAX: usize = 10_000;
/// How much room there is for packets that the kernel hands over, and for those that we send, bytes.
const BUFFER_BYTES: usize = 8 << 20;
/// The longest message of the kernel: a packet and its attributes.
const MESSAGE_BYTES: usize = (64 << 10) + 1024;
/// How long the kernel may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Where the length stands in a header of IPv4.
const LENGTH: std::ops::Range<usize> = 2..4;
/// Where the destination stands in a header of IPv4.
const DESTINATION: std::ops::Range<usize> = 16..20;

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that were taken.
    taken: u64,
    /// Of those, the share that the fault is about.
    touched: u64,
    /// Packets that were sent, copies included.
    sent: u64,
    /// How late those were, least and most, microseconds.
    late_us: Option<(u128, u128)>,
    /// Packets that could not be sent: refused by another fault's rules, or too many.
    lost: u64,
    /// Packets that were too long to be taken, and passed at once.
    passed: u64,
}

/// `TAKEN TOUCHED SENT LEAST_US MOST_US LOST PASSED`.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self.late_us.unwrap_or_default();
        writeln!(
            f,
            "{} {} {} {least} {most} {} {}",
            self.taken, self.touched, self.sent, self.lost, self.passed
        )
    }
}

/// One that is held.
struct Held {
    taken: Instant,
    copies: u8,
    bytes: Vec<u8>,
}

/// A relay that listens.
pub struct Relay {
    queue: OwnedFd,
    out: OwnedFd,
    mtu: usize,
    /// By when they are to go out, and in the order in which they came.
    held: BTreeMap<(Instant, u64), Held>,
    drawn: u64,
    counts: Counts,
    buffer: Vec<u8>,
}

fn explain(what: &'static str) -> impl Fn(Errno) -> io::Error {
    move |errno| io::Error::new(io::Error::from(errno).kind(), format!("{what}: {errno}"))
}

fn netfilter() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        Some(netlink::NETFILTER),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// Says something to the kernel, and waits until it has done it.
fn ask(socket: &OwnedFd, request: &[u8]) -> Result<(), Errno> {
    send(socket, request, SendFlags::empty())?;
    let give_up = Instant::now() + ANSWER_LIMIT;
    let mut buffer = vec![0; MESSAGE_BYTES];
    loop {
        if !is_readable(socket, &node::until(give_up))? {
            return Err(Errno::TIMEDOUT);
        }
        let (count, _) = recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
        for said in wire::read(&buffer[..count]) {
            if let Said::Answered(answer) = said {
                return answer;
            }
        }
    }
}

fn is_readable(socket: &OwnedFd, wait: &rustix::time::Timespec) -> Result<bool, Errno> {
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(wait)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Relay {
    /// Listens to the queue, then leads to it what comes into the chain `held` of a table.
    pub fn open(table: &str, mtu: usize) -> io::Result<Self> {
        let out = socket_with(
            AddressFamily::INET,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            Some(ipproto::RAW),
        )
        .map_err(explain("no raw socket"))?;
        let queue = netfilter().map_err(explain("no socket of netfilter"))?;
        for request in wire::listen(QUEUE) {
            ask(&queue, &request).map_err(explain("no queue of packets (nfnetlink_queue)"))?;
        }
        sockopt::set_socket_recv_buffer_size_force(&queue, BUFFER_BYTES)
            .map_err(explain("no room for packets"))?;
        sockopt::set_socket_send_buffer_size_force(&out, BUFFER_BYTES)
            .map_err(explain("no room for packets"))?;
        let rule = wire::rule(table, "held", QUEUE);
        netfilter()
            .and_then(|socket| ask(&socket, &rule))
            .map_err(explain(
                "no rule that leads to a queue (xt_NFQUEUE, nft_compat)",
            ))?;
        Ok(Self {
            queue,
            out,
            mtu,
            held: BTreeMap::new(),
            drawn: 0,
            counts: Counts::default(),
            buffer: vec![0; MESSAGE_BYTES],
        })
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes and sends for so long.
    pub fn work(&mut self, shape: &Shape, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        loop {
            self.send_due();
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let next = self
                .held
                .first_key_value()
                .map_or(end, |((due, _), _)| *due);
            if is_readable(&self.queue, &node::until(next.min(end)))? {
                self.take(shape)?;
            }
        }
    }

    fn take(&mut self, shape: &Shape) -> io::Result<()> {
        let count = match recv(&self.queue, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((count, _)) => count,
            // There were more than we had room for: they passed.
            Err(Errno::NOBUFS | Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let taken = Instant::now();
        let mut verdicts = Vec::new();
        for said in wire::read(&self.buffer[..count]) {
            let Said::Packet { id, bytes } = said else {
                continue;
            };
            if bytes.len() > self.mtu || !is_whole(bytes) {
                self.counts.passed += 1;
                verdicts.push(wire::verdict(QUEUE, id, Verdict::Accept));
                continue;
            }
            verdicts.push(wire::verdict(QUEUE, id, Verdict::Drop));
            self.counts.taken += 1;
            if self.held.len() >= HELD_MAX {
                self.counts.lost += 1;
                continue;
            }
            let mut bytes = bytes.to_vec();
            let drawn = &mut self.drawn;
            let fate = shape.treat(&mut bytes, || {
                *drawn += 1;
                mix(*drawn)
            });
            self.counts.touched += u64::from(fate.touched);
            let held = Held {
                taken,
                copies: fate.copies,
                bytes,
            };
            self.held
                .insert((taken + fate.late, self.counts.taken), held);
        }
        for verdict in verdicts {
            send(&self.queue, &verdict, SendFlags::empty())?;
        }
        Ok(())
    }

    fn send_due(&mut self) {
        while let Some(first) = self.held.first_entry() {
            let now = Instant::now();
            if first.key().0 > now {
                return;
            }
            let held = first.remove();
            let late = now.saturating_duration_since(held.taken).as_micros();
            for _ in 0..held.copies {
                if send_one(&self.out, &held.bytes).is_err() {
                    self.counts.lost += 1;
                    continue;
                }
                self.counts.sent += 1;
                let (least, most) = self.counts.late_us.unwrap_or((late, late));
                self.counts.late_us = Some((least.min(late), most.max(late)));
            }
        }
    }
}

/// Whether these are all bytes of a packet: the kernel cuts what does not fit into its message.
fn is_whole(packet: &[u8]) -> bool {
    let length = packet.get(LENGTH).map(|two| {
        two.iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte))
    });
    packet.len() >= DESTINATION.end && length == Some(packet.len())
}

/// Puts a whole packet on the wire, by its own destination.
fn send_one(out: &OwnedFd, packet: &[u8]) -> Result<(), Errno> {
    let to: [u8; 4] = packet
        .get(DESTINATION)
        .and_then(|four| four.try_into().ok())
        .ok_or(Errno::INVAL)?;
    let to = SocketAddrV4::new(Ipv4Addr::from(to), 0);
    sendto(out, packet, SendFlags::DONTWAIT, &to).map(drop)
}
