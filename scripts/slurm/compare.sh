#!/usr/bin/env bash
# Makes the runs of a comparison on a Slurm cluster, each a job of its own, in one shared folder.
#
#   last=$(($(gim reproduce COMPARISON --list | wc -l) - 1))
#   sbatch --array=0-$last scripts/slurm/compare.sh COMPARISON DIR [options of gim reproduce]
#   gim reproduce COMPARISON --out DIR          # afterwards: what is missing, then tables and page
#
# GIM names the program. A job that is stopped saves, is queued again, and goes on.
#SBATCH --job-name=gim
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@180
#SBATCH --requeue
set -euo pipefail
comparison=$1; folder=$2; shift 2
exec "${GIM:-gim}" --threads "${SLURM_CPUS_PER_TASK:-1}" reproduce "$comparison" --out "$folder" \
  --index "$SLURM_ARRAY_TASK_ID" "$@"
