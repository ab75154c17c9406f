"""A plant system that answers only to whom Millgate says it asks for.

Takes the address of the key set, and the documentation whose first Python example does the verifying. Answers every
request with the claims that it verified, or with 401 and why not. `/refetch` fetches the key set again, which a real
source would do when its `cache-control` has run out. Ends with its standard input.
"""

import http.server
import json
import re
import sys
import threading
import urllib.request

keys_url, documentation = sys.argv[1:3]
with open(documentation, encoding="utf-8") as page:
    example = re.search(r"```python\n(.*?)```", page.read(), re.DOTALL).group(1)
exec(example)  # defines `who`, as printed


def fetch():
    with urllib.request.urlopen(keys_url) as answer:
        assert answer.headers["content-type"] == "application/jwk-set+json", answer.headers["content-type"]
        assert answer.headers["cache-control"] == "public, max-age=300", answer.headers["cache-control"]
        return json.load(answer)


class Source(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    keys = fetch()

    def do_GET(self):
        if self.path == "/refetch":
            Source.keys = fetch()
            return self.answer(200, {"keys": len(Source.keys["keys"])})
        try:
            claims = who(self.headers["millgate-assertion"], Source.keys)
            assert claims["jti"] == self.headers["millgate-request-id"]
        except Exception as error:
            print(f"refused: {error!r}", file=sys.stderr, flush=True)
            return self.answer(401, {"why": repr(error)})
        self.answer(200, {"claims": claims, "kid": jwt.get_unverified_header(self.headers["millgate-assertion"])["kid"]})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Source)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_address[1]}), flush=True)
sys.stdin.read()
