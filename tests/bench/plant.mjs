// Makes what a measurement needs in a folder: the example plant with an nginx as its sources and another port of it as the
// supplier's identity provider, a thousand tokens of a hundred principals, and the configurations of all servers.
//
//   node plant.mjs [DIRECTORY [MILLGATES]]
//
// MILLGATES is how many executables are to be compared; each has its own ports, ten above those of the one before, and its
// own audit log.
//
// The ports are fixed: a measurement owns the machine while it runs.

import { generateKeyPairSync, sign, randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const directory = resolve(process.argv[2] ?? 'target/bench/plant');
const repository = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const millgates = Number(process.argv[3] ?? 1);
const ports = { upstream: 19310, issuer: 19320, plain: 19401, checked: 19402, check: 19403, haproxy: 19404, data: 19443, api: 19444, operator: 19445 };
const PRINCIPALS = 100;
const TOKENS = 1000;
/// The whole answer of the source, in bytes.
const BODY_BYTES = Number(process.env.BENCH_BODY_BYTES ?? 1024);
/// Rows of nine fields of eight classes each, instead of as many small ones as there is room for.
const ROWS = Number(process.env.BENCH_ROWS ?? 0);
const CLASSES = { process: 'process', condition: 'process.condition', recipe: 'process.recipe', operator: 'personal', price: 'commercial', note: 'noted' };
/// Whether Millgate passes it on as it is, to see what shaping costs.
const WHOLE = process.env.BENCH_WHOLE === '1';
const at = (port) => `http://127.0.0.1:${port}`;

rmSync(directory, { recursive: true, force: true });
mkdirSync(directory, { recursive: true });
const write = (name, text) => {
  mkdirSync(dirname(join(directory, name)), { recursive: true });
  writeFileSync(join(directory, name), text);
};

function edit(folder, change) {
  for (const name of readdirSync(folder)) {
    const file = join(folder, name);
    writeFileSync(file, change(readFileSync(file, 'utf8'), name));
  }
}

const principal = (n) => `bench-${String(n % PRINCIPALS).padStart(3, '0')}`;

// --- the plant: its own addresses, sources that take all there is, and a hundred people of one supplier
cpSync(join(repository, 'policies'), join(directory, 'policies'), { recursive: true });
const plant = join(directory, 'policies/plants/munich');
const more = ROWS > 0 && !WHOLE ? Object.entries(CLASSES).map(([field, of]) => `rows.${field} = "${of}"\n`).join('') : '';
edit(join(plant, 'catalog'), (text, name) => (text + (name === 'vocabulary.toml' ? '\n[field_class.noted]\ntitle = "Noted"\n' : ''))
  .replace('[dataset.acme-parts.fields]\n', `$&rows.serial = "identity"\nrows.result = "quality"\nrows.force_kn = "quality"\npad = "identity"\n${more}`)
  .replace('[dataset.acme-parts]\n', WHOLE ? '$&format = "opaque"\n' : '$&')
  .replaceAll('http://127.0.0.1:9310', at(ports.upstream))
  .replaceAll('http://127.0.0.1:9311', at(ports.upstream))
  .replaceAll(/^concurrency = \d+$/gm, 'concurrency = 256'));
edit(join(plant, 'registry'), (text, name) => text.replaceAll('http://127.0.0.1:9320', at(ports.issuer))
  + (name === 'principals.toml'
    ? Array.from({ length: PRINCIPALS }, (_, n) => `\n[principal."acme/${principal(n)}"]\ntitle = "Load"\nclearance = "confidential"\n`).join('')
    : ''));

// --- policies beside the base set, alike but for their names and bounds, and one that says in every decision which set made it
const POLICIES = Number(process.env.BENCH_POLICIES ?? 0);
if (POLICIES > 0) {
  const who = ['Organisation::"acme"', 'Organisation::"bolt"', 'Organisation::"norden"', 'Organisation::"audax"'];
  const where = ['Site::"munich"', 'Area::"press-shop"', 'WorkCenter::"press-line-1"', 'WorkUnit::"press-station-3"', 'DataProduct::"press-line-quality"'];
  const policy = (n) => {
    const scope = `principal in Plant::${who[n % who.length]}, action in Plant::Action::"dataplane", resource in Plant::${where[n % where.length]}`;
    const bound = 1_000_000 + n;
    return n % 2 === 0
      ? `@id("many-${n}") forbid (${scope}) when { context.shape.rows > ${bound} && principal.clearance < 1 };`
      : `@id("many-${n}") permit (${scope}) when { context has agreement && context.agreement.status == "retired" && context.shape.rows < ${bound} };`;
  };
  write('policies/base/many.cedar', Array.from({ length: POLICIES }, (_, n) => policy(n)).join('\n') + '\n');
}

// --- the supplier's identity provider: two static documents
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const issuer = `${at(ports.issuer)}/acme`;
const kid = 'bench';
write('issuer/acme/.well-known/openid-configuration', JSON.stringify({ issuer, jwks_uri: `${issuer}/jwks` }));
write('issuer/acme/jwks', JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }] }));

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const now = Math.floor(Date.now() / 1000);
function token(n) {
  const claims = {
    iss: issuer, aud: 'https://millgate.norden.example', sub: principal(n), client_id: principal(n),
    iat: now, nbf: now, exp: now + 12 * 3600, jti: randomBytes(16).toString('base64url'),
  };
  const signed = `${part({ alg: 'ES256', typ: 'at+jwt', kid })}.${part(claims)}`;
  const signature = sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}
write('tokens', Array.from({ length: TOKENS }, (_, n) => token(n)).join('\n') + '\n');

// --- the answer
const rows = [];
const body = () => JSON.stringify({ rows, pad: '' });
const words = (n) => 'abcdefghijklmnopqrstuvwxyz'.repeat(3).slice(n % 26, (n % 26) + Math.max(1, Math.floor((BODY_BYTES / ROWS - 130) / 6)));
for (let n = 0; n < ROWS; n += 1) {
  const texts = Object.fromEntries(Object.keys(CLASSES).map((field, k) => [field, words(n + k)]));
  rows.push({ serial: `SN-${n}`, result: 'pass', force_kn: 1200 + n, ...texts });
}
while (ROWS === 0 && body().length < BODY_BYTES - 90) rows.push({ serial: `SN-${rows.length}`, result: 'pass', force_kn: 1200 + rows.length });
const filled = JSON.stringify({ rows, pad: 'x'.repeat(Math.max(0, BODY_BYTES - body().length)) });
write('upstream/answer.json', filled);

// --- nginx, four times: source, identity provider and the two proxies to compare with
const nginx = (name, http) => write(`nginx/${name}.conf`, `
daemon off;
worker_processes 2;
pid ${name}.pid;
error_log ${name}.log warn;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  default_type application/json;
  client_body_temp_path ${name}-1; proxy_temp_path ${name}-2; fastcgi_temp_path ${name}-3; uwsgi_temp_path ${name}-4; scgi_temp_path ${name}-5;
${http}
}
`);
nginx('upstream', `
  server {
    listen 127.0.0.1:${ports.upstream} reuseport;
    root ${directory}/upstream;
    location / { try_files /answer.json =404; }
  }
  server {
    listen 127.0.0.1:${ports.issuer};
    root ${directory}/issuer;
  }`);

const toSource = `
  upstream source { server 127.0.0.1:${ports.upstream}; keepalive 128; keepalive_requests 1000000000; }
  proxy_http_version 1.1;
  proxy_set_header Connection "";`;
nginx('plain', `${toSource}
  server {
    listen 127.0.0.1:${ports.plain} reuseport;
    location / { proxy_pass http://source/; }
  }`);
// A \`proxy_set_header\` in a location cancels the inherited ones: both headers stand there again, or every check opens a
// connection of its own and costs twice as much.
nginx('checked', `${toSource}
  upstream check { server 127.0.0.1:${ports.check}; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${ports.checked} reuseport;
    location / { auth_request /check; proxy_pass http://source/; }
    location = /check {
      internal;
      proxy_pass http://check/;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Connection "";
    }
  }`);
nginx('check', `
  server {
    listen 127.0.0.1:${ports.check} reuseport;
    location / { return 204; }
  }`);

// --- HAProxy: the signature, the algorithm and the issuer of each token, by the same key
write('issuer.pem', publicKey.export({ format: 'pem', type: 'spki' }));
write('haproxy.cfg', `
global
  nbthread 2
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 60s
  timeout http-keep-alive 600s
  http-reuse always
frontend verified
  bind 127.0.0.1:${ports.haproxy}
  http-request deny deny_status 401 unless { http_auth_bearer -m found }
  http-request set-var(txn.token) http_auth_bearer
  http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless { var(txn.alg) -m str ES256 }
  http-request deny deny_status 401 unless { var(txn.token),jwt_payload_query('$.iss') -m str ${issuer} }
  http-request deny deny_status 401 unless { var(txn.token),jwt_verify(txn.alg,"${directory}/issuer.pem") 1 }
  default_backend source
backend source
  server source 127.0.0.1:${ports.upstream} pool-max-conn -1 pool-purge-delay 600s
`);

// --- Millgate
for (let n = 0; n < millgates; n += 1) {
  write(`millgate-${n}.toml`, `
[listen]
data = "127.0.0.1:${ports.data + 10 * n}"
api = "127.0.0.1:${ports.api + 10 * n}"
operator = "127.0.0.1:${ports.operator + 10 * n}"
[folders]
catalog = "policies/plants/munich/catalog"
registry = "policies/plants/munich/registry"
policies = "policies/base"
schema = "policies/schema/plant.cedarschema"
[audit]
directory = "audit-${n}"
origin = "bench.example/millgate-${n}"
[telemetry]
level = "warn"
`);
}

console.log(JSON.stringify({ directory, ports, body_bytes: Buffer.byteLength(filled) }));
