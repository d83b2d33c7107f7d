//! CRC-32 (IEEE 802.3, as in zip, gzip and PNG): tells a visitor whether an upload arrived unharmed. It guards against
//! accidents; it must never be used where somebody could gain from a collision.

const POLYNOMIAL: u32 = 0xedb8_8320;
/// Bytes taken at a time.
const LANES: usize = 8;
/// `TABLES[n][b]`: the checksum of byte `b` followed by `n` zero bytes.
const TABLES: [[u32; 256]; LANES] = tables();

const fn tables() -> [[u32; 256]; LANES] {
    let mut tables = [[0; 256]; LANES];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut lane = 1;
    while lane < LANES {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[lane - 1][byte];
            tables[lane][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        lane += 1;
    }
    tables
}

/// A checksum that is fed in pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32 {
    /// Takes in more bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<LANES>();
        for word in words {
            // A byte is a place in every table, so that none of these can miss.
            let mixed = (u64::from_le_bytes(*word) ^ u64::from(self.0)).to_le_bytes();
            self.0 = mixed.iter().rev().zip(&TABLES).fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)]);
        }
        for byte in rest {
            self.0 = (self.0 >> 8) ^ TABLES[0][usize::from((self.0 as u8) ^ byte)];
        }
    }

    /// The checksum of what was taken in.
    pub(super) fn value(self) -> u32 {
        !self.0
    }
}
