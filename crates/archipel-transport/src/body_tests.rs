//! What is looked at ahead is there for the taker.

use super::*;

/// A body that comes in pieces, as a connection would bring it.
async fn check(pieces: &[&'static [u8]], bytes_max: usize, content: &[u8], truncated: bool) {
    let whole: Vec<u8> = pieces.concat();
    let mut body = RequestBody::full(Bytes::from(whole.clone()));
    let meter = body.meter().expect("a meter");
    let peeked = body.peek(bytes_max).await.expect("a beginning");
    assert_eq!((&*peeked.content, peeked.truncated), (content, truncated));
    assert_eq!(body.size_hint().exact(), Some(whole.len() as u64));
    assert!(!body.is_end_stream());
    let again = body.peek(bytes_max).await.expect("the same");
    assert_eq!(again, peeked);
    let (taken, _) = body.collect(usize::MAX).await.expect("all of it");
    assert_eq!(&*taken, &*whole);
    assert_eq!(meter.bytes(), whole.len() as u64, "each byte counts once");
}

#[tokio::test]
async fn looked_at_ahead() {
    check(&[b"hello"], 10, b"hello", false).await;
    check(&[b"hello"], 5, b"hello", false).await;
    check(&[b"hello"], 4, b"hell", true).await;
    check(&[b"a", b"b"], 1, b"a", true).await;
}

#[tokio::test]
async fn nothing_and_too_much() {
    let mut body = RequestBody::empty();
    assert_eq!(body.peek(10).await, Ok(Peeked::default()));
    let mut body = RequestBody::full(Bytes::from_static(b"hello"));
    body.limit(3);
    assert_eq!(body.peek(10).await, Err(BodyError::TooLarge));
}

/// A client that sends single bytes costs no more memory than one that does not.
#[test]
fn small_pieces_are_joined() {
    let mut joined = Joined::default();
    let mut whole = Vec::new();
    for number in 0..10_000 {
        // As a connection has it: a byte of a whole buffer.
        let buffer = Bytes::from(vec![b'a' + (number % 26) as u8; 16 << 10]);
        joined.push(buffer.slice(100..101));
        whole.extend_from_slice(&buffer[..1]);
    }
    assert_eq!(joined.len(), whole.len());
    assert!(joined.single.is_empty() && joined.several.capacity() <= 2 * whole.len(), "{}", joined.several.capacity());
    assert_eq!(&*joined.bytes(), &*whole);
    joined.push(Bytes::from_static(b"more"));
    assert_eq!(&*joined.bytes(), &*[&whole[..], b"more"].concat());
}
