//! Iterative training from records: before a module trains, the output of the modules below is written
//! once. Then it trains from there, with the modules below out of memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gim_core::checkpoint::digest_of_parameters;
use gim_core::data::store::{FORMAT, StoreMeta, StoreReader, StoreWriter, remove};
use gim_core::files::{free_space, hex};
use gim_core::module::Mode;
use gim_core::schedule::{ModuleStep, record_batch, step_from_record};
use gim_core::stack::Stack;
use gim_core::{Error, Result};
use gim_eval::RecordRow;
use sha2::{Digest, Sha256};

use super::network::initial_stack;
use super::{Record, Training, name_last_checkpoint};
use crate::experiment::interrupt;
use crate::experiment::progress::Progress;
use crate::experiment::train_config::TrainConfig;

/// Bytes of a chunk at least, in whole batches.
const CHUNK_BYTES: u64 = 1 << 20;
const MB: f64 = 1e6;

/// A module that trains from a record.
pub(super) struct Stage {
    /// Its 0-based number.
    module: usize,
    reader: StoreReader,
    folder: PathBuf,
    /// What this process has done so far, without times of training.
    row: RecordRow,
    /// When training from the record began, and with which step.
    began: Instant,
    first: u64,
}

/// How large a record is.
#[derive(Debug, Clone, Copy)]
struct RecordSize {
    batches: u64,
    /// Of a batch, before compression. Labels come on top.
    batch_bytes: u64,
}

impl RecordSize {
    /// Of batches of so many values, for a module that trains for `each` steps.
    fn new(train: &TrainConfig, values: usize, each: u64, epoch_len: u64) -> Self {
        let batches = match train.record_epochs {
            0 => each,
            epochs => each.min(epochs.saturating_mul(epoch_len)),
        };
        Self { batches, batch_bytes: (values * train.record_type.bytes()) as u64 }
    }

    fn batches_per_chunk(self) -> u64 {
        CHUNK_BYTES.div_ceil(self.batch_bytes.max(1))
    }

    /// Refuses records of the size `of` that the disk has no room for. What zstd leaves of values is not
    /// known before.
    ///
    /// # Errors
    /// Names what is needed and what is free.
    fn check_space(of: &[Self], train: &TrainConfig, folder: &Path) -> Result<()> {
        let needed: u64 = of.iter().map(|s| s.batches.saturating_mul(s.batch_bytes)).fold(0, u64::saturating_add);
        let there = folder.ancestors().find(|f| f.is_dir()).unwrap_or(Path::new("."));
        let Some(free) = free_space(&there.join("record")).filter(|_| train.record_zstd == 0) else { return Ok(()) };
        if needed <= free {
            return Ok(());
        }
        let batches: u64 = of.iter().map(|s| s.batches).sum();
        let what = format!(
            "the record needs {:.1} MB for {batches} batches, but {:.1} MB are free",
            needed as f64 / MB,
            free as f64 / MB
        );
        let remedy = "free some space, or record less: train.record_epochs, train.record_type, train.record_zstd";
        Err(Error::file(folder, what, remedy))
    }
}

impl Training<'_> {
    /// Whether `step` is one of a module that trains from a record.
    pub(super) fn is_from_record(&self, step: u64) -> bool {
        self.config.train.record && step >= self.each
    }

    /// Refuses records that the disk has no room for, before anything is trained.
    ///
    /// # Errors
    /// Names what is needed and what is free.
    pub(super) fn check_record_space(&self) -> Result<()> {
        let (train, modules) = (&self.config.train, (self.total / self.each.max(1)) as usize);
        if !train.record || self.first > 0 {
            return Ok(());
        }
        let sizes: Vec<RecordSize> = (1..modules).map(|m| self.record_size(m)).collect();
        let largest = sizes.iter().copied().max_by_key(|s| s.batches.saturating_mul(s.batch_bytes));
        let held = if train.keep_record { sizes } else { Vec::from_iter(largest) };
        RecordSize::check_space(&held, train, self.run.path())
    }

    fn record_size(&self, module: usize) -> RecordSize {
        let values = self.plans.largest()[module].shape.len();
        RecordSize::new(&self.config.train, values, self.each, self.source.epoch_len())
    }

    /// One step of the module whose turn it is, from its record, which is written first.
    pub(super) fn step_from_record(&mut self, step: u64, record: &mut Record, progress: &mut Progress) -> Result<()> {
        let module = (step / self.each) as usize;
        let mut stage = match self.stage.take() {
            Some(stage) if stage.module == module => stage,
            last => {
                self.save_unless_saved(step, record)?;
                last.map_or(Ok(()), |last| self.end_stage(last, step, progress))?;
                self.begin_stage(module, step, progress)?
            }
        };
        let work = ModuleStep { seed: self.config.train.seed, module: module + 1, mode: Mode::Train };
        let mut observe = |report| record.averages.add(&report);
        let training = &mut *self.stack.modules_mut()[0];
        match step_from_record(training, &mut stage.reader, step, &self.plans, work, &mut observe) {
            Ok(()) => self.stage = Some(stage),
            Err(e @ Error::Diverged { .. }) => return Err(name_last_checkpoint(e, self.run)),
            Err(e) => {
                // A damaged record says nothing against what has been learned.
                self.save_unless_saved(step, record)?;
                return Err(e);
            }
        }
        Ok(())
    }

    /// Ends the last stage, after all steps of the run.
    pub(super) fn end_last_stage(&mut self, progress: &mut Progress) -> Result<()> {
        self.stage.take().map_or(Ok(()), |last| self.end_stage(last, self.total, progress))?;
        self.run.sweep_records(&self.config.train, true)
    }

    /// The checkpoints, after `step` steps, of the modules that are not in memory.
    pub(super) fn frozen(&self, step: u64) -> Result<impl Iterator<Item = Result<Vec<u8>>> + use<>> {
        let (below, last) = (self.below, if self.below > 0 { self.run.newest_intact_checkpoint()? } else { None });
        Ok(last.into_iter().flat_map(move |last| (1..=below).map(move |m| last.frozen(m, step))))
    }

    /// Writes the record of module number `module` (0-based), or what is missing of it, and forgets the
    /// modules below. A checkpoint of `step` steps is there.
    fn begin_stage(&mut self, module: usize, step: u64, progress: &mut Progress) -> Result<Stage> {
        self.load_all(step)?;
        let (train, size) = (&self.config.train, self.record_size(module));
        self.run.remove_records(if train.keep_record { None } else { Some(module) })?;
        let meta = self.meta(module, size);
        let folder = self.run.record_folder(module);
        let missing = size.batches - size.batches.min(meta.complete_chunks(&folder) * meta.batches_per_chunk);
        if missing > 0 {
            RecordSize::check_space(&[RecordSize { batches: missing, ..size }], train, &folder)?;
            let used = match size.batches {
                all if all == self.each => "once".to_owned(),
                fewer => format!("{:.1} times", self.each as f64 / fewer as f64),
            };
            progress.note(&format!(
                "writing {missing} batches of module {module}'s output ({:.1} MB before compression); module {} trains on \
                 each {used}",
                (missing * size.batch_bytes) as f64 / MB,
                module + 1,
            ));
        }
        let began = Instant::now();
        let written = self.write_record(module, step, &folder, &meta)?;
        let write_seconds = began.elapsed().as_secs_f64();
        self.stack.keep(module..self.stack.modules().len());
        self.below = module;
        self.pool.trim();
        let from = (step - module as u64 * self.each) % size.batches;
        let reader = StoreReader::start(&folder, &meta, from, self.plans.inputs_of(module), &self.pool)?;
        let value_type = toml::Value::try_from(meta.value_type).ok();
        let row = RecordRow {
            module: module + 1,
            value_type: value_type.as_ref().and_then(|v| v.as_str()).unwrap_or_default().to_owned(),
            batches: size.batches,
            megabytes: bytes_in(&folder) as f64 / MB,
            written,
            write_seconds,
            steps: 0,
            train_seconds: 0.0,
            wait_seconds: 0.0,
            buffers_mb: 0.0,
        };
        Ok(Stage { module, reader, folder, row, began: Instant::now(), first: step })
    }

    /// All modules as they are after `step` steps, where some are not in memory.
    fn load_all(&mut self, step: u64) -> Result<()> {
        if self.below == 0 {
            return Ok(());
        }
        self.stack = Stack::new(Vec::new());
        let mut stack = initial_stack(self.config, self.source.record(), self.each, &self.pool)?;
        self.config.truncate(&mut stack)?;
        let newest = self.run.newest_intact_checkpoint()?.filter(|c| c.step == step);
        let newest = newest.ok_or_else(|| {
            Error::file(self.run.path(), format_args!("has lost the checkpoint of step {step}"), "resume the run")
        })?;
        newest.load(&mut stack, &self.fingerprint)?;
        (self.stack, self.below) = (stack, 0);
        Ok(())
    }

    /// What the record of a module holds, and what it follows from.
    fn meta(&mut self, module: usize, size: RecordSize) -> StoreMeta {
        let weights = digest_of_parameters(&mut self.stack.modules_mut()[..module]);
        let made_from = [
            ("weights", weights),
            ("dataset", self.source.record().trained_on.digest.clone()),
            ("settings", hex(Sha256::digest(&self.fingerprint))),
            ("standardization", hex(Sha256::digest(&self.dataset))),
            ("first step", (module as u64 * self.each).to_string()),
        ];
        StoreMeta {
            format: FORMAT,
            value_type: self.config.train.record_type,
            zstd: self.config.train.record_zstd,
            batches: size.batches,
            batches_per_chunk: size.batches_per_chunk(),
            made_from: BTreeMap::from(made_from.map(|(name, digest)| (name.to_owned(), digest))),
        }
    }

    /// Runs the modules below on the batches that are missing. Gives their number.
    fn write_record(&mut self, module: usize, step: u64, folder: &Path, meta: &StoreMeta) -> Result<u64> {
        let mut writer = StoreWriter::resume(folder, meta)?;
        let first = module as u64 * self.each;
        while !writer.is_full() {
            if interrupt::requested() {
                return Err(self.interrupted(step));
            }
            let at = first + writer.next_batch();
            self.source.seek(at)?;
            let (x, labels) = self.source.next(&self.plans, &self.pool)?;
            let packet = self.plans.packet(x, at, labels);
            record_batch(&mut self.stack, module, packet, self.config.train.seed, &mut writer)?;
        }
        Ok(writer.finish()?.batches)
    }

    /// Says what a stage took, and removes its record.
    fn end_stage(&self, stage: Stage, step: u64, progress: &mut Progress) -> Result<()> {
        let Stage { reader, folder, mut row, began, first, .. } = stage;
        row.steps = step - first;
        row.train_seconds = began.elapsed().as_secs_f64();
        row.wait_seconds = reader.waited().as_secs_f64();
        row.buffers_mb = self.pool.bytes() as f64 / MB;
        drop(reader);
        progress.note(&format!(
            "module {} trained {} steps from a record: {} batches, {:.1} MB ({}); written in {:.1} s, trained in {:.1} s, \
             of which {:.1} s waiting for the record; {:.1} MB of buffers",
            row.module,
            row.steps,
            row.batches,
            row.megabytes,
            row.value_type,
            row.write_seconds,
            row.train_seconds,
            row.wait_seconds,
            row.buffers_mb
        ));
        self.run.merge_record_row(row)?;
        if self.config.train.keep_record { Ok(()) } else { remove(&folder) }
    }
}

/// Bytes of the files of a folder.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| Some(e.metadata().ok()?.len())).sum()
}
