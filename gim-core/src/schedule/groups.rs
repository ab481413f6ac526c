//! Which modules share a thread, and how many threads compute for each group.

use std::ops::Range;

use crate::{Error, Result};

/// Share of a step that does not become faster with more threads: a step of the paper's networks
/// runs 8 to 12 times as fast on 64 threads.
const SERIAL: f64 = 0.1;

/// Contiguous modules that take turns on one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its modules, 0-based.
    pub modules: Range<usize>,
    /// Threads that compute for it; at least 1.
    pub threads: usize,
}

/// Time of a group whose modules cost `cost`, on so many threads.
fn time(cost: f64, threads: usize) -> f64 {
    cost * (SERIAL + (1.0 - SERIAL) / threads as f64)
}

/// The groups for which the slowest one takes least time, by dynamic programming over contiguous
/// modules. `costs` are times of the modules on equal numbers of threads. There are at most as many
/// groups as `threads`; of equals, the fewest.
///
/// # Panics
/// When there is no module or no thread.
pub fn balance(costs: &[f64], threads: usize) -> Vec<Group> {
    assert!(!costs.is_empty() && threads > 0, "{} modules on {threads} threads", costs.len());
    let n = costs.len();
    // best[i][t]: (time of the slowest group, groups, where the last group begins, its threads) of
    // the first i modules on at most t threads.
    let none = (f64::INFINITY, usize::MAX, 0, 0);
    let mut best = vec![vec![none; threads + 1]; n + 1];
    best[0] = vec![(0.0, 0, 0, 0); threads + 1];
    for i in 1..=n {
        for t in 1..=threads {
            for j in 0..i {
                let cost: f64 = costs[j..i].iter().sum();
                for k in 1..=t {
                    let (slowest, groups, ..) = best[j][t - k];
                    let new = (time(cost, k).max(slowest), groups.saturating_add(1), j, k);
                    if (new.0, new.1) < (best[i][t].0, best[i][t].1) {
                        best[i][t] = new;
                    }
                }
            }
        }
    }
    let (mut cuts, mut end, mut left) = (Vec::new(), n, threads);
    while end > 0 {
        let (_, _, begin, k) = best[end][left];
        cuts.push(begin..end);
        (end, left) = (begin, left - k);
    }
    cuts.reverse();
    with_threads(cuts, costs, threads)
}

/// The groups that `lists` name by one-based modules, for instance `[[1, 2], [3]]`.
///
/// # Errors
/// [`Error::Config`] when they do not name every module once, in order.
///
/// # Panics
/// When there is no module or no thread.
pub fn group_by(lists: &[Vec<usize>], costs: &[f64], threads: usize) -> Result<Vec<Group>> {
    let n = costs.len();
    assert!(n > 0 && threads > 0, "{n} modules on {threads} threads");
    if lists.iter().any(Vec::is_empty) || !lists.iter().flatten().copied().eq(1..=n) {
        let what = format!("{lists:?} does not name the modules 1 to {n} once each, in order");
        let halves: [Vec<usize>; 2] = [(1..=n.div_ceil(2)).collect(), (n.div_ceil(2) + 1..=n).collect()];
        let example: Vec<&Vec<usize>> = halves.iter().filter(|h| !h.is_empty()).collect();
        return Err(Error::config("train.groups", what, format_args!("for instance {example:?}, or \"auto\"")));
    }
    let cuts = lists.iter().map(|list| list[0] - 1..list[list.len() - 1]).collect();
    Ok(with_threads(cuts, costs, threads))
}

/// Gives each group a thread, and every further one to the group that is slowest then.
fn with_threads(cuts: Vec<Range<usize>>, costs: &[f64], threads: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = cuts.into_iter().map(|modules| Group { modules, threads: 1 }).collect();
    let now = |g: &Group| time(costs[g.modules.clone()].iter().sum(), g.threads);
    for _ in groups.len()..threads {
        if let Some(slowest) = groups.iter_mut().max_by(|a, b| now(a).total_cmp(&now(b))) {
            slowest.threads += 1;
        }
    }
    groups
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn cuts(groups: &[Group]) -> Vec<(Range<usize>, usize)> {
        groups.iter().map(|g| (g.modules.clone(), g.threads)).collect()
    }

    /// The time of the slowest group over all ways to cut and to share threads.
    fn by_hand(costs: &[f64], threads: usize) -> f64 {
        if costs.is_empty() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for cut in 1..=costs.len() {
            for k in 1..=threads {
                if cut == costs.len() || k < threads {
                    let here = time(costs[..cut].iter().sum(), k);
                    best = best.min(here.max(by_hand(&costs[cut..], threads - k)));
                }
            }
        }
        best
    }

    #[test]
    fn the_slowest_group_takes_least_time() {
        for costs in [vec![1.0; 6], vec![9.0, 1.0, 1.0], vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![3.0], vec![0.0, 0.0]] {
            for threads in 1..=5 {
                let groups = balance(&costs, threads);
                let slowest = groups.iter().map(|g| time(costs[g.modules.clone()].iter().sum(), g.threads));
                let slowest = slowest.fold(0.0, f64::max);
                assert!((slowest - by_hand(&costs, threads)).abs() < 1e-12, "{costs:?} on {threads}: {groups:?}");
                assert_eq!(groups.iter().map(|g| g.threads).sum::<usize>(), threads);
                assert_eq!(groups.iter().flat_map(|g| g.modules.clone()).collect::<Vec<_>>().len(), costs.len());
            }
        }
        assert_eq!(cuts(&balance(&[1.0, 1.0, 1.0, 1.0], 2)), [(0..2, 1), (2..4, 1)]);
        // Two groups of which one has nearly all of the work would be slower than one on both
        // threads.
        assert_eq!(cuts(&balance(&[9.0, 1.0, 1.0], 2)), [(0..3, 2)]);
        assert_eq!(cuts(&balance(&[1.0, 1.0], 1)), [(0..2, 1)]);
    }

    #[test]
    fn lists_name_every_module_in_order() {
        let group =
            |lists: &[&[usize]]| group_by(&lists.iter().map(|l| l.to_vec()).collect::<Vec<_>>(), &[1.0, 1.0, 4.0], 4);
        assert_eq!(cuts(&group(&[&[1, 2], &[3]]).unwrap()), [(0..2, 1), (2..3, 3)]);
        assert_eq!(cuts(&group(&[&[1], &[2], &[3]]).unwrap()), [(0..1, 1), (1..2, 1), (2..3, 2)]);
        for wrong in [&[&[1, 2][..]][..], &[&[1], &[3], &[2]], &[&[1, 2, 3], &[]], &[&[1, 2], &[2, 3]], &[]] {
            let e = group(wrong).unwrap_err().to_string();
            assert!(e.contains("train.groups") && e.contains("[[1, 2], [3]]"), "{e}");
        }
    }
}
