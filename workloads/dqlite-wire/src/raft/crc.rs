//! The checksum of raft's files: CRC-32 with the polynomial 0x04c11db7, most significant bit first,
//! starting from zero, without a final inversion.
//!
//! Law: it can be continued, `crc(crc(0, a), b) == crc(0, a ++ b)`; raft does that where a checksum
//! covers parts that do not lie side by side.
//!
//! This is neither the CRC-32 of zip (reflected, inverted) nor that of POSIX `cksum` (which adds the
//! length). Checked against files that raft wrote.

/// The generator polynomial, its highest power left out.
const POLYNOMIAL: u32 = 0x04c1_1db7;

/// The remainder of each byte in the highest place.
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut remainder = (byte as u32) << 24;
        let mut bit = 0;
        while bit < u8::BITS {
            let carries = remainder >> 31 == 1;
            remainder <<= 1;
            if carries {
                remainder ^= POLYNOMIAL;
            }
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

/// Continues `crc` over `bytes`.
pub(super) fn continued(crc: u32, bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes.into_iter().fold(crc, |crc, byte| {
        (crc << 8) ^ TABLE[((crc >> 24) as u8 ^ byte) as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_division_by_hand() {
        // One byte 1 leaves the polynomial itself.
        assert_eq!(continued(0, [1]), POLYNOMIAL);
        // The published check value of CRC-32/MPEG-2, which is the same with another start.
        assert_eq!(continued(u32::MAX, *b"123456789"), 0x0376_e6e7);
        assert_eq!(continued(0, [0; 9]), 0);
    }

    #[test]
    fn can_be_continued() {
        let whole = continued(0, *b"raft's files");
        assert_eq!(continued(continued(0, *b"raft's "), *b"files"), whole);
    }
}
