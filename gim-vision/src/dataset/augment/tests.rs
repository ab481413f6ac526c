//! Augmentations against torchvision's, on the vectors of `parity/augment_torchvision.py`, and their
//! draws.

use std::path::Path;

use gim_core::testing::vectors::{Vectors, close, of};
use gim_core::{Key, Purpose};
use rand::RngExt;

use super::*;

/// torchvision has the same formulas in double precision.
const TOLERANCE: f64 = 1e-5;

fn open() -> Vectors {
    Vectors::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/augment.safetensors"))
}

#[test]
fn resizes_are_torchvisions() {
    let case = open();
    let [h, w] = case.shape("image")[..2] else { panic!("an image") };
    let pixels: Vec<u8> = case.floats("image").iter().map(|v| *v as u8).collect();
    let (side, mut resize) = (case.n("side"), Resize::default());
    for (n, rectangle) in case.floats("rectangles").as_chunks::<4>().0.iter().enumerate() {
        let rectangle = rectangle.map(|v| v as usize);
        let want = case.floats(&format!("resized.{n}"));
        let mut out = vec![f32::NAN; want.len()];
        resize.cut((&pixels, [h, w, 3]), rectangle, (0, false), &mut out);
        close(&format!("resized.{n}"), &out, &want, TOLERANCE);
        let mut mirrored = vec![f32::NAN; want.len()];
        resize.cut((&pixels, [h, w, 3]), rectangle, (0, true), &mut mirrored);
        for (row, mirrored) in out.chunks_exact(3 * side).zip(mirrored.chunks_exact(3 * side)) {
            assert!(row.chunks_exact(3).eq(mirrored.chunks_exact(3).rev()));
        }
        // The same rectangle of an image with mirrored edges, of which it sees nothing.
        let [top, left, height, width] = rectangle;
        resize.cut((&pixels, [h, w, 3]), [top + 2, left + 2, height, width], (2, false), &mut mirrored);
        assert_eq!(mirrored, out);
    }
}

#[test]
fn effects_are_torchvisions() {
    let case = open();
    let side = case.n("side");
    let one = |change, by: f64| {
        let jitter = Jitter {
            changes: [(change, by as f32), (Change::Brightness, 1.0), (Change::Contrast, 1.0), (Change::Hue, 0.0)],
        };
        Effects { jitter: Some(jitter), ..Effects::default() }
    };
    for (prefix, view) in [("", "view"), ("gray.", "gray")] {
        let of_view = |effects: Effects, name: &str| {
            let mut values: Vec<f32> = of(&case.floats(view));
            effects.apply(&mut values, side, &mut Vec::new());
            close(&format!("{prefix}{name}"), &values, &case.floats(&format!("{prefix}{name}")), TOLERANCE);
        };
        for (name, change) in [
            ("brightness", Change::Brightness),
            ("contrast", Change::Contrast),
            ("saturation", Change::Saturation),
            ("hue", Change::Hue),
        ] {
            for (n, by) in case.floats(&format!("factors.{name}")).into_iter().enumerate() {
                of_view(one(change, by), &format!("{name}.{n}"));
            }
        }
        for (n, sigma) in case.floats("sigmas").into_iter().enumerate() {
            of_view(Effects { sigma: Some(sigma as f32), ..Effects::default() }, &format!("blur.{n}"));
        }
        if prefix.is_empty() {
            of_view(Effects { gray: true, ..Effects::default() }, "grayscale");
        }
    }
}

/// Bits for the draws of an item.
fn bits<const N: usize>(item: u32) -> [u64; N] {
    Key::new(7, Purpose::Augment).with_item(item).rng().random()
}

#[test]
fn draws_follow_the_settings() {
    assert!(Augment::default().is_off());
    let off = Effects::draw(&Augment::default(), bits(0));
    assert_eq!(off, Effects::default());
    let simclr = Augment { strength: 0.5, grayscale: 0.2, blur: 0.5, ..Augment::default() };
    let (mut jitters, mut grays, mut blurs, mut orders) = (0, 0, 0, std::collections::BTreeSet::new());
    for item in 0..2000 {
        let Effects { jitter, gray, sigma } = Effects::draw(&simclr, bits(item));
        if let Some(Jitter { changes }) = jitter {
            jitters += 1;
            orders.insert(changes.map(|(change, _)| change as u8));
            for (change, by) in changes {
                let range = if change == Change::Hue { -0.1..=0.1 } else { 0.6..=1.4 };
                assert!(range.contains(&by), "{change:?} {by}");
            }
        }
        grays += usize::from(gray);
        blurs += usize::from(sigma.is_some());
        assert!(sigma.is_none_or(|s| (0.1..=2.0).contains(&s)));
    }
    assert_eq!(orders.len(), 24, "every order is drawn");
    assert!((1500..1700).contains(&jitters) && (330..470).contains(&grays) && (900..1100).contains(&blurs));
}

/// Values stay in their range, whatever is done to them.
#[test]
fn effects_keep_the_range_and_strength_0_changes_nothing() {
    let hard = Augment { strength: 2.5, jitter: 1.0, grayscale: 0.3, blur: 0.5, ..Augment::default() };
    hard.check().unwrap();
    let mut scratch = Vec::new();
    for channels in [1, 3] {
        for item in 0..200 {
            let mut rng = Key::new(1, Purpose::Synthetic).with_item(item).rng();
            let before: Vec<f32> = (0..16 * 16 * channels).map(|_| f32::from(rng.random::<u8>())).collect();
            let mut values = before.clone();
            Effects::draw(&hard, bits(item)).apply(&mut values, 16, &mut scratch);
            assert!(values.iter().all(|v| (0.0..=255.0).contains(v)));
            // A strength next to nothing draws the same jitter, with factors of next to 1.
            let weak = Augment { strength: 1e-9, jitter: 1.0, ..Augment::default() };
            let mut values = before.clone();
            Effects::draw(&weak, bits(item)).apply(&mut values, 16, &mut scratch);
            assert!(values.iter().zip(&before).all(|(v, b)| (v - b).abs() < 1e-3));
            let mut values = before.clone();
            Effects::draw(&Augment { strength: 0.0, jitter: 1.0, ..hard }, [u64::MAX; Effects::DRAWS]).apply(
                &mut values,
                16,
                &mut scratch,
            );
            assert_eq!(values, before);
        }
    }
}

#[test]
fn rectangles_have_the_areas_and_proportions_asked_for() {
    let augment = Augment { resized_crop: true, ..Augment::default() };
    let mut smallest = 1.0f64;
    for item in 0..500 {
        let mut rng = Key::new(3, Purpose::Crop).with_item(item).rng();
        let [top, left, height, width] = augment.rectangle(60, 80, &mut || rng.random());
        assert!(top + height <= 60 && left + width <= 80);
        let (area, ratio) = ((height * width) as f64 / 4800.0, width as f64 / height as f64);
        assert!((0.075..=1.0).contains(&area) && (0.7..1.42).contains(&ratio), "{area} {ratio}");
        smallest = smallest.min(area);
    }
    assert!(smallest < 0.1, "{smallest}");
    // Ten rectangles do not fit a long strip: the middle of it.
    let mut rng = Key::new(3, Purpose::Crop).rng();
    let whole = Augment { scale: [1.0, 1.0], ..augment };
    assert_eq!(whole.rectangle(9, 300, &mut || rng.random()), [0, 144, 9, 12]);
    assert_eq!(whole.rectangle(300, 9, &mut || rng.random()), [144, 0, 12, 9]);
}

#[test]
fn wrong_settings_are_named() {
    let all = Augment::default();
    for (wrong, key) in [
        (Augment { scale: [0.5, 0.1], ..all }, "data.augment.scale"),
        (Augment { scale: [0.5, 1.1], ..all }, "data.augment.scale"),
        (Augment { ratio: [0.0, 1.0], ..all }, "data.augment.ratio"),
        (Augment { sigma: [f64::NAN, 1.0], ..all }, "data.augment.sigma"),
        (Augment { strength: 3.0, ..all }, "data.augment.hue"),
    ] {
        assert!(wrong.check().unwrap_err().to_string().contains(key), "{wrong:?}");
    }
    all.check().unwrap();
}
