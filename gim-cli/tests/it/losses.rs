//! Every loss of the registry in a small run, from training to features.

use gim_core::loss::LossKind;

use crate::common::{fails, folders, ok, result};

const AUDIO: [&str; 7] = [
    "audio-quick",
    "network.width=48",
    "network.context=48",
    "train.batch=4",
    "data.crop=5120",
    "train.steps=4",
    "loss.target=speakers",
];
const VISION: [&str; 5] =
    ["vision-quick", "network.widths=[4,6,8]", "train.batch=8", "train.steps=4", "loss.target=classes"];

/// Images in class folders, few enough that features take no time.
const IMAGES: [&str; 10] = [
    "vision-quick",
    "data.path=images",
    "data.crop=16",
    "network.widths=[4,6,8]",
    "network.overlap=4",
    "loss.prediction_steps=1",
    "loss.time-contrastive.segments=3",
    "train.batch=8",
    "train.steps=4",
    "loss.target=classes",
];

/// Arguments that train `run` with a loss; the last setting of `preset` names its labels.
fn train<'a>(preset: &[&'a str], kind: &'a str, run: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let (labels, rest) = preset[1..].split_last().unwrap();
    let needs = LossKind::ALL.iter().find(|k| k.name() == kind).unwrap().needs_labels();
    let target = if needs { labels } else { "loss.target=future" };
    let settings = rest.iter().chain([&target]).chain(more).flat_map(|s| ["--set", s]);
    ["train", preset[0], "--out", run].into_iter().chain(settings).collect()
}

#[test]
fn every_loss_trains_resumes_and_gives_features() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    folders(&d.join("images"), false);
    for preset in [&AUDIO[..], &IMAGES] {
        // Each by its defaults, and by settings that train in another way.
        let others = [
            ("clapp", "loss.clapp.update=two-weights"),
            ("clapp", "loss.clapp.update=target"),
            ("clapp", "loss.clapp.update=scalar"),
            ("autoencoder", "loss.autoencoder.corruption=0.3"),
        ];
        let defaults = LossKind::ALL.iter().map(|kind| (kind.name(), "train.log_every=2"));
        for (i, (kind, setting)) in defaults.chain(others).enumerate() {
            let run = format!("{}-{kind}-{i}", preset[0]);
            let set = format!("loss.kind={kind}");
            let often = ["train.log_every=2", "train.checkpoint_every=2", "train.snapshots=[0.5]", &set, setting];
            ok(d, &train(preset, kind, &run, &often));
            let whole = result(&d.join(&run));
            assert!(whole.1.len() > 2 && whole.1[1..].iter().all(|row| !row.split(',').nth(3).unwrap().contains('n')));
            // The second half again, from the checkpoint in the middle.
            std::fs::remove_dir_all(d.join(&run).join("checkpoints/step-00000004")).unwrap();
            ok(d, &["train", "--resume", &run, "--threads", "1"]);
            assert!(result(&d.join(&run)) == whole, "{run}");
            // Every loss has the same encoder: features of two are enough.
            if [LossKind::InfoNce, LossKind::Autoencoder].map(LossKind::name).contains(&kind) {
                ok(d, &["extract", &run, "--out", &format!("{run}.h5")]);
            }
        }
    }
}

/// Negatives from shares of the batch are a result of its own, which resuming with another number would
/// change.
#[test]
fn negatives_stay_in_shares() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for preset in [&AUDIO[..], &VISION] {
        let [one, two] = ["one", "two"].map(|n| format!("{}-{n}", preset[0]));
        let shares = ["loss.infonce.negative_shares=2", "train.log_every=2", "train.checkpoint_every=2"];
        ok(d, &train(preset, "infonce", &one, &shares[1..]));
        ok(d, &train(preset, "infonce", &two, &shares));
        let whole = result(&d.join(&two));
        assert!(result(&d.join(&one)) != whole, "{two}");
        std::fs::remove_dir_all(d.join(&two).join("checkpoints/step-00000004")).unwrap();
        ok(d, &["train", "--resume", &two, "--threads", "1"]);
        assert!(result(&d.join(&two)) == whole, "{two}");

        let config = d.join(&two).join("config.toml");
        let changed = std::fs::read_to_string(&config).unwrap().replace("negative_shares = 2", "negative_shares = 3");
        std::fs::write(&config, changed).unwrap();
        std::fs::remove_dir_all(d.join(&two).join("checkpoints/step-00000004")).unwrap();
        let e = fails(d, &["train", "--resume", &two]);
        assert!(e.contains("loss.infonce.negative_shares was 2, now it is 3"), "{e}");
    }
    for (set, says) in [
        (&["loss.infonce.negative_shares=9"][..], "in 9 shares"),
        (&["loss.infonce.negative_shares=2", "loss.infonce.estimator=dv"], "estimator dv"),
    ] {
        let e = fails(d, &train(&VISION, "infonce", "wrong", set));
        assert!(e.contains(says) && e.contains("loss.infonce.negative_shares"), "{set:?}: {e}");
    }
}

#[test]
fn a_loss_has_settings_of_its_own_and_fits_its_labels() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let more = ["loss.kind=vicreg", "loss.vicreg.variance=3", "loss.vicreg.projector=[8, 4]"];
    ok(d, &train(&VISION, "vicreg", "run", &more));
    let config = std::fs::read_to_string(d.join("run/config.toml")).unwrap();
    assert!(config.contains("[loss.vicreg]") && config.contains("variance = 3"), "{config}");
    assert!(!config.contains("[loss.clapp]"), "{config}");
    for (set, says) in [
        ("loss.vicreg.variances=3", "did you mean `loss.vicreg.variance`"),
        ("loss.vicreg.variance=-1", "loss.vicreg.variance"),
        ("loss.kind=vicregs", "one of"),
        ("loss.clapp.update=feedback", "two-weights"),
        ("loss.autoencoder.corruption=1", "loss.autoencoder.corruption"),
        ("loss.kind=cross-entropy", "learns from labels"),
    ] {
        let e = fails(d, &train(&VISION, "vicreg", "wrong", &[set]));
        assert!(e.contains(says), "{set}: {e}");
    }
}

/// A rule that rewards sameness alone says that it has collapsed, on the screen's notes and in the run.
#[test]
fn a_run_that_collapses_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let alone = [
        "loss.kind=vicreg",
        "loss.vicreg.variance=0",
        "loss.vicreg.covariance=0",
        "optimizer.lr=0.01",
        "train.steps=120",
    ];
    ok(d, &train(&VISION, "vicreg", "run", &alone));
    let notes = std::fs::read_to_string(d.join("run/notes.txt")).unwrap();
    assert!(notes.contains("have collapsed by step") && notes.contains("VICReg"), "{notes}");
    ok(d, &train(&VISION, "vicreg", "kept", &["loss.kind=vicreg", "train.steps=120"]));
    let notes = std::fs::read_to_string(d.join("kept/notes.txt")).unwrap();
    assert!(!notes.contains("collapsed"), "{notes}");
}
