//! `normalisePath` and `normalisePathWin`.

/// Removes repeated slashes, self-references (`./`) and back-references (`../`). Of a relative path, back-references that lead
/// above its beginning stay.
pub(super) fn normalise(input: &[u8], windows: bool, out: &mut Vec<u8>) {
    let Some(last) = input.len().checked_sub(1) else { return };
    out.extend_from_slice(input);
    let is_slash = |byte: u8| byte == b'/' || (windows && byte == b'\\');
    let relative = !is_slash(input[0]);
    let trailing = is_slash(input[last]);
    let mut normaliser = Normaliser { path: out, last, windows, relative, from: 0, to: 0, at_root: false };
    while normaliser.from <= last && normaliser.step() {}
    let mut length = normaliser.to;
    if !trailing && length > 0 && out[length - 1] == b'/' {
        length -= 1;
    }
    out.truncate(length);
}

/// Rewrites a path in place: what is before `to` is done, what is from `from` on is to be read, and `to` never passes `from`.
struct Normaliser<'a> {
    path: &'a mut [u8],
    /// The index of the last byte.
    last: usize,
    windows: bool,
    relative: bool,
    from: usize,
    to: usize,
    /// Whether back-references have used up what they could take back.
    at_root: bool,
}

impl Normaliser<'_> {
    /// Takes in one byte, a run of slashes or a reference. False at the end.
    fn step(&mut self) -> bool {
        if self.windows {
            // Only these two are turned: the last one of a longer run is copied as it is, in ModSecurity too.
            for at in self.from..=self.last.min(self.from + 1) {
                if self.path[at] == b'\\' {
                    self.path[at] = b'/';
                }
            }
        }
        let done = self.from == self.last;
        if !done && self.path[self.from + 1] != b'/' {
            self.copy();
            return true;
        }
        match self.path[self.from] {
            b'/' if !done => {}
            b'.' => return self.dot(done),
            _ => self.at_root &= self.to == 0,
        }
        self.copy();
        !done
    }

    /// A dot that ends a segment.
    fn dot(&mut self, done: bool) -> bool {
        match self.to.checked_sub(1).map(|before| self.path[before]) {
            Some(b'.') => {
                if self.relative && (self.at_root || self.to <= 2) {
                    self.at_root = true;
                    self.copy();
                    return !done;
                }
                self.take_back_segment(done);
            }
            None => {}
            Some(b'/') => self.to -= usize::from(!done),
            Some(_) => {
                self.copy();
                return !done;
            }
        }
        if !done {
            self.from += 1;
            self.copy();
        }
        !done
    }

    /// Drops the segment before a back-reference whose first dot has been copied.
    fn take_back_segment(&mut self, done: bool) {
        // The dot, the slash before it and the byte before that are passed over without being looked at.
        let kept = self.to.checked_sub(3).and_then(|end| memchr::memrchr(b'/', &self.path[..=end]));
        match kept {
            Some(kept) if kept > 0 => self.to = kept,
            _ => {
                self.at_root = true;
                self.to = usize::from(!self.relative && done);
            }
        }
    }

    /// Copies a byte, or the last one of a run of slashes, unless that would begin a relative path.
    fn copy(&mut self) {
        if self.path[self.from] == b'/' {
            while self.from < self.last
                && (self.path[self.from + 1] == b'/' || (self.windows && self.path[self.from + 1] == b'\\'))
            {
                self.from += 1;
            }
            if self.relative && self.to == 0 {
                self.from += 1;
                return;
            }
        }
        self.path[self.to] = self.path[self.from];
        self.to += 1;
        self.from += 1;
    }
}

/// Whether `input` has neither repeated slashes nor a dot at the end of a segment (nor, with `windows`, a backslash).
pub(super) fn is_normal(input: &[u8], windows: bool) -> bool {
    if windows && memchr::memchr(b'\\', input).is_some() {
        return false;
    }
    input.last() != Some(&b'.')
        && memchr::memchr_iter(b'/', input).all(|at| at == 0 || !matches!(input[at - 1], b'/' | b'.'))
}
