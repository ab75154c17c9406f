"""A supplier's script: a token from its own provider, then data from the broker, with `requests` and PyJWT.

    supplier.py dpop    --token-endpoint URL --client ID:SECRET --audience URL --target URL [--ca FILE]
    supplier.py mutual  --token-endpoint URL --client ID:SECRET --audience URL --target URL --ca FILE
                        --certificate FILE --other FILE

`dpop` gets a token that is bound to a fresh key (RFC 9449), `mutual` one that is bound to a client certificate (RFC 8705;
each FILE holds certificate and key). Both then use it in the right way and in wrong ones, and print what the broker said
as one JSON object: way -> [status, reason code].
"""

import argparse
import base64
import hashlib
import json
import time
import uuid

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import ec


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def fresh_key():
    return ec.generate_private_key(ec.SECP256R1())


def proof(key, method, url, token=None, nonce=None, age=0):
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url.split("?")[0], "iat": int(time.time()) - age}
    if token:
        claims["ath"] = base64url(hashlib.sha256(token.encode()).digest())
    if nonce:
        claims["nonce"] = nonce
    public = {name: jwk[name] for name in ("kty", "crv", "x", "y")}
    return jwt.encode(claims, key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": public})


def open_session(ca=None, certificate=None):
    session = requests.Session()
    # What the surroundings say about proxies and authorities would come before what is asked for here.
    session.trust_env = False
    session.verify = ca or True
    session.cert = certificate
    return session


def get_token(session, options, headers=None):
    client = tuple(options.client.split(":", 1))
    form = {"grant_type": "client_credentials", "scope": "data", "resource": options.audience}
    answer = session.post(options.token_endpoint, auth=client, data=form, headers=headers or {}, timeout=20)
    answer.raise_for_status()
    return answer.json()["access_token"]


def ask(session, options, headers, url=None):
    headers = {"millgate-purpose": "predictive-maintenance", **headers}
    answer = session.get(url or options.target, headers=headers, timeout=20)
    try:
        reason = answer.json().get("reason", "")
    except ValueError:
        reason = ""
    return [answer.status_code, reason], answer


def dpop(options):
    session = open_session(options.ca)
    key, target = fresh_key(), options.target
    token = get_token(session, options, {"DPoP": proof(key, "POST", options.token_endpoint)})
    said = {}

    def go(way, scheme="DPoP", proven=None, url=None):
        headers = {"authorization": f"{scheme} {token}"}
        if proven:
            headers["dpop"] = proven
        said[way], answer = ask(session, options, headers, url)
        return answer

    good = proof(key, "GET", target, token)
    answer = go("good", proven=good)
    nonce = answer.headers.get("dpop-nonce")
    if answer.status_code == 401 and nonce:
        good = proof(key, "GET", target, token, nonce)
        go("good with the nonce", proven=good)
    again = lambda **changes: proof(**{"key": key, "method": "GET", "url": target, "token": token, "nonce": nonce, **changes})
    go("replayed", proven=good)
    go("a second proof", proven=again())
    go("without a proof")
    go("as bearer", scheme="Bearer")
    go("for another method", proven=again(method="POST"))
    go("for another address", proven=again(url="https://elsewhere.example/"))
    go("for another token", proven=again(token=token + "x"))
    go("of another key", proven=again(key=fresh_key()))
    go("of an hour ago", proven=again(age=3600))
    return said


def mutual(options):
    own, other, none = (open_session(options.ca, file) for file in (options.certificate, options.other, None))
    token = get_token(own, options)
    bearer = {"authorization": f"Bearer {token}"}
    ways = {"own certificate": own, "another certificate": other, "no certificate": none}
    said = {way: ask(session, options, bearer)[0] for way, session in ways.items()}
    said["the certificate alone"] = ask(own, options, {})[0]
    said["neither"] = ask(none, options, {})[0]
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=["dpop", "mutual"])
    for name in ("token-endpoint", "client", "audience", "target"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("ca", "certificate", "other"):
        parser.add_argument(f"--{name}")
    options = parser.parse_args()
    print(json.dumps({"dpop": dpop, "mutual": mutual}[options.way](options)))


if __name__ == "__main__":
    main()
