//! The bytes of a chunk.
//!
//! All numbers are little-endian:
//!
//! ```text
//! magic    8   "GIMCHUNK"
//! crc32    4   of all that follows
//! digest  32   SHA-256 of store.json
//! number   8   of the chunk, 0-based
//! payload  8   its bytes before compression
//! batches  4
//!   of each: batch, height, width, channels, labels    4 each
//! payload      labels of all batches (i32), then values (N, H, W, C) of all batches
//! ```

use std::path::Path;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::{LabeledBatch, StoreMeta, ValueType, chunk_file};
use crate::activations::{Activations, Layout, Shape};
use crate::{Error, Pool, Result};

const MAGIC: &[u8; 8] = b"GIMCHUNK";
/// Bytes in front of what the checksum covers, and of the header without its list of batches.
const SEALED_FROM: usize = 12;
const FIXED: usize = 64;
const PER_BATCH: usize = 20;
/// Values that are converted at a time.
const BLOCK: usize = 1024;

/// Encodes chunks into buffers of its own.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    out: Vec<u8>,
    payload: Vec<u8>,
}

impl Encoder {
    /// The bytes of chunk number `n`.
    ///
    /// # Errors
    /// [`Error::Data`] when a value does not fit the type, [`Error::Internal`] when compression fails.
    pub(super) fn encode(&mut self, meta: &StoreMeta, n: u64, batches: &[LabeledBatch]) -> Result<&[u8]> {
        self.payload.clear();
        for (_, labels) in batches {
            labels.iter().for_each(|l| self.payload.extend_from_slice(&l.to_le_bytes()));
        }
        for (x, _) in batches {
            (0..x.shape().batch).try_for_each(|i| put(&mut self.payload, x.item(i), meta.value_type))?;
        }
        self.out.clear();
        self.out.extend_from_slice(MAGIC);
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(&meta.digest()?);
        self.out.extend_from_slice(&n.to_le_bytes());
        self.out.extend_from_slice(&(self.payload.len() as u64).to_le_bytes());
        self.out.extend_from_slice(&(batches.len() as u32).to_le_bytes());
        for (x, labels) in batches {
            let s = x.shape();
            for value in [s.batch, s.height, s.width, s.channels, labels.len()] {
                let value = u32::try_from(value).map_err(|_| {
                    Error::data("store", format_args!("{s:?} is too large for a chunk"), "use smaller batches")
                })?;
                self.out.extend_from_slice(&value.to_le_bytes());
            }
        }
        if meta.zstd == 0 {
            self.out.extend_from_slice(&self.payload);
        } else {
            let packed = zstd::bulk::compress(&self.payload, meta.zstd)
                .map_err(|e| Error::internal("store", format_args!("zstd failed: {e}")).caused_by(e))?;
            self.out.extend_from_slice(&packed);
        }
        let crc = crc32fast::hash(&self.out[SEALED_FROM..]);
        self.out[SEALED_FROM - 4..SEALED_FROM].copy_from_slice(&crc.to_le_bytes());
        Ok(&self.out)
    }
}

/// Appends values.
fn put(out: &mut Vec<u8>, values: &[f32], value_type: ValueType) -> Result<()> {
    match value_type {
        ValueType::Float32 => values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
        ValueType::Float16 => {
            let mut block = [f16::ZERO; BLOCK];
            for values in values.chunks(BLOCK) {
                let block = &mut block[..values.len()];
                block.convert_from_f32_slice(values);
                if let Some(i) = (0..values.len()).find(|i| values[*i].is_finite() && !block[*i].is_finite()) {
                    let what = format!("{:e} does not fit float16, whose largest value is 65504", values[i]);
                    return Err(Error::data("activations to store", what, "store them as bfloat16 or float32"));
                }
                block.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
            }
        }
        ValueType::BFloat16 => {
            let mut block = [bf16::ZERO; BLOCK];
            for values in values.chunks(BLOCK) {
                let block = &mut block[..values.len()];
                block.convert_from_f32_slice(values);
                block.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
            }
        }
    }
    Ok(())
}

/// Overwrites `values` with those of `bytes`, as many.
fn get(bytes: &[u8], values: &mut [f32], value_type: ValueType) {
    match value_type {
        ValueType::Float32 => {
            let (bytes, _) = bytes.as_chunks();
            values.iter_mut().zip(bytes).for_each(|(v, b)| *v = f32::from_le_bytes(*b));
        }
        ValueType::Float16 => {
            let (bytes, _) = bytes.as_chunks();
            let mut block = [f16::ZERO; BLOCK];
            for (values, bytes) in values.chunks_mut(BLOCK).zip(bytes.chunks(BLOCK)) {
                block.iter_mut().zip(bytes).for_each(|(v, b)| *v = f16::from_le_bytes(*b));
                block[..values.len()].convert_to_f32_slice(values);
            }
        }
        ValueType::BFloat16 => {
            let (bytes, _) = bytes.as_chunks();
            let mut block = [bf16::ZERO; BLOCK];
            for (values, bytes) in values.chunks_mut(BLOCK).zip(bytes.chunks(BLOCK)) {
                block.iter_mut().zip(bytes).for_each(|(v, b)| *v = bf16::from_le_bytes(*b));
                block[..values.len()].convert_to_f32_slice(values);
            }
        }
    }
}

/// A chunk that was read and verified.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    file: Vec<u8>,
    unpacked: Vec<u8>,
    /// Shape and number of labels of each batch.
    batches: Vec<(Shape, usize)>,
    /// Where the payload begins in `file`; `None` when it is in `unpacked`.
    payload: Option<usize>,
}

impl Chunk {
    /// Reads chunk number `n`, whose bytes are verified.
    ///
    /// # Errors
    /// [`Error::File`] that names the file and the chunk, when it is missing, damaged, or of another
    /// store.
    pub(super) fn read(&mut self, folder: &Path, meta: &StoreMeta, n: u64) -> Result<()> {
        let path = chunk_file(folder, n);
        self.file.clear();
        std::fs::File::open(&path)
            .and_then(|mut file| std::io::Read::read_to_end(&mut file, &mut self.file))
            .map_err(|e| Error::io(&path, &format!("read chunk {n} of {}", meta.chunks()), e))?;
        self.parse(meta, n).map_err(|what| {
            let what = format!("is damaged (chunk {n} of {}): {what}", meta.chunks());
            Error::file(&path, what, "remove this file; it is computed again")
        })
    }

    fn parse(&mut self, meta: &StoreMeta, n: u64) -> std::result::Result<(), String> {
        let Self { file, unpacked, batches, payload } = self;
        if file.len() < FIXED || &file[..8] != MAGIC {
            return Err("it is no chunk".into());
        }
        let number = |at: usize| u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
        let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
        if crc32fast::hash(&file[SEALED_FROM..]) != number(8) {
            return Err("its checksum does not hold".into());
        }
        let digest = meta.digest().map_err(|e| e.to_string())?;
        if file[SEALED_FROM..SEALED_FROM + 32] != digest || long(44) != n {
            return Err("it is another chunk, or one of another store".into());
        }
        let (len, count) = (long(52), number(60) as usize);
        let within = meta.batches_of(n);
        let from = count.checked_mul(PER_BATCH).and_then(|b| b.checked_add(FIXED)).filter(|from| *from <= file.len());
        let Some(from) = from.filter(|_| count as u64 == within.end - within.start) else {
            return Err(format!("it has {count} batches"));
        };
        batches.clear();
        for at in (FIXED..from).step_by(PER_BATCH) {
            let of = |i: usize| number(at + 4 * i) as usize;
            batches.push((Shape { batch: of(0), height: of(1), width: of(2), channels: of(3) }, of(4)));
        }
        let wanted = batches.iter().map(|(s, labels)| {
            let values = [s.batch, s.height, s.width, s.channels].iter().map(|v| *v as u128).product::<u128>();
            values * meta.value_type.bytes() as u128 + 4 * *labels as u128
        });
        let wanted: u128 = wanted.sum();
        if u128::from(len) != wanted || usize::try_from(len).is_err() {
            return Err("its sizes do not agree".into());
        }
        if meta.zstd == 0 {
            *payload = Some(from);
        } else {
            unpacked.resize(len as usize, 0);
            let got = zstd::bulk::decompress_to_buffer(&file[from..], unpacked).map_err(|e| format!("zstd: {e}"))?;
            unpacked.truncate(got);
            *payload = None;
        }
        let there = payload.map_or(unpacked.len(), |from| file.len() - from);
        if there as u64 != len { Err("its length is wrong".into()) } else { Ok(()) }
    }

    fn payload(&self) -> &[u8] {
        self.payload.map_or(&self.unpacked, |from| &self.file[from..])
    }

    /// Batch number `i` of this chunk, stored as that of `layouts` with its shape.
    ///
    /// # Errors
    /// [`Error::Data`] when none has it.
    pub(super) fn batch(
        &self,
        i: usize,
        layouts: &[Layout],
        value_type: ValueType,
        pool: &Pool<f32>,
    ) -> Result<LabeledBatch> {
        let (shape, n_labels) = self.batches[i];
        let Some(layout) = layouts.iter().find(|layout| layout.shape == shape) else {
            let wanted: Vec<_> = layouts.iter().map(|layout| layout.shape).collect();
            let what = format!("a stored batch is {shape:?}, but {wanted:?} are wanted");
            return Err(Error::data("store", what, "remove the store; what it holds is computed again"));
        };
        let (before, all) = (self.batches[..i].iter(), self.batches.iter().map(|b| b.1).sum::<usize>());
        let (values, labels) =
            before.fold((0, 0), |(values, labels), (s, n)| (values + s.len() * value_type.bytes(), labels + n));
        let (label_bytes, value_bytes) = self.payload().split_at(4 * all);
        let (label_bytes, _) = label_bytes[4 * labels..4 * (labels + n_labels)].as_chunks();
        let mut x = Activations::new(*layout, pool);
        let item = shape.len() / shape.batch.max(1) * value_type.bytes();
        let mut from = values;
        for i in 0..shape.batch {
            get(&value_bytes[from..from + item], x.item_mut(i), value_type);
            from += item;
        }
        let labels: Arc<[i32]> = label_bytes.iter().map(|b| i32::from_le_bytes(*b)).collect();
        Ok((x.detach(), labels))
    }
}
