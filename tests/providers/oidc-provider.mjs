// A supplier's identity provider: the certified OpenID provider of the npm package `oidc-provider`, on 127.0.0.1, with a
// fresh ES256 key. Its clients get access tokens by client credentials: RFC 9068 (`at+jwt`), bound to a key where the
// request for the token brings a DPoP proof (RFC 9449) or a client certificate (RFC 8705).
//
//   node oidc-provider.mjs --audience https://broker.plant.example \
//     [--port 0] [--client id:secret]... [--ttl 600] [--opaque] \
//     [--certificate FILE --key FILE [--client-ca FILE]] [--with-parent]
//
// --opaque: tokens without readable content, of which the client `--inspector id:secret` may ask (RFC 7662).
// --certificate, --key: https. With --client-ca, tokens are bound to the client certificate of the connection.
//
// Prints one line when ready:
//   {"issuer", "token_endpoint", "jwks_uri", "introspection_endpoint", "revocation_endpoint", "audience",
//    "clients": [{"client_id", "client_secret"}], "inspector", "pid"}
// A token: curl -u ID:SECRET -d grant_type=client_credentials TOKEN_ENDPOINT
//
// Commands, one a line on standard input, each answered by one JSON line: `rotate` signs with a fresh key from now on and
// still publishes the ones before; `retire` publishes the newest key alone.

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';
import { endWith, options, ready } from './child.mjs';

const values = options({
  port: { type: 'string', default: '0' },
  audience: { type: 'string' },
  client: { type: 'string', multiple: true, default: ['line-monitor', 'parts-planner'] },
  ttl: { type: 'string', default: '600' },
  opaque: { type: 'boolean', default: false },
  inspector: { type: 'string', default: 'millgate' },
  certificate: { type: 'string' },
  key: { type: 'string' },
  'client-ca': { type: 'string' },
});
if (!values.audience) {
  console.error('name the audience of the tokens: --audience https://broker.plant.example');
  process.exit(2);
}

const SCOPE = 'data';
const random = () => randomBytes(24).toString('base64url');

const named = (text) => {
  const [client_id, client_secret = random()] = text.split(/:(.*)/s);
  return { client_id, client_secret };
};
const clients = values.client.map(named);
const inspector = named(values.inspector);
const binds = Boolean(values['client-ca']);

function signingKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: random(), alg: 'ES256', use: 'sig' };
}

const cookieKey = random();
const metadata = (client) => ({
  ...client,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  id_token_signed_response_alg: 'ES256',
});

function configuration(keys) {
  return {
    clients: [
      ...clients.map((client) => ({ ...metadata(client), tls_client_certificate_bound_access_tokens: binds })),
      { ...metadata(inspector), grant_types: [] },
    ],
    jwks: { keys },
    cookies: { keys: [cookieKey] },
    scopes: ['openid', SCOPE],
    ttl: { ClientCredentials: Number(values.ttl) },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      mTLS: {
        enabled: binds,
        certificateBoundAccessTokens: binds,
        getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.()?.toString(),
      },
      introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId === inspector.client_id },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => values.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: SCOPE,
          audience: values.audience,
          accessTokenFormat: values.opaque ? 'opaque' : 'jwt',
          accessTokenTTL: Number(values.ttl),
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  };
}

// It signs with the first key and publishes all of them; it cannot change them, so each set gets a provider of its own.
let keys = [signingKey()];
let serve;
function publish(issuer, next) {
  keys = next;
  const provider = new Provider(issuer, configuration(keys));
  provider.on('server_error', (_, error) => console.error(error));
  serve = provider.callback();
}

const tls = values.certificate && {
  cert: readFileSync(values.certificate),
  key: readFileSync(values.key),
  ...(binds && { ca: readFileSync(values['client-ca']), requestCert: true, rejectUnauthorized: false }),
};
const server = tls ? createTlsServer(tls) : createServer();
server.listen(Number(values.port), '127.0.0.1', () => {
  // The issuer's name holds the port, which is known only now.
  const issuer = `${tls ? 'https' : 'http'}://127.0.0.1:${server.address().port}`;
  publish(issuer, keys);
  server.on('request', (request, response) => serve(request, response));
  endWith(values, () => new Promise((done) => {
    server.close(done);
    server.closeAllConnections();
  }));
  if (values['with-parent']) {
    createInterface({ input: process.stdin }).on('line', (line) => {
      if (line === 'rotate') publish(issuer, [signingKey(), ...keys]);
      else if (line === 'retire') publish(issuer, keys.slice(0, 1));
      console.log(JSON.stringify({ command: line, keys: keys.map(({ kid }) => kid) }));
    });
  }
  const { audience } = values;
  ready({
    issuer,
    token_endpoint: `${issuer}/token`,
    jwks_uri: `${issuer}/jwks`,
    introspection_endpoint: `${issuer}/token/introspection`,
    revocation_endpoint: `${issuer}/token/revocation`,
    audience,
    clients,
    inspector,
  });
});
