//! Which modules each rank has.

use std::ops::Range;

use gim_core::schedule::group_by;
use gim_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::experiment::config::Config;
use crate::experiment::train_config::{Groups, Replicas, Schedule, TrainConfig};

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

/// Groups of modules and the ranks that have them: those of the first group, then those of the second, …
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Places {
    /// Modules of each group, 0-based.
    groups: Vec<Range<usize>>,
    /// Ranks of each group.
    replicas: Vec<usize>,
}

impl Places {
    /// The groups that the configuration names, or those for which the slowest rank has the least
    /// arithmetic. `costs` are those of the modules.
    ///
    /// # Errors
    /// When there are more groups than modules, or the settings are not for so many ranks.
    pub(crate) fn new(train: &TrainConfig, costs: &[f64], ranks: usize) -> Result<Self> {
        let replicas = ranks_of_groups(&train.replicas, ranks)?;
        if replicas.len() > costs.len() {
            let each = ranks / replicas.len();
            let what = format!("{ranks} ranks were started for {} modules", costs.len());
            let remedy = format!("start at most {}, or give groups more replicas", costs.len() * each);
            return Err(Error::config("mpirun -n", what, remedy));
        }
        let groups = match &train.groups {
            Groups::Auto(_) => balance(costs, &replicas),
            Groups::Lists(lists) if lists.len() == replicas.len() => {
                group_by(lists, costs, ranks)?.into_iter().map(|group| group.modules).collect()
            }
            Groups::Lists(lists) => {
                let wanted = match replicas.len() {
                    n if n == ranks => format!("{ranks} ranks"),
                    n => format!("{ranks} ranks, which train.replicas makes {n} groups"),
                };
                let what = format!("has {} groups for {wanted}", lists.len());
                let remedy = "name as many groups, or use \"auto\"; train.replicas says how many ranks a group has";
                return Err(Error::config("train.groups", what, remedy));
            }
        };
        Ok(Self { groups, replicas })
    }

    /// The group of a rank, 0-based.
    pub(crate) fn group(&self, rank: usize) -> usize {
        let mut end = 0;
        let ends = self.replicas.iter().map(|n| {
            end += n;
            end
        });
        ends.take_while(|end| *end <= rank).count()
    }

    /// Modules of a rank, 0-based.
    pub(crate) fn modules(&self, rank: usize) -> Range<usize> {
        self.groups[self.group(rank)].clone()
    }

    /// The ranks that have the same modules.
    pub(crate) fn replicas(&self, rank: usize) -> Range<usize> {
        self.ranks_of(self.group(rank))
    }

    fn ranks_of(&self, group: usize) -> Range<usize> {
        let start = self.replicas[..group].iter().sum();
        start..start + self.replicas[group]
    }

    /// Whether the rank reports and saves for its group.
    pub(crate) fn is_first(&self, rank: usize) -> bool {
        self.replicas(rank).start == rank
    }

    /// Whom a rank gets its batches from: rank 0 hands the input to the other replicas of its group,
    /// and the replicas of a group share out those of the next one.
    pub(crate) fn below(&self, rank: usize) -> Option<usize> {
        let own = self.replicas(rank);
        match self.group(rank).checked_sub(1) {
            None => (rank > 0).then_some(0),
            Some(below) => {
                let below = self.ranks_of(below);
                Some(below.start + (rank - own.start) % below.len())
            }
        }
    }

    /// The ranks that get the output of a rank's modules from it.
    pub(crate) fn above(&self, rank: usize) -> Vec<usize> {
        let next = self.group(rank) + 1;
        let ranks = if next < self.groups.len() { self.ranks_of(next) } else { 0..0 };
        ranks.filter(|above| self.below(*above) == Some(rank)).collect()
    }

    /// The ranks that get the input of a rank's modules from it.
    pub(crate) fn beside(&self, rank: usize) -> Range<usize> {
        if rank == 0 { 1..self.replicas[0] } else { 0..0 }
    }
}

/// The ranks of each group, of so many in all.
///
/// # Errors
/// When the setting needs another number of ranks.
fn ranks_of_groups(replicas: &Replicas, ranks: usize) -> Result<Vec<usize>> {
    let refuse = |what: String, remedy: String| Err(Error::config("train.replicas", what, remedy));
    match replicas {
        Replicas::Each(n) if ranks.is_multiple_of(*n) => Ok(vec![*n; ranks / n]),
        Replicas::Each(n) => refuse(
            format!("each group has {n} replicas, and {ranks} ranks cannot be cut into such groups"),
            format!("start a multiple of {n} ranks (mpirun -n), or change it"),
        ),
        Replicas::ByGroup(list) => match list.iter().sum::<usize>() {
            sum if sum == ranks => Ok(list.clone()),
            sum => refuse(
                format!("{list:?} are {sum} replicas in all, but there are {ranks} ranks"),
                format!("start {sum} ranks (mpirun -n), or change it"),
            ),
        },
    }
}

/// Cuts the modules into contiguous parts, one for each of `ranks`, such that the largest sum of costs a
/// rank of its part is least.
fn balance(costs: &[f64], ranks: &[usize]) -> Vec<Range<usize>> {
    let n = costs.len();
    let sum = |range: Range<usize>, part: usize| costs[range].iter().sum::<f64>() / ranks[part] as f64;
    // best[i]: the largest sum of the first i modules in the parts so far, and where the last begins.
    let mut best: Vec<(f64, usize)> = (0..=n).map(|i| (sum(0..i, 0), 0)).collect();
    let mut begins = Vec::new();
    for part in 1..ranks.len() {
        let cut = |i: usize| {
            let ways = (part..i).map(|j| (sum(j..i, part).max(best[j].0), j));
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

    fn places(train: &TrainConfig, costs: &[f64], ranks: usize) -> Result<Vec<Range<usize>>> {
        Places::new(train, costs, ranks).map(|places| places.groups)
    }

    #[test]
    fn the_largest_rank_has_least_to_do() {
        let auto = TrainConfig::default();
        let of = |costs: &[f64], ranks| places(&auto, costs, ranks).unwrap();
        assert_eq!(of(&[1.0; 6], 3), [0..2, 2..4, 4..6]);
        assert_eq!(of(&[1.0; 6], 6), [0..1, 1..2, 2..3, 3..4, 4..5, 5..6]);
        assert_eq!(of(&[9.0, 1.0, 1.0, 1.0], 2), [0..1, 1..4]);
        assert_eq!(of(&[1.0, 1.0, 5.0, 1.0], 3), [0..2, 2..3, 3..4]);
        assert_eq!(of(&[0.0, 0.0, 0.0], 3), [0..1, 1..2, 2..3]);
        assert!(places(&auto, &[1.0; 3], 4).unwrap_err().to_string().contains("start at most 3"));
        let more = TrainConfig { replicas: Replicas::ByGroup(vec![1, 3]), ..auto };
        assert_eq!(places(&more, &[1.0; 4], 4).unwrap(), [0..1, 1..4]);
    }

    #[test]
    fn named_groups_are_one_a_rank() {
        let lists = TrainConfig { groups: Groups::Lists(vec![vec![1], vec![2, 3]]), ..TrainConfig::default() };
        assert_eq!(places(&lists, &[1.0; 3], 2).unwrap(), [0..1, 1..3]);
        let e = places(&lists, &[1.0; 3], 3).unwrap_err().to_string();
        assert!(e.contains("train.groups") && e.contains("2 groups for 3 ranks"), "{e}");
        let twice = TrainConfig { replicas: Replicas::Each(2), ..lists };
        assert_eq!(places(&twice, &[1.0; 3], 4).unwrap(), [0..1, 1..3]);
        let e = places(&twice, &[1.0; 3], 6).unwrap_err().to_string();
        assert!(e.contains("2 groups for 6 ranks, which train.replicas makes 3 groups"), "{e}");
    }

    #[test]
    fn batches_come_from_one_rank_each() {
        let replicas = Replicas::ByGroup(vec![2, 3, 1]);
        let places = Places::new(&TrainConfig { replicas, ..TrainConfig::default() }, &[1.0; 3], 6).unwrap();
        let of = |rank| (places.group(rank), places.replicas(rank), places.below(rank), places.above(rank));
        assert_eq!(of(0), (0, 0..2, None, vec![2, 4]));
        assert_eq!(of(1), (0, 0..2, Some(0), vec![3]));
        assert_eq!(of(2), (1, 2..5, Some(0), vec![5]));
        assert_eq!(of(3), (1, 2..5, Some(1), vec![]));
        assert_eq!(of(4), (1, 2..5, Some(0), vec![]));
        assert_eq!(of(5), (2, 5..6, Some(2), vec![]));
        assert_eq!((places.beside(0), places.beside(2)), (1..2, 0..0));
        assert_eq!([0, 1, 2, 3, 5].map(|rank| places.is_first(rank)), [true, false, true, false, true]);
    }
}
