"""A caller that holds the log to its receipts: it asks for data, samples receipts, and redeems them.

    receipts.py --target URL --api URL --token FILE --key VKEY [--requests N] [--share S] [--ca FILE]

Each receipt must be for the request that was asked. Each sampled one is verified at once (RFC 9651 dictionary, Ed25519 over the
root of its batch) and redeemed afterwards for the proof that its entry is under a signed checkpoint; one for which there is none
when its time is over is overdue. Prints one JSON object: {"answers", "receipts", "sampled", "kept", "overdue", "broken":
[why, ...]}; what is overdue is among what is broken. Exit status 1 if anything is broken.
"""

import argparse
import base64
import json
import pathlib
import random
import re
import sys
import time

import requests

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "verifiers"))
from rekor import DEFAULT_HASHER, Log, verify_inclusion  # noqa: E402


def root_of(leaf, index, size, path):
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2)."""
    at, last, node, rest = index, size - 1, leaf, list(path)
    while last:
        if at & 1 or at == last:
            if at & 1 or rest:
                node = DEFAULT_HASHER.hash_children(rest.pop(0), node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = DEFAULT_HASHER.hash_children(node, rest.pop(0))
        at, last = at >> 1, last >> 1
    if rest:
        raise ValueError("the path is too long")
    return node


# No plant promises a checkpoint later than this, in milliseconds.
DEADLINE_MAX = 86_400_000


class Overdue(ValueError):
    pass


class Receipt:
    def __init__(self, text):
        members = dict(re.findall(r'([a-z]+)=("(?:[^"\\]|\\.)*"|\([^)]*\)|[^,\s]+)', text))
        data = lambda value: base64.b64decode(value.strip(":"), validate=True)
        text_of = lambda value: re.sub(r"\\(.)", r"\1", value[1:-1])
        self.origin, self.request = text_of(members["origin"]), text_of(members["request"])
        self.index, self.first, self.count = (int(members[name]) for name in ("index", "first", "count"))
        self.time, self.by = int(members["time"]), int(members["by"])
        self.leaf, self.signature = data(members["leaf"]), data(members["sig"])
        self.path = [data(item) for item in members["path"].strip("()").split()]

    def verify(self, log):
        if self.origin != log.name or self.signature[:4] != log.id:
            raise ValueError("a receipt of another log")
        if self.by > time.time() * 1000 + DEADLINE_MAX:
            raise ValueError("a receipt that leaves the log more than a day")
        stands_for = DEFAULT_HASHER.hash_children(self.leaf, DEFAULT_HASHER.hash_leaf(self.request.encode()))
        root = root_of(stands_for, self.index - self.first, self.count, self.path)
        lines = ["millgate-receipt/2", self.origin, self.first, self.count, base64.b64encode(root).decode(), self.time, self.by]
        log.key.verify(self.signature[4:], "".join(f"{line}\n" for line in lines).encode())

    def redeem(self, log, session, api):
        """The log must show in time that this very entry is under a checkpoint."""
        while True:
            query = {"index": self.index, "leaf": self.leaf.hex()}
            answer = session.get(f"{api}/v1/audit/proof", params=query, timeout=30)
            if answer.status_code != 503:
                break
            if time.time() * 1000 > self.by:
                raise Overdue("the deadline of a receipt has passed, and no checkpoint covers its entry")
            time.sleep(0.5)
        if answer.status_code != 200:
            raise ValueError(f"the log does not redeem a receipt: {answer.status_code} {answer.text}")
        head, note = answer.text.split("\n\n", 1)
        lines = head.split("\n")[1:]
        if lines[0].startswith("extra "):
            # Hashes alone are asked for. What is shown all the same must be of this request.
            self.check_entry(base64.b64decode(lines.pop(0).removeprefix("extra "), validate=True).split(b"\n")[0])
        index = int(lines.pop(0).removeprefix("index "))
        hashes = [base64.b64decode(line, validate=True).hex() for line in lines]
        size, root = log.checkpoint(note)
        if index != self.index:
            raise ValueError("the proof is of another entry")
        verify_inclusion(DEFAULT_HASHER, index, size, self.leaf.hex(), hashes, root)

    def check_entry(self, entry):
        if DEFAULT_HASHER.hash_leaf(entry) != self.leaf:
            raise ValueError("another entry stands in the place of the promised one")
        if json.loads(entry).get("request", "") != self.request:
            raise ValueError("the entry that stands there is of another request than its receipt says")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("target", "api", "token", "key"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.2, help="of receipts that are verified and redeemed")
    parser.add_argument("--seed", type=int, help="chooses the same receipts again")
    args = parser.parse_args()
    log, chance = Log(args.key), random.Random(args.seed)
    session = requests.Session()
    session.verify = args.ca or True
    session.headers["authorization"] = f"Bearer {pathlib.Path(args.token).read_text().strip()}"
    said = {"answers": 0, "receipts": 0, "sampled": 0, "kept": 0, "overdue": 0, "broken": []}
    sampled = []
    for _ in range(args.requests):
        answer = session.get(args.target, timeout=30)
        said["answers"] += 1
        text = answer.headers.get("audit-receipt")
        if text is None:
            said["broken"].append(f"an answer without receipt: {answer.status_code}")
            continue
        said["receipts"] += 1
        # The answer says which request it is to; a receipt for another one proves nothing about this.
        try:
            receipt = Receipt(text)
            if receipt.request != answer.headers.get("millgate-request-id"):
                raise ValueError(f"a receipt for another request than that of its answer: {receipt.request}")
        except Exception as error:
            said["broken"].append(f"{type(error).__name__}: {error}")
            continue
        if chance.random() >= args.share:
            continue
        said["sampled"] += 1
        try:
            receipt.verify(log)
            sampled.append(receipt)
        except Exception as error:
            said["broken"].append(f"{type(error).__name__}: {error}")
    for receipt in sampled:
        try:
            receipt.redeem(log, session, args.api)
            said["kept"] += 1
        except Overdue as error:
            said["overdue"] += 1
            said["broken"].append(f"{type(error).__name__}: {error}")
        except Exception as error:
            said["broken"].append(f"{type(error).__name__}: {error}")
    print(json.dumps(said))
    return 1 if said["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
