#!/usr/bin/env bash
# Full TLS handshakes with a client certificate per CPU-second, beside nginx with the same certificates. See README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-4}
millgate=${MILLGATE:-$PWD/target/release/millgate}
out=$PWD/target/bench/handshakes
for tool in nginx openssl curl; do
    command -v "$tool" >/dev/null || { echo "install $tool first: apt-get install nginx openssl curl" >&2; exit 2; }
done
[ -x "$millgate" ] || cargo build --locked --workspace --release --bin millgate
rm -rf "$out"
mkdir -p "$out/nginx"
cp -r policies "$out/policies"

# --- certificates: an authority, a server, a client; with and without an intermediate makes no difference to who wins
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }
cd "$out"
key ca.key
openssl req -x509 -new -key ca.key -days 30 -subj "/CN=ACME Machines" -addext keyUsage=critical,keyCertSign,cRLSign \
    -out ca.pem 2>/dev/null
sign() { # NAME EXTENSIONS
    key "$1.key"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile <(printf '%b' "$2") \
        -out "$1.pem" 2>/dev/null
}
sign server 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n'
sign client 'subjectAltName=DNS:press-3.machines.acme.example\nextendedKeyUsage=clientAuth\n'

# --- the two servers
cat >nginx.conf <<EOF
daemon off;
master_process off;
pid $out/nginx/pid;
error_log $out/nginx/error.log;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $out/nginx; proxy_temp_path $out/nginx; fastcgi_temp_path $out/nginx;
    uwsgi_temp_path $out/nginx; scgi_temp_path $out/nginx;
    server {
        listen 127.0.0.1:19601 ssl;
        ssl_certificate $out/server.pem;
        ssl_certificate_key $out/server.key;
        ssl_client_certificate $out/ca.pem;
        ssl_verify_client optional;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / { return 204; }
    }
}
EOF
cat >>policies/plants/munich/registry/machines.toml <<EOF
[authority.acme-machines]
organisation = "acme"
ca_file = "$out/ca.pem"
dns = ["machines.acme.example"]
EOF
cat >millgate.toml <<EOF
listen = { data = "127.0.0.1:19602", api = "127.0.0.1:19603", operator = "127.0.0.1:19604" }
tls = { certificate = "server.pem", key = "server.key" }
folders = { catalog = "policies/plants/munich/catalog", registry = "policies/plants/munich/registry", policies = "policies/base", schema = "policies/schema/plant.cedarschema" }
audit = { directory = "audit", origin = "munich.example/handshakes" }
telemetry = { level = "warn" }
EOF
started=()
trap 'for p in "${started[@]}"; do kill "$p" 2>/dev/null || true; done; wait 2>/dev/null || true' EXIT
nginx -p "$out/nginx" -c "$out/nginx.conf" >nginx.log 2>&1 &
started+=("$!")
declare -A pid=([nginx]=$!) port=([nginx]=19601 [millgate]=19602)
"$millgate" serve --config millgate.toml >millgate.log 2>&1 &
started+=("$!")
pid[millgate]=$!
for name in nginx millgate; do
    for _ in $(seq 200); do
        curl -s -o /dev/null --cacert ca.pem --cert client.pem --key client.key "https://127.0.0.1:${port[$name]}/" && continue 2
        sleep 0.05
    done
    echo "$name does not answer; see $out/$name.log" >&2
    exit 1
done

# --- rounds
ticks() { awk '{ print $14 + $15 }' "/proc/${pid[$1]}/stat"; }
hertz=$(getconf CLK_TCK)
for version in tls1_2 tls1_3; do
    declare -A results=([nginx]="" [millgate]="")
    for _ in $(seq "$rounds"); do
        for name in nginx millgate; do
            before=$(ticks "$name")
            said=$(openssl s_time -new "-$version" -connect "127.0.0.1:${port[$name]}" -cert client.pem -key client.key \
                -CAfile ca.pem -time "$seconds" 2>/dev/null)
            count=$(sed -n 's/^\([0-9]*\) connections in [0-9]* real seconds.*/\1/p' <<<"$said")
            after=$(ticks "$name")
            results[$name]+="$((count * hertz / (after - before))) "
        done
    done
    for name in nginx millgate; do
        sorted=$(tr ' ' '\n' <<<"${results[$name]}" | sed '/^$/d' | sort -n)
        printf '%-7s %-9s median %6s   %s to %s handshakes per CPU-second\n' "$version" "$name" \
            "$(sed -n "$(((rounds + 1) / 2))p" <<<"$sorted")" "$(head -1 <<<"$sorted")" "$(tail -1 <<<"$sorted")"
    done
done
