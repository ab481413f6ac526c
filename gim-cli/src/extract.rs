//! Features of whole utterances, of every module, the random encoder and MFCC, on the 10 ms grid of the phone labels.

use std::path::{Path, PathBuf};

use gim_audio::mfcc::{Mfcc, MfccConfig};
use gim_audio::network::NetworkKind;
use gim_audio::phones::{Alignment, Receptive, label_frames};
use gim_core::activations::{Activations, Shape};
use gim_core::module::Mode;
use gim_core::schedule::{Packet, Stack};
use gim_core::{Error, Pool, Result};
use gim_eval::{FeatureWriter, GroupSpec, Item, LabelSpec, Layout, Per, Provenance, Split};
use ndarray::{Array2, ArrayView2};

use crate::config::Config;
use crate::environment::Environment;
use crate::progress::{Mode as Show, Progress};
use crate::run;

/// Frames of a tap averaged into each slot of the label grid; a slot without a frame takes the nearest one.
///
/// Label n covers samples 160 n + 119.5 .. 160 n + 279.5 around its centre, frame f is centred at hop·f + centre.
fn on_label_grid(a: &Activations<f32>, receptive: &Receptive, slots: usize) -> Array2<f32> {
    let (frames, channels) = (a.shape().steps, a.shape().channels);
    let (hop, values) = (receptive.hop as f64, a.item(0));
    let first = |sample: f64| ((sample - receptive.centre) / hop).ceil().max(0.0) as usize;
    let mut out = Array2::zeros((slots, channels));
    for (n, mut row) in out.outer_iter_mut().enumerate() {
        let (from, to) = (first(160.0 * n as f64 + 119.5), first(160.0 * n as f64 + 279.5));
        let from = from.min(frames - 1);
        let to = to.clamp(from + 1, frames);
        for f in from..to {
            row.iter_mut().zip(&values[f * channels..]).for_each(|(r, v)| *r += *v);
        }
        row /= (to - from) as f32;
    }
    out
}

/// Features of one utterance, a matrix for each tap.
fn features(
    stack: &mut Stack<f32>,
    config: &Config,
    sound: &[f32],
    fields: &[Receptive],
    pool: &Pool<f32>,
) -> Result<Vec<Array2<f32>>> {
    let layouts = stack.layouts(Shape::sequence(1, sound.len(), 1))?;
    let slots = label_frames(sound.len());
    let mut packet =
        Packet { x: Activations::from_slice(layouts[0], sound, pool).detach(), step: 0, labels: [].into() };
    let mut out = Vec::new();
    for (i, module) in stack.modules_mut().iter_mut().enumerate() {
        // The layers inside an end-to-end module are looked at too, so that depths can be compared.
        let inside = config.network.kind == NetworkKind::Cpc;
        module.forward(&packet.x, layouts[i + 1], if inside { Mode::Learn } else { Mode::Frozen });
        if inside {
            for (_, a) in module.layer_outputs() {
                out.push(on_label_grid(a, &fields[out.len().min(fields.len() - 1)], slots));
            }
        } else {
            out.push(on_label_grid(module.features(), &fields[i.min(fields.len() - 1)], slots));
        }
        packet.x = module.output();
        module.release();
    }
    Ok(out)
}

/// The feature file of a run, written anew when the run has been trained since.
///
/// # Errors
/// As [`extract`].
pub fn features_of(run_folder: &Path, show: Show) -> Result<PathBuf> {
    let file = run_folder.join("features.h5");
    let changed = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified()).ok();
    let trained = run::newest_checkpoint(run_folder).and_then(|c| changed(&c));
    if !file.is_file() || changed(&file) < trained {
        extract(run_folder, &file, show)?;
    }
    Ok(file)
}

/// Writes the feature file of a run: groups `module_k`, `random_k`, `baseline_mfcc`.
///
/// # Errors
/// When the run or the corpus cannot be read, or the file cannot be written.
pub fn extract(run_folder: &Path, out: &Path, show: Show) -> Result<()> {
    let pool = Pool::new();
    let (config, mut trained, _) = run::open(run_folder, &pool)?;
    let mut random = config.network.build(&config.loss, &config.optimizer, config.train.seed, &pool)?;
    let (corpus, standardize) = run::open_corpus(&config)?;
    let convs = config.network.convs()?;
    let fields: Vec<Receptive> = (1..=convs.len()).map(|n| Receptive::of(&convs[..n])).collect();
    let mfcc = Mfcc::new(MfccConfig::default())?;
    let shortest = gim_audio::phones::label_frames(0).max(1) * 400;

    let train = corpus.split(gim_audio::corpus::Split::Train);
    let test = corpus.split(gim_audio::corpus::Split::Test);
    let both = train.iter().map(|u| (*u, Split::Train)).chain(test.iter().map(|u| (*u, Split::Test)));
    let mut items: Vec<(usize, Split)> = both.collect();
    items.sort_by_key(|i| i.0);
    let n_phones = corpus.labels().map_or(0, gim_audio::phones::PhoneLabels::n_classes);

    let mut writer: Option<FeatureWriter> = None;
    let mut progress = Progress::new(items.len() as u64, "utterance", show);
    for (done, (u, split)) in items.iter().enumerate() {
        let utterance = &corpus.utterances()[*u];
        let sound = corpus.whole(*u, &standardize)?;
        if sound.len() < shortest {
            continue;
        }
        let mut groups = features(&mut trained, &config, &sound, &fields, &pool)?;
        let modules = groups.len();
        groups.extend(features(&mut random, &config, &sound, &fields, &pool)?);
        groups.push(mfcc.compute(&sound));
        let writer = match &mut writer {
            Some(w) => w,
            none => {
                let name = |i: usize| match i {
                    i if i < modules => (format!("module_{}", i + 1), format!("module {}", i + 1)),
                    i if i < 2 * modules => {
                        (format!("random_{}", i + 1 - modules), format!("random {}", i + 1 - modules))
                    }
                    _ => ("baseline_mfcc".to_owned(), "MFCC".to_owned()),
                };
                let specs = groups.iter().enumerate().map(|(i, g)| {
                    let (group, name) = name(i);
                    GroupSpec { group, name, dims: g.ncols() }
                });
                let mut labels =
                    vec![LabelSpec { task: "speaker".into(), per: Per::Item, classes: corpus.speakers().len() }];
                if n_phones > 0 {
                    labels.push(LabelSpec { task: "phone".into(), per: Per::Frame, classes: n_phones });
                }
                let layout = Layout { groups: specs.collect(), labels, deflate: None };
                let provenance = Provenance {
                    configuration: config.to_toml(),
                    seed: config.train.seed,
                    commit: Environment::capture(config.train.seed, 1).git_commit.unwrap_or_default(),
                    corpus_digest: corpus.digest().to_owned(),
                };
                none.insert(FeatureWriter::create(out, layout, &provenance)?)
            }
        };
        let rows = groups[0].nrows();
        let views: Vec<ArrayView2<'_, f32>> = groups.iter().map(|g| g.view()).collect();
        let speaker = [utterance.speaker as i32];
        let mut labels: Vec<&[i32]> = vec![&speaker];
        let mut phones = vec![-1; rows];
        if n_phones > 0 {
            // Features are on the labels' own grid already: label n belongs to row n.
            let aligned = corpus.labels_for(*u, rows, Alignment::Centre { shift: 0 })?;
            phones[aligned.first_feature..].iter_mut().zip(aligned.labels).for_each(|(p, l)| *p = i32::from(*l));
            labels.push(&phones);
        }
        writer.append(Item { id: &utterance.id, split: *split, features: &views, labels: &labels })?;
        pool.trim();
        progress.tick(done as u64 + 1, String::new);
    }
    let Some(writer) = writer else {
        return Err(Error::file(corpus.root(), "has no utterance that is long enough", "use another corpus"));
    };
    writer.finish()?;
    progress.finish(&format!("features of {} utterances in {}", items.len(), out.display()));
    Ok(())
}
