//! Fills: late, slow and leaving readers, failures, the window, many readers at once.

use crate::testing::{Version, Woken, head, key, read_now, store};
use crate::{Fill, FillBudget, FillError, FillOptions, FillReader, FillWriter, Refused, Store};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

const OPTIONS: FillOptions =
    FillOptions { object_bytes_max: 100_000, window_bytes_max: 100, length: None, keep_without_readers: true };

struct Setup {
    store: Arc<Store<Version>>,
    budget: Arc<FillBudget>,
}

fn setup(fills_bytes_max: u64) -> Setup {
    let store = store(1 << 20);
    let budget = Arc::new(FillBudget::new(fills_bytes_max, Arc::clone(store.stats())));
    Setup { store, budget }
}

impl Setup {
    fn start(&self, options: FillOptions) -> (FillWriter<Version>, FillReader<Version>) {
        Fill::start(head(key("/a"), "", 1, self.store.stamp()), options, Arc::clone(&self.budget))
    }
}

fn is_ready(writer: &FillWriter<Version>, waker: &Waker) -> Poll<Result<(), FillError>> {
    writer.poll_ready(&mut Context::from_waker(waker))
}

#[test]
fn readers_read_while_it_fills() {
    let setup = setup(1 << 20);
    let (mut writer, mut first) = setup.start(OPTIONS);
    let (woken, waker) = Woken::new();
    assert_eq!(read_now(&mut first, &waker), "|");
    writer.append(Bytes::from_static(b"ab"));
    writer.append(Bytes::new());
    assert_eq!(woken.count(), 1);
    assert_eq!(read_now(&mut first, &waker), "ab|");
    let mut late = writer.fill().reader().unwrap();
    assert_eq!(read_now(&mut late, &waker), "ab|");
    let gone = writer.fill().reader().unwrap();
    writer.append(Bytes::from_static(b"cd"));
    drop(gone);
    assert_eq!(woken.count(), 3);
    assert_eq!(read_now(&mut first, &waker), "cd|");
    let fill = Arc::clone(writer.fill());
    assert!(fill.is_joinable());
    let mut trailers = HeaderMap::new();
    trailers.insert("digest", HeaderValue::from_static("x"));
    assert!(late.trailers().is_none());
    let stored = writer.finish(Some(trailers)).unwrap().unwrap();
    assert_eq!(read_now(&mut first, &waker), ".");
    assert_eq!(read_now(&mut late, &waker), "cd.");
    assert_eq!(late.trailers().unwrap()["digest"], "x");
    assert_eq!(read_now(&mut fill.reader().unwrap(), &waker), "abcd.", "also after the end");
    assert_eq!(stored.body().segments(), [Bytes::from_static(b"abcd")]);
    assert_eq!(stored.body().trailers().unwrap()["digest"], "x");
    setup.store.insert(stored).unwrap();
    assert_eq!(setup.budget.used(), 0);
    assert_eq!(setup.store.lookup(&key("/a"), |_| true).unwrap().stored.body().len(), 4);
}

#[test]
fn an_empty_body_is_stored() {
    let setup = setup(0);
    let (writer, mut reader) = setup.start(FillOptions { length: Some(0), ..OPTIONS });
    let stored = writer.finish(Some(HeaderMap::new())).unwrap().unwrap();
    assert!(stored.body().is_empty() && stored.body().trailers().is_none());
    assert_eq!(read_now(&mut reader, Waker::noop()), ".");
}

/// A body that does not end as it should is never seen to end.
#[test]
fn failures_are_never_a_clean_end() {
    type End = fn(FillWriter<Version>) -> Option<FillError>;
    let cases: [(&str, Option<u64>, End, FillError); 5] = [
        (
            "dropped",
            None,
            |writer| {
                drop(writer);
                None
            },
            FillError::Truncated,
        ),
        (
            "failed",
            None,
            |writer| {
                writer.fail(FillError::Failed("http_response_timeout"));
                None
            },
            FillError::Failed("http_response_timeout"),
        ),
        ("short", Some(4), |writer| writer.finish(None).err(), FillError::Truncated),
        ("long", Some(2), |writer| writer.finish(None).err(), FillError::Truncated),
        (
            "long at once",
            Some(3),
            |mut writer| {
                writer.append(Bytes::from_static(b"d"));
                None
            },
            FillError::Truncated,
        ),
    ];
    for (name, length, end, expected) in cases {
        let setup = setup(1 << 20);
        let (mut writer, mut reader) = setup.start(FillOptions { length, ..OPTIONS });
        let (woken, waker) = Woken::new();
        let fill = Arc::clone(writer.fill());
        assert_eq!(read_now(&mut reader, &waker), "|", "{name}");
        writer.append(Bytes::from_static(b"abc"));
        let error = end(writer);
        assert!(error.is_none_or(|error| error == expected), "{name}");
        assert!(woken.count() > 0, "{name}");
        let bytes = if name == "long" { "" } else { "abc" };
        assert_eq!(read_now(&mut reader, &waker), format!("{bytes}!"), "{name}: first what there is");
        let again = reader.poll_next(&mut Context::from_waker(&waker));
        assert!(matches!(again, Poll::Ready(Some(Err(error))) if error == expected), "{name}: {again:?}");
        assert!(fill.reader().is_none() && !fill.is_joinable(), "{name}");
        assert!(reader.trailers().is_none());
        assert_eq!((setup.budget.used(), setup.store.counts().fills_failed), (0, 1), "{name}");
    }
}

#[test]
fn a_slow_reader_hurts_nobody_while_storable() {
    let setup = setup(1 << 20);
    let (mut writer, mut slow) = setup.start(OPTIONS);
    let mut fast = writer.fill().reader().unwrap();
    for _ in 0..50 {
        assert_eq!(is_ready(&writer, Waker::noop()), Poll::Ready(Ok(())));
        writer.append(Bytes::from(vec![b'x'; 1_000]));
        assert_eq!(read_now(&mut fast, Waker::noop()).len(), 1_001);
    }
    assert_eq!(setup.budget.used(), 50_000);
    assert_eq!(writer.finish(None).unwrap().unwrap().body().len(), 50_000);
    assert_eq!(read_now(&mut slow, Waker::noop()).len(), 50_001);
}

#[test]
fn outgrown_fills_are_passed_through_a_window() {
    let too_large = (FillOptions { object_bytes_max: 1_000, ..OPTIONS }, 1 << 20);
    let no_budget = (OPTIONS, 150);
    for (options, fills_bytes_max) in [too_large, no_budget] {
        let setup = setup(fills_bytes_max);
        let (mut writer, mut reader) = setup.start(options);
        let (woken, waker) = Woken::new();
        writer.append(Bytes::from(vec![b'a'; 90]));
        let mut second = writer.fill().reader().unwrap();
        writer.append(Bytes::from(vec![b'b'; 990]));
        assert!(!writer.is_storable() && !writer.fill().is_joinable());
        assert_eq!(setup.budget.used(), 0, "what is passed through is not kept for storing");
        assert_eq!(is_ready(&writer, &waker), Poll::Pending);
        assert_eq!(read_now(&mut reader, &waker).len(), 1_081);
        assert_eq!((woken.count(), is_ready(&writer, &waker)), (0, Poll::Pending), "the slowest counts");
        let third = writer.fill().reader().expect("the first byte is still held");
        drop(third);
        assert_eq!(read_now(&mut second, &waker).len(), 1_081);
        assert_eq!((woken.count(), is_ready(&writer, &waker)), (1, Poll::Ready(Ok(()))));
        assert!(writer.fill().reader().is_none(), "the first byte is gone");

        // A reader that leaves no longer counts.
        writer.append(Bytes::from(vec![b'c'; 200]));
        assert_eq!(read_now(&mut reader, &waker).len(), 201);
        assert_eq!(is_ready(&writer, &waker), Poll::Pending);
        let before = woken.count();
        drop(second);
        assert_eq!((woken.count() - before, is_ready(&writer, &waker)), (1, Poll::Ready(Ok(()))));
        writer.append(Bytes::from_static(b"end"));
        assert!(writer.finish(None).unwrap().is_none(), "not to be stored");
        assert_eq!(read_now(&mut reader, &waker), "end.");
    }
}

#[test]
fn the_writer_stops_where_nobody_wants_more() {
    let abandoned = Poll::Ready(Err(FillError::Abandoned));
    // (kept without readers, passed through) and whether it is abandoned when the last reader leaves.
    for (keep, passed, expected) in
        [(true, false, false), (false, false, true), (true, true, true), (false, true, true)]
    {
        let setup = setup(1 << 20);
        let (mut writer, reader) = setup.start(FillOptions { keep_without_readers: keep, ..OPTIONS });
        if passed {
            writer.pass_through();
        }
        let (woken, waker) = Woken::new();
        assert!(writer.poll_abandoned(&mut Context::from_waker(&waker)).is_pending());
        drop(reader);
        assert_eq!(woken.count(), usize::from(expected), "{keep} {passed}");
        assert_eq!(is_ready(&writer, &waker) == abandoned, expected, "{keep} {passed}");
        assert_eq!(writer.poll_abandoned(&mut Context::from_waker(&waker)).is_ready(), expected, "{keep} {passed}");
        // A new reader changes that.
        let reader = writer.fill().reader().unwrap();
        assert_eq!(is_ready(&writer, &waker), Poll::Ready(Ok(())));
        drop(reader);
    }
}

#[test]
fn what_is_stored_is_not_a_slice_of_a_network_buffer() {
    let mut network = BytesMut::with_capacity(64 * 1024);
    network.extend_from_slice(&[7; 100]);
    let network = network.freeze();
    let setup = setup(1 << 20);
    let (mut writer, reader) = setup.start(OPTIONS);
    writer.append(network.slice(10..20));
    assert!(network.is_unique());
    let stored = writer.finish(None).unwrap().unwrap();
    assert_eq!((stored.body().len(), reader.fill().length()), (10, None));
}

#[test]
fn the_store_refuses_what_was_purged_while_it_filled() {
    let setup = setup(1 << 20);
    let (mut writer, mut reader) = setup.start(OPTIONS);
    writer.append(Bytes::from_static(b"old"));
    setup.store.purge_key(&key("/a"), crate::PurgeKind::Hard);
    let stored = writer.finish(None).unwrap().unwrap();
    assert_eq!(setup.store.insert(stored).unwrap_err(), Refused::Purged);
    assert_eq!(read_now(&mut reader, Waker::noop()), "old.", "who asked before the purge gets the answer");
}

#[tokio::test(flavor = "current_thread")]
async fn a_thousand_readers_stream_at_once() {
    let store = store(64 << 20);
    let (mut writer, reader) = store.start_fill(head(key("/a"), "", 1, store.stamp()), Some(100_000), true);
    let mut readers = vec![reader];
    readers.extend((1..1_000).filter_map(|_| writer.fill().reader()));
    assert_eq!(writer.fill().readers(), 1_000);
    let tasks: Vec<_> = readers
        .into_iter()
        .enumerate()
        .map(|(number, mut reader)| {
            tokio::spawn(async move {
                let mut bytes = 0;
                while let Some(piece) = reader.next().await {
                    bytes += piece?.len();
                    // Every tenth leaves half-way.
                    if number % 10 == 0 && bytes > 50_000 {
                        break;
                    }
                }
                Ok::<usize, FillError>(bytes)
            })
        })
        .collect();
    for _ in 0..100 {
        writer.ready().await.unwrap();
        writer.append(Bytes::from(vec![1; 1_000]));
        tokio::task::yield_now().await;
    }
    let stored = writer.finish(None).unwrap().unwrap();
    for (number, task) in tasks.into_iter().enumerate() {
        let bytes = task.await.unwrap().unwrap();
        assert_eq!(bytes == 100_000, number % 10 != 0);
    }
    store.insert(stored).unwrap();
    assert_eq!((store.counts().fills, store.counts().fills_bytes), (1, 0));
}

/// Readers at their own pace on other threads than the writer: each sees each byte once, in order, and the window holds.
#[test]
fn readers_on_other_threads() {
    for object_bytes_max in [1 << 30, 10_000] {
        let setup = setup(1 << 30);
        let (mut writer, first) = setup.start(FillOptions { object_bytes_max, window_bytes_max: 5_000, ..OPTIONS });
        let others: Vec<_> = (0..3).filter_map(|_| writer.fill().reader()).collect();
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        std::thread::scope(|scope| {
            for mut reader in others.into_iter().chain([first]) {
                scope.spawn(move || {
                    let mut next = 0_u32;
                    runtime().block_on(async {
                        while let Some(piece) = reader.next().await {
                            let piece = piece.unwrap();
                            for number in piece.chunks(4) {
                                assert_eq!(number, next.to_be_bytes());
                                next += 1;
                            }
                        }
                    });
                    assert_eq!(next, 50_000);
                });
            }
            runtime().block_on(async {
                for start in (0..50_000_u32).step_by(100) {
                    writer.ready().await.unwrap();
                    let piece: Vec<u8> = (start..start + 100).flat_map(u32::to_be_bytes).collect();
                    writer.append(piece.into());
                }
            });
            assert_eq!(writer.finish(None).unwrap().is_some(), object_bytes_max > 10_000);
        });
    }
}
