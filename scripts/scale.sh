#!/usr/bin/env bash
# Measures what a corpus of some size costs: start-up with nothing known of it and again, steps at the paper's
# settings, then a narrow network that is trained for a few steps, extracted and probed by both protocols within
# a budget of memory. Prints seconds, peak memory and disk as CSV.
#
#   scripts/scale.sh audio|vision FOLDER [setting …] >scale.csv
#
# Settings are those of the narrow network and its data, e.g. data.train_split=FILE.
set -euo pipefail
cd "$(dirname "$0")/.."
gim=$(realpath "${GIM:-target/release/gim}")
kind=$1 folder=$(realpath "$2")
shift 2
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/gim-scale.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME=$scratch/cache
megabytes=${MEGABYTES:-512}
case $kind in
  audio) task=phones last=6 narrow=(network.width=64 network.context=32) ;;
  vision) task=classes last=3 narrow=('network.widths=[16,32,64]') ;;
  *) echo "$kind is neither audio nor vision" >&2; exit 2 ;;
esac
set_all() { for setting in "$@"; do printf -- '--set\n%s\n' "$setting"; done; }
# what, command
row() {
  local what=$1
  shift
  /usr/bin/time -o "$scratch/time" -f '%e,%M' "$@" >/dev/null
  local disk
  disk=$(du -sm "$scratch" | cut -f1)
  echo "$what,$(awk -F, -v disk="$disk" '{ printf "%.1f,%d,%d", $1, $2 / 1000, disk }' "$scratch/time")"
}
mapfile -t own < <(set_all "data.path=$folder" "$@")
mapfile -t small < <(set_all "${narrow[@]}" train.steps=20 train.epochs=0 train.checkpoint_every=20)
mapfile -t full < <(set_all train.steps=10 train.epochs=0 train.checkpoint_every=10)
run=$scratch/run
echo "what,seconds,peak_mb,disk_mb"
row "first start, 10 steps at the paper's settings" "$gim" -q train "$kind-paper" "${own[@]}" "${full[@]}" --out "$scratch/first"
row "second start, 10 steps at the paper's settings" "$gim" -q train "$kind-paper" "${own[@]}" "${full[@]}" --out "$scratch/second"
row "start and 20 steps of the narrow network" "$gim" -q train "$kind-paper" "${own[@]}" "${small[@]}" --out "$run"
row "features of the last module, its random twin and the input" "$gim" -q extract "$run" --module "$last"
for protocol in converged paper; do
  views=()
  if [ "$kind $protocol" = "vision paper" ]; then views=(--views 1); fi
  row "probe for $task, $protocol" "$gim" -q probe "$run" --task "$task" --module "$last" --protocol "$protocol" \
    --memory-mb "$megabytes" "${views[@]}"
done
