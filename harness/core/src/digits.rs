//! Numbers out of text, eight digits at a time.

const WORD_BYTES: usize = 8;
/// A byte in all places of a word.
pub(crate) const EVERY: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
pub(crate) const HIGH_BITS: u64 = 0x80 * EVERY;

/// Powers of ten up to the digits that a word may hold behind another one.
const TENS: [u64; WORD_BYTES] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Eight bytes as a word, the first one lowest; None where less follow.
#[inline(always)]
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at..)?;
    Some(u64::from_le_bytes(*rest.first_chunk::<WORD_BYTES>()?))
}

/// The number that the digits there make, and how many they are, which may be none at all. None: more than 15, or the bytes end so
/// soon that others must look.
#[inline(always)]
pub(crate) fn leading(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let (number, digits) = of_word(word(bytes, at)?);
    if digits < WORD_BYTES {
        return Some((number, digits));
    }
    let (low, more) = of_word(word(bytes, at + WORD_BYTES)?);
    Some((number * TENS.get(more)? + low, digits + more))
}

/// The number of bytes before the first whose highest bit is set; all if there is none.
#[inline(always)]
pub(crate) fn first(bits: u64) -> usize {
    (bits.trailing_zeros() / 8) as usize
}

#[inline(always)]
fn of_word(word: u64) -> (u64, usize) {
    let values = word ^ (EVERY * u64::from(b'0'));
    // The highest bit of each byte that is more than nine.
    let others = (values.wrapping_add(EVERY * 0x76) | values) & HIGH_BITS;
    let digits = first(others);
    if digits == 0 {
        return (0, 0);
    }
    // The last digit goes to the last byte, zeros before the first; then two, four and eight are put together.
    let values = values << (8 * (WORD_BYTES - digits));
    let two = (values.wrapping_mul(10)).wrapping_add(values >> 8) & 0x00ff_00ff_00ff_00ff;
    let four = (two.wrapping_mul(100)).wrapping_add(two >> 16) & 0x0000_ffff_0000_ffff;
    let eight = (four.wrapping_mul(10_000)).wrapping_add(four >> 32) & 0xffff_ffff;
    (eight, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_as_one_by_one() {
        for text in [
            "01234567,",
            "7,345678",
            "12345678)90123456",
            "99999999]aaaaaaa",
            "123456789012345,",
            "1234567890123456",
            "999999999999999}",
            "0]aaaaaa",
            "/1234567",
            ":1234567",
            "1\u{ff}34567",
            "40}\n{\"in",
            "1234567",
            "12345678",
        ] {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            let number: u64 = digits.parse().unwrap_or(0);
            let looked_at = if digits.len() < 8 { 8 } else { 16 };
            let expected =
                (digits.len() < 16 && text.len() >= looked_at).then_some((number, digits.len()));
            assert_eq!(leading(text.as_bytes(), 0), expected, "{text:?}");
        }
    }
}
