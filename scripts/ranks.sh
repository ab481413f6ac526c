#!/usr/bin/env bash
# Tests the feature `mpi`: installs Open MPI where it is missing, and trains on 2 and 3 ranks, kills, stops and signals
# them, and resumes on other numbers of ranks.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/system.sh --mpi
# The whole workspace, as in scripts/test.sh: of that build, all but gim-cli serves again.
cargo clippy --workspace --features gim-cli/mpi --all-targets --release -q -- -D warnings
if cargo nextest --version >/dev/null 2>&1; then
  # Ranks poll: tests of several at a time would take the cores from each other.
  cargo nextest run --workspace --features gim-cli/mpi --release -j 1 ranks::
else
  cargo test --workspace --features gim-cli/mpi --release ranks:: -- --test-threads 1
fi
