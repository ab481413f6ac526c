#!/usr/bin/env bash
# Runs the whole benchmark into results/bench/<date>-<processor>: about 15 minutes on two quiet
# cores. docs/performance.md explains it.
#
#   TORCH_PYTHON, TORCH_BENCH   a Python with PyTorch, and a script that takes the same steps
#   SKLEARN_PYTHON              a Python with scikit-learn
#
# Arguments go to `gim bench`, e.g. --only step.
set -euo pipefail
exec ./target/release/gim bench "$@"
