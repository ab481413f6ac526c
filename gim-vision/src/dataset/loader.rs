//! Batches of random views, made on threads of their own while training goes on.
//!
//! The content of a batch depends only on seed, epoch, step and place in the batch ([`ViewPlan`]).
//! It does not depend on the number of loader threads, the cache, or the step at which the loader
//! was started. The threads are those of [`gim_core::data::loader`].
//!
//! A batch may hold two views of each image, in the order of [`gim_core::loss::Compare`].

use std::collections::BTreeSet;
use std::sync::Arc;

use gim_core::data::{Cache, EpochOrder, LabelName, Loader, LoaderStats, SKIP_BAD, below};
use gim_core::{Buffer, Error, Key, Pool, Purpose, Result};
use rand::RngExt;

use crate::dataset::augment::{Augment, Effects, Resize};
use crate::dataset::image::{Color, Image, MOST_PIXELS, short_side};
use crate::dataset::standardize::Standardize;
use crate::dataset::{ImageDataset, Split};

pub use crate::dataset::image_dataset::UNKNOWN;

/// Settings of an [`ImageLoader`]; the default is the paper's for STL-10.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewConfig {
    /// Images in a batch.
    pub batch: usize,
    /// Views of each image: 1 or 2.
    pub views: usize,
    /// Side of the square cut out at a random place.
    pub crop: usize,
    /// Whether half of the crops, at random, are mirrored left to right.
    pub flip: bool,
    /// What else is done to views.
    pub augment: Augment,
    /// Channels.
    pub color: Color,
    /// Pixels mirrored at each edge before cropping.
    pub pad: usize,
    /// Images are resized first so that their shorter side is this; 0 leaves them as they are.
    pub short_side: usize,
    /// Leave images smaller than a crop out, and note how many; otherwise they are an error.
    pub skip_bad: bool,
    /// An epoch ends with what is left of its images, in a short batch. Published so, by the default of
    /// PyTorch's loader. Without labels it matters little: negatives come from the batch, and the
    /// 100,000 images of STL-10 fill all batches.
    pub keep_last: bool,
    /// Images of the split that are not trained on.
    pub held_out: BTreeSet<usize>,
    /// Labels are those of this column; without one, the classes of the dataset.
    pub column: Option<LabelName>,
    /// The run's seed.
    pub seed: u64,
    /// Decoded images kept in memory, in MB (10⁶ bytes). Beyond that, images are decoded every
    /// time.
    pub cache_mb: usize,
    /// Threads that make batches.
    pub threads: usize,
    /// Batches that each thread makes in advance.
    pub prefetch: usize,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            batch: 32,
            views: 1,
            crop: 64,
            flip: true,
            augment: Augment::default(),
            color: Color::Grayscale,
            pad: 0,
            short_side: 0,
            skip_bad: false,
            keep_last: false,
            held_out: BTreeSet::new(),
            column: None,
            seed: 0,
            cache_mb: 512,
            threads: 1,
            prefetch: 3,
        }
    }
}

/// One view: a rectangle of an image, resized to a square where it is none of this size, and what is done
/// to its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Index into the dataset.
    pub image: usize,
    /// First row, of the image with its padding.
    pub top: usize,
    /// First column, of the image with its padding.
    pub left: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// Mirrored left to right.
    pub flip: bool,
    /// What is done to its values.
    pub effects: Effects,
}

impl View {
    /// A square of an image by random bits: of its row, of its column, and of whether it is mirrored,
    /// which `flip` allows.
    fn draw((image, height, width): Item, crop: usize, flip: bool, [row, column, mirror]: [u64; 3]) -> Self {
        let (top, left) = (below(row, height - crop + 1), below(column, width - crop + 1));
        let flip = flip && below(mirror, 2) == 1;
        Self { image, top, left, size: [crop; 2], flip, effects: Effects::default() }
    }
}

/// How random views of an image are made in training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ViewRecipe {
    /// Side of a view.
    pub crop: usize,
    /// Whether half of the views are mirrored left to right.
    pub flip: bool,
    /// Pixels mirrored at each edge before cropping.
    pub pad: usize,
    /// What else is done to views.
    pub augment: Augment,
}

impl ViewRecipe {
    /// A view of an image that is not smaller than the crop. `key` has everything but the purpose.
    fn draw(&self, item: Item, key: Key) -> View {
        let Self { crop, flip, augment, .. } = self;
        let mut place = key.with_purpose(Purpose::Crop).rng();
        let mut other = key.with_purpose(Purpose::Augment).rng();
        let mirror = other.random();
        if augment.is_off() {
            return View::draw(item, *crop, *flip, [place.random(), place.random(), mirror]);
        }
        let effects = Effects::draw(augment, other.random());
        if !augment.resized_crop {
            let view = View::draw(item, *crop, *flip, [place.random(), place.random(), mirror]);
            return View { effects, ..view };
        }
        let (image, height, width) = item;
        let [top, left, height, width] = augment.rectangle(height, width, &mut || place.random());
        View { image, top, left, size: [height, width], flip: *flip && below(mirror, 2) == 1, effects }
    }

    /// The values of a view, standardized → out (crop, crop, C).
    fn make(&self, image: &Image, view: &View, standardize: &Standardize, buffers: &mut Buffers, out: &mut [f32]) {
        let Self { crop, pad, .. } = *self;
        let same_size = view.size == [crop; 2];
        if same_size {
            buffers.pixels.resize(out.len(), 0);
            cut(image, view, crop, pad, &mut buffers.pixels);
            if view.effects == Effects::default() {
                return standardize.apply(&buffers.pixels, out);
            }
            out.iter_mut().zip(&buffers.pixels).for_each(|(out, pixel)| *out = f32::from(*pixel));
        } else {
            let from = (&image.pixels[..], [image.height, image.width, image.channels]);
            let [height, width] = view.size;
            buffers.resize.cut(from, [view.top, view.left, height, width], (pad, view.flip), out);
        }
        view.effects.apply(out, crop, &mut buffers.blur);
        standardize.apply_to(out);
    }

    /// A random view of an image, standardized → (crop, crop, C). It depends on `key`, which needs seed and
    /// item; its purpose is set here.
    ///
    /// # Errors
    /// When the image is smaller than the crop.
    pub fn view(&self, image: &Image, standardize: &Standardize, key: Key) -> Result<Vec<f32>> {
        let (height, width) = (image.height + 2 * self.pad, image.width + 2 * self.pad);
        check_crop(image, self.crop, height.min(width))?;
        let mut out = vec![0.0; self.crop * self.crop * image.channels];
        self.make(image, &self.draw((0, height, width), key), standardize, &mut Buffers::default(), &mut out);
        Ok(out)
    }
}

/// Buffers for making views, to be used again.
#[derive(Debug, Default)]
struct Buffers {
    pixels: Vec<u8>,
    blur: Vec<f32>,
    resize: Resize,
}

/// Checks that a crop has pixels, and that an image has enough of them: `side` at its shorter side.
fn check_crop(image: &Image, crop: usize, side: usize) -> Result<()> {
    if crop == 0 || side < crop {
        let what = format!("a crop of {crop} x {crop} of an image of {} x {}", image.height, image.width);
        return Err(Error::config("crop", what, "use crops from 1 up to the smallest image"));
    }
    Ok(())
}

/// An image that views are taken of: index into the dataset, height and width with the padding.
pub type Item = (usize, usize, usize);

/// Decides which views are in which batch.
#[derive(Debug, Clone)]
pub struct ViewPlan {
    items: Arc<[Item]>,
    recipe: ViewRecipe,
    /// Of each image.
    views: usize,
    seed: u64,
    order: EpochOrder,
}

impl ViewPlan {
    /// A plan over `items`, whose sizes include the padding: at least `batch` of them, none smaller than
    /// the crop. `batch` is positive. There is one view of each image.
    pub fn new(items: impl Into<Arc<[Item]>>, batch: usize, recipe: ViewRecipe, seed: u64) -> Self {
        let (items, crop) = (items.into(), recipe.crop);
        assert!(items.iter().all(|i| i.1.min(i.2) >= crop), "an image is smaller than a crop of {crop}");
        let order = EpochOrder::new(items.len(), batch, seed);
        Self { items, recipe, views: 1, seed, order }
    }

    /// Views of each image in a batch, at least one.
    #[must_use]
    pub fn views(self, views: usize) -> Self {
        assert!(views > 0, "batches of no views");
        Self { views, ..self }
    }

    /// Whether an incomplete last batch of an epoch is kept.
    #[must_use]
    pub fn keep_last(self, keep_last: bool) -> Self {
        Self { order: self.order.keep_last(keep_last), ..self }
    }

    /// Steps in an epoch; an incomplete last batch is left out, unless it is kept.
    pub fn epoch_len(&self) -> u64 {
        self.order.epoch_len()
    }

    /// Overwrites `views` with the views of a step (counted from 0 over the whole run).
    pub fn fill(&mut self, step: u64, views: &mut Vec<View>) {
        let (epoch, items) = self.order.batch(step);
        views.clear();
        let key = Key::new(self.seed, Purpose::Crop).with_epoch(epoch).with_step(step);
        let items = items.iter().flat_map(|item| std::iter::repeat_n(self.items[*item as usize], self.views));
        views.extend(items.enumerate().map(|(i, item)| self.recipe.draw(item, key.with_item(i as u32))));
    }
}

/// A batch, standardized. Its memory goes back to the loader when it is dropped.
#[derive(Debug)]
pub struct ImageBatch {
    /// Step it belongs to.
    pub step: u64,
    /// (B, H, W, C), H = W = the crop; B counts views
    pub data: Buffer<f32>,
    /// (B) classes, [`UNKNOWN`] where there is none.
    pub labels: Vec<i32>,
}

/// Makes batches on its own threads; see the [module](self).
#[derive(Debug)]
pub struct ImageLoader {
    loader: Loader<ImageBatch>,
    shared: Arc<Shared>,
    plan: ViewPlan,
    views: Vec<View>,
    notes: Vec<String>,
}

impl ImageLoader {
    /// Starts making the batches of steps `first_step`, `first_step + 1`, … from a split.
    ///
    /// # Errors
    /// When a size is 0, `standardize` is for other channels, an image is smaller than a crop
    /// (unless such images are left out), or there are fewer images than a batch takes.
    pub fn start(
        dataset: Arc<dyn ImageDataset>,
        standardize: Standardize,
        config: &ViewConfig,
        split: Split,
        first_step: u64,
    ) -> Result<Self> {
        for (key, value) in [("batch", config.batch), ("crop", config.crop), ("loader threads", config.threads)] {
            if value == 0 {
                return Err(Error::config(key, "is 0", "give a positive number"));
            }
        }
        if !(1..=2).contains(&config.views) {
            return Err(Error::config("views", format_args!("is {}", config.views), "use 1 or 2"));
        }
        config.augment.check()?;
        if standardize.color() != config.color {
            let what = format!("is {:?}, but the standardization is for {:?}", config.color, standardize.color());
            return Err(Error::config("color", what, "measure the images in the color they are used in"));
        }
        let all = dataset.split(split).iter().copied();
        let all: Vec<usize> = all.filter(|i| !config.held_out.contains(i)).collect();
        let padded = |i: usize| {
            let (height, width) = short_side(dataset.size(i), config.short_side);
            (i, height + 2 * config.pad, width + 2 * config.pad)
        };
        let mut notes = Vec::new();
        let mut items: Vec<Item> = all.iter().map(|&i| padded(i)).collect();
        if config.skip_bad {
            items.retain(|&(_, height, width)| height.min(width) >= config.crop);
            let small = all.len() - items.len();
            if small > 0 {
                let (n, crop) = (all.len(), config.crop);
                notes.push(format!("{small} of {n} images are smaller than a crop of {crop} x {crop}: left out"));
            }
        } else {
            let added = 2 * config.pad;
            check_sizes(&*dataset, split, config.crop.saturating_sub(added), config.short_side)?;
        }
        if items.len() < config.batch {
            let what = format!("{} images to train on, but a batch takes {}", items.len(), config.batch);
            return Err(Error::file(dataset.root(), what, "use a smaller batch, smaller crops or more images"));
        }
        let ViewConfig { batch, views, crop, flip, pad, augment, seed, .. } = *config;
        let recipe = ViewRecipe { crop, flip, pad, augment };
        let plan = ViewPlan::new(items, batch, recipe, seed).views(views).keep_last(config.keep_last);
        let shared = Arc::new(Shared {
            images: Cache::new(dataset.len(), config.cache_mb.saturating_mul(1_000_000)),
            dataset,
            standardize,
            config: config.clone(),
            pool: Pool::new(),
        });
        let of_threads = (Arc::clone(&shared), plan.clone());
        let loader = Loader::start(config.threads, config.prefetch, first_step, shared.dataset.root(), move || {
            let (shared, mut plan) = of_threads.clone();
            let (mut views, mut buffers) = (Vec::new(), Buffers::default());
            move |step| shared.make(&mut plan, step, &mut views, &mut buffers)
        })?;
        Ok(Self { loader, shared, plan, views: Vec::with_capacity(config.batch * config.views), notes })
    }

    /// The next batch, waiting for it if need be.
    ///
    /// # Errors
    /// When an image of this batch cannot be read. Later batches can still be requested.
    pub fn next_batch(&mut self) -> Result<ImageBatch> {
        let step = self.loader.next_step();
        let batch = self.loader.next_batch();
        self.plan.fill(step, &mut self.views);
        batch
    }

    /// Continues with the batches of steps `step`, `step + 1`, …
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn seek(&mut self, step: u64) -> Result<()> {
        self.loader.seek(step)
    }

    /// The views of the last batch returned, in its order.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// Step of the next batch.
    pub fn next_step(&self) -> u64 {
        self.loader.next_step()
    }

    /// Steps in an epoch.
    pub fn epoch_len(&self) -> u64 {
        self.plan.epoch_len()
    }

    /// Views in a full batch and, where one is kept, in a short one.
    pub fn batch_sizes(&self) -> impl Iterator<Item = usize> {
        self.plan.order.sizes().map(|images| images * self.plan.views)
    }

    /// What the user should know: how many images were left out.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Waiting time and memory so far.
    pub fn stats(&self) -> LoaderStats {
        self.loader.stats(self.shared.images.bytes(), self.shared.pool.allocated())
    }
}

/// Checks that no image of a split, once its shorter side is `to` (0: as it is), is smaller than
/// `crop` × `crop` or has more than [`MOST_PIXELS`].
///
/// # Errors
/// When images are too small or too large. The error names the worst and counts them.
pub fn check_sizes(dataset: &dyn ImageDataset, split: Split, crop: usize, to: usize) -> Result<()> {
    let all = dataset.split(split);
    let side = |i: usize| {
        let (height, width) = short_side(dataset.size(i), to);
        height.min(width)
    };
    let area = |i: usize| {
        let (height, width) = short_side(dataset.size(i), to);
        height.saturating_mul(width)
    };
    let large = all.iter().filter(|&&i| area(i) > MOST_PIXELS).count();
    if let Some(&worst) = all.iter().max_by_key(|&&i| area(i)).filter(|_| large > 0) {
        let ((height, width), (h, w)) = (dataset.size(worst), short_side(dataset.size(worst), to));
        let what = format!(
            "the image is {height} x {width}, {h} x {w} after resizing, more than {MOST_PIXELS} pixels; {large} of {} are",
            all.len()
        );
        let remedy = format!("cut it, or leave such images out with {SKIP_BAD}");
        return Err(Error::file(dataset.file(worst), what, remedy));
    }
    let small = all.iter().filter(|&&i| side(i) < crop).count();
    let Some(&worst) = all.iter().min_by_key(|&&i| side(i)).filter(|_| small > 0) else { return Ok(()) };
    let (height, width) = short_side(dataset.size(worst), to);
    let what = format!(
        "the image is {height} x {width}, smaller than the {crop} x {crop} that are needed; {small} of {} are too small",
        all.len()
    );
    let remedy = format!("use smaller crops, resize images first, or leave small ones out with {SKIP_BAD}");
    Err(Error::file(dataset.file(worst), what, remedy))
}

/// What all loader threads share.
#[derive(Debug)]
struct Shared {
    dataset: Arc<dyn ImageDataset>,
    standardize: Standardize,
    config: ViewConfig,
    /// In the loader's color and size.
    images: Cache<Image>,
    pool: Pool<f32>,
}

impl Shared {
    fn make(&self, plan: &mut ViewPlan, step: u64, views: &mut Vec<View>, buffers: &mut Buffers) -> Result<ImageBatch> {
        plan.fill(step, views);
        let len = self.config.crop * self.config.crop * self.config.color.channels();
        let mut data = self.pool.take(views.len() * len);
        for (views, out) in views.chunks(plan.views).zip(data.chunks_mut(plan.views * len)) {
            self.with_image(views[0].image, |image| {
                for (view, out) in views.iter().zip(out.chunks_exact_mut(len)) {
                    plan.recipe.make(image, view, &self.standardize, buffers, out);
                }
            })?;
        }
        let label = |v: &View| self.dataset.label_in(v.image, self.config.column);
        Ok(ImageBatch { step, data, labels: views.iter().map(label).collect() })
    }

    /// Calls `then` with image `i`, from the cache or from its file.
    fn with_image(&self, i: usize, then: impl FnOnce(&Image)) -> Result<()> {
        let config = &self.config;
        if let Some(image) = self.images.get(i) {
            then(image);
            return Ok(());
        }
        let image = self.dataset.read(i)?.in_color(config.color).with_short_side(config.short_side);
        then(&image);
        let bytes = image.pixels.len();
        if self.images.reserve(bytes) {
            self.images.keep(i, image, bytes, bytes);
        }
        Ok(())
    }
}

/// Cuts a view → out (crop, crop, C). Beyond its edges the image is mirrored, without repeating the
/// edge.
fn cut(image: &Image, view: &View, crop: usize, pad: usize, out: &mut [u8]) {
    let (width, channels) = (image.width, image.channels);
    let inside = pad == 0 || view.left >= pad && view.left + crop <= width + pad;
    for (y, row) in out.chunks_exact_mut(crop * channels).enumerate() {
        let from = &image.pixels[mirror(view.top + y, pad, image.height) * width * channels..][..width * channels];
        if inside && !view.flip {
            row.copy_from_slice(&from[(view.left - pad) * channels..][..crop * channels]);
            continue;
        }
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let x = if view.flip { crop - 1 - x } else { x };
            pixel.copy_from_slice(&from[mirror(view.left + x, pad, width) * channels..][..channels]);
        }
    }
}

/// How random views are cut out of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomCrop {
    /// Side of the square.
    pub side: usize,
    /// Whether half of the views are mirrored left to right.
    pub flip: bool,
    /// Pixels mirrored at each edge before cropping.
    pub pad: usize,
}

impl RandomCrop {
    /// A random view of an image, in its own colors. It depends on `key`, which needs seed, epoch and
    /// item; its purpose is set here.
    ///
    /// # Errors
    /// When the image is smaller than the square.
    pub fn view(&self, image: &Image, key: Key) -> Result<Image> {
        let Self { side, flip, pad } = *self;
        let (height, width) = (image.height + 2 * pad, image.width + 2 * pad);
        check_crop(image, side, height.min(width))?;
        let view = View::draw((0, height, width), side, flip, key.with_purpose(Purpose::View).rng().random());
        let mut pixels = vec![0; side * side * image.channels];
        cut(image, &view, side, pad, &mut pixels);
        Ok(Image::new(side, side, image.channels, pixels))
    }
}

/// The position in 0 .. n that the padded position `at` mirrors.
pub(super) fn mirror(at: usize, pad: usize, n: usize) -> usize {
    let period = (2 * (n - 1)).max(1);
    let at = (at as isize - pad as isize).rem_euclid(period as isize) as usize;
    if at < n { at } else { period - at }
}

/// The crop × crop pixels in the middle, standardized → (crop, crop, C). Features are computed from
/// it.
///
/// # Errors
/// When the image is smaller, or the standardization is for another color. [`check_sizes`] checks
/// sizes in advance.
pub fn center_view(image: &Image, crop: usize, color: Color, standardize: &Standardize) -> Result<Vec<f32>> {
    check_crop(image, crop, image.height.min(image.width))?;
    let colors = standardize.color();
    if colors != color {
        let what = format!("is {color:?}, but the standardization is for {colors:?}");
        return Err(Error::config("color", what, "measure the images in the color they are used in"));
    }
    let pixels = image.center(crop).in_color(color).pixels;
    let mut out = vec![0.0; pixels.len()];
    standardize.apply(&pixels, &mut out);
    Ok(out)
}

/// The largest square in the middle, resized and standardized → (side, side, C). The baseline of
/// raw pixels sees this.
///
/// # Errors
/// When `side` is 0, or the standardization is for another color.
pub fn small_view(image: &Image, side: usize, color: Color, standardize: &Standardize) -> Result<Vec<f32>> {
    if side == 0 || image.pixels.is_empty() {
        return Err(Error::config("side", "a view without pixels", "give a positive number"));
    }
    center_view(&image.center_square().in_color(color).resized(side, side), side, color, standardize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square at a place; its size is not read.
    fn at(top: usize, left: usize, flip: bool) -> View {
        View { image: 0, top, left, size: [0; 2], flip, effects: Effects::default() }
    }

    #[test]
    fn mirrored_edges() {
        let at: Vec<usize> = (0..10).map(|i| mirror(i, 3, 4)).collect();
        assert_eq!(at, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(mirror(0, 5, 1), 0);
        assert_eq!((0..8).map(|i| mirror(i, 3, 2)).collect::<Vec<_>>(), [1, 0, 1, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn random_views_are_seeded_crops_and_mirrored_in_half_of_the_draws() {
        let image = Image::new(6, 7, 1, (0..42).collect());
        let crop = RandomCrop { side: 3, flip: true, pad: 0 };
        let key = Key::new(4, Purpose::Probe);
        let (mut mirrored, mut places) = (0, std::collections::BTreeSet::new());
        for epoch in 0..400 {
            let key = key.with_epoch(epoch).with_item(1);
            let view = crop.view(&image, key).unwrap();
            assert_eq!(view, crop.view(&image, key).unwrap());
            let flip = view.pixels[0] > view.pixels[2];
            let first = usize::from(view.pixels[if flip { 2 } else { 0 }]);
            let mut by_hand = [0; 9];
            cut(&image, &at(first / 7, first % 7, flip), 3, 0, &mut by_hand);
            assert_eq!(view.pixels, by_hand);
            mirrored += usize::from(flip);
            places.insert(first);
        }
        assert_eq!(places.len(), 4 * 5, "every place is drawn");
        assert!((150..250).contains(&mirrored), "{mirrored}");
        let still = RandomCrop { flip: false, ..crop };
        let any = (0..50).any(|e| {
            let view = still.view(&image, key.with_epoch(e)).unwrap();
            view.pixels[0] > view.pixels[2]
        });
        assert!(!any, "views are mirrored only where training mirrors them");
        assert!(RandomCrop { side: 7, ..crop }.view(&image, key).is_err());
        assert_eq!(RandomCrop { side: 7, pad: 1, ..crop }.view(&image, key).unwrap().pixels.len(), 49);
    }

    #[test]
    fn cutting() {
        let image = Image::new(3, 4, 1, (0..12).collect());
        let mut out = [0; 4];
        cut(&image, &at(1, 1, false), 2, 0, &mut out);
        assert_eq!(out, [5, 6, 9, 10]);
        cut(&image, &at(1, 1, true), 2, 0, &mut out);
        assert_eq!(out, [6, 5, 10, 9]);
        cut(&image, &at(0, 0, false), 2, 1, &mut out);
        assert_eq!(out, [5, 4, 1, 0]);
        cut(&image, &at(3, 4, true), 2, 1, &mut out);
        assert_eq!(out, [10, 11, 6, 7]);
    }
}
