//! nf_tables and nfnetlink_queue in bytes: netlink messages, each a header, the family's header, and attributes.
//!
//! All but what comes from the network's own headers (resource, queue, verdict, identifiers) is in the machine's order.

use rustix::io::Errno;

/// Bytes of a netlink header.
const HEADER_BYTES: usize = 16;
/// Bytes of the header of a family.
const FAMILY_BYTES: usize = 4;
/// Messages and attributes begin at multiples of this.
const ALIGN: usize = 4;

/// Flags of a request.
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
/// An attribute that holds attributes.
const NESTED: u16 = 0x8000;

/// `NLMSG_ERROR`: an answer, 0 for success.
const ERROR: u16 = 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;
const NEW_RULE: u16 = (NFTABLES << 8) | 6;
const QUEUE: u16 = 3 << 8;
const PACKET: u16 = QUEUE;
const VERDICT: u16 = QUEUE | 1;
const CONFIG: u16 = QUEUE | 2;

/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
/// Bytes of a packet that are copied to us: all.
const COPY_BYTES: u32 = 0xffff;
/// How many packets wait in the kernel for us.
const WAITING_MAX: u32 = 4096;
/// Where there is no room for more they pass.
const FAIL_OPEN: u32 = 1;

/// What becomes of a packet in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Accept,
}

/// What the kernel says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A request was done, or refused.
    Answered(Result<(), Errno>),
    /// A packet waits for its verdict.
    Packet { id: u32, bytes: &'a [u8] },
    /// What does not matter here.
    Other,
}

fn padding(length: usize) -> usize {
    (ALIGN - length % ALIGN) % ALIGN
}

/// Lengths that a field of the header cannot say do not occur: what is put in is a few dozen bytes.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + body.len() + ALIGN);
    bytes.extend(short(4 + body.len()).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len() + padding(body.len()), 0);
    bytes
}

fn text(kind: u16, text: &str) -> Vec<u8> {
    let mut body = text.as_bytes().to_vec();
    body.push(0);
    attribute(kind, &body)
}

fn message(kind: u16, flags: u16, family: u8, resource: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::from(short(HEADER_BYTES + FAMILY_BYTES + body.len()));
    let mut bytes = Vec::with_capacity(HEADER_BYTES + FAMILY_BYTES + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    // A number of ours, and whom it is for: the kernel.
    bytes.extend([0; 8]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A rule at the end of a chain of family ip: what comes here goes to a queue, or on if nobody listens to that.
pub fn rule(table: &str, chain: &str, queue: u16) -> Vec<u8> {
    /// `struct xt_NFQ_info_v3`, as long as the kernel aligns it: first queue, how many, flags (bypass).
    const REVISION: u32 = 3;
    let info: Vec<u8> = [queue, 1, 1, 0]
        .into_iter()
        .flat_map(u16::to_ne_bytes)
        .collect();
    let target = [
        text(1, "NFQUEUE"),
        attribute(2, &REVISION.to_be_bytes()),
        attribute(3, &info),
    ];
    let expression = [text(1, "target"), attribute(2 | NESTED, &target.concat())];
    let body = [
        text(1, table),
        text(2, chain),
        attribute(4 | NESTED, &attribute(1 | NESTED, &expression.concat())),
    ];
    [
        message(BATCH_BEGIN, 0, 0, NFTABLES, &[]),
        message(NEW_RULE, ACK | CREATE | APPEND, IPV4, 0, &body.concat()),
        message(BATCH_END, 0, 0, NFTABLES, &[]),
    ]
    .concat()
}

/// From now on we listen to a queue, and get its packets whole, cut to what the wire takes, with their checksums.
pub fn listen(queue: u16) -> [Vec<u8>; 2] {
    const BIND: u8 = 1;
    const COPY_PACKET: u8 = 2;
    let bind = attribute(1, &[BIND, 0, 0, IPV4]);
    let mut copy = COPY_BYTES.to_be_bytes().to_vec();
    copy.push(COPY_PACKET);
    let how = [
        attribute(2, &copy),
        attribute(3, &WAITING_MAX.to_be_bytes()),
        attribute(4, &FAIL_OPEN.to_be_bytes()),
        attribute(5, &FAIL_OPEN.to_be_bytes()),
    ];
    [
        message(CONFIG, ACK, 0, queue, &bind),
        message(CONFIG, ACK, 0, queue, &how.concat()),
    ]
}

/// What becomes of a packet that waits.
pub fn verdict(queue: u16, id: u32, verdict: Verdict) -> Vec<u8> {
    let word: u32 = match verdict {
        Verdict::Drop => 0,
        Verdict::Accept => 1,
    };
    let body = [word.to_be_bytes(), id.to_be_bytes()].concat();
    message(VERDICT, 0, 0, queue, &attribute(2, &body))
}

/// What the kernel says in one piece.
pub fn read(mut bytes: &[u8]) -> Vec<Said<'_>> {
    let mut said = Vec::new();
    while let Some(length) = number(bytes, 0) {
        let length = length as usize;
        let Some(whole) = bytes.get(..length).filter(|_| length >= HEADER_BYTES) else {
            break;
        };
        said.push(read_one(whole).unwrap_or(Said::Other));
        bytes = bytes.get(length + padding(length)..).unwrap_or_default();
    }
    said
}

fn read_one(message: &[u8]) -> Option<Said<'_>> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let body = &message[HEADER_BYTES..];
    match kind {
        ERROR => {
            let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
            let answer = match code {
                0 => Ok(()),
                code => Err(Errno::from_raw_os_error(code.checked_neg()?)),
            };
            Some(Said::Answered(answer))
        }
        PACKET => packet(body.get(FAMILY_BYTES..)?),
        _ => None,
    }
}

fn packet(mut attributes: &[u8]) -> Option<Said<'_>> {
    const HEADER: u16 = 1;
    const PAYLOAD: u16 = 10;
    let (mut id, mut bytes) = (None, &[][..]);
    while let Some(head) = attributes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & !NESTED;
        let body = attributes.get(4..length)?;
        match kind {
            HEADER => id = Some(u32::from_be_bytes(body.get(..4)?.try_into().ok()?)),
            PAYLOAD => bytes = body,
            _ => {}
        }
        attributes = attributes
            .get(length + padding(length)..)
            .unwrap_or_default();
    }
    Some(Said::Packet { id: id?, bytes })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_batch_of_three_messages_of_whole_words() {
        let bytes = rule("t", "held", 7);
        let mut rest = &bytes[..];
        let mut kinds = Vec::new();
        while let Some(length) = number(rest, 0) {
            kinds.push(u16::from_ne_bytes([rest[4], rest[5]]));
            assert_eq!(length as usize % ALIGN, 0);
            rest = &rest[length as usize..];
        }
        assert_eq!(kinds, [BATCH_BEGIN, NEW_RULE, BATCH_END]);
        assert!(rest.is_empty());
        let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(has(b"NFQUEUE\0") && has(b"held\0") && has(&[7, 0, 1, 0, 1, 0, 0, 0]));
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let mut packet = Vec::new();
        packet.extend(attribute(1, &[0, 0, 0, 9, 8, 0, 3]));
        packet.extend(attribute(10, b"hello"));
        let mut bytes = message(PACKET, 0, IPV4, 7, &packet);
        let mut refused = message(ERROR, 0, 0, 0, &[]);
        refused[HEADER_BYTES..].copy_from_slice(&(-2i32).to_ne_bytes());
        bytes.extend(&refused);
        let read_back = read(&bytes);
        let expected = [
            Said::Packet {
                id: 9,
                bytes: b"hello",
            },
            Said::Answered(Err(Errno::NOENT)),
        ];
        assert_eq!(read_back, expected);
    }

    #[test]
    fn bytes_that_make_no_sense_are_no_packets() {
        assert_eq!(read(&[]), []);
        assert_eq!(read(&[255; 40]), []);
        assert_eq!(read(&[0; 40]), []);
        let torn = message(PACKET, 0, IPV4, 7, &attribute(10, b"without a number"));
        assert_eq!(read(&torn), [Said::Other]);
        assert_eq!(read(&torn[..torn.len() - 1]), []);
    }
}
