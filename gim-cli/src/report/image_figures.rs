//! Figures of the images themselves: top-activating patches, nearest neighbors and confusion.

use std::path::Path;

use gim_core::{Error, Key, Pool, Purpose, Result};
use gim_eval::{FeatureFile, GroupId, Probe, Split, Task, nearest};
use gim_vision::dataset::image::Image;
use gim_vision::features::CenterCrops;
use ndarray::Axis;

use crate::experiment::extract::trained_modules;
use crate::experiment::feature_file;
use crate::experiment::run_dir::RunDir;
use crate::experiment::{probe, train};
use crate::figures::{
    ConfusionMap, Figure, Neighbor, NeighborRow, Neighbors, Neuron, PatchFigure, PatchRow, QueryBlock, Tile, confusion,
    neighbors, patches,
};

/// Number of test images searched for patches.
const LOOKED_AT: usize = 1000;
/// Neurons shown for each module, spread evenly over its channels.
const NEURONS: usize = 6;
/// Patches shown for each neuron, of different images.
const SHOWN: usize = 4;
/// Queries and neighbors.
const QUERIES: usize = 2;
const NEAREST: usize = 8;

/// Draws all of them. Returns the figures with their file names.
///
/// # Errors
/// When the run, its dataset or its features cannot be read, or the features are of another dataset.
pub(crate) fn draw(
    run: &RunDir,
    crops: &CenterCrops,
    features: &Path,
    subtitle: &str,
) -> Result<Vec<(Figure, &'static str)>> {
    let file = feature_file::open(features)?;
    if file.provenance().dataset_digest != crops.dataset().digest() {
        let what = format!("holds features of another dataset than {}", crops.dataset().root().display());
        return Err(Error::file(features, what, "set data.path or GIM_DATA to the dataset it was made from"));
    }
    Ok(vec![
        (exciting(run, crops, subtitle)?, "patches"),
        (near(crops, &file, subtitle)?, "neighbors"),
        (mistaken(crops, &file, subtitle)?, "confusion"),
    ])
}

fn tile(p: Image) -> Tile {
    Tile { height: p.height, width: p.width, channels: p.channels, pixels: p.pixels }
}

/// Pixels of a patch of an image.
fn patch_of(crops: &CenterCrops, image: &Image, patch: usize) -> Tile {
    let patches = crops.patches();
    let cols = patches.along(image.width);
    let (top, left) = (patch / cols * patches.stride, patch % cols * patches.stride);
    let c = image.channels;
    let rows = (top..top + patches.size)
        .flat_map(|y| image.pixels[(y * image.width + left) * c..][..patches.size * c].iter().copied());
    Tile { height: patches.size, width: patches.size, channels: c, pixels: rows.collect() }
}

/// The top-activating patches of some neurons, from test images.
fn exciting(run: &RunDir, crops: &CenterCrops, subtitle: &str) -> Result<Figure> {
    let pool = Pool::new();
    let (_, mut stack, _) = train::open(run, &pool)?;
    let test = crops.dataset().split(Split::Test);
    // Spread over the dataset, which is sorted by class.
    let looked_at: Vec<usize> = test.iter().copied().step_by(test.len().div_ceil(LOOKED_AT).max(1)).collect();
    // (activation, image, patch) of the best, for each module and shown neuron.
    let mut best: Vec<Vec<Vec<(f32, usize, usize)>>> = Vec::new();
    let mut channels = Vec::new();
    for part in looked_at.chunks(16) {
        let images = part.iter().map(|i| crops.image(*i)).collect::<Result<Vec<_>>>()?;
        let modules = crops.patch_features(&images, &mut stack, &pool)?;
        best.resize_with(modules.len(), || vec![Vec::new(); NEURONS]);
        channels = modules.iter().map(|m| m.ncols()).collect();
        for (m, features) in modules.iter().enumerate() {
            let per_image = features.nrows() / part.len();
            for (n, best) in best[m].iter_mut().enumerate() {
                let neuron = n * features.ncols() / NEURONS;
                for (p, image) in part.iter().enumerate() {
                    let rows = (0..per_image).map(|r| (features[[p * per_image + r, neuron]], *image, r));
                    best.extend(rows.max_by(|a, b| a.0.total_cmp(&b.0)));
                }
                best.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                best.truncate(SHOWN);
            }
        }
    }
    let mut rows = Vec::new();
    for (m, neurons) in best.into_iter().enumerate() {
        let mut shown = Vec::new();
        for (n, best) in neurons.into_iter().enumerate() {
            let tiles = best.iter().map(|(_, i, patch)| Ok(patch_of(crops, &crops.image(*i)?, *patch)));
            shown.push(Neuron { index: n * channels[m] / NEURONS, patches: tiles.collect::<Result<_>>()? });
        }
        rows.push(PatchRow { title: format!("Module {}", m + 1), neurons: shown });
    }
    patches(&PatchFigure {
        title: "Patches that excite a neuron most".into(),
        subtitle: format!("{subtitle}; {} test images, at most one patch of each", looked_at.len()),
        rows,
    })
}

/// Nearest neighbors of two test images among all test images, module by module.
fn near(crops: &CenterCrops, file: &FeatureFile, subtitle: &str) -> Result<Figure> {
    let dataset = crops.dataset();
    let mut items: Vec<(usize, bool)> = Vec::new();
    for (split, test) in [(Split::Train, false), (Split::Test, true)] {
        items.extend(dataset.split(split).iter().map(|i| (*i, test)));
    }
    // The order of the feature file.
    items.sort_by_key(|i| i.0);
    let rows: Vec<usize> = (0..items.len()).filter(|r| items[*r].1).collect();
    let images: Vec<usize> = rows.iter().map(|r| items[*r].0).collect();
    let queries: Vec<usize> = (0..QUERIES).map(|q| (2 * q + 1) * images.len() / (2 * QUERIES)).collect();
    let name = |i: usize| dataset.label(i).map_or("unknown".to_owned(), |l| dataset.classes()[l].replace('_', " "));
    let mut groups: Vec<(String, String)> = Vec::new();
    for g in file.groups() {
        match g.parse::<GroupId>() {
            Ok(GroupId::Pixels) => groups.insert(0, (g.to_owned(), "Raw pixels".into())),
            Ok(GroupId::Trained(module)) => groups.push((g.to_owned(), format!("Module {module}"))),
            _ => {}
        }
    }
    let mut blocks = Vec::new();
    for q in &queries {
        blocks.push(QueryBlock { tile: tile(crops.image(images[*q])?), label: name(images[*q]), rows: Vec::new() });
    }
    for (group, title) in groups {
        let features = file.read_means(&group)?.select(Axis(0), &rows);
        for ((q, found), block) in queries.iter().zip(nearest(features.view(), &queries, NEAREST)?).zip(&mut blocks) {
            let of = |i: &usize| {
                let same_class = dataset.label(images[*i]) == dataset.label(images[*q]);
                Ok(Neighbor {
                    tile: tile(crops.image(images[*i])?),
                    same_class,
                    label: if same_class { String::new() } else { name(images[*i]) },
                })
            };
            let neighbors = found.iter().map(of).collect::<Result<_>>()?;
            block.rows.push(NeighborRow { title: title.clone(), neighbors });
        }
    }
    neighbors(&Neighbors {
        title: "Nearest neighbors by module (cosine)".into(),
        subtitle: subtitle.to_owned(),
        queries: blocks,
    })
}

/// Confusion of the linear probe on the last module.
fn mistaken(crops: &CenterCrops, file: &FeatureFile, subtitle: &str) -> Result<Figure> {
    // Every file has features of a module.
    let last = trained_modules(file).last().map_or(1, |id| id.module());
    let examples = file.examples(&GroupId::Trained(last).to_string(), Task::Classes.label())?;
    let key = Key::new(file.provenance().seed, Purpose::Probe);
    let train = examples.part(Split::Train);
    let fitted = Probe::Converged(probe::converged(&train)).fit(&train, key)?;
    let score = fitted.evaluate(&examples.part(Split::Test), None)?;
    confusion(&ConfusionMap {
        title: format!("What the probe of module {last} takes for what"),
        subtitle: format!("{subtitle}; top-1 {:.1} %", 100.0 * score.accuracy),
        names: crops.dataset().classes().iter().map(|c| c.replace('_', " ")).collect(),
        confusion: score.confusion,
    })
}
