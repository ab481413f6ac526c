//! Which modules each rank has.

use std::ops::Range;

use gim_core::schedule::group_by;
use gim_core::{Error, Result};

use crate::experiment::config::Config;
use crate::experiment::train_config::{Groups, Schedule};

/// Checks that ranks can do what the configuration asks for.
///
/// # Errors
/// Names the setting that needs all modules in one process.
pub(crate) fn check_settings(config: &Config) -> Result<()> {
    let train = &config.train;
    let only = |key: &str, what: &str, remedy: &str| {
        Err(Error::config(key, format_args!("{what}, which several ranks cannot do"), remedy))
    };
    if !matches!(train.schedule, Schedule::Simultaneous | Schedule::Pipelined) {
        let remedy = "use \"pipelined\" or \"simultaneous\", which give the same bits";
        return only("train.schedule", "trains modules otherwise than on every batch", remedy);
    }
    if !config.domain.dataset().held_out().is_none() {
        return only("data.validate", "stops for measurements", "set it to 0, or train in one process");
    }
    if train.probe_every > 0 {
        return only("train.probe_every", "stops for measurements", "set it to 0, or train in one process");
    }
    if config.domain.modules_per_loss() > 1 {
        return only(
            "network.modules_per_loss",
            "sends gradients between modules",
            "set it to 1, or train in one process",
        );
    }
    Ok(())
}

/// The modules of each of `ranks` ranks, 0-based: those that the configuration names, or those for
/// which the slowest rank has the least arithmetic. `costs` are those of the modules.
///
/// # Errors
/// When there are more ranks than modules, or the groups are not one for each rank.
pub(crate) fn places(groups: &Groups, costs: &[f64], ranks: usize) -> Result<Vec<Range<usize>>> {
    if ranks > costs.len() {
        let what = format!("{ranks} ranks were started for {} modules", costs.len());
        return Err(Error::config("mpirun -n", what, format_args!("start at most {}", costs.len())));
    }
    match groups {
        Groups::Auto(_) => Ok(balance(costs, ranks)),
        Groups::Lists(lists) if lists.len() == ranks => {
            Ok(group_by(lists, costs, ranks)?.into_iter().map(|group| group.modules).collect())
        }
        Groups::Lists(lists) => {
            let what = format!("has {} groups for {ranks} ranks", lists.len());
            Err(Error::config("train.groups", what, "name one group a rank, or use \"auto\""))
        }
    }
}

/// Cuts the modules into so many contiguous parts that the largest sum of costs is least.
fn balance(costs: &[f64], parts: usize) -> Vec<Range<usize>> {
    let n = costs.len();
    let sum = |range: Range<usize>| costs[range].iter().sum::<f64>();
    // best[i]: the largest sum of the first i modules in the parts so far, and where the last begins.
    let mut best: Vec<(f64, usize)> = (0..=n).map(|i| (sum(0..i), 0)).collect();
    let mut begins = Vec::new();
    for part in 1..parts {
        let cut = |i: usize| {
            let ways = (part..i).map(|j| (sum(j..i).max(best[j].0), j));
            ways.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, 0))
        };
        best = (0..=n).map(cut).collect();
        begins.push(best.iter().map(|b| b.1).collect::<Vec<_>>());
    }
    let (mut end, mut places) = (n, Vec::new());
    for begin in begins.iter().rev() {
        places.push(begin[end]..end);
        end = begin[end];
    }
    places.push(0..end);
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::train_config::Auto;

    #[test]
    fn the_largest_rank_has_least_to_do() {
        let auto = Groups::Auto(Auto::Auto);
        let of = |costs: &[f64], ranks| places(&auto, costs, ranks).unwrap();
        assert_eq!(of(&[1.0; 6], 3), [0..2, 2..4, 4..6]);
        assert_eq!(of(&[1.0; 6], 6), [0..1, 1..2, 2..3, 3..4, 4..5, 5..6]);
        assert_eq!(of(&[9.0, 1.0, 1.0, 1.0], 2), [0..1, 1..4]);
        assert_eq!(of(&[1.0, 1.0, 5.0, 1.0], 3), [0..2, 2..3, 3..4]);
        assert_eq!(of(&[0.0, 0.0, 0.0], 3), [0..1, 1..2, 2..3]);
        assert!(places(&auto, &[1.0; 3], 4).unwrap_err().to_string().contains("start at most 3"));
    }

    #[test]
    fn named_groups_are_one_a_rank() {
        let lists = Groups::Lists(vec![vec![1], vec![2, 3]]);
        assert_eq!(places(&lists, &[1.0; 3], 2).unwrap(), [0..1, 1..3]);
        let e = places(&lists, &[1.0; 3], 3).unwrap_err().to_string();
        assert!(e.contains("train.groups") && e.contains("2 groups for 3 ranks"), "{e}");
    }
}
