//! Calls of MPI: the only unsafe code of this program.
//!
//! Messages are bytes, so all machines must store numbers in the same way. Sends are synchronous: they are
//! done when the receiver has begun to receive. So nothing that nobody waits for piles up in the
//! library, whatever its size.

use std::ffi::c_int;

use gim_core::activations::{Activations, Detached};
use gim_core::{Error, Result};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::ffi;

/// Most bytes of one message; a longer body is sent in pieces.
const PIECE: usize = 1 << 30;

/// The library, as long as this lives. One thread makes it and makes all calls.
pub(super) struct Wire {
    pub(super) rank: usize,
    pub(super) size: usize,
    /// Ends the library when it is dropped, after all other fields.
    _universe: Universe,
}

/// What a message carries. It must neither move nor change while it is sent: a vector and shared
/// activations keep their values on the heap, and nobody can write to either.
pub(crate) enum Body {
    Bytes(Vec<u8>),
    Values(Detached<f32>),
}

/// What a message is received into.
pub(crate) enum Buffer {
    Bytes(Vec<u8>),
    Values(Activations<f32>),
}

/// A message on its way out. Holds what it carries until the library is done with it.
pub(super) struct Sending {
    requests: Vec<ffi::MPI_Request>,
    body: Option<Body>,
}

/// A message on its way in.
pub(super) struct Receiving {
    requests: Vec<ffi::MPI_Request>,
    buffer: Option<Buffer>,
}

impl Wire {
    /// Joins the processes that were started together.
    ///
    /// # Errors
    /// When the library cannot be used beside threads that make no calls.
    pub(super) fn join() -> Result<Self> {
        let (universe, level) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| Error::internal("MPI", "it was initialized before"))?;
        if level < Threading::Funneled {
            let remedy = "use an MPI library that supports MPI_THREAD_FUNNELED";
            return Err(Error::config("MPI", format_args!("supports only {level:?}"), remedy));
        }
        let (mut rank, mut size) = (0, 0);
        // SAFETY: the library is initialized, and both are valid to write to.
        unsafe {
            ffi::MPI_Comm_rank(world(), &mut rank);
            ffi::MPI_Comm_size(world(), &mut size);
        }
        Ok(Self { rank: rank as usize, size: size as usize, _universe: universe })
    }

    /// Begins to send.
    pub(super) fn send(&self, to: usize, tag: i32, body: Body) -> Sending {
        let (start, len) = match &body {
            Body::Bytes(bytes) => (bytes.as_ptr(), bytes.len()),
            Body::Values(x) => (x.memory().as_ptr().cast(), size_of_val(x.memory())),
        };
        let piece = |at: usize| {
            // SAFETY: a constant of the library.
            let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
            let count = (len - at).min(PIECE) as c_int;
            // SAFETY: the piece lies within the body, which lives and stays unchanged until the request is done.
            unsafe {
                let (bytes, to) = (ffi::RSMPI_UINT8_T, to as c_int);
                ffi::MPI_Issend(start.add(at).cast(), count, bytes, to, tag, world(), &mut request);
            }
            request
        };
        // A body of no bytes is a message, too.
        let requests = (0..len.max(1)).step_by(PIECE).map(piece).collect();
        Sending { requests, body: Some(body) }
    }

    /// Begins to receive as many bytes as the buffer has.
    pub(super) fn receive(&self, from: usize, tag: i32, mut buffer: Buffer) -> Receiving {
        let (start, len): (*mut u8, usize) = match &mut buffer {
            Buffer::Bytes(bytes) => (bytes.as_mut_ptr(), bytes.len()),
            Buffer::Values(x) => (x.memory_mut().as_mut_ptr().cast(), size_of_val(x.memory())),
        };
        let piece = |at: usize| {
            // SAFETY: a constant of the library.
            let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
            let count = (len - at).min(PIECE) as c_int;
            // SAFETY: the piece lies within the buffer, which nobody touches until the request is done. Every
            // pattern of bits is a valid u8 and f32.
            unsafe {
                let (bytes, from) = (ffi::RSMPI_UINT8_T, from as c_int);
                ffi::MPI_Irecv(start.add(at).cast(), count, bytes, from, tag, world(), &mut request);
            }
            request
        };
        let requests = (0..len.max(1)).step_by(PIECE).map(piece).collect();
        Receiving { requests, buffer: Some(buffer) }
    }

    /// A short message that has arrived, if there is one, and who sent it; `from` anyone, if that is
    /// none.
    pub(super) fn poll(&self, from: Option<usize>, tag: i32) -> Option<(usize, Vec<u8>)> {
        let (mut found, mut count) = (0, 0);
        // SAFETY: a status is plain data that the library overwrites.
        let mut status: ffi::MPI_Status = unsafe { std::mem::zeroed() };
        // SAFETY: handles and places to write to are valid; the buffer has room for the message that
        // was matched.
        unsafe {
            let mut message = ffi::RSMPI_MESSAGE_NULL;
            let from = from.map_or(ffi::RSMPI_ANY_SOURCE, |from| from as c_int);
            ffi::MPI_Improbe(from, tag, world(), &mut found, &mut message, &mut status);
            if found == 0 {
                return None;
            }
            ffi::MPI_Get_count(&status, ffi::RSMPI_UINT8_T, &mut count);
            let mut bytes = vec![0_u8; count as usize];
            ffi::MPI_Mrecv(bytes.as_mut_ptr().cast(), count, ffi::RSMPI_UINT8_T, &mut message, &mut status);
            Some((status.MPI_SOURCE as usize, bytes))
        }
    }

    /// Ends all processes. Does not return where the library keeps its word.
    pub(super) fn abort(&self, code: i32) {
        // SAFETY: the library is initialized.
        unsafe { ffi::MPI_Abort(world(), code) };
    }
}

fn world() -> ffi::MPI_Comm {
    // SAFETY: a constant of the library.
    unsafe { ffi::RSMPI_COMM_WORLD }
}

/// Drops the requests that are done; whether all are.
fn all_done(requests: &mut Vec<ffi::MPI_Request>) -> bool {
    requests.retain_mut(|request| {
        let mut done = 0;
        // SAFETY: the request is active, and its memory is alive.
        unsafe { ffi::MPI_Test(request, &mut done, ffi::RSMPI_STATUS_IGNORE) };
        done == 0
    });
    requests.is_empty()
}

impl Sending {
    pub(super) fn is_done(&mut self) -> bool {
        all_done(&mut self.requests)
    }
}

impl Receiving {
    /// What has arrived, once all of it has.
    pub(super) fn take(&mut self) -> Option<Buffer> {
        if all_done(&mut self.requests) { self.buffer.take() } else { None }
    }
}

// A message that is dropped before it is done, which only a panic does, leaks what it carries: the
// library still uses that memory.

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.requests.is_empty() {
            std::mem::forget(self.body.take());
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if !self.requests.is_empty() {
            std::mem::forget(self.buffer.take());
        }
    }
}

/// Waits, without blocking, until all processes have come here.
pub(super) struct Barrier(Vec<ffi::MPI_Request>);

impl Wire {
    pub(super) fn barrier(&self) -> Barrier {
        // SAFETY: a handle to write to, and an initialized library.
        unsafe {
            let mut request = ffi::RSMPI_REQUEST_NULL;
            ffi::MPI_Ibarrier(world(), &mut request);
            Barrier(vec![request])
        }
    }
}

impl Barrier {
    pub(super) fn is_passed(&mut self) -> bool {
        all_done(&mut self.0)
    }
}

impl Body {
    /// Its bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Values(x) => size_of_val(x.memory()),
        }
    }
}
