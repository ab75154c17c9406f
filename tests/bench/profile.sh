#!/usr/bin/env bash
# Where the CPU time of a governed request goes, step by step: see README.md.
#
#   bash tests/bench/profile.sh [--seconds 5] [--connections 64] [--millgate NAME=EXECUTABLE]
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/bench
seconds=5 connections=64 millgates=() profile=release
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2 ;;
    --connections) connections=$2 ;;
    --millgate) millgates=("$2") ;;
    *) echo "unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
command -v perf >/dev/null || { echo "install perf first: apt-get install linux-perf" >&2; exit 2; }
# shellcheck source=servers.sh
source "$here/servers.sh"

load 19443 $((seconds + 2)) >"$out/wrk.txt" &
sleep 1
perf record -q -F 199 --call-graph dwarf,32768 -p "${pid[${!port[*]}]}" -o "$out/perf.data" -- sleep "$seconds" 2>/dev/null
wait $!
perf script -i "$out/perf.data" --no-inline -F comm,ip,sym 2>/dev/null | python3 "$here/profile.py"
