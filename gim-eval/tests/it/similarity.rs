//! CKA against its definition through Gram matrices of all rows, and what it must not depend on.

use gim_core::testing::uniform;
use gim_eval::{cka_matrix, linear_cka};
use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use proptest::prelude::*;

fn random(n: usize, d: usize, seed: u64) -> Array2<f32> {
    Array2::from_shape_vec((n, d), uniform(n * d, seed)).unwrap().mapv(|x| x as f32)
}

/// A random d × d orthogonal matrix: the product of d Householder reflections I − 2vvᵀ/vᵀv.
fn orthogonal(d: usize, seed: u64) -> Array2<f32> {
    let mut q = Array2::<f64>::eye(d);
    for v in random(d, d, seed).mapv(f64::from).rows() {
        let v = v.insert_axis(Axis(1));
        let along = q.dot(&v);
        q -= &(along.dot(&v.t()) * (2.0 / v.mapv(|x| x * x).sum()));
    }
    q.mapv(|x| x as f32)
}

/// HKH for the linear kernel K = XXᵀ and H = I − 11ᵀ/n.
fn centered_gram(x: ArrayView2<'_, f32>) -> Array2<f64> {
    let x = x.mapv(f64::from);
    let mut gram = x.dot(&x.t());
    for axis in [Axis(0), Axis(1)] {
        let mean = gram.mean_axis(axis).unwrap().insert_axis(axis);
        gram -= &mean;
    }
    gram
}

/// HSIC(K, L) = tr(KHLH) / (n − 1)², and CKA from it: the paper's equations 3 and 4.
fn naive(x: ArrayView2<'_, f32>, y: ArrayView2<'_, f32>) -> f64 {
    let (k, l) = (centered_gram(x), centered_gram(y));
    let scale = (x.nrows() as f64 - 1.0).powi(2);
    let hsic = |k: &Array2<f64>, l: &Array2<f64>| (k * l).sum() / scale;
    hsic(&k, &l) / (hsic(&k, &k) * hsic(&l, &l)).sqrt()
}

proptest! {
    #[test]
    fn agrees_with_the_definition(
        n in 2usize..50,
        dims in (1usize..20, 1usize..20),
        seed in 0u64..1000,
        shared in 0f32..2.0,
        scale in -3i32..4,
        offset in -20f32..20.0,
    ) {
        let x = random(n, dims.0, seed);
        let y = Array2::from_shape_fn((n, dims.1), |(i, j)| {
            shared * x[[i, j % dims.0]] + uniform(n * dims.1, seed + 1000)[i * dims.1 + j] as f32
        });
        let y = y.mapv(|v| (v + offset) * 10f32.powi(scale));
        let (got, want) = (linear_cka(x.view(), y.view()).unwrap(), naive(x.view(), y.view()));
        prop_assert!((got - want).abs() < 1e-5, "{got}, by the definition {want}");
        prop_assert!((0.0..=1.0).contains(&got));
        prop_assert_eq!(got, linear_cka(x.view(), y.view()).unwrap());

        let z = random(n, 3, seed + 2000);
        let groups = [x.view(), y.view(), z.view()];
        let cka = cka_matrix(&groups).unwrap();
        prop_assert_eq!(cka.dim(), (3, 3));
        for i in 0..3 {
            prop_assert_eq!(cka[[i, i]], 1.0);
            for j in 0..i {
                prop_assert_eq!(cka[[i, j]], cka[[j, i]]);
                prop_assert!((cka[[i, j]] - naive(groups[i], groups[j])).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn turning_moving_and_scaling_do_not_matter(
        n in 5usize..60,
        d in 1usize..12,
        seed in 0u64..1000,
        scale in 0.1f32..10.0,
        offset in -5f32..5.0,
    ) {
        let (x, y) = (random(n, d, seed), random(n, 7, seed + 1000));
        let turn = orthogonal(d, seed + 2000);
        let turned = (x.dot(&turn) + offset) * scale;
        prop_assert!((linear_cka(x.view(), turned.view()).unwrap() - 1.0).abs() < 1e-5);
        let (plain, turned) = (linear_cka(x.view(), y.view()).unwrap(), linear_cka(turned.view(), y.view()).unwrap());
        prop_assert!((plain - turned).abs() < 1e-5, "{plain} {turned}");
    }
}

/// More rows than a block, strong common directions, means far from zero, strided views, huge and tiny
/// values.
#[test]
fn large_parts_stay_exact() {
    let (n, p, q) = (2100, 96, 40);
    let (common, noise) = (random(n, 8, 1), random(n, p, 2));
    let x = concatenate![Axis(1), common.dot(&random(8, p - 3, 3)) * 5.0, random(n, 3, 4)] + &noise * 0.1 + 30.0;
    let wide = common.dot(&random(8, 2 * q, 5)) + random(n, 2 * q, 6);
    let y = wide.slice(s![.., ..;-2]);
    let z = x.t().as_standard_layout().into_owned();
    let z = z.t();
    let want = naive(x.view(), y);
    assert!((0.05..0.95).contains(&want), "{want} tells nothing");
    for x in [x.view(), z] {
        let got = linear_cka(x, y).unwrap();
        assert!((got - want).abs() < 1e-6, "{got}, by the definition {want}");
    }
    for scale in [1e-36, 1e36] {
        let got = linear_cka((&x * scale).view(), y).unwrap();
        assert!((got - want).abs() < 1e-5, "{got} at scale {scale}, by the definition {want}");
    }
}

#[test]
fn identical_features_are_alike_and_independent_ones_are_not() {
    let (x, y) = (random(4000, 10, 1), random(4000, 10, 2));
    assert_eq!(linear_cka(x.view(), x.view()).unwrap(), 1.0);
    let low = linear_cka(x.view(), y.view()).unwrap();
    // The bias: √(D₁D₂) / N = 0.0025.
    assert!((0.001..0.005).contains(&low), "{low}");
    // Half of the dimensions in common, the others independent: ‖XᵀY‖² and its likes count dimensions in common.
    let half = concatenate![Axis(1), x.slice(s![.., ..5]), y.slice(s![.., ..5])];
    let half = linear_cka(x.view(), half.view()).unwrap();
    assert!((half - 0.5).abs() < 0.02, "{half}");
}

#[test]
fn threads_do_not_matter() {
    let (x, y) = (random(2500, 70, 1), random(2500, 33, 2));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| linear_cka(x.view(), y.view()).unwrap().to_bits())
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn refuses_what_has_no_similarity() {
    let x = random(6, 3, 1);
    let refusal = |y: ArrayView2<'_, f32>| linear_cka(x.view(), y).unwrap_err().to_string();
    assert!(refusal(x.slice(s![..5, ..])).contains("group 1 has 5 rows, group 0 has 6"));
    for bad in [f32::NAN, f32::INFINITY] {
        let mut y = x.clone();
        y[[4, 1]] = bad;
        assert!(refusal(y.view()).contains("group 1 has features that are not finite in row 4"));
    }
    // 0.1 has no exact mean in floating point: a column of it must not leave a remainder to be compared.
    assert!(refusal(Array2::from_elem((6, 4), 0.1).view()).contains("same features in every row"));
    assert!(refusal(Array2::zeros((6, 0)).view()).contains("same features in every row"));
    let one = x.slice(s![..1, ..]);
    assert!(linear_cka(one, one).unwrap_err().to_string().contains("group 0 has 1 rows"));
    let none = x.slice(s![..0, ..]);
    assert!(linear_cka(none, none).unwrap_err().to_string().contains("group 0 has 0 rows"));
    assert!(cka_matrix(&[x.view(), x.view(), none]).unwrap_err().to_string().contains("group 2 has 0 rows"));
    assert_eq!(cka_matrix(&[]).unwrap().dim(), (0, 0));
}

/// As many dimensions as vary alike, whatever their number, place and scale.
#[test]
fn participation_ratio_counts_the_dimensions_in_use() {
    let axes = Array2::from_shape_fn((4000, 6), |(n, d)| {
        let on = if n % 2 == 0 { 1.0 } else { -1.0 };
        if n / 2 % 6 == d { 1e3 + 5.0 * on } else { 1e3 }
    });
    let all = gim_eval::participation_ratio(axes.view()).unwrap();
    assert!((all - 6.0).abs() < 1e-2, "{all}");
    let line = Array2::from_shape_fn((100, 6), |(n, d)| n as f32 * (d as f32 - 2.5));
    let one = gim_eval::participation_ratio(line.view()).unwrap();
    assert!((one - 1.0).abs() < 1e-4, "{one}");
    assert_eq!(gim_eval::participation_ratio(Array2::ones((5, 3)).view()).unwrap(), 0.0);
    assert!(gim_eval::participation_ratio(Array2::from_elem((5, 3), f32::NAN).view()).is_err());
}
