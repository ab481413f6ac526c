//! Records the commit and the compiler of the build, for `environment.json`. Without git, the commit
//! is empty.

use std::process::Command;

/// Files that decide the program's behavior. Changes to others, such as documents and results, do
/// not make the build "dirty".
const SOURCES: [&str; 7] = ["gim-core", "gim-audio", "gim-vision", "gim-eval", "gim-cli", "Cargo.toml", "Cargo.lock"];

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!("cargo::rustc-env=GIM_RUSTC={}", output(&rustc, &["--version"]).unwrap_or_else(|| "unknown".into()));

    let commit = output("git", &["rev-parse", "HEAD"]).unwrap_or_default();
    let mut status = vec!["-C", "..", "status", "--porcelain", "--"];
    status.extend(SOURCES);
    let dirty = match output("git", &status) {
        Some(changes) if !commit.is_empty() => (!changes.is_empty()).to_string(),
        _ => String::new(),
    };
    println!("cargo::rustc-env=GIM_GIT_COMMIT={commit}");
    println!("cargo::rustc-env=GIM_GIT_DIRTY={dirty}");

    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed=../{source}");
    }
    if let Some(git) = output("git", &["rev-parse", "--git-dir"]) {
        // The reflog of HEAD changes with every commit and checkout, HEAD only with the branch.
        println!("cargo::rerun-if-changed={git}/HEAD");
        if std::path::Path::new(&format!("{git}/logs/HEAD")).exists() {
            println!("cargo::rerun-if-changed={git}/logs/HEAD");
        }
    }
}

/// The trimmed standard output of a program that ran and succeeded.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
