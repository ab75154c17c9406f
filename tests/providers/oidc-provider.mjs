// A supplier's identity provider: the certified OpenID provider of the npm package `oidc-provider`, on 127.0.0.1, with a
// fresh ES256 key. Its clients get RFC 9068 access tokens (`at+jwt`) by client credentials.
//
//   node oidc-provider.mjs --audience https://broker.plant.example \
//     [--port 0] [--client id:secret]... [--ttl 600] [--with-parent]
//
// Prints one line when ready:
//   {"issuer", "token_endpoint", "jwks_uri", "audience", "clients": [{"client_id", "client_secret"}], "pid"}
// A token: curl -u ID:SECRET -d grant_type=client_credentials TOKEN_ENDPOINT

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';
import { endWith, options, ready } from './child.mjs';

const values = options({
  port: { type: 'string', default: '0' },
  audience: { type: 'string' },
  client: { type: 'string', multiple: true, default: ['line-monitor', 'parts-planner'] },
  ttl: { type: 'string', default: '600' },
});
if (!values.audience) {
  console.error('name the audience of the tokens: --audience https://broker.plant.example');
  process.exit(2);
}

const SCOPE = 'data';
const random = () => randomBytes(24).toString('base64url');

const clients = values.client.map((text) => {
  const [client_id, client_secret = random()] = text.split(/:(.*)/s);
  return { client_id, client_secret };
});

function signingKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), kid: random(), alg: 'ES256', use: 'sig' };
}

function configuration() {
  return {
    clients: clients.map((client) => ({
      ...client,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: 'ES256',
    })),
    jwks: { keys: [signingKey()] },
    cookies: { keys: [random()] },
    scopes: ['openid', SCOPE],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => values.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: SCOPE,
          audience: values.audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: Number(values.ttl),
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  };
}

const server = createServer();
server.listen(Number(values.port), '127.0.0.1', () => {
  // The issuer's name holds the port, which is known only now.
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration());
  provider.on('server_error', (_, error) => console.error(error));
  server.on('request', provider.callback());
  endWith(values, () => new Promise((done) => {
    server.close(done);
    server.closeAllConnections();
  }));
  const { audience } = values;
  ready({ issuer, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks`, audience, clients });
});
