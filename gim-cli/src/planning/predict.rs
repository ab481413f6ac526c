//! Step time, idle share, traffic and memory on several ranks, predicted from measured costs.
//!
//! The model: a rank computes for one group of contiguous modules; links carry activations beside
//! computing; a step takes as long as the slowest rank or link. Replicas of a group share a batch and
//! sum their gradients before the update, which is not hidden behind computing. Everything here is a
//! pure function of costs.

use std::ops::Range;

/// Gradients travel around a ring: each rank sends 2 (r − 1) messages of 1 / r of them.
fn ring_steps(replicas: usize) -> f64 {
    2.0 * (replicas - 1) as f64
}

/// What a module takes for a whole batch on one rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    /// Seconds of forward pass, loss, backward pass and update.
    pub seconds: f64,
    /// Bytes of its input.
    pub input: f64,
    /// Bytes of its gradients, as many as of its parameters.
    pub gradients: f64,
    /// Bytes of parameters and optimizer state.
    pub state: f64,
    /// Most bytes of activations, gradients and scratch during a step.
    pub working: f64,
}

/// The network between ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Link {
    /// Bytes a second, each way.
    pub bytes_per_second: f64,
    /// Seconds of an empty message.
    pub latency: f64,
}

impl Link {
    /// A link of so many Gb/s and microseconds.
    pub(crate) fn new(gbit: f64, microseconds: f64) -> Self {
        Self { bytes_per_second: gbit * 1e9 / 8.0, latency: microseconds / 1e6 }
    }

    fn message(&self, bytes: f64) -> f64 {
        self.latency + bytes / self.bytes_per_second
    }

    /// Seconds to sum `bytes` over replicas: 2 (r − 1) / r × bytes pass through each.
    fn all_reduce(&self, bytes: f64, replicas: usize) -> f64 {
        ring_steps(replicas) * self.message(bytes / replicas as f64)
    }
}

/// What does not change with the number of ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Setting {
    /// Items of a batch: the most replicas there can be.
    pub batch: usize,
    /// Batches that may wait at each end of a link.
    pub link_depth: usize,
    pub link: Link,
    /// Bytes of a process without a network.
    pub process: f64,
}

impl Setting {
    /// Share of a batch that the busiest of the replicas has.
    fn share(&self, replicas: usize) -> f64 {
        self.batch.div_ceil(replicas) as f64 / self.batch as f64
    }

    /// Numbers of replicas that make the busiest one's share smaller, up to `most`.
    fn replicas(&self, most: usize) -> Vec<usize> {
        let smaller = |r: &usize| *r == 1 || self.batch.div_ceil(*r) < self.batch.div_ceil(*r - 1);
        (1..=most.min(self.batch)).filter(smaller).collect()
    }

    fn compute(&self, modules: &[Cost], replicas: usize) -> f64 {
        self.share(replicas) * modules.iter().map(|m| m.seconds).sum::<f64>()
    }

    fn reduce(&self, modules: &[Cost], replicas: usize) -> f64 {
        self.link.all_reduce(modules.iter().map(|m| m.gradients).sum(), replicas)
    }

    /// Seconds of a batch between two groups of replicas: the busier side's share, both ways at once.
    fn edge(&self, bytes: f64, below: usize, above: usize) -> f64 {
        self.link.message(bytes * self.share(below.min(above)))
    }

    /// Bytes of a rank that holds these modules and links to others.
    fn memory(&self, modules: &[Cost], replicas: usize, links: f64) -> f64 {
        let share = self.share(replicas);
        let of = |m: &Cost| m.gradients + (m.working - m.gradients).max(0.0) * share;
        let working = modules.iter().map(of).fold(0.0, f64::max);
        let state: f64 = modules.iter().map(|m| m.state).sum();
        self.process + state + working + self.link_depth as f64 * links * share
    }
}

/// Contiguous modules on so many ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The modules, 0-based.
    pub modules: Range<usize>,
    /// Ranks that share its batches.
    pub replicas: usize,
}

/// A step, predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Step {
    pub seconds: f64,
    /// Share of all ranks' time in which they do not compute.
    pub idle: f64,
    /// Bytes that all ranks send in a step.
    pub traffic: f64,
    /// Most bytes of memory of a rank.
    pub memory: f64,
}

/// The best way to the first modules: its slowest rank or link, and the group below the last one.
#[derive(Clone, Copy)]
struct Way {
    slowest: f64,
    begin: usize,
    below: usize,
}

const NO_WAY: Way = Way { slowest: f64::INFINITY, begin: 0, below: 0 };

impl Way {
    fn faster(self, other: Self) -> Self {
        if other.slowest < self.slowest { other } else { self }
    }
}

/// Groups of at most `replicas` replicas, on at most `ranks` ranks, for which a step takes least time;
/// of equals, those on the fewest ranks. Dynamic programming over contiguous modules.
///
/// # Panics
/// When there is no module or no rank.
pub(crate) fn place(costs: &[Cost], setting: &Setting, ranks: usize, replicas: usize) -> Vec<Placed> {
    assert!(!costs.is_empty() && ranks > 0, "{} modules on {ranks} ranks", costs.len());
    let (n, counts) = (costs.len(), setting.replicas(ranks.min(replicas)));
    // best[i][k][t]: of the first i modules on at most t ranks, the last group on counts[k].
    let mut best = vec![vec![vec![NO_WAY; ranks + 1]; counts.len()]; n + 1];
    for end in 1..=n {
        for (k, &replicas) in counts.iter().enumerate() {
            for begin in 0..end {
                let own = &costs[begin..end];
                let own = setting.compute(own, replicas) + setting.reduce(own, replicas);
                for t in replicas..=ranks {
                    let way = |(below, fewer): (usize, &usize)| {
                        let edge = setting.edge(costs[begin].input, *fewer, replicas);
                        let slowest = own.max(edge).max(best[begin][below][t - replicas].slowest);
                        Way { slowest, begin, below }
                    };
                    best[end][k][t] = match begin {
                        0 => Way { slowest: own, begin, below: 0 },
                        _ => counts.iter().enumerate().map(way).fold(best[end][k][t], Way::faster),
                    };
                }
            }
        }
    }
    let slowest = |t: usize, k: usize| best[n][k][t].slowest;
    let fastest = |t: usize| (0..counts.len()).reduce(|a, b| if slowest(t, b) < slowest(t, a) { b } else { a });
    let at = |t: usize| fastest(t).map_or((f64::INFINITY, 0), |k| (slowest(t, k), k));
    let mut left = (1..ranks).find(|t| at(*t).0 <= at(ranks).0).unwrap_or(ranks);
    let (mut k, mut end, mut placed) = (at(left).1, n, Vec::new());
    while end > 0 {
        let way = best[end][k][left];
        placed.push(Placed { modules: way.begin..end, replicas: counts[k] });
        left -= counts[k];
        (end, k) = (way.begin, way.below);
    }
    placed.reverse();
    placed
}

/// A step of modules that learn greedily, placed like this on `ranks` ranks.
pub(crate) fn greedy(costs: &[Cost], placed: &[Placed], setting: &Setting, ranks: usize) -> Step {
    let (mut seconds, mut busy, mut traffic, mut memory) = (0.0f64, 0.0, 0.0, 0.0f64);
    for (i, group) in placed.iter().enumerate() {
        let (own, replicas) = (&costs[group.modules.clone()], group.replicas);
        seconds = seconds.max(setting.compute(own, replicas) + setting.reduce(own, replicas));
        busy += own.iter().map(|m| m.seconds).sum::<f64>();
        traffic += ring_steps(replicas) * own.iter().map(|m| m.gradients).sum::<f64>();
        let below = if i > 0 { costs[group.modules.start].input } else { 0.0 };
        if let Some(last) = i.checked_sub(1) {
            seconds = seconds.max(setting.edge(below, placed[last].replicas, replicas));
        }
        traffic += below;
        let above = placed.get(i + 1).map_or(0.0, |next| costs[next.modules.start].input);
        memory = memory.max(setting.memory(own, replicas, below + above));
    }
    Step { seconds, idle: (1.0 - busy / (ranks as f64 * seconds)).max(0.0), traffic, memory }
}

/// Data-parallel training of one end-to-end module, predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DataParallel {
    /// Ranks that make a step fastest.
    pub ranks: usize,
    /// With gradients summed after the backward pass.
    pub step: Step,
    /// Seconds of a step whose sums are hidden behind computing as far as possible: a lower bound.
    pub hidden: f64,
}

/// The best data-parallel training on at most `ranks` ranks.
pub(crate) fn data_parallel(whole: &Cost, setting: &Setting, ranks: usize) -> DataParallel {
    let own = std::slice::from_ref(whole);
    let seconds = |r: usize| setting.compute(own, r) + setting.reduce(own, r);
    let counts = setting.replicas(ranks);
    let best = counts.iter().copied().min_by(|a, b| seconds(*a).total_cmp(&seconds(*b))).unwrap_or(1);
    let hidden = counts.iter().map(|r| setting.compute(own, *r).max(setting.reduce(own, *r)));
    let step = Step {
        seconds: seconds(best),
        idle: (1.0 - whole.seconds / (ranks as f64 * seconds(best))).max(0.0),
        traffic: ring_steps(best) * whole.gradients,
        memory: setting.memory(own, best, 0.0),
    };
    DataParallel { ranks: best, step, hidden: hidden.fold(f64::INFINITY, f64::min) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(seconds: f64) -> Cost {
        Cost { seconds, input: 1e6, gradients: 4e6, state: 12e6, working: 20e6 }
    }

    fn setting(gbit: f64) -> Setting {
        Setting { batch: 8, link_depth: 1, link: Link::new(gbit, 0.0), process: 0.0 }
    }

    fn at(costs: &[Cost], setting: &Setting, ranks: usize) -> (Vec<Placed>, Step) {
        let placed = place(costs, setting, ranks, usize::MAX);
        let step = greedy(costs, &placed, setting, ranks);
        (placed, step)
    }

    #[test]
    fn one_rank_takes_the_sum_and_never_idles() {
        let costs = [cost(1.0), cost(2.0), cost(3.5)];
        let (placed, step) = at(&costs, &setting(10.0), 1);
        assert_eq!(placed, [Placed { modules: 0..3, replicas: 1 }]);
        assert_eq!((step.seconds, step.idle, step.traffic), (6.5, 0.0, 0.0));
        assert_eq!(step.memory, 3.0 * 12e6 + 20e6);
    }

    #[test]
    fn a_pipeline_takes_as_long_as_its_slowest_rank() {
        // Gradients are too large to be summed in time: no replicas.
        let costs = [1.0, 2.0, 3.0].map(|s| Cost { gradients: 1e12, ..cost(s) });
        let (placed, step) = at(&costs, &setting(10.0), 2);
        assert_eq!(placed.iter().map(|p| p.modules.clone()).collect::<Vec<_>>(), [0..2, 2..3]);
        assert_eq!((step.seconds, step.idle, step.traffic), (3.0, 0.0, 1e6));
        let (placed, step) = at(&costs, &setting(10.0), 4);
        assert_eq!((placed.len(), step.seconds), (2, 3.0), "a third group would not help");
        assert!((step.idle - 0.5).abs() < 1e-12);
    }

    #[test]
    fn a_pipeline_takes_as_long_as_its_slowest_link() {
        let slow = Setting { batch: 1, ..setting(0.016) };
        let costs = [cost(0.4), cost(0.4)];
        // 1 MB at 2 MB/s takes half a second.
        let (placed, step) = at(&costs, &slow, 2);
        assert_eq!((placed.len(), step.seconds), (2, 0.5));
        let slower = Setting { batch: 1, ..setting(0.0016) };
        assert_eq!(at(&costs, &slower, 2).0.len(), 1, "nothing is sent that takes longer than computing");
    }

    #[test]
    fn replicas_share_the_batch_and_sum_gradients() {
        let link = Link { bytes_per_second: 1e6, latency: 0.001 };
        // 2 (r − 1) messages of a quarter of 4 MB each.
        assert!((link.all_reduce(4e6, 4) - 6.0 * 1.001).abs() < 1e-12);
        assert_eq!(link.all_reduce(4e6, 1), 0.0);
        let fast = setting(1e6);
        let (placed, step) = at(&[cost(8.0)], &fast, 256);
        assert_eq!(placed, [Placed { modules: 0..1, replicas: 8 }], "a replica has at least one item");
        assert!((step.seconds - 1.0).abs() < 1e-3 && (step.idle - (1.0 - 8.0 / 256.0)).abs() < 1e-3);
        assert_eq!(step.traffic, 14.0 * 4e6);
        assert_eq!(place(&[cost(8.0), cost(8.0)], &fast, 256, 1).len(), 2, "replicas may be ruled out");
        // Three replicas of eight items: the busiest has three.
        assert_eq!(fast.share(3), 3.0 / 8.0);
        assert_eq!(fast.replicas(9), [1, 2, 3, 4, 8]);
    }

    /// No other way to cut and to share ranks is faster.
    #[test]
    fn the_best_of_all_ways_is_found() {
        fn ways(begin: usize, n: usize, ranks: usize, so_far: &[Placed], all: &mut Vec<Vec<Placed>>) {
            if begin == n {
                all.push(so_far.to_vec());
            }
            for end in begin + 1..=n {
                for replicas in 1..=ranks {
                    let next = [so_far, &[Placed { modules: begin..end, replicas }]].concat();
                    ways(end, n, ranks - replicas, &next, all);
                }
            }
        }
        let costs = [cost(0.03), cost(0.01), cost(0.05), cost(0.02)];
        for gbit in [0.5, 3.0, 100.0] {
            for ranks in 1..=6 {
                let mut all = Vec::new();
                ways(0, 4, ranks, &[], &mut all);
                let setting = setting(gbit);
                let best = all.iter().filter(|w| w.iter().all(|p| p.replicas <= setting.batch));
                let best = best.map(|w| greedy(&costs, w, &setting, ranks).seconds).fold(f64::INFINITY, f64::min);
                let (placed, step) = at(&costs, &setting, ranks);
                assert!((step.seconds - best).abs() < 1e-12, "{gbit} Gb/s, {ranks} ranks: {placed:?}");
            }
        }
    }

    #[test]
    fn data_parallel_training_uses_no_more_ranks_than_help() {
        let whole = cost(8.0);
        let one = data_parallel(&whole, &setting(10.0), 1);
        assert_eq!((one.step.seconds, one.hidden, one.step.idle), (8.0, 8.0, 0.0));
        let eight = data_parallel(&whole, &setting(10.0), 16);
        assert_eq!(eight.ranks, 8);
        // 14 × 0.5 MB at 1.25 GB/s after an eighth of the step.
        assert!((eight.step.seconds - 1.0056).abs() < 1e-9 && (eight.hidden - 1.0).abs() < 1e-9);
        assert_eq!(data_parallel(&whole, &setting(1e-5), 16).ranks, 1);
    }
}
