//! Reads a store beside computing.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::chunk::Chunk;
use super::{LabeledBatch, StoreMeta};
use crate::activations::Layout;
use crate::{Error, Pool, Result};

/// Batches that are read ahead.
const QUEUE: usize = 2;

/// Reads batches in order, on a thread of its own.
#[derive(Debug)]
pub struct StoreReader {
    queue: Option<Receiver<Result<LabeledBatch>>>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
    wait: Duration,
}

impl StoreReader {
    /// Reads the store that `meta` describes, from batch `from` on. After the last batch comes the
    /// first again, without end. A batch is stored as that of `layouts` with its shape, in a buffer of
    /// the pool.
    ///
    /// # Errors
    /// When `folder` holds another store, or chunks are missing.
    ///
    /// # Panics
    /// When there is no batch number `from`.
    pub fn start(folder: &Path, meta: &StoreMeta, from: u64, layouts: Vec<Layout>, pool: &Pool<f32>) -> Result<Self> {
        assert!(from < meta.batches, "batch {from} of {}", meta.batches);
        let (there, all) = (meta.complete_chunks(folder), meta.chunks());
        if there < all {
            let what = format!("has {there} of the {all} chunks that are wanted");
            return Err(Error::file(folder, what, "what it holds is computed again when the run is resumed"));
        }
        let (send, queue) = sync_channel(QUEUE);
        let (of, path, pool) = (meta.clone(), folder.to_owned(), pool.clone());
        let thread = std::thread::Builder::new()
            .name("gim-store-reader".into())
            .spawn(move || read(&send, &path, &of, from, &layouts, &pool))
            .map_err(|e| Error::config("threads", &e, "use fewer threads").caused_by(e))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), folder: folder.to_owned(), wait: Duration::ZERO })
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    /// When its chunk is missing or damaged: the error names file and chunk.
    pub fn next_batch(&mut self) -> Result<LabeledBatch> {
        let began = Instant::now();
        let batch = self.queue.as_ref().and_then(|queue| queue.recv().ok());
        self.wait += began.elapsed();
        batch
            .unwrap_or_else(|| Err(Error::internal(self.folder.display(), "the thread that reads the store has ended")))
    }

    /// Time that the caller has waited for batches.
    pub fn waited(&self) -> Duration {
        self.wait
    }
}

impl Drop for StoreReader {
    fn drop(&mut self) {
        // A thread that waits for room in its queue wakes up when the receiver is gone.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was reported as the end of its queue.
            let _ = thread.join();
        }
    }
}

/// Sends batches until an error or until nobody receives.
fn read(
    queue: &SyncSender<Result<LabeledBatch>>,
    folder: &Path,
    meta: &StoreMeta,
    from: u64,
    layouts: &[Layout],
    pool: &Pool<f32>,
) {
    let (mut chunk, mut number) = (Chunk::default(), None);
    for batch in (from..meta.batches).chain((0..meta.batches).cycle()) {
        let n = batch / meta.batches_per_chunk;
        let read = if number == Some(n) { Ok(()) } else { chunk.read(folder, meta, n) };
        number = Some(n);
        let at = (batch - n * meta.batches_per_chunk) as usize;
        let batch = read.and_then(|()| chunk.batch(at, layouts, meta.value_type, pool));
        let failed = batch.is_err();
        if queue.send(batch).is_err() || failed {
            return;
        }
    }
}
