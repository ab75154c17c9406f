"""An archive checked by what its own README.txt says, with nothing but Python: `by_hand.py ARCHIVE`.

Prints {"size", "root", "signed", "entries": [[index, kind, organisation, number], ...]}: the tree that entries and hashes make,
and the size and root that `checkpoint` states. Signatures are for others to check.
"""

import base64
import hashlib
import json
import sys
import tarfile


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """RFC 6962, from left to right: the roots of the complete subtrees so far, largest first, with their heights."""

    def __init__(self):
        self.size, self.parts = 0, []

    def add(self, height, root):
        if self.size % (1 << height):
            raise ValueError(f"a hash of height {height} cannot stand at {self.size}")
        self.size += 1 << height
        while self.parts and self.parts[-1][0] == height:
            root, height = node(self.parts.pop()[1], root), height + 1
        self.parts.append((height, root))

    def root(self):
        parts = [root for _, root in self.parts]
        root = parts.pop()
        while parts:
            root = node(parts.pop(), root)
        return root


def main():
    files = {}
    with tarfile.open(sys.argv[1]) as archive:
        for member in archive:
            files[member.name] = archive.extractfile(member).read()
    steps = b"".join(files[name] for name in sorted(files) if name.startswith("tree/"))
    tree, entries, at = Tree(), [], 0
    while at < len(steps):
        if steps[at] == 0:
            length = int.from_bytes(steps[at + 1 : at + 3], "big")
            entry = steps[at + 3 : at + 3 + length]
            said = json.loads(entry)
            entries.append([tree.size, said["kind"], said.get("org"), said.get("org_seq")])
            tree.add(0, hashlib.sha256(b"\x00" + entry).digest())
            at += 3 + length
        elif steps[at] == 1:
            tree.add(steps[at + 1], steps[at + 2 : at + 34])
            at += 34
        else:
            raise ValueError(f"no step at {at}")
    _, size, root = files["checkpoint"].decode().split("\n")[:3]
    signed = [int(size), root]
    print(json.dumps({"size": tree.size, "root": base64.b64encode(tree.root()).decode(), "signed": signed, "entries": entries}))


if __name__ == "__main__":
    main()
