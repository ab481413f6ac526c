//! What TensorBoard shows of a run: the rows of its tables, norms of gradients, the configuration, figures.
//!
//! The tables are what counts; event files repeat them. A resumed run begins a file of its own, which says
//! from which step on the earlier ones are out of date.

mod event_file;
mod proto;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use gim_core::{Error, Result};
use gim_eval::{AlignmentRow, OnlineRow, Task, TrainRow};
use prost::Message;

use crate::experiment::config::{Config, flat};
use crate::experiment::run_dir::RunDir;
use event_file::{EventFile, now, summary};
use proto::{
    Dim, FLOAT, HyperParameters, Image, Metadata, Plugin, RGB, STRING, SUCCESS, SessionEnd, SessionStart, Setting,
    Shape, Tensor, Value,
};

/// Folder of the figures, a run of its own to TensorBoard: it reads the newest file of a run only, and figures
/// may be drawn while training goes on.
const FIGURES: &str = "figures";

/// A curve of a module; TensorBoard puts curves of one kind together.
#[derive(Debug, Clone, Copy)]
enum Curve {
    Loss,
    Accuracy,
    GradientNorm,
    HeldOutLoss,
    HeldOutAccuracy,
    /// Of an online probe.
    Probe(Task),
}

impl Curve {
    /// The value of a module; none where there is no accuracy.
    fn value(self, module: usize, value: f64) -> Option<Value> {
        let kind = match self {
            Self::Loss => "loss".to_owned(),
            Self::Accuracy => "accuracy".to_owned(),
            Self::GradientNorm => "gradient_norm".to_owned(),
            Self::HeldOutLoss => "validation_loss".to_owned(),
            Self::HeldOutAccuracy => "validation_accuracy".to_owned(),
            Self::Probe(task) => format!("probe_accuracy/{task}"),
        };
        // A loss may be no number, and that matters; a loss without candidates has no accuracy.
        let is_accuracy = matches!(self, Self::Accuracy | Self::HeldOutAccuracy);
        (!is_accuracy || !value.is_nan()).then(|| scalar(&format!("{kind}/module_{module}"), value))
    }

    /// Losses and accuracies of rows of one step.
    fn values(loss: Self, accuracy: Self, rows: &[TrainRow]) -> Vec<Value> {
        let of = |row: &TrainRow| {
            let accuracy = row.accuracy.and_then(|a| accuracy.value(row.module, a));
            loss.value(row.module, row.loss).into_iter().chain(accuracy)
        };
        rows.iter().flat_map(of).collect()
    }
}

/// The open event file of a run that trains.
pub(crate) struct EventLog {
    file: EventFile,
    /// Steps of the whole run.
    total: u64,
    /// Step and seconds of the last row.
    last: Option<(u64, f64)>,
}

impl EventLog {
    /// Begins the next event file of a run that has done `first` of `total` steps, if its configuration asks for one. Where
    /// there was none, it repeats the rows so far.
    ///
    /// # Errors
    /// When the rows cannot be read, or the disk refuses.
    pub(crate) fn for_run(run: &RunDir, config: &Config, first: u64, total: u64) -> Result<Option<Self>> {
        if !config.train.tensorboard {
            return Ok(None);
        }
        let mut file = EventFile::create(&run.tensorboard())?;
        let is_first = file.is_first();
        if !is_first {
            file.start_at(first + 1)?;
        }
        file.add(first, of_config(config))?;
        let mut log = Self { file, total, last: None };
        if is_first {
            log.add_rows(&run.train_rows()?, &[])?;
            log.add_validation(&run.validation_rows()?)?;
            log.add_probes(&run.online_rows()?)?;
            log.add_angles(&run.alignment_rows()?)?;
            // The pace of the process that wrote them says nothing of this one's.
            log.last = None;
        }
        Ok(Some(log))
    }

    /// Adds rows of train.csv, with the mean norms of the modules' gradients.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn add_rows(&mut self, rows: &[TrainRow], norms: &[(usize, f64)]) -> Result<()> {
        let mut events = Vec::new();
        for rows in rows.chunk_by(|a, b| a.step == b.step) {
            let mut values = Curve::values(Curve::Loss, Curve::Accuracy, rows);
            values.extend(norms.iter().filter_map(|(module, norm)| Curve::GradientNorm.value(*module, *norm)));
            values.extend(self.progress(&rows[0]));
            events.push(summary(rows[0].step, values));
            if rows[0].step == self.total {
                let end = SessionEnd { status: SUCCESS, ended: now() };
                let end = HyperParameters { end: Some(end), ..HyperParameters::default() };
                events.push(summary(rows[0].step, vec![hyper_parameters("_hparams_/session_end_info", &end)]));
            }
        }
        self.file.append(&events)
    }

    /// Adds rows of validation.csv.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn add_validation(&mut self, rows: &[TrainRow]) -> Result<()> {
        let events: Vec<_> = rows
            .chunk_by(|a, b| a.step == b.step)
            .map(|rows| summary(rows[0].step, Curve::values(Curve::HeldOutLoss, Curve::HeldOutAccuracy, rows)))
            .collect();
        self.file.append(&events)
    }

    /// Adds rows of online.csv.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn add_probes(&mut self, rows: &[OnlineRow]) -> Result<()> {
        let value = |row: &OnlineRow| Curve::Probe(row.task).value(row.module, row.accuracy);
        let events: Vec<_> = rows
            .chunk_by(|a, b| a.step == b.step)
            .map(|rows| summary(rows[0].step, rows.iter().filter_map(value).collect()))
            .collect();
        self.file.append(&events)
    }

    /// Adds rows of alignment.csv.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn add_angles(&mut self, rows: &[AlignmentRow]) -> Result<()> {
        let value = |r: &AlignmentRow| scalar(&format!("feedback_angle/module_{}/{}", r.module, r.weight), r.degrees);
        let events: Vec<_> = rows
            .chunk_by(|a, b| a.step == b.step)
            .map(|rows| summary(rows[0].step, rows.iter().map(value).collect()))
            .collect();
        self.file.append(&events)
    }

    /// Epoch, seconds and, from the second row of the process on, the pace since the row before.
    fn progress(&mut self, row: &TrainRow) -> Vec<Value> {
        let mut values = vec![scalar("progress/epoch", f64::from(row.epoch))];
        let Some(seconds) = row.seconds else { return values };
        values.push(scalar("progress/seconds", seconds));
        if let Some((step, before)) = self.last.replace((row.step, seconds))
            && seconds > before
        {
            values.push(scalar("progress/steps_per_second", (row.step - step) as f64 / (seconds - before)));
        }
        values
    }
}

/// Adds figures, the PNG files of a run after `step` steps, as images.
///
/// # Errors
/// When a file cannot be read, or the disk refuses.
pub(crate) fn add_figures(run: &RunDir, step: u64, files: &[PathBuf]) -> Result<()> {
    let images: Vec<Value> = files.iter().map(|file| image(file)).collect::<Result<_>>()?;
    EventFile::create(&run.tensorboard().join(FIGURES))?.add(step, images)
}

fn image(file: &Path) -> Result<Value> {
    let encoded = std::fs::read(file).map_err(|e| Error::io(file, "read", e))?;
    let reader = png::Decoder::new(Cursor::new(&encoded)).read_info();
    let reader =
        reader.map_err(|e| Error::file(file, format_args!("is damaged: {e}"), "draw it again").caused_by(e))?;
    let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    let (width, height) = (side(reader.info().width), side(reader.info().height));
    let tag = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Value { tag, image: Some(Image { height, width, colorspace: RGB, encoded }), ..Value::default() })
}

fn scalar(tag: &str, value: f64) -> Value {
    Value { tag: tag.to_owned(), simple_value: Some(value as f32), ..Value::default() }
}

/// The configuration as text, and its settings as hyper-parameters.
fn of_config(config: &Config) -> Vec<Value> {
    let settings = flat(&config.to_table()).into_iter().map(|(key, value)| (key, setting(value))).collect();
    let start = SessionStart { settings, started: now() };
    let start = HyperParameters { start: Some(start), ..HyperParameters::default() };
    // The plugin for texts takes Markdown.
    let text = Tensor {
        dtype: STRING,
        strings: vec![format!("```toml\n{}```\n", config.to_toml()).into_bytes()],
        ..one_element()
    };
    let text = of_plugin("configuration", "text", text, Vec::new());
    vec![hyper_parameters("_hparams_/session_start_info", &start), text]
}

fn setting(value: toml::Value) -> Setting {
    match value {
        toml::Value::Boolean(on) => Setting { bool: Some(on), ..Setting::default() },
        toml::Value::Integer(n) => Setting { number: Some(n as f64), ..Setting::default() },
        toml::Value::Float(x) => Setting { number: Some(x), ..Setting::default() },
        toml::Value::String(text) => Setting { string: Some(text), ..Setting::default() },
        other => Setting { string: Some(other.to_string()), ..Setting::default() },
    }
}

/// The plugin for hyper-parameters reads the metadata; the tensor only has to be there.
fn hyper_parameters(tag: &str, what: &HyperParameters) -> Value {
    of_plugin(tag, "hparams", Tensor { dtype: FLOAT, floats: vec![0.0], ..one_element() }, what.encode_to_vec())
}

fn one_element() -> Tensor {
    Tensor { shape: Some(Shape { dim: vec![Dim { size: 1 }] }), ..Tensor::default() }
}

fn of_plugin(tag: &str, plugin: &str, tensor: Tensor, content: Vec<u8>) -> Value {
    let plugin = Plugin { name: plugin.to_owned(), content };
    let metadata = Some(Metadata { plugin: Some(plugin) });
    Value { tag: tag.to_owned(), tensor: Some(tensor), metadata, ..Value::default() }
}
