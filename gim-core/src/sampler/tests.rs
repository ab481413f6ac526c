use super::*;
use crate::{Key, Purpose};
use proptest::prelude::*;

fn scene() -> impl Strategy<Value = Scene> {
    (1usize..4, 1usize..3, 1usize..4, 1usize..5, 0usize..3, 2usize..20, 0usize..10, 0usize..4).prop_map(
        |(items, cols, ahead, negatives, skip, extra, beyond, way)| {
            let window = ahead + skip + extra;
            Scene {
                items,
                steps: window + beyond,
                cols,
                direction: Direction::ALL[way],
                start: beyond / 2,
                window,
                first_offset: 1 + skip,
                ahead,
                negatives,
            }
        },
    )
}

proptest! {
    #[test]
    fn all_samplers_name_positions_of_the_batch(scene in scene(), seed: u64) {
        for name in ["permuted", "within-sequence", "exact", "others", "targets"] {
            let mut s = by_name(name).unwrap();
            s.draw(&scene, &mut Key::new(seed, Purpose::Negatives).rng());
            for k in 1..=scene.ahead {
                let mut out = vec![u32::MAX; scene.rows(k) * scene.negatives];
                s.negatives(&scene, k, &mut out);
                for (row, negatives) in out.chunks(scene.negatives).enumerate() {
                    for n in negatives {
                        prop_assert!((*n as usize) < scene.positions(), "{name}");
                        if name == "exact" || name == "others" {
                            prop_assert_ne!(*n as usize, scene.target(row, k), "{} drew the positive", name);
                        }
                        if name == "within-sequence" {
                            let item = *n as usize / (scene.steps * scene.cols);
                            prop_assert_eq!(item, scene.place(row).1);
                        }
                    }
                }
            }
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
    let scene = Scene {
        items: 2,
        steps: 6,
        cols: 1,
        direction: Direction::Down,
        start: 0,
        window: 6,
        first_offset: 1,
        ahead: 2,
        negatives: 200,
    };
    let mut s = Others::default();
    let mut counts = vec![0u32; scene.positions()];
    for seed in 0..100 {
        s.draw(&scene, &mut Key::new(seed, Purpose::Negatives).rng());
        let mut out = vec![0; scene.rows(2) * scene.negatives];
        s.negatives(&scene, 2, &mut out);
        out[..scene.negatives].iter().for_each(|n| counts[*n as usize] += 1);
    }
    let target = scene.target(0, 2);
    assert_eq!(counts[target], 0);
    let (mean, sd) = (20_000.0 / 11.0, (20_000.0f64 / 11.0).sqrt());
    for (i, c) in counts.iter().enumerate().filter(|(i, _)| *i != target) {
        assert!((f64::from(*c) - mean).abs() < 5.0 * sd, "position {i}: {c}");
    }
}
