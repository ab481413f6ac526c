//! The loader: same content whatever the threads, the cache and the first step; errors and ends
//! that never hang.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::common::{big, fashion_mini, jpeg, open, png, scene, write};
use gim_vision::dataset::image::{Color, Image};
use gim_vision::dataset::loader::{
    ImageLoader, Item, UNKNOWN, View, ViewConfig, ViewPlan, center_view, check_sizes, small_view,
};
use gim_vision::dataset::standardize::Standardize;
use gim_vision::dataset::{ImageDataset, Split};
use proptest::prelude::*;
use tempfile::TempDir;

fn std(color: Color) -> Standardize {
    let n = color.channels();
    Standardize::given(color, &[0.3, 0.4, 0.5][..n], &[0.2, 0.25, 0.3][..n]).unwrap()
}

/// Images of all sizes, gray and in color: 12 in each of two classes to train on.
fn mixed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for class in 0..2 {
        for k in 0..12 {
            let image = scene(20 + 3 * k, 24 + k, if k % 3 == 0 { 1 } else { 3 }, 12 * class + k);
            let (bytes, ext) = if k % 2 == 0 { (png(&image), "png") } else { (jpeg(&image), "jpg") };
            write(&dir.path().join(format!("train/{class}/{k:02}.{ext}")), bytes);
        }
        write(&dir.path().join(format!("test/{class}/x.png")), png(&scene(40, 40, 3, class)));
    }
    dir
}

fn config() -> ViewConfig {
    ViewConfig { batch: 5, crop: 16, color: Color::Rgb, seed: 3, ..Default::default() }
}

fn start(dataset: &Arc<dyn ImageDataset>, config: &ViewConfig, first: u64) -> ImageLoader {
    ImageLoader::start(Arc::clone(dataset), std(config.color), config, Split::Train, first).unwrap()
}

/// The bits and labels of `n` batches.
fn take(loader: &mut ImageLoader, n: usize) -> Vec<(Vec<u32>, Vec<i32>)> {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect();
    (0..n).map(|_| loader.next_batch().map(|b| (bits(&b.data), b.labels)).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn views_are_inside_and_an_epoch_is_a_permutation(
        sizes in prop::collection::vec((0usize..40, 0usize..40), 1..60),
        batch in 1usize..9, crop in 1usize..20, flip in any::<bool>(), seed in any::<u64>(),
    ) {
        prop_assume!(sizes.len() >= batch);
        let items: Vec<Item> = sizes.iter().enumerate().map(|(i, s)| (1000 + i, crop + s.0, crop + s.1)).collect();
        let mut plan = ViewPlan::new(items.clone(), batch, crop, flip, seed);
        let mut views: Vec<View> = Vec::new();
        for epoch in 0..2 {
            let mut seen = HashSet::new();
            for step in 0..plan.epoch_len() {
                plan.fill(epoch * plan.epoch_len() + step, &mut views);
                prop_assert_eq!(views.len(), batch);
                for v in &views {
                    let (height, width) = sizes[v.image - 1000];
                    prop_assert!(v.top <= height && v.left <= width && (flip || !v.flip));
                    prop_assert!(seen.insert(v.image));
                }
            }
        }
        // A fresh plan that begins in the middle agrees.
        let middle = plan.epoch_len() + plan.epoch_len() / 2;
        let mut there = Vec::new();
        ViewPlan::new(items, batch, crop, flip, seed).fill(middle, &mut there);
        plan.fill(middle, &mut views);
        prop_assert_eq!(&there, &views);
    }
}

#[test]
fn every_place_is_drawn() {
    let mut plan = ViewPlan::new(vec![(0, 7, 6)], 1, 5, true, 9);
    let mut views = Vec::new();
    let mut seen = HashSet::new();
    for step in 0..300 {
        plan.fill(step, &mut views);
        seen.insert((views[0].top, views[0].left, views[0].flip));
    }
    assert_eq!(seen.len(), 3 * 2 * 2);
}

#[test]
fn batches_are_what_the_plan_says() {
    let dir = mixed();
    let dataset = open(dir.path()).unwrap();
    for (color, pad, short_side) in [(Color::Rgb, 0, 0), (Color::Grayscale, 3, 0), (Color::Rgb, 2, 18)] {
        let config = ViewConfig { color, pad, short_side, ..config() };
        let mut loader = start(&dataset, &config, 0);
        assert_eq!(loader.epoch_len(), 4);
        let channels = color.channels();
        let mut flips = 0;
        for step in 0..6 {
            let batch = loader.next_batch().unwrap();
            assert_eq!((batch.step, batch.data.len(), batch.labels.len()), (step, 5 * 16 * 16 * channels, 5));
            for ((view, out), label) in
                loader.views().iter().zip(batch.data.chunks(16 * 16 * channels)).zip(&batch.labels)
            {
                assert_eq!(Some(*label as usize), dataset.label(view.image));
                flips += usize::from(view.flip);
                let p = dataset.read(view.image).unwrap().in_color(color).with_short_side(short_side);
                let mut pixels = Vec::new();
                // Written for one pixel at a time, unlike the loader.
                let edge = |at: usize, n: usize| {
                    let at = (at as isize - pad as isize).unsigned_abs();
                    if at >= n { 2 * (n - 1) - at } else { at }
                };
                for y in 0..16 {
                    for x in 0..16 {
                        let x = if view.flip { 15 - x } else { x };
                        let (y, x) = (edge(view.top + y, p.height), edge(view.left + x, p.width));
                        pixels.extend(&p.pixels[(y * p.width + x) * channels..][..channels]);
                    }
                }
                let mut want = vec![f32::NAN; pixels.len()];
                std(color).apply(&pixels, &mut want);
                assert_eq!(out, want);
            }
        }
        assert!((5..25).contains(&flips), "{flips} of 30 are flipped");
    }
}

#[test]
fn held_out_images_are_never_in_a_batch() {
    let dir = mixed();
    let dataset = open(dir.path()).unwrap();
    let held_out: std::collections::BTreeSet<usize> = dataset.split(Split::Train).iter().copied().step_by(3).collect();
    let mut loader = start(&dataset, &ViewConfig { held_out: held_out.clone(), batch: 2, ..config() }, 0);
    for _ in 0..2 * loader.epoch_len() {
        loader.next_batch().unwrap();
        assert!(loader.views().iter().all(|view| !held_out.contains(&view.image)));
    }
}

/// One thread or two, cache or none, from the start or resumed: the same bits.
#[test]
fn content_depends_on_the_step_alone() {
    let dir = mixed();
    for (root, base) in
        [(dir.path(), config()), (&*fashion_mini(), ViewConfig { batch: 50, crop: 20, ..Default::default() })]
    {
        let dataset = open(root).unwrap();
        let want = take(&mut start(&dataset, &base, 0), 40);
        for (threads, cache_mb, first) in [(2, 512, 0), (1, 0, 0), (3, 1, 7), (1, 512, 33), (2, 0, 39)] {
            let config = ViewConfig { threads, cache_mb, ..base.clone() };
            let mut loader = start(&dataset, &config, first as u64);
            assert_eq!(loader.next_step(), first as u64);
            assert!(take(&mut loader, 40 - first) == want[first..], "{threads} threads, {cache_mb} MB, from {first}");
            assert!(loader.stats().cached_bytes <= cache_mb * 1_000_000);
        }
        let other = ViewConfig { seed: 4, ..base };
        assert!(take(&mut start(&dataset, &other, 0), 1) != want[..1]);
    }
}

#[test]
fn images_smaller_than_a_crop() {
    let dir = mixed();
    write(&dir.path().join("train/1/small.png"), png(&scene(1, 1, 3, 0)));
    write(&dir.path().join("train/0/15.png"), png(&scene(15, 40, 3, 0)));
    let dataset = open(dir.path()).unwrap();
    let e = ImageLoader::start(Arc::clone(&dataset), std(Color::Rgb), &config(), Split::Train, 0).unwrap_err();
    for part in ["train/1/small.png", "1 x 1", "16 x 16", "2 of 26", "--skip-bad"] {
        assert!(e.to_string().contains(part), "{e} should say {part}");
    }
    let skip = start(&dataset, &ViewConfig { skip_bad: true, ..config() }, 0);
    assert!(skip.notes()[0].contains("2 of 26"), "{:?}", skip.notes());
    assert_eq!(skip.epoch_len(), 24 / 5);
    assert!(check_sizes(&*dataset, Split::Train, 16, 16).is_ok());
    assert!(check_sizes(&*dataset, Split::Test, 40, 0).is_ok());
    assert!(check_sizes(&*dataset, Split::Test, 41, 0).unwrap_err().to_string().contains("test/0/x.png"));
    // Padded enough, even a single pixel has a view.
    let mut padded = start(&dataset, &ViewConfig { pad: 8, batch: 26, ..config() }, 0);
    padded.next_batch().unwrap();
    let many = ViewConfig { batch: 25, skip_bad: true, ..config() };
    let e = ImageLoader::start(dataset, std(Color::Rgb), &many, Split::Train, 0).unwrap_err().to_string();
    assert!(e.contains("24 images") && e.contains("takes 25"), "{e}");
}

#[test]
fn bad_configurations_are_refused() {
    let dataset = open(&fashion_mini()).unwrap();
    let base = ViewConfig { crop: 20, ..Default::default() };
    for bad in [
        ViewConfig { batch: 0, ..base.clone() },
        ViewConfig { crop: 0, ..base.clone() },
        ViewConfig { threads: 0, ..base.clone() },
        ViewConfig { crop: 29, ..base.clone() },
        ViewConfig { color: Color::Rgb, ..base },
    ] {
        assert!(ImageLoader::start(Arc::clone(&dataset), std(Color::Grayscale), &bad, Split::Train, 0).is_err());
    }
}

#[test]
fn a_bad_file_is_an_error_of_its_step_only() {
    let dir = mixed();
    let dataset = open(dir.path()).unwrap();
    write(&dir.path().join("train/0/03.jpg"), "no longer an image");
    for threads in [1, 2] {
        let mut loader = start(&dataset, &ViewConfig { batch: 4, threads, ..config() }, 0);
        for _epoch in 0..3 {
            let results: Vec<_> = (0..6).map(|_| loader.next_batch()).collect();
            let errors: Vec<String> = results.iter().filter_map(|r| r.as_ref().err()).map(|e| e.to_string()).collect();
            assert_eq!(errors.len(), 1);
            assert!(errors[0].contains("03.jpg"), "{errors:?}");
        }
    }
}

#[test]
fn unlabeled_images_have_no_class() {
    let dir = mixed();
    for k in 0..3 {
        write(&dir.path().join(format!("unlabeled/{k}.png")), png(&scene(20, 20, 3, k)));
    }
    let dataset = open(dir.path()).unwrap();
    let config = ViewConfig { batch: 3, ..config() };
    let mut loader = ImageLoader::start(dataset, std(Color::Rgb), &config, Split::Unlabeled, 0).unwrap();
    assert_eq!(loader.next_batch().unwrap().labels, [UNKNOWN; 3]);
}

/// Dropped at once, after some batches, or with batches still held: the threads end, and the held
/// batches live on.
#[test]
fn dropping_stops_the_threads_and_buffers_are_recycled() {
    let dataset = open(&fashion_mini()).unwrap();
    for threads in [1, 2] {
        for n in [0, 1, 9] {
            let config = ViewConfig { crop: 20, threads, prefetch: 2, ..Default::default() };
            let mut loader = start(&dataset, &config, 0);
            let held: Vec<_> = (0..n).map(|_| loader.next_batch().unwrap()).collect();
            drop(loader);
            assert!(held.iter().all(|b| b.data.iter().all(|x| x.is_finite())));
        }
    }
    let mut loader = start(&dataset, &ViewConfig { crop: 20, ..Default::default() }, 0);
    for _ in 0..200 {
        drop(loader.next_batch().unwrap());
    }
    assert!(loader.stats().buffers <= 3 + 2, "{:?}", loader.stats());
    assert_eq!(loader.stats().batches, 200);
    drop(loader);
    assert_eq!(Arc::strong_count(&dataset), 1, "a thread still holds the dataset");
}

#[test]
fn views_for_evaluation() {
    let image = Image::new(3, 5, 1, (0..15).collect());
    let std = Standardize::given(Color::Grayscale, &[0.0], &[1.0 / 255.0]).unwrap();
    let close = |x: Vec<f32>, want: &[f32]| assert!(x.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4), "{x:?}");
    close(center_view(&image, 1, Color::Grayscale, &std).unwrap(), &[7.0]);
    close(center_view(&image, 3, Color::Grayscale, &std).unwrap(), &[1.0, 2.0, 3.0, 6.0, 7.0, 8.0, 11.0, 12.0, 13.0]);
    close(small_view(&image, 1, Color::Grayscale, &std).unwrap(), &[7.0]);
    assert_eq!(small_view(&image, 4, Color::Grayscale, &std).unwrap().len(), 16);
    assert!(center_view(&image, 4, Color::Grayscale, &std).is_err());
    assert!(center_view(&image, 0, Color::Grayscale, &std).is_err());
    assert!(center_view(&image, 3, Color::Rgb, &std).is_err());
    assert!(small_view(&image, 0, Color::Grayscale, &std).is_err());
}

/// Prints loading speed. Asserts nothing: run it with `--ignored --nocapture`.
#[test]
#[ignore = "prints how fast a large dataset is read"]
fn speed_on_a_large_corpus() {
    let Some(root) = big("imagenette96") else { return };
    speed(&root);
}

fn speed(root: &Path) {
    let dataset = open(root).unwrap();
    for color in [Color::Grayscale, Color::Rgb] {
        for cache_mb in [512, 0] {
            let config = ViewConfig { color, cache_mb, ..Default::default() };
            let mut loader = start(&dataset, &config, 0);
            for epoch in 0..if cache_mb == 0 { 1 } else { 3 } {
                let began = Instant::now();
                let steps = loader.epoch_len();
                for _ in 0..steps {
                    drop(loader.next_batch().unwrap());
                }
                let rate = (32 * steps) as f64 / began.elapsed().as_secs_f64();
                println!("{color:?}, cache {cache_mb} MB, epoch {epoch}: {rate:.0} images a second");
            }
            println!("{:?}", loader.stats());
        }
    }
}
