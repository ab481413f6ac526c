use super::*;
use crate::{Key, Purpose};
use proptest::prelude::*;

fn grid() -> impl Strategy<Value = PredictionGrid> {
    (1usize..4, 1usize..3, 1usize..4, 1usize..5, 0usize..3, 2usize..20, 0usize..10, 0usize..4).prop_map(
        |(items, across, prediction_steps, negatives, skip, extra, beyond, way)| {
            let window = prediction_steps + skip + extra;
            PredictionGrid {
                items,
                along: window + beyond,
                across,
                direction: Direction::ALL[way],
                start: beyond / 2,
                window,
                first_offset: 1 + skip,
                prediction_steps,
                negatives,
            }
        },
    )
}

/// Item, and place across the direction, of a position: what a prediction does not leave.
fn lane(grid: &PredictionGrid, position: usize) -> (usize, usize) {
    let (item, rest) = (position / (grid.along * grid.across), position % (grid.along * grid.across));
    (item, if grid.direction.sideways() { rest / grid.along } else { rest % grid.across })
}

proptest! {
    #[test]
    fn all_samplers_name_positions_of_the_batch(grid in grid(), seed: u64) {
        for kind in SamplerKind::ALL {
            let mut s = kind.build();
            prop_assert_eq!(s.name(), kind.name());
            s.draw(&grid, &mut Key::new(seed, Purpose::Negatives).rng());
            for k in 1..=grid.prediction_steps {
                let mut out = vec![u32::MAX; grid.rows(k) * grid.negatives];
                s.negatives(&grid, k, &mut out);
                for (row, negatives) in out.chunks(grid.negatives).enumerate() {
                    for n in negatives {
                        prop_assert!((*n as usize) < grid.positions(), "{kind}");
                        if matches!(kind, SamplerKind::Exact | SamplerKind::Others) {
                            prop_assert_ne!(*n as usize, grid.target(row, k), "{} drew the positive", kind);
                        }
                        if kind == SamplerKind::WithinSequence {
                            prop_assert_eq!(lane(&grid, *n as usize), lane(&grid, grid.target(row, k)));
                        }
                    }
                }
            }
        }
    }

    /// Each share draws what a batch of its items alone draws from the share's stream, uneven shares too.
    #[test]
    fn shares_draw_as_batches_of_their_own(grid in grid(), shares in 1usize..4, seed: u64) {
        let grid = PredictionGrid { items: grid.items.max(shares), ..grid };
        let rng = || Key::new(seed, Purpose::Negatives).rng();
        for kind in SamplerKind::ALL {
            // Built by hand, for one share, too.
            let mut all = Shares::new((0..shares).map(|_| kind.build()).collect());
            prop_assert_eq!((all.name(), all.shares()), (kind.name(), shares));
            all.draw(&grid, &mut rng());
            let mut seen = 0;
            for share in 0..shares {
                let items = Shares::items(grid.items, share, shares);
                prop_assert_eq!(items.start, seen, "shares are contiguous");
                seen = items.end;
                let own = PredictionGrid { items: items.len(), ..grid };
                let mut alone = kind.build();
                let mut stream = rng();
                if share > 0 {
                    stream.set_stream(share as u64);
                }
                alone.draw(&own, &mut stream);
                let first = items.start * grid.along * grid.across;
                for k in 1..=grid.prediction_steps {
                    let mut want = vec![u32::MAX; own.rows(k) * grid.negatives];
                    alone.negatives(&own, k, &mut want);
                    let mut got = vec![u32::MAX; grid.rows(k) * grid.negatives];
                    all.negatives(&grid, k, &mut got);
                    let lanes = (0..grid.rows(k)).filter(|row| items.contains(&grid.place(*row).1));
                    let got: Vec<u32> = lanes.flat_map(|row| &got[row * grid.negatives..][..grid.negatives]).copied().collect();
                    let want: Vec<u32> = want.iter().map(|n| n + first as u32).collect();
                    prop_assert_eq!(got, want, "{}, share {} of {}", kind, share, shares);
                }
            }
            prop_assert_eq!(seen, grid.items);
        }
    }

    #[test]
    fn a_permutation_is_one(n in 1usize..200, seed: u64) {
        let (mut out, mut scratch) = (vec![0; n], Vec::new());
        permutation_tail(n, &mut out, &mut scratch, &mut Key::new(seed, Purpose::Negatives).rng());
        out.sort_unstable();
        prop_assert!(out.iter().enumerate().all(|(i, x)| i == *x as usize));
    }
}

/// Every position but the positive is drawn equally often, within five standard deviations.
#[test]
fn others_is_uniform() {
    let grid = PredictionGrid {
        items: 2,
        along: 6,
        across: 1,
        direction: Direction::Down,
        start: 0,
        window: 6,
        first_offset: 1,
        prediction_steps: 2,
        negatives: 200,
    };
    let mut s = Others::default();
    let mut counts = vec![0u32; grid.positions()];
    for seed in 0..100 {
        s.draw(&grid, &mut Key::new(seed, Purpose::Negatives).rng());
        let mut out = vec![0; grid.rows(2) * grid.negatives];
        s.negatives(&grid, 2, &mut out);
        out[..grid.negatives].iter().for_each(|n| counts[*n as usize] += 1);
    }
    let target = grid.target(0, 2);
    assert_eq!(counts[target], 0);
    let (mean, sd) = (20_000.0 / 11.0, (20_000.0f64 / 11.0).sqrt());
    for (i, c) in counts.iter().enumerate().filter(|(i, _)| *i != target) {
        assert!((f64::from(*c) - mean).abs() < 5.0 * sd, "position {i}: {c}");
    }
}

/// In every direction, the lines of an item name its positions in order, each once.
#[test]
fn lines_run_along_the_direction() {
    // An image of 2 rows and 3 columns.
    let places = |direction: Direction, along, across| {
        let grid = PredictionGrid { direction, along, across, ..lone() };
        (0..across).map(|line| (0..along).map(|i| grid.at(i, 1, line)).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    assert_eq!(places(Direction::Down, 2, 3), [[6, 9], [7, 10], [8, 11]]);
    assert_eq!(places(Direction::Up, 2, 3), [[9, 6], [10, 7], [11, 8]]);
    assert_eq!(places(Direction::Right, 3, 2), [[6, 7, 8], [9, 10, 11]]);
    assert_eq!(places(Direction::Left, 3, 2), [[8, 7, 6], [11, 10, 9]]);
}

/// A grid whose farthest prediction has one row.
fn lone() -> PredictionGrid {
    PredictionGrid {
        items: 1,
        along: 5,
        across: 1,
        direction: Direction::Down,
        start: 1,
        window: 3,
        first_offset: 1,
        prediction_steps: 2,
        negatives: 3,
    }
}

#[test]
fn a_lone_row_is_drawn_for() {
    let grid = lone();
    assert_eq!((grid.rows(1), grid.rows(2)), (2, 1));
    for kind in SamplerKind::ALL {
        let mut s = kind.build();
        s.draw(&grid, &mut Key::new(1, Purpose::Negatives).rng());
        let mut out = vec![u32::MAX; grid.negatives];
        s.negatives(&grid, 2, &mut out);
        assert!(out.iter().all(|n| (*n as usize) < grid.positions()), "{kind}: {out:?}");
    }
}

#[test]
fn the_names_are_listed() {
    let text = "none".parse::<SamplerKind>().unwrap_err().to_string();
    assert!(SamplerKind::ALL.iter().all(|kind| text.contains(kind.name())), "{text}");
    assert!(SamplerKind::ALL.iter().all(|kind| kind.to_string().parse::<SamplerKind>().unwrap() == *kind));
}
