#!/usr/bin/env bash
# Seconds, GFLOP/s and peak memory of a training step at the paper's size and at the small preset's.
# With TORCH_PYTHON=/path/to/python and TORCH_BENCH=/path/to/bench_torch.py, PyTorch takes the same steps in the same session.
set -euo pipefail
gim=./target/release/gim
for preset in audio-paper audio-small; do
  echo "== gim, $preset (batch 8, 20,480 samples)"
  "$gim" estimate "$preset" --steps 7
done
for preset in vision-paper vision-small; do
  echo "== gim, $preset (batch 16, 64 × 64 pixels)"
  "$gim" estimate "$preset" --set train.batch=16 --steps 3
done
if [ -n "${TORCH_PYTHON:-}" ] && [ -n "${TORCH_BENCH:-}" ]; then
  for options in "--channels-last --compile" "--channels-last --compile --scale 0.25"; do
    echo "== PyTorch, vision $options"
    # shellcheck disable=SC2086 # options are words
    "$TORCH_PYTHON" "$TORCH_BENCH" vision $options --steps 3
  done
  for options in "--compile" "--compile --scale 0.25" "--negatives permute"; do
    echo "== PyTorch, audio $options"
    # shellcheck disable=SC2086 # options are words
    "$TORCH_PYTHON" "$TORCH_BENCH" audio $options --steps 5
  done
else
  echo "PyTorch was not timed: set TORCH_PYTHON and TORCH_BENCH to compare."
fi
