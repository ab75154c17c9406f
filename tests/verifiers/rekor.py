"""Inclusion and consistency by rekor-verifier (PyPI), signatures by cryptography.

Reads {"key", "cases": {name: case}} from standard input and says for each case whether it is accepted, as
{name: true | "why not"}. A case is {"proof", "entry"}, a tlog-proof and its entry in base64, or {"old", "new", "consistency"},
two signed checkpoints and the hashes between them in hexadecimal.
"""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rekor_verifier.merkle_proof import DEFAULT_HASHER, verify_consistency, verify_inclusion


class Log:
    def __init__(self, vkey):
        self.name, key_id, key = vkey.split("+", 2)
        typed = base64.b64decode(key, validate=True)
        self.id = hashlib.sha256(self.name.encode() + b"\n" + typed).digest()[:4]
        if typed[0] != 1 or self.id.hex() != key_id:
            raise ValueError("not an Ed25519 key of this name")
        self.key = Ed25519PublicKey.from_public_bytes(typed[1:])

    def checkpoint(self, note):
        """Size and root in hexadecimal, of a note that this log has signed (C2SP signed-note, tlog-checkpoint)."""
        text, signatures = note.rsplit("\n\n", 1)
        text += "\n"
        signed = False
        for line in signatures.splitlines():
            mark, name, signature = line.split(" ")
            data = base64.b64decode(signature, validate=True)
            if mark == "\u2014" and name == self.name and data[:4] == self.id:
                self.key.verify(data[4:], text.encode())
                signed = True
        origin, size, root = text.splitlines()[:3]
        if not signed or origin != self.name:
            raise ValueError("not signed by this log")
        return int(size), base64.b64decode(root, validate=True).hex()


def inclusion(log, case):
    head, note = case["proof"].split("\n\n", 1)
    lines = head.split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise ValueError("no tlog-proof")
    if lines[0].startswith("extra "):
        lines.pop(0)
    index = int(lines.pop(0).removeprefix("index "))
    hashes = [base64.b64decode(line, validate=True).hex() for line in lines]
    size, root = log.checkpoint(note)
    leaf = DEFAULT_HASHER.hash_leaf(base64.b64decode(case["entry"]))
    verify_inclusion(DEFAULT_HASHER, index, size, leaf.hex(), hashes, root)


def consistency(log, case):
    (old_size, old_root), (new_size, new_root) = log.checkpoint(case["old"]), log.checkpoint(case["new"])
    verify_consistency(DEFAULT_HASHER, old_size, new_size, case["consistency"], old_root, new_root)


def main():
    asked = json.load(sys.stdin)
    log = Log(asked["key"])
    verdicts = {}
    for name, case in asked["cases"].items():
        try:
            (inclusion if "proof" in case else consistency)(log, case)
            verdicts[name] = True
        except Exception as error:  # whatever it is, it is not accepted
            verdicts[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(verdicts))


if __name__ == "__main__":
    main()
