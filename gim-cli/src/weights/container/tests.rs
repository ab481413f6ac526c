//! All published containers hold what they should; damaged ones end in an error.

use std::path::PathBuf;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints")
}

fn checkpoints() -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()).collect();
    all.retain(|p| p.extension().is_some_and(|e| e == "ckpt"));
    all.sort();
    all
}

#[test]
fn every_container_holds_the_same() {
    let mut compared = 0;
    for path in checkpoints() {
        let got = open(&path).unwrap().tensors;
        let name = path.file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
        if name.ends_with("_optim") {
            assert!(got.contains_key("state.0.exp_avg") && got.contains_key("state.19.exp_avg_sq"), "{:?}", got.keys());
            continue;
        }
        let want = open(&fixtures().join(format!("{name}.expected.safetensors"))).unwrap().tensors;
        assert_eq!(got, want, "{}", path.display());
        compared += 1;
    }
    assert_eq!(compared, 15);
}

#[test]
fn numbers_of_other_widths_are_read() {
    for (bits, value) in
        [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 2f32.powi(-24)), (0x7bff, 65504.0), (0x7c00, f32::INFINITY)]
    {
        assert_eq!(Element::F16.get(&u16::to_le_bytes(bits), 0), value);
    }
    assert!(Element::F16.get(&u16::to_le_bytes(0x7e00), 0).is_nan());
    assert_eq!(Element::BF16.get(&[0x80, 0x3f], 0), 1.0);
    assert_eq!(Element::F64.get(&(-0.5f64).to_le_bytes(), 0), -0.5);
}

/// One to eight random changes: bytes set, ranges copied, cut or repeated.
fn mutate(bytes: &mut Vec<u8>, rng: &mut SmallRng) {
    for _ in 0..rng.random_range(1..9) {
        let n = bytes.len();
        if n < 2 {
            return;
        }
        let (a, b) = (rng.random_range(0..n), rng.random_range(0..n));
        match rng.random_range(0..8) {
            0 => bytes.truncate(a.max(b)),
            1 => drop(bytes.drain(a.min(b)..a.max(b).min(a.min(b) + 16))),
            2 => {
                let part = bytes[a.min(b)..a.max(b).min(a.min(b) + 64)].to_vec();
                drop(bytes.splice(a..a, part));
            }
            3 => bytes[a] ^= 1 << rng.random_range(0..8),
            4 => bytes[a] = b"(.0KMJXUcqrhjsuabetR}])Q\x80\x85\x86\x87\x88\x89\x8aG"[rng.random_range(0..32)],
            5 => bytes[a] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
            _ => bytes[a] = rng.random(),
        }
    }
}

/// Reads `inputs` mutations of the fixtures: whole files, and the pickles alone, which the checksums
/// of an archive would shield. Gives how many were read without an error.
fn fuzz(inputs: u64, seed: u64) -> u64 {
    let files: Vec<Vec<u8>> = checkpoints().iter().map(|p| fs::read(p).unwrap()).collect();
    let pickles: Vec<Vec<u8>> = files
        .iter()
        .filter(|f| f.starts_with(b"PK"))
        .map(|f| {
            let mut archive = ZipArchive::new(Cursor::new(f)).unwrap();
            let name = archive.file_names().flatten().find(|n| n.ends_with("data.pkl")).unwrap().into_owned();
            let mut out = Vec::new();
            archive.by_name(&name).unwrap().read_to_end(&mut out).unwrap();
            out
        })
        .collect();
    let (mut rng, mut accepted) = (SmallRng::seed_from_u64(seed), 0);
    for i in 0..inputs {
        let from = if i % 2 == 0 { &files } else { &pickles };
        let mut bytes = from[rng.random_range(0..from.len())].clone();
        mutate(&mut bytes, &mut rng);
        accepted += u64::from(if i % 2 == 0 { read(&bytes).is_ok() } else { read_pickle(&bytes).is_ok() });
    }
    accepted
}

/// The tensors of a pickle whose storages are all there and zero.
fn read_pickle(bytes: &[u8]) -> std::result::Result<Tensors, Refusal> {
    let pickle = Pickle::read(bytes)?;
    let zeros = vec![0; 1 << 16];
    let storages = storages_of(&pickle).map(|s| (Rc::clone(&s.key), zeros.as_slice())).collect();
    tensors_of(&pickle, &storages, bytes.len())
}

#[test]
fn mutations_end_in_a_value_or_an_error() {
    let accepted = fuzz(4_000, 1);
    assert!((1..4_000).contains(&accepted), "{accepted} of 4000 were read");
}

/// `cargo test --release -p gim-cli a_million_mutations -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn a_million_mutations() {
    let accepted = fuzz(1_200_000, 2);
    println!("1200000 inputs, {accepted} read without an error");
}
