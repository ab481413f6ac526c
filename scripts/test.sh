#!/usr/bin/env bash
# Formatting, lints and all tests; cargo nextest where it is installed.
set -euo pipefail
release=()
if [ "${CI:-}" = true ]; then
  # What is built once needs no files for building it again, and the demonstration's build is the tests' as well.
  export CARGO_INCREMENTAL=0
  release=(--release)
fi
cargo fmt --all --check
# Mutations that no longer fit the code would show nothing.
if command -v git >/dev/null; then
  for patch in scripts/mutations/*.patch; do git apply --check "$patch"; done
fi
cargo clippy --workspace --all-targets -q -- -D warnings
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --no-fail-fast "${release[@]}"
else
  cargo test --workspace --all-targets "${release[@]}"
fi
cargo test --workspace --doc -q "${release[@]}"
