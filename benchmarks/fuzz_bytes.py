"""Seeded mutations of a file's bytes, and of the file itself."""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path

NUMBERS = (0, 1, -1, 127, 128, 255, 256, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**31))
WORDS = (
    "",
    "nan",
    "NaN",
    "-inf",
    "1e999",
    "-1",
    "-0",
    "99999999999999999999",
    "9" * 5000,
    "--5",
    "²",
    "٣",
    "null",
    "true",
    "[]",
    "{}",
    '"',
    "\x00",
    "é",
    "🦊",
    "\u202e",
    "../../etc/passwd",
    "/etc/passwd",
    "%s%n",
    "a" * 70_000,
    "1,2",
    "\n",
    "\r",
    "[" * 3000,
    '{"a":' * 3000,
)

Mutation = Callable[[random.Random, bytes], bytes]


def truncated(rng: random.Random, data: bytes) -> bytes:
    """Cut off the end."""
    return data[: rng.randrange(len(data) + 1)]


def flipped(rng: random.Random, data: bytes) -> bytes:
    """Flip one to eight bits."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def inserted(rng: random.Random, data: bytes) -> bytes:
    """Insert bytes."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 2, 4, 100])) + data[at:]


def removed(rng: random.Random, data: bytes) -> bytes:
    """Remove bytes."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice([1, 2, 4, 100]) :]


def repeated(rng: random.Random, data: bytes) -> bytes:
    """Repeat a part."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at : at + rng.choice([1, 16, 200])] * rng.choice([2, 3, 50]) + data[at:]


def numbered(rng: random.Random, data: bytes) -> bytes:
    """Put a number at the border of its type in place of some bytes, near the start or the end more often."""
    form = rng.choice(["<I", ">I", "<Q", ">Q", "<H", ">H", "<i", "<q"])
    size = struct.calcsize(form)
    if len(data) < size:
        return data
    last = len(data) - size
    at = rng.choice([rng.randrange(last + 1), min(last, rng.randrange(64)), max(0, last - rng.randrange(64))])
    number = rng.choice(NUMBERS) % (1 << (8 * size))
    return data[:at] + struct.pack(form.upper(), number) + data[at + size :]


def worded(rng: random.Random, data: bytes) -> bytes:
    """Put another text in place of a word or number of a text."""
    words = list(re.finditer(rb"[\w.+-]+", data))
    if not words:
        return data
    word = rng.choice(words)
    return data[: word.start()] + rng.choice(WORDS).encode() + data[word.end() :]


def emptied(rng: random.Random, data: bytes) -> bytes:
    """Leave nothing, noise, or a byte-order mark before everything."""
    return rng.choice([b"", rng.randbytes(200), b"\xef\xbb\xbf" + data, data.decode("latin-1").encode("utf-16")])


def lined(rng: random.Random, data: bytes) -> bytes:
    """Repeat, remove or swap a line, or change line ends."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    other = rng.randrange(len(lines))
    return rng.choice(
        [
            b"\n".join([*lines[:at], lines[other], *lines[at:]]),
            b"\n".join([*lines[:at], *lines[at + 1 :]]),
            b"\r\n".join(lines),
            b"\r".join(lines),
            b"\n".join([*lines[:at], lines[at] * rng.choice([2, 300]), *lines[at + 1 :]]),
        ]
    )


ON_BINARY: tuple[Mutation, ...] = (
    truncated,
    flipped,
    flipped,
    inserted,
    removed,
    repeated,
    numbered,
    numbered,
    emptied,
)
ON_TEXT: tuple[Mutation, ...] = (*ON_BINARY, worded, worded, worded, lined, lined)


def misplaced(rng: random.Random, path: Path) -> str:
    """Put another thing in place of a file, and say what."""
    kind = rng.choice(["folder", "nothing", "broken link", "circle", "link", "device", "pipe"])
    data = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "broken link":
        path.symlink_to("nowhere")
    elif kind == "circle":
        path.symlink_to(path.name)
    elif kind == "link":
        path.with_name("real").write_bytes(data)
        path.symlink_to("real")
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "pipe":
        os.mkfifo(path)
    return kind


def mutated(rng: random.Random, path: Path, *, text: bool) -> str:
    """Change a file in place by one to three mutations, and say which."""
    if rng.random() < 0.03:
        return misplaced(rng, path)
    chosen = [rng.choice(ON_TEXT if text else ON_BINARY) for _ in range(rng.choice([1, 1, 2, 3]))]
    data = path.read_bytes()
    for mutation in chosen:
        data = mutation(rng, data)
    path.write_bytes(data)
    return " ".join(mutation.__name__ for mutation in chosen)
