//! What RFC 9113 section 6 demands of the frames that carry no message.

use super::frame::{self, Code, Fault, Head, flag, setting};

const PROTOCOL_ERROR: Fault = Fault::Connection(Code::PROTOCOL_ERROR);
const FRAME_SIZE_ERROR: Fault = Fault::Connection(Code::FRAME_SIZE_ERROR);

/// PRIORITY, which is checked and means nothing any more (section 5.3.2).
pub(crate) fn priority(head: &Head, payload: &[u8]) -> Result<(), Fault> {
    if head.stream == 0 {
        return Err(PROTOCOL_ERROR);
    }
    if payload.len() != 5 {
        return Err(FRAME_SIZE_ERROR);
    }
    if frame::number(payload) == Some(head.stream) { Err(PROTOCOL_ERROR) } else { Ok(()) }
}

/// SETTINGS. True where there are settings to take over and to acknowledge.
pub(crate) fn settings(head: &Head, payload: &[u8]) -> Result<bool, Fault> {
    if head.stream != 0 {
        return Err(PROTOCOL_ERROR);
    }
    let ack = head.has(flag::ACK);
    if !payload.len().is_multiple_of(6) || (ack && !payload.is_empty()) {
        return Err(FRAME_SIZE_ERROR);
    }
    for pair in payload.chunks_exact(6) {
        let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
        match u16::from_be_bytes([pair[0], pair[1]]) {
            setting::ENABLE_PUSH if value > 1 => return Err(PROTOCOL_ERROR),
            setting::INITIAL_WINDOW if i64::from(value) > frame::WINDOW_MAX => {
                return Err(Fault::Connection(Code::FLOW_CONTROL_ERROR));
            }
            setting::FRAME_BYTES_MAX if !(1 << 14..1 << 24).contains(&value) => return Err(PROTOCOL_ERROR),
            _ => {}
        }
    }
    Ok(!ack)
}

/// PING.
pub(crate) fn ping(head: &Head, payload: &[u8]) -> Result<(), Fault> {
    if head.stream != 0 {
        return Err(PROTOCOL_ERROR);
    }
    if payload.len() == 8 { Ok(()) } else { Err(FRAME_SIZE_ERROR) }
}

/// GOAWAY.
pub(crate) fn goaway(head: &Head, payload: &[u8]) -> Result<(), Fault> {
    if head.stream != 0 {
        return Err(PROTOCOL_ERROR);
    }
    if payload.len() >= 8 { Ok(()) } else { Err(FRAME_SIZE_ERROR) }
}
