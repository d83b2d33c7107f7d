//! A request's bytes taken apart as a lenient front end would hand them to the firewall. Whether a strict one would take
//! them at all is asked of the real listener (`front_end`), not here.

/// A request, nothing of it decoded but the framing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Up to the first space.
    pub method: Vec<u8>,
    /// Between the spaces; it may have some itself.
    pub target: Vec<u8>,
    /// Behind the last space.
    pub protocol: Vec<u8>,
    /// Header lines, without the space around values.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// Takes a request apart.
    #[must_use]
    pub fn read(raw: &[u8]) -> Self {
        let (head, rest) = find(raw, b"\r\n\r\n").map_or((raw, &[][..]), |at| (&raw[..at], &raw[at + 4..]));
        let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = lines.next().unwrap_or_default();
        let begin = first.iter().position(|&byte| byte == b' ').unwrap_or(first.len());
        let end = first.iter().rposition(|&byte| byte == b' ').unwrap_or(first.len()).max(begin);
        let target = first.get(begin + 1..end).unwrap_or_default();
        let mut message = Self {
            method: first[..begin].to_vec(),
            target: target.to_vec(),
            protocol: first.get(end + 1..).unwrap_or_default().to_vec(),
            ..Self::default()
        };
        for line in lines.filter(|line| !line.is_empty()) {
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
            message.headers.push((line[..colon].to_vec(), value.to_vec()));
        }
        message.body = message.framed(rest);
        message
    }

    /// The value of the first header line of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| &value[..])
    }

    /// What of `rest` is the body (RFC 9112 section 6.3).
    fn framed(&self, rest: &[u8]) -> Vec<u8> {
        let codings = self.header("transfer-encoding").unwrap_or_default().to_ascii_lowercase();
        if codings.ends_with(b"chunked") {
            return chunks(rest).unwrap_or_else(|| rest.to_vec());
        }
        let length = self.header("content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        rest[..rest.len().min(length.unwrap_or(0))].to_vec()
    }
}

fn chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n")?;
        let size = rest[..end].split(|&byte| byte == b';').next()?.trim_ascii();
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let begin = end + 2;
        body.extend_from_slice(rest.get(begin..begin.checked_add(size)?)?);
        rest = rest.get(begin + size + 2..)?;
    }
}

fn find(bytes: &[u8], piece: &[u8]) -> Option<usize> {
    bytes.windows(piece.len()).position(|window| window == piece)
}
