#!/usr/bin/env bash
# Checks formatting and lints and runs all tests, with cargo nextest where it is installed. Tests of ranks are
# left to scripts/ranks.sh. GIM_FEATURES names features to build the tests with.
set -euo pipefail
build=()
if [ "${CI:-}" = true ]; then
  # A single build needs no incremental files. The release build serves the demo as well.
  export CARGO_INCREMENTAL=0
  build=(--release)
fi
if [ -n "${GIM_FEATURES:-}" ]; then build+=(--features "$GIM_FEATURES"); fi
cargo fmt --all --check
# A mutation that no longer applies would test nothing.
if command -v git >/dev/null; then
  for patch in scripts/mutations/*.patch; do git apply --check "$patch"; done
fi
if cargo deny --version >/dev/null 2>&1; then cargo deny check licenses bans sources; fi
cargo clippy --workspace --all-targets "${build[@]}" -q -- -D warnings
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --workspace --no-fail-fast "${build[@]}" -E 'not test(ranks::)'
else
  cargo test --workspace --all-targets "${build[@]}" -- --skip ranks::
fi
cargo test --workspace --doc -q "${build[@]}"
# Skipped where Chromium is not installed.
for page in results/*/report.html; do bash scripts/page.sh "$page"; done
