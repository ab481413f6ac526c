#!/usr/bin/env bash
# The whole benchmark, into results/bench/<date>-<processor>: about 15 minutes on two quiet cores.
# PyTorch takes part with TORCH_PYTHON=/path/to/python and TORCH_BENCH=/path/to/bench_torch.py, scikit-learn with SKLEARN_PYTHON.
# Arguments go to `gim bench`, e.g. --only step.
set -euo pipefail
exec ./target/release/gim bench "$@"
