//! The side of the running node: reads calls, does them away from the runtime's thread, answers JSON.
//!
//! Must never run a call on the thread that serves `/healthz`: a reload reads files, a handover waits for another process.

use std::future::poll_fn;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archipel_transport::body::{BodyError, RequestBody};
use archipel_transport::conn::Conn;
use archipel_transport::env::ServerSettings;
use archipel_transport::listen::Server;
use archipel_transport::message::{Handler, Reply, ReplyBody, Request, Unwatched};
use archipel_transport::refusal::Refusal;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;

use super::{CONTROL_BODY_BYTES_MAX, ErrorAnswer, HandoverCall, purge};
use crate::commands;
use crate::files::CONTROL_SOCKET;
use crate::rules;
use crate::shield;
use crate::up::running::Running;

/// The control socket of this process, at its place in the state folder.
pub struct ControlSocket {
    listener: UnixListener,
    place: ControlPlace,
}

/// Where the control socket is, and which of those that were ever there is ours.
pub struct ControlPlace {
    path: PathBuf,
    inode: u64,
}

impl ControlSocket {
    /// Puts a new socket in the place of the one that is there, in one step: whoever connects reaches one or the other.
    /// Call it inside a runtime.
    pub fn take_over(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(CONTROL_SOCKET);
        let fresh = state_dir.join(format!("control-{}", std::process::id()));
        let _ = std::fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        let inode = std::fs::metadata(&fresh)?.ino();
        std::fs::rename(&fresh, &path)?;
        Ok(Self { listener, place: ControlPlace { path, inode } })
    }

    /// Serves calls for as long as the runtime runs; gives the place for the end of the process.
    pub fn serve(self, running: Arc<Running>) -> ControlPlace {
        let Self { listener, place } = self;
        let server = Arc::new(Server::new(Calls { running }, ServerSettings::default(), None));
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(server.clone().serve_stream(stream))),
                    Err(error) => {
                        tracing::warn!(%error, "the control socket cannot accept");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            }
        });
        place
    }
}

impl ControlPlace {
    /// Removes the socket unless another process has put its own there.
    pub fn remove(&self) {
        if std::fs::metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What answers calls.
struct Calls {
    running: Arc<Running>,
}

type Answer = Result<(StatusCode, Vec<u8>), (StatusCode, String)>;

impl Handler for Calls {
    type Exchange = Unwatched;

    async fn handle(&self, _conn: Arc<Conn>, request: Request) -> (Reply, Unwatched) {
        (reply(self.answer(request).await), Unwatched)
    }

    fn refuse(&self, _conn: &Arc<Conn>, refusal: Refusal) -> (Reply, Unwatched) {
        (reply(Err((refusal.status(), refusal.message().to_owned()))), Unwatched)
    }
}

fn reply(answer: Answer) -> Reply {
    let (status, body) = answer
        .unwrap_or_else(|(status, error)| (status, serde_json::to_vec(&ErrorAnswer { error }).unwrap_or_default()));
    let mut reply = Reply::new(status);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.body = ReplyBody::Full(Bytes::from(body));
    reply
}

fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => Ok((StatusCode::OK, body)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

fn refused(error: &anyhow::Error) -> (StatusCode, String) {
    (StatusCode::CONFLICT, format!("{error:#}"))
}

impl Calls {
    async fn answer(&self, mut request: Request) -> Answer {
        let target = std::str::from_utf8(&request.target).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let wanted = match path.as_str() {
            "/status" | "/purges" => Method::GET,
            "/purge" | "/reload" | "/explain" | "/cache/inspect" | "/firewall/events" | "/firewall/limits"
            | "/handover" | "/shield/status" | "/shield/decide" => Method::POST,
            _ => return Err((StatusCode::NOT_FOUND, format!("there is no {path} on the control socket"))),
        };
        if request.method != wanted {
            return Err((StatusCode::METHOD_NOT_ALLOWED, format!("{path} takes {wanted}, not {}", request.method)));
        }
        let body = read_body(&mut request.body).await?;
        let running = self.running.clone();
        let work = tokio::task::spawn_blocking(move || match path.as_str() {
            "/purge" => purge::purge(&running.node, &parse(&body)?).and_then(|answer| json(&answer)),
            "/purges" => purge::since(&running.node, &query).and_then(|answer| json(&answer)),
            "/explain" => commands::explanation(&running.node, &parse(&body)?)
                .map_err(|error| (StatusCode::BAD_REQUEST, format!("{error:#}")))
                .and_then(|answer| json(&answer)),
            "/cache/inspect" => commands::inspection(&running.node, &parse(&body)?)
                .map_err(|error| (StatusCode::BAD_REQUEST, format!("{error:#}")))
                .and_then(|answer| json(&answer)),
            "/firewall/events" => rules::last_events(&running.node, &parse(&body)?)
                .map_err(|error| (StatusCode::BAD_REQUEST, format!("{error:#}")))
                .and_then(|answer| json(&answer)),
            "/shield/status" => shield::answer(&running.node, &parse(&body)?)
                .map_err(|error| (StatusCode::BAD_REQUEST, format!("{error:#}")))
                .and_then(|answer| json(&answer)),
            "/shield/decide" => shield::decided(&running.node, &parse(&body)?)
                .map_err(|error| (StatusCode::NOT_FOUND, error.to_string()))
                .and_then(|answer| json(&answer)),
            "/firewall/limits" => rules::limits_in_force(&running.node, &parse(&body)?)
                .map_err(|error| (StatusCode::BAD_REQUEST, format!("{error:#}")))
                .and_then(|answer| json(&answer)),
            "/reload" => json(&running.reload()),
            "/handover" => {
                let call: HandoverCall = parse(&body)?;
                running.hand_over(&call.receiver).map_err(|error| refused(&error)).and_then(|answer| json(&answer))
            }
            _ => json(&running.status()),
        });
        work.await
            .unwrap_or_else(|_| Err((StatusCode::INTERNAL_SERVER_ERROR, "the call panicked; see the log".to_owned())))
    }
}

/// Reads a body of at most [`CONTROL_BODY_BYTES_MAX`].
pub async fn read_body(body: &mut RequestBody) -> Result<Vec<u8>, (StatusCode, String)> {
    body.limit(CONTROL_BODY_BYTES_MAX);
    let mut content = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.poll_next(cx)).await {
        match frame {
            Ok(frame) => content.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Err(BodyError::TooLarge) => {
                let message = format!("the request's body is larger than {CONTROL_BODY_BYTES_MAX} bytes");
                return Err((StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            Err(error) => return Err((StatusCode::BAD_REQUEST, format!("the request's body: {error}"))),
        }
    }
    Ok(content)
}

/// Understands a body.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("the request is not understood: {error}")))
}
