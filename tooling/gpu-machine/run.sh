#!/usr/bin/env bash
# Prints the table of docs/benchmarks.md on this machine. Options go to gpu-table.mjs (see --help there).
set -euo pipefail
out=${GPU_BENCH_OUT:-$PWD}
here=$(cd "$(dirname "$0")" && pwd)
set +u
. "$here/setup.sh"
set -u
exec node gpu-table.mjs --out "$out/gpu-table.json" "$@"
