"""An archive checked by what its own README.txt says, with nothing but Python: `by_hand.py ARCHIVE [KEY]`.

Prints {"size", "root", "signed", "signature", "gaps", "entries": [[index, kind, organisation, number], ...]}: the tree that entries
and hashes make, and the size and root that `checkpoint` states; whether KEY has signed that (null without one); where an
organisation's numbers do not go on; and the entries of the stretch, without those that stand beside it.
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


# Ed25519 (RFC 8032), as its section 6 has it.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def added(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, point):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = added(result, point)
        point, n = added(point, point), n >> 1
    return result


def point(data):
    """`None` where the bytes are no point."""
    number = int.from_bytes(data, "little")
    y, sign = number & ((1 << 255) - 1), number >> 255
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def signs(key, message, signature):
    public, first, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if public is None or first is None or s >= ORDER:
        return False
    hashed = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    left, right = times(s, BASE), added(first, times(hashed, public))
    return not ((left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P)


def signed_by(note, vkey):
    """Whether the key has signed the text of the note, and is what its id says."""
    name, number, key = vkey.split("+", 2)
    key = base64.b64decode(key)
    if key[:1] != b"\x01" or hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] != number:
        raise ValueError("no Ed25519 key")
    text, lines = note.rsplit("\n\n", 1)
    for line in lines.splitlines():
        dash, by, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if dash == "\u2014" and by == name and signature[:4].hex() == number:
            return text.split("\n")[0] == name and signs(key[1:], (text + "\n").encode(), signature[4:])
    return False


def gaps(entries):
    """Numbers of organisations that do not go on from the one before; the first of each is where the archive begins."""
    found, last = [], {}
    for index, said in entries:
        organisation = said.get("org")
        if organisation is None:
            continue
        before = last.get(organisation)
        if before and (said["org_seq"], said.get("org_prev")) != (before[0] + 1, before[1]):
            found.append(index)
        last[organisation] = (said["org_seq"], index)
    return found


def main():
    files = {}
    with tarfile.open(sys.argv[1]) as archive:
        for member in archive:
            files[member.name] = archive.extractfile(member).read()
    manifest = json.loads(files["manifest.json"])
    beside = {*manifest.get("in_use", []), *manifest.get("erasures", [])}
    steps = b"".join(files[name] for name in sorted(files) if name.startswith("tree/"))
    tree, entries, at = Tree(), [], 0
    while at < len(steps):
        if steps[at] == 0:
            length = int.from_bytes(steps[at + 1 : at + 3], "big")
            entry = steps[at + 3 : at + 3 + length]
            # The entry that prunes stands beside the others, or is the next of them.
            if tree.size not in beside and (tree.size != manifest.get("pruning") or entries and entries[-1][0] + 1 == tree.size):
                entries.append((tree.size, json.loads(entry)))
            tree.add(0, hashlib.sha256(b"\x00" + entry).digest())
            at += 3 + length
        elif steps[at] == 1:
            tree.add(steps[at + 1], steps[at + 2 : at + 34])
            at += 34
        else:
            raise ValueError(f"no step at {at}")
    note = files["checkpoint"].decode()
    _, size, root = note.split("\n")[:3]
    said = {
        "size": tree.size,
        "root": base64.b64encode(tree.root()).decode(),
        "signed": [int(size), root],
        "signature": signed_by(note, sys.argv[2]) if len(sys.argv) > 2 else None,
        "gaps": gaps(entries),
        "entries": [[index, entry["kind"], entry.get("org"), entry.get("org_seq")] for index, entry in entries],
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
