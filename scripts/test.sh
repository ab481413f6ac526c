#!/usr/bin/env bash
# Formatting, lints and all tests; cargo nextest where it is installed.
set -euo pipefail
# What is built once needs no files for building it again.
if [ "${CI:-}" = true ]; then export CARGO_INCREMENTAL=0; fi
cargo fmt --all --check
cargo clippy --workspace --all-targets -q -- -D warnings
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --no-fail-fast
else
  cargo test --workspace --all-targets
fi
cargo test --workspace --doc -q
