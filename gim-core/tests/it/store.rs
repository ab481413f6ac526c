//! The store of activations: what is read is what was written, or one clear error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::data::store::{FORMAT, StoreMeta, StoreReader, StoreWriter, ValueType, remove};
use gim_core::link::{Packet, Sink};
use gim_core::testing::uniform;
use gim_core::{Pool, Result};
use proptest::prelude::*;

fn meta(batches: u64, batches_per_chunk: u64, value_type: ValueType, zstd: i32) -> StoreMeta {
    let made_from = BTreeMap::from([("weights".to_owned(), "1234".to_owned())]);
    StoreMeta { format: FORMAT, value_type, zstd, batches, batches_per_chunk, made_from }
}

fn values(shape: Shape, batch: u64) -> Vec<f32> {
    uniform(shape.len(), batch).iter().map(|v| *v as f32).collect()
}

fn labels(n: usize, batch: u64) -> Arc<[i32]> {
    (0..n).map(|i| i as i32 - batch as i32).collect()
}

/// Writes batches until the store is full, or until batch number `end`.
fn write(folder: &Path, meta: &StoreMeta, layout: Layout, n_labels: usize, end: u64) -> Result<u64> {
    let pool = Pool::new();
    let mut writer = StoreWriter::resume(folder, meta)?;
    while writer.next_batch() < end.min(meta.batches) {
        let step = writer.next_batch();
        let x = Activations::from_slice(layout, &values(layout.shape, step), &pool).detach();
        writer.send(Packet { x, step, labels: labels(n_labels, step), layouts: Arc::from([]) });
        writer.check()?;
    }
    Ok(writer.finish()?.chunks)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// What a value becomes in a store.
fn stored(v: f32, value_type: ValueType) -> f32 {
    match value_type {
        ValueType::Float32 => v,
        ValueType::Float16 => half::f16::from_f32(v).to_f32(),
        ValueType::BFloat16 => half::bf16::from_f32(v).to_f32(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the shapes, margins, chunks, types and stops in between.
    #[test]
    fn what_is_read_is_what_was_written(
        (batch, height, width, channels) in (1_usize..4, 1_usize..6, 1_usize..4, 1_usize..40),
        (before, after, n_labels) in (0_usize..3, 0_usize..3, 0_usize..5),
        (batches, per_chunk, stop, from) in (1_u64..9, 1_u64..5, 0_u64..9, 0_u64..9),
        (type_at, zstd) in (0_usize..3, prop::sample::select(vec![0, 1, 9])),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("store");
        let shape = Shape { batch, height, width, channels };
        let value_type = ValueType::ALL[type_at];
        let meta = meta(batches, per_chunk, value_type, zstd);
        let padded = Layout::padded(shape, before, before + height + after);
        write(&folder, &meta, padded, n_labels, stop).unwrap();
        let there = meta.complete_chunks(&folder);
        prop_assert_eq!(there, if stop >= batches { meta.chunks() } else { stop / per_chunk });
        prop_assert_eq!(write(&folder, &meta, Layout::dense(shape), n_labels, batches).unwrap(), meta.chunks() - there);
        prop_assert_eq!(write(&folder, &meta, padded, n_labels, batches).unwrap(), 0);

        let pool = Pool::new();
        let from = from % batches;
        let mut reader = StoreReader::start(&folder, &meta, from, vec![padded], &pool).unwrap();
        for read in from..from + 2 * batches {
            let number = read % batches;
            let (x, l) = reader.next_batch().unwrap();
            prop_assert_eq!(x.layout(), padded);
            let want: Vec<u32> = values(shape, number).iter().map(|v| stored(*v, value_type).to_bits()).collect();
            prop_assert_eq!(x.to_vec().iter().map(|v| v.to_bits()).collect::<Vec<_>>(), want);
            prop_assert_eq!(x.memory().iter().filter(|v| **v != 0.0).count(), x.to_vec().iter().filter(|v| **v != 0.0).count());
            prop_assert_eq!(l, labels(n_labels, number));
        }
    }

    /// A flipped bit, a cut or a longer file, anywhere.
    #[test]
    fn damage_is_an_error_of_its_file_and_chunk(at in 0.0_f64..1.0, bit in 0_u32..8, zstd in 0_i32..2, how in 0_u8..3) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::dense(Shape::sequence(2, 5, 3));
        let meta = meta(6, 2, ValueType::Float32, zstd);
        write(folder.path(), &meta, layout, 3, 6).unwrap();
        let file = folder.path().join("chunk-00000001.bin");
        let mut bytes = std::fs::read(&file).unwrap();
        let at = (at * bytes.len() as f64) as usize;
        match how {
            0 => bytes[at] ^= 1 << bit,
            1 => bytes.truncate(at),
            _ => bytes.push(0),
        }
        std::fs::write(&file, bytes).unwrap();
        let mut reader = StoreReader::start(folder.path(), &meta, 0, vec![layout], &Pool::new()).unwrap();
        for number in 0..2 {
            prop_assert_eq!(reader.next_batch().unwrap().0.to_vec(), values(layout.shape, number));
        }
        let e = reader.next_batch().unwrap_err().to_string();
        prop_assert!(e.contains("chunk-00000001.bin") && e.contains("chunk 1 of 3"), "{}", e);
        prop_assert!(reader.next_batch().is_err());
    }
}

#[test]
fn chunks_of_another_store_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|n| dir.path().join(n));
    let layout = Layout::dense(Shape::sequence(1, 2, 3));
    let ours = meta(4, 2, ValueType::Float32, 0);
    let theirs = StoreMeta { made_from: BTreeMap::from([("weights".to_owned(), "other".to_owned())]), ..ours.clone() };
    write(&one, &ours, layout, 0, 4).unwrap();
    write(&two, &theirs, layout, 0, 4).unwrap();
    let e = StoreReader::start(&one, &theirs, 0, vec![layout], &Pool::new()).unwrap_err().to_string();
    assert!(e.contains("0 of the 2 chunks"), "{e}");
    std::fs::copy(two.join("chunk-00000000.bin"), one.join("chunk-00000000.bin")).unwrap();
    let mut reader = StoreReader::start(&one, &ours, 0, vec![layout], &Pool::new()).unwrap();
    let e = reader.next_batch().unwrap_err().to_string();
    assert!(e.contains("chunk-00000000.bin") && e.contains("another store"), "{e}");

    // Chunks in each other's place, and another shape than the one wanted.
    write(&one, &theirs, layout, 0, 4).unwrap();
    std::fs::copy(two.join("chunk-00000001.bin"), one.join("chunk-00000000.bin")).unwrap();
    assert!(StoreReader::start(&one, &theirs, 0, vec![layout], &Pool::new()).unwrap().next_batch().is_err());
    let other = Layout::dense(Shape::sequence(1, 3, 2));
    let e = StoreReader::start(&two, &theirs, 0, vec![other], &Pool::new()).unwrap().next_batch().unwrap_err();
    assert!(e.to_string().contains("are wanted"), "{e}");

    // A store is begun anew where another one is, or a damaged one.
    write(&one, &ours, layout, 0, 2).unwrap();
    assert_eq!(ours.complete_chunks(&one), 1);
    std::fs::write(one.join("store.json"), "{").unwrap();
    assert!(StoreMeta::read(&one).is_err());
    assert_eq!(write(&one, &ours, layout, 0, 4).unwrap(), 2);
    assert_eq!(files(&one).len(), 3);
    remove(&one).unwrap();
    remove(&one).unwrap();
    assert!(!one.exists() && StoreMeta::read(&one).unwrap().is_none());
}

#[test]
fn what_does_not_fit_is_an_error_of_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let layout = Layout::dense(Shape::sequence(1, 1, 2));
    let pool = Pool::new();
    let x = |v: f32| Activations::from_slice(layout, &[1.0, v], &pool).detach();
    let write = |v: f32, value_type: ValueType| {
        let mut writer = StoreWriter::resume(&folder, &meta(1, 1, value_type, 0)).unwrap();
        writer.send(Packet { x: x(v), step: 0, labels: Arc::from([]), layouts: Arc::from([]) });
        assert!(writer.is_full());
        writer.finish().map(drop)
    };
    let e = write(7e4, ValueType::Float16).unwrap_err().to_string();
    assert!(e.contains("65504") && e.contains("bfloat16"), "{e}");
    assert!(!folder.join("chunk-00000000.bin").exists());
    write(7e4, ValueType::BFloat16).unwrap();
    // A diverged module is not the store's business.
    write(f32::INFINITY, ValueType::Float16).unwrap();

    let mut writer = StoreWriter::resume(&folder, &meta(100, 1, ValueType::Float32, 0)).unwrap();
    remove(&folder).unwrap();
    let failed = (0..100).find_map(|step| {
        writer.send(Packet { x: x(0.0), step, labels: Arc::from([]), layouts: Arc::from([]) });
        writer.check().err()
    });
    assert!(failed.unwrap().to_string().contains("chunk-00000000.bin"));
}

/// However large the store is, reading it takes a few buffers.
#[test]
fn reading_and_writing_take_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::dense(Shape::sequence(2, 50, 10));
    let meta = meta(200, 3, ValueType::Float32, 0);
    let pool = Pool::new();
    let mut writer = StoreWriter::resume(folder.path(), &meta).unwrap();
    for step in 0..meta.batches {
        writer.send(Packet {
            x: Activations::zeros(layout, &pool).detach(),
            step,
            labels: Arc::from([]),
            layouts: Arc::from([]),
        });
    }
    // The queue, the chunk and the batch in either hand.
    assert_eq!(writer.finish().unwrap().batches, 200);
    assert!(pool.allocated() <= 7, "{}", pool.allocated());
    let pool = Pool::new();
    let mut reader = StoreReader::start(folder.path(), &meta, 0, vec![layout], &pool).unwrap();
    (0..500).for_each(|_| drop(reader.next_batch().unwrap()));
    drop(reader);
    assert!(pool.allocated() <= 4, "{}", pool.allocated());
}
