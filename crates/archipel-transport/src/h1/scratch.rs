//! One read buffer and one head buffer a thread: a connection that waits holds no buffer at all.

use std::cell::RefCell;

/// Bytes asked of the kernel in one read.
pub(crate) const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
    static HEAD: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(4096));
}

/// Runs `f` with the thread's read buffer. `f` must not suspend (it cannot: it is not async).
pub(crate) fn with_read_buffer<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    READ.with(|buffer| f(&mut buffer.borrow_mut()))
}

/// Runs `f` with the thread's empty head buffer.
pub(crate) fn with_head_buffer<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    HEAD.with(|buffer| {
        let mut buffer = buffer.borrow_mut();
        buffer.clear();
        f(&mut buffer)
    })
}
