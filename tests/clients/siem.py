"""A SIEM that reads a Millgate log over gRPC, from nothing but its .proto file.

    siem.py --proto FOLDER --api HOST:PORT --ca FILE --cert FILE --key FILE --entries N

Pages through the log, tails it from its second entry on in two calls, and has an entry proven. Prints one JSON object:
{"pages", "queried": {index: entry}, "tailed": {index: entry}, "proof", "note", "refused": [code, reason, details]}.
"""

import argparse
import importlib
import json
import pathlib
import sys
import tempfile

import grpc
from grpc_tools import protoc

FILE = "millgate/audit/v1/audit.proto"


def compiled(folder):
    """The modules that the .proto file makes."""
    out = tempfile.mkdtemp()
    made = protoc.main(["protoc", f"-I{folder}", f"--python_out={out}", f"--grpc_python_out={out}", FILE])
    if made != 0:
        raise SystemExit("the .proto file does not compile")
    sys.path.insert(0, out)
    names = ("millgate.audit.v1.audit_pb2", "millgate.audit.v1.audit_pb2_grpc")
    return [importlib.import_module(name) for name in names]


def main():
    parser = argparse.ArgumentParser()
    for name in ("proto", "api", "ca", "cert", "key"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--entries", type=int, required=True)
    asked = parser.parse_args()
    messages, services = compiled(asked.proto)
    read = lambda file: pathlib.Path(file).read_bytes()
    credentials = grpc.ssl_channel_credentials(read(asked.ca), read(asked.key), read(asked.cert))
    with grpc.secure_channel(asked.api, credentials) as channel:
        log = services.AuditLogStub(channel)
        print(json.dumps(story(log, messages, asked.entries)))


def story(log, messages, wanted):
    # Pages, oldest first, up to what the log held at the first one.
    pages, queried, after, size = 0, {}, None, None
    while True:
        page = log.Query(messages.QueryRequest(after=after, limit=3, oldest_first=True, before=size))
        size = size or page.size
        pages += 1
        queried.update((found.index, found.entry.decode()) for found in page.entries)
        if not page.HasField("next"):
            break
        after = page.next

    # Two calls, the second where the first one stopped.
    tailed, last = {}, 0
    for enough in (wanted // 2, wanted):
        call = log.Tail(messages.TailRequest(after=last))
        while len(tailed) < enough:
            found = next(call).entry
            last = found.index
            tailed[last] = found.entry.decode()
        call.cancel()

    last = max(queried)
    proof = log.Prove(messages.ProveRequest(index=last)).proof
    note = log.Checkpoint(messages.CheckpointRequest()).note
    try:
        log.Query(messages.QueryRequest(filter=messages.Filter(kind="gossip")))
        refused = None
    except grpc.RpcError as error:
        said = dict(error.trailing_metadata() or ()) | dict(error.initial_metadata() or ())
        refused = [error.code().name, said.get("millgate-reason"), error.details()]
    return {
        "pages": pages,
        "queried": queried,
        "tailed": tailed,
        "proof": proof,
        "note": note,
        "refused": refused,
    }


if __name__ == "__main__":
    main()
