//! What a run prints before its first step: notes on the dataset, and what is about to be trained.

use clap::ValueEnum;

use super::Training;
use crate::experiment::run_dir::RunDir;
use crate::output::{self, count, grouped};

/// Characters of a note that are printed.
const MOST_SHOWN: usize = 600;

/// Prints notes; long ones are cut short, and `notes.txt` of the run has them whole.
pub(super) fn print_notes(notes: &[String], run: &RunDir) {
    for note in notes {
        match note.char_indices().nth(MOST_SHOWN) {
            Some((end, _)) => {
                output::note(format_args!("note: {}… (whole in {})", &note[..end], run.notes_file().display()))
            }
            None => output::note(format_args!("note: {note}")),
        }
    }
}

/// What is about to be trained, and where: network and memory, then steps. The dataset is in the notes.
pub(super) fn beginning(training: &mut Training<'_>) -> [String; 2] {
    let (config, first, total) = (training.config, training.first, training.total);
    let modules = training.stack.modules_mut();
    let n = modules.len();
    let parameters: usize = modules.iter_mut().map(|m| m.state().0.n_params()).sum();
    let least = config.domain.model().size(config.train.batch).map_or(0.0, |size| size.bytes() / 1e6);
    let epochs = total as f64 / training.source.epoch_len().max(1) as f64;
    let schedule = config.train.schedule.to_possible_value();
    let schedule = schedule.as_ref().map_or("", |s| s.get_name());
    let views = if config.domain.dataset().views() == 2 { ", two views of each," } else { "," };
    let from = if first > 0 { format!(" from step {} on", grouped(first as usize)) } else { String::new() };
    [
        format!(
            "network: {} of {} parameters in all; a step needs {least:.0} MB or more",
            count(n, "module"),
            grouped(parameters)
        ),
        format!(
            "training: {} steps{from}, batches of {}{views} {epochs:.1} epochs, {schedule}, seed {}, in {}",
            grouped(total as usize),
            config.train.batch,
            config.train.seed,
            training.run.path().display()
        ),
    ]
}
