#!/usr/bin/env python3
"""`millgate witness` as siglog's conformance suite starts a witness: with its options, and with a way to ask whether it is there.

The executable is what MILLGATE says. Everything but `GET /health` is passed on as it is.
"""

import argparse
import http.client
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import urllib.parse

options = argparse.ArgumentParser()
for name in ["--database-url", "--listen", "--private-key", "--log"]:
    options.add_argument(name)
given = options.parse_args()
folder = tempfile.TemporaryDirectory()
logs = pathlib.Path(folder.name, "logs.policy")
logs.write_text(f"log {given.log.split('=', 1)[1]}\nquorum none\n")
command = [os.environ["MILLGATE"], "witness", "--name", "witness.example/conformance", "--directory", f"{folder.name}/state"]
command += ["--logs", str(logs), "--listen", "127.0.0.1:0", "--json"]
witness = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
address = urllib.parse.urlsplit(json.loads(witness.stdout.readline())["url"]).netloc


class Front(http.server.BaseHTTPRequestHandler):
    def answer(self, body=None):
        inner = http.client.HTTPConnection(address, timeout=5)
        headers = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "content-length")}
        inner.request(self.command, self.path, body, headers)
        answer = inner.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name in ["Content-Type"]:
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        if self.path != "/health":
            return self.answer()
        self.send_response(200 if witness.poll() is None else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *_):
        pass


def stop(*_):
    witness.terminate()
    witness.wait()
    folder.cleanup()
    os._exit(0)


signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
http.server.ThreadingHTTPServer(("127.0.0.1", int(given.listen.rsplit(":", 1)[1])), Front).serve_forever()
