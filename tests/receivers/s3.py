"""An S3 store on 127.0.0.1: moto's, with what it leaves out in front of it: signatures.

    s3.py FOLDER [CERTIFICATE KEY]

Buckets are made by the test: `locked`, made with object lock, and `plain`, without. Every request must be signed with the
access key `broker` and the secret in FOLDER/secret, as botocore signs (AWS Signature Version 4, in the query): another
implementation than the one that is tested. While there is a file FOLDER/down every answer is 503; objects with what FOLDER/refused
holds in their path are nobody's to read. Each request is a line of FOLDER/requests. The first line on standard output is the port.
"""

import datetime
import os
import pathlib
import sys
import urllib.parse

folder = pathlib.Path(sys.argv[1])
os.environ.update(AWS_ACCESS_KEY_ID="owner", AWS_SECRET_ACCESS_KEY="owner", AWS_DEFAULT_REGION="us-east-1")

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

ADMIN = "x-test-owner"


def refuse(start_response, status, code):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>refused by the test</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def is_signed(environ):
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
    given = query.pop("X-Amz-Signature", None)
    if given is None:
        return False
    secret = (folder / "secret").read_text().rstrip("\n")
    access, day, region, service, kind = query["X-Amz-Credential"].split("/")
    if (access, region, service, kind) != ("broker", "eu-central-1", "s3", "aws4_request"):
        return False
    signed_at = datetime.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    age = (datetime.datetime.now(datetime.timezone.utc) - signed_at).total_seconds()
    if not -300 < age < int(query["X-Amz-Expires"]) or day != query["X-Amz-Date"][:8]:
        return False
    names = query["X-Amz-SignedHeaders"].split(";")
    header = lambda name: environ["CONTENT_TYPE"] if name == "content-type" else environ["HTTP_" + name.upper().replace("-", "_")]
    # Every header of S3's own must be under the signature.
    ours = [key[5:].lower().replace("_", "-") for key in environ if key.startswith("HTTP_X_AMZ_")]
    if not set(ours) <= set(names):
        return False
    headers = {name: header(name) for name in names}
    path = environ["RAW_URI"].split("?")[0]
    url = f"http://{environ['HTTP_HOST']}{path}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"
    request = AWSRequest(method=environ["REQUEST_METHOD"], url=url, headers=headers)
    request.context["timestamp"] = query["X-Amz-Date"]
    auth = S3SigV4QueryAuth(Credentials(access, secret), "s3", region, expires=int(query["X-Amz-Expires"]))
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return expected == given


class Signed:
    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        with (folder / "requests").open("a") as requests:
            requests.write(f"{environ['REQUEST_METHOD']} {environ['RAW_URI'].split('X-Amz-')[0]}\n")
        if (folder / "down").exists():
            return refuse(start_response, "503 Service Unavailable", "SlowDown")
        # What the owner of the account does, which is none of ours.
        if environ.pop("HTTP_" + ADMIN.upper().replace("-", "_"), None) is None:
            try:
                good = is_signed(environ)
            except (KeyError, ValueError):
                good = False
            if not good:
                return refuse(start_response, "403 Forbidden", "SignatureDoesNotMatch")
            refused = folder / "refused"
            if environ["REQUEST_METHOD"] == "GET" and refused.exists() and refused.read_text() in environ["PATH_INFO"]:
                return refuse(start_response, "403 Forbidden", "AccessDenied")
        return self.app(environ, start_response)


s3 = s3_backends["123456789012"]["aws"]
for name, locked in [("locked", True), ("plain", False)]:
    bucket = s3.create_bucket(name, "eu-central-1")
    if locked:
        bucket.object_lock_enabled = True
        bucket.versioning_status = "Enabled"
context = tuple(sys.argv[2:4]) if len(sys.argv) > 2 else None
app = Signed(DomainDispatcherApplication(create_backend_app))
server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
print(server.server_port, flush=True)
server.serve_forever()
