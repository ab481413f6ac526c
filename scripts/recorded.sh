#!/usr/bin/env bash
# Trains a configuration iteratively without a record and with records of several kinds. Prints time,
# peak memory and disk of each as CSV, and the last loss of the last module.
#
#   scripts/recorded.sh [preset] [setting …] >recorded.csv
set -euo pipefail
cd "$(dirname "$0")/.."
gim=${GIM:-target/release/gim}
preset=${1:-audio-quick}
shift || true
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
common=(--set data.path=embedded --set train.schedule=iterative)
for setting in "$@"; do common+=(--set "$setting"); done
# name, settings of the record
train() {
  local name=$1 folder=$scratch/$1 record=0
  shift
  local more=()
  for setting in "$@"; do more+=(--set "$setting"); done
  "$gim" --quiet train "$preset" --out "$folder" "${common[@]}" "${more[@]}" >/dev/null
  local seconds loss peak
  seconds=$(tail -n 1 "$folder/train.csv" | cut -d, -f6)
  loss=$(tail -n 1 "$folder/train.csv" | cut -d, -f4)
  peak=$(grep -o '"peak_resident_bytes": *[0-9]*' "$folder/environment.json" | grep -o '[0-9]*$')
  if [ -f "$folder/record.csv" ]; then
    record=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "megabytes") c = i; next }
                      $c > most { most = $c } END { printf "%.1f", most }' "$folder/record.csv")
  fi
  echo "$name,$seconds,$((peak / 1000000)),$record,$loss"
}
echo "record,seconds,peak_mb,record_mb,loss"
train none
train float32 train.record=true
train float32-zstd train.record=true train.record_zstd=1
train float16 train.record=true train.record_type=float16
train bfloat16 train.record=true train.record_type=bfloat16
train one-epoch train.record=true train.record_epochs=1
