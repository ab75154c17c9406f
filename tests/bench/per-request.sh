#!/usr/bin/env bash
# CPU microseconds per request of whole processes, side by side: see README.md.
#
#   bash tests/bench/per-request.sh [--rounds 7] [--seconds 4] [--connections 64]
#
# MILLGATE names another executable than the release build.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/tests/bench
out=$PWD/target/bench
plant=$out/plant
rounds=7 seconds=4 connections=64
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --connections) connections=$2 ;;
    *) echo "unknown option $1" >&2 && exit 2 ;;
    esac
    shift 2
done
for tool in nginx wrk node curl; do
    command -v "$tool" >/dev/null || { echo "install $tool first: apt-get install nginx wrk curl" >&2; exit 2; }
done
mkdir -p "$out"

if [ -z "${MILLGATE:-}" ]; then
    cargo build --locked --workspace --release --bin millgate
    MILLGATE=$PWD/target/release/millgate
fi
node "$here/plant.mjs" "$plant" >/dev/null

declare -A pid
started=()
start() { # NAME COMMAND...
    "${@:2}" >"$out/$1.log" 2>&1 &
    pid[$1]=$!
    started+=("$!")
}
stop() {
    for p in "${started[@]}"; do kill "$p" 2>/dev/null || true; done
    wait 2>/dev/null || true
}
trap stop EXIT
wait_for() { # NAME URL : until something answers there
    for _ in $(seq 200); do
        curl -s -o /dev/null "$2" && return
        kill -0 "${pid[$1]}" 2>/dev/null || { echo "$1 ended:" >&2; tail -20 "$out/$1.log" >&2; exit 1; }
        sleep 0.05
    done
    echo "$1 does not answer at $2" >&2
    exit 1
}
for name in upstream plain checked check; do
    start "$name" nginx -p "$plant/nginx/" -c "$name.conf"
done
wait_for upstream http://127.0.0.1:19310/
wait_for upstream http://127.0.0.1:19320/acme/jwks
start millgate "$MILLGATE" serve --config "$plant/millgate.toml"
wait_for millgate http://127.0.0.1:19445/readyz
wait_for plain http://127.0.0.1:19401/
wait_for checked http://127.0.0.1:19402/

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

path='/parts/acme?limit=100'
load() { # PORT SECONDS
    BENCH_TOKENS=$plant/tokens wrk -t2 "-c$connections" "-d$2s" --latency -s "$here/rotate.lua" "http://127.0.0.1:$1$path"
}

# target, port, whose time counts
targets=("source:19310:upstream" "nginx:19401:plain" "nginx+auth_request:19402:checked check" "millgate:19443:millgate")

measure() { # TARGET : one line "TARGET µs rps p50 p99 errors"
    local name port whose before after text requests
    IFS=: read -r name port whose <<<"$1"
    # shellcheck disable=SC2086 # several names
    before=$(ticks $whose)
    text=$(load "$port" "$seconds")
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

token=$(head -1 "$plant/tokens")
answer=$(curl -s -w '\n%{http_code} %{size_download}' -H "Authorization: Bearer $token" -H 'Millgate-Purpose: quality-analysis' "http://127.0.0.1:19443$path")
if [ "${answer##*$'\n'}" != "200 1024" ]; then
    printf 'millgate does not answer as it should:\n%s\n' "$answer" >&2
    tail -5 "$out/millgate.log" >&2
    exit 1
fi
for target in "${targets[@]}"; do
    IFS=: read -r _ port _ <<<"$target"
    load "$port" 1 >/dev/null
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
