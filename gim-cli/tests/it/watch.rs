//! `gim watch` where there is no terminal.

use crate::common::fails;

#[test]
fn without_a_terminal_it_names_what_prints() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("run")).unwrap();
    assert!(fails(dir.path(), &["watch", "run"]).contains("holds no run"));
    std::fs::write(dir.path().join("run/config.toml"), "domain = \"audio\"\n").unwrap();
    let text = fails(dir.path(), &["watch", "run"]);
    assert!(text.contains("is not a terminal") && text.contains("gim status"), "{text}");
}
