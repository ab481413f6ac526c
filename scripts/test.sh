#!/usr/bin/env bash
# Formatting, lints and all tests; cargo nextest where it is installed.
set -euo pipefail
cargo fmt --all --check
cargo clippy --workspace --all-targets -q -- -D warnings
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --no-fail-fast
else
  cargo test --workspace --all-targets
fi
cargo test --workspace --doc -q
