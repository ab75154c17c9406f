# shellcheck shell=bash
# The servers of a measurement, started and stopped together. Sourced: `$here` is this folder, the current folder the
# repository's, `millgates` what to measure: NAME=EXECUTABLE each, or nothing for a build of `profile`. Leaves `$out`, `$plant`,
# `pid[NAME]`, `port[NAME]` of each Millgate, and `load`.

out=$PWD/target/bench
plant=$out/plant
for tool in nginx haproxy wrk node curl; do
    command -v "$tool" >/dev/null || { echo "install $tool first: apt-get install nginx haproxy wrk curl" >&2; exit 2; }
done
mkdir -p "$out"

if [ ${#millgates[@]} -eq 0 ]; then
    cargo build --locked --workspace --profile "$profile" --bin millgate
    millgates=("millgate=$PWD/target/$profile/millgate")
fi
node "$here/plant.mjs" "$plant" ${#millgates[@]} >/dev/null

declare -A pid port
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
        curl -sf -o /dev/null "$2" && return
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
start haproxy haproxy -db -f "$plant/haproxy.cfg"
for n in "${!millgates[@]}"; do
    name=${millgates[$n]%%=*}
    port[$name]=$((19443 + 10 * n))
    start "$name" "${millgates[$n]#*=}" serve --config "$plant/millgate-$n.toml"
    wait_for "$name" "http://127.0.0.1:$((19445 + 10 * n))/readyz"
done
wait_for plain http://127.0.0.1:19401/
wait_for checked http://127.0.0.1:19402/

path='/parts/acme?limit=100'
load() { # PORT SECONDS
    BENCH_TOKENS=$plant/tokens wrk -t2 "-c$connections" "-d$2s" --latency -s "$here/rotate.lua" "http://127.0.0.1:$1$path"
}

# An error is answered faster than anything: look at one answer of each before measuring many.
token=$(head -1 "$plant/tokens")
answers() { # NAME PORT
    local answer
    answer=$(curl -s -w '\n%{http_code} %{size_download}' -H "Authorization: Bearer $token" \
        -H 'Millgate-Purpose: quality-analysis' "http://127.0.0.1:$2$path")
    [ "${answer##*$'\n'}" = "200 ${BENCH_BODY_BYTES:-1024}" ] && return
    # Of rows with fields of eight classes, some stay behind.
    [ "${BENCH_ROWS:-0}" -gt 0 ] && [ "$1" != haproxy ] && [[ "${answer##*$'\n'}" == "200 "* ]] && return
    printf '%s does not answer as it should:\n%s\n' "$1" "$answer" >&2
    tail -5 "$out/$1.log" >&2
    exit 1
}
answers haproxy 19404
for name in "${!port[@]}"; do answers "$name" "${port[$name]}"; done
