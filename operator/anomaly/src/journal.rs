//! Bytes that outlive a crash: a header that says what they belong to, then records, each with its length and checksum.
//! What was torn off at the end is found and left out. Pure: whoever has a file writes and reads it.
//!
//! Layout, little-endian: [`Header`] as three numbers of 8 bytes and their checksum; for each record its length (4 bytes),
//! a checksum of length and contents (8), the contents. Checksums are FNV-1a, 64 bits.

/// Bytes of a header.
pub const HEADER: usize = 32;
/// Bytes before the contents of a record.
const BEFORE: usize = 12;

/// What the records belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub format: u64,
    /// The version of what the records hold.
    pub version: u64,
    /// Which snapshot the records go on from.
    pub generation: u64,
}

/// FNV-1a, 64 bits.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    add(0xcbf2_9ce4_8422_2325, bytes)
}

fn add(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

impl Header {
    /// As bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let Self { format, version, generation } = self;
        let mut bytes: Vec<u8> = [format, version, generation].into_iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }

    /// The header of these bytes, and what follows it; `None` if it is not whole.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let (numbers, sum) = header.split_last_chunk()?;
        let [format, version, generation] = numbers.as_chunks().0 else { return None };
        let header = [format, version, generation].map(|n| u64::from_le_bytes(*n));
        let [format, version, generation] = header;
        (checksum(numbers) == u64::from_le_bytes(*sum)).then_some((Self { format, version, generation }, rest))
    }
}

/// Appends a record to `to`. None longer than 4 GiB: those are left out, and `false`.
pub fn append(record: &[u8], to: &mut Vec<u8>) -> bool {
    let Ok(length) = u32::try_from(record.len()) else { return false };
    let length = length.to_le_bytes();
    to.extend(length);
    to.extend(add(checksum(&length), record).to_le_bytes());
    to.extend(record);
    true
}

/// The records of these bytes up to the first that is not whole, and how many bytes they take.
#[must_use]
pub fn records(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let Some((record, after)) = record(rest) {
        found.push(record);
        rest = after;
    }
    (found, bytes.len() - rest.len())
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, rest) = bytes.split_at_checked(BEFORE)?;
    let (length, sum) = before.split_first_chunk::<4>()?;
    let (record, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    (add(checksum(length), record).to_le_bytes() == sum).then_some((record, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whole_records_are_read_and_torn_ones_are_not(
            all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            flip in any::<prop::sample::Index>(),
        ) {
            let (mut bytes, mut ends) = (Vec::new(), vec![0]);
            for record in &all {
                prop_assert!(append(record, &mut bytes));
                ends.push(bytes.len());
            }
            for cut in 0..=bytes.len() {
                let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
                let (found, used) = records(&bytes[..cut]);
                prop_assert_eq!(&found, &all[..whole]);
                prop_assert_eq!(used, ends[whole]);
            }
            // A bit that fell over ends it at that record.
            let at = flip.index(bytes.len());
            bytes[at] ^= 1;
            let whole = ends.iter().filter(|end| **end <= at).count() - 1;
            prop_assert_eq!(records(&bytes).0, &all[..whole]);
        }

        #[test]
        fn a_header_is_read_or_refused(numbers in any::<[u64; 3]>(), at in 0..HEADER, bit in 0..8u32) {
            let [format, version, generation] = numbers;
            let header = Header { format, version, generation };
            let mut bytes = header.bytes();
            prop_assert_eq!(Header::read(&bytes), Some((header, &[][..])));
            prop_assert_eq!(Header::read(&bytes[..HEADER - 1]), None);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Header::read(&bytes), None);
        }
    }
}
