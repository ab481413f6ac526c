//! Links the system's OpenBLAS. It holds the LAPACK that `ndarray-linalg`, built without a backend, calls.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if let Err(error) = pkg_config::probe_library("openblas") {
        println!(
            "cargo::error=OpenBLAS is missing: install it with its headers and pkg-config (Debian: libopenblas-dev)"
        );
        eprintln!("{error}");
        std::process::exit(1);
    }
}
