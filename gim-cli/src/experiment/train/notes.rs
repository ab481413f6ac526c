//! Notes on the dataset, as a run prints them.

use crate::experiment::run_dir::RunDir;
use crate::output;

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
