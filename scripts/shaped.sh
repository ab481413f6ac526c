#!/usr/bin/env bash
# Makes a corpus of LibriSpeech's shape (100 hours, 28,539 FLAC files, about 8 GB) or of STL-10's (113,000
# images, 3 GB), or a share of it. Sound needs `flac` (Debian: apt-get install flac).
#
#   scripts/shaped.sh speech|images FOLDER [share]
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1 folder=$(realpath -m "$2") share=${3:-1}
if [ "$kind" = speech ] && ! command -v flac >/dev/null; then
  echo "flac is not installed (Debian: apt-get install flac)" >&2
  exit 1
fi
cargo run --release -q -p gim-examples --example shaped_corpus -- "$kind" "$folder" "$share"
if [ "$kind" = speech ]; then
  find "$folder" -name '*.wav' -print0 | xargs -0 -n 64 -P "$(nproc)" flac --silent --fast --delete-input-file
fi
du -sh "$folder"
