//! Predictions from measured costs: of a configuration and of a comparison.

use serde_json::Value;

use crate::common::{fails, ok, printed};

const TINY: [&str; 6] = ["--set", "network.width=16", "--set", "data.crop=10240", "--set", "train.batch=2"];

#[test]
fn a_configuration_is_measured_and_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let asked = ["plan", "audio-quick", "--ranks", "1,2,64", "--bandwidth", "10,100", "--steps", "1", "--out", "out"];
    let text = printed(folder.path(), &[&asked[..], &TINY, &["--json"]].concat());
    let plan: Value = serde_json::from_str(&text).unwrap();

    let modules = plan["modules"].as_array().unwrap();
    assert_eq!(modules.len(), 6);
    let of = |module: &Value, key: &str| module[key].as_f64().unwrap();
    let sum: f64 = modules.iter().map(|m| of(m, "forward_seconds") + of(m, "train_seconds")).sum();
    assert!(modules.iter().all(|m| of(m, "working_bytes") > of(m, "input_bytes") && of(m, "train_seconds") > 0.0));
    let parameters: f64 = modules.iter().map(|m| of(m, "parameters")).sum();
    assert!(of(&plan["end_to_end"], "parameters") < parameters, "one loss has fewer parameters than six");

    let rows = plan["predictions"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    assert!((of(&rows[0], "step_seconds") - sum).abs() < 1e-9 * sum, "one rank takes the sum");
    assert_eq!((of(&rows[0], "idle"), of(&rows[0], "traffic_mb")), (0.0, 0.0));
    assert_eq!(rows[0]["groups"], "[[1, 2, 3, 4, 5, 6]]");
    for two in rows.chunks(3).flat_map(|of_network| of_network.windows(2)) {
        assert!(of(&two[1], "step_seconds") <= of(&two[0], "step_seconds"), "{two:?}");
    }
    // Two items in a batch: no module has more than two replicas.
    assert!(of(&rows[2], "used") <= 12.0 && of(&rows[2], "end_to_end_used") <= 2.0);
    assert!(of(&plan["run"], "features_gb") > 0.0 && of(&plan["run"], "days_2") > of(&plan["run"], "days_64"));
    assert!(plan["assumptions"].to_string().contains("assumed, not measured"));
    for file in ["plan.csv", "scaling.png", "scaling.svg"] {
        assert!(folder.path().join("out").join(file).metadata().unwrap().len() > 100, "{file}");
    }
}

#[test]
fn a_comparison_is_the_sum_of_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let asked = ["plan", "quick", "--only", "audio/supervised-phones", "--steps", "1", "--out", "out"];
    let text = printed(folder.path(), &[&asked[..], &TINY].concat());
    assert!(text.contains("days on 2 cores") && text.contains("audio/supervised-phones"), "{text}");
    let mut table = csv::Reader::from_path(folder.path().join("out/plan.csv")).unwrap();
    let runs = table.records().count();
    assert!(runs > 1, "the run and those it refers to");
}

#[test]
fn wrong_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, says) in [
        (["--ranks", "0"], "--ranks"),
        (["--bandwidth", "-1"], "--bandwidth"),
        (["--bandwidth", "NaN"], "--bandwidth"),
        (["--latency", "-1"], "--latency"),
        (["--cores", "0"], "--cores"),
        (["--only", "audio"], "--only"),
    ] {
        let joined = format!("{}={}", wrong[0], wrong[1]);
        let e = fails(folder.path(), &["plan", "audio-quick", &joined]);
        assert!(e.contains(says), "{e}");
    }
    ok(folder.path(), &["plan", "--help"]);
}
