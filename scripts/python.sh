#!/usr/bin/env bash
# Makes a Python environment with parity/requirements.txt in target/python, and prints its interpreter:
#
#   GIM_PYTHON=$(scripts/python.sh) make test
#
# Prints nothing where that is not possible; the tests that want Python are then skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/target/python/bin/python
mkdir -p target
if ! { [ -x "$python" ] || python3 -m venv target/python; } >target/python.log 2>&1 ||
  ! "$python" -m pip install -q -r parity/requirements.txt >>target/python.log 2>&1; then
  echo "tests of Python are left out: target/python.log says why" >&2
  exit 0
fi
echo "$python"
