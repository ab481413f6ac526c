#!/usr/bin/env bash
# Applies each patch in scripts/mutations to a copy of the last commit, a bug on purpose. Writes to
# results/mutations.md which tests noticed. "unmutated" is this tree as it is: it must have no changes.
#
#   scripts/mutations.sh [--all] [--check | --only-check | --table] [NAME...]
#
# NAME is a patch without .patch, or "unmutated". The default is all of them.
#
#   (default)     the tests of the crates that the patch touches; where they notice nothing, those of all
#                 libraries, then of the program
#   --all         all tests
#   --check       also the regression check (`gim check quick`), some minutes each: on the embedded
#                 images for names that begin with "images", on both corpora for "unmutated", on
#                 the embedded speech for all others
#   --only-check  the regression check only
#   --table       only rewrites the table
#
# Records in results/mutations name the commit they were made at. They stay until tried again.
# Exit code 1: nothing noticed a mutation, or the unmutated tree failed.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
everything=false
tests=true
check=false
names=()
for argument in "$@"; do
  case $argument in
    --all) everything=true ;;
    --check) check=true ;;
    --only-check) check=true tests=false ;;
    --table) tests=false ;;
    -*) echo "usage: scripts/mutations.sh [--all] [--check | --only-check | --table] [NAME...]" >&2; exit 2 ;;
    *) names+=("$argument") ;;
  esac
done
all=(unmutated)
for patch in scripts/mutations/*.patch; do all+=("$(basename "$patch" .patch)"); done
[ "${#names[@]}" -gt 0 ] || names=("${all[@]}")
for name in "${names[@]}"; do
  [ "$name" = unmutated ] || [ -f "scripts/mutations/$name.patch" ] || { echo "there is no scripts/mutations/$name.patch" >&2; exit 2; }
done

# A target folder of its own: nothing built from a mutated tree may be taken for the real program.
export CARGO_TARGET_DIR=$root/target/mutations CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never
records=$root/results/mutations
mkdir -p "$records" "$CARGO_TARGET_DIR"
commit=$(git rev-parse --short HEAD)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git clone -q --shared "$root" "$scratch/tree"
tree=$scratch/tree

# Runs the tests of packages $2… in the current tree, with output to file $1. Prints the names of
# those that failed.
run_tests() {
  local log=$1 packages=("${@:2}") failed status=0 command=(cargo test) filter=(-- --skip ranks::)
  if cargo nextest --version >/dev/null 2>&1; then command=(cargo nextest run) filter=(-E 'not test(ranks::)'); fi
  # As in CI: the tests run several times as fast as without optimization.
  command+=(--release)
  if ! "${command[@]}" "${packages[@]}" --no-run >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "it does not compile" >&2
    return 2
  fi
  # Tests of ranks are scripts/ranks.sh's.
  "${command[@]}" "${packages[@]}" --no-fail-fast "${filter[@]}" >"$log" 2>&1 || status=$?
  failed=$(sed -nE -e 's/^ *(FAIL|SIG[A-Z]+|ABORT|TIMEOUT) \[[^]]*\] *(\([^)]*\) *)?//p' -e 's/^test (.*) \.\.\. FAILED$/\1/p' "$log" | sort -u)
  if [ "$status" -ne 0 ] && [ -z "$failed" ]; then
    tail -n 30 "$log" >&2
    echo "the tests failed, but none by name" >&2
    return 2
  fi
  echo "$failed"
}

# Explanation of a mutation: the text of its patch before the first difference.
about() { if [ "$1" = unmutated ]; then echo "nothing"; else sed '/^diff /,$d' "scripts/mutations/$1.patch" | tr '\n' ' ' | sed 's/ *$//'; fi; }

# NAME.tests holds the commit, then the tests that failed. NAME.check holds the commit, the exit code,
# then the output of gim check.
line() { sed -n "$2p" "$1" 2>/dev/null || true; }
failed_tests() { sed 1d "$records/$1.tests" 2>/dev/null | grep . || true; }
said() { sed 1,2d "$records/$1.check"; }

tests_cell() {
  [ -f "$records/$1.tests" ] || { echo "not run"; return; }
  # shellcheck disable=SC2016 # backquotes are Markdown
  failed_tests "$1" | sed 's/.*/`&`/' | paste -sd, | sed 's/,/, /g; s/^$/none/'
}

check_cell() {
  [ -f "$records/$1.check" ] || { echo "not run"; return; }
  case $(line "$records/$1.check" 2) in
    0) echo "held" ;;
    1) said "$1" | awk '
      NR == 1 { moved = $0 }
      NR > 2 { size = $NF < 0 ? -$NF : $NF; if (size > most) { most = size; change = $NF; $(NF - 2) = $(NF - 1) = $NF = ""; name = $0 } }
      END { sub(/ *$/, "", name); print moved ", most of all " name ": " change }' ;;
    *) echo "stopped: $(said "$1" | tail -n 1)" ;;
  esac
}

# Called after every step, so that an interrupted run keeps its findings.
write_table() {
  local out=results/mutations.md name at
  {
    echo "# Mutations"
    echo
    echo "Written by \`scripts/mutations.sh\`. Each patch in \`scripts/mutations/\` is a bug on purpose; the table says which tests noticed."
    echo
    echo "- \`gim check\` is the regression check against \`baseline.csv\` of that commit: \`--only vision\` for \`images-…\`, both domains for unmutated, else \`--only audio\`. Its output is below the table."
    echo "- Tests of the crates that a patch touches ran first; those of all libraries, of the program and the examples where they noticed nothing."
    echo
    echo "| mutation | what it breaks | tests that failed | \`gim check\` | tried at (tests, check) |"
    echo "|---|---|---|---|---|"
    for name in "${all[@]}"; do
      tests_at=$(line "$records/$name.tests" 1)
      at="${tests_at:-never}, $(line "$records/$name.check" 1)"
      at=${at%, }
      echo "| $name | $(about "$name") | $(tests_cell "$name") | $(check_cell "$name") | $at |"
    done
    for name in "${all[@]}"; do
      [ -f "$records/$name.check" ] || continue
      # shellcheck disable=SC2016 # backquotes are Markdown
      printf '\n## `gim check`: %s\n\n```\n%s\n```\n' "$name" "$(said "$name")"
    done
  } >"$out"
}

# Resets the copy to HEAD and applies the patch.
damage() {
  git -C "$tree" checkout -q -- .
  git -C "$tree" clean -fdq
  if [ "$1" != unmutated ]; then git -C "$tree" apply "$root/scripts/mutations/$1.patch"; fi
}

for name in "${names[@]}"; do
  $tests || break
  echo "== $name: tests"
  failed=
  stages=(touched libraries workspace)
  if $everything; then stages=(workspace); fi
  if [ "$name" = unmutated ]; then
    [ -z "$(git status --porcelain -- . ':!results/mutations*')" ] || { echo "commit or stash the changes first" >&2; exit 2; }
    # The build of the real program serves.
    failed=$(CARGO_TARGET_DIR=$root/target run_tests "$root/target/unmutated.log" --workspace ${GIM_FEATURES:+--features "$GIM_FEATURES"}) || exit 2
    stages=()
  else
    damage "$name"
  fi
  for stage in "${stages[@]}"; do
    case $stage in
      touched) mapfile -t packages < <(sed -nE 's#^\+\+\+ b/([^/]+)/.*#--package=\1#p' "$root/scripts/mutations/$name.patch" | sort -u) ;;
      libraries) packages=(-p gim-core -p gim-audio -p gim-vision -p gim-eval) ;;
      workspace) packages=(--workspace) ;;
    esac
    failed=$(cd "$tree" && run_tests "$CARGO_TARGET_DIR/$name.log" "${packages[@]}") || { echo "$name: no result" >&2; exit 2; }
    if [ -n "$failed" ]; then break; fi
  done
  printf '%s\n' "$commit" "$failed" >"$records/$name.tests"
  echo "${failed:-all passed}"
  write_table
done
for name in "${names[@]}"; do
  $check || break
  echo "== $name: gim check"
  damage "$name"
  (cd "$tree" && cargo build -q --release -p gim-cli)
  case $name in unmutated) only=() ;; images-*) only=(--only vision) ;; *) only=(--only audio) ;; esac
  status=0
  said=$(cd "$tree" && "$CARGO_TARGET_DIR/release/gim" --quiet check quick "${only[@]}" 2>&1) || status=$?
  # A check that was stopped (Ctrl-C, kill) has noticed nothing.
  case $status in 130 | 137 | 143) echo "$name: gim check was stopped" >&2; exit 2 ;; esac
  printf '%s\n' "$commit" "$status" "$said" >"$records/$name.check"
  echo "$said"
  write_table
done

write_table
bad=0
for name in "${names[@]}"; do
  caught=false
  [ -z "$(failed_tests "$name")" ] || caught=true
  case $(line "$records/$name.check" 2) in "" | 0) ;; *) caught=true ;; esac
  if [ "$name" = unmutated ]; then
    if $caught; then echo "the unmutated tree fails" >&2; bad=1; fi
  elif ! $caught; then
    echo "$name is caught by nothing" >&2
    bad=1
  fi
done
exit "$bad"
