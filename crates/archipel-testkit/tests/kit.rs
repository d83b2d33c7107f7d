//! The kit against itself: clients straight to origins, and scenarios played without an edge between.

use std::net::SocketAddr;
use std::path::Path;

use archipel_testkit::case::{Case, Form};
use archipel_testkit::chance::pattern;
use archipel_testkit::client::RawClient;
use archipel_testkit::edge::{Announcement, TempDir};
use archipel_testkit::h2client::H2Client;
use archipel_testkit::h2origin::{H2Origin, Reply2};
use archipel_testkit::h2raw::{RawH2, Refusal};
use archipel_testkit::origin::{Act, Gate, ScriptedOrigin};
use archipel_testkit::play::{LogTap, Stage, World, play};
use archipel_testkit::played::PlayedOrigin;
use archipel_testkit::text::Vars;
use archipel_testkit::tls::TestCa;
use archipel_testkit::wire::{End, Target};
use bytes::Bytes;
use http::Request;

type Outcome = anyhow::Result<()>;

#[tokio::test]
async fn scripts_are_played_to_the_byte() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gate = Gate::new();
    origin.on(
        "/slow",
        vec![
            Act::send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
            Act::Wait(gate.clone()),
            Act::send("3\r\ncde\r\n0\r\nX-Sum: 5\r\n\r\n"),
        ],
    );
    let mut client = RawClient::connect(&Target::plain(origin.address())).await?;
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.read_response().await?.head.status()?, 103);
    let head = client.read_head(false).await?.expect("a head");
    assert_eq!((head.status()?, client.read_part(2).await?), (200, b"ab".to_vec()));
    gate.release();
    let (rest, trailers, cut) = client.read_rest().await?;
    assert_eq!((rest, cut), (b"cde".to_vec(), None));
    assert_eq!(trailers, [("X-Sum".to_owned(), "5".to_owned())]);
    assert_eq!(client.get("a", "/none").await?.head.status()?, 404);
    assert_eq!((origin.count("/slow"), origin.requests()[1].connection), (1, 1));
    assert!(origin.bytes()[0].starts_with(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /none"));
    assert!(origin.faults().is_empty());
    Ok(())
}

#[tokio::test]
async fn lies_cuts_and_resets_are_seen() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let lie = Act::send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    origin.on("/cut", vec![lie.clone(), Act::Close]);
    origin.on("/reset", vec![lie, Act::Reset]);
    for (path, want) in [("/cut", End::Closed), ("/reset", End::Reset)] {
        let mut client = RawClient::connect(&Target::plain(origin.address())).await?;
        let answer = client.get("a", path).await?;
        assert_eq!(answer.cut, Some(want), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn large_bodies_and_echo() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on(
        "/large",
        vec![
            Act::send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"),
            Act::SendPattern { seed: 5, count: 300_000 },
        ],
    );
    origin.on(
        "/chat",
        vec![Act::send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), Act::Echo],
    );
    let mut client = RawClient::connect(&Target::plain(origin.address())).await?;
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.read_head(false).await?;
    let mut offset = 0;
    let (total, cut) = client
        .skim_rest(|piece| {
            assert_eq!(piece, pattern(5, offset, piece.len()));
            offset += piece.len() as u64;
        })
        .await?;
    assert_eq!((total, cut), (300_000, None));
    client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    assert_eq!(client.read_response().await?.head.status()?, 101);
    client.send("ping").await;
    assert_eq!(client.wire.take(4).await?.as_deref(), Some(&b"ping"[..]));
    Ok(())
}

#[tokio::test]
async fn tls_and_http2() -> Outcome {
    let ca = TestCa::new()?;
    let origin = H2Origin::start(Some(ca.issue(&["a.test"])?.server_config(&["h2"])?)).await?;
    origin.on(
        "/grpc",
        Reply2 {
            interim: vec![103],
            body: vec![(None, b"answer".to_vec())],
            trailers: vec![("grpc-status", "0")],
            ..Reply2::default()
        },
    );
    let target = Target::tls(origin.address(), ca.client_config(&["h2"])?, "a.test");
    let mut client = H2Client::connect(&target).await?;
    let mut exchange = client.start(Request::post("https://a.test/grpc").body(())?, false).await?;
    exchange.send(Bytes::from_static(b"question"), true).await?;
    let answer = exchange.finish().await?;
    assert_eq!((answer.interim.len(), answer.head.status().as_u16(), &answer.body[..]), (1, 200, &b"answer"[..]));
    assert_eq!(answer.trailers.and_then(|t| t.get("grpc-status").cloned()).expect("a trailer"), "0");
    assert_eq!(
        (&origin.requests()[0].body[..], client.get("https://a.test/none").await?.head.status().as_u16()),
        (&b"question"[..], 404)
    );
    Ok(())
}

#[tokio::test]
async fn raw_frames() -> Outcome {
    let origin = H2Origin::start(None).await?;
    origin.on("/reset", Reply2 { reset: Some(2), ..Reply2::default() });
    origin.on("/large", Reply2 { body: vec![(None, vec![7; 200_000])], ..Reply2::default() });
    let mut client = RawH2::connect(&Target::plain(origin.address())).await?;
    let (head, body) = client.ask(&RawH2::get("a.test", "/large")).await?;
    assert_eq!((head.status, body.len()), (200, 200_000));
    let stream = client.send_head(&RawH2::get("a.test", "/reset"), true).await;
    let refusal = match client.read_head(stream).await? {
        Ok(_) => client.read_rest(stream).await?.2,
        Err(refusal) => Some(refusal),
    };
    assert_eq!(refusal, Some(Refusal::Reset(2)));
    let stream = client.send_head(&[(":method", "GET"), ("Bad\r\n", "x")], true).await;
    assert!(client.read_head(stream).await?.is_err());
    Ok(())
}

/// Plays a scenario with the client connected to the origin itself.
async fn play_directly(steps: &str) -> Outcome {
    let folder = TempDir::new("kit")?;
    let origin = PlayedOrigin::listen(None).await?;
    let address: SocketAddr = origin.address();
    let at = Announcement { pid: 0, listeners: vec![(address, false)], admin: None, control_socket: None };
    let world = World { at, roots: TestCa::new()?.roots()?, log: LogTap::open(&folder.path().join("log"))? };
    let vars = Vars::from([("HOST".to_owned(), "a.test".to_owned())]);
    let case = Case::parse(Path::new("x.txt"), &format!("name: x\nwhy: w\nfrom: f\n\n{steps}"))?;
    play(&case, Form::H1, &world, Stage { origin, vars, source: [127, 0, 0, 1].into() }).await
}

#[tokio::test]
async fn scenarios_hold_where_they_are_true() -> Outcome {
    let exchange = "C> POST /a HTTP/1.1\nC> Host: $HOST\nC> Content-Length: 4\nC>\nC> body\\\nO< POST /a HTTP/1.1\nO< host: a.*\nO< body \"body\"\nO> HTTP/1.1 200 OK\nO> Content-Length: 2\nO>\nO> ok\\\n";
    play_directly(&format!(
        "{exchange}C< 200\nC< content-length: 2\nC< !age\nC< body \"ok\"\nC< quiet\nO! close\nC< closed\n"
    ))
    .await?;
    for (wrong, why) in [
        ("C< 404\n", "expected \"404\""),
        ("C< 200\nC< body \"no\"\n", "expected body"),
        ("C< 200\nC< x: *\n", "expected field x"),
        ("C< 200\nO! reset\nC< closed\n", "ended by Reset"),
        ("C2> GET /b HTTP/1.1\nC2>\nO< GET /c HTTP/1.1\n", "GET /c"),
    ] {
        let error = format!("{:#}", play_directly(&format!("{exchange}{wrong}")).await.expect_err(wrong));
        assert!(error.contains(why) && error.contains("x.txt:"), "{wrong}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn what_no_step_expects_is_a_failure() -> Outcome {
    let smuggled = "C> POST /a HTTP/1.1\nC> Content-Length: 2\nC>\nC> okGET /smuggled HTTP/1.1\nC>\nO< POST /a HTTP/1.1\nO> HTTP/1.1 204 No Content\nO>\nC< 204\n";
    let error = format!("{:#}", play_directly(smuggled).await.expect_err("smuggled bytes"));
    assert!(error.contains("/smuggled"), "{error}");
    Ok(())
}
