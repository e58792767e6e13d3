//! Cuts a long row into chunks where its bytes say so, so that a change writes the chunks around it.
//!
//! OpenMLS writes the whole tree of a group with every Commit, and with it a full roster of the
//! epoch that ended. At 256 hybrid members those are 1.5 MB, of which a Commit changes a path. A
//! chunk is stored under the hash of its bytes; the row holds the hashes in order. Where to cut is
//! found by a rolling hash over the last 64 bytes, so the same bytes are cut alike wherever they
//! move to. It decides about cost only: the chunks of a row put together are always the row.

use sha2::{Digest as _, Sha256};

/// The hash of a chunk: whole, unlike a page's, since members choose what stands in their leaves.
pub type ChunkId = [u8; 32];

/// Bytes. Rows up to this stay whole.
const MAX_WHOLE: usize = 16 << 10;
/// Bytes of a chunk, at least and at most. Between them one byte in 4,096 ends it.
const MIN: usize = 2 << 10;
const MAX: usize = 16 << 10;
const ENDS: u32 = 12;

/// CBOR's major type of a byte string: what a row of hashes is, and no whole row (a map or array).
const CBOR_BYTES: u8 = 2;

/// A number for each byte, without pattern (SplitMix64).
const GEAR: [u64; 256] = {
    let mut gear = [0; 256];
    let mut state: u64 = 0;
    let mut i = 0;
    while i < 256 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[expect(clippy::indexing_slicing, reason = "i is less than 256")]
        {
            gear[i] = z ^ (z >> 31);
        }
        i += 1;
    }
    gear
};

/// The chunks of a row, in order, by their hashes; none if it is short enough to stay whole.
pub fn cut(row: &[u8]) -> Vec<(ChunkId, &[u8])> {
    let mut chunks = Vec::new();
    let mut rest = row;
    while row.len() > MAX_WHOLE && !rest.is_empty() {
        let (chunk, after) = rest.split_at(end(rest));
        chunks.push((Sha256::digest(chunk).into(), chunk));
        rest = after;
    }
    chunks
}

/// Where the chunk ends that `bytes` begins with.
fn end(bytes: &[u8]) -> usize {
    let mut rolling: u64 = 0;
    for (at, byte) in bytes.iter().take(MAX).enumerate().skip(MIN - 64) {
        let gear = GEAR.get(usize::from(*byte)).copied().unwrap_or_default();
        rolling = (rolling << 1).wrapping_add(gear);
        if at + 1 >= MIN && rolling >> (64 - ENDS) == 0 {
            return at + 1;
        }
    }
    bytes.len().min(MAX)
}

/// Whether these bytes are the chunk of that id: else the vault is damaged, and what can be read from
/// them all the same is not what was written.
pub fn is_whole(chunk: &[u8], id: &ChunkId) -> bool {
    Sha256::digest(chunk).as_slice() == id
}

/// What is stored in place of a row that was cut.
pub fn list(ids: &[ChunkId]) -> serde_bytes::ByteBuf {
    serde_bytes::ByteBuf::from(ids.concat())
}

/// The chunks a row was cut into; None for a row that is whole.
pub fn listed(row: &[u8]) -> Option<Vec<ChunkId>> {
    if row.first().is_none_or(|first| first >> 5 != CBOR_BYTES) {
        return None;
    }
    let list: serde_bytes::ByteBuf = ciborium::from_reader(row).ok()?;
    let (ids, rest) = list.as_chunks();
    rest.is_empty().then(|| ids.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes without pattern, the same in every run.
    fn noise(len: usize) -> Vec<u8> {
        (0_u64..)
            .flat_map(|block| Sha256::digest(block.to_be_bytes()))
            .take(len)
            .collect()
    }

    #[test]
    fn chunks_put_together_are_the_row() {
        for len in [0, 1, MAX_WHOLE, MAX_WHOLE + 1, 100_000, 1_000_000] {
            for row in [noise(len), vec![0; len]] {
                let chunks = cut(&row);
                assert_eq!(chunks.is_empty(), len <= MAX_WHOLE);
                let sizes = chunks.iter().map(|(_, chunk)| chunk.len());
                assert!(sizes.clone().all(|size| size <= MAX));
                assert!(sizes.rev().skip(1).all(|size| size >= MIN));
                if len > MAX_WHOLE {
                    let whole: Vec<u8> = chunks.iter().flat_map(|(_, c)| c.to_vec()).collect();
                    assert!(whole == row);
                }
            }
        }
    }

    #[test]
    fn a_change_or_an_insertion_changes_the_chunks_around_it() {
        let row = noise(1_000_000);
        let before: Vec<_> = cut(&row).into_iter().map(|(id, _)| id).collect();
        assert!(before.len() > 100);
        for at in [0, 300_000, 999_999] {
            let mut changed = row.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            let mut longer = row.clone();
            longer.insert(at, 7);
            for row in [changed, longer] {
                let new = cut(&row)
                    .iter()
                    .filter(|(id, _)| !before.contains(id))
                    .count();
                assert!((1..=4).contains(&new), "{new} at {at}");
            }
        }
    }

    #[test]
    fn a_list_is_read_again_and_nothing_else_is_a_list() {
        let mut row = Vec::new();
        for count in [1, 1000] {
            row.clear();
            ciborium::into_writer(&list(&vec![[7; 32]; count]), &mut row).unwrap_or_default();
            assert_eq!(listed(&row), Some(vec![[7; 32]; count]));
            row.pop();
            assert_eq!(listed(&row), None);
        }
        for whole in [&[][..], &[0xa0], &[0x80], &[0xff], &[0x41, 0]] {
            assert_eq!(listed(whole), None);
        }
    }
}
