//! Every layer for images by finite differences.

use gim_core::activations::{Activations, Layout, Shape};
use gim_core::kernels::gemm::Threads;
use gim_core::layers::{InputGrad, Keep, Layer, LayerInfo};
use gim_core::layers::{ItemLayer, Itemwise, Pass, Work};
use gim_core::param::Params;
use gim_core::testing::{check_layer, check_readout, uniform};
use gim_core::{Key, Pool, Purpose};
use gim_vision::layers::conv2d::{Conv2d, Conv2dConfig, delta_orthogonal};
use gim_vision::layers::map_mean::MapMean;
use gim_vision::layers::normalize::{NormSets, Normalize};
use gim_vision::layers::normed_residual::NormedResidual;
use gim_vision::layers::patches::PatchMean;
use gim_vision::layers::pixelcnn::PixelCnn;
use gim_vision::layers::pool2d::{Pool2d, Pooling};
use gim_vision::layers::relu::Relu;
use gim_vision::layers::residual::{BlockKind, Residual};

fn key() -> Key {
    Key::new(3, Purpose::Init)
}

/// Chunks of two items, each a group of its own, so that sums over groups are checked too.
fn check(layers: Vec<Box<dyn ItemLayer<f64>>>, x: Shape, seed: u64) {
    check_chunks(layers, 2, x, seed);
}

/// Chunks of so many items; one thread, so that scratch is counted exactly.
fn check_chunks(layers: Vec<Box<dyn ItemLayer<f64>>>, chunk: usize, x: Shape, seed: u64) {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    one.install(|| check_layer(&mut Itemwise::new(layers).with_chunk(chunk), x, seed));
}

fn grid(items: usize, steps: usize, cols: usize, channels: usize) -> Shape {
    Shape { batch: items, height: steps, width: cols, channels }
}

/// One matrix at the center of the kernel, whose columns are orthogonal and of length √2. Biases
/// stay as they were drawn.
#[test]
fn delta_orthogonal_scales_norms() {
    let (o, c, kernel_area) = (6, 4, 9);
    let mut conv = Conv2d::<f64>::new(Conv2dConfig::square(c, o, 3, 1), key()).unwrap();
    delta_orthogonal(&mut conv, key()).unwrap();
    let mut weight = Vec::new();
    conv.visit(&mut |p| {
        if p.name.ends_with("weight") {
            weight = p.value.to_vec();
        } else {
            assert!(p.value.iter().all(|b| *b != 0.0));
        }
    });
    let w = |o: usize, tap: usize, in_channels: usize| weight[(o * kernel_area + tap) * c + in_channels];
    for tap in (0..kernel_area).filter(|tap| *tap != 4) {
        assert!((0..o).all(|o| (0..c).all(|c| w(o, tap, c) == 0.0)), "tap {tap}");
    }
    for (a, b) in (0..c).flat_map(|a| (0..c).map(move |b| (a, b))) {
        let product: f64 = (0..o).map(|o| w(o, 4, a) * w(o, 4, b)).sum();
        assert!((product - 2.0 * f64::from(a == b)).abs() < 1e-12, "columns {a} and {b}: {product}");
    }
}

#[test]
fn convolutions() {
    let cases = [
        (Conv2dConfig::square(3, 4, 1, 1), grid(3, 3, 2, 3)),
        (Conv2dConfig::square(3, 4, 1, 2), grid(3, 5, 4, 3)),
        (Conv2dConfig::square(2, 3, 3, 1), grid(3, 4, 5, 2)),
        (Conv2dConfig::square(2, 3, 3, 2), grid(3, 4, 4, 2)),
        (Conv2dConfig::square(2, 3, 3, 2), grid(2, 5, 3, 2)),
        (Conv2dConfig::square(1, 3, 5, 1), grid(3, 6, 6, 1)),
        // Enough channels for tiles, but not in eights; then tiles of two outputs a side and of
        // four.
        (Conv2dConfig::square(17, 16, 3, 1), grid(3, 4, 2, 17)),
        (Conv2dConfig::square(24, 16, 3, 1), grid(3, 4, 2, 24)),
        (Conv2dConfig::square(16, 24, 3, 1), grid(3, 8, 4, 16)),
        (Conv2dConfig { padding: [0; 4], ..Conv2dConfig::square(2, 3, 3, 1) }, grid(3, 4, 3, 2)),
        (
            Conv2dConfig { kernel_size: [2, 3], padding: [1, 0, 1, 1], ..Conv2dConfig::square(2, 3, 1, 1) },
            grid(3, 4, 3, 2),
        ),
        (
            Conv2dConfig { kernel_size: [1, 3], padding: [0, 0, 1, 1], ..Conv2dConfig::square(2, 3, 1, 1) },
            grid(3, 2, 1, 2),
        ),
    ];
    for (i, (config, x)) in cases.into_iter().enumerate() {
        for config in [config, config.after_relu()] {
            println!("{config:?} {x:?}");
            check(vec![Box::new(Conv2d::new(config, key()).unwrap())], x, 70 + i as u64);
        }
    }
}

#[test]
fn blocks_and_chains() {
    for kind in [BlockKind::Bottleneck, BlockKind::Basic] {
        let block = |in_channels, stride| -> Box<dyn ItemLayer<f64>> {
            Box::new(Residual::new(kind, in_channels, 2, stride, key().with_item(in_channels as u32)).unwrap())
        };
        let c = kind.channels(2);
        check(vec![block(c, 1)], grid(3, 4, 4, c), 15);
        check(vec![block(3, 1)], grid(3, 3, 3, 3), 6);
        check(vec![block(3, 2), block(c, 1)], grid(3, 4, 4, 3), 7);
        let stem = Conv2d::new(Conv2dConfig::square(1, 3, 5, 1), key()).unwrap();
        check(vec![Box::new(stem), block(3, 1), block(c, 2)], grid(5, 4, 4, 1), 8);
    }
}

#[test]
fn blocks_with_normalization() {
    for kind in [BlockKind::Bottleneck, BlockKind::Basic] {
        let block = |in_channels, stride, sets| -> Box<dyn ItemLayer<f64>> {
            let block = Residual::new(kind, in_channels, 4, stride, key().with_item(in_channels as u32)).unwrap();
            Box::new(NormedResidual::new(block, sets).unwrap())
        };
        let c = kind.channels(4);
        for sets in [NormSets::Groups(2), NormSets::Positions] {
            check(vec![block(c, 1, sets)], grid(3, 4, 3, c), 16);
            check(vec![block(4, 2, sets), block(c, 1, sets)], grid(3, 4, 4, 4), 17);
        }
    }
}

/// More chunks than there are groups: each group has two, and the last of 17 one.
#[test]
fn groups_of_several_chunks() {
    for items in [17, 18] {
        let block = Residual::new(BlockKind::Basic, 2, 3, 1, key()).unwrap();
        let conv = Conv2d::new(Conv2dConfig::square(3, 2, 1, 1).after_relu(), key()).unwrap();
        check_chunks(vec![Box::new(block), Box::new(conv)], 1, grid(items, 3, 2, 2), 11);
    }
}

/// A forward and a backward pass of three blocks, chunks of two items: all gradients, and bytes
/// held in between.
fn pass(kind: BlockKind, width: usize, kept: usize, pool: &Pool<f32>) -> (Vec<f32>, usize) {
    let block = |in_channels, stride| -> Box<dyn ItemLayer<f32>> {
        Box::new(Residual::new(kind, in_channels, width, stride, key().with_item(in_channels as u32)).unwrap())
    };
    let c = kind.channels(width);
    let stem = Conv2d::new(Conv2dConfig::square(1, 3, 5, 1), key()).unwrap();
    let layers = vec![Box::new(stem) as _, block(3, 1), block(c, 1), block(c, 2)];
    let mut net = Itemwise::new(layers).with_chunk(2).with_kept_outputs(kept);
    net.visit(&mut |p| p.attach_grad(pool));
    let x = grid(7, 6, 6, 1);
    let y = net.output(x).unwrap();
    let numbers = |n, seed| uniform(n, seed).iter().map(|v| *v as f32).collect::<Vec<_>>();
    let x = Activations::from_slice(Layout::dense(x), &numbers(x.len(), 1), pool);
    let mut out = Activations::new(Layout::dense(y), pool);
    net.forward(&x, &mut out, Keep::ForBackward, pool);
    let held = pool.bytes();
    let mut dy = Activations::from_slice(Layout::dense(y), &numbers(y.len(), 2), pool);
    let mut dx = Activations::new(x.layout(), pool);
    net.backward(&x, &out, &mut dy, InputGrad::Overwrite(&mut dx), pool);
    let mut grads = dx.to_vec();
    net.visit(&mut |p| grads.extend_from_slice(p.grad()));
    (grads, held)
}

/// Outputs that are not kept but computed once more give the same gradients to the last bit, in
/// less memory.
#[test]
fn restored_outputs_change_nothing() {
    for kind in [BlockKind::Bottleneck, BlockKind::Basic] {
        let (kept, recomputed) = (pass(kind, 4, usize::MAX, &Pool::new()), pass(kind, 4, 0, &Pool::new()));
        let low_memory = pass(kind, 4, usize::MAX, &Pool::low_memory());
        assert_eq!(kept.0, recomputed.0, "{kind:?}");
        assert_eq!(kept.0, low_memory.0, "{kind:?}");
        assert!(recomputed.1 < kept.1, "{kind:?}: {} bytes instead of {}", recomputed.1, kept.1);
        assert!(low_memory.1 < kept.1, "{kind:?}: {} bytes instead of {}", low_memory.1, kept.1);
    }
}

/// Four chunks: for one thread, for two, and for more threads than chunks, which then share the
/// chunks' products.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for kind in [BlockKind::Bottleneck, BlockKind::Basic] {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| pass(kind, 20, usize::MAX, &Pool::new()).0)
        };
        let one = on(1);
        for threads in [2, 5, 24] {
            assert_eq!(one, on(threads), "{kind:?} on {threads} threads");
        }
    }
}

#[test]
fn context_network() {
    check(vec![Box::new(PixelCnn::new(3, 3, key()).unwrap())], grid(3, 4, 3, 3), 9);
}

#[test]
fn patch_mean() {
    check_readout(&PatchMean { grid: [2, 3] }, grid(12, 2, 2, 3), 10);
}

/// Grids that divide the map, that do not, and that are larger than it.
#[test]
fn map_mean() {
    for side in [1, 2, 3, 9] {
        check_readout(&MapMean { side }, grid(3, 5, 4, 2), 20 + side as u64);
    }
}

/// Squares that fill the map, and that leave rows and columns out.
#[test]
fn pooling() {
    for pooling in [Pooling::Max, Pooling::Average] {
        for (side, x) in [(1, grid(3, 2, 3, 2)), (2, grid(3, 4, 6, 2)), (2, grid(3, 5, 3, 2)), (3, grid(2, 7, 3, 1))] {
            check(vec![Box::new(Pool2d::new(pooling, side).unwrap())], x, 30);
        }
    }
    assert!(Pool2d::new(Pooling::Max, 0).is_err());
    let error = Pool2d::new(Pooling::Max, 2).unwrap().output(grid(1, 1, 4, 1)).unwrap_err().to_string();
    assert!(error.contains("network.pools") && error.contains("1 × 4"), "{error}");
}

/// Of equal values, the first one has the gradient, as in PyTorch; what is not finite is not hidden.
#[test]
fn max_pooling_of_equal_and_missing_values() {
    let (layer, pool) = (Pool2d::new(Pooling::Max, 2).unwrap(), Pool::new());
    let (shape, work) = (grid(1, 2, 2, 2), Work { pool: &pool, threads: Threads::This });
    let x = [1.0, f64::NAN, 3.0, 2.0, 3.0, 9.0, 0.0, 1.0];
    let (mut y, mut dx) = ([0.0; 2], [7.0; 8]);
    layer.forward(&x, shape, &mut y, &mut [], work);
    assert!(y[0] == 3.0 && y[1].is_nan(), "{y:?}");
    layer.backward(&x, shape, &[], &mut [5.0, 0.0], Some(&mut dx), &mut [], work);
    assert_eq!(dx, [0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn normalization() {
    for (sets, channels) in [(NormSets::Groups(1), 3), (NormSets::Groups(2), 4), (NormSets::Positions, 4)] {
        let norm = || -> Box<dyn ItemLayer<f64>> {
            let mut norm = Normalize::new(sets, channels).unwrap();
            // Away from 1 and 0, where a gradient that forgets them would pass.
            let mut at = 0;
            norm.visit(&mut |p| {
                at += 1;
                p.value.iter_mut().zip(uniform(channels, at)).for_each(|(v, u)| *v += 0.5 * u);
            });
            Box::new(norm)
        };
        check(vec![norm()], grid(3, 3, 2, channels), 40);
        let conv = Conv2d::new(Conv2dConfig::square(2, channels, 3, 1), key()).unwrap();
        let pooled = Pool2d::new(Pooling::Max, 2).unwrap();
        check(vec![Box::new(conv), norm(), Box::new(Relu), Box::new(pooled)], grid(3, 4, 5, 2), 41);
    }
    for groups in [0, 3] {
        let error = Normalize::<f64>::new(NormSets::Groups(groups), 4).err().unwrap().to_string();
        assert!(error.contains("network.norm_groups") && error.contains("divides"), "{error}");
    }
}

#[test]
fn relu_alone() {
    check(vec![Box::new(Relu)], grid(3, 3, 2, 2), 50);
}

/// The context of a row may depend on rows above and on its own row, and on nothing below.
#[test]
fn context_sees_only_rows_above() {
    let mut net = PixelCnn::<f64>::new(2, 4, key()).unwrap();
    let shape = grid(1, 6, 5, 2);
    let pool = Pool::new();
    net.pack(Pass::Forward, shape, &pool);
    let run = |x: &[f64]| {
        let (mut y, mut kept) = (vec![0.0; x.len()], vec![0.0; net.kept(shape, false)]);
        net.forward(x, shape, &mut y, &mut kept, Work { pool: &pool, threads: Threads::This });
        y
    };
    let x = uniform(shape.len(), 4);
    let before = run(&x);
    for row in 0..6 {
        let mut changed = x.clone();
        changed[row * 10..(row + 1) * 10].iter_mut().for_each(|v| *v += 1.0);
        let after = run(&changed);
        assert_eq!(before[..row * 10], after[..row * 10], "rows above {row} see it");
        for seen in row..6.min(row + 4) {
            assert_ne!(before[seen * 10..][..10], after[seen * 10..][..10], "row {seen} does not see row {row}");
        }
    }
}
