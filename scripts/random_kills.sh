#!/usr/bin/env bash
# Kills training runs at random moments, one schedule after the other, and resumes them until they are
# done. Each folder must then equal that of an undisturbed run, file by file, but for what measures time and
# environment.json. Ranks take part where the program has the feature `mpi`.
#
#   scripts/random_kills.sh [path/to/gim] [kills of each schedule] [seed of the moments]
set -euo pipefail
cd "$(dirname "$0")/.."
gim=$(realpath "${1:-target/release/gim}")
wanted=${2:-20}
RANDOM=${3:-1}
scratch=$(mktemp -d)
# What was started here and still runs: the group of the last run.
group=
trap '[ -z "$group" ] || kill -KILL -- "-$group" 2>/dev/null || true; rm -rf "$scratch"' EXIT
cd "$scratch"
audio=(audio-quick --set network.width=8 --set network.context=8 --set train.batch=2 --set data.crop=5120)
vision=(vision-quick --set "network.widths=[4,8,8]" --set train.batch=4)
steps=(--set train.log_every=2 --set train.checkpoint_every=4 --set train.steps=60)

# contents FOLDER: digests of all files of a run, without times.
contents() {
  (cd "$1" && find . -type f ! -name environment.json ! -name timeline.csv ! -name schedule.csv | sort | while IFS= read -r file; do
    case $file in
      ./train.csv) echo "$file $(cut -d, -f1-5 "$file" | sha256sum)" ;;
      ./record.csv) echo "$file" ;;
      *) echo "$file $(sha256sum <"$file")" ;;
    esac
  done)
}

# kills NAME LAUNCHER… -- SETTINGS…: kills and resumes a run until it was killed often enough, in as many runs as that takes.
kills() {
  local name=$1 launch=() settings command ranks kills=0 runs=0 whole began took killed status
  shift
  while [ "$1" != -- ]; do launch+=("$1"); shift; done
  shift
  settings=("$@")
  rm -rf whole
  began=$(date +%s%N)
  if ! "${launch[@]}" "$gim" --quiet --threads 2 train "${settings[@]}" "${steps[@]}" --out whole >said 2>&1; then
    cat said >&2
    exit 2
  fi
  took=$((($(date +%s%N) - began) / 1000))
  whole=$(contents whole)
  while [ "$kills" -lt "$wanted" ]; do
    rm -rf run
    runs=$((runs + 1))
    while :; do
      if [ -f run/config.toml ]; then command=(--resume run); else command=("${settings[@]}" "${steps[@]}" --out run); fi
      setsid "${launch[@]}" "$gim" --quiet --threads 2 train "${command[@]}" >/dev/null 2>&1 &
      group=$!
      # Beyond the time of a whole run, so that some kills come between the last files.
      sleep "$(awk -v us="$took" -v r="$RANDOM" 'BEGIN { printf "%.4f", us * 1.1 * r / 32768 / 1e6 }')"
      killed=false
      if [ "${#launch[@]}" = 0 ]; then
        if kill -KILL -- "-$group" 2>/dev/null; then killed=true; fi
      else
        # One of the ranks; mpirun then ends the others.
        mapfile -t ranks < <(pgrep -P "$group" || true)
        if [ "${#ranks[@]}" -gt 0 ] && kill -KILL "${ranks[RANDOM % ${#ranks[@]}]}" 2>/dev/null; then killed=true; fi
      fi
      status=0
      wait "$group" 2>/dev/null || status=$?
      group=
      if $killed; then kills=$((kills + 1)); fi
      # A kill may come after the last file.
      [ "$status" != 0 ] || break
      $killed || { echo "$name: ended with $status after $kills kills, not killed" >&2; exit 1; }
    done
    diff <(echo "$whole") <(contents run) || { echo "$name: the folder differs after $kills kills" >&2; exit 1; }
  done
  echo "$name: $kills kills in $runs runs, all folders equal"
}

kills "simultaneous, speech" -- "${audio[@]}"
kills "simultaneous, images" -- "${vision[@]}"
kills "iterative, speech" -- "${audio[@]}" --set train.schedule=iterative
kills "iterative from records, speech" -- "${audio[@]}" --set train.schedule=iterative --set train.record=true
kills "pipelined, speech" -- "${audio[@]}" --set train.schedule=pipelined
kills "pipelined, images" -- "${vision[@]}" --set train.schedule=pipelined
if command -v mpirun >/dev/null; then
  mpi=(mpirun --oversubscribe --bind-to none -n 2)
  [ "$(id -u)" != 0 ] || mpi+=(--allow-run-as-root)
  # A program without the feature trains the same run twice on 2 ranks: it says so and ends.
  if "${mpi[@]}" "$gim" --quiet train "${audio[@]}" --set train.steps=1 --set train.schedule=pipelined --out probe >/dev/null 2>&1; then
    kills "two ranks, speech" "${mpi[@]}" -- "${audio[@]}" --set train.schedule=pipelined
  else
    echo "ranks: left out, the program lacks the feature mpi"
  fi
fi
