// A second, independent identity provider: Debian's glewlwyd (C) on 127.0.0.1 with a fresh ES256 key, in a folder of its own.
// Its clients get access tokens (`at+jwt`) by client credentials.
//
//   node glewlwyd.mjs --audience https://broker.plant.example [--client press-agent]... [--ttl 600] [--with-parent]
//
// Prints one line when ready:
//   {"issuer", "token_endpoint", "introspection_endpoint", "jwks_uri", "audience",
//    "clients": [{"client_id", "client_secret"}], "pid"}
// A token: curl -u ID:SECRET -d grant_type=client_credentials -d scope=data -d resource=AUDIENCE TOKEN_ENDPOINT

import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { gunzipSync } from 'node:zlib';
import { endWith, options, ready } from './child.mjs';

const values = options({
  audience: { type: 'string' },
  client: { type: 'string', multiple: true, default: ['press-agent'] },
  ttl: { type: 'string', default: '600' },
});
if (!values.audience) {
  console.error('name the audience of the tokens: --audience https://broker.plant.example');
  process.exit(2);
}

const SCOPE = 'data';
const random = () => randomBytes(24).toString('base64url');
const directory = mkdtempSync(join(tmpdir(), 'millgate-glewlwyd-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

/** It cannot be told to choose a port itself: one that was free a moment ago. */
function freePort() {
  return new Promise((found, failed) => {
    const probe = createServer().once('error', failed);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => found(port));
    });
  });
}

function database() {
  const file = join(directory, 'glewlwyd.db');
  const tables = gunzipSync(readFileSync('/usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz'));
  execFileSync('sqlite3', [file], { input: tables });
  return file;
}

function configuration(port) {
  const file = join(directory, 'glewlwyd.conf');
  writeFileSync(file, `
port=${port}
bind_address="127.0.0.1"
external_url="http://127.0.0.1:${port}"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="INFO"
cookie_secure=0
session_expiration=600
session_key="S"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database={ type="sqlite3"; path=${JSON.stringify(database())}; };
`);
  return file;
}

const port = await freePort();
const api = `http://127.0.0.1:${port}/api`;
const child = spawn('glewlwyd', [`--config-file=${configuration(port)}`], { stdio: ['ignore', 'pipe', 'inherit'] });
const ended = new Promise((done) => child.once('exit', done));
child.once('error', (error) => {
  console.error(`glewlwyd cannot be started: ${error.message}; install the package glewlwyd`);
  process.exit(1);
});
child.once('exit', (code) => {
  console.error(`glewlwyd ended with ${code}`);
  process.exitCode = 1;
});
endWith(values, async () => {
  child.removeAllListeners('exit');
  const gone = new Promise((done) => child.once('exit', done));
  if (child.exitCode === null && child.kill('SIGTERM')) await gone;
});

function started() {
  return new Promise((found, failed) => {
    ended.then(() => failed(new Error('glewlwyd ended before it listened')));
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.includes('Glewlwyd started')) found();
      else if (line.includes(' ERROR: ')) console.error(line);
    });
  });
}

let session = '';
async function post(path, body) {
  const headers = { 'content-type': 'application/json', cookie: session };
  const answer = await fetch(`${api}/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  session ||= answer.headers.get('set-cookie')?.split(';')[0] ?? '';
}

function plugin() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    module: 'oidc',
    name: 'oidc',
    display_name: 'OpenID Connect',
    parameters: {
      iss: `${api}/oidc`,
      'jwt-type': 'ecdsa',
      'jwt-key-size': '256',
      key: privateKey.export({ type: 'sec1', format: 'pem' }),
      cert: publicKey.export({ type: 'spki', format: 'pem' }),
      'access-token-duration': Number(values.ttl),
      'refresh-token-duration': 3600,
      'code-duration': 600,
      'refresh-token-rolling': false,
      'allow-non-oidc': true,
      'auth-type-client-enabled': true,
      'auth-type-code-enabled': false,
      'auth-type-token-enabled': false,
      'auth-type-id-token-enabled': true,
      'auth-type-password-enabled': false,
      'auth-type-refresh-enabled': true,
      'introspection-revocation-allowed': true,
      'introspection-revocation-allow-target-client': true,
      'client-pubkey-parameter': 'pubkey',
      'client-jwks-parameter': 'jwks',
      'client-jwks_uri-parameter': 'jwks_uri',
      'resource-allowed': true,
      'resource-scope': { [SCOPE]: [values.audience] },
      'jwks-show': true,
    },
  };
}

try {
  await started();
  // Of its database as it is delivered; it listens on loopback for the length of a test.
  await post('auth/', { username: 'admin', password: 'password' });
  await post('scope/', { name: SCOPE, display_name: SCOPE, description: SCOPE, password_required: false, scheme: {} });
  await post('mod/plugin/', plugin());
  const clients = values.client.map((client_id) => ({ client_id, client_secret: random() }));
  for (const { client_id, client_secret } of clients) {
    await post('client/', {
      client_id,
      name: client_id,
      confidential: true,
      password: client_secret,
      enabled: true,
      authorization_type: ['client_credentials'],
      token_endpoint_auth_method: ['client_secret_basic'],
      scope: [SCOPE],
      redirect_uri: [],
    });
  }
  const issuer = `${api}/oidc`;
  ready({
    issuer,
    token_endpoint: `${issuer}/token`,
    introspection_endpoint: `${issuer}/introspect`,
    jwks_uri: `${issuer}/jwks`,
    audience: values.audience,
    clients,
  });
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
  process.kill(process.pid, 'SIGTERM');
}
