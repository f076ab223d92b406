//! Numbers that look random, for faults that strike a share of something.

/// From numbers that count. Source: Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014.
pub const fn mix(count: u64) -> u64 {
    let mut mixed = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
