//! `/ws`: a WebSocket that says back what it is told (RFC 6455), over HTTP/1.1's Upgrade and HTTP/2's extended CONNECT
//! (RFC 8441). Must never hold more than one message.

use std::io::{self, Read, Write};

use archipel_http::list;
use archipel_transport::message::{Reply, ReplyBody, Request};
use bytes::{Buf, BytesMut};
use http::header::{HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocket, WebSocketConfig};

use super::reply::{self, NO_STORE};

/// The largest message, in bytes; a larger one ends the conversation with 1009.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes between the connection and the conversation, in each direction.
const PIPE_BYTES: usize = 16 * 1024;
/// Room for what a client sent in one piece and for the frame around a message.
const OUTPUT_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// Length of a `Sec-WebSocket-Key`: 16 bytes in base64 (RFC 6455 section 4.1).
const KEY_BYTES: usize = 24;

/// Begins a conversation, or says how to.
pub(super) fn open(request: &Request) -> Reply {
    let asked = request.upgrade.as_deref().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
    if !asked {
        return refuse(StatusCode::UPGRADE_REQUIRED, "This is a WebSocket: ask for an upgrade.\n");
    }
    if !list::contains_token(&request.headers, SEC_WEBSOCKET_VERSION, b"13") {
        return refuse(StatusCode::UPGRADE_REQUIRED, "Only version 13 of the WebSocket protocol is spoken.\n");
    }
    let mut reply = if request.method == Method::CONNECT {
        Reply::new(StatusCode::OK)
    } else {
        let Some(accept) = accept(request) else {
            return refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or malformed.\n");
        };
        let mut reply = Reply::new(StatusCode::SWITCHING_PROTOCOLS);
        reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        reply.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
        reply
    };
    let (theirs, ours) = tokio::io::duplex(PIPE_BYTES);
    // Ends when the transport drops its end, which it does whatever becomes of the connection.
    tokio::spawn(converse(ours));
    reply.body = ReplyBody::Tunnel(Box::new(theirs));
    reply
}

fn accept(request: &Request) -> Option<HeaderValue> {
    let key = request.headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == KEY_BYTES)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

fn refuse(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = reply::text(status, NO_STORE, text);
    if status == StatusCode::UPGRADE_REQUIRED {
        reply.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        reply.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    reply
}

async fn converse(mut stream: DuplexStream) {
    let mut echo = Echo::new();
    let mut read = BytesMut::new();
    loop {
        read.reserve(PIPE_BYTES);
        match stream.read_buf(&mut read).await {
            Ok(bytes) if bytes > 0 => {}
            _ => return,
        }
        let ended = echo.hear(read.split());
        let said = echo.said();
        if stream.write_all(&said).await.is_err() || ended {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// The conversation without its connection: bytes in, bytes out.
pub(super) struct Echo {
    socket: WebSocket<Pipe>,
}

impl Echo {
    /// A conversation whose handshake is done.
    pub(super) fn new() -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(PIPE_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(OUTPUT_BYTES_MAX)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Self { socket: WebSocket::from_raw_socket(Pipe::default(), Role::Server, Some(config)) }
    }

    /// Takes in what arrived and answers what is complete. True at the end of the conversation.
    pub(super) fn hear(&mut self, bytes: BytesMut) -> bool {
        self.socket.get_mut().input.unsplit(bytes);
        loop {
            let heard = match self.socket.read() {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => self.socket.send(message),
                // Pings and closes are answered by the protocol engine.
                Ok(_) => self.socket.flush(),
                Err(error) => Err(error),
            };
            match heard {
                Ok(()) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    self.part(&error);
                    return true;
                }
            }
        }
    }

    /// Takes out what is to be sent.
    pub(super) fn said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.socket.get_mut().output)
    }

    /// Says why, where the other side broke the rules (RFC 6455 section 7.4.1).
    fn part(&mut self, error: &Error) {
        let code = match error {
            Error::Capacity(_) => CloseCode::Size,
            Error::Utf8(_) => CloseCode::Invalid,
            Error::Protocol(_) => CloseCode::Protocol,
            _ => return,
        };
        // Where even that cannot be said, the end of the stream says it.
        let _ = self.socket.close(Some(CloseFrame { code, reason: "".into() }));
        let _ = self.socket.flush();
    }
}

/// Memory in the place of a connection.
#[derive(Default)]
struct Pipe {
    input: BytesMut,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = self.input.len().min(buffer.len());
        self.input.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
