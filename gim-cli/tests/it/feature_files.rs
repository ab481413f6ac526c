//! Feature files that other programs wrote or changed, and damaged ones.

use std::fs;
use std::path::Path;

use crate::common::{fails, gim, ok};
use gim_eval::{FeatureWriter, GroupSpec, Item, LabelSpec, Layout, Per, Provenance, Split};
use ndarray::Array2;

/// A small file of two classes of images.
fn write(path: &Path) {
    let groups = vec![GroupSpec { group: "module_1".into(), name: "1".into(), dims: 4 }];
    let names = vec!["a".into(), "b".into()];
    let labels = vec![LabelSpec { task: "class".into(), per: Per::Item, classes: 2, silence: None, names }];
    let layout = Layout { groups, labels, ..Layout::default() };
    let mut writer = FeatureWriter::create(path, layout, &Provenance::default()).unwrap();
    for i in 0..40 {
        let x = Array2::from_shape_fn((1, 4), |(_, d)| ((i * 7 + d * 3) % 11) as f32 + 20.0 * (i % 2) as f32);
        let split = if i < 30 { Split::Train } else { Split::Test };
        let (id, label) = (format!("{i}"), [(i % 2) as i32]);
        writer.append(Item { id: &id, split, features: &[x.view()], labels: &[&label] }).unwrap();
    }
    writer.finish().unwrap();
}

const PROBE: [&str; 6] = ["probe", "x.h5", "--task", "classes", "--protocol", "knn"];

/// A file that was changed, and one of another program, are used with a warning.
#[test]
fn files_of_other_programs_are_probed() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    write(&d.join("x.h5"));
    let whole = ok(d, &PROBE);
    assert!(whole.stderr.is_empty());
    let bytes = fs::read(d.join("x.h5")).unwrap();
    let mut changed = bytes.clone();
    changed[40] ^= 1;
    for (content, warning) in [(&changed[..], "its checksum does not hold"), (&bytes[512..], "another program")] {
        fs::write(d.join("x.h5"), content).unwrap();
        let out = ok(d, &PROBE);
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(said.starts_with("warning: x.h5") && said.contains(warning), "{said}");
        assert_eq!(out.stdout, whole.stdout);
    }
    fs::write(d.join("x.h5"), b"this is no HDF5").unwrap();
    assert!(fails(d, &PROBE).contains("x.h5"));
}

/// CRC-32 of zip and gzip, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

/// The content of a feature file under a seal that holds.
fn sealed(head: &[u8], content: &[u8]) -> Vec<u8> {
    let magic = head.split(|b| *b == b'\n').next().unwrap();
    let mut file = [magic, format!("\nbytes {}\ncrc32 {:08x}\n", content.len(), crc32(content)).as_bytes()].concat();
    file.resize(head.len(), 0);
    file.extend_from_slice(content);
    file
}

/// Flipped bytes, under a checksum that holds and without one: an answer or an error, never a crash.
#[test]
fn damaged_files_never_crash_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    write(&d.join("good.h5"));
    let good = fs::read(d.join("good.h5")).unwrap();
    let (head, content) = good.split_at(512);
    assert!(sealed(head, content) == good, "a seal is made otherwise");
    // `GIM_FUZZ` asks for more.
    let n: usize = std::env::var("GIM_FUZZ").map_or(200, |n| n.parse().unwrap());
    let mut refused = 0;
    for i in 0..n {
        let mut bytes = content.to_vec();
        // Metadata lie at the beginning; a multiplicative hash spreads places and values.
        for k in 0..1 + i % 4 {
            let hash = ((4 * i + k + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let at = (hash >> 20) as usize % bytes.len();
            bytes[at] = (hash >> 56) as u8;
        }
        let is_sealed = i / 4 % 2 == 0;
        fs::write(d.join("x.h5"), if is_sealed { sealed(head, &bytes) } else { bytes }).unwrap();
        let out = gim(d, &PROBE).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(matches!(out.status.code(), Some(0 | 2)), "case {i}: {:?}: {said}", out.status);
        refused += usize::from(out.status.code() == Some(2));
        assert!(out.status.success() || said.lines().last().unwrap().starts_with("gim: x.h5"), "case {i}: {said}");
        assert!(!is_sealed || !said.contains("warning"), "case {i}: {said}");
    }
    assert!(refused > n / 50, "only {refused} of {n} were noticed");
}
