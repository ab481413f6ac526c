#!/usr/bin/env bash
# Trains every configuration of scripts/fingerprints.txt for three steps. Prints digests of the losses
# and of the final weights as CSV. A change that only moves code keeps every line: run it before and
# after, on the same processor, and compare.
#
#   scripts/fingerprint.sh [path/to/gim] >before.csv
set -euo pipefail
cd "$(dirname "$0")/.."
gim=${1:-target/release/gim}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The tensors of a checkpoint, without its header: names and metadata may change, values may not.
tensors() {
  local header
  header=$(od -An -N8 -t u8 "$1" | tr -d ' ')
  tail -c "+$((header + 9))" "$1"
}
echo "configuration,losses,weights"
while IFS= read -r line; do
  case $line in '' | '#'*) continue ;; esac
  read -r name preset settings <<<"$line"
  set=(--set data.path=embedded --set train.steps=3 --set train.log_every=1 --set train.checkpoint_every=1)
  for setting in $settings; do set+=(--set "$setting"); done
  "$gim" --quiet train "$preset" --out "$scratch/$name" "${set[@]}" >/dev/null
  losses=$(cut -d, -f1,3,4,5 "$scratch/$name/train.csv" | tail -n +2 | sha256sum | cut -c1-16)
  newest=$(find "$scratch/$name/checkpoints" -mindepth 1 -maxdepth 1 | sort | tail -n 1)
  weights=$(for file in "$newest"/*.safetensors; do tensors "$file"; done | sha256sum | cut -c1-16)
  echo "$name,$losses,$weights"
done <scripts/fingerprints.txt
