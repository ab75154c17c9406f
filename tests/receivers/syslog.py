"""A receiver of syslog over TCP: RFC 6587 octet counting, RFC 5424, read independently of what sends it.

    syslog.py PORT FILE [CERTIFICATE KEY]

Every message is parsed, and appended to FILE as one line of JSON before it is taken off the socket: whoever kills this
process finds in FILE what it has taken, and the sender is told of the rest by a reset. With TLS there is no peeking, so bytes
are written when they were read. The first line on standard output is the port.
"""

import json
import os
import re
import socket
import ssl
import sys

HEADER = re.compile(rb"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) ")
TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


def structured_data(rest):
    """SD elements as {id: {name: value}}, and what stands behind them."""
    if rest.startswith(b"-"):
        return {}, rest[1:]
    elements = {}
    while rest.startswith(b"["):
        end = rest.index(b" ")
        name, at, values = rest[1:end].decode("ascii"), end, {}
        assert re.fullmatch(r"[^\s=\]\"@]+@[\d.]+", name) and len(name) <= 32, name
        while rest[at : at + 1] == b" ":
            equals = rest.index(b'="', at)
            key = rest[at + 1 : equals].decode("ascii")
            assert 0 < len(key) <= 32 and not re.search(r"[\s=\]\"]", key), key
            at, value = equals + 2, bytearray()
            while rest[at : at + 1] != b'"':
                if rest[at : at + 1] == b"\\" and rest[at + 1 : at + 2] in (b'"', b"\\", b"]"):
                    at += 1
                else:
                    assert rest[at : at + 1] != b"]", "a bracket that is not escaped"
                value += rest[at : at + 1]
                at += 1
            values[key] = value.decode("utf-8")
            at += 1
        assert rest[at : at + 1] == b"]", rest[at : at + 20]
        elements[name], rest = values, rest[at + 1 :]
    return elements, rest


def parse(message):
    header = HEADER.match(message)
    assert header, message[:80]
    priority = int(header[1])
    assert priority <= 191, priority
    assert TIME.fullmatch(header[2]), header[2]
    for field, limit in zip(header.groups()[2:], (255, 48, 128, 32)):
        assert len(field) <= limit and all(33 <= byte <= 126 for byte in field), field
    data, rest = structured_data(message[header.end() :])
    assert rest == b"" or rest.startswith(b" "), rest[:20]
    text = rest[1:].decode("utf-8")
    return {
        "facility": priority // 8,
        "severity": priority % 8,
        "time": header[2].decode(),
        "host": header[3].decode(),
        "app": header[4].decode(),
        "id": header[6].decode(),
        "data": data,
        "text": text.removeprefix("\ufeff"),
    }


def frames(buffer):
    """Complete frames, and how many bytes they take."""
    found, taken = [], 0
    while True:
        space = buffer.find(b" ", taken)
        if space < 0:
            return found, taken
        digits = buffer[taken:space]
        assert re.fullmatch(rb"[1-9]\d*", digits), digits
        end = space + 1 + int(digits)
        if len(buffer) < end:
            return found, taken
        found.append(parse(buffer[space + 1 : end]))
        taken = end


def receive(connection, out, peek):
    pending = b""
    while True:
        try:
            data = connection.recv(1 << 20, socket.MSG_PEEK) if peek else connection.recv(1 << 16)
        except OSError:
            return
        if not data:
            return
        found, taken = frames(pending + data)
        for message in found:
            os.write(out, json.dumps(message).encode() + b"\n")
        rest = (pending + data)[taken:]
        if peek:
            connection.recv(len(data))
        pending = rest


def main():
    port, name, *tls = sys.argv[1:]
    out = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    listener = socket.create_server(("127.0.0.1", int(port)))
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            if context is None:
                receive(connection, out, peek=True)
                continue
            try:
                with context.wrap_socket(connection, server_side=True) as secured:
                    receive(secured, out, peek=False)
            except OSError as error:
                print(error, file=sys.stderr, flush=True)


main()
