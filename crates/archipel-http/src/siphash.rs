//! SipHash with a 128-bit result, fed in pieces: SipHash-1-3-128, keyed.
//!
//! Owns the hash of cache keys and variants. Keyed, so that a client who does not know the seed cannot make entries collide;
//! the full key is compared as well, so that a collision can cost a miss but never a wrong answer.

/// The hasher of keys and variants.
pub(crate) type KeyHasher = SipHasher128<1, 3>;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct SipHasher128<const COMPRESSION: usize, const FINALIZATION: usize> {
    v: [u64; 4],
    tail: u64,
    len: usize,
}

impl<const C: usize, const F: usize> SipHasher128<C, F> {
    pub(crate) fn new((k0, k1): (u64, u64)) -> Self {
        SipHasher128 {
            v: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
            tail: 0,
            len: 0,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        let pending = self.len % 8;
        self.len = self.len.wrapping_add(bytes.len());
        if pending != 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(8 - pending));
            self.tail |= little_endian(head) << (8 * pending);
            if pending + head.len() < 8 {
                return;
            }
            let word = self.tail;
            self.compress(word);
            self.tail = 0;
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.compress(u64::from_le_bytes(*word));
        }
        self.tail = little_endian(rest);
    }

    /// Writes the length and then the bytes, so that no two sequences of fields are the same stream.
    pub(crate) fn write_field(&mut self, bytes: &[u8]) {
        self.write(&(bytes.len() as u64).to_le_bytes());
        self.write(bytes);
    }

    pub(crate) fn finish(mut self) -> u128 {
        let last = self.tail | ((self.len as u64) << 56);
        self.compress(last);
        self.v[2] ^= 0xee;
        self.rounds::<F>();
        let low = self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3];
        self.v[1] ^= 0xdd;
        self.rounds::<F>();
        let high = self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3];
        u128::from(high) << 64 | u128::from(low)
    }

    fn compress(&mut self, word: u64) {
        self.v[3] ^= word;
        self.rounds::<C>();
        self.v[0] ^= word;
    }

    fn rounds<const N: usize>(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        for _ in 0..N {
            a = a.wrapping_add(b);
            b = b.rotate_left(13) ^ a;
            a = a.rotate_left(32);
            c = c.wrapping_add(d);
            d = d.rotate_left(16) ^ c;
            a = a.wrapping_add(d);
            d = d.rotate_left(21) ^ a;
            c = c.wrapping_add(b);
            b = b.rotate_left(17) ^ c;
            c = c.rotate_left(32);
        }
        self.v = [a, b, c, d];
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: (u64, u64) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);

    /// The published vectors of SipHash-2-4-128 prove the construction; the rounds are parameters.
    #[test]
    fn published_vectors() {
        let hash = |bytes: &[u8]| {
            let mut hasher = SipHasher128::<2, 4>::new(SEED);
            hasher.write(bytes);
            hasher.finish().to_le_bytes()
        };
        assert_eq!(
            hash(&[]),
            [0xA3, 0x81, 0x7F, 0x04, 0xBA, 0x25, 0xA8, 0xE6, 0x6D, 0xF6, 0x72, 0x14, 0xC7, 0x55, 0x02, 0x93]
        );
        assert_eq!(
            hash(&[0]),
            [0xDA, 0x87, 0xC1, 0xD8, 0x6B, 0x99, 0xAF, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9B, 0x22, 0xFC, 0x45]
        );
    }

    #[test]
    fn pieces_do_not_matter() {
        let bytes: Vec<u8> = (0..40).collect();
        let mut whole = KeyHasher::new(SEED);
        whole.write(&bytes);
        let whole = whole.finish();
        for cut in 0..bytes.len() {
            for second in cut..bytes.len() {
                let mut pieces = KeyHasher::new(SEED);
                pieces.write(&bytes[..cut]);
                pieces.write(&bytes[cut..second]);
                pieces.write(&bytes[second..]);
                assert_eq!(pieces.finish(), whole, "{cut} {second}");
            }
        }
    }
}
