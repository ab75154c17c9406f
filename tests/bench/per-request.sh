#!/usr/bin/env bash
# CPU microseconds per request of whole processes, side by side: see README.md.
#
#   bash tests/bench/per-request.sh [--rounds 7] [--seconds 4] [--connections 64] [--millgate NAME=EXECUTABLE]...
#
# Without `--millgate` what an image would hold is built and measured; with several, each is a row of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/bench
rounds=7 seconds=4 connections=64 millgates=() profile=dist
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --connections) connections=$2 ;;
    --millgate) millgates+=("$2") ;;
    *) echo "unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
# shellcheck source=servers.sh
source "$here/servers.sh"

# ticks NAME... : clock ticks (1/100 s) of user and system time that the processes and their children have spent
ticks() {
    local sum=0 name p stat
    for name in "$@"; do
        for p in "${pid[$name]}" $(pgrep -P "${pid[$name]}" || true); do
            stat=$(<"/proc/$p/stat")
            read -ra fields <<<"${stat##*) }"
            sum=$((sum + fields[11] + fields[12]))
        done
    done
    echo "$sum"
}

# target, port, whose time counts
targets=("source:19310:upstream" "nginx:19401:plain" "nginx+auth_request:19402:checked check" "haproxy+jwt:19404:haproxy")
for one in "${millgates[@]}"; do targets+=("${one%%=*}:${port[${one%%=*}]}:${one%%=*}"); done

measure() { # TARGET : one line "TARGET µs rps p50 p99 errors"
    local name at whose before after text requests
    IFS=: read -r name at whose <<<"$1"
    # shellcheck disable=SC2086 # several names
    before=$(ticks $whose)
    text=$(load "$at" "$seconds")
    # shellcheck disable=SC2086
    after=$(ticks $whose)
    requests=$(awk '/ requests in /{print $1}' <<<"$text")
    awk -v name="$name" -v spent=$((after - before)) -v requests="$requests" '
        $1 == "50%" { p50 = $2 } $1 == "99%" { p99 = $2 }
        /^Requests\/sec/ { rps = $2 }
        /Non-2xx/ { errors += $NF }
        /Socket errors/ { gsub(",", ""); errors += $4 + $6 + $8 + $10 }
        END { printf "%s %.1f %.0f %s %s %d\n", name, spent * 10000 / requests, rps, p50, p99, errors }' <<<"$text"
}

for target in "${targets[@]}"; do
    IFS=: read -r _ at _ <<<"$target"
    load "$at" 1 >/dev/null
done

results=$out/per-request.txt
: >"$results"
for round in $(seq "$rounds"); do
    for target in "${targets[@]}"; do
        measure "$target" | tee -a "$results" | sed "s/^/round $round: /" >&2
    done
done

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
printf '\n%s connections, %s s x %s rounds, %s, load average %s\n' "$connections" "$seconds" "$rounds" \
    "$(git rev-parse --short HEAD)" "$(cut -d' ' -f1 /proc/loadavg)"
printf '%-20s %28s %10s %10s %8s\n' target 'CPU us/request (min-max)' 'requests/s' 'RSS MiB' errors
for target in "${targets[@]}"; do
    IFS=: read -r name _ whose <<<"$target"
    column() { awk -v n="$name" -v c="$1" '$1 == n { print $c }' "$results"; }
    rss=0
    for part in $whose; do
        for p in "${pid[$part]}" $(pgrep -P "${pid[$part]}" || true); do
            rss=$((rss + $(awk '/^VmRSS/ { print $2 }' "/proc/$p/status")))
        done
    done
    printf '%-20s %10s %17s %10s %10s %8s\n' "$name" "$(column 2 | median)" \
        "($(column 2 | sort -n | head -1)-$(column 2 | sort -n | tail -1))" "$(column 3 | median)" $((rss / 1024)) \
        "$(column 6 | awk '{ s += $1 } END { print s }')"
done
if awk '$6 > 0 { bad = 1 } END { exit !bad }' "$results"; then
    echo "there were errors: these figures compare nothing" >&2
    exit 1
fi
