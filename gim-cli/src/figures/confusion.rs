//! Heat map of the confusion matrix of a probe.

use gim_core::{Error, Result};
use gim_eval::Confusion;

use super::heat_map::{HeatMap, Measure, heat_map};
use super::{Figure, nothing_to_draw};

const FIGURE: &str = "confusion";
/// Classes that a map shows at most: more names would make a figure that nobody can read.
const MOST_CLASSES: usize = 60;

/// Input of [`confusion`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConfusionMap {
    /// Title; should name the features, the dataset, and the seed.
    pub title: String,
    /// Second line, may be empty.
    pub subtitle: String,
    /// Names of the classes, in the order of `confusion`.
    pub names: Vec<String>,
    /// Counts of (true class, predicted class) over the test rows.
    pub confusion: Confusion,
}

/// Draws the confusion matrix (true class, predicted class), each row in percent of its class.
///
/// # Errors
/// When there is not one name a class, or nothing was counted.
pub(crate) fn confusion(spec: &ConfusionMap) -> Result<Figure> {
    let (n, all) = (spec.names.len(), &spec.confusion);
    if n != all.n_classes() {
        let what = format_args!("{n} names for {} classes", all.n_classes());
        return Err(Error::data(format_args!("figure '{FIGURE}'"), what, "name every class"));
    }
    let present: Vec<bool> = (0..n).map(|c| all.support(c) > 0).collect();
    if !present.contains(&true) {
        return Err(nothing_to_draw(FIGURE, "nothing was counted", "evaluate a probe first"));
    }

    let shown = worst(all);
    let absent = shown.iter().any(|&c| !present[c]);
    let shares = shown.iter().map(|&t| {
        let share = |&p| all.count(t, p) as f64 / all.support(t) as f64;
        present[t].then(|| shown.iter().map(share).collect())
    });
    let names: Vec<String> = shown.iter().map(|&c| spec.names[c].clone()).collect();
    let (canvas, numbers) = heat_map(&HeatMap {
        title: &spec.title,
        subtitle: &spec.subtitle,
        names: &names,
        shares: shares.collect(),
        axes: ["True class", "Predicted class"],
        measure: Measure::OfRow,
        note: if absent { "Gray: the class has no test rows." } else { "" },
    })?;

    let rows: u64 = (0..n).map(|c| all.support(c)).sum();
    let said = if numbers { " Cells that round to 0 have no number." } else { "" };
    let part = match shown.len() {
        shown if shown < n => format!(" Shown are the {shown} classes with most wrong predictions."),
        _ => String::new(),
    };
    let caption = format!(
        "Confusion matrix over {rows} test rows of {n} classes. Each row is a true class and shows \
         its predictions in percent of that class. Accuracy {:.1} %, mean over classes {:.1} %.{part}{said}",
        100.0 * all.accuracy().unwrap_or(f64::NAN),
        100.0 * all.macro_accuracy().unwrap_or(f64::NAN),
    );
    Ok(Figure { canvas, caption })
}

/// The classes to show: those with most wrong predictions, in the order of their numbers.
fn worst(all: &Confusion) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..all.n_classes()).collect();
    classes.sort_by_key(|&c| std::cmp::Reverse(all.support(c) - all.count(c, c)));
    classes.truncate(MOST_CLASSES);
    classes.sort_unstable();
    classes
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_figure, confused};
    use super::*;

    fn spec(n: usize) -> ConfusionMap {
        ConfusionMap {
            title: "Confusion matrix of the linear probe — toy".into(),
            subtitle: "module 3, seed 1".into(),
            names: (0..n).map(|c| format!("class {c}")).collect(),
            confusion: confused(n, 4000),
        }
    }

    #[test]
    fn draws_any_number_of_classes() {
        for n in [2, 3, 10, 22, 23, 41] {
            let figure = confusion(&spec(n)).unwrap();
            check_figure(&figure, &["True class", "Predicted class", "class 0", "100", "25", "share of the row (%)"]);
            // Cells of 23 classes and more are too small.
            let numbers = figure.canvas.texts().iter().filter(|t| t.parse::<f64>().is_ok()).count();
            // The color bar has five.
            assert_eq!(numbers > 5, n <= 22, "{n} classes");
            assert!(figure.caption.contains(&format!("4000 test rows of {n} classes")), "{}", figure.caption);
        }
    }

    #[test]
    fn a_thousand_classes_keep_the_figure_small() {
        let mut names: Vec<String> = (0..1000).map(|c| format!("class {c}")).collect();
        names[999] = "always wrong".into();
        // Every class has one row; the last 60 are taken for their neighbor.
        let truth: Vec<u32> = (0..1000).collect();
        let predicted: Vec<u32> = truth.iter().map(|&t| if t < 940 { t } else { t - 1 }).collect();
        let spec = ConfusionMap { names, confusion: Confusion::new(1000, &truth, &predicted), ..spec(2) };
        let figure = confusion(&spec).unwrap();
        check_figure(&figure, &["class 940", "always wrong"]);
        assert!(figure.canvas.size().0 < 2000 && figure.canvas.size().1 < 2000);
        assert!(figure.caption.contains("the 60 classes with most wrong predictions"), "{}", figure.caption);
    }

    #[test]
    fn numbers_are_percent_of_the_true_class() {
        let names = vec!["silence".into(), "a name that is much too long for the margin it has".into(), "c".into()];
        let counted = Confusion::new(3, &[0, 0, 0, 0, 1], &[0, 0, 0, 1, 0]);
        let figure = confusion(&ConfusionMap { names, confusion: counted, ..spec(3) }).unwrap();
        check_figure(&figure, &["75", "25", "100", "Gray: the class has no test rows."]);
        assert!(figure.caption.contains("Accuracy 60.0 %, mean over classes 37.5 %"), "{}", figure.caption);
    }

    #[test]
    fn refuses_what_cannot_be_shown() {
        assert!(confusion(&ConfusionMap { names: vec![], ..spec(3) }).is_err());
        let nothing = ConfusionMap { confusion: Confusion::new(3, &[], &[]), ..spec(3) };
        assert!(confusion(&nothing).unwrap_err().to_string().contains("nothing was counted"));
    }
}
