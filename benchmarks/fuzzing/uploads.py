"""Hostile uploads: task files damaged, lying, swollen or odd, and multipart bodies that carry them wrongly.

Every one is drawn from its number, so that one that does harm can be made again.
"""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.fuzzing.payloads import BOMBS, ODD_FILES, good_files

FILENAMES = [
    "../../etc/passwd.jsonl",
    "..\\..\\windows\\system.jsonl",
    "/etc/cron.d/job.csv",
    "a\0b.jsonl",
    "t\r\nX-Injected: yes\r\n.jsonl",
    ".jsonl",
    "..",
    "",
    " ",
    "-rf.csv",
    "t.JSONL",
    "t.jsonl.gz.gz",
    "t.parquet.gz",
    "t.jsonl.exe",
    "%2e%2e%2ft.csv",
    "tâche‮lnosj.jsonl",
    "\ud83d.jsonl",
    "x" * 5000 + ".jsonl",
    "errors.json",
    "columns.json",
    "manifest.json",
    "train.jsonl",
    "con.jsonl",
    'a"; name="name.jsonl',
]
NAMES = ["../up", "", "up/1", "up\0", ".up", "u" * 101, "é", "up@2", "columns.json", "\ud800", "web", "talk"]
COLUMNS = [
    '{"text": "intent"}',
    '{"text": 3}',
    "[" * 100_000,
    '{"text": NaN}',
    '{"a": "b"}',
    '{"text": "\\ud800"}',
    '{"text": "text", "text": "intent"}',
    '{"id": "text", "text": "text", "label": "text", "split": "text"}',
    "{",
    "null",
    '{"text": "' + "x" * 50_000 + '"}',
    '{"split": "intent"}',
]


@dataclass(frozen=True)
class Upload:
    """One request: what was done to it in a word, and its body with the boundary that its header names."""

    kind: str
    content_type: str
    body: bytes


@lru_cache(maxsize=1)
def _good() -> dict[str, bytes]:
    return good_files()


def hostile_upload(number: int) -> Upload:
    """The upload of a number."""
    draw = random.Random(number)
    kind, filename, content = _file(draw)
    fields = {"name": f"up-{number}"}
    if draw.random() < 0.4:
        fields["skip_bad_rows"] = draw.choice(["true", "true", "true", "maybe", "", "1"])
    if draw.random() < 0.1:
        fields["columns"] = draw.choice(COLUMNS)
        kind = f"{kind}, odd columns"
    if draw.random() < 0.05:
        fields["name"] = draw.choice(NAMES)
        kind = f"{kind}, odd name"
    if draw.random() < 0.1:
        filename = draw.choice(FILENAMES)
        kind = f"{kind}, odd file name"
    body = multipart(fields, filename, content)
    chance = draw.random()
    if chance < 0.02:
        return Upload("multipart: cut or flipped", _type(), _cut(draw, _flip(draw, body[:400]) + body[400:]))
    if chance < 0.1:
        how = draw.choice([*MULTIPART])
        return Upload(f"multipart: {how}", *MULTIPART[how](body))
    return Upload(kind, f"multipart/form-data; boundary={BOUNDARY}", body)


BOUNDARY = "b0unDary"


def multipart(fields: dict[str, str], filename: str, content: bytes) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + value.encode(errors="surrogatepass")
        + b"\r\n"
        for name, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    parts.append(head.encode(errors="surrogatepass") + content + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _file(draw: random.Random) -> tuple[str, str, bytes]:
    """(what it is, its name, its bytes)."""
    chance = draw.random()
    if chance < 0.01:
        name, make = draw.choice([*BOMBS.items()])
        return f"bomb: {name}", name.split()[0], make()
    if chance < 0.22:
        name, make = draw.choice([*ODD_FILES.items()])
        content = make()
        if draw.random() < 0.5:
            return f"odd: {name}", name.split()[0], content
        return f"odd and damaged: {name}", name.split()[0], _damaged(draw, content)[1]
    name, content = draw.choice([*_good().items()])
    how, content = _damaged(draw, content)
    return f"{name}: {how}", name, content


def _damaged(draw: random.Random, content: bytes) -> tuple[str, bytes]:
    how = draw.choice([*DAMAGES])
    return how, DAMAGES[how](draw, content)


def _flip(draw: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 16, 64])):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _flip_tail(draw: random.Random, content: bytes) -> bytes:
    """Where Parquet and Arrow keep what they say of themselves."""
    tail = content[-600:]
    return content[: -len(tail)] + _flip(draw, tail) if tail else content


def _cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _behead(draw: random.Random, content: bytes) -> bytes:
    return content[draw.randrange(len(content) + 1) :]


def _numbers(draw: random.Random, content: bytes) -> bytes:
    """Lengths, counts and offsets rewritten: four or eight bytes become a number that lies."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 3])):
        lie = draw.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**31, 0x7FFF_FFFF_FFFF_FFFF, 2**63, 2**64 - 1, len(content)])
        packed = struct.pack("<Q", lie) if lie > 2**32 - 1 or draw.random() < 0.3 else struct.pack("<I", lie)
        places = [len(content) - 8, len(content) - 4, 4, 8, draw.randrange(len(content) + 1)]
        place = max(0, draw.choice(places))
        changed[place : place + len(packed)] = packed
    return bytes(changed)


def _splice(draw: random.Random, content: bytes) -> bytes:
    """The head of this one and the tail of another, or its own footer twice."""
    other = draw.choice([*_good().values()])
    return content[: draw.randrange(len(content) + 1)] + other[draw.randrange(len(other) + 1) :]


def _repeat(draw: random.Random, content: bytes) -> bytes:
    begin = draw.randrange(len(content) + 1)
    return content[:begin] + content[begin : begin + 200] * draw.choice([2, 10, 500]) + content[begin:]


def _insert(draw: random.Random, content: bytes) -> bytes:
    place = draw.randrange(len(content) + 1)
    odd = draw.choice([b"\0" * 64, b"\xff\xfe", b"\r", b'"', b"\n", b"{" * 3000, b"\xed\xa0\x80", draw.randbytes(30)])
    return content[:place] + odd + content[place:]


def _squeeze(draw: random.Random, content: bytes) -> bytes:
    return gzip.compress(content, draw.choice([1, 9]), mtime=0)


DAMAGES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "flipped bits": _flip,
    "flipped bits at the end": _flip_tail,
    "cut short": _cut,
    "beheaded": _behead,
    "numbers that lie": _numbers,
    "spliced": _splice,
    "repeated": _repeat,
    "inserted": _insert,
    "compressed once more": _squeeze,
}


def _type(boundary: str = BOUNDARY) -> str:
    return f"multipart/form-data; boundary={boundary}"


MULTIPART: dict[str, Callable[[bytes], tuple[str, bytes]]] = {
    "no boundary named": lambda body: ("multipart/form-data", body),
    "another boundary": lambda body: (_type("other"), body),
    "an empty boundary": lambda body: (_type(""), body),
    "a boundary of 5,000": lambda body: (_type("b" * 5000), body),
    "no end": lambda body: (_type(), body.removesuffix(f"--{BOUNDARY}--\r\n".encode())),
    "a preamble and an epilogue": lambda body: (_type(), b"hello\r\n" + body + b"bye" * 50),
    "a field twice": lambda body: (_type(), _part("name", b"twice") + body),
    "2,000 fields": lambda body: (_type(), b"".join(_part(f"f{n}", b"") for n in range(2000)) + body),
    "a field of 2 MB": lambda body: (_type(), _part("name", b"n" * 2_000_000) + body),
    "two files": lambda body: (_type(), _part('file"; filename="one.jsonl', b'{"text": "a"}\n') + body),
    "2,000 files": lambda body: (
        _type(),
        b"".join(_part(f'f{n}"; filename="t.csv', b"a") for n in range(2000)) + body,
    ),
    "the file as a field": lambda body: (_type(), body.replace(b"; filename=", b"; was=")),
    "the name as a file": lambda body: (_type(), body.replace(b'name="name"', b'name="name"; filename="n"')),
    "a header of 1 MB": lambda body: (_type(), b"--b0unDary\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n\r\n" + body),
    "no disposition": lambda body: (_type(), body.replace(b"Content-Disposition", b"Content-Position")),
    "bare newlines": lambda body: (_type(), body.replace(b"\r\n", b"\n")),
    "another charset": lambda body: (_type() + "; charset=utf-16", body),
    "an unknown charset": lambda body: (_type() + "; charset=nonsense", body),
    "said to be JSON": lambda body: ("application/json", body),
    "said to be a form": lambda body: ("application/x-www-form-urlencoded", body),
    "said to be nothing": lambda body: ("", body),
    "a charset part": lambda body: (_type(), _part("_charset_", b"utf-7") + body),
    "base64 named": lambda body: (
        _type(),
        body.replace(b"Content-Type:", b"Content-Transfer-Encoding: base64\r\nContent-Type:"),
    ),
    "empty": lambda body: (_type(), body[:0]),
}


def _part(name: str, value: bytes) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
