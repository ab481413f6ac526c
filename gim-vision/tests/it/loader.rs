//! The loader: same content whatever the threads, the cache and the first step; errors and ends
//! that never hang.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::common::{big, fashion_mini, jpeg, open, png, scene, write};
use gim_vision::dataset::augment::Augment;
use gim_vision::dataset::image::{Color, Image};
use gim_vision::dataset::loader::{
    ImageLoader, Item, UNKNOWN, View, ViewConfig, ViewPlan, ViewRecipe, center_view, check_sizes, small_view,
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

/// Views without augmentation.
fn plain(crop: usize, flip: bool) -> ViewRecipe {
    ViewRecipe { crop, flip, pad: 0, augment: Augment::default() }
}

/// SimCLR's augmentations for small images, with blur.
fn simclr() -> Augment {
    Augment { resized_crop: true, strength: 0.5, grayscale: 0.2, blur: 0.5, ..Augment::default() }
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
        let mut plan = ViewPlan::new(items.clone(), batch, plain(crop, flip), seed);
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
        ViewPlan::new(items, batch, plain(crop, flip), seed).fill(middle, &mut there);
        plan.fill(middle, &mut views);
        prop_assert_eq!(&there, &views);
    }
}

#[test]
fn every_place_is_drawn() {
    let mut plan = ViewPlan::new(vec![(0, 7, 6)], 1, plain(5, true), 9);
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

/// Two views of an image are side by side, with its label; each is cut and changed for itself.
#[test]
fn two_views_of_an_image_are_side_by_side() {
    let dir = mixed();
    let dataset = open(dir.path()).unwrap();
    let augment = Augment { resized_crop: false, ..simclr() };
    let config = ViewConfig { views: 2, augment, pad: 1, ..config() };
    let mut loader = start(&dataset, &config, 0);
    let one = start(&dataset, &ViewConfig { views: 1, ..config.clone() }, 0);
    assert_eq!(loader.epoch_len(), one.epoch_len());
    assert!(loader.batch_sizes().eq([10]) && one.batch_sizes().eq([5]));
    let (mut cut_apart, mut changed_apart) = (0, 0);
    for _ in 0..4 {
        let batch = loader.next_batch().unwrap();
        assert_eq!((batch.labels.len(), batch.data.len()), (10, 10 * 16 * 16 * 3));
        let images: HashSet<usize> = loader.views().iter().map(|v| v.image).collect();
        assert_eq!(images.len(), 5);
        for (two, labels) in loader.views().chunks(2).zip(batch.labels.chunks(2)) {
            assert!(two[0].image == two[1].image && labels[0] == labels[1]);
            cut_apart += usize::from((two[0].top, two[0].left) != (two[1].top, two[1].left));
            changed_apart += usize::from(two[0].effects != two[1].effects);
        }
        for (view, out) in loader.views().iter().zip(batch.data.chunks(16 * 16 * 3)) {
            // The same cut without effects, then the effects.
            let p = dataset.read(view.image).unwrap().in_color(Color::Rgb);
            let edge = |at: usize, n: usize| {
                let at = (at as isize - 1).unsigned_abs();
                if at >= n { 2 * (n - 1) - at } else { at }
            };
            let mut want = Vec::new();
            for (y, x) in (0..16).flat_map(|y| (0..16).map(move |x| (y, if view.flip { 15 - x } else { x }))) {
                let at = edge(view.top + y, p.height) * p.width + edge(view.left + x, p.width);
                want.extend(p.pixels[3 * at..][..3].iter().map(|v| f32::from(*v)));
            }
            view.effects.apply(&mut want, 16, &mut Vec::new());
            std(Color::Rgb).apply_to(&mut want);
            assert_eq!(out, want);
        }
    }
    assert!(cut_apart > 15 && changed_apart > 15, "{cut_apart} and {changed_apart} of 20");
}

/// What is drawn but never done changes no bit.
#[test]
fn augmentations_that_are_never_done_change_no_bit() {
    let dir = mixed();
    let dataset = open(dir.path()).unwrap();
    let augment = Augment { grayscale: 1e-300, blur: 1e-300, ..Augment::default() };
    assert!(!augment.is_off());
    let want = take(&mut start(&dataset, &config(), 0), 6);
    assert!(take(&mut start(&dataset, &ViewConfig { augment, ..config() }, 0), 6) == want);
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
    for (root, base) in [
        (dir.path(), config()),
        (dir.path(), ViewConfig { views: 2, augment: simclr(), batch: 7, keep_last: true, ..config() }),
        (&*fashion_mini(), ViewConfig { batch: 50, crop: 20, ..Default::default() }),
        (&*fashion_mini(), ViewConfig { views: 2, augment: simclr(), batch: 30, crop: 20, ..Default::default() }),
    ] {
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
        ViewConfig { views: 0, ..base.clone() },
        ViewConfig { views: 3, ..base.clone() },
        ViewConfig { augment: Augment { scale: [0.0, 1.0], ..Augment::default() }, ..base.clone() },
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

/// Prints how fast one thread makes augmented views of decoded images. Asserts nothing: run it with
/// `--ignored --nocapture`.
#[test]
#[ignore = "prints how fast views are augmented"]
fn speed_of_augmentation() {
    let dir = tempfile::tempdir().unwrap();
    for k in 0..64 {
        write(&dir.path().join(format!("train/{}/{k:02}.png", k % 2)), png(&scene(96, 96, 3, k)));
        write(&dir.path().join(format!("test/{}/{k:02}.png", k % 2)), png(&scene(96, 96, 3, k)));
    }
    let dataset = open(dir.path()).unwrap();
    for (name, augment) in [("crops alone", Augment::default()), ("SimCLR", simclr())] {
        for color in [Color::Grayscale, Color::Rgb] {
            let config = ViewConfig { views: 2, augment, color, ..Default::default() };
            let mut loader = start(&dataset, &config, 0);
            (0..4).for_each(|_| drop(loader.next_batch().unwrap()));
            let began = Instant::now();
            (0..100).for_each(|_| drop(loader.next_batch().unwrap()));
            let rate = (100 * 32) as f64 / began.elapsed().as_secs_f64();
            println!("{name}, {color:?}, 64 x 64: {rate:.0} images a second, two views of each");
        }
    }
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
