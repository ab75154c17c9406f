#!/usr/bin/env bash
# What callers notice while large policy sets are replaced: see README.md.
#
#   bash tests/bench/reload.sh [--times 100] [--policies 10000] [--rate 2000] [--millgate NAME=EXECUTABLE]
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/bench
times=100 policies=10000 rate=2000 connections=64 millgates=() profile=dist
while [ $# -gt 0 ]; do
    case $1 in
    --times) times=$2 ;;
    --policies) policies=$2 ;;
    --rate) rate=$2 ;;
    --millgate) millgates+=("$2") ;;
    *) echo "unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
export BENCH_POLICIES=$policies BENCH_HERE=$here BENCH_PAUSE_MS=$((connections * 1000 / rate))
# shellcheck source=servers.sh
source "$here/servers.sh"
name=${millgates[0]%%=*}

steady() { # SECONDS : requests at the rate
    BENCH_TOKENS=$plant/tokens exec wrk -t2 "-c$connections" "-d$1s" --latency -s "$here/slow.lua" \
        "http://127.0.0.1:${port[$name]}$path"
}
said() { # WHAT TEXT
    awk -v what="$1" '
        $1 == "50%" { p50 = $2 } $1 == "99%" { p99 = $2 } $1 == "Latency" && $2 != "Distribution" { max = $4 }
        /^Requests\/sec/ { rps = $2 } / requests in / { all = $1 }
        /Non-2xx/ { errors += $NF } /Socket errors/ { gsub(",", ""); errors += $4 + $6 + $8 + $10 }
        END { printf "%-24s %8d requests, %d failed, %.0f/s, p50 %s, p99 %s, longest %s\n", what, all, errors, rps, p50, p99, max }' <<<"$2"
}
taken() { # how many generations have been taken over
    curl -s "http://127.0.0.1:19445/metrics" | awk '/^millgate_reloads_total.*generation.*taken/ { n = $NF } END { print n + 0 }'
}
replace() { # N : a set that says its number in every decision
    cat >"$plant/policies/base/.marker" <<CEDAR
@id("marker-$1") permit (principal in Plant::Organisation::"acme", action == Plant::Action::"read", resource)
when { context has agreement && context.agreement.consumer == principal.organisation };
CEDAR
    mv "$plant/policies/base/.marker" "$plant/policies/base/marker.cedar"
}

echo "$policies policies, $(nproc) cores"
(steady 3) >/dev/null
said "nothing replaced" "$(steady 30)"
before=$(taken)
steady 36000 >"$out/steady.log" &
load_pid=$!
begun=$(date +%s%N)
for n in $(seq "$times"); do
    replace "$n"
    for _ in $(seq 1200); do
        [ "$(taken)" -ge $((before + n)) ] && break
        sleep 0.05
    done
    [ "$(taken)" -ge $((before + n)) ] || { echo "set $n was not taken over" >&2; tail -5 "$out/$name.log" >&2; exit 1; }
done
ended=$(date +%s%N)
kill -INT "$load_pid"
wait "$load_pid" || true
said "$times sets replaced" "$(cat "$out/steady.log")"
echo "a set is in use $(((ended - begun) / 1000000 / times)) ms after it was written (up to 500 of them until it was looked at)"
kill "${pid[$name]}"
wait "${pid[$name]}" || true
echo "every decision, made again by the set that it names:"
"${millgates[0]#*=}" policy replay --config "$plant/millgate-0.toml" --offline "$plant/audit-0" --since 1d
