//! The loader: same content whatever the threads, the cache and the first step; errors and ends
//! that never hang.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use crate::common::{Pcm, big, noise, speech_mini, wav_bytes, write, write_wav};
use gim_audio::dataset::augment::Augment;
use gim_audio::dataset::corpus::{Corpus, CorpusOptions, Split};
use gim_audio::dataset::loader::{CROP_GRID, Crop, CropConfig, CropLoader, CropPlan, ShortPolicy};
use gim_audio::dataset::standardize::Standardize;
use proptest::prelude::*;

fn mini() -> Arc<Corpus> {
    Arc::new(Corpus::open(&speech_mini(), &CorpusOptions::default()).unwrap())
}

fn std() -> Standardize {
    Standardize::given(0.001, 0.05).unwrap()
}

/// The bits of `n` batches.
fn take(loader: &mut CropLoader, n: usize) -> Vec<Vec<u32>> {
    (0..n).map(|_| loader.next_batch().unwrap().data.iter().map(|x| x.to_bits()).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn crops_are_on_the_grid_and_an_epoch_is_a_permutation(
        lens in prop::collection::vec(1usize..60_000, 1..80), batch in 1usize..9, len in 1usize..30_000, seed in any::<u64>(),
    ) {
        prop_assume!(lens.len() >= batch);
        let items: Vec<(usize, usize)> = lens.iter().enumerate().map(|(i, &n)| (1000 + i, n)).collect();
        let mut plan = CropPlan::new(items.clone(), batch, len, seed);
        let mut crops: Vec<Crop> = Vec::new();
        prop_assert_eq!(plan.epoch_len() as usize, lens.len() / batch);
        let mut orders = Vec::new();
        for epoch in 0..2 {
            let mut seen = Vec::new();
            for step in 0..plan.epoch_len() {
                plan.fill(epoch * plan.epoch_len() + step, &mut crops);
                prop_assert_eq!(crops.len(), batch);
                for c in &crops {
                    let total = lens[c.utterance - 1000];
                    prop_assert_eq!(c.start % CROP_GRID, 0);
                    prop_assert_eq!(c.len, len.min(total));
                    prop_assert!(c.start + c.len <= total);
                    seen.push(c.utterance);
                }
            }
            prop_assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
            orders.push(seen);
        }
        // A fresh plan that begins in the middle agrees.
        let middle = plan.epoch_len() + plan.epoch_len() / 2;
        let mut there = Vec::new();
        CropPlan::new(items, batch, len, seed).fill(middle, &mut there);
        plan.fill(middle, &mut crops);
        prop_assert_eq!(&there, &crops);
    }
}

#[test]
fn every_start_is_drawn_the_last_one_included() {
    let mut plan = CropPlan::new(vec![(0, 1000 + 3 * CROP_GRID + 5)], 1, 1000, 9);
    let mut crops = Vec::new();
    let starts: HashSet<usize> = (0..200)
        .map(|s| {
            plan.fill(s, &mut crops);
            crops[0].start
        })
        .collect();
    assert_eq!(starts, HashSet::from([0, 160, 320, 480]));
}

#[test]
fn batches_are_what_the_plan_says() {
    let corpus = mini();
    let config = CropConfig { batch: 4, seed: 5, ..Default::default() };
    let mut loader = CropLoader::start(Arc::clone(&corpus), std(), &config, 0).unwrap();
    assert_eq!(loader.epoch_len(), 64);
    for step in 0..5 {
        let batch = loader.next_batch().unwrap();
        assert_eq!((batch.step, batch.data.len()), (step, 4 * 20_480));
        for (crop, row) in loader.crops().iter().zip(batch.data.chunks(20_480)) {
            assert!(corpus.split(Split::Train).contains(&crop.utterance));
            let whole = corpus.whole(crop.utterance, &std()).unwrap();
            assert_eq!(row, &whole[crop.start..crop.start + crop.len]);
        }
    }
}

/// All that there is.
fn augment() -> Augment {
    Augment { gain: 6.0, noise: 0.5, masks: 2, tempo: 0.1, ..Augment::default() }
}

/// Two views of an utterance are side by side: of the same crop, unless each is to be of its own. Without
/// augmentation, views of the same crop are equal, and are those of single views.
#[test]
fn two_views_of_an_utterance_are_side_by_side() {
    let corpus = mini();
    let one = CropConfig { batch: 4, len: 5120, seed: 5, ..Default::default() };
    let two = CropConfig { views: 2, ..one.clone() };
    let start = |config: &CropConfig| CropLoader::start(Arc::clone(&corpus), std(), config, 0).unwrap();
    let (mut single, mut double) = (start(&one), start(&two));
    assert_eq!(single.epoch_len(), double.epoch_len());
    for _ in 0..3 {
        let (one, two) = (single.next_batch().unwrap(), double.next_batch().unwrap());
        assert_eq!(two.data.len(), 2 * one.data.len());
        for (i, (views, crop)) in double.crops().chunks(2).zip(single.crops()).enumerate() {
            assert_eq!(views, [*crop; 2]);
            let row = &one.data[5120 * i..][..5120];
            assert!(two.data[2 * 5120 * i..][..2 * 5120].chunks(5120).all(|view| view == row));
        }
    }
    let apart = CropConfig { augment: Augment { same_crop: false, ..Augment::default() }, ..two.clone() };
    let mut loader = start(&apart);
    loader.next_batch().unwrap();
    assert!(loader.crops().chunks(2).all(|v| v[0].utterance == v[1].utterance));
    assert!(loader.crops().chunks(2).any(|v| v[0].start != v[1].start));
    // Each view is augmented for itself.
    let mut loader = start(&CropConfig { augment: augment(), ..two });
    let batch = loader.next_batch().unwrap();
    let rows: Vec<&[f32]> = batch.data.chunks(5120).collect();
    assert!(loader.crops().chunks(2).all(|v| v[0] == v[1]) && rows.chunks(2).all(|v| v[0] != v[1]));
    assert!(batch.data.iter().all(|x| x.is_finite()));
}

#[test]
fn held_out_utterances_are_never_in_a_batch() {
    let corpus = mini();
    let held_out = corpus.split(Split::Train).iter().copied().step_by(5).collect::<std::collections::BTreeSet<_>>();
    let config = CropConfig { batch: 4, seed: 5, held_out: held_out.clone(), ..Default::default() };
    let mut loader = CropLoader::start(corpus, std(), &config, 0).unwrap();
    assert!(loader.epoch_len() < 64);
    for _ in 0..2 * loader.epoch_len() {
        loader.next_batch().unwrap();
        assert!(loader.crops().iter().all(|crop| !held_out.contains(&crop.utterance)));
    }
}

/// One thread or two, cache or none, from the start or resumed: the same bits.
#[test]
fn content_depends_on_the_step_alone() {
    let corpus = mini();
    let config = CropConfig { batch: 8, seed: 3, ..Default::default() };
    let want = take(&mut CropLoader::start(Arc::clone(&corpus), std(), &config, 0).unwrap(), 40);
    for (threads, cache_mb, first) in [(2, 512, 0), (1, 0, 0), (3, 1, 7), (1, 512, 33), (2, 0, 39)] {
        let config = CropConfig { threads, cache_mb, ..config.clone() };
        let mut loader = CropLoader::start(Arc::clone(&corpus), std(), &config, first as u64).unwrap();
        assert_eq!(loader.next_step(), first as u64);
        assert_eq!(take(&mut loader, 40 - first), want[first..], "{threads} threads, {cache_mb} MB, from {first}");
        assert!(loader.stats().cached_bytes <= cache_mb * 1_000_000);
    }
    let base = CropConfig { views: 2, augment: augment(), len: 10_240, ..config.clone() };
    let want_views = take(&mut CropLoader::start(Arc::clone(&corpus), std(), &base, 0).unwrap(), 12);
    for (threads, cache_mb, first) in [(2, 512, 0), (3, 0, 5), (1, 1, 11)] {
        let config = CropConfig { threads, cache_mb, ..base.clone() };
        let mut loader = CropLoader::start(Arc::clone(&corpus), std(), &config, first as u64).unwrap();
        assert_eq!(
            take(&mut loader, 12 - first),
            want_views[first..],
            "{threads} threads, {cache_mb} MB, from {first}"
        );
    }
    let other = CropConfig { seed: 4, ..config };
    assert_ne!(take(&mut CropLoader::start(corpus, std(), &other, 0).unwrap(), 1), want[..1]);
}

/// Stereo, float and 8 kHz sources do not fit 16 bits: cached or not, the same bits.
#[test]
fn cache_keeps_the_bits_of_other_formats() {
    let dir = tempfile::tempdir().unwrap();
    for (i, (channels, rate, pcm)) in
        [(2, 16_000, Pcm::S16), (1, 16_000, Pcm::F32), (1, 8_000, Pcm::S16), (1, 44_100, Pcm::S24)].iter().enumerate()
    {
        let x: Vec<f32> = noise(90_000, i as u32).iter().map(|x| x * 0.7).collect();
        write(&dir.path().join(format!("s-{i}.wav")), wav_bytes(&x, *channels, *rate, *pcm));
        write(&dir.path().join(format!("t-{i}.wav")), wav_bytes(&x, *channels, *rate, *pcm));
    }
    let corpus = Arc::new(Corpus::open(dir.path(), &CorpusOptions::default()).unwrap());
    let config = CropConfig { batch: 3, len: 8000, ..Default::default() };
    let none = CropConfig { cache_mb: 0, ..config.clone() };
    let cached = take(&mut CropLoader::start(Arc::clone(&corpus), std(), &config, 0).unwrap(), 10);
    assert_eq!(cached, take(&mut CropLoader::start(corpus, std(), &none, 0).unwrap(), 10));
}

#[test]
fn short_utterances_are_skipped_or_padded() {
    let dir = tempfile::tempdir().unwrap();
    for k in 0..10 {
        write_wav(&dir.path().join(format!("s-{k}.wav")), &noise(if k < 5 { 700 } else { 3000 }, k));
    }
    write(&dir.path().join("train_split.txt"), "s-0\ns-1\ns-2\ns-5\ns-6\ns-7\n");
    let corpus = Arc::new(Corpus::open(dir.path(), &CorpusOptions::default()).unwrap());
    let config = CropConfig { batch: 3, len: 1000, ..Default::default() };
    let skip = CropLoader::start(Arc::clone(&corpus), std(), &config, 0).unwrap();
    assert_eq!(skip.epoch_len(), 1);
    assert!(skip.notes()[0].contains("3 of 6") && skip.notes()[0].contains("left out"), "{:?}", skip.notes());

    let pad = CropConfig { short: ShortPolicy::Pad, ..config.clone() };
    let mut pad = CropLoader::start(Arc::clone(&corpus), std(), &pad, 0).unwrap();
    assert_eq!(pad.epoch_len(), 2);
    assert!(pad.notes()[0].contains("padded"));
    let mut padded = 0;
    for _ in 0..2 {
        let batch = pad.next_batch().unwrap();
        for (crop, row) in pad.crops().iter().zip(batch.data.chunks(1000)) {
            padded += usize::from(crop.len == 700);
            assert!(row[crop.len..].iter().all(|x| *x == 0.0));
            assert_eq!(row[..crop.len], corpus.whole(crop.utterance, &std()).unwrap()[crop.start..][..crop.len]);
        }
    }
    assert_eq!(padded, 3);

    let many = CropConfig { batch: 4, ..config };
    let e = CropLoader::start(corpus, std(), &many, 0).unwrap_err().to_string();
    assert!(e.contains("3 training utterances") && e.contains("a batch takes 4"), "{e}");
}

#[test]
fn sizes_of_zero_are_refused() {
    let corpus = mini();
    for bad in [
        CropConfig { batch: 0, ..Default::default() },
        CropConfig { len: 0, ..Default::default() },
        CropConfig { threads: 0, ..Default::default() },
        CropConfig { views: 0, ..Default::default() },
        CropConfig { views: 3, ..Default::default() },
        CropConfig { augment: Augment { snr: [2.0, 1.0], ..Augment::default() }, ..Default::default() },
    ] {
        assert!(CropLoader::start(Arc::clone(&corpus), std(), &bad, 0).is_err());
    }
}

#[test]
fn a_bad_file_is_an_error_of_its_step_only() {
    let dir = tempfile::tempdir().unwrap();
    for k in 0..8 {
        write_wav(&dir.path().join(format!("s-{k}.wav")), &noise(3000, k));
    }
    let names: String = (0..8).map(|k| format!("s-{k}\n")).collect();
    write(&dir.path().join("train_split.txt"), names);
    let corpus = Arc::new(Corpus::open(dir.path(), &CorpusOptions::default()).unwrap());
    std::fs::remove_file(dir.path().join("s-3.wav")).unwrap();
    for threads in [1, 2] {
        let config = CropConfig { batch: 2, len: 1000, threads, ..Default::default() };
        let mut loader = CropLoader::start(Arc::clone(&corpus), std(), &config, 0).unwrap();
        for _epoch in 0..3 {
            let results: Vec<_> = (0..4).map(|_| loader.next_batch()).collect();
            let errors: Vec<String> = results.iter().filter_map(|r| r.as_ref().err()).map(|e| e.to_string()).collect();
            assert_eq!(errors.len(), 1);
            assert!(errors[0].contains("s-3.wav"), "{errors:?}");
        }
    }
}

/// Dropped at once, after some batches, or with batches still held: the threads end, and the held
/// batches live on.
#[test]
fn dropping_stops_the_threads() {
    let corpus = mini();
    for n in [0, 1, 9] {
        for threads in [1, 2] {
            let config = CropConfig { threads, prefetch: 2, ..Default::default() };
            let mut loader = CropLoader::start(Arc::clone(&corpus), std(), &config, 0).unwrap();
            let held: Vec<_> = (0..n).map(|_| loader.next_batch().unwrap()).collect();
            drop(loader);
            assert!(held.iter().all(|b| b.data.iter().all(|x| x.is_finite())));
        }
    }
    assert_eq!(Arc::strong_count(&corpus), 1, "a thread still holds the corpus");
}

/// Once warmed up, no new buffers: what is in the queue, in the making and in use.
#[test]
fn buffers_are_recycled() {
    let mut loader = CropLoader::start(mini(), std(), &CropConfig::default(), 0).unwrap();
    for _ in 0..200 {
        drop(loader.next_batch().unwrap());
    }
    assert!(loader.stats().buffers <= 3 + 2, "{:?}", loader.stats());
    assert_eq!(loader.stats().batches, 200);
    assert!(loader.stats().wait_seconds >= loader.stats().first_wait_seconds);
}

/// Prints how fast one thread makes augmented views of decoded utterances. Asserts nothing: run it with
/// `--ignored --nocapture`.
#[test]
#[ignore = "prints how fast views are augmented"]
fn speed_of_augmentation() {
    let off = Augment::default();
    for (name, augment) in [
        ("crops alone", off),
        ("gain and masks", Augment { gain: 6.0, masks: 2, ..off }),
        ("noise", Augment { noise: 1.0, ..off }),
        ("tempo", Augment { tempo: 0.1, ..off }),
    ] {
        let config = CropConfig { views: 2, augment, ..Default::default() };
        let mut loader = CropLoader::start(mini(), std(), &config, 0).unwrap();
        (0..64).for_each(|_| drop(loader.next_batch().unwrap()));
        let began = Instant::now();
        (0..50).for_each(|_| drop(loader.next_batch().unwrap()));
        let rate = (50 * 8) as f64 / began.elapsed().as_secs_f64();
        println!("{name}: {rate:.0} utterances a second, two views of 20480 samples of each");
    }
}

/// Prints decoding and loading speed. Asserts nothing: run it with `--ignored --nocapture`.
#[test]
#[ignore = "prints how fast a large corpus is read"]
fn speed_on_a_large_corpus() {
    let Some(root) = big("speech") else { return };
    let began = Instant::now();
    let corpus = Arc::new(Corpus::open(&root, &CorpusOptions::default()).unwrap());
    println!("open: {} utterances in {:.3} s", corpus.utterances().len(), began.elapsed().as_secs_f64());
    let began = Instant::now();
    let samples: usize = (0..200).map(|u| corpus.decode(u).unwrap().len()).sum();
    println!("decode: {:.0} x real time on one core", samples as f64 / 16_000.0 / began.elapsed().as_secs_f64());
    let began = Instant::now();
    let std = corpus.measure(Split::Train).unwrap();
    println!("standardize: mean {} std {} in {:.3} s", std.mean(), std.std(), began.elapsed().as_secs_f64());
    for cache_mb in [512, 0] {
        let config = CropConfig { cache_mb, ..Default::default() };
        let mut loader = CropLoader::start(Arc::clone(&corpus), std, &config, 0).unwrap();
        for epoch in 0..3 {
            let began = Instant::now();
            let steps = loader.epoch_len();
            for _ in 0..steps {
                drop(loader.next_batch().unwrap());
            }
            let rate = steps as f64 / began.elapsed().as_secs_f64();
            println!("cache {cache_mb} MB, epoch {epoch}: {rate:.0} batches of 8 x 20480 a second");
        }
        println!("{:?}", loader.stats());
    }
}
