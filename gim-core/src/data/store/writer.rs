//! Writes a store beside computing.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::chunk::Encoder;
use super::{LabeledBatch, StoreMeta, chunk_file};
use crate::files::write_atomic_with;
use crate::link::{Packet, Sink};
use crate::{Error, Result};

/// Batches that may wait for the writer's thread. Then the computing thread waits.
const QUEUE: usize = 2;

/// What a writer has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Batches on disk that this writer was given.
    pub batches: u64,
    /// Chunks that hold them.
    pub chunks: u64,
    /// Bytes of these chunks.
    pub bytes: u64,
    /// Time in which the thread encoded and wrote.
    pub busy: Duration,
}

/// Writes batches in order, on a thread of its own.
#[derive(Debug)]
pub struct StoreWriter {
    queue: Option<SyncSender<LabeledBatch>>,
    thread: Option<JoinHandle<Result<Written>>>,
    folder: PathBuf,
    next: u64,
    batches: u64,
}

impl StoreWriter {
    /// Begins the store that `meta` describes in `folder`, or resumes it at the first chunk that is
    /// missing. Another store in this folder is removed.
    ///
    /// # Errors
    /// When the disk refuses, or the system has no more threads.
    ///
    /// # Panics
    /// When a chunk or the store has no batches.
    pub fn resume(folder: &Path, meta: &StoreMeta) -> Result<Self> {
        assert!(meta.batches > 0 && meta.batches_per_chunk > 0, "{} batches", meta.batches);
        meta.begin(folder)?;
        let chunk = meta.complete_chunks(folder);
        let next = meta.batches.min(chunk * meta.batches_per_chunk);
        let (queue, receive) = sync_channel(QUEUE);
        let (of, into) = (meta.clone(), folder.to_owned());
        let thread = std::thread::Builder::new()
            .name("gim-store-writer".into())
            .spawn(move || write(&receive, &of, &into, chunk))
            .map_err(|e| Error::config("threads", &e, "use fewer threads").caused_by(e))?;
        let (queue, thread) = (Some(queue), Some(thread));
        Ok(Self { queue, thread, folder: folder.to_owned(), next, batches: meta.batches })
    }

    /// Number of the batch that comes next; all batches below are on disk or on their way.
    pub fn next_batch(&self) -> u64 {
        self.next
    }

    /// Whether all batches are there.
    pub fn is_full(&self) -> bool {
        self.next == self.batches
    }

    /// Whether what was handed on can still be written.
    ///
    /// # Errors
    /// That of the writer's thread, if it has failed meanwhile.
    pub fn check(&mut self) -> Result<()> {
        if self.queue.is_some() { Ok(()) } else { self.end().map(drop) }
    }

    /// Waits until all batches are on disk. A chunk that is not full is not written.
    ///
    /// # Errors
    /// When the disk refuses, or a value does not fit the type.
    pub fn finish(mut self) -> Result<Written> {
        self.end()
    }

    fn end(&mut self) -> Result<Written> {
        self.queue = None;
        let failed = || Error::internal(self.folder.display(), "the thread that writes the store has panicked");
        self.thread.take().map_or_else(|| Err(failed()), |thread| thread.join().unwrap_or_else(|_| Err(failed())))
    }
}

impl Sink<f32> for StoreWriter {
    /// Hands the next batch to the writer's thread. Waits when the disk is slower than what computes.
    /// When the thread has failed, the batch is dropped: [`StoreWriter::check`] says so.
    ///
    /// # Panics
    /// When the store is full.
    fn send(&mut self, packet: Packet<f32>) {
        assert!(!self.is_full(), "the store has {} batches", self.batches);
        self.next += 1;
        if self.queue.as_ref().is_some_and(|queue| queue.send((packet.x, packet.labels)).is_err()) {
            self.queue = None;
        }
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // Whoever drops a writer has an error of their own to report.
            let _ = thread.join();
        }
    }
}

fn write(batches: &Receiver<LabeledBatch>, meta: &StoreMeta, folder: &Path, first: u64) -> Result<Written> {
    let (mut encoder, mut waiting, mut done) = (Encoder::default(), Vec::new(), Written::default());
    let mut chunk = first;
    for batch in batches {
        let began = Instant::now();
        waiting.push(batch);
        let within = meta.batches_of(chunk);
        if waiting.len() as u64 == within.end - within.start {
            let bytes = encoder.encode(meta, chunk, &waiting)?;
            write_atomic_with(&chunk_file(folder, chunk), |out| out.write_all(bytes))?;
            done.bytes += bytes.len() as u64;
            done.batches += waiting.len() as u64;
            done.chunks += 1;
            waiting.clear();
            chunk += 1;
        }
        done.busy += began.elapsed();
    }
    Ok(done)
}
