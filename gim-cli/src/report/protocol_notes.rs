//! In what probes of the paper's protocol differ from the published one.

use gim_eval::{HIDDEN, Head, PaperProbe, Protocol, Task};

use crate::experiment::probe::views_note;
use crate::output::count;

/// Notes below a table of probes with this head, in this number of random views.
pub(super) fn of(head: Head, task: Task, views: Option<usize>) -> Vec<String> {
    let mut notes = Vec::new();
    if head == Head::Mlp {
        notes.push(format!(
            "The hidden layer has {HIDDEN} units, ReLU and dropout. The paper's own values are of linear probes."
        ));
    }
    let differs = views_note(Protocol::Paper, task, views).is_some();
    if let Some(epochs) = PaperProbe::of(task).view_epochs().filter(|_| differs) {
        let seen = match views {
            Some(views) => {
                format!("The {epochs} epochs take turns with {} of each training item", count(views, "random view"))
            }
            None => "Items are seen whole".into(),
        };
        notes.push(format!(
            "{seen}. The published code draws a fresh view in each of {epochs} epochs, so the paper's values do not \
             stand here."
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_protocol_needs_no_note() {
        assert!(of(Head::Linear, Task::Speakers, Some(50)).is_empty());
        assert!(of(Head::Linear, Task::Phones, None).is_empty());
        let few = of(Head::Linear, Task::Classes, Some(4));
        assert!(few[0].starts_with("The 300 epochs take turns with 4 random views of each"), "{few:?}");
        let old = of(Head::Linear, Task::Classes, None);
        assert!(old[0].starts_with("Items are seen whole."), "{old:?}");
        assert_eq!(of(Head::Mlp, Task::Speakers, Some(5)).len(), 2);
    }
}
