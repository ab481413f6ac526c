//! The `gim` program. Its commands are not written yet; the library beside it holds figures, progress and run environments.

fn main() {
    eprintln!("gim {}: no command is available in this version yet", env!("CARGO_PKG_VERSION"));
    std::process::exit(2);
}
