#!/usr/bin/env bash
# Kills a training run at every system call that changes a file, one after the other, and resumes it.
# The folder must then equal that of an undisturbed run, file by file, but for times and
# environment.json. Needs strace.
#
#   scripts/kills.sh [path/to/gim] [most kills of a system call]
set -euo pipefail
cd "$(dirname "$0")/.."
gim=$(realpath "${1:-target/release/gim}")
most=${2:-500}
command -v strace >/dev/null || { echo "strace is not installed" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
settings=(network.width=8 network.context=8 train.batch=2 data.crop=5120 train.log_every=2 train.checkpoint_every=2
  train.steps=10)
train=("$gim" --quiet --threads 1 train audio-quick)
for setting in "${settings[@]}"; do train+=(--set "$setting"); done
# Digests of all files of a run, without times.
contents() {
  (cd "$1" && find . -type f ! -name environment.json | sort | while IFS= read -r file; do
    case $file in
      ./train.csv) echo "$file $(cut -d, -f1-5 "$file" | sha256sum)" ;;
      *) echo "$file $(sha256sum <"$file")" ;;
    esac
  done)
}
"${train[@]}" --out whole >/dev/null
whole=$(contents whole)
kills=0
for call in mkdir rename unlink unlinkat rmdir fsync write openat; do
  for when in $(seq "$most"); do
    rm -rf run
    # The program ends by a signal, or the system call does not come that often.
    status=0
    # The shell says on standard error that it was killed.
    { strace -f -qq -o /dev/null -e "trace=$call" -e "inject=$call:signal=KILL:when=$when" \
      "${train[@]}" --out run || status=$?; } >/dev/null 2>&1
    [ "$status" != 0 ] || break
    [ "$status" = 137 ] || { echo "strace ended with $status at $call number $when" >&2; exit 2; }
    kills=$((kills + 1))
    if [ -f run/config.toml ]; then
      "$gim" --quiet --threads 1 train --resume run >/dev/null
    else
      "${train[@]}" --out run >/dev/null
    fi
    if ! diff <(echo "$whole") <(contents run); then
      echo "killed at $call number $when: the folder differs" >&2
      exit 1
    fi
  done
done
[ "$kills" -gt 0 ] || { echo "nothing was killed" >&2; exit 1; }
echo "$kills kills, all folders equal"
