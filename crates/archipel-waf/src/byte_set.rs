//! A set of bytes: what a value consists of, or what an operator or a transformation looks for.

/// A set of bytes, as 256 bits.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// The set without a member.
    pub const EMPTY: Self = Self([0; 4]);
    /// The set of all bytes.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// The set of the bytes that occur in `value`. Costs about a nanosecond a byte.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        let mut set = Self::EMPTY;
        for &byte in value {
            set.insert(byte);
        }
        set
    }

    /// The set of the bytes in `members`, in a constant.
    #[must_use]
    pub const fn from_members(members: &[u8]) -> Self {
        let mut set = Self::EMPTY;
        let mut at = 0;
        while at < members.len() {
            set = set.with(members[at]);
            at += 1;
        }
        set
    }

    /// The set of the bytes from `first` to `last`, both included.
    #[must_use]
    pub const fn range(first: u8, last: u8) -> Self {
        let mut set = Self::EMPTY;
        let mut byte = first;
        while byte <= last {
            set = set.with(byte);
            if byte == u8::MAX {
                break;
            }
            byte += 1;
        }
        set
    }

    /// This set and `byte`.
    #[must_use]
    pub const fn with(mut self, byte: u8) -> Self {
        self.0[(byte >> 6) as usize] |= 1 << (byte & 63);
        self
    }

    /// The bytes that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self([a[0] | b[0], a[1] | b[1], a[2] | b[2], a[3] | b[3]])
    }

    /// The bytes that are not in this set.
    #[must_use]
    pub const fn complement(self) -> Self {
        let a = self.0;
        Self([!a[0], !a[1], !a[2], !a[3]])
    }

    /// Adds `byte`.
    #[inline]
    pub fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    /// Whether `byte` is a member.
    #[must_use]
    #[inline]
    pub const fn contains(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] & (1 << (byte & 63)) != 0
    }

    /// Whether the sets have a byte in common.
    #[must_use]
    #[inline]
    pub const fn intersects(&self, other: &Self) -> bool {
        let (a, b) = (self.0, other.0);
        (a[0] & b[0]) | (a[1] & b[1]) | (a[2] & b[2]) | (a[3] & b[3]) != 0
    }

    /// How many bytes are members, 0 to 256.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.0[0].count_ones() + self.0[1].count_ones() + self.0[2].count_ones() + self.0[3].count_ones()) as usize
    }

    /// Whether no byte is a member.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let word = left.iter().position(|word| *word != 0)?;
            let bit = left[word].trailing_zeros();
            left[word] &= left[word] - 1;
            Some((word as u32 * 64 + bit) as u8)
        })
    }
}

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members: Vec<u8> = self.iter().collect();
        write!(f, "ByteSet({})", members.escape_ascii())
    }
}
