#!/usr/bin/env bash
# How long `millgate serve` takes from its start to its line of addresses, with as many organisations and issuers as wanted, and
# what it holds in memory then.
#
#   bash tests/bench/start.sh [ISSUERS [EXECUTABLE]]
#
# Builds the release profile unless an executable is named.
set -euo pipefail
cd "$(dirname "$0")/../.."
issuers=${1:-10000}
millgate=${2:-}
if [ -z "$millgate" ]; then
    cargo build --workspace --release --bin millgate
    millgate=target/release/millgate
fi
directory=$PWD/target/bench/start
rm -rf "$directory"
mkdir -p "$directory"
cp -r policies/plants/munich/catalog policies/plants/munich/registry "$directory"

{
    for ((i = 0; i < issuers; i++)); do
        printf '[organisation.many-%d]\ntitle = "Supplier %d"\nkind = "supplier"\ncountry = "DE"\n' "$i" "$i"
        printf '[issuer.many-%d-login]\norganisation = "many-%d"\nurl = "https://idp-%d.suppliers.example"\n' "$i" "$i" "$i"
        printf 'audiences = ["https://millgate.norden.example"]\nalgorithms = ["ES256"]\n'
    done
} >"$directory/registry/many.toml"

cat >"$directory/millgate.toml" <<TOML
[listen]
data = "127.0.0.1:0"
api = "127.0.0.1:0"
operator = "127.0.0.1:0"
[folders]
catalog = "catalog"
registry = "registry"
policies = ["$PWD/policies/base"]
schema = "$PWD/policies/schema/plant.cedarschema"
[audit]
directory = "audit"
origin = "bench.example/start"
TOML

for run in 1 2 3 4 5; do
    rm -rf "$directory/audit"
    python3 - "$millgate" "$directory/millgate.toml" "$issuers" "$run" <<'PY'
import os, subprocess, sys, time
millgate, config, issuers, run = sys.argv[1:]
begin = time.monotonic()
child = subprocess.Popen([millgate, "serve", "--config", config, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
ready = child.stdout.readline()
seconds = time.monotonic() - begin
if not ready.startswith(b"{"):
    sys.exit("it did not start; try `serve` by hand")
ticks = os.sysconf("SC_CLK_TCK")
fields = open(f"/proc/{child.pid}/stat").read().rsplit(")", 1)[1].split()
cpu = (int(fields[11]) + int(fields[12])) / ticks
memory = next(int(line.split()[1]) for line in open(f"/proc/{child.pid}/status") if line.startswith("VmRSS"))
child.terminate()
child.wait()
print(f"run {run}: {issuers} issuers, ready after {seconds:.2f} s, {cpu:.2f} s of CPU, {memory // 1024} MiB")
PY
done
