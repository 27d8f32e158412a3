//! Halves of a collection, so that what is chosen on one half is judged on the other.

/// `rounds` random halvings of `0..count`, each in both directions: (to choose on, to judge on).
pub fn halves(count: usize, rounds: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut state = 1u64;
    let mut out = Vec::new();
    for _ in 0..rounds {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            order.swap(i, (random(&mut state) % (i as u64 + 1)) as usize);
        }
        let (a, b) = order.split_at(count / 2);
        out.push((a.to_vec(), b.to_vec()));
        out.push((b.to_vec(), a.to_vec()));
    }
    out
}

/// The next number of the SplitMix64 sequence (Steele, Lea and Flood 2014).
pub(crate) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
